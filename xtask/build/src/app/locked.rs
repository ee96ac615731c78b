//! Locks of Poetry and PDM: whether they were made from the project beside them,
//! and have what a spec chooses. Pure.
//!
//! What they install is worked out in the build, by the Python that it is for;
//! here is only told ahead what surely cannot work.

use std::collections::BTreeSet;
use std::path::Path;

use definition::spec::App;
use serde_json::{Map, Value, json};
use toml::Table;

use super::DependencySource;
use super::choice::SERVER;
use super::foreign::{ascii, digest, python_json};
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
    if shape == DependencySource::Pdm && workspace.is_some() {
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
        if !has_metadata(&lock) {
            return vec![format!(
                "{shown} does not say which package is for which machine: run `pdm lock --update-reuse --strategy \
                 inherit_metadata` in {at} and commit the file"
            )];
        }
        return ToolLock::of_pdm(folder, &lock).problems(app);
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

    fn of_pdm(folder: &'a Path, lock: &Table) -> Self {
        let mut groups = texts(at_keys(lock, &["metadata", "groups"]));
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
        if found.is_empty() && app.command.is_none() && !self.has_server(&extras, &groups) {
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
                "run `{} add {SERVER}` in {} and commit both files, or give the spec an `app.command`",
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

/// As Poetry tells it: by SHA-256 over what it reads of the project, as JSON.
fn poetry_is_current(lock: &Table, project: &Table) -> bool {
    let noted = at_keys(lock, &["metadata", "content-hash"]).and_then(toml::Value::as_str);
    // Before 2.2, Poetry did not know of `dependency-groups`.
    [true, false]
        .iter()
        .any(|with_groups| noted == Some(&poetry_hash(project, *with_groups)))
}

fn poetry_hash(project: &Table, with_groups: bool) -> String {
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
fn pdm_is_current(lock: &Table, project: &Table) -> bool {
    let noted = at_keys(lock, &["metadata", "content_hash"]).and_then(toml::Value::as_str);
    let noted = noted.and_then(|noted| noted.strip_prefix("sha256:"));
    [pdm_hash(project), pdm_hash_of_before(project)]
        .iter()
        .any(|known| noted == Some(known))
}

/// What PDM before 2.18 noted: its locks are still what they were made of.
fn pdm_hash_of_before(project: &Table) -> String {
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

fn hash(content: Map<String, Value>) -> String {
    digest(&ascii(&python_json(&Value::Object(content), [", ", ": "])))
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
mod tests {
    use super::*;
    use crate::sample;

    const POETRY: [&str; 2] = [
        include_str!("../../../tests/fixtures/poetry-app/pyproject.toml"),
        include_str!("../../../tests/fixtures/poetry-app/poetry.lock"),
    ];
    const PDM: [&str; 2] = [
        include_str!("../../../tests/fixtures/pdm-app/pyproject.toml"),
        include_str!("../../../tests/fixtures/pdm-app/pdm.lock"),
    ];

    /// What is told of a project, its lock, extras and groups.
    fn told(shape: DependencySource, [project, lock]: [&str; 2], chosen: [&[&str]; 2]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join(shape.file()), lock).unwrap();
        let [extras, groups] = chosen.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let mut app = sample::spec().app.unwrap();
        app.install.extras = extras;
        app.install.groups = groups;
        let top = format!("{}/", dir.path().display());
        let found = problems(dir.path(), &project.parse().unwrap(), &app, shape);
        found
            .iter()
            .map(|one| one.replace(&top, "").replace(top.trim_end_matches('/'), "."))
            .collect()
    }

    #[test]
    fn locks_as_their_tools_wrote_them_are_taken() {
        let chosen: [&[&str]; 2] = [&["server"], &["prod"]];
        assert_eq!(told(DependencySource::Poetry, POETRY, chosen), [""; 0]);
        let chosen: [&[&str]; 2] = [&["server"], &["prod_x"]];
        assert_eq!(told(DependencySource::Pdm, PDM, chosen), [""; 0]);
    }

    #[test]
    fn a_lock_of_another_project_is_refused() {
        let [project, lock] = POETRY;
        let changed = project.replace("docopt = \"^0.6\"", "docopt = \"^0.5\"");
        assert_eq!(
            told(DependencySource::Poetry, [&changed, lock], [&["server"], &[]]),
            ["poetry.lock is older than pyproject.toml: run `poetry lock` in . and commit the file"]
        );
        let [project, lock] = PDM;
        let changed = project.replace("\"docopt\"", "\"docopt<1\"");
        assert_eq!(
            told(DependencySource::Pdm, [&changed, lock], [&["server"], &[]]),
            ["pdm.lock is older than pyproject.toml: run `pdm lock` in . and commit the file"]
        );
        // What neither of them reads may change.
        for (shape, [project, lock]) in [(DependencySource::Poetry, POETRY), (DependencySource::Pdm, PDM)] {
            let changed = project.replace("1.4.0", "1.5.0") + "\n[tool.ruff]\nline-length = 100\n";
            assert_eq!(told(shape, [&changed, lock], [&["server"], &[]]), [""; 0]);
        }
    }

    /// Hashes that Poetry 2.5 and PDM 2.29 have written.
    #[test]
    fn hashes_are_those_of_the_tools() {
        let project = "[project]\nname = 'pep-app'\nversion = '1'\nrequires-python = '>=3.11,<4'\n\
            dependencies = ['starlette>=0.40', 'typing-extensions']\n\
            [project.optional-dependencies]\nserver = ['uvicorn[standard]>=0.30']\n\
            [dependency-groups]\ntest = ['iniconfig']\nprod = ['docopt', {include-group = 'test'}]\n\
            [tool.poetry]\npackage-mode = false\n\
            [[tool.poetry.source]]\nname = 'simple'\nurl = 'https://pypi.org/simple/'\npriority = 'primary'\n";
        let project: Table = project.parse().unwrap();
        assert_eq!(
            poetry_hash(&project, true),
            "a23904bb4c882fe49fd76eb6fc232af1a24e445dfee0fb71faf001d9ab4f2f4b"
        );
        assert_ne!(poetry_hash(&project, false), poetry_hash(&project, true));
    }

    #[test]
    fn a_lock_of_pdm_before_2_18_is_that_of_its_project() {
        let project: Table = PDM[0].parse().unwrap();
        // As PDM 2.12.4 has written it.
        let known = "8670c9756039ffb8cb33c9553ce09c970ee849169277f291b32f7e4805763466";
        assert_eq!(pdm_hash_of_before(&project), known);
        let lock: Table = format!("[metadata]\ncontent_hash = \"sha256:{known}\"")
            .parse()
            .unwrap();
        assert!(pdm_is_current(&lock, &project));
        let changed: Table = PDM[0].replace("\"docopt\"", "\"docopt<1\"").parse().unwrap();
        assert!(
            pdm_is_current(&lock, &changed),
            "it did not know of dependency-groups"
        );
        let changed: Table = PDM[0]
            .replace("\"iniconfig\"", "\"iniconfig<9\"")
            .parse()
            .unwrap();
        assert!(!pdm_is_current(&lock, &changed));
    }

    #[test]
    fn what_the_lock_does_not_have_is_told_with_what_it_has() {
        assert_eq!(
            told(DependencySource::Poetry, POETRY, [&["serve"], &["test"]]),
            [
                "poetry.lock: `app.extras` names `serve`, which it does not have: it has server",
                "poetry.lock: `app.groups` names `test`, which it does not have: it has dev, prod",
            ]
        );
        let found = told(DependencySource::Pdm, PDM, [&["serve"], &[]]);
        assert_eq!(
            found,
            [
                "pdm.lock: `app.extras` names `serve`, which it does not have: it has dev, prod-x, server \
              (`pdm lock --group :all` locks all that the project has)"
            ]
        );
    }

    #[test]
    fn a_server_that_would_not_be_installed_is_told_with_what_installs_it() {
        let advice = "uvicorn is not among what is installed: `\"extras\": [\"server\"]` in the spec's `app` installs it";
        for (shape, files) in [(DependencySource::Poetry, POETRY), (DependencySource::Pdm, PDM)] {
            assert_eq!(
                told(shape, files, [&[], &[]]),
                [format!("{}: {advice}", shape.file())]
            );
        }
    }

    #[test]
    fn what_lies_outside_and_what_says_no_markers_is_refused() {
        let [project, lock] = POETRY;
        let local = "[[package]]\nname = \"shared\"\nversion = \"1\"\ngroups = [\"main\"]\n\
            [package.source]\ntype = \"directory\"\nurl = \"../shared\"\n\n[extras]";
        let lock = lock.replace("[extras]", local);
        let found = told(DependencySource::Poetry, [project, &lock], [&["server"], &[]]);
        assert!(
            found[0].starts_with("poetry.lock installs `shared` from ../shared, and"),
            "{found:?}"
        );
        let [project, lock] = PDM;
        let bare = lock.replace(
            "strategy = [\"inherit_metadata\"]",
            "strategy = [\"cross_platform\"]",
        );
        let found = told(DependencySource::Pdm, [project, &bare], [&["server"], &[]]);
        assert!(
            found[0].contains("run `pdm lock --update-reuse --strategy inherit_metadata` in ."),
            "{found:?}"
        );
    }

    #[test]
    fn a_range_of_python_is_told_as_others_write_it() {
        for (asked, told) in [
            ("^3.11", Some(">=3.11,<4")),
            ("~3.12", Some("==3.12.*")),
            ("~3.12.1", Some("==3.12.*")),
            (">=3.9, <3.14", Some(">=3.9, <3.14")),
            ("*", None),
            (">=3.9 || <3", None),
        ] {
            let project = format!("[tool.poetry.dependencies]\npython = '{asked}'\n");
            assert_eq!(
                python_of_poetry(&project.parse().unwrap()).as_deref(),
                told,
                "{asked}"
            );
        }
    }
}
