//! The log in an archive that no backup needs any more: how much it is, and that it may go.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::file::Backup;
use crate::generations::{IDLE, ROOT, archived, run_in};
use crate::moment::{self, ArchivedStretch};
use crate::seal::Seal;
use crate::take::on_generations;
use definition::identity::ImageId;
use engine::container::RunResources;
use service::handle::ServiceHandle;

/// What may go of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldLog {
    /// The volume of the archive.
    pub volume: String,
    /// How much of it.
    pub bytes: u64,
}

/// Leaves word in the archive of a service which log the backups that stay need; the
/// container that writes to it removes the rest. Nothing where there is no archive, where
/// all of it is needed, or where none of these backups is a good one of it.
///
/// # Errors
/// When the engine does not answer, or the archive cannot be read.
pub fn release(
    handle: &ServiceHandle,
    resources: &RunResources,
    image: impl FnOnce() -> Result<ImageId>,
    stays: &[&Backup],
) -> Result<Option<OldLog>> {
    let volume = handle.name.archive();
    if handle.engine.volume(&handle.runner, &volume)?.is_none() {
        return Ok(None);
    }
    let name = format!("{}.old-log-{}", handle.name, std::process::id());
    let mount = format!("{volume}:{}", service::archive::PLACE);
    let options = [&IDLE[..], &["--user", ROOT, "--volume", &mount]].concat();
    let container = resources.start(&name, image()?.as_str(), &options, &["infinity"])?;
    let said = run_in(&container, &[], &archived())?;
    let stretches: Vec<ArchivedStretch> =
        serde_json::from_str(&said).context("read what the archive says of itself")?;
    let seals: Vec<&Seal> = stays.iter().map(|backup| &backup.seal).collect();
    let Some(needed) = moment::needed(&seals, &stretches) else {
        return Ok(None);
    };
    let needed = serde_json::to_string(&needed)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)?
        .as_secs()
        .to_string();
    let said = run_in(&container, &[], &on_generations(&["less", &needed, &now]))?;
    let bytes: u64 = said.trim().parse().context("read how much of the log may go")?;
    Ok((bytes > 0).then_some(OldLog { volume, bytes }))
}
