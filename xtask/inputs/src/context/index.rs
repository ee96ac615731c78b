//! What the content of a file hashed to when its stat was this one: an
//! unchanged tree is stat'ed and not read.
//!
//! A stat is trusted only if it was already two seconds old when the file was
//! read. A younger file could be written again within the same tick of its
//! file system's clock and keep its stat, which is the race git knows too.
//!
//! The file is a cache: one that is missing, foreign, of another version or
//! damaged counts as empty.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use super::input::Digest;
use crate::regular;

/// Names the format; a change of it takes another number.
const MAGIC: &[u8] = b"hive stat index 1\n";

/// Coarser than the clock of any file system in use.
const RACY: Duration = Duration::from_secs(2);

/// The facts that change whenever a file's content does. The change time
/// cannot be set by a program, so same size and modification time are no
/// disguise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    modified: (i64, u64),
    changed: (i64, u64),
    inode: u64,
}

impl From<&Stat> for Stamp {
    fn from(stat: &Stat) -> Self {
        Self {
            size: stat.st_size as u64,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            inode: stat.st_ino,
        }
    }
}

impl Stamp {
    /// A file's, if there is one.
    pub(super) fn of(file: &Path) -> Option<Self> {
        rustix::fs::stat(file).ok().as_ref().map(Self::from)
    }

    /// Whether the file was changed after the other one was.
    pub(super) fn changed_after(&self, other: &Self) -> bool {
        self.changed > other.changed
    }

    /// Whether both times lie well before `moment`.
    fn is_settled(&self, moment: SystemTime) -> bool {
        let Some(moment) = moment
            .checked_sub(RACY)
            .and_then(|moment| moment.duration_since(UNIX_EPOCH).ok())
        else {
            return false;
        };
        let limit = (moment.as_secs() as i64, u64::from(moment.subsec_nanos()));
        self.modified.max(self.changed) < limit
    }

    fn numbers(&self) -> [u64; 6] {
        [
            self.size,
            self.modified.0 as u64,
            self.modified.1,
            self.changed.0 as u64,
            self.changed.1,
            self.inode,
        ]
    }
}

/// What is known of the files of one context from the runs before.
pub(super) struct Index {
    file: PathBuf,
    /// What each version of the file starts with.
    head: Vec<u8>,
    old: Vec<u8>,
    /// How many files it had.
    count: usize,
    /// How many of them are as they were.
    known: usize,
}

/// A file whose digest is to be remembered.
#[derive(Clone, Copy)]
pub(super) struct Indexed<'a> {
    pub(super) path: &'a str,
    pub(super) stamp: Stamp,
    pub(super) digest: &'a Digest,
}

impl Index {
    /// Loads what `file` knows of the tree at `root`.
    pub(super) fn load(file: &Path, root: &Path) -> Self {
        let mut head = MAGIC.to_vec();
        put(&mut head, root.as_os_str().as_bytes());
        let bytes = regular::read(file).unwrap_or_default();
        Self {
            file: file.to_owned(),
            old: sealed(bytes, &head).unwrap_or_else(|| head.clone()),
            head,
            count: 0,
            known: 0,
        }
    }

    /// The digests of the files about which nothing has changed; the rest, and
    /// what has no stamp, is `None`. Paths come in their order, and once only:
    /// what was loaded is gone afterwards, to save memory.
    pub(super) fn take_known<'a>(
        &mut self,
        files: impl Iterator<Item = (&'a str, Option<Stamp>)>,
    ) -> Vec<Option<Digest>> {
        let old = std::mem::take(&mut self.old);
        let Self {
            head, count, known, ..
        } = self;
        let mut entries = Entries {
            rest: &old[head.len()..],
        }
        .inspect(|_| *count += 1)
        .peekable();
        let digest = |(path, stamp): (&str, Option<Stamp>)| {
            while entries.next_if(|(old, ..)| *old < path.as_bytes()).is_some() {}
            let (old, numbers, digest) = entries.peek()?;
            let same = *old == path.as_bytes() && *numbers == stamp?.numbers();
            *known += usize::from(same);
            same.then_some(*digest)
        };
        let digests = files.map(digest).collect();
        entries.for_each(drop);
        digests
    }

    /// Replaces the file, at once or not at all, by an index of `files`, which
    /// come in the order of their paths; none was read before `begun`. Leaves
    /// it alone where nothing would change.
    pub(super) fn save<'a>(
        self,
        files: impl Iterator<Item = Indexed<'a>> + Clone,
        begun: SystemTime,
    ) -> std::io::Result<()> {
        // What was known is settled all the more by now.
        let files = files.filter(|file| file.stamp.is_settled(begun));
        if self.known == self.count && self.known == files.clone().count() {
            return Ok(());
        }
        let mut bytes = self.head;
        for file in files {
            put(&mut bytes, file.path.as_bytes());
            for number in file.stamp.numbers() {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(&file.digest.0);
        }
        let seal = blake3::hash(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        regular::replace(&self.file, &bytes)
    }
}

/// The content without its seal, if it is whole and starts with `head`.
fn sealed(mut bytes: Vec<u8>, head: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.len().checked_sub(32)?;
    let seal: [u8; 32] = bytes[end..].try_into().ok()?;
    bytes.truncate(end);
    let whole = blake3::hash(&bytes) == blake3::Hash::from_bytes(seal);
    (whole && bytes.starts_with(head)).then_some(bytes)
}

fn put(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value);
}

struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], [u64; 6], Digest);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::try_from(self.number()?).ok()?;
        let path = self.take(length)?;
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = self.number()?;
        }
        let digest = self.take(32)?.try_into().ok().map(Digest)?;
        Some((path, numbers, digest))
    }
}
