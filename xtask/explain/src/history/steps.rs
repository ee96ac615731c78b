//! Foretold steps and what BuildKit did → the steps of an entry. Pure.

use std::collections::BTreeMap;

use super::RecordedStep;
use crate::forecast::{Foretold, KnownBuilds};
use definition::step::StepOutcome;
use engine::build_cache::CacheRecord;

/// The steps of one image. `outcome` has what became of each key, `known` is
/// from before the build and `cache` from after it.
pub fn record(
    steps: &[Foretold],
    outcome: &BTreeMap<&str, StepOutcome>,
    known: &KnownBuilds,
    cache: &[CacheRecord],
) -> Vec<RecordedStep> {
    let is_there = |id: &str| cache.iter().any(|record| record.id == id);
    let records = |step: &Foretold, seen: Option<StepOutcome>| -> Vec<String> {
        let described = cache
            .iter()
            .filter(|record| record.description.trim_end() == step.described);
        let ids = described.map(|record| record.id.clone());
        match seen {
            // What it left is new; equal steps of other builds left the rest.
            Some(StepOutcome::Run) => ids.filter(|id| !known.cache.contains(id)).collect(),
            Some(StepOutcome::Cached) => match known.records_of(&step.key) {
                // Of a step that another checkout has built again since a prune, they are not.
                Some(records) if records.iter().any(|id| is_there(id)) => records.to_vec(),
                _ => ids.collect(),
            },
            None => Vec::new(),
        }
    };
    let recorded = steps.iter().map(|step| {
        let seen = outcome.get(step.key.as_str()).copied();
        RecordedStep {
            place: step.place.clone(),
            instruction: step.instruction.clone(),
            key: step.key.clone(),
            parts: step.parts.clone(),
            expected: step.expect,
            seen,
            records: records(step, seen),
        }
    });
    recorded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::tests::{foretold, known};

    #[test]
    fn what_ran_left_a_new_record_and_what_was_cached_keeps_its_own() {
        let known = known();
        let steps = foretold(&known, |_| {});
        let record = |id: &str, step: usize| CacheRecord::new(id, &format!("{}\n", steps[step].described));
        let cache = [
            record("0-0", 0),
            record("0-1", 1),
            record("new", 1),
            record("x", 2),
        ];
        let outcome = BTreeMap::from([
            (steps[0].key.as_str(), StepOutcome::Cached),
            (steps[1].key.as_str(), StepOutcome::Run),
        ]);
        let recorded = super::record(&steps, &outcome, &known, &cache);
        assert_eq!(recorded[0].records, ["0-0"]);
        assert_eq!(recorded[1].records, ["new"]);
        assert_eq!((recorded[2].seen, recorded[2].records.len()), (None, 0));
        // Of a cached step that nobody recorded, all that may be it.
        let recorded = super::record(&steps, &outcome, &KnownBuilds::default(), &cache);
        assert_eq!(recorded[0].records, ["0-0"]);
        assert_eq!(recorded[1].records, ["0-1", "new"]);
        // Its own are gone, and others have made it again.
        let again = [record("again", 0)];
        let recorded = super::record(&steps, &outcome, &known, &again);
        assert_eq!(recorded[0].records, ["again"]);
        let recorded = super::record(&steps, &outcome, &known, &[]);
        assert_eq!(recorded[0].records.len(), 0, "not known, and not gone");
    }
}
