//! What the engine's build cache has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Engine;
use host::process::Runner;
use inputs::regular;

/// The result of a step in the build cache.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CacheRecord {
    /// The engine's name for it; never given twice.
    #[serde(rename = "ID")]
    pub id: String,
    /// The step as BuildKit describes it.
    #[serde(default)]
    pub description: String,
    /// `regular`; others are contexts, cache mounts and the like.
    #[serde(rename = "Type", default)]
    kind: String,
}

impl CacheRecord {
    /// The record of a step that BuildKit describes like this.
    pub fn new(id: &str, description: &str) -> Self {
        Self {
            id: id.to_owned(),
            description: description.to_owned(),
            kind: "regular".to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DiskUsage {
    // Null where there is none.
    build_cache: Option<Vec<CacheRecord>>,
}

impl Engine {
    /// The results of steps that its build cache has now.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn build_cache(&self, runner: &Runner) -> Result<Vec<CacheRecord>> {
        let usage: DiskUsage = self
            .api
            .document(runner, "/system/df?type=build-cache")
            .context("list the build cache")?;
        let mut records = usage.build_cache.unwrap_or_default();
        records.retain(|record| record.kind == "regular");
        Ok(records)
    }

    /// The IDs of these records. They are kept in the file `memory`, and listed
    /// again where the engine has written to its cache since: to list takes
    /// 0.05 ms of processor time for each record, and old engines have many.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn build_cache_ids(&self, runner: &Runner, memory: &Path) -> Result<BTreeSet<String>> {
        let file = records_file(&self.api.info(runner)?);
        kept_or_listed(memory, file.as_deref(), || self.build_cache(runner))
    }
}

/// The IDs that `memory` keeps where `file` is still what it was then, and what
/// `list` says otherwise, which `memory` then keeps if nothing was written
/// meanwhile.
fn kept_or_listed(
    memory: &Path,
    file: Option<&Path>,
    list: impl FnOnce() -> Result<Vec<CacheRecord>>,
) -> Result<BTreeSet<String>> {
    let stamp = || file.and_then(regular::stamp);
    let (before, began) = (stamp(), SystemTime::now());
    if let Some(kept) = recall(memory)
        && before.as_ref() == Some(&kept.stamp)
    {
        return Ok(kept.ids);
    }
    let ids: BTreeSet<String> = list()?.into_iter().map(|record| record.id).collect();
    let is_settled = file.is_some_and(|file| is_settled(file, began));
    match stamp().filter(|after| is_settled && before.as_ref() == Some(after)) {
        Some(stamp) => {
            let kept = KeptIds { stamp, ids };
            // To lose it costs time only.
            regular::replace(memory, &serde_json::to_vec(&kept)?).ok();
            Ok(kept.ids)
        }
        None => Ok(ids),
    }
}

/// What the engine had when the file with its records had this stamp.
#[derive(Debug, Deserialize, Serialize)]
struct KeptIds {
    stamp: String,
    ids: BTreeSet<String>,
}

fn recall(memory: &Path) -> Option<KeptIds> {
    serde_json::from_slice(&regular::read(memory).ok()?).ok()
}

/// Where BuildKit keeps the records of its cache, by the document of `/info`;
/// `None` where that is another machine, or may not be looked at. The path alone
/// says nothing: in a container that got only the socket, another engine's
/// folder may bear it.
fn records_file(info: &Value) -> Option<PathBuf> {
    let folder = Path::new(info.get("DockerRootDir")?.as_str()?);
    let id = regular::read(&folder.join("engine-id")).ok()?;
    let is_its_own = String::from_utf8(id).ok()?.trim() == info.get("ID")?.as_str()?;
    is_its_own.then(|| folder.join("buildkit/metadata_v2.db"))
}

/// Whether a file was left alone for so long that a write since would show in
/// its time, however coarse the clock of its file system is.
fn is_settled(file: &Path, now: SystemTime) -> bool {
    let written = file.metadata().and_then(|metadata| metadata.modified());
    let limit = now.checked_sub(Duration::from_secs(2));
    written.is_ok_and(|written| limit.is_some_and(|limit| written < limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_read() {
        let text =
            r#"{"BuildCache": [{"ID": "a", "Type": "regular", "Description": "[x 1/2] RUN", "Size": 1}]}"#;
        let usage: DiskUsage = serde_json::from_str(text).unwrap();
        assert_eq!(usage.build_cache.unwrap()[0].description, "[x 1/2] RUN");
        let usage: DiskUsage = serde_json::from_str(r#"{"BuildCache": null}"#).unwrap();
        assert!(usage.build_cache.is_none());
    }

    #[test]
    fn the_file_of_records_is_the_engines_own_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let info = serde_json::json!({"ID": "a-b", "DockerRootDir": folder.path()});
        assert_eq!(records_file(&info), None);
        std::fs::write(folder.path().join("engine-id"), "x-y").unwrap();
        assert_eq!(records_file(&info), None);
        std::fs::write(folder.path().join("engine-id"), "a-b\n").unwrap();
        let file = folder.path().join("buildkit/metadata_v2.db");
        assert_eq!(records_file(&info), Some(file));
        assert_eq!(records_file(&serde_json::json!({"ID": "a-b"})), None);
    }

    #[test]
    fn what_is_kept_counts_until_the_engine_writes() {
        let folder = tempfile::tempdir().unwrap();
        let (memory, file) = (folder.path().join("memory"), folder.path().join("db"));
        let written = |seconds| {
            let time = SystemTime::now() - Duration::from_secs(seconds);
            let file = std::fs::File::create(&file).unwrap();
            file.set_modified(time).unwrap();
        };
        let ids = |file: Option<&Path>, listed: &str| {
            let records = || Ok(vec![CacheRecord::new(listed, "")]);
            let ids = kept_or_listed(&memory, file, records).unwrap();
            ids.into_iter().collect::<String>()
        };
        // Written a moment ago: the next write may bear the same time.
        written(0);
        assert_eq!(ids(Some(&file), "a"), "a");
        assert_eq!(ids(Some(&file), "b"), "b");
        written(60);
        assert_eq!(ids(Some(&file), "c"), "c");
        assert_eq!(ids(Some(&file), "not asked"), "c");
        written(30);
        assert_eq!(ids(Some(&file), "d"), "d");
        assert_eq!(ids(None, "e"), "e");
        let fails = || anyhow::bail!("no engine");
        assert!(kept_or_listed(&memory, None, fails).is_err());
    }

    #[test]
    fn a_file_that_was_just_written_may_be_written_again_in_the_same_tick() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_settled(file.path(), SystemTime::now()));
        assert!(is_settled(
            file.path(),
            SystemTime::now() + Duration::from_secs(3)
        ));
        assert!(!is_settled(Path::new("/nowhere"), SystemTime::now()));
    }
}
