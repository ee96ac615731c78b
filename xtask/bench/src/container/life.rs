//! Start, start again, stop.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::super::Bench;
use super::super::row::Measured;
use super::fixture::ImagesFixture;
use container::boot::Instance;
use smoke::checks::database::WRITE_ROWS;
use smoke::fixture::Fixture;

/// The time that `docker stop` gives a container where nobody says another.
const GRACE: Duration = Duration::from_secs(10);

/// The first boot of a volume's life.
pub(super) fn first_boot(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        let volume = stage.volume()?;
        let instance = stage.start(&volume, &[])?;
        until_healthy(stage, &instance)
    })
}

/// A new container on the volume of one that was stopped.
pub(super) fn restart(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        let volume = stage.volume()?;
        stage.boot(&volume, &[])?.container.stop(GRACE)?;
        let instance = stage.start(&volume, &[])?;
        until_healthy(stage, &instance)
    })
}

/// Judged clean by the cluster's own state: a quick stop that leaves crash
/// recovery to the next start is none.
pub(super) fn stop(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        let volume = stage.volume()?;
        let instance = stage.boot(&volume, &[])?;
        stage.must(&instance, WRITE_ROWS)?;
        let took = instance.container.stop(GRACE)?;
        let state = stage.cluster_state(&volume)?;
        if state != "shut down" {
            bail!("docker stop left the cluster `{state}`");
        }
        Ok(took.as_secs_f64())
    })
}

/// The engine's own verdict, by the image's health check.
fn until_healthy(stage: &Fixture<'_>, instance: &Instance) -> Result<f64> {
    let ready = stage.until_ready(instance)?.ready;
    Ok(ready.context("the container was not healthy")?.as_secs_f64())
}
