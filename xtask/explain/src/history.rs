//! What was asked, built and found, run by run, as values; for explanations
//! only.
//!
//! Truth lies on the image (its label) and in the engine (proof and release
//! tags). An entry that is missing, foreign or edited makes a reason less
//! telling, never a decision wrong. [`store`] keeps the entries, [`journal`]
//! writes those of a run.

pub mod compare;
pub mod journal;
pub mod select;
pub mod steps;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::forecast::ExpectedOutcome;
use crate::forecast::steps::Parts;
use definition::identity::{ImageId, Platform, SuiteKey};
use definition::plan::Action;
use definition::step::StepOutcome;
use definition::step::StepPlace;
use inputs::fingerprint::Fingerprint;

/// A change of what an entry's fields mean takes a new number: entries of another
/// one are not read.
pub(crate) const SCHEMA: u32 = 1;

/// One run's work on one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The number of this format: [`SCHEMA`].
    pub(crate) schema: u32,
    /// Counts the runs that had work on this image, from 1.
    pub number: u32,
    /// RFC 3339; written before the work starts.
    pub began: String,
    /// RFC 3339; `None` while the run goes on, and for ever if it was killed.
    pub(crate) completed: Option<String>,
    /// What had to happen to the image in this run.
    pub action: Action,
    /// Why this had to happen, as a sentence for people.
    pub reason: String,
    /// What was asked for besides the definition.
    pub(crate) asked: Asked,
    /// See [`engine::Identity`]: another engine has another cache.
    pub engine: String,
    /// The fingerprint of the definition that was wanted.
    pub fingerprint: Fingerprint,
    /// What the image was to be built from.
    pub definition: Stored,
    /// The image, as soon as there is one.
    pub image_id: Option<ImageId>,
    /// What was foretold of each step, and what became of it.
    #[serde(default)]
    pub steps: Vec<RecordedStep>,
    /// What the smoke suite found, where it ran.
    pub verdict: Option<RecordedVerdict>,
    /// How the run ended for this image.
    pub outcome: RunOutcome,
}

/// What was asked for besides the definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// The release tags that the image was to get.
    pub(crate) tags: Vec<String>,
    /// Whether `--no-cache` was asked for.
    pub(crate) no_cache: bool,
    pub(crate) base_set: String,
}

/// A definition whose texts and lists of inputs lie in the store, each once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// [`definition::SCHEMA`] when it was made.
    pub schema: u32,
    /// Name of the object that is the Dockerfile's text.
    pub(crate) dockerfile: String,
    /// See [`definition::Definition::target`].
    pub(crate) target: String,
    /// See [`definition::Definition::arguments`].
    pub(crate) arguments: BTreeMap<String, String>,
    /// See [`definition::Definition::platform`].
    pub(crate) platform: Platform,
    /// See [`definition::Definition::base`].
    pub(crate) base: String,
    /// Context name → names of the objects that are its inputs, in order.
    pub(crate) contexts: BTreeMap<String, Vec<String>>,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedStep {
    /// Its stage, and where in it the step stands.
    #[serde(flatten)]
    pub place: StepPlace,
    /// The instruction on one line.
    pub(crate) instruction: String,
    /// The key of the step; see [`crate::forecast::steps::BuildStep::key`].
    pub key: String,
    /// What the key is made of.
    pub parts: Parts,
    /// What was foretold of it before the build.
    pub(crate) expected: ExpectedOutcome,
    /// What became of it; `None` where BuildKit did not come to it.
    pub seen: Option<StepOutcome>,
    /// IDs of the cache's records that are, or may be, its result.
    pub records: Vec<String>,
}

/// What a smoke suite found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedVerdict {
    /// When the suite had ended, as RFC 3339.
    pub at: String,
    /// See `suite::key` of the crate `smoke`.
    pub suite_key: SuiteKey,
    /// See `suite::parts` of the crate `smoke`.
    pub suite: BTreeMap<String, String>,
    /// How many checks of the suite passed.
    pub passed: usize,
    /// The checks that failed and that no other failure explains.
    pub failed: Vec<String>,
}

impl RecordedVerdict {
    /// The parts of a suite that are not what they were for this verdict.
    pub fn changed_parts(&self, suite: &BTreeMap<String, String>) -> Vec<String> {
        let names: BTreeSet<&String> = self.suite.keys().chain(suite.keys()).collect();
        let changed = |name: &&String| self.suite.get(*name) != suite.get(*name);
        names.into_iter().filter(changed).cloned().collect()
    }
}

/// How a run's work on an image ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RunOutcome {
    /// It has not ended: it goes on, or was killed.
    Unfinished,
    /// Proved, and the tags are on it.
    Tagged,
    /// Stopped on the way; the first line of the error.
    Stopped {
        /// The first line of the error.
        message: String,
    },
}

impl RunOutcome {
    /// A few words for a list.
    pub fn shown(&self) -> &str {
        match self {
            Self::Unfinished => "not finished",
            Self::Tagged => "tagged",
            Self::Stopped { message } => message,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small entry for tests.
    pub(crate) fn entry(number: u32) -> HistoryEntry {
        HistoryEntry {
            schema: SCHEMA,
            number,
            began: "2026-11-21T09:00:00.000Z".to_owned(),
            completed: Some("2026-11-21T09:00:10.000Z".to_owned()),
            action: Action::Build,
            reason: "never built".to_owned(),
            asked: Asked {
                tags: vec!["hive-genie:latest".to_owned()],
                no_cache: false,
                base_set: "debian".to_owned(),
            },
            engine: "engine".to_owned(),
            fingerprint: crate::sample::sample().fingerprint(),
            definition: Stored {
                schema: definition::SCHEMA,
                dockerfile: String::new(),
                target: "production".to_owned(),
                arguments: BTreeMap::new(),
                platform: "linux/amd64".parse().unwrap(),
                base: "layers:sha256:00".to_owned(),
                contexts: BTreeMap::new(),
            },
            image_id: Some(format!("sha256:{:064}", 1).parse().unwrap()),
            steps: Vec::new(),
            verdict: None,
            outcome: RunOutcome::Tagged,
        }
    }
}
