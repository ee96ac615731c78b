//! What only explains: recorded runs, and the forecast of a build's steps.
//! Nothing here decides what is built, proved or tagged.

pub mod forecast;
pub mod history;
#[cfg(test)]
#[path = "../../definition/src/sample.rs"]
mod sample;
