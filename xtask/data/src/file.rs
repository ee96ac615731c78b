//! Backup files: where they lie, how they are called, written whole, and read.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, rename, renameat_with};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::place::{Purpose, explain};
use crate::seal::{ProofLevel, SEAL_SIZE, Seal};
use host::Host;
use host::process::Runner;
use inputs::hex;

/// How all of them end.
pub const ENDING: &str = ".tar.zst";

/// How one ends that is not whole.
const PARTIAL: &str = ".partial";

/// So many bytes are read and hashed at a time.
const PIECE: usize = 1 << 20;

/// Where the backups of an image lie that are given no other place: no `cargo clean`
/// or `git clean` comes there.
pub fn folder(host: &Host, image: &str) -> PathBuf {
    host.backup_dir().join(image)
}

/// `genie-20261121T031500.123Z-0123abcd.tar.zst`: sorts by time, and no two are alike.
pub fn name(image: &str, began: &str, run: &str) -> String {
    let id = Sha256::digest(format!("{image} {began} {run}"));
    format!(
        "{image}-{}-{}{ENDING}",
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
    /// When `target` is there, or its folder cannot be written.
    pub fn create(target: &Path) -> Result<Self> {
        // A link is there, too, wherever it leads.
        if target.symlink_metadata().is_ok() {
            let message = format!("{} is there already", target.display());
            bail!(failure::usage(message).hint("name another file; none is written over"));
        }
        Self::begin(target).map_err(|error| explain(Purpose::Write, target, error))
    }

    fn begin(target: &Path) -> Result<Self> {
        let folder = folder_of(target);
        std::fs::create_dir_all(folder)?;
        clear(folder)?;
        let mut partial = target.as_os_str().to_owned();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .with_context(|| format!("make {}", partial.display()))?;
        // Freed by the kernel, whatever ends this process.
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("lock {}", partial.display()))?;
        Ok(Self {
            file: Digested::new(file),
            partial,
            target: target.to_owned(),
            is_sealed: false,
        })
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
        let file = &mut self.file.target;
        let done = file.write_all(&seal.frame()?).and_then(|()| file.sync_all());
        done.with_context(|| format!("write {}", self.partial.display()))?;
        self.rename()?;
        self.is_sealed = true;
        File::open(folder_of(&self.target))
            .and_then(|folder| folder.sync_all())
            .with_context(|| format!("write the folder of {}", self.target.display()))?;
        Ok(Backup {
            path: self.target.clone(),
            seal,
        })
    }

    /// Not over a file that has come meanwhile, where the file system can tell.
    fn rename(&self) -> Result<()> {
        let flags = RenameFlags::NOREPLACE;
        let done = match renameat_with(CWD, &self.partial, CWD, &self.target, flags) {
            Err(Errno::INVAL | Errno::NOSYS) => rename(&self.partial, &self.target),
            other => other,
        };
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

/// Removes what killed runs left: nobody holds its lock.
fn clear(folder: &Path) -> Result<()> {
    let ending = format!("{ENDING}{PARTIAL}");
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if !path.to_string_lossy().ends_with(&ending) {
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
}

impl Backup {
    /// Reads the seal alone.
    ///
    /// # Errors
    /// When there is no such file, or it is not whole at its end.
    pub fn open(path: &Path) -> Result<Self> {
        let (length, frame) = end_of(path).map_err(|error| explain(Purpose::Read, path, error))?;
        let seal = Seal::of_frame(&frame).and_then(|seal| {
            if seal.size + SEAL_SIZE as u64 == length {
                Ok(seal)
            } else {
                bail!("its seal says another length than it has")
            }
        });
        let damaged = |error| failure::usage(format!("{}: {error:#}", path.display()));
        Ok(Self {
            path: path.to_owned(),
            seal: seal.map_err(damaged)?,
        })
    }

    /// Whether each byte is the one that was written.
    ///
    /// # Errors
    /// When one is not, the file cannot be read, or on Ctrl-C.
    pub fn check(&self, runner: &Runner) -> Result<()> {
        let mut rest = self.contents()?;
        let (mut digest, mut piece) = (Sha256::new(), vec![0; PIECE]);
        loop {
            runner.check_interrupt()?;
            let length = rest
                .read(&mut piece)
                .with_context(|| format!("read {}", self.path.display()))?;
            if length == 0 {
                break;
            }
            digest.update(&piece[..length]);
        }
        if hex::digits(&digest.finalize()) == self.seal.sha256 {
            return Ok(());
        }
        let message = format!(
            "{}: it is not what was written: a part of it has changed",
            self.path.display()
        );
        Err(failure::usage(message)
            .hint("another backup, or another copy of this one: cargo xtask backup list")
            .into())
    }

    /// The archive alone: a reader that ends where the seal begins.
    pub(crate) fn contents(&self) -> Result<std::io::Take<File>> {
        let file = File::open(&self.path).with_context(|| format!("open {}", self.path.display()))?;
        Ok(file.take(self.seal.size))
    }

    /// Writes down how far it was proved.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prove(&mut self, proof: ProofLevel) -> Result<()> {
        let seal = Seal {
            proof,
            ..self.seal.clone()
        };
        let file = std::fs::OpenOptions::new().write(true).open(&self.path);
        file.and_then(|file| {
            file.write_all_at(&seal.frame().map_err(std::io::Error::other)?, seal.size)?;
            file.sync_all()
        })
        .with_context(|| "its proof")
        .map_err(|error| explain(Purpose::Write, &self.path, error))?;
        self.seal = seal;
        Ok(())
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
        if path.to_string_lossy().ends_with(ENDING) && path.is_file() {
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
pub(crate) mod tests {
    use super::*;
    use crate::seal::sample;
    use std::os::unix::fs::PermissionsExt as _;

    pub(crate) fn written(folder: &Path, name: &str, contents: &[u8]) -> Backup {
        let mut partial = PartialBackup::create(&folder.join(name)).unwrap();
        partial.write_all(contents).unwrap();
        partial.seal(sealed).unwrap()
    }

    fn sealed(sha256: String, size: u64) -> Seal {
        Seal {
            sha256,
            size,
            ..sample(ProofLevel::Written)
        }
    }

    fn runner() -> Runner {
        Runner::new(std::sync::Arc::default()).unwrap()
    }

    #[test]
    fn names_sort_by_time_and_differ() {
        let first = name("genie", "2026-11-21T03:15:00.123Z", "1-2");
        assert!(first.starts_with("genie-20261121T031500.123Z-"), "{first}");
        assert!(first < name("genie", "2026-11-21T03:15:00.124Z", "1-2"));
        assert_ne!(first, name("genie", "2026-11-21T03:15:00.123Z", "1-3"));
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.tar.zst");
        let names = || fs_err::read_dir(folder.path()).unwrap().count();
        let mut partial = PartialBackup::create(&target).unwrap();
        partial.write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(partial);
        assert_eq!(names(), 0);
        let whole = written(folder.path(), "a.tar.zst", b"whole");
        assert_eq!(names(), 1);
        assert_eq!(
            fs_err::metadata(&target).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(Backup::open(&target).unwrap(), whole);
        whole.check(&runner()).unwrap();
        let again = PartialBackup::create(&target).unwrap_err();
        assert_eq!(failure::kind(&again), failure::FailureKind::Usage);
    }

    #[test]
    fn what_is_no_backup_file_is_wrong_input() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let link = |to: &str, name: &str| fs_err::os::unix::fs::symlink(to, at(name)).unwrap();
        link("nowhere", "dangling");
        link("loop", "loop");
        fs_err::write(at("file"), "text").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["nothing", "dangling", "loop", "file/below", "socket", "", "file"] {
            let error = Backup::open(&at(name)).unwrap_err();
            assert_eq!(failure::kind(&error), failure::FailureKind::Usage, "{error:#}");
            let said = format!("{error:#}");
            assert!(said.contains(at(name).to_str().unwrap()), "{said}");
        }
        // A link counts, wherever it leads: no backup takes its place at the end.
        for name in ["dangling", "loop", "file", "socket", "file/below", "loop/below"] {
            let error = PartialBackup::create(&at(name)).unwrap_err();
            assert_eq!(failure::kind(&error), failure::FailureKind::Usage, "{error:#}");
        }
        let long = PartialBackup::create(&at(&"n".repeat(250))).unwrap_err();
        assert_eq!(failure::kind(&long), failure::FailureKind::Usage, "{long:#}");
        let listed = list(&at("file/test-genie")).unwrap_err();
        assert_eq!(failure::kind(&listed), failure::FailureKind::Usage, "{listed:#}");
        assert!(list(&at("nothing")).unwrap().is_empty());
    }

    #[test]
    fn a_full_disk_leads_to_the_right_variable() {
        let mut partial =
            PartialBackup::create(&tempfile::tempdir().unwrap().keep().join("a.tar.zst")).unwrap();
        partial.file.target = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let folder = folder_of(&partial.target).to_owned();
        let error = partial.seal(sealed).unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Environment);
        assert!(
            failure::render(&error).ends_with(
                "hint: make room there, or write to another disk: `--to FILE`, or HIVE_BACKUP_DIR"
            )
        );
        assert_eq!(
            fs_err::read_dir(&folder).unwrap().count(),
            0,
            "nothing half is left"
        );
        fs_err::remove_dir(&folder).unwrap();
    }

    #[test]
    fn only_what_dead_runs_left_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::write(at("dead.tar.zst.partial"), "half").unwrap();
        fs_err::write(at("mine.partial"), "somebody's").unwrap();
        let _alive = PartialBackup::create(&at("alive.tar.zst")).unwrap();
        let _other = PartialBackup::create(&at("other.tar.zst")).unwrap();
        assert!(!at("dead.tar.zst.partial").exists());
        assert!(at("mine.partial").exists() && at("alive.tar.zst.partial").exists());
    }

    #[test]
    fn a_proof_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut backup = written(folder.path(), "a.tar.zst", b"contents");
        let length = fs_err::metadata(&backup.path).unwrap().len();
        let refused = ProofLevel::Refused {
            at: String::new(),
            why: "no reason".to_owned(),
        };
        for proof in [refused, ProofLevel::Written] {
            backup.prove(proof.clone()).unwrap();
            assert_eq!(Backup::open(&backup.path).unwrap().seal.proof, proof);
        }
        assert_eq!(fs_err::metadata(&backup.path).unwrap().len(), length);
        backup.check(&runner()).unwrap();
    }

    /// 200 single flipped bits and 50 cuts, spread over the whole file.
    #[test]
    fn no_bit_and_no_length_can_change_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let contents: Vec<u8> = (0..150_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let backup = written(folder.path(), "a.tar.zst", &contents);
        let whole = fs_err::read(&backup.path).unwrap();
        let damaged = folder.path().join("damaged.tar.zst");
        let is_found = |bytes: &[u8]| {
            fs_err::write(&damaged, bytes).unwrap();
            Backup::open(&damaged)
                .and_then(|one| one.check(&runner()))
                .is_err()
        };
        assert!(!is_found(&whole));
        for n in 0..200 {
            let mut bytes = whole.clone();
            let place = n * (whole.len() - 1) / 199;
            bytes[place] ^= 1 << (n % 8);
            assert!(is_found(&bytes), "bit {} of byte {place}", n % 8);
        }
        for n in 0..50 {
            let length = n * (whole.len() - 1) / 49;
            assert!(is_found(&whole[..length]), "cut at {length}");
        }
        let longer = [whole.as_slice(), b"\0"].concat();
        assert!(is_found(&longer) && is_found(&[whole.as_slice(), &whole].concat()));
    }

    #[test]
    fn a_folder_tells_what_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), "a.tar.zst", b"contents");
        fs_err::write(folder.path().join("b.tar.zst"), "cut off").unwrap();
        fs_err::write(folder.path().join("c.txt"), "").unwrap();
        let all = list(folder.path()).unwrap();
        let told: Vec<bool> = all.iter().map(|(_, read)| read.is_ok()).collect();
        assert_eq!(told, [false, true], "what is not known comes first");
        let error = all[0].1.as_ref().unwrap_err().to_string();
        assert!(error.contains("b.tar.zst: it does not end in a seal"), "{error}");
        assert!(list(&folder.path().join("missing")).unwrap().is_empty());
    }
}
