//! A `pyproject.toml` without any lock: whether the build can make one. Pure.

use std::path::Path;

use definition::spec::InstallChoice;
use toml::{Table, Value};

use super::lock::normal;

/// Whether uv can lock it from this file alone: the step that does has nothing
/// else of the app.
pub(super) fn can_be_locked(project: &Table) -> bool {
    let Some(Value::Table(about)) = project.get("project") else {
        return false;
    };
    let uv = project.get("tool").and_then(|tool| tool.get("uv"));
    let elsewhere = ["workspace", "sources"]
        .iter()
        .any(|key| uv.and_then(|uv| uv.get(key)).is_some());
    about.contains_key("dependencies")
        && about.contains_key("version")
        && !about.contains_key("dynamic")
        && !elsewhere
}

/// What a spec chooses that the project does not have.
pub(super) fn problems(folder: &Path, project: &Table, install: &InstallChoice) -> Vec<String> {
    let extras = project
        .get("project")
        .and_then(|about| about.get("optional-dependencies"));
    let groups = project.get("dependency-groups");
    let mut found = Vec::new();
    for (key, wanted, table) in [
        ("app.extras", &install.extras, extras),
        ("app.groups", &install.groups, groups),
    ] {
        let table = table.and_then(Value::as_table);
        let known: Vec<String> = table
            .into_iter()
            .flatten()
            .map(|(name, _)| normal(name))
            .collect();
        for one in wanted.iter().filter(|one| !known.contains(&normal(one))) {
            let known = match known.as_slice() {
                [] => "it has none".to_owned(),
                known => format!("it has {}", known.join(", ")),
            };
            found.push(format!(
                "{}: `{key}` names `{one}`, which it does not have: {known}",
                folder.join("pyproject.toml").display()
            ));
        }
    }
    found
}
