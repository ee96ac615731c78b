//! `cargo xtask up`: services that run and are healthy.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::services;
use crate::cli::service::UpArgs;
use ::engine::{Engine, choose};
use ::service::up::{UpOrder, UpOutcome, up};
use ::service::wanted::{ServiceOptions, variables};
use build::catalog;
use definition::reference::Reference;
use host::Host;
use inputs::regular;
use smoke::proof::is_proved;

/// Brings up the named services, or all.
pub(super) fn run(args: &UpArgs, host: &Host) -> Result<()> {
    let specs = services::with_database(host, &args.selection.images, "up")?;
    if let (true, Some(flag)) = (specs.len() != 1, for_one(args)) {
        let message = format!("{flag} is for one image, and {} are meant", specs.len());
        return Err(failure::usage(message).hint("name the image").into());
    }
    if let Some(reference) = &args.image {
        let name = reference
            .split_once('@')
            .map_or(reference.as_str(), |(name, _)| name);
        Reference::parse(name).map_err(|why| failure::usage(format!("--image: {why}")))?;
    }
    let options = ServiceOptions {
        bind: args.bind,
        port: args.port,
        metrics_port: args.metrics_port,
        environment: match &args.env_file {
            Some(file) => read_variables(file)?,
            None => Default::default(),
        },
    };
    let engine = choose::obtain(host, args.selection.engine.engine)?;
    // What a killed command works on a volume with would be in the way.
    super::reap(host, &engine)?;
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let _lock = handle.lock(host)?;
        services::mend(host, &handle, spec, true)?;
    }
    let orders = orders(args, host, &engine, &specs, &options)?;
    let outcomes = up(host, &engine, &orders)?;
    if args.json {
        let all: Vec<Value> = outcomes.iter().map(document).collect();
        let document = json!({ "schema": 1, "services": all });
        return host.report.data(&serde_json::to_string_pretty(&document)?);
    }
    for UpOutcome { name, address, .. } in &outcomes {
        host.report.data(&format!("{name} {address}"))?;
    }
    Ok(())
}

fn for_one(args: &UpArgs) -> Option<&'static str> {
    let flags = [
        ("--port", args.port.is_some()),
        ("--metrics-port", args.metrics_port.is_some()),
        ("--image", args.image.is_some()),
    ];
    flags.iter().find(|(_, given)| *given).map(|(flag, _)| *flag)
}

fn read_variables(file: &Path) -> Result<std::collections::BTreeMap<String, String>> {
    let shown = file.display().to_string();
    let bytes = regular::read(file).context(failure::usage(format!("cannot read {shown}")))?;
    let text = String::from_utf8(bytes).context(failure::usage(format!("{shown} is not UTF-8")))?;
    variables(&shown, &text).map_err(|problems| catalog::invalid(&problems))
}

fn orders(
    args: &UpArgs,
    host: &Host,
    engine: &Engine,
    specs: &[definition::spec::ImageSpec],
    options: &ServiceOptions,
) -> Result<Vec<UpOrder>> {
    let inventory = engine.inventory(&host.runner)?;
    let order = |spec: &definition::spec::ImageSpec| {
        let reference = args.image.clone().unwrap_or_else(|| services::release(spec));
        let image = engine.image(&host.runner, &reference)?;
        let proved = image
            .as_ref()
            .is_some_and(|image| is_proved(&inventory, spec.name.as_str(), image.id()));
        Ok(UpOrder {
            spec: spec.clone(),
            reference,
            image,
            proved,
            unproved: args.unproved,
            options: options.clone(),
        })
    };
    specs.iter().map(order).collect()
}

fn document(outcome: &UpOutcome) -> Value {
    json!({
        "service": outcome.name,
        "done": outcome.done,
        "address": outcome.address,
        "took_ms": u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
    })
}
