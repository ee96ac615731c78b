//! The smoke suite itself: it is waited for at each build.

use std::time::Instant;

use anyhow::{Result, bail};

use super::super::Bench;
use super::super::row::Measured;
use super::super::sequence;
use super::fixture::ImagesFixture;
use smoke::Subject;

/// One image, in turns with the same in sequence.
pub(super) fn one(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    let subject = fixture.image()?;
    let script = sequence::script(&subject.spec, &fixture.resources.run);
    let engine = &fixture.resources.engine;
    let docker = engine.docker.display().to_string();
    let mut in_sequence = Vec::new();
    let ours = bench.repeat(|| {
        let began = Instant::now();
        let mut command = bench.host.runner.cmd("sh").args(["-ec", &script, "sh", &docker]);
        for (key, value) in &engine.env {
            command = command.env(key, value);
        }
        command.arg(subject.image_id.as_str()).run()?;
        in_sequence.push(began.elapsed().as_secs_f64());
        prove(bench, fixture, std::slice::from_ref(subject))
    })?;
    Ok(Measured::new("cargo xtask smoke", ours).peer(sequence::LABEL, in_sequence))
}

/// The gate on all images at once, in seconds.
pub(super) fn all(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    let samples = bench.repeat(|| prove(bench, fixture, &fixture.ours))?;
    Ok(Measured::new("cargo xtask smoke", samples).note(format!("{} images at once", fixture.ours.len())))
}

/// Seconds from the first container to the last verdict.
fn prove(bench: &Bench<'_>, fixture: &ImagesFixture, subjects: &[Subject]) -> Result<f64> {
    let began = Instant::now();
    let verdicts = smoke::run_all(
        &bench.host.report,
        &fixture.scratch.state,
        &fixture.resources,
        subjects,
        Vec::new(),
    )?;
    let took = began.elapsed();
    if let Some(failed) = verdicts.iter().find(|verdict| !verdict.passed()) {
        bail!("the gate failed {}: see `cargo xtask smoke`", failed.image());
    }
    Ok(took.as_secs_f64())
}
