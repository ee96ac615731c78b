//! `cargo xtask smoke`: the suite on images that exist.

use std::io::Write as _;

use anyhow::Result;

use crate::cli::{SmokeArgs, SuiteChoice};
use crate::promote;
use build::catalog::{Apps, Catalog};
use definition::spec::load::APP_FILE;
use engine::container::RunResources;
use engine::{Engine, REMOVE_KEPT, choose, reaper};
use failure::Failure;
use host::Host;
use smoke::fault::{FaultDef, Faults};
use smoke::faults::FULL;
use smoke::suite::GATE;
use smoke::{PreparedUpgrade, Subject, Verdict, report};

/// Proves the named images. Moves no release tag; a pass of the full suite is
/// kept as a proof tag.
pub(crate) fn run(args: &SmokeArgs, host: &Host) -> Result<()> {
    if args.suite == SuiteChoice::Gate && !args.only.is_empty() {
        return Err(
            failure::usage("--only names faults, which the gate suite has none of")
                .hint("add --suite full")
                .into(),
        );
    }
    let faults = Faults {
        all: FULL,
        only: &args.only,
        second_try: true,
    };
    let chosen = faults.chosen()?;
    if args.list {
        return host.report.data(&list(args.suite, &chosen));
    }
    let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
    let engine = choose::obtain(host, args.engine.engine)?;
    super::reap(host, &engine)?;
    engine.while_it_runs(|| on_engine(args, host, &catalog, &engine, faults))
}

fn on_engine(
    args: &SmokeArgs,
    host: &Host,
    catalog: &Catalog,
    engine: &Engine,
    faults: Faults<'_>,
) -> Result<()> {
    let names: Vec<String> = match args.images.as_slice() {
        [] => catalog
            .images
            .iter()
            .map(|image| image.name.to_string())
            .collect(),
        names => names.to_vec(),
    };
    let mut subjects = Vec::new();
    for name in &names {
        let known = catalog.images.iter().find(|image| image.name.as_str() == name);
        // A name of ours means what it is released as.
        let reference = known.map_or_else(
            || name.clone(),
            |image| format!("{}:latest", image.name.repository()),
        );
        subjects.push(subject(host, engine, catalog, &reference)?);
    }
    let resources = resources(host, engine, args.keep_containers)?;
    tell_of_kept(host, args.keep_containers);
    let verdicts = match args.suite {
        SuiteChoice::Gate => {
            smoke::run_all(&host.report, &host.state_dir(), &resources, &subjects, Vec::new())?
        }
        SuiteChoice::Full => smoke::run_full(&host.report, &host.state_dir(), &resources, &subjects, faults)?,
    };
    show(host, &verdicts);
    promote::keep_full_proofs(engine, &host.runner, &verdicts)?;
    if let Some(file) = &args.junit {
        fs_err::write(file, report::junit(&verdicts))?;
    }
    if let Some(path) = &args.markdown {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(report::markdown(&verdicts).as_bytes())?;
    }
    if args.json {
        host.report
            .data(&serde_json::to_string_pretty(&report::json(&verdicts))?)?;
    }
    let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.passed()).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(self::failed(&failed).into())
    }
}

/// `name  what it proves` a line, in the order in which they are reported.
fn list(suite: SuiteChoice, faults: &[&FaultDef]) -> String {
    let gate = GATE.iter().map(|check| (check.name, check.proves));
    let faults = faults.iter().map(|fault| (fault.name, fault.proves));
    let lines: Vec<String> = match suite {
        SuiteChoice::Gate => gate.collect::<Vec<_>>(),
        SuiteChoice::Full => gate.chain(faults).collect(),
    }
    .into_iter()
    .map(|(name, proves)| format!("{name:<22} {proves}"))
    .collect();
    lines.join("\n")
}

/// An image with its spec: what the checkout says of it, with what the app
/// inside says of itself, which may be another one than the checkout's.
fn subject(host: &Host, engine: &Engine, catalog: &Catalog, reference: &str) -> Result<Subject> {
    let subject = smoke::subject(engine, &host.runner, reference, &catalog.images)?;
    let path = format!("/app/{APP_FILE}");
    let text = engine
        .read_file(&host.runner, subject.image_id.as_str(), &path)?
        .unwrap_or_else(|| "{}".to_owned());
    let catalog = Catalog::read(&host.root, Apps::Text(&text, &subject.spec.name))?;
    smoke::subject(engine, &host.runner, reference, &catalog.images)
}

/// Runs the gate on all subjects at once, with what is prepared for it, and shows the
/// tables.
pub(crate) fn prove(
    host: &Host,
    resources: &RunResources,
    subjects: &[Subject],
    prepared: Vec<PreparedUpgrade<'_>>,
) -> Result<Vec<Verdict>> {
    tell_of_kept(host, resources.keep);
    let verdicts = smoke::run_all(&host.report, &host.state_dir(), resources, subjects, prepared)?;
    show(host, &verdicts);
    Ok(verdicts)
}

/// How to get rid of what `--keep-containers` keeps: no later run does it.
fn tell_of_kept(host: &Host, keep: bool) {
    if keep {
        host.report.detail(format!(
            "containers and volumes stay; what removes them: {REMOVE_KEPT}"
        ));
    }
}

/// What a run of a suite makes its containers with.
pub(crate) fn resources(host: &Host, engine: &Engine, keep: bool) -> Result<RunResources> {
    Ok(RunResources {
        engine: engine.clone(),
        runner: host.runner.clone(),
        run: reaper::run_id()?,
        keep,
    })
}

fn show(host: &Host, verdicts: &[Verdict]) {
    for verdict in verdicts {
        for line in report::table(verdict).lines() {
            host.report.talk(line);
        }
        if let Some(advice) = verdict.advice() {
            host.report.warn(format!("{}: {advice}", verdict.image()));
        }
    }
}

/// One error for all images that failed.
pub(crate) fn failed(verdicts: &[&Verdict]) -> Failure {
    let mut messages = Vec::new();
    let mut hints = Vec::new();
    for verdict in verdicts {
        if let Err(failed) = Verdict::clone(verdict).verified() {
            let failure = failed.failure();
            messages.push(failure.message);
            hints.extend(failure.hints);
        }
    }
    let mut failure = failure::smoke(messages.join("\n"));
    failure.hints = hints;
    failure
}
