//! What a project asks for by its own table, where a list beside that is what is installed.

use toml::Value;

use super::lists::REQUIREMENTS;
use super::{AskedBy, Dependencies, at, name_of, normal, toml_at};
use crate::place::{Detected, Place};
use crate::tree::Tree;

/// The requirements of `[project]` that `requirements.txt` has not, where that is what is installed.
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
    let own = at(&table, &["project", "dependencies"]).and_then(Value::as_array);
    let own = own.into_iter().flatten().filter_map(Value::as_str);
    own.filter(|one| name_of(one).is_some_and(|name| !listed(&normal(&name))))
        .map(|one| Detected::sure(one.to_owned(), Place::of(FILE, text, one)))
        .collect()
}
