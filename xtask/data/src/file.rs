//! Backup files: where they lie, how they are called, written whole, and read.

mod encrypted;

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{AtFlags, CWD, FlockOperation, RenameFlags, flock, linkat, renameat_with};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::age::Decryption;
use crate::facts::{BackupKind, BackupOrigin};
use crate::place::{Purpose, explain};
use crate::seal::{EncryptedFile, ProofLevel, SEAL_SIZE, Seal};
use encrypted::{beside, changed, digest_of, is_encrypted, seal_of, sum_of};
use host::Host;
use host::process::{Runner, quote};
use host::report::{Counted, Report};
use inputs::backup::SEAL_MAGIC;
use inputs::{hex, regular};

/// How all of them end.
pub const ENDING: &str = inputs::backup::ENDING;

/// What stands behind that where they are encrypted.
pub const ENCRYPTED: &str = inputs::backup::ENCRYPTED;

/// How one ends that is not whole. Other tools have `.partial` alone.
const PARTIAL: &str = ".hive.partial";

/// What a frame of zstd begins with.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// So many bytes are read and hashed at a time.
const PIECE: usize = 1 << 20;

/// Where the backups of an image lie that are given no other place: no `cargo clean`
/// or `git clean` comes there.
pub fn folder(host: &Host, image: &str) -> PathBuf {
    host.backup_dir().join(image)
}

/// `genie-20261121T031500.123Z-0123abcd.tar.zst`: sorts by time, and no two are alike. A dump
/// has `.dump` before the ending.
pub fn name(origin: &BackupOrigin, run: &str) -> String {
    let BackupOrigin { image, began, .. } = origin;
    let id = Sha256::digest(format!("{image} {began} {run}"));
    let kind = match origin.kind {
        BackupKind::Physical => "",
        BackupKind::Logical => ".dump",
    };
    format!(
        "{image}-{}-{}{kind}{ENDING}",
        began.replace(['-', ':'], ""),
        hex::digits(&id[..4])
    )
}

/// A backup that is being written, under another name. Gone with this unless it was
/// sealed; what a killed run left is gone with the next one.
#[derive(Debug)]
pub struct PartialBackup {
    file: Digested<File>,
    partial: PathBuf,
    target: PathBuf,
    is_sealed: bool,
}

/// SHA-256 of what was read of an archive, by whichever thread.
#[derive(Debug, Default)]
pub(crate) struct ReadSum(Arc<Mutex<Sha256>>);

/// Digests what is read of it.
struct Summed<R> {
    inner: R,
    sum: Arc<Mutex<Sha256>>,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(bytes)?;
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.update(&bytes[..length]);
        Ok(length)
    }
}

/// Counts and digests what it hands on.
#[derive(Debug)]
pub(crate) struct Digested<W> {
    pub(crate) target: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Digested<W> {
    pub(crate) fn new(target: W) -> Self {
        Self {
            target,
            digest: Sha256::new(),
            size: 0,
        }
    }

    /// SHA-256 and length of all that was handed on.
    pub(crate) fn sum(&self) -> (String, u64) {
        (hex::digits(&self.digest.clone().finalize()), self.size)
    }
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.target.write(bytes)?;
        self.digest.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.target.flush()
    }
}

impl PartialBackup {
    /// One that is to become `target`, readable by nobody else.
    ///
    /// # Errors
    /// When `target` is there, or what its seal is to be called, or its folder cannot be
    /// written.
    pub fn create(target: &Path) -> Result<Self> {
        for path in [target, &seal_of(target)] {
            // A link is there, too, wherever it leads.
            if path.symlink_metadata().is_ok() {
                let message = format!("{} is there already", path.display());
                bail!(failure::usage(message).hint("name another file; none is written over"));
            }
        }
        Self::begin(target).map_err(|error| explain(Purpose::Write, target, error))
    }

    fn begin(target: &Path) -> Result<Self> {
        let folder = folder_of(target);
        std::fs::create_dir_all(folder)?;
        let mut partial = target.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        clear(folder, &partial)?;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .with_context(|| format!("make {}", partial.display()))?;
        // Freed by the kernel, whatever ends this process.
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        // Gone with this also where it cannot be locked.
        let begun = Self {
            file: Digested::new(file),
            partial,
            target: target.to_owned(),
            is_sealed: false,
        };
        locked.with_context(|| format!("lock {}", begun.partial.display()))?;
        Ok(begun)
    }

    /// Ends it with its seal and gives it its name, once all of it is on disk.
    ///
    /// # Errors
    /// When the disk is full, or somebody has made a file of that name meanwhile.
    pub fn seal(self, seal: impl FnOnce(String, u64) -> Seal) -> Result<Backup> {
        let target = self.target.clone();
        self.end(seal)
            .map_err(|error| explain(Purpose::Write, &target, error))
    }

    fn end(mut self, seal: impl FnOnce(String, u64) -> Seal) -> Result<Backup> {
        let (digest, size) = self.file.sum();
        let seal = seal(digest, size);
        let done = self.file.target.write_all(&seal.frame()?);
        done.with_context(|| format!("write {}", self.partial.display()))?;
        self.close(seal)
    }

    fn close(mut self, seal: Seal) -> Result<Backup> {
        let done = self.file.target.sync_all();
        done.with_context(|| format!("write {}", self.partial.display()))?;
        self.rename()?;
        self.is_sealed = true;
        File::open(folder_of(&self.target))
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("write the folder of {}", self.target.display()))?;
        Ok(Backup {
            path: self.target.clone(),
            seal,
            identity: None,
        })
    }

    /// Gives it its name with its seal beside it: what was written is encrypted.
    ///
    /// # Errors
    /// As [`PartialBackup::seal`].
    pub(crate) fn seal_beside(self, seal: Seal) -> Result<Backup> {
        let target = self.target.clone();
        let (sha256, size) = self.file.sum();
        let seal = Seal {
            encrypted: Some(EncryptedFile { sha256, size }),
            ..seal
        };
        let made = seal.frame().and_then(|frame| make_beside(&target, &frame));
        let done = made.and_then(|()| {
            let closed = self.close(seal);
            if closed.is_err() {
                remove_beside(&target).ok();
            }
            closed
        });
        done.map_err(|error| explain(Purpose::Write, &target, error))
    }

    /// Not over a file that has come meanwhile.
    fn rename(&self) -> Result<()> {
        let done = give_name(&self.partial, &self.target);
        done.with_context(|| format!("give {} its name", self.target.display()))
    }
}

impl Write for PartialBackup {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for PartialBackup {
    fn drop(&mut self) {
        if !self.is_sealed {
            fs_err::remove_file(&self.partial).ok();
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes the seal beside a file; none that has come meanwhile is written over.
fn make_beside(target: &Path, frame: &[u8]) -> Result<()> {
    let place = seal_of(target);
    let mut made = tempfile::NamedTempFile::new_in(folder_of(target))?;
    made.write_all(frame)?;
    made.as_file().sync_all()?;
    // Gone without an error where it has its name by now.
    give_name(made.path(), &place).with_context(|| format!("give {} its name", place.display()))
}

/// Renames a file where nothing has the other name.
fn give_name(from: &Path, to: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => give_name_by_link(from, to),
        other => Ok(other?),
    }
}

/// The same where a rename knows no such condition, as on NFS: a link takes no name that
/// something has.
fn give_name_by_link(from: &Path, to: &Path) -> std::io::Result<()> {
    match linkat(CWD, from, CWD, to, AtFlags::empty()) {
        Ok(()) => std::fs::remove_file(from),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => give_name_by_placeholder(from, to),
        Err(other) => Err(other.into()),
    }
}

/// The same where there are no links, either: what is written over is a file of our own.
fn give_name_by_placeholder(from: &Path, to: &Path) -> std::io::Result<()> {
    File::create_new(to)?;
    std::fs::rename(from, to).inspect_err(|_| {
        // It says nothing, and is in the way.
        std::fs::remove_file(to).ok();
    })
}

/// The length of a file, and what stands where its seal has to be.
fn end_of(path: &Path) -> Result<(u64, Vec<u8>)> {
    // To open a FIFO would wait for whoever writes to it.
    let facts = std::fs::metadata(path)?;
    if !facts.is_file() {
        let message = format!("{} is no file", path.display());
        bail!(failure::usage(message).hint("those that are there: cargo xtask backup list"));
    }
    let mut file = File::open(path)?;
    let length = facts.len();
    let mut frame = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(SEAL_SIZE as u64)))?;
    file.take(SEAL_SIZE as u64).read_to_end(&mut frame)?;
    Ok((length, frame))
}

/// Whether a name is one that [`name`] makes, of any image: nobody else's is touched.
fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(ENCRYPTED).unwrap_or(name);
    let Some(name) = name.strip_suffix(ENDING) else {
        return false;
    };
    let name = name.strip_suffix(".dump").unwrap_or(name);
    let mut parts = name.rsplitn(3, '-');
    let (id, began, image) = (parts.next(), parts.next(), parts.next());
    let is_moment = |text: &str| {
        let as_digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
        text.chars().map(as_digits).eq("00000000T000000.000Z".chars())
    };
    let is_hex = |text: &str| text.len() == 8 && text.chars().all(|c| c.is_ascii_hexdigit());
    id.is_some_and(is_hex) && began.is_some_and(is_moment) && image.is_some_and(|image| !image.is_empty())
}

/// Removes what killed runs left, and what was to become this file: nobody holds its lock.
fn clear(folder: &Path, partial: &Path) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_dead = name.strip_suffix(PARTIAL).is_some_and(is_ours);
        if !is_dead && path.file_name() != partial.file_name() {
            continue;
        }
        // One that a link leads to, or that is gone meanwhile, is not opened.
        let open = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path);
        if let Ok(file) = open
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            fs_err::remove_file(&path)?;
        }
    }
    Ok(())
}

/// A backup file, and what its seal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The path of the file, as the user or the folder of backups has it.
    pub path: PathBuf,
    /// What stands at its end.
    pub seal: Seal,
    /// The file with the key that it is decrypted with, once it was seen whole.
    pub(crate) identity: Option<PathBuf>,
}

impl Backup {
    /// Reads the seal alone.
    ///
    /// # Errors
    /// When there is no such file, or it is not whole at its end.
    pub fn open(path: &Path) -> Result<Self> {
        let known = end_of(path).and_then(|end| Ok((end, is_encrypted(path)?)));
        let ((length, frame), is_encrypted) = known.map_err(|error| explain(Purpose::Read, path, error))?;
        let (read, more) = if is_encrypted {
            (beside(path), 0)
        } else {
            let read = Seal::of_frame(&frame).or_else(|error| half_written(path, length).ok_or(error));
            (read, SEAL_SIZE as u64)
        };
        let seal = read.and_then(|seal| {
            if seal.file_size() + more == length {
                Ok(seal)
            } else {
                bail!("its seal says another length than it has")
            }
        });
        let damaged = |error| {
            let failure = failure::usage(format!("{}: {error:#}", path.display()));
            match frame.starts_with(&SEAL_MAGIC.to_le_bytes()) || !begins_as_zstd(path) {
                true => failure,
                false => failure.hint(by_hand(path)),
            }
        };
        Ok(Self {
            path: path.to_owned(),
            seal: seal.map_err(damaged)?,
            identity: None,
        })
    }

    /// One whose contents can be read: with the key where it is encrypted, which is read
    /// whole then.
    ///
    /// # Errors
    /// As [`Backup::open`]; when a key is wanting, given for nothing, or the wrong one.
    pub fn open_with(path: &Path, identity: Option<&Path>, runner: &Runner, report: &Report) -> Result<Self> {
        let is_encrypted = match is_encrypted(path) {
            Err(error) => return Err(explain(Purpose::Read, path, error)),
            Ok(is_encrypted) => is_encrypted,
        };
        match identity {
            None if is_encrypted => Err(failure::usage(format!("{} is encrypted", path.display()))
                .hint("name the file with its secret key: --identity FILE")
                .into()),
            None => Self::open(path),
            Some(_) if !is_encrypted => {
                Err(failure::usage(format!("{} is not encrypted: --identity", path.display())).into())
            }
            Some(identity) => Ok(Self {
                path: path.to_owned(),
                seal: encrypted::read(path, identity, runner, report)?,
                identity: Some(identity.to_owned()),
            }),
        }
    }

    /// Whether each byte is the one that was written.
    ///
    /// # Errors
    /// When one is not, the file cannot be read, or on Ctrl-C.
    pub fn check(&self, runner: &Runner, report: &Report) -> Result<()> {
        let is_whole = match (&self.identity, &self.seal.encrypted) {
            // So it was found when it was decrypted.
            (Some(_), _) => true,
            (None, Some(file)) => sum_of(&self.path, runner, report)? == *file,
            (None, None) => {
                digest_of(self.contents(runner, report)?, &self.path, runner)? == self.seal.sha256
            }
        };
        if is_whole {
            Ok(())
        } else {
            Err(changed(&self.path))
        }
    }

    /// The archive alone, and its sum as far as it is read: who has read all of it need not do so once
    /// more to know whether it is the one that was sealed.
    pub(crate) fn sealed_contents(
        &self,
        runner: &Runner,
        report: &Report,
    ) -> Result<(impl Read + Send + 'static, ReadSum)> {
        let sum = ReadSum::default();
        let inner = self.contents(runner, report)?;
        let reader = Summed {
            inner,
            sum: Arc::clone(&sum.0),
        };
        Ok((reader, sum))
    }

    /// Whether its bytes are those that the seal speaks of, so that who reads them sees what was changed.
    pub(crate) fn is_plain(&self) -> bool {
        self.identity.is_none() && self.seal.encrypted.is_none()
    }

    /// That what was read of it is all of the archive, as it was sealed.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn was_sealed(&self, read: &ReadSum) -> Result<()> {
        let sum = read.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match hex::digits(&sum.finalize()) == self.seal.sha256 {
            true => Ok(()),
            false => Err(changed(&self.path)),
        }
    }

    /// The archive alone: a reader that ends where the seal begins, and says how far it is.
    pub(crate) fn contents(&self, runner: &Runner, report: &Report) -> Result<Counted<Box<dyn Read + Send>>> {
        let size = self.seal.size;
        let progress = report.progress(Some(size));
        let inner: Box<dyn Read + Send> = match &self.identity {
            Some(identity) => Box::new(Decryption::start(runner, &self.path, identity)?.take(size)),
            None => {
                let file = File::open(&self.path);
                Box::new(
                    file.with_context(|| format!("open {}", self.path.display()))?
                        .take(size),
                )
            }
        };
        Ok(Counted { inner, progress })
    }

    /// Whether it is called as the backups of `image` are that this tool names itself, by what is
    /// in it: a file with another name is somebody's own.
    pub fn is_of_series(&self, image: &str) -> bool {
        let BackupOrigin { image: of, began, .. } = &self.seal.backup.origin;
        let begin = format!("{image}-{}-", began.replace(['-', ':'], ""));
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        of == image && name.starts_with(&begin) && is_ours(&name)
    }

    /// Deletes it, with its seal where that lies beside it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn remove(&self) -> Result<()> {
        fs_err::remove_file(&self.path)?;
        remove_beside(&self.path)?;
        Ok(())
    }

    /// Writes down how far it was proved. Here that is known, too, where it cannot be written.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prove(&mut self, proof: ProofLevel) -> Result<()> {
        self.seal.proof = proof;
        let frame = self.seal.frame()?;
        self.write_seal(&frame)
            .with_context(|| "its proof")
            .map_err(|error| explain(Purpose::Write, &self.path, error))
    }

    fn write_seal(&self, frame: &[u8]) -> std::io::Result<()> {
        if self.seal.encrypted.is_some() {
            return regular::replace_durably(&seal_of(&self.path), frame);
        }
        // Nothing is left beside a file that cannot be written.
        let file = std::fs::OpenOptions::new().write(true).open(&self.path)?;
        // Whatever ends this meanwhile: one of the two is whole.
        regular::replace_durably(&seal_of(&self.path), frame)?;
        file.write_all_at(frame, self.seal.size)?;
        file.sync_all()?;
        remove_beside(&self.path)
    }
}

/// Whether a file is what zstd has compressed.
fn begins_as_zstd(path: &Path) -> bool {
    let mut begin = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin == ZSTD_MAGIC
}

/// What can be done with a backup whose seal is gone, since somebody has compressed it anew.
fn by_hand(path: &Path) -> String {
    format!(
        "compressed anew it has no seal any more, and all else is there: `mkdir -m 700 FOLDER; zstd -dc {} | tar -x -C \
         FOLDER`, then `pg_verifybackup --ignore=hive-files FOLDER`, unless it is a dump; this tool takes the file \
         that it wrote",
        quote(&path.display().to_string())
    )
}

/// The seal beside a backup of this length, in whose place it was being written.
fn half_written(path: &Path, length: u64) -> Option<Seal> {
    let whole = |seal: &Seal| seal.encrypted.is_none() && seal.size + SEAL_SIZE as u64 == length;
    beside(path).ok().filter(whole)
}

fn remove_beside(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(seal_of(path)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The backup files of a folder, the oldest first; those that are not whole with why.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn list(folder: &Path) -> Result<Vec<(PathBuf, Result<Backup>)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(explain(Purpose::Read, folder, error.into())),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.trim_end_matches(ENCRYPTED).ends_with(ENDING) && path.is_file() {
            paths.push(path);
        }
    }
    let began = |read: &Result<Backup>| read.as_ref().ok().map(|one| one.seal.backup.origin.began.clone());
    let mut all: Vec<(PathBuf, Result<Backup>)> = paths
        .into_iter()
        .map(|path| {
            let read = Backup::open(&path);
            (path, read)
        })
        .collect();
    all.sort_by(|(a, x), (b, y)| (began(x), a).cmp(&(began(y), b)));
    Ok(all)
}

#[cfg(test)]
pub(crate) mod tests;
