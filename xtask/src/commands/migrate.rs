//! `cargo xtask migrate`: the data of a service become those of a foreign cluster.

use anyhow::Result;

use super::{services, way_back};
use crate::cli::migrate::MigrateArgs;
use ::service::handle::ServiceHandle;
use data::migrate::{self, MigrateOrder, MigrateOutcome, MigrationPlan};
use data::replacement;
use data::restore::RestoreOrder;
use data::rollback::Replacing;
use host::Host;
use host::report::{Report, seconds};

/// Migrates, says what would be, or takes the last migration back.
pub(super) fn run(args: &MigrateArgs, host: &Host) -> Result<()> {
    let Some(from) = &args.from else {
        let twice = args.rollback > 1;
        return way_back::run(host, &args.image, args.engine, Replacing::Migration, twice);
    };
    let told = match args.dry_run {
        true => ("migrate --dry-run", "looked at"),
        false => ("migrate", "migrated"),
    };
    let look = |handle: &ServiceHandle| {
        // Whoever only looks has not said that anything may be changed.
        if args.dry_run {
            replacement::nothing_killed(handle)?;
        }
        Ok(())
    };
    services::exchange_data(host, &args.image, args.engine, told, look, |order, ()| {
        of_service(args, host, from, order)
    })
}

fn of_service(args: &MigrateArgs, host: &Host, from: &str, service: &RestoreOrder<'_>) -> Result<()> {
    let RestoreOrder { handle, spec, .. } = *service;
    let inventory = handle.engine.inventory(&host.runner)?;
    let order = MigrateOrder {
        service,
        inventory: &inventory,
        from,
        database: args.database.as_deref(),
    };
    let tell = |plan: &MigrationPlan| tell_plan(&host.report, handle, plan);
    if args.dry_run {
        tell(&migrate::plan(&order)?);
        host.report
            .detail("its definitions were tried out; its rows are read and loaded by the migration alone");
        host.report
            .step("next", format!("cargo xtask migrate {} --from {from}", spec.name));
        return Ok(());
    }
    let outcome = migrate::migrate(&order, &tell)?;
    tell_outcome(&host.report, handle, from, &outcome);
    Ok(())
}

fn tell_plan(report: &Report, handle: &ServiceHandle, plan: &MigrationPlan) {
    report.step("source", format!("{}: {}", handle.name, plan.source));
    if !plan.left_behind.is_empty() {
        report.step("behind", format!("{}: what is not taken along", handle.name));
    }
    for line in &plan.left_behind {
        report.detail(line);
    }
}

fn tell_outcome(report: &Report, handle: &ServiceHandle, from: &str, outcome: &MigrateOutcome) {
    let name = &handle.name;
    let away = outcome
        .away
        .map_or(String::new(), |away| format!(", away for {}", seconds(away)));
    report.step("migrated", format!("{name}: {from}{away}"));
    for (table, rows) in &outcome.tables {
        report.detail(format!("{table}: {rows} rows, the same as in the source"));
    }
    for definition in &outcome.otherwise {
        report.detail(format!("{definition} is written otherwise by this version"));
    }
    let proof = &outcome.proof;
    report.detail(format!(
        "{} indexes, {} vector indexes and {} sequences are whole",
        proof.indexes + proof.sampled_indexes,
        proof.vector_indexes,
        proof.sequences
    ));
    for line in proof.warnings() {
        report.warn(format!("{name}: {line}"));
    }
    report.detail(format!("the source is as it was: sha256 {}", outcome.digest));
    if let Some(kept) = &outcome.kept {
        report.step(
            "kept",
            format!(
                "{name}: what ran before; back to it: cargo xtask migrate {name} --rollback; to delete it: \
                 cargo xtask restore {name} --forget {kept}"
            ),
        );
    }
    if !outcome.runs {
        report.step("next", format!("cargo xtask up {name}"));
    }
}
