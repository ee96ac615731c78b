//! What a container costs and how quick it is while nothing goes wrong.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::super::Bench;
use super::super::row::Measured;
use super::fixture::{ImagesFixture, OURS, app_of};
use container::figure::{milliseconds, percentile};
use container::http::Client;
use smoke::checks::{database, programs};

/// From healthy until nothing of the start goes on any more.
const IDLE: Duration = Duration::from_secs(5);

/// Requests and queries of a sample: ten of them may be slower than its figure.
const ASKED: u32 = 1000;

/// Rows of the vector table.
const ROWS: u32 = 10_000;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// What the kernel charges to a container that has nothing to do.
pub(super) fn memory(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        let instance = stage.boot(&*stage.volume()?, &[])?;
        stage.resources().runner.sleep(IDLE)?;
        Ok(programs::charged(&stage.shell(&instance, programs::MEMORY)?)?)
    })
}

/// A container that was asked for its metrics, less one that has none.
pub(super) fn metrics(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    // By the container's own Python: no port of the host is needed for it.
    const ASK: &str = "python3 -c 'import urllib.request; \
         print(len(urllib.request.urlopen(\"http://127.0.0.1:9187/metrics\").read()))'";
    let charged = |options: &[&str]| -> Result<f64> {
        let stage = fixture.stage(fixture.image()?);
        let instance = stage.boot(&*stage.volume()?, options)?;
        if !options.is_empty() {
            stage.shell(&instance, ASK)?;
        }
        stage.resources().runner.sleep(IDLE)?;
        Ok(programs::charged(&stage.shell(&instance, programs::MEMORY)?)?)
    };
    let mut added = Vec::new();
    for _ in 0..bench.runs {
        bench.host.runner.check_interrupt()?;
        added.push(charged(&["--env", "HIVE_METRICS_PORT=9187"])? - charged(&[])?);
    }
    Ok(Measured::new(OURS, added))
}

/// Through the published port, a connection each, as health checks come.
pub(super) fn health(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        let instance = stage.boot(&*stage.volume()?, &[])?;
        let client = Client::new(instance.port, false);
        let path = app_of(stage.spec())?.asked_path();
        let mut took = Vec::new();
        for _ in 0..=ASKED {
            stage.resources().runner.check_interrupt()?;
            match client.get(path, REQUEST) {
                Ok(reply) if reply.status == 200 => took.push(milliseconds(reply.took)),
                Ok(reply) => bail!("GET {path}: {}", reply.shown()),
                Err(error) => bail!("GET {path}: {error}"),
            }
        }
        p99(&took[1..])
    })
}

/// One session over TCP, timed by psql.
pub(super) fn query(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    fixture.beside_official(bench, |stage| {
        let instance = stage.boot(&*stage.volume()?, &[])?;
        let script = format!("rows={ROWS} queries={}\n{}", ASKED + 1, database::LATENCY);
        p99(&database::timings(&stage.shell(&instance, &script)?)?)
    })
}

fn p99(values: &[f64]) -> Result<f64> {
    percentile(values, 0.99).context("nothing was measured")
}
