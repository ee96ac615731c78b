//! Puts the new container in the place of the old one, and the old one back
//! where the new one does not work.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use super::prepare::Ready;
use super::{UpOutcome, UpStep};
use crate::handle::ServiceHandle;
use crate::kept;
use crate::restart::stop;
use crate::seen::{ContainerPlace, from_here};
use crate::trail::{self, TrailEntry};
use crate::trial;
use failure::{Failure, FailureKind};
use host::report::{Report, seconds, some_of};

impl Ready {
    /// Does what has to be done, and puts it on record.
    pub(super) fn on_record(
        &self,
        handle: &ServiceHandle,
        report: &Report,
        state: &Path,
        began: Instant,
    ) -> Result<UpOutcome> {
        let mut entry = TrailEntry::begun("up", &handle.name);
        entry.image = Some(self.wanted.image_id.clone());
        entry.image_before = self.main.as_ref().map(|main| main.image_id.clone());
        let done = self.carry_out(handle, report, state, began);
        if self.step != UpStep::Nothing {
            let outcome = done.as_ref().map_or("", |outcome| outcome.done);
            trail::write(state, report, &entry.ended(outcome, &done));
        }
        done
    }

    fn carry_out(
        &self,
        handle: &ServiceHandle,
        report: &Report,
        state: &Path,
        began: Instant,
    ) -> Result<UpOutcome> {
        let name = handle.name.as_str();
        let image = format!("{} ({})", self.reference, self.wanted.image_id.short());
        if !self.proved {
            report.warn(format!("{name}: {image} has no proof"));
        }
        if !self.lacks.is_empty() && self.step != UpStep::Nothing {
            report.warn(format!(
                "{name}: no value is given for {}, and the gate had stand-ins: {}",
                some_of(&self.lacks, MOST_NAMES),
                by_a_file(name)
            ));
        }
        let done = match &self.step {
            UpStep::Nothing => "nothing to do",
            UpStep::Wait | UpStep::Start | UpStep::Create => {
                report.step("start", format!("{name}: {image}"));
                "started"
            }
            UpStep::Replace(differences) => {
                report.step("replace", format!("{name}: {}", differences.join("; ")));
                "replaced"
            }
        };
        if self.step != UpStep::Nothing
            && let Err(error) = self.try_out(handle, report, state)
        {
            let error = self.naming_what_it_lacks(name, error);
            return Err(self.go_back(&handle.for_cleanup(), report, state, error));
        }
        let outcome = UpOutcome {
            name: name.to_owned(),
            done,
            took: began.elapsed(),
            address: format!("{}://{}", self.protocol, from_here(self.address())),
        };
        report.step("healthy", {
            let UpOutcome {
                name, took, address, ..
            } = &outcome;
            match self.step {
                UpStep::Nothing => format!("{name}: nothing to do, {address}"),
                _ => format!("{name}: {address}, after {}", seconds(*took)),
            }
        });
        Ok(outcome)
    }

    /// An app that does not work, with what it may not work without.
    fn naming_what_it_lacks(&self, name: &str, error: Error) -> Error {
        if self.lacks.is_empty() || failure::kind(&error) != FailureKind::Smoke {
            return error;
        }
        let names = some_of(&self.lacks, MOST_NAMES);
        with_hint(
            error,
            None,
            format!("it has no value of {names}: {}", by_a_file(name)),
        )
    }

    fn try_out(&self, handle: &ServiceHandle, report: &Report, state: &Path) -> Result<()> {
        let (main, next, before) = (handle.name.as_str(), handle.name.next(), handle.name.before());
        if let (UpStep::Replace(_), Some(old)) = (&self.step, &self.main) {
            // The engine goes on with a stop whose caller is gone: what is brought
            // back meanwhile would end a moment later.
            stop(&handle.for_cleanup(), report, old)?;
            handle.rename(main, &before)?;
        }
        if matches!(self.step, UpStep::Create | UpStep::Replace(_)) {
            handle.rename(&next, main)?;
        }
        trial::run(handle, report, state, self.limit)?;
        if self.on_trial || matches!(self.step, UpStep::Replace(_)) {
            kept::keep_or_say(handle, &before, report, state);
            handle.remove(&before)?;
        }
        Ok(())
    }

    /// Brings back the container that was there before, where there was one; the
    /// error says so. Goes on after Ctrl-C.
    fn go_back(&self, handle: &ServiceHandle, report: &Report, state: &Path, error: Error) -> Error {
        match self.bring_back(handle, report, state) {
            Ok(None) => error,
            Ok(Some(took)) => {
                let back = format!(
                    "the container that was there before answers again, after {}",
                    seconds(took)
                );
                report.step("back", format!("{}: {back}", handle.name));
                with(error, &back, None)
            }
            Err(second) => {
                let lost = format!("the container that was there before did not come back: {second:#}");
                let hint = format!("try again: cargo xtask up {}", handle.name);
                with(error, &lost, Some(hint))
            }
        }
    }

    /// `None` where there was none.
    fn bring_back(&self, handle: &ServiceHandle, report: &Report, state: &Path) -> Result<Option<Duration>> {
        let (main, next, before) = (handle.name.as_str(), handle.name.next(), handle.name.before());
        let old_stands_by = handle.place_of(&before)?.own().is_some();
        if old_stands_by {
            if handle.place()?.own().is_some() {
                handle.remove(main)?;
            }
            handle.rename(&before, main)?;
        }
        if handle.place_of(&next)?.own().is_some() {
            handle.remove(&next)?;
        }
        let ContainerPlace::Own(now) = handle.place()? else {
            return Ok(None);
        };
        // It was stopped, and had not lost its name yet.
        let stopped = self.main.as_ref().is_some_and(|old| {
            matches!(self.step, UpStep::Replace(_)) && old.id == now.id && old.condition.runs()
        });
        if !old_stands_by && !stopped {
            return Ok(None);
        }
        trial::run(handle, report, state, self.limit).map(Some)
    }
}

/// As many names are told.
const MOST_NAMES: usize = 8;

/// How variables are given.
fn by_a_file(name: &str) -> String {
    format!("`cargo xtask up {name} --env-file FILE` gives them, a line NAME=VALUE each")
}

/// An error with what became of the old container; kind and hints stay.
fn with(error: Error, became: &str, hint: Option<String>) -> Error {
    with_hint(error, Some(became), hint)
}

/// An error with more to say, and one more hint; kind and hints stay.
fn with_hint(error: Error, more: Option<&str>, hint: impl Into<Option<String>>) -> Error {
    let more = more.map_or_else(String::new, |more| format!("; {more}"));
    let mut failure = Failure::new(failure::kind(&error), format!("{error:#}{more}"));
    if let Some(known) = error.downcast_ref::<Failure>() {
        failure.hints.clone_from(&known.hints);
    }
    failure.hints.extend(hint.into());
    failure.into()
}
