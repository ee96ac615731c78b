//! The data of a service: backups, each proved by restoring it, and the way back
//! from them. What the verbs of
//! `cargo xtask` do to backups is here, what they print is theirs.

pub mod facts;
pub mod file;
pub mod generations;
pub mod proof;
pub mod restore;
pub mod retention;
pub mod seal;
pub mod source;
pub mod take;
