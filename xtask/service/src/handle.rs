//! One service on one engine: the calls that all verbs make.

use anyhow::{Context as _, Result};

use definition::spec::names::ImageName;
use engine::Engine;
use engine::api::Endpoint;
use engine::container::Container;
use host::Host;
use host::process::{Interrupt, Runner};
use inputs::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::names::ServiceName;
use crate::seen::ContainerPlace;
use crate::wanted::{SECRETS_FOLDER, WantedContainer};

/// What an image says of itself.
pub(crate) const IMAGE_FILE: &str = "/etc/hive/image.json";

/// A service, and who to ask about it. Each thread has its own.
#[derive(Clone, Debug)]
pub struct ServiceHandle {
    /// Which service it is: all its other names are made of this one.
    pub name: ServiceName,
    /// The engine that it runs on.
    pub engine: Engine,
    /// Starts `docker` for it, and knows whether Ctrl-C was pressed.
    pub runner: Runner,
}

impl ServiceHandle {
    /// The service of an image.
    pub fn of(image: &ImageName, engine: &Engine, runner: &Runner) -> Self {
        Self {
            name: ServiceName::of(image),
            engine: engine.clone(),
            runner: runner.clone(),
        }
    }

    /// The same for another thread.
    ///
    /// # Errors
    /// When the current directory does not exist.
    pub fn beside(&self, interrupt: &Interrupt) -> Result<Self> {
        Ok(Self {
            runner: interrupt.runner()?,
            ..self.clone()
        })
    }

    /// The same for what goes on after Ctrl-C.
    #[must_use]
    pub fn for_cleanup(&self) -> Self {
        Self {
            runner: self.runner.for_cleanup(),
            ..self.clone()
        }
    }

    /// What stands where the service's container belongs.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn place(&self) -> Result<ContainerPlace> {
        self.place_of(self.name.as_str())
    }

    /// What stands under another name of the service's containers.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn place_of(&self, container: &str) -> Result<ContainerPlace> {
        let inspect = self.engine.container(&self.runner, container)?;
        ContainerPlace::of(&self.name, inspect.as_ref())
    }

    /// The container of this name, which stays when the handle goes.
    pub fn container(&self, name: &str) -> Container {
        Container::existing(&self.engine, &self.runner, name)
    }

    /// What the image of a container says of itself; `None` for one that says nothing.
    ///
    /// # Errors
    /// When the container is gone or the engine does not answer.
    pub(crate) fn image_file(&self, container: &str) -> Result<Option<Value>> {
        let container = self.container(container);
        let text = self
            .engine
            .read_in_container(&self.runner, &container, IMAGE_FILE)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Makes the volume of the archive, where one is wanted and not there; whether it did.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(crate) fn make_archive(&self, wanted: &WantedContainer) -> Result<bool> {
        let (engine, runner, name) = (&self.engine, &self.runner, self.name.archive());
        if !wanted.archive || engine.volume(runner, &name)?.is_some() {
            return Ok(false);
        }
        engine.create_volume(runner, &name, &self.name.archive_labels())?;
        Ok(true)
    }

    /// Makes a container under a name, with the files of its secrets, and does not
    /// start it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(crate) fn create(&self, container: &str, wanted: &WantedContainer) -> Result<()> {
        let (engine, runner) = (&self.engine, &self.runner);
        engine.create_container(runner, container, &wanted.request())?;
        self.give_secrets(&self.container(container), wanted)
    }

    /// Writes the files with secrets into a container that was not started yet.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn give_secrets(&self, container: &Container, wanted: &WantedContainer) -> Result<()> {
        if wanted.secrets.is_empty() {
            return Ok(());
        }
        // The folder itself is there only where something is mounted on it.
        let (above, folder) = SECRETS_FOLDER.rsplit_once('/').unwrap_or_default();
        let files = wanted.secrets.iter();
        let files = files.map(|(name, text)| (format!("{folder}/{name}"), text.clone()));
        let (engine, runner) = (&self.engine, &self.runner);
        engine.write_in_container(runner, container, above, deploy::UID, &files.collect())
    }

    /// Takes a container away, running or not, but for its named volume.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove(&self, container: &str) -> Result<()> {
        self.container(container)
            .remove()
            .with_context(|| format!("remove container {container}"))
    }

    /// `docker rename`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.engine.rename_container(&self.runner, from, to)
    }

    /// The lock of all that changes this service; given back when it is dropped,
    /// or when its holder is killed. It lies where checkouts meet, one for each
    /// engine.
    ///
    /// # Errors
    /// When it cannot be taken, or on Ctrl-C.
    pub fn lock(&self, host: &Host) -> Result<host::lock::HeldLock> {
        let engine = match self.engine.api.endpoint() {
            // `/var/run` is `/run`.
            Endpoint::Socket(path) => {
                let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.clone());
                format!("{:?}", Endpoint::Socket(path))
            }
            dial @ Endpoint::Dial { .. } => format!("{dial:?}"),
        };
        let engine = Sha256::digest(engine);
        let file = format!("{}-{}.lock", self.name, hex::digits(&engine[..6]));
        let busy = format!("another command works on {}", self.name);
        host::lock::exclusive(&host.cache_dir().join("services").join(file), &busy, host)
    }
}
