//! Builds, proves and tags all-in-one containers. `ARCHITECTURE.md` has the
//! bird's eye view, the code map and the invariants.

mod checkout;
pub mod cli;
pub mod commands;
pub mod entry;
pub mod promote;
pub mod scratch;
pub mod survey;
