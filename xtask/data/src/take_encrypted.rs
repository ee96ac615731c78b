//! Takes a backup that is encrypted before it comes to a disk of this machine, and proves
//! what went into it.

use std::io::{PipeWriter, Write, pipe};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use anyhow::{Context as _, Error, Result, anyhow};

use crate::age::{Encryption, Recipient};
use crate::facts::BackupFacts;
use crate::file::{Backup, Digested, PartialBackup};
use crate::generations::copy_in;
use crate::place::{Purpose, explain};
use crate::proof::ProofPlace;
use crate::rehearsal::TrialOrder;
use crate::seal::{ProofLevel, RestoreProof, Seal};
use crate::source::BackupSource;
use crate::take::{self, StdoutWriter, note, stream_told};
use engine::container::{Container, RunResources};
use host::report::Report;
use inputs::clock;
use service::handle::ServiceHandle;

/// A backup whose archive is written; it is a file once it was looked at and sealed.
pub struct UnsealedBackup {
    facts: BackupFacts,
    sha256: String,
    size: u64,
    ended: String,
    encryption: Encryption<PartialBackup>,
    /// Where it was unpacked on the way, unless nobody is to look at it.
    place: Option<ProofPlace>,
}

/// Writes the archive of a backup, encrypted; with `proves` it is unpacked at the same time,
/// since nobody here can read the file again.
///
/// # Errors
/// As for one that is not encrypted, and when age fails.
pub fn to_file(
    handle: &ServiceHandle,
    source: &BackupSource,
    target: &Path,
    report: &Report,
    recipient: &Recipient,
    proves: Option<(&RunResources, u64)>,
) -> Result<UnsealedBackup> {
    let partial = PartialBackup::create(target)?;
    let facts = note(handle, source, &[])?;
    let image = &source.origin().image_id;
    let place = proves
        .map(|(resources, copies)| ProofPlace::make(resources, &facts, image, copies))
        .transpose()?;
    let unpacking = place
        .as_ref()
        .map(|place| Unpacking::start(handle, &place.container, place.folder()));
    let mut out = Digested::new(Both {
        encryption: Encryption::start(&handle.runner, recipient, partial)?,
        unpacking: unpacking.transpose()?,
    });
    let streamed = stream_told(handle, source, &facts, &mut out, report);
    let ended = clock::rfc3339(SystemTime::now());
    let (sha256, size) = out.sum();
    let Both {
        encryption,
        unpacking,
    } = out.target;
    let unpacked = unpacking.map_or(Ok(()), Unpacking::finish);
    let unpacked = unpacked.context("unpack it, to prove it");
    match streamed {
        // Who could not write says less than who could not read.
        Err(error) if is_broken_pipe(&error) => match encryption.finish() {
            Err(error) => Err(explain(Purpose::Write, target, error)),
            Ok(_) => Err(unpacked.err().unwrap_or(error)),
        },
        streamed => streamed.and(unpacked).map(|()| UnsealedBackup {
            facts,
            sha256,
            size,
            ended,
            encryption,
            place,
        }),
    }
}

impl UnsealedBackup {
    /// Looks at what was unpacked, if it was, and ends the file with what came of that.
    ///
    /// # Errors
    /// A smoke failure where the backup is to blame; the file is there then, and says so.
    pub fn seal(self, boot: Option<&TrialOrder<'_>>) -> Result<(Backup, Option<RestoreProof>)> {
        let judged = self.place.map(|place| place.judge(boot)).transpose()?;
        let seal = Seal {
            backup: self.facts,
            sha256: self.sha256,
            size: self.size,
            ended: Some(self.ended),
            proof: judged
                .as_ref()
                .map_or(ProofLevel::Written, |judged| judged.level.clone()),
            encrypted: None,
        };
        let mut encryption = self.encryption;
        encryption
            .write_all(&seal.frame()?)
            .context("encrypt the backup's seal")?;
        let backup = encryption.finish()?.seal_beside(seal)?;
        let proof = judged.map(|judged| judged.proved(&backup.path)).transpose()?;
        Ok((backup, proof))
    }
}

/// Writes an encrypted backup to stdout; nobody has looked at it.
///
/// # Errors
/// As for one that is not encrypted, and when age fails.
pub fn to_stdout(
    handle: &ServiceHandle,
    source: &BackupSource,
    report: &Report,
    recipient: &Recipient,
) -> Result<Seal> {
    let target = StdoutWriter(report.clone());
    let mut encryption = Encryption::start(&handle.runner, recipient, target)?;
    let written = take::to_writer(handle, source, &mut encryption);
    let ended = encryption.finish().context("write to stdout");
    match written {
        Err(error) if is_broken_pipe(&error) => Err(ended.err().unwrap_or(error)),
        Err(error) => Err(error),
        Ok(seal) => ended.map(|_| seal),
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    let is_one = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    let cause = error.chain().find_map(|cause| cause.downcast_ref());
    cause.is_some_and(is_one)
}

/// A container unpacks what is written to it.
struct Unpacking {
    archive: PipeWriter,
    program: JoinHandle<Result<()>>,
}

impl Unpacking {
    fn start(handle: &ServiceHandle, container: &Container, folder: &'static str) -> Result<Self> {
        let (reader, archive) = pipe().context("make a pipe")?;
        let (engine, interrupt) = (handle.engine.clone(), handle.runner.interrupt());
        let name = container.name().to_owned();
        let program = thread::spawn(move || {
            let runner = interrupt.runner()?;
            let container = Container::existing(&engine, &runner, &name);
            copy_in(&engine, &runner, reader, &container, folder)
        });
        Ok(Self { archive, program })
    }

    fn finish(self) -> Result<()> {
        drop(self.archive);
        let done = self.program.join();
        done.unwrap_or_else(|_| Err(anyhow!("a thread that unpacks a backup panicked")))
    }
}

/// One writer for age and one for the proof.
struct Both {
    encryption: Encryption<PartialBackup>,
    unpacking: Option<Unpacking>,
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.encryption.write_all(bytes)?;
        if let Some(unpacking) = &mut self.unpacking {
            unpacking.archive.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
