//! Proof of the fingerprint: every fact that decides an image is changed alone,
//! and what our key does is compared with what BuildKit does.
//!
//! [`facts`] is the table of what is tracked and what is not, the one that
//! `ARCHITECTURE.md` shows; each of its rows has cases. [`probe`] tries them on
//! a small definition of its own, [`images`] tries each declared input of the
//! real ones. Both go the way that `build-images` goes: scan, stage, bake.
//!
//! Looser than BuildKit (its step runs again, our key stays) is a bug: a stale
//! image would be called up to date. Stricter costs a build that hits the
//! cache; the table says where and why.

mod cases;
pub mod facts;
pub mod images;
pub mod probe;
pub mod table;
mod undo;

#[cfg(test)]
#[path = "../../definition/src/sample.rs"]
mod sample;

use anyhow::Result;
use serde::Serialize;

use build::buildkit::progress::Did;

use probe::AuditProbe;

/// Whether a fact is part of the fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracked {
    /// The fingerprint has it as it is.
    Yes,
    /// By what it names, not by its name.
    ByContent,
    /// The fingerprint stays whatever it is.
    No,
}

/// A row of the table.
#[derive(Debug)]
pub struct Fact {
    /// What the fact is, as the table's first column has it.
    pub name: &'static str,
    /// Whether the fingerprint covers it.
    pub(crate) tracked: Tracked,
    /// Why it is tracked so, for the table.
    pub(crate) why: &'static str,
    /// What is tried; never empty.
    pub cases: &'static [Case],
}

/// One change of one fact.
#[derive(Debug)]
pub struct Case {
    /// What is changed, in a few words for the table.
    pub(crate) name: &'static str,
    pub(crate) expect: ExpectedMove,
    /// Makes the change on a probe that is as it was made.
    pub(crate) change: fn(&mut AuditProbe<'_>) -> Result<FactChange>,
}

/// Whether a change could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FactChange {
    /// The probe is changed and can be built again.
    Made,
    /// This machine cannot make it, for this reason.
    NotHere(String),
}

/// What must be seen of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedMove {
    /// The key moves and BuildKit runs a step again.
    Both,
    /// The key moves and BuildKit has everything in its cache; the reason why
    /// the key is stricter.
    Stricter(&'static str),
    /// The key moves; the reason why BuildKit cannot be asked.
    KeyOnly(&'static str),
    /// The key stays and BuildKit has everything in its cache.
    Neither,
    /// As [`ExpectedMove::Neither`], though plain bake on the folder itself would run
    /// a step again: the staged copy holds another thing; the reason.
    Canonical(&'static str),
}

/// What BuildKit did with the steps of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Built {
    /// How many had an answer: run or cached.
    pub(crate) steps: usize,
    /// Those that ran: `stage: instruction`.
    pub(crate) ran: Vec<String>,
}

/// What the fingerprint and BuildKit made of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BuildKitSaw {
    /// The fingerprint is another one.
    pub(crate) key_moved: bool,
    /// From the staged copy, as images are built; absent where it was not tried.
    pub(crate) build: Option<Built>,
    /// By plain bake, from the folder itself, which it has not seen before.
    pub(crate) plain: Option<Built>,
    /// Where BuildKit did not do what was foretold of a step; absent where
    /// nothing was foretold.
    pub(crate) surprises: Option<Vec<String>>,
}

/// What is to be thought of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "lowercase")]
pub(crate) enum Soundness {
    /// The fingerprint and BuildKit agree.
    Agree,
    /// Our key moves where BuildKit's does not.
    Stricter(String),
    /// The staged copy makes things equal that plain bake takes for different ones.
    Canonical(String),
    /// BuildKit was not asked, or the change cannot be made here.
    Untried(String),
    /// Not what the table says.
    Wrong(String),
}

/// A case with what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `probe`, or the image's name.
    pub(crate) subject: String,
    /// The name of the row in the table of facts.
    pub(crate) fact: String,
    /// The name of the case.
    pub(crate) case: String,
    /// Absent where the change could not be made.
    pub(crate) seen: Option<BuildKitSaw>,
    #[serde(flatten)]
    pub(crate) verdict: Soundness,
}

impl Built {
    /// From the finished steps of a target. `FROM` is no step: it says where
    /// the base comes from, cached or not.
    pub(crate) fn of<'a>(did: impl Iterator<Item = Did<'a>>, target: &str) -> Self {
        let mut built = Self::default();
        for step in did.filter(|step| step.targets.contains(target) && !step.instruction.starts_with("FROM "))
        {
            built.steps += 1;
            if !step.cached {
                built.ran.push(format!("{}: {}", step.stage, step.instruction));
            }
        }
        built.ran.sort();
        built
    }

    /// Whether a step was missing in BuildKit's cache, and had to run.
    pub(crate) fn missed(&self) -> bool {
        !self.ran.is_empty()
    }
}

impl Soundness {
    /// Whether it is an error.
    pub(crate) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong(_))
    }
}

/// Compares what was seen with what must be.
pub(crate) fn judge(expect: ExpectedMove, seen: &BuildKitSaw) -> Soundness {
    let missed = |built: &Option<Built>| built.as_ref().map(Built::missed);
    let (build, plain) = (missed(&seen.build), missed(&seen.plain));
    let wrong = |text: &str| Soundness::Wrong(text.to_owned());
    if let Some(surprises) = seen.surprises.as_ref().filter(|surprises| !surprises.is_empty()) {
        return Soundness::Wrong(format!("foretold wrongly: {}", surprises.join(", ")));
    }
    match (expect, seen.key_moved) {
        (_, false) if build == Some(true) => {
            wrong("looser than BuildKit: it builds again what the key calls unchanged")
        }
        (ExpectedMove::Both | ExpectedMove::Stricter(_) | ExpectedMove::KeyOnly(_), false) => {
            wrong("the key stays although the fact is tracked")
        }
        (ExpectedMove::Neither | ExpectedMove::Canonical(_), true) => {
            wrong("the key moves although the fact is not tracked")
        }
        (ExpectedMove::Both, true) if build != Some(true) || plain == Some(false) => {
            wrong("stricter than BuildKit, and the table does not say why")
        }
        (ExpectedMove::Both, true) => Soundness::Agree,
        (ExpectedMove::Stricter(_), true) if build == Some(true) => Soundness::Agree,
        (ExpectedMove::Stricter(why), true) => Soundness::Stricter(why.to_owned()),
        (ExpectedMove::KeyOnly(why), true) => Soundness::Untried(why.to_owned()),
        (ExpectedMove::Neither, false) if plain == Some(true) => {
            wrong("plain bake builds again, and the table does not say why we do not")
        }
        (ExpectedMove::Neither, false) => Soundness::Agree,
        (ExpectedMove::Canonical(_), false) if plain == Some(false) => Soundness::Agree,
        (ExpectedMove::Canonical(why), false) => Soundness::Canonical(why.to_owned()),
    }
}

/// All findings that are wrong, as one failure.
///
/// # Errors
/// Where there is one.
pub fn verdict(findings: &[Finding]) -> Result<()> {
    let wrong: Vec<String> = findings
        .iter()
        .filter_map(|finding| match &finding.verdict {
            Soundness::Wrong(why) => Some(format!(
                "{}: {}: {}: {why}",
                finding.subject, finding.fact, finding.case
            )),
            _ => None,
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let what = if wrong.len() == 1 { "case" } else { "cases" };
    let message = format!(
        "the audit found {} {what}:\n  {}",
        wrong.len(),
        wrong.join("\n  ")
    );
    Err(failure::build(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(key_moved: bool, build: bool, plain: bool) -> BuildKitSaw {
        let built = |missed: bool| {
            Some(Built {
                steps: 1,
                ran: if missed {
                    vec!["a: COPY".to_owned()]
                } else {
                    Vec::new()
                },
            })
        };
        BuildKitSaw {
            key_moved,
            build: built(build),
            plain: built(plain),
            surprises: None,
        }
    }

    #[test]
    fn looser_is_always_wrong() {
        for expect in [
            ExpectedMove::Both,
            ExpectedMove::Stricter("x"),
            ExpectedMove::KeyOnly("x"),
            ExpectedMove::Neither,
            ExpectedMove::Canonical("x"),
        ] {
            let verdict = judge(expect, &seen(false, true, true));
            assert!(
                matches!(&verdict, Soundness::Wrong(why) if why.starts_with("looser")),
                "{expect:?}"
            );
        }
    }

    #[test]
    fn a_wrong_forecast_is_wrong_whatever_else_holds() {
        let mut seen = seen(true, true, true);
        seen.surprises = Some(Vec::new());
        assert_eq!(judge(ExpectedMove::Both, &seen), Soundness::Agree);
        seen.surprises = Some(vec!["a 1/2 RUN x was run, and was to be cached".to_owned()]);
        assert!(judge(ExpectedMove::Both, &seen).is_wrong());
    }

    #[test]
    fn what_the_table_does_not_say_is_wrong() {
        for (expect, seen) in [
            (ExpectedMove::Both, seen(false, false, false)),
            (ExpectedMove::Both, seen(true, false, true)),
            (ExpectedMove::Both, seen(true, true, false)),
            (ExpectedMove::Neither, seen(true, true, true)),
            (ExpectedMove::Neither, seen(false, false, true)),
            (ExpectedMove::Canonical("x"), seen(true, false, false)),
            (ExpectedMove::KeyOnly("x"), seen(false, false, false)),
        ] {
            assert!(judge(expect, &seen).is_wrong(), "{expect:?} {seen:?}");
        }
    }

    #[test]
    fn the_reasons_are_told() {
        assert_eq!(
            judge(ExpectedMove::Both, &seen(true, true, true)),
            Soundness::Agree
        );
        assert_eq!(
            judge(ExpectedMove::Neither, &seen(false, false, false)),
            Soundness::Agree
        );
        assert_eq!(
            judge(ExpectedMove::Stricter("x"), &seen(true, false, false)),
            Soundness::Stricter("x".to_owned())
        );
        assert_eq!(
            judge(ExpectedMove::Canonical("x"), &seen(false, false, true)),
            Soundness::Canonical("x".to_owned())
        );
        let untried = BuildKitSaw {
            key_moved: true,
            build: None,
            plain: None,
            surprises: None,
        };
        assert_eq!(
            judge(ExpectedMove::KeyOnly("x"), &untried),
            Soundness::Untried("x".to_owned())
        );
        // An image's own inputs are tried without plain bake.
        let seen = BuildKitSaw {
            plain: None,
            ..seen(true, true, true)
        };
        assert_eq!(judge(ExpectedMove::Both, &seen), Soundness::Agree);
    }
}
