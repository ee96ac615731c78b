//! The private engine's folder: that it is ours, and how it goes.
//!
//! It holds volumes, so it is deleted only where it is recognisably ours, with
//! nothing behind a link or in a mount.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::StatVfsMountFlags;

use super::packages::Packages;
use failure::Failure;
use host::Host;
use host::disk;

/// `OVERLAYFS_SUPER_MAGIC` of the kernel's `magic.h`.
const OVERLAYFS: i64 = 0x794c_7630;

/// Lies in each folder that the tool has made for an engine.
const MARKER: &str = "hive-private-engine";

const MARKER_TEXT: &str = "The folder of a private engine that `cargo xtask` has made.
data/ has its images, containers and volumes; `cargo xtask engine purge --delete-data`
deletes everything in here.
";

/// Makes the folder, or takes the one that is there if it is ours.
///
/// # Errors
/// `Environment` where something else lies there, or it is another user's.
pub(super) fn claim(dir: &Path) -> Result<()> {
    let empty = !dir.exists() || fs_err::read_dir(dir)?.next().is_none();
    if !empty {
        recognise(dir)?;
    }
    fs_err::create_dir_all(dir)?;
    let marker = dir.join(MARKER);
    if !marker.exists() {
        fs_err::write(marker, MARKER_TEXT)?;
    }
    Ok(())
}

/// An error where programs cannot run in the folder; a warning where an engine
/// in it is slow. Asked before anything is downloaded.
///
/// # Errors
/// `Environment`, with the folder.
pub(super) fn can_serve(dir: &Path, host: &Host) -> Result<()> {
    let mount = rustix::fs::statvfs(dir).with_context(|| format!("look at {}", dir.display()))?;
    if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let message = format!(
            "{} lies on a file system that is mounted noexec: the engine's programs cannot run there",
            dir.display()
        );
        return Err(failure::environment(message)
            .hint("set HIVE_CACHE_DIR to a folder on another file system")
            .into());
    }
    let kind = rustix::fs::statfs(dir).with_context(|| format!("look at {}", dir.display()))?;
    if kind.f_type == OVERLAYFS {
        let message = format!(
            "{} lies on an overlay file system, as in a container: there the engine has to copy each \
             layer as a whole (its driver vfs), which takes more room and much longer; set \
             HIVE_CACHE_DIR to a folder on a volume",
            dir.display()
        );
        host.report.warn(message);
    }
    Ok(())
}

/// An error where the folder is not a private engine's of this user.
pub(super) fn recognise(dir: &Path) -> Result<()> {
    let owner = fs_err::metadata(dir)?.uid();
    let us = rustix::process::geteuid().as_raw();
    if owner != us {
        let message = format!(
            "the private engine in {} belongs to user {owner}, and this is user {us}",
            dir.display()
        );
        return Err(failure::environment(message)
            .hint("run this as that user, or set HIVE_CACHE_DIR to a folder of your own")
            .into());
    }
    // The other three: engines that were made before there was a marker.
    let ours = dir.join(MARKER).exists()
        || Packages::existing(&dir.join("packages")).is_some()
        || dir.join("run/launch.sh").exists()
        || dir.join("scratch/root").exists();
    if ours {
        return Ok(());
    }
    let message = format!(
        "{} is not the folder of a private engine: it has no file {MARKER}",
        dir.display()
    );
    Err(failure::environment(message)
        .hint("set HIVE_CACHE_DIR to another folder")
        .into())
}

/// An error where the folder cannot be deleted as a whole, for all reasons that
/// are of one kind at once; nothing is touched.
///
/// # Errors
/// `Environment`: a link or a mount inside, or [`recognise`].
pub(super) fn may_go(dir: &Path) -> Result<()> {
    let links: Vec<PathBuf> = places(dir).into_iter().filter(|path| path.is_symlink()).collect();
    if !links.is_empty() {
        return Err(linked(&links).into());
    }
    if !dir.exists() {
        return Ok(());
    }
    recognise(dir)?;
    disk::refuse_mounts(dir)
}

/// The folder, its parts, and those of the engine's data: where somebody with a
/// larger disk would put a link.
fn places(dir: &Path) -> Vec<PathBuf> {
    let inside = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let mut places = vec![dir.to_owned()];
    places.extend(inside(dir));
    places.extend(inside(&dir.join("data")));
    places
}

fn linked(links: &[PathBuf]) -> Failure {
    let target = |link: &Path| disk::resolved(link).unwrap_or_else(|_| link.to_owned());
    let shown: Vec<String> = links
        .iter()
        .map(|link| format!("{} leads to {}", link.display(), target(link).display()))
        .collect();
    let mut failure = failure::environment(format!(
        "nothing behind a link is deleted: {}",
        shown.join(", ")
    ))
    .hint("nothing was deleted; where all of it is the engine's, stop the engine, delete that by hand, and purge again:")
    .hint("cargo xtask engine down");
    for link in links {
        let (link, target) = (link.display(), target(link));
        failure = failure.hint(format!("rm -r '{}' '{link}'", target.display()));
    }
    failure
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refusal(result: Result<()>) -> String {
        let error = result.unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Environment);
        failure::render(&error)
    }

    #[test]
    fn what_somebody_else_made_is_neither_taken_nor_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = dir.path().join("engine");
        fs_err::create_dir_all(foreign.join("data/packages")).unwrap();
        for result in [claim(&foreign), may_go(&foreign)] {
            let said = refusal(result);
            assert!(said.contains("is not the folder of a private engine"), "{said}");
        }
        assert!(!foreign.join(MARKER).exists());
    }

    #[test]
    fn what_was_claimed_is_ours_and_so_is_what_older_versions_made() {
        let dir = tempfile::tempdir().unwrap();
        let engine = dir.path().join("new/engine");
        claim(&engine).unwrap();
        claim(&engine).unwrap();
        may_go(&engine).unwrap();
        let older = dir.path().join("older");
        fs_err::create_dir_all(older.join("run")).unwrap();
        fs_err::write(older.join("run/launch.sh"), "").unwrap();
        may_go(&older).unwrap();
        claim(&older).unwrap();
        assert!(older.join(MARKER).exists());
        may_go(&dir.path().join("missing")).unwrap();
    }

    #[test]
    fn links_are_named_with_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        for (link, in_place_of) in [
            ("engine", "engine"),
            ("engine/data", "engine/data"),
            ("engine/data/volumes", "engine/data/volumes"),
        ] {
            let home = dir.join(link.replace('/', "-"));
            let engine = home.join("engine");
            claim(&engine).unwrap();
            fs_err::create_dir_all(engine.join("data/volumes")).unwrap();
            let larger = home.join("larger");
            fs_err::rename(home.join(in_place_of), &larger).unwrap();
            symlink(&larger, home.join(link)).unwrap();
            let said = refusal(may_go(&engine));
            let wanted = format!("{} leads to {}", home.join(link).display(), larger.display());
            assert!(said.contains(&wanted), "{said}");
        }
    }
}
