//! Locks between runs, also of different checkouts, by `flock` on a file. The
//! kernel gives them back when a run is killed.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::host::Host;

/// Waits until no other run holds the lock at `path`, which is made if need be;
/// dropping the file gives it back. `busy` is told once when there is waiting
/// to do. The holder may remove the file at the end.
///
/// # Errors
/// When the file cannot be made, or on Ctrl-C.
pub fn exclusive(path: &Path, busy: &str, host: &Host) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs_err::create_dir_all(dir)?;
    }
    let mut told = false;
    loop {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Another holder may have removed the file while we waited.
            Ok(()) if is_at(&file, path) => return Ok(file),
            Ok(()) | Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => {
                if !told {
                    host.report.step("wait", busy);
                    told = true;
                }
                host.runner.sleep(Duration::from_millis(100))?;
            }
            Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_file_is_no_longer_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path));
        let _other = File::create(&path).unwrap();
        assert!(!is_at(&file, &path));
    }
}
