//! From a directory and its rules to sorted inputs.
//!
//! The walk goes level by level with the directories of a level in parallel,
//! so depth costs no stack. Contents are hashed afterwards, and only those that
//! the stat index does not know.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, readlinkat, statat};
use rustix::io::Errno;

use super::contents::{self, DigestEntry, EntryKind};
use super::index::{Index, Stamp};
use super::input::Inputs;
use super::link;
use super::listing::Listing;
use super::problem::{InputProblem, What, printable};
use super::rules::{Decision, ExclusionReason, Rules, Scope};

/// A directory with more entries than this is stat'ed in parallel.
const ENTRIES_PER_TASK: usize = 512;

/// What a walk found that a build can read, and what it kept out.
#[derive(Debug, Default)]
pub struct Found {
    /// Sorted by the bytes of their paths.
    pub inputs: Inputs,
    /// What the safe set kept out, only the topmost of each tree; sorted.
    pub left_out: Vec<LeftOut>,
    /// How many files were read because the index did not know them.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests see by it what the index spares")
    )]
    pub(crate) hashed: usize,
}

/// An entry that the safe set keeps out of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Relative to the root, as [`printable`] writes it.
    pub path: String,
    /// Why the safe set keeps it out.
    pub reason: ExclusionReason,
    /// Exceptions of the app that name it and are not obeyed.
    pub refused: Vec<String>,
}

/// What a walk goes by besides its rules, and whom it asks and tells. The
/// functions may be called many times, from any thread.
#[derive(Clone, Copy)]
pub struct WalkOptions<'a> {
    /// A file that remembers digests from run to run; losing it costs time only.
    pub index: Option<&'a Path>,
    /// Told as soon as a file is met that changed after the index was written,
    /// to prepare for what this leads to; that it was not says nothing.
    pub changed: &'a (dyn Fn() + Sync),
    /// Asked whether to end with [`What::Stopped`].
    pub stop: ShouldStop<'a>,
}

/// Asked between directories, files and blocks of a file whether to stop.
pub(crate) type ShouldStop<'a> = &'a (dyn Fn() -> bool + Sync);

impl Default for WalkOptions<'_> {
    fn default() -> Self {
        Self {
            index: None,
            changed: &|| {},
            stop: &|| false,
        }
    }
}

/// Walks `root` and hashes what the rules let through.
///
/// # Errors
/// All inputs that cannot be used, with their paths.
pub fn walk(root: &Path, rules: &Rules, options: &WalkOptions<'_>) -> Result<Found, Vec<InputProblem>> {
    let walk = Walk::open(root, rules, options).map_err(|problem| vec![problem])?;
    let load = || options.index.map(|file| Index::load(file, &walk.path));
    let (all, index) = rayon::join(|| walk.all(), load);
    if (options.stop)() {
        return Err(vec![InputProblem::stopped()]);
    }
    let entries = with_ways(all.entries, all.ways);
    let mut problems = all.problems;
    let (inputs, hashed) = contents::hash(&walk.root, entries, index, options.stop, &mut problems);
    if (options.stop)() {
        return Err(vec![InputProblem::stopped()]);
    }
    problems.sort();
    problems.dedup();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut left_out = all.left_out;
    left_out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Found {
        inputs: inputs.into(),
        left_out,
        hashed,
    })
}

struct Walk<'a> {
    path: PathBuf,
    root: OwnedFd,
    rules: &'a Rules,
    /// The index as it was when the walk began.
    indexed: Option<Stamp>,
    options: &'a WalkOptions<'a>,
}

/// A directory that is to be read.
#[derive(Default)]
struct Directory {
    /// Its path from the context's root; empty for the root itself.
    path: Vec<u8>,
    scope: Scope,
}

/// What reading some directories gave.
#[derive(Default)]
struct Level {
    entries: Vec<DigestEntry>,
    directories: Vec<Directory>,
    /// Directories that are inputs only if something below them is.
    ways: Vec<Box<str>>,
    left_out: Vec<LeftOut>,
    problems: Vec<InputProblem>,
}

impl Level {
    fn merge(mut self, other: Self) -> Self {
        if self.entries.is_empty() {
            self.entries = other.entries;
        } else {
            self.entries.extend(other.entries);
        }
        self.directories.extend(other.directories);
        self.ways.extend(other.ways);
        self.left_out.extend(other.left_out);
        self.problems.extend(other.problems);
        self
    }

    fn leave_out(&mut self, path: &[u8], reason: ExclusionReason, refused: Vec<String>) {
        self.left_out.push(LeftOut {
            path: printable(path),
            reason,
            refused,
        });
    }
}

impl<'a> Walk<'a> {
    fn open(root: &Path, rules: &'a Rules, options: &'a WalkOptions<'a>) -> Result<Self, InputProblem> {
        let problem = |error| InputProblem::new(b"", What::NoDirectory(error));
        // A root that is itself a link is followed, as BuildKit does.
        let path = root.canonicalize().map_err(|error| problem(error.to_string()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| problem(errno.to_string()))?;
        Ok(Self {
            path,
            root,
            rules,
            indexed: options.index.and_then(Stamp::of),
            options,
        })
    }

    /// Reads everything, level by level.
    fn all(&self) -> Level {
        let mut all = Level::default();
        let mut directories = vec![Directory::default()];
        while !directories.is_empty() {
            let parts: Vec<Level> = directories
                .into_par_iter()
                .map(|directory| self.read(directory))
                .collect();
            all = parts.into_iter().fold(all, Level::merge);
            directories = std::mem::take(&mut all.directories);
        }
        all
    }

    /// Reads one directory. An error is part of what was found: the others go
    /// on, so that all of them are reported.
    fn read(&self, directory: Directory) -> Level {
        let mut level = Level::default();
        if (self.options.stop)() {
            return level;
        }
        let path = &directory.path;
        let listing = self.open_directory(path).and_then(|handle| {
            let listing = Listing::read(&handle)?;
            Ok((handle, listing))
        });
        match listing {
            Ok((handle, listing)) => match self.enter(directory, &listing, &mut level) {
                Some(directory) => level.merge(self.read_entries(&directory, &handle, &listing)),
                None => level,
            },
            // BuildKit passes over what it may not read and would not send.
            Err(Errno::ACCESS) if !path.is_empty() && !directory.scope.is_kept() => level,
            Err(Errno::ACCESS) if self.rules.may_be_unreadable(path) => {
                level.leave_out(path, ExclusionReason::Unreadable, Vec::new());
                level
            }
            Err(errno) => {
                level.problems.push(InputProblem::errno(path, errno));
                level
            }
        }
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        openat(&self.root, OsStr::from_bytes(path), flags, Mode::empty())
    }

    /// Decides on a directory whose names are known and adds it to the level.
    /// `None`: it is left out after all.
    fn enter(&self, directory: Directory, listing: &Listing, level: &mut Level) -> Option<Directory> {
        let Directory { path, scope } = directory;
        if path.is_empty() {
            return Some(Directory { path, scope });
        }
        let holds = |wanted: &[u8]| listing.holds(wanted);
        let scope = match self.rules.decide_by_entries(&path, scope, holds) {
            Ok(Decision::Keep(scope) | Decision::Enter(scope)) => scope,
            Ok(Decision::Ignore) => return None,
            Ok(Decision::LeaveOut { reason, refused }) => {
                level.leave_out(&path, reason, refused);
                return None;
            }
            Err(problem) => {
                level
                    .problems
                    .push(InputProblem::new(&path, What::Pattern(problem.to_string())));
                return None;
            }
        };
        match std::str::from_utf8(&path) {
            Ok(text) if scope.is_kept() => level.entries.push(DigestEntry {
                path: text.into(),
                what: EntryKind::Directory,
            }),
            Ok(text) => level.ways.push(text.into()),
            Err(_) if scope.is_kept() => {
                level.problems.push(InputProblem::new(&path, What::NotUtf8));
                return None;
            }
            // What may be kept below has the same name in its path.
            Err(_) => {}
        }
        Some(Directory { path, scope })
    }

    fn read_entries(&self, directory: &Directory, handle: &OwnedFd, listing: &Listing) -> Level {
        listing
            .names
            .par_chunks(ENTRIES_PER_TASK)
            .map(|names| {
                let mut level = Level::default();
                level.entries.reserve(names.len());
                for (place, kind) in names {
                    let name = &listing.text[place.clone()];
                    let path = join(&directory.path, name);
                    self.read_entry(&directory.scope, handle, name, path, *kind, &mut level);
                }
                level
            })
            .reduce(Level::default, Level::merge)
    }

    fn read_entry(
        &self,
        parent: &Scope,
        handle: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        kind: FileType,
        level: &mut Level,
    ) {
        let is_directory = kind == FileType::Directory;
        match self.rules.decide(&path, is_directory, parent) {
            Ok(Decision::Ignore) => {}
            Ok(Decision::LeaveOut { reason, refused }) => level.leave_out(&path, reason, refused),
            Ok(Decision::Keep(scope) | Decision::Enter(scope)) if is_directory => {
                level.directories.push(Directory { path, scope });
            }
            Ok(Decision::Keep(scope) | Decision::Enter(scope)) => {
                let content = |count| first_bytes(handle, name, count);
                let end = |count| last_bytes(handle, name, count);
                let again = match kind {
                    FileType::RegularFile => self.rules.decide_by_content(&path, scope, content, end),
                    _ => Ok(Decision::Keep(scope)),
                };
                match again {
                    Ok(Decision::LeaveOut { reason, refused }) => level.leave_out(&path, reason, refused),
                    Ok(Decision::Ignore) => {}
                    Ok(Decision::Keep(_) | Decision::Enter(_)) => {
                        match self.examine(handle, name, path, kind) {
                            Ok(entry) => level.entries.push(entry),
                            Err(problem) => level.problems.push(problem),
                        }
                    }
                    Err(problem) => {
                        let what = What::Pattern(problem.to_string());
                        level.problems.push(InputProblem::new(&path, what));
                    }
                }
            }
            Err(problem) => {
                level
                    .problems
                    .push(InputProblem::new(&path, What::Pattern(problem.to_string())));
            }
        }
    }

    /// The facts about a file or link that the rules let through.
    fn examine(
        &self,
        handle: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
        kind: FileType,
    ) -> Result<DigestEntry, InputProblem> {
        let path = match String::from_utf8(path) {
            Ok(path) => path,
            Err(error) => return Err(InputProblem::new(error.as_bytes(), What::NotUtf8)),
        };
        let bytes = path.as_bytes();
        let problem = |what| InputProblem::new(bytes, what);
        let what = match kind {
            FileType::RegularFile => self.examine_file(handle, name, bytes)?,
            FileType::Symlink => {
                let target = readlinkat(handle, OsStr::from_bytes(name), Vec::new())
                    .map_err(|errno| InputProblem::errno(bytes, errno))?;
                let target = target.into_string().map_err(|_| problem(What::NotUtf8))?;
                if link::leaves(&self.root, bytes, target.as_bytes()) {
                    return Err(problem(What::LinkLeaves(target)));
                }
                EntryKind::Symlink {
                    target: target.into(),
                }
            }
            FileType::Socket => return Err(problem(What::Special("socket"))),
            FileType::Fifo => return Err(problem(What::Special("fifo"))),
            _ => return Err(problem(What::Special("device"))),
        };
        Ok(DigestEntry {
            path: path.into(),
            what,
        })
    }

    fn examine_file(&self, handle: &OwnedFd, name: &[u8], path: &[u8]) -> Result<EntryKind, InputProblem> {
        let stat = statat(handle, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| InputProblem::errno(path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(InputProblem::new(path, What::Changed));
        }
        let stamp = Stamp::from(&stat);
        if self.indexed.is_some_and(|index| stamp.changed_after(&index)) {
            (self.options.changed)();
        }
        let ignore = self.rules.ignore();
        if stamp.size > 0 && ignore.has_exceptions() && !self.rules.is_contract(path) {
            let pattern = |problem: super::ignore::PatternProblem| {
                InputProblem::new(path, What::Pattern(problem.to_string()))
            };
            if let Some(emptied) = ignore.emptied(path).map_err(pattern)? {
                return Err(pattern(emptied));
            }
        }
        let executable = stat.st_mode & 0o100 != 0;
        Ok(EntryKind::File { executable, stamp })
    }
}

/// The first bytes of a file, `count` at most. Nothing of one that cannot be read,
/// which is a problem later on.
fn first_bytes(folder: &OwnedFd, name: &[u8], count: usize) -> Vec<u8> {
    bytes_from(folder, name, SeekFrom::Start(0), count)
}

/// The last `count` bytes of a file, in the same way; none of a shorter one.
fn last_bytes(folder: &OwnedFd, name: &[u8], count: usize) -> Vec<u8> {
    let back = i64::try_from(count).unwrap_or(i64::MAX);
    bytes_from(folder, name, SeekFrom::End(-back), count)
}

fn bytes_from(folder: &OwnedFd, name: &[u8], from: SeekFrom, most: usize) -> Vec<u8> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut bytes = Vec::new();
    if let Ok(file) = openat(folder, OsStr::from_bytes(name), flags, Mode::empty()) {
        let mut file = File::from(file);
        if file.seek(from).is_ok() {
            file.take(most as u64).read_to_end(&mut bytes).ok();
        }
    }
    bytes
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}

/// Sorts the entries and adds the directories on the way to them.
fn with_ways(mut entries: Vec<DigestEntry>, ways: Vec<Box<str>>) -> Vec<DigestEntry> {
    let by_path = |a: &DigestEntry, b: &DigestEntry| a.path.cmp(&b.path);
    // A stable sort goes by the runs that directory after directory, each
    // sorted, consists of.
    entries.sort_by(by_path);
    let leads = |way: &str| {
        let below = format!("{way}/");
        let first = entries.partition_point(|entry| *entry.path < *below);
        entries
            .get(first)
            .is_some_and(|entry| entry.path.starts_with(&below))
    };
    let needed: Vec<DigestEntry> = ways
        .into_iter()
        .filter(|way| leads(way))
        .map(|path| DigestEntry {
            path,
            what: EntryKind::Directory,
        })
        .collect();
    if !needed.is_empty() {
        entries.extend(needed);
        entries.sort_by(by_path);
    }
    entries
}

#[cfg(test)]
mod tests;
