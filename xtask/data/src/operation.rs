//! An operation on the data of a service: named steps, each with what takes it back.
//!
//! Before each step the volume's journal says which one comes. What a step has done can
//! be told from the names on the volume and of the containers, so that a step is taken
//! back in the same way where it failed and where it was killed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Error, Result};

use crate::generations::{HeldVolume, VolumeFindings, VolumeJournal, VolumeKeeper};
use crate::written;
use definition::spec::ImageSpec;
use engine::reaper;
use failure::{Failure, FailureKind};
use host::report::{Report, seconds};
use service::findings::{self, Obstacle};
use service::handle::ServiceHandle;
use service::next;
use service::restart;
use service::seen::ContainerPlace;

/// The step at which the service goes away.
pub(crate) const STOP: &str = "stop";

/// The step at which other data get their place.
pub(crate) const EXCHANGE: &str = "exchange";

/// The step that ends with a service that works. With the data exchanged, a service
/// that is stopped helps nobody: Ctrl-C ends the wait for its health, and nothing
/// before.
pub(crate) const START: &str = "start";

/// A step of an operation.
pub(crate) struct DataStep<O> {
    /// As the journal and the report say it.
    pub(crate) name: &'static str,
    /// Carries the step out; where it fails, `undo` is called, too.
    pub(crate) run: fn(&mut O) -> Result<()>,
    /// Takes back what it has done, or begun; nothing where it has not.
    pub(crate) undo: fn(&O) -> Result<()>,
}

/// Nothing is to be taken back.
fn nothing<O>(_: &O) -> Result<()> {
    Ok(())
}

/// The steps that several operations have.
impl<'a, O: DataOperation<'a>> DataStep<O> {
    /// One that works beside the data that run.
    pub(crate) fn beside(name: &'static str, run: fn(&mut O) -> Result<()>) -> Self {
        let undo = |one: &O| one.work().settle();
        Self { name, run, undo }
    }

    /// The service goes away, where it runs.
    pub(crate) fn stop() -> Self {
        Self {
            name: STOP,
            run: |one| one.work_mut().stop(),
            undo: nothing,
        }
    }

    /// What was made beside the data runs from here on.
    pub(crate) fn exchange() -> Self {
        Self {
            name: EXCHANGE,
            run: |one| one.work().does("exchange"),
            undo: |one| one.work().go_back(),
        }
    }

    /// What ran before runs again.
    pub(crate) fn exchange_back() -> Self {
        Self {
            name: EXCHANGE,
            run: |one| one.work().does("back"),
            undo: |one| one.work().does("forth"),
        }
    }

    /// The service's container runs, and works.
    pub(crate) fn start() -> Self {
        Self {
            name: START,
            run: |one| one.work().start(),
            undo: |one| one.work().stop_again(),
        }
    }
}

/// What was to be taken back has been replaced meanwhile.
fn others_run(name: &str) -> Failure {
    failure::usage(format!(
        "{name}: its data have changed since this was asked for: they are no longer to be taken back by that"
    ))
    .hint(format!("what runs now: cargo xtask status {name}"))
}

/// What all operations work with.
pub(crate) struct DataWork<'a> {
    pub(crate) handle: &'a ServiceHandle,
    pub(crate) spec: &'a ImageSpec,
    pub(crate) report: &'a Report,
    pub(crate) state: &'a Path,
    pub(crate) keeper: &'a VolumeKeeper,
    pub(crate) journal: VolumeJournal,
    /// Since when the service is away.
    pub(crate) stopped: Option<SystemTime>,
    /// What others see of it, wherever they are, while its steps are carried out.
    pub(crate) held: Option<HeldVolume>,
}

impl DataWork<'_> {
    /// Nobody else works on the volume from here on, nor takes this for one that was killed.
    fn hold(&mut self) -> Result<()> {
        let (held, journal) = self.keeper.hold()?;
        // What was killed before this has been ended by now: what is there has been begun since then,
        // by another host or another user.
        if let Some(other) = journal {
            return Err(other.refused(self.handle.name.as_str()));
        }
        self.journal.holds = held.is_some();
        self.held = held;
        if !self.journal.is_way_back() {
            return Ok(());
        }
        // It was asked about before that, and somebody may have taken his time to answer.
        let (seen, id) = (self.keeper.look(&[])?, &self.journal.id);
        let is_there = seen.generations.contains(&format!("before-{id}"));
        if !is_there || seen.running.as_ref() != Some(id) {
            return Err(others_run(self.handle.name.as_str()).into());
        }
        Ok(())
    }

    /// Becomes the one who ends an operation that was killed; whether there is anything to end yet.
    pub(crate) fn take(&mut self) -> Result<bool> {
        let ServiceHandle { engine, runner, .. } = self.handle;
        let run = self.journal.run.as_ref();
        if let Some(run) = run.filter(|_| self.journal.is_of_another_host()) {
            // What it has begun in a container goes on without it, and so does its hold where that
            // host has gone without a word.
            reaper::remove_run(engine, runner, run)?;
        }
        let (held, journal) = self.keeper.hold()?;
        self.held = held;
        let own = &self.journal;
        Ok(journal.is_some_and(|one| one.id == own.id && one.operation == own.operation))
    }

    /// Whoever holds the volume no more is taken for killed by other hosts.
    fn still_holds(&mut self) -> Result<()> {
        if self.held.as_ref().is_none_or(HeldVolume::goes_on) {
            return Ok(());
        }
        let name = &self.handle.name;
        let message =
            format!("{name}: its volume is held no more: the program that did, or the way to it, has ended");
        Err(failure::environment(message).into())
    }

    /// Says which step comes, on the volume first.
    fn begin(&mut self, step: &'static str) -> Result<()> {
        if step != START {
            self.handle.runner.check_interrupt()?;
            self.still_holds()?;
        }
        step.clone_into(&mut self.journal.step);
        self.asks("note", &[&serde_json::to_string(&self.journal)?])?;
        let (name, id) = (&self.handle.name, &self.journal.id);
        self.report.step(step, format!("{name}: {id}"));
        Ok(())
    }

    /// Has the operation's generation worked on; goes on after Ctrl-C.
    pub(crate) fn does(&self, verb: &str) -> Result<()> {
        self.asks(verb, &[&self.journal.id]).map(drop)
    }

    /// What the volume's keeper says to a verb; goes on after Ctrl-C.
    pub(crate) fn asks(&self, verb: &str, args: &[&str]) -> Result<String> {
        self.keeper.for_cleanup().does(verb, args)
    }

    /// The same of what takes its time: Ctrl-C ends the wait for it.
    pub(crate) fn waits_for(&self, verb: &str, args: &[&str]) -> Result<String> {
        self.keeper.does(verb, args)
    }

    /// What the volume says of itself; goes on after Ctrl-C.
    pub(crate) fn look(&self) -> Result<VolumeFindings> {
        self.keeper.for_cleanup().look(&[])
    }

    /// What was never in use goes, and all else has the name that it should have.
    pub(crate) fn settle(&self) -> Result<()> {
        let done = self.asks("settle", &[]).map(drop);
        // Files that are not the owner's want more than his rights.
        done.or_else(|_| self.keeper.for_cleanup().settle_as_root())
    }

    /// Stops the service, where it runs.
    pub(crate) fn stop(&mut self) -> Result<()> {
        if let ContainerPlace::Own(seen) = self.handle.place()?
            && seen.condition.is_up()
        {
            self.stopped = Some(SystemTime::now());
            restart::stop(&self.handle.for_cleanup(), self.report, &seen)?;
        }
        Ok(())
    }

    /// Starts the service's container, whichever that is, and waits until it works.
    pub(crate) fn start(&self) -> Result<()> {
        let handle = self.handle;
        let took = restart::start(handle, self.report, self.state, self.spec)?;
        self.report
            .step("healthy", format!("{}: after {}", handle.name, seconds(took)));
        Ok(())
    }

    /// Stops the service's container, where there is one.
    pub(crate) fn stop_again(&self) -> Result<()> {
        let handle = self.handle.for_cleanup();
        match handle.place()?.own() {
            Some(_) => handle
                .container(handle.name.as_str())
                .stop(restart::GRACE)
                .map(drop),
            None => Ok(()),
        }
    }

    /// The data from before run again. What no server has run on is nobody's.
    fn go_back(&self) -> Result<()> {
        self.does("back")?;
        if self.journal.step == START {
            return Ok(());
        }
        let done = self.asks("forget_unused", &[&self.journal.id]);
        let kept = self.keeper.for_cleanup().forgotten(&self.aside(), done)?;
        if let Some(kept) = kept.lines().next() {
            let name = &self.handle.name;
            self.report.warn(format!(
                "{name}: somebody has worked on the data that are taken back; they are kept as {kept}; to delete \
                 them: cargo xtask restore {name} --forget {kept}"
            ));
        }
        Ok(())
    }

    /// Whether a server has run on what the operation has put in its place.
    pub(crate) fn is_used(&self) -> Result<bool> {
        let seen = self.look()?;
        Ok(seen.is_used && seen.running.as_ref() == Some(&self.journal.id))
    }

    /// Whether the service has worked since the step began.
    pub(crate) fn was_healthy(&self) -> Result<bool> {
        Ok(self.look()?.was_healthy)
    }

    /// Whether the service works, or has worked: then its data are somebody's.
    pub(crate) fn works(&self, may_wait: bool) -> Result<bool> {
        // What its container remembers goes with its next start, what the volume does not.
        if next::was_healthy(self.handle)? || self.was_healthy()? {
            return Ok(true);
        }
        if !may_wait {
            return Ok(false);
        }
        match self.start() {
            Ok(()) => Ok(true),
            Err(error) if failure::kind(&error) == FailureKind::Smoke => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What an operation has put in the place of the data is called, once it was taken back.
    pub(crate) fn aside(&self) -> String {
        format!("failed-{}", self.journal.id)
    }

    /// What is told of data that do not work and were taken back: with what was written to
    /// them meanwhile, and the way to get it out.
    pub(crate) fn taken_back(&self, kind: FailureKind, message: &str) -> Failure {
        let (name, aside) = (self.handle.name.as_str(), self.aside());
        let counted = written::count(self.keeper, &aside);
        let told = written::told(&counted);
        let mut failure = Failure::new(kind, format!("{message} {aside}; {told}"));
        failure.hints.extend(written::way_out(name, &aside, &counted));
        failure
    }

    /// Says the same of what was killed, where anything of it is kept.
    pub(crate) fn tell_taken_back(&self) -> Result<()> {
        let (name, aside) = (self.handle.name.as_str(), self.aside());
        if self.look()?.generations.contains(&aside) {
            let counted = written::count(&self.keeper.for_cleanup(), &aside);
            let told = written::told(&counted);
            let way_out = written::way_out(name, &aside, &counted);
            let way_out = way_out.map_or(String::new(), |way_out| format!("; {way_out}"));
            let message = format!("{name}: what was taken back, as {aside}; {told}{way_out}");
            self.report.step("kept", message);
        }
        Ok(())
    }

    /// How long the service was away, where it runs again.
    pub(crate) fn away(&self) -> Option<Duration> {
        let stopped = self.stopped.filter(|_| self.journal.service_ran)?;
        Some(SystemTime::now().duration_since(stopped).unwrap_or_default())
    }

    /// What ran when the operation began, runs. It is waited for unless somebody has
    /// said that he does not want to wait.
    pub(crate) fn run_again(&self) -> Result<()> {
        let handle = self.handle.for_cleanup();
        let runs = handle.place()?.own().is_none_or(|seen| seen.condition.runs());
        if !self.journal.service_ran || runs {
            return Ok(());
        }
        if self.handle.runner.check_interrupt().is_err() {
            return handle.container(handle.name.as_str()).start();
        }
        restart::start(&handle, self.report, self.state, self.spec).map(drop)
    }

    /// Ends the operation: the volume has no journal any more.
    pub(crate) fn finish(&self) -> Result<()> {
        self.asks("finish", &[]).map(drop)
    }
}

/// All that is in the way of an operation on one service.
pub(crate) fn all(name: &str, found: Vec<Obstacle>) -> Error {
    let found: Vec<(String, Obstacle)> = found.into_iter().map(|one| (name.to_owned(), one)).collect();
    findings::failure(&found).into()
}

/// An operation on a service's data, as steps of which each can be taken back.
pub(crate) trait DataOperation<'a>: Sized {
    /// Its steps, in their order.
    fn steps(&self) -> Vec<DataStep<Self>>;

    /// The service, its volume and the journal that the steps work with.
    fn work(&self) -> &DataWork<'a>;

    /// The same, to go on.
    fn work_mut(&mut self) -> &mut DataWork<'a>;

    /// Why a step that failed is not taken back, where it is not.
    fn stays(&self, _step: &'static str, _error: &Error) -> Option<&'static str> {
        None
    }

    /// The error of a step, with what became of the data.
    fn failed(&self, step: &'static str, error: Error, undone: Result<()>) -> Error;
}

/// Carries out all steps. Where one fails, it and those before it are taken back.
///
/// # Errors
/// That of the step, with what became of the data.
pub(crate) fn run<'a, O: DataOperation<'a>>(operation: &mut O) -> Result<()> {
    operation.work_mut().hold()?;
    let steps = operation.steps();
    for (n, step) in steps.iter().enumerate() {
        let begun = operation.work_mut().begin(step.name);
        let Err(error) = begun.and_then(|()| (step.run)(operation)) else {
            continue;
        };
        if let Some(told) = operation.stays(step.name, &error) {
            return match operation.work().finish() {
                Ok(()) => Err(error.context(told)),
                Err(also) => Err(error.context(format!("{told}, and yet: {also:#}"))),
            };
        }
        let undone = undo(operation, &steps[..=n]);
        return Err(operation.failed(step.name, error, undone));
    }
    Ok(())
}

/// Takes steps back, the last one first; then what ran runs again.
///
/// # Errors
/// That of the first step that cannot be taken back: those before it stay as they are.
fn undo<'a, O: DataOperation<'a>>(operation: &O, steps: &[DataStep<O>]) -> Result<()> {
    take_back(operation, steps)?;
    operation.work().run_again()?;
    operation.work().finish()
}

/// Takes back what was done until it was killed; the service stays as it is then.
///
/// # Errors
/// As [`undo`].
pub(crate) fn undo_killed<'a, O: DataOperation<'a>>(operation: &mut O) -> Result<()> {
    if operation.work().journal.step == STOP {
        // The engine goes on with a stop whose caller is gone: what is started before
        // that has ended would end a moment later.
        operation.work_mut().stop()?;
    }
    let steps = operation.steps();
    let step = &operation.work().journal.step;
    let reached = steps.iter().position(|known| known.name == step);
    take_back(operation, &steps[..reached.map_or(0, |n| n + 1)])
}

fn take_back<O>(operation: &O, steps: &[DataStep<O>]) -> Result<()> {
    steps.iter().rev().try_for_each(|step| (step.undo)(operation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    type Told = RefCell<Vec<&'static str>>;

    fn step(name: &'static str, undo: fn(&Told) -> Result<()>) -> DataStep<Told> {
        DataStep {
            name,
            run: |_| Ok(()),
            undo,
        }
    }

    #[test]
    fn steps_are_taken_back_from_the_last_one_until_one_cannot_be() {
        let steps = [
            step("one", |told| {
                told.borrow_mut().push("one");
                Ok(())
            }),
            step("two", |told| {
                told.borrow_mut().push("two");
                Ok(())
            }),
            step("three", |_| anyhow::bail!("it is stuck")),
        ];
        let told = Told::default();
        take_back(&told, &steps[..2]).unwrap();
        assert_eq!(*told.borrow(), ["two", "one"]);
        // What is below it stays as it is: the next command begins there.
        assert_eq!(take_back(&told, &steps).unwrap_err().to_string(), "it is stuck");
        assert_eq!(*told.borrow(), ["two", "one"]);
    }
}
