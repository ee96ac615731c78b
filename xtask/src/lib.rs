//! Builds, proves and tags all-in-one containers. `ARCHITECTURE.md` has the
//! bird's eye view, the code map and the invariants.

pub mod app;
pub mod apt;
pub mod assembly;
pub mod audit;
pub mod base;
pub mod bench;
pub mod buildkit;
pub mod candidate;
pub mod catalog;
pub mod checkout;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod context;
pub mod definition;
pub mod disk;
pub mod dockerfile;
pub mod engine;
pub mod failure;
pub mod forecast;
pub mod history;
pub mod host;
pub mod lock;
pub mod plan;
pub mod process;
pub mod promote;
pub mod reference;
pub mod report;
pub mod request;
pub mod scratch;
pub mod smoke;
pub mod spec;
pub mod survey;

pub use inputs::{fingerprint, hex};
