//! Scans alone: the first one of a gigabyte, and how they grow with the number
//! of files.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::super::Bench;
use super::super::clock::{self, Timed, Timing};
use super::super::row::Measured;
use super::super::tools::B3SUM;
use super::super::trees::BenchTree;
use super::fixture::CheckoutFixture;

/// A gigabyte in files of a megabyte.
const GIGABYTE: BenchTree = BenchTree {
    files: 1000,
    size: 1_000_000,
};

/// How many files the growth is shown for.
const GROWTH: [usize; 3] = [10_000, 50_000, 200_000];

/// What the growth up to 50,000 files is called.
pub(super) const SMALLER: &str = "per file, 10,000 to 50,000";

/// Hashes everything for the first time, from the page cache.
pub(super) fn first(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let folder = tree(bench, "gigabyte", GIGABYTE)?;
    let b3sum = B3SUM.path(bench.host)?;
    let b3sum = b3sum
        .to_str()
        .context("the path of b3sum is not UTF-8")?
        .to_owned();
    let over = |label: &str, program: &str| {
        let script = format!("cd '{}' && exec {program} */*", folder.display());
        Timed::new(label, "sh").args(["-c", &script])
    };
    let forget = format!("rm -rf '{}'", fixture.state().join("index").display());
    let ours = inputs(fixture, &folder)?.prepare(forget);
    let timings = clock::side_by_side(
        bench,
        &[
            ours,
            over("b3sum", &format!("'{b3sum}'")),
            over("sha256sum", "sha256sum"),
        ],
    )?;
    let [ours, b3sum, sha256sum] = timings.as_slice() else {
        anyhow::bail!("three commands have {} timings", timings.len());
    };
    Ok(Measured::new("inputs", ours.seconds.clone())
        .peer("b3sum", b3sum.seconds.clone())
        .peer("sha256sum", sha256sum.seconds.clone()))
}

/// Most memory of a first scan of 200,000 files.
pub(super) fn memory(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let folder = tree(bench, "files-200000", small(200_000))?;
    let forget = format!("rm -rf '{}'", fixture.state().join("index").display());
    let first = inputs(fixture, &folder)?.prepare(forget);
    let again = inputs(fixture, &folder)?;
    let [first, again] = clock::pair(bench, first, again)?;
    Ok(Measured::new("first scan", first.megabytes()).note(format!(
        "a scan with the stat index takes {}",
        show(&again.megabytes(), "MB")
    )))
}

/// What one file more costs, in a larger tree and in a smaller one.
pub(super) fn linear(bench: &Bench<'_>, fixture: &CheckoutFixture) -> Result<Measured> {
    let scans = GROWTH
        .into_iter()
        .map(|files| inputs(fixture, &tree(bench, &format!("files-{files}"), small(files))?))
        .collect::<Result<Vec<_>>>()?;
    let timings = clock::side_by_side(bench, &scans)?;
    let [ten, fifty, many] = timings.as_slice() else {
        anyhow::bail!("three trees have {} timings", timings.len());
    };
    let larger = per_file(fifty, many, GROWTH[2] - GROWTH[1]);
    let smaller = per_file(ten, fifty, GROWTH[1] - GROWTH[0]);
    let mut measured = Measured::new("per file, 50,000 to 200,000", larger).peer(SMALLER, smaller);
    for (files, timing) in GROWTH.into_iter().zip(&timings) {
        measured = measured.note(format!("{files} files: {}", show(&timing.milliseconds(), "ms")));
    }
    Ok(measured)
}

/// Microseconds that each further file takes, round by round.
fn per_file(few: &Timing, many: &Timing, files: usize) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
    let files = files as f64;
    few.seconds
        .iter()
        .zip(&many.seconds)
        .map(|(few, many)| (many - few) * 1e6 / files)
        .collect()
}

fn small(files: usize) -> BenchTree {
    BenchTree { files, size: 64 }
}

fn tree(bench: &Bench<'_>, name: &str, tree: BenchTree) -> Result<PathBuf> {
    let folder = bench.folder.join("trees").join(name);
    tree.make(&folder)?;
    Ok(folder)
}

fn inputs(fixture: &CheckoutFixture, folder: &std::path::Path) -> Result<Timed> {
    let shown = folder.to_str().context("the state folder's path is not UTF-8")?;
    Ok(fixture.plain_xtask("inputs", &["inputs", "--digest", shown]))
}

fn show(samples: &[f64], unit: &str) -> String {
    let median = container::figure::median(samples).unwrap_or(f64::NAN);
    container::figure::show(median, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_the_difference_by_the_files() {
        let timing = |seconds: &[f64]| Timing {
            seconds: seconds.to_vec(),
            memory: Vec::new(),
        };
        let growth = per_file(&timing(&[0.1, 0.2]), &timing(&[0.5, 0.4]), 100_000);
        assert!(
            (growth[0] - 4.0).abs() < 1e-9 && (growth[1] - 2.0).abs() < 1e-9,
            "{growth:?}"
        );
    }
}
