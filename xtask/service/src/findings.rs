//! What is in the way of a service, found before anything that runs is touched
//! and told all at once.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::handle::{IMAGE_FILE, ServiceHandle};
use crate::names::{ServiceName, name_of};
use crate::seen::{ContainerPlace, SeenContainer};
use crate::wanted::WantedContainer;
use container::boot::MOUNT;
use failure::{Failure, FailureKind};
use host::report::megabytes;

/// A start writes some tens of megabytes: the cluster, WAL, temporary files.
const ROOM: u64 = 100_000_000;

/// The variable by which a user says that an app only changed its name.
const APP_WAS: &str = "HIVE_APP_WAS";

/// Where the prepared cluster of an image says which version it is.
const PREPARED_VERSION: &str = "/usr/share/hive/cluster/PG_VERSION";

/// One thing in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Decides the exit code: wrong input, or a machine that lacks something.
    pub kind: FailureKind,
    /// One sentence, in lower case and without the service's name.
    pub message: String,
    /// What to do, with the command.
    pub hint: Option<String>,
}

impl Obstacle {
    /// Something that was asked for in a way that cannot be.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Usage,
            message: message.into(),
            hint: None,
        }
    }

    /// Something that the machine lacks or has already.
    pub fn environment(message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Environment,
            ..Self::usage(message)
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// All of them as one failure, with the service before each; the machine's decide
/// the exit code.
pub fn failure(found: &[(String, Obstacle)]) -> Failure {
    let of_machine = |(_, obstacle): &(String, Obstacle)| obstacle.kind == FailureKind::Environment;
    let kind = if found.iter().any(of_machine) {
        FailureKind::Environment
    } else {
        FailureKind::Usage
    };
    let lines: Vec<String> = found
        .iter()
        .map(|(name, obstacle)| format!("{name}: {}", obstacle.message))
        .collect();
    let count = match found.len() {
        1 => return with_hints(Failure::new(kind, lines.join("")), found),
        count => count,
    };
    let message = format!("{count} things are in the way:\n  {}", lines.join("\n  "));
    with_hints(Failure::new(kind, message), found)
}

fn with_hints(mut failure: Failure, found: &[(String, Obstacle)]) -> Failure {
    failure
        .hints
        .extend(found.iter().filter_map(|(_, obstacle)| obstacle.hint.clone()));
    failure.hints.dedup();
    failure
}

/// Containers that stand where the service's own belong.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn foreign_containers(handle: &ServiceHandle) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    let names = [handle.name.to_string(), handle.name.next(), handle.name.before()];
    for name in names {
        if let ContainerPlace::Foreign(image) = handle.place_of(&name)? {
            let message = format!(
                "container {name} (of {image}) is there and was not made by `cargo xtask up`: it stays"
            );
            found.push(Obstacle::environment(message).hint(format!(
                "if you can do without it: docker stop {name} && docker rm {name}; volumes with a name stay"
            )));
        }
    }
    Ok(found)
}

/// A network of the service's name that is somebody else's.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn foreign_network(handle: &ServiceHandle) -> Result<Option<Obstacle>> {
    let name = handle.name.network();
    let network = handle.engine.network(&handle.runner, &name)?;
    let foreign = network.filter(|network| !handle.name.owns(network.get("Labels")));
    Ok(foreign.map(|_| {
        Obstacle::environment(format!(
            "network {name} is there and was not made by `cargo xtask up`"
        ))
        .hint(format!("if nothing uses it: docker network rm {name}"))
    }))
}

/// Whether the volume is this service's, fits the image and has room. `next` is
/// the container that is to use it: its files are looked at through it, and
/// nothing of the image is run.
///
/// # Errors
/// When the engine does not answer.
pub(crate) fn volume(handle: &ServiceHandle, next: &str, wanted: &WantedContainer) -> Result<Vec<Obstacle>> {
    if !wanted.keeps_data {
        return Ok(Vec::new());
    }
    let volume = handle.name.volume();
    let container = handle.container(next);
    let read = |path: &str| handle.engine.read_in_container(&handle.runner, &container, path);
    let mut found = Vec::new();
    let inside = |file: &str| format!("{MOUNT}/pgdata/{file}");
    let (identity, has) = (read(&inside("hive.json"))?, read(&inside("PG_VERSION"))?);
    found.extend(foreign_volume(
        handle.name.as_str(),
        &volume,
        has.as_deref(),
        identity.as_deref(),
    ));
    if let Some(needs) = read(PREPARED_VERSION)? {
        found.extend(other_major(&handle.name, has.as_deref(), &needs));
    }
    if let (Some(app), Some(image)) = (read(&format!("{MOUNT}/hive/app"))?, read(IMAGE_FILE)?) {
        found.extend(other_app(&volume, &app, &image, wanted.variable(APP_WAS)));
    }
    found.extend(users(handle, &volume)?);
    if handle.engine.api.is_local()
        && let Some(document) = handle.engine.volume(&handle.runner, &volume)?
    {
        let place = document.get("Mountpoint").and_then(Value::as_str);
        found.extend(place.and_then(|place| want_of_room(&volume, Path::new(place))));
    }
    Ok(found)
}

/// A volume that is somebody else's, by the version of its cluster and by what its
/// `hive.json` says.
pub(crate) fn foreign_volume(
    name: &str,
    volume: &str,
    has: Option<&str>,
    identity: Option<&str>,
) -> Option<Obstacle> {
    let made_by = identity.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let image = made_by
        .as_ref()
        .and_then(|made_by| made_by.get("image")?.as_str());
    match (has, image) {
        (_, Some(image)) if image == name => None,
        (_, Some(image)) => Some(Obstacle::environment(format!(
            "volume {volume} belongs to image {image}"
        ))),
        (Some(_), None) => Some(Obstacle::environment(format!(
            "volume {volume} has a PostgreSQL cluster that no image of this kind made"
        ))),
        // Empty, or nothing that can be told from here: the container looks, too.
        (None, None) => None,
    }
}

fn other_major(name: &ServiceName, has: Option<&str>, needs: &str) -> Option<Obstacle> {
    let (has, needs, volume) = (has?.trim(), needs.trim(), name.volume());
    (has != needs).then(|| {
        Obstacle::environment(format!(
            "volume {volume} is of PostgreSQL {has}, the image has {needs}"
        ))
        .hint(format!(
            "start an image with PostgreSQL {has}; or move the data to the released one's: cargo xtask down {name}; \
             cargo xtask migrate {name} --from {volume}"
        ))
    })
}

/// The data of another app: the image's name is not enough, since two checkouts, or
/// `--app`, put different ones into images of the same name. As the container judges
/// it, which would do so when the one before has ended.
fn other_app(volume: &str, has: &str, image: &str, was: Option<&str>) -> Option<Obstacle> {
    let image: Value = serde_json::from_str(image).ok()?;
    let is = image.pointer("/app/name")?.as_str()?;
    let has = has.lines().next().unwrap_or_default().trim();
    let fits = is.is_empty() || has.is_empty() || has == is || was == Some(has);
    (!fits).then(|| {
        Obstacle::environment(format!(
            "volume {volume} has the data of the app {has:?}, and the image is the app {is:?}"
        ))
        .hint(format!(
            "give each app an image of its own; if only its name has changed: {APP_WAS}={has} in the --env-file"
        ))
    })
}

/// Containers of others whose programs are there, with the volume.
///
/// # Errors
/// When the engine does not answer.
pub fn users(handle: &ServiceHandle, volume: &str) -> Result<Option<Obstacle>> {
    let all = handle.engine.containers(&handle.runner, "volume", volume)?;
    let is_up = |one: &Value| {
        let state = one.get("State").and_then(Value::as_str);
        matches!(state, Some("running" | "paused" | "restarting"))
    };
    let names: Vec<&str> = all
        .iter()
        .filter(|one| is_up(one) && !handle.name.owns_container(one))
        .map(name_of)
        .collect();
    Ok((!names.is_empty()).then(|| {
        Obstacle::environment(format!("container {} uses volume {volume}", names.join(", ")))
            .hint(format!("stop it first: docker stop {}", names.join(" ")))
    }))
}

/// Where the kernel does not let us look, nothing is known.
fn want_of_room(volume: &str, place: &Path) -> Option<Obstacle> {
    let stat = rustix::fs::statvfs(place).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    (free < ROOM).then(|| {
        let message = format!(
            "the disk of volume {volume} has {} free, {} are needed to start",
            megabytes(free),
            megabytes(ROOM)
        );
        Obstacle::environment(message).hint("make room at ".to_owned() + &place.display().to_string())
    })
}

/// A container of the service whose data are not in its volume, but in a folder of the
/// host, say: another one in its place would begin with none.
///
/// # Errors
/// When the engine does not answer.
pub fn data_elsewhere(handle: &ServiceHandle) -> Result<Option<Obstacle>> {
    let inspect = handle.engine.container(&handle.runner, handle.name.as_str())?;
    Ok(inspect.and_then(|inspect| place_of_data(&inspect, &handle.name)))
}

fn place_of_data(inspect: &Value, name: &ServiceName) -> Option<Obstacle> {
    let mounts = inspect.get("Mounts")?.as_array()?;
    let is_at = |mount: &&Value| mount.get("Destination").and_then(Value::as_str) == Some(MOUNT);
    let mount = mounts.iter().find(is_at)?;
    let text = |key: &str| mount.get(key).and_then(Value::as_str);
    let volume = name.volume();
    if text("Name") == Some(&volume) {
        return None;
    }
    let place = text("Name").or_else(|| text("Source")).unwrap_or_default();
    let message = format!("the data of container {name} lie in {place}, not in volume {volume}");
    Some(Obstacle::environment(message).hint(format!(
        "go on with what made it, or copy what is in {place} into volume {volume} while it is stopped"
    )))
}

/// Which ports are neither free nor the service's own already.
///
/// # Errors
/// When the engine does not answer.
pub fn ports(
    handle: &ServiceHandle,
    wanted: &WantedContainer,
    main: Option<&SeenContainer>,
) -> Result<Vec<Obstacle>> {
    // Of another machine's ports nothing is known.
    if !handle.engine.api.is_local() {
        return Ok(Vec::new());
    }
    let main = main.filter(|main| main.condition.is_up());
    let mut found = Vec::new();
    if main.and_then(SeenContainer::port) != Some(wanted.port) {
        found.extend(taken(handle, wanted, wanted.port, "--port")?);
    }
    if let Some(port) = wanted.metrics_port
        && main.and_then(|main| main.metrics_port) != Some(port)
    {
        found.extend(taken(handle, wanted, port, "--metrics-port")?);
    }
    Ok(found)
}

/// Whether a port of the host cannot be had; `flag` chooses another one.
fn taken(
    handle: &ServiceHandle,
    wanted: &WantedContainer,
    port: u16,
    flag: &str,
) -> Result<Option<Obstacle>> {
    let address = SocketAddr::new(wanted.bind, port);
    let why = match TcpListener::bind(address) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => "taken".to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
            format!("not of this machine ({error})")
        }
        // What we may not do, the engine may.
        _ => return Ok(None),
    };
    let publish = format!("{port}/tcp");
    let all = handle.engine.containers(&handle.runner, "publish", &publish)?;
    let by = all
        .iter()
        .find(|one| one.get("State").and_then(Value::as_str) == Some("running"))
        .and_then(|one| one.pointer("/Names/0")?.as_str())
        .map_or_else(
            || "another program".to_owned(),
            |name| format!("container {}", name.trim_start_matches('/')),
        );
    let by = if why == "taken" {
        format!(" by {by}")
    } else {
        String::new()
    };
    let hint = format!("choose another one: cargo xtask up {} {flag} PORT", handle.name);
    Ok(Some(
        Obstacle::environment(format!("port {address} is {why}{by}")).hint(hint),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use definition::spec::names::ImageName;

    #[test]
    fn data_that_are_not_in_the_volume_are_told_with_their_place() {
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        let of = |mount: Value| {
            let inspect = serde_json::json!({ "Mounts": [{ "Destination": "/tmp" }, mount] });
            place_of_data(&inspect, &name).map(|found| found.message)
        };
        let data = "/var/lib/postgresql/data";
        let volume = |name: &str| serde_json::json!({ "Destination": data, "Name": name, "Source": "/v" });
        assert_eq!(of(volume("genie-data")), None);
        assert_eq!(
            of(volume("other")).unwrap(),
            "the data of container genie lie in other, not in volume genie-data"
        );
        let folder = serde_json::json!({ "Destination": data, "Source": "/srv/pg", "Type": "bind" });
        assert!(of(folder).unwrap().contains("lie in /srv/pg"));
    }

    #[test]
    fn a_volume_is_ours_or_empty() {
        let of =
            |has, identity| foreign_volume("genie", "genie-data", has, identity).map(|found| found.message);
        let mine = r#"{"image": "genie", "database": "d", "role": "r", "later": 1}"#;
        assert_eq!(of(Some("17\n"), Some(mine)), None);
        assert_eq!(of(None, None), None);
        assert_eq!(
            of(Some("17"), Some(r#"{"image": "agent"}"#)).unwrap(),
            "volume genie-data belongs to image agent"
        );
        for broken in [None, Some("{"), Some("[]")] {
            assert!(
                of(Some("17"), broken).unwrap().contains("no image of this kind"),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn another_major_is_in_the_way() {
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        assert_eq!(other_major(&name, Some("17\n"), "17\n"), None);
        assert_eq!(other_major(&name, None, "17"), None);
        assert_eq!(
            other_major(&name, Some("16\n"), "17\n").unwrap().message,
            "volume genie-data is of PostgreSQL 16, the image has 17"
        );
    }

    #[test]
    fn the_data_of_another_app_are_in_the_way() {
        let image = |name: &str| format!(r#"{{"app": {{"name": {name}}}}}"#);
        let of = |has: &str, name: &str, was| other_app("v", has, &image(name), was).is_some();
        assert!(of("shop\n", r#""blog""#, None));
        assert!(of("shop\n", r#""blog""#, Some("other")));
        assert!(!of("shop\n", r#""blog""#, Some("shop")));
        assert!(!of("shop\n", r#""shop""#, None));
        // Of images and volumes that do not say it nothing is known.
        assert!(!of("", r#""blog""#, None) && !of("shop", r#""""#, None) && !of("shop", "null", None));
    }

    #[test]
    fn all_obstacles_are_one_failure_and_the_machines_decide() {
        let usage = ("a".to_owned(), Obstacle::usage("no proof").hint("build it"));
        let machine = ("b".to_owned(), Obstacle::environment("port taken"));
        let both = failure(&[usage.clone(), machine]);
        assert_eq!(both.kind, FailureKind::Environment);
        assert_eq!(
            both.message,
            "2 things are in the way:\n  a: no proof\n  b: port taken"
        );
        assert_eq!(both.hints, ["build it"]);
        let one = failure(&[usage]);
        assert_eq!(
            (one.kind, one.message.as_str()),
            (FailureKind::Usage, "a: no proof")
        );
    }
}
