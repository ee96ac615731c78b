//! The one integration test binary.
//!
//! Engine tests run where `HIVE_TEST_ENGINE` is set, which `cargo xtask test`
//! does; elsewhere they print `skipped` and pass, so that `cargo test` needs
//! no engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::panic)]

mod ignore;
mod sandbox;
mod smoke_gate;

#[test]
fn help_lists_exit_codes() {
    let run = sandbox::xtask(["--help"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("Exit codes:"), "{}", run.stdout);
}

#[test]
fn unknown_command_is_a_usage_error() {
    let run = sandbox::xtask(["frobnicate"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("frobnicate"), "{}", run.stderr);
}
