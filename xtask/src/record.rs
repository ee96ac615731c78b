//! What was built last, for explanations only.
//!
//! Truth lies on the image (its label) and in the engine (proof and release
//! tags). A record that is missing, foreign or edited makes a reason less
//! telling, never a decision wrong.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::definition::{Definition, SCHEMA};

/// One image's last good build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`] of the definition.
    pub schema: u32,
    /// What it was built from.
    pub definition: Definition,
    /// `sha256:…`.
    pub image_id: String,
}

/// Where an image's record lies.
fn path(state: &Path, image: &str) -> PathBuf {
    state.join(image).join("record.json")
}

/// The record, if there is one that can be read.
pub fn read(state: &Path, image: &str) -> Option<Record> {
    let bytes = fs_err::read(path(state, image)).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    (record.schema == SCHEMA).then_some(record)
}

/// Writes it whole or not at all.
///
/// # Errors
/// When the state folder cannot be written.
pub fn write(state: &Path, image: &str, definition: Definition, image_id: String) -> Result<()> {
    let path = path(state, image);
    let folder = path.parent().unwrap_or(state);
    fs_err::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(
        &mut file,
        &Record {
            schema: SCHEMA,
            definition,
            image_id,
        },
    )?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::tests::sample;

    #[test]
    fn what_is_written_is_read_and_what_is_broken_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), "genie").is_none());
        write(dir.path(), "genie", sample(), "sha256:1".to_owned()).unwrap();
        assert_eq!(read(dir.path(), "genie").unwrap().definition, sample());
        let file = path(dir.path(), "genie");
        let text = fs_err::read_to_string(&file).unwrap();
        fs_err::write(&file, text.replace("\"schema\":1", "\"schema\":0")).unwrap();
        assert!(read(dir.path(), "genie").is_none());
        fs_err::write(&file, "{").unwrap();
        assert!(read(dir.path(), "genie").is_none());
    }
}
