//! How soon a service is what it has to be, beside compose with the file that is
//! rendered for it.
//!
//! Two images of the same app, one run by the tool and one by compose, on ports of
//! their own. Compose has no limits here, as `up` has none.

pub(crate) mod away;
pub(crate) mod fixture;

use super::clock;
use super::row::{Goal, Measured};
use super::{Bench, BenchRun, BenchSuite, Row};
use anyhow::Result;
use fixture::ServicesFixture;

/// The peer of all rows.
pub(crate) const UP: &str = "docker compose up";
const PS: &str = "docker compose ps";

/// All that is measured of services beside compose.
pub(crate) static SUITE: BenchSuite<ServicesFixture> = BenchSuite {
    name: "service",
    is_run: BenchRun::Always,
    open: ServicesFixture::open,
    rows: &[
        Row {
            name: "up-unchanged",
            what: "`up` with nothing to do, the built binary",
            unit: "ms",
            goals: &[Goal::AtMost(150.0), Goal::OfPeer(UP, 0.5)],
            measure: unchanged,
        },
        Row {
            name: "status-all",
            what: "`status` of all services, the built binary",
            unit: "ms",
            goals: &[Goal::AtMost(100.0)],
            measure: status,
        },
        Row {
            name: "up-healthy",
            what: "`up` from nothing, volume included, until it says healthy",
            unit: "s",
            goals: &[Goal::OfPeer(UP, 1.0)],
            measure: healthy,
        },
        Row {
            name: "new-image",
            what: "another image, with rows in place: the app answers → answers",
            unit: "s",
            goals: &[Goal::AtMost(1.5), Goal::OfPeer(UP, 0.8)],
            measure: away::new_image,
        },
    ],
};

fn unchanged(bench: &Bench<'_>, fixture: &ServicesFixture) -> Result<Measured> {
    fixture.both_up(bench)?;
    let peer = fixture.compose(UP, &["up", "--detach"]);
    let [ours, peer] = clock::pair(bench, fixture.up("up", &[]), peer)?;
    Ok(Measured::new("up", ours.milliseconds()).peer(UP, peer.milliseconds()))
}

fn status(bench: &Bench<'_>, fixture: &ServicesFixture) -> Result<Measured> {
    fixture.both_up(bench)?;
    let ours = fixture.xtask("status", &["status", "--engine", fixture.owner()]);
    let [ours, peer] = clock::pair(bench, ours, fixture.compose(PS, &["ps"]))?;
    Ok(Measured::new("status", ours.milliseconds())
        .peer(PS, peer.milliseconds())
        .note(format!("{} services; compose shows one", fixture.services())))
}

fn healthy(bench: &Bench<'_>, fixture: &ServicesFixture) -> Result<Measured> {
    let ours = fixture.up("up", &[]).prepare(fixture.down()?);
    let peer = fixture
        .compose(UP, &["up", "--detach", "--wait"])
        .prepare(fixture.compose_down()?);
    let [ours, peer] = clock::pair(bench, ours, peer)?;
    Ok(Measured::new("up", ours.seconds).peer(UP, peer.seconds))
}
