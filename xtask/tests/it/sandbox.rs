//! Runs the real binary and tells whether an engine may be used.
#![expect(clippy::disallowed_methods, reason = "tests are a world of their own")]

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// What a finished run left.
#[derive(Debug)]
pub struct Run {
    /// The exit code; -1 after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `cargo xtask ARGS` (the built binary) without TTY and stdin.
pub fn xtask<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Run {
    finish(command().args(args))
}

/// The binary with a clean environment for more settings.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Waits for it and keeps what it printed.
pub fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether engine tests are on; says so when they are not.
pub fn engine_tests() -> bool {
    let on = std::env::var_os("HIVE_TEST_ENGINE").is_some();
    if !on {
        eprintln!("skipped: needs an engine, run `cargo xtask test`");
    }
    on
}

/// `docker` of the engine that tests may use.
pub fn docker() -> Command {
    let docker = std::env::var_os("HIVE_TEST_DOCKER").unwrap_or_else(|| "docker".into());
    let mut command = Command::new(docker);
    command.stdin(Stdio::null());
    command
}

/// A setting of a test, such as how many cases it makes.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}
