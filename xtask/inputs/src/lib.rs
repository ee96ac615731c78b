//! What a build can read, staged for it, and the name of it.
//!
//! A crate of its own, since this is where a run with nothing to build spends
//! its time: it is compiled with optimisation where all the rest is not, so that
//! `cargo xtask` is as quick as it is to compile.

pub mod backup;
pub mod clock;
pub mod context;
pub mod fingerprint;
pub mod hex;
pub mod regular;
pub mod removal;
pub mod shown;
