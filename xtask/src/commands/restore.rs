//! `cargo xtask restore`: the data of a service become those of a backup.

use anyhow::Result;

use super::services;
use crate::cli::restore::RestoreArgs;
use data::file::Backup;
use data::restore::{self, RestoreOrder};
use host::Host;
use host::report::seconds;

/// Restores a backup, or removes what an earlier restore has put aside.
pub(super) fn run(args: &RestoreArgs, host: &Host) -> Result<()> {
    let verb = match args.forget {
        Some(_) => "restore --forget",
        None => "restore",
    };
    let image = args.to_image.as_ref().unwrap_or(&args.image);
    services::exchange_data(host, image, args.engine, (verb, "restored"), |order| {
        of_service(args, host, order)
    })
}

fn of_service(args: &RestoreArgs, host: &Host, order: &RestoreOrder<'_>) -> Result<()> {
    let name = &order.handle.name;
    if let Some(generation) = &args.forget {
        restore::forget(order, generation)?;
        host.report.step("deleted", format!("{name}: {generation}"));
        return Ok(());
    }
    let Some(file) = &args.file else {
        return Ok(());
    };
    let mut backup = Backup::open_with(file, args.identity.as_deref(), &host.runner, &host.report)?;
    for left_out in &backup.seal.backup.left_out {
        host.report.warn(format!("{name}: {left_out}"));
    }
    let outcome = restore::restore(order, &args.image, &mut backup)?;
    let away = outcome
        .away
        .map_or(String::new(), |away| format!(", away for {}", seconds(away)));
    host.report
        .step("restored", format!("{name}: {}{away}", file.display()));
    if let Some(kept) = outcome.kept {
        host.report.step(
            "kept",
            format!("{name}: what ran before; to delete it: cargo xtask restore {name} --forget {kept}"),
        );
    }
    if outcome.away.is_none() {
        host.report.step("next", format!("cargo xtask up {name}"));
    }
    Ok(())
}
