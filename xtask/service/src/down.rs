//! `down`: the container and the network go, the data stay; a volume goes only
//! where somebody has named it twice.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::findings::{Obstacle, foreign_volume};
use crate::handle::ServiceHandle;
use crate::kept;
use crate::names::name_of;
use crate::seen::{Condition, ContainerPlace};
use crate::trail::{self, TrailEntry};
use crate::wanted::STOP_SECONDS;
use container::boot::MOUNT;
use container::look;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use engine::container::RunResources;
use engine::reaper;
use host::process::Output;
use host::process::quote;
use host::report::{Report, megabytes, seconds};
use inputs::clock;

/// What is known of a volume before it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFacts {
    /// The volume's name, as the engine knows it.
    pub name: String,
    /// Bytes on disk, and the last change of any file; `None` where no image is
    /// there to look with.
    pub(crate) size: Option<u64>,
    /// Unknown where `size` is: both come from one look.
    pub(crate) last_write: Option<SystemTime>,
}

impl VolumeFacts {
    /// `volume genie-data: 57 MB, last written 2026-11-21 03:15 UTC`.
    pub fn shown(&self) -> String {
        let size = self.size.map_or("of unknown size".to_owned(), megabytes);
        let written = self.last_write.map_or(String::new(), |at| {
            format!(", last written {}", clock::shown(&clock::rfc3339(at)))
        });
        format!("volume {}: {size}{written}", self.name)
    }
}

/// Stops and removes the container and the network of a service. `data_go` where
/// its volume is deleted afterwards.
///
/// # Errors
/// When the engine refuses, or on Ctrl-C before it has begun.
pub fn down(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    spec: &ImageSpec,
    data_go: bool,
) -> Result<()> {
    let mut entry = TrailEntry::begun("down", &handle.name);
    let place = handle.place()?;
    entry.image_before = place.own().map(|seen| seen.image_id.clone());
    let done = take_down(handle, report, state, spec, &place, data_go);
    match &done {
        Ok("nothing to do") => {}
        Ok(outcome) => trail::write(state, report, &entry.ended(outcome, &done)),
        Err(_) => trail::write(state, report, &entry.ended("", &done)),
    }
    done.map(drop)
}

fn take_down(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    spec: &ImageSpec,
    place: &ContainerPlace,
    data_go: bool,
) -> Result<&'static str> {
    let name = handle.name.as_str();
    let mut outcome = "nothing to do";
    if let ContainerPlace::Own(seen) = place {
        let runs = !matches!(
            seen.condition.shown(),
            "stopped" | "failed" | "created" | "removing"
        );
        if runs {
            let took = handle
                .container(name)
                .stop(Duration::from_secs(STOP_SECONDS.into()))?;
            report.step("stop", format!("{name}: after {}", seconds(took)));
        }
        // One that ended by itself, or was killed, has left its data somehow, too.
        if seen.condition != Condition::Created && spec.database.elsewhere.is_none() {
            report.step(
                "data",
                format!("{name}: {}", ending(handle, spec, &seen.image_id)?),
            );
        }
        kept::keep_or_say(handle, name, report, state);
        // From here on half of it is worse than all of it.
        handle.for_cleanup().remove(name)?;
        outcome = "stopped";
    }
    let handle = handle.for_cleanup();
    for leftover in [handle.name.next(), handle.name.before()] {
        if handle.place_of(&leftover)?.own().is_some() {
            handle.remove(&leftover)?;
            outcome = "stopped";
        }
    }
    let network = handle.name.network();
    let there = handle.engine.network(&handle.runner, &network)?;
    if let Some(there) = there.filter(|network| handle.name.owns(network.get("Labels"))) {
        let users = attached(&there);
        if users.is_empty() {
            handle.engine.remove_network(&handle.runner, &network)?;
            outcome = "stopped";
        } else {
            report.warn(format!("network {network} stays: {} is on it", users.join(", ")));
        }
    }
    let volume = handle.name.volume();
    let archive = handle.name.archive();
    let there = |name: &str| handle.engine.volume(&handle.runner, name);
    let kept = match (there(&volume)?, there(&archive)?) {
        (Some(_), Some(_)) if !data_go => format!("; its data stay in volumes {volume} and {archive}"),
        (Some(_), None) if !data_go => format!("; its data stay in volume {volume}"),
        _ => String::new(),
    };
    report.step(
        "down",
        match outcome {
            "stopped" => format!("{name}{kept}"),
            _ => format!("{name}: nothing to do{kept}"),
        },
    );
    Ok(outcome)
}

/// The containers that run on a network, as `docker network inspect` has them.
fn attached(network: &Value) -> Vec<&str> {
    let all = network.get("Containers").and_then(Value::as_object);
    let names = all.into_iter().flat_map(|all| all.values());
    names.filter_map(|one| one.get("Name")?.as_str()).collect()
}

/// How PostgreSQL ended, by what it has written into its own books. Where nobody
/// can look, the container goes all the same.
///
/// # Errors
/// On Ctrl-C.
fn ending(handle: &ServiceHandle, spec: &ImageSpec, image_id: &ImageId) -> Result<String> {
    let script = look::control_data(spec, &format!("{MOUNT}/pgdata"));
    let output = match beside(handle, image_id, &[], &script) {
        Ok(output) => output,
        Err(error) => {
            handle.runner.check_interrupt()?;
            return Ok(format!("how PostgreSQL ended is not known: {error:#}"));
        }
    };
    Ok(match look::cluster_state(&output.stdout_text()) {
        Some("shut down") => "PostgreSQL was shut down cleanly".to_owned(),
        Some(other) => {
            format!("NOT a clean shutdown, PostgreSQL is {other:?} and recovers at the next start")
        }
        None => "how PostgreSQL ended is not known: pg_controldata does not say".to_owned(),
    })
}

/// A script in a container of the image that has the volume of the data, and nothing
/// else.
fn beside(handle: &ServiceHandle, image_id: &ImageId, options: &[&str], script: &str) -> Result<Output> {
    on_volume(handle, image_id, &handle.name.volume(), options, script)
}

/// The same with any volume in that place.
fn on_volume(
    handle: &ServiceHandle,
    image_id: &ImageId,
    volume: &str,
    options: &[&str],
    script: &str,
) -> Result<Output> {
    let resources = RunResources {
        engine: handle.engine.clone(),
        runner: handle.runner.clone(),
        run: reaper::run_id()?,
        keep: false,
    };
    let name = format!("{}.look-{}", handle.name, std::process::id());
    look::run(&resources, &name, image_id, volume, options, script)
}

/// The script for bytes on disk and the last change of any file.
fn sized() -> String {
    let at = quote(MOUNT);
    format!("du -sk {at} | cut -f1; find {at} -printf '%T@\\n' | sort -n | tail -n 1; ")
}

impl VolumeFacts {
    fn of(name: String) -> Self {
        Self {
            name,
            size: None,
            last_write: None,
        }
    }

    /// Takes what [`sized`] has printed.
    fn take<'a>(&mut self, mut lines: impl Iterator<Item = &'a str>) {
        let size = lines.next().and_then(|kib| kib.parse::<u64>().ok());
        self.size = size.map(|kib| kib * 1024);
        self.last_write = lines.next().and_then(seconds_since_1970);
    }
}

/// What is in the way of deleting the volume of a service's archive, and what it holds,
/// as [`volume_facts`] says it of the data.
///
/// # Errors
/// When the engine does not answer.
pub fn archive_facts(
    handle: &ServiceHandle,
    image_id: Option<&ImageId>,
) -> Result<Option<(VolumeFacts, Vec<Obstacle>)>> {
    let name = handle.name.archive();
    let Some(volume) = handle.engine.volume(&handle.runner, &name)? else {
        return Ok(None);
    };
    let mut obstacles: Vec<Obstacle> = foreign_users(handle, &name)?.into_iter().collect();
    if !handle.name.owns_archive(volume.get("Labels")) {
        let foreign = Obstacle::environment(format!("volume {name} was not made by `cargo xtask up`"));
        obstacles.push(foreign.hint(format!("if nobody needs it: docker volume rm {name}")));
    }
    let mut facts = VolumeFacts::of(name);
    if let Some(image_id) = image_id {
        let output = on_volume(handle, image_id, &facts.name, &["--user", "0:0"], &sized())?;
        facts.take(output.stdout_text().lines());
    }
    Ok(Some((facts, obstacles)))
}

/// What is in the way of deleting a service's volume, and what it holds; `None`
/// where there is no such volume. `image_id` is an image to look with.
///
/// # Errors
/// When the engine does not answer.
pub fn volume_facts(
    handle: &ServiceHandle,
    image_id: Option<&ImageId>,
) -> Result<Option<(VolumeFacts, Vec<Obstacle>)>> {
    let name = handle.name.volume();
    let Some(volume) = handle.engine.volume(&handle.runner, &name)? else {
        return Ok(None);
    };
    let mut facts = VolumeFacts::of(name.clone());
    let mut obstacles: Vec<Obstacle> = foreign_users(handle, &name)?.into_iter().collect();
    let is_labelled = handle.name.owns_volume(volume.get("Labels"));
    let mut foreign = None;
    if let Some(image_id) = image_id {
        let at = quote(MOUNT);
        let script = sized()
            + &format!(
                "cat {at}/pgdata/PG_VERSION 2>/dev/null || echo; cat {at}/pgdata/hive.json 2>/dev/null"
            );
        let output = beside(handle, image_id, &["--user", "0:0"], &script)?;
        let text = output.stdout_text();
        let mut lines = text.lines();
        facts.take(&mut lines);
        let version = lines.next().filter(|line| !line.is_empty());
        let identity = lines.next();
        foreign = foreign_volume(handle.name.as_str(), &name, version, identity);
        if !is_labelled && identity.is_none() && foreign.is_none() {
            foreign = Some(Obstacle::environment(format!(
                "volume {name} was not made by `cargo xtask up`"
            )));
        }
    } else if !is_labelled {
        foreign = Some(Obstacle::environment(format!(
            "it is not known whose volume {name} is: there is no image to look into it with"
        )));
    }
    let hint = format!("if nobody needs it: docker volume rm {name}");
    obstacles.extend(foreign.map(|obstacle| obstacle.hint(hint)));
    Ok(Some((facts, obstacles)))
}

fn seconds_since_1970(text: &str) -> Option<SystemTime> {
    let seconds: f64 = text.parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?)
}

/// Containers of others that have the volume, running or not.
fn foreign_users(handle: &ServiceHandle, volume: &str) -> Result<Option<Obstacle>> {
    let all = handle.engine.containers(&handle.runner, "volume", volume)?;
    let names: Vec<&str> = all
        .iter()
        .filter(|one| !handle.name.owns_container(one))
        .map(name_of)
        .collect();
    Ok((!names.is_empty()).then(|| {
        Obstacle::environment(format!("container {} has volume {volume}", names.join(", ")))
            .hint(format!("docker rm {}", names.join(" ")))
    }))
}

/// Deletes a service's volume, for good. The caller has asked.
///
/// # Errors
/// When the engine refuses.
pub fn delete_volume(
    handle: &ServiceHandle,
    report: &Report,
    state: &Path,
    facts: &VolumeFacts,
) -> Result<()> {
    let entry = TrailEntry::begun("down --volumes", &handle.name);
    let handle = handle.for_cleanup();
    let done = handle
        .engine
        .remove_volume(&handle.runner, &facts.name)
        .with_context(|| format!("delete the data of {}", handle.name));
    trail::write(state, report, &entry.ended("data deleted", &done));
    done?;
    report.step("deleted", facts.shown());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_on_a_network_is_named() {
        let network = serde_json::json!({ "Containers": { "1a": { "Name": "proxy" } } });
        assert_eq!(attached(&network), ["proxy"]);
        assert!(attached(&serde_json::json!({ "Containers": {} })).is_empty());
        assert!(attached(&serde_json::json!({})).is_empty());
    }

    #[test]
    fn what_is_deleted_is_shown_with_its_size_and_last_write() {
        let facts = VolumeFacts {
            name: "genie-data".to_owned(),
            size: Some(57_000_000),
            last_write: seconds_since_1970("1795230900.5"),
        };
        assert_eq!(
            facts.shown(),
            "volume genie-data: 57 MB, last written 2026-11-21 03:15 UTC"
        );
        let unknown = VolumeFacts {
            size: None,
            last_write: None,
            ..facts
        };
        assert_eq!(unknown.shown(), "volume genie-data: of unknown size");
        assert_eq!(seconds_since_1970("-1"), None);
        assert_eq!(seconds_since_1970(""), None);
    }
}
