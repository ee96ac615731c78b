//! `health`: each part of a service asked by itself, from inside and from outside.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::Serialize;

use crate::handle::ServiceHandle;
use crate::seen::{ContainerPlace, SeenContainer, from_here};
use crate::trial::{self, Published};
use crate::wait::MADE_READY;
use container::ask::{self, Answer};
use container::http::Client;
use container::postgres_port;
use container::programs;
use definition::spec::{ImageSpec, is_of_an_app};

/// As long may the published port take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// As much of the log is looked at for the last time that it was not healthy.
const LOOKED_AT: u32 = 5000;

/// What `health` found of one service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReport {
    /// The service's name, as `health` was given it.
    pub service: String,
    /// Whether every part works: decides the exit code.
    pub healthy: bool,
    /// The parts in the order in which they were asked; one alone, `container`,
    /// where it does not run.
    pub parts: Vec<HealthPart>,
    /// When it was unhealthy last, and why, where its log has it.
    pub(crate) last_trouble: Option<String>,
}

/// One part of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthPart {
    /// `sql`, `port`, `health check`, or a program as the supervisor calls it.
    pub name: String,
    /// Whether it answered as a healthy one does.
    pub works: bool,
    /// What it answered, or why it does not work, in one sentence.
    pub said: String,
}

impl HealthPart {
    fn new(name: &str, works: bool, said: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            works,
            said: said.into(),
        }
    }
}

impl HealthReport {
    fn of(handle: &ServiceHandle, parts: Vec<HealthPart>, last_trouble: Option<String>) -> Self {
        Self {
            service: handle.name.to_string(),
            healthy: parts.iter().all(|part| part.works),
            parts,
            last_trouble,
        }
    }

    /// For people, a line each.
    pub fn lines(&self) -> Vec<String> {
        let word = if self.healthy { "healthy" } else { "not healthy" };
        let mut lines = vec![format!("{}: {word}", self.service)];
        let width = self.parts.iter().map(|part| part.name.len()).max().unwrap_or(0);
        for HealthPart { name, works, said } in &self.parts {
            let mark = if *works { "ok  " } else { "FAIL" };
            lines.push(format!("  {mark}  {name:<width$}  {said}"));
        }
        lines.extend(self.last_trouble.as_ref().map(|last| format!("  last {last}")));
        lines
    }
}

/// Asks all parts of a service.
///
/// # Errors
/// When the engine does not answer, or on Ctrl-C.
pub fn ask(handle: &ServiceHandle, spec: &ImageSpec) -> Result<HealthReport> {
    let alone =
        |said: String| HealthReport::of(handle, vec![HealthPart::new("container", false, said)], None);
    let seen = match handle.place()? {
        ContainerPlace::Own(seen) => seen,
        ContainerPlace::Empty => {
            return Ok(alone(format!(
                "is not there; start it: cargo xtask up {}",
                handle.name
            )));
        }
        ContainerPlace::Foreign(image) => {
            return Ok(alone(format!("of {image}, was not made by `cargo xtask up`")));
        }
    };
    if !seen.condition.runs() {
        return Ok(alone(format!("is {}", seen.condition.shown())));
    }
    let mut parts = inside(handle, spec)?;
    parts.extend(outside(handle, &seen)?);
    let log = handle.container(handle.name.as_str()).last_lines(LOOKED_AT)?;
    Ok(HealthReport::of(handle, parts, last_trouble(&log)))
}

fn inside(handle: &ServiceHandle, spec: &ImageSpec) -> Result<Vec<HealthPart>> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let token = format!(
        "hive-{}-{}",
        std::process::id(),
        now.unwrap_or_default().as_nanos()
    );
    let questions = [
        ("sql", "psql -XAtqc 'SELECT 1'"),
        ("programs", programs::STATUS),
        ("check", "/usr/local/lib/hive/healthcheck"),
    ];
    let script = ask::script(&ask::prelude(spec), &token, &questions);
    let container = handle.container(handle.name.as_str());
    let deadline = ask::DEADLINE * (u32::try_from(questions.len()).unwrap_or(1) + 1);
    let output = container.exec(deadline, &[], &["sh", "-c", &script], None)?;
    Ok(judged(spec, &ask::answers(&token, &output.stdout_text())))
}

/// What the answers say of each part. A question without an answer is a part that
/// does not work.
fn judged(spec: &ImageSpec, answers: &[(String, Answer)]) -> Vec<HealthPart> {
    let answer = |name: &str| {
        answers
            .iter()
            .find(|(asked, _)| asked == name)
            .map(|(_, answer)| answer)
    };
    let mut parts = Vec::new();
    parts.push(match answer("sql") {
        Some(answer) if answer.ok() && answer.text.lines().last() == Some("1") => {
            let database = &spec.database;
            let said = format!(
                "{} on {} answered in {} ms",
                database.role,
                database.name,
                answer.took.as_millis()
            );
            HealthPart::new("sql", true, said)
        }
        Some(answer) => HealthPart::new("sql", false, answer.shown()),
        None => HealthPart::new("sql", false, "no answer"),
    });
    let states = answer("programs")
        .map(|answer| programs::states(&answer.text))
        .unwrap_or_default();
    if states.is_empty() {
        parts.push(HealthPart::new(
            "programs",
            false,
            "the supervisor does not answer",
        ));
    }
    let check = answer("check");
    let is_healthy = check.is_some_and(Answer::ok);
    for (name, state) in states {
        // The supervisor calls what runs for less than a second that.
        let works = state == "RUNNING" || (state == "STARTING" && is_healthy);
        parts.push(HealthPart::new(name, works, state));
    }
    let said = check.map_or_else(|| "no answer".to_owned(), Answer::shown);
    parts.push(HealthPart::new("health check", is_healthy, said));
    parts
}

/// The published port, from this machine.
fn outside(handle: &ServiceHandle, seen: &SeenContainer) -> Result<Option<HealthPart>> {
    if !handle.engine.api.is_local() {
        return Ok(None);
    }
    let address = seen.published.map(from_here);
    let Some(address) = address else {
        return Ok(None);
    };
    let (path, works): (String, fn(u16) -> bool) = match trial::published(handle, handle.name.as_str())? {
        Published::Path(path) => (path, |status| status == 200),
        Published::App => ("/".to_owned(), is_of_an_app),
        Published::Anything => return Ok(None),
        Published::Postgresql => {
            let said = postgres_port::answers(address, DEADLINE);
            let works = said.is_ok();
            let said = said.map_or_else(|error| error, |()| format!("PostgreSQL answers at {address}"));
            return Ok(Some(HealthPart::new("port", works, said)));
        }
    };
    let url = format!("http://{address}{path}");
    Ok(Some(match Client::at(address, false).get(&path, DEADLINE) {
        Ok(reply) => {
            let said = format!("{url} answered {} in {} ms", reply.status, reply.took.as_millis());
            HealthPart::new("port", works(reply.status), said)
        }
        Err(error) => HealthPart::new("port", false, format!("{url}: {error}")),
    }))
}

/// The last time that the monitor saw it unhealthy, but for its starts.
fn last_trouble(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let (time, text) = line.split_once(' ')?;
        let why = text.strip_prefix("health-monitor | unhealthy: ")?;
        let is_start = why.contains(MADE_READY);
        (!is_start).then(|| format!("unhealthy {}: {why}", inputs::clock::shown(time)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::spec;

    fn answer(name: &str, code: i32, text: &str) -> (String, Answer) {
        let answer = Answer {
            code,
            text: text.to_owned(),
            took: Duration::from_millis(3),
        };
        (name.to_owned(), answer)
    }

    #[test]
    fn each_part_is_judged_by_itself() {
        let programs = "postgresql RUNNING pid 1\napp BACKOFF Exited too quickly\n";
        let parts = judged(
            &spec(),
            &[
                answer("sql", 0, "WARNING: collation\n1"),
                answer("programs", 3, programs),
                answer("check", 1, "unhealthy: app: nothing listens"),
            ],
        );
        let told: Vec<(&str, bool)> = parts
            .iter()
            .map(|part| (part.name.as_str(), part.works))
            .collect();
        let expected = [
            ("sql", true),
            ("postgresql", true),
            ("app", false),
            ("health check", false),
        ];
        assert_eq!(told, expected);
        assert_eq!(parts[0].said, "hive on hive_genie answered in 3 ms");
        assert_eq!(parts[3].said, "exit code 1: unhealthy: app: nothing listens");
    }

    #[test]
    fn programs_that_have_just_started_work_where_the_whole_does() {
        let of = |check: (String, Answer)| {
            let answers = [answer("programs", 0, "app STARTING\n"), check];
            let parts = judged(&spec(), &answers);
            parts.iter().any(|part| part.name == "app" && part.works)
        };
        assert!(of(answer("check", 0, "healthy")));
        assert!(!of(answer("check", 1, "unhealthy: app: nothing listens")));
    }

    #[test]
    fn what_does_not_answer_does_not_work() {
        let parts = judged(&spec(), &[]);
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| !part.works), "{parts:?}");
        let wrong = judged(&spec(), &[answer("sql", 0, "2")]);
        assert!(!wrong[0].works);
    }

    #[test]
    fn the_last_trouble_is_no_start() {
        let log = "2026-11-21T03:15:00.1Z health-monitor | unhealthy: app: no answer\n\
                   2026-11-21T03:16:00Z health-monitor | healthy\n\
                   2026-11-21T04:00:00Z health-monitor | unhealthy: the database is being made ready\n";
        assert_eq!(
            last_trouble(log).as_deref(),
            Some("unhealthy 2026-11-21 03:15 UTC: app: no answer")
        );
        assert_eq!(last_trouble("x y"), None);
    }
}
