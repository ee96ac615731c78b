//! Builds, proves and tags all-in-one containers. `ARCHITECTURE.md` has the
//! bird's eye view, the code map and the invariants.

pub mod apt;
pub mod base;
pub mod cli;
pub mod commands;
pub mod context;
pub mod disk;
pub mod engine;
pub mod failure;
pub mod fingerprint;
pub mod host;
pub mod lock;
pub mod process;
pub mod report;
pub mod smoke;
pub mod spec;
