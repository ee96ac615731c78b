//! What restores, migrations and the way back from one end with: the service stops, two
//! generations change places, the service starts. And what ends them where they were
//! killed.

use anyhow::{Error, Result};

use crate::generations::{ROLLBACK, VolumeFindings, VolumeJournal, VolumeKeeper};
use crate::operation::{self, DataOperation, DataStep, DataWork, START};
use service::seen::SeenContainer;

/// What they are called in the journal.
pub(crate) const RESTORE: &str = "restore";
pub(crate) const MIGRATION: &str = "migration";

/// The steps that all of them end with, as they are once the new data are whole.
pub(crate) struct Exchange<'a> {
    pub(crate) work: DataWork<'a>,
}

/// The same steps for an operation that has others before.
pub(crate) fn steps<'a, O: DataOperation<'a>>(work: &DataWork<'a>) -> Vec<DataStep<O>> {
    let exchange = match work.journal.operation.as_str() {
        ROLLBACK => DataStep::exchange_back(),
        _ => DataStep::exchange(),
    };
    let mut all = vec![DataStep::stop(), exchange];
    all.extend(work.journal.service_ran.then(DataStep::start));
    all
}

impl<'a> DataOperation<'a> for Exchange<'a> {
    fn steps(&self) -> Vec<DataStep<Self>> {
        steps(&self.work)
    }

    fn work(&self) -> &DataWork<'a> {
        &self.work
    }

    fn work_mut(&mut self) -> &mut DataWork<'a> {
        &mut self.work
    }

    fn failed(&self, step: &'static str, error: Error, undone: Result<()>) -> Error {
        let name = &self.work.handle.name;
        match (undone, step == START) {
            (Ok(()), false) => error.context(format!("{name}: the data are as they were")),
            (Ok(()), true) => {
                let kind = failure::kind(&error);
                let message =
                    format!("{name} does not work on the data from before; they are put aside again");
                error.context(failure::Failure::new(kind, message))
            }
            (Err(also), _) => error.context(format!("nor could the data be exchanged again: {also:#}")),
        }
    }
}

/// Whether a journal is that of such an operation.
pub(crate) fn is_one(journal: &VolumeJournal) -> bool {
    [RESTORE, MIGRATION, ROLLBACK].contains(&journal.operation.as_str())
}

/// Whether the data have been exchanged, or exchanged back.
fn is_exchanged(journal: &VolumeJournal, running: Option<&str>) -> bool {
    let runs = running == Some(journal.id.as_str());
    runs != (journal.operation == ROLLBACK)
}

/// Ends one that was killed: done where the service works on the new data, else as before.
/// Whether the service is still to be started.
///
/// # Errors
/// When the engine refuses, or somebody else uses the volume.
pub(crate) fn end(work: DataWork<'_>, may_wait: bool) -> Result<bool> {
    let seen = work.look()?;
    // One that does not run was stopped before the exchange, or by somebody since then, who has
    // worked on the new data.
    let is_wanted = || Ok::<bool, Error>(seen.was_healthy || runs(&work)? || work.is_used()?);
    if is_exchanged(&work.journal, seen.running.as_deref()) && is_wanted()? && work.works(may_wait)? {
        work.settle()?;
        work.finish()?;
        return Ok(false);
    }
    let mut one = Exchange { work };
    operation::undo_killed(&mut one)?;
    one.work.settle()?;
    one.work.finish()?;
    one.work.tell_taken_back()?;
    Ok(one.work.journal.service_ran && !runs(&one.work)?)
}

fn runs(work: &DataWork<'_>) -> Result<bool> {
    let runs = |seen: &SeenContainer| seen.condition.runs();
    Ok(work.handle.place()?.own().is_some_and(runs))
}

/// What a volume says of itself, once an operation has ended that was killed and left no
/// container to know it by.
pub(crate) fn settled<'a>(
    keeper: &VolumeKeeper,
    extensions: &[&str],
    takes_over: bool,
    work: impl FnOnce(VolumeJournal) -> DataWork<'a>,
) -> Result<VolumeFindings> {
    let seen = keeper.look(extensions)?;
    let Some(journal) = seen.journal.clone().filter(is_one) else {
        return Ok(seen);
    };
    let mut work = work(journal);
    let name = &work.handle.name;
    work.journal.was_killed(name.as_str(), seen.is_held, takes_over)?;
    if !work.take()? {
        return keeper.look(extensions);
    }
    work.report
        .step("mend", format!("{name}: {}", work.journal.killed()));
    end(work, false)?;
    keeper.look(extensions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_says_whether_the_data_were_exchanged() {
        let of = |operation: &str, running: Option<&str>| {
            is_exchanged(&VolumeJournal::begun(operation, "2", true), running)
        };
        for operation in [RESTORE, MIGRATION] {
            assert!(of(operation, Some("2")));
            assert!(!of(operation, Some("1")) && !of(operation, None));
        }
        assert!(!of(ROLLBACK, Some("2")));
        assert!(of(ROLLBACK, Some("1")) && of(ROLLBACK, None));
    }
}
