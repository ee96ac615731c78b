//! Backups that are encrypted by the program `age`.
//!
//! What it encrypts is an ordinary backup file, seal and all, so that `age --decrypt` gives
//! one back. What `list` and `prune` have to know without the key lies beside it, as the
//! same seal in a file of its own.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow};

use failure::FailureKind;
use host::process::{Output, Runner, ended, tail};

/// How the files of it begin.
pub(crate) const MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// Longer than it takes for any backup; Ctrl-C ends it.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// To whom backups are encrypted.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// As it was given, for those who encrypt the same way.
    text: String,
}

impl Recipient {
    /// A public key as age knows them, or a file with some of them.
    ///
    /// # Errors
    /// When it is neither, or there is no age.
    pub fn find(runner: &Runner, text: &str) -> Result<Self> {
        let one = Self {
            text: text.to_owned(),
        };
        let tried = runner.cmd("age").args(one.args()).stdin("").output();
        let tried = tried.map_err(missing)?;
        if !tried.success() {
            let message = format!("--encrypt {text}{}", tail(&tried.stderr));
            return Err(failure::usage(message)
                .hint("a public key (age1…, ssh-ed25519 …), or a file with some of them, one a line")
                .into());
        }
        Ok(one)
    }

    fn args(&self) -> [&str; 3] {
        let is_file = Path::new(&self.text).is_file();
        [
            "--encrypt",
            if is_file {
                "--recipients-file"
            } else {
                "--recipient"
            },
            &self.text,
        ]
    }
}

/// Encrypts into `W` what is written to it.
pub(crate) struct Encryption<W> {
    source: PipeWriter,
    program: JoinHandle<Result<W>>,
}

impl<W: Write + Send + 'static> Encryption<W> {
    pub(crate) fn start(runner: &Runner, recipient: &Recipient, mut target: W) -> Result<Self> {
        let (reader, source) = pipe().context("make a pipe")?;
        let (interrupt, recipient) = (runner.interrupt(), recipient.clone());
        let program = thread::spawn(move || {
            let runner = interrupt.runner()?;
            let age = runner.cmd("age").args(recipient.args()).deadline(LONGEST);
            let output = age.stdin_from(reader).copy(&mut target)?;
            if !output.success() {
                return Err(failed("encrypt the backup", &output));
            }
            Ok(target)
        });
        Ok(Self { source, program })
    }

    /// The target, once all of it is there.
    ///
    /// # Errors
    /// When age fails, or the target cannot be written.
    pub(crate) fn finish(self) -> Result<W> {
        drop(self.source);
        joined(self.program)
    }
}

impl<W> Write for Encryption<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.source.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.source.flush()
    }
}

/// What a file holds, while it is decrypted.
pub(crate) struct Decryption {
    plain: PipeReader,
    program: JoinHandle<Result<()>>,
}

impl Decryption {
    /// With a file that has the secret key.
    pub(crate) fn start(runner: &Runner, file: &Path, identity: &Path) -> Result<Self> {
        let (plain, mut target) = pipe().context("make a pipe")?;
        let interrupt = runner.interrupt();
        let (file, identity): (PathBuf, PathBuf) = (file.to_owned(), identity.to_owned());
        let program = thread::spawn(move || {
            let runner = interrupt.runner()?;
            let age = runner.cmd("age").args(["--decrypt", "--identity"]);
            let age = age.arg(&identity).arg(&file).deadline(LONGEST);
            let output = age.copy(&mut target).map_err(missing)?;
            if !output.success() {
                let what = format!("decrypt {} with {}", file.display(), identity.display());
                return Err(failure::usage(format!("{what}{}", tail(&output.stderr))).into());
            }
            Ok(())
        });
        Ok(Self { plain, program })
    }

    /// How it ended, for those who have read all of it.
    pub(crate) fn finish(self) -> Result<()> {
        drop(self.plain);
        joined(self.program)
    }
}

impl Read for Decryption {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.plain.read(bytes)
    }
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    let done = thread.join();
    done.unwrap_or_else(|_| Err(anyhow!("a thread that spoke with age panicked")))
}

fn failed(what: &str, output: &Output) -> Error {
    let message = format!("{what}: age {}{}", ended(output.status), tail(&output.stderr));
    failure::environment(message).into()
}

/// Where there is no such program, says which package has it.
fn missing(error: Error) -> Error {
    let not_found = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::NotFound;
    let cause = error.chain().find_map(|cause| cause.downcast_ref());
    if failure::kind(&error) == FailureKind::Interrupted || !cause.is_some_and(not_found) {
        return error;
    }
    failure::environment("there is no program age here, which encrypts and decrypts backups")
        .hint("install it: apt-get install age")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_age_is_told_with_its_package() {
        let not_found = || Error::from(std::io::Error::from(std::io::ErrorKind::NotFound));
        let told = missing(not_found().context("start `age`"));
        assert_eq!(failure::kind(&told), FailureKind::Environment);
        assert!(failure::render(&told).ends_with("hint: install it: apt-get install age"));
        let full = missing(Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull)));
        assert!(!failure::render(&full).contains("apt-get"));
    }

    #[test]
    fn a_recipient_is_a_key_or_a_file_of_keys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |text: &str| {
            Recipient {
                text: text.to_owned(),
            }
            .args()[1]
                .to_owned()
        };
        assert_eq!(of("age1abc"), "--recipient");
        assert_eq!(of(file.path().to_str().unwrap()), "--recipients-file");
    }
}
