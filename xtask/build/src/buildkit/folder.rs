//! The folder of one call of bake: large secrets, and what buildx leaves there. It goes with the call;
//! what a killed one has left goes with the next one.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use host::disk;
use host::lock::{FileLock, HeldLock};
use host::process::Runner;
use host::report::Report;

/// How all of them begin.
const PREFIX: &str = "hive-bake-";

/// The file in it that is locked.
const LOCK: &str = "lock";

/// Whoever makes one has locked it by then.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder that is there for one call, locked by whoever has made it and by the programs that he
/// starts.
#[derive(Debug)]
pub(super) struct BakeFolder {
    /// Let go before the folder is removed.
    _lock: HeldLock,
    folder: TempDir,
}

impl BakeFolder {
    /// Makes one beside the machine's temporary files, and removes those of this user that nobody
    /// holds any more.
    pub(super) fn make(runner: &Runner, report: &Report) -> Result<Self> {
        Self::below(&std::env::temp_dir(), YOUNG, runner, report)
    }

    fn below(place: &Path, young: Duration, runner: &Runner, report: &Report) -> Result<Self> {
        sweep(place, young, runner, report)?;
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        let lock = at_once(folder.path(), runner, report)?;
        lock.inherit()?;
        Ok(Self { _lock: lock, folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn at_once(folder: &Path, runner: &Runner, report: &Report) -> Result<HeldLock> {
    let lock = FileLock {
        path: &folder.join(LOCK),
        busy: "another build has this folder",
        patience: Some(Duration::ZERO),
    };
    lock.take(runner, report)
}

fn sweep(place: &Path, young: Duration, runner: &Runner, report: &Report) -> Result<()> {
    let us = rustix::process::geteuid().as_raw();
    // What is there of others is nobody's business here, and may not be his to see.
    for entry in fs_err::read_dir(place).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        let is_old = metadata
            .modified()
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= young));
        let is_ours = metadata.is_dir() && metadata.uid() == us;
        // One without a lock is an older tool's, which may be at work.
        let has_lock = path.join(LOCK).symlink_metadata().is_ok();
        if !(is_ours && is_old && has_lock && name.to_string_lossy().starts_with(PREFIX)) {
            continue;
        }
        runner.check_interrupt()?;
        if let Ok(_ours) = at_once(&path, runner, report) {
            report.debug(format!(
                "removes what a killed build has left: {}",
                path.display()
            ));
            disk::remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_a_killed_call_has_left_goes_with_the_next_one() {
        let place = tempfile::tempdir().unwrap();
        let (runner, report) = (Runner::new(Arc::default()).unwrap(), Report::new(true, false));
        let make = |young| BakeFolder::below(place.path(), young, &runner, &report).unwrap();
        let (left, other) = (place.path().join("hive-bake-left"), place.path().join("other"));
        let older = place.path().join("hive-bake-older");
        for folder in [&left, &other, &older] {
            fs_err::create_dir(folder).unwrap();
            fs_err::write(folder.join("HIVE_SECRET_0_CA_BUNDLE"), "").unwrap();
        }
        fs_err::write(left.join(LOCK), "").unwrap();
        let elsewhere = place.path().join("hive-bake-link");
        std::os::unix::fs::symlink(&other, &elsewhere).unwrap();
        // One that somebody is about to lock stays.
        let held = make(YOUNG);
        assert!(left.exists());
        let next = make(Duration::ZERO);
        assert!(!left.exists() && other.exists() && older.exists() && elsewhere.is_symlink());
        assert!(held.path().exists() && next.path().exists());
        drop((held, next));
        let names = fs_err::read_dir(place.path()).unwrap();
        assert_eq!(names.count(), 3, "each goes with its call");
    }
}
