//! Takes a migration back: the data run again that ran before it.

use anyhow::Result;

use crate::exchange::{Exchange, ROLLBACK};
use crate::generations::{VolumeFindings, VolumeJournal, VolumeKeeper};
use crate::operation;
use crate::restore::RestoreOrder;
use crate::written::{self, PutAside};
use host::report::Report;
use service::findings::{self, Obstacle};

/// What a migration has put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationBack {
    /// The operation's name: the generations are called by it.
    id: String,
    /// Where the data that run now come from.
    pub from: String,
    /// The version of PostgreSQL of what ran before, where the image has another one.
    pub other_major: Option<String>,
}

/// What ran before the migration that the running data come from.
///
/// # Errors
/// When they come from none, or nothing ran before it.
pub fn way_back(order: &RestoreOrder<'_>) -> Result<MigrationBack> {
    let name = &order.handle.name;
    if order
        .handle
        .engine
        .volume(&order.handle.runner, &name.volume())?
        .is_none()
    {
        return Err(failure::usage(format!("{name}: there is no volume {}", name.volume())).into());
    }
    found_way_back(&keeper(order, "look-back")?.look(&[])?)
        .map_err(|why| failure::usage(format!("{name}: {why}")).into())
}

fn found_way_back(seen: &VolumeFindings) -> Result<MigrationBack, String> {
    let (Some(id), Some(from)) = (&seen.running, &seen.migrated_from) else {
        return Err("the data that run come from no migration".to_owned());
    };
    let before = format!("before-{id}");
    if !seen.generations.contains(&before) {
        return Err(format!(
            "nothing is kept of what ran before the migration from {from}; the source is as it was"
        ));
    }
    Ok(MigrationBack {
        id: id.clone(),
        from: from.clone(),
        other_major: seen
            .versions
            .get(&before)
            .filter(|version| **version != seen.major.to_string())
            .cloned(),
    })
}

/// No image runs on the data of another version.
fn of_version(order: &RestoreOrder<'_>, back: &MigrationBack) -> Result<Option<Obstacle>> {
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

/// Brings back what ran before a migration. What ran until now is put aside. The caller
/// holds the service's lock.
///
/// # Errors
/// When somebody else uses the volume; a smoke failure where the app does not get healthy:
/// then all is as it was.
pub fn rollback(order: &RestoreOrder<'_>, back: &MigrationBack) -> Result<PutAside> {
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
        written: written::count(&keeper, &generation),
        generation,
    })
}

fn keeper(order: &RestoreOrder<'_>, what: &str) -> Result<VolumeKeeper> {
    let name = &order.handle.name;
    let helper = format!("{name}.{what}-{}", std::process::id());
    VolumeKeeper::start(order.resources, &helper, order.image, &name.volume())
}

/// What was written since the migration is not in the data from before.
pub fn tell(report: &Report, name: &str, back: &MigrationBack) {
    report.step(
        "rollback",
        format!(
            "{name}: its data become those from before the migration from {}; what was written since then is \
             lost to it",
            back.from
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(running: Option<&str>, from: Option<&str>, beside: &[&str]) -> VolumeFindings {
        VolumeFindings {
            major: 17,
            missing_extensions: Vec::new(),
            free_bytes: 0,
            free_files: None,
            generations: beside.iter().map(|&name| name.to_owned()).collect(),
            journal: None,
            running: running.map(str::to_owned),
            is_used: true,
            was_healthy: true,
            tablespaces: Vec::new(),
            migrated_from: from.map(str::to_owned),
            versions: [("before-2".to_owned(), "16".to_owned())].into(),
            disk: 1,
            kept: Default::default(),
            images: Default::default(),
            secrets: Vec::new(),
        }
    }

    #[test]
    fn only_a_migration_that_runs_is_taken_back() {
        let back = found_way_back(&seen(Some("2"), Some("old"), &["before-1", "before-2"])).unwrap();
        assert_eq!((back.from.as_str(), back.id.as_str()), ("old", "2"));
        assert_eq!(back.other_major.as_deref(), Some("16"));
        let told = |running, from, beside| found_way_back(&seen(running, from, beside)).unwrap_err();
        assert!(told(Some("2"), None, &["before-2"]).contains("come from no migration"));
        assert!(told(None, None, &[]).contains("come from no migration"));
        let nothing = told(Some("2"), Some("old"), &["before-1", "failed-2"]);
        assert!(nothing.contains("nothing is kept of what ran before the migration from old"));
    }
}
