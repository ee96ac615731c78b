//! The member of a uv workspace that an app is, apart from the members beside it.

use std::path::Path;

use toml::{Table, Value};

use crate::dependencies::{Dependencies, at, name_of, normal, toml_at};
use crate::entry::{self, AppObject, Entry};
use crate::modules::Modules;
use crate::place::{Choice, Detected};
use crate::tree::{Tree, file_name, folder_of};
use crate::workspace;

/// The folder of a member, with a `/` at its end, by the name of its package.
pub(crate) fn folder_of_package(tree: &Tree, package: &str) -> Option<String> {
    let mut members = members(tree).into_iter();
    members.find_map(|(folder, table)| (normal(name(&table)?) == normal(package)).then_some(folder))
}

/// The app of the member in `member`, by its own files alone: what starts another member
/// says nothing of it.
pub(crate) fn entry(top: &Path, member: &str, import: Option<&str>) -> Entry {
    let tree = Tree::read(&top.join(member));
    let modules = Modules::of(&tree);
    let dependencies = Dependencies::read(&tree, &modules);
    let mut found = entry::find(&tree, &modules, &dependencies);
    if let Some(import) = import {
        found.app = entry::wanted(&tree, &modules, found.app, import);
    }
    let apps = found.app.chosen.iter_mut().chain(&mut found.app.others);
    let places = apps.map(|one| &mut one.place);
    for place in places.chain(found.port.iter_mut().map(|port| &mut port.place)) {
        if tree.has(&place.file) {
            place.file = format!("{member}{}", place.file);
        }
    }
    found
}

/// What the app of a member is from the top of its workspace.
pub(crate) fn from_the_top(
    tree: &Tree,
    modules: &Modules<'_>,
    all: Choice<AppObject>,
    own: Entry,
) -> Choice<AppObject> {
    let Some(chosen) = &own.app.chosen else {
        return own.app;
    };
    let attribute = chosen.value.attribute();
    let factory = if chosen.value.factory { "()" } else { "" };
    let named = match tree.has(&chosen.place.file) {
        true => format!("{}:{attribute}{factory}", chosen.place.file),
        false => format!("{}{factory}", chosen.value.import),
    };
    Choice {
        rule: own.app.rule,
        others: own.app.others,
        ..entry::wanted(tree, modules, all, &named)
    }
}

/// The folders of members with an app of their own that the app's member does not ask
/// for: what they read, run and write is theirs.
pub(crate) fn of_others(tree: &Tree, member: &str, apps: &[Detected<AppObject>]) -> Vec<String> {
    let mut all = members(tree);
    // A member may ask for the package of the workspace's top.
    all.extend(toml_at(tree, "pyproject.toml").map(|(_, top)| (String::new(), top)));
    let mut asked = vec![member.to_owned()];
    let mut n = 0;
    while let Some(folder) = asked.get(n) {
        let table = all.iter().find(|(own, _)| own == folder).map(|(_, table)| table);
        let names = table.map(asked_for).unwrap_or_default();
        for (folder, table) in &all {
            let is_named = name(table).is_some_and(|name| names.contains(&normal(name)));
            if is_named && !asked.contains(folder) {
                asked.push(folder.clone());
            }
        }
        n += 1;
    }
    let mut others: Vec<String> = apps
        .iter()
        .map(|app| tree.member(&app.place.file).to_owned())
        .filter(|folder| !folder.is_empty() && all.iter().any(|(own, _)| own == folder))
        .filter(|folder| !asked.contains(folder))
        .collect();
    others.sort();
    others.dedup();
    others
}

/// The folders of all projects below the top of a workspace, with what their pyproject.toml
/// says: also of those that are no members, as what is in them is theirs all the same.
fn members(tree: &Tree) -> Vec<(String, Table)> {
    let is_workspace = toml_at(tree, "pyproject.toml")
        .is_some_and(|(_, top)| at(&top, &["tool", "uv", "workspace"]).is_some());
    let files = tree
        .paths()
        .filter(|path| is_workspace && file_name(path) == "pyproject.toml" && path.contains('/'));
    files
        .filter_map(|path| Some((folder_of(path).to_owned(), toml_at(tree, path)?.1)))
        .collect()
}

/// The folders of all members, each with a `/` at its end.
pub(crate) fn folders(tree: &Tree) -> Vec<String> {
    let top = toml_at(tree, "pyproject.toml").map_or_else(Table::new, |(_, top)| top);
    let folders = members(tree).into_iter().map(|(folder, _)| folder);
    folders
        .filter(|folder| workspace::has_member(&top, Path::new(folder)))
        .collect()
}

fn name(table: &Table) -> Option<&str> {
    at(table, &["project", "name"])?.as_str()
}

/// The names of all packages that a project asks for: itself, by its extras and groups, and
/// as sources of its own. Where uv takes them from may stand at the workspace's top alone.
fn asked_for(table: &Table) -> Vec<String> {
    let list = |value: Option<&Value>| {
        let list = value.and_then(Value::as_array).cloned();
        list.unwrap_or_default()
    };
    let lists = |keys: &[&str]| {
        let table = at(table, keys).and_then(Value::as_table);
        let lists = table.into_iter().flatten();
        lists.flat_map(|(_, value)| list(Some(value))).collect::<Vec<_>>()
    };
    let mut all = list(at(table, &["project", "dependencies"]));
    all.extend(lists(&["project", "optional-dependencies"]));
    all.extend(lists(&["dependency-groups"]));
    all.extend(list(at(table, &["tool", "uv", "dev-dependencies"])));
    let requirements = all.iter().filter_map(Value::as_str).filter_map(name_of);
    let sources = at(table, &["tool", "uv", "sources"]).and_then(Value::as_table);
    let sources = sources.into_iter().flatten().map(|(name, _)| normal(name));
    requirements.chain(sources).collect()
}
