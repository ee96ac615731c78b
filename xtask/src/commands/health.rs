//! `cargo xtask health`: each part of services asked by itself.

use anyhow::Result;
use serde_json::json;

use super::services;
use crate::cli::service::HealthArgs;
use ::service::health::{HealthReport, ask};
use host::Host;

/// Asks the named services, or all; exit code 4 where one does not work.
pub(super) fn run(args: &HealthArgs, host: &Host) -> Result<()> {
    let specs = services::specs(host, &args.selection.images)?;
    let engine = services::running_engine(host, &args.selection)?;
    let mut reports = Vec::new();
    for spec in &specs {
        reports.push(ask(&services::handle(host, &engine, spec), spec)?);
    }
    if args.json {
        let document = json!({ "schema": 1, "services": reports });
        host.report.data(&serde_json::to_string_pretty(&document)?)?;
    } else {
        let lines: Vec<String> = reports.iter().flat_map(HealthReport::lines).collect();
        host.report.data(&lines.join("\n"))?;
    }
    let bad: Vec<&str> = reports
        .iter()
        .filter(|report| !report.healthy)
        .map(|report| report.service.as_str())
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(failure::smoke(format!("not healthy: {}", bad.join(", ")))
        .hint("since when, and what else: cargo xtask status")
        .into())
}
