//! `cargo xtask plan`: what build-images would do, and why. It changes nothing.

use anyhow::Result;
use serde_json::json;

use crate::base::{Base, obtain};
use crate::cli::{EngineOption, Plan, Selection};
use crate::engine::choose;
use crate::host::Host;
use crate::plan::{Action, Step};
use crate::report::Report;
use crate::request::Request;
use crate::survey::{Contexts, Ground, survey};

/// Prints the plan.
pub fn run(args: &Plan, host: &Host) -> Result<()> {
    show(&args.selection, args.engine, args.json, host)
}

/// The plan of a selection, for `--dry-run` too.
pub fn show(selection: &Selection, engine: EngineOption, as_json: bool, host: &Host) -> Result<()> {
    let (base, steps) = make(selection, engine, host)?;
    if as_json {
        return print_json(host, base.as_ref(), &steps);
    }
    for step in &steps {
        host.report
            .data(&format!("{}: {} ({})", step.name, step.action, step.reason))?;
        if let Some(forecast) = forecast(step) {
            host.report.data(&format!("  {forecast}"))?;
        }
    }
    Ok(())
}

/// The document of `plan --json` and `explain --json`.
pub fn print_json(host: &Host, base: Option<&Base>, steps: &[Step]) -> Result<()> {
    let document = json!({ "schema": 1, "base": base, "images": steps });
    host.report.data(&serde_json::to_string_pretty(&document)?)
}

/// Starts no engine and gets no base: what is unknown without them is planned
/// as a build.
pub fn make(selection: &Selection, engine: EngineOption, host: &Host) -> Result<(Option<Base>, Vec<Step>)> {
    let catalog = super::catalog(host, selection)?;
    let request = Request::resolve(host, &catalog, selection)?;
    let contexts = Contexts::ahead(host, &request);
    let engine = choose::find(host, engine.engine)?;
    if let Some(engine) = &engine {
        engine.expect_platform(&host.runner);
    }
    let base = match &engine {
        Some(engine) => obtain::known(host, engine, super::base::wanted(&request, &catalog))?,
        None => None,
    };
    let ground = engine.as_ref().map(|engine| Ground {
        engine,
        base: base.as_ref(),
    });
    let steps = survey(contexts, &request, ground)?
        .into_iter()
        .map(|surveyed| surveyed.step)
        .collect();
    Ok((base, steps))
}

/// The plan as talk, before the work starts.
pub fn announce(report: &Report, steps: &[&Step]) {
    for step in steps {
        report.step(
            "plan",
            format!("{}: {} ({})", step.name, step.action, step.reason),
        );
        if let Some(forecast) = forecast(step) {
            report.detail(format!("{}: {forecast}", step.name));
        }
    }
}

/// Which steps a build will run, on one line.
pub fn forecast(step: &Step) -> Option<&str> {
    let unknown = "nothing is foretold: the Dockerfile is written in a way that the forecast does not know";
    let known = step.forecast.as_ref().map(|forecast| forecast.summary.as_str());
    let to_be_built = step.action == Action::Build && step.fingerprint.is_some();
    known.or(to_be_built.then_some(unknown))
}
