//! Locks between runs, also of different checkouts, by `flock` on a file. The
//! kernel gives them back when a run is killed. The holder writes into the file
//! who it is, for those who wait.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use crate::Host;
use crate::process::Runner;
use crate::report::{self, Report};
use failure::Failure;

/// Between two attempts to get the lock.
const PAUSE: Duration = Duration::from_millis(100);

/// A lock that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct FileLock<'a> {
    /// The file; made if need be, with the folders above it.
    pub path: &'a Path,
    /// What those who wait are told: `another run makes a base`.
    pub busy: &'a str,
    /// How long to wait; for ever where there is none.
    pub patience: Option<Duration>,
}

/// A lock that is held until it is dropped, or its holder and all that inherited
/// the file are gone.
#[derive(Debug)]
pub struct HeldLock {
    file: File,
}

impl HeldLock {
    /// Whether the file still lies at its path: a lock that does not is nobody's.
    pub fn is_at(&self, path: &Path) -> bool {
        is_at(&self.file, path)
    }

    /// Lets the programs that are started from here on hold it, too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn inherit(&self) -> Result<()> {
        Ok(rustix::io::fcntl_setfd(&self.file, rustix::io::FdFlags::empty())?)
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread starts at this moment has it
        // open until its program runs, and the next one would wait for a lock that nobody holds.
        rustix::fs::flock(&self.file, FlockOperation::Unlock).ok();
    }
}

impl FileLock<'_> {
    /// Waits until no other run holds it. The holder may remove the file at the
    /// end.
    ///
    /// # Errors
    /// When the file cannot be made, an environment failure when patience has
    /// ended, or on Ctrl-C.
    pub fn take(self, runner: &Runner, report: &Report) -> Result<HeldLock> {
        let path = self.path;
        if let Some(dir) = path.parent() {
            fs_err::create_dir_all(dir)?;
        }
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            let mut file = open(path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Another holder may have removed the file while we waited.
                Ok(()) if is_at(&file, path) => {
                    sign(&mut file, path)?;
                    return Ok(HeldLock { file });
                }
                Ok(()) | Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => attempts += 1,
                Err(error) => return Err(error).with_context(|| format!("lock {}", path.display())),
            }
            // By the second attempt a new holder has written its name.
            if attempts == 2 {
                report.step("wait", format!("{}{}", self.busy, holder(path)));
            }
            if let Some(patience) = self.patience
                && began.elapsed() >= patience
            {
                let message = format!(
                    "{}{}; waited {}",
                    self.busy,
                    holder(path),
                    report::seconds(patience)
                );
                return Err(failure::environment(message)
                    .hint("wait until it has finished, or end it")
                    .into());
            }
            runner.sleep(PAUSE)?;
        }
    }
}

/// A lock that is waited for as long as it takes.
///
/// # Errors
/// When the file cannot be made, or on Ctrl-C.
pub fn exclusive(path: &Path, busy: &str, host: &Host) -> Result<HeldLock> {
    let lock = FileLock {
        path,
        busy,
        patience: None,
    };
    lock.take(&host.runner, &host.report)
}

/// Opens the file, or makes it; never one behind a link, which could be
/// anything of anybody.
fn open(path: &Path) -> Result<File> {
    // Without NONBLOCK a FIFO would wait for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    match opened {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Err(error) if error.raw_os_error() != Some(Errno::LOOP.raw_os_error()) => {
            Err(error).with_context(|| format!("open {}", path.display()))
        }
        _ => Err(no_lock(path, "a link or no file").into()),
    }
}

/// Writes who holds it. A lock whose holder is not known is as good as any, but
/// what somebody else has written there stays.
fn sign(file: &mut File, path: &Path) -> Result<()> {
    let mut start = [0; 32];
    let length = file.read(&mut start)?;
    let (pid, rest) = start[..length].split_at(start.iter().take_while(|byte| byte.is_ascii_digit()).count());
    if length > 0 && (pid.is_empty() || !rest.starts_with(b" ")) {
        return Err(no_lock(path, "a file with something else in it").into());
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(own_name().as_bytes()))
        .ok();
    Ok(())
}

fn no_lock(path: &Path, is: &str) -> Failure {
    failure::environment(format!("{} cannot be a lock: it is {is}", path.display()))
        .hint("look at it, and remove it if nobody needs it")
}

/// This process as those who wait are told of it: `1234 xtask build-images`.
fn own_name() -> String {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<_> = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    let mut line = words.join(" ");
    if let Some((_, name)) = words.first().and_then(|program| program.rsplit_once('/')) {
        line.replace_range(..words[0].len(), name);
    }
    format!("{} {line}\n", std::process::id())
}

/// ` (process 1234: xtask build-images)`, or that it was killed and something
/// that it started goes on; empty where nobody has signed.
fn holder(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Some((pid, line)) = text.trim_end().split_once(' ') else {
        return String::new();
    };
    let gone = pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
    if gone {
        format!(" (started by process {pid}, which is gone: {line})")
    } else {
        format!(" (process {pid}: {line})")
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn take(path: &Path, patience: Duration) -> Result<HeldLock> {
        let lock = FileLock {
            path,
            busy: "somebody is at it",
            patience: Some(patience),
        };
        lock.take(&Runner::new(Arc::default())?, &Report::new(true, false))
    }

    #[test]
    fn a_removed_file_is_no_longer_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path));
        let _other = File::create(&path).unwrap();
        assert!(!is_at(&file, &path));
    }

    #[test]
    fn what_others_have_at_its_place_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("precious"), "1 2 3").unwrap();
        std::fs::write(at("notes"), "not a lock").unwrap();
        std::os::unix::fs::symlink("precious", at("link")).unwrap();
        std::os::unix::fs::symlink("nothing", at("dangling")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
        for name in ["notes", "link", "dangling", "fifo"] {
            let error = take(&at(name), Duration::ZERO).unwrap_err();
            assert_eq!(
                failure::kind(&error),
                failure::FailureKind::Environment,
                "{error:#}"
            );
            assert!(
                error.to_string().contains(&format!("/{name} cannot be a lock")),
                "{error}"
            );
        }
        assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "1 2 3");
        assert_eq!(std::fs::read_to_string(at("notes")).unwrap(), "not a lock");
        assert!(!at("nothing").exists());
        std::fs::write(at("ours"), format!("4194305 xtask {}\n", "x".repeat(99))).unwrap();
        drop(take(&at("ours"), Duration::ZERO).unwrap());
        let signed = std::fs::read_to_string(at("ours")).unwrap();
        assert!(
            signed.starts_with(&format!("{} ", std::process::id())),
            "{signed}"
        );
        assert_eq!(signed.lines().count(), 1);
    }

    #[test]
    fn one_at_a_time_and_the_others_learn_who() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/x.lock");
        let first = take(&path, Duration::ZERO).unwrap();
        let error = take(&path, Duration::from_millis(150)).unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Environment);
        let text = error.to_string();
        let who = format!("somebody is at it (process {}: ", std::process::id());
        assert!(text.starts_with(&who), "{text}");
        assert!(!text.contains('/'), "the program's name is enough: {text}");
        assert!(text.ends_with("; waited 0.1 s"), "{text}");
        let waiting = {
            let path = path.clone();
            std::thread::spawn(move || take(&path, Duration::from_secs(30)))
        };
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.join().unwrap().is_ok());
    }

    #[test]
    fn it_is_given_back_even_while_somebody_else_has_the_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = take(&path, Duration::ZERO).unwrap();
        // As a child has it between its making and its start.
        let child = held.file.try_clone().unwrap();
        drop(held);
        assert!(take(&path, Duration::ZERO).is_ok());
        drop(child);
    }

    #[test]
    fn a_holder_that_was_killed_is_said_to_be_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        std::fs::write(&path, "4194305 xtask build-images\n").unwrap();
        assert_eq!(
            holder(&path),
            " (started by process 4194305, which is gone: xtask build-images)"
        );
        std::fs::write(&path, "").unwrap();
        assert_eq!(holder(&path), "");
    }

    #[test]
    fn ctrl_c_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let _held = take(&path, Duration::ZERO).unwrap();
        let told = Arc::new(AtomicBool::new(false));
        let runner = Runner::new(Arc::clone(&told)).unwrap();
        told.store(true, Ordering::Relaxed);
        let lock = FileLock {
            path: &path,
            busy: "",
            patience: None,
        };
        let error = lock.take(&runner, &Report::new(true, false)).unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Interrupted);
    }
}
