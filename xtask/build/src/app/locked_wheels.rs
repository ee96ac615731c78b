//! The wheels that a lock of Poetry or PDM names, of what it installs. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use definition::spec::App;
use toml::{Table, Value};

use super::DependencySource;
use super::lock::normal;
use super::locked::Package;
use super::wheels::BoundPackages;
use inputs::regular;

/// Packages that not each Python has a wheel of; none where the lock cannot be read.
pub(super) fn bound(folder: &Path, project: &Table, app: &App, shape: DependencySource) -> BoundPackages {
    let text = regular::read_to_string(&folder.join(shape.file())).unwrap_or_default();
    of_lock(
        &text.parse().unwrap_or_default(),
        project,
        app,
        std::env::consts::ARCH,
    )
}

fn of_lock(lock: &Table, project: &Table, app: &App, processor: &str) -> BoundPackages {
    let entries: Vec<&Table> = array(lock.get("package")).filter_map(Value::as_table).collect();
    let wanted = wanted(&entries, project, app);
    // Poetry before 1.3 had all files at the end.
    let apart = lock.get("metadata").and_then(|metadata| metadata.get("files"));
    let packages = entries.iter().filter_map(|entry| {
        let name = entry.get("name")?.as_str()?;
        let files = entry
            .get("files")
            .or_else(|| apart?.get(name))
            .into_iter()
            .flat_map(|files| array(Some(files)));
        let files = files.filter_map(|file| file.get("file").or_else(|| file.get("url"))?.as_str());
        let names = files.filter_map(|file| file.rsplit('/').next()).collect();
        let version = entry.get("version").and_then(Value::as_str).unwrap_or_default();
        let name = normal(name);
        wanted.contains(&name).then_some((name, version, names))
    });
    BoundPackages::of(packages, processor)
}

/// What is installed. Where the lock does not say what each package is for, that is
/// what the project's own dependencies lead to.
pub(super) fn wanted(entries: &[&Table], project: &Table, app: &App) -> BTreeSet<String> {
    if entries.iter().all(|entry| entry.contains_key("groups")) {
        let [extras, groups] = [&app.install.extras, &app.install.groups]
            .map(|names| names.iter().map(|name| normal(name)).collect());
        let packages = entries.iter().map(|entry| Package::of(entry));
        return packages
            .filter(|package| package.is_reached(&extras, &groups))
            .map(|package| package.name)
            .collect();
    }
    let needs = |entry: &Table| -> Vec<String> {
        // PDM has a list of requirements, Poetry a table of names.
        let list = array(entry.get("dependencies")).filter_map(Value::as_str);
        let table = entry.get("dependencies").and_then(Value::as_table);
        let names = table.into_iter().flatten().map(|(name, _)| name.as_str());
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
    fn a_lock_of_pdm_names_requirements() {
        let lock = format!(
            "[[package]]\nname = \"fastapi\"\nversion = \"1\"\ndependencies = [\"http-tools[x]>=1; os_name == 'nt'\"]\n\
             [[package]]\nname = \"http-tools\"\nversion = \"1\"\nfiles = {}\n",
            files("http-tools")
        );
        let project = "[project]\ndependencies = [\"fastapi>=0.1\"]\n";
        assert_eq!(told(&lock, project).unwrap(), TOLD);
    }
}
