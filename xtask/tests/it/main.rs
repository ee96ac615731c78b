//! The one integration test binary.
//!
//! A test that needs an engine is `#[ignore = "needs an engine"]`: `cargo test`
//! needs none and counts it as ignored, `cargo xtask test` runs it. Where a
//! machine lacks something else, a test says so by `sandbox::skipped`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::panic)]
#![allow(clippy::disallowed_methods)] // Tests spawn and read the environment.

mod app_alone;
mod apps;
mod audit;
mod backup;
mod bases;
mod build_images;
mod candidates;
mod cli;
mod clones;
mod compose;
mod container_code;
mod contents;
mod dependencies;
mod documents;
mod engine_api;
mod engine_private;
mod failures;
mod forecast;
mod git_by_ssh;
mod house;
mod ignore;
mod indexes;
mod input_files;
mod inside;
mod installs;
mod kept_files;
mod kinds;
mod lock_advice;
mod metrics;
mod migrate;
mod migrations;
mod never_stale;
mod new_image;
mod own_indexes;
mod own_programs;
mod own_steps;
mod packages;
mod pipelines;
mod podman;
mod point_in_time;
mod purge;
mod reaper;
mod recipes;
mod restore;
mod sandbox;
mod service;
mod smoke_full;
mod smoke_gate;
mod smoke_sql;
mod smoke_volumes;
mod staging;
mod starting;
mod tampering;
mod tidy;
mod update;
