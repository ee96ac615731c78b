//! How fast the tool decides that nothing, or little, has to be done, and does it.
//!
//! Everything happens in a copy of the checkout, with images of its own names
//! and a state folder of its own: no tag that somebody uses is moved. Trees of
//! many files are made once and kept in `bench/trees` of the state folder (3 GB
//! with git's copy).

mod cold;
mod edit;
pub(crate) mod fixture;
mod large;
mod scan;
mod unchanged;

use super::row::Goal;
use super::{BenchRun, BenchSuite, Row};
use fixture::CheckoutFixture;

/// The peer of most rows: what builds the same images without this tool.
const BAKE: &str = "docker buildx bake";

/// All that is measured of fingerprints: runs without work, scans, builds after
/// a change.
pub(crate) static SUITE: BenchSuite<CheckoutFixture> = BenchSuite {
    name: "fingerprint",
    is_run: BenchRun::Always,
    open: CheckoutFixture::open,
    rows: &[
        Row {
            name: "unchanged",
            what: "nothing changed, all images, the built binary",
            unit: "ms",
            goals: &[Goal::AtMost(40.0), Goal::OfPeer(BAKE, 0.1)],
            measure: unchanged::binary,
        },
        Row {
            name: "unchanged-cargo",
            what: "nothing changed, all images, through `cargo xtask`",
            unit: "ms",
            goals: &[Goal::AtMost(60.0), Goal::OfPeer(BAKE, 0.25)],
            measure: unchanged::cargo,
        },
        Row {
            name: "first-scan",
            what: "first hash of 1 GB in 1,000 files, warm page cache",
            unit: "s",
            goals: &[Goal::OfBest(1.2)],
            measure: scan::first,
        },
        Row {
            name: "scan-memory",
            what: "200,000 files: the most memory that a scan takes",
            unit: "MB",
            goals: &[Goal::AtMost(150.0)],
            measure: scan::memory,
        },
        Row {
            name: "scan-linear",
            what: "10,000, 50,000 and 200,000 files: what one file more costs a scan",
            unit: "µs",
            goals: &[Goal::OfPeer(scan::SMALLER, 1.2)],
            measure: scan::linear,
        },
        Row {
            name: "one-line",
            what: "one line of the app changed, to the promoted tag",
            unit: "s",
            goals: &[Goal::AtMost(6.0), Goal::OfPeer(edit::BY_HAND, 0.5)],
            measure: edit::one_line,
        },
        Row {
            name: "dependencies",
            what: "one line of the app changed: steps of the dependencies that run again",
            unit: "steps",
            goals: &[Goal::AtMost(0.0)],
            measure: edit::dependencies,
        },
        Row {
            name: "cold-hundred",
            what: "an app with 100 packages, each step of its Dockerfile run anew",
            unit: "s",
            goals: &[Goal::OfPeer(cold::PLAIN, 1.1)],
            measure: cold::hundred,
        },
        Row {
            name: "unchanged-large",
            what: "nothing changed, a context of 50,000 files (1 GB)",
            unit: "ms",
            goals: &[Goal::OfPeer(BAKE, 0.1)],
            measure: unchanged::large,
        },
        Row {
            name: "changed-large",
            what: "one file of 50,000 changed: time to the plan",
            unit: "ms",
            goals: &[Goal::OfPeer(large::GIT, 1.2)],
            measure: large::changed,
        },
    ],
};
