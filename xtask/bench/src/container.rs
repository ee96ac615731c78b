//! How good the image is at what people run it for, beside what they would put
//! together themselves.
//!
//! Everything is measured on the images of a copy of the checkout and on peers
//! that are built on the same base in the same engine (`docker/bench/`). Ours
//! and the peer take turns, each time with containers and volumes of their own.

pub(crate) mod fixture;
mod gate;
mod life;
mod recovery;
mod running;
mod size;

use super::row::Goal;
use super::{BenchRun, BenchSuite, Row, sequence};
use fixture::{DOCUMENTS, ImagesFixture, OFFICIAL, WORKSPACE};

/// All that is measured of images and their containers.
pub(crate) static SUITE: BenchSuite<ImagesFixture> = BenchSuite {
    name: "container",
    is_run: BenchRun::Always,
    open: ImagesFixture::open,
    rows: &[
        Row {
            name: "image-size",
            what: "the image, all layers",
            unit: "MB",
            goals: &[Goal::AtMost(280.0), Goal::OfPeer(DOCUMENTS, 1.0 / 3.0)],
            measure: size::image,
        },
        Row {
            name: "workspace-size",
            what: "the image of an app alone, all layers",
            unit: "MB",
            goals: &[Goal::OfPeer(WORKSPACE, 0.5)],
            measure: size::workspace,
        },
        Row {
            name: "app-change",
            what: "what an image adds to one that differs by a line of the app",
            unit: "MB",
            goals: &[Goal::AtMost(1.0)],
            measure: size::app_change,
        },
        Row {
            name: "first-boot",
            what: "docker run on an empty volume until healthy",
            unit: "s",
            goals: &[Goal::OfPeer(OFFICIAL, 0.5)],
            measure: life::first_boot,
        },
        Row {
            name: "restart",
            what: "docker run on an existing volume until healthy",
            unit: "s",
            goals: &[Goal::OfPeer(OFFICIAL, 0.5)],
            measure: life::restart,
        },
        Row {
            name: "stop",
            what: "docker stop with an open session and transaction, clean",
            unit: "s",
            goals: &[Goal::AtMost(2.0)],
            measure: life::stop,
        },
        Row {
            name: "memory",
            what: "all processes, idle, as docker stats counts",
            unit: "MB",
            goals: &[Goal::AtMost(150.0)],
            measure: running::memory,
        },
        Row {
            name: "metrics-memory",
            what: "what metrics that are asked for add to it",
            unit: "MB",
            goals: &[Goal::AtMost(20.0)],
            measure: running::metrics,
        },
        Row {
            name: "health-p99",
            what: "the health endpoint, a connection each, 99 of 100 requests",
            unit: "ms",
            goals: &[Goal::AtMost(10.0)],
            measure: running::health,
        },
        Row {
            name: "query-p99",
            what: "nearest 5 of 10,000 × 384 by HNSW over TCP, 99 of 100 queries",
            unit: "ms",
            goals: &[Goal::AtMost(10.0)],
            measure: running::query,
        },
        Row {
            name: "kill-postgresql",
            what: "kill -9 of the postmaster until health is 200 again",
            unit: "s",
            goals: &[Goal::AtMost(3.0)],
            measure: recovery::postgresql,
        },
        Row {
            name: "kill-app",
            what: "kill -9 of the app until health is 200 again",
            unit: "s",
            goals: &[Goal::AtMost(2.0)],
            measure: recovery::app,
        },
        Row {
            name: "lost-rows",
            what: "rows lost of those committed, container killed 100 times under load",
            unit: "rows",
            goals: &[Goal::AtMost(0.0)],
            measure: recovery::lost_rows,
        },
        Row {
            name: "gate",
            what: "the smoke suite on one image",
            unit: "s",
            goals: &[Goal::AtMost(4.5), Goal::OfPeer(sequence::LABEL, 0.6)],
            measure: gate::one,
        },
        Row {
            name: "gate-all",
            what: "the smoke suite on all images at once",
            unit: "s",
            goals: &[Goal::AtMost(7.0)],
            measure: gate::all,
        },
    ],
};
