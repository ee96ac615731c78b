//! Locks of Poetry and PDM: whether they were made from the project beside them,
//! and have what a spec chooses. Pure.
//!
//! What they install is worked out in the build, by the Python that it is for;
//! here is only told ahead what surely cannot work.

mod current;

use std::collections::BTreeSet;
use std::path::Path;

use definition::spec::App;
use serde_json::json;
use toml::Table;

use self::current::{pdm_is_current, poetry_is_current};
use super::DependencySource;
use super::choice::SERVER;
use super::lock::normal;
use inputs::regular;

/// What of a lock is looked at.
struct ToolLock<'a> {
    folder: &'a Path,
    file: &'static str,
    /// The program that made it.
    tool: &'static str,
    packages: Vec<Package>,
    /// What a project's own extras are called in it.
    extras: BTreeSet<String>,
    groups: BTreeSet<String>,
}

/// A package of a lock.
pub(super) struct Package {
    pub(super) name: String,
    /// The project's parts that bring it; absent in older locks.
    groups: Option<BTreeSet<String>>,
    /// The extras that its marker names.
    extras: BTreeSet<String>,
    /// Where it lies, from the app's folder.
    place: Option<String>,
}

/// All that is wrong with the lock of Poetry's or PDM's in a folder.
pub(super) fn problems(folder: &Path, project: &Table, app: &App, shape: DependencySource) -> Vec<String> {
    let (file, tool) = match shape {
        DependencySource::Pdm => ("pdm.lock", "pdm"),
        _ => ("poetry.lock", "poetry"),
    };
    let shown = folder.join(file).display().to_string();
    let read = regular::read_to_string(&folder.join(file)).map_err(|error| error.to_string());
    let parsed = read.and_then(|text| {
        text.parse::<Table>().map_err(|error| {
            format!(
                "{shown} cannot be read: {}",
                super::first_line(&error.to_string())
            )
        })
    });
    let lock = match parsed {
        Ok(lock) => lock,
        Err(problem) => return vec![problem],
    };
    let is_current = match shape {
        DependencySource::Pdm => pdm_is_current(&lock, project),
        _ => poetry_is_current(&lock, project),
    };
    let at = folder.display();
    let workspace = at_keys(project, &["tool", "pdm", "workspace"]);
    let is_workspace = shape == DependencySource::Pdm && workspace.is_some();
    // What PDM exports has to say it, and the build walks from the project's own dependencies.
    let dynamic = texts(at_keys(project, &["project", "dynamic"]));
    let needs_metadata = is_workspace || shape == DependencySource::Pdm && dynamic.contains("dependencies");
    let lacks_metadata = needs_metadata && !has_metadata(&lock);
    if is_workspace && !lacks_metadata {
        return vec![format!(
            "{shown} is that of a workspace of PDM's, which is not read here: run `pdm export --prod --format pylock \
             --output pylock.toml` in {at} and commit pylock.toml"
        )];
    }
    if !is_current {
        return vec![format!(
            "{shown} is older than pyproject.toml: run `{tool} lock` in {at} and commit the file"
        )];
    }
    if shape == DependencySource::Pdm {
        if lacks_metadata {
            return vec![format!(
                "{shown} does not say which package is for which machine: run `pdm lock --update-reuse --strategy \
                 inherit_metadata` in {at} and commit the file"
            )];
        }
        return ToolLock::of_pdm(folder, &lock, project).problems(app);
    }
    ToolLock::of_poetry(folder, &lock, project).problems(app)
}

impl<'a> ToolLock<'a> {
    fn of_poetry(folder: &'a Path, lock: &Table, project: &Table) -> Self {
        let group_tables = [&["tool", "poetry", "group"][..], &["dependency-groups"]];
        let mut groups: BTreeSet<String> = group_tables
            .into_iter()
            .flat_map(|keys| names(at_keys(project, keys)))
            .collect();
        if at_keys(project, &["tool", "poetry", "dev-dependencies"]).is_some() {
            groups.insert("dev".to_owned());
        }
        Self {
            folder,
            file: "poetry.lock",
            tool: "poetry",
            packages: packages(lock),
            extras: names(lock.get("extras")).collect(),
            groups,
        }
    }

    fn of_pdm(folder: &'a Path, lock: &Table, project: &Table) -> Self {
        let mut groups = texts(at_keys(lock, &["metadata", "groups"]));
        // Locks of before version 4.2 do not say.
        if groups.is_empty() {
            let tables = [
                &["project", "optional-dependencies"][..],
                &["tool", "pdm", "dev-dependencies"],
                &["dependency-groups"],
            ];
            groups = tables
                .into_iter()
                .flat_map(|keys| names(at_keys(project, keys)))
                .collect();
        }
        groups.remove(MAIN[1]);
        Self {
            folder,
            file: "pdm.lock",
            tool: "pdm",
            packages: packages(lock),
            // To PDM both are groups.
            extras: groups.clone(),
            groups,
        }
    }

    fn problems(&self, app: &App) -> Vec<String> {
        let shown = self.folder.join(self.file);
        let shown = shown.display();
        let mut found = Vec::new();
        for (key, wanted, known) in [
            ("app.extras", &app.install.extras, &self.extras),
            ("app.groups", &app.install.groups, &self.groups),
        ] {
            for one in wanted.iter().filter(|one| !known.contains(&normal(one))) {
                let list = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let known = if list.is_empty() {
                    "it has none".to_owned()
                } else {
                    format!("it has {list}")
                };
                let way = match self.tool {
                    "pdm" => " (`pdm lock --group :all` locks all that the project has)",
                    _ => "",
                };
                found.push(format!(
                    "{shown}: `{key}` names `{one}`, which it does not have: {known}{way}"
                ));
            }
        }
        let (extras, groups) = (normals(&app.install.extras), normals(&app.install.groups));
        for package in self
            .packages
            .iter()
            .filter(|one| one.is_reached(&extras, &groups))
        {
            if let Some(place) = package.place.as_deref().filter(|place| is_outside(place)) {
                found.push(format!(
                    "{shown} installs `{}` from {place}, and what lies outside of the app's folder reaches no build: \
                     move it inside",
                    package.name
                ));
            }
        }
        let has_server = self.has_server(&extras, &groups) || app.install.has_beside(SERVER);
        if found.is_empty() && app.command.is_none() && !has_server {
            found.push(self.without_server(app));
        }
        found
    }

    fn has_server(&self, extras: &BTreeSet<String>, groups: &BTreeSet<String>) -> bool {
        let mut servers = self.packages.iter().filter(|one| one.name == SERVER);
        servers.any(|one| one.is_reached(extras, groups))
    }

    /// Where the server is, if not in what is installed.
    fn without_server(&self, app: &App) -> String {
        let none = BTreeSet::new();
        let one = |name: &String| BTreeSet::from([name.clone()]);
        let with = |key: &str, own: &[String], name: &str| {
            let all: Vec<String> = own
                .iter()
                .map(String::as_str)
                .chain([name])
                .map(|one| format!("{one:?}"))
                .collect();
            format!(
                "`\"{key}\": [{}]` in the spec's `app` installs it",
                all.join(", ")
            )
        };
        let mut extras = self
            .extras
            .iter()
            .filter(|name| self.has_server(&one(name), &none));
        let mut groups = self
            .groups
            .iter()
            .filter(|name| self.has_server(&none, &one(name)));
        let way = if let Some(extra) = extras.next() {
            with("extras", &app.install.extras, extra)
        } else if let Some(group) = groups.next() {
            with("groups", &app.install.groups, group)
        } else {
            format!(
                "`\"with\": [\"{SERVER}\"]` in the spec's `app` installs it beside them; or run `{} add {SERVER}` in {} and \
                 commit both files, or give the spec an `app.command`",
                self.tool,
                self.folder.display()
            )
        };
        format!(
            "{}: {SERVER} is not among what is installed: {way}",
            self.folder.join(self.file).display()
        )
    }
}

/// What Poetry and PDM call the project's own dependencies.
const MAIN: [&str; 2] = ["main", "default"];

impl Package {
    pub(super) fn of(entry: &Table) -> Self {
        let text = |key: &str| entry.get(key).and_then(toml::Value::as_str);
        let source = |key: &str| at_keys(entry, &["source", key]).and_then(toml::Value::as_str);
        let is_local = matches!(source("type"), Some("directory" | "file"));
        let place = text("path").or(source("url").filter(|_| is_local));
        let marker = entry
            .get("markers")
            .map(|marker| json!(marker).to_string())
            .unwrap_or_default();
        Self {
            name: normal(text("name").unwrap_or_default()),
            groups: entry.get("groups").map(|groups| texts(Some(groups))),
            extras: extras_of(&marker),
            place: place.map(str::to_owned),
        }
    }

    /// Whether it may come with these; markers of the machine are left to the build.
    pub(super) fn is_reached(&self, extras: &BTreeSet<String>, groups: &BTreeSet<String>) -> bool {
        let Some(own) = &self.groups else {
            return true;
        };
        let is_asked =
            |name: &String| MAIN.contains(&name.as_str()) || groups.contains(name) || extras.contains(name);
        own.iter().any(is_asked) && (self.extras.is_empty() || !self.extras.is_disjoint(extras))
    }
}

fn packages(lock: &Table) -> Vec<Package> {
    let all = lock.get("package").and_then(|all| all.as_array());
    let entries = all.into_iter().flatten().filter_map(toml::Value::as_table);
    entries.map(Package::of).collect()
}

/// The extras that a marker asks for, however its quotes are written.
fn extras_of(marker: &str) -> BTreeSet<String> {
    let parts = marker.split("extra == ").skip(1);
    let is_quote = |c: char| matches!(c, '"' | '\'' | '\\');
    parts
        .filter_map(|part| {
            part.trim_start_matches(is_quote)
                .split(is_quote)
                .next()
                .map(normal)
        })
        .collect()
}

fn is_outside(place: &str) -> bool {
    place.starts_with("..") || place.starts_with("./..") || place.starts_with('/')
}

/// Whether each package of a lock of PDM's has its marker.
fn has_metadata(lock: &Table) -> bool {
    texts(at_keys(lock, &["metadata", "strategy"])).contains("inherit-metadata")
}

/// The range of Python of a project in Poetry's own form, as others write it.
pub(super) fn python_of_poetry(project: &Table) -> Option<String> {
    let asked = at_keys(project, &["tool", "poetry", "dependencies", "python"])?;
    let text = asked.as_str().or_else(|| asked.get("version")?.as_str())?.trim();
    if let Some(from) = text.strip_prefix('^') {
        let major: u32 = from.split('.').next()?.parse().ok()?;
        return Some(format!(">={from},<{}", major + 1));
    }
    if let Some(version) = text.strip_prefix('~').filter(|rest| !rest.starts_with('=')) {
        let minor: Vec<&str> = version.split('.').take(2).collect();
        return Some(format!("=={}.*", minor.join(".")));
    }
    // What only Poetry writes is told by the build, where it does not fit.
    text.starts_with(['<', '>', '=', '!', '~'])
        .then(|| text.to_owned())
        .filter(|text| !text.contains('|'))
}

fn at_keys<'t>(table: &'t Table, keys: &[&str]) -> Option<&'t toml::Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter()
        .try_fold(table.get(*first)?, |value, key| value.get(key))
}

fn names(table: Option<&toml::Value>) -> impl Iterator<Item = String> {
    let table = table.and_then(toml::Value::as_table);
    table.into_iter().flatten().map(|(name, _)| normal(name))
}

fn texts(list: Option<&toml::Value>) -> BTreeSet<String> {
    let list = list.and_then(toml::Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .map(normal)
        .collect()
}

fn normals(names: &[String]) -> BTreeSet<String> {
    names.iter().map(|name| normal(name)).collect()
}

#[cfg(test)]
mod tests;
