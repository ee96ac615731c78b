//! Restores a backup beside what runs, and exchanges the two.
//!
//! A restore that was killed is ended by the next one: done, or as before.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Error, Result};

use crate::exchange::{self, RESTORE};
use crate::facts::BackupKind;
use crate::file::Backup;
use crate::generations::{IDLE, ROOT, VolumeFindings, VolumeJournal, VolumeKeeper, archived, run_in};
use crate::logical::{self, WORK};
use crate::moment::{self, ArchivedStretch, WantedMoment, WayToMoment, choose, reached};
use crate::operation::{self, DataOperation, DataStep, DataWork, START};
use crate::proof;
use crate::seal::Seal;
use definition::identity::ImageId;
use definition::labels::APP_LABEL;
use definition::reference::OwnRepository;
use definition::spec::ImageSpec;
use definition::spec::names::ImageName;
use engine::container::{Container, RunResources};
use failure::FailureKind;
use host::report::Report;
use inputs::clock;
use service::findings::{self, Obstacle};
use service::handle::ServiceHandle;
use service::names::ServiceName;

/// How long a service that runs is waited for until it has archived what is asked for:
/// it looks every five seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// The steps, in their order.
pub const STEPS: [&str; 6] = ["prove", "unpack", "recover", "stop", "exchange", START];

/// The service that gets other data, and what is used for that.
#[derive(Clone, Copy, Debug)]
pub struct RestoreOrder<'a> {
    /// The service whose data it becomes.
    pub handle: &'a ServiceHandle,
    /// What is promised of its image.
    pub spec: &'a ImageSpec,
    /// The image that is to run on the data.
    pub image: &'a ImageId,
    /// Makes what is there for this alone.
    pub resources: &'a RunResources,
    /// Says which step it is.
    pub report: &'a Report,
    /// Where the service's log goes, if it does not work.
    pub state: &'a Path,
    /// Whether an operation that was killed has taken it down.
    pub was_taken_down: bool,
}

impl<'a> RestoreOrder<'a> {
    /// Whether the service is to run at the end.
    pub(crate) fn ran(&self) -> Result<bool> {
        let place = self.handle.place()?;
        // One that ends again and again is why somebody restores.
        Ok(self.was_taken_down || place.own().is_some_and(|seen| seen.condition.is_up()))
    }

    pub(crate) fn work(&self, keeper: &'a VolumeKeeper, journal: VolumeJournal) -> DataWork<'a> {
        DataWork {
            handle: self.handle,
            spec: self.spec,
            report: self.report,
            state: self.state,
            keeper,
            journal,
            stopped: None,
            held: None,
        }
    }
}

/// What a restore tells that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// What ran before, where anything did.
    pub kept: Option<String>,
    /// How long the service was away, where it ran.
    pub away: Option<Duration>,
    /// Whether it runs now; it was away for longer where something killed has taken it down.
    pub runs: bool,
}

/// Whose backup it is, as the user says.
#[derive(Clone, Copy, Debug)]
pub struct RestoredFrom<'a> {
    /// The image that ran on the data.
    pub image: &'a str,
    /// What its app was called then, where it has another name now.
    pub app: Option<&'a str>,
}

/// Makes the data of a service those of a backup, which is of its own image or of one with
/// the same app; with `way` as they were at a moment after it. What ran
/// before is kept on the volume. The caller holds the service's lock.
///
/// # Errors
/// With all that is in the way, before anything is touched; a smoke failure where
/// the backup is no good one, or the app does not get healthy on it: then the data
/// and the container are as before.
pub fn restore(
    order: &RestoreOrder<'_>,
    from: RestoredFrom<'_>,
    backup: &mut Backup,
    way: Option<&WayToMoment>,
) -> Result<RestoreOutcome> {
    let handle = order.handle;
    let name = &handle.name;
    let (engine, runner) = (&handle.engine, &handle.runner);
    let mut found = of_backup(name.as_str(), from.image, backup);
    let had = backup.seal.backup.origin.app.as_deref();
    // Of its own image no backup was ever without a word of the app, or it is of an older tool.
    if from.image != name.as_str() || had.is_some() {
        let image = engine.image(runner, order.image.as_str())?;
        let app = image.as_ref().and_then(|image| image.label(APP_LABEL));
        found.extend(of_app(had, app).filter(|_| from.app.is_none() || from.app != had));
    }
    found.extend(findings::data_elsewhere(handle)?);
    found.extend(findings::users(handle, &name.volume())?);
    if !found.is_empty() {
        return Err(operation::all(name.as_str(), found));
    }
    if engine.volume(runner, &name.volume())?.is_none() {
        engine.create_volume(runner, &name.volume(), &name.volume_labels())?;
    }
    let helper = format!("{name}.restore-{}", std::process::id());
    let scratch = match backup.seal.backup.origin.kind {
        BackupKind::Physical => None,
        BackupKind::Logical => Some(order.resources.volume(&format!("{helper}-scratch"))?),
    };
    // It goes before the scratch volume.
    let mount = scratch.as_ref().map(|volume| format!("{}:{WORK}", volume.name()));
    let archive = way.map(|way| moment::mount(&way.volume));
    let more: Vec<&str> = mount
        .iter()
        .chain(&archive)
        .flat_map(|mount| ["--volume", mount])
        .collect();
    let keeper = VolumeKeeper::start_with(order.resources, &helper, order.image, &name.volume(), &more)?;
    let extensions = backup.seal.backup.extensions();
    let seen = exchange::settled(&keeper, &extensions, false, |journal| {
        order.work(&keeper, journal)
    })?;
    let found = of_volume(name, backup, &seen);
    if !found.is_empty() {
        return Err(operation::all(name.as_str(), found));
    }
    for line in backup.seal.backup.missing_secrets(name.as_str(), &seen.secrets) {
        order.report.warn(format!("{name}: {line}"));
    }
    let journal = VolumeJournal {
        file: backup.path.display().to_string(),
        ..VolumeJournal::begun(RESTORE, &id(backup), order.ran()?)
    };
    let work = order.work(&keeper, journal);
    let mut restore = Restore {
        order,
        backup,
        way,
        work,
    };
    operation::run(&mut restore)?;
    restore.outcome()
}

/// Chooses among backups of the image `from`, and looks into its archive. A service that
/// runs is waited for until it has archived the moment.
///
/// # Errors
/// When the moment cannot be reached, with what can be.
pub fn way(
    order: &RestoreOrder<'_>,
    from: &str,
    wanted: &WantedMoment,
    backups: &[Backup],
) -> Result<(usize, WayToMoment)> {
    let shown = wanted.shown();
    if wanted.at > SystemTime::now() {
        return Err(failure::usage(format!("{shown} has not come yet")).into());
    }
    let handle = order.handle;
    let image = ImageName::parse(from).map_err(failure::usage)?;
    let volume = ServiceName::of(&image).archive();
    if handle.engine.volume(&handle.runner, &volume)?.is_none() {
        let missing = format!("there is no volume {volume}: nothing was archived of {from}");
        let hint = format!("archive from now on: cargo xtask up {from} --archive");
        return Err(failure::usage(missing).hint(hint).into());
    }
    let looker = looker(order, &volume)?;
    let seals: Vec<&Seal> = backups.iter().map(|backup| &backup.seal).collect();
    let runs = order.ran()?;
    let began = SystemTime::now();
    loop {
        let stretches = stretches(&looker)?;
        if let Some((backup, stretch)) = choose(&seals, &stretches, wanted.at) {
            let (stretch, at) = (stretch.name.clone(), shown);
            return Ok((backup, WayToMoment { volume, stretch, at }));
        }
        let goes_on = stretches.last().is_some_and(|last| {
            let ended = SystemTime::now().duration_since(last.until());
            wanted.at > last.until() && ended.is_ok_and(|ended| ended < PATIENCE)
        });
        if !runs || !goes_on || began.elapsed().is_ok_and(|since| since > PATIENCE) {
            let message = format!("{shown} cannot be reached: {}", reached(&seals, &stretches));
            return Err(failure::usage(message).into());
        }
        handle.runner.sleep(Duration::from_secs(1))?;
    }
}

/// A container that sees the archive and changes nothing in it.
fn looker(order: &RestoreOrder<'_>, volume: &str) -> Result<Container> {
    let name = format!("{}.archive-{}", order.handle.name, std::process::id());
    let mount = moment::mount(volume);
    let options = [&IDLE[..], &["--user", ROOT, "--volume", &mount]];
    order
        .resources
        .start(&name, order.image.as_str(), &options.concat(), &["infinity"])
}

fn stretches(looker: &Container) -> Result<Vec<ArchivedStretch>> {
    let said = run_in(looker, &[], &archived())?;
    serde_json::from_str(&said).context("read what the archive says of itself")
}

/// Sorts by time, and no two are alike.
fn id(backup: &Backup) -> String {
    let now = clock::stamp(SystemTime::now());
    format!("{now}-{}", &backup.seal.sha256[..8])
}

/// What the backup itself says.
fn of_backup(name: &str, from: &str, backup: &Backup) -> Vec<Obstacle> {
    let is_of = &backup.seal.backup.origin.image;
    let mut found = Vec::new();
    if is_of != from {
        let file = backup.path.display();
        let elsewhere = if is_of == name {
            String::new()
        } else {
            format!(" --as {name}")
        };
        let hint = format!("if that is meant: cargo xtask restore {is_of} {file}{elsewhere}");
        found.push(Obstacle::usage(format!("the backup is of image {is_of}")).hint(hint));
    }
    if let crate::seal::ProofLevel::Refused { why, .. } = &backup.seal.proof {
        let again = format!("look again: cargo xtask backup verify {}", backup.path.display());
        found.push(Obstacle::usage(format!("the backup is no good one: {why}")).hint(again));
    }
    found
}

/// Another app's migrations would work on tables that it does not know.
fn of_app(had: Option<&str>, has: Option<&str>) -> Option<Obstacle> {
    let (had, has) = (
        had.unwrap_or("none"),
        has.filter(|app| !app.is_empty()).unwrap_or("none"),
    );
    let message = format!("the backup is of the app {had}, the image has {has}");
    let hint = format!("if it is the same app under another name: --app-was {had}");
    (had != has).then(|| Obstacle::usage(message).hint(hint))
}

/// What the image and the volume's disk say.
fn of_volume(name: &ServiceName, backup: &Backup, seen: &VolumeFindings) -> Vec<Obstacle> {
    let facts = &backup.seal.backup;
    let mut found = Vec::new();
    let (has, needs) = (facts.major, seen.major);
    let (is_readable, also) = match facts.origin.kind {
        BackupKind::Physical => (
            has == needs,
            "; a dump goes to a newer one, too: cargo xtask backup --logical",
        ),
        BackupKind::Logical => (has <= needs, " or newer"),
    };
    if !is_readable {
        let hint = format!("restore it with an image of PostgreSQL {has}{also}");
        found.push(
            Obstacle::environment(format!(
                "the backup is of PostgreSQL {has}, the image has {needs}"
            ))
            .hint(hint),
        );
    }
    if !seen.missing_extensions.is_empty() {
        let missing = seen.missing_extensions.join(", ");
        found.push(
            Obstacle::environment(format!("the image has no extension {missing}"))
                .hint("add its package to the spec's `packages` and build the image"),
        );
    }
    let files = seen.free_files.unwrap_or(u64::MAX);
    let copies = match facts.origin.kind {
        BackupKind::Physical => 1,
        BackupKind::Logical => logical::COPIES,
    };
    if let Some(want) = proof::want_of_room(seen.free_bytes, files, &facts.times(copies)) {
        let mut want = Obstacle::environment(format!("the disk of volume {} has {want}", name.volume()));
        if let Some(oldest) = seen.generations.first() {
            want = want.hint(format!(
                "data from before are still there; into a file: cargo xtask backup {name} --generation {oldest}; \
                 to delete them: cargo xtask restore {name} --forget {oldest}"
            ));
        }
        found.push(want);
    }
    found
}

/// The steps of one restore.
struct Restore<'a> {
    order: &'a RestoreOrder<'a>,
    backup: &'a mut Backup,
    way: Option<&'a WayToMoment>,
    work: DataWork<'a>,
}

impl<'a> DataOperation<'a> for Restore<'a> {
    fn steps(&self) -> Vec<DataStep<Self>> {
        let mut all = vec![
            DataStep::beside(STEPS[0], Self::prove),
            DataStep::beside(STEPS[1], Self::unpack),
            DataStep::beside(STEPS[2], Self::recover),
        ];
        all.extend(exchange::steps(&self.work));
        all
    }

    fn work(&self) -> &DataWork<'a> {
        &self.work
    }

    fn work_mut(&mut self) -> &mut DataWork<'a> {
        &mut self.work
    }

    fn stays(&self, step: &'static str, error: &Error) -> Option<&'static str> {
        let stays = step == START && failure::kind(error) == FailureKind::Interrupted;
        stays.then_some("the data are those of the backup; it was not waited for the app")
    }

    fn failed(&self, step: &'static str, error: Error, undone: Result<()>) -> Error {
        match (undone, step == START) {
            (Ok(()), false) => error,
            (Ok(()), true) => {
                let name = &self.work.handle.name;
                let message = format!(
                    "{name} does not work on the backup; the data are as before, and what was restored is kept as"
                );
                error.context(self.work.taken_back(FailureKind::Smoke, &message))
            }
            (Err(also), false) => error.context(format!("the data are as before, and yet: {also:#}")),
            (Err(also), true) => {
                error.context(format!("nor could the data before be brought back: {also:#}"))
            }
        }
    }
}

/// All but the last two are done while the service works.
impl Restore<'_> {
    fn is_of_another(&self) -> bool {
        self.backup.seal.backup.origin.image != self.work.handle.name.as_str()
    }

    fn kind(&self) -> BackupKind {
        self.backup.seal.backup.origin.kind
    }

    fn prove(&mut self) -> Result<()> {
        if self.backup.seal.is_restored() {
            // Of others it is seen while they are unpacked.
            match self.kind() == BackupKind::Logical || !self.backup.is_plain() {
                true => self.backup.check(&self.work.handle.runner, self.work.report),
                false => Ok(()),
            }
        } else {
            let RestoreOrder {
                resources,
                report,
                image,
                ..
            } = *self.order;
            proof::restore(resources, report, self.backup, image, None).map(drop)
        }
    }

    fn unpack(&mut self) -> Result<()> {
        let id = &self.work.journal.id;
        if self.kind() == BackupKind::Logical {
            self.work.settle()?;
            return logical::restore(self.work.keeper, self.backup, id, self.work.report).map(drop);
        }
        self.work.waits_for("begin", &[id])?;
        let folder = format!("new-{id}.part");
        self.work.keeper.unpack(self.backup, &folder, self.work.report)
    }

    fn recover(&mut self) -> Result<()> {
        if self.kind() == BackupKind::Logical {
            // Its server has been shut down, and all of it is this image's.
            let args = [self.work.journal.id.as_str(), "{}"];
            return self.work.waits_for("ready", &args).map(drop);
        }
        let mut args = vec![self.work.journal.id.as_str()];
        if let Some(way) = self.way {
            args.extend([way.stretch.as_str(), &way.at]);
        }
        if self.is_of_another() {
            args.push("of another image");
        }
        let verb = if self.way.is_some() {
            "recover_at"
        } else {
            "recover"
        };
        let recovered = self.work.waits_for(verb, &args);
        for line in recovered.context("make the restored data ready")?.lines() {
            self.work
                .report
                .warn(format!("{}: {line}", self.work.handle.name));
        }
        Ok(())
    }

    fn outcome(&self) -> Result<RestoreOutcome> {
        let away = self.work.away();
        self.work.finish()?;
        let kept = self.work.look()?.generations;
        let name = format!("before-{}", self.work.journal.id);
        Ok(RestoreOutcome {
            kept: kept.into_iter().find(|kept| *kept == name),
            away,
            runs: self.work.journal.service_ran,
        })
    }
}

/// Removes a generation that somebody has named.
///
/// # Errors
/// When there is none of that name, with those that there are.
pub fn forget(order: &RestoreOrder<'_>, generation: &str) -> Result<()> {
    let handle = order.handle;
    let name = &handle.name;
    let helper = format!("{name}.forget-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, order.image, &name.volume())?;
    let seen = keeper.look(&[])?;
    if let Some(journal) = seen.journal {
        // Names are those of before it, or after.
        return Err(journal.refused(name.as_str()));
    }
    seen.has(&name.volume(), generation)?;
    keeper.forget(generation)?;
    if keeper.look(&[])?.kept.is_empty() {
        // The image of the last way back had this name so that it was not pruned.
        let tag = OwnRepository::Kept.tagged(name);
        handle.engine.untag_unused(&handle.runner, &tag)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{ProofLevel, sample};
    use definition::spec::names::ImageName;

    fn backup(proof: ProofLevel) -> Backup {
        Backup {
            path: "b.tar.zst".into(),
            seal: sample(proof),
            identity: None,
        }
    }

    #[test]
    fn all_that_is_in_the_way_is_told_at_once() {
        let good = backup(ProofLevel::Written);
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        assert!(of_volume(&name, &good, &VolumeFindings::sample()).is_empty());
        let newer = VolumeFindings {
            major: 18,
            ..VolumeFindings::sample()
        };
        let older = VolumeFindings {
            major: 16,
            ..VolumeFindings::sample()
        };
        let mut dump = good.clone();
        dump.seal.backup.origin.kind = BackupKind::Logical;
        assert!(of_volume(&name, &dump, &newer).is_empty());
        assert_eq!(of_volume(&name, &dump, &older).len(), 1, "no older one reads it");
        let bad = VolumeFindings {
            major: 18,
            missing_extensions: vec!["postgis".to_owned()],
            free_bytes: 1,
            free_files: Some(1),
            generations: vec!["before-1".to_owned()],
            ..VolumeFindings::sample()
        };
        let told = of_volume(&name, &good, &bad);
        let messages: Vec<&str> = told.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert_eq!(messages[0], "the backup is of PostgreSQL 17, the image has 18");
        assert_eq!(messages[1], "the image has no extension postgis");
        assert!(messages[2].contains("room for 1 more files"), "{}", messages[2]);
        assert!(
            told[2]
                .hint
                .as_ref()
                .unwrap()
                .ends_with("restore genie --forget before-1")
        );
    }

    #[test]
    fn another_images_and_a_bad_backup_are_refused() {
        let good = backup(ProofLevel::Written);
        assert!(of_backup("genie", "genie", &good).is_empty());
        assert!(of_backup("copy", "genie", &good).is_empty());
        let refused = ProofLevel::Refused {
            at: String::new(),
            why: "pg_amcheck: broken".to_owned(),
        };
        let bad = backup(refused);
        let told = of_backup("agent", "agent", &bad);
        assert_eq!(told[0].message, "the backup is of image genie");
        let hint = |told: &[Obstacle]| told[0].hint.clone().unwrap();
        let meant = "if that is meant: cargo xtask restore genie b.tar.zst";
        assert_eq!(hint(&told), format!("{meant} --as agent"));
        assert_eq!(hint(&of_backup("genie", "agent", &good)), meant);
        assert_eq!(told[1].message, "the backup is no good one: pg_amcheck: broken");
    }

    #[test]
    fn another_app_is_refused_by_name() {
        assert!(of_app(Some("shop"), Some("shop")).is_none());
        // A database alone, whose images have no app.
        assert!(of_app(None, Some("")).is_none() && of_app(None, None).is_none());
        let told = of_app(Some("shop"), Some("")).unwrap();
        assert_eq!(told.message, "the backup is of the app shop, the image has none");
        let hint = "if it is the same app under another name: --app-was shop";
        assert_eq!(told.hint.as_deref(), Some(hint));
    }
}
