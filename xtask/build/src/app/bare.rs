//! A `pyproject.toml` without any lock: how the build finds out what is installed. Pure.
//! `bare.py` of the build goes by the same rule.

use std::collections::BTreeSet;
use std::path::Path;

use definition::spec::InstallChoice;
use toml::{Table, Value};

use super::lock::normal;
use super::{DependencySource, default_groups};

/// How the build makes a list of versions from this file alone; `None` where it cannot, as the
/// step that does has nothing else of the app.
pub(super) fn shape(project: &Table, install: &InstallChoice) -> Option<DependencySource> {
    let about = project.get("project");
    let dynamic = strings(about.and_then(|about| about.get("dynamic")));
    let by_code = |key: &&str| ["dependencies", "optional-dependencies"].contains(key);
    let has_list = about.and_then(|about| about.get("dependencies")).is_some();
    let of_groups = has_own_form(project) && !install.groups.is_empty();
    let has_workspace = uv(project, "workspace").is_some();
    if has_workspace || dynamic.iter().any(by_code) || !(has_list || of_groups) {
        return None;
    }
    let local = local_sources(project);
    let is_whole = about.is_none_or(|about| about.get("version").is_some());
    if is_whole && dynamic.is_empty() && local.is_empty() {
        return Some(DependencySource::Bare);
    }
    let asked = asked(project, install);
    let is_there = !local.iter().any(|name| asked.contains(name));
    is_there.then_some(DependencySource::Compiled)
}

/// Whether what it says of packages is what uv reads.
fn has_own_form(project: &Table) -> bool {
    let of = |name: &str| project.get("tool").and_then(|tool| tool.get(name)).is_some();
    project.get("project").is_some() || !(of("poetry") || of("pdm"))
}

/// The packages that uv takes from a folder.
fn local_sources(project: &Table) -> BTreeSet<String> {
    let sources = uv(project, "sources").and_then(Value::as_table);
    let is_local = |source: &Value| source.get("path").is_some() || source.get("workspace").is_some();
    let local = sources.into_iter().flatten().filter(|(_, source)| match source {
        Value::Array(all) => all.iter().any(is_local),
        one => is_local(one),
    });
    local.map(|(name, _)| normal(name)).collect()
}

/// The names that the project itself asks for, with the extras and groups that are chosen.
fn asked(project: &Table, install: &InstallChoice) -> BTreeSet<String> {
    let lines = asked_lines(project, install).into_iter();
    lines.map(|line| named(line).0).collect()
}

/// The same as it writes them, each with its versions and marker.
pub(super) fn asked_lines<'p>(project: &'p Table, install: &InstallChoice) -> Vec<&'p str> {
    let about = project.get("project");
    let own = about.and_then(|about| about.get("name")).and_then(Value::as_str);
    let extras = about.and_then(|about| about.get("optional-dependencies"));
    let groups = project.get("dependency-groups");
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open: Vec<(Option<&Value>, String)> = vec![(about, "dependencies".to_owned())];
    open.extend(install.extras.iter().map(|name| (extras, normal(name))));
    let chosen = install.groups.iter().cloned().chain(default_groups(project));
    open.extend(chosen.map(|name| (groups, normal(&name))));
    while let Some((table, name)) = open.pop() {
        if !seen.insert((table.map(std::ptr::from_ref), name.clone())) {
            continue;
        }
        let entries = table.and_then(Value::as_table).into_iter().flatten();
        let lists = entries.filter(|(key, _)| normal(key) == name);
        for one in lists.filter_map(|(_, list)| list.as_array()).flatten() {
            if let Some(included) = one.get("include-group").and_then(Value::as_str) {
                open.push((groups, normal(included)));
            }
            let Some(line) = one.as_str() else { continue };
            let (package, wanted) = named(line);
            if own.is_some_and(|own| normal(own) == package) {
                open.extend(wanted.into_iter().map(|extra| (extras, extra)));
            }
            found.push(line);
        }
    }
    found
}

/// The name that a requirement begins with, and its extras.
pub(super) fn named(line: &str) -> (String, Vec<String>) {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    let (name, rest) = line.split_at(line.find(ends).unwrap_or(line.len()));
    let inside = rest
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let extras = inside.into_iter().flat_map(|(inside, _)| inside.split(','));
    (normal(name), extras.map(|extra| normal(extra.trim())).collect())
}

fn uv<'p>(project: &'p Table, key: &str) -> Option<&'p Value> {
    project.get("tool")?.get("uv")?.get(key)
}

fn strings(value: Option<&Value>) -> Vec<&str> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_made_of_the_file_alone() {
        let install = |extras: &[&str], groups: &[&str]| InstallChoice {
            extras: extras.iter().map(|one| (*one).to_owned()).collect(),
            groups: groups.iter().map(|one| (*one).to_owned()).collect(),
            ..InstallChoice::default()
        };
        let of = |text: &str, extras: &[&str], groups: &[&str]| {
            shape(&toml::from_str(text).unwrap(), &install(extras, groups))
        };
        let lock = Some(DependencySource::Bare);
        let list = Some(DependencySource::Compiled);
        let whole = "[project]\nname = 'x'\nversion = '1'\ndependencies = ['a']\n";
        assert_eq!(of(whole, &[], &[]), lock);
        // What comes from git or an index is fetched from there.
        let from =
            format!("{whole}[tool.uv.sources]\na = {{ git = 'https://h/a' }}\nb = {{ index = 'i' }}\n");
        assert_eq!(of(&from, &[], &[]), lock);
        let by_code = "[project]\nname = 'x'\ndynamic = ['version', 'readme']\ndependencies = ['a']\n";
        assert_eq!(of(by_code, &[], &[]), list);
        for dynamic in ["dependencies", "optional-dependencies"] {
            let text = format!(
                "[project]\nname = 'x'\nversion = '1'\ndynamic = ['{dynamic}']\ndependencies = ['a']\n"
            );
            assert_eq!(of(&text, &[], &[]), None);
        }
        assert_eq!(of("[project]\nname = 'x'\nversion = '1'\n", &[], &[]), None);
        assert_eq!(
            of(
                &format!("{whole}[tool.uv.workspace]\nmembers = ['m']\n"),
                &[],
                &[]
            ),
            None
        );
        // A folder that only what is not chosen leads to is not asked for.
        let internal = format!(
            "{whole}[project.optional-dependencies]\nn = ['My_Own>=1']\nall = ['X[n]']\n\
             [dependency-groups]\ng = [{{ include-group = 'h' }}]\nh = ['my-own']\n\
             [tool.uv.sources]\nmy-own = {{ path = '../own' }}\n"
        );
        assert_eq!(of(&internal, &[], &[]), list);
        assert_eq!(of(&internal, &["n"], &[]), None);
        assert_eq!(of(&internal, &["all"], &[]), None);
        assert_eq!(of(&internal, &[], &["g"]), None);
        let unasked = format!("{internal}[tool.uv]\ndefault-groups = ['dev', 'g']\n");
        assert_eq!(of(&unasked, &[], &[]), None);
        // Groups alone are no less of a list, once it is said which.
        let groups = "[dependency-groups]\nmain = ['a']\ndev = ['b']\n";
        assert_eq!(of(groups, &[], &["main"]), lock);
        assert_eq!(of(groups, &[], &[]), None);
        assert_eq!(
            of(&format!("{groups}[tool.poetry]\nname = 'x'\n"), &[], &["main"]),
            None
        );
    }
}
