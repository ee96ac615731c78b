//! Nothing has changed: how long it takes to say so.

use anyhow::Result;

use super::super::Bench;
use super::super::clock::{self, Timed};
use super::super::row::Measured;
use super::BAKE;
use super::fixture::{BenchedBuild, CheckoutFixture};
use super::large;

/// All images up to date, by the built binary: without what cargo adds.
pub(super) fn binary(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let all = BenchedBuild::default();
    let ours = fixture.xtask("build-images", "build-images", &all);
    beside_bake(bench, fixture, &all, ours)
}

/// What people type, with what cargo adds.
pub(super) fn cargo(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let all = BenchedBuild::default();
    let ours = fixture.cargo_xtask("cargo xtask build-images", "build-images", &all);
    beside_bake(bench, fixture, &all, ours)
}

/// A context of 50,000 files.
pub(super) fn large(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let subject = large::subject(bench, fixture)?;
    let ours = fixture.xtask("build-images", "build-images", &subject);
    beside_bake(bench, fixture, &subject, ours)
}

fn beside_bake(
    bench: &Bench<'_>,
    fixture: &CheckoutFixture,
    subject: &BenchedBuild,
    ours: Timed,
) -> Result<Measured> {
    fixture.build(bench, subject)?;
    let bake = fixture.bake(bench, subject)?;
    let label = ours.label.clone();
    let [ours, bake] = clock::pair(bench, ours, bake)?;
    Ok(Measured::new(label, ours.milliseconds()).peer(BAKE, bake.milliseconds()))
}
