//! Why a container did not get healthy: which program, what it said last, and
//! what the health check said. Pure.

use crate::seen::{Condition, SeenContainer};
use container::http::one_line;

/// As many lines of the failing program are shown.
const SHOWN: usize = 10;

/// What is known of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Story {
    /// What happened to it, in one sentence.
    pub(crate) why: String,
    /// Lines of the failing program, of all where it is not known.
    pub(crate) lines: Vec<String>,
}

impl Story {
    /// From the end of a log, a time before each line, and what was seen last.
    pub(crate) fn of(log: &str, seen: &SeenContainer, waited: &str) -> Self {
        let lines: Vec<&str> = log
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.1))
            .filter(|line| !line.trim().is_empty())
            .collect();
        // The container's own last word, such as `hive: stopped: app: it exited …`.
        let own = lines
            .iter()
            .rev()
            .find(|line| line.starts_with("hive: stopped: ") || line.starts_with("hive: cannot start: "));
        let why = match (&seen.condition, own) {
            (Condition::Ended { code, out_of_memory }, own) => {
                let memory = if *out_of_memory { ", out of memory" } else { "" };
                let own = own.map(|line| format!(": {line}")).unwrap_or_default();
                format!("it ended with exit code {code}{memory}{own}")
            }
            _ if seen.health_said.is_empty() => format!("{waited}; its health check has not answered yet"),
            _ => format!("{waited}: {}", one_line(&seen.health_said)),
        };
        let program = own
            .and_then(|line| line.strip_prefix("hive: stopped: "))
            .and_then(|rest| rest.split([':', ' ']).next())
            .or_else(|| blamed(&seen.health_said));
        Self {
            why,
            lines: of_program(&lines, program),
        }
    }
}

/// The program that the health check's words are about.
fn blamed(said: &str) -> Option<&str> {
    let about = said.strip_prefix("unhealthy: ")?.split(':').next()?;
    match about {
        "app" => Some("app"),
        "database" => Some("postgresql"),
        // Recovery is PostgreSQL's, everything else of a start is the app's program.
        _ => None,
    }
}

/// The last lines of a program, or of all where it said nothing.
fn of_program(lines: &[&str], program: Option<&str>) -> Vec<String> {
    let start = program.map(|program| format!("{program} | "));
    let own: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| start.as_ref().is_some_and(|start| line.starts_with(start)))
        .collect();
    let all = if own.is_empty() { lines } else { &own };
    let last = &all[all.len().saturating_sub(SHOWN)..];
    last.iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_ids::image_id;
    use serde_json::json;

    fn seen(state: &serde_json::Value) -> SeenContainer {
        SeenContainer::of(&json!({ "Image": image_id("0123456789abcdef"), "State": state })).unwrap()
    }

    #[test]
    fn the_program_that_gave_up_is_heard() {
        let log = "t app | Traceback\nt postgresql | LOG: ready\nt app | NameError: x\n\
                   t supervisord | stopped\nt hive: stopped: app: it cannot be started; last: NameError: x";
        let ended = seen(&json!({ "Status": "exited", "ExitCode": 1 }));
        assert_eq!(
            Story::of(log, &ended, "").why,
            "it ended with exit code 1: hive: stopped: app: it cannot be started; last: NameError: x"
        );
        assert_eq!(
            Story::of(log, &ended, "").lines,
            ["app | Traceback", "app | NameError: x"]
        );
    }

    #[test]
    fn what_the_health_check_blames_is_heard() {
        let log = "t app | waits\nt postgresql | LOG: ready";
        let health = |said: &str| {
            seen(
                &json!({ "Status": "running", "Health": { "Status": "starting", "Log": [{ "Output": said }] } }),
            )
        };
        let story = Story::of(
            log,
            &health("unhealthy: app: nothing listens\n"),
            "not healthy after 9 s",
        );
        assert_eq!(
            story.why,
            "not healthy after 9 s: unhealthy: app: nothing listens"
        );
        assert_eq!(story.lines, ["app | waits"]);
        let story = Story::of(log, &health("unhealthy: database: refused"), "late");
        assert_eq!(story.lines, ["postgresql | LOG: ready"]);
        let story = Story::of(log, &health(""), "late");
        assert_eq!(story.lines.len(), 2, "{story:?}");
    }

    #[test]
    fn a_kill_for_memory_is_said() {
        let ended = seen(&json!({ "Status": "exited", "ExitCode": 137, "OOMKilled": true }));
        assert_eq!(
            Story::of("", &ended, "").why,
            "it ended with exit code 137, out of memory"
        );
    }
}
