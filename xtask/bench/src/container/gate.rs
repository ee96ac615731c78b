//! The smoke suite itself: it is waited for at each build.

use std::time::Instant;

use anyhow::{Result, bail};

use super::super::Bench;
use super::super::row::Measured;
use super::fixture::ImagesFixture;

/// From the first `docker run` to the last verdict.
pub(super) fn gate(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    let samples = bench.repeat(|| {
        let began = Instant::now();
        let verdicts = smoke::run_all(
            &bench.host.report,
            &fixture.scratch.state,
            &fixture.resources,
            &fixture.ours,
        )?;
        let took = began.elapsed();
        if let Some(failed) = verdicts.iter().find(|verdict| !verdict.passed()) {
            bail!("the gate failed {}: see `cargo xtask smoke`", failed.image());
        }
        Ok(took.as_secs_f64())
    })?;
    Ok(Measured::new("cargo xtask smoke", samples).note(format!("{} images at once", fixture.ours.len())))
}
