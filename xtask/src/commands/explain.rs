//! `cargo xtask explain`: why build-images would do what it would do, what it
//! did in recorded runs, and what changed between two of them. It changes
//! nothing.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::ExplainArgs;
use build::catalog::{Apps, Catalog};
use inputs::clock;

use explain::forecast::Forecast;
use explain::history::store::Store;
use explain::history::{HistoryEntry, compare};
use host::Host;

use crate::survey::Planned;

/// Prints the explanation that is asked for.
pub(crate) fn run(args: &ExplainArgs, host: &Host) -> Result<()> {
    if args.list {
        return list(args, host);
    }
    if args.from.is_some() {
        return differences(args, host);
    }
    let (bases, planned) = super::plan::make(&args.plan.selection, args.plan.engine, host)?;
    if args.plan.json {
        return super::plan::print_json(host, &bases, &planned);
    }
    for Planned {
        step,
        forecast,
        built_on,
        keeps,
        ..
    } in &planned
    {
        host.report.data(&format!("{}: {}", step.name, step.action))?;
        for line in step.cause.lines() {
            host.report.data(&format!("  {line}"))?;
        }
        if let Some(short) = super::plan::in_short(step, forecast.as_ref()) {
            host.report.data(&format!("  {short}"))?;
        }
        for line in forecast.iter().flat_map(Forecast::lines) {
            host.report.data(&format!("    {line}"))?;
        }
        for line in built_on.iter().chain(keeps) {
            host.report.data(&format!("  {line}"))?;
        }
    }
    Ok(())
}

/// Each image that is asked for with its entries; where none is named all of
/// the catalog, and those that have left it but are still on record.
fn recorded(args: &ExplainArgs, host: &Host) -> Result<Vec<(String, Vec<HistoryEntry>)>> {
    let store = Store::of(host);
    let on_record = store.images();
    let mut asked = args.plan.selection.images.clone();
    asked.retain(|name| !on_record.contains(name));
    let all = args.plan.selection.images.is_empty();
    let mut names = args.plan.selection.images.clone();
    if all || !asked.is_empty() {
        // A name that is no image's is a mistake of the command line.
        let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
        let specs = catalog.select(&asked)?;
        if all {
            names.extend(specs.iter().map(|spec| spec.name.to_string()));
            let others = on_record.into_iter().filter(|name| !names.contains(name));
            let others: Vec<String> = others.collect();
            names.extend(others);
        }
    }
    let with_entries = |name: String| {
        let entries = store.entries(&name);
        (name, entries)
    };
    Ok(names.into_iter().map(with_entries).collect())
}

fn list(args: &ExplainArgs, host: &Host) -> Result<()> {
    let images = recorded(args, host)?;
    if args.plan.json {
        let images: Vec<Value> = images
            .iter()
            .map(|(name, runs)| json!({ "name": name, "runs": runs }))
            .collect();
        let document = json!({ "schema": 1, "images": images });
        return host.report.data(&serde_json::to_string_pretty(&document)?);
    }
    for (name, entries) in &images {
        let end = if entries.is_empty() {
            ": nothing is recorded"
        } else {
            ""
        };
        host.report.data(&format!("{name}{end}"))?;
        for entry in entries {
            host.report.data(&format!("  {}", line(entry)))?;
        }
    }
    Ok(())
}

/// A run on one line.
fn line(entry: &HistoryEntry) -> String {
    let action = entry.action.to_string();
    format!(
        "{:>4}  {}  {}  {action:<6}  {}: {}",
        entry.number,
        clock::shown(&entry.began),
        entry.fingerprint.short(),
        entry.outcome.shown(),
        entry.reason,
    )
}

fn differences(args: &ExplainArgs, host: &Host) -> Result<()> {
    let Some(from) = &args.from else {
        return Ok(());
    };
    let store = Store::of(host);
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for (name, entries) in recorded(args, host)? {
        match (from.find(&name, &entries), args.to.find(&name, &entries)) {
            (Ok(from), Ok(to)) => found.push((name.clone(), from.clone(), to.clone())),
            (one, other) => problems.extend([one.err(), other.err()].into_iter().flatten()),
        }
    }
    problems.dedup();
    if !problems.is_empty() {
        let failure = failure::usage(problems.join("; "));
        return Err(failure
            .hint("`cargo xtask explain --list` shows the recorded runs")
            .into());
    }
    let mut images = Vec::new();
    for (name, from, to) in found {
        let differences = compare::differences(&from, &to, store.differing(&from.definition, &to.definition));
        if args.plan.json {
            images.push(json!({
                "name": name, "from": from, "to": to, "differences": differences,
            }));
            continue;
        }
        host.report.data(&name)?;
        for entry in [&from, &to] {
            host.report.data(&format!("  {}", line(entry)))?;
        }
        for difference in &differences {
            for line in difference.lines() {
                host.report.data(&format!("  {line}"))?;
            }
        }
        if differences.is_empty() {
            host.report.data("  nothing differs")?;
        }
    }
    if args.plan.json {
        let document = json!({ "schema": 1, "images": images });
        host.report.data(&serde_json::to_string_pretty(&document)?)?;
    }
    Ok(())
}
