//! `cargo xtask backup`: backups of services, each proved by restoring it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde_json::{Value, json};

use super::services;
use crate::cli::backup::{BackupArgs, BackupListArgs, BackupPruneArgs, BackupVerb, BackupVerifyArgs};
use crate::cli::service::ServiceSelection;
use ::engine::container::RunResources;
use ::engine::{Engine, choose, reaper};
use ::service::handle::ServiceHandle;
use ::service::trail::{self, TrailEntry};
use ::service::wanted::{ServiceOptions, WantedContainer};
use ::service::{findings, next};
use data::age::Recipient;
use data::facts::BackupKind;
use data::file::{self, Backup};
use data::kept::ServedGeneration;
use data::old_log::{self, OldLog};
use data::rehearsal::TrialOrder;
use data::retention;
use data::seal::{LoadedDump, RestoreProof, Seal};
use data::source::BackupSource;
use data::take_encrypted::EncryptedBackup;
use data::{proof, take, take_encrypted};
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use host::Host;
use host::report::{megabytes, seconds, some_of};
use inputs::clock;
use smoke::own_checks;

/// So many files are told by name.
const MOST_NAMES: usize = 10;

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
    let specs = services::with_database(host, &selection.images, "backup")?;
    let recipient = args.encrypt.as_deref();
    let recipient = recipient
        .map(|text| Recipient::find(&host.runner, text))
        .transpose()?;
    let engine = services::running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let mut entry = TrailEntry::begun("backup", &handle.name);
        let order = BackupOrder {
            args,
            host,
            spec,
            handle: &handle,
            recipient: recipient.as_ref(),
        };
        let done = order.carry_out(&mut entry);
        let outcome = done.as_ref().copied().unwrap_or_default();
        trail::write(&host.state_dir(), &host.report, &entry.ended(outcome, &done));
        done?;
    }
    Ok(())
}

/// A service whose data are to be backed up, and how.
struct BackupOrder<'a> {
    args: &'a BackupArgs,
    host: &'a Host,
    spec: &'a ImageSpec,
    handle: &'a ServiceHandle,
    recipient: Option<&'a Recipient>,
}

/// What is there once the container need not run any longer.
enum TakenBackup {
    Plain(Box<Backup>),
    Encrypted(Box<EncryptedBackup>),
}

impl BackupOrder<'_> {
    /// How far it was proved.
    fn carry_out(&self, entry: &mut TrailEntry) -> Result<&'static str> {
        let (host, name) = (self.host, self.handle.name.as_str());
        let (source, taken) = {
            // Until it is written nobody stops or replaces the container.
            let _lock = self.handle.lock(host)?;
            let kept = self.kept()?;
            let source = match &kept {
                Some(kept) => kept.source(self.handle)?,
                None => BackupSource::find(self.handle, self.args.container.as_deref())?,
            };
            let source = source.with_kind(if self.args.logical {
                BackupKind::Logical
            } else {
                BackupKind::Physical
            });
            entry.image = Some(source.origin().image_id.clone());
            let of = match &source.origin().generation {
                Some(generation) => format!("{name}: {generation}"),
                None => format!("{name}: container {}", source.container()),
            };
            host.report.step("backup", of);
            let taken = match &self.args.to {
                Some(to) if to == Path::new("-") => {
                    let seal = self.to_stdout(&source)?;
                    host.report
                        .step("written", format!("{name}: {}, not proved", told(&seal)));
                    self.tell_left_out(&source, &seal);
                    return Ok("written");
                }
                to => self.to_file(&source, &self.target(to.as_deref(), &source)?)?,
            };
            (source, taken)
        };
        let backup = self.proved(taken, &source.origin().image_id)?;
        self.tell_left_out(&source, &backup.seal);
        // The backup is as good without. One of data that do not run is none of the service's.
        if source.origin().generation.is_none()
            && let Err(error) = take::mark(self.handle, &source, &backup.seal)
        {
            host.report.warn(format!(
                "the metrics of {name} will not tell of this backup: {error:#}"
            ));
        }
        host.report.data(&backup.path.display().to_string())?;
        Ok(backup.seal.level())
    }

    /// A copy of the data that were put aside, where the backup is to be of these.
    fn kept(&self) -> Result<Option<ServedGeneration>> {
        let Some(generation) = &self.args.generation else {
            return Ok(None);
        };
        let host = self.host;
        let resources = services::resources(host, &self.handle.engine)?;
        let own = services::image_of(host, self.handle, self.spec)?;
        ServedGeneration::start(self.handle, &resources, &host.report, &own, generation).map(Some)
    }

    fn tell_left_out(&self, source: &BackupSource, seal: &Seal) {
        // Where a generation is served that is gone by now.
        let container = match &source.origin().generation {
            Some(_) => self.handle.name.as_str(),
            None => source.container(),
        };
        for line in seal.backup.not_in_it(container) {
            let name = &self.handle.name;
            self.host.report.warn(format!("{name}: {line}"));
        }
    }

    fn to_stdout(&self, source: &BackupSource) -> Result<Seal> {
        match self.recipient {
            None => take::to_stdout(self.handle, source, &self.host.report),
            Some(to) => take_encrypted::to_stdout(self.handle, source, &self.host.report, to),
        }
    }

    fn to_file(&self, source: &BackupSource, target: &Path) -> Result<TakenBackup> {
        let Some(recipient) = self.recipient else {
            return take::to_file(self.handle, source, target, &self.host.report)
                .map(|backup| TakenBackup::Plain(Box::new(backup)));
        };
        let resources = services::resources(self.host, &self.handle.engine)?;
        let copies = if self.args.boot { 2 } else { 1 };
        let proves = (!self.args.no_verify).then_some((&resources, copies));
        let report = &self.host.report;
        take_encrypted::to_file(self.handle, source, target, report, recipient, proves)
            .map(|encrypted| TakenBackup::Encrypted(Box::new(encrypted)))
    }

    /// Looked at, unless that was not wanted.
    fn proved(&self, taken: TakenBackup, image_id: &ImageId) -> Result<Backup> {
        let (host, name) = (self.host, self.handle.name.as_str());
        let prepare = || BackupTrial::prepare(host, self.handle, self.spec, image_id);
        let trial = self.args.boot.then(prepare).transpose()?;
        let trial = trial.as_ref().map(BackupTrial::order);
        let (backup, proof) = match taken {
            TakenBackup::Plain(backup) => {
                let mut backup = *backup;
                host.report
                    .step("written", format!("{name}: {}", told(&backup.seal)));
                let proves = !self.args.no_verify;
                let proof =
                    proves.then(|| prove(host, &self.handle.engine, &mut backup, image_id, trial.as_ref()));
                let proof = proof.transpose()?;
                (backup, proof)
            }
            TakenBackup::Encrypted(encrypted) => {
                host.report
                    .step("encrypted", format!("{name}: {}", told(&encrypted.backup.seal)));
                encrypted.prove(trial.as_ref())?
            }
        };
        match proof {
            Some(proof) => tell_proof(host, name, &backup.seal, &proof),
            None => {
                let path = backup.path.display();
                host.report
                    .warn(format!("{path} is not proved: cargo xtask backup verify {path}"));
            }
        }
        Ok(backup)
    }

    /// Where it is written: as it was said, or in the folder of the image's backups.
    fn target(&self, to: Option<&Path>, source: &BackupSource) -> Result<PathBuf> {
        let origin = source.origin();
        let mut name = file::name(origin, &reaper::run_id()?);
        if self.recipient.is_some() {
            name += file::ENCRYPTED;
        }
        Ok(match to {
            Some(folder) if folder.is_dir() => folder.join(name),
            Some(folder) if folder.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                return Err(failure::usage(format!("there is no folder {}", folder.display())).into());
            }
            Some(file) => std::path::absolute(file)?,
            None => file::folder(self.host, &origin.image).join(name),
        })
    }
}

/// What starts the image of a backup on a copy of it.
struct BackupTrial<'a> {
    host: &'a Host,
    handle: &'a ServiceHandle,
    spec: &'a ImageSpec,
    wanted: WantedContainer,
    resources: RunResources,
    state: PathBuf,
}

impl<'a> BackupTrial<'a> {
    /// With the variables that the service's container has, where there is one.
    fn prepare(
        host: &'a Host,
        handle: &'a ServiceHandle,
        spec: &'a ImageSpec,
        image_id: &ImageId,
    ) -> Result<Self> {
        let Some(image) = handle.engine.image(&host.runner, image_id.as_str())? else {
            return Err(failure::environment(format!("image {} is gone", image_id.short())).into());
        };
        let options = match handle.place()?.own() {
            Some(seen) => next::options(handle, seen)?,
            None => ServiceOptions::default(),
        };
        let wanted = next::wanted(handle, &image, &options).map_err(|found| {
            let name = handle.name.to_string();
            let found: Vec<_> = found.into_iter().map(|one| (name.clone(), one)).collect();
            findings::failure(&found)
        })?;
        Ok(Self {
            host,
            handle,
            spec,
            wanted,
            resources: services::resources(host, &handle.engine)?,
            state: host.state_dir(),
        })
    }

    fn order(&self) -> TrialOrder<'_> {
        TrialOrder {
            handle: self.handle,
            spec: self.spec,
            wanted: &self.wanted,
            checks: &own_checks::unmet,
            resources: &self.resources,
            report: &self.host.report,
            state: &self.state,
        }
    }
}

fn prove(
    host: &Host,
    engine: &Engine,
    backup: &mut Backup,
    image_id: &ImageId,
    trial: Option<&TrialOrder<'_>>,
) -> Result<RestoreProof> {
    host.report
        .step("restore", format!("{}, to prove it", backup.path.display()));
    let resources = services::resources(host, engine)?;
    proof::restore(&resources, &host.report, backup, image_id, trial)
}

fn verify(args: &BackupVerifyArgs, host: &Host) -> Result<()> {
    if args.bytes {
        Backup::open(&args.file)?.check(&host.runner, &host.report)?;
        host.report.step("whole", args.file.display().to_string());
        return Ok(());
    }
    let mut backup = Backup::open_with(&args.file, args.identity.as_deref(), &host.runner, &host.report)?;
    let selection = ServiceSelection {
        images: Vec::new(),
        engine: args.engine,
    };
    let engine = services::running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    let image = image_for(host, &engine, &backup.seal)?;
    let names = [backup.seal.backup.origin.image.clone()];
    let proof = if args.boot {
        let spec = &services::specs(host, &names)?[0];
        let handle = services::handle(host, &engine, spec);
        let trial = BackupTrial::prepare(host, &handle, spec, &image)?;
        prove(host, &engine, &mut backup, &image, Some(&trial.order()))?
    } else {
        prove(host, &engine, &mut backup, &image, None)?
    };
    tell_proof(host, &args.file.display().to_string(), &backup.seal, &proof);
    Ok(())
}

fn tell_proof(host: &Host, what: &str, seal: &Seal, proof: &RestoreProof) {
    host.report
        .step(seal.level(), format!("{what}: {}", told_proof(proof)));
    for line in proof.warnings() {
        host.report.warn(format!("{what}: {line}"));
    }
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
        Ok(Backup { seal, .. }) => {
            let origin = &seal.backup.origin;
            let of = origin.generation.as_ref();
            format!(
                "{}  {:<8}  {:<8}  {:>8}  {}{}",
                clock::shown(&origin.began),
                origin.kind.word(),
                seal.level(),
                megabytes(seal.size),
                path.display(),
                of.map_or(String::new(), |of| format!("  of {of}"))
            )
        }
        Err(error) => format!("damaged: {error:#}"),
    }
}

fn prune(args: &BackupPruneArgs, host: &Host) -> Result<()> {
    let specs = services::specs(host, &args.images)?;
    let mut goes = Vec::new();
    let mut staying = Vec::new();
    let mut count = 0;
    for spec in &specs {
        let (mut read, mut others, mut is_known) = (Vec::new(), Vec::new(), true);
        for (_, one) in file::list(&file::folder(host, spec.name.as_str()))? {
            match one {
                Ok(backup) if backup.is_of_series(spec.name.as_str()) => read.push(backup),
                Ok(backup) => others.push(backup),
                Err(error) => {
                    is_known = false;
                    host.report.warn(format!("{error:#}: it is left alone"));
                }
            }
        }
        if !others.is_empty() {
            let names: Vec<String> = others.iter().filter_map(name).collect();
            let names = some_of(&names, MOST_NAMES);
            host.report.step(
                "others",
                format!("{}: called otherwise, and left alone: {names}", spec.name),
            );
        }
        let seals: Vec<&Seal> = read.iter().map(|backup| &backup.seal).collect();
        let stays = args.keep.stays(&seals);
        let mut stay = Vec::new();
        for (backup, stays) in read.into_iter().zip(stays) {
            if stays { &mut stay } else { &mut goes }.push(backup);
        }
        count += stay.len();
        // The log that they need is not what no backup needs.
        stay.extend(others);
        // Nor is that of one which cannot be read.
        staying.push((spec, is_known.then_some(stay)));
    }
    for backup in &goes {
        host.report.step("goes", line(&backup.path, &Ok(backup.clone())));
    }
    if goes.len() > count && !args.yes {
        let message = format!("{} would go and {count} stay: nothing was deleted", goes.len());
        return Err(failure::usage(message).hint("if that is meant: --yes").into());
    }
    for backup in &goes {
        backup.remove()?;
    }
    host.report
        .step("pruned", format!("{} deleted, {count} stay", goes.len()));
    prune_logs(args, host, &staying)
}

fn name(backup: &Backup) -> Option<String> {
    Some(backup.path.file_name()?.to_string_lossy().into_owned())
}

/// What no backup needs of the archives, where there is an engine that has some.
fn prune_logs(
    args: &BackupPruneArgs,
    host: &Host,
    staying: &[(&ImageSpec, Option<Vec<Backup>>)],
) -> Result<()> {
    let Some(engine) = choose::find(host, args.engine.engine)? else {
        return Ok(());
    };
    super::reap(host, &engine)?;
    let resources = services::resources(host, &engine)?;
    for (spec, stay) in staying {
        let handle = services::handle(host, &engine, spec);
        let Some(stay) = stay else {
            if handle
                .engine
                .volume(&handle.runner, &handle.name.archive())?
                .is_some()
            {
                let message = format!(
                    "{}: all of its log stays, since not each backup can be read",
                    spec.name
                );
                host.report.warn(message);
            }
            continue;
        };
        let stay: Vec<&Backup> = stay.iter().collect();
        let image = || services::image_of(host, &handle, spec);
        match old_log::release(&handle, &resources, image, &stay) {
            Ok(None) => {}
            Ok(Some(OldLog { volume, bytes })) => {
                let bytes = megabytes(bytes);
                host.report.step(
                    "log",
                    format!(
                        "{}: no backup needs {bytes} in volume {volume}: its container removes it",
                        spec.name
                    ),
                );
            }
            // The backups are as they should be.
            Err(error) => host
                .report
                .warn(format!("the archive of {} stays as it is: {error:#}", spec.name)),
        }
    }
    Ok(())
}

/// The backups of a service's data that are there, of the cluster that runs.
pub(super) fn of_service(host: &Host, spec: &ImageSpec, cluster: Option<&str>) -> Result<Vec<Seal>> {
    let all = file::list(&file::folder(host, spec.name.as_str()))?;
    let read = all.into_iter().filter_map(|(_, read)| Some(read.ok()?.seal));
    Ok(retention::of_what_runs(read.collect(), cluster))
}

/// The last of them that was proved, and how many were begun since then that were not.
pub(super) fn last_good(backups: &[Seal]) -> (Option<&Seal>, usize) {
    let last = backups.iter().rposition(Seal::is_restored);
    let since = last.map_or(backups.len(), |last| backups.len() - 1 - last);
    (last.map(|last| &backups[last]), since)
}

/// The first moment that is reached from one of them that was begun since another moment, of
/// those that may be good.
pub(super) fn first_since(backups: &[Seal], since: SystemTime) -> Option<String> {
    let mut good = backups
        .iter()
        .filter(|seal| seal.level() != "refused" && seal.backup.origin.kind == BackupKind::Physical);
    let first = good.find(|seal| clock::parse(&seal.backup.origin.began).is_some_and(|began| began >= since));
    first.map(|seal| seal.first_moment().to_owned())
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
    let boot = proof.boot.as_ref().map_or(String::new(), |boot| {
        let (ready, checks) = (seconds(Duration::from_millis(boot.ready_ms)), boot.checks);
        format!("; the image works on it: healthy after {ready}, {checks} checks of the spec are met")
    });
    let loaded = proof.loaded.as_ref().map_or(String::new(), |loaded| {
        let LoadedDump { tables, rows } = loaded;
        format!("loaded, {tables} tables with {rows} rows as dumped; ")
    });
    let took = seconds(Duration::from_millis(proof.took_ms));
    format!("{loaded}{}{files}{not_asked}, {took}{boot}", asked.join(", "))
}
