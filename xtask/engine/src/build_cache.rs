//! What the engine's build cache has.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Engine;
use host::process::Runner;

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
}
