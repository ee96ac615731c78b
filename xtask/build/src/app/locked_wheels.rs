//! The wheels that a lock of Poetry or PDM, or a `pylock.toml`, names, of what it
//! installs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use definition::spec::App;
use toml::{Table, Value};

use super::DependencySource;
use super::lock::normal;
use super::locked::Package;
use super::markers::Machine;
use super::wheels::{BoundPackages, Locked, minors};
use inputs::regular;

/// Packages that not each Python has a wheel of, or runs; none where the lock cannot be
/// read.
pub(super) fn bound(folder: &Path, project: &Table, app: &App, shape: DependencySource) -> BoundPackages {
    let text = regular::read_to_string(&folder.join(shape.file())).unwrap_or_default();
    let lock = text.parse().unwrap_or_default();
    match shape {
        DependencySource::Pylock => of_pylock(&lock, std::env::consts::ARCH),
        _ => of_lock(&lock, project, app, std::env::consts::ARCH),
    }
}

fn of_lock(lock: &Table, project: &Table, app: &App, processor: &str) -> BoundPackages {
    let entries: Vec<&Table> = array(lock.get("package")).filter_map(Value::as_table).collect();
    let on = |minor: u32| wanted(&entries, project, app, Some(Machine { minor, processor }));
    let wanted: Vec<(u32, BTreeSet<String>)> = minors().map(|minor| (minor, on(minor))).collect();
    // Poetry before 1.3 had all files at the end.
    let apart = lock.get("metadata").and_then(|metadata| metadata.get("files"));
    let packages = entries.iter().filter_map(|entry| {
        let name = entry.get("name")?.as_str()?;
        let files = entry
            .get("files")
            .or_else(|| apart?.get(name))
            .into_iter()
            .flat_map(|files| array(Some(files)));
        let name = normal(name);
        let is_on = |minor: u32, names: &BTreeSet<String>| {
            names.contains(&name) && may_be(entry, Machine { minor, processor })
        };
        let absent = wanted.iter().filter(|(minor, names)| !is_on(*minor, names));
        let absent: BTreeSet<u32> = absent.map(|(minor, _)| *minor).collect();
        (absent.len() < wanted.len()).then(|| Locked {
            name: name.clone(),
            version: entry.get("version").and_then(Value::as_str).unwrap_or_default(),
            files: files.filter_map(file_name).collect(),
            absent,
        })
    });
    BoundPackages::of(packages, processor)
}

/// Those of a `pylock.toml`, in which all is installed that its markers let in.
fn of_pylock(lock: &Table, processor: &str) -> BoundPackages {
    let entries = array(lock.get("packages")).filter_map(Value::as_table);
    let packages = entries.filter_map(|entry| {
        let absent = minors().filter(|minor| {
            !may_be(
                entry,
                Machine {
                    minor: *minor,
                    processor,
                },
            )
        });
        Some(Locked {
            name: normal(entry.get("name")?.as_str()?),
            version: entry.get("version").and_then(Value::as_str).unwrap_or_default(),
            files: array(entry.get("wheels")).filter_map(file_name).collect(),
            absent: absent.collect(),
        })
    });
    BoundPackages::of(packages, processor)
}

fn file_name(file: &Value) -> Option<&str> {
    let names = ["file", "name", "url", "path"].into_iter();
    let named = names.filter_map(|key| file.get(key)?.as_str()).next()?;
    named.rsplit('/').next()
}

/// Whether an entry of a lock, or of a project's dependencies, may be installed on a
/// machine, by its own marker.
fn may_be(entry: &Table, machine: Machine<'_>) -> bool {
    let markers = ["markers", "marker"].into_iter().find_map(|key| entry.get(key));
    match markers {
        Some(Value::String(marker)) => machine.may(marker),
        // Since Poetry 2 each group may have its own.
        Some(Value::Table(all)) => all
            .iter()
            .any(|(_, marker)| marker.as_str().is_none_or(|marker| machine.may(marker))),
        _ => true,
    }
}

/// What is installed, on one machine or on any. Where the lock does not say what each
/// package is for, that is what the project's own dependencies lead to.
pub(super) fn wanted(
    entries: &[&Table],
    project: &Table,
    app: &App,
    machine: Option<Machine<'_>>,
) -> BTreeSet<String> {
    if entries.iter().all(|entry| entry.contains_key("groups")) {
        let [extras, groups] = [&app.install.extras, &app.install.groups]
            .map(|names| names.iter().map(|name| normal(name)).collect());
        let packages = entries.iter().map(|entry| Package::of(entry));
        return packages
            .filter(|package| package.is_reached(&extras, &groups))
            .map(|package| package.name)
            .collect();
    }
    let may = |marker: &str| machine.is_none_or(|machine| machine.may(marker));
    let is_needed = |about: &Value| match about {
        Value::Table(about) => machine.is_none_or(|machine| may_be(about, machine)),
        // One of several versions, each with its marker.
        Value::Array(all) => all.iter().any(|about| {
            let about = about.as_table();
            about.is_none_or(|about| machine.is_none_or(|machine| may_be(about, machine)))
        }),
        _ => true,
    };
    let needs = |entry: &Table| -> Vec<String> {
        // PDM has a list of requirements, Poetry a table of names.
        let list = array(entry.get("dependencies")).filter_map(Value::as_str);
        let list = list.filter(|needed| may(needed.split_once(';').map_or("", |(_, marker)| marker)));
        let table = entry.get("dependencies").and_then(Value::as_table);
        let names = table.into_iter().flatten().filter(|(_, about)| is_needed(about));
        let names = names.map(|(name, _)| name.as_str());
        list.chain(names).map(name_of).collect()
    };
    let of: BTreeMap<String, Vec<String>> = entries
        .iter()
        .filter_map(|entry| Some((normal(entry.get("name")?.as_str()?), needs(entry))))
        .collect();
    let empty = Table::new();
    let table = |keys: &[&str]| {
        let found = keys
            .iter()
            .try_fold(project, |table, key| table.get(*key)?.as_table());
        found.unwrap_or(&empty)
    };
    let mut open = needs(table(&["project"]));
    open.extend(needs(table(&["tool", "poetry"])));
    for group in &app.install.groups {
        open.extend(needs(table(&["tool", "poetry", "group", group])));
    }
    let mut found = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(next) = of.get(&name).filter(|_| !found.contains(&name)) {
            open.extend(next.iter().cloned());
            found.insert(name);
        }
    }
    found
}

/// The name that a requirement begins with.
fn name_of(requirement: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let end = requirement.find(|c| !good(c)).unwrap_or(requirement.len());
    normal(&requirement[..end])
}

fn array(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    const PROJECT: &str = "[tool.poetry.dependencies]\nfastapi = '*'\nHttp_tools = '*'\n\
        [tool.poetry.group.dev.dependencies]\nlinter = '*'\n";

    fn told(lock: &str, project: &str) -> Option<String> {
        let app = sample::spec().app.unwrap();
        let [lock, project] = [lock, project].map(|text| text.parse::<Table>().unwrap());
        of_lock(&lock, &project, &app, "x86_64").told(
            "3.13.5",
            &["3.13", "3.12"],
            Some(("poetry update", "")),
        )
    }

    fn files(name: &str) -> String {
        format!(
            "[{{file = \"{name}-1-cp312-cp312-manylinux_2_17_x86_64.whl\", hash = \"sha256:0\"}}, \
             {{file = \"{name}-1.tar.gz\", hash = \"sha256:0\"}}]"
        )
    }

    const TOLD: &str = "http-tools 1 has no wheel for Python 3.13 and is built from source: `\"python\": \"3.12\"` in \
        the spec takes a Python that has them";

    #[test]
    fn the_files_of_a_lock_tell_which_python_has_wheels() {
        let package = |name: &str, more: &str| {
            let files = files(name);
            format!("[[package]]\nname = \"{name}\"\nversion = \"1\"\nfiles = {files}\n{more}\n")
        };
        // Since Poetry 2, as PDM: each package says what it is for.
        let lock = package("http-tools", "groups = [\"main\"]") + &package("linter", "groups = [\"dev\"]");
        assert_eq!(told(&lock, PROJECT).unwrap(), TOLD);
        // Before, it follows from what needs it.
        let fastapi = "[[package]]\nname = \"fastapi\"\nversion = \"1\"\nfiles = []\n\
            [package.dependencies]\nHttp_Tools = \"*\"\n";
        let lock = fastapi.to_owned() + &package("http-tools", "") + &package("linter", "");
        assert_eq!(told(&lock, PROJECT).unwrap(), TOLD);
        assert_eq!(told(&package("linter", ""), PROJECT), None);
    }

    #[test]
    fn files_at_the_end_of_a_lock_are_those_of_their_packages() {
        let package = |name: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"1\"\n");
        let lock = package("fastapi") + &package("http-tools") + "[metadata.files]\nfastapi = []\n";
        assert_eq!(told(&lock, PROJECT), None);
        let lock = format!("{lock}http-tools = {}\n", files("http-tools"));
        assert_eq!(told(&lock, PROJECT).unwrap(), TOLD);
    }

    #[test]
    fn what_a_marker_keeps_from_a_python_needs_no_wheel_there() {
        let newer = |marker: &str| {
            let file = "{file = \"newer-1-cp313-cp313-manylinux_2_17_x86_64.whl\", hash = \"sha256:0\"}";
            format!(
                "[[package]]\nname = \"newer\"\nversion = \"1\"\ngroups = [\"main\"]\n{marker}files = [{file}]\n"
            )
        };
        let older = format!(
            "[[package]]\nname = \"http-tools\"\nversion = \"1\"\ngroups = [\"main\"]\nfiles = {}\n",
            files("http-tools")
        );
        let marked = |marker: &str| told(&(older.clone() + &newer(marker)), PROJECT).unwrap();
        assert_eq!(marked("markers = \"python_version >= \\\"3.13\\\"\"\n"), TOLD);
        assert_eq!(marked("markers = {main = \"python_version >= '3.13'\"}\n"), TOLD);
        // On each of them another one is built.
        assert!(marked("").ends_with("newer versions may have one: run `poetry update http-tools`"));
        // Before Poetry 2 what needs it says where.
        let fastapi = "[[package]]\nname = \"fastapi\"\nversion = \"1\"\nfiles = []\n[package.dependencies]\n\
            newer = {version = \"*\", markers = \"python_version >= '3.13'\"}\n";
        let lock = fastapi.to_owned() + &(older.clone() + &newer("")).replace("groups = [\"main\"]\n", "");
        assert_eq!(told(&lock, PROJECT).unwrap(), TOLD);
    }

    #[test]
    fn a_pylock_names_the_wheels_of_what_its_markers_let_in() {
        let package = |name: &str, marker: &str| {
            let url = format!("https://h/x/{name}-1-cp312-cp312-manylinux_2_17_x86_64.whl");
            format!(
                "[[packages]]\nname = \"{name}\"\nversion = \"1\"\n{marker}wheels = [{{url = \"{url}\", hashes = {{}}}}]\n"
            )
        };
        let lock = package("http-tools", "") + &package("older", "marker = \"python_version < '3.12'\"\n");
        let said = of_pylock(&lock.parse().unwrap(), "x86_64").told("3.13.5", &["3.13", "3.12"], None);
        assert_eq!(said.unwrap(), TOLD);
    }

    #[test]
    fn a_lock_of_pdm_names_requirements() {
        let lock = format!(
            "[[package]]\nname = \"fastapi\"\nversion = \"1\"\ndependencies = [\"http-tools[x]>=1; os_name == 'posix'\"]\n\
             [[package]]\nname = \"http-tools\"\nversion = \"1\"\nfiles = {}\n",
            files("http-tools")
        );
        let project = "[project]\ndependencies = [\"fastapi>=0.1\"]\n";
        assert_eq!(told(&lock, project).unwrap(), TOLD);
    }
}
