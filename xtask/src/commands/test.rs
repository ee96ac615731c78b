//! `cargo xtask test`: formatting, lints, docs, rendered files, all tests.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cli::{BuildImages, Render, Test};
use crate::engine::choose;
use crate::failure;
use crate::host::Host;
use crate::process::Stream;
use crate::report;

/// The engine tests build images and wait for containers.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Runs everything and tells all that failed at the end.
pub fn run(args: &Test, host: &Host) -> Result<()> {
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
        )? {
            failed.push(name);
        }
    }
    host.report.step("test", "rendered files");
    if let Err(error) = super::render::run(&Render { check: true }, host) {
        host.report.error(&failure::render(&error));
        failed.push("rendered files");
    }
    let mut cargo = vec!["test", "--workspace"];
    let mut env = Vec::new();
    if args.no_engine {
        host.report.step("test", "engine tests are skipped (--no-engine)");
    } else {
        // Here, where its progress is seen, rather than inside of a test.
        let engine = choose::obtain(host, None)?;
        // The main job itself, as a user runs it; its images are what the
        // tests of the suite break on purpose.
        host.report.step("test", "the main job: build-images");
        if let Err(error) = super::build_images::run(&BuildImages::default(), host) {
            host.report.error(&failure::render(&error));
            failed.push("build-images");
        }
        env.push(("HIVE_TEST_ENGINE".to_owned(), "1".to_owned()));
        env.push(("HIVE_TEST_DOCKER".to_owned(), engine.docker.display().to_string()));
        env.extend(engine.env);
    }
    cargo.push("--");
    cargo.extend(args.args.iter().map(String::as_str));
    if !step("tests", &cargo, &env, host)? {
        failed.push("tests");
    }
    if failed.is_empty() {
        host.report.step(
            "passed",
            format!("everything, in {}", report::seconds(started.elapsed())),
        );
        return Ok(());
    }
    Err(failure::build(format!("failed: {}", failed.join(", "))).into())
}

fn step(name: &str, cargo: &[&str], env: &[(String, String)], host: &Host) -> Result<bool> {
    host.report.step("test", name);
    let mut command = host.runner.cmd("cargo").args(cargo).deadline(DEADLINE);
    for (key, value) in env {
        command = command.env(key, value);
    }
    let output = command.stream(|stream, line| {
        let line = String::from_utf8_lossy(line);
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
