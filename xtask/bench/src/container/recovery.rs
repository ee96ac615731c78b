//! kill -9.

use anyhow::Result;

use super::super::Bench;
use super::super::row::Measured;
use super::fixture::{ImagesFixture, OURS};
use smoke::faults::{crash, processes};
use smoke::fixture::{Fixture, Process};

/// Of the postmaster, which takes the server with it.
pub(super) fn postgresql(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        until_back(stage, "postmaster", |process| {
            // By its parent: a backend's title has no path, and `postgres -D` of
            // ours one that the peer's has not.
            process.command.contains("postgres") && process.parent == 1
        })
    })
}

/// Of the app's only process.
pub(super) fn app(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        until_back(stage, "app", |process| {
            process.parent == 1
                && (process.command.contains("run-app") || process.command.contains("uvicorn"))
        })
    })
}

/// Rounds of [`lost_rows`], whatever `--runs` says: this is counted, not timed.
const ROUNDS: u32 = 100;

/// Of the whole container under a write load, with a ledger outside; and every
/// page and index looked at in the end. A row that is lost is an error that
/// says which.
pub(super) fn lost_rows(_: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    let seen = crash::kill_rounds(&fixture.stage(fixture.image()?), ROUNDS)?;
    Ok(Measured::new(OURS, vec![0.0]).note(format!(
        "{} rows committed in {ROUNDS} rounds; health back after {:.1} s at most",
        seen.rows,
        seen.slowest.as_secs_f64()
    )))
}

fn until_back(stage: &Fixture<'_>, what: &str, is_it: fn(&Process) -> bool) -> Result<f64> {
    let volume = stage.volume()?;
    let instance = stage.boot(&volume, &[])?;
    Ok(processes::kill(stage, &instance, what, is_it)?.as_secs_f64())
}
