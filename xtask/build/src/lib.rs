//! From a spec to a candidate: what is asked for, its base, its staged
//! contexts, and BuildKit's part.

pub mod app;
pub mod assembly;
pub mod base;
pub mod buildkit;
pub mod candidate;
pub mod catalog;
pub mod context;
pub mod network;
pub mod request;

#[cfg(test)]
#[path = "../../definition/src/spec/sample.rs"]
mod sample;
