//! Removes trees without following a link or reaching into another mount.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Removes a file, a link, or a folder with everything in it; a missing one is
/// fine.
///
/// # Errors
/// `CrossesDevices` at the first mount inside, with what came before it gone;
/// and when something cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let removed = rustix::fs::openat(CWD, folder, flags, Mode::empty())
        .and_then(|folder| remove_at(folder.as_fd(), name));
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes `name` of an open folder, and what is below it on the same mount.
fn remove_at(folder: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let facts = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::Directory {
        return rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
    let inside = open_on_same_mount(folder, name, facts.st_dev)?;
    // Read to the end first: deleting while reading may skip entries.
    let entries = Dir::read_from(&inside)?.collect::<rustix::io::Result<Vec<_>>>()?;
    for entry in entries {
        let entry = entry.file_name().to_bytes();
        if entry != b"." && entry != b".." {
            match remove_at(inside.as_fd(), OsStr::from_bytes(entry)) {
                // Somebody else was faster.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
    }
    rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)
}

/// A folder below another one; `XDEV` where it is the top of another mount.
fn open_on_same_mount(folder: BorrowedFd<'_>, name: &OsStr, device: u64) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(folder, name, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return other,
    }
    // The device tells of every mount but one of the same file system.
    if rustix::fs::fstat(folder)?.st_dev != device {
        return Err(Errno::XDEV);
    }
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_of_another_mount_is_not_entered() {
        let top = rustix::fs::open("/", OFlags::PATH, Mode::empty()).unwrap();
        let device = |name: &str| rustix::fs::statat(&top, name, AtFlags::empty()).unwrap().st_dev;
        let open = |name: &str| open_on_same_mount(top.as_fd(), OsStr::new(name), device(name));
        assert_eq!(open("proc").unwrap_err(), Errno::XDEV);
        assert!(open("etc").is_ok());
    }

    #[test]
    fn a_folder_goes_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, kept) = (dir.path().join("tree"), dir.path().join("kept"));
        for deep in ["a/b/c", "d", ".hidden"] {
            fs_err::create_dir_all(tree.join(deep)).unwrap();
            fs_err::write(tree.join(deep).join("file"), deep).unwrap();
        }
        fs_err::create_dir(&kept).unwrap();
        fs_err::write(kept.join("file"), "mine").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("a/link")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
        assert!(remove(Path::new("/")).is_err());
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
