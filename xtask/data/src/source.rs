//! The container whose data are backed up: the service's own, or one that somebody
//! has started by `docker run` or compose.

use std::time::SystemTime;

use anyhow::Result;
use serde_json::Value;

use crate::facts::{BackupKind, BackupOrigin, SCHEMA};
use definition::labels::{APP_LABEL, FINGERPRINT_LABEL, IMAGE_LABEL};
use inputs::clock;
use service::handle::ServiceHandle;

/// A running container of an image of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSource {
    /// The container's name, which need not be the service's.
    container: String,
    /// What it says of itself, by its labels.
    origin: BackupOrigin,
}

impl BackupSource {
    /// The container of this name, else the one that is called as the service.
    ///
    /// # Errors
    /// When there is none, it does not run, or it is of another image.
    pub fn find(handle: &ServiceHandle, named: Option<&str>) -> Result<Self> {
        let image = handle.name.as_str();
        let container = named.unwrap_or(image);
        let Some(inspect) = handle.engine.container(&handle.runner, container)? else {
            return Err(failure::environment(format!("there is no container {container}"))
                .hint(format!("start it: cargo xtask up {image}"))
                .hint("one of another name: --container NAME")
                .into());
        };
        Self::of(image, container, &inspect)
    }

    /// The same for a backup of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: BackupKind) -> Self {
        self.origin.kind = kind;
        self
    }

    /// The same where the container serves a generation that was put aside.
    #[must_use]
    pub(crate) fn of_generation(mut self, name: &str) -> Self {
        self.origin.generation = Some(name.to_owned());
        self
    }

    /// The name of the container, for whoever asks it something.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// What the backup is of.
    pub fn origin(&self) -> &BackupOrigin {
        &self.origin
    }

    /// From what `docker inspect` says.
    fn of(image: &str, container: &str, inspect: &Value) -> Result<Self> {
        let label = |key: &str| {
            let value = inspect.pointer("/Config/Labels")?.get(key)?.as_str()?;
            (!value.is_empty()).then(|| value.to_owned())
        };
        match label(IMAGE_LABEL) {
            Some(is) if is == image => {}
            is => {
                let is = is.map_or("no image of ours".to_owned(), |is| format!("image {is}"));
                return Err(
                    failure::usage(format!("container {container} is of {is}, not of {image}")).into(),
                );
            }
        }
        let state = inspect.pointer("/State/Status").and_then(Value::as_str);
        if state != Some("running") {
            let state = state.unwrap_or("in an unknown state");
            return Err(failure::environment(format!(
                "container {container} is {state}, and a backup asks its PostgreSQL"
            ))
            .hint(format!("start it: docker start {container}"))
            .into());
        }
        let id = inspect.get("Image").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            container: container.to_owned(),
            origin: BackupOrigin {
                schema: SCHEMA,
                kind: BackupKind::Physical,
                image: image.to_owned(),
                image_id: id.parse().map_err(anyhow::Error::msg)?,
                fingerprint: label(FINGERPRINT_LABEL),
                app: label(APP_LABEL),
                began: clock::rfc3339(SystemTime::now()),
                tool: env!("CARGO_PKG_VERSION").to_owned(),
                generation: None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn id() -> String {
        format!("sha256:{}", "0a".repeat(32))
    }

    fn of(image: &str, state: &str) -> Result<BackupSource> {
        let inspect = json!({
            "Image": id(),
            "State": { "Status": state },
            "Config": { "Labels": { "dev.hive.image": image, "dev.hive.app": "" } },
        });
        BackupSource::of("genie", "hardened-genie", &inspect)
    }

    #[test]
    fn what_runs_of_the_image_is_backed_up_whoever_started_it() {
        let source = of("genie", "running").unwrap();
        assert_eq!(source.container, "hardened-genie");
        assert_eq!(
            (source.origin.image_id.to_string(), source.origin.app),
            (id(), None)
        );
    }

    #[test]
    fn others_are_refused_by_name() {
        let told = |image, state| of(image, state).unwrap_err().to_string();
        assert_eq!(
            told("agent", "running"),
            "container hardened-genie is of image agent, not of genie"
        );
        assert!(told("", "running").contains("no image of ours"));
        assert!(told("genie", "exited").contains("is exited"));
    }
}
