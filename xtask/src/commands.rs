//! One verb a file, each a short story of calls into the domain.

mod backup;
pub mod base;
mod build_images;
mod down;
mod elsewhere;
mod engine;
mod exec;
mod explain;
mod health;
mod inputs;
mod logs;
mod migrate;
mod new;
mod plan;
mod render;
mod restart;
mod restore;
mod services;
mod smoke;
mod status;
mod test;
mod up;
mod update;
mod way_back;

use anyhow::Result;

use crate::cli::Verb;
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
pub fn run(command: Verb, host: &Host) -> Result<()> {
    match command {
        Verb::BuildImages(args) => build_images::run(&args, host),
        Verb::Smoke(args) => smoke::run(&args, host),
        Verb::Plan(args) => plan::run(&args, host),
        Verb::Explain(args) => explain::run(&args, host),
        Verb::Render(args) => render::run(&args, host),
        Verb::Up(args) => up::run(&args, host),
        Verb::Down(args) => down::run(&args, host),
        Verb::Restart(args) => restart::run(&args, host),
        Verb::Status(args) => status::run(&args, host),
        Verb::Logs(args) => logs::run(&args, host),
        Verb::Health(args) => health::run(&args, host),
        Verb::Exec(args) => exec::run(&args, host),
        Verb::Psql(args) => exec::psql(&args, host),
        Verb::Backup(args) => backup::run(&args, host),
        Verb::Restore(args) => restore::run(&args, host),
        Verb::Update(args) => update::run(&args, host),
        Verb::Migrate(args) => migrate::run(&args, host),
        Verb::Engine(args) => engine::run(&args, host),
        Verb::Base(args) => base::run(&args, host),
        Verb::Inputs(args) => inputs::run(&args, host),
        Verb::New(args) => new::run(&args, host),
        Verb::Audit(args) => elsewhere::run("audit", &args, host),
        Verb::Bench(args) => elsewhere::run("bench", &args, host),
        Verb::Test(args) => test::run(&args, host),
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
