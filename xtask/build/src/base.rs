//! Bases: what `FROM ${BASE}` gets, from a registry or made from packages.

pub(crate) mod archive;
pub mod bootstrap;
pub mod obtain;

use serde::Serialize;

/// A base that the engine has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Base {
    /// The name of the base set that it is of.
    pub set: String,
    /// What `FROM` gets: a tag of the tool's own.
    pub reference: String,
    /// What goes into the fingerprint: `content:sha256:…`, equal for equal
    /// content in every engine and image store.
    pub identity: String,
    /// Whether a registry had it or it was made from packages.
    pub origin: Origin,
}

/// Where a base came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Pulled from the registry that the base set names.
    Registry,
    /// Bootstrapped from the distribution's packages.
    Packages,
}
