//! Who did what to a service, and how it ended: a JSON line for each operation, in
//! the state folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::names::ServiceName;
use definition::identity::ImageId;
use host::report::{Report, seconds};
use inputs::clock;

/// The form of the lines.
const SCHEMA: u32 = 1;

/// One operation on a service: a line of `history.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailEntry {
    schema: u32,
    /// When it began, in RFC 3339 (UTC).
    pub at: String,
    /// The verb, with the flag that makes it another operation: `up`,
    /// `down --volumes`.
    pub verb: String,
    /// The name of the service that it was done to.
    pub service: String,
    /// The number of the user who ran it.
    pub(crate) uid: u32,
    /// The name of the machine that it was run on.
    pub host: String,
    /// The process that did it.
    pub pid: u32,
    /// The image that ran before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image_before: Option<ImageId>,
    /// The image that was to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// Milliseconds from its beginning to its end.
    pub took_ms: u64,
    /// What came of it: `replaced`, `failed`.
    pub outcome: String,
    /// Why it failed, with all causes; `None` where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip, default = "Instant::now")]
    began: Instant,
}

impl TrailEntry {
    /// An entry of an operation that begins now; `ended` completes it.
    pub fn begun(verb: &str, service: &ServiceName) -> Self {
        let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            schema: SCHEMA,
            at: clock::rfc3339(SystemTime::now()),
            verb: verb.to_owned(),
            service: service.to_string(),
            uid: rustix::process::getuid().as_raw(),
            host: host.trim().to_owned(),
            pid: std::process::id(),
            image_before: None,
            image: None,
            took_ms: 0,
            outcome: String::new(),
            error: None,
            began: Instant::now(),
        }
    }

    /// For people, on one line: when, what, how it ended, how long it took.
    pub fn line(&self) -> String {
        let image = self.image.as_ref().or(self.image_before.as_ref());
        let image = image.map_or(String::new(), |id| format!(" ({})", id.short()));
        let error = self
            .error
            .as_ref()
            .map_or(String::new(), |error| format!(": {error}"));
        format!(
            "{}  {} {}{image}: {}, {}{error}",
            clock::shown(&self.at),
            self.verb,
            self.service,
            self.outcome,
            seconds(Duration::from_millis(self.took_ms)),
        )
    }

    /// The same with how it ended.
    #[must_use]
    pub fn ended<T>(mut self, outcome: &str, result: &Result<T>) -> Self {
        self.took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match result {
            Ok(_) => outcome.clone_into(&mut self.outcome),
            Err(error) => {
                "failed".clone_into(&mut self.outcome);
                self.error = Some(format!("{error:#}"));
            }
        }
        self
    }
}

fn file(state: &Path) -> PathBuf {
    state.join("services").join("history.jsonl")
}

/// Adds a line. What cannot be written down has happened all the same.
pub fn write(state: &Path, report: &Report, entry: &TrailEntry) {
    if let Err(error) = append(state, entry) {
        report.warn(format!("the operation is not on record: {error:#}"));
    }
}

fn append(state: &Path, entry: &TrailEntry) -> Result<()> {
    let file = file(state);
    fs_err::create_dir_all(file.parent().unwrap_or(state))?;
    let mut open = fs_err::OpenOptions::new().create(true).append(true).open(&file)?;
    // In one write: several services are worked on at the same time.
    open.write_all(format!("{}\n", serde_json::to_string(entry)?).as_bytes())?;
    Ok(())
}

/// All operations on these services, the oldest first; on all where none is named.
/// Lines that cannot be read count as not being there.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(state: &Path, services: &[String]) -> Result<Vec<TrailEntry>> {
    let file = file(state);
    if !file.exists() {
        return Ok(Vec::new());
    }
    let bytes = fs_err::read(file)?;
    let text = String::from_utf8_lossy(&bytes);
    let entries = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let asked = |entry: &TrailEntry| services.is_empty() || services.contains(&entry.service);
    Ok(entries
        .filter(|entry: &TrailEntry| entry.schema == SCHEMA && asked(entry))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use definition::spec::names::ImageName;

    fn entry(service: &str, verb: &str) -> TrailEntry {
        let name = ServiceName::of(&ImageName::parse(service).unwrap());
        TrailEntry::begun(verb, &name)
    }

    #[test]
    fn what_was_done_is_read_back_in_order() {
        let state = tempfile::tempdir().unwrap();
        let report = Report::new(true, false);
        assert!(read(state.path(), &[]).unwrap().is_empty());
        let bad: Result<()> = Err(failure::smoke("not healthy").into());
        for one in [
            entry("genie", "up").ended("started", &Ok(())),
            entry("agent", "up").ended("started", &bad),
            entry("genie", "down").ended("stopped", &Ok(())),
        ] {
            write(state.path(), &report, &one);
        }
        let mut torn = fs_err::read(file(state.path())).unwrap();
        torn.extend(b"\xff\n{\"schema\":1,\"at\"");
        fs_err::write(file(state.path()), torn).unwrap();
        let told = |services: &[&str]| {
            let services: Vec<String> = services.iter().map(|&name| name.to_owned()).collect();
            let all = read(state.path(), &services).unwrap();
            all.into_iter()
                .map(|entry| format!("{} {} {}", entry.verb, entry.service, entry.outcome))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told(&[]),
            ["up genie started", "up agent failed", "down genie stopped"]
        );
        assert_eq!(told(&["agent"]), ["up agent failed"]);
        let failed = read(state.path(), &["agent".to_owned()]).unwrap();
        assert_eq!(failed[0].error.as_deref(), Some("not healthy"));
        let line = failed[0].line();
        assert!(line.contains("  up agent: failed, 0.0 s: not healthy"), "{line}");
    }
}
