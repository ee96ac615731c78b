//! Room on disk, and removing trees without reaching through a mount.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use inputs::removal;

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

/// `path` as the kernel finds it: absolute, and without links, `.` and `..`,
/// also where the last parts of it do not exist yet.
///
/// # Errors
/// When the current directory does not exist.
pub fn resolved(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| format!("make {} absolute", path.display()))?;
    let mut done = PathBuf::new();
    for part in absolute.components() {
        match part {
            // What is done has no link in it.
            Component::ParentDir => drop(done.pop()),
            part => done.push(part),
        }
        if let Ok(real) = done.canonicalize() {
            done = real;
        }
    }
    Ok(done)
}

/// Removes a file, a link, or a folder with everything in it; a missing one is
/// fine. The only way in which the tool deletes folders.
///
/// It follows no link below `path`, and reaches into no other mount: where
/// something is mounted inside, nothing is deleted at all.
///
/// # Errors
/// When something cannot be removed, and for a mount inside, which is not ours
/// to delete.
pub fn remove(path: &Path) -> Result<()> {
    refuse_mounts(path)?;
    match removal::remove(path) {
        // It was mounted after the look at the table.
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            bail!("cannot remove {}: something is mounted inside", path.display())
        }
        removed => removed.with_context(|| format!("remove {}", path.display())),
    }
}

/// An error where something is mounted at or below `path`.
///
/// # Errors
/// `Environment`, with the place of the mount.
pub fn refuse_mounts(path: &Path) -> Result<()> {
    let path = resolved_itself(path)?;
    let table = fs_err::read("/proc/self/mountinfo")?;
    let Some(mount) = mount_below(&table, &path) else {
        return Ok(());
    };
    let message = format!(
        "cannot remove {}: {} is a mount, and what is mounted may not be ours",
        path.display(),
        mount.display()
    );
    Err(failure::environment(message)
        .hint(format!("nothing was deleted; first: umount {}", mount.display()))
        .into())
}

/// As [`resolved`], but a link at the end is the link itself.
fn resolved_itself(path: &Path) -> Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if path.is_symlink() => Ok(resolved(folder)?.join(name)),
        _ => resolved(path),
    }
}

/// The first mount at or below `path` in a table like `/proc/self/mountinfo`
/// (proc(5)): the fifth field is where it is mounted.
fn mount_below(mounts: &[u8], path: &Path) -> Option<PathBuf> {
    let points = mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
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
        assert_eq!(failure::kind(&error), failure::FailureKind::Environment);
        let message = error.to_string();
        assert!(
            message.contains(&dir.path().display().to_string()) && message.contains("needed"),
            "{message}"
        );
    }

    #[test]
    fn mounts_inside_are_seen() {
        let table =
            b"22 1 0:21 / /proc rw - proc proc rw\n36 35 98:0 /x /a\\040b/dev rw - ext4 /dev/sda rw\n";
        let seen = |path: &str| mount_below(table, Path::new(path));
        assert_eq!(seen("/a b"), Some(PathBuf::from("/a b/dev")));
        assert_eq!(seen("/a b/dev"), Some(PathBuf::from("/a b/dev")));
        assert_eq!(seen("/a"), None);
        let error = remove(Path::new("/proc")).unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Environment);
        assert!(error.to_string().contains("/proc is a mount"), "{error}");
    }

    #[test]
    fn mounts_are_seen_by_any_path_to_them() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("top")).unwrap();
        for path in [
            dir.path().join("top/proc"),
            dir.path().join("missing/../top/./proc"),
        ] {
            let error = remove(&path).unwrap_err().to_string();
            assert!(
                error.starts_with("cannot remove /proc: /proc is a mount"),
                "{error}"
            );
        }
    }

    #[test]
    fn paths_are_resolved_also_where_nothing_is_yet() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs_err::create_dir_all(dir.join("real/deep")).unwrap();
        std::os::unix::fs::symlink("real/deep", dir.join("link")).unwrap();
        for (path, real) in [
            ("link/new/er", "real/deep/new/er"),
            ("link/..", "real"),
            ("new/../link", "real/deep"),
            ("./real/./deep/..", "real"),
        ] {
            assert_eq!(resolved(&dir.join(path)).unwrap(), dir.join(real), "{path}");
        }
        assert_eq!(resolved(Path::new("/..")).unwrap(), Path::new("/"));
    }
}
