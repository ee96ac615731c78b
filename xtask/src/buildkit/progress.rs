//! BuildKit's raw progress → lines for people, log files, and the reason of a
//! failure.
//!
//! `--progress rawjson` is a stream of JSON objects, one per line in newer
//! versions and pretty-printed over many lines in older ones (0.13); at the
//! end of a failed build plain text follows. Both are read by counting braces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::failure::{self, Failure};
use crate::process;
use crate::report::{self, Report};

/// Lines of a failing step that its message carries.
const STEP_TAIL: usize = 15;

/// A step that says nothing for this long gets a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Debug, Default, Deserialize)]
struct Event {
    #[serde(default)]
    vertexes: Vec<Vertex>,
    #[serde(default)]
    logs: Vec<Log>,
}

#[derive(Debug, Deserialize)]
struct Vertex {
    digest: String,
    #[serde(default)]
    name: String,
    started: Option<String>,
    completed: Option<String>,
    #[serde(default)]
    cached: bool,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Log {
    vertex: String,
    data: String,
}

/// What is known of a step.
#[derive(Debug, Default)]
struct Step {
    /// `stage n/m] RUN …` without the target's name.
    name: String,
    /// The images that need it.
    targets: BTreeSet<String>,
    started: Option<Instant>,
    completed: bool,
    cached: bool,
    error: Option<String>,
    tail: VecDeque<String>,
}

/// An instruction of a Dockerfile that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Did<'a> {
    /// The images that need it.
    pub targets: &'a BTreeSet<String>,
    /// The stage's name, or its number where it has none: `stage-1`.
    pub stage: &'a str,
    /// As BuildKit shows it, such as `COPY . /app`.
    pub instruction: &'a str,
    /// Taken from the cache instead of being run.
    pub cached: bool,
}

/// How much is said while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    Quiet,
    /// A line per finished step that was not cached.
    Steps,
    /// Each line of each step, too.
    Logs,
}

/// Reads the stream of one call.
#[derive(Debug)]
pub struct Progress<'a> {
    detail: Detail,
    images: Vec<&'a str>,
    /// Image → its log file.
    logs: BTreeMap<&'a str, (PathBuf, fs_err::File)>,
    splitter: Splitter,
    steps: BTreeMap<String, Step>,
    /// What came outside the JSON: the error at the end.
    plain: Vec<String>,
    last_sign: Instant,
    /// Whether the first step that runs ends the build, and which it was.
    probing: Option<Option<String>>,
}

impl<'a> Progress<'a> {
    /// `folder/<image>/build.log` is written anew for each image.
    ///
    /// # Errors
    /// When a log file cannot be made.
    pub fn new(detail: Detail, images: &[&'a str], folder: &Path) -> Result<Self> {
        let mut logs = BTreeMap::new();
        for image in images {
            let path = folder.join(image).join("build.log");
            fs_err::create_dir_all(folder.join(image))?;
            logs.insert(*image, (path.clone(), fs_err::File::create(path)?));
        }
        Ok(Self {
            detail,
            images: images.to_vec(),
            logs,
            splitter: Splitter::default(),
            steps: BTreeMap::new(),
            plain: Vec::new(),
            last_sign: Instant::now(),
            probing: None,
        })
    }

    /// Ends the build, with an error, at the first step that is not cached:
    /// for who wants to know whether there is one, not what it makes.
    #[must_use]
    pub fn until_a_step_runs(mut self) -> Self {
        self.probing = Some(None);
        self
    }

    /// The stage and the instruction that ended the build.
    pub fn ended_by(&self) -> Option<(&str, &str)> {
        instruction(self.probing.as_ref()?.as_ref()?)
    }

    /// Takes one line of the stream.
    ///
    /// # Errors
    /// When a log file cannot be written.
    pub fn line(&mut self, report: &Report, line: &[u8]) -> Result<()> {
        match self.splitter.push(&String::from_utf8_lossy(line)) {
            Piece::Pending => {}
            Piece::Plain(text) => {
                for (_, file) in self.logs.values_mut() {
                    writeln!(file, "{text}")?;
                }
                self.plain.push(text);
            }
            Piece::Object(text) => {
                // An event of a shape that a newer BuildKit may send is for
                // the log only: the build does not depend on it.
                match serde_json::from_str::<Event>(&text) {
                    Ok(event) => self.event(report, event)?,
                    Err(error) => report.debug(format!("unreadable progress of BuildKit ({error}): {text}")),
                }
            }
        }
        self.heartbeat(report);
        Ok(())
    }

    /// Closes a good build.
    pub fn finish(&self, report: &Report, took: Duration) {
        let done = self
            .steps
            .values()
            .filter(|step| step.completed && step.name.contains('/'));
        let (cached, ran): (Vec<&Step>, Vec<&Step>) = done.partition(|step| step.cached);
        if self.detail != Detail::Quiet {
            let text = format!(
                "{} steps, {} cached, in {}",
                cached.len() + ran.len(),
                cached.len(),
                report::seconds(took)
            );
            report.step("built", text);
        }
    }

    /// The finished instructions: what BuildKit really did.
    pub fn outcome(&self) -> impl Iterator<Item = Did<'_>> {
        self.steps
            .values()
            .filter(|step| step.completed)
            .filter_map(|step| {
                let (stage, instruction) = instruction(&step.name)?;
                step.error.is_none().then_some(Did {
                    targets: &step.targets,
                    stage,
                    instruction,
                    cached: step.cached,
                })
            })
    }

    /// What stopped the build: the step, its last lines, the log's path.
    pub fn failure(&self, status: ExitStatus) -> Failure {
        let failed = self.steps.values().find(|step| {
            step.error
                .as_ref()
                .is_some_and(|error| !error.contains("context canceled"))
        });
        let Some(step) = failed else {
            let text = self.plain.join("\n");
            let last = text
                .lines()
                .rev()
                .find(|line| line.contains("ERROR"))
                .unwrap_or("no reason was given");
            let mut failure =
                failure::build(format!("docker buildx bake {}: {last}", process::ended(status)));
            failure = hints(failure, &text);
            return self.with_logs(failure);
        };
        let images: Vec<&str> = step.targets.iter().map(String::as_str).collect();
        let error = step.error.as_deref().unwrap_or_default();
        let mut message = format!("build of {} failed at [{}", images.join(" and "), step.name);
        let lines: Vec<&str> = step.tail.iter().map(String::as_str).collect();
        if lines.is_empty() {
            message.push_str(&format!("\n  {error}"));
        } else {
            message.push_str(&format!("\n  {}\n  {}", lines.join("\n  "), short(error)));
        }
        let all = format!("{}\n{error}", lines.join("\n"));
        self.with_logs(hints(failure::build(message), &all))
    }

    fn with_logs(&self, mut failure: Failure) -> Failure {
        for (path, _) in self.logs.values() {
            failure = failure.hint(format!("the whole log: {}", path.display()));
        }
        failure
    }

    fn event(&mut self, report: &Report, event: Event) -> Result<()> {
        for vertex in event.vertexes {
            self.vertex(report, vertex)?;
        }
        for log in event.logs {
            // What cannot be decoded is shown as it came.
            let bytes = BASE64_STANDARD
                .decode(&log.data)
                .unwrap_or_else(|_| log.data.clone().into_bytes());
            let text = String::from_utf8_lossy(&bytes).into_owned();
            self.log(report, &log.vertex, &text)?;
        }
        Ok(())
    }

    fn vertex(&mut self, report: &Report, vertex: Vertex) -> Result<()> {
        let (target, name) = self.split_name(&vertex.name);
        if let Some(ended_by) = &mut self.probing
            && vertex.started.is_some()
            && !vertex.cached
            && instruction(&name).is_some_and(|(_, instruction)| !instruction.starts_with("FROM "))
        {
            ended_by.get_or_insert_with(|| name.clone());
            bail!("[{name} is not cached");
        }
        let step = self.steps.entry(vertex.digest).or_default();
        step.name.clone_from(&name);
        step.targets.extend(target.map(str::to_owned));
        if vertex.started.is_some() && step.started.is_none() {
            step.started = Some(Instant::now());
        }
        step.cached |= vertex.cached;
        if vertex.error.is_some() {
            step.error = vertex.error;
        }
        if vertex.completed.is_none() || step.completed {
            return Ok(());
        }
        step.completed = true;
        let took = step.started.map(|at| at.elapsed()).unwrap_or_default();
        let images = shown_targets(step);
        let state = match (&step.error, step.cached) {
            (Some(_), _) => "failed",
            (None, true) => "cached",
            (None, false) => "done",
        };
        let line = format!("[{name} {state} {}", report::seconds(took));
        let worth_saying = state == "done" && took > Duration::from_millis(200) && name.contains("/");
        if self.detail != Detail::Quiet && worth_saying {
            self.last_sign = Instant::now();
            report.detail(format!(
                "{images} [{} {}",
                one_line(&name, 90),
                report::seconds(took)
            ));
        }
        self.write(&step_targets(&self.steps, &name), &line)
    }

    fn log(&mut self, report: &Report, digest: &str, text: &str) -> Result<()> {
        let Some(step) = self.steps.get_mut(digest) else {
            return Ok(());
        };
        let mut lines = Vec::new();
        for line in text
            .split(['\n', '\r'])
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
        {
            if step.tail.len() == STEP_TAIL {
                step.tail.pop_front();
            }
            step.tail.push_back(line.to_owned());
            lines.push(line.to_owned());
        }
        let images = shown_targets(step);
        let targets: Vec<String> = step.targets.iter().cloned().collect();
        for line in lines {
            if self.detail == Detail::Logs {
                report.detail(format!("{images} {line}"));
            }
            self.write(&targets, &line)?;
        }
        Ok(())
    }

    fn write(&mut self, targets: &[String], line: &str) -> Result<()> {
        for (image, (_, file)) in &mut self.logs {
            if targets.is_empty() || targets.iter().any(|target| target == image) {
                writeln!(file, "{line}")?;
            }
        }
        Ok(())
    }

    fn heartbeat(&mut self, report: &Report) {
        if self.detail == Detail::Quiet || self.last_sign.elapsed() < HEARTBEAT {
            return;
        }
        self.last_sign = Instant::now();
        let running = self
            .steps
            .values()
            .filter(|step| !step.completed && step.name.contains('/'));
        let running: Vec<(&Step, Instant)> = running.filter_map(|step| Some((step, step.started?))).collect();
        if let Some((step, since)) = running.iter().min_by_key(|(_, since)| *since) {
            report.detail(format!(
                "{} [{} still running, {}",
                shown_targets(step),
                one_line(&step.name, 70),
                report::seconds(since.elapsed())
            ));
        }
    }

    /// `[genie production 3/9] RUN x` → `genie`, `production 3/9] RUN x`.
    fn split_name(&self, name: &str) -> (Option<&'a str>, String) {
        let inner = name.strip_prefix('[').unwrap_or(name);
        for image in &self.images {
            if let Some(rest) = inner.strip_prefix(image).and_then(|rest| rest.strip_prefix(' ')) {
                return (Some(image), rest.to_owned());
            }
        }
        // A call for one image names no target.
        let only = match self.images.as_slice() {
            [image] if !inner.starts_with("internal") => Some(*image),
            _ => None,
        };
        (only, inner.to_owned())
    }
}

/// `deps  2/12] RUN x` → `deps`, `RUN x`; nothing of what is no instruction of
/// a Dockerfile.
fn instruction(name: &str) -> Option<(&str, &str)> {
    let (place, instruction) = name.split_once("] ")?;
    // The number is padded; one stage alone has no name.
    let (stage, number) = place.rsplit_once(' ').unwrap_or(("", place));
    number.contains('/').then_some((stage.trim_end(), instruction))
}

fn step_targets(steps: &BTreeMap<String, Step>, name: &str) -> Vec<String> {
    let step = steps.values().find(|step| step.name == name);
    step.map(|step| step.targets.iter().cloned().collect())
        .unwrap_or_default()
}

fn shown_targets(step: &Step) -> String {
    let targets: Vec<&str> = step.targets.iter().map(String::as_str).collect();
    targets.join(",")
}

/// The first line, cut to `limit` characters.
fn one_line(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= limit {
        return line;
    }
    let cut: String = line.chars().take(limit).collect();
    format!("{cut}…")
}

/// BuildKit repeats the whole script of a `RUN` in its error.
fn short(error: &str) -> String {
    match error.rsplit_once("did not complete successfully: ") {
        Some((_, end)) => format!("the step ended with {end}"),
        None => one_line(error, 300),
    }
}

/// What people do about the usual causes.
fn hints(failure: Failure, text: &str) -> Failure {
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["certificate", "unknownissuer", "self-signed", "ssl:"]) {
        return failure.hint(
            "the network seems to intercept TLS: pass its CA bundle with `--ca-bundle FILE` or SSL_CERT_FILE",
        );
    }
    if has(&["no space left", "disk quota"]) {
        return failure.hint("the disk is full: `docker system df` shows what takes the room, `docker builder prune` frees build cache");
    }
    if has(&[
        "temporary failure in name resolution",
        "could not resolve",
        "failed to lookup address",
        "dns error",
        "network is unreachable",
    ]) {
        return failure.hint(
            "the build could not reach the network: check it, or the proxy, and run the same command again",
        );
    }
    if has(&["the lockfile at `uv.lock` needs to be updated", "uv lock"]) {
        return failure.hint("run `uv lock` in the app's folder and commit uv.lock");
    }
    failure
}

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// In the middle of an object.
    Pending,
    /// A line outside any object.
    Plain(String),
    /// A whole JSON object.
    Object(String),
}

/// Cuts lines into whole JSON objects.
#[derive(Debug, Default)]
struct Splitter {
    buffer: String,
    depth: usize,
}

impl Splitter {
    fn push(&mut self, line: &str) -> Piece {
        if self.depth == 0 && !line.starts_with('{') {
            return Piece::Plain(line.to_owned());
        }
        // A JSON string has no raw newline, so each line starts outside one.
        let (mut in_string, mut escaped) = (false, false);
        for c in line.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                '{' if !in_string => self.depth += 1,
                '}' if !in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.buffer.push_str(line);
        self.buffer.push('\n');
        if self.depth == 0 {
            Piece::Object(std::mem::take(&mut self.buffer))
        } else {
            Piece::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_cut_out_of_both_formats() {
        let mut splitter = Splitter::default();
        assert_eq!(
            splitter.push("{\"a\":\"}{\\\"\"}"),
            Piece::Object("{\"a\":\"}{\\\"\"}\n".to_owned())
        );
        assert_eq!(splitter.push("{"), Piece::Pending);
        assert_eq!(splitter.push("  \"a\": {}"), Piece::Pending);
        assert_eq!(
            splitter.push("}"),
            Piece::Object("{\n  \"a\": {}\n}\n".to_owned())
        );
        assert_eq!(splitter.push("ERROR: x"), Piece::Plain("ERROR: x".to_owned()));
    }

    #[test]
    fn outcome_is_what_ran_and_what_was_cached() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report::new(true, false);
        let mut progress = Progress::new(Detail::Quiet, &["genie", "agent"], dir.path()).unwrap();
        for line in [
            r#"{"vertexes":[{"digest":"d1","name":"[genie deps  3/12] RUN x [y] z","started":"t","completed":"t"}]}"#,
            r#"{"vertexes":[{"digest":"d1","name":"[agent deps  3/12] RUN x [y] z","started":"t","completed":"t"}]}"#,
            r#"{"vertexes":[{"digest":"d2","name":"[agent 2/2] COPY . /app","completed":"t","cached":true}]}"#,
            r#"{"vertexes":[{"digest":"d3","name":"[agent internal] load build context","completed":"t"}]}"#,
            r#"{"vertexes":[{"digest":"d4","name":"[genie deps  4/12] RUN w","started":"t"}]}"#,
        ] {
            progress.line(&report, line.as_bytes()).unwrap();
        }
        let (both, agent) = (
            BTreeSet::from(["agent".to_owned(), "genie".to_owned()]),
            BTreeSet::from(["agent".to_owned()]),
        );
        let did: Vec<Did<'_>> = progress.outcome().collect();
        assert_eq!(
            did,
            [
                Did {
                    targets: &both,
                    stage: "deps",
                    instruction: "RUN x [y] z",
                    cached: false
                },
                Did {
                    targets: &agent,
                    stage: "",
                    instruction: "COPY . /app",
                    cached: true
                },
            ]
        );
    }

    #[test]
    fn a_probe_ends_at_the_first_step_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report::new(true, false);
        let mut progress = Progress::new(Detail::Quiet, &["genie"], dir.path())
            .unwrap()
            .until_a_step_runs();
        for line in [
            r#"{"vertexes":[{"digest":"d0","name":"[internal] load build context","started":"t"}]}"#,
            r#"{"vertexes":[{"digest":"d1","name":"[deps 1/3] FROM base","started":"t"}]}"#,
            r#"{"vertexes":[{"digest":"d2","name":"[deps 2/3] RUN x"}]}"#,
            r#"{"vertexes":[{"digest":"d2","name":"[deps 2/3] RUN x","started":"t","completed":"t","cached":true}]}"#,
        ] {
            progress.line(&report, line.as_bytes()).unwrap();
        }
        assert_eq!(progress.ended_by(), None);
        let line = r#"{"vertexes":[{"digest":"d3","name":"[deps 3/3] RUN y","started":"t"}]}"#;
        progress.line(&report, line.as_bytes()).unwrap_err();
        assert_eq!(progress.ended_by(), Some(("deps", "RUN y")));
    }

    #[test]
    fn a_failure_names_step_lines_and_log() {
        let dir = tempfile::tempdir().unwrap();
        let report = Report::new(true, false);
        let mut progress = Progress::new(Detail::Quiet, &["genie", "agent"], dir.path()).unwrap();
        for line in [
            r#"{"vertexes":[{"digest":"d1","name":"[genie python-deps 3/7] RUN uv sync","started":"t"}]}"#,
            r#"{"vertexes":[{"digest":"d1","name":"[agent python-deps 3/7] RUN uv sync","started":"t"}]}"#,
            r#"{"logs":[{"vertex":"d1","stream":2,"data":"YmFkIGNlcnRpZmljYXRlCg=="}]}"#,
            r#"{"vertexes":[{"digest":"d1","name":"[agent python-deps 3/7] RUN uv sync","started":"t","completed":"t","error":"process \"x\" did not complete successfully: exit code: 2"}]}"#,
            "ERROR: failed to solve",
        ] {
            progress.line(&report, line.as_bytes()).unwrap();
        }
        let failure = progress.failure(std::os::unix::process::ExitStatusExt::from_raw(256));
        assert_eq!(
            failure.message,
            "build of agent and genie failed at [python-deps 3/7] RUN uv sync\n  bad certificate\n  the step ended with exit code: 2"
        );
        assert!(failure.hints[0].contains("--ca-bundle"), "{failure:?}");
        assert!(failure.hints[1].contains("build.log"), "{failure:?}");
        let log = fs_err::read_to_string(dir.path().join("genie/build.log")).unwrap();
        assert!(
            log.contains("bad certificate") && log.contains("ERROR: failed to solve"),
            "{log}"
        );
    }
}
