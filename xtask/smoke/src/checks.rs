//! The judges of the gate suite, by what they look at. Each is a function of
//! what was seen, and none of them talks to an engine.

pub(crate) mod app;
pub mod database;
pub(crate) mod files;
pub(crate) mod image;
pub(crate) mod lifecycle;
pub mod programs;
pub(crate) mod upgrade;
