//! A directory that holds the inputs and nothing else, for BuildKit to read.
//!
//! BuildKit sends a file again only if its size or modification time differs
//! from what it saw last, and ships the old content otherwise, even without its
//! cache (moby/buildkit#4817). A staged file therefore never keeps the time of
//! its source: whenever its content changes, its time does. Whatever did not
//! change stays as it is, so that BuildKit's transfer remains incremental; for
//! that the directory has to keep its path from build to build.
//!
//! BuildKit tells contexts apart by the last part of their paths only. Two
//! directories called `app` take each other's place in its memory: at best all
//! is sent again, at worst one project gets a file of the other. The tree is
//! therefore named after its whole path.
//!
//! ```text
//! <folder>/context-<hash>/   what BuildKit gets
//! <folder>/tmp/              files that are being written
//! <folder>/manifest          stat index of the tree
//! <folder>/sums              what its contents are to a build step
//! <folder>/lock              the caller's: one run at a time
//! ```
//!
//! What lies in the tree is looked at anew each time: by its stat where the
//! manifest knows that, by its content elsewhere. So a run that was killed, or
//! a hand in the tree, leaves nothing that would be trusted.
//!
//! A `.dockerignore` in the tree does no harm: BuildKit applies it to what it
//! has let through once, and a path's fate depends on nothing but the path.
//! Rules with the safe set leave it out anyway.

use std::fs::Permissions;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use fs_err as fs;
use rayon::prelude::*;

use super::ignore::Ignore;
use super::input::{Input, InputKind, Inputs};
use super::problem::{InputProblem, Problems, What};
use super::rules::Rules;
use super::sums;
use super::walk::{ShouldStop, WalkOptions, walk};
use crate::{regular, removal};

/// How many bytes of a file are read and written at once.
const COPY_SIZE: usize = 128 * 1024;

/// A staging folder. The caller sees to it that nobody else fills it until
/// BuildKit has read the tree.
#[derive(Debug)]
pub struct Tree {
    folder: PathBuf,
    path: PathBuf,
}

/// What filling a tree took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filled {
    /// Entries that were made or replaced.
    pub(crate) written: usize,
    /// Entries that were removed: nobody wants them any more.
    pub(crate) removed: usize,
    /// Entries that stayed as they were.
    pub(crate) kept: usize,
}

impl Tree {
    /// The tree of a staging folder, which is made if need be.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn at(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = fs::canonicalize(folder)?;
        let name = blake3::hash(folder.as_os_str().as_bytes()).to_hex();
        let path = folder.join(format!("context-{}", &name[..16]));
        Ok(Self { folder, path })
    }

    /// The directory to give to BuildKit.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the tree hold exactly `inputs`, which [`walk`] found in `root`.
    /// Each content is hashed again while it is copied. `stop` is asked as in a
    /// walk.
    ///
    /// # Errors
    /// [`Problems`] with all the files that changed since they were hashed;
    /// otherwise the tree cannot be written.
    pub fn fill(&self, root: &Path, inputs: &[Input], stop: ShouldStop<'_>) -> Result<Filled> {
        let tmp = self.folder.join("tmp");
        remove(&tmp)?;
        fs::create_dir_all(&tmp)?;
        let present = self.present(stop)?;
        let plan = self.plan(&present, inputs)?;
        if plan.gone.is_empty() && plan.new.is_empty() {
            return Ok(Filled {
                kept: inputs.len(),
                ..Filled::default()
            });
        }
        for input in plan.gone.iter().rev() {
            remove(&self.path.join(&*input.path))?;
        }
        self.make_directories(&plan.new)?;
        let writer = Writer {
            root,
            tree: &self.path,
            tmp: &tmp,
            count: AtomicU64::new(0),
            stop,
        };
        let results: Vec<Result<Option<InputProblem>>> =
            plan.new.par_iter().map(|input| writer.write(input)).collect();
        let changed: Vec<InputProblem> = results
            .into_iter()
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        if stop() {
            return Err(Problems(vec![InputProblem::stopped()]).into());
        }
        if !changed.is_empty() {
            return Err(Problems(changed).into());
        }
        Ok(Filled {
            written: plan.new.len(),
            removed: plan.gone.len() - plan.replaced,
            kept: inputs.len() - plan.new.len(),
        })
    }

    /// What a build step makes of the tree, which holds `inputs`: see [`sums`].
    ///
    /// # Errors
    /// [`Problems`] with all the files that are no longer what was staged.
    pub fn contents(&self, inputs: &[Input], stop: ShouldStop<'_>) -> Result<String> {
        sums::contents(&self.path, inputs, &self.folder.join("sums"), stop)
    }

    /// Whether the tree holds exactly `inputs`, read anew.
    pub fn holds(&self, inputs: &[Input]) -> bool {
        let found = walk(
            &self.path,
            &Rules::exact(Ignore::default()),
            &WalkOptions::default(),
        );
        found.is_ok_and(|found| **found.inputs == *inputs)
    }

    /// What lies in the tree. A tree that cannot be understood is removed.
    fn present(&self, stop: ShouldStop<'_>) -> Result<Inputs> {
        let (tree, manifest) = (&self.path, self.folder.join("manifest"));
        let is_directory = tree.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let options = WalkOptions {
            index: Some(&manifest),
            stop,
            ..WalkOptions::default()
        };
        if is_directory && let Ok(found) = walk(tree, &Rules::exact(Ignore::default()), &options) {
            return Ok(found.inputs);
        }
        if stop() {
            return Err(Problems(vec![InputProblem::stopped()]).into());
        }
        remove(&manifest)?;
        remove(tree)?;
        fs::create_dir(tree)?;
        fs::set_permissions(tree, Permissions::from_mode(0o755))?;
        Ok(Inputs::default())
    }

    /// What to copy and to remove: the two lists are sorted, and are read side
    /// by side.
    fn plan<'a>(&self, present: &'a [Input], wanted: &'a [Input]) -> Result<CopyPlan<'a>> {
        let mut plan = CopyPlan::default();
        let sound: Vec<bool> = present
            .par_iter()
            .map(|input| self.has_mode(input))
            .collect::<Result<_>>()?;
        let mut present = present.iter().zip(sound).peekable();
        let mut wanted = wanted.iter().peekable();
        while present.peek().is_some() || wanted.peek().is_some() {
            let order = match (present.peek(), wanted.peek()) {
                (Some((present, _)), Some(wanted)) => present.path.cmp(&wanted.path),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, _) => std::cmp::Ordering::Greater,
            };
            let old = if order.is_le() { present.next() } else { None };
            let new = if order.is_ge() { wanted.next() } else { None };
            match (old, new) {
                (Some((old, true)), Some(new)) if old == new => {}
                (Some((old, _)), Some(new)) => {
                    // A file takes a file's place in one step.
                    let both_files = matches!(
                        (&old.kind, &new.kind),
                        (InputKind::File { .. }, InputKind::File { .. })
                            | (InputKind::Directory, InputKind::Directory)
                    );
                    if !both_files {
                        plan.gone.push(old);
                        plan.replaced += 1;
                    }
                    plan.new.push(new);
                }
                (old, new) => {
                    plan.gone.extend(old.map(|(old, _)| old));
                    plan.new.extend(new);
                }
            }
        }
        Ok(plan)
    }

    /// Whether the staged entry has the mode that was hashed, to the bit.
    fn has_mode(&self, input: &Input) -> Result<bool> {
        let metadata = fs::symlink_metadata(self.path.join(&*input.path))?;
        Ok(metadata.is_symlink() || metadata.mode() & 0o7777 == input.mode())
    }

    fn make_directories(&self, new: &[&Input]) -> Result<()> {
        for input in new.iter().filter(|input| input.kind == InputKind::Directory) {
            let path = self.path.join(&*input.path);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                other => other?,
            }
            fs::set_permissions(&path, Permissions::from_mode(input.mode()))?;
        }
        Ok(())
    }
}

/// What separates the tree from what it should be; both lists are sorted.
#[derive(Default)]
struct CopyPlan<'a> {
    gone: Vec<&'a Input>,
    new: Vec<&'a Input>,
    /// How many paths are in both lists.
    replaced: usize,
}

struct Writer<'a> {
    root: &'a Path,
    tree: &'a Path,
    tmp: &'a Path,
    count: AtomicU64,
    stop: ShouldStop<'a>,
}

impl Writer<'_> {
    /// Makes one entry; directories are there already.
    fn write(&self, input: &Input) -> Result<Option<InputProblem>> {
        let path = self.tree.join(&*input.path);
        match &input.kind {
            InputKind::Directory => Ok(None),
            InputKind::Symlink { target } => {
                fs::os::unix::fs::symlink(&**target, &path)?;
                Ok(None)
            }
            InputKind::File { .. } => self.copy(input, &path),
        }
    }

    fn copy(&self, input: &Input, path: &Path) -> Result<Option<InputProblem>> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let temporary = self.tmp.join(number.to_string());
        let mut target = fs::File::create(&temporary)?;
        target.set_permissions(Permissions::from_mode(input.mode()))?;
        if let Some(problem) = self.copy_verified(input, &mut target)? {
            fs::remove_file(&temporary)?;
            return Ok(Some(problem));
        }
        if let Ok(before) = path.symlink_metadata() {
            renew(&target, before.modified()?)?;
        }
        fs::rename(&temporary, path)?;
        Ok(None)
    }

    /// Copies and hashes in one pass.
    fn copy_verified(&self, input: &Input, target: &mut fs::File) -> Result<Option<InputProblem>> {
        let InputKind::File { digest, size, .. } = &input.kind else {
            return Ok(None);
        };
        let bytes = input.path.as_bytes();
        let mut source = match regular::open(&self.root.join(&*input.path)) {
            Ok(source) => source,
            Err(error) => return Ok(Some(InputProblem::io(bytes, &error))),
        };
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; COPY_SIZE.min(*size as usize + 1)];
        loop {
            if (self.stop)() {
                return Ok(Some(InputProblem::stopped()));
            }
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => &buffer[..read],
                Err(error) => return Ok(Some(InputProblem::io(bytes, &error))),
            };
            hasher.update(read);
            target.write_all(read)?;
            if hasher.count() > *size {
                break;
            }
        }
        let same = *hasher.finalize().as_bytes() == digest.0;
        Ok((!same).then(|| InputProblem::new(bytes, What::Changed)))
    }
}

/// Gives a file a modification time that differs from that of the file whose
/// place it takes: writing it does, unless the file system's clock is coarse.
fn renew(file: &fs::File, before: SystemTime) -> Result<()> {
    let mut time = before;
    while file.metadata()?.modified()? == before {
        time += Duration::from_secs(1);
        file.set_modified(time)?;
    }
    Ok(())
}

/// Removes whatever lies there, if anything does.
fn remove(path: &Path) -> Result<()> {
    removal::remove(path).with_context(|| format!("remove {}", path.display()))
}

#[cfg(test)]
mod tests;
