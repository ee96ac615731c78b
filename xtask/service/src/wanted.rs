//! What the container of a service has to be: a pure function of the image and of
//! what was asked for. It is kept on the container as a label, so that the next
//! run can tell whether anything differs, and what.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use container::boot::MOUNT;
use definition::identity::ImageId;
use definition::labels::IMAGE_LABEL;
pub(crate) use deploy::STOP_SECONDS;
use engine::Image;
use inputs::hex;

use crate::names::{ServiceName, WANTED_LABEL};

/// Moves with what [`WantedContainer::request`] asks for beside the settings.
const FORM: u32 = 2;

/// What the name of a setting begins with that is a variable of the app's.
const VARIABLE: &str = "variable ";

/// The setting of where the metrics are.
pub(crate) const METRICS: &str = "metrics";

/// The setting of the volume that the log is archived on.
pub(crate) const ARCHIVE: &str = "archive";

/// The variable that moves the app's port inside.
const PORT_VARIABLE: &str = "HIVE_API_PORT";

/// The variable that has the container answer Prometheus, and on which port.
pub(crate) const METRICS_PORT_VARIABLE: &str = "HIVE_METRICS_PORT";

/// What the name of a setting begins with that is a file with a secret.
const SECRET: &str = "secret ";

/// Where the files with secrets lie in the container, as every engine has them.
pub(crate) const SECRETS_FOLDER: &str = "/run/secrets";

/// The file among them in which an app alone looks for the password of its database.
pub(crate) const DATABASE_PASSWORD: &str = "hive_database_password";

/// PostgreSQL's, on the container's own loopback.
const POSTGRESQL_PORT: u16 = 5432;

/// What a user asks for beside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// The address of the host that the port is published on.
    pub bind: IpAddr,
    /// The port of the host; the one inside where none is named.
    pub port: Option<u16>,
    /// Where the container answers Prometheus, inside and on the host; not at all by default.
    pub metrics_port: Option<u16>,
    /// Whether PostgreSQL's log is archived, on a volume of its own.
    pub archive: bool,
    /// Variables for the app beside those of the image.
    pub environment: BTreeMap<String, String>,
    /// Files in [`SECRETS_FOLDER`], by their names there, with what they hold.
    pub secrets: BTreeMap<String, String>,
}

impl Default for ServiceOptions {
    /// Published on the loopback, as the image is.
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: None,
            metrics_port: None,
            archive: false,
            environment: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }
}

/// A container as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedContainer {
    /// The service that it is the container of.
    pub name: ServiceName,
    /// The image that it is made of, by its ID: tags move.
    pub image_id: ImageId,
    /// The port that the app listens on in the container.
    pub inside: u16,
    /// The host's address that the port is published on.
    pub bind: IpAddr,
    /// The port of the host.
    pub port: u16,
    /// The port of the metrics, inside and on the host.
    pub metrics_port: Option<u16>,
    /// Whether it has the volume of an archive.
    pub(crate) archive: bool,
    /// Whether it has data, and so the service's volume: what the image declares.
    pub(crate) keeps_data: bool,
    environment: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
}

/// What was wanted of a container, as people read it: `port` → `127.0.0.1:8000`.
/// Values of variables and secrets are digests.
pub type ShownSettings = BTreeMap<String, String>;

impl WantedContainer {
    /// The container of this image with these options.
    ///
    /// # Errors
    /// A sentence for each thing that is wrong with them.
    pub fn of(name: &ServiceName, image: &Image, options: &ServiceOptions) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        if image.label(IMAGE_LABEL) != Some(name.as_str()) {
            let says = image.label(IMAGE_LABEL).unwrap_or("nothing");
            problems.push(format!(
                "the image is not {name}: its label {IMAGE_LABEL} says {says}"
            ));
        }
        if options.environment.contains_key("HIVE_DATABASE_PASSWORD") {
            problems.push(
                "HIVE_DATABASE_PASSWORD: everyone who may inspect the container would see it; leave it out, \
                 there is one of its own making, or give a file: --secret hive_database_password=FILE"
                    .to_owned(),
            );
        }
        let exposed = image.exposed_ports();
        let exposed = exposed.first().and_then(|port| port.split('/').next());
        // What an image without an app exposes.
        let has_no_app = exposed.is_some_and(|port| port.parse() == Ok(POSTGRESQL_PORT));
        if has_no_app && options.environment.contains_key(PORT_VARIABLE) {
            problems.push(format!(
                "{PORT_VARIABLE}: the image has no app that could listen on another port"
            ));
        }
        let inside = options
            .environment
            .get(PORT_VARIABLE)
            .map(String::as_str)
            .or(exposed)
            .unwrap_or_default();
        let inside = inside.parse::<NonZeroU16>().map_or_else(
            |_| {
                problems.push(format!(
                    "the app's port is {inside:?}, a number from 1 to 65535 is needed"
                ));
                0
            },
            NonZeroU16::get,
        );
        let port = options.port.unwrap_or(inside);
        if let Some(metrics) = options.metrics_port {
            problems.extend(metrics_problem(metrics, inside, port));
            if options.environment.contains_key(METRICS_PORT_VARIABLE) {
                problems.push(format!(
                    "{METRICS_PORT_VARIABLE} is what --metrics-port sets: leave one of them out"
                ));
            }
        }
        let keeps_data = image.declares_volume(MOUNT);
        if options.archive && !keeps_data {
            problems.push("the image keeps no data of which an archive could be made".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            name: name.clone(),
            image_id: image.id().clone(),
            inside,
            bind: options.bind,
            port,
            metrics_port: options.metrics_port,
            archive: options.archive,
            keeps_data,
            environment: options.environment.clone(),
            secrets: options.secrets.clone(),
        })
    }

    /// All that was asked for, in a form in which two of them can be compared.
    pub(crate) fn settings(&self) -> ShownSettings {
        let address = std::net::SocketAddr::new(self.bind, self.port);
        let mut all = ShownSettings::from([
            ("form".to_owned(), FORM.to_string()),
            ("image".to_owned(), self.image_id.to_string()),
            ("port".to_owned(), address.to_string()),
            ("port inside".to_owned(), self.inside.to_string()),
            ("stop timeout".to_owned(), format!("{STOP_SECONDS} s")),
        ]);
        if let Some(port) = self.metrics_port {
            let address = std::net::SocketAddr::new(self.bind, port);
            all.insert(METRICS.to_owned(), address.to_string());
        }
        if self.archive {
            all.insert(ARCHIVE.to_owned(), self.name.archive());
        }
        // With the names, so that equal values of two do not look equal.
        let digest = |setting: &str, value: &str| {
            let digest = Sha256::digest(format!("{}\0{setting}\0{value}", self.name));
            hex::digits(&digest[..6])
        };
        for (key, value) in &self.environment {
            all.insert(setting_of(key), digest(key, value));
        }
        for (name, value) in &self.secrets {
            let setting = secret_setting(name);
            let value = digest(&setting, value);
            all.insert(setting, value);
        }
        all
    }

    /// The value of a variable, where the user gives one.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }

    /// The variables that somebody gives it, `NAME=value` each.
    pub fn variables(&self) -> impl Iterator<Item = String> {
        let all = self.environment.iter();
        all.map(|(name, value)| format!("{name}={value}"))
    }

    /// The body of the request by which the engine's API creates it.
    pub fn request(&self) -> Value {
        let mut exposed = serde_json::Map::new();
        let mut published = serde_json::Map::new();
        let metrics = self.metrics_port.map(|port| (port, port));
        for (inside, outside) in [(self.inside, self.port)].into_iter().chain(metrics) {
            let inside = format!("{inside}/tcp");
            exposed.insert(inside.clone(), json!({}));
            let place = json!([{ "HostIp": self.bind.to_string(), "HostPort": outside.to_string() }]);
            published.insert(inside, place);
        }
        let mut variables: Vec<String> = self.variables().collect();
        variables.extend(
            self.metrics_port
                .map(|port| format!("{METRICS_PORT_VARIABLE}={port}")),
        );
        let mut labels = self.name.container_labels();
        labels.insert(WANTED_LABEL.to_owned(), json!(self.settings()).to_string());
        let mut mounts = Vec::new();
        if self.keeps_data {
            mounts.push(json!({ "Type": "volume", "Source": self.name.volume(), "Target": MOUNT }));
        }
        if self.archive {
            let volume = self.name.archive();
            mounts.push(json!({ "Type": "volume", "Source": volume, "Target": deploy::ARCHIVE }));
        }
        if !self.secrets.is_empty() {
            // A volume without a name goes with the container, and is in no image that
            // somebody makes of that.
            mounts.push(json!({ "Type": "volume", "Target": SECRETS_FOLDER }));
        }
        json!({
            "Image": self.image_id.as_str(),
            "Hostname": self.name.as_str(),
            "Env": variables,
            "Labels": labels,
            "StopTimeout": STOP_SECONDS,
            "ExposedPorts": exposed,
            "HostConfig": {
                "Mounts": mounts,
                "PortBindings": published,
                "NetworkMode": self.name.network(),
                // The image's user has none of these anyhow, and gets none.
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                // The engine's own default keeps everything for ever.
                "LogConfig": { "Type": "local", "Config": { "max-size": "10m", "max-file": "4" } },
            },
        })
    }
}

/// Whether nobody else has the port of the metrics, in the container and on the host.
fn metrics_problem(metrics: u16, inside: u16, port: u16) -> Option<String> {
    let whose = match metrics {
        POSTGRESQL_PORT => "PostgreSQL's",
        taken if taken == inside || taken == port => "the app's",
        _ => return None,
    };
    Some(format!("the metrics cannot have port {metrics}: it is {whose}"))
}

/// What differs between what was wanted and what is wanted now, a line each.
pub fn differences(was: &ShownSettings, is: &ShownSettings) -> Vec<String> {
    let mut keys: Vec<&String> = was.keys().chain(is.keys()).collect();
    keys.sort();
    keys.dedup();
    let differing = keys.into_iter().filter(|&key| was.get(key) != is.get(key));
    differing
        .map(|key| match (was.get(key), is.get(key)) {
            (Some(_), Some(_)) if is_variable(key) || secret_of(key).is_some() => {
                format!("{key} has another value")
            }
            (Some(was), Some(is)) => format!("{key} {} → {}", short(was), short(is)),
            (None, _) => format!("{key} is new"),
            (_, None) => format!("{key} is gone"),
        })
        .collect()
}

/// What the setting of a variable is called.
pub(crate) fn setting_of(variable: &str) -> String {
    format!("{VARIABLE}{variable}")
}

/// Whether a setting is a variable of the app's.
pub(crate) fn is_variable(setting: &str) -> bool {
    setting.starts_with(VARIABLE)
}

/// What the setting of a file with a secret is called.
pub(crate) fn secret_setting(name: &str) -> String {
    format!("{SECRET}{name}")
}

/// The file with a secret that a setting is about.
pub(crate) fn secret_of(setting: &str) -> Option<&str> {
    setting.strip_prefix(SECRET)
}

/// The part of an image's ID that people compare; other texts as they are.
fn short(text: &str) -> &str {
    match text.strip_prefix("sha256:") {
        Some(digits) => digits.get(..12).unwrap_or(digits),
        None => text,
    }
}

/// What the label of a container says was wanted of it; `None` where it says
/// nothing that can be read.
pub(crate) fn of_label(labels: Option<&Value>) -> Option<ShownSettings> {
    let text = labels?.get(WANTED_LABEL)?.as_str()?;
    serde_json::from_str(text).ok()
}

/// The variables of an env file, as `docker run --env-file` reads it: a
/// `NAME=value` a line, nothing is quoted, `#` begins a comment line.
///
/// # Errors
/// A sentence for each line that is none.
pub fn variables(shown: &str, text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
    let (mut all, mut problems) = (BTreeMap::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start();
        // No process can have it, and the engine finds out after the old one has ended.
        if line.contains('\0') {
            problems.push(format!("{shown}:{}: has a NUL", n + 1));
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
                all.insert(name.to_owned(), value.to_owned());
            }
            // Not the line itself: it may hold a secret.
            _ => problems.push(format!("{shown}:{}: is not NAME=value", n + 1)),
        }
    }
    if problems.is_empty() {
        Ok(all)
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_ids::image_id;
    use definition::spec::names::ImageName;

    const OLD: &str = "0123456789abcdef";

    fn image(digits: &str) -> Image {
        let document = json!({
            "Id": image_id(digits),
            "Config": { "Labels": { "dev.hive.image": "genie" }, "ExposedPorts": { "48886/tcp": {} }, "Volumes": { MOUNT: {} } },
        });
        Image::from_document(document).unwrap()
    }

    fn name() -> ServiceName {
        ServiceName::of(&ImageName::parse("genie").unwrap())
    }

    fn with(options: &ServiceOptions) -> WantedContainer {
        WantedContainer::of(&name(), &image(OLD), options).unwrap()
    }

    fn environment(pairs: &[(&str, &str)]) -> ServiceOptions {
        ServiceOptions {
            environment: pairs
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            ..ServiceOptions::default()
        }
    }

    #[test]
    fn what_differs_is_told_and_no_value_of_a_variable() {
        let plain = with(&ServiceOptions::default()).settings();
        assert!(differences(&plain, &plain).is_empty());
        let other = ServiceOptions {
            port: Some(5000),
            ..environment(&[("TOKEN", "hunter2")])
        };
        let other = with(&other).settings();
        assert_eq!(
            differences(&plain, &other),
            ["port 127.0.0.1:48886 → 127.0.0.1:5000", "variable TOKEN is new"]
        );
        assert!(!format!("{other:?}").contains("hunter2"), "{other:?}");
        let changed = with(&environment(&[("TOKEN", "hunter3")])).settings();
        assert_eq!(
            differences(&other, &changed),
            [
                "port 127.0.0.1:5000 → 127.0.0.1:48886",
                "variable TOKEN has another value"
            ]
        );
        let new = WantedContainer::of(&name(), &image("fedcba9876543210"), &ServiceOptions::default());
        assert_eq!(
            differences(&plain, &new.unwrap().settings()),
            ["image 0123456789ab → fedcba987654"]
        );
    }

    #[test]
    fn the_label_is_the_way_back() {
        let wanted = with(&environment(&[("A", "1")]));
        let request = wanted.request();
        assert_eq!(of_label(request.get("Labels")), Some(wanted.settings()));
        assert_eq!(of_label(Some(&json!({ WANTED_LABEL: "x" }))), None);
        assert_eq!(of_label(None), None);
    }

    #[test]
    fn metrics_have_a_port_of_their_own() {
        let options = ServiceOptions {
            metrics_port: Some(9187),
            ..ServiceOptions::default()
        };
        let wanted = with(&options);
        let request = wanted.request();
        assert_eq!(
            request["HostConfig"]["PortBindings"]["9187/tcp"],
            json!([{ "HostIp": "127.0.0.1", "HostPort": "9187" }])
        );
        assert_eq!(request["Env"], json!(["HIVE_METRICS_PORT=9187"]));
        let without = with(&ServiceOptions::default()).settings();
        assert_eq!(differences(&without, &wanted.settings()), ["metrics is new"]);
        for (port, whose) in [(5432, "PostgreSQL's"), (48886, "the app's")] {
            let options = ServiceOptions {
                metrics_port: Some(port),
                ..environment(&[("HIVE_METRICS_PORT", "1")])
            };
            let problems = WantedContainer::of(&name(), &image(OLD), &options).unwrap_err();
            assert_eq!(
                problems,
                [
                    format!("the metrics cannot have port {port}: it is {whose}"),
                    "HIVE_METRICS_PORT is what --metrics-port sets: leave one of them out".to_owned()
                ]
            );
        }
    }

    #[test]
    fn an_archive_is_a_volume_of_its_own() {
        let options = ServiceOptions {
            archive: true,
            ..ServiceOptions::default()
        };
        let wanted = with(&options);
        let mounts = &wanted.request()["HostConfig"]["Mounts"];
        assert_eq!(mounts[0]["Source"], "genie-data");
        assert_eq!(
            mounts[1],
            json!({ "Type": "volume", "Source": "genie-archive", "Target": deploy::ARCHIVE })
        );
        let without = with(&ServiceOptions::default()).settings();
        assert_eq!(differences(&wanted.settings(), &without), ["archive is gone"]);
        let document = json!({
            "Id": image_id(OLD),
            "Config": { "Labels": { "dev.hive.image": "genie" }, "ExposedPorts": { "48886/tcp": {} } },
        });
        let alone = Image::from_document(document).unwrap();
        assert_eq!(
            WantedContainer::of(&name(), &alone, &options).unwrap_err(),
            ["the image keeps no data of which an archive could be made"]
        );
    }

    #[test]
    fn the_port_is_published_on_the_loopback_where_the_app_listens() {
        let request = with(&environment(&[("HIVE_API_PORT", "8000")])).request();
        assert_eq!(
            request["HostConfig"]["PortBindings"],
            json!({ "8000/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8000" }] })
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let foreign = Image::from_document(json!({ "Id": image_id(OLD) })).unwrap();
        let options = environment(&[("HIVE_DATABASE_PASSWORD", "x"), ("HIVE_API_PORT", "none")]);
        let problems = WantedContainer::of(&name(), &foreign, &options).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        let alone = Image::from_document(json!({
            "Id": image_id(OLD),
            "Config": { "Labels": { "dev.hive.image": "genie" }, "ExposedPorts": { "5432/tcp": {} }, "Volumes": { MOUNT: {} } },
        }));
        let moved = environment(&[("HIVE_API_PORT", "8000")]);
        let problems = WantedContainer::of(&name(), &alone.unwrap(), &moved).unwrap_err();
        assert_eq!(
            problems,
            ["HIVE_API_PORT: the image has no app that could listen on another port"]
        );
        let zero = environment(&[("HIVE_API_PORT", "0")]);
        let problems = WantedContainer::of(&name(), &image(OLD), &zero).unwrap_err();
        assert_eq!(
            problems,
            ["the app's port is \"0\", a number from 1 to 65535 is needed"]
        );
    }

    #[test]
    fn an_env_file_is_read_as_docker_does() {
        let read = variables("x", "# c\n\nA=1 2=3\n  B=\"q\"\nC=\n").unwrap();
        let pairs: Vec<(&str, &str)> = read.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(pairs, [("A", "1 2=3"), ("B", "\"q\""), ("C", "")]);
        let problems = variables("x.env", "secret\nA =1\n=\nD=1").unwrap_err();
        assert_eq!(
            problems,
            [
                "x.env:1: is not NAME=value",
                "x.env:2: is not NAME=value",
                "x.env:3: is not NAME=value"
            ]
        );
        // As editors elsewhere save it.
        assert!(variables("x", "\u{feff}A=1\r\n").unwrap().contains_key("A"));
        assert_eq!(
            variables("x.env", "A=1\0hunter2").unwrap_err(),
            ["x.env:1: has a NUL"]
        );
    }

    #[test]
    fn files_and_containers_have_the_data_at_one_place() {
        assert_eq!(MOUNT, deploy::DATA);
    }

    /// supervisord stops its programs one after the other.
    #[test]
    fn a_stop_gives_all_programs_their_time() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docker/rootfs/etc/hive/supervisord.conf"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let waits = text.lines().filter_map(|line| line.strip_prefix("stopwaitsecs="));
        let sum: u32 = waits.map(|seconds| seconds.parse::<u32>().unwrap()).sum();
        let own = definition::spec::program::MAX_STOP_SECONDS;
        assert!(sum > 60 && sum + own + 5 <= STOP_SECONDS, "{sum} s");
    }
}
