//! A forecast held against what BuildKit did. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ExpectedOutcome, Foretold, KnownBuilds};
use definition::step::{StepOutcome, StepPlace};

/// A step that became something else than was foretold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    #[serde(flatten)]
    pub(crate) place: StepPlace,
    /// The instruction on one line.
    pub(crate) instruction: String,
    /// What was foretold of it.
    pub(crate) expected: ExpectedOutcome,
    pub(crate) seen: StepOutcome,
}

impl Mismatch {
    /// `production 5/7 COPY a /b was run, and was to be cached`.
    pub fn line(&self) -> String {
        let (was, was_to_be) = match self.seen {
            StepOutcome::Cached => ("cached", "run"),
            StepOutcome::Run => ("run", "cached"),
        };
        let StepPlace { stage, step, of } = &self.place;
        format!(
            "{stage} {step}/{of} {} was {was}, and was to be {was_to_be}",
            self.instruction
        )
    }
}

/// A forecast with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The steps as they were foretold before the build.
    pub(crate) expected: Vec<Foretold>,
    /// What became of each step that BuildKit came to.
    pub(crate) seen: Vec<Happened>,
    /// Where the two differ and nobody has pruned the cache.
    pub wrong: Vec<Mismatch>,
    /// Steps that were to be cached, and ran because the build cache had lost
    /// something since they were.
    pub pruned: Vec<Mismatch>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Happened {
    #[serde(flatten)]
    pub(crate) place: StepPlace,
    pub(crate) seen: StepOutcome,
}

/// Key → what became of the steps with this key, whichever image they were of:
/// one of two images that share a step runs it, and the other finds it cached.
pub fn by_key<'f>(
    images: impl Iterator<Item = (&'f [Foretold], &'f BTreeMap<StepPlace, StepOutcome>)>,
) -> BTreeMap<&'f str, StepOutcome> {
    let mut all = BTreeMap::new();
    for (steps, seen) in images {
        for step in steps {
            let Some(seen) = seen.get(&step.place) else {
                continue;
            };
            let so_far = all.entry(step.key.as_str()).or_insert(*seen);
            if *seen == StepOutcome::Run {
                *so_far = StepOutcome::Run;
            }
        }
    }
    all
}

/// Holds one image's forecast against the outcome of the whole call.
pub fn check(steps: &[Foretold], outcome: &BTreeMap<&str, StepOutcome>, known: &KnownBuilds) -> Checked {
    let mut checked = Checked {
        expected: steps.to_vec(),
        seen: Vec::new(),
        wrong: Vec::new(),
        pruned: Vec::new(),
    };
    for step in steps {
        let Some(&seen) = outcome.get(step.key.as_str()) else {
            continue;
        };
        checked.seen.push(Happened {
            place: step.place.clone(),
            seen,
        });
        let mismatch = Mismatch {
            place: step.place.clone(),
            instruction: step.instruction.clone(),
            expected: step.expect,
            seen,
        };
        match (step.expect, seen) {
            (ExpectedOutcome::Open, _)
            | (ExpectedOutcome::Cached, StepOutcome::Cached)
            | (ExpectedOutcome::Run, StepOutcome::Run) => {}
            (ExpectedOutcome::Cached, StepOutcome::Run) if known.has_lost_since(&step.key) => {
                checked.pruned.push(mismatch)
            }
            _ => checked.wrong.push(mismatch),
        }
    }
    checked
}
