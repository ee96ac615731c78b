//! Boots a candidate by image ID, with its real entrypoint, and proves it.
//!
//! `Subject → GateRun (what is done) → Facts (what was seen) → judges → Verdict
//! → Verified`. The suite is data ([`suite::GATE`]): to add a check, write its
//! judge in `checks/` and name it there. Every check is run and reported, also
//! when an early one fails; no checks at all are a failure. Only this module
//! makes a [`Verified`], and nothing is tagged without one.

mod beside;
mod bundle;
pub mod checks;
pub mod facts;
pub mod fault;
pub mod faults;
pub mod fixture;
mod gate_run;
mod ledger;
mod names;
pub mod own_checks;
pub mod proof;
pub mod report;
mod rows;
mod secrets;
#[cfg(test)]
mod sources;
mod spec_checks;
mod subject;
pub mod suite;
mod verdict;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest as _, Sha256};

use container::load::MachineLoad;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use definition::spec::kind::ImageKind;
use engine::Inventory;
use engine::container::RunResources;
use facts::Facts;
use fault::{FaultDef, FaultSuite, Faults};
use gate_run::GateRun;
use host::report::Report;
use inputs::hex;
use proof::proof_tag;
use suite::{CheckDef, GATE, How};
use verdict::{CheckResult, Full};

pub use gate_run::PreparedUpgrade;
pub use proof::Verified;
pub use subject::{Subject, subject};
pub use verdict::{CheckOutcome, FailedVerdict, Verdict};

/// The proof of an earlier run: the engine's proof tag of this image and the
/// present suite names this very ID. `database` is the image that an app alone is
/// proved with.
///
/// # Errors
/// When the suite has no key.
pub fn recall(
    inventory: &Inventory,
    spec: &ImageSpec,
    database: Option<&ImageId>,
    image_id: &ImageId,
) -> Result<Option<Verified>> {
    let (image, suite_key) = (spec.name.to_string(), suite::key(spec, database)?);
    let same = inventory.id_of(&proof_tag(&image, &suite_key, image_id)) == Some(image_id);
    Ok(same.then(|| Verified {
        image,
        image_id: image_id.clone(),
        suite_key,
        full_key: None,
    }))
}

/// Of each image that is about to be built: the image before it, as the one that leaves
/// rows for the gate to go on from. None where there is no such image, or no data.
///
/// # Errors
/// When the engine does not answer.
pub fn images_before(resources: &RunResources, specs: &[&ImageSpec]) -> Result<Vec<Subject>> {
    let mut found = Vec::new();
    for &spec in specs {
        // The database of an app alone may be in the making, too.
        if !ImageKind::WITH_DATABASE.contains(&spec.kind()) {
            continue;
        }
        if let Some(image_id) = proof::image_before_build(resources, spec)? {
            found.push(Subject {
                spec: spec.clone(),
                reference: image_id.to_string(),
                image_id,
                database: None,
            });
        }
    }
    Ok(found)
}

/// Has the images before leave their rows while others build, one after the other until
/// `is_built`: a build leaves processors idle, and the gate need not wait for it then.
///
/// # Errors
/// On Ctrl-C, or when the engine does not answer.
pub fn prepare<'a>(
    resources: &RunResources,
    images_before: &'a [Subject],
    is_built: &AtomicBool,
) -> Result<Vec<PreparedUpgrade<'a>>> {
    let mut prepared = Vec::new();
    for before in images_before {
        // What has not begun is for the gate to do, beside what else it does.
        if is_built.load(Ordering::Relaxed) {
            break;
        }
        prepared.extend(PreparedUpgrade::new(resources, before)?);
    }
    Ok(prepared)
}

/// Proves several images, all at the same time; verdicts in the same order. What is
/// `prepared` for them is used.
///
/// An image that only took too long is proved once more, alone: on a busy
/// machine the images are in each other's way, while an image that became
/// slower is slow alone, too. Where others want the processors at that moment,
/// it gets that much more time: see [`container::load`]. There, so is one whose
/// first start was not over when the waiting was.
///
/// # Errors
/// As [`run`]; one error ends the others at their next step only if it was
/// Ctrl-C, so nothing is left behind.
pub fn run_all(
    report: &Report,
    state_dir: &Path,
    resources: &RunResources,
    subjects: &[Subject],
    mut prepared: Vec<PreparedUpgrade<'_>>,
) -> Result<Vec<Verdict>> {
    let mut verdicts = Vec::new();
    for some in subjects.chunks(at_once(std::thread::available_parallelism().ok())) {
        let is_of = |one: &mut PreparedUpgrade<'_>| some.iter().any(|subject| one.is_of(subject));
        let theirs = prepared.extract_if(.., is_of).collect();
        verdicts.extend(run_together(report, state_dir, resources, some, theirs)?);
    }
    for (verdict, subject) in verdicts.iter_mut().zip(subjects) {
        let late = verdict.only_took_too_long();
        if late || verdict.was_not_awaited() {
            let load = MachineLoad::in_the_way(&resources.engine, &resources.runner)?;
            if !late && load.is_none() {
                continue;
            }
            let causes: Vec<&str> = match late {
                true => verdict.causes().iter().map(|check| check.name.as_str()).collect(),
                false => vec![names::TIME_TO_READY],
            };
            let name = subject.spec.name.as_str();
            let allowance = load.map_or_else(String::new, |load| format!("; {}", load.allowance()));
            report.warn(format!(
                "{name} took too long ({}): it is proved again, alone{allowance}",
                causes.join(", ")
            ));
            let mut again = subject.clone();
            if let Some(load) = load {
                again.spec.budgets = load.stretch(&subject.spec.budgets);
            }
            *verdict = run(report, state_dir, resources, &again)?;
            // It is the spec's budgets that were kept, by what they mean.
            verdict.suite_key = subject.suite_key()?;
        }
    }
    Ok(verdicts)
}

/// How many images are proved at a time: each boots three containers, and what is
/// timed has to say something of the image.
fn at_once(processors: Option<NonZeroUsize>) -> usize {
    processors.map_or(1, NonZeroUsize::get).max(2)
}

fn run_together(
    report: &Report,
    state_dir: &Path,
    resources: &RunResources,
    subjects: &[Subject],
    mut prepared: Vec<PreparedUpgrade<'_>>,
) -> Result<Vec<Verdict>> {
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for subject in subjects {
            // A runner belongs to one thread.
            let resources = resources.clone();
            let prepared = prepared.extract_if(.., |one| one.is_of(subject)).next();
            threads.push(scope.spawn(move || run_prepared(report, state_dir, &resources, subject, prepared)));
        }
        let mut verdicts = Vec::new();
        for thread in threads {
            verdicts.push(thread.join().map_err(|_| anyhow!("the smoke run panicked"))?);
        }
        verdicts.into_iter().collect()
    })
}

/// Proves one image. Whatever is wrong with it is in the verdict; a failed one
/// leaves a bundle in the state folder. Containers and the volume are gone at
/// the end.
///
/// # Errors
/// When the engine does not answer, the bundle cannot be written, or on Ctrl-C.
pub fn run(
    report: &Report,
    state_dir: &Path,
    resources: &RunResources,
    subject: &Subject,
) -> Result<Verdict> {
    run_prepared(report, state_dir, resources, subject, None)
}

fn run_prepared(
    report: &Report,
    state_dir: &Path,
    resources: &RunResources,
    subject: &Subject,
    prepared: Option<PreparedUpgrade<'_>>,
) -> Result<Verdict> {
    let began = Instant::now();
    let name = subject.spec.name.as_str();
    let image = resources
        .engine
        .image(&resources.runner, subject.image_id.as_str())?
        .with_context(|| format!("the engine has no image {}", subject.image_id))?;
    report.step("smoke", format!("{name}: {}", subject.image_id.short()));
    let mut gate_run = GateRun::new(
        resources,
        subject,
        &image,
        &container_prefix(name, &resources.run),
        prepared,
    )?;
    gate_run
        .run()
        .with_context(|| format!("smoke-test image {name}"))?;
    let hidden = &gate_run.facts.hidden();
    for line in gate_run.timeline.lines() {
        report.debug(format!("{name}: {}", secrets::scrub(line, hidden)));
    }
    if resources.keep {
        report.detail(format!("kept: {}", gate_run.kept().join(", ")));
    }
    let upgrade = checks::upgrade::warnings(&gate_run.facts);
    for warning in upgrade.into_iter().chain(checks::files::warning(&gate_run.facts)) {
        report.warn(format!("{name}: {}", secrets::scrub(&warning, hidden)));
    }
    let gate = suite::gate(subject.spec.kind()).map(|check| judge(check, &gate_run.facts));
    let own = std::mem::take(&mut gate_run.own);
    let mut checks: Vec<CheckResult> = gate.chain(own).map(|check| check.without(hidden)).collect();
    attribute(&mut checks);
    let mut verdict = Verdict {
        image: name.to_owned(),
        image_id: subject.image_id.clone(),
        reference: subject.reference.clone(),
        suite_key: subject.suite_key()?,
        full: None,
        checks,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        bundle: None,
        last_words: facts_seen(&gate_run, |facts| facts.last_words.clone()),
        exception: facts_seen(&gate_run, |facts| facts.exception.clone()),
        advice: facts_seen(&gate_run, checks::app::advice),
    };
    if !verdict.passed() {
        let folder = bundle::folder(state_dir, name);
        verdict.bundle = Some(folder.clone());
        bundle::write(&folder, &gate_run, &verdict)
            .with_context(|| format!("write the failure bundle {}", folder.display()))?;
    }
    gate_run.clear();
    report.step("smoke", format!("{name}: {}", self::report::summary(&verdict)));
    Ok(verdict)
}

/// The full suite: the gate on all images at once, then faults on those that
/// passed it; or, where some faults are named, only these. Verdicts in the same
/// order as the images.
///
/// # Errors
/// A usage failure for a name that is no fault; else as [`run`].
pub fn run_full(
    report: &Report,
    state_dir: &Path,
    resources: &RunResources,
    subjects: &[Subject],
    suite: Faults<'_>,
) -> Result<Vec<Verdict>> {
    let began = Instant::now();
    let faults = suite.chosen()?;
    fault::check_kinds(subjects, &faults)?;
    let with_gate = suite.only.is_empty();
    let mut verdicts = if with_gate {
        run_all(report, state_dir, resources, subjects, Vec::new())?
    } else {
        let nothing = |subject| Verdict::of_nothing(subject);
        subjects.iter().map(nothing).collect::<serde_json::Result<_>>()?
    };
    let folder = |verdict: &Verdict| {
        let own = || bundle::folder(state_dir, &verdict.image);
        verdict.bundle.clone().unwrap_or_else(own)
    };
    let bundles: Vec<PathBuf> = verdicts.iter().map(folder).collect();
    let fit: Vec<usize> = (0..verdicts.len())
        .filter(|&n| !with_gate || verdicts[n].passed())
        .collect();
    let common = FaultSuite {
        report,
        subjects,
        bundles: &bundles,
        second_try: suite.second_try,
    };
    let mut results = fault::run_all(common, resources, &fit, &faults)?;
    for (n, verdict) in verdicts.iter_mut().enumerate() {
        let kind = subjects[n].spec.kind();
        let more = if fit.contains(&n) {
            std::mem::take(&mut results[n])
        } else {
            let cause = verdict.causes().first().map(|check| check.name.clone());
            let fitting: Vec<&FaultDef> = faults.iter().copied().filter(|fault| fault.fits(kind)).collect();
            fault::not_run(&fitting, "not reached: the gate failed", cause.as_deref())
        };
        verdict.checks.extend(more);
        let key = suite.key(&subjects[n].spec, subjects[n].database_id())?;
        verdict.full = Some(Full::of(key, &verdict.checks, suite.names(kind)));
        verdict.took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if !verdict.passed() {
            verdict.bundle = Some(bundles[n].clone());
            bundle::write_verdict(&bundles[n], verdict)
                .with_context(|| format!("write the failure bundle {}", bundles[n].display()))?;
        }
        let summary = self::report::summary(verdict);
        report.step("smoke", format!("{}: {summary}", verdict.image));
    }
    Ok(verdicts)
}

/// A text about what was seen, without its secrets.
fn facts_seen(gate_run: &GateRun<'_>, text: impl Fn(&Facts) -> Option<String>) -> Option<String> {
    let facts = &gate_run.facts;
    text(facts).map(|text| secrets::scrub(&text, &facts.hidden()))
}

fn judge(check: &CheckDef, facts: &Facts) -> CheckResult {
    let (took, judged) = match check.how {
        How::Watch(part, judge) => (facts.took.get(&part).copied(), judge(facts)),
        How::Ask(when, _, judge) => match facts.answer(when, check.name) {
            Ok(answer) => (Some(answer.took), judge(facts, answer)),
            Err(why) => (None, Err(why)),
        },
    };
    CheckResult::new(check.name, took.unwrap_or(Duration::ZERO), judged)
}

/// Says of each failure which other one explains it: the first failed need,
/// and that one's cause in turn. A spec's own checks need
/// a healthy app and the database.
fn attribute(checks: &mut [CheckResult]) {
    let failed: Vec<String> = checks
        .iter()
        .filter(|c| c.failed())
        .map(|c| c.name.clone())
        .collect();
    let need_of = |name: &str| -> Option<&'static str> {
        let needs = GATE
            .iter()
            .find(|check| check.name == name)
            .map_or(&[names::HEALTH, names::SQL_LOGIN][..], |check| check.needs);
        needs
            .iter()
            .copied()
            .find(|need| failed.iter().any(|f| f == need))
    };
    for check in checks.iter_mut().filter(|check| check.failed()) {
        let mut cause = need_of(&check.name);
        while let Some(deeper) = cause.and_then(need_of) {
            cause = Some(deeper);
        }
        check.because = cause.map(str::to_owned);
    }
}

/// `hive-smoke-<image>-<hash>`: unique among runs and within this one.
pub fn container_prefix(image: &str, run: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = Sha256::digest(format!("{run}/{count}"));
    format!("hive-smoke-{image}-{}", hex::digits(&hash[..5]))
}

#[cfg(test)]
#[path = "../../definition/src/spec/sample.rs"]
mod sample;

#[cfg(test)]
mod tests {
    use super::*;
    use container::finding::{flaw, seen};
    use engine::Image;

    use crate::sample::spec;

    pub(crate) fn facts() -> Facts {
        let image = Image::from_document(serde_json::json!({"Id": format!("sha256:{:064}", 1)})).unwrap();
        Facts::new(&spec(), image, "smoke-volume")
    }

    #[test]
    fn two_images_are_proved_at_a_time_and_more_where_there_are_more_processors() {
        let at_once = |processors| at_once(NonZeroUsize::new(processors));
        assert_eq!([0, 1, 2, 8].map(at_once), [2, 2, 2, 8]);
    }

    #[test]
    fn nothing_seen_fails_every_check() {
        for check in GATE {
            let result = judge(check, &facts());
            assert!(result.failed(), "{}", check.name);
        }
    }

    #[test]
    fn failures_are_traced_to_their_root() {
        let result = |name: &str, good: bool| {
            let judged = if good { seen("") } else { Err(flaw("")) };
            CheckResult::new(name, Duration::ZERO, judged)
        };
        let mut checks = vec![
            result("programs-running", false),
            result("postgresql-ready", false),
            result("sql-login", false),
            result("image-port", false),
            result("wrong-password", true),
            result("spec: root", false),
            result("health", false),
        ];
        attribute(&mut checks);
        let because: Vec<Option<&str>> = checks.iter().map(|c| c.because.as_deref()).collect();
        let root = Some("programs-running");
        assert_eq!(because, [None, root, root, None, None, root, root]);
    }

    #[test]
    fn names_are_unique_and_short_enough() {
        let run = "1-2-3-4";
        let name = container_prefix("genie", run);
        assert_ne!(name, container_prefix("genie", run));
        assert!(name.len() < 63, "{name}");
    }
}
