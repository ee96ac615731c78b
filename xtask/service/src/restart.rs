//! `restart`: the same container, stopped cleanly and started again.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::handle::ServiceHandle;
use crate::seen::{ContainerPlace, SeenContainer};
use crate::trail::{self, TrailEntry};
use crate::wanted::STOP_SECONDS;
use crate::{trial, wait};
use definition::spec::ImageSpec;
use host::report::{Report, seconds};

/// The time that a container's programs may take to end.
pub const GRACE: Duration = Duration::from_secs(STOP_SECONDS as u64);

/// Stops a service's container and starts it again, as it is.
///
/// # Errors
/// An environment failure where there is none; a smoke failure where it does not
/// get healthy again; Ctrl-C.
pub fn restart(handle: &ServiceHandle, report: &Report, state: &Path, spec: &ImageSpec) -> Result<()> {
    let name = handle.name.as_str();
    let seen = own(handle)?;
    let mut entry = TrailEntry::begun("restart", &handle.name);
    entry.image_before = Some(seen.image_id.clone());
    entry.image = Some(seen.image_id.clone());
    report.step("restart", name);
    // The engine goes on with a stop whose caller is gone. Ctrl-C ends the wait for
    // its health, and nothing before.
    let whole = handle.for_cleanup();
    let done = stop(&whole, report, &seen).and_then(|()| start(handle, report, state, spec));
    trail::write(state, report, &entry.ended("restarted", &done));
    report.step("healthy", format!("{name}: after {}", seconds(done?)));
    Ok(())
}

/// Starts a service's container as it is, unless it runs, and waits until it works. Ctrl-C ends
/// the wait, and nothing before.
///
/// # Errors
/// A smoke failure where it does not; an engine that refuses; Ctrl-C.
pub fn start(handle: &ServiceHandle, report: &Report, state: &Path, spec: &ImageSpec) -> Result<Duration> {
    trial::run_surely(handle, report, state, wait::limit(&spec.budgets))
}

/// The container of a service.
///
/// # Errors
/// An environment failure with the way to one where there is none of ours.
pub fn own(handle: &ServiceHandle) -> Result<SeenContainer> {
    let name = &handle.name;
    let message = match handle.place()? {
        ContainerPlace::Own(seen) => return Ok(*seen),
        ContainerPlace::Empty => format!("{name} is not there"),
        ContainerPlace::Foreign(image) => {
            format!("container {name} (of {image}) was not made by `cargo xtask up`: it is left alone")
        }
    };
    Err(failure::environment(message)
        .hint(format!("start it: cargo xtask up {name}"))
        .into())
}

/// Stops a container, with the time that its programs may take, and says so where
/// the shutdown was not a clean one.
///
/// # Errors
/// When the engine refuses, or on Ctrl-C.
pub fn stop(handle: &ServiceHandle, report: &Report, old: &SeenContainer) -> Result<()> {
    let name = handle.name.as_str();
    handle.container(name).stop(GRACE)?;
    if let (true, ContainerPlace::Own(now)) = (old.condition.runs(), handle.place()?)
        && now.condition.shown() != "stopped"
    {
        report.warn(format!(
            "{name} did not stop cleanly: PostgreSQL recovers at the next start"
        ));
    }
    Ok(())
}
