//! Lists of packages beside the one that counts: which they are, and what they say
//! otherwise. An old lock, or a `requirements.txt` for another tool, is easily
//! taken for what is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use toml::Table;

use super::lock::{self, normal};
use super::{DependencySource, MOST_NAMED};
use host::report::some_of;
use inputs::regular;

/// How far `-r` is followed.
const DEPTH: usize = 5;

/// A list that nothing is installed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnreadList {
    /// The file's name.
    pub file: &'static str,
    /// What it says of a package, and what is installed in its place.
    pub otherwise: Vec<String>,
}

/// Package → the versions that are asked for; none where any will do.
type Packages = BTreeMap<String, BTreeSet<String>>;

/// All lists beside the one that counts.
///
/// # Errors
/// A sentence where the one that counts has no packages and another one has.
pub(super) fn beside(
    folder: &Path,
    project: &Table,
    counts: DependencySource,
) -> Result<Vec<UnreadList>, String> {
    let files = DependencySource::WITH_LIST
        .into_iter()
        .filter(|shape| *shape != counts);
    let others: Vec<&'static str> = files
        .map(DependencySource::file)
        .filter(|file| folder.join(file).is_file())
        .collect();
    let asks_project = counts == DependencySource::Requirements && project.contains_key("project");
    if others.is_empty() && !asks_project {
        return Ok(Vec::new());
    }
    let own = super::name_of(folder, project);
    let installed = packages(folder, counts.file(), &own);
    let mut unread = Vec::new();
    for file in others {
        let asked = packages(folder, file, &own);
        if installed.is_empty() && !asked.is_empty() {
            return Err(format!(
                "{} has no packages, and is what is installed; {file} asks for {}: remove the one that is not meant",
                folder.join(counts.file()).display(),
                some_of(&asked.into_keys().collect::<Vec<_>>(), MOST_NAMED)
            ));
        }
        unread.push(UnreadList {
            file,
            otherwise: otherwise(&asked, &installed, counts.file()),
        });
    }
    if asks_project && !installs_project(folder) {
        let otherwise = otherwise(&of_project(project), &installed, counts.file());
        // Many a requirements.txt is made of it: then there is nothing to say.
        if !otherwise.is_empty() {
            let file = "pyproject.toml";
            unread.push(UnreadList { file, otherwise });
        }
    }
    Ok(unread)
}

/// What is told where all lists agree; `None` where there is one alone, or one that
/// does not agree.
pub(super) fn agreeing(counts: &str, unread: &[UnreadList]) -> Option<String> {
    let files: Vec<&str> = unread
        .iter()
        .filter(|list| list.otherwise.is_empty())
        .map(|list| list.file)
        .collect();
    (!files.is_empty()).then(|| format!("{counts} says what is installed, not {}", files.join(" or ")))
}

/// What is told of each list that does not agree.
pub(super) fn disagreeing(counts: &str, unread: &[UnreadList]) -> Vec<String> {
    let lists = unread.iter().filter(|list| !list.otherwise.is_empty());
    lists
        .map(|UnreadList { file, otherwise }| {
            format!(
                "{counts} says what is installed, and not {file}, which has {}",
                some_of(otherwise, MOST_NAMED)
            )
        })
        .collect()
}

fn otherwise(asked: &Packages, installed: &Packages, counts: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, versions) in asked {
        let Some(there) = installed.get(name) else {
            found.push(format!("{name} ({counts}: none)"));
            continue;
        };
        if !versions.is_empty() && !there.is_empty() && versions.is_disjoint(there) {
            let all = |versions: &BTreeSet<String>| versions.iter().cloned().collect::<Vec<_>>().join(", ");
            found.push(format!("{name} {} ({counts}: {})", all(versions), all(there)));
        }
    }
    found
}

/// What a list has beside the project itself.
fn packages(folder: &Path, file: &str, own: &str) -> Packages {
    let read = |file: &str| lock::read(&folder.join(file)).unwrap_or_default();
    let mut packages = Packages::new();
    match file {
        "requirements.txt" => of_requirements(folder, Path::new(file), DEPTH, &mut packages),
        "Pipfile.lock" => of_pipfile(&read(file), &mut packages),
        _ => of_lock(&read(file), &mut packages),
    }
    packages.remove(&normal(own));
    packages
}

fn of_requirements(folder: &Path, file: &Path, depth: usize, packages: &mut Packages) {
    let text = regular::read_to_string(&folder.join(file)).unwrap_or_default();
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let included = ["-r ", "--requirement ", "--requirement="];
        if let Some(other) = included.iter().find_map(|option| line.strip_prefix(option)) {
            if depth > 0 {
                let other = file.parent().unwrap_or(Path::new("")).join(other.trim());
                of_requirements(folder, &other, depth - 1, packages);
            }
        } else if let Some((name, version)) = requirement(line) {
            packages.entry(name).or_default().extend(version);
        }
    }
}

/// Name and pinned version of a requirement as PEP 508 writes it; `None` for what
/// lies in a folder, for URLs and options.
fn requirement(line: &str) -> Option<(String, Option<String>)> {
    let end = line
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || rest.starts_with(['/', ':', '+']) {
        return None;
    }
    let pinned = rest.split([';', '\\']).next().unwrap_or_default();
    let version = pinned
        .split_once("==")
        .map(|(_, version)| version.trim_start_matches('=').trim());
    let version = version.and_then(|version| version.split([' ', ',']).next());
    let exact = version.filter(|version| !version.is_empty() && !version.contains('*'));
    Some((normal(name), exact.map(str::to_owned)))
}

/// A lock of TOML: each of these tools writes a package's name and version in lines
/// of their own, before what it needs. What lies in a folder is none.
fn of_lock(text: &str, packages: &mut Packages) {
    let mut rest = text.split("[[package]]\n");
    let parts: Vec<&str> = match rest.nth(1) {
        Some(first) => std::iter::once(first).chain(rest).collect(),
        None => text.split("[[packages]]\n").skip(1).collect(),
    };
    for part in parts {
        let value = |key: &str| {
            let line = part.lines().find_map(|line| line.strip_prefix(key))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        let is_local = ["virtual", "editable", "directory"]
            .iter()
            .any(|kind| part.contains(&format!("\nsource = {{ {kind} = ")));
        if let Some(name) = value("name").filter(|_| !is_local) {
            let versions = packages.entry(normal(name)).or_default();
            versions.extend(value("version").map(str::to_owned));
        }
    }
}

fn of_pipfile(text: &str, packages: &mut Packages) {
    let lock: Value = serde_json::from_str(text).unwrap_or_default();
    let default = lock.get("default").and_then(Value::as_object);
    for (name, about) in default.into_iter().flatten() {
        let version = about.get("version").and_then(Value::as_str);
        let version = version.and_then(|version| version.strip_prefix("=="));
        let versions = packages.entry(normal(name)).or_default();
        versions.extend(version.map(str::to_owned));
    }
}

fn of_project(project: &Table) -> Packages {
    let list = project
        .get("project")
        .and_then(|project| project.get("dependencies"));
    let list = list.and_then(toml::Value::as_array).into_iter().flatten();
    list.filter_map(|line| requirement(line.as_str()?))
        .map(|(name, version)| (name, version.into_iter().collect()))
        .collect()
}

/// Whether `requirements.txt` installs the project in its folder, and with it all
/// that pyproject.toml asks for.
fn installs_project(folder: &Path) -> bool {
    let text = regular::read_to_string(&folder.join("requirements.txt")).unwrap_or_default();
    text.lines().any(|line| {
        let place = line
            .trim()
            .trim_start_matches("--editable")
            .trim_start_matches("-e");
        place.trim_start_matches(['=', ' ']).starts_with('.')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str)], counts: DependencySource) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let mut project = Table::new();
        for (name, text) in files {
            fs_err::write(dir.path().join(name), text).unwrap();
            if *name == "pyproject.toml" {
                project = text.parse().unwrap();
            }
        }
        let unread = beside(dir.path(), &project, counts)
            .map_err(|told| told.replace(&format!("{}/", dir.path().display()), ""))?;
        let mut told = disagreeing(counts.file(), &unread);
        told.extend(agreeing(counts.file(), &unread));
        Ok(told)
    }

    const UV: &str = "version = 1\n\n[[package]]\nname = \"shop\"\nversion = \"1\"\nsource = { virtual = \".\" }\n\n\
        [[package]]\nname = \"httpx\"\nversion = \"0.28\"\nsource = { registry = \"https://pypi.org/simple\" }\n";

    #[test]
    fn a_list_that_says_the_same_is_told_as_not_read() {
        for (file, text) in [
            (
                "requirements.txt",
                "-r more.txt\nHttpX==0.28 ; python_version > '3' # web\n",
            ),
            (
                "Pipfile.lock",
                r#"{"default": {"httpx": {"version": "==0.28"}}, "develop": {"ruff": {}}}"#,
            ),
            (
                "poetry.lock",
                "[[package]]\nname = \"httpx\"\nversion = \"0.28\"\n\n[package.extras]\nversion = \"9\"\n",
            ),
            (
                "pylock.toml",
                "lock-version = \"1.0\"\n[[packages]]\nname = \"httpx\"\nversion = \"0.28\"\n",
            ),
        ] {
            let said = told(&[("uv.lock", UV), (file, text)], DependencySource::Locked);
            assert_eq!(
                said.unwrap(),
                [format!("uv.lock says what is installed, not {file}")]
            );
        }
        assert_eq!(
            told(&[("uv.lock", UV)], DependencySource::Locked).unwrap(),
            [""; 0]
        );
    }

    #[test]
    fn what_a_list_says_otherwise_is_told_by_name_and_version() {
        let files = [
            ("uv.lock", UV),
            (
                "requirements.txt",
                "-r more.txt\nhttpx==0.27\n-e .\n./lib\nx @ git+https://h/x\nb\nc\n",
            ),
            ("more.txt", "a>=1\n"),
        ];
        assert_eq!(
            told(&files, DependencySource::Locked).unwrap(),
            [
                "uv.lock says what is installed, and not requirements.txt, which has a (uv.lock: none), b (uv.lock: none), \
              c (uv.lock: none) and 2 more"
            ]
        );
        let files = [("uv.lock", UV), ("requirements.txt", "httpx == 0.27\n")];
        assert_eq!(
            told(&files, DependencySource::Locked).unwrap(),
            [
                "uv.lock says what is installed, and not requirements.txt, which has httpx 0.27 (uv.lock: 0.28)"
            ]
        );
    }

    #[test]
    fn requirements_that_a_project_does_not_have_are_told() {
        let project = "[project]\nname='shop'\ndependencies=['httpx>=0.2', 'idna']\n";
        let with = |requirements| {
            let files = [("pyproject.toml", project), ("requirements.txt", requirements)];
            told(&files, DependencySource::Requirements).unwrap()
        };
        assert_eq!(
            with("httpx==0.28\n"),
            [
                "requirements.txt says what is installed, and not pyproject.toml, which has idna (requirements.txt: none)"
            ]
        );
        for fine in ["httpx\nidna==3\n", "-e .[server]\n", "--editable=.\n", ".\n"] {
            assert_eq!(with(fine), [""; 0], "{fine}");
        }
    }

    #[test]
    fn an_empty_lock_beside_a_list_is_refused() {
        let empty = "[[package]]\nname = \"shop\"\nsource = { virtual = \".\" }\n";
        let files = [("uv.lock", empty), ("requirements.txt", "fastapi\n")];
        assert_eq!(
            told(&files, DependencySource::Locked).unwrap_err(),
            "uv.lock has no packages, and is what is installed; requirements.txt asks for fastapi: remove the one that is not meant"
        );
    }
}
