//! `cargo xtask backup`: backups of services, each proved by restoring it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::{Value, json};

use super::services;
use crate::cli::backup::{BackupArgs, BackupListArgs, BackupPruneArgs, BackupVerb, BackupVerifyArgs};
use crate::cli::service::ServiceSelection;
use ::engine::container::RunResources;
use ::engine::{Engine, reaper};
use ::service::handle::ServiceHandle;
use ::service::trail::{self, TrailEntry};
use data::file::{self, Backup};
use data::seal::{RestoreProof, Seal};
use data::source::BackupSource;
use data::{proof, take};
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use host::Host;
use host::report::{megabytes, seconds};
use inputs::clock;

/// Takes a backup, or does something with those that are there.
pub(super) fn run(args: &BackupArgs, host: &Host) -> Result<()> {
    match &args.of_files {
        None => back_up(args, host),
        Some(BackupVerb::List(args)) => list(args, host),
        Some(BackupVerb::Verify(args)) => verify(args, host),
        Some(BackupVerb::Prune(args)) => prune(args, host),
    }
}

fn back_up(args: &BackupArgs, host: &Host) -> Result<()> {
    let selection = ServiceSelection {
        images: args.image.iter().cloned().collect(),
        engine: args.engine,
    };
    let specs = services::specs(host, &selection.images)?;
    let engine = services::running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let mut entry = TrailEntry::begun("backup", &handle.name);
        let done = of_service(args, host, &handle, &mut entry);
        let outcome = done.as_ref().copied().unwrap_or_default();
        trail::write(&host.state_dir(), &host.report, &entry.ended(outcome, &done));
        done?;
    }
    Ok(())
}

/// How far it was proved.
fn of_service(
    args: &BackupArgs,
    host: &Host,
    handle: &ServiceHandle,
    entry: &mut TrailEntry,
) -> Result<&'static str> {
    let name = handle.name.as_str();
    let (source, written) = {
        // Until it is written nobody stops or replaces the container.
        let _lock = handle.lock(host)?;
        let source = BackupSource::find(handle, args.container.as_deref())?;
        entry.image = Some(source.origin().image_id.clone());
        host.report
            .step("backup", format!("{name}: container {}", source.container()));
        let written = match &args.to {
            Some(to) if to == Path::new("-") => None,
            to => Some(take::to_file(
                handle,
                &source,
                &target(host, to.as_deref(), &source)?,
            )?),
        };
        if written.is_none() {
            let seal = take::to_stdout(handle, &source, &host.report)?;
            host.report
                .step("written", format!("{name}: {}, not proved", told(&seal)));
        }
        (source, written)
    };
    let Some(mut backup) = written else {
        return Ok("written");
    };
    host.report
        .step("written", format!("{name}: {}", told(&backup.seal)));
    if args.no_verify {
        let path = backup.path.display();
        host.report
            .warn(format!("{path} is not proved: cargo xtask backup verify {path}"));
    } else {
        let proof = prove(host, &handle.engine, &mut backup, &source.origin().image_id)?;
        host.report
            .step("restored", format!("{name}: {}", told_proof(&proof)));
    }
    // The backup is as good without.
    if let Err(error) = take::mark(handle, &source, &backup.seal) {
        host.report.warn(format!(
            "the metrics of {name} will not tell of this backup: {error:#}"
        ));
    }
    host.report.data(&backup.path.display().to_string())?;
    Ok(backup.seal.level())
}

/// Where it is written: as it was said, or in the folder of the image's backups.
fn target(host: &Host, to: Option<&Path>, source: &BackupSource) -> Result<PathBuf> {
    let name = file::name(&source.origin().image, &source.origin().began, &reaper::run_id()?);
    Ok(match to {
        Some(folder) if folder.is_dir() => folder.join(name),
        Some(folder) if folder.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            return Err(failure::usage(format!("there is no folder {}", folder.display())).into());
        }
        Some(file) => std::path::absolute(file)?,
        None => file::folder(host, &source.origin().image).join(name),
    })
}

fn prove(host: &Host, engine: &Engine, backup: &mut Backup, image_id: &ImageId) -> Result<RestoreProof> {
    host.report
        .step("restore", format!("{}, to prove it", backup.path.display()));
    let resources = RunResources {
        engine: engine.clone(),
        runner: host.runner.clone(),
        run: reaper::run_id()?,
        keep: false,
    };
    proof::restore(&resources, backup, image_id)
}

fn verify(args: &BackupVerifyArgs, host: &Host) -> Result<()> {
    let mut backup = Backup::open(&args.file)?;
    if args.bytes {
        backup.check(&host.runner)?;
        host.report.step("whole", args.file.display().to_string());
        return Ok(());
    }
    let selection = ServiceSelection {
        images: Vec::new(),
        engine: args.engine,
    };
    let engine = services::running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    let image = image_for(host, &engine, &backup.seal)?;
    let proof = prove(host, &engine, &mut backup, &image)?;
    host.report.step(
        "restored",
        format!("{}: {}", args.file.display(), told_proof(&proof)),
    );
    Ok(())
}

/// The image that it was taken of; where that is gone, the one that is released now,
/// whose PostgreSQL says by itself where it is of another version.
fn image_for(host: &Host, engine: &Engine, seal: &Seal) -> Result<ImageId> {
    let origin = &seal.backup.origin;
    if engine.image(&host.runner, origin.image_id.as_str())?.is_some() {
        return Ok(origin.image_id.clone());
    }
    let release = format!("hive-{}:latest", origin.image);
    match engine.image(&host.runner, &release)? {
        Some(image) => {
            host.report.warn(format!(
                "the image that the backup was taken of is gone; it is restored with {release}"
            ));
            Ok(image.id().to_owned())
        }
        None => Err(failure::environment(format!(
            "the engine has no image of {} to restore the backup with",
            origin.image
        ))
        .hint(format!(
            "one with PostgreSQL {}: cargo xtask build-images {}",
            seal.backup.major, origin.image
        ))
        .into()),
    }
}

fn list(args: &BackupListArgs, host: &Host) -> Result<()> {
    let mut all = Vec::new();
    for spec in &services::specs(host, &args.images)? {
        all.extend(file::list(&file::folder(host, spec.name.as_str()))?);
    }
    if args.json {
        let backups: Vec<Value> = all.iter().map(|(path, read)| document(path, read)).collect();
        let document = json!({ "schema": 1, "backups": backups });
        return host.report.data(&serde_json::to_string_pretty(&document)?);
    }
    if all.is_empty() {
        let folder = host.backup_dir();
        host.report
            .step("backups", format!("none in {}", folder.display()));
        return Ok(());
    }
    let lines: Vec<String> = all.iter().map(|(path, read)| line(path, read)).collect();
    host.report.data(&lines.join("\n"))
}

fn document(path: &Path, read: &Result<Backup>) -> Value {
    match read {
        Ok(backup) => json!({ "file": path, "level": backup.seal.level(), "seal": backup.seal }),
        Err(error) => json!({ "file": path, "level": "damaged", "error": format!("{error:#}") }),
    }
}

fn line(path: &Path, read: &Result<Backup>) -> String {
    match read {
        Ok(Backup { seal, .. }) => format!(
            "{}  {:<8}  {:>8}  {}",
            clock::shown(&seal.backup.origin.began),
            seal.level(),
            megabytes(seal.size),
            path.display()
        ),
        Err(error) => format!("damaged: {error:#}"),
    }
}

fn prune(args: &BackupPruneArgs, host: &Host) -> Result<()> {
    let mut goes = Vec::new();
    let mut staying = 0;
    for spec in &services::specs(host, &args.images)? {
        let mut read = Vec::new();
        for (_, one) in file::list(&file::folder(host, spec.name.as_str()))? {
            match one {
                Ok(backup) => read.push(backup),
                Err(error) => host.report.warn(format!("{error:#}: it is left alone")),
            }
        }
        let seals: Vec<&Seal> = read.iter().map(|backup| &backup.seal).collect();
        let stays = args.keep.stays(&seals);
        staying += stays.iter().filter(|stays| **stays).count();
        let gone = read.into_iter().zip(stays).filter(|(_, stays)| !stays);
        goes.extend(gone.map(|(backup, _)| backup));
    }
    for backup in &goes {
        host.report.step("goes", line(&backup.path, &Ok(backup.clone())));
    }
    if goes.len() > staying && !args.yes {
        let message = format!("{} would go and {staying} stay: nothing was deleted", goes.len());
        return Err(failure::usage(message).hint("if that is meant: --yes").into());
    }
    for backup in &goes {
        fs_err::remove_file(&backup.path)?;
    }
    host.report
        .step("pruned", format!("{} deleted, {staying} stay", goes.len()));
    Ok(())
}

/// When the last backup of a service that was proved was begun; and whether there
/// is a newer one that was not.
pub(super) fn last_good(host: &Host, spec: &ImageSpec) -> Result<(Option<String>, usize)> {
    let all = file::list(&file::folder(host, spec.name.as_str()))?;
    let read: Vec<&Seal> = all
        .iter()
        .filter_map(|(_, read)| Some(&read.as_ref().ok()?.seal))
        .collect();
    let last = read.iter().rposition(|seal| seal.is_restored());
    let since = last.map_or(read.len(), |last| read.len() - 1 - last);
    Ok((last.map(|last| read[last].backup.origin.began.clone()), since))
}

fn told(seal: &Seal) -> String {
    let (size, full) = (megabytes(seal.size), megabytes(seal.backup.bytes));
    let began = clock::parse(&seal.backup.origin.began);
    let took = began.and_then(|began| SystemTime::now().duration_since(began).ok());
    format!("{size} of {full}, after {}", seconds(took.unwrap_or_default()))
}

fn told_proof(proof: &RestoreProof) -> String {
    let files = match proof.app_files {
        0 => String::new(),
        count => format!(", {count} files of the app compared"),
    };
    let asked = [
        format!("all of {} databases read", proof.databases),
        format!("{} sequences ahead", proof.sequences),
        format!("{} indexes lead to all rows", proof.indexes),
        format!("{} of other kinds to samples", proof.sampled_indexes),
        format!("{} vector indexes asked", proof.vector_indexes),
    ];
    let not_asked = match proof.not_asked.as_slice() {
        [] => String::new(),
        some => format!(", not asked: {}", some.join(", ")),
    };
    let took = seconds(Duration::from_millis(proof.took_ms));
    format!("{}{files}{not_asked}, {took}", asked.join(", "))
}
