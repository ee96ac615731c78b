//! From the entries that a walk found to inputs: contents are read and hashed
//! where the stat index does not know them.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::SystemTime;

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags, openat};

use super::index::{Index, Indexed, Stamp};
use super::input::{Digest, Input, Kind};
use super::problem::{Problem, What};

/// Read at once; small enough for the cache next to the processor.
const READ_SIZE: usize = 128 * 1024;

/// An entry that the rules let through.
pub(super) struct Entry {
    pub(super) path: Box<str>,
    pub(super) what: EntryKind,
}

impl Entry {
    /// What the index goes by; only files have it.
    fn stamp(&self) -> Option<Stamp> {
        match self.what {
            EntryKind::File { stamp, .. } => Some(stamp),
            EntryKind::Directory | EntryKind::Symlink { .. } => None,
        }
    }
}

/// What it is.
pub(super) enum EntryKind {
    File { executable: bool, stamp: Stamp },
    Directory,
    Symlink { target: Box<str> },
}

/// Turns entries into inputs: digests come from the index or the content.
/// The index is brought up to date. `root` is what their paths start from.
pub(super) fn hash(
    root: &OwnedFd,
    entries: Vec<Entry>,
    mut index: Option<Index>,
    problems: &mut Vec<Problem>,
) -> (Vec<Input>, usize) {
    let begun = SystemTime::now();
    let known: Vec<Option<Digest>> = match &mut index {
        Some(index) => index.take_known(entries.iter().map(|entry| (&*entry.path, entry.stamp()))),
        None => vec![None; entries.len()],
    };
    let digests: Vec<Result<Option<Digest>, Problem>> = entries
        .par_iter()
        .zip(&known)
        .map(|(entry, known)| match (entry.stamp(), known) {
            (Some(stamp), None) => digest(root, &entry.path, &stamp).map(Some),
            (_, known) => Ok(*known),
        })
        .collect();
    if let Some(index) = index {
        let files = entries.iter().zip(&known).zip(&digests);
        let files = files.filter_map(|((entry, known), digest)| {
            Some(Indexed {
                path: &entry.path,
                stamp: entry.stamp()?,
                digest: digest.as_ref().ok()?.as_ref()?,
                known: known.is_some(),
            })
        });
        // A lost index costs time only: not worth a failure.
        index.save(files, begun).ok();
    }
    let mut inputs = Vec::with_capacity(entries.len());
    let mut hashed = 0;
    for ((entry, known), digest) in entries.into_iter().zip(known).zip(digests) {
        let path = entry.path;
        let kind = match (entry.what, digest) {
            (_, Err(problem)) => {
                problems.push(problem);
                continue;
            }
            (EntryKind::File { executable, stamp }, Ok(Some(digest))) => {
                hashed += usize::from(known.is_none());
                Kind::File {
                    executable,
                    size: stamp.size,
                    digest,
                }
            }
            (EntryKind::Symlink { target }, Ok(_)) => Kind::Symlink { target },
            (EntryKind::Directory, Ok(_)) => Kind::Directory,
            (EntryKind::File { .. }, Ok(None)) => {
                problems.push(Problem::new(path.as_bytes(), What::Changed));
                continue;
            }
        };
        inputs.push(Input { path, kind });
    }
    (inputs, hashed)
}

/// Hashes a file and makes sure that it is the one that was stat'ed and
/// stays as it is meanwhile.
fn digest(root: &OwnedFd, path: &str, stamp: &Stamp) -> Result<Digest, Problem> {
    let bytes = path.as_bytes();
    let io = |error: std::io::Error| Problem::io(bytes, &error);
    // A fifo that has taken the file's place must not block the walk.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file =
        File::from(openat(root, path, flags, Mode::empty()).map_err(|errno| Problem::errno(bytes, errno))?);
    let unchanged = |file: &File| rustix::fs::fstat(file.as_fd()).map(|stat| Stamp::from(&stat) == *stamp);
    let changed = Problem::new(bytes, What::Changed);
    if !unchanged(&file).map_err(|errno| Problem::errno(bytes, errno))? {
        return Err(changed);
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_SIZE.min(stamp.size as usize + 1)];
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        };
    }
    let whole = hasher.count() == stamp.size;
    if whole && unchanged(&file).map_err(|errno| Problem::errno(bytes, errno))? {
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
        assert!(digest(&root, "a", &stamp).is_ok());
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"2")
            .unwrap();
        assert_eq!(
            digest(&root, "a", &stamp).unwrap_err().to_string(),
            "a: changed while it was read"
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(digest(&root, "a", &stamp).unwrap_err().what, What::Changed);
        symlink("b", &path).unwrap();
        assert_eq!(digest(&root, "a", &stamp).unwrap_err().what, What::Changed);
    }
}
