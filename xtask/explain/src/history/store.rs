//! The recorded runs of a checkout, in its state folder.
//!
//! ```text
//! history/images/<image>/<number>.json   an [`HistoryEntry`]
//! history/objects/<digest>               a Dockerfile or a piece of a context
//! history/lock                           held while something is written
//! ```
//!
//! Every file is written whole or not at all. An object is named after what
//! it holds and believed only if it has that digest. What cannot be read counts as
//! not being there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use super::{HistoryEntry, SCHEMA, Stored};
use definition::Definition;
use host::Host;
use host::lock;
use inputs::context::{Input, Inputs, pieces};
use inputs::regular;

/// Runs per image that are kept.
const KEPT: usize = 20;

/// The history of one checkout.
#[derive(Debug)]
pub struct Store<'a> {
    host: &'a Host,
    folder: PathBuf,
}

impl<'a> Store<'a> {
    /// The one of this checkout; nothing is read or made yet.
    pub fn of(host: &'a Host) -> Self {
        Self {
            host,
            folder: host.state_dir().join("history"),
        }
    }

    /// Names of the images that have entries, sorted.
    pub fn images(&self) -> Vec<String> {
        let mut names = names_in(&self.folder.join("images"));
        names.sort();
        names
    }

    /// An image's entries, the oldest first.
    pub fn entries(&self, image: &str) -> Vec<HistoryEntry> {
        let folder = self.image(image);
        let numbers = numbers_in(&folder);
        let read = |number: &u32| self.read_entry(image, *number);
        numbers.iter().filter_map(read).collect()
    }

    fn read_entry(&self, image: &str, number: u32) -> Option<HistoryEntry> {
        let bytes = regular::read(&self.image(image).join(file_name(number))).ok()?;
        let entry: HistoryEntry = serde_json::from_slice(&bytes).ok()?;
        (entry.schema == SCHEMA && entry.number == number).then_some(entry)
    }

    /// Adds an entry under the next number, with what its definition refers
    /// to, and drops the oldest ones. `make` gets number and definition.
    ///
    /// # Errors
    /// When the state folder cannot be written, or on Ctrl-C.
    pub(crate) fn add(
        &self,
        image: &str,
        definition: &Definition,
        make: impl FnOnce(u32, Stored) -> HistoryEntry,
    ) -> Result<HistoryEntry> {
        let busy = "for another run that writes the history of this checkout";
        let _lock = lock::exclusive(&self.folder.join("lock"), busy, self.host)?;
        let stored = self.store(definition)?;
        let number = numbers_in(&self.image(image))
            .last()
            .map_or(1, |last| last.saturating_add(1));
        let entry = make(number, stored);
        self.write(image, &entry)?;
        self.forget_old(image)?;
        Ok(entry)
    }

    /// Replaces an entry, or writes it again where the folder was deleted.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub(crate) fn write(&self, image: &str, entry: &HistoryEntry) -> Result<()> {
        let path = self.image(image).join(file_name(entry.number));
        Ok(regular::replace(&path, &serde_json::to_vec_pretty(entry)?)?)
    }

    /// What two recorded definitions may differ by: both of them, without the
    /// inputs that they share. `None` where something of them is lost, or was
    /// written with another meaning.
    pub fn differing(&self, old: &Stored, new: &Stored) -> Option<(Definition, Definition)> {
        Some((self.load(old, new)?, self.load(new, old)?))
    }

    /// The same, of a recorded definition and a present one.
    pub fn differing_from(&self, old: &Stored, new: &Definition) -> Option<(Definition, Definition)> {
        let (mut present, mut pieces) = (stored_without_objects(new), BTreeMap::new());
        for (name, inputs) in &new.contexts {
            let mut names = Vec::new();
            for (name, piece) in inputs.pieces() {
                names.push(name.to_string());
                pieces.insert(name.to_string(), piece);
            }
            present.contexts.insert(name.clone(), names);
        }
        let before = self.load(old, &present)?;
        let mut now = without_inputs(new);
        for (name, names) in &present.contexts {
            let own = unshared(names, old.contexts.get(name));
            let inputs = own.iter().filter_map(|piece| pieces.get(*piece));
            let inputs = inputs.copied().flatten().cloned().collect();
            now.contexts.insert(name.clone(), inputs);
        }
        Some((before, now))
    }

    /// A definition, without the inputs that `other` has too.
    fn load(&self, stored: &Stored, other: &Stored) -> Option<Definition> {
        if stored.schema != definition::SCHEMA {
            return None;
        }
        let mut contexts: BTreeMap<String, Inputs> = BTreeMap::new();
        for (name, pieces) in &stored.contexts {
            let mut inputs = Vec::new();
            for piece in unshared(pieces, other.contexts.get(name)) {
                inputs.extend(self.piece(piece)?);
            }
            contexts.insert(name.clone(), inputs.into());
        }
        Some(Definition {
            dockerfile: String::from_utf8(self.bytes(&stored.dockerfile)?).ok()?,
            target: stored.target.clone(),
            arguments: stored.arguments.clone(),
            platform: stored.platform.clone(),
            base: stored.base.clone(),
            contexts,
        })
    }

    fn store(&self, definition: &Definition) -> Result<Stored> {
        let mut stored = stored_without_objects(definition);
        stored.dockerfile = self.put(definition.dockerfile.as_bytes())?;
        for (name, inputs) in &definition.contexts {
            let pieces = inputs
                .pieces()
                .map(|(name, piece)| self.keep(&name.to_string(), &pieces::to_json(piece)?));
            let pieces = pieces.collect::<Result<_>>()?;
            stored.contexts.insert(name.clone(), pieces);
        }
        Ok(stored)
    }

    fn put(&self, bytes: &[u8]) -> Result<String> {
        self.keep(&digest(bytes), bytes)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let path = self.objects().join(name);
        // One that is damaged is written again.
        if !regular::read(&path).is_ok_and(|there| there == bytes) {
            regular::replace(&path, bytes)?;
        }
        Ok(name.to_owned())
    }

    fn piece(&self, name: &str) -> Option<Vec<Input>> {
        // A name out of an edited entry is no path.
        let digest = name.parse().ok()?;
        pieces::from_json(&regular::read(&self.objects().join(name)).ok()?, &digest)
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        // A name out of an edited entry is no path.
        if !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let bytes = regular::read(&self.objects().join(name)).ok()?;
        (digest(&bytes) == name).then_some(bytes)
    }

    /// Removes an image's oldest entries, and objects that no entry refers to.
    fn forget_old(&self, image: &str) -> Result<()> {
        let folder = self.image(image);
        let numbers = numbers_in(&folder);
        let surplus = numbers.len().saturating_sub(KEPT);
        if surplus == 0 {
            return Ok(());
        }
        for number in &numbers[..surplus] {
            fs::remove_file(folder.join(file_name(*number)))?;
        }
        let mut used = BTreeSet::new();
        for entry in self.images().iter().flat_map(|image| self.entries(image)) {
            used.insert(entry.definition.dockerfile);
            used.extend(entry.definition.contexts.into_values().flatten());
        }
        for name in names_in(&self.objects()) {
            if !used.contains(&name) {
                fs::remove_file(self.objects().join(name))?;
            }
        }
        Ok(())
    }

    fn image(&self, image: &str) -> PathBuf {
        self.folder.join("images").join(image)
    }

    fn objects(&self) -> PathBuf {
        self.folder.join("objects")
    }
}

/// Pieces that the other side does not have.
fn unshared<'p>(pieces: &'p [String], other: Option<&Vec<String>>) -> Vec<&'p String> {
    let other: BTreeSet<&String> = other.into_iter().flatten().collect();
    pieces.iter().filter(|piece| !other.contains(piece)).collect()
}

fn stored_without_objects(definition: &Definition) -> Stored {
    Stored {
        schema: definition::SCHEMA,
        dockerfile: String::new(),
        target: definition.target.clone(),
        arguments: definition.arguments.clone(),
        platform: definition.platform.clone(),
        base: definition.base.clone(),
        contexts: BTreeMap::new(),
    }
}

fn without_inputs(definition: &Definition) -> Definition {
    Definition {
        dockerfile: definition.dockerfile.clone(),
        target: definition.target.clone(),
        arguments: definition.arguments.clone(),
        platform: definition.platform.clone(),
        base: definition.base.clone(),
        contexts: BTreeMap::new(),
    }
}

/// 32 hexadecimal digits of BLAKE3: enough to tell objects of one folder apart.
fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().chars().take(32).collect()
}

fn file_name(number: u32) -> String {
    format!("{number:06}.json")
}

/// The numbers of all entries, sorted, also of those that cannot be read.
fn numbers_in(folder: &Path) -> Vec<u32> {
    let number = |name: &String| name.strip_suffix(".json")?.parse().ok();
    let mut numbers: Vec<u32> = names_in(folder)
        .iter()
        .filter_map(|name| number(name).filter(|number| file_name(*number) == *name))
        .collect();
    numbers.sort_unstable();
    numbers
}

/// File names in a folder; none where there is no folder.
fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
    entries.filter_map(|entry| name(entry.ok()?)).collect()
}

#[cfg(test)]
pub(super) mod tests;
