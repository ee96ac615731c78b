//! `cargo xtask down`: services that are gone, and their data only on demand.

use anyhow::Result;

use super::services;
use crate::cli::service::DownArgs;
use ::engine::Engine;
use ::service::down::{VolumeFacts, archive_facts, delete_volume, down, volume_facts};
use ::service::findings::{self, Obstacle};
use ::service::handle::ServiceHandle;
use ::service::seen::ContainerPlace;
use definition::spec::ImageSpec;
use host::Host;

/// Takes down the named services, or all; with `--volumes` alone those whose data
/// go.
pub(super) fn run(args: &DownArgs, host: &Host) -> Result<()> {
    let mut named = args.selection.images.clone();
    if named.is_empty() {
        named.clone_from(&args.volumes);
    }
    let mut specs = services::specs(host, &named)?;
    let deleted = services::specs(host, &args.volumes)?;
    let deleted = if args.volumes.is_empty() {
        Vec::new()
    } else {
        deleted
    };
    if let Some(one) = deleted
        .iter()
        .find(|one| specs.iter().all(|spec| spec.name != one.name))
    {
        let message = format!(
            "--volumes names {}, which is not among the images that go down",
            one.name
        );
        return Err(failure::usage(message).into());
    }
    let engine = services::running_engine(host, &args.selection)?;
    // A `down` that was killed may have left what it looked at the volume with.
    super::reap(host, &engine)?;
    let mut locks = Vec::new();
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        locks.push(handle.lock(host)?);
        services::mend(host, &handle, spec, false)?;
    }
    // What is on the network of its database goes before that. Locks are taken in the
    // order of `up`.
    specs.sort_by_key(|spec| spec.database.elsewhere.is_none());
    let goes = data_that_goes(args, host, &engine, &deleted)?;
    foreign(host, &engine, &specs)?;
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let data_go = goes.iter().any(|(gone, _)| gone.name == handle.name);
        down(&handle, &host.report, &host.state_dir(), spec, data_go)?;
    }
    for (handle, facts) in &goes {
        delete_volume(handle, &host.report, &host.state_dir(), facts)?;
    }
    drop(locks);
    Ok(())
}

/// Containers that we leave alone are said before anything is stopped.
fn foreign(host: &Host, engine: &Engine, specs: &[ImageSpec]) -> Result<()> {
    let mut found = Vec::new();
    for spec in specs {
        let handle = services::handle(host, engine, spec);
        if let ContainerPlace::Foreign(image) = handle.place()? {
            let message = format!("its container (of {image}) was not made by `cargo xtask up`: it stays");
            let hint = format!("docker stop {0} && docker rm {0}", spec.name);
            found.push((spec.name.to_string(), Obstacle::environment(message).hint(hint)));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(findings::failure(&found).into())
}

/// The volumes that are to go, once all of them have been shown and named again.
fn data_that_goes(
    args: &DownArgs,
    host: &Host,
    engine: &Engine,
    specs: &[ImageSpec],
) -> Result<Vec<(ServiceHandle, VolumeFacts)>> {
    let mut goes = Vec::new();
    let mut found = Vec::new();
    for spec in specs {
        let handle = services::handle(host, engine, spec);
        let image = match handle.place()? {
            ContainerPlace::Own(seen) => Some(seen.image_id),
            ContainerPlace::Empty | ContainerPlace::Foreign(_) => {
                let released = engine.image(&host.runner, &services::release(spec))?;
                released.map(|image| image.id().clone())
            }
        };
        let data = volume_facts(&handle, image.as_ref())?;
        if data.is_none() {
            host.report.step("data", format!("{} has no volume", spec.name));
        }
        let archive = archive_facts(&handle, image.as_ref())?;
        for (facts, obstacles) in [data, archive].into_iter().flatten() {
            host.report.step("data", facts.shown());
            let name = spec.name.to_string();
            found.extend(obstacles.into_iter().map(|obstacle| (name.clone(), obstacle)));
            goes.push((handle.clone(), facts));
        }
    }
    if !found.is_empty() {
        return Err(findings::failure(&found).into());
    }
    let mut names: Vec<&str> = goes.iter().map(|(handle, _)| handle.name.as_str()).collect();
    names.dedup();
    for name in names {
        named_again(args, host, name)?;
    }
    Ok(goes)
}

/// Asks for the name on a terminal; elsewhere the flag has to stand there twice.
fn named_again(args: &DownArgs, host: &Host, name: &str) -> Result<()> {
    if args.volumes.iter().filter(|&named| named == name).count() > 1 {
        return Ok(());
    }
    let question = format!("this deletes all data of {name}, for good; type its name to go on: ");
    match host.report.ask(&question)? {
        Some(answer) if answer == name => Ok(()),
        Some(_) => Err(failure::usage(format!("that is not {name}: nothing was stopped or deleted")).into()),
        None => Err(failure::usage(format!(
            "--volumes {name} deletes all data of {name}, and there is no terminal to ask on: nothing was stopped or deleted"
        ))
        .hint(format!("say it twice: cargo xtask down --volumes {name} --volumes {name}"))
        .into()),
    }
}
