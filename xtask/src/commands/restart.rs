//! `cargo xtask restart`: the same container, stopped and started again.

use anyhow::Result;

use super::services;
use crate::cli::service::RestartArgs;
use ::service::restart::restart;
use host::Host;

/// Restarts the named services, or all, one after the other.
pub(super) fn run(args: &RestartArgs, host: &Host) -> Result<()> {
    let specs = services::specs(host, &args.selection.images)?;
    let engine = services::running_engine(host, &args.selection)?;
    let mut failed = Vec::new();
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let _lock = handle.lock(host)?;
        services::mend(host, &handle, spec, true)?;
        failed.push(restart(&handle, &host.report, &host.state_dir(), spec));
    }
    ::service::up::together(failed).map(drop)
}
