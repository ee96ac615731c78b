//! One verb a file, each a short story of calls into the domain.

pub mod base;
mod build_images;
mod elsewhere;
mod engine;
mod explain;
mod inputs;
mod plan;
mod render;
mod smoke;
mod test;

use anyhow::Result;

use crate::cli::Command;
use ::engine::{Engine, reaper};
use build::candidate;
use build::catalog::{Apps, Catalog};
use build::request::Selection;
use host::Host;

/// Runs a parsed command.
///
/// # Errors
/// Whatever stopped the command; see [`failure`] for what the caller
/// makes of it.
pub fn run(command: Command, host: &Host) -> Result<()> {
    match command {
        Command::BuildImages(args) => build_images::run(&args, host),
        Command::Smoke(args) => smoke::run(&args, host),
        Command::Plan(args) => plan::run(&args, host),
        Command::Explain(args) => explain::run(&args, host),
        Command::Render(args) => render::run(&args, host),
        Command::Engine(args) => engine::run(&args, host),
        Command::Base(args) => base::run(&args, host),
        Command::Inputs(args) => inputs::run(&args, host),
        Command::Audit(args) => elsewhere::run("audit", &args, host),
        Command::Bench(args) => elsewhere::run("bench", &args, host),
        Command::Test(args) => test::run(&args, host),
    }
}

/// Removes what killed runs left in the engine, and says so.
fn reap(host: &Host, engine: &Engine) -> Result<()> {
    let count = reaper::reap(engine, &host.runner)?
        + candidate::retire(engine, &host.runner, |run| !reaper::is_alive(run))?;
    if count > 0 {
        host.report
            .step("cleaned", format!("{count} leftovers of runs that were killed"));
    }
    Ok(())
}

/// The catalog, with the app that `--app` names in place of the specs' own.
fn catalog(host: &Host, selection: &Selection) -> Result<Catalog> {
    match &selection.app {
        Some(folder) => {
            let folder = std::path::absolute(folder)?;
            Catalog::read(&host.root, Apps::Folder(&folder, &selection.images))
        }
        None => Catalog::read(&host.root, Apps::OfSpecs),
    }
}
