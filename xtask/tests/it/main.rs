//! The one integration test binary.
//!
//! Engine tests run where `HIVE_TEST_ENGINE` is set, which `cargo xtask test`
//! does; elsewhere they print `skipped` and pass, so that `cargo test` needs
//! no engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::panic)]
#![allow(clippy::disallowed_methods)] // Tests spawn and read the environment.

mod apps;
mod audit;
mod build_images;
mod candidates;
mod cli;
mod clones;
mod contents;
mod engine_api;
mod engine_private;
mod failures;
mod forecast;
mod ignore;
mod migrations;
mod never_stale;
mod pipelines;
mod purge;
mod sandbox;
mod smoke_full;
mod smoke_gate;
mod smoke_volumes;
mod staging;
mod tidy;
