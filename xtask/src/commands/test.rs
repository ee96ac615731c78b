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
use host::lock;
use host::process::Stream;
use host::report;

/// The engine tests build images and wait for containers: 40 minutes of two processors, and
/// more than an hour where these are half as quick.
const DEADLINE: Duration = Duration::from_secs(3 * 3600);

/// What cargo looks at before any test runs: what it is called, and cargo's words.
const BEFORE_TESTS: [(&str, &[&str]); 3] = [
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

/// Runs everything and tells all that failed at the end.
pub(crate) fn run(args: &TestArgs, host: &Host) -> Result<()> {
    let started = Instant::now();
    let mut failed = Vec::new();
    let strict_docs = [("RUSTDOCFLAGS".to_owned(), "--deny warnings".to_owned())];
    for (name, cargo) in BEFORE_TESTS {
        if !step(name, cargo, &strict_docs, host, |_| {})? {
            failed.push(name);
        }
    }
    host.report.step("test", "rendered files");
    if let Err(error) = super::render::run(&RenderArgs::checked(), host) {
        host.report.error(&failure::render(&error));
        failed.push("rendered files");
    }
    let mut cargo = vec!["test", "--workspace", "--no-fail-fast", "--"];
    let mut env = Vec::new();
    let mut before = None;
    let mut alone = None;
    if !args.no_engine {
        // Two at once would remove each other's containers and images: they have the same names.
        let place = host.cache_dir().join("test.lock");
        alone = Some(lock::exclusive(
            &place,
            "for another run of the tests on this machine",
            host,
        )?);
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
        // Tests of an engine wait for most of their time: one for each processor leaves
        // them idle. `--test-threads` wins.
        let threads = std::thread::available_parallelism().map_or(2, |all| all.get() + 1);
        env.push(("RUST_TEST_THREADS".to_owned(), threads.to_string()));
        if !args.args.iter().any(|arg| arg.ends_with("ignored")) {
            cargo.push("--include-ignored");
        }
    }
    cargo.extend(args.args.iter().map(String::as_str));
    let mut said = HarnessReport::default();
    if !step("tests", &cargo, &env, host, |line| said.read(line))? {
        let again = said.worth_another_try(&args.args).to_vec();
        if again.is_empty() || !second_try(&again, &cargo, &env, host)? {
            failed.push("tests");
        } else {
            said.flaky = again;
        }
    }
    if let Some((before, engine)) = before {
        let after = release_tags(host, &engine)?;
        let moved = after.symmetric_difference(&before).map(|(tag, _)| tag.as_str());
        // A tag that was moved is in both, with another ID each time.
        let moved: BTreeSet<&str> = moved.collect();
        if !moved.is_empty() {
            let moved = moved.into_iter().collect::<Vec<_>>().join(", ");
            host.report
                .error(&format!("error: moved by a test, or by you meanwhile: {moved}"));
            failed.push("release tags");
        }
    }
    drop(alone);
    if failed.is_empty() {
        let took = report::seconds(started.elapsed());
        host.report
            .step("passed", format!("{}, in {took}", said.summary()));
        return Ok(());
    }
    for panic in &said.panics {
        host.report.error(panic);
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

/// More failures than these are no accident of time.
const MOST_TRIED_AGAIN: usize = 3;

/// Runs tests that failed once more, with nothing beside them. A real engine, ports and
/// signals make a test that is wrong about time fail now and then: it is named at the
/// end, to be mended, and takes nothing else down with it.
fn second_try(names: &[String], cargo: &[&str], env: &[(String, String)], host: &Host) -> Result<bool> {
    let title = format!("once more, alone: {}", names.join(", "));
    let mut alone = cargo.to_vec();
    alone.extend(["--exact", "--test-threads", "1"]);
    alone.extend(names.iter().map(String::as_str));
    let mut said = HarnessReport::default();
    let success = step(&title, &alone, env, host, |line| said.read(line))?;
    // A name that is found in no target would pass by itself.
    Ok(success && said.passed as usize == names.len())
}

/// What cargo and the harness of each target said.
#[derive(Debug, Default, PartialEq, Eq)]
struct HarnessReport {
    /// Tests that passed, of all targets together.
    passed: u32,
    /// Tests that were left out as a whole.
    ignored: u32,
    /// What a test said that it could not look at on this machine.
    reasons: Vec<String>,
    /// The tests that failed, by name.
    failed: Vec<String>,
    /// How many failed, as the harness counts.
    counted_failures: u32,
    /// Targets whose harness came to its end with failures.
    ended: u32,
    /// Targets of which cargo says that they failed, or cannot be built.
    refused: u32,
    /// Those that failed beside others and passed alone.
    flaky: Vec<String>,
    /// Where and why the tests failed: thousands of lines lie between the harness's own
    /// words and the end.
    panics: Vec<String>,
    /// The next line is the message of the last of them.
    panics_on: bool,
}

/// A message may be all that a program printed.
const LONGEST_MESSAGE: usize = 400;

impl HarnessReport {
    /// Takes a line that cargo, the harness or a test printed.
    fn read(&mut self, line: &str) {
        if std::mem::take(&mut self.panics_on)
            && let Some(panic) = self.panics.last_mut()
        {
            panic.extend(
                [" "]
                    .into_iter()
                    .chain(line.get(..line.floor_char_boundary(LONGEST_MESSAGE))),
            );
        }
        // test result: ok. 355 passed; 0 failed; 70 ignored; 0 measured; …
        if let Some(result) = line.strip_prefix("test result: ") {
            self.ended += u32::from(result.starts_with("FAILED"));
            for count in result.split(&[';', '.'][..]) {
                let Some((count, of)) = count.trim().split_once(' ') else {
                    continue;
                };
                let count = count.parse::<u32>().unwrap_or(0);
                match of {
                    "passed" => self.passed += count,
                    "failed" => self.counted_failures += count,
                    "ignored" => self.ignored += count,
                    _ => {}
                }
            }
        } else if line.starts_with("thread '") && line.contains(" panicked at ") {
            self.panics.push(line.to_owned());
            self.panics_on = true;
        } else if let Some(reason) = line.strip_prefix("skipped: ") {
            self.reasons.push(reason.to_owned());
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|line| line.strip_suffix(" ... FAILED"))
        {
            self.failed.push(name.to_owned());
        } else if [
            "error: test failed, ",
            "error: doctest failed, ",
            "error: could not compile ",
        ]
        .iter()
        .any(|start| line.starts_with(start))
        {
            self.refused += 1;
        }
    }

    /// The tests that failed, where they are few and all that went wrong: no target
    /// died before its end, and no name is missing. `args` are what the user passed to
    /// the harness: whoever names tests runs them again without our help.
    fn worth_another_try(&self, args: &[String]) -> &[String] {
        let is_all = self.ended == self.refused && self.counted_failures as usize == self.failed.len();
        if args.is_empty() && is_all && self.failed.len() <= MOST_TRIED_AGAIN {
            &self.failed
        } else {
            &[]
        }
    }

    /// `everything`, or what is missing of it.
    fn summary(&self) -> String {
        let mut missing = Vec::new();
        if self.ignored > 0 {
            missing.push(format!("{} tests that need an engine", self.ignored));
        }
        missing.extend(self.reasons.iter().cloned());
        let mut summary = "everything".to_owned();
        if !missing.is_empty() {
            summary = format!("everything but {}", missing.join("; "));
        }
        if !self.flaky.is_empty() {
            let flaky = self.flaky.join(", ");
            summary = format!("{summary} (flaky, passed alone: {flaky})");
        }
        summary
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

    fn read(lines: &[&str]) -> HarnessReport {
        let mut said = HarnessReport::default();
        for line in lines {
            said.read(line);
        }
        said
    }

    #[test]
    fn what_was_skipped_is_counted() {
        assert_eq!(HarnessReport::default().summary(), "everything");
        let said = read(&[
            "test result: ok. 355 passed; 0 failed; 60 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            "test result: FAILED. 9 passed; 1 failed; 10 ignored; 0 measured; 3 filtered out; finished in 0.10s",
            "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test cli::ignored ... ok",
            "skipped: clones::theirs: needs root",
        ]);
        assert_eq!(
            said.summary(),
            "everything but 70 tests that need an engine; clones::theirs: needs root"
        );
        assert_eq!(said.passed, 371);
    }

    #[test]
    fn why_tests_failed_is_kept_to_the_end() {
        let long = "ü".repeat(LONGEST_MESSAGE);
        let said = read(&[
            "thread 'cli::one' (17361) panicked at xtask/tests/it/cli.rs:210:5:",
            "assertion failed: is_there",
            "stack backtrace:",
            "thread 'main' panicked at src/a.rs:1:1:",
            &long,
        ]);
        let cut = &long[..LONGEST_MESSAGE];
        assert_eq!(
            said.panics,
            [
                "thread 'cli::one' (17361) panicked at xtask/tests/it/cli.rs:210:5: assertion failed: is_there",
                &format!("thread 'main' panicked at src/a.rs:1:1: {cut}"),
            ]
        );
    }

    #[test]
    fn only_failures_that_are_all_named_are_tried_again() {
        let failed = "test restore::killed ... FAILED";
        let result = "test result: FAILED. 211 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";
        let cargo = "error: test failed, to rerun pass `-p xtask --test it`";
        let mut one = read(&[failed, result, cargo]);
        assert_eq!(one.worth_another_try(&[]), ["restore::killed"]);
        assert!(one.worth_another_try(&["restore".to_owned()]).is_empty());
        one.flaky = one.failed.clone();
        assert_eq!(one.summary(), "everything (flaky, passed alone: restore::killed)");
        // A target that died, one that cannot be built, a failure without a name.
        for lines in [
            &[failed, result, cargo, cargo][..],
            &[
                failed,
                result,
                cargo,
                "error: could not compile `data` (lib test)",
            ],
            &[result, cargo],
            &[cargo],
            &[
                failed,
                failed,
                failed,
                failed,
                &result.replace("1 failed", "4 failed"),
                cargo,
            ],
        ] {
            assert!(read(lines).worth_another_try(&[]).is_empty(), "{lines:?}");
        }
    }
}
