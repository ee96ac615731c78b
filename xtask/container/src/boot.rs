//! Starts a container of the image under test and watches it until it is
//! healthy, dead or hopeless.

mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::figure::Figure;
use crate::finding::{Flaw, flaw};
use crate::http::one_line;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use engine::container::{Container, RunResources};
pub use watch::{NOT_HEALTHY, Watched, watch};

/// Where the volume is mounted; the images' contract.
pub const MOUNT: &str = "/var/lib/postgresql/data";

/// How many lines of a container's log a report has; the bundle has all of it.
const LAST_LINES: usize = 4;

/// How many of the last lines of a log are searched for them.
const LOOKED_AT: u32 = 5000;

/// A boot that was watched until healthy, dead or hopeless.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// `docker run` until the engine's verdict `healthy`; the endpoint's first
    /// 200 where the image has no health check.
    pub ready: Option<Duration>,
    /// `docker run` until the health endpoint's first 200 through the
    /// published port; PostgreSQL's first answer there where there is no app.
    pub first_200: Option<Duration>,
    /// When nobody waited any longer.
    pub gave_up: Duration,
    /// The last answer of the endpoint, and of the image's health check.
    pub last_words: String,
    /// What the endpoint answers, where that is a redirection or no such route,
    /// and what the app has instead.
    pub wrong_path: Option<String>,
    /// `before_start` was still running when nobody waited any longer, and its last line.
    pub before_start: Option<String>,
}

impl Boot {
    /// What is wrong with one that did not get there: too late where it was
    /// waited for beyond the budget.
    pub fn given_up(&self, what: &str, budget: f64) -> Flaw {
        let waited = self.gave_up.as_secs_f64();
        Flaw {
            detail: format!(
                "{what}: {NOT_HEALTHY} {waited:.0} s: {}",
                one_line(&self.last_words)
            ),
            figure: (waited > budget).then(|| Figure::new(waited, Some(budget), "s")),
        }
    }
}

/// An end of the container that nobody asked for.
#[derive(Clone, Debug)]
pub struct Death {
    /// What the container was doing at that moment.
    pub during: &'static str,
    /// The time since its start.
    pub after: Duration,
    /// `docker inspect` on it: exit code, out of memory.
    pub how: String,
    /// Last lines of its log.
    pub last_lines: String,
}

/// A container that is watched.
#[derive(Debug)]
pub struct Instance {
    /// The container; removed with the last instance that has it.
    pub container: Arc<Container>,
    /// Where its app is published on 127.0.0.1.
    pub port: u16,
    /// When `docker run` or `docker start` was called.
    pub started: Instant,
}

impl Instance {
    /// `docker run` with the image's own entrypoint, by image ID, its app's port
    /// published on one that the kernel picks. `options` stand before the image.
    ///
    /// # Errors
    /// When the engine cannot create or start it.
    pub fn start(
        resources: &RunResources,
        image_id: &ImageId,
        name: &str,
        options: &[&str],
        port: u16,
    ) -> Result<Self> {
        Self::start_command(resources, image_id, name, options, &[], port)
    }

    /// The same with a command after the image.
    ///
    /// # Errors
    /// As [`Instance::start`].
    pub fn start_command(
        resources: &RunResources,
        image_id: &ImageId,
        name: &str,
        options: &[&str],
        command: &[&str],
        port: u16,
    ) -> Result<Self> {
        let started = Instant::now();
        let publish = format!("127.0.0.1::{port}");
        let mut all = vec!["--publish", publish.as_str()];
        all.extend(options);
        let container = Arc::new(resources.start(name, image_id.as_str(), &all, command)?);
        Self::of(container, started, port)
    }

    /// `docker start` of the same container.
    ///
    /// # Errors
    /// When the engine cannot start it.
    pub fn start_again(&self, port: u16) -> Result<Self> {
        let started = Instant::now();
        self.container.start()?;
        Self::of(Arc::clone(&self.container), started, port)
    }

    /// The same container, started again by somebody else.
    ///
    /// # Errors
    /// When it does not run.
    pub fn rejoin(&self, port: u16) -> Result<Self> {
        Self::of(Arc::clone(&self.container), Instant::now(), port)
    }

    /// A container that was just started. One that has ended already publishes
    /// no port: then its own words are the error.
    fn of(container: Arc<Container>, started: Instant, port: u16) -> Result<Self> {
        let published = container.published_port(port);
        let instance = Self {
            port: published.as_ref().map_or(0, |port| *port),
            container,
            started,
        };
        let Err(error) = published else {
            return Ok(instance);
        };
        match instance.death("start")? {
            Some(death) => bail!(flaw(format!(
                "the container ended at once, {}; last lines: {}",
                death.how, death.last_lines
            ))),
            None => Err(error),
        }
    }

    /// How it ended, where it did.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn death(&self, during: &'static str) -> Result<Option<Death>> {
        let state = self.container.inspect()?;
        if state.pointer("/State/Running").and_then(Value::as_bool) == Some(true) {
            return Ok(None);
        }
        Ok(Some(self.epitaph(&state, during)?))
    }

    fn epitaph(&self, inspect: &Value, during: &'static str) -> Result<Death> {
        let code = inspect.pointer("/State/ExitCode").and_then(Value::as_i64);
        let out_of_memory = inspect.pointer("/State/OOMKilled").and_then(Value::as_bool) == Some(true);
        let log = self.container.last_lines(LOOKED_AT)?;
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let lines = telling(&lines);
        Ok(Death {
            during,
            after: self.started.elapsed(),
            how: format!(
                "exit code {}{}",
                code.unwrap_or(-1),
                if out_of_memory { ", out of memory" } else { "" }
            ),
            last_lines: one_line_each(&lines[lines.len().saturating_sub(LAST_LINES)..]),
        })
    }
}

/// Without the routine of a shutdown, which comes last and hides the cause; all
/// lines where there is nothing else.
fn telling<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let routine = |line: &&str| {
        let text = line.split_once(' ').map_or(*line, |(_, rest)| rest);
        text.starts_with("supervisord |") || (text.starts_with("postgresql |") && text.contains("LOG:"))
    };
    let rest: Vec<&str> = lines.iter().copied().filter(|line| !routine(line)).collect();
    if rest.is_empty() { lines.to_vec() } else { rest }
}

fn one_line_each(lines: &[&str]) -> String {
    let lines: Vec<String> = lines
        .iter()
        // `docker logs --timestamps` puts a time before each.
        .map(|line| one_line(line.split_once(' ').map_or(*line, |(_, rest)| rest)))
        .collect();
    lines.join(" ⏎ ")
}

/// Options of `docker run` for the variables that a spec has for its suite.
pub fn smoke_options(spec: &ImageSpec) -> Vec<String> {
    let variables = spec.smoke_environment.iter();
    variables
        .flat_map(|(name, value)| ["--env".to_owned(), format!("{name}={value}")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_does_not_hide_its_cause() {
        let lines = [
            "t app | NameError: name 'Item' is not defined",
            "t postgresql | 2026 [36] LOG:  shutting down",
            "t supervisord | stopped: postgresql (exit status 0)",
            "t postgresql | 2026 [1] FATAL:  could not open file",
            "t hive: stopped",
        ];
        assert_eq!(telling(&lines), [lines[0], lines[3], lines[4]]);
        assert_eq!(telling(&lines[1..3]), &lines[1..3]);
    }
}
