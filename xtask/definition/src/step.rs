//! The steps of a build, as BuildKit counts and tells them.

use serde::{Deserialize, Serialize};

/// A step's place, as BuildKit's progress has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepPlace {
    /// The stage of the Dockerfile that it belongs to.
    pub stage: String,
    /// Which of the stage's steps it is, counted from 1.
    pub step: usize,
    /// How many steps the stage has in all.
    pub of: usize,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// Its result was in BuildKit's cache.
    Cached,
    /// BuildKit ran it: its cache had no result for it that counted.
    Run,
}
