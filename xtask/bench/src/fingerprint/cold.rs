//! Nothing is in the cache: how long the steps of our Dockerfile take.

use std::time::Instant;

use anyhow::Result;
use fs_err as fs;

use super::super::Bench;
use super::super::clock;
use super::super::row::Measured;
use super::fixture::{BenchedBuild, CheckoutFixture};
use host::report;

/// The peer that `docker/bench/plain.Dockerfile` describes.
pub(super) const PLAIN: &str = "a plain Dockerfile with uv";

/// Its Dockerfile, and what the pins of the app are called there.
const PEER: &str = "plain";
const PINS: &str = "docker/bench/hundred.txt";

/// The sample app with a hundred packages in a `requirements.txt`. Both load them anew each
/// time, and have the packages of apt in a cache mount. The gate is in neither: the note says
/// how long it is to the tag.
pub(super) fn hundred(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let app = fixture.folder("hundred");
    fixture.copy_sample_app(&app)?;
    for list in ["pyproject.toml", "uv.lock"] {
        fs::remove_file(app.join(list))?;
    }
    fs::copy(fixture.root().join(PINS), app.join("requirements.txt"))?;
    let subject = BenchedBuild {
        images: vec![fixture.one_image()?],
        app: Some(app),
    };
    let ours = fixture.bake(bench, &subject)?.args(["--no-cache"]);
    let plain = fixture.bake_peer(bench, &subject, PEER)?.args(["--no-cache"]);
    let whole = fixture.xtask("build-images", "build-images", &subject);
    let [ours, plain] = clock::pair(bench, ours, plain)?;
    let began = Instant::now();
    whole.args(["--no-cache"]).run(&bench.host.runner)?;
    let whole = report::seconds(began.elapsed());
    Ok(Measured::new("this Dockerfile", ours.seconds)
        .peer(PLAIN, plain.seconds)
        .note(format!("{whole} to the proved tag")))
}
