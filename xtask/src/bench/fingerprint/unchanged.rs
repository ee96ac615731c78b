//! Nothing has changed: how long it takes to say so.

use anyhow::Result;

use super::super::Bench;
use super::super::clock::{self, Timed};
use super::super::row::Measured;
use super::BAKE;
use super::scene::Scene;

/// The built binary.
pub(super) fn binary(bench: &Bench<'_>, scene: &Scene) -> Result<Measured> {
    beside_bake(bench, scene, scene.xtask("build-images", &["build-images"])?)
}

/// What people type, with what cargo adds.
pub(super) fn cargo(bench: &Bench<'_>, scene: &Scene) -> Result<Measured> {
    beside_bake(
        bench,
        scene,
        scene.cargo_xtask("cargo xtask build-images", &["build-images"]),
    )
}

fn beside_bake(bench: &Bench<'_>, scene: &Scene, ours: Timed) -> Result<Measured> {
    scene.build(bench)?;
    let bake = scene.bake(bench)?;
    let label = ours.label.clone();
    let timings = clock::side_by_side(bench, &[ours, bake])?;
    let [ours, bake] = timings.as_slice() else {
        anyhow::bail!("two commands have {} timings", timings.len());
    };
    Ok(Measured::new(label, ours.milliseconds()).peer(BAKE, bake.milliseconds()))
}
