//! How fast the tool decides that nothing, or little, has to be done.
//!
//! Everything happens in a copy of the checkout, with images of its own names
//! and a state folder of its own: no tag that somebody uses is moved.

pub mod scene;
mod unchanged;

use super::row::Goal;
use super::{Row, Suite};
use scene::Scene;

/// The peer of most rows: what builds the same images without this tool.
const BAKE: &str = "docker buildx bake";

/// The rows.
pub static SUITE: Suite<Scene> = Suite {
    name: "fingerprint",
    open: Scene::open,
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
            goals: &[Goal::OfPeer(BAKE, 1.0 / 3.0)],
            measure: unchanged::cargo,
        },
    ],
};
