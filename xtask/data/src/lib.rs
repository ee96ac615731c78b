//! The data of a service: backups, each proved by restoring it, and the way back
//! from them. What the verbs of
//! `cargo xtask` do to backups is here, what they print is theirs.

pub mod age;
mod exchange;
pub mod facts;
pub mod file;
mod foreign;
pub mod generations;
mod growth;
pub mod kept;
mod logical;
pub mod migrate;
pub mod moment;
pub mod old_log;
mod operation;
mod place;
pub mod proof;
pub mod rehearsal;
pub mod replacement;
pub mod restore;
pub mod retention;
pub mod rollback;
mod running_copy;
mod schema;
pub mod seal;
pub mod source;
pub mod take;
pub mod take_encrypted;
pub mod update;
pub mod written;
