//! A moment that data are to be restored to: whether a backup and the archive of
//! PostgreSQL's log reach it. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::facts::BackupKind;
use crate::seal::{ProofLevel, Seal};
use inputs::clock;

/// A time that somebody has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedMoment {
    pub(crate) at: SystemTime,
    /// Whether it named its zone.
    pub has_zone: bool,
}

impl FromStr for WantedMoment {
    type Err = String;

    /// RFC 3339, also with a blank for the `T`, without seconds, and with ` UTC` as this
    /// tool shows it. What names no zone is UTC.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no time like 2026-11-26T15:00:00Z");
        let given = text.trim().replacen(' ', "T", 1).replace(" UTC", "Z");
        let (minute, rest) = given.split_at_checked(16).ok_or_else(bad)?;
        let (seconds, rest) = match rest.strip_prefix(':') {
            Some(rest) => rest.split_at_checked(2).ok_or_else(bad)?,
            None => ("00", rest),
        };
        let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
        let (fraction, zone) = rest.split_at(zone_at);
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_zone = match zone.as_bytes() {
            [] | b"Z" | b"z" => true,
            [_, h1, h2, b':', m1, m2] => {
                is_digits(&zone[1..3]) && is_digits(&zone[4..6]) && [*h1, *h2] < *b"24" && [*m1, *m2] < *b"60"
            }
            _ => false,
        };
        let is_fraction = fraction.is_empty() || fraction.strip_prefix('.').is_some_and(is_digits);
        if !is_zone || !is_fraction {
            return Err(bad());
        }
        // What is no day of the calendar comes back as another one.
        let local = format!("{minute}:{seconds}");
        let back = clock::parse(&format!("{local}Z")).map(clock::rfc3339);
        if back.as_deref().and_then(|back| back.get(..19)) != Some(&local) {
            return Err(bad());
        }
        let is_utc = matches!(zone, "" | "Z" | "z");
        let zone = if is_utc { "Z" } else { zone };
        let at = clock::parse(&format!("{local}{fraction}{zone}")).ok_or_else(bad)?;
        Ok(Self {
            at,
            has_zone: given.len() > zone_at + given.len() - rest.len(),
        })
    }
}

impl WantedMoment {
    /// As PostgreSQL takes it and people read it: UTC, with microseconds.
    pub fn shown(&self) -> String {
        let micros = self.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = clock::rfc3339(self.at);
        let seconds = seconds.get(..19).unwrap_or(&seconds);
        match micros.subsec_micros() {
            0 => format!("{seconds}Z"),
            micros => format!("{seconds}.{micros:06}Z"),
        }
    }
}

/// A stretch of the archive without a gap.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct ArchivedStretch {
    pub(crate) name: String,
    system_identifier: String,
    since: f64,
    until: f64,
}

impl ArchivedStretch {
    /// Until when all of the log is there.
    pub(crate) fn until(&self) -> SystemTime {
        time(self.until)
    }

    /// Whether it has all of the log since the backup was begun. Another life of the cluster, such
    /// as a generation that is put aside, has the same identifier; older backups do not say which
    /// stretch is theirs.
    fn holds(&self, seal: &Seal) -> bool {
        let began = clock::parse(&seal.backup.origin.began);
        let stretch = seal.backup.stretch.as_ref();
        seal.backup.origin.kind == BackupKind::Physical
            && seal.backup.origin.generation.is_none()
            && self.system_identifier == seal.backup.system_identifier
            && stretch.is_none_or(|own| *own == self.name)
            && began.is_some_and(|began| time(self.since) <= began && began <= self.until())
    }
}

fn time(seconds: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    UNIX_EPOCH + since
}

/// The way to a moment: a backup from before, and the log since then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayToMoment {
    /// The volume of the archive.
    pub(crate) volume: String,
    /// The stretch that reaches it.
    pub(crate) stretch: String,
    /// The moment, as PostgreSQL takes it.
    pub(crate) at: String,
}

/// The newest backup from before the moment whose log is archived until then.
pub(crate) fn choose<'a>(
    seals: &[&Seal],
    stretches: &'a [ArchivedStretch],
    at: SystemTime,
) -> Option<(usize, &'a ArchivedStretch)> {
    let usable = seals.iter().enumerate().filter(|(_, seal)| {
        first(seal).is_some_and(|first| first <= at) && !matches!(seal.proof, ProofLevel::Refused { .. })
    });
    let found = usable.filter_map(|(n, seal)| {
        let reaches = |one: &&ArchivedStretch| one.holds(seal) && at <= one.until();
        Some((n, stretches.iter().find(reaches)?))
    });
    found.max_by(|(a, _), (b, _)| {
        let began = |n: &usize| &seals[*n].backup.origin.began;
        began(a).cmp(began(b))
    })
}

/// The first moment that a backup and its log reach.
fn first(seal: &Seal) -> Option<SystemTime> {
    clock::parse(seal.first_moment())
}

/// What can be reached, in words.
pub(crate) fn reached(seals: &[&Seal], stretches: &[ArchivedStretch]) -> String {
    let spans: Vec<String> = stretches
        .iter()
        .filter_map(|one| {
            let held = seals.iter().filter(|seal| one.holds(seal));
            let held = held.filter(|seal| first(seal).is_some_and(|first| first <= one.until()));
            let first = held.map(|seal| seal.first_moment()).min()?;
            Some(format!("from {first} to {}", clock::rfc3339(one.until())))
        })
        .collect();
    match spans.is_empty() {
        true => "none of the backups is one of the cluster, taken while its log was archived".to_owned(),
        false => format!("what can be is {}", spans.join(", and ")),
    }
}

/// Since when each stretch is needed, in seconds since 1970: from the oldest of these
/// backups on that it has the log of. Nothing where none of them that is good is archived:
/// then nobody knows what is needed.
pub(crate) fn needed(stays: &[&Seal], stretches: &[ArchivedStretch]) -> Option<BTreeMap<String, f64>> {
    let usable = |seal: &&&Seal| !matches!(seal.proof, ProofLevel::Refused { .. });
    let holds = |one: &ArchivedStretch, seal: &&Seal| one.holds(seal);
    let is_good = |seal: &&Seal| seal.is_restored() && stretches.iter().any(|one| holds(one, seal));
    stays.iter().any(is_good).then(|| {
        let of = |one: &ArchivedStretch| {
            let held = stays.iter().filter(usable).filter(|seal| holds(one, seal));
            let began = held.filter_map(|seal| clock::parse(&seal.backup.origin.began));
            let since = began.min()?.duration_since(UNIX_EPOCH).ok()?;
            Some((one.name.clone(), since.as_secs_f64()))
        };
        stretches.iter().filter_map(of).collect()
    })
}

/// The volume of an archive as a container is given it.
pub(crate) fn mount(volume: &str) -> String {
    format!("{volume}:{}:ro", service::archive::PLACE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::sample;

    fn moment(text: &str) -> Result<String, String> {
        WantedMoment::from_str(text).map(|wanted| wanted.shown())
    }

    #[test]
    fn a_time_is_taken_as_it_is_written_and_shown() {
        for (given, taken) in [
            ("2026-11-26T15:00:00Z", "2026-11-26T15:00:00Z"),
            ("2026-11-26T16:00:00.25+01:00", "2026-11-26T15:00:00.250000Z"),
            ("2026-11-26 15:00:00.123456789Z", "2026-11-26T15:00:00.123456Z"),
            ("2026-11-26 15:00 UTC", "2026-11-26T15:00:00Z"),
            ("2026-11-26T15:00", "2026-11-26T15:00:00Z"),
            ("2024-02-29T00:00:00-00:30", "2024-02-29T00:30:00Z"),
        ] {
            assert_eq!(moment(given).as_deref(), Ok(taken), "{given}");
        }
        let has_zone = |text: &str| WantedMoment::from_str(text).unwrap().has_zone;
        assert!(has_zone("2026-11-26T15:00:00Z") && has_zone("2026-11-26 15:00 UTC"));
        assert!(has_zone("2026-11-26T15:00:00.5+00:00"));
        assert!(!has_zone("2026-11-26T15:00:00") && !has_zone("2026-11-26T15:00:00.5"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "yesterday",
            "2026-11-26",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-26T24:00:00Z",
            "2026-11-26T15:00:61Z",
            "2026-11-26T15:00:00+1",
            "2026-11-26T15:00:00+25:00",
            "2026-11-26T15:00:00.Z",
            "2026-11-26T15:00:00 CET",
            "é026-11-26T15:00:00Z",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    fn seal(began: &str, proof: ProofLevel) -> Seal {
        let mut seal = sample(proof);
        began.clone_into(&mut seal.backup.origin.began);
        seal
    }

    fn stretch(name: &str, since: &str, until: &str) -> ArchivedStretch {
        let seconds = |text: &str| {
            let at = clock::parse(text).unwrap();
            at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
        };
        ArchivedStretch {
            name: name.to_owned(),
            system_identifier: sample(ProofLevel::Written).backup.system_identifier,
            since: seconds(since),
            until: seconds(until),
        }
    }

    #[test]
    fn the_newest_backup_before_a_moment_is_taken_where_no_log_is_missing() {
        let refused = ProofLevel::Refused {
            at: String::new(),
            why: String::new(),
        };
        let seals = [
            seal("2026-11-26T10:00:00.000Z", ProofLevel::Written),
            seal("2026-11-26T11:00:00.000Z", ProofLevel::Written),
            seal("2026-11-26T12:00:00.000Z", refused),
            seal("2026-11-26T15:00:00.000Z", ProofLevel::Written),
        ];
        let seals: Vec<&Seal> = seals.iter().collect();
        let stretches = [
            stretch("a", "2026-11-26T09:00:00Z", "2026-11-26T13:00:00Z"),
            // After a gap, in which a backup was begun before it.
            stretch("b", "2026-11-26T15:30:00Z", "2026-11-26T17:00:00Z"),
        ];
        let found = |at: &str| {
            let at = clock::parse(at).unwrap();
            choose(&seals, &stretches, at).map(|(n, stretch)| (n, stretch.name.as_str()))
        };
        assert_eq!(found("2026-11-26T10:30:00Z"), Some((0, "a")));
        assert_eq!(found("2026-11-26T12:30:00Z"), Some((1, "a")));
        assert_eq!(found("2026-11-26T13:00:00Z"), Some((1, "a")));
        for unreached in [
            "2026-11-26T09:30:00Z",
            "2026-11-26T13:00:01Z",
            "2026-11-26T16:00:00Z",
        ] {
            assert_eq!(found(unreached), None, "{unreached}");
        }
        assert_eq!(
            reached(&seals, &stretches),
            "what can be is from 2026-11-26T10:00:00.000Z to 2026-11-26T13:00:00.000Z"
        );
        assert!(reached(&seals, &stretches[1..]).contains("none of the backups is one"));
    }

    #[test]
    fn a_moment_within_a_backup_is_reached_from_the_one_before() {
        let mut seals = [
            seal("2026-11-26T10:00:00.000Z", ProofLevel::Written),
            seal("2026-11-26T11:00:00.000Z", ProofLevel::Written),
        ];
        seals[0].ended = Some("2026-11-26T10:20:00.000Z".to_owned());
        seals[1].ended = Some("2026-11-26T11:20:00.000Z".to_owned());
        let stretches = [stretch("a", "2026-11-26T09:00:00Z", "2026-11-26T11:10:00Z")];
        let seals: Vec<&Seal> = seals.iter().collect();
        let found = |at: &str| {
            let found = choose(&seals, &stretches, clock::parse(at).unwrap());
            found.map(|(n, _)| n)
        };
        assert_eq!(found("2026-11-26T11:10:00Z"), Some(0));
        assert_eq!(found("2026-11-26T10:20:00Z"), Some(0));
        assert_eq!(found("2026-11-26T10:19:59Z"), None);
        let from = "what can be is from 2026-11-26T10:20:00.000Z to 2026-11-26T11:10:00.000Z";
        assert_eq!(reached(&seals, &stretches), from);
        let none = reached(&seals[1..], &stretches);
        assert!(none.contains("none of the backups is one"), "{none}");
        let longer = [stretch("a", "2026-11-26T09:00:00Z", "2026-11-26T12:00:00Z")];
        let at = clock::parse("2026-11-26T11:20:00Z").unwrap();
        assert_eq!(choose(&seals, &longer, at).map(|(n, _)| n), Some(1));
    }

    #[test]
    fn a_backup_of_another_life_of_the_cluster_leads_nowhere() {
        let mut seal = seal("2026-11-26T10:00:00.000Z", ProofLevel::Written);
        let own = [stretch("a", "2026-11-26T09:00:00Z", "2026-11-26T13:00:00Z")];
        let at = clock::parse("2026-11-26T10:30:00Z").unwrap();
        for (said, leads) in [(None, true), (Some("a"), true), (Some("b"), false)] {
            seal.backup.stretch = said.map(str::to_owned);
            assert_eq!(choose(&[&seal], &own, at).is_some(), leads, "{said:?}");
        }
        seal.backup.stretch = None;
        seal.backup.origin.generation = Some("failed-1".to_owned());
        assert_eq!(choose(&[&seal], &own, at), None);
    }

    #[test]
    fn the_log_is_needed_from_the_oldest_backup_on_that_stays() {
        let restored = || ProofLevel::Restored(crate::seal::sample_proof());
        let refused = ProofLevel::Refused {
            at: String::new(),
            why: String::new(),
        };
        let seals = [
            seal("2026-11-26T09:10:00.000Z", refused),
            seal("2026-11-26T10:00:00.000Z", ProofLevel::Written),
            seal("2026-11-26T11:00:00.000Z", restored()),
            seal("2026-11-26T16:00:00.000Z", restored()),
        ];
        let all: Vec<&Seal> = seals.iter().collect();
        let stretches = [
            stretch("a", "2026-11-26T09:00:00Z", "2026-11-26T13:00:00Z"),
            stretch("b", "2026-11-26T13:30:00Z", "2026-11-26T14:00:00Z"),
            stretch("c", "2026-11-26T15:30:00Z", "2026-11-26T17:00:00Z"),
        ];
        let since = |text: &str| {
            let at = clock::parse(text).unwrap();
            at.duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
        };
        let wanted = |all: &[(&str, &str)]| {
            let each = all.iter().map(|(name, at)| ((*name).to_owned(), since(at)));
            Some(each.collect::<BTreeMap<_, _>>())
        };
        let both = [("a", "2026-11-26T10:00:00Z"), ("c", "2026-11-26T16:00:00Z")];
        assert_eq!(needed(&all, &stretches), wanted(&both));
        assert_eq!(needed(&all[3..], &stretches), wanted(&both[1..]));
        // Whoever keeps his good ones elsewhere is the one who knows.
        assert_eq!(needed(&all[..2], &stretches), None);
        assert_eq!(needed(&all[3..], &stretches[..2]), None);
    }

    #[test]
    fn the_log_of_another_cluster_leads_nowhere() {
        let mut seal = seal("2026-11-26T10:00:00.000Z", ProofLevel::Written);
        let mut other = stretch("a", "2026-11-26T09:00:00Z", "2026-11-26T13:00:00Z");
        "1".clone_into(&mut other.system_identifier);
        let at = clock::parse("2026-11-26T10:30:00Z").unwrap();
        assert_eq!(choose(&[&seal], &[other], at), None);
        let own = [stretch("a", "2026-11-26T09:00:00Z", "2026-11-26T13:00:00Z")];
        assert!(choose(&[&seal], &own, at).is_some());
        // Nor does that of a dump.
        seal.backup.origin.kind = BackupKind::Logical;
        assert_eq!(choose(&[&seal], &own, at), None);
    }
}
