//! Nothing has changed: how long it takes to say so.

use anyhow::Result;

use super::super::Bench;
use super::super::clock::{self, Timed};
use super::super::row::Measured;
use super::BAKE;
use super::large;
use super::scene::{Scene, Subject};

/// The built binary.
pub(super) fn binary(bench: &Bench<'_>, scene: &Scene) -> Result<Measured> {
    let all = Subject::default();
    let ours = scene.xtask("build-images", "build-images", &all);
    beside_bake(bench, scene, &all, ours)
}

/// What people type, with what cargo adds.
pub(super) fn cargo(bench: &Bench<'_>, scene: &Scene) -> Result<Measured> {
    let all = Subject::default();
    let ours = scene.cargo_xtask("cargo xtask build-images", "build-images", &all);
    beside_bake(bench, scene, &all, ours)
}

/// A context of 50,000 files.
pub(super) fn large(bench: &Bench<'_>, scene: &Scene) -> Result<Measured> {
    let subject = large::subject(bench, scene)?;
    let ours = scene.xtask("build-images", "build-images", &subject);
    beside_bake(bench, scene, &subject, ours)
}

fn beside_bake(bench: &Bench<'_>, scene: &Scene, subject: &Subject, ours: Timed) -> Result<Measured> {
    scene.build(bench, subject)?;
    let bake = scene.bake(bench, subject)?;
    let label = ours.label.clone();
    let [ours, bake] = clock::pair(bench, ours, bake)?;
    Ok(Measured::new(label, ours.milliseconds()).peer(BAKE, bake.milliseconds()))
}
