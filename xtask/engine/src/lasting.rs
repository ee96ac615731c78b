//! Containers, volumes and networks that outlive the run that makes them: they
//! bear no run's label, and nothing of them goes with a handle.

use std::collections::BTreeMap;
use std::io::Read as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Engine;
use super::api::{escaped, filters};
use super::container::Container;
use host::process::Runner;

/// No file that is read out of a container is longer.
const LONGEST_FILE: u64 = 1 << 20;

/// What they are known by.
pub type Labels = BTreeMap<String, String>;

/// Whether the engine means this container by a name: it also takes the first digits of
/// an ID, and `cafe` is a name.
fn is_called(document: &Value, name: &str) -> bool {
    let says = |key: &str| document.get(key).and_then(Value::as_str);
    says("Id") == Some(name) || says("Name").is_some_and(|is| is.trim_start_matches('/') == name)
}

impl Engine {
    /// What `docker inspect` says of a container, by its name or its whole ID; `None`
    /// where there is none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn container(&self, runner: &Runner, name: &str) -> Result<Option<Value>> {
        let found = self.document_of(runner, &format!("/containers/{}/json", escaped(name)))?;
        Ok(found.filter(|document| is_called(document, name)))
    }

    /// All containers, also those that do not run, for which a filter of
    /// `docker ps` holds.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn containers(&self, runner: &Runner, filter: &str, value: &str) -> Result<Vec<Value>> {
        let filters = filters(filter, &[value.to_owned()]);
        self.api
            .document(runner, &format!("/containers/json?all=1&{filters}"))
            .context("list containers")
    }

    /// `docker create` of a request of the API.
    ///
    /// # Errors
    /// When the engine refuses it, as for a name that is taken.
    pub fn create_container(&self, runner: &Runner, name: &str, request: &Value) -> Result<()> {
        let path = format!("/containers/create?name={}", escaped(name));
        let made = self.api.post(runner, &path, request)?.good();
        made.map(drop).with_context(|| format!("create container {name}"))
    }

    /// What `docker volume inspect` says; `None` where there is none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn volume(&self, runner: &Runner, name: &str) -> Result<Option<Value>> {
        self.document_of(runner, &format!("/volumes/{}", escaped(name)))
    }

    /// `docker volume create`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn create_volume(&self, runner: &Runner, name: &str, labels: &Labels) -> Result<()> {
        let request = json!({ "Name": name, "Labels": labels });
        let made = self.api.post(runner, "/volumes/create", &request)?.good();
        made.map(drop).with_context(|| format!("create volume {name}"))
    }

    /// `docker volume rm`, with all that is in it.
    ///
    /// # Errors
    /// When a container has it, or the engine does not answer; one that is gone
    /// is none.
    pub fn remove_volume(&self, runner: &Runner, name: &str) -> Result<()> {
        self.remove(runner, &format!("/volumes/{}", escaped(name)))
            .with_context(|| format!("remove volume {name}"))
    }

    /// What `docker network inspect` says; `None` where there is none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn network(&self, runner: &Runner, name: &str) -> Result<Option<Value>> {
        self.document_of(runner, &format!("/networks/{}", escaped(name)))
    }

    /// `docker network create`: a bridge.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn create_network(&self, runner: &Runner, name: &str, labels: &Labels) -> Result<()> {
        let request = json!({ "Name": name, "Driver": "bridge", "Labels": labels });
        let made = self.api.post(runner, "/networks/create", &request)?.good();
        made.map(drop).with_context(|| format!("create network {name}"))
    }

    /// `docker network connect`.
    ///
    /// # Errors
    /// When either is gone.
    pub fn connect_network(&self, runner: &Runner, network: &str, container: &str) -> Result<()> {
        let path = format!("/networks/{}/connect", escaped(network));
        let connected = self
            .api
            .post(runner, &path, &json!({ "Container": container }))?
            .good();
        connected
            .map(drop)
            .with_context(|| format!("connect container {container} to network {network}"))
    }

    /// `docker network rm`.
    ///
    /// # Errors
    /// When a container has it, or the engine does not answer; one that is gone
    /// is none.
    pub fn remove_network(&self, runner: &Runner, name: &str) -> Result<()> {
        self.remove(runner, &format!("/networks/{}", escaped(name)))
            .with_context(|| format!("remove network {name}"))
    }

    fn document_of(&self, runner: &Runner, path: &str) -> Result<Option<Value>> {
        let answer = self.api.get(runner, path)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let document = serde_json::from_slice(&answer.good()?);
        document.with_context(|| format!("read the engine's answer to {path}"))
    }

    fn remove(&self, runner: &Runner, path: &str) -> Result<()> {
        let answer = self.api.send(runner, "DELETE", path)?;
        if answer.status == 404 {
            return Ok(());
        }
        answer.good().map(drop)
    }

    /// `docker rename`.
    ///
    /// # Errors
    /// When it is gone, or the name is taken.
    pub fn rename_container(&self, runner: &Runner, from: &str, to: &str) -> Result<()> {
        let path = format!("/containers/{}/rename?name={}", escaped(from), escaped(to));
        let renamed = self.api.send(runner, "POST", &path)?.good();
        renamed
            .map(drop)
            .with_context(|| format!("rename container {from} to {to}"))
    }

    /// `docker update --restart`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn set_restart_policy(&self, runner: &Runner, name: &str, policy: &str) -> Result<()> {
        let path = format!("/containers/{}/update", escaped(name));
        let request = json!({ "RestartPolicy": { "Name": policy } });
        let updated = self.api.post(runner, &path, &request)?.good();
        updated
            .map(drop)
            .with_context(|| format!("set the restart policy of {name}"))
    }

    /// A text file out of a container, whether it runs or not, its volumes
    /// included; `None` where there is no such file.
    ///
    /// # Errors
    /// When the container is gone or the engine does not answer.
    pub fn read_in_container(
        &self,
        runner: &Runner,
        container: &Container,
        path: &str,
    ) -> Result<Option<String>> {
        let Some(content) = self.read_bytes_in_container(runner, container, path)? else {
            return Ok(None);
        };
        let text = String::from_utf8(content);
        let text = text.with_context(|| format!("read {path} of container {}", container.name()))?;
        Ok(Some(text))
    }

    /// The same of a file that is no text.
    ///
    /// # Errors
    /// As [`Engine::read_in_container`].
    pub fn read_bytes_in_container(
        &self,
        runner: &Runner,
        container: &Container,
        path: &str,
    ) -> Result<Option<Vec<u8>>> {
        let query = container.path(&format!("/archive?path={}", escaped(path)));
        let answer = self.api.get(runner, &query)?;
        if answer.status == 404 {
            return Ok(None);
        }
        let archive = answer.good().with_context(|| format!("read {path}"))?;
        let mut archive = tar::Archive::new(archive.as_slice());
        let Some(entry) = archive.entries()?.next() else {
            return Ok(None);
        };
        let mut content = Vec::new();
        entry?
            .take(LONGEST_FILE)
            .read_to_end(&mut content)
            .with_context(|| format!("read {path} of container {}", container.name()))?;
        Ok(Some(content))
    }

    /// Writes files into a folder of a container, whether it runs or not, which only
    /// the user with the ID `owner` may read. The folder has to be there.
    ///
    /// # Errors
    /// When the container or the folder is gone, or the engine does not answer.
    pub fn write_in_container(
        &self,
        runner: &Runner,
        container: &Container,
        folder: &str,
        owner: u32,
        files: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o400);
            header.set_uid(owner.into());
            header.set_gid(owner.into());
            header.set_size(u64::try_from(text.len())?);
            archive.append_data(&mut header, name, text.as_bytes())?;
        }
        let path = container.path(&format!("/archive?path={}", escaped(folder)));
        let written = self.api.put(runner, &path, &archive.into_inner()?)?.good();
        written
            .map(drop)
            .with_context(|| format!("write into {folder} of container {}", container.name()))
    }
}
