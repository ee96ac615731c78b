//! `cargo xtask update`: another image on the same data.

use anyhow::Result;

use super::services;
use crate::cli::service::ServiceSelection;
use crate::cli::update::UpdateArgs;
use ::engine::container::RunResources;
use ::engine::{Engine, Image, reaper};
use ::service::handle::ServiceHandle;
use ::service::trail::{self, TrailEntry};
use build::catalog::{Apps, Catalog};
use data::rehearsal;
use data::update::{self, UpdateOrder};
use definition::reference::Reference;
use definition::spec::ImageSpec;
use definition::spec::load::APP_FILE;
use host::Host;
use smoke::own_checks;
use smoke::proof::is_proved;

/// Updates a service.
pub(super) fn run(args: &UpdateArgs, host: &Host) -> Result<()> {
    let selection = ServiceSelection {
        images: vec![args.name.clone()],
        engine: args.engine,
    };
    if let Some(reference) = &args.image {
        let name = reference
            .split_once('@')
            .map_or(reference.as_str(), |(name, _)| name);
        Reference::parse(name).map_err(|why| failure::usage(format!("--image: {why}")))?;
    }
    let specs = services::specs(host, &selection.images)?;
    let engine = services::running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let _lock = handle.lock(host)?;
        let reference = args.image.clone().unwrap_or_else(|| services::release(spec));
        let Some(image) = engine.image(&host.runner, &reference)? else {
            return Err(failure::usage(format!("the engine has no image {reference}"))
                .hint(format!("build it: cargo xtask build-images {}", spec.name))
                .into());
        };
        let mut entry = TrailEntry::begun("update --rehearse", &handle.name);
        entry.image = Some(image.id().clone());
        let done = of_service(args, host, &handle, spec, &reference, &image);
        trail::write(&host.state_dir(), &host.report, &entry.ended("rehearsed", &done));
        done?;
    }
    Ok(())
}

fn of_service(
    args: &UpdateArgs,
    host: &Host,
    handle: &ServiceHandle,
    spec: &ImageSpec,
    reference: &str,
    image: &Image,
) -> Result<()> {
    let inventory = handle.engine.inventory(&host.runner)?;
    let resources = RunResources {
        engine: handle.engine.clone(),
        runner: host.runner.clone(),
        run: reaper::run_id()?,
        keep: false,
    };
    let name = &handle.name;
    let order = UpdateOrder {
        handle,
        spec: &promised(host, &handle.engine, spec, image)?,
        image,
        reference,
        may_run: args.unproved || is_proved(&inventory, name.as_str(), image.id()),
        checks: &own_checks::unmet,
        resources: &resources,
        report: &host.report,
        state: &host.state_dir(),
    };
    let Some(rehearsal) = update::rehearse(&order)? else {
        host.report.step(
            "current",
            format!("{name}: nothing to do, it runs {}", image.id().short()),
        );
        return Ok(());
    };
    host.report.step("rehearsed", format!("{name}: {reference}"));
    for line in rehearsal::told(&rehearsal) {
        host.report.detail(line);
    }
    Ok(())
}

/// What the app in the image says of itself, which may be another one than the
/// checkout's.
fn promised(host: &Host, engine: &Engine, spec: &ImageSpec, image: &Image) -> Result<ImageSpec> {
    let path = format!("/app/{APP_FILE}");
    let text = engine.read_file(&host.runner, image.id().as_str(), &path)?;
    let text = text.unwrap_or_else(|| "{}".to_owned());
    let catalog = Catalog::read(&host.root, Apps::Text(&text, &spec.name))?;
    let named = catalog.images.into_iter().find(|one| one.name == spec.name);
    Ok(named.unwrap_or_else(|| spec.clone()))
}
