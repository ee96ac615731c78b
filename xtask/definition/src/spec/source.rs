//! Where the app's folder is that a spec names, before the whole is checked.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::load::{SourceFile, without_mark};
use super::shape;

/// The app's folder that a spec names, as far as it can be told before the
/// whole is checked.
pub fn source_folder(defaults: Option<&SourceFile>, own: &SourceFile) -> Option<PathBuf> {
    if has_no_app(own) {
        return None;
    }
    [Some(own), defaults].into_iter().flatten().find_map(|file| {
        let value: Value = serde_json::from_str(without_mark(&file.text)).ok()?;
        let source = shape::lookup(&value, "app.source")?.as_str()?;
        Some(joined(&file.folder, source))
    })
}

/// Whether a spec says that its image is a database alone.
pub fn has_no_app(own: &SourceFile) -> bool {
    let value: Option<Value> = serde_json::from_str(without_mark(&own.text)).ok();
    value.is_some_and(|value| value.get("app") == Some(&Value::Null))
}

/// `source` from `folder`, without `..`: the folder of a spec need not be there
/// yet, and nobody likes to read the way back to the top.
pub(super) fn joined(folder: &Path, source: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in folder.join(source).components() {
        let up = part == Component::ParentDir
            && matches!(path.components().next_back(), Some(Component::Normal(_)));
        if up {
            path.pop();
        } else {
            path.push(part);
        }
    }
    path
}
