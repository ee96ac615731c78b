//! Whether a lock was made of the project beside it: its tool notes a hash over what it
//! reads of the project.

use serde_json::{Map, Value, json};
use toml::Table;

use super::super::foreign::{ascii, digest, python_json};
use super::super::lock::normal;
use super::at_keys;

/// As Poetry tells it: by SHA-256 over what it reads of the project, as JSON.
pub(super) fn poetry_is_current(lock: &Table, project: &Table) -> bool {
    let noted = at_keys(lock, &["metadata", "content-hash"]).and_then(toml::Value::as_str);
    // Before 2.2, Poetry did not know of `dependency-groups`.
    [true, false]
        .iter()
        .any(|with_groups| noted == Some(&poetry_hash(project, *with_groups)))
}

pub(super) fn poetry_hash(project: &Table, with_groups: bool) -> String {
    let mut relevant = Map::new();
    let mut own = Map::new();
    for key in ["requires-python", "dependencies", "optional-dependencies"] {
        if let Some(value) = at_keys(project, &["project", key]) {
            own.insert(key.to_owned(), json!(value));
        }
    }
    if !own.is_empty() {
        relevant.insert("project".to_owned(), Value::Object(own));
    }
    let groups = project.get("dependency-groups").and_then(toml::Value::as_table);
    if let Some(groups) = groups.filter(|groups| with_groups && !groups.is_empty()) {
        relevant.insert("dependency-groups".to_owned(), json!(groups));
    }
    let mut of_poetry = Map::new();
    for key in ["dependencies", "source", "extras", "dev-dependencies", "group"] {
        match at_keys(project, &["tool", "poetry", key]) {
            Some(value) => drop(of_poetry.insert(key.to_owned(), json!(value))),
            None if key == "group" || !relevant.is_empty() => {}
            None => drop(of_poetry.insert(key.to_owned(), Value::Null)),
        }
    }
    if relevant.is_empty() {
        return hash(of_poetry);
    }
    relevant.insert("tool".to_owned(), json!({ "poetry": of_poetry }));
    hash(relevant)
}

/// As PDM tells it, in the same way.
pub(super) fn pdm_is_current(lock: &Table, project: &Table) -> bool {
    let noted = at_keys(lock, &["metadata", "content_hash"]).and_then(toml::Value::as_str);
    let noted = noted.and_then(|noted| noted.strip_prefix("sha256:"));
    [pdm_hash(project), pdm_hash_of_before(project)]
        .iter()
        .any(|known| noted == Some(known))
}

fn pdm_hash(project: &Table) -> String {
    let of = |keys: &[&str], default: Value| at_keys(project, keys).map_or(default, |value| json!(value));
    let mut groups: Map<String, Value> = Map::new();
    for keys in [&["dependency-groups"][..], &["tool", "pdm", "dev-dependencies"]] {
        let tables = at_keys(project, keys).and_then(toml::Value::as_table);
        for (name, needs) in tables.into_iter().flatten() {
            let all = groups.entry(normal(name)).or_insert_with(|| json!([]));
            if let (Value::Array(all), Value::Array(needs)) = (all, json!(needs)) {
                all.extend(needs);
            }
        }
    }
    let all = json!({
        "sources": of(&["tool", "pdm", "source"], json!([])),
        "dependencies": of(&["project", "dependencies"], json!([])),
        "dev-dependencies": groups,
        "optional-dependencies": of(&["project", "optional-dependencies"], json!({})),
        "requires-python": of(&["project", "requires-python"], json!("")),
        "resolution": of(&["tool", "pdm", "resolution"], json!({})),
    });
    match all {
        Value::Object(all) => hash(all),
        _ => String::new(),
    }
}

/// What PDM before 2.18 noted: its locks are still what they were made of.
pub(super) fn pdm_hash_of_before(project: &Table) -> String {
    let of = |keys: &[&str], default: Value| at_keys(project, keys).map_or(default, |value| json!(value));
    let all = [
        ("sources", of(&["tool", "pdm", "source"], json!([]))),
        ("dependencies", of(&["project", "dependencies"], json!([]))),
        (
            "dev-dependencies",
            of(&["tool", "pdm", "dev-dependencies"], json!({})),
        ),
        (
            "optional-dependencies",
            of(&["project", "optional-dependencies"], json!({})),
        ),
        ("requires-python", of(&["project", "requires-python"], json!(""))),
        (
            "overrides",
            of(&["tool", "pdm", "resolution", "overrides"], json!({})),
        ),
    ];
    hash(
        all.into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

fn hash(content: Map<String, Value>) -> String {
    digest(&ascii(&python_json(&Value::Object(content), [", ", ": "])))
}
