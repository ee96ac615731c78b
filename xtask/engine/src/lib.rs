//! The Docker Engine in use: the system's, or the private one.
//!
//! An [`Engine`] is a way to call the `docker` CLI (which program, with which
//! environment) and to ask the API behind it, which is many times as fast. Its
//! methods are docker's verbs, one call each; everything that is made for a run
//! carries that run's label, so that it can be found and removed (see
//! [`reaper`]).

pub mod api;
pub mod apt;
pub mod build_cache;
pub mod choose;
pub mod container;
mod inventory;
pub mod lasting;
pub mod private;
pub mod reaper;

use std::ffi::OsStr;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use serde_json::Value;

use crate::api::{Api, Endpoint, Version, escaped};
pub use crate::inventory::Inventory;
use definition::identity::{ImageId, Platform};
use definition::reference::Reference;
use failure::FailureKind;
use host::Environment;
use host::process::{Command, Runner};

/// Label of everything that a run makes: its value is the run's id.
pub const RUN_LABEL: &str = "dev.hive.run";
/// The same of what stays after the run because a flag says so: nobody but the
/// user removes it.
pub const KEPT_LABEL: &str = "dev.hive.kept";
/// The command by which a user removes what `--keep-containers` left.
pub const REMOVE_KEPT: &str = "docker rm --force $(docker ps --all --quiet --filter label=dev.hive.kept); \
docker volume rm $(docker volume ls --quiet --filter label=dev.hive.kept); \
docker network prune --force --filter label=dev.hive.kept";

/// Variables that people set for docker calls of their own begin like this, and
/// would make ours build, show or name something else. New ones come with each
/// version of the programs, so they are named by their families.
const FOREIGN: [&str; 6] = [
    "BUILDKIT_",
    "BUILDX_",
    "COMPOSE_",
    "DOCKER_",
    "EXPERIMENTAL_BUILDKIT_",
    "SOURCE_DATE_EPOCH",
];

/// Those of them that say which engine it is, and how to log in to it. All
/// others are settings of a single call.
const OF_THE_ENGINE: [&str; 9] = [
    "DOCKER_API_VERSION",
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_CUSTOM_HEADERS",
    "DOCKER_HOST",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
];

/// The command without the variables that are meant for other calls. What they
/// say is nobody's concern here: only their names are looked at.
fn without_foreign<'a>(mut command: Command<'a>) -> Command<'a> {
    for (name, _) in std::env::vars_os() {
        if is_foreign(&name) {
            command = command.env_remove(&name);
        }
    }
    command
}

/// Whether a variable is a setting of a single call, and none of the engine's.
fn is_foreign(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let is_of_family = FOREIGN.iter().any(|family| bytes.starts_with(family.as_bytes()));
    is_of_family && !OF_THE_ENGINE.iter().any(|kept| name == *kept)
}

/// The oldest engine that will do, by major and minor version: heredocs that run, named
/// contexts and `--start-interval` all work from here on. An older one fails on them, or
/// silently does nothing.
pub(crate) const OLDEST_ENGINE: (u32, u32) = (25, 0);

/// The hint for a machine on which no such engine can be had otherwise.
pub(crate) const INSTALL_ENGINE: &str =
    "install Docker Engine 25 or newer with buildx: https://docs.docker.com/engine/install/";

/// Loading, pulling and saving move hundreds of megabytes.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(900);

/// An engine that does not answer for this long is down.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// The proxies that the user's settings of docker have for the steps of builds, by the names that they
/// have there (`httpsProxy`), and the file.
pub fn docker_proxies(env: &Environment) -> Option<(PathBuf, serde_json::Value)> {
    api::endpoint::proxies(env)
}

/// Who set the engine up, and so who may stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The engine that `docker` reaches on this machine.
    System,
    /// The one the tool provisions where there is none.
    Private,
}

impl Owner {
    /// The word that `--engine` takes for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Private => "private",
        }
    }
}

/// How to reach an engine.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Whether it is the system's engine or the tool's own.
    pub owner: Owner,
    /// The path of the docker CLI that goes with it.
    pub docker: PathBuf,
    /// Set for each call: `DOCKER_HOST`, `DOCKER_CONFIG`, `PATH`.
    pub env: Vec<(String, String)>,
    /// What the CLI would talk to.
    pub api: Api,
}

impl Engine {
    /// What `docker`, a program or a name on `PATH`, reaches without any flag.
    pub fn of_system(docker: PathBuf, env: &Environment) -> Self {
        Self {
            owner: Owner::System,
            api: Api::new(Endpoint::of_system(env, &docker)),
            docker,
            // The builder inside of that engine, whichever one was selected
            // for other builds (`docker buildx use`).
            env: vec![("BUILDX_BUILDER".to_owned(), api::endpoint::context(env))],
        }
    }

    /// `docker ARGS…`, to be run by the caller.
    pub fn cmd<'a>(&self, runner: &'a Runner, args: &[&str]) -> Command<'a> {
        let mut command = without_foreign(runner.cmd(&self.docker).args(args));
        // TLS is for an engine elsewhere, a context for one that is named by it.
        if self.owner == Owner::Private {
            command = command.env_remove("DOCKER_CONTEXT");
        }
        if self.api.is_local() {
            command = command.env_remove("DOCKER_TLS_VERIFY").env_remove("DOCKER_TLS");
        }
        for (key, value) in &self.env {
            command = command.env(key, value);
        }
        // Hints of the CLI ("What's next") are noise in a log.
        command.env("DOCKER_CLI_HINTS", "false")
    }

    /// Carries out `work`. Where that fails while the engine ended or was started
    /// again, the engine is to blame, and no image.
    ///
    /// # Errors
    /// Those of `work`, and `Environment` in front of them.
    pub fn while_it_runs<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.api.listener();
        work().map_err(|error| {
            let may_be_ours = matches!(failure::kind(&error), FailureKind::Build | FailureKind::Smoke);
            if !may_be_ours || (self.api.answers(ANSWER_DEADLINE) && self.api.listener() == before) {
                return error;
            }
            let cause = failure::environment("the engine stopped or was started again meanwhile")
                .hint("run the same command again: it goes on from here");
            error.context(cause)
        })
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn version(&self, runner: &Runner) -> Result<Version> {
        self.api.version(runner, ANSWER_DEADLINE)
    }

    /// What images are built for: `linux/amd64`.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn platform(&self, runner: &Runner) -> Result<Platform> {
        if let Some(known) = self.known_platform() {
            return known.parse().map_err(Error::msg);
        }
        let version = self.version(runner)?;
        let platform = format!("{}/{}", version.os, version.arch);
        platform.parse().map_err(Error::msg)
    }

    /// The platform of the private engine, which runs on this machine from
    /// packages for it. It would take ten milliseconds to say so itself.
    fn known_platform(&self) -> Option<&'static str> {
        match (self.owner, std::env::consts::ARCH) {
            (Owner::Private, "x86_64") => Some("linux/amd64"),
            (Owner::Private, "aarch64") => Some("linux/arm64"),
            _ => None,
        }
    }

    /// Asks for the platform in the background, for [`Engine::platform`].
    pub fn expect_platform(&self, runner: &Runner) {
        if self.known_platform().is_none() {
            self.api.expect_version(runner, ANSWER_DEADLINE);
        }
    }

    /// Which engine it is and where it keeps images: what one of them has,
    /// another one does not have.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn identity(&self, runner: &Runner) -> Result<Identity> {
        let info = self.api.info(runner).context("ask which engine it is")?;
        Ok(Identity::of(&info))
    }

    /// The digest that a registry has for a reference now.
    ///
    /// # Errors
    /// When no registry answers or it has no such image.
    pub fn registry_digest(&self, runner: &Runner, reference: &str) -> Result<String> {
        let args = [
            "buildx",
            "imagetools",
            "inspect",
            "--format",
            "{{.Manifest.Digest}}",
            reference,
        ];
        self.cmd(runner, &args).read()
    }

    /// What `docker image inspect` says of a reference or ID; `None` where the
    /// engine has no such image.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn image(&self, runner: &Runner, reference: &str) -> Result<Option<Image>> {
        let path = format!("/images/{}/json", escaped(reference));
        let answer = self.api.get(runner, &path)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let body = answer
            .good()
            .with_context(|| format!("inspect image {reference}"))?;
        let value: Value = serde_json::from_slice(&body).context("read an image's document")?;
        let image = Image::from_document(value).with_context(|| format!("inspect image {reference}"))?;
        Ok(Some(image))
    }

    /// All images with their names and labels, as they are at this moment.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn inventory(&self, runner: &Runner) -> Result<Inventory> {
        self.api.document(runner, "/images/json").context("list images")
    }

    /// A text file out of an image, without running anything of it; `None`
    /// where the image has no such file.
    ///
    /// # Errors
    /// When the engine has no such image or does not answer.
    pub fn read_file(&self, runner: &Runner, image: &str, path: &str) -> Result<Option<String>> {
        let label = format!("{RUN_LABEL}={}", reaper::run_id()?);
        let container = self
            .cmd(runner, &["create", "--pull", "never", "--label", &label, image])
            .read()?;
        let archive = self
            .cmd(runner, &["cp", &format!("{container}:{path}"), "-"])
            .output();
        self.cmd(&runner.for_cleanup(), &["rm", "--force", "--volumes", &container])
            .run()?;
        let archive = archive?;
        if !archive.success() {
            let said = archive.stderr_text();
            // 26: "Could not find the file"; older and newer: "no such file".
            if ["could not find the file", "no such file"]
                .iter()
                .any(|words| said.to_lowercase().contains(words))
            {
                return Ok(None);
            }
            bail!("read {path} of {image}: {said}");
        }
        let mut archive = tar::Archive::new(archive.stdout.as_slice());
        let Some(entry) = archive.entries()?.next() else {
            return Ok(None);
        };
        let mut text = String::new();
        entry?
            .read_to_string(&mut text)
            .with_context(|| format!("read {path} of {image}"))?;
        Ok(Some(text))
    }

    /// `docker tag` of an image, by its ID or another name.
    ///
    /// # Errors
    /// When the image is gone or the engine refuses the name.
    pub fn tag(&self, runner: &Runner, image: &str, reference: &Reference) -> Result<()> {
        let path = format!(
            "/images/{}/tag?repo={}&tag={}",
            escaped(image),
            escaped(reference.repository()),
            escaped(reference.tag().as_str())
        );
        let answer = self.api.send(runner, "POST", &path)?.good();
        answer
            .map(drop)
            .with_context(|| format!("tag {image} as {reference}"))
    }

    /// Removes a tag; the image goes with its last one.
    ///
    /// # Errors
    /// When the engine refuses, as for the last tag of an image that a container
    /// uses; a tag that is already gone is no error.
    pub fn untag(&self, runner: &Runner, reference: &Reference) -> Result<()> {
        self.remove_tag(runner, reference, &[404])
    }

    /// The same, except that the last tag of an image that a container uses
    /// stays.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn untag_unused(&self, runner: &Runner, reference: &Reference) -> Result<()> {
        self.remove_tag(runner, reference, &[404, 409])
    }

    fn remove_tag(&self, runner: &Runner, reference: &Reference, fine: &[u16]) -> Result<()> {
        let path = format!("/images/{}?noprune=1", escaped(&reference.to_string()));
        let answer = self.api.send(runner, "DELETE", &path)?;
        if fine.contains(&answer.status) {
            return Ok(());
        }
        answer
            .good()
            .map(drop)
            .with_context(|| format!("remove tag {reference}"))
    }

    /// `docker load` of an archive.
    ///
    /// # Errors
    /// When the file is no image archive or the engine has no room.
    pub fn load(&self, runner: &Runner, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("the archive's path is not UTF-8")?;
        self.cmd(runner, &["load", "--quiet", "--input", archive])
            .deadline(TRANSFER_DEADLINE)
            .run()
            .map(drop)
    }

    /// `docker pull`, `Err` with the engine's last words where it fails.
    ///
    /// # Errors
    /// When the registry does not answer, refuses, or has no such image.
    pub fn pull(&self, runner: &Runner, reference: &str) -> Result<()> {
        self.cmd(runner, &["pull", "--quiet", reference])
            .deadline(TRANSFER_DEADLINE)
            .run()
            .map(drop)
    }
}

/// Which engine it is: another one has other images and another cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The ID that it gave itself when it was set up.
    pub(crate) id: String,
    /// Whether images lie in containerd's store, which also has a layer by
    /// itself, or in the classic one, which has it only upon those below.
    pub containerd_store: bool,
}

impl Identity {
    /// From the document of `/info`.
    fn of(info: &Value) -> Self {
        let status = info.get("DriverStatus").and_then(Value::as_array);
        let containerd = |row: &Value| {
            let kind = row.pointer("/1").and_then(Value::as_str);
            row.pointer("/0").and_then(Value::as_str) == Some("driver-type")
                && kind.is_some_and(|kind| kind.starts_with("io.containerd.snapshotter"))
        };
        Self {
            id: info
                .get("ID")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            containerd_store: status.into_iter().flatten().any(containerd),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = if self.containerd_store {
            "containerd"
        } else {
            "classic"
        };
        write!(f, "{} ({store} store)", self.id)
    }
}

/// What the engine knows of an image.
#[derive(Clone, Debug)]
pub struct Image {
    id: ImageId,
    value: Value,
}

impl Image {
    /// From a document of `docker image inspect`.
    ///
    /// # Errors
    /// When it has no image ID.
    pub fn from_document(value: Value) -> Result<Self> {
        let id = value.get("Id").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            id: id.parse().map_err(Error::msg)?,
            value,
        })
    }

    /// The digest of its configuration (classic store) or of its manifest
    /// (containerd store).
    pub fn id(&self) -> &ImageId {
        &self.id
    }

    /// The value of a label, where the image has it.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.value.pointer("/Config/Labels")?.get(key)?.as_str()
    }

    /// Bytes of all layers, as the engine counts them.
    pub fn size(&self) -> u64 {
        self.value.get("Size").and_then(Value::as_u64).unwrap_or(0)
    }

    /// All names of the image, as `repository:tag`.
    pub fn tags(&self) -> Vec<&str> {
        self.texts("/RepoTags")
    }

    /// `repository@sha256:…` names; empty for images that never met a registry.
    pub fn digests(&self) -> Vec<&str> {
        self.texts("/RepoDigests")
    }

    /// Digests of the uncompressed layers, lowest first.
    pub fn layers(&self) -> Vec<&str> {
        self.texts("/RootFS/Layers")
    }

    /// A setting by its name in the configuration, such as `StopSignal`.
    pub fn setting(&self, name: &str) -> Option<&Value> {
        self.value.pointer("/Config")?.get(name)
    }

    /// Ports that it declares, with their protocol: `48886/tcp`.
    pub fn exposed_ports(&self) -> Vec<&str> {
        let ports = self
            .value
            .pointer("/Config/ExposedPorts")
            .and_then(Value::as_object);
        ports
            .into_iter()
            .flatten()
            .map(|(port, _)| port.as_str())
            .collect()
    }

    /// Whether it declares a volume at this path.
    pub fn declares_volume(&self, path: &str) -> bool {
        let volumes = self.value.pointer("/Config/Volumes");
        volumes.is_some_and(|volumes| volumes.get(path).is_some())
    }

    /// The whole document, for reports.
    pub fn document(&self) -> &Value {
        &self.value
    }

    fn texts(&self, pointer: &str) -> Vec<&str> {
        let list = self.value.pointer(pointer).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_for_an_engine_that_will_do() {
        let (major, _) = OLDEST_ENGINE;
        assert!(INSTALL_ENGINE.contains(&format!("Docker Engine {major} or newer")));
    }

    #[test]
    fn settings_of_other_calls_are_told_from_the_engines() {
        for name in [
            "BUILDX_BUILDER",
            "BUILDKIT_HOST",
            "DOCKER_DEFAULT_PLATFORM",
            "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY",
            "SOURCE_DATE_EPOCH",
        ] {
            assert!(is_foreign(OsStr::new(name)), "{name}");
        }
        for name in ["DOCKER_HOST", "DOCKER_CONFIG", "HTTPS_PROXY", "EXPERIMENTAL"] {
            assert!(!is_foreign(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn identity_has_the_store() {
        let of =
            |status: Value| Identity::of(&serde_json::json!({"ID": "x", "DriverStatus": status})).to_string();
        let containerd = serde_json::json!([["driver-type", "io.containerd.snapshotter.v1"]]);
        assert_eq!(of(containerd), "x (containerd store)");
        let classic = serde_json::json!([["Backing Filesystem", "extfs"], ["Supports d_type", "true"]]);
        assert_eq!(of(classic), "x (classic store)");
        assert_eq!(of(Value::Null), "x (classic store)");
    }
}
