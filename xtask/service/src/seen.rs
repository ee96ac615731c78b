//! What the engine says of a service's container, read once into values.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::SystemTime;

use anyhow::{Error, Result};
use serde_json::Value;

use crate::names::ServiceName;
use crate::wanted::{self, ShownSettings};
use definition::identity::ImageId;
use deploy::names::PROJECT_LABEL;
use inputs::clock;

/// The state of a container: the engine's, told apart by the health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It was made and has never been started.
    Created,
    /// Runs, and its health check has not passed yet.
    Starting,
    /// Runs, and its health check says so.
    Healthy,
    /// Runs, and its health check says no.
    Unhealthy,
    /// Runs, and nobody looks at its health.
    Running,
    /// The engine starts it again and again.
    Restarting,
    /// Paused by somebody: it holds its port and volume, and answers nothing.
    Paused,
    /// The engine is about to remove it, or has failed to; it answers nothing
    /// more.
    Removing,
    /// Ended with this exit code.
    Ended {
        /// As the engine has it; -1 where it has none.
        code: i64,
        /// The kernel killed it for memory.
        out_of_memory: bool,
    },
}

impl Condition {
    fn of(state: &Value) -> Self {
        let text = |pointer: &str| state.pointer(pointer).and_then(Value::as_str);
        match text("/Status") {
            Some("running") => match text("/Health/Status") {
                Some("starting") => Self::Starting,
                Some("healthy") => Self::Healthy,
                Some("unhealthy") => Self::Unhealthy,
                _ => Self::Running,
            },
            Some("created") => Self::Created,
            Some("restarting") => Self::Restarting,
            Some("paused") => Self::Paused,
            Some("removing" | "dead") => Self::Removing,
            _ => Self::Ended {
                code: state.get("ExitCode").and_then(Value::as_i64).unwrap_or(-1),
                out_of_memory: state.get("OOMKilled").and_then(Value::as_bool) == Some(true),
            },
        }
    }

    /// Whether its programs run, so that it can be asked something.
    pub fn runs(&self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Healthy | Self::Unhealthy | Self::Running
        )
    }

    /// Whether its processes are there, or come again by themselves, and hold its port and
    /// its volume.
    pub fn is_up(&self) -> bool {
        self.runs() || matches!(self, Self::Paused | Self::Restarting)
    }

    /// The word for it that `status` shows.
    pub fn shown(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Paused => "paused",
            Self::Removing => "removing",
            Self::Ended { code: 0, .. } => "stopped",
            Self::Ended { .. } => "failed",
        }
    }
}

/// A container of a service, as it was at one moment.
#[derive(Clone, Debug)]
pub struct SeenContainer {
    /// The engine's ID: a new container has a new one.
    pub id: String,
    /// The image that it was made of, whatever its tag names by now.
    pub image_id: ImageId,
    /// What was wanted of it; `None` where its label cannot be read.
    pub wanted: Option<ShownSettings>,
    /// Whether compose has made it, by a file of ours.
    pub(crate) by_compose: bool,
    /// What it does at that moment.
    pub condition: Condition,
    /// The last answer of the image's health check.
    pub(crate) health_said: String,
    /// When it was started last.
    pub started: Option<SystemTime>,
    /// When it ended last; `None` where it never has.
    pub ended: Option<SystemTime>,
    /// How often the engine has started it again.
    pub restarts: u64,
    /// Where the app is published: address and port of the host.
    pub published: Option<SocketAddr>,
    /// On which port of its own it answers Prometheus, where it does.
    pub(crate) metrics_port: Option<u16>,
    /// Whether the volume of an archive is mounted in it.
    pub archives: bool,
    /// The networks that it is on, and once it has been started the engine's IDs of them.
    pub(crate) networks: BTreeMap<String, String>,
    /// The engine's word: `no` while it is on trial, then `unless-stopped`.
    pub(crate) restart_policy: String,
}

impl SeenContainer {
    /// Reads what `docker inspect` says.
    ///
    /// # Errors
    /// When it has no image ID.
    pub fn of(inspect: &Value) -> Result<Self> {
        let text = |pointer: &str| {
            let found = inspect.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let state = inspect.get("State").unwrap_or(&Value::Null);
        let log = state.pointer("/Health/Log").and_then(Value::as_array);
        let said = log.and_then(|log| log.last()?.get("Output")?.as_str());
        let labels = inspect.pointer("/Config/Labels");
        let wanted = wanted::of_label(labels);
        Ok(Self {
            id: text("/Id"),
            image_id: text("/Image").parse().map_err(Error::msg)?,
            // What `up` makes has the labels of compose, too.
            by_compose: wanted.is_none() && labels.is_some_and(|all| all.get(PROJECT_LABEL).is_some()),
            wanted,
            condition: Condition::of(state),
            health_said: said.unwrap_or_default().trim().to_owned(),
            started: clock::parse(&text("/State/StartedAt")),
            ended: clock::parse(&text("/State/FinishedAt")),
            restarts: inspect.get("RestartCount").and_then(Value::as_u64).unwrap_or(0),
            published: published(inspect),
            metrics_port: metrics_port(inspect),
            archives: archives(inspect),
            networks: networks(inspect),
            restart_policy: text("/HostConfig/RestartPolicy/Name"),
        })
    }

    /// The port of the host, where it is published.
    pub fn port(&self) -> Option<u16> {
        self.published.map(|address| address.port())
    }

    /// Whether it is what is wanted.
    pub fn is(&self, wanted: &ShownSettings) -> bool {
        self.settings(wanted) == *wanted
    }

    /// Leaves the password of its database out of what was wanted of it.
    pub(crate) fn forget_password(&mut self) {
        if let Some(wanted) = &mut self.wanted {
            wanted.remove(&wanted::secret_setting(wanted::DATABASE_PASSWORD));
        }
    }

    /// What was wanted of it. Of a container of compose that is its image and where
    /// it is published; all else is its file's to say, and is taken for what is
    /// wanted now.
    pub(crate) fn settings(&self, wanted: &ShownSettings) -> ShownSettings {
        if !self.by_compose {
            return self.wanted.clone().unwrap_or_default();
        }
        let mut settings = wanted.clone();
        settings.retain(|name, _| {
            let secret = wanted::secret_of(name);
            !wanted::is_variable(name) && secret.is_none_or(|secret| secret == wanted::DATABASE_PASSWORD)
        });
        settings.insert("image".to_owned(), self.image_id.to_string());
        let address = self.published.map(|address| address.to_string());
        settings.insert("port".to_owned(), address.unwrap_or_default());
        settings
    }
}

fn networks(inspect: &Value) -> BTreeMap<String, String> {
    let all = inspect.pointer("/NetworkSettings/Networks");
    let all = all.and_then(Value::as_object).into_iter().flatten();
    let id = |network: &Value| {
        network
            .get("NetworkID")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    all.map(|(name, network)| (name.clone(), id(network).unwrap_or_default()))
        .collect()
}

fn archives(inspect: &Value) -> bool {
    let mounts = inspect.get("Mounts").and_then(Value::as_array);
    let mut places = mounts.into_iter().flatten();
    places.any(|mount| mount.get("Destination").and_then(Value::as_str) == Some(deploy::ARCHIVE))
}

fn metrics_port(inspect: &Value) -> Option<u16> {
    let variables = inspect.pointer("/Config/Env")?.as_array()?;
    let mut pairs = variables
        .iter()
        .filter_map(|variable| variable.as_str()?.split_once('='));
    let (_, port) = pairs.find(|(name, _)| *name == wanted::METRICS_PORT_VARIABLE)?;
    port.parse().ok()
}

/// What was asked for, which holds of a stopped container, too.
fn published(inspect: &Value) -> Option<SocketAddr> {
    let bindings = inspect.pointer("/HostConfig/PortBindings")?.as_object()?;
    // That of the metrics is not the service's.
    let metrics = metrics_port(inspect).map(|port| format!("{port}/tcp"));
    let mut ports = bindings
        .iter()
        .filter(|(port, _)| Some(*port) != metrics.as_ref());
    let first = ports.next()?.1.get(0)?;
    let text = |key: &str| first.get(key).and_then(Value::as_str);
    let port = text("HostPort")?.parse().ok()?;
    let address = text("HostIp").filter(|address| !address.is_empty());
    let address = address.unwrap_or("0.0.0.0").parse().ok()?;
    Some(SocketAddr::new(address, port))
}

/// Where something published there is reached from this machine: where every
/// address is meant, on the loopback.
pub(crate) fn from_here(published: SocketAddr) -> SocketAddr {
    let address = match published.ip() {
        IpAddr::V4(all) if all.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(all) if all.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        one => one,
    };
    SocketAddr::new(address, published.port())
}

/// What stands at the place of a service's container.
#[derive(Clone, Debug)]
pub enum ContainerPlace {
    /// There is no container of that name.
    Empty,
    /// A container that `up` or our compose file has made.
    Own(Box<SeenContainer>),
    /// A container of somebody else, which stays as it is; of this image.
    Foreign(String),
}

impl ContainerPlace {
    /// Reads what `docker inspect` says, if there is anything.
    ///
    /// # Errors
    /// When it says it in a way that no engine does.
    pub fn of(name: &ServiceName, inspect: Option<&Value>) -> Result<Self> {
        Ok(match inspect {
            None => Self::Empty,
            Some(inspect) if name.owns(inspect.pointer("/Config/Labels")) => {
                Self::Own(Box::new(SeenContainer::of(inspect)?))
            }
            Some(inspect) => {
                let image = inspect.pointer("/Config/Image").and_then(Value::as_str);
                Self::Foreign(image.unwrap_or_default().to_owned())
            }
        })
    }

    /// The service's own container; `None` for somebody else's, too.
    pub fn own(&self) -> Option<&SeenContainer> {
        match self {
            Self::Own(seen) => Some(seen),
            Self::Empty | Self::Foreign(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_ids::image_id;
    use definition::spec::names::ImageName;
    use serde_json::json;

    fn name() -> ServiceName {
        ServiceName::of(&ImageName::parse("genie").unwrap())
    }

    #[test]
    fn conditions_are_what_the_engine_says() {
        for (state, shown) in [
            (json!({ "Status": "created" }), "created"),
            (
                json!({ "Status": "running", "Health": { "Status": "healthy" } }),
                "healthy",
            ),
            (
                json!({ "Status": "running", "Health": { "Status": "starting" } }),
                "starting",
            ),
            (
                json!({ "Status": "running", "Health": { "Status": "unhealthy" } }),
                "unhealthy",
            ),
            (json!({ "Status": "running" }), "running"),
            (json!({ "Status": "restarting", "ExitCode": 1 }), "restarting"),
            (json!({ "Status": "exited", "ExitCode": 0 }), "stopped"),
            (json!({ "Status": "exited", "ExitCode": 78 }), "failed"),
            (json!({ "Status": "removing" }), "removing"),
            (json!({ "Status": "dead", "ExitCode": 137 }), "removing"),
        ] {
            assert_eq!(Condition::of(&state).shown(), shown, "{state}");
        }
    }

    #[test]
    fn a_container_is_read_with_what_was_wanted_of_it() {
        let inspect = json!({
            "Id": "abc", "Image": image_id("0123456789abcdef"), "RestartCount": 3,
            "State": {
                "Status": "running", "StartedAt": "2026-11-21T03:15:00Z", "FinishedAt": "0001-01-01T00:00:00Z",
                "Health": { "Status": "unhealthy", "Log": [{ "Output": "healthy" }, { "Output": "unhealthy: app\n" }] },
            },
            "Config": {
                "Labels": { "dev.hive.service": "genie", "dev.hive.wanted": "{\"image\":\"sha256:1\"}" },
                "Env": ["PATH=/bin", "HIVE_METRICS_PORT=7000"],
            },
            "HostConfig": {
                "PortBindings": {
                    "7000/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "7000" }],
                    "8000/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "9000" }],
                },
                "RestartPolicy": { "Name": "no" },
                "NetworkMode": "hive_genie_network",
            },
            "Mounts": [{ "Destination": "/var/lib/postgresql/archive" }],
            "NetworkSettings": { "Networks": {
                "bridge": { "NetworkID": "other" }, "hive_genie_network": { "NetworkID": "def" },
            } },
        });
        let place = ContainerPlace::of(&name(), Some(&inspect)).unwrap();
        let seen = place.own().unwrap();
        assert_eq!(seen.condition, Condition::Unhealthy);
        assert_eq!(seen.health_said, "unhealthy: app");
        assert_eq!((seen.port(), seen.metrics_port), (Some(9000), Some(7000)));
        assert!(seen.archives);
        assert_eq!((seen.restarts, seen.restart_policy.as_str()), (3, "no"));
        assert!(seen.started.is_some() && seen.ended.is_none());
        assert_eq!(seen.networks["hive_genie_network"], "def");
        assert!(seen.is(&[("image".to_owned(), "sha256:1".to_owned())].into()));
    }

    #[test]
    fn what_is_published_everywhere_is_reached_on_the_loopback_of_its_kind() {
        let of = |bind: &str, port: &str| {
            let bindings = json!({ "8000/tcp": [{ "HostIp": bind, "HostPort": port }] });
            let published = published(&json!({ "HostConfig": { "PortBindings": bindings } }));
            published.map(|address| from_here(address).to_string())
        };
        assert_eq!(of("0.0.0.0", "9000").as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(of("", "9000").as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(of("::", "9000").as_deref(), Some("[::1]:9000"));
        assert_eq!(of("127.0.0.2", "9000").as_deref(), Some("127.0.0.2:9000"));
        assert_eq!(of("127.0.0.1", "no"), None);
    }

    #[test]
    fn what_bears_no_label_of_ours_is_foreign() {
        let inspect =
            json!({ "Id": "abc", "Config": { "Image": "nginx", "Labels": { "dev.hive.image": "genie" } } });
        assert!(
            matches!(ContainerPlace::of(&name(), Some(&inspect)), Ok(ContainerPlace::Foreign(image)) if image == "nginx")
        );
        assert!(matches!(
            ContainerPlace::of(&name(), None),
            Ok(ContainerPlace::Empty)
        ));
    }
}
