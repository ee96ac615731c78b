//! BuildKit's raw progress → lines for people, log files, and the reason of a
//! failure.
//!
//! `--progress rawjson` is a stream of JSON objects, one per line in newer
//! versions and pretty-printed over many lines in older ones (0.13); at the
//! end of a failed build plain text follows. Both are read by counting braces.

mod blame;
mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use blame::{hints, is_telling, short};
use definition::base::BaseSets;
use definition::step::StepOutcome;
use definition::step::StepPlace;
use failure::Failure;
use host::process;
use host::report::{self, Report};
use stream::{Event, Piece, Splitter, Vertex};

/// Lines of a failing step that its message carries.
const STEP_TAIL: usize = 15;

/// Lines before them that it carries, too.
const TELLING: usize = 3;

/// A step that says nothing for this long gets a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What is known of a step.
#[derive(Debug, Default)]
struct StepProgress {
    /// `stage n/m] RUN …` without the target's name.
    name: String,
    /// The images that need it.
    targets: BTreeSet<String>,
    /// What it is called for each of them: the same step may have another
    /// number in another Dockerfile.
    names: BTreeSet<(String, String)>,
    started: Option<Instant>,
    completed: bool,
    cached: bool,
    error: Option<String>,
    tail: VecDeque<String>,
    /// What stood before the tail and may be the cause.
    telling: Vec<String>,
    /// What it printed since the last end of a line.
    unfinished_line: Vec<u8>,
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
    /// No steps; warnings and errors are shown all the same.
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
    folder: PathBuf,
    /// Image → its log file.
    logs: BTreeMap<&'a str, (PathBuf, fs_err::File)>,
    splitter: Splitter,
    steps: BTreeMap<String, StepProgress>,
    /// What came outside the JSON: the error at the end.
    plain: Vec<String>,
    last_sign: Instant,
    /// Texts that no log and no terminal gets.
    hidden: Vec<String>,
    /// What a hint may send somebody to, for another Python.
    bases: Option<&'a BaseSets>,
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
            folder: folder.to_owned(),
            logs,
            splitter: Splitter::default(),
            steps: BTreeMap::new(),
            plain: Vec::new(),
            last_sign: Instant::now(),
            hidden: Vec::new(),
            bases: None,
            probing: None,
        })
    }

    /// Names the base sets to whoever needs another Python.
    #[must_use]
    pub fn naming(mut self, bases: &'a BaseSets) -> Self {
        self.bases = Some(bases);
        self
    }

    /// Strikes these texts out of all that is shown and kept.
    #[must_use]
    pub fn hiding(mut self, texts: &[String]) -> Self {
        self.hidden = texts.to_vec();
        // What is part of another one would leave the rest of it.
        self.hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        self
    }

    fn shown(&self, text: String) -> String {
        self.hidden
            .iter()
            .fold(text, |text, hidden| text.replace(hidden.as_str(), "****"))
    }

    /// Ends the build, with an error, at the first step that is not cached:
    /// for who wants to know whether there is one, not what it makes.
    #[must_use]
    pub fn until_a_step_runs(mut self) -> Self {
        self.probing = Some(None);
        self
    }

    /// The folder with the folders of the images, for what belongs to the call.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The stage and the instruction that ended the build.
    pub fn ended_by(&self) -> Option<(&str, &str)> {
        instruction(self.probing.as_ref()?.as_ref()?)
    }

    /// Takes one line of the stream.
    ///
    /// # Errors
    /// When a log file cannot be written.
    pub(crate) fn line(&mut self, report: &Report, line: &[u8]) -> Result<()> {
        match self.splitter.push(&String::from_utf8_lossy(line)) {
            Piece::Pending => {}
            Piece::Plain(text) => {
                let text = self.shown(text);
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

    /// Says how many steps a build had that went well, and how many were cached.
    pub(crate) fn finish(&self, report: &Report, took: Duration) {
        let done = self
            .steps
            .values()
            .filter(|step| step.completed && step.name.contains('/'));
        let (cached, ran): (Vec<&StepProgress>, Vec<&StepProgress>) = done.partition(|step| step.cached);
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

    /// What became of each step of an image. With containerd's image store
    /// `COPY --link` is two: the copy, and its link upon the layers before it,
    /// which is made anew whenever those are and does not count.
    pub fn seen(&self, image: &str) -> BTreeMap<StepPlace, StepOutcome> {
        let mut all = BTreeMap::new();
        let done = self
            .steps
            .values()
            .filter(|step| step.completed && step.error.is_none());
        for step in done {
            let names = step.names.iter().filter(|(target, _)| target == image);
            for (place, instruction) in names.filter_map(|(_, name)| placed(name)) {
                if instruction.starts_with("LINK ") {
                    continue;
                }
                let seen = if step.cached {
                    StepOutcome::Cached
                } else {
                    StepOutcome::Run
                };
                let so_far = all.entry(place).or_insert(seen);
                if seen == StepOutcome::Run {
                    *so_far = StepOutcome::Run;
                }
            }
        }
        // A call that ends at the first step that runs is for one image.
        let ended_by = self.probing.iter().flatten().filter_map(|name| placed(name));
        all.extend(ended_by.map(|(place, _)| (place, StepOutcome::Run)));
        all
    }

    fn failed(&self) -> Option<&StepProgress> {
        self.steps.values().find(|step| {
            step.error
                .as_ref()
                .is_some_and(|error| !error.contains("context canceled"))
        })
    }

    /// Where a step with the app's own code has failed: the images that want it, and its last lines.
    pub fn failed_of_app(&self) -> Option<(&BTreeSet<String>, Vec<&str>)> {
        let of_app = |step: &&StepProgress| step.name.starts_with("python-app ");
        let step = self.failed().filter(of_app)?;
        Some((&step.targets, step.tail.iter().map(String::as_str).collect()))
    }

    /// What stopped the build: the step, its last lines, the log's path.
    pub(crate) fn failure(&self, status: ExitStatus) -> Failure {
        let Some(step) = self.failed() else {
            let text = self.plain.join("\n");
            let last = text
                .lines()
                .rev()
                .find(|line| line.contains("ERROR"))
                .unwrap_or("no reason was given");
            let mut failure =
                failure::build(format!("docker buildx bake {}: {last}", process::ended(status)));
            failure = hints(failure, &text, self.bases);
            return self.with_logs(failure);
        };
        let images: Vec<&str> = step.targets.iter().map(String::as_str).collect();
        let error = step.error.as_deref().unwrap_or_default();
        let mut message = format!("build of {} failed at [{}", images.join(" and "), step.name);
        let lines = step.telling.iter().chain(&step.tail);
        let lines: Vec<&str> = lines.map(String::as_str).collect();
        if lines.is_empty() {
            message.push_str(&format!("\n  {error}"));
        } else {
            message.push_str(&format!("\n  {}\n  {}", lines.join("\n  "), short(error)));
        }
        // Not the script, which BuildKit repeats: ours names certificates.
        let all = format!("{}\n{}", lines.join("\n"), short(error));
        let mut failure = hints(failure::build(message), &all, self.bases);
        if let [image] = images.as_slice() {
            for hint in &mut failure.hints {
                *hint = hint.replace("images/<image>/", &format!("images/{image}/"));
            }
        }
        self.with_logs(failure)
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
            self.log(report, &log.vertex, &bytes)?;
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
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        step.name.clone_from(&name);
        step.targets.extend(target.map(str::to_owned));
        step.names
            .extend(target.map(|target| (target.to_owned(), name.clone())));
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
        let rest = std::mem::take(&mut step.unfinished_line);
        self.log_lines(report, &vertex.digest, &rest)?;
        let Some(step) = self.steps.get(&vertex.digest) else {
            return Ok(());
        };
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
        let targets: Vec<String> = step.targets.iter().cloned().collect();
        self.write(&targets, &line)
    }

    /// Takes a piece of what a step prints, which may end in the middle of a
    /// line or of a character.
    fn log(&mut self, report: &Report, digest: &str, piece: &[u8]) -> Result<()> {
        let Some(step) = self.steps.get_mut(digest) else {
            return Ok(());
        };
        step.unfinished_line.extend(piece);
        let end = match step
            .unfinished_line
            .iter()
            .rposition(|byte| matches!(byte, b'\n' | b'\r'))
        {
            _ if step.completed => step.unfinished_line.len(),
            Some(last) => last + 1,
            None => return Ok(()),
        };
        let rest = step.unfinished_line.split_off(end);
        let lines = std::mem::replace(&mut step.unfinished_line, rest);
        self.log_lines(report, digest, &lines)
    }

    fn log_lines(&mut self, report: &Report, digest: &str, text: &[u8]) -> Result<()> {
        let text = self.shown(String::from_utf8_lossy(text).into_owned());
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
                let cut = step.tail.pop_front();
                let keep = step.telling.len() < TELLING;
                step.telling.extend(cut.filter(|line| keep && is_telling(line)));
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
        let running: Vec<(&StepProgress, Instant)> =
            running.filter_map(|step| Some((step, step.started?))).collect();
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

/// `python-deps  9/10] COPY . /app` → its place and the instruction.
fn placed(name: &str) -> Option<(StepPlace, &str)> {
    let (stage, instruction) = instruction(name)?;
    let (before, _) = name.split_once("] ")?;
    let (step, of) = before.rsplit(' ').next()?.split_once('/')?;
    let place = StepPlace {
        stage: stage.to_owned(),
        step: step.parse().ok()?,
        of: of.parse().ok()?,
    };
    Some((place, instruction))
}

fn shown_targets(step: &StepProgress) -> String {
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

#[cfg(test)]
mod tests;
