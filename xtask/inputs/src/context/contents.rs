//! From the entries that a walk found to inputs: contents are read and hashed
//! where the stat index does not know them.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::SystemTime;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags, openat};

use super::index::{Index, Indexed, Stamp};
use super::input::{Digest, Input, InputKind};
use super::problem::{InputProblem, What};
use super::walk::ShouldStop;

/// Read at once; small enough for the cache next to the processor.
const READ_SIZE: usize = 128 * 1024;

/// An entry that the rules let through.
pub(super) struct DigestEntry {
    pub(super) path: Box<str>,
    pub(super) what: EntryKind,
}

impl DigestEntry {
    /// What the index goes by; only files have it.
    fn stamp(&self) -> Option<Stamp> {
        match self.what {
            EntryKind::File { stamp, .. } => Some(stamp),
            EntryKind::Directory | EntryKind::Symlink { .. } => None,
        }
    }
}

/// What an entry is, before the content of files is known.
pub(super) enum EntryKind {
    File { executable: bool, stamp: Stamp },
    Directory,
    Symlink { target: Box<str> },
}

/// Turns entries into inputs: digests come from the index or the content.
/// The index is brought up to date, also with what was read before `stop` said
/// so. `root` is what their paths start from.
pub(super) fn hash(
    root: &OwnedFd,
    entries: Vec<DigestEntry>,
    mut index: Option<Index>,
    stop: ShouldStop<'_>,
    problems: &mut Vec<InputProblem>,
) -> (Vec<Input>, usize) {
    let begun = SystemTime::now();
    let mut digests: Vec<Option<Digest>> = match &mut index {
        Some(index) => index.take_known(entries.iter().map(|entry| (&*entry.path, entry.stamp()))),
        None => vec![None; entries.len()],
    };
    let unknown: Vec<(usize, &str, Stamp)> = entries
        .iter()
        .enumerate()
        .filter(|(at, _)| digests[*at].is_none())
        .filter_map(|(at, entry)| Some((at, &*entry.path, entry.stamp()?)))
        .collect();
    let hashed = unknown.len();
    let read: Vec<Result<Digest, InputProblem>> = unknown
        .par_iter()
        .map(|(_, path, stamp)| digest(root, path, stamp, stop))
        .collect();
    for ((at, ..), digest) in unknown.into_iter().zip(read) {
        match digest {
            Ok(digest) => digests[at] = Some(digest),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(index) = index {
        let files = entries.iter().zip(&digests).filter_map(|(entry, digest)| {
            Some(Indexed {
                path: &entry.path,
                stamp: entry.stamp()?,
                digest: digest.as_ref()?,
            })
        });
        // A lost index costs time only: not worth a failure.
        index.save(files, begun).ok();
    }
    let input = |(entry, digest): (DigestEntry, Option<Digest>)| {
        let kind = match entry.what {
            EntryKind::File { executable, stamp } => InputKind::File {
                executable,
                size: stamp.size,
                // One without is among the problems.
                digest: digest?,
            },
            EntryKind::Symlink { target } => InputKind::Symlink { target },
            EntryKind::Directory => InputKind::Directory,
        };
        Some(Input {
            path: entry.path,
            kind,
        })
    };
    (
        entries.into_iter().zip(digests).filter_map(input).collect(),
        hashed,
    )
}

/// Hashes a file and makes sure that it is the one that was stat'ed and
/// stays as it is meanwhile.
fn digest(root: &OwnedFd, path: &str, stamp: &Stamp, stop: ShouldStop<'_>) -> Result<Digest, InputProblem> {
    let bytes = path.as_bytes();
    let io = |error: std::io::Error| InputProblem::io(bytes, &error);
    // A fifo that has taken the file's place must not block the walk.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(
        openat(root, path, flags, Mode::empty()).map_err(|errno| InputProblem::errno(bytes, errno))?,
    );
    let unchanged = |file: &File| rustix::fs::fstat(file.as_fd()).map(|stat| Stamp::from(&stat) == *stamp);
    let changed = InputProblem::new(bytes, What::Changed);
    if !unchanged(&file).map_err(|errno| InputProblem::errno(bytes, errno))? {
        return Err(changed);
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_SIZE.min(stamp.size as usize + 1)];
    loop {
        if stop() {
            return Err(InputProblem::stopped());
        }
        match file.read(&mut buffer).map_err(io)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        };
    }
    let whole = hasher.count() == stamp.size;
    if whole && unchanged(&file).map_err(|errno| InputProblem::errno(bytes, errno))? {
        Ok(Digest(*hasher.finalize().as_bytes()))
    } else {
        Err(changed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The file is longer than it was when it was stat'ed.
    #[test]
    fn change_while_reading() {
        let folder = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(File::open(folder.path()).unwrap());
        let path = folder.path().join("a");
        fs::write(&path, "1").unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        let stamp = Stamp::from(&stat);
        assert!(digest(&root, "a", &stamp, &|| false).is_ok());
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"2")
            .unwrap();
        assert_eq!(
            digest(&root, "a", &stamp, &|| false).unwrap_err().to_string(),
            "a: changed while it was read"
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(
            digest(&root, "a", &stamp, &|| false).unwrap_err().what,
            What::Changed
        );
        symlink("b", &path).unwrap();
        assert_eq!(
            digest(&root, "a", &stamp, &|| false).unwrap_err().what,
            What::Changed
        );
    }
}
