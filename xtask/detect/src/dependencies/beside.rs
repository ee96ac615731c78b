//! What a project asks for by its own table, where a list beside that is what is installed.

use toml::Value;

use super::lists::REQUIREMENTS;
use super::{AskedBy, Dependencies, at, name_of, normal, toml_at};
use crate::place::{Detected, Place};
use crate::tree::Tree;

/// The requirements of `[project]` that `requirements.txt` has not, where that is what is installed
/// and installs nothing of the project's folder. None where one of them is more than a name with
/// versions, or may come from elsewhere than the others: what stands beside a list is asked for by
/// its name, at the list's indexes.
pub(super) fn unlisted(tree: &Tree, found: &Dependencies) -> Vec<Detected<String>> {
    const FILE: &str = "pyproject.toml";
    let Some((text, table)) = toml_at(tree, FILE).filter(|_| found.installed_from == Some(REQUIREMENTS))
    else {
        return Vec::new();
    };
    let listed = |name: &str| {
        let mut packages = found.packages.iter();
        packages
            .any(|one| one.place.file != FILE && one.value.by == AskedBy::Project && one.value.name == name)
    };
    let list = tree.text(REQUIREMENTS).unwrap_or_default();
    let mut lines = list.lines().map(str::trim);
    let has_project = lines.any(|line| {
        let path = line.trim_start_matches("--editable").trim_start_matches("-e");
        path.trim_start_matches(['=', ' ']).starts_with(['.', '/'])
    });
    let of_others = [&["tool", "uv", "sources"][..], &["tool", "uv", "index"]];
    let has_sources = of_others.iter().any(|keys| at(&table, keys).is_some());
    let own = at(&table, &["project", "dependencies"]).and_then(Value::as_array);
    let own: Vec<&str> = own.into_iter().flatten().filter_map(Value::as_str).collect();
    let is_plain = |one: &&str| !one.contains([';', '@', '/', ':', '{', '}']);
    if has_project || has_sources || !own.iter().all(is_plain) {
        return Vec::new();
    }
    own.into_iter()
        .filter(|one| name_of(one).is_some_and(|name| !listed(&normal(&name))))
        .map(|one| Detected::sure(one.to_owned(), Place::of(FILE, text, one)))
        .collect()
}
