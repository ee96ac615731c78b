//! Takes a restore or a migration back: the data run again that ran before it.

use std::time::SystemTime;

use anyhow::Result;

use crate::exchange::{self, Exchange};
use crate::generations::{MadeBy, ROLLBACK, VolumeFindings, VolumeJournal, VolumeKeeper};
use crate::operation;
use crate::restore::RestoreOrder;
use crate::written::{self, PutAside};
use failure::Failure;
use host::report::Report;
use inputs::clock;
use service::findings::{self, Obstacle};
use service::status::age;

/// By what the data that run have got their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacing {
    /// `restore`, taken back by `restore --undo`.
    Restore,
    /// `migrate`, taken back by `migrate --rollback`.
    Migration,
}

/// What somebody wants taken back, as he has said it.
#[derive(Clone, Copy, Debug)]
pub struct BackRequest<'a> {
    /// It has to be one of these.
    pub of: Replacing,
    /// Whether the flag stood there twice: nothing is asked then, and what was killed is
    /// ended.
    pub is_sure: bool,
    /// The name of a way back that was killed, and that this very command has ended.
    pub killed: Option<&'a str>,
}

/// What a restore or a migration has put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataBack {
    /// The operation's name: the generations are called by it.
    id: String,
    /// Where the data that run now come from, in words.
    from: String,
    /// Since when, where that is known.
    since: Option<SystemTime>,
    /// The version of PostgreSQL of what ran before, where the image has another one.
    pub other_major: Option<String>,
}

/// What ran before the restore or migration that the running data come from; none where a
/// way back that was killed had got there.
///
/// # Errors
/// When they come from none, or nothing ran before it; when an operation was killed and
/// nobody has said yet that anything may be changed.
pub fn way_back(order: &RestoreOrder<'_>, request: BackRequest<'_>) -> Result<Option<DataBack>> {
    let name = &order.handle.name;
    if order
        .handle
        .engine
        .volume(&order.handle.runner, &name.volume())?
        .is_none()
    {
        return Err(failure::usage(format!("{name}: there is no volume {}", name.volume())).into());
    }
    let keeper = keeper(order, "look-back")?;
    // Of a service without a container nobody has seen the journal yet.
    let seen = keeper.look(&[])?;
    let journal = seen.journal.clone().filter(exchange::is_one);
    let seen = match &journal {
        None => seen,
        Some(journal) if !request.is_sure => return Err(journal.refused(name.as_str())),
        Some(_) => exchange::settled(&keeper, &[], false, |journal| order.work(&keeper, journal))?,
    };
    let unseen = journal.as_ref().filter(|journal| journal.operation == ROLLBACK);
    let killed = request.killed.or(unseen.map(|journal| journal.id.as_str()));
    if killed.is_some_and(|id| seen.running.as_deref() != Some(id)) {
        return Ok(None);
    }
    let found = found_way_back(name.as_str(), request.of, &seen)?;
    Ok(Some(found))
}

fn found_way_back(name: &str, of: Replacing, seen: &VolumeFindings) -> Result<DataBack, Failure> {
    let (id, from) = match (of, seen.made_by()) {
        (Replacing::Migration, MadeBy::Migration { id, from }) => (id, format!("the migration from {from}")),
        (Replacing::Restore, MadeBy::Restore { id }) => (id, restore_of(id)),
        (of, made_by) => {
            let wanted = match of {
                Replacing::Restore => "restore",
                Replacing::Migration => "migration",
            };
            let failure = failure::usage(format!("{name}: the data that run come from no {wanted}"));
            return Err(match made_by.way_back(name) {
                Some(command) => failure.hint(format!("what ran before them: {command}")),
                None => failure,
            });
        }
    };
    let before = format!("before-{id}");
    if !seen.generations.contains(&before) {
        let source = match of {
            Replacing::Restore => "",
            Replacing::Migration => "; the source is as it was",
        };
        let message = format!("{name}: nothing is kept of what ran before {from}{source}");
        return Err(failure::usage(message));
    }
    Ok(DataBack {
        from,
        since: clock::stamped(id),
        other_major: seen
            .versions
            .get(&before)
            .filter(|version| **version != seen.major.to_string())
            .cloned(),
        id: id.to_owned(),
    })
}

/// Restores are called by their time.
fn restore_of(id: &str) -> String {
    match clock::stamped(id) {
        Some(at) => format!("the restore of {}", clock::shown(&clock::rfc3339(at))),
        None => format!("the restore {id}"),
    }
}

/// No image runs on the data of another version.
fn of_version(order: &RestoreOrder<'_>, back: &DataBack) -> Result<Option<Obstacle>> {
    let name = &order.handle.name;
    let Some(version) = &back.other_major else {
        return Ok(None);
    };
    let is_there = order.handle.place()?.own().is_some();
    Ok(is_there.then(|| {
        let message = format!("what ran before is of PostgreSQL {version}, and its container has another one");
        Obstacle::usage(message).hint(format!(
            "cargo xtask down {name}; this again; then an image with PostgreSQL {version}: cargo xtask up {name} \
             --image REFERENCE"
        ))
    }))
}

/// Brings back what ran before a restore or a migration. What ran until now is put aside. The caller
/// holds the service's lock.
///
/// # Errors
/// When somebody else uses the volume; a smoke failure where the app does not get healthy:
/// then all is as it was.
pub fn rollback(order: &RestoreOrder<'_>, back: &DataBack) -> Result<PutAside> {
    let handle = order.handle;
    let mut found: Vec<Obstacle> = findings::data_elsewhere(handle)?.into_iter().collect();
    found.extend(findings::users(handle, &handle.name.volume())?);
    found.extend(of_version(order, back)?);
    if !found.is_empty() {
        return Err(operation::all(handle.name.as_str(), found));
    }
    let keeper = keeper(order, "rollback")?;
    let journal = VolumeJournal {
        file: back.from.clone(),
        ..VolumeJournal::begun(ROLLBACK, &back.id, order.ran()?)
    };
    let mut rollback = Exchange {
        work: order.work(&keeper, journal),
    };
    operation::run(&mut rollback)?;
    let away = rollback.work.away();
    rollback.work.finish()?;
    let generation = rollback.work.aside();
    Ok(PutAside {
        away,
        runs: rollback.work.journal.service_ran,
        written: written::count(&keeper, &generation),
        generation,
    })
}

fn keeper(order: &RestoreOrder<'_>, what: &str) -> Result<VolumeKeeper> {
    let name = &order.handle.name;
    let helper = format!("{name}.{what}-{}", std::process::id());
    VolumeKeeper::start(order.resources, &helper, order.image, &name.volume())
}

/// What was written since then is not in the data from before.
pub fn tell(report: &Report, name: &str, back: &DataBack, now: SystemTime) {
    report.step("rollback", told(name, back, now));
}

fn told(name: &str, back: &DataBack, now: SystemTime) -> String {
    let since = back.since.and_then(|since| now.duration_since(since).ok());
    let since = since.map_or(String::new(), |since| format!("in the {} ", age(since)));
    format!(
        "{name}: its data become those from before {}; what was written {since}since then is lost to it",
        back.from
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(running: Option<&str>, from: Option<&str>, beside: &[&str]) -> VolumeFindings {
        VolumeFindings {
            generations: beside.iter().map(|&name| name.to_owned()).collect(),
            running: running.map(str::to_owned),
            migrated_from: from.map(str::to_owned),
            versions: [("before-2".to_owned(), "16".to_owned())].into(),
            ..VolumeFindings::sample()
        }
    }

    const RESTORED: &str = "20261127T021500.123Z-0a0b0c0d";

    #[test]
    fn only_a_migration_that_runs_is_taken_back() {
        let of = |running, from, beside: &[&str]| {
            let found = found_way_back("genie", Replacing::Migration, &seen(running, from, beside));
            found.map_err(|why| failure::render(&why.into()))
        };
        let back = of(Some("2"), Some("old"), &["before-1", "before-2"]).unwrap();
        assert_eq!(back.id, "2");
        assert_eq!(back.other_major.as_deref(), Some("16"));
        let told = "genie: its data become those from before the migration from old; what was written since then is \
                    lost to it";
        assert_eq!(super::told("genie", &back, SystemTime::UNIX_EPOCH), told);
        let restored = of(Some(RESTORED), None, &["before-2"]).unwrap_err();
        assert!(restored.contains("come from no migration"), "{restored}");
        assert!(
            restored.contains("cargo xtask restore genie --undo"),
            "{restored}"
        );
        let first = of(None, None, &[]).unwrap_err();
        assert!(
            first.contains("come from no migration") && !first.contains("cargo"),
            "{first}"
        );
        let nothing = of(Some("2"), Some("old"), &["before-1", "failed-2"]).unwrap_err();
        assert!(
            nothing.contains(
                "nothing is kept of what ran before the migration from old; the source is as it was"
            ),
            "{nothing}"
        );
    }

    #[test]
    fn only_a_restore_that_runs_is_taken_back() {
        let before = format!("before-{RESTORED}");
        let of = |seen: &VolumeFindings| {
            let found = found_way_back("genie", Replacing::Restore, seen);
            found.map_err(|why| failure::render(&why.into()))
        };
        let mut one = seen(Some(RESTORED), None, &["before-2", &before]);
        let back = of(&one).unwrap();
        assert_eq!((back.id.as_str(), &back.other_major), (RESTORED, &None));
        let later = back.since.unwrap() + std::time::Duration::from_secs(3 * 3600);
        assert_eq!(
            told("genie", &back, later),
            "genie: its data become those from before the restore of 2026-11-27 02:15 UTC; what was written in the 3 h \
             since then is lost to it"
        );
        // An update of the restored data has come in between.
        one.running_image = Some(format!("sha256:{}", "0a".repeat(32)).parse().unwrap());
        let updated = of(&one).unwrap_err();
        assert!(updated.contains("come from no restore"), "{updated}");
        assert!(updated.contains("cargo xtask update genie --undo"), "{updated}");
        let migrated = of(&seen(Some("2"), Some("old"), &["before-2"])).unwrap_err();
        assert!(
            migrated.contains("cargo xtask migrate genie --rollback"),
            "{migrated}"
        );
        let nothing = of(&seen(Some(RESTORED), None, &["before-2"])).unwrap_err();
        let kept = "nothing is kept of what ran before the restore of 2026-11-27 02:15 UTC";
        assert!(nothing.contains(kept), "{nothing}");
        assert!(
            of(&seen(None, None, &[]))
                .unwrap_err()
                .contains("come from no restore")
        );
    }
}
