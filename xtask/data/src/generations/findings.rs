//! What a plan has to know of a volume and of the image that works on it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use super::journal::VolumeJournal;
use definition::identity::ImageId;

/// What a plan has to know of a volume and of the image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct VolumeFindings {
    pub(crate) major: u32,
    pub(crate) missing_extensions: Vec<String>,
    pub(crate) free_bytes: u64,
    /// None where the file system counts no files.
    pub(crate) free_files: Option<u64>,
    /// What is kept beside what runs, by name.
    pub generations: Vec<String>,
    /// The version of PostgreSQL of each.
    pub(crate) versions: BTreeMap<String, String>,
    /// Of an operation that was killed.
    pub(crate) journal: Option<VolumeJournal>,
    /// Whether a run holds the volume, wherever that is; none where it cannot be told.
    pub(crate) is_held: Option<bool>,
    /// The operation that has put the running cluster in its place.
    pub(crate) running: Option<String>,
    /// Whether a server has run on the running cluster since it was made.
    pub(crate) is_used: bool,
    /// Whether the service was healthy since the last step of an operation began, however
    /// often its container was started since then. Images from before this never say so.
    pub(crate) was_healthy: bool,
    /// What of the running cluster lies elsewhere, by the names of the links to it.
    pub(crate) tablespaces: Vec<String>,
    /// Where the running cluster was migrated from.
    pub(crate) migrated_from: Option<String>,
    /// The image that an update has made the running cluster for.
    pub(crate) running_image: Option<ImageId>,
    /// Which disk the volume lies on, as its container knows it.
    pub(crate) disk: u64,
    /// What an update has noted of the generations that it put aside, by name.
    pub(crate) kept: BTreeMap<String, Value>,
    /// The image that ran on each, where an update has noted it.
    pub(crate) images: BTreeMap<String, ImageId>,
    /// The app's secrets that the volume keeps, by name.
    pub(crate) secrets: Vec<String>,
}

/// What has put the running data in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MadeBy<'a> {
    /// The first start of the volume.
    Itself,
    Restore {
        id: &'a str,
    },
    Migration {
        id: &'a str,
        from: &'a str,
    },
    Update,
}

impl MadeBy<'_> {
    /// The command that brings back what ran before.
    pub(crate) fn way_back(self, service: &str) -> Option<String> {
        match self {
            Self::Itself => None,
            Self::Restore { .. } => Some(format!("cargo xtask restore {service} --undo")),
            Self::Migration { .. } => Some(format!("cargo xtask migrate {service} --rollback")),
            Self::Update => Some(format!("cargo xtask update {service} --undo")),
        }
    }
}

impl VolumeFindings {
    pub(crate) fn made_by(&self) -> MadeBy<'_> {
        match (&self.running, &self.migrated_from, &self.running_image) {
            (None, _, _) => MadeBy::Itself,
            (Some(id), Some(from), _) => MadeBy::Migration { id, from },
            (Some(_), None, Some(_)) => MadeBy::Update,
            (Some(id), None, None) => MadeBy::Restore { id },
        }
    }

    /// # Errors
    /// When no generation of this name is kept on the volume, with those that are.
    pub(crate) fn has(&self, volume: &str, generation: &str) -> Result<()> {
        if self.generations.iter().any(|one| one == generation) {
            return Ok(());
        }
        let all = if self.generations.is_empty() {
            "none".to_owned()
        } else {
            self.generations.join(", ")
        };
        let message = format!("volume {volume} has no generation {generation}; it has {all}");
        Err(failure::usage(message).into())
    }
}

#[cfg(test)]
impl VolumeFindings {
    /// A volume with room for everything, beside which nothing is put aside.
    pub(crate) fn sample() -> Self {
        Self {
            major: 17,
            missing_extensions: Vec::new(),
            free_bytes: u64::MAX,
            free_files: None,
            generations: Vec::new(),
            journal: None,
            is_held: Some(false),
            running: None,
            is_used: false,
            was_healthy: false,
            tablespaces: Vec::new(),
            migrated_from: None,
            running_image: None,
            versions: BTreeMap::new(),
            disk: 1,
            kept: BTreeMap::new(),
            images: BTreeMap::new(),
            secrets: Vec::new(),
        }
    }
}
