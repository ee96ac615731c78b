//! An app of 50,000 files and a gigabyte.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::super::Bench;
use super::super::clock::{self, Timed};
use super::super::row::Measured;
use super::super::trees::BenchTree;
use super::fixture::{BenchedBuild, CheckoutFixture};

/// The files of the large tree: a gigabyte in all.
const TREE: BenchTree = BenchTree {
    files: 50_000,
    size: 20_000,
};

/// The peer that has to look at the same files.
pub(super) const GIT: &str = "git status";

/// A gigabyte is hashed and written once.
const ADD_DEADLINE: Duration = Duration::from_secs(1800);

/// One image with the app, which is kept from run to run.
pub(super) fn subject(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<BenchedBuild> {
    let app = bench.folder.join("trees/app-50000");
    bench
        .host
        .report
        .detail("makes a tree of 50,000 files where there is none");
    TREE.make(&app.join("static"))?;
    fixture.copy_sample_app(&app)?;
    Ok(BenchedBuild {
        images: vec![fixture.one_image()?],
        app: Some(app),
    })
}

/// One file has changed: time to the plan, beside git on the same tree.
pub(super) fn changed(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let subject = subject(bench, fixture)?;
    let app = subject.app.clone().unwrap_or_default();
    let file = app.join("static/0000/000000.bin");
    fixture.build(bench, &subject)?;
    commit(bench, &app)?;
    let change = format!("date +%N >> '{}'", file.display());
    let ours = fixture.xtask("plan", "plan", &subject).prepare(&change);
    let git = Timed::new(GIT, "git")
        .args(["-C".as_ref(), app.as_os_str()])
        .args(["status", "--short"])
        .prepare(&change);
    let timings = clock::pair(bench, ours, git);
    // The changes were appended.
    fs_err::File::options()
        .write(true)
        .open(&file)?
        .set_len(TREE.size as u64)?;
    let [ours, git] = timings?;
    // A plan waits for their listing.
    let records = bench.engine()?.build_cache(&bench.host.runner)?.len();
    Ok(Measured::new("plan", ours.milliseconds())
        .peer(GIT, git.milliseconds())
        .note(format!("{records} records in the engine's build cache")))
}

/// Makes the tree a repository with everything committed, once.
fn commit(bench: &Bench<'_>, app: &Path) -> Result<()> {
    let marker = app.join(".git/hive-bench");
    if marker.exists() {
        return Ok(());
    }
    bench.host.report.detail("commits the tree to git first");
    let author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
    // The files do not compress, and git's size is not what is measured.
    let quick = [
        "-c",
        "core.compression=0",
        "-c",
        "gc.auto=0",
        "-c",
        "commit.gpgSign=false",
    ];
    let steps: [&[&str]; 3] = [
        &["init", "--quiet"],
        &["add", "--all"],
        &["commit", "--quiet", "--message", "bench"],
    ];
    for step in steps {
        bench
            .host
            .runner
            .cmd("git")
            .arg("-C")
            .arg(app)
            .args(author)
            .args(quick)
            .args(step)
            .deadline(ADD_DEADLINE)
            .run()?;
    }
    fs_err::write(marker, "")?;
    Ok(())
}
