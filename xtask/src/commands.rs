//! One verb a file, each a short story of calls into the domain.

use anyhow::Result;

use crate::cli::Command;
use crate::host::Host;

/// Runs a parsed command.
///
/// # Errors
/// Whatever stopped the command; see [`crate::failure`] for what the caller
/// makes of it.
pub fn run(command: Command, _host: &Host) -> Result<()> {
    match command {
        Command::Test => Ok(()),
    }
}
