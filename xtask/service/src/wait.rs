//! Waits until a container is healthy, by the engine's events and not by asking
//! again and again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use definition::spec::{Budgets, patience};
use engine::api::escaped;
use engine::api::follow::{Follow, Next};
use host::report::{self, Report};

use crate::handle::ServiceHandle;
use crate::seen::{Condition, ContainerPlace, SeenContainer};

/// What the image's health check says until recovery, roles and `before_start`
/// are through; a test holds it against the check itself.
pub(crate) const MADE_READY: &str = "the database is being made ready";

/// As many lines of a log are looked at to see whether it moves.
const LAST_LINES: u32 = 40;

/// Programs that speak also where nothing moves.
const CHATTER: [&str; 2] = ["health-monitor |", "supervisord |"];

/// What an event says of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Healthy,
    Unhealthy,
    Died,
}

impl Happening {
    fn of(event: &Value) -> Option<Self> {
        match event.get("Action")?.as_str()? {
            "health_status: healthy" => Some(Self::Healthy),
            "health_status: unhealthy" => Some(Self::Unhealthy),
            "die" => Some(Self::Died),
            _ => None,
        }
    }
}

/// The events of one container, from the moment this is made.
#[derive(Debug)]
pub(crate) struct ContainerEvents {
    follow: Follow,
    rest: Vec<u8>,
}

impl ContainerEvents {
    /// Asks for them; when this returns, none is missed any more.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) fn of(handle: &ServiceHandle, id: &str) -> Result<Self> {
        let kinds = serde_json::json!({ "container": [id], "event": ["health_status", "die"] });
        let path = format!("/events?filters={}", escaped(&kinds.to_string()));
        let follow = handle.engine.api.follow(&handle.runner, &path)?;
        Ok(Self {
            follow,
            rest: Vec::new(),
        })
    }

    /// The next one; `None` when there is none until the deadline.
    fn next(&mut self, handle: &ServiceHandle, deadline: Instant) -> Result<Option<Happening>> {
        loop {
            while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                if let Some(happening) = Happening::of(&event) {
                    return Ok(Some(happening));
                }
            }
            match self.follow.next(&handle.runner, Some(deadline))? {
                Next::Bytes(bytes) => self.rest.extend(bytes),
                Next::Silence => return Ok(None),
                Next::End => bail!(failure::environment(
                    "the engine ended while its events were waited for"
                )),
            }
        }
    }
}

/// How the wait for a healthy container ended.
#[derive(Clone, Debug)]
pub(crate) enum Awaited {
    /// It is healthy, or runs and has no health check.
    Healthy,
    /// It ended before it was healthy.
    Ended(Box<SeenContainer>),
    /// It runs, and did not get there in this time.
    Late(Duration, Box<SeenContainer>),
}

/// How long a start may take without a sign of progress: as the gate waits.
pub(crate) fn limit(budgets: &Budgets) -> Duration {
    Duration::from_secs_f64(patience::for_start(budgets.ready_seconds))
}

/// Waits for a container that was just started, or that runs already. As long as
/// the database is made ready and the log moves, the limit moves with it.
///
/// # Errors
/// When the engine does not answer or ends, the container is gone, or on Ctrl-C.
pub(crate) fn until_healthy(
    handle: &ServiceHandle,
    report: &Report,
    events: &mut ContainerEvents,
    container: &str,
    limit: Duration,
) -> Result<Awaited> {
    let began = Instant::now();
    let mut seen = look(handle, container)?;
    let mut deadline = began + limit;
    let mut last_line = String::new();
    loop {
        match seen.condition {
            Condition::Healthy | Condition::Running => return Ok(Awaited::Healthy),
            Condition::Ended { .. } => return Ok(Awaited::Ended(Box::new(seen))),
            _ if Instant::now() >= deadline => {
                let line = progress(handle, container)?;
                // A check that found `before_start` at its first look has said nothing yet.
                let is_made_ready = seen.health_said.is_empty() || seen.health_said.contains(MADE_READY);
                if line == last_line || !is_made_ready {
                    return Ok(Awaited::Late(began.elapsed(), Box::new(seen)));
                }
                deadline = Instant::now() + limit;
                let said = line.split_once(' ').map_or("", |(_, text)| text).to_owned();
                report.step("wait", format!("{}: {MADE_READY}; it says: {said}", handle.name));
                last_line = line;
            }
            _ => {}
        }
        // An event says that it is worth a look; what counts is what is there.
        events.next(handle, deadline)?;
        seen = look(handle, container)?;
    }
}

fn look(handle: &ServiceHandle, container: &str) -> Result<SeenContainer> {
    match handle.place_of(container)? {
        ContainerPlace::Own(seen) => Ok(*seen),
        ContainerPlace::Empty | ContainerPlace::Foreign(_) => bail!(failure::environment(format!(
            "somebody has removed container {container} meanwhile"
        ))),
    }
}

/// The last line of the log that tells of progress, with its time.
fn progress(handle: &ServiceHandle, container: &str) -> Result<String> {
    let log = handle.container(container).last_lines(LAST_LINES)?;
    Ok(last_progress(&log).to_owned())
}

fn last_progress(log: &str) -> &str {
    let tells = |line: &&str| {
        let text = line.split_once(' ').map_or("", |(_, text)| text);
        !text.is_empty() && !CHATTER.iter().any(|program| text.starts_with(program))
    };
    log.lines().rev().find(tells).unwrap_or_default()
}

/// What the user is told of a wait that was too long.
pub(crate) fn waited(time: Duration) -> String {
    format!("not healthy after {}", report::seconds(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_apart() {
        let of = |action: &str| Happening::of(&json!({ "Action": action }));
        assert_eq!(of("health_status: healthy"), Some(Happening::Healthy));
        assert_eq!(of("health_status: unhealthy"), Some(Happening::Unhealthy));
        assert_eq!(of("die"), Some(Happening::Died));
        assert_eq!(of("exec_die"), None);
        assert_eq!(Happening::of(&json!({})), None);
    }

    #[test]
    fn programs_that_always_speak_are_no_progress() {
        let log =
            "t1 postgresql | redo in progress\nt2 health-monitor | unhealthy: x\nt3 supervisord | success\n";
        assert_eq!(last_progress(log), "t1 postgresql | redo in progress");
        assert_eq!(last_progress("t1 health-monitor | unhealthy"), "");
        assert_eq!(last_progress(""), "");
    }

    /// What is waited longer for is known by what the image says.
    #[test]
    fn the_image_says_that_its_database_is_made_ready() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docker/rootfs/usr/local/lib/hive/healthcheck"
        );
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("unhealthy \"{MADE_READY}")), "{text}");
    }
}
