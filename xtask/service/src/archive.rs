//! The archive of a service: PostgreSQL's log on a volume of its own, and how far a
//! point in time can be reached with it.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::handle::ServiceHandle;
use container::boot::MOUNT;
use inputs::clock;

/// Where the container has its volume.
pub use deploy::ARCHIVE as PLACE;

/// What a container tells of its archive, as its program `archive` has written it down.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct ArchiveState {
    /// Why nothing is archived at the moment.
    pub trouble: Option<String>,
    /// From when on all of the log is there, in seconds since 1970; unknown where nothing
    /// was ever archived.
    since: Option<f64>,
    until: Option<f64>,
    /// The end of the oldest backup that was begun since then: the first moment that can be
    /// reached.
    #[serde(default)]
    pub first_backup: Option<String>,
}

impl ArchiveState {
    /// Since when all of the log is there.
    pub fn since(&self) -> Option<SystemTime> {
        moment(self.since?)
    }

    /// One line for people.
    pub(crate) fn note(&self, service: &str) -> String {
        if let Some(trouble) = &self.trouble {
            return format!("no log is archived: {trouble}");
        }
        let until = self.until.and_then(moment).map(clock::rfc3339);
        match (&self.first_backup, until) {
            (Some(first), Some(until)) => format!(
                "point in time: from {} to {}",
                clock::shown(first),
                clock::shown(&until)
            ),
            _ => format!("no point in time can be reached: cargo xtask backup {service}"),
        }
    }
}

fn moment(seconds: f64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?)
}

/// What the service's container tells of its archive; nothing of one that it has only
/// begun to make.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn state(handle: &ServiceHandle) -> Result<ArchiveState> {
    let container = handle.container(handle.name.as_str());
    let file = format!("{MOUNT}/hive/archive.json");
    let text = handle
        .engine
        .read_in_container(&handle.runner, &container, &file)?;
    Ok(text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_reached_begins_with_a_backup() {
        let text = r#"{"trouble": null, "stretch": "757-20261126T150000Z", "since": 1795706439.16, "until": 1795710000.5}"#;
        let mut state: ArchiveState = serde_json::from_str(text).unwrap();
        assert_eq!(clock::rfc3339(state.since().unwrap()), "2026-11-26T15:20:39.160Z");
        let none = "no point in time can be reached: cargo xtask backup genie";
        assert_eq!(state.note("genie"), none);
        state.first_backup = Some("2026-11-26T15:30:00.000Z".to_owned());
        let reached = "point in time: from 2026-11-26 15:30 UTC to 2026-11-26 16:20 UTC";
        assert_eq!(state.note("genie"), reached);
        state.trouble = Some("No space left on device".to_owned());
        assert_eq!(state.note("genie"), "no log is archived: No space left on device");
        assert_eq!(ArchiveState::default().note("genie"), none);
    }
}
