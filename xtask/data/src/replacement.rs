//! The steps by which another image takes the place of the one that runs, with data
//! of its own; and what ends them where they were killed.
//!
//! The new image runs on a copy of the data, and the data from before stay as they
//! are: the way back is an exchange of names, whatever the new one has done. The copy
//! of large data is taken while the service works.

use std::cell::RefCell;
use std::path::Path;

use anyhow::{Context as _, Error, Result};
use serde_json::{Value, json};

use crate::exchange;
use crate::generations::{ROLLBACK, UNDO, VolumeJournal, VolumeKeeper};
use crate::growth;
use crate::operation::{self, DataOperation, DataStep, DataWork, EXCHANGE, START, STOP};
use crate::running_copy::{Copied, RunningCopy};
use container::boot::MOUNT;
use definition::identity::ImageId;
use definition::reference::OwnRepository;
use definition::spec::ImageSpec;
use engine::container::RunResources;
use failure::Failure;
use host::report::Report;
use service::handle::ServiceHandle;
use service::next;

/// The steps of an update whose way back is kept.
pub const STEPS: [&str; 6] = [COPY, STOP, KEEP, EXCHANGE, REPLACE, START];

/// The service works on: nothing of it was touched.
const COPY: &str = "copy";
const KEEP: &str = "keep";
const REPLACE: &str = "replace";

/// What an update is called in the journal.
pub(crate) const UPDATE: &str = "update";
/// The same without a way back.
pub(crate) const WITHOUT: &str = "update without a way back";

/// An update, or the undoing of one, as an operation with steps.
pub(crate) struct Replacement<'a> {
    pub(crate) work: DataWork<'a>,
    /// What is noted of the generation that is kept.
    pub(crate) kept: Value,
    /// The copy that was begun while the service works.
    copy: RefCell<Option<RunningCopy>>,
}

impl<'a> Replacement<'a> {
    /// An operation none of whose steps is done.
    pub(crate) fn new(work: DataWork<'a>, kept: Value) -> Self {
        let copy = RefCell::default();
        Self { work, kept, copy }
    }

    /// What is known of the data that are put aside.
    pub(crate) fn note(id: &str, image: &ImageId, at: &str) -> Value {
        json!({ "id": id, "image_id": image, "at": at })
    }

    /// Copies what runs, where that takes long.
    fn copy(&mut self) -> Result<()> {
        self.copy_cluster()?;
        self.copy_files()
    }

    /// The app's folders, where they are worth it. What changes since then comes after the stop.
    fn copy_files(&self) -> Result<()> {
        let (work, id) = (&self.work, self.work.journal.id.as_str());
        let Ok(total) = work.waits_for("begin_files", &[id])?.parse::<u64>() else {
            return Ok(());
        };
        let folder = format!("{MOUNT}/generations/new-{id}.files.part");
        let container = work.keeper.container();
        growth::told(work.report, container, &folder, Some(total), || {
            work.waits_for("copy_files", &[id]).map(drop)
        })
    }

    /// Has it compared with PostgreSQL's manifest, too.
    fn copy_cluster(&mut self) -> Result<()> {
        let work = &self.work;
        let (keeper, id) = (work.keeper, work.journal.id.as_str());
        // Its size, where it is worth it.
        let said = work.waits_for("begin_copy", &[id])?;
        let Ok(total) = said.parse::<u64>() else {
            return Ok(());
        };
        let copy = self.copy.get_mut().insert(RunningCopy::start(work.handle, id)?);
        let folder = format!("{MOUNT}/generations/new-{id}.part");
        let copied = growth::told(work.report, keeper.container(), &folder, Some(total), || {
            copy.wait()
        })?;
        if let Copied::Never(why) = copied {
            let name = &work.handle.name;
            work.report.warn(format!(
                "{name}: the data are copied when it is stopped, since its server sends no log: {why}"
            ));
            return self.leave_copy();
        }
        let inspected = work.waits_for("inspect_copy", &[id]);
        inspected
            .context("compare the copy with what was copied")
            .map(drop)
    }

    fn keep(&mut self) -> Result<()> {
        // What it received has come to its end with the server.
        self.copy.take();
        let work = &self.work;
        let image = work.journal.image.as_ref().map_or("", ImageId::as_str);
        let note = self.kept.to_string();
        let said = work.waits_for("keep", &[&work.journal.id, &note, image])?;
        if !said.is_empty() {
            work.report.warn(format!(
                "{}: the data are copied once more, since of the copy that was taken while it worked {said}",
                work.handle.name
            ));
        }
        Ok(())
    }

    fn leave_copy(&self) -> Result<()> {
        // Whoever still wrote to it would be in the way.
        self.copy.take();
        self.work.settle()
    }

    fn switch_back(&self) -> Result<()> {
        let handle = self.work.handle.for_cleanup();
        next::switch_back(&handle)?;
        next::discard(&handle)
    }

    /// The container from before goes, and with it what an unfinished operation goes
    /// by.
    pub(crate) fn conclude(&self) -> Result<()> {
        self.keep_image()?;
        next::settle(&self.work.handle.for_cleanup())?;
        self.work.finish()
    }

    /// Names the image of the way back: without a name it would be pruned once its
    /// container is gone. The volume knows which one it is, also after a kill.
    fn keep_image(&self) -> Result<()> {
        let before = format!("before-{}", self.work.journal.id);
        let kept = self.work.look()?.kept;
        let image = kept.get(&before).and_then(|note| note.get("image_id")?.as_str());
        let Some(image) = image.filter(|_| self.work.journal.operation == UPDATE) else {
            return Ok(());
        };
        let handle = self.work.handle.for_cleanup();
        let tag = OwnRepository::Kept.tagged(&handle.name);
        handle.engine.tag(&handle.runner, image, &tag)
    }

    /// Takes back what was done until it was killed.
    fn as_before(&mut self) -> Result<()> {
        operation::undo_killed(self)?;
        self.work.run_again()?;
        self.work.finish()?;
        self.work.tell_taken_back()
    }
}

impl<'a> DataOperation<'a> for Replacement<'a> {
    fn steps(&self) -> Vec<DataStep<Self>> {
        let replace = DataStep {
            name: REPLACE,
            run: |one: &mut Self| next::switch(&one.work.handle.for_cleanup()),
            undo: Self::switch_back,
        };
        let copy = DataStep {
            name: COPY,
            run: Self::copy,
            undo: Self::leave_copy,
        };
        let (stop, start) = (DataStep::stop(), DataStep::start());
        match self.work.journal.operation.as_str() {
            WITHOUT => vec![stop, replace, start],
            UNDO => vec![stop, DataStep::exchange_back(), replace, start],
            _ => vec![
                copy,
                stop,
                DataStep::beside(KEEP, Self::keep),
                DataStep::exchange(),
                replace,
                start,
            ],
        }
    }

    fn work(&self) -> &DataWork<'a> {
        &self.work
    }

    fn work_mut(&mut self) -> &mut DataWork<'a> {
        &mut self.work
    }

    fn failed(&self, step: &'static str, error: Error, undone: Result<()>) -> Error {
        let name = &self.work.handle.name;
        let data = if self.work.journal.operation == WITHOUT {
            "its container is the one from before, the data are as the new image left them"
        } else {
            "container and data are as before"
        };
        let is_interrupted = failure::kind(&error) == failure::FailureKind::Interrupted;
        match undone {
            Err(also) => error.context(format!(
                "nor could what ran before be brought back: {also:#}; try again: cargo xtask up {name}"
            )),
            Ok(()) if step != START => error.context(format!("{name}: {data}")),
            Ok(()) => {
                let kind = failure::kind(&error);
                let failed = format!("{name} does not work with the new image; {data}");
                let aside = "what the new one made of the data is kept as";
                let has_aside = self.work.journal.operation == UPDATE;
                error.context(match (is_interrupted, has_aside) {
                    (true, true) => {
                        Failure::new(kind, format!("{name}: {data}; {aside} {}", self.work.aside()))
                    }
                    (true, false) => Failure::new(kind, format!("{name}: {data}")),
                    (false, true) => self.work.taken_back(kind, &format!("{failed}; {aside}")),
                    (false, false) => Failure::new(kind, failed),
                })
            }
        }
    }
}

/// What a command has to know that ends an operation which was killed.
#[derive(Clone, Copy)]
pub struct MendOrder<'a> {
    /// The service, whose lock the caller holds.
    pub handle: &'a ServiceHandle,
    /// What is promised of its image.
    pub spec: &'a ImageSpec,
    /// Makes what is there for this alone.
    pub resources: &'a RunResources,
    /// Where it says which update was killed, and what becomes of it.
    pub report: &'a Report,
    /// Where logs go of what does not work.
    pub state: &'a Path,
    /// How far it goes.
    pub choices: MendChoices,
}

/// How far whoever ends a killed operation goes.
#[derive(Clone, Copy, Debug)]
pub struct MendChoices {
    /// Whether a new container that was not healthy yet may still become so; else it
    /// goes.
    pub may_wait: bool,
    /// Whether somebody has said that what another host has begun is over.
    pub takes_over: bool,
}

/// Ends an operation that was killed: done where the service works on what it has made,
/// else as before. Whoever changes a service calls this first. Whether that was taken down
/// by what was killed, and nobody has started it again.
///
/// # Errors
/// When the engine refuses, or what ran before cannot be brought back.
pub fn mend(order: &MendOrder<'_>) -> Result<bool> {
    let handle = order.handle;
    let Some(journal) = interrupted(handle)? else {
        return Ok(false);
    };
    let name = &handle.name;
    if !journal.is_of_another_host() {
        journal.was_killed(name.as_str(), None, order.choices.takes_over)?;
    }
    let place = handle.place()?;
    let main = place
        .own()
        .map(|seen| (seen.image_id.clone(), seen.condition.runs()));
    let Some(image) = main
        .as_ref()
        .map(|(image, _)| image.clone())
        .or(journal.image.clone())
    else {
        return Ok(false);
    };
    let helper = format!("{name}.mend-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, &image, &name.volume())?;
    if journal.is_of_another_host() {
        let is_held = keeper.look(&[])?.is_held;
        journal.was_killed(name.as_str(), is_held, order.choices.takes_over)?;
    }
    let mut work = order.work(&keeper, journal);
    if !work.take()? {
        // Somebody else has ended it meanwhile.
        return Ok(false);
    }
    order
        .report
        .step("mend", format!("{name}: {}", work.journal.killed()));
    if exchange::is_one(&work.journal) {
        return exchange::end(work, order.choices.may_wait);
    }
    // Whoever does not wait for a new container takes the one from before down, too.
    work.journal.service_ran &= order.choices.may_wait;
    let is_new = main
        .as_ref()
        .is_some_and(|(image, _)| Some(image) == work.journal.image.as_ref());
    let runs = main.is_some_and(|(_, runs)| runs);
    let has_way_back = handle.place_of(&name.before())?.own().is_some();
    let mut one = Replacement::new(work, Value::Null);
    // Where the one from before is gone the operation was over; where somebody has
    // started it meanwhile, also if it runs no more, he was served by it.
    let has_run = runs || one.work.was_healthy()?;
    let is_over = if is_new {
        !has_way_back || one.work.works(order.choices.may_wait)?
    } else {
        let has_stopped = ![COPY, STOP].contains(&one.work.journal.step.as_str());
        // Of a way back the data are in use until they are exchanged.
        let is_used = one.work.journal.operation != UNDO && one.work.is_used()?;
        (has_run && has_stopped) || is_used
    };
    if is_over {
        one.work.settle()?;
        one.conclude()?;
    } else {
        one.as_before()?;
    }
    next::discard(&handle.for_cleanup())?;
    Ok(false)
}

/// The same for a service without a container: what was killed is known by its volume alone.
/// The image works on that.
///
/// # Errors
/// As [`mend`].
pub fn mend_volume(order: &MendOrder<'_>, image: &ImageId) -> Result<()> {
    let (handle, name) = (order.handle, &order.handle.name);
    let is_there = handle.engine.volume(&handle.runner, &name.volume())?.is_some();
    if !is_there || handle.place()?.own().is_some() {
        return Ok(());
    }
    let helper = format!("{name}.mend-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, image, &name.volume())?;
    let work = |journal| order.work(&keeper, journal);
    exchange::settled(&keeper, &[], order.choices.takes_over, work).map(drop)
}

/// For commands that only look, ask before they do anything, or are for something else: they
/// end no operation.
///
/// # Errors
/// When one was killed, with what ends it.
pub fn nothing_killed(handle: &ServiceHandle) -> Result<()> {
    match interrupted(handle)? {
        None => Ok(()),
        Some(journal) => Err(journal.refused(handle.name.as_str())),
    }
}

/// Which way back was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBackKind {
    /// `update --undo`.
    OfUpdate,
    /// `restore --undo`, `migrate --rollback`.
    OfData,
}

/// The name of a way back of this kind that was killed. Who ends it by [`mend`] and finds that
/// the data of this name run no more has what he asked for, and takes nothing else back.
///
/// # Errors
/// When the engine does not answer.
pub fn killed_way_back(handle: &ServiceHandle, kind: WayBackKind) -> Result<Option<String>> {
    let operation = match kind {
        WayBackKind::OfUpdate => UNDO,
        WayBackKind::OfData => ROLLBACK,
    };
    let is_one = |one: &VolumeJournal| one.operation == operation;
    Ok(interrupted(handle)?.filter(is_one).map(|journal| journal.id))
}

impl<'a> MendOrder<'a> {
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

/// What the journal on the volume says of an operation that was killed, read through a
/// container that has the volume.
fn interrupted(handle: &ServiceHandle) -> Result<Option<VolumeJournal>> {
    let names = [handle.name.to_string(), handle.name.before(), handle.name.next()];
    for name in names {
        if handle.place_of(&name)?.own().is_none() {
            continue;
        }
        let path = format!("{MOUNT}/generations/journal.json");
        let container = handle.container(&name);
        let text = handle
            .engine
            .read_in_container(&handle.runner, &container, &path)?;
        let journal = text.and_then(|text| serde_json::from_str::<VolumeJournal>(&text).ok());
        return Ok(journal.filter(|known| {
            [UPDATE, WITHOUT, UNDO].contains(&known.operation.as_str()) || exchange::is_one(known)
        }));
    }
    Ok(None)
}
