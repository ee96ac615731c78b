//! Puts another image in the place of the one that runs, on the same data.
//!
//! All that can be known before is found out before: the plan looks at everything
//! and tells all at once, the rehearsal tries the image out on a copy of the data.
//! The steps after that are a [`Replacement`]. Whoever calls any of this has the
//! service's lock, and has ended by `replacement::mend` what was killed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::facts::BackupFacts;
use crate::generations::{MadeBy, UNDO, VolumeFindings, VolumeJournal, VolumeKeeper};
use crate::operation::{self, DataWork, all};
use crate::proof::{MORE_FILES, MORE_ROOM};
use crate::rehearsal::{self, OwnChecks, RehearsalOrder, TrialOrder};
use crate::replacement::{Replacement, UPDATE, WITHOUT};
use crate::source::BackupSource;
use crate::take;
use crate::written::{self, PutAside};
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use engine::Image;
use engine::container::RunResources;
use host::report::{Report, megabytes};
use inputs::clock;
use service::findings::Obstacle;
use service::handle::ServiceHandle;
use service::next;
use service::restart;
use service::seen::SeenContainer;
use service::wanted::{ServiceOptions, WantedContainer};

/// The service that gets another image, that image, and what is used for it.
#[derive(Clone, Copy)]
pub struct UpdateOrder<'a> {
    /// The service whose container is replaced.
    pub handle: &'a ServiceHandle,
    /// What is promised of the image that is to come.
    pub spec: &'a ImageSpec,
    /// The image that is to come.
    pub image: &'a Image,
    /// As the user names it.
    pub reference: &'a str,
    /// How it is to run; as the one before where nobody has said so.
    pub options: Option<&'a ServiceOptions>,
    /// Whether it may run: it has a proof, or somebody has said that it needs none.
    pub may_run: bool,
    /// Asks the checks of the spec's own.
    pub checks: OwnChecks<'a>,
    /// Makes what is there for this alone.
    pub resources: &'a RunResources,
    /// Says which step it is.
    pub report: &'a Report,
    /// Where logs go of what does not work.
    pub state: &'a Path,
}

/// How an update goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateChoices {
    /// Try the image out on a copy first.
    pub rehearses: bool,
    /// Keep the data from before.
    pub keeps: bool,
}

/// What an update tells that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateOutcome {
    /// The generation that is the way back, where one was kept.
    pub kept: Option<String>,
    /// How long the service was away.
    pub away: Option<Duration>,
}

/// A way back that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// The name of the generation: `before-<id>`, after the update that put it
    /// aside.
    pub generation: String,
    /// The image that ran on it.
    pub image: ImageId,
    /// When it was put aside: what was written later is not in it.
    pub at: String,
    /// The version of PostgreSQL that it is of.
    pub version: String,
}

impl WayBack {
    /// For another image than the one that ran on it.
    fn of_version(&self, major: u32) -> Option<Obstacle> {
        let version = &self.version;
        let message = format!("the data from before are of PostgreSQL {version}, the image has {major}");
        (*version != major.to_string()).then(|| {
            Obstacle::usage(message).hint(format!("name an image with PostgreSQL {version}: --image"))
        })
    }
}

/// What `hive-kept.json` says of a generation that an update has put aside.
#[derive(Debug, Deserialize)]
struct KeptNote {
    id: String,
    image_id: ImageId,
    at: String,
}

/// An update in whose way nothing is.
struct UpdatePlan {
    wanted: WantedContainer,
    source: BackupSource,
    keeper: VolumeKeeper,
}

/// Tries the image out on a copy of the data and touches nothing of the service;
/// whether there was anything to try, since it may run this image already.
///
/// # Errors
/// With all that is in the way; a smoke failure where the image does not work on the
/// data.
pub fn rehearse(order: &UpdateOrder<'_>) -> Result<bool> {
    let main = restart::own(order.handle)?;
    if main.image_id == *order.image.id() {
        return Ok(false);
    }
    let done = plan(order, &main).and_then(|plan| plan.rehearse(order));
    let discarded = next::discard(&order.handle.for_cleanup());
    done.and(discarded).map(|()| true)
}

/// Puts the image in the place of the one that runs; `None` where it runs already.
/// Where the app does not get healthy with it, all is as before.
///
/// # Errors
/// With all that is in the way, before anything is touched; a smoke failure where the
/// image does not work.
pub fn update(order: &UpdateOrder<'_>, choices: UpdateChoices) -> Result<Option<UpdateOutcome>> {
    let main = restart::own(order.handle)?;
    if main.image_id == *order.image.id() {
        return Ok(None);
    }
    let prepared = plan(order, &main).and_then(|plan| {
        if choices.rehearses {
            plan.rehearse(order)?;
        }
        Ok(plan)
    });
    let plan = match prepared {
        Ok(plan) => plan,
        Err(error) => {
            // What cannot be removed now is so by the next command.
            next::discard(&order.handle.for_cleanup()).ok();
            return Err(error);
        }
    };
    let now = SystemTime::now();
    let id = format!("{}-{}", clock::stamp(now), &plan.wanted.image_id.short()[..8]);
    let operation = if choices.keeps { UPDATE } else { WITHOUT };
    let journal = VolumeJournal {
        image: Some(plan.wanted.image_id.clone()),
        ..VolumeJournal::begun(operation, &id, true)
    };
    let kept = Replacement::note(&id, &main.image_id, &clock::rfc3339(now));
    let mut replacement = Replacement::new(order.work(&plan.keeper, journal), kept);
    operation::run(&mut replacement)?;
    let away = replacement.work.away();
    replacement.conclude()?;
    Ok(Some(UpdateOutcome {
        kept: choices.keeps.then(|| format!("before-{id}")),
        away,
    }))
}

/// The way back of the last update, where nothing has come in between; none where the one of
/// this name was `killed`, and had got there.
///
/// # Errors
/// When there is none, or the engine does not answer.
pub fn way_back(order: &UpdateOrder<'_>, killed: Option<&str>) -> Result<Option<WayBack>> {
    let name = &order.handle.name;
    let main = restart::own(order.handle)?;
    let helper = format!("{name}.look-back-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, &main.image_id, &name.volume())?;
    let seen = keeper.look(&[])?;
    if killed.is_some_and(|id| seen.running.as_deref() != Some(id)) {
        return Ok(None);
    }
    found_way_back(&seen).map(Some).ok_or_else(|| {
        let beside = match seen.generations.as_slice() {
            [] => String::new(),
            all => format!("; beside the data are {}", all.join(", ")),
        };
        let failure = failure::usage(format!(
            "{name}: no way back is kept for the data that run{beside}"
        ));
        match seen.made_by() {
            MadeBy::Itself | MadeBy::Update => failure.into(),
            other => {
                let command = other.way_back(name.as_str()).unwrap_or_default();
                failure
                    .hint(format!(
                        "they come from no update; what ran before them: {command}"
                    ))
                    .into()
            }
        }
    })
}

/// The generation whose place the running data have taken.
fn found_way_back(seen: &VolumeFindings) -> Option<WayBack> {
    let running = seen.running.as_ref()?;
    let generation = format!("before-{running}");
    let note = KeptNote::deserialize(seen.kept.get(&generation)?).ok()?;
    // The note of an update that was taken back stays with the data.
    (note.id == *running).then_some(WayBack {
        image: note.image_id,
        at: note.at,
        version: seen.versions.get(&generation)?.clone(),
        generation,
    })
}

/// Brings back the data from before an update, with the image of that time, or another one
/// where that is gone. What ran is put aside.
///
/// # Errors
/// As [`update`].
pub fn undo(order: &UpdateOrder<'_>, back: &WayBack) -> Result<PutAside> {
    let handle = order.handle;
    let main = restart::own(handle)?;
    let options = next::options(handle, &main)?;
    let name = handle.name.as_str();
    if main.image_id == *order.image.id() {
        // By its image it could not be told whether the new container has taken its place.
        let message = format!("{name} runs {} already", order.reference);
        let aside = &back.generation;
        return Err(failure::usage(message)
            .hint(format!(
                "the data from before, for this image: cargo xtask backup {name} --generation {aside}, and                  cargo xtask restore {name} FILE"
            ))
            .into());
    }
    let wanted = next::wanted(handle, order.image, &options).map_err(|found| all(name, found))?;
    let mut found = next::make(handle, &wanted, &main)?;
    if !order.may_run {
        found.push(no_proof(order));
    }
    // From here on the volume has one more user.
    let helper = format!("{name}.undo-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, order.image.id(), &handle.name.volume())?;
    found.extend(back.of_version(keeper.look(&[])?.major));
    if !found.is_empty() {
        next::discard(&handle.for_cleanup())?;
        return Err(all(name, found));
    }
    let id = back.generation.trim_start_matches("before-");
    let journal = VolumeJournal {
        image: Some(order.image.id().clone()),
        ..VolumeJournal::begun(UNDO, id, main.condition.runs())
    };
    let mut replacement = Replacement::new(order.work(&keeper, journal), Value::Null);
    operation::run(&mut replacement)?;
    let away = replacement.work.away();
    replacement.conclude()?;
    let generation = replacement.work.aside();
    Ok(PutAside {
        away,
        runs: replacement.work.journal.service_ran,
        written: written::count(&keeper, &generation),
        generation,
    })
}

impl<'a> UpdateOrder<'a> {
    fn work(&self, keeper: &'a VolumeKeeper, journal: VolumeJournal) -> DataWork<'a> {
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

/// Looks at everything that could be in the way, and makes the container that is to
/// come.
fn plan(order: &UpdateOrder<'_>, main: &SeenContainer) -> Result<UpdatePlan> {
    let handle = order.handle;
    let name = &handle.name;
    let mut found = Vec::new();
    if !order.may_run {
        found.push(no_proof(order));
    }
    let options = match order.options {
        Some(options) => options.clone(),
        None => next::options(handle, main)?,
    };
    let wanted = match next::wanted(handle, order.image, &options) {
        Ok(wanted) => wanted,
        Err(wrong) => {
            found.extend(wrong);
            return Err(all(name.as_str(), found));
        }
    };
    found.extend(next::make(handle, &wanted, main)?);
    if !main.condition.runs() {
        let message = format!(
            "it is {}, and an update begins with a copy of what runs",
            main.condition.shown()
        );
        found.push(Obstacle::environment(message).hint(format!("start it: cargo xtask up {name}")));
        return Err(all(name.as_str(), found));
    }
    let source = BackupSource::find(handle, None)?;
    let facts = take::facts(handle, &source)?;
    let helper = format!("{name}.update-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, order.image.id(), &name.volume())?;
    let seen = keeper.look(&facts.extensions())?;
    found.extend(of_volume(&name.volume(), name.as_str(), &facts, &seen));
    if !found.is_empty() {
        return Err(all(name.as_str(), found));
    }
    Ok(UpdatePlan {
        wanted,
        source,
        keeper,
    })
}

impl UpdatePlan {
    /// Tries the new image on a copy of the data, and says what it did to tables.
    fn rehearse(&self, order: &UpdateOrder<'_>) -> Result<()> {
        let trial = TrialOrder {
            handle: order.handle,
            spec: order.spec,
            wanted: &self.wanted,
            checks: order.checks,
            resources: order.resources,
            report: order.report,
            state: order.state,
        };
        let source = &self.source;
        let rehearsal = rehearsal::rehearse(&RehearsalOrder { trial, source })?;
        let (report, name) = (order.report, &order.handle.name);
        report.step("rehearsed", format!("{name}: {}", order.reference));
        for line in rehearsal::told(&rehearsal) {
            report.detail(line);
        }
        Ok(())
    }
}

fn no_proof(order: &UpdateOrder<'_>) -> Obstacle {
    let (name, id) = (&order.handle.name, order.image.id().short());
    Obstacle::usage(format!("{} ({id}) has no proof", order.reference)).hint(format!(
        "prove it: cargo xtask build-images {name}; or take it all the same: --unproved"
    ))
}

/// What the image and the volume's disk say. The copy for the rehearsal is gone when
/// the one for the way back is made.
fn of_volume(volume: &str, name: &str, facts: &BackupFacts, seen: &VolumeFindings) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if !seen.missing_extensions.is_empty() {
        let missing = seen.missing_extensions.join(", ");
        found.push(
            Obstacle::environment(format!(
                "the data need the extension {missing}, which the image lacks"
            ))
            .hint("add its package to the spec's `packages` and build the image"),
        );
    }
    if !seen.tablespaces.is_empty() {
        // A copy would have the same ones, and the way back would be none.
        let tablespaces = seen.tablespaces.join(", ");
        let message = format!("the data have tablespaces, whose files lie elsewhere: {tablespaces}");
        found.push(Obstacle::environment(message).hint("ALTER DATABASE … SET TABLESPACE pg_default"));
    }
    let (bytes, files) = (facts.bytes + MORE_ROOM, facts.files + MORE_FILES);
    let mut wanting = Vec::new();
    if seen.free_bytes < bytes {
        let (free, bytes) = (megabytes(seen.free_bytes), megabytes(bytes));
        wanting.push(format!("{free} free, {bytes} are needed for a copy of the data"));
    }
    if let Some(free) = seen.free_files.filter(|free| *free < files) {
        wanting.push(format!("room for {free} more files, {files} are needed"));
    }
    if !wanting.is_empty() {
        let want = format!("the disk of volume {volume} has {}", wanting.join("; "));
        let hint = match seen.generations.first() {
            Some(oldest) => {
                format!(
                    "data from before are still there; into a file: cargo xtask backup {name} --generation {oldest}; \
                     to delete them: cargo xtask restore {name} --forget {oldest}"
                )
            }
            None => "make room there".to_owned(),
        };
        found.push(Obstacle::environment(want).hint(hint));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::sample;

    fn seen() -> VolumeFindings {
        VolumeFindings {
            free_bytes: 240_000_000,
            free_files: Some(2200),
            ..VolumeFindings::sample()
        }
    }

    #[test]
    fn the_way_back_is_what_the_running_data_have_taken_the_place_of() {
        let image = format!("sha256:{}", "0a".repeat(32));
        let note =
            serde_json::json!({ "id": "2", "image_id": image, "at": "2026-11-26T04:00:00.000Z", "later": 1 });
        let of = |running: Option<&str>| {
            found_way_back(&VolumeFindings {
                running: running.map(str::to_owned),
                kept: [
                    ("before-2".to_owned(), note.clone()),
                    ("before-1".to_owned(), Value::Null),
                    ("before-4".to_owned(), note.clone()),
                ]
                .into(),
                versions: ["before-1", "before-2", "before-4"]
                    .map(|name| (name.to_owned(), "17".to_owned()))
                    .into(),
                ..seen()
            })
        };
        let back = of(Some("2")).unwrap();
        assert_eq!(
            (back.generation.as_str(), back.image.to_string()),
            ("before-2", image)
        );
        assert_eq!(back.of_version(17), None);
        let told = back.of_version(18).unwrap().message;
        assert_eq!(
            told,
            "the data from before are of PostgreSQL 17, the image has 18"
        );
        assert_eq!(of(Some("1")), None, "it says nothing of its image");
        assert_eq!(of(Some("3")), None, "what is kept is of another operation");
        assert_eq!(of(Some("4")), None, "a restore has come in between");
        assert_eq!(of(None), None);
    }

    #[test]
    fn all_that_is_in_the_way_is_told_at_once() {
        assert!(of_volume("genie-data", "genie", &sample(), &seen()).is_empty());
        let bad = VolumeFindings {
            missing_extensions: vec!["postgis".to_owned()],
            tablespaces: vec!["16400".to_owned()],
            free_bytes: 239_999_999,
            free_files: Some(2199),
            generations: vec!["before-1".to_owned()],
            ..seen()
        };
        let told = of_volume("genie-data", "genie", &sample(), &bad);
        let messages: Vec<&str> = told.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "the data need the extension postgis, which the image lacks",
                "the data have tablespaces, whose files lie elsewhere: 16400",
                "the disk of volume genie-data has 240 MB free, 240 MB are needed for a copy of the data; \
                 room for 2199 more files, 2200 are needed",
            ]
        );
        assert!(
            told[2]
                .hint
                .as_ref()
                .unwrap()
                .ends_with("restore genie --forget before-1")
        );
    }
}
