//! `cargo xtask restore`: the data of a service become those of a backup.

use anyhow::Result;

use super::services;
use crate::cli::restore::RestoreArgs;
use crate::cli::service::ServiceSelection;
use ::service::handle::ServiceHandle;
use ::service::trail::{self, TrailEntry};
use data::file::Backup;
use data::restore::{self, RestoreOrder};
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use host::Host;
use host::report::seconds;

/// Restores a backup, or removes what an earlier restore has put aside.
pub(super) fn run(args: &RestoreArgs, host: &Host) -> Result<()> {
    let selection = ServiceSelection {
        images: vec![args.image.clone()],
        engine: args.engine,
    };
    let specs = services::specs(host, &selection.images)?;
    let engine = services::running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let _lock = handle.lock(host)?;
        services::mend(host, &handle, spec, true)?;
        let verb = if args.forget.is_some() {
            "restore --forget"
        } else {
            "restore"
        };
        let mut entry = TrailEntry::begun(verb, &handle.name);
        let image = services::image_of(host, &handle, spec)?;
        entry.image = Some(image.clone());
        let done = of_service(args, host, &handle, spec, &image);
        trail::write(&host.state_dir(), &host.report, &entry.ended("restored", &done));
        done?;
    }
    Ok(())
}

fn of_service(
    args: &RestoreArgs,
    host: &Host,
    handle: &ServiceHandle,
    spec: &ImageSpec,
    image: &ImageId,
) -> Result<()> {
    let resources = services::resources(host, &handle.engine)?;
    let name = &handle.name;
    if let Some(generation) = &args.forget {
        restore::forget(handle, &resources, image, generation)?;
        host.report.step("deleted", format!("{name}: {generation}"));
        return Ok(());
    }
    let Some(file) = &args.file else {
        return Ok(());
    };
    let mut backup = Backup::open(file)?;
    let order = RestoreOrder {
        handle,
        spec,
        image,
        resources: &resources,
        report: &host.report,
        state: &host.state_dir(),
    };
    let outcome = restore::restore(&order, &mut backup)?;
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
