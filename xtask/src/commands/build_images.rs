//! `cargo xtask build-images`: build what has changed, prove it, move the tags.

mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};

use crate::cli::{self, BuildImagesArgs};
use crate::promote::{self, Promotion};
use crate::survey::{self, Contexts, EngineAndBases, Surveyed};
use build::assembly::{self, Staged};
use build::base::obtain::{self, ObtainedBases};
use build::buildkit::progress::{Detail, Progress};
use build::buildkit::{self, Candidate, Target};
use build::candidate;
use build::request::{ImageRequest, Request};
use container::words;
use definition::base::BaseSets;
use definition::identity::ImageId;
use definition::plan::Action;
use definition::spec::ImageSpec;
use detect::not_started;
use engine::container::RunResources;
use engine::{Engine, Inventory, choose, reaper};
use explain::forecast::check::{self, Checked};
use explain::history;
use explain::history::journal::{self, Journal};
use explain::history::store::Store;
use failure::{Failure, FailureKind};
use host::Host;
use smoke::{PreparedUpgrade, Subject, Verdict, Verified};

/// Plans, builds, proves and promotes; with `--dry-run` it ends with the plan.
pub(crate) fn run(args: &BuildImagesArgs, host: &Host) -> Result<()> {
    if args.dry_run {
        return super::plan::show(&args.selection, args.engine, args.json, host);
    }
    let started = Instant::now();
    let catalog = super::catalog(host, &args.selection)?;
    let request = Request::resolve(host, &catalog, &args.selection)?;
    let secrets = secrets(args, host)?;
    let engine = choose::obtain(host, args.engine.engine)?;
    engine.expect_platform(&host.runner);
    super::reap(host, &engine)?;
    let bases = obtain::get_all(host, &engine, request.bases(&catalog.lock))?;
    let engine_and_bases = EngineAndBases {
        engine: &engine,
        bases: &bases,
    };
    let surveyed = survey::survey(Contexts::new(host), &request, Some(engine_and_bases))?;
    super::plan::announce(&host.report, &surveyed);

    let work = BuildRun {
        args,
        host,
        request: &request,
        sets: &catalog.bases,
        engine: &engine,
        bases: &bases,
        secrets,
    };
    let mut journal = work.open(&surveyed)?;
    let done = engine.while_it_runs(|| work.carry_out(&surveyed, &mut journal));
    let closed = journal.close(done.as_ref().err());
    if done.is_err() {
        // Also of a run that was interrupted or could not build.
        if let Err(second) = work.retire_candidates() {
            let message = format!("what was built stays as hive-candidate:…: {second:#}");
            host.report.warn(message);
        }
    }
    let done = done.map_err(tell::ended)?;
    closed?;
    if !done.predictions.is_empty() {
        survey::past::list_build_cache(host, &engine);
    }
    work.tell(&surveyed, &done, started.elapsed())
}

/// What a run has done.
#[derive(Debug, Default)]
struct Done {
    /// A proof for each image; none where one failed.
    verified: Vec<Verified>,
    /// What the suite found, where it ran.
    verdicts: Vec<Verdict>,
    /// Image → its forecast, held against what BuildKit did.
    predictions: BTreeMap<String, Checked>,
    /// With `--keep-going`: the builds that failed while others went on.
    unbuilt: Vec<Failure>,
}

/// What the steps of one run share.
struct BuildRun<'a> {
    args: &'a BuildImagesArgs,
    host: &'a Host,
    request: &'a Request,
    sets: &'a BaseSets,
    engine: &'a Engine,
    bases: &'a ObtainedBases,
    secrets: BTreeMap<String, PathBuf>,
}

impl<'a> BuildRun<'a> {
    /// Opens an entry in the history for each image that has work to do.
    fn open(&self, surveyed: &[Surveyed<'_>]) -> Result<Journal<'a>> {
        let mut journal = Journal::new(Store::of(self.host));
        let at_work: Vec<&Surveyed<'_>> = surveyed
            .iter()
            .filter(|one| one.step.action != Action::UpToDate)
            .collect();
        if at_work.is_empty() {
            return Ok(journal);
        }
        let engine = self.engine.identity(&self.host.runner)?.to_string();
        for one in at_work {
            if let Some(definition) = one.definition.as_ref().zip(one.step.fingerprint) {
                journal.open(&journal::RecordedWork {
                    step: &one.step,
                    definition,
                    no_cache: self.request.no_cache,
                    base_set: &one.job.base.name,
                    engine: &engine,
                })?;
            }
        }
        Ok(journal)
    }

    /// From the plan to the moved tags.
    fn carry_out(&self, surveyed: &[Surveyed<'_>], journal: &mut Journal<'_>) -> Result<Done> {
        let mut done = Done::default();
        let resources = super::smoke::resources(self.host, self.engine, self.args.keep_containers)?;
        let before = self.images_before(&resources, surveyed)?;
        let (is_built, failed) = (AtomicBool::new(false), Arc::default());
        let (candidates, prepared) = thread::scope(|scope| {
            let (mut resources, before, is_built) = (resources.clone(), &before, &is_built);
            resources.runner = resources.runner.unless(&failed);
            let preparing = scope.spawn(move || smoke::prepare(&resources, before, is_built));
            let candidates = self.build(surveyed, journal, &mut done);
            failed.store(candidates.is_err(), Ordering::Relaxed);
            is_built.store(true, Ordering::Relaxed);
            (candidates, preparing.join())
        });
        let candidates = candidates?;
        let prepared = prepared.map_err(|_| anyhow!("the start of the image before panicked"))??;
        for candidate in &candidates {
            journal.built(&candidate.image, &candidate.id)?;
        }
        done.verdicts = self.prove(surveyed, &candidates, &resources, prepared)?;
        for verdict in &done.verdicts {
            let one = surveyed.iter().find(|one| one.step.name == verdict.image());
            if let Some(one) = one {
                let database = database_id(one, surveyed, &candidates);
                let recorded = recorded(verdict, &one.job.spec, database.as_ref())?;
                journal.proved(verdict.image(), recorded)?;
            }
        }
        promote::keep_proofs(self.engine, &self.host.runner, &done.verdicts)?;
        done.verified = self.verified(surveyed, &done)?;
        self.promote(surveyed, &done.verified)?;
        if !candidates.is_empty() {
            // Until here they hold the images, whatever other runs remove.
            self.retire_candidates()?;
        }
        Ok(done)
    }

    /// Of the images that are to be built, those that the gate will go on from. None where
    /// containers are kept: those of an image before belong to no verdict.
    fn images_before(&self, resources: &RunResources, surveyed: &[Surveyed<'_>]) -> Result<Vec<Subject>> {
        if resources.keep {
            return Ok(Vec::new());
        }
        let built = surveyed.iter().filter(|one| one.step.action == Action::Build);
        let specs: Vec<&ImageSpec> = built.map(|one| &one.job.spec).collect();
        smoke::images_before(resources, &specs)
    }

    /// Builds all images whose plan says so, in one call.
    fn build(
        &self,
        surveyed: &[Surveyed<'_>],
        journal: &mut Journal<'_>,
        done: &mut Done,
    ) -> Result<Vec<Candidate>> {
        let wanted: Vec<&Surveyed<'_>> = surveyed
            .iter()
            .filter(|one| one.step.action == Action::Build)
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        for one in &wanted {
            one.job.network.check_reachable()?;
        }
        let names: Vec<&str> = wanted.iter().map(|one| one.step.name.as_str()).collect();
        self.host.report.step("build", names.join(", "));
        // Held until BuildKit has read them.
        let assemblies = wanted
            .iter()
            .map(|one| one.assembly(self.host, one.base(self.bases)?))
            .collect::<Result<Vec<_>>>()?;
        let staged = assembly::stage(self.host, &assemblies)?;
        let targets = assemblies
            .iter()
            .zip(&wanted)
            .map(|(assembly, one)| assembly.target(&staged, one.job.network.access()))
            .collect::<Result<Vec<_>>>()?;
        let options = buildkit::BakeOptions {
            secrets: self.secrets.clone(),
            no_cache: self.args.selection.no_cache,
        };
        let mut progress = self.progress(&names)?;
        let (runner, report) = (&self.host.runner, &self.host.report);
        let baked = buildkit::bake(self.engine, runner, report, &targets, &options, &mut progress)
            .map_err(|error| staged.blame(error));
        // Also of a build that failed: the steps before it are in the cache.
        let compared = self.compare(&wanted, &progress, journal);
        let baked = baked.map_err(|error| self.advise(error, &progress));
        let candidates = match baked {
            Ok(candidates) => candidates,
            Err(error) if self.args.keep_going && targets.len() > 1 => {
                self.build_apart(error, &staged, &targets, &options, done)?
            }
            Err(error) => return Err(error),
        };
        done.predictions = compared?;
        Ok(candidates)
    }

    /// A call of its own for each image after one call for all has failed: the
    /// first failing target of a call cancels the others.
    fn build_apart(
        &self,
        error: anyhow::Error,
        staged: &Staged,
        targets: &[Target],
        options: &buildkit::BakeOptions,
        done: &mut Done,
    ) -> Result<Vec<Candidate>> {
        if failure::kind(&error) != FailureKind::Build {
            return Err(error);
        }
        let mut candidates = Vec::new();
        for target in targets {
            let mut progress = self.progress(&[&target.image])?;
            let target = std::slice::from_ref(target);
            let (runner, report) = (&self.host.runner, &self.host.report);
            let baked = buildkit::bake(self.engine, runner, report, target, options, &mut progress)
                .map_err(|error| self.advise(staged.blame(error), &progress));
            match baked {
                Ok(built) => candidates.extend(built),
                Err(error) => match error.downcast::<Failure>() {
                    Ok(failure) if failure.kind == FailureKind::Build => done.unbuilt.push(failure),
                    Ok(other) => return Err(other.into()),
                    Err(other) => return Err(other),
                },
            }
        }
        Ok(candidates)
    }

    fn progress<'b>(&'b self, names: &[&'b str]) -> Result<Progress<'b>> {
        let detail = match self.args.progress {
            cli::ProgressMode::Auto => Detail::Steps,
            cli::ProgressMode::Plain => Detail::Logs,
            cli::ProgressMode::Quiet => Detail::Quiet,
        };
        let progress = Progress::new(detail, names, &self.host.state_dir())?;
        Ok(progress.hiding(&self.request.logins()).naming(self.sets))
    }

    /// Holds the forecasts against what BuildKit did, and puts both on record.
    fn compare(
        &self,
        wanted: &[&Surveyed<'_>],
        progress: &Progress<'_>,
        journal: &mut Journal<'_>,
    ) -> Result<BTreeMap<String, Checked>> {
        let foretold = || {
            wanted.iter().filter_map(|one| {
                let steps = one.forecast.as_ref()?.steps.as_slice();
                Some((one.step.name.as_str(), steps, &one.past.as_ref()?.known))
            })
        };
        let seen: Vec<_> = foretold().map(|(image, ..)| progress.seen(image)).collect();
        let outcome = check::by_key(foretold().map(|(_, steps, _)| steps).zip(&seen));
        let cache = self.engine.build_cache(&self.host.runner)?;
        let mut predictions = BTreeMap::new();
        for (image, steps, known) in foretold() {
            journal.ran(image, history::steps::record(steps, &outcome, known, &cache))?;
            let checked = check::check(steps, &outcome, known);
            tell::mismatches(&self.host.report, image, &checked);
            predictions.insert(image.to_owned(), checked);
        }
        Ok(predictions)
    }

    /// Runs the suite on all that is built or not proved yet.
    fn prove(
        &self,
        surveyed: &[Surveyed<'_>],
        candidates: &[Candidate],
        resources: &RunResources,
        prepared: Vec<PreparedUpgrade<'_>>,
    ) -> Result<Vec<Verdict>> {
        let of = |one: &Surveyed<'_>| built(one, candidates);
        let mut subjects = Vec::new();
        for one in surveyed {
            let id = match (one.step.action, of(one), &one.step.image_id) {
                (_, Some(built), _) => built,
                (Action::Retest, None, Some(present)) => present.clone(),
                _ => continue,
            };
            let database = one.database_in(surveyed).and_then(|database| {
                let image_id = database_id(one, surveyed, candidates)?;
                Some(Box::new(subject(database, image_id, None)))
            });
            subjects.push(subject(one, id, database));
        }
        // An app alone is proved with a database that has been.
        let (alone, first): (Vec<Subject>, Vec<Subject>) = subjects
            .into_iter()
            .partition(|subject| subject.spec.database.elsewhere.is_some());
        let mut verdicts = Vec::new();
        for (some, prepared) in [(first, prepared), (alone, Vec::new())] {
            let (without, fit): (Vec<Subject>, Vec<Subject>) = some
                .into_iter()
                .partition(|subject| lacks_database(subject, &verdicts));
            for subject in &without {
                let why = format!("{}: not proved, since its database is not", subject.spec.name);
                self.host.report.step("smoke", why);
            }
            if !fit.is_empty() {
                verdicts.extend(super::smoke::prove(self.host, resources, &fit, prepared)?);
            }
        }
        Ok(verdicts)
    }

    /// What would let the apps go on that did not start, or failed at their health
    /// route, as far as their code tells; and the budgets of those that only took more.
    fn advice(&self, failed: &[&Verdict]) -> Vec<String> {
        let of = |verdict: &&Verdict| {
            let job = self
                .request
                .jobs
                .iter()
                .find(|job| job.spec.name.as_str() == verdict.image())?;
            let mut told: Vec<String> =
                tell::wider_budgets(verdict.image(), &job.spec.budgets, &verdict.over_budget())
                    .into_iter()
                    .collect();
            if let Some(words) = verdict.last_words().or(verdict.exception()) {
                told.extend(told_by_code(job, words));
            }
            Some(told)
        };
        failed.iter().filter_map(of).flatten().collect()
    }

    /// A failed build with what would let the app's own code go on that a step of it ran, in the
    /// way of [`Self::advice`].
    fn advise(&self, mut error: anyhow::Error, progress: &Progress<'_>) -> anyhow::Error {
        let told = || {
            let (images, lines) = progress.failed_of_app()?;
            let words = words::exception_at_end(&lines)?;
            let mut jobs = self.request.jobs.iter();
            let job = jobs.find(|job| images.contains(job.spec.name.as_str()))?;
            Some(told_by_code(job, &words))
        };
        if let Some(failure) = error.downcast_mut::<Failure>()
            && failure.kind == FailureKind::Build
        {
            failure.hints.splice(0..0, told().unwrap_or_default());
        }
        error
    }

    /// A proof for each image, or an error for all.
    fn verified(&self, surveyed: &[Surveyed<'_>], done: &Done) -> Result<Vec<Verified>> {
        let verdicts = &done.verdicts;
        let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.passed()).collect();
        if !failed.is_empty() || !done.unbuilt.is_empty() {
            if self.args.json {
                let document = self.document(surveyed, done);
                self.host.report.data(&serde_json::to_string_pretty(&document)?)?;
            }
            // Then what failed has the name that the hint says.
            self.retire_candidates()?;
            let mut stopped = tell::stopped(&done.unbuilt, &failed).hint("no tag has moved");
            stopped.hints.splice(0..0, self.advice(&failed));
            let inventory = self.engine.inventory(&self.host.runner)?;
            return Err(tell::with_unproved(stopped, self.engine.owner, &inventory, &failed).into());
        }
        if nothing_to_do(surveyed) {
            let known = surveyed.iter().map(|one| one.proof.clone());
            return known
                .collect::<Option<_>>()
                .context("an image that is up to date has no proof");
        }
        let mut proofs: BTreeMap<String, Verified> = BTreeMap::new();
        for verdict in verdicts.clone() {
            let verified = verdict.verified().map_err(|failed| failed.failure())?;
            proofs.insert(verified.image().to_owned(), verified);
        }
        // What the survey saw may be gone: tags move on what is there now.
        let inventory = self.engine.inventory(&self.host.runner)?;
        surveyed
            .iter()
            .map(|one| match proofs.remove(&one.step.name) {
                Some(verified) => Ok(verified),
                None => recall(&inventory, one),
            })
            .collect()
    }

    fn promote(&self, surveyed: &[Surveyed<'_>], verified: &[Verified]) -> Result<()> {
        if nothing_to_do(surveyed) {
            return Ok(());
        }
        let promotions: Vec<Promotion<'_>> = surveyed
            .iter()
            .zip(verified)
            .map(|(one, verified)| Promotion {
                verified,
                tags: one.step.tags.clone(),
            })
            .collect();
        promote::promote(self.engine, &self.host.runner, &promotions)
    }

    /// Of this run, which has proved what it could, and of those that were
    /// killed before they had.
    fn retire_candidates(&self) -> Result<()> {
        let own = reaper::run_id()?;
        candidate::retire(self.engine, &self.host.runner, |run| {
            run == own || !reaper::is_alive(run)
        })
        .map(drop)
    }
}

/// What the code of an app tells of the words that it ended with, of what its image does not give
/// it yet.
fn told_by_code(job: &ImageRequest, words: &str) -> Vec<String> {
    let Some(app) = &job.app else {
        return Vec::new();
    };
    let given = |name: &str| {
        let own = job.spec.app.as_ref();
        let own = own.is_some_and(|app| app.environment.contains_key(name));
        own || job.spec.smoke_environment.contains_key(name)
    };
    let findings = detect::findings::look(&app.folder);
    not_started::advice(&findings, words, given, job.spec.name.as_str())
}

/// What this run has built of an image.
fn built(one: &Surveyed<'_>, candidates: &[Candidate]) -> Option<ImageId> {
    let built = candidates
        .iter()
        .find(|candidate| candidate.image == one.step.name);
    built.map(|candidate| candidate.id.clone())
}

/// The image whose database an app alone is proved with in this run.
fn database_id(one: &Surveyed<'_>, surveyed: &[Surveyed<'_>], candidates: &[Candidate]) -> Option<ImageId> {
    let database = one.database_in(surveyed)?;
    built(database, candidates).or_else(|| database.step.image_id.clone())
}

fn subject(one: &Surveyed<'_>, image_id: ImageId, database: Option<Box<Subject>>) -> Subject {
    Subject {
        spec: one.job.spec.clone(),
        reference: image_id.to_string(),
        image_id,
        database,
    }
}

/// Whether the database that an app alone is proved with was not built, or has failed.
fn lacks_database(subject: &Subject, verdicts: &[Verdict]) -> bool {
    let Some(name) = &subject.spec.database.elsewhere else {
        return false;
    };
    let own = verdicts.iter().find(|verdict| verdict.image() == name.as_str());
    subject.database.is_none() || own.is_some_and(|verdict| !verdict.passed())
}

fn nothing_to_do(surveyed: &[Surveyed<'_>]) -> bool {
    surveyed.iter().all(|one| one.step.action == Action::UpToDate)
}

fn recall(inventory: &Inventory, one: &Surveyed<'_>) -> Result<Verified> {
    let proof = match &one.step.image_id {
        Some(id) => smoke::recall(inventory, &one.job.spec, one.database.as_ref(), id)?,
        None => None,
    };
    proof.ok_or_else(|| {
        failure::build(format!(
            "the proof of {} disappeared while this run was going on",
            one.step.name
        ))
        .hint("run the same command again")
        .into()
    })
}

/// BuildKit gets files only: the CA bundle, where the network needs one.
fn secrets(args: &BuildImagesArgs, host: &Host) -> Result<BTreeMap<String, PathBuf>> {
    let mut secrets = BTreeMap::new();
    let Some(bundle) = args.ca_bundle.as_ref().or(host.env.ssl_cert_file.as_ref()) else {
        return Ok(secrets);
    };
    if !bundle.is_file() {
        let source = if args.ca_bundle.is_some() {
            "--ca-bundle"
        } else {
            "SSL_CERT_FILE"
        };
        return Err(failure::usage(format!("{source}: there is no file {}", bundle.display())).into());
    }
    secrets.insert("ca-bundle".to_owned(), std::path::absolute(bundle)?);
    Ok(secrets)
}

/// A verdict as the history has it.
fn recorded(
    verdict: &Verdict,
    spec: &ImageSpec,
    database: Option<&ImageId>,
) -> Result<history::RecordedVerdict> {
    let causes = verdict.causes();
    Ok(history::RecordedVerdict {
        at: journal::now(),
        suite_key: verdict.suite_key().clone(),
        suite: smoke::suite::parts(spec, database)?,
        passed: verdict.checks().iter().filter(|check| !check.failed()).count(),
        failed: causes.iter().map(|check| check.name.clone()).collect(),
    })
}
