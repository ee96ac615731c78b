//! What has to happen to each image, and why, as a value. Pure.

pub mod change;
pub(crate) mod diff;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::ImageId;
use crate::reference::Reference;
use crate::{Definition, SCHEMA};
use change::DefinitionChange;
use inputs::clock;
use inputs::fingerprint::Fingerprint;

/// What has to happen, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing to do: image, proof and tags are there.
    UpToDate,
    /// Move tags: the image is there and proved.
    Retag,
    /// Prove, then move tags: the image is there.
    Retest,
    /// Build the image, prove it, then move tags.
    Build,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpToDate => "up to date",
            Self::Retag => "retag",
            Self::Retest => "retest",
            Self::Build => "build",
        })
    }
}

/// Why; its sentence is what users see, its kind what scripts read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PlanReason {
    /// Image, proof and tags are what they should be.
    Unchanged,
    /// `--no-cache` asked for a build whatever is there.
    Forced,
    /// No base, hence no fingerprint.
    BaseUnknown {
        /// The base set whose base the engine does not have.
        base_set: String,
    },
    /// Nothing is known of an earlier build.
    NeverBuilt,
    /// The engine had the image once.
    ImagePruned,
    /// Another engine has the image.
    EngineChanged,
    /// The last build was named by another meaning of the fingerprint.
    SchemaChanged {
        /// The number that the last build was recorded with.
        from: u32,
        /// The number that this version of the tool records: [`SCHEMA`].
        to: u32,
    },
    /// What differs from the last build.
    Changed {
        /// The differences, those that say most first.
        changes: Vec<DefinitionChange>,
    },
    /// No verdict on the image is recorded, and no proof tag is on it.
    NotProved,
    /// The run that built it ended before its suite did.
    NeverSmoked,
    /// The present suite ran on it.
    SmokeFailed {
        /// The names of the checks that failed.
        checks: Vec<String>,
        /// When that run was, as RFC 3339 has it.
        at: String,
    },
    /// It was proved against another suite.
    SuiteChanged {
        /// What of the suite, as the crate `smoke` names them.
        parts: Vec<String>,
    },
    /// It passed the present suite, and the engine's proof tag is gone.
    ProofGone,
    /// Tags that are missing or name another image.
    TagsElsewhere {
        /// The tags that have to move.
        tags: Vec<Reference>,
    },
}

impl PlanReason {
    /// All that is known, a line each; the sentence alone where there is no
    /// more.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Changed { changes } => changes.iter().flat_map(DefinitionChange::lines).collect(),
            other => vec![other.to_string()],
        }
    }
}

/// The most clauses of a sentence.
const CLAUSES: usize = 4;

impl fmt::Display for PlanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged => f.write_str("nothing changed"),
            Self::Forced => f.write_str("forced by --no-cache"),
            Self::BaseUnknown { base_set } => write!(f, "base {base_set} is not in the engine yet"),
            Self::NeverBuilt => f.write_str("never built"),
            Self::ImagePruned => f.write_str("the image is gone from the engine"),
            Self::Changed { changes } => {
                let shown: Vec<String> = changes.iter().take(CLAUSES).map(ToString::to_string).collect();
                f.write_str(&shown.join(", "))?;
                match changes.len().saturating_sub(CLAUSES) {
                    0 => Ok(()),
                    1 => f.write_str(" and 1 other change"),
                    more => write!(f, " and {more} other changes"),
                }
            }
            Self::EngineChanged => f.write_str("another engine has the image"),
            Self::SchemaChanged { from, to } => {
                write!(f, "the fingerprint's schema changed: {from} → {to}")
            }
            Self::NotProved => f.write_str("the image has not passed the present smoke suite"),
            Self::NeverSmoked => f.write_str("never smoked"),
            Self::SmokeFailed { checks, at } => {
                write!(f, "smoke failed {}: {}", clock::shown(at), checks.join(", "))
            }
            Self::SuiteChanged { parts } => {
                let names: Vec<&str> = parts.iter().map(|part| suite_part_name(part)).collect();
                write!(f, "the smoke suite changed: {}", names.join(", "))
            }
            Self::ProofGone => f.write_str("the image's proof is gone from the engine"),
            Self::TagsElsewhere { tags } => {
                let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
                write!(f, "not on this image yet: {}", tags.join(", "))
            }
        }
    }
}

/// A suite's part for people.
pub fn suite_part_name(part: &str) -> &str {
    match part {
        "tool" => "the tool's checks",
        "checks" => "the spec's checks",
        "app" => "what the app promises",
        "database" => "the image whose database it is proved with",
        other => other,
    }
}

/// What is recorded of earlier runs; for the reason only.
#[derive(Clone, Debug, Default)]
pub struct KnownRuns {
    /// The last build of this image that is recorded in full.
    pub last: Option<LastBuild>,
    /// The last verdict on the image that is there.
    pub verdict: Option<LastVerdict>,
    /// Whether some run built the image that is there.
    pub built_here: bool,
}

/// The last build of an image.
#[derive(Clone, Debug)]
pub struct LastBuild {
    /// The [`SCHEMA`] by which its definition was fingerprinted.
    pub schema: u32,
    /// The fingerprint of the definition that it was built from.
    pub fingerprint: Fingerprint,
    /// Whether another engine made it; looked up where nothing else differs.
    pub elsewhere: bool,
    /// What differs between its definition and the one that is wanted.
    pub changes: Vec<DefinitionChange>,
}

/// A verdict on an image ID.
#[derive(Clone, Debug)]
pub struct LastVerdict {
    /// When the suite had ended, as RFC 3339.
    pub at: String,
    /// Parts of the suite that are not the same now.
    pub suite_changes: Vec<String>,
    /// The checks at fault; none where it passed.
    pub failed: Vec<String>,
}

/// What an image should be.
#[derive(Debug)]
pub struct WantedImage<'a> {
    /// Its definition with the fingerprint; absent while the base is unknown.
    pub definition: Option<(&'a Definition, Fingerprint)>,
    /// The name of the base set that it is to be built on.
    pub base_set: &'a str,
    /// What is recorded of earlier runs.
    pub known: &'a KnownRuns,
    /// The release tags that the image is to get.
    pub tags: &'a [Reference],
    /// Whether it is built in any case, as `--no-cache` asks.
    pub forced: bool,
}

/// What the engine has of an image, before anything is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// ID of an image with the wanted fingerprint.
    pub image_id: Option<ImageId>,
    /// Whether it passed the present suite.
    pub proved: bool,
    /// Tag → the ID it names.
    pub tags: BTreeMap<Reference, ImageId>,
}

/// One image's line of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct ImagePlan {
    /// Name of the image, which is its folder below `images/`.
    pub name: String,
    /// The least that makes the image what is wanted.
    pub action: Action,
    /// Why this has to happen, as a sentence for people.
    pub reason: String,
    /// Why this has to happen, as a value for programs.
    pub cause: PlanReason,
    /// Of the definition; null while the base is not in the engine.
    pub fingerprint: Option<Fingerprint>,
    /// The image that is there already.
    pub image_id: Option<ImageId>,
    /// Release tags it will have.
    pub tags: Vec<Reference>,
}

/// What has to happen to one image, from what is wanted and what is there.
pub fn decide(name: &str, wanted: &WantedImage<'_>, present: Present) -> ImagePlan {
    let (action, cause) = action(wanted, &present);
    ImagePlan {
        name: name.to_owned(),
        action,
        reason: cause.to_string(),
        cause,
        fingerprint: wanted.definition.map(|(_, fingerprint)| fingerprint),
        image_id: present.image_id,
        tags: wanted.tags.to_vec(),
    }
}

fn action(wanted: &WantedImage<'_>, present: &Present) -> (Action, PlanReason) {
    let Some((_, fingerprint)) = wanted.definition else {
        return (
            Action::Build,
            PlanReason::BaseUnknown {
                base_set: wanted.base_set.to_owned(),
            },
        );
    };
    if wanted.forced {
        return (Action::Build, PlanReason::Forced);
    }
    let Some(id) = &present.image_id else {
        return (Action::Build, absent(wanted.known.last.as_ref(), fingerprint));
    };
    if !present.proved {
        return (Action::Retest, unproved(wanted.known));
    }
    let elsewhere: Vec<Reference> = wanted
        .tags
        .iter()
        .filter(|tag| present.tags.get(*tag) != Some(id))
        .cloned()
        .collect();
    if elsewhere.is_empty() {
        (Action::UpToDate, PlanReason::Unchanged)
    } else {
        (Action::Retag, PlanReason::TagsElsewhere { tags: elsewhere })
    }
}

/// Why an image is not there.
fn absent(last: Option<&LastBuild>, fingerprint: Fingerprint) -> PlanReason {
    match last {
        None => PlanReason::NeverBuilt,
        Some(last) if last.schema != SCHEMA => PlanReason::SchemaChanged {
            from: last.schema,
            to: SCHEMA,
        },
        Some(last) if last.fingerprint != fingerprint => PlanReason::Changed {
            changes: last.changes.clone(),
        },
        Some(last) if last.elsewhere => PlanReason::EngineChanged,
        Some(_) => PlanReason::ImagePruned,
    }
}

/// Why an image that is there has to be proved.
fn unproved(known: &KnownRuns) -> PlanReason {
    match &known.verdict {
        None if known.built_here => PlanReason::NeverSmoked,
        None => PlanReason::NotProved,
        Some(verdict) if !verdict.suite_changes.is_empty() => PlanReason::SuiteChanged {
            parts: verdict.suite_changes.clone(),
        },
        Some(verdict) if verdict.failed.is_empty() => PlanReason::ProofGone,
        Some(verdict) => PlanReason::SmokeFailed {
            checks: verdict.failed.clone(),
            at: verdict.at.clone(),
        },
    }
}

#[cfg(test)]
mod tests;
