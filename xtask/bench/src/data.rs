//! What is done with a service's data, beside the plain programs that do a part of it.
//!
//! One service with a quarter of a gigabyte of rows, of which a text compresses to about
//! half; a backup of it is the file that all rows read.

mod fixture;
mod past;

use std::time::Duration;

use anyhow::Result;

use super::row::{Goal, Measured};
use super::service::{UP, away};
use super::{Bench, BenchRun, BenchSuite, Row, clock};
use container::figure::percentile;
use fixture::DataFixture;
use past::PastCluster;

/// The peers.
const BARE: &str = "pg_basebackup to a file";
const UNPACK: &str = "zstd -d, tar x";
const AMCHECK: &str = "unpack, start, pg_amcheck";
const IDLE: &str = "without a backup";
const BARE_LOAD: &str = "while pg_basebackup writes to a file";
const BY_HAND: &str = "pg_dump and pg_restore -Fd -j2, pg_dump again";

/// All that is measured of data.
pub(crate) static SUITE: BenchSuite<DataFixture> = BenchSuite {
    name: "data",
    is_run: BenchRun::Always,
    open: DataFixture::open,
    rows: &[
        Row {
            name: "backup-taken",
            what: "`backup --no-verify` of a running service into a file",
            unit: "s",
            // 0.9 of its rate.
            goals: &[Goal::OfPeer(BARE, 1.0 / 0.9)],
            measure: taken,
        },
        Row {
            name: "backup-load",
            what: "99th percentile of the health path while a backup is taken",
            unit: "ms",
            goals: &[Goal::OfPeer(IDLE, 2.0)],
            measure: load,
        },
        Row {
            name: "backup-proof",
            what: "`backup verify`: restored, every table and index asked",
            unit: "s",
            goals: &[Goal::OfPeer(AMCHECK, 1.5)],
            measure: proof,
        },
        Row {
            name: "restore-healthy",
            what: "`restore` of a proved backup until the service is healthy",
            unit: "s",
            goals: &[Goal::OfPeerAnd(UNPACK, 1.3, 2.0)],
            measure: restored,
        },
        Row {
            name: "restore-away",
            what: "`restore`: the app answers → answers",
            unit: "s",
            goals: &[Goal::AtMost(2.5)],
            measure: restore_away,
        },
        Row {
            name: "update-away",
            what: "`update` with a way back: the app answers → answers",
            unit: "s",
            goals: &[Goal::AtMost(2.5)],
            measure: update_away,
        },
        Row {
            name: "update-failed",
            what: "`update` to an image that never gets healthy: the app answers → answers",
            unit: "s",
            goals: &[Goal::AtMost(fixture::READY_LIMIT + 2.0)],
            measure: update_failed,
        },
        Row {
            name: "migrate",
            what: "`migrate` of a cluster of the same version until the service is healthy",
            unit: "s",
            goals: &[Goal::OfPeer(BY_HAND, 1.3)],
            measure: migrated,
        },
    ],
};

/// The same with one gigabyte.
pub(crate) static GIGABYTE: BenchSuite<DataFixture> = BenchSuite {
    name: "gigabyte",
    is_run: BenchRun::ByName,
    open: DataFixture::open_gigabyte,
    rows: &[Row {
        name: "gigabyte-migrate",
        what: "`migrate` of 1 GB of the same version until the service is healthy",
        unit: "s",
        goals: &[Goal::OfPeer(BY_HAND, 1.3)],
        measure: migrated,
    }],
};

/// The same with ten gigabytes.
pub(crate) static LARGE: BenchSuite<DataFixture> = BenchSuite {
    name: "large",
    is_run: BenchRun::ByName,
    open: DataFixture::open_large,
    rows: &[
        Row {
            name: "large-backup",
            what: "`backup --no-verify` of 10 GB into a file",
            unit: "s",
            goals: &[Goal::OfPeer(BARE, 1.0 / 0.9)],
            measure: taken,
        },
        Row {
            name: "large-proof",
            what: "`backup verify` of 10 GB",
            unit: "s",
            goals: &[Goal::OfPeer(AMCHECK, 1.5)],
            measure: proof,
        },
        Row {
            name: "large-restore",
            what: "`restore` of 10 GB until the service is healthy",
            unit: "s",
            goals: &[Goal::OfPeerAnd(UNPACK, 1.3, 2.0)],
            measure: restored,
        },
        Row {
            name: "large-restore-away",
            what: "`restore` of 10 GB: the app answers → answers",
            unit: "s",
            goals: &[Goal::AtMost(2.5)],
            measure: restore_away,
        },
        Row {
            name: "large-update-away",
            what: "`update` of 10 GB with a way back: the app answers → answers",
            unit: "s",
            // 3 where the file system shares blocks.
            goals: &[Goal::AtMost(5.0)],
            measure: update_away,
        },
    ],
};

fn taken(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let [ours, peer] = clock::pair(bench, fixture.backup("backup")?, fixture.bare(BARE)?)?;
    Ok(Measured::new("backup", ours.seconds).peer(BARE, peer.seconds))
}

fn load(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let (mut ours, mut idle, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let nothing = clock::Timed::new("wait", "sleep").args(["3"]);
        idle.push(slow_answer(bench, fixture, &nothing)?);
        ours.push(slow_answer(bench, fixture, &fixture.backup("backup")?)?);
        bare.push(slow_answer(bench, fixture, &fixture.bare(BARE)?)?);
    }
    Ok(Measured::new("backup", ours)
        .peer(IDLE, idle)
        .peer(BARE_LOAD, bare))
}

/// So many answers has a percentile at least: of fewer than a hundred the 99th is the slowest.
const ANSWERS: usize = 400;

/// The 99th percentile of the answers' milliseconds while a command runs, again and again until
/// there are enough of them.
fn slow_answer(bench: &Bench<'_>, fixture: &DataFixture, command: &clock::Timed) -> Result<f64> {
    let mut answered = Vec::new();
    while answered.len() < ANSWERS {
        let seen = away::watch(bench, &fixture.services.ours, command, Duration::from_millis(20))?;
        answered.extend(seen.took.iter().map(|took| took.as_secs_f64() * 1000.0));
    }
    Ok(percentile(&answered, 0.99).unwrap_or(f64::NAN))
}

fn proof(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let [ours, peer] = clock::pair(bench, fixture.verify("verify")?, fixture.amcheck(AMCHECK)?)?;
    Ok(Measured::new("verify", ours.seconds).peer(AMCHECK, peer.seconds))
}

fn restored(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let [ours, peer] = clock::pair(bench, fixture.restore("restore")?, fixture.unpack(UNPACK)?)?;
    Ok(Measured::new("restore", ours.seconds).peer(UNPACK, peer.seconds))
}

fn restore_away(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let restore = fixture.restore("restore")?;
    let away = bench.repeat(|| away::gap(bench, &fixture.services.ours, &restore))?;
    Ok(Measured::new("restore", away))
}

/// There and back, in turns; compose keeps no way back.
fn update_away(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let services = &fixture.services;
    let (ours, peer) = (services.other(&services.ours)?, services.other(&services.peer)?);
    let (mut of_ours, mut of_peer) = (Vec::new(), Vec::new());
    for turn in 0..bench.runs {
        bench.host.runner.check_interrupt()?;
        let there = turn % 2 == 0;
        let update = fixture.update("update", there.then_some(ours.as_str()))?;
        of_ours.push(away::gap(bench, &services.ours, &update)?);
        let compose = services.compose(UP, &["up", "--detach"]);
        let compose = match there {
            true => compose.env(services.variable("IMAGE"), &peer),
            false => compose,
        };
        of_peer.push(away::gap(bench, &services.peer, &compose)?);
    }
    Ok(Measured::new("update", of_ours)
        .peer(UP, of_peer)
        .note("compose has no rows to keep and keeps no way back"))
}

/// The image's app answers nobody, so that all of the time to start in is waited for.
fn update_failed(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let update = fixture.failed_update("update", &fixture.hanging()?)?;
    let away = bench.repeat(|| away::gap(bench, &fixture.services.ours, &update))?;
    Ok(Measured::new("update", away).note(format!("a service is waited for {} s", fixture::READY_LIMIT)))
}

/// The peer's servers run already when its time begins, and it compares nothing.
fn migrated(bench: &Bench<'_>, fixture: &DataFixture) -> Result<Measured> {
    let past = PastCluster::make(bench, fixture)?;
    let timed = clock::pair(bench, past.migrate("migrate")?, past.by_hand(BY_HAND)?);
    past.remove(bench)?;
    let [ours, peer] = timed?;
    Ok(Measured::new("migrate", ours.seconds).peer(BY_HAND, peer.seconds))
}
