//! `cargo xtask test`: formatting, lints, docs, rendered files, all tests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::{BuildImagesArgs, RenderArgs, TestArgs};
use build::catalog::{Apps, Catalog};
use definition::identity::ImageId;
use engine::{Engine, choose};

use crate::scratch::{Scratch, TEST_IMAGES};
use host::Host;
use host::process::Stream;
use host::report;

/// The engine tests build images and wait for containers.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Runs everything and tells all that failed at the end.
pub(crate) fn run(args: &TestArgs, host: &Host) -> Result<()> {
    let started = Instant::now();
    let mut failed = Vec::new();
    let steps: [(&str, &[&str]); 3] = [
        ("formatting", &["fmt", "--all", "--check"]),
        (
            "lints",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "--deny",
                "warnings",
            ],
        ),
        (
            "docs",
            &[
                "doc",
                "--workspace",
                "--no-deps",
                "--document-private-items",
                "--quiet",
            ],
        ),
    ];
    for (name, cargo) in steps {
        if !step(
            name,
            cargo,
            &[("RUSTDOCFLAGS".to_owned(), "--deny warnings".to_owned())],
            host,
            |_| {},
        )? {
            failed.push(name);
        }
    }
    host.report.step("test", "rendered files");
    if let Err(error) = super::render::run(&RenderArgs::checked(), host) {
        host.report.error(&failure::render(&error));
        failed.push("rendered files");
    }
    let mut cargo = vec!["test", "--workspace", "--"];
    let mut env = Vec::new();
    let mut before = None;
    if !args.no_engine {
        // Here, where its progress is seen, rather than inside of a test.
        let engine = choose::obtain(host, None)?;
        before = Some((release_tags(host, &engine)?, engine.clone()));
        // The main job, as a user runs it; its images are what the tests of
        // the suite break on purpose.
        host.report.step("test", "the main job: build-images");
        if let Err(error) = main_job(host, &engine) {
            host.report.error(&failure::render(&error));
            failed.push("build-images");
        }
        env.push(("HIVE_TEST_ENGINE".to_owned(), "1".to_owned()));
        env.push(("HIVE_TEST_DOCKER".to_owned(), engine.docker.display().to_string()));
        env.extend(engine.env);
        if !args.args.iter().any(|arg| arg.ends_with("ignored")) {
            cargo.push("--include-ignored");
        }
    }
    cargo.extend(args.args.iter().map(String::as_str));
    let mut skipped = Skipped::default();
    if !step("tests", &cargo, &env, host, |line| skipped.read(line))? {
        failed.push("tests");
    }
    if let Some((before, engine)) = before {
        let after = release_tags(host, &engine)?;
        let moved: BTreeSet<&str> = after
            .symmetric_difference(&before)
            .map(|(tag, _)| tag.as_str())
            .collect();
        if !moved.is_empty() {
            let moved = moved.into_iter().collect::<Vec<_>>().join(", ");
            host.report
                .error(&format!("error: moved by a test, or by you meanwhile: {moved}"));
            failed.push("release tags");
        }
    }
    if failed.is_empty() {
        let took = report::seconds(started.elapsed());
        host.report
            .step("passed", format!("{}, in {took}", skipped.summary()));
        return Ok(());
    }
    Err(failure::build(format!("failed: {}", failed.join(", "))).into())
}

/// Builds and proves this checkout's images under names for tests.
fn main_job(host: &Host, engine: &Engine) -> Result<()> {
    let scratch = Scratch::new(host, engine, &host.state_dir().join("test"), TEST_IMAGES)?.kept();
    let there = host.elsewhere(&scratch.root, scratch.state.clone());
    super::build_images::run(&BuildImagesArgs::default(), &there)
}

/// The tags of this checkout's images with what they name: somebody uses them,
/// so no test may move them.
fn release_tags(host: &Host, engine: &Engine) -> Result<BTreeSet<(String, ImageId)>> {
    let inventory = engine.inventory(&host.runner)?;
    let mut tags = BTreeSet::new();
    for image in Catalog::read(&host.root, Apps::OfSpecs)?.images {
        let prefix = format!("hive-{}:", image.name);
        let names = inventory.names_from(&prefix);
        tags.extend(names.map(|(name, id)| (name.to_owned(), id.clone())));
    }
    Ok(tags)
}

/// What the harness did not run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Skipped {
    /// Tests that were left out as a whole.
    ignored: u32,
    /// What a test said that it could not look at on this machine.
    reasons: Vec<String>,
}

impl Skipped {
    /// Takes a line that the harness or a test printed.
    fn read(&mut self, line: &str) {
        // test result: ok. 355 passed; 0 failed; 70 ignored; 0 measured; …
        if line.starts_with("test result: ") {
            let counts = line.split(&[';', '.'][..]);
            let ignored = counts.filter_map(|count| count.trim().strip_suffix(" ignored"));
            self.ignored += ignored.filter_map(|count| count.parse::<u32>().ok()).sum::<u32>();
        } else if let Some(reason) = line.strip_prefix("skipped: ") {
            self.reasons.push(reason.to_owned());
        }
    }

    /// `everything`, or what is missing of it.
    fn summary(&self) -> String {
        let mut missing = Vec::new();
        if self.ignored > 0 {
            missing.push(format!("{} tests that need an engine", self.ignored));
        }
        missing.extend(self.reasons.iter().cloned());
        if missing.is_empty() {
            return "everything".to_owned();
        }
        format!("everything but {}", missing.join("; "))
    }
}

/// Runs cargo; `each` gets every line that it prints.
fn step(
    name: &str,
    cargo: &[&str],
    env: &[(String, String)],
    host: &Host,
    mut each: impl FnMut(&str),
) -> Result<bool> {
    host.report.step("test", name);
    let mut command = host.runner.cmd("cargo").args(cargo).deadline(DEADLINE);
    for (key, value) in env {
        command = command.env(key, value);
    }
    let output = command.stream(|stream, line| {
        let line = String::from_utf8_lossy(line);
        each(&line);
        match stream {
            // The harness's results are this command's data.
            Stream::Stdout => host.report.data(&line),
            Stream::Stderr => {
                host.report.talk(&line);
                Ok(())
            }
        }
    })?;
    Ok(output.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_counted() {
        let mut skipped = Skipped::default();
        assert_eq!(skipped.summary(), "everything");
        for line in [
            "test result: ok. 355 passed; 0 failed; 60 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "test result: FAILED. 9 passed; 1 failed; 10 ignored; 0 measured; 3 filtered out; finished in 0.10s",
            "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test cli::ignored ... ok",
            "skipped: clones::theirs: needs root",
        ] {
            skipped.read(line);
        }
        assert_eq!(
            skipped.summary(),
            "everything but 70 tests that need an engine; clones::theirs: needs root"
        );
    }
}
