//! What has to be stored and sent.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use fs_err as fs;

use super::super::Bench;
use super::super::row::Measured;
use super::fixture::{DOCUMENTS, ImagesFixture, OFFICIAL, OURS, WORKSPACE, app_of};
use smoke::Subject;

/// What the engine says of its size; the same each time.
pub(super) fn image(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    let size = |subject: &Subject| size_of(fixture, subject);
    Ok(Measured::new(OURS, vec![size(fixture.image()?)?])
        .peer(DOCUMENTS, vec![size(fixture.documents(bench)?)?])
        .peer(OFFICIAL, vec![size(fixture.official(bench)?)?]))
}

/// The same of an app alone.
pub(super) fn workspace(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    let is_alone = |subject: &&Subject| subject.spec.database.elsewhere.is_some();
    let ours = fixture.ours.iter().find(is_alone);
    let ours = ours.context("the checkout has no image of an app alone")?;
    let peer = fixture.workspace(bench)?;
    Ok(Measured::new(OURS, vec![size_of(fixture, ours)?]).peer(WORKSPACE, vec![size_of(fixture, peer)?]))
}

/// In megabytes.
fn size_of(fixture: &ImagesFixture, subject: &Subject) -> Result<f64> {
    let (engine, runner) = (&fixture.resources.engine, &fixture.resources.runner);
    let image = engine.image(runner, subject.image_id.as_str())?;
    let image = image.with_context(|| format!("the engine lost the image {}", subject.reference))?;
    Ok(megabytes(image.size()))
}

/// The archive of both images without that of the first: layers that they
/// share are in it once. Uncompressed.
pub(super) fn app_change(bench: &Bench<'_>, fixture: &ImagesFixture) -> Result<Measured> {
    let before = fixture.image()?;
    let app = &app_of(&before.spec)?.source;
    let file = app.join("api/health.py");
    let text = fs::read_to_string(&file)?;
    fs::write(&file, format!("{text}# A line more.\n"))?;
    let name = before.spec.name.as_str();
    let built = fixture.scratch.build_images(bench.host, &[name]);
    fs::write(&file, text)?;
    let after = built?
        .pointer("/images/0/image_id")
        .and_then(serde_json::Value::as_str)
        .context("`build-images --json` has no image")?
        .to_owned();
    if after == before.image_id.as_str() {
        bail!("the app was changed and the image is the same");
    }
    let folder = tempfile::tempdir_in(&bench.folder).context("make a folder for archives")?;
    let one = saved(fixture, &folder.path().join("one"), &[before.image_id.as_str()])?;
    let both = saved(
        fixture,
        &folder.path().join("both"),
        &[before.image_id.as_str(), &after],
    )?;
    let whole = folder_size(app)?;
    Ok(Measured::new(OURS, vec![megabytes(both.saturating_sub(one))])
        .note(format!("the app itself has {:.2} MB", megabytes(whole))))
}

fn saved(fixture: &ImagesFixture, archive: &Path, images: &[&str]) -> Result<u64> {
    let path = archive.to_str().context("the bench folder's path is not UTF-8")?;
    let mut args = vec!["image", "save", "--output", path];
    args.extend(images);
    fixture
        .resources
        .engine
        .cmd(&fixture.resources.runner, &args)
        .run()?;
    Ok(fs::metadata(archive)?.len())
}

fn folder_size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        if entry.file_type().is_file() {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "shown in megabytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
