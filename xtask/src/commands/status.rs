//! `cargo xtask status`: all services at one moment, again and again, or what was
//! done to them.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::{backup, services};
use crate::cli::service::StatusArgs;
use ::engine::Engine;
use ::engine::api::follow::Next;
use ::service::names::{SERVICE_LABEL, ServiceName};
use ::service::status::{self, ServiceStatus};
use ::service::trail;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use host::Host;
use smoke::proof::is_proved;

/// The most operations that are shown.
const OPERATIONS: usize = 20;

/// Memory and uptime move without an event.
const REDRAW: Duration = Duration::from_secs(2);

/// Events come in crowds: it waits this long for the others before it draws again.
const SETTLE: Duration = Duration::from_millis(100);

/// Shows the named services, or all.
pub(super) fn run(args: &StatusArgs, host: &Host) -> Result<()> {
    let specs = services::specs(host, &args.selection.images)?;
    if args.history {
        return history(args, host);
    }
    let engine = services::running_engine(host, &args.selection)?;
    if args.watch {
        return watch(host, &engine, &specs);
    }
    let all = look(host, &engine, &specs)?;
    if args.json {
        let document = json!({ "schema": 1, "services": all });
        return host.report.data(&serde_json::to_string_pretty(&document)?);
    }
    host.report.data(&status::table(&all).join("\n"))
}

fn look(host: &Host, engine: &Engine, specs: &[ImageSpec]) -> Result<Vec<ServiceStatus>> {
    let inventory = engine.inventory(&host.runner)?;
    let proved = |name: &ServiceName, id: &ImageId| is_proved(&inventory, name.as_str(), id);
    let one = |spec: &ImageSpec| {
        let handle = services::handle(host, engine, spec);
        let mut status = status::of(&handle, &inventory, &proved, services::released(&inventory, spec))?;
        let backups = backup::of_service(host, spec, status.cluster.as_deref())?;
        let (good, not_proved) = backup::last_good(&backups);
        status.last_good_is_booted = good.is_some_and(|good| good.level() == "booted");
        status.last_good_backup = good.map(|good| good.backup.origin.began.clone());
        status.backups_not_proved = not_proved;
        if let Some(archive) = &mut status.archive {
            let since = archive.since();
            archive.first_backup = since.and_then(|since| backup::first_since(&backups, since));
        }
        status.database = spec.database.elsewhere.as_ref().map(ToString::to_string);
        Ok(status)
    };
    specs.iter().map(one).collect()
}

fn history(args: &StatusArgs, host: &Host) -> Result<()> {
    let mut entries = trail::read(&host.state_dir(), &args.selection.images)?;
    entries.drain(..entries.len().saturating_sub(OPERATIONS));
    if args.json {
        let document = json!({ "schema": 1, "operations": entries });
        return host.report.data(&serde_json::to_string_pretty(&document)?);
    }
    let lines: Vec<String> = entries.iter().map(|entry| status::fit(&entry.line())).collect();
    if lines.is_empty() {
        host.report
            .step("history", "nothing is on record in this checkout");
        return Ok(());
    }
    host.report.data(&lines.join("\n"))
}

/// Redraws in place on a terminal; elsewhere prints each table that differs from
/// the one before. Ends with Ctrl-C, or where nobody reads any more.
fn watch(host: &Host, engine: &Engine, specs: &[ImageSpec]) -> Result<()> {
    // Health checks are events, too, and no news.
    let news = ["create", "start", "die", "health_status", "rename", "destroy"];
    let kinds = json!({ "label": [SERVICE_LABEL], "event": news });
    let path = format!("/events?filters={}", ::engine::api::escaped(&kinds.to_string()));
    let events = engine.api.follow(&host.runner, &path)?;
    let redraws = host.report.is_terminal();
    let mut shown = String::new();
    loop {
        let table = status::table(&look(host, engine, specs)?);
        let text = table.join("\n");
        let goes_on = if redraws {
            let lines = table.iter().map(|line| format!("{line}\u{1b}[K\r\n"));
            let drawn = format!("\u{1b}[H{}\u{1b}[J", lines.collect::<String>());
            host.report.pass(drawn.as_bytes())?
        } else {
            text == shown || host.report.pass(format!("{text}\n").as_bytes())?
        };
        if !goes_on {
            return Ok(());
        }
        shown = text;
        match events.next(&host.runner, Some(Instant::now() + REDRAW))? {
            Next::Bytes(_) => host.runner.sleep(SETTLE)?,
            Next::Silence => {}
            Next::End => return Err(failure::environment("the engine has ended").into()),
        }
    }
}
