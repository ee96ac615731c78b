//! kill -9.

use anyhow::Result;

use super::super::Bench;
use super::super::row::Measured;
use super::scene::Scene;
use crate::smoke::faults::processes;
use crate::smoke::scene::{Process, Scene as Stage};

/// Of the postmaster, which takes the server with it.
pub(super) fn postgresql(bench: &Bench<'_>, scene: &Scene) -> Result<Measured> {
    scene.beside_official(bench, |stage| {
        until_back(stage, "postmaster", |process| {
            // By its parent: a backend's title has no path, and `postgres -D` of
            // ours one that the peer's has not.
            process.command.contains("postgres") && process.parent == 1
        })
    })
}

/// Of the app's only process.
pub(super) fn app(bench: &Bench<'_>, scene: &Scene) -> Result<Measured> {
    scene.beside_official(bench, |stage| {
        until_back(stage, "app", |process| {
            process.parent == 1
                && (process.command.contains("run-app") || process.command.contains("uvicorn"))
        })
    })
}

fn until_back(stage: &Stage<'_>, what: &str, is_it: fn(&Process) -> bool) -> Result<f64> {
    let volume = stage.volume()?;
    let guest = stage.boot(&volume, &[])?;
    Ok(processes::kill(stage, &guest, what, is_it)?.as_secs_f64())
}
