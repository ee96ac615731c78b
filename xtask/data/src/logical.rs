//! Backups that are dumps: how one is loaded into a new cluster, and compared with it as a
//! migration's is.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::file::Backup;
use crate::generations::{ROOT, VolumeKeeper, judgement, run_in};
use crate::seal::LoadedDump;
use crate::take::on_a_copy_with_dumped;
use container::boot::MOUNT;
use engine::container::Container;
use host::report::Report;

/// Dumps, loads and compares.
pub(crate) const MIGRATE: &str = include_str!("inside/migrate.py");

/// What is there for one migration, restore or proof: the dump, what is copied.
pub(crate) const WORK: &str = "/hive-migrate";

/// Where a backup is unpacked.
pub(crate) const UNPACKED: &str = "/hive-migrate/unpacked";

/// So much more room it takes to load a dump than the cluster has: the dump, as text, and a copy
/// of what was loaded.
pub(crate) const COPIES: u64 = 2;

/// What `restore` and `prove` say.
#[derive(Debug, Deserialize)]
struct LoadedTables {
    tables: BTreeMap<String, u64>,
}

/// Lets a volume that is there for a proof alone be where the script works, too.
pub(crate) fn prepare(container: &Container) -> Result<()> {
    run_in(container, &["--user", ROOT], &["ln", "-s", MOUNT, WORK]).map(drop)
}

/// Makes of an unpacked backup a base backup that can be proved as any other; why it cannot,
/// where the backup is to blame.
pub(crate) fn load(container: &Container, owner: &str) -> Result<std::result::Result<LoadedDump, String>> {
    run_in(container, &["--user", ROOT], &["chown", "-R", owner, UNPACKED])?;
    match judgement(container, &on_a_copy_with_dumped(MIGRATE, &["prove", UNPACKED]))? {
        Ok(said) => loaded(&said).map(Ok),
        Err(why) => Ok(Err(why)),
    }
}

/// Fills a new generation from a backup.
///
/// # Errors
/// A smoke failure where it cannot be loaded.
pub(crate) fn restore(
    keeper: &VolumeKeeper,
    backup: &Backup,
    id: &str,
    report: &Report,
) -> Result<LoadedDump> {
    keeper.unpack_to(backup, UNPACKED, report)?;
    keeper.own(WORK)?;
    let command = on_a_copy_with_dumped(MIGRATE, &["restore", UNPACKED, id]);
    loaded(&keeper.runs(&command).context("load the dump")?)
}

fn loaded(said: &str) -> Result<LoadedDump> {
    let LoadedTables { tables } = serde_json::from_str(said).context("read what was loaded")?;
    Ok(LoadedDump {
        tables: tables.len(),
        rows: tables.values().sum(),
    })
}
