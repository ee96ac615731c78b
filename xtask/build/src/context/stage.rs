//! A staged tree that is ours for as long as BuildKit reads it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use inputs::context::tree::{Filled, Tree};
use inputs::context::{Input, Problems};

use host::lock::Lock;
use host::process::Runner;
use host::report::Report;

/// How long a run waits for another one in the same checkout.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A locked staging folder. Keep it until BuildKit has read the tree.
#[derive(Debug)]
pub struct Stage {
    tree: Tree,
    _lock: File,
}

impl Stage {
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
        let lock = Lock {
            path: &folder.join("lock"),
            busy: "another build in this checkout is not finished",
            patience: Some(PATIENCE),
        };
        let lock = lock.take(runner, report)?;
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty())?;
        Ok(Self { tree, _lock: lock })
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
    /// hashed; otherwise the tree cannot be written.
    pub fn fill(&self, root: &Path, inputs: &[Input]) -> Result<Filled> {
        self.tree
            .fill(root, inputs)
            .map_err(|error| match error.downcast::<Problems>() {
                Ok(Problems(problems)) => super::unusable(root, &problems),
                Err(error) => error,
            })
    }
}
