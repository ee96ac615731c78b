//! The full suite: the gate, then faults. A fault does harm to real containers
//! and proves that they bear it.
//!
//! # To add a fault
//!
//! Write a function `fn(&Fixture) -> Result<Observation>` in `faults/<subject>.rs` and
//! name it in [`FULL`](super::faults::FULL). Everything else follows: how it
//! is run, reported, bundled, and made part of the suite's key.
//!
//! - The [`Fixture`] gives containers and volumes of the image under test. They
//!   are the fault's own, carry the run's label, and go when the fault ends;
//!   nothing is shared between faults, so the order does not matter.
//! - `Ok(seen("…"))` is a pass: one sentence, what was done and what was seen.
//!   `measured(figure, "…")` passes or fails by a limit.
//! - `Err` is a failure: `bail!(flaw("…"))` for what is wrong, and any other
//!   error (the engine refused, a command did not end) is a failure, too. Only
//!   Ctrl-C ends the run. So `?` is all that a fault needs.
//! - `bail!(Untried(…))` where the engine has not the means for it: told, no
//!   failure of the image, and no proof either.
//! - A fault must be able to fail: it looks at what the container did, not at
//!   whether a command could be run.
//! - Another fault runs at the same time. One that only took too long, by its
//!   figure's limit, is run again, alone, and with more time where others want
//!   the processors: limits of time are the spec's or go through
//!   [`Fixture::patience`], and what did not come in time is a flaw of `late`.
//! - `fixture.note("…")` tells the timeline what happens; a failed fault's
//!   bundle has it beside the logs, `docker inspect`, the supervisor's status
//!   and the control data of all that is there at that moment.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use crate::fixture::Fixture;
use crate::suite::{self, digest};
use crate::verdict::CheckResult;
use crate::{Subject, bundle, report};
use container::finding::{Flaw, Judged, Observation, Untried, flaw, settled};
use container::load::MachineLoad;
use definition::identity::{ImageId, SuiteKey};
use definition::spec::ImageSpec;
use definition::spec::kind::ImageKind;
use engine::container::RunResources;
use failure::FailureKind;
use host::report::Report;

/// Faults that run at the same time. Each waits most of its time, but a boot
/// takes a core for a second: more of them only make each other slow.
const TOGETHER: usize = 2;

/// One fault of the full suite.
#[derive(Clone, Copy, Debug)]
pub struct FaultDef {
    /// Kebab-case, unique, and no check of the gate; others read it in
    /// `smoke --json`, and `--only` takes it.
    pub name: &'static str,
    /// What holds when it passes, in one line.
    pub proves: &'static str,
    /// The kinds of image that it can harm.
    pub kinds: &'static [ImageKind],
    /// Does the harm, and says what came of it.
    pub run: fn(&Fixture<'_>) -> Result<Observation>,
}

impl FaultDef {
    /// Whether it is for images of this kind.
    pub fn fits(&self, kind: ImageKind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// One fault on one image.
#[derive(Clone, Copy, Debug)]
struct FaultJob<'a> {
    subject: usize,
    fault: &'a FaultDef,
}

/// What a run of faults needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultSuite<'a> {
    pub(crate) report: &'a Report,
    /// The images that the faults are tried on.
    pub(crate) subjects: &'a [Subject],
    /// Of each image, where its failed faults leave what is known of them.
    pub(crate) bundles: &'a [PathBuf],
    /// Whether faults that only took too long are run again.
    pub(crate) second_try: bool,
}

/// Runs faults on the subjects with these numbers, two at a time, and, where the suite
/// has a second try, those that only took too long once more, alone.
///
/// Returns the results by subject, in the order of `faults`.
///
/// # Errors
/// On Ctrl-C, and when a bundle cannot be written.
pub(crate) fn run_all(
    suite: FaultSuite<'_>,
    resources: &RunResources,
    numbers: &[usize],
    faults: &[&FaultDef],
) -> Result<Vec<Vec<CheckResult>>> {
    let mut done = pool(suite, resources, jobs(suite.subjects, numbers, faults))?;
    let late: Vec<usize> = (0..done.len())
        .filter(|&n| suite.second_try && done[n].1.only_took_too_long())
        .collect();
    for n in late {
        let job = done[n].0;
        let load = MachineLoad::in_the_way(&resources.engine, &resources.runner)?;
        let allowance = load.map_or_else(String::new, |load| format!("; {}", load.allowance()));
        suite.report.warn(format!(
            "{}: {} took too long, it is run again, alone{allowance}",
            suite.subjects[job.subject].spec.name, job.fault.name
        ));
        done[n].1 = run(suite, resources, job, load)?;
    }
    let results = (0..suite.subjects.len()).map(|subject| {
        let of_fault = |fault: &&FaultDef| {
            let found = done
                .iter()
                .find(|(job, _)| job.subject == subject && job.fault.name == fault.name);
            found.map(|(_, result)| result.clone())
        };
        faults.iter().filter_map(of_fault).collect()
    });
    Ok(results.collect())
}

/// Each fault on those of the subjects with these numbers that it is for. Images
/// take turns, and the table's order is kept: the longest come first.
fn jobs<'a>(subjects: &[Subject], numbers: &[usize], faults: &[&'a FaultDef]) -> Vec<FaultJob<'a>> {
    let all = faults.iter().flat_map(|&fault| {
        let of_fault = move |&subject| FaultJob { subject, fault };
        numbers.iter().map(of_fault)
    });
    all.filter(|job| job.fault.fits(subjects[job.subject].spec.kind()))
        .collect()
}

/// Runs jobs on [`TOGETHER`] threads; the first error lets the others finish what they
/// are at and ends the run.
fn pool<'a>(
    suite: FaultSuite<'_>,
    resources: &RunResources,
    jobs: Vec<FaultJob<'a>>,
) -> Result<Vec<(FaultJob<'a>, CheckResult)>> {
    let queue = Mutex::new(VecDeque::from(jobs));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..TOGETHER {
            // A runner belongs to one thread.
            let resources = resources.clone();
            let (queue, next) = (&queue, &next);
            workers.push(scope.spawn(move || -> Result<Vec<(FaultJob<'a>, CheckResult)>> {
                let mut done = Vec::new();
                while let Some(job) = next() {
                    match run(suite, &resources, job, None) {
                        Ok(result) => done.push((job, result)),
                        Err(error) => {
                            queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                            return Err(error);
                        }
                    }
                }
                Ok(done)
            }));
        }
        let mut done = Vec::new();
        for worker in workers {
            done.extend(worker.join().map_err(|_| anyhow!("a fault panicked"))??);
        }
        Ok(done)
    })
}

/// Runs one fault, with more time where others want the processors; a failed
/// one leaves a folder of its name in the bundle.
fn run(
    suite: FaultSuite<'_>,
    resources: &RunResources,
    job: FaultJob<'_>,
    load: Option<MachineLoad>,
) -> Result<CheckResult> {
    let fault = job.fault;
    let mut subject = suite.subjects[job.subject].clone();
    if let Some(load) = load {
        subject.spec.budgets = load.stretch(&subject.spec.budgets);
    }
    let subject = &subject;
    let image = subject.spec.name.as_str();
    let began = Instant::now();
    let fixture = Fixture::new(resources, subject, super::container_prefix(image, &resources.run))
        .among(suite.subjects)
        .beside_others(load);
    let ended = (fault.run)(&fixture);
    let result = result_of(fault.name, began.elapsed(), ended)?;
    for line in fixture.timeline() {
        suite.report.debug(format!("{image}: {}: {line}", fault.name));
    }
    if resources.keep {
        suite
            .report
            .detail(format!("{}: kept: {}", fault.name, fixture.kept().join(", ")));
    }
    let said = report::word(result.outcome);
    let took = host::report::seconds(began.elapsed());
    suite
        .report
        .step("fault", format!("{image}: {said} {} in {took}", fault.name));
    let folder = suite.bundles[job.subject].join(fault.name);
    if !result.failed() {
        bundle::forget_scene(&folder)?;
        return Ok(result);
    }
    let result = result.without(&fixture.secrets()?);
    bundle::write_scene(&folder, &fixture, &result)
        .with_context(|| format!("write the failure bundle {}", folder.display()))?;
    Ok(result)
}

/// What the report says of a fault that ended like this.
fn result_of(name: &str, took: Duration, ended: Result<Observation>) -> Result<CheckResult> {
    let untried = ended.as_ref().err().and_then(anyhow::Error::downcast_ref);
    Ok(match untried {
        Some(Untried(why)) => CheckResult::untried(name, took, why),
        None => CheckResult::new(name, took, judged(ended)?),
    })
}

/// Ctrl-C stays an error; everything else is said of the image.
fn judged(result: Result<Observation>) -> Result<Judged> {
    match result {
        Err(error) if failure::kind(&error) == FailureKind::Interrupted => Err(error),
        Err(error) => Ok(Err(match error.downcast::<Flaw>() {
            Ok(flaw) => flaw,
            Err(error) => settled::<()>(Err(error))?
                .err()
                .map_or_else(|| flaw("failed"), flaw),
        })),
        Ok(seen) => Ok(Ok(seen)),
    }
}

/// The faults of a run.
#[derive(Clone, Copy, Debug)]
pub struct Faults<'a> {
    /// What the suite has: [`FULL`](super::faults::FULL), or fewer in a test.
    pub all: &'a [FaultDef],
    /// Names of those that are asked for; none for all.
    pub only: &'a [String],
    /// Whether one that only took too long is run again, alone. It is not where an
    /// image is made to fail it.
    pub second_try: bool,
}

impl<'a> Faults<'a> {
    /// Those that are asked for.
    ///
    /// # Errors
    /// A usage failure for a name that is no fault.
    pub fn chosen(self) -> Result<Vec<&'a FaultDef>> {
        let (all, only) = (self.all, self.only);
        let is_known = |name: &str| all.iter().any(|fault| fault.name == name);
        let unknown: Vec<&str> = only
            .iter()
            .map(String::as_str)
            .filter(|name| !is_known(name))
            .collect();
        if !unknown.is_empty() {
            let known: Vec<&str> = all.iter().map(|fault| fault.name).collect();
            let message = format!("the full suite has no fault {}", unknown.join(", "));
            return Err(failure::usage(message)
                .hint(format!("faults are: {}", known.join(", ")))
                .into());
        }
        let is_chosen = |fault: &&FaultDef| only.is_empty() || only.iter().any(|name| name == fault.name);
        Ok(all.iter().filter(is_chosen).collect())
    }

    /// Those of the suite that are for images of this kind.
    fn fitting(self, kind: ImageKind) -> impl Iterator<Item = &'a FaultDef> {
        self.all.iter().filter(move |fault| fault.fits(kind))
    }

    /// Everything that a whole pass on an image of this kind looked at: the gate's
    /// checks and the faults.
    pub(crate) fn names(self, kind: ImageKind) -> impl Iterator<Item = &'static str> {
        let gate = suite::gate(kind).map(|check| check.name);
        gate.chain(self.fitting(kind).map(|fault| fault.name))
    }

    /// What an image is proved against: the gate's key and all faults of the
    /// suite, also those that are not asked for. SHA-256 in hex.
    ///
    /// # Errors
    /// As [`suite::key`].
    pub fn key(self, spec: &ImageSpec, database: Option<&ImageId>) -> serde_json::Result<SuiteKey> {
        let gate = suite::key(spec, database)?;
        let mut fields = vec![("gate", gate.as_str())];
        fields.extend(self.fitting(spec.kind()).map(|fault| ("fault", fault.name)));
        Ok(SuiteKey::of_digest(&digest(&fields)))
    }
}

/// Checks that each image has something to bear of what is asked for.
///
/// # Errors
/// A usage failure with the images whose kind none of the faults is for.
pub(crate) fn check_kinds(subjects: &[Subject], faults: &[&FaultDef]) -> Result<()> {
    let bears_one = |subject: &Subject| faults.iter().any(|fault| fault.fits(subject.spec.kind()));
    let without = subjects.iter().filter(|subject| !bears_one(subject));
    let without: Vec<&str> = without.map(|subject| subject.spec.name.as_str()).collect();
    if without.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = faults.iter().map(|fault| fault.name).collect();
    Err(failure::usage(format!(
        "{} {} for no image of the kind of {}",
        names.join(", "),
        if names.len() == 1 { "is" } else { "are" },
        without.join(", ")
    ))
    .hint("name the images that it is for, or leave out --only")
    .into())
}

/// What every fault gets that was not run.
pub(crate) fn not_run(faults: &[&FaultDef], why: &str, because: Option<&str>) -> Vec<CheckResult> {
    let one = |fault: &&FaultDef| {
        let mut result = CheckResult::new(fault.name, Duration::ZERO, Err(flaw(why)));
        result.because = because.map(str::to_owned);
        result
    };
    faults.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{FULL, crash};
    use crate::verdict::CheckOutcome;
    use container::figure::Figure;
    use container::finding::{late, measured, seen};

    #[test]
    fn errors_are_failures_of_the_image_and_ctrl_c_is_not() {
        let wrong = judged(Err(flaw("lost 3 rows").into())).unwrap().unwrap_err();
        assert_eq!(wrong.detail, "lost 3 rows");
        let late = measured(Figure::new(3.0, Some(2.0), "s"), "until healthy").unwrap_err();
        let kept = judged(Err(late.clone().into())).unwrap().unwrap_err();
        assert_eq!(kept, late, "the figure is kept");
        let engine = anyhow!("no such container").context("docker exec");
        let said = judged(Err(engine)).unwrap().unwrap_err().detail;
        assert_eq!(said, "docker exec: no such container");
        assert!(judged(seen("fine").map_err(Into::into)).unwrap().is_ok());
        let error = judged(Err(failure::interrupted().into())).unwrap_err();
        assert_eq!(failure::kind(&error), FailureKind::Interrupted);
    }

    #[test]
    fn what_did_not_come_in_time_is_run_again_with_the_others_counted() {
        let limit = Duration::from_secs(30);
        let ended = || -> Result<Observation> { Err(late(limit, limit, "health did not become 200").into()) };
        let result = result_of("kill-app", limit, ended()).unwrap();
        assert!(result.only_took_too_long());
        let moment = ended().map_err(|error| crash::in_words(error, "killed"));
        let result = result_of("kill-first-boot", limit, moment).unwrap();
        assert!(result.only_took_too_long());
        assert_eq!(result.detail, "killed: health did not become 200");
        let wrong = || -> Result<Observation> { Err(flaw("lost a row").into()) };
        let wrong = wrong().map_err(|error| crash::in_words(error, "killed"));
        assert!(
            !result_of("kill-first-boot", limit, wrong)
                .unwrap()
                .only_took_too_long()
        );
    }

    #[test]
    fn a_fault_is_tried_on_the_kinds_that_it_is_for() {
        let subject = |kind| {
            let mut spec = crate::sample::spec();
            if kind == ImageKind::Database {
                spec.app = None;
            }
            if kind == ImageKind::App {
                spec.database.elsewhere = Some(spec.name.clone());
            }
            Subject {
                spec,
                image_id: format!("sha256:{:064}", 1).parse().unwrap(),
                reference: String::new(),
                database: None,
            }
        };
        let subjects = [ImageKind::AllInOne, ImageKind::App, ImageKind::Database].map(subject);
        let only = ["kill-app", "kill-postmaster", "hardened"].map(str::to_owned);
        let faults = chosen(&only).unwrap();
        let tried: Vec<(&str, usize)> = jobs(&subjects, &[0, 1, 2], &faults)
            .iter()
            .map(|job| (job.fault.name, job.subject))
            .collect();
        assert_eq!(
            tried,
            [
                ("kill-postmaster", 0),
                ("kill-postmaster", 2),
                ("kill-app", 0),
                ("kill-app", 1),
                ("hardened", 0),
                ("hardened", 1),
                ("hardened", 2),
            ]
        );
        assert!(check_kinds(&subjects, &faults).is_ok());
        let of_an_app = chosen(&only[..1]).unwrap();
        let error = check_kinds(&subjects, &of_an_app).unwrap_err();
        assert_eq!(error.to_string(), "kill-app is for no image of the kind of genie");
        assert_eq!(failure::kind(&error), FailureKind::Usage);
    }

    fn chosen(only: &[String]) -> Result<Vec<&FaultDef>> {
        Faults {
            all: FULL,
            only,
            second_try: true,
        }
        .chosen()
    }

    #[test]
    fn what_an_engine_cannot_do_is_neither_a_failure_nor_a_proof() {
        let why = "not possible here: no loop devices";
        let ended = Err(Untried(why.into())).context("make a disk");
        let result = result_of("power-cut", Duration::ZERO, ended).unwrap();
        assert_eq!(
            (result.outcome, result.detail.as_str()),
            (CheckOutcome::Untried, why)
        );
        assert!(!result.failed());
        let wrong = result_of("power-cut", Duration::ZERO, Err(flaw("lost").into())).unwrap();
        assert!(wrong.failed());
    }

    #[test]
    fn unknown_names_are_told_with_the_known_ones() {
        assert_eq!(chosen(&[]).unwrap().len(), FULL.len());
        let only = [FULL[0].name.to_owned()];
        assert_eq!(chosen(&only).unwrap().len(), 1);
        let only = ["nope".to_owned(), FULL[0].name.to_owned()];
        let error = chosen(&only).unwrap_err();
        assert_eq!(error.to_string(), "the full suite has no fault nope");
        assert_eq!(failure::kind(&error), FailureKind::Usage);
    }

    #[test]
    fn what_was_not_run_is_a_failure_that_follows() {
        let faults = chosen(&[]).unwrap();
        let results = not_run(&faults, "not reached: the gate failed", Some("stays-up"));
        assert_eq!(results.len(), FULL.len());
        assert!(results.iter().all(CheckResult::failed));
        assert_eq!(results[0].because.as_deref(), Some("stays-up"));
    }
}
