//! The containers of an image and how to ask them: started, watched until they
//! are healthy, and asked by a shell inside or by HTTP from outside.
//!
//! What the answers mean for a proof is the crate `smoke`'s.

pub mod ask;
pub mod boot;
pub mod figure;
pub mod finding;
pub mod http;
pub mod load;
pub mod look;
pub mod postgres_port;
pub mod programs;
#[cfg(test)]
#[path = "../../definition/src/spec/sample.rs"]
mod sample;
pub mod timeline;
pub mod words;
