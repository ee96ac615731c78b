//! Which steps a build will run, foretold from what earlier builds left in the
//! engine's cache. Pure.
//!
//! A definition's [`steps`] have keys. A key that an earlier build on this
//! engine had is cached; a step whose own parts are new runs, and so does all
//! that stands on it. What lies between is open: a `COPY` from a stage that is
//! built again stays cached if the files come out as they were. Afterwards
//! [`check`] holds the forecast against what BuildKit did.

pub mod check;
pub(crate) mod dockerfile;
pub(crate) mod settings;
pub(crate) mod shown;
pub mod steps;
pub(crate) mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use definition::step::StepPlace;
use steps::{BuildStep, Parts};

/// What will become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ExpectedOutcome {
    /// Its result is in the build cache.
    Cached,
    /// Depends on what a step before it makes, or on builds that are not on
    /// record.
    Open,
    /// BuildKit will run it, for the reasons that stand beside.
    Run,
}

/// Why a step is not cached for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Why {
    /// It has no choice: `--no-cache` was given.
    Forced,
    /// The base that it stands on is another one.
    Base,
    /// The instruction is new or changed.
    Instruction,
    /// A variable, the user, the shell or the folder that it runs with changed.
    Variables,
    /// Files that it reads changed.
    Inputs,
    /// It reads files of a stage that is built again.
    StageRead,
    /// A step before it is run.
    StepBefore,
    /// Its result is gone from the engine's cache.
    Pruned,
    /// No build on this engine is on record.
    Unrecorded,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forced => "forced by --no-cache",
            Self::Base => "the base moved",
            Self::Instruction => "the instruction changed",
            Self::Variables => "its variables changed",
            Self::Inputs => "files that it reads changed",
            Self::StageRead => "it reads a stage that is built again",
            Self::StepBefore => "a step before it runs",
            Self::Pruned => "its result is gone from the build cache",
            Self::Unrecorded => "no earlier build on this engine is on record",
        })
    }
}

/// A step with what will become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foretold {
    #[serde(flatten)]
    pub(crate) place: StepPlace,
    /// The instruction on one line.
    pub(crate) instruction: String,
    /// What will become of it.
    pub(crate) expect: ExpectedOutcome,
    /// Why; empty where it is cached.
    pub(crate) because: Vec<Why>,
    /// [`BuildStep::key`], which the history keeps and nobody is shown.
    #[serde(skip)]
    pub(crate) key: String,
    /// [`BuildStep::parts`], which the history keeps and nobody is shown.
    #[serde(skip)]
    pub(crate) parts: Parts,
    /// [`BuildStep::described`], by which its records in BuildKit's cache are known.
    #[serde(skip)]
    pub(crate) described: String,
}

/// The steps of a definition, foretold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// How many steps are cached, will run and may run, on one line.
    pub summary: String,
    /// In the order of the Dockerfile.
    pub steps: Vec<Foretold>,
}

impl Forecast {
    /// A forecast of these steps, with its summary.
    pub fn new(steps: Vec<Foretold>) -> Self {
        Self {
            summary: summary(&steps),
            steps,
        }
    }

    /// A line for each step that is not cached for sure.
    pub fn lines(&self) -> Vec<String> {
        let uncertain = self
            .steps
            .iter()
            .filter(|step| step.expect != ExpectedOutcome::Cached);
        uncertain.map(Foretold::line).collect()
    }
}

/// A step of an earlier build on the same engine that has been in its cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its stage, and where in it the step stood.
    pub place: StepPlace,
    /// The key that BuildKit's cache would find it by; see [`BuildStep::key`].
    pub key: String,
    /// What the key is made of; see [`BuildStep::parts`].
    pub parts: Parts,
    /// IDs of the cache's records that are, or may be, its result.
    pub records: Vec<String>,
}

/// What is known before a build.
#[derive(Clone, Debug, Default)]
pub struct KnownBuilds {
    /// The steps of each earlier build on this engine, the latest last.
    pub builds: Vec<Vec<Past>>,
    /// IDs of all records in the engine's build cache.
    pub cache: BTreeSet<String>,
}

impl KnownBuilds {
    fn past(&self) -> impl DoubleEndedIterator<Item = &Past> + Clone {
        self.builds.iter().flatten()
    }

    /// The cache's records of a step with this key, as they were noted last.
    pub(crate) fn records_of(&self, key: &str) -> Option<&[String]> {
        let last = self.past().rev().find(|past| past.key == key);
        last.map(|past| past.records.as_slice())
    }

    /// Whether a step that was cached once no longer is.
    fn is_pruned(&self, key: &str) -> bool {
        let mut same = self.past().filter(|past| past.key == key).peekable();
        same.peek().is_some() && same.all(|past| self.has_lost(past))
    }

    /// Whether the cache has lost something since a step with this key was last
    /// in it.
    fn has_lost_since(&self, key: &str) -> bool {
        let mut builds = self.builds.iter().rev();
        let last = builds.find(|build| build.iter().any(|past| past.key == key));
        last.is_some_and(|build| build.iter().any(|past| self.has_lost(past)))
    }

    /// None of the records that may be a step's result is there.
    fn has_lost(&self, past: &Past) -> bool {
        !past.records.is_empty() && past.records.iter().all(|record| !self.cache.contains(record))
    }
}

/// Foretells all steps of a definition, as [`steps::steps`] gave them.
pub fn forecast(steps: Vec<BuildStep>, known: &KnownBuilds, forced: bool) -> Vec<Foretold> {
    let keys: BTreeSet<&str> = known.past().map(|past| past.key.as_str()).collect();
    let mut expected: Vec<(ExpectedOutcome, Vec<Why>)> = Vec::new();
    for step in &steps {
        let told = if forced {
            (ExpectedOutcome::Run, vec![Why::Forced])
        } else if !keys.contains(step.key.as_str()) {
            unknown(step, &steps, &expected, known)
        } else if known.is_pruned(&step.key) {
            (ExpectedOutcome::Run, vec![Why::Pruned])
        } else {
            (ExpectedOutcome::Cached, Vec::new())
        };
        expected.push(told);
    }
    let both = steps.into_iter().zip(expected);
    both.map(|(step, (expect, because))| Foretold {
        place: step.place,
        instruction: step.instruction,
        expect,
        because,
        key: step.key,
        parts: step.parts,
        described: step.described,
    })
    .collect()
}

/// A step whose key no earlier build had.
fn unknown(
    step: &BuildStep,
    steps: &[BuildStep],
    expected: &[(ExpectedOutcome, Vec<Why>)],
    known: &KnownBuilds,
) -> (ExpectedOutcome, Vec<Why>) {
    if known.past().next().is_none() {
        return (ExpectedOutcome::Open, vec![Why::Unrecorded]);
    }
    let worst = |indices: &[usize]| {
        indices
            .iter()
            .map(|&at| expected[at].0)
            .max()
            .unwrap_or(ExpectedOutcome::Cached)
    };
    let (mut expect, mut because) = (ExpectedOutcome::Cached, Vec::new());
    let own = own_changes(step, known);
    if !own.is_empty() {
        expect = ExpectedOutcome::Run;
        because.extend(own);
    }
    let is_new = |chain: &[usize], path: &str| {
        chain
            .iter()
            .any(|&at| puts_new_files(&steps[at], &expected[at], path))
    };
    let below = match worst(&step.below) {
        ExpectedOutcome::Run if step.by_content && !is_new(&step.below, "/") => ExpectedOutcome::Open,
        below => below,
    };
    if below != ExpectedOutcome::Cached {
        expect = expect.max(below);
        because.push(Why::StepBefore);
    }
    for read in &step.reads {
        if worst(&read.chain) == ExpectedOutcome::Cached {
            continue;
        }
        let certain = is_new(&read.chain, &read.path);
        expect = expect.max(if certain {
            ExpectedOutcome::Run
        } else {
            ExpectedOutcome::Open
        });
        because.push(Why::StageRead);
    }
    if because.is_empty() {
        // All that it stands on is cached, each for itself; together they have
        // not been seen, so no build can have left this step's result.
        expect = ExpectedOutcome::Run;
        because.push(Why::StepBefore);
    }
    because.dedup();
    (expect, because)
}

/// Which of a step's own parts no earlier build had in this place or for this
/// instruction.
fn own_changes(step: &BuildStep, known: &KnownBuilds) -> Vec<Why> {
    let own = |parts: &Parts| {
        (
            parts.instruction.clone(),
            parts.variables.clone(),
            parts.inputs.clone(),
            parts.base.clone(),
        )
    };
    if known.past().any(|past| own(&past.parts) == own(&step.parts)) {
        return Vec::new();
    }
    let same = known.past().rev().find(|past| {
        past.parts.instruction == step.parts.instruction && past.place.stage == step.place.stage
    });
    let Some(before) = same else {
        return vec![Why::Instruction];
    };
    let differs = [
        (
            before.parts.base != step.parts.base && !step.parts.base.is_empty(),
            Why::Base,
        ),
        (before.parts.variables != step.parts.variables, Why::Variables),
        (before.parts.inputs != step.parts.inputs, Why::Inputs),
    ];
    differs
        .into_iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, why)| why)
        .collect()
}

/// Whether a step for sure changes files that another one reads at `path`: it
/// copies new ones there, or stands on another base.
fn puts_new_files(step: &BuildStep, (expect, because): &(ExpectedOutcome, Vec<Why>), path: &str) -> bool {
    let within = |folder: &str| {
        let folder = if folder == "/" { "" } else { folder };
        let path = if path == "/" { "" } else { path };
        folder
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let copies = because.contains(&Why::Inputs) && step.writes.as_deref().is_some_and(within);
    *expect == ExpectedOutcome::Run && (copies || (because.contains(&Why::Base) && path == "/"))
}

/// `python-deps 9–10 of 10 run`, stage by stage; what is cached as a number.
pub(crate) fn summary(steps: &[Foretold]) -> String {
    if steps.iter().all(|step| step.because == [Why::Unrecorded]) {
        return "nothing is foretold: no earlier build on this engine is on record".to_owned();
    }
    let cached = steps
        .iter()
        .filter(|step| step.expect == ExpectedOutcome::Cached)
        .count();
    let mut parts = Vec::new();
    for (expect, verb) in [(ExpectedOutcome::Run, "runs"), (ExpectedOutcome::Open, "may run")] {
        let mut stages: BTreeMap<&str, (usize, Vec<usize>)> = BTreeMap::new();
        for step in steps.iter().filter(|step| step.expect == expect) {
            let (of, numbers) = stages.entry(&step.place.stage).or_default();
            *of = step.place.of;
            numbers.push(step.place.step);
        }
        let mut named: Vec<&str> = stages.keys().copied().collect();
        named.sort_by_key(|name| steps.iter().position(|step| step.place.stage == *name));
        let listed = named.iter().filter_map(|name| {
            let (of, numbers) = stages.get(name)?;
            Some(format!("{name} {} of {of}", ranges(numbers)))
        });
        let listed: Vec<String> = listed.collect();
        if !listed.is_empty() {
            parts.push(format!("{verb} {}", listed.join(", ")));
        }
    }
    parts.push(format!("{cached} of {} steps cached", steps.len()));
    parts.join("; ")
}

/// `2, 5–7` of sorted numbers.
fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => runs.push((number, number)),
        }
    }
    let shown = runs.into_iter().map(|(from, to)| {
        if from == to {
            from.to_string()
        } else {
            format!("{from}–{to}")
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

impl Foretold {
    /// `python-deps 9/10 COPY . /app: files that it reads changed`.
    pub(crate) fn line(&self) -> String {
        let open = self.expect == ExpectedOutcome::Open;
        let reason = |why: &Why| match why {
            Why::StepBefore if open => "a step before it may run".to_owned(),
            other => other.to_string(),
        };
        let reasons: Vec<String> = self.because.iter().map(reason).collect();
        let perhaps = if open { "perhaps " } else { "" };
        format!(
            "{perhaps}{} {}/{} {}: {}",
            self.place.stage,
            self.place.step,
            self.place.of,
            self.instruction,
            reasons.join(", ")
        )
    }
}

#[cfg(test)]
pub(crate) mod tests;
