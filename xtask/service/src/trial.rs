//! Starts a service's container and sees whether it works: healthy for the engine,
//! and answering on its published port.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::handle::ServiceHandle;
use crate::kept;
use crate::seen::{Condition, ContainerPlace, SeenContainer, from_here};
use crate::story::Story;
use crate::wait::{self, Awaited, ContainerEvents, MADE_READY};
use container::http::Client;
use container::postgres_port;
use definition::spec::{ImageSpec, is_of_an_app};
use host::report::Report;

/// What a service that works has: the engine starts it again, with the machine,
/// too, unless somebody has stopped it.
pub(crate) const POLICY: &str = "unless-stopped";

/// Healthy for the engine, and no answer from outside for this long: then the
/// port is wrong.
const REACHABLE: Duration = Duration::from_secs(5);

/// The port is asked again after this time.
const PAUSE: Duration = Duration::from_millis(25);

/// As much of a log is looked at to say why.
const LOOKED_AT: u32 = 400;

/// Starts the service's container, unless it runs already, and waits until it
/// works; then the engine keeps it running. Returns how long that took.
///
/// # Errors
/// A smoke failure with the story where it does not work; an engine that refuses
/// or ends; Ctrl-C.
pub(crate) fn run(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    limit: Duration,
) -> Result<Duration> {
    started_by(handle, handle, report, state, limit)
}

/// The same where Ctrl-C ends the wait, and nothing before: a container that is stopped would
/// help nobody.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_surely(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    limit: Duration,
) -> Result<Duration> {
    started_by(&handle.for_cleanup(), handle, report, state, limit)
}

fn started_by(
    starter: &ServiceHandle,
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    limit: Duration,
) -> Result<Duration> {
    let began = Instant::now();
    let name = handle.name.as_str();
    let ContainerPlace::Own(seen) = starter.place()? else {
        return Err(gone(handle));
    };
    // The engine gives a start its time before it says so, except in recovery.
    if seen.condition == Condition::Unhealthy && !seen.health_said.contains(MADE_READY) {
        let hangs = failed(handle, report, state, &seen, "it runs and is no longer healthy");
        return Err(hangs.context(
            failure::smoke(format!("{name} hangs"))
                .hint(format!("start it again as it is: cargo xtask restart {name}")),
        ));
    }
    let mut events = ContainerEvents::of(starter, &seen.id)?;
    let limit = if seen.condition.runs() {
        // It has had a part of its time.
        let age = seen
            .started
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        limit.saturating_sub(age.unwrap_or_default())
    } else {
        if seen.condition == Condition::Restarting {
            starter.container(name).stop(Duration::ZERO)?;
        }
        let started = Instant::now();
        starter
            .container(name)
            .start()
            .with_context(|| format!("start container {name}"))?;
        // That is a part of it.
        limit.saturating_sub(started.elapsed())
    };
    match wait::until_healthy(handle, report, &mut events, name, limit)? {
        Awaited::Healthy => {}
        Awaited::Ended(seen) => return Err(failed(handle, report, state, &seen, "")),
        Awaited::Late(waited, seen) => {
            return Err(failed(handle, report, state, &seen, &wait::waited(waited)));
        }
    }
    let ContainerPlace::Own(seen) = handle.place()? else {
        return Err(gone(handle));
    };
    if let Err(why) = reach(handle, &seen)? {
        return Err(failure::smoke(format!("{name} is healthy inside, and {why}"))
            .hint(format!("what it says: cargo xtask logs {name}"))
            .into());
    }
    if seen.restart_policy != POLICY {
        handle.engine.set_restart_policy(&handle.runner, name, POLICY)?;
    }
    Ok(began.elapsed())
}

/// Waits until a container that was started beside the service's, with its label, is
/// healthy. Returns how long that took.
///
/// # Errors
/// As [`run`].
pub fn beside(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    spec: &ImageSpec,
    container: &str,
) -> Result<Duration> {
    let began = Instant::now();
    let ContainerPlace::Own(seen) = handle.place_of(container)? else {
        return Err(failure::environment(format!("container {container} is no longer there")).into());
    };
    let mut events = ContainerEvents::of(handle, &seen.id)?;
    let limit = wait::limit(&spec.budgets);
    let (seen, waited) = match wait::until_healthy(handle, report, &mut events, container, limit)? {
        Awaited::Healthy => return Ok(began.elapsed()),
        Awaited::Ended(seen) => (seen, String::new()),
        Awaited::Late(waited, seen) => (seen, wait::waited(waited)),
    };
    Err(told(handle, report, state, container, &seen, &waited))
}

fn gone(handle: &ServiceHandle) -> anyhow::Error {
    let message = format!("container {} is no longer there", handle.name);
    let hint = format!("cargo xtask up {}", handle.name);
    failure::environment(message).hint(hint).into()
}

/// Whether the published port answers from this machine; a sentence where it does
/// not. Of an engine elsewhere nothing can be told.
fn reach(handle: &ServiceHandle, seen: &SeenContainer) -> Result<Result<(), String>> {
    let Some(address) = seen.published.map(from_here) else {
        return Ok(Ok(()));
    };
    if !handle.engine.api.is_local() {
        return Ok(Ok(()));
    }
    let published = published(handle, handle.name.as_str())?;
    let client = Client::at(address, false);
    let began = Instant::now();
    loop {
        let why = match &published {
            Published::Anything => return Ok(Ok(())),
            Published::Path(path) => match client.get(path, REACHABLE) {
                Ok(reply) if reply.status == 200 => return Ok(Ok(())),
                Ok(reply) => format!("http://{address}{path} is not reached: {}", reply.shown()),
                Err(error) => format!("http://{address}{path} is not reached: {error}"),
            },
            Published::App => match client.get("/", REACHABLE) {
                Ok(reply) if is_of_an_app(reply.status) => return Ok(Ok(())),
                Ok(reply) => format!("http://{address}/ answers {}", reply.shown()),
                Err(error) => format!("http://{address}/ is not reached: {error}"),
            },
            Published::Postgresql => match postgres_port::answers(address, REACHABLE) {
                Ok(()) => return Ok(Ok(())),
                Err(error) => format!("it is not reached: {error}"),
            },
        };
        if began.elapsed() > REACHABLE {
            return Ok(Err(why));
        }
        handle.runner.sleep(PAUSE)?;
    }
}

/// What answers on the published port when the service works.
pub(crate) enum Published {
    /// The app, with 200 on this path.
    Path(String),
    /// The app, on `/`, by anything but an error of its server's own.
    App,
    /// Something of which nothing is known.
    Anything,
    /// PostgreSQL.
    Postgresql,
}

/// As the image of a container has it.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn published(handle: &ServiceHandle, container: &str) -> Result<Published> {
    let image = handle.image_file(container)?;
    Ok(image.as_ref().map_or(Published::Anything, Published::by))
}

impl Published {
    /// What `/etc/hive/image.json` says.
    fn by(image: &Value) -> Self {
        match (image.get("app"), image.pointer("/app/health_path")) {
            (Some(Value::Null), _) => Self::Postgresql,
            (_, Some(Value::String(path))) => Self::Path(path.clone()),
            (_, Some(Value::Null)) => Self::App,
            _ => Self::Anything,
        }
    }
}

fn failed(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    seen: &SeenContainer,
    waited: &str,
) -> anyhow::Error {
    told(handle, report, state, handle.name.as_str(), seen, waited)
}

/// Says why a container does not work, by its log.
fn told(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    name: &str,
    seen: &SeenContainer,
    waited: &str,
) -> anyhow::Error {
    let container = handle.container(name);
    let log = container.last_lines(LOOKED_AT).unwrap_or_default();
    let story = Story::of(&log, seen, waited);
    report.step("failed", format!("{name}: {}", story.why));
    for line in &story.lines {
        report.detail(line);
    }
    let mut failure = failure::smoke(format!("{name}: {}", story.why));
    if let Ok(path) = kept::keep(handle, name, state) {
        failure = failure.hint(format!("the end of its log: {}", path.display()));
    }
    failure.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_published_is_what_the_image_has() {
        let by = |image| Published::by(&image);
        let path = by(json!({ "app": { "health_path": "/health" } }));
        assert!(matches!(path, Published::Path(path) if path == "/health"));
        let none = by(json!({ "app": { "health_path": null } }));
        assert!(matches!(none, Published::App));
        assert!(matches!(by(json!({ "app": null })), Published::Postgresql));
        // A file of something else says nothing.
        assert!(matches!(by(json!({})), Published::Anything));
    }
}
