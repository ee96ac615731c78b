//! Room on disk, and removing trees without reaching through a mount.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::failure;
use crate::report::megabytes;

/// An error when the file system of `dir`, which is made if need be, has less
/// than `needed` bytes free.
///
/// # Errors
/// `Environment`, with the path and both numbers.
pub fn require_space(dir: &Path, needed: u64, what: &str) -> Result<()> {
    fs_err::create_dir_all(dir)?;
    let stat =
        rustix::fs::statvfs(dir).with_context(|| format!("ask for free space at {}", dir.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        return Err(failure::environment(format!(
            "not enough space for {what} at {}: {} free, {} needed",
            dir.display(),
            megabytes(free),
            megabytes(needed)
        ))
        .hint("free some space, or set HIVE_CACHE_DIR to a folder on another disk")
        .into());
    }
    Ok(())
}

/// Removes a file, or a folder with everything in it; a missing one is fine.
///
/// # Errors
/// When something cannot be removed, or something is mounted inside: that is
/// not ours to delete.
pub fn remove(path: &Path) -> Result<()> {
    let mounts = fs_err::read("/proc/self/mounts").unwrap_or_default();
    if let Some(mount) = mount_below(&mounts, path) {
        bail!("cannot remove {}: {} is mounted", path.display(), mount.display());
    }
    let removed = if path.is_dir() && !path.is_symlink() {
        fs_err::remove_dir_all(path)
    } else {
        fs_err::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The first mount at or below `path` in a table like `/proc/self/mounts`.
fn mount_below(mounts: &[u8], path: &Path) -> Option<PathBuf> {
    let points = mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(1));
    points.map(unescape).find(|point| point.starts_with(path))
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
            .filter(|_| *first == b'\\')
        {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_space_names_place_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let error = require_space(dir.path(), u64::MAX, "a test").unwrap_err();
        assert_eq!(failure::kind(&error), failure::Kind::Environment);
        let message = error.to_string();
        assert!(
            message.contains(&dir.path().display().to_string()) && message.contains("needed"),
            "{message}"
        );
    }

    #[test]
    fn mounts_inside_are_seen() {
        let table = b"proc /proc proc rw 0 0\ntmpfs /a\\040b/dev tmpfs rw 0 0\n";
        assert_eq!(
            mount_below(table, Path::new("/a b")),
            Some(PathBuf::from("/a b/dev"))
        );
        assert_eq!(
            mount_below(table, Path::new("/a b/dev")),
            Some(PathBuf::from("/a b/dev"))
        );
        assert_eq!(mount_below(table, Path::new("/a")), None);
        assert!(
            remove(Path::new("/proc"))
                .unwrap_err()
                .to_string()
                .contains("/proc is mounted")
        );
    }

    #[test]
    fn links_go_and_their_targets_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs_err::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        remove(&link).unwrap();
        assert!(target.exists() && !link.is_symlink());
        remove(&link).unwrap();
    }
}
