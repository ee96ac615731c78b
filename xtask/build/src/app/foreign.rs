//! pipenv's lock, and JSON as Python writes it to hash it. Pure.

use std::path::Path;

use inputs::{hex, regular};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use toml::Table;

/// Whether the project says its dependencies in Poetry's own form alone.
pub(super) fn of_poetry(project: &Table) -> bool {
    let tool = project.get("tool").and_then(|tool| tool.get("poetry"));
    let asks = tool.and_then(|poetry| poetry.get("dependencies")).is_some();
    asks && project
        .get("project")
        .and_then(|own| own.get("dependencies"))
        .is_none()
}

/// Whether `Pipfile.lock` was made from the `Pipfile` beside it, as pipenv tells
/// it: by SHA-256 over what the Pipfile asks for, as JSON.
///
/// # Errors
/// A sentence where it was not.
pub(super) fn check_pipfile(folder: &Path) -> Result<(), String> {
    let (pipfile, lock) = (folder.join("Pipfile"), folder.join("Pipfile.lock"));
    let shown = lock.display();
    let text = regular::read_to_string(&lock).map_err(|error| error.to_string())?;
    let lock: Value = serde_json::from_str(&text).map_err(|error| format!("{shown} is no JSON: {error}"))?;
    // Without a Pipfile there is nothing that it could be older than.
    let Some(asked) = regular::read_to_string(&pipfile)
        .ok()
        .and_then(|text| text.parse::<Table>().ok())
    else {
        return Ok(());
    };
    let noted = lock.pointer("/_meta/hash/sha256").and_then(Value::as_str);
    if noted == Some(&pipfile_hash(&asked)) {
        return Ok(());
    }
    Err(format!(
        "{shown} is older than Pipfile: run `pipenv lock` in {} and commit the file",
        folder.display()
    ))
}

fn pipfile_hash(pipfile: &Table) -> String {
    let of = |key: &str| pipfile.get(key).map_or_else(|| json!({}), |value| json!(value));
    let mut all = serde_json::Map::from_iter([
        (
            "_meta".to_owned(),
            json!({"sources": of("source"), "requires": of("requires")}),
        ),
        ("default".to_owned(), of("packages")),
        ("develop".to_owned(), of("dev-packages")),
    ]);
    let known = [
        "source",
        "packages",
        "dev-packages",
        "requires",
        "scripts",
        "pipfile",
        "pipenv",
    ];
    let more = pipfile.iter().filter(|(key, _)| !known.contains(&key.as_str()));
    all.extend(more.map(|(key, value)| (key.clone(), json!(value))));
    digest(&ascii(&python_json(&Value::Object(all), [",", ":"])))
}

/// SHA-256 of a text, in hexadecimal digits.
pub(super) fn digest(text: &str) -> String {
    hex::digits(&Sha256::digest(text))
}

/// JSON with its keys in order, as Python writes it between these separators of
/// items and of keys.
pub(super) fn python_json(value: &Value, separators: [&str; 2]) -> String {
    let [comma, colon] = separators;
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries = entries.into_iter();
            let entries: Vec<String> = entries
                .map(|(key, value)| format!("{}{colon}{}", json!(key), python_json(value, separators)))
                .collect();
            format!("{{{}}}", entries.join(comma))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| python_json(item, separators)).collect();
            format!("[{}]", items.join(comma))
        }
        other => other.to_string(),
    }
}

/// JSON as Python writes it: other letters as escapes.
pub(super) fn ascii(json: &str) -> String {
    let mut units = [0; 2];
    json.chars()
        .map(|c| match c {
            c if c.is_ascii() => c.to_string(),
            c => c
                .encode_utf16(&mut units)
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the hash that pipenv 2026 has written for it.
    const PIPFILE: &str = r#"
[[source]]
url = "https://pypi.org/simple"
verify_ssl = true
name = "pypi"

[packages]
fastapi = "*"
uvicorn = "*"
"psycopg" = {extras = ["binary"], version = ">=3"}
"#;
    const HASH: &str = "e4a6201270fccbba6bcc2edc0365173616d0cd12cead6efad37f74c27f667190";

    #[test]
    fn a_pipfile_lock_is_held_against_its_pipfile() {
        let dir = tempfile::tempdir().unwrap();
        let lock = json!({"_meta": {"hash": {"sha256": HASH}}, "default": {}});
        fs_err::write(dir.path().join("Pipfile.lock"), lock.to_string()).unwrap();
        assert_eq!(check_pipfile(dir.path()), Ok(()));
        fs_err::write(dir.path().join("Pipfile"), PIPFILE).unwrap();
        assert_eq!(check_pipfile(dir.path()), Ok(()));
        let changed = PIPFILE.replace("uvicorn = \"*\"", "uvicorn = \"*\"\nhttpx = \"*\"");
        fs_err::write(dir.path().join("Pipfile"), changed).unwrap();
        let told = check_pipfile(dir.path()).unwrap_err();
        assert!(
            told.contains("is older than Pipfile: run `pipenv lock` in "),
            "{told}"
        );
    }

    #[test]
    fn letters_are_escaped_as_python_does() {
        assert_eq!(ascii("\"é😀\""), r#""\u00e9\ud83d\ude00""#);
    }
}
