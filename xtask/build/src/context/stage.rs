//! A staged tree that is ours for as long as BuildKit reads it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use inputs::context::tree::{Filled, Tree};
use inputs::context::{Input, Problems};

use host::disk;
use host::lock::{FileLock, HeldLock};
use host::process::{Interrupt, Runner};
use host::report::Report;
use inputs::regular;

/// How long a run waits for another one in the same checkout.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The file that says which folders a staged copy is of.
const OF: &str = "of";

/// A locked staging folder. Keep it until BuildKit has read the tree.
#[derive(Debug)]
pub struct StagedContext {
    tree: Tree,
    lock: HeldLock,
    lock_path: PathBuf,
}

impl StagedContext {
    /// Makes the folder if need be and locks it, waiting until another run has
    /// finished with it.
    ///
    /// The build inherits the lock: where this process is killed, it goes on
    /// reading the tree, and no other run may change the tree before it has
    /// ended.
    ///
    /// # Errors
    /// An environment failure when the wait was in vain, or on Ctrl-C; otherwise
    /// the folder cannot be made.
    pub fn lock(folder: &Path, runner: &Runner, report: &Report) -> Result<Self> {
        let tree = Tree::at(folder)?;
        let lock_path = folder.join("lock");
        let lock = FileLock {
            path: &lock_path,
            busy: "another build in this checkout is not finished",
            patience: Some(PATIENCE),
        };
        let lock = lock.take(runner, report)?;
        lock.inherit()?;
        Ok(Self {
            tree,
            lock,
            lock_path,
        })
    }

    /// Notes the folders that it is a copy of, for [`sweep`].
    ///
    /// # Errors
    /// When the note cannot be written.
    pub(crate) fn sign(&self, folders: &[&Path]) -> Result<()> {
        let folders: Vec<&[u8]> = folders
            .iter()
            .map(|folder| folder.as_os_str().as_bytes())
            .collect();
        fs_err::write(self.lock_path.with_file_name(OF), folders.join(&0))?;
        Ok(())
    }

    /// The directory to give to BuildKit.
    pub fn tree(&self) -> &Path {
        self.tree.path()
    }

    /// Makes the tree hold exactly `inputs`, which a scan found in `root`. Each
    /// content is hashed again while it is copied.
    ///
    /// # Errors
    /// A usage failure that lists all the files that changed since they were
    /// hashed; [`failure::interrupted`]; otherwise the tree cannot be written.
    pub fn fill(&self, root: &Path, inputs: &[Input], interrupt: &Interrupt) -> Result<Filled> {
        self.tree
            .fill(root, inputs, &|| interrupt.is_set())
            .map_err(|error| unusable(root, error))
    }

    /// What a build step makes of the tree, which holds `inputs`.
    ///
    /// # Errors
    /// A usage failure that lists all the files that changed since they were
    /// staged; [`failure::interrupted`].
    pub fn contents(&self, inputs: &[Input], interrupt: &Interrupt) -> Result<String> {
        self.tree
            .contents(inputs, &|| interrupt.is_set())
            .map_err(|error| unusable(self.tree(), error))
    }

    /// Whether the folder is still ours and holds exactly `inputs`.
    pub fn is_whole(&self, inputs: &[Input]) -> bool {
        self.lock.is_at(&self.lock_path) && self.tree.holds(inputs)
    }
}

/// Removes the staged copies of folders that are gone, unless somebody holds one.
///
/// # Errors
/// When `stages` cannot be read, or on Ctrl-C.
pub(crate) fn sweep(stages: &Path, runner: &Runner, report: &Report) -> Result<()> {
    let at_once = |path: &Path| {
        let lock = FileLock {
            path,
            busy: "another run is at it",
            patience: Some(Duration::ZERO),
        };
        lock.take(runner, report)
    };
    // Of two runs that did this at once, one would make a lock in a folder that
    // the other one removes.
    let Ok(_alone) = at_once(&stages.join("sweep.lock")) else {
        return runner.check_interrupt();
    };
    for entry in fs_err::read_dir(stages)? {
        let folder = entry?.path();
        // One that is being made has no note yet.
        let Ok(note) = regular::read(&folder.join(OF)) else {
            continue;
        };
        let is_gone = |path: &[u8]| {
            let found = Path::new(OsStr::from_bytes(path)).symlink_metadata();
            found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        if !note.split(|byte| *byte == 0).any(is_gone) {
            continue;
        }
        runner.check_interrupt()?;
        if let Ok(_ours) = at_once(&folder.join("lock")) {
            report.debug(format!("removes the staged copy {}", folder.display()));
            disk::remove(&folder)?;
        }
    }
    Ok(())
}

fn unusable(folder: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Problems>() {
        Ok(Problems(problems)) => super::unusable(folder, &problems),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn stages_of_folders_that_are_gone_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (stages, app) = (folder.path().join("stages"), folder.path().join("app"));
        fs_err::create_dir(&app).unwrap();
        let (runner, report) = (Runner::new(Arc::default()).unwrap(), Report::new(true, false));
        let stage = |name: &str, folders: &[&Path]| {
            let stage = StagedContext::lock(&stages.join(name), &runner, &report).unwrap();
            stage.sign(folders).unwrap();
            stage
        };
        let gone = folder.path().join("gone");
        drop(stage("whole", &[folder.path(), &app]));
        drop(stage("of-gone", &[folder.path(), &gone]));
        let held = stage("held", &[&gone, &app]);
        fs_err::create_dir(stages.join("made-now")).unwrap();
        let there = || ["whole", "of-gone", "held", "made-now"].map(|name| stages.join(name).exists());
        sweep(&stages, &runner, &report).unwrap();
        assert_eq!(there(), [true, false, true, true]);
        drop(held);
        sweep(&stages, &runner, &report).unwrap();
        assert_eq!(there(), [true, false, false, true]);
    }
}
