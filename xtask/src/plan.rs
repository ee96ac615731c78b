//! What has to happen to each image, and why, as a value. Pure.

pub mod change;
pub mod diff;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::definition::Definition;
use crate::fingerprint::Fingerprint;
use change::Change;

/// What has to happen, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing.
    UpToDate,
    /// Move tags: the image is there and proved.
    Retag,
    /// Prove, then move tags: the image is there.
    Retest,
    /// Build, prove, move tags.
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
pub enum Reason {
    /// Image, proof and tags are what they should be.
    Unchanged,
    /// `--no-cache`.
    Forced,
    /// No base, hence no fingerprint.
    BaseUnknown {
        /// The base set.
        base_set: String,
    },
    /// Nothing is known of an earlier build.
    NeverBuilt,
    /// The engine had the image once.
    ImagePruned,
    /// What differs from the last build.
    Changed {
        /// The telling ones first.
        changes: Vec<Change>,
    },
    /// The image passed no suite, or another one.
    NotProved,
    /// Tags that are missing or name another image.
    TagsElsewhere {
        /// The tags.
        tags: Vec<String>,
    },
}

impl Reason {
    /// All that is known, a line each; the sentence alone where there is no
    /// more.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Changed { changes } => changes.iter().flat_map(Change::lines).collect(),
            other => vec![other.to_string()],
        }
    }
}

/// As many clauses as a sentence bears.
const CLAUSES: usize = 4;

impl fmt::Display for Reason {
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
            Self::NotProved => f.write_str("the image has not passed the present smoke suite"),
            Self::TagsElsewhere { tags } => write!(f, "not on this image yet: {}", tags.join(", ")),
        }
    }
}

/// What an image should be.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Its definition with the fingerprint; absent while the base is unknown.
    pub definition: Option<(&'a Definition, Fingerprint)>,
    /// The base set's name.
    pub base_set: &'a str,
    /// The definition of the last build, for the reason only.
    pub last: Option<&'a Definition>,
    /// Release tags.
    pub tags: &'a [String],
    /// `--no-cache`.
    pub forced: bool,
}

/// What the engine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// ID of an image with the wanted fingerprint.
    pub image_id: Option<String>,
    /// Whether it passed the present suite.
    pub proved: bool,
    /// Tag → the ID it names.
    pub tags: BTreeMap<String, String>,
}

/// One image's line of the plan.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The image's name.
    pub name: String,
    /// What has to happen.
    pub action: Action,
    /// Why, as a sentence.
    pub reason: String,
    /// Why, as a value.
    pub cause: Reason,
    /// Of the definition; null while the base is not in the engine.
    pub fingerprint: Option<Fingerprint>,
    /// The image that is there already.
    pub image_id: Option<String>,
    /// Release tags it will have.
    pub tags: Vec<String>,
}

/// Decides on one image.
pub fn decide(name: &str, wanted: &Wanted<'_>, present: Present) -> Step {
    let (action, cause) = action(wanted, &present);
    Step {
        name: name.to_owned(),
        action,
        reason: cause.to_string(),
        cause,
        fingerprint: wanted.definition.map(|(_, fingerprint)| fingerprint),
        image_id: present.image_id,
        tags: wanted.tags.to_vec(),
    }
}

fn action(wanted: &Wanted<'_>, present: &Present) -> (Action, Reason) {
    let Some((definition, fingerprint)) = wanted.definition else {
        return (
            Action::Build,
            Reason::BaseUnknown {
                base_set: wanted.base_set.to_owned(),
            },
        );
    };
    if wanted.forced {
        return (Action::Build, Reason::Forced);
    }
    let Some(id) = &present.image_id else {
        let reason = match wanted.last {
            None => Reason::NeverBuilt,
            Some(last) if last.fingerprint() == fingerprint => Reason::ImagePruned,
            Some(last) => Reason::Changed {
                changes: change::changes(last, definition),
            },
        };
        return (Action::Build, reason);
    };
    if !present.proved {
        return (Action::Retest, Reason::NotProved);
    }
    let elsewhere: Vec<String> = wanted
        .tags
        .iter()
        .filter(|tag| present.tags.get(*tag) != Some(id))
        .cloned()
        .collect();
    if elsewhere.is_empty() {
        (Action::UpToDate, Reason::Unchanged)
    } else {
        (Action::Retag, Reason::TagsElsewhere { tags: elsewhere })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::sample;

    fn step(
        definition: &Definition,
        last: Option<&Definition>,
        present: Present,
        forced: bool,
    ) -> (Action, String) {
        let tags = ["hive-genie:latest".to_owned(), "hive-genie:1".to_owned()];
        let wanted = Wanted {
            definition: Some((definition, definition.fingerprint())),
            base_set: "debian",
            last,
            tags: &tags,
            forced,
        };
        let step = decide("genie", &wanted, present);
        (step.action, step.reason)
    }

    fn there(proved: bool, tagged: &[&str]) -> Present {
        Present {
            image_id: Some("sha256:1".to_owned()),
            proved,
            tags: tagged
                .iter()
                .map(|tag| ((*tag).to_owned(), "sha256:1".to_owned()))
                .collect(),
        }
    }

    #[test]
    fn from_nothing_to_up_to_date() {
        let d = sample();
        assert_eq!(
            step(&d, None, Present::default(), false),
            (Action::Build, "never built".to_owned())
        );
        assert_eq!(
            step(&d, Some(&d), Present::default(), false),
            (Action::Build, "the image is gone from the engine".to_owned())
        );
        assert_eq!(
            step(&d, Some(&d), there(false, &[]), false),
            (
                Action::Retest,
                "the image has not passed the present smoke suite".to_owned()
            )
        );
        assert_eq!(
            step(&d, Some(&d), there(true, &["hive-genie:1"]), false),
            (
                Action::Retag,
                "not on this image yet: hive-genie:latest".to_owned()
            )
        );
        let tagged = there(true, &["hive-genie:1", "hive-genie:latest"]);
        assert_eq!(
            step(&d, Some(&d), tagged.clone(), false),
            (Action::UpToDate, "nothing changed".to_owned())
        );
        assert_eq!(
            step(&d, Some(&d), tagged, true),
            (Action::Build, "forced by --no-cache".to_owned())
        );
    }

    #[test]
    fn a_tag_on_another_image_is_moved() {
        let d = sample();
        let mut present = there(true, &["hive-genie:1", "hive-genie:latest"]);
        present
            .tags
            .insert("hive-genie:latest".to_owned(), "sha256:2".to_owned());
        assert_eq!(step(&d, None, present, false).0, Action::Retag);
    }

    #[test]
    fn unknown_base_has_no_fingerprint() {
        let wanted = Wanted {
            definition: None,
            base_set: "debian",
            last: None,
            tags: &[],
            forced: false,
        };
        let step = decide("genie", &wanted, Present::default());
        assert_eq!((step.action, step.fingerprint), (Action::Build, None));
        assert_eq!(step.reason, "base debian is not in the engine yet");
    }

    #[test]
    fn reasons_name_what_changed() {
        let old = sample();
        let mut new = sample();
        new.base = "layers:sha256:11".to_owned();
        new.arguments.insert("PG_MAJOR".to_owned(), "16".to_owned());
        new.dockerfile = "FROM scratch\nRUN x\n".to_owned();
        let app = new.contexts.get_mut("").unwrap();
        let mut added = app[0].clone();
        added.path = "new.py".into();
        app.remove(0);
        app.push(added);
        assert_eq!(
            step(&new, Some(&old), Present::default(), false).1,
            "base moved from 00 to 11, argument PG_MAJOR changed: 17 → 16, Dockerfile changed from line 2, new.py added and 1 other change"
        );
    }
}
