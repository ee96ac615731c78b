//! What a project asks for: packages, locks, a version of Python.

mod beside;
mod lists;
mod locks;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toml::{Table, Value};

use crate::modules::Modules;
use crate::place::{Detected, Place};
use crate::python::{TokenKind, statement};
use crate::tree::Tree;
pub(crate) use lists::OF_DEVELOPERS;
use lists::REQUIREMENTS;
pub use lists::{installed_from, list_elsewhere, listed_groups};

/// Which part of a project asks for a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AskedBy {
    /// The project itself, so that each installation has the package.
    Project,
    /// An extra of this name.
    Extra(String),
    /// A dependency group of this name, or the developers' part.
    Group(String),
}

/// A package that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AskedPackage {
    /// In lower case, with single hyphens (PEP 503).
    pub name: String,
    /// Its own extras that are wanted.
    pub extras: Vec<String>,
    /// The part of the project that asks for it.
    pub by: AskedBy,
    /// Whether it is fetched from a git repository.
    pub from_git: bool,
    /// Whether that is reached by SSH.
    pub by_ssh: bool,
}

/// All that a project asks for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Dependencies {
    /// In the order of the files.
    pub packages: Vec<Detected<AskedPackage>>,
    /// The lock files that are there, of whatever tool.
    pub locks: Vec<Detected<String>>,
    /// The file that says what is installed, of all that could.
    pub installed_from: Option<&'static str>,
    /// The groups that are installed, of a project which has its packages in groups alone.
    pub groups: Vec<Detected<String>>,
    /// The version of Python, as each file writes it.
    pub python: Vec<Detected<String>>,
    /// There is a `requirements.txt` with packages, and something else counts.
    #[serde(skip)]
    pub(crate) has_other_requirements: bool,
    /// The names in the locks, each with its line: what is installed with what is asked for.
    #[serde(skip)]
    pub locked: BTreeMap<String, Place>,
    /// What each package of `uv.lock` brings.
    #[serde(skip)]
    brought: BTreeMap<String, Vec<String>>,
    /// Those of them that only developers get, by what the lock says of it.
    #[serde(skip)]
    pub(crate) of_developers: BTreeSet<String>,
    /// What `uv.lock` has the source of alone: it lists the wheels for Pythons that the
    /// project takes, and there are none.
    #[serde(skip)]
    pub(crate) source_only: BTreeSet<String>,
    /// What the project's own table asks for and the list that is installed has not.
    #[serde(skip)]
    pub(crate) unlisted: Vec<Detected<String>>,
    /// What imports `pkg_resources` or `distutils`, pinned in a list that does not say which
    /// setuptools.
    #[serde(skip)]
    pub(crate) of_old_setuptools: Option<Detected<String>>,
}

impl Dependencies {
    /// The project's own request for a package.
    pub fn own(&self, name: &str) -> Option<&Detected<AskedPackage>> {
        let mut own = self
            .packages
            .iter()
            .filter(|one| one.value.by == AskedBy::Project);
        own.find(|one| one.value.name == name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.own(name).is_some()
    }

    /// The first of these packages that nothing but an extra or a group brings, where a build
    /// can take such a part: the project itself asks for none of them. What is not for
    /// developers is taken before what is, and what has one of the packages `beside` before
    /// what has none.
    pub(crate) fn of_a_part(&self, names: &[&str], beside: &[&str]) -> Option<Detected<AskedPackage>> {
        let named = || {
            let packages = self.packages.iter();
            packages.filter(|one| names.contains(&one.value.name.as_str()))
        };
        let has_parts = !matches!(
            self.installed_from,
            Some("requirements.txt" | "Pipfile.lock" | "pylock.toml")
        );
        let has_own = named().any(|one| one.value.by == AskedBy::Project);
        let taken = named().filter_map(|one| match &one.value.by {
            AskedBy::Project => None,
            AskedBy::Extra(extra) => Some((OF_DEVELOPERS.contains(&extra.as_str()), one)),
            AskedBy::Group(group) => (!OF_DEVELOPERS.contains(&group.as_str())).then_some((false, one)),
        });
        let lacks = |by: &AskedBy| {
            let mut others = self.packages.iter().map(|one| &one.value);
            !others.any(|one| one.by == *by && beside.contains(&one.name.as_str()))
        };
        let first = taken.min_by_key(|(is_of_developers, one)| (*is_of_developers, lacks(&one.value.by)));
        first
            .filter(|_| has_parts && !has_own)
            .map(|(_, one)| one.clone())
    }

    /// Whether a package that is asked for, or that a lock has, is called as a module.
    pub(crate) fn may_bring(&self, module: &str) -> bool {
        let name = normal(module);
        let is_it = |package: &str| package == name || package.strip_prefix("python-") == Some(&name);
        let mut asked = self.packages.iter().map(|one| one.value.name.as_str());
        asked.any(is_it) || self.locked.keys().any(|package| is_it(package))
    }

    /// Whether a package may be installed although nothing here asks for it.
    pub fn may_have(&self, name: &str) -> bool {
        self.locked.is_empty() || self.locked.contains_key(name)
    }

    pub(crate) fn read(tree: &Tree, modules: &Modules<'_>) -> Self {
        let mut found = Self {
            installed_from: installed_from(|file| tree.has(file)),
            ..Self::default()
        };
        let counts = found.installed_from;
        if let Some((text, table)) = toml_at(tree, "pyproject.toml") {
            found.pyproject("pyproject.toml", text, &table);
        }
        let is_workspace = |(_, table): &(&str, Table)| at(table, &["tool", "uv", "workspace"]).is_some();
        if toml_at(tree, "pyproject.toml").as_ref().is_some_and(is_workspace) {
            for file in tree.named("pyproject.toml").into_iter().skip(1) {
                if let Some((text, table)) = toml_at(tree, file) {
                    found.pyproject(file, text, &table);
                }
            }
        }
        if let Some((text, table)) = toml_at(tree, "Pipfile") {
            // Of a list that nothing is installed from only the version of Python tells.
            if counts.is_none_or(|file| file == "Pipfile.lock") {
                found.poetry_table("Pipfile", text, table.get("packages"), &AskedBy::Project);
                found.poetry_table(
                    "Pipfile",
                    text,
                    table.get("dev-packages"),
                    &AskedBy::Group("dev".to_owned()),
                );
            }
            for key in ["python_full_version", "python_version"] {
                if let Some(version) = at(&table, &["requires", key]).and_then(Value::as_str) {
                    found.python(version, Place::of("Pipfile", text, key));
                }
            }
        }
        if let Some(text) = tree.text("setup.cfg") {
            found.setup_cfg(text);
        }
        if let Some(module) = modules.at("setup.py") {
            for (_, call) in module.calls().filter(|(_, call)| call.last() == "setup") {
                let tokens = call.named("install_requires").unwrap_or_default();
                for token in tokens.iter().filter(|token| token.kind == TokenKind::Text) {
                    found.add(token.text, AskedBy::Project, Place::new("setup.py", token.line));
                }
                if let Some(python) = call.named("python_requires")
                    && let Some(text) = statement::text_of(python)
                {
                    found.python(&text, Place::new("setup.py", python[0].line));
                }
            }
        }
        let before = found.packages.len();
        found.requirements(tree, REQUIREMENTS, 0);
        if counts.is_some_and(|file| file != REQUIREMENTS) {
            found.has_other_requirements = found.packages.len() > before;
            found.packages.truncate(before);
        }
        for (file, prefix) in [(".python-version", ""), ("runtime.txt", "python-")] {
            let first = tree
                .text(file)
                .and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
            if let Some(line) = first {
                found.python(line.trim().trim_start_matches(prefix), Place::new(file, 1));
            }
        }
        found.unlisted = beside::unlisted(tree, &found);
        found.locks(tree);
        // It is to be made the project's list: what it asks for is known before that.
        let has_none = found.installed_from.is_none() && found.packages.is_empty();
        let elsewhere = ["txt", "in"]
            .iter()
            .find_map(|ending| list_elsewhere(tree.paths(), ending));
        if let Some(list) = elsewhere.filter(|_| has_none) {
            found.requirements(tree, list, 0);
        }
        found
    }

    /// The lists of packages beside [`Self::installed_from`].
    pub(crate) fn unread(&self) -> Vec<&str> {
        let locks = self.locks.iter().map(|lock| lock.value.as_str());
        let lists = locks.chain(self.has_other_requirements.then_some(REQUIREMENTS));
        lists.filter(|file| Some(*file) != self.installed_from).collect()
    }

    fn python(&mut self, text: &str, place: Place) {
        self.python.push(Detected::sure(text.to_owned(), place));
    }

    fn add(&mut self, requirement: &str, by: AskedBy, place: Place) {
        if let Some(package) = asked(requirement, by) {
            self.packages.push(Detected::sure(package, place));
        }
    }

    fn pyproject(&mut self, file: &str, text: &str, table: &Table) {
        let strings = |value: Option<&Value>| -> Vec<String> {
            let list = value.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        for line in strings(at(table, &["project", "dependencies"])) {
            self.add(&line, AskedBy::Project, Place::of(file, text, &line));
        }
        for (extra, list) in entries(at(table, &["project", "optional-dependencies"])) {
            for line in strings(Some(list)) {
                self.add(&line, AskedBy::Extra(extra.clone()), Place::of(file, text, &line));
            }
        }
        // They are the project's list.
        let listed = match self.installed_from {
            None => listed_groups(table),
            Some(_) => Vec::new(),
        };
        for group in &listed {
            let place = Place::of(file, text, &format!("{group} ="));
            self.groups.push(Detected::sure((*group).to_owned(), place));
        }
        let groups = [&["dependency-groups"][..], &["tool", "pdm", "dev-dependencies"]];
        for (group, list) in groups.into_iter().flat_map(|path| entries(at(table, path))) {
            let by = match listed.contains(&group.as_str()) {
                true => AskedBy::Project,
                false => AskedBy::Group(group.clone()),
            };
            for line in strings(Some(list)) {
                self.add(&line, by.clone(), Place::of(file, text, &line));
            }
        }
        for (name, about) in entries(at(table, &["tool", "uv", "sources"])) {
            let named = self.packages.iter_mut().map(|one| &mut one.value);
            for package in named.filter(|one| one.name == normal(name)) {
                package.from_git |= about.get("git").is_some();
                package.by_ssh |= is_by_ssh(about);
            }
        }
        self.poetry_table(
            file,
            text,
            at(table, &["tool", "poetry", "dependencies"]),
            &AskedBy::Project,
        );
        for (group, about) in entries(at(table, &["tool", "poetry", "group"])) {
            self.poetry_table(
                file,
                text,
                about.get("dependencies"),
                &AskedBy::Group(group.clone()),
            );
        }
        if let Some(version) = at(table, &["project", "requires-python"]).and_then(Value::as_str) {
            self.python(version, Place::of(file, text, "requires-python"));
        }
    }

    /// `name = "^1"`, or a table with extras; Pipfile writes the same.
    fn poetry_table(&mut self, file: &str, text: &str, table: Option<&Value>, by: &AskedBy) {
        for (name, about) in entries(table) {
            let place = Place::of(file, text, &format!("{name} ="));
            if name == "python" {
                let version = about.as_str().or_else(|| about.get("version")?.as_str());
                self.python(version.unwrap_or_default(), place);
                continue;
            }
            let extras = about
                .get("extras")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let optional = about.get("optional").and_then(Value::as_bool) == Some(true);
            let package = AskedPackage {
                name: normal(name),
                extras: extras.filter_map(|one| one.as_str().map(normal)).collect(),
                by: match optional {
                    true => AskedBy::Extra(extra_with(name, file, text)),
                    false => by.clone(),
                },
                from_git: about.get("git").is_some(),
                by_ssh: is_by_ssh(about),
            };
            self.packages.push(Detected::sure(package, place));
        }
    }

    fn setup_cfg(&mut self, text: &str) {
        let mut key = "";
        for (n, line) in text.lines().enumerate() {
            let indented = line.starts_with([' ', '\t']);
            let mut value = line.trim();
            if !indented {
                let (name, rest) = line.split_once('=').unwrap_or((line, ""));
                (key, value) = (name.trim(), rest.trim());
            }
            let place = Place::new("setup.cfg", n + 1);
            match key {
                "install_requires" if !value.is_empty() => self.add(value, AskedBy::Project, place),
                "python_requires" if !value.is_empty() => self.python(value, place),
                _ => {}
            }
        }
    }

    fn requirements(&mut self, tree: &Tree, file: &str, depth: usize) {
        let Some(text) = tree.text(file).filter(|_| depth < 5) else {
            return;
        };
        for (n, line) in text.lines().enumerate() {
            let line = line
                .split(" #")
                .next()
                .unwrap_or_default()
                .trim()
                .trim_end_matches('\\')
                .trim();
            let included = ["-r ", "--requirement ", "--requirement="];
            if let Some(name) = included.iter().find_map(|flag| line.strip_prefix(flag)) {
                let folder = crate::tree::folder_of(file);
                self.requirements(
                    tree,
                    &format!("{folder}{}", name.trim().trim_start_matches("./")),
                    depth + 1,
                );
            } else if !line.starts_with(['#', '-']) {
                let place = Place::new(file, n + 1);
                if self.of_old_setuptools.is_none() && imports_of_setuptools(line) {
                    self.of_old_setuptools = Some(Detected::sure(line.to_owned(), place.clone()));
                }
                self.add(line, AskedBy::Project, place);
            }
        }
    }
}

/// Whether a requirement is pinned to a version that imports what setuptools brings as it is
/// loaded: `pkg_resources`, which setuptools has had up to version 81
/// ([its history](https://setuptools.pypa.io/en/latest/history.html)), or `distutils`, which
/// Python has no more since 3.12. These are the last ones that do.
fn imports_of_setuptools(requirement: &str) -> bool {
    const LAST: [(&str, [u32; 3]); 5] = [
        ("gunicorn", [20, u32::MAX, u32::MAX]),
        ("djangorestframework-simplejwt", [5, 2, u32::MAX]),
        ("drf-yasg", [1, 21, 7]),
        ("marshmallow", [3, 14, u32::MAX]),
        ("redis", [4, 0, u32::MAX]),
    ];
    let Some((name, version)) = requirement.split_once("==") else {
        return false;
    };
    let version = version.split([' ', ';', ',']).find(|part| !part.is_empty());
    let mut parts = version.unwrap_or_default().split('.').map(str::parse);
    let parts: [u32; 3] = std::array::from_fn(|_| parts.next().and_then(Result::ok).unwrap_or(0));
    let name = normal(name.split('[').next().unwrap_or_default().trim());
    LAST.iter().any(|(known, last)| *known == name && parts <= *last)
}

/// Whether a table names a git repository as SSH reaches it: `ssh://…`, `git@host:path`.
fn is_by_ssh(about: &Value) -> bool {
    let git = about.get("git").and_then(Value::as_str).unwrap_or_default();
    git.starts_with("ssh://") || git.starts_with("git@")
}

/// The extra of a Poetry project that has an optional package.
fn extra_with(package: &str, file: &str, text: &str) -> String {
    let table: Option<Table> = (file == "pyproject.toml")
        .then(|| toml::from_str(text).ok())
        .flatten();
    let extras = table
        .as_ref()
        .and_then(|table| at(table, &["tool", "poetry", "extras"]));
    let has = |list: &Value| {
        list.as_array()
            .is_some_and(|list| list.iter().any(|one| one.as_str() == Some(package)))
    };
    let mut found = entries(extras).filter(|(_, list)| has(list));
    found
        .next()
        .map_or_else(|| package.to_owned(), |(name, _)| name.clone())
}

/// A file as TOML with its text; none where it is no TOML.
pub(crate) fn toml_at<'t>(tree: &'t Tree, file: &str) -> Option<(&'t str, Table)> {
    let text = tree.text(file)?;
    Some((
        text,
        toml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok()?,
    ))
}

/// The value at the end of these keys.
pub(crate) fn at<'a>(table: &'a Table, keys: &[&str]) -> Option<&'a Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter()
        .try_fold(table.get(*first)?, |value, key| value.get(key))
}

fn entries(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_table).into_iter().flatten()
}

/// A name as PEP 503 writes it.
pub(crate) fn normal(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    let parts: Vec<&str> = lower
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("-")
}

/// The name of what a requirement asks for, as PEP 503 writes it.
pub(crate) fn name_of(requirement: &str) -> Option<String> {
    asked(requirement, AskedBy::Project).map(|asked| asked.name)
}

/// A requirement as PEP 508 writes it, or a URL with a name in it.
fn asked(requirement: &str, by: AskedBy) -> Option<AskedPackage> {
    let from_git = requirement.contains("git+");
    let named = match requirement.split_once("#egg=") {
        Some((_, name)) if requirement.contains("://") => name,
        _ => requirement,
    };
    let end = named.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let (name, rest) = named.split_at(end.unwrap_or(named.len()));
    if name.is_empty() || name.starts_with('.') || rest.starts_with(['/', ':', '+']) {
        return None;
    }
    let extras = rest
        .trim_start()
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let extras = extras.map_or("", |(extras, _)| extras).split(',').map(normal);
    Some(AskedPackage {
        name: normal(name),
        extras: extras.filter(|extra| !extra.is_empty()).collect(),
        by,
        from_git,
        by_ssh: requirement.contains("git+ssh://"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_have_a_name_and_extras() {
        let shown = |text: &str| {
            asked(text, AskedBy::Project)
                .map(|one| format!("{} {} {}", one.name, one.extras.join(","), one.from_git))
        };
        for (text, expected) in [
            (
                "fastapi[standard]>=0.1; python_version > '3'",
                "fastapi standard false",
            ),
            ("Flask_SQLAlchemy == 3", "flask-sqlalchemy  false"),
            ("psycopg [binary, pool] >= 3", "psycopg binary,pool false"),
            ("x @ git+https://h/x.git", "x  true"),
            ("git+https://h/y.git#egg=y", "y  true"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        for none in ["./local", "https://h/x.whl", "", ".", "git+https://h/y.git"] {
            assert_eq!(shown(none), None, "{none}");
        }
    }
}
