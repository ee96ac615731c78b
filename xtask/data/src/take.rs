//! Takes a backup of a container that runs, by the programs in it.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::facts::{BackupFacts, BackupKind};
use crate::file::{Backup, Digested, PartialBackup};
use crate::growth;
use crate::place::{Purpose, explain};
use crate::seal::{ProofLevel, Seal};
use crate::source::BackupSource;
use failure::Failure;
use host::process::{Output, ended, tail};
use host::report::{Counted, Report};
use inputs::clock;
use service::handle::ServiceHandle;

/// Says what the cluster is, and leaves that in it.
const NOTE: &str = include_str!("inside/note.py");

/// Prints a dump as one.
const DUMP: &str = include_str!("inside/dump.py");

/// What a dump holds.
pub(crate) const DUMPED: &str = include_str!("inside/dumped.py");

/// Prints the base backup as one tar archive, which zstd has compressed.
const STREAM: &str = include_str!("inside/stream.py");

/// A session that keeps the server's log.
const SLOT: &str = include_str!("inside/slot.py");

/// Notes on the volume that there is a backup.
const MARK: &str = include_str!("inside/mark.py");

/// It writes one small file: whatever takes longer is stuck.
const MARK_DEADLINE: Duration = Duration::from_secs(30);

/// Longer than any backup, and any look at all its files before that; Ctrl-C ends it.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// The system's own, whatever the app's `PATH` leads to.
pub(crate) const PYTHON: [&str; 3] = ["/usr/bin/python3", "-I", "-c"];

/// The server that is started from a copy, for the scripts that look into one.
const COPIED: &str = include_str!("inside/copied.py");

/// The app's folders, copied while the app works.
const AHEAD: &str = include_str!("inside/ahead.py");

/// Indexes that were put in order by other collations.
const COLLATIONS: &str = include_str!("inside/collations.py");

/// The archived log as it was at one moment.
const FROZEN: &str = include_str!("inside/frozen.py");

/// A copy that was taken while the cluster worked.
const WARM: &str = include_str!("inside/warm.py");

/// All that is done on a volume with several clusters; its head says how that looks.
const GENERATION: &str = include_str!("inside/generation.py");

/// The app's folders, for all scripts.
const FILES: &str = include_str!("inside/files.py");

/// Runs its last argument, which may import those before by the names that the first
/// one lists.
const WITH_MODULES: &str = "\
import sys, types
for name in sys.argv.pop(1).split():
    module = types.ModuleType(name)
    exec(sys.argv.pop(1), vars(module))
    sys.modules[name] = module
exec(sys.argv.pop(1))";

/// The command of a script that knows how the app's folders lie in a backup.
pub(crate) fn with_files<'a>(script: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&PYTHON[..], &[WITH_MODULES, "files", FILES, script], args].concat()
}

/// The command of a script that keeps the server's log meanwhile.
pub(crate) fn with_slot<'a>(script: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [
        &PYTHON[..],
        &[WITH_MODULES, "files slot", FILES, SLOT, script],
        args,
    ]
    .concat()
}

/// The command of a script that starts a server from a copy.
pub(crate) fn on_a_copy<'a>(script: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let modules = [WITH_MODULES, "files copied", FILES, COPIED, script];
    [&PYTHON[..], &modules, args].concat()
}

/// The same with one more module, called `dumped`.
pub(crate) fn on_a_copy_with_dumped<'a>(script: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let modules = [WITH_MODULES, "files copied dumped", FILES, COPIED, DUMPED, script];
    [&PYTHON[..], &modules, args].concat()
}

/// The command of the script that works on the generations of a volume.
pub(crate) fn on_generations<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let names = "files copied warm ahead collations frozen";
    let modules = [
        WITH_MODULES,
        names,
        FILES,
        COPIED,
        WARM,
        AHEAD,
        COLLATIONS,
        FROZEN,
        GENERATION,
    ];
    [&PYTHON[..], &modules, args].concat()
}

/// Writes a backup as `target`, whole or not at all. Nobody has looked at it then.
///
/// # Errors
/// When a program in the container fails, the disk is full, or on Ctrl-C: there is
/// no file then.
pub fn to_file(
    handle: &ServiceHandle,
    source: &BackupSource,
    target: &Path,
    report: &Report,
) -> Result<Backup> {
    let mut partial = PartialBackup::create(target)?;
    let backup = note(handle, source, &[])?;
    let streamed = stream_told(handle, source, &backup, &mut partial, report);
    streamed.map_err(|error| explain(Purpose::Write, target, error))?;
    partial.seal(|sha256, size| written(backup, sha256, size))
}

/// Writes a backup to stdout. Who cuts it off gets no seal.
///
/// # Errors
/// As [`to_file`], and when nobody reads it to its end.
pub fn to_stdout(handle: &ServiceHandle, source: &BackupSource, report: &Report) -> Result<Seal> {
    to_writer(handle, source, &mut StdoutWriter(report.clone())).context("write to stdout")
}

/// Writes archive and seal one after the other.
pub(crate) fn to_writer(
    handle: &ServiceHandle,
    source: &BackupSource,
    target: &mut dyn Write,
) -> Result<Seal> {
    let backup = note(handle, source, &[])?;
    let mut out = Digested::new(target);
    stream(handle, source, &backup, &mut out)?;
    let (sha256, size) = out.sum();
    let seal = written(backup, sha256, size);
    out.target.write_all(&seal.frame()?)?;
    Ok(seal)
}

/// Notes on the volume of which moment there is a backup, and whether it was restored:
/// the container's metrics tell how old it is.
///
/// # Errors
/// When the container is gone meanwhile, or its volume is full.
pub fn mark(handle: &ServiceHandle, source: &BackupSource, seal: &Seal) -> Result<()> {
    let began = &seal.backup.origin.began;
    let moment = clock::parse(began).with_context(|| format!("{began} is no moment"))?;
    let seconds = moment.duration_since(UNIX_EPOCH)?.as_secs();
    let mut levels = json!({ "written": seconds });
    if seal.is_restored() {
        levels["restored"] = json!(seconds);
    }
    let levels = levels.to_string();
    let command = [&PYTHON[..], &[MARK, &levels]].concat();
    let container = handle.container(source.container());
    let output = container.exec(MARK_DEADLINE, &[], &command, None)?;
    if !output.success() {
        return Err(failed(source, "its volume does not know of it", &output).into());
    }
    Ok(())
}

/// The seal of what was written just now.
pub(crate) fn written(backup: BackupFacts, sha256: String, size: u64) -> Seal {
    Seal {
        backup,
        sha256,
        size,
        ended: Some(clock::rfc3339(SystemTime::now())),
        proof: ProofLevel::Written,
        encrypted: None,
    }
}

/// What the cluster is, without leaving anything in it.
pub(crate) fn facts(handle: &ServiceHandle, source: &BackupSource) -> Result<BackupFacts> {
    note(handle, source, &["--only-print"])
}

pub(crate) fn note(handle: &ServiceHandle, source: &BackupSource, more: &[&str]) -> Result<BackupFacts> {
    let known = serde_json::to_string(source.origin())?;
    let command = with_files(NOTE, &[&[known.as_str()], more].concat());
    let container = handle.container(source.container());
    let output = container.exec(LONGEST, &[], &command, None)?;
    if !output.success() {
        return Err(failed(source, "it does not say what is in it", &output).into());
    }
    let said: serde_json::Result<BackupFacts> = serde_json::from_slice(&output.stdout);
    said.context("read what the container says of its cluster")?
        .bounded()
}

/// Writes the base backup or the dump: a compressed archive.
pub(crate) fn stream(
    handle: &ServiceHandle,
    source: &BackupSource,
    facts: &BackupFacts,
    target: &mut dyn Write,
) -> Result<()> {
    match source.origin().kind {
        BackupKind::Physical => copied(handle, source, target),
        BackupKind::Logical => {
            let known = serde_json::to_string(facts)?;
            let modules = [WITH_MODULES, "files dumped", FILES, DUMPED, DUMP, &known];
            printed(
                handle,
                source,
                &[&PYTHON[..], &modules].concat(),
                "pg_dump",
                target,
            )
        }
    }
}

/// The same, and tells how far it has come: with a base backup how much of the cluster was
/// read, since nobody knows how small it will be.
pub(crate) fn stream_told(
    handle: &ServiceHandle,
    source: &BackupSource,
    facts: &BackupFacts,
    target: &mut dyn Write,
    report: &Report,
) -> Result<()> {
    if source.origin().kind == BackupKind::Logical {
        let mut counted = Counted {
            inner: target,
            progress: report.progress(None),
        };
        return stream(handle, source, facts, &mut counted);
    }
    let container = handle.container(source.container());
    let sent = || growth::sent(&container);
    growth::asked(report, Some(facts.bytes), sent, || {
        stream(handle, source, facts, target)
    })
}

/// Writes a base backup, whatever kind of backup is wanted.
pub(crate) fn copied(handle: &ServiceHandle, source: &BackupSource, target: &mut dyn Write) -> Result<()> {
    printed(handle, source, &with_slot(STREAM, &[]), "pg_basebackup", target)
}

fn printed(
    handle: &ServiceHandle,
    source: &BackupSource,
    command: &[&str],
    program: &str,
    target: &mut dyn Write,
) -> Result<()> {
    let args = [&["exec", source.container()], command].concat();
    let command = handle.engine.cmd(&handle.runner, &args).deadline(LONGEST);
    let output = command.copy(target)?;
    if !output.success() {
        return Err(failed(source, &format!("{program} failed"), &output).into());
    }
    Ok(())
}

fn failed(source: &BackupSource, what: &str, output: &Output) -> Failure {
    failure::environment(format!(
        "backup of container {}: {what}, {}{}",
        source.container(),
        ended(output.status),
        tail(&output.stderr)
    ))
}

/// Stdout, as the report passes data to it.
pub(crate) struct StdoutWriter(pub(crate) Report);

impl Write for StdoutWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.pass(bytes) {
            Ok(true) => Ok(bytes.len()),
            Ok(false) => Err(std::io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(std::io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
