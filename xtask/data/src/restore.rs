//! Restores a backup beside what runs, and exchanges the two.
//!
//! An operation on data is a list of named steps. Before each the volume's journal
//! says which one comes. What a step has done can be told from the names on the
//! volume, so that a killed operation is ended by the next one: done, or as before.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::file::Backup;
use crate::generations::{VolumeFindings, VolumeJournal, VolumeKeeper};
use crate::proof;
use container::boot::MOUNT;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use engine::container::RunResources;
use failure::FailureKind;
use host::report::{Report, seconds};
use inputs::clock;
use service::findings::{self, Obstacle};
use service::handle::ServiceHandle;
use service::restart;
use service::seen::ContainerPlace;

/// The steps, in their order.
pub const STEPS: [&str; 6] = ["prove", "unpack", "recover", "stop", "exchange", "start"];

/// Who restores what.
#[derive(Debug)]
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
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// What ran before, where anything did.
    pub kept: Option<String>,
    /// How long the service was away, where it ran.
    pub away: Option<Duration>,
}

/// Makes the data of a service those of a backup. What ran before is kept on the
/// volume. The caller holds the service's lock.
///
/// # Errors
/// With all that is in the way, before anything is touched; a smoke failure where
/// the backup is no good one, or the app does not get healthy on it: then the data
/// and the container are as before.
pub fn restore(order: &RestoreOrder<'_>, backup: &mut Backup) -> Result<RestoreOutcome> {
    let handle = order.handle;
    let name = &handle.name;
    let (engine, runner) = (&handle.engine, &handle.runner);
    let place = handle.place()?;
    let mut found = of_backup(name.as_str(), backup);
    found.extend(elsewhere(handle)?);
    found.extend(findings::users(handle, &name.volume())?);
    if !found.is_empty() {
        return Err(all(name.as_str(), found));
    }
    if engine.volume(runner, &name.volume())?.is_none() {
        engine.create_volume(runner, &name.volume(), &name.volume_labels())?;
    }
    let helper = format!("{name}.restore-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, order.image, &name.volume())?;
    let databases = &backup.seal.backup.databases;
    let extensions = databases.iter().flat_map(|database| database.extensions.keys());
    let seen = keeper.look(&extensions.map(String::as_str).collect::<Vec<_>>())?;
    let found = of_volume(&name.volume(), backup, &seen);
    if !found.is_empty() {
        return Err(all(name.as_str(), found));
    }
    let ran = place.own().is_some_and(|seen| seen.condition.runs());
    let mut work = Work {
        order,
        keeper: &keeper,
        journal: VolumeJournal {
            file: backup.path.display().to_string(),
            ..VolumeJournal::begun("restore", &id(backup), ran)
        },
    };
    if let Some(before) = &seen.journal {
        let (file, step) = (&before.file, &before.step);
        order.report.step(
            "resumed",
            format!("{name}: a restore of {file} was killed at {step:?}"),
        );
        // Where somebody has taken it down since, there is nothing to start.
        work.journal.service_ran |= before.service_ran && place.own().is_some();
    }
    work.run(backup)
}

/// Sorts by time, and no two are alike.
fn id(backup: &Backup) -> String {
    let now = clock::stamp(SystemTime::now());
    format!("{now}-{}", &backup.seal.sha256[..8])
}

fn all(name: &str, found: Vec<Obstacle>) -> anyhow::Error {
    let found: Vec<(String, Obstacle)> = found.into_iter().map(|one| (name.to_owned(), one)).collect();
    findings::failure(&found).into()
}

/// What the backup itself says.
fn of_backup(name: &str, backup: &Backup) -> Vec<Obstacle> {
    let is_of = &backup.seal.backup.origin.image;
    let mut found = Vec::new();
    if is_of != name {
        found.push(Obstacle::usage(format!("the backup is of image {is_of}")));
    }
    if let crate::seal::ProofLevel::Refused { why, .. } = &backup.seal.proof {
        let again = format!("look again: cargo xtask backup verify {}", backup.path.display());
        found.push(Obstacle::usage(format!("the backup is no good one: {why}")).hint(again));
    }
    found
}

/// A container of the service whose data are not in its volume.
fn elsewhere(handle: &ServiceHandle) -> Result<Option<Obstacle>> {
    let inspect = handle.engine.container(&handle.runner, handle.name.as_str())?;
    let mounts = inspect
        .as_ref()
        .and_then(|inspect| inspect.get("Mounts")?.as_array());
    let mount = mounts
        .into_iter()
        .flatten()
        .find(|mount| mount.get("Destination").and_then(Value::as_str) == Some(MOUNT));
    let volume = handle.name.volume();
    let is_there = |mount: &Value| mount.get("Name").and_then(Value::as_str) == Some(&volume);
    Ok(mount.filter(|mount| !is_there(mount)).map(|mount| {
        let place = mount.get("Source").and_then(Value::as_str).unwrap_or_default();
        Obstacle::environment(format!(
            "the data of container {} lie in {place}, not in volume {volume}",
            handle.name
        ))
    }))
}

/// What the image and the volume's disk say.
fn of_volume(volume: &str, backup: &Backup, seen: &VolumeFindings) -> Vec<Obstacle> {
    let facts = &backup.seal.backup;
    let mut found = Vec::new();
    if facts.major != seen.major {
        let (has, needs) = (facts.major, seen.major);
        let hint = format!("restore it with an image of PostgreSQL {has}, or move the data by pg_dump");
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
    if let Some(want) = proof::want_of_room(seen.free_bytes, files, facts) {
        let mut want = Obstacle::environment(format!("the disk of volume {volume} has {want}"));
        if let Some(oldest) = seen.generations.first() {
            want = want.hint(format!(
                "data from before are still there: cargo xtask restore {} --forget {oldest}",
                facts.origin.image
            ));
        }
        found.push(want);
    }
    found
}

/// The steps on one volume.
struct Work<'a> {
    order: &'a RestoreOrder<'a>,
    keeper: &'a VolumeKeeper,
    journal: VolumeJournal,
}

impl Work<'_> {
    fn run(&mut self, backup: &mut Backup) -> Result<RestoreOutcome> {
        let id = self.journal.id.clone();
        let mut stopped = None;
        let prepared = self
            .prepare(backup, &id)
            .and_then(|()| self.stop(&mut stopped))
            .and_then(|()| self.step("exchange"))
            .and_then(|()| self.keeper.for_cleanup().does("exchange", &[&id]));
        if let Err(error) = prepared {
            return Err(self.undo(error));
        }
        if self.journal.service_ran {
            self.step("start")?;
            if let Err(error) = self.start() {
                return Err(self.go_back(error, &id));
            }
        }
        let away = stopped.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        self.keeper.for_cleanup().does("finish", &[])?;
        let kept = self.keeper.for_cleanup().look(&[])?.generations;
        let kept = kept.into_iter().find(|name| *name == format!("before-{id}"));
        Ok(RestoreOutcome {
            kept,
            away: away.filter(|_| self.journal.service_ran),
        })
    }

    /// Says which step comes, on the volume first.
    fn step(&mut self, step: &'static str) -> Result<()> {
        // With the data exchanged a service that is stopped helps nobody.
        if step != "start" {
            self.order.handle.runner.check_interrupt()?;
        }
        step.clone_into(&mut self.journal.step);
        self.keeper.for_cleanup().note(&self.journal)?;
        let (name, id) = (&self.order.handle.name, &self.journal.id);
        self.order.report.step(step, format!("{name}: {id}"));
        Ok(())
    }

    /// All that can be done while the service works.
    fn prepare(&mut self, backup: &mut Backup, id: &str) -> Result<()> {
        self.step("prove")?;
        if backup.seal.is_restored() {
            backup.check(&self.order.handle.runner)?;
        } else {
            proof::restore(self.order.resources, backup, self.order.image)?;
        }
        self.step("unpack")?;
        self.keeper.does("begin", &[id])?;
        self.keeper.unpack(backup, &format!("new-{id}.part"))?;
        self.step("recover")?;
        let recovered = self.keeper.does("recover", &[id]);
        recovered.map(drop).context("make the restored data ready")
    }

    fn stop(&mut self, stopped: &mut Option<SystemTime>) -> Result<()> {
        self.step("stop")?;
        let handle = self.order.handle;
        if let ContainerPlace::Own(seen) = handle.place()?
            && seen.condition.is_up()
        {
            *stopped = Some(SystemTime::now());
            restart::stop(&handle.for_cleanup(), self.order.report, &seen)?;
        }
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let RestoreOrder {
            handle,
            report,
            state,
            spec,
            ..
        } = self.order;
        // Ctrl-C ends the wait for its health, and nothing before.
        handle.for_cleanup().container(handle.name.as_str()).start()?;
        let took = restart::start(handle, report, state, spec)?;
        report.step("healthy", format!("{}: after {}", handle.name, seconds(took)));
        Ok(())
    }

    /// Nothing was exchanged: what was unpacked goes, and what ran runs.
    fn undo(&self, error: anyhow::Error) -> anyhow::Error {
        let keeper = self.keeper.for_cleanup();
        let undone = keeper
            .does("settle", &[])
            .and_then(|_| keeper.does("finish", &[]));
        let running = self.order.handle.for_cleanup().place();
        let runs = running.is_ok_and(|place| place.own().is_some_and(|seen| seen.condition.runs()));
        let again = if self.journal.service_ran && !runs {
            self.order
                .handle
                .for_cleanup()
                .container(self.order.handle.name.as_str())
                .start()
        } else {
            Ok(())
        };
        match undone.map(drop).and(again) {
            Ok(()) => error,
            Err(also) => error.context(format!("the data are as before, and yet: {also:#}")),
        }
    }

    /// The app does not work on what was restored, and nobody was served: what ran
    /// before runs again, in its old container.
    fn go_back(&self, error: anyhow::Error, id: &str) -> anyhow::Error {
        let handle = self.order.handle.for_cleanup();
        let keeper = self.keeper.for_cleanup();
        if failure::kind(&error) == FailureKind::Interrupted {
            let told = "the data are those of the backup; it was not waited for the app";
            return match keeper.does("finish", &[]) {
                Ok(_) => error.context(told),
                Err(also) => error.context(format!("{told}, and yet: {also:#}")),
            };
        }
        let back = handle
            .container(handle.name.as_str())
            .stop(restart::GRACE)
            .and_then(|_| keeper.does("back", &[id]))
            .and_then(|_| restart::start(&handle, self.order.report, self.order.state, self.order.spec))
            .and_then(|_| keeper.does("finish", &[]));
        let kept = format!("failed-{id}");
        match back {
            Ok(_) => error.context(failure::smoke(format!(
                "{} does not work on the backup; the data are as before, and what was restored is kept as {kept}",
                handle.name
            ))),
            Err(also) => error.context(format!("nor could the data before be brought back: {also:#}")),
        }
    }
}

/// Removes a generation that somebody has named.
///
/// # Errors
/// When there is none of that name, with those that there are.
pub fn forget(
    handle: &ServiceHandle,
    resources: &RunResources,
    image: &ImageId,
    generation: &str,
) -> Result<()> {
    let name = &handle.name;
    let helper = format!("{name}.forget-{}", std::process::id());
    let keeper = VolumeKeeper::start(resources, &helper, image, &name.volume())?;
    let there = keeper.look(&[])?.generations;
    if !there.iter().any(|one| one == generation) {
        let all = if there.is_empty() {
            "none".to_owned()
        } else {
            there.join(", ")
        };
        let message = format!(
            "volume {} has no generation {generation}; it has {all}",
            name.volume()
        );
        return Err(failure::usage(message).into());
    }
    keeper.does("forget", &[generation]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{ProofLevel, sample};

    fn backup(proof: ProofLevel) -> Backup {
        Backup {
            path: "b.tar.zst".into(),
            seal: sample(proof),
        }
    }

    fn seen() -> VolumeFindings {
        VolumeFindings {
            major: 17,
            missing_extensions: Vec::new(),
            free_bytes: u64::MAX,
            free_files: None,
            generations: Vec::new(),
            journal: None,
        }
    }

    #[test]
    fn all_that_is_in_the_way_is_told_at_once() {
        let good = backup(ProofLevel::Written);
        assert!(of_volume("genie-data", &good, &seen()).is_empty());
        let bad = VolumeFindings {
            major: 18,
            missing_extensions: vec!["postgis".to_owned()],
            free_bytes: 1,
            free_files: Some(1),
            generations: vec!["before-1".to_owned()],
            ..seen()
        };
        let told = of_volume("genie-data", &good, &bad);
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
        assert!(of_backup("genie", &backup(ProofLevel::Written)).is_empty());
        let refused = ProofLevel::Refused {
            at: String::new(),
            why: "pg_amcheck: broken".to_owned(),
        };
        let told = of_backup("agent", &backup(refused));
        assert_eq!(told[0].message, "the backup is of image genie");
        assert_eq!(told[1].message, "the backup is no good one: pg_amcheck: broken");
    }
}
