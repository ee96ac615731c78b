//! What differs between two recorded runs, as values with a sentence each.
//! Pure.

use serde::Serialize;

use super::HistoryEntry;
use definition::Definition;
use definition::identity::ImageId;
use definition::plan::change::{self, DefinitionChange};
use definition::plan::suite_part_name;

/// One difference. Kinds are stable: scripts read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Difference {
    /// In what the image was built from.
    Definition {
        /// The difference between the two definitions.
        change: DefinitionChange,
    },
    /// The definitions differ, and at least one is no longer there in full or
    /// has another meaning.
    DefinitionUnknown,
    /// Another base set was asked for.
    BaseSet {
        /// The base set of the earlier run.
        from: String,
        /// The base set of the later run.
        to: String,
    },
    /// Tags that were asked for later and not before, or the other way round.
    Tags {
        /// The tags that only the later run was to give.
        added: Vec<String>,
        /// The tags that only the earlier run was to give.
        removed: Vec<String>,
    },
    /// `--no-cache` for one and not for the other.
    NoCache {
        /// Whether the later one had it.
        to: bool,
    },
    /// The two runs built with different engines.
    Engine {
        /// The ID of the earlier run's engine.
        from: String,
        /// The ID of the later run's engine.
        to: String,
    },
    /// The same definition gave another image.
    Image {
        /// The ID of the earlier run's image.
        from: ImageId,
        /// The ID of the later run's image.
        to: ImageId,
    },
    /// The two images were judged by different smoke suites.
    Suite {
        /// See `suite::parts` of the crate `smoke`.
        parts: Vec<String>,
    },
    /// Checks that came out differently.
    Checks {
        /// Failed later and not before.
        broken: Vec<String>,
        /// Failed before and not later.
        mended: Vec<String>,
    },
}

impl Difference {
    /// All that is known, a line each.
    pub fn lines(&self) -> Vec<String> {
        let line = match self {
            Self::Definition { change } => return change.lines(),
            Self::DefinitionUnknown => {
                "the definitions differ; one of them is not recorded in full".to_owned()
            }
            Self::BaseSet { from, to } => format!("base set changed: {from} → {to}"),
            Self::Tags { added, removed } => sides("tags", "added", added, "removed", removed),
            Self::NoCache { to: true } => "built without cache".to_owned(),
            Self::NoCache { to: false } => "built with the cache again".to_owned(),
            Self::Engine { from, to } => format!("engine changed: {from} → {to}"),
            Self::Image { from, to } => format!("image changed: {from} → {to}"),
            Self::Suite { parts } => {
                let names: Vec<&str> = parts.iter().map(|part| suite_part_name(part)).collect();
                format!("smoke suite changed: {}", names.join(", "))
            }
            Self::Checks { broken, mended } => sides("checks", "now failing", broken, "now passing", mended),
        };
        vec![line]
    }
}

/// `tags added: a, b; removed: c`.
fn sides(what: &str, one: &str, these: &[String], other: &str, those: &[String]) -> String {
    let parts: Vec<String> = [(one, these), (other, those)]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(verb, names)| format!("{verb}: {}", names.join(", ")))
        .collect();
    format!("{what} {}", parts.join("; "))
}

/// What differs. `definitions` are both of them, with at least the inputs that
/// they do not share; `None` where they cannot be had.
pub fn differences(
    from: &HistoryEntry,
    to: &HistoryEntry,
    definitions: Option<(Definition, Definition)>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    if from.fingerprint != to.fingerprint {
        match definitions {
            Some((old, new)) => found.extend(
                change::changes(&old, &new)
                    .into_iter()
                    .map(|change| Difference::Definition { change }),
            ),
            None => found.push(Difference::DefinitionUnknown),
        }
    }
    if from.asked.base_set != to.asked.base_set {
        found.push(Difference::BaseSet {
            from: from.asked.base_set.clone(),
            to: to.asked.base_set.clone(),
        });
    }
    let (added, removed) = (
        missing(&to.asked.tags, &from.asked.tags),
        missing(&from.asked.tags, &to.asked.tags),
    );
    if !added.is_empty() || !removed.is_empty() {
        found.push(Difference::Tags { added, removed });
    }
    if from.asked.no_cache != to.asked.no_cache {
        found.push(Difference::NoCache {
            to: to.asked.no_cache,
        });
    }
    if from.engine != to.engine {
        found.push(Difference::Engine {
            from: from.engine.clone(),
            to: to.engine.clone(),
        });
    }
    if let (Some(old), Some(new)) = (&from.image_id, &to.image_id)
        && from.fingerprint == to.fingerprint
        && old != new
    {
        found.push(Difference::Image {
            from: old.clone(),
            to: new.clone(),
        });
    }
    if let (Some(old), Some(new)) = (&from.verdict, &to.verdict) {
        let parts = old.changed_parts(&new.suite);
        if !parts.is_empty() {
            found.push(Difference::Suite { parts });
        }
        let (broken, mended) = (
            missing(&new.failed, &old.failed),
            missing(&old.failed, &new.failed),
        );
        if !broken.is_empty() || !mended.is_empty() {
            found.push(Difference::Checks { broken, mended });
        }
    }
    found
}

/// Those of `these` that are not among `those`.
fn missing(these: &[String], those: &[String]) -> Vec<String> {
    these.iter().filter(|one| !those.contains(one)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use definition::identity::SuiteKey;

    use super::*;
    use crate::history::RecordedVerdict;
    use crate::history::tests::entry;
    use crate::sample::sample;

    fn lines(change: impl FnOnce(&mut HistoryEntry)) -> Vec<String> {
        let mut after = entry(2);
        change(&mut after);
        let mut new = sample();
        new.target.push('x');
        let found = differences(&entry(1), &after, Some((sample(), new)));
        found.iter().flat_map(Difference::lines).collect()
    }

    fn verdict(failed: &[&str]) -> RecordedVerdict {
        RecordedVerdict {
            at: String::new(),
            suite_key: SuiteKey::of_digest(&[1; 32]),
            suite: [("tool".to_owned(), "1".to_owned())].into(),
            passed: 3,
            failed: failed.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn each_difference_has_its_sentence() {
        assert!(lines(|_| {}).is_empty());
        let other = "ab".repeat(32);
        assert_eq!(
            lines(|e| e.fingerprint = other.parse().unwrap()),
            ["target stage production → productionx"]
        );
        assert_eq!(
            lines(|e| {
                e.asked.tags = vec!["hive-genie:2".to_owned()];
                e.asked.base_set = "ubuntu".to_owned();
                e.asked.no_cache = true;
                e.engine = "other".to_owned();
                e.image_id = Some(format!("sha256:{:064}", 2).parse().unwrap());
            }),
            [
                "base set changed: debian → ubuntu",
                "tags added: hive-genie:2; removed: hive-genie:latest",
                "built without cache",
                "engine changed: engine → other",
                &format!("image changed: sha256:{:064} → sha256:{:064}", 1, 2),
            ]
        );
        let mut after = entry(2);
        after.fingerprint = other.parse().unwrap();
        assert_eq!(
            differences(&entry(1), &after, None)[0].lines(),
            ["the definitions differ; one of them is not recorded in full"]
        );
    }

    #[test]
    fn verdicts_are_compared_by_suite_and_checks() {
        let (mut before, mut after) = (entry(1), entry(2));
        before.verdict = Some(verdict(&["health", "restart"]));
        after.verdict = Some(verdict(&["health", "memory"]));
        after
            .verdict
            .as_mut()
            .unwrap()
            .suite
            .insert("checks".to_owned(), "2".to_owned());
        let found = differences(&before, &after, None);
        let lines: Vec<String> = found.iter().flat_map(Difference::lines).collect();
        assert_eq!(
            lines,
            [
                "smoke suite changed: the spec's checks",
                "checks now failing: memory; now passing: restart"
            ]
        );
    }
}
