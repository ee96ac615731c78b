//! Which backups stay: so many days, weeks and months that have a good one.
//!
//! Only a backup that was restored counts. One that was not proved pushes none out,
//! and goes itself once a newer one is good: until then it may be all there is. Those of
//! another cluster, such as another machine's of the same name, push none out either, nor do
//! those of data that were put aside.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::seal::Seal;
use inputs::clock;

const DAY: u64 = 86_400;

/// How many stay of each kind; `7d,4w,6m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionRule {
    days: usize,
    weeks: usize,
    months: usize,
}

/// What tells apart the data that backups of one image are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BackedUpData<'a> {
    /// Which cluster.
    cluster: &'a str,
    /// Which state of it, where that was put aside.
    generation: Option<&'a str>,
}

impl<'a> BackedUpData<'a> {
    fn of(seal: &'a Seal) -> Self {
        Self {
            cluster: &seal.backup.system_identifier,
            generation: seal.backup.origin.generation.as_deref(),
        }
    }

    /// Whether it is of what ran.
    fn ran(&self) -> bool {
        self.generation.is_none()
    }
}

/// Those backups, of either kind, that are of the cluster which runs, in their order. Where
/// nobody knows that cluster it is the one of the last backup of these, the newest.
pub fn of_what_runs(mut all: Vec<Seal>, cluster: Option<&str>) -> Vec<Seal> {
    all.retain(|seal| BackedUpData::of(seal).ran());
    let last = all.last().map(|seal| seal.backup.system_identifier.clone());
    let cluster = cluster.map(str::to_owned).or(last);
    all.retain(|seal| Some(BackedUpData::of(seal).cluster) == cluster.as_deref());
    all
}

impl FromStr for RetentionRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rule = Self::default();
        for part in text.split(',') {
            let bad = || format!("{part:?} is no number with d, w or m after it, as in 7d,4w,6m");
            let unit = part.chars().last().ok_or_else(bad)?;
            let place = match unit {
                'd' => &mut rule.days,
                'w' => &mut rule.weeks,
                'm' => &mut rule.months,
                _ => return Err(bad()),
            };
            if *place != 0 {
                return Err(format!("{unit} is given twice"));
            }
            let count: usize = part[..part.len() - 1].parse().map_err(|_| bad())?;
            if count == 0 {
                return Err(format!("{part} keeps nothing: leave it out"));
            }
            *place = count;
        }
        Ok(rule)
    }
}

impl RetentionRule {
    /// Which of these stay, in their order; each kind of backup of each cluster is looked at
    /// by itself.
    pub fn stays(&self, all: &[&Seal]) -> Vec<bool> {
        let mut series = BTreeMap::<_, Vec<usize>>::new();
        for (n, seal) in all.iter().enumerate() {
            let of = (seal.backup.origin.kind, BackedUpData::of(seal));
            series.entry(of).or_default().push(n);
        }
        let mut stays = vec![false; all.len()];
        for places in series.into_values() {
            let some: Vec<&Seal> = places.iter().map(|&n| all[n]).collect();
            for (place, stay) in places.into_iter().zip(self.stays_of_a_series(&some)) {
                stays[place] = stay;
            }
        }
        stays
    }

    /// The same of one kind of one cluster. A span of time without a good backup
    /// does not count, and the newest good one of each counts for it.
    fn stays_of_a_series(&self, all: &[&Seal]) -> Vec<bool> {
        let mut good: Vec<usize> = (0..all.len()).filter(|&n| all[n].is_restored()).collect();
        good.sort_by_key(|&n| std::cmp::Reverse((began(all[n]), n)));
        let mut stays = vec![false; all.len()];
        // Whatever the rule: the last good one.
        if let Some(&newest) = good.first() {
            stays[newest] = true;
        }
        for (count, span) in [
            (self.days, day as fn(&Seal) -> String),
            (self.weeks, week),
            (self.months, month),
        ] {
            let mut seen: Vec<String> = Vec::new();
            for &n in &good {
                let span = span(all[n]);
                if seen.len() < count && !seen.contains(&span) {
                    seen.push(span);
                    stays[n] = true;
                }
            }
        }
        let newest = good.first().map(|&n| began(all[n]));
        for (n, one) in all.iter().enumerate() {
            stays[n] |= !one.is_restored() && newest.is_none_or(|newest| began(one) > newest);
        }
        stays
    }
}

fn began(seal: &Seal) -> &str {
    &seal.backup.origin.began
}

fn day(seal: &Seal) -> String {
    began(seal).chars().take(10).collect()
}

fn month(seal: &Seal) -> String {
    began(seal).chars().take(7).collect()
}

/// From Monday; 1970 began with a Thursday.
fn week(seal: &Seal) -> String {
    let since = clock::parse(began(seal)).and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let days = since.map_or(0, |since| since.as_secs() / DAY);
    ((days + 3) / 7).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::facts::BackupKind;
    use crate::seal::{ProofLevel, sample, sample_proof};

    fn seal(began: &str, level: u64) -> Seal {
        let proof = match level {
            0 => ProofLevel::Written,
            1 => ProofLevel::Refused {
                at: String::new(),
                why: String::new(),
            },
            _ => ProofLevel::Restored(sample_proof()),
        };
        let mut seal = sample(proof);
        began.clone_into(&mut seal.backup.origin.began);
        seal
    }

    fn kept(rule: &str, all: &[Seal]) -> Vec<String> {
        let rule: RetentionRule = rule.parse().unwrap();
        let stays = rule.stays(&all.iter().collect::<Vec<_>>());
        let kept = all.iter().zip(stays).filter(|(_, stays)| *stays);
        kept.map(|(one, _)| began(one)[..13].to_owned()).collect()
    }

    #[test]
    fn a_rule_is_read_or_refused() {
        let rule: RetentionRule = "7d,4w,6m".parse().unwrap();
        assert_eq!((rule.days, rule.weeks, rule.months), (7, 4, 6));
        for bad in ["", "7", "d", "0d", "7d,", "7d,8d", "-1w", "7y", "7 d", "é"] {
            assert!(bad.parse::<RetentionRule>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_newest_good_one_of_each_span_stays() {
        // The 21st of November 2026 is a Saturday, the 23rd a Monday.
        let all = [
            seal("2026-09-30T12:00:00.000Z", 2),
            seal("2026-11-20T12:00:00.000Z", 2),
            seal("2026-11-21T01:00:00.000Z", 2),
            seal("2026-11-21T02:00:00.000Z", 2),
            seal("2026-11-23T02:00:00.000Z", 2),
        ];
        assert_eq!(kept("2d", &all), ["2026-11-21T02", "2026-11-23T02"]);
        assert_eq!(kept("2w", &all), ["2026-11-21T02", "2026-11-23T02"]);
        assert_eq!(kept("9m", &all), ["2026-09-30T12", "2026-11-23T02"]);
        assert_eq!(kept("3d,1w,2m", &all).len(), 4);
    }

    #[test]
    fn what_is_not_proved_pushes_nothing_out() {
        let all = [
            seal("2026-11-19T00:00:00.000Z", 0),
            seal("2026-11-20T00:00:00.000Z", 2),
            seal("2026-11-21T00:00:00.000Z", 0),
            seal("2026-11-22T00:00:00.000Z", 1),
        ];
        assert_eq!(
            kept("1d", &all),
            ["2026-11-20T00", "2026-11-21T00", "2026-11-22T00"]
        );
        assert_eq!(kept("1d", &all[2..]).len(), 2, "none is good: all stay");
    }

    #[test]
    fn a_backup_of_one_kind_pushes_none_of_the_other_out() {
        let mut all = [
            seal("2026-11-19T00:00:00.000Z", 2),
            seal("2026-11-20T00:00:00.000Z", 2),
            seal("2026-11-21T00:00:00.000Z", 0),
            seal("2026-11-22T00:00:00.000Z", 2),
        ];
        all[1].backup.origin.kind = BackupKind::Logical;
        all[2].backup.origin.kind = BackupKind::Logical;
        assert_eq!(
            kept("1d", &all),
            ["2026-11-20T00", "2026-11-21T00", "2026-11-22T00"]
        );
    }

    #[test]
    fn a_backup_of_one_cluster_pushes_none_of_another_out() {
        let mut all = [
            seal("2026-11-19T00:00:00.000Z", 2),
            seal("2026-11-20T00:00:00.000Z", 2),
            seal("2026-11-21T00:00:00.000Z", 2),
            seal("2026-11-21T01:00:00.000Z", 0),
            seal("2026-11-22T00:00:00.000Z", 2),
        ];
        for one in &mut all[1..3] {
            one.backup.system_identifier = "7575757575757575758".to_owned();
        }
        assert_eq!(kept("1d", &all), ["2026-11-21T00", "2026-11-22T00"]);
        // What was put aside is no later state of what runs.
        all[4].backup.origin.generation = Some("failed-1".to_owned());
        assert_eq!(
            kept("1d", &all),
            ["2026-11-19T00", "2026-11-21T00", "2026-11-21T01", "2026-11-22T00"]
        );
        all[4].backup.origin.generation = None;
        all[3].backup.system_identifier = "7575757575757575758".to_owned();
        assert_eq!(
            kept("1d", &all),
            ["2026-11-21T00", "2026-11-21T01", "2026-11-22T00"]
        );
    }

    #[test]
    fn what_runs_has_no_backup_of_another_cluster() {
        let mut all = vec![
            seal("2026-11-19T00:00:00.000Z", 2),
            seal("2026-11-20T00:00:00.000Z", 2),
            seal("2026-11-21T00:00:00.000Z", 2),
            seal("2026-11-22T00:00:00.000Z", 2),
        ];
        let (own, other) = ("7575757575757575757", "7575757575757575758");
        other.clone_into(&mut all[2].backup.system_identifier);
        all[1].backup.origin.kind = BackupKind::Logical;
        all[3].backup.origin.generation = Some("failed-1".to_owned());
        let of = |cluster| {
            let found = of_what_runs(all.clone(), cluster);
            found
                .iter()
                .map(|one| began(one)[8..10].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(Some(own)), ["19", "20"]);
        assert_eq!(of(Some(other)), ["21"]);
        assert_eq!(of(Some("1")), [""; 0]);
        // The newest of what ran.
        assert_eq!(of(None), ["21"]);
    }

    /// Numbers that look like chance, the same in each run (xorshift).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: u64) -> u64 {
            for (left, shift) in [(true, 13), (false, 7), (true, 17)] {
                self.0 ^= if left { self.0 << shift } else { self.0 >> shift };
            }
            self.0 % limit
        }
    }

    /// The promises, over histories of any shape.
    #[test]
    fn no_history_loses_its_last_good_backup() {
        let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
        for case in 0..2000 {
            let rule = RetentionRule {
                days: usize::try_from(chance.below(4)).unwrap(),
                weeks: usize::try_from(chance.below(4)).unwrap(),
                months: usize::try_from(chance.below(4)).unwrap(),
            };
            let step = [600, DAY / 3, DAY, 9 * DAY][usize::try_from(chance.below(4)).unwrap()];
            let mut at = 1_700_000_000;
            let all: Vec<Seal> = (0..chance.below(40))
                .map(|_| {
                    at += 1 + chance.below(step * 2);
                    seal(
                        &clock::rfc3339(UNIX_EPOCH + Duration::from_secs(at)),
                        chance.below(4),
                    )
                })
                .collect();
            let refs: Vec<&Seal> = all.iter().collect();
            let stays = rule.stays(&refs);
            let left = |of: &[&Seal], stays: &[bool]| {
                let left = of.iter().zip(stays).filter(|(_, stays)| **stays);
                left.map(|(one, _)| began(one).to_owned())
                    .collect::<BTreeSet<_>>()
            };
            let kept = left(&refs, &stays);
            let good: Vec<&Seal> = refs.iter().copied().filter(|one| one.is_restored()).collect();
            if let Some(last) = good.last() {
                assert!(kept.contains(began(last)), "case {case}: the last good one went");
            } else {
                assert_eq!(kept.len(), all.len(), "case {case}: none is good, and some went");
            }
            // The others change nothing of which good ones stay.
            let alone = left(&good, &rule.stays(&good));
            let good_kept: BTreeSet<String> = kept
                .iter()
                .filter(|kept| good.iter().any(|one| began(one) == kept.as_str()))
                .cloned()
                .collect();
            assert_eq!(alone, good_kept, "case {case}");
            assert!(
                alone.len() <= (rule.days + rule.weeks + rule.months).max(1),
                "case {case}"
            );
            // A second time there is nothing to do.
            let again: Vec<&Seal> = refs
                .iter()
                .zip(&stays)
                .filter(|(_, s)| **s)
                .map(|(one, _)| *one)
                .collect();
            assert!(rule.stays(&again).iter().all(|stays| *stays), "case {case}");
            // The order of a list means nothing.
            let back: Vec<&Seal> = refs.iter().rev().copied().collect();
            assert_eq!(left(&back, &rule.stays(&back)), kept, "case {case}");
        }
    }
}
