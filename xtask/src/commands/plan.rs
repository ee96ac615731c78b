//! `cargo xtask plan`: what build-images would do, and why. It changes nothing.

use anyhow::Result;
use serde_json::json;

use crate::cli::{EngineOption, PlanArgs};
use crate::survey::{Contexts, EngineAndBases, Planned, Surveyed, survey};
use build::base::obtain::{self, ObtainedBases};
use build::request::Request;
use build::request::Selection;
use definition::plan::{Action, ImagePlan};
use engine::choose;
use explain::forecast::Forecast;
use host::Host;
use host::report::Report;

pub(crate) fn run(args: &PlanArgs, host: &Host) -> Result<()> {
    show(&args.selection, args.engine, args.json, host)
}

/// The plan of a selection, for `--dry-run` too.
pub(crate) fn show(selection: &Selection, engine: EngineOption, as_json: bool, host: &Host) -> Result<()> {
    let (bases, planned) = make(selection, engine, host)?;
    if as_json {
        return print_json(host, &bases, &planned);
    }
    for Planned {
        step,
        forecast,
        health,
        proved_with,
        built_on,
        keeps,
        installed_from,
        warnings,
        base_set: _,
    } in &planned
    {
        host.report
            .data(&format!("{}: {} ({})", step.name, step.action, step.reason))?;
        if let Some(forecast) = in_short(step, forecast.as_ref()) {
            host.report.data(&format!("  {forecast}"))?;
        }
        for warning in warnings {
            host.report.warn(format!("{}: {warning}", step.name));
        }
        let known = [built_on, installed_from, health, proved_with, keeps];
        for said in known.into_iter().flatten() {
            host.report.data(&format!("  {said}"))?;
        }
    }
    Ok(())
}

/// The document of `plan --json` and `explain --json`.
pub(crate) fn print_json(host: &Host, bases: &ObtainedBases, planned: &[Planned]) -> Result<()> {
    let document = json!({ "schema": 1, "bases": bases, "images": planned });
    host.report.data(&serde_json::to_string_pretty(&document)?)
}

/// Starts no engine and gets no base: what is unknown without them is planned
/// as a build.
pub(crate) fn make(
    selection: &Selection,
    engine: EngineOption,
    host: &Host,
) -> Result<(ObtainedBases, Vec<Planned>)> {
    let catalog = super::catalog(host, selection)?;
    let request = Request::resolve(host, &catalog, selection)?;
    let contexts = Contexts::in_background(host, &request);
    let engine = choose::find(host, engine.engine)?;
    if let Some(engine) = &engine {
        engine.expect_platform(&host.runner);
    }
    let wanted = request.bases(&catalog.lock);
    let bases = match &engine {
        Some(engine) => obtain::all_known(host, engine, wanted)?,
        None => ObtainedBases::new(),
    };
    let engine_and_bases = engine.as_ref().map(|engine| EngineAndBases {
        engine,
        bases: &bases,
    });
    let planned = survey(contexts, &request, engine_and_bases)?
        .into_iter()
        .map(|surveyed| Planned {
            health: surveyed.job.spec.unproved_health(),
            proved_with: surveyed.job.spec.proved_with(),
            base_set: surveyed.job.base.name.clone(),
            built_on: surveyed.job.base.told(),
            keeps: surveyed.job.spec.keeps(),
            installed_from: surveyed.job.installed_from(),
            warnings: surveyed.warnings,
            step: surveyed.step,
            forecast: surveyed.forecast,
        })
        .collect();
    Ok((bases, planned))
}

/// The plan as talk, before the work starts.
pub(crate) fn announce(report: &Report, surveyed: &[Surveyed<'_>]) {
    for Surveyed {
        job,
        step,
        forecast,
        warnings,
        ..
    } in surveyed
    {
        report.step(
            "plan",
            format!("{}: {} ({})", step.name, step.action, step.reason),
        );
        if let Some(forecast) = in_short(step, forecast.as_ref()) {
            report.detail(format!("{}: {forecast}", step.name));
        }
        for warning in warnings {
            report.warn(format!("{}: {warning}", step.name));
        }
        let spec = &job.spec;
        let known = [
            job.base.told(),
            job.installed_from(),
            spec.unproved_health(),
            spec.proved_with(),
            spec.keeps(),
        ];
        for said in known.into_iter().flatten() {
            report.detail(format!("{}: {said}", step.name));
        }
    }
}

/// Which steps a build will run, on one line.
pub(crate) fn in_short<'a>(step: &ImagePlan, forecast: Option<&'a Forecast>) -> Option<&'a str> {
    let unknown = "nothing is foretold: the Dockerfile is written in a way that the forecast does not know";
    let known = forecast.map(|forecast| forecast.summary.as_str());
    let to_be_built = step.action == Action::Build && step.fingerprint.is_some();
    known.or(to_be_built.then_some(unknown))
}
