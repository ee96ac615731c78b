//! Takes a backup that is encrypted before it comes to a disk of this machine, and proves
//! what went into it.

use std::io::{PipeWriter, Write, pipe};
use std::path::Path;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Error, Result, anyhow, bail};

use crate::age::{Encryption, Recipient};
use crate::file::{Backup, Digested, PartialBackup};
use crate::generations::{ROOT, Sums, copy_in};
use crate::place::{Purpose, explain};
use crate::proof::ProofPlace;
use crate::rehearsal::TrialOrder;
use crate::seal::{RestoreProof, Seal};
use crate::source::BackupSource;
use crate::take::{self, StdoutWriter, note, stream_told, written};
use engine::container::{Container, RunResources};
use host::report::Report;
use service::handle::ServiceHandle;

/// A backup that is a file, and what is to prove it.
pub struct EncryptedBackup {
    /// Nobody has looked at it yet.
    pub backup: Backup,
    /// Where it was unpacked on the way, or why it was not, unless nobody is to look at it.
    place: Option<Result<ProofPlace>>,
}

/// Writes a backup, encrypted; with `proves` it is unpacked at the same time, since nobody here
/// can read the file again. Where that fails the file gets whole all the same.
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
) -> Result<EncryptedBackup> {
    let partial = PartialBackup::create(target)?;
    let facts = note(handle, source, &[])?;
    let image = &source.origin().image_id;
    let mut place = proves.map(|(resources, copies)| ProofPlace::make(resources, &facts, image, copies));
    let unpacking = match &place {
        Some(Ok(made)) => match Unpacking::start(handle, &made.container, made.folder()) {
            Ok(unpacking) => Some(unpacking),
            Err(error) => {
                place = Some(Err(error));
                None
            }
        },
        Some(Err(_)) | None => None,
    };
    let mut out = Digested::new(Both {
        encryption: Encryption::start(&handle.runner, recipient, partial)?,
        unpacking,
    });
    let streamed = stream_told(handle, source, &facts, &mut out, report);
    let (sha256, size) = out.sum();
    let seal = written(facts, sha256, size);
    let Both {
        mut encryption,
        unpacking,
    } = out.target;
    let unpacked = unpacking.map_or(Ok(()), Unpacking::finish);
    if let Err(error) = streamed {
        // Who could not write says less than who could not read.
        return Err(match is_broken_pipe(&error).then(|| encryption.finish()) {
            Some(Err(error)) => explain(Purpose::Write, target, error),
            Some(Ok(_)) | None => error,
        });
    }
    if let Err(error) = unpacked {
        place = Some(Err(error.context("unpack it, to prove it")));
    }
    // Whatever ends this while it is proved: the file is whole. A proof is written beside it.
    encryption
        .write_all(&seal.frame()?)
        .context("encrypt the backup's seal")?;
    let backup = encryption.finish()?.seal_beside(seal)?;
    Ok(EncryptedBackup { backup, place })
}

impl EncryptedBackup {
    /// Looks at what was unpacked, if it was, and writes beside the file what came of that.
    ///
    /// # Errors
    /// A smoke failure where the backup is to blame, and says so then; else what stopped it,
    /// and the backup stays as it was written.
    pub fn prove(self, boot: Option<&TrialOrder<'_>>) -> Result<(Backup, Option<RestoreProof>)> {
        let Self { mut backup, place } = self;
        let Some(place) = place else {
            return Ok((backup, None));
        };
        let judged = place.and_then(|place| place.judge(boot));
        let judged =
            judged.with_context(|| format!("{} is written, and not proved", backup.path.display()))?;
        backup.prove(judged.level.clone())?;
        let proof = judged.proved(&backup.path)?;
        Ok((backup, Some(proof)))
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
    /// As long as it reads.
    archive: Option<PipeWriter>,
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
            copy_in(&engine, &runner, reader, (&container, ROOT), folder, Sums::Left)
        });
        let archive = Some(archive);
        Ok(Self { archive, program })
    }

    /// Whoever reads no more says why at the end.
    fn take(&mut self, bytes: &[u8]) {
        if let Some(archive) = &mut self.archive
            && archive.write_all(bytes).is_err()
        {
            self.archive = None;
        }
    }

    fn finish(self) -> Result<()> {
        let has_read_all = self.archive.is_some();
        drop(self.archive);
        let done = self.program.join();
        done.unwrap_or_else(|_| Err(anyhow!("a thread that unpacks a backup panicked")))?;
        if !has_read_all {
            bail!("it was not read to its end");
        }
        Ok(())
    }
}

/// One writer for age and one for the proof, whose trouble is none of the first.
struct Both<W> {
    encryption: W,
    unpacking: Option<Unpacking>,
}

impl<W: Write> Write for Both<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.encryption.write_all(bytes)?;
        if let Some(unpacking) = &mut self.unpacking {
            unpacking.take(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_cannot_unpack_it_does_not_keep_it_from_being_written() {
        let ends = |with: fn() -> Result<()>| {
            let (reader, archive) = pipe().unwrap();
            drop(reader);
            let mut both = Both {
                encryption: Vec::new(),
                unpacking: Some(Unpacking {
                    archive: Some(archive),
                    program: thread::spawn(with),
                }),
            };
            for _ in 0..3 {
                both.write_all(&[7; 100_000]).unwrap();
            }
            assert_eq!(both.encryption.len(), 300_000);
            let error = both.unpacking.unwrap().finish().unwrap_err();
            error.to_string()
        };
        assert_eq!(ends(|| bail!("no room")), "no room");
        assert_eq!(ends(|| Ok(())), "it was not read to its end");
    }
}
