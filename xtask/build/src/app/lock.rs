//! Whether `uv.lock` was made from the `pyproject.toml` beside it. Pure.
//!
//! A lock notes what each local project asked for when it was made. What the
//! project asks for now is compared with that by meaning: names as PEP 503
//! writes them, specifiers as sets, extras, groups, versions. Markers are left
//! to uv, which simplifies them, and which has the last word inside of the
//! build; whatever is not understood here is left to it, too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use pep440_rs::{Version, VersionSpecifier, VersionSpecifiers};
use toml::{Table, Value};

use inputs::regular;

/// A requirement, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    name: String,
    /// The extra or the group that asks for it.
    of: Option<String>,
    extras: BTreeSet<String>,
    /// Absent where it comes from a place of its own and not from an index.
    specifiers: Option<BTreeSet<VersionSpecifier>>,
}

/// What of a project is not what the lock was made from, in words; empty where
/// all is. `path` is where the project lies, from the lock.
pub(super) fn differences(project: &Table, lock: &str, path: &str) -> Vec<String> {
    let Some(Value::Table(about)) = project.get("project") else {
        return Vec::new();
    };
    let (head, locals) = local_packages(lock);
    let is_here = |package: &&Table| source(package) == Some(path);
    let Some(package) = locals.iter().find(is_here) else {
        let asks = list(about.get("dependencies")).next().is_some();
        let name = text(about, "name").unwrap_or_default();
        return if asks {
            vec![format!("it does not have {name}")]
        } else {
            Vec::new()
        };
    };
    let mut found = Vec::new();
    if text(about, "name").map(normal) != text(package, "name").map(normal) {
        found.push("`name` changed".to_owned());
    }
    let versions = (version(about), version(package));
    if let (Some(ours), Some(theirs)) = versions
        && ours != theirs
    {
        found.push(format!("`version` changed: {theirs} → {ours}"));
    }
    // That of a workspace is made from all its members.
    let ranges = (text(about, "requires-python"), text(&head, "requires-python"));
    if let (Some(ours), Some(theirs), 1) = (ranges.0, ranges.1, locals.len())
        && mean_the_same(ours, theirs) == Some(false)
    {
        found.push("`requires-python` changed".to_owned());
    }
    if let Some(ours) = asked(project, about) {
        let theirs = noted(package, about);
        let ours = unfolded(ours, &normal(text(about, "name").unwrap_or_default()), &theirs);
        // Where the lock has a source of its own, an index's specifier says nothing.
        let placed: BTreeSet<_> = theirs
            .iter()
            .filter(|one| one.specifiers.is_none())
            .map(identity)
            .collect();
        let ours: BTreeSet<_> = ours
            .into_iter()
            .map(|one| match placed.contains(&identity(&one)) {
                true => Requirement {
                    specifiers: None,
                    ..one
                },
                false => one,
            })
            .collect();
        found.extend(told(&ours, &theirs));
    }
    found
}

/// A lock with the ends of lines that uv writes: git of Windows gives each line another
/// one, which uv reads as well and leaves.
///
/// # Errors
/// When it cannot be read, with its path.
pub(super) fn read(path: &Path) -> io::Result<String> {
    Ok(regular::read_to_string(path)?.replace("\r\n", "\n"))
}

/// A text of the lock's own, above its packages.
pub(super) fn text_before_packages(lock: &str, key: &str) -> Option<String> {
    let (head, _) = lock.split_once("[[package]]").unwrap_or((lock, ""));
    text(&head.parse().ok()?, key).map(str::to_owned)
}

/// Where the local packages of a lock lie besides the project at its side.
pub(super) fn members(lock: &str) -> Vec<String> {
    let (_, locals) = local_packages(lock);
    let paths = locals.iter().filter_map(source).filter(|path| *path != ".");
    paths.map(str::to_owned).collect()
}

/// What makes a requirement the same one with another range.
fn identity(one: &Requirement) -> (String, Option<String>) {
    (one.name.clone(), one.of.clone())
}

/// The top of a lock, and its packages that lie on this disk. uv writes a lock
/// in one form: of thousands of packages only these are parsed.
fn local_packages(lock: &str) -> (Table, Vec<Table>) {
    let mut parts = lock.split("[[package]]\n");
    let head = parts.next().unwrap_or_default();
    let is_local = |part: &&str| {
        let source = part.lines().find(|line| line.starts_with("source = "));
        let kinds = ["{ virtual = ", "{ editable = ", "{ directory = "];
        source.is_some_and(|source| kinds.iter().any(|kind| source.contains(kind)))
    };
    // What stands above a `[package.…]` belongs to the package.
    let parsed = |part: &str| toml::from_str(&part.replace("[package.", "[")).ok();
    (
        toml::from_str(head).unwrap_or_default(),
        parts.filter(is_local).filter_map(parsed).collect(),
    )
}

fn source(package: &Table) -> Option<&str> {
    let source = package.get("source")?.as_table()?;
    source.values().next()?.as_str()
}

/// What the project asks for; `None` where a part of it is not understood.
fn asked(project: &Table, about: &Table) -> Option<BTreeSet<Requirement>> {
    let mut all = BTreeSet::new();
    if !is_dynamic(about, "dependencies") {
        for line in list(about.get("dependencies")) {
            all.insert(parse(line.as_str()?, None)?);
        }
    }
    if !is_dynamic(about, "optional-dependencies") {
        for (extra, lines) in tables(about.get("optional-dependencies")) {
            for line in list(Some(lines)) {
                all.insert(parse(line.as_str()?, Some(normal(extra)))?);
            }
        }
    }
    let groups: BTreeMap<String, &Value> = tables(project.get("dependency-groups"))
        .map(|(name, lines)| (normal(name), lines))
        .collect();
    for name in groups.keys() {
        add_group(&groups, name, name, 0, &mut all)?;
    }
    let uv = project.get("tool").and_then(|tool| tool.get("uv"));
    for line in list(uv.and_then(|uv| uv.get("dev-dependencies"))) {
        all.insert(parse(line.as_str()?, Some(group("dev")))?);
    }
    Some(all)
}

/// What is asked for, with what an extra takes of the project's own extras in place of
/// `app[other]`: some build systems tell uv only that, where it has to ask them. What the
/// lock itself has noted as `app[other]` stays as it is.
fn unfolded(asked: BTreeSet<Requirement>, own: &str, noted: &BTreeSet<Requirement>) -> BTreeSet<Requirement> {
    let is_extra = |one: &Requirement| one.of.as_ref().is_some_and(|of| !of.starts_with(GROUP));
    let is_own = |one: &Requirement| one.name == own && is_extra(one) && !noted.contains(one);
    let mut all = BTreeSet::new();
    for one in &asked {
        if !is_own(one) {
            all.insert(one.clone());
            continue;
        }
        let mut extras = BTreeSet::new();
        let mut left: Vec<&String> = one.extras.iter().collect();
        while let Some(extra) = left.pop() {
            if extras.insert(extra) {
                let further = asked
                    .iter()
                    .filter(|other| is_own(other) && other.of.as_ref() == Some(extra));
                left.extend(further.flat_map(|other| &other.extras));
            }
        }
        let taken = asked
            .iter()
            .filter(|other| !is_own(other) && other.of.as_ref().is_some_and(|of| extras.contains(of)));
        all.extend(taken.map(|other| Requirement {
            of: one.of.clone(),
            ..other.clone()
        }));
    }
    all
}

/// Adds what a group asks for, and the groups that it includes, to `into`.
fn add_group(
    groups: &BTreeMap<String, &Value>,
    name: &str,
    into: &str,
    depth: usize,
    all: &mut BTreeSet<Requirement>,
) -> Option<()> {
    // A group that includes itself is uv's to refuse.
    if depth > groups.len() {
        return None;
    }
    for line in list(Some(groups.get(name)?)) {
        match line {
            Value::String(line) => drop(all.insert(parse(line, Some(group(into)))?)),
            other => {
                let included = normal(other.get("include-group")?.as_str()?);
                add_group(groups, &included, into, depth + 1, all)?;
            }
        }
    }
    Some(())
}

/// What stands before the name of a group, which is not taken for an extra of its name.
const GROUP: &str = "group ";

fn group(name: &str) -> String {
    format!("{GROUP}{name}")
}

/// What the lock has noted of the same, without what the project leaves to its
/// build system.
fn noted(package: &Table, about: &Table) -> BTreeSet<Requirement> {
    let mut all = BTreeSet::new();
    let metadata = package.get("metadata");
    let provided = metadata.and_then(|metadata| metadata.get("provides-extras"));
    // A marker may name an extra that is none of the project's.
    let is_extra = |name: &&str| provided.is_none() || list(provided).any(|one| one.as_str() == Some(*name));
    for entry in list(metadata.and_then(|metadata| metadata.get("requires-dist"))) {
        let marker = entry.get("marker").and_then(Value::as_str).unwrap_or_default();
        let extra = marker
            .rsplit_once("extra == '")
            .and_then(|(_, rest)| rest.split('\'').next())
            .filter(is_extra);
        let left = match extra {
            Some(_) => "optional-dependencies",
            None => "dependencies",
        };
        if !is_dynamic(about, left) {
            all.extend(note(entry, extra.map(normal)));
        }
    }
    for (name, entries) in tables(metadata.and_then(|metadata| metadata.get("requires-dev"))) {
        for entry in list(Some(entries)) {
            all.extend(note(entry, Some(group(&normal(name)))));
        }
    }
    all
}

fn note(entry: &Value, of: Option<String>) -> Option<Requirement> {
    let places = ["git", "url", "path", "directory", "editable", "virtual"];
    let specifiers = match entry.get("specifier").and_then(Value::as_str) {
        Some(text) => Some(specifiers(text)?),
        None if places.iter().any(|place| entry.get(place).is_some()) => None,
        None => Some(BTreeSet::new()),
    };
    Some(Requirement {
        name: normal(entry.get("name")?.as_str()?),
        of,
        extras: list(entry.get("extras"))
            .filter_map(Value::as_str)
            .map(normal)
            .collect(),
        specifiers,
    })
}

/// `name[extra] >=1,<2 ; marker`, or `name @ URL ; marker`.
fn parse(line: &str, of: Option<String>) -> Option<Requirement> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let line = line.trim();
    let end = line.find(|c| !is_name(c)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    let mut rest = rest.trim_start();
    let mut extras = BTreeSet::new();
    if let Some(inner) = rest.strip_prefix('[') {
        let (names, after) = inner.split_once(']')?;
        extras = names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(normal)
            .collect();
        rest = after.trim_start();
    }
    let specifiers = if rest.starts_with('@') {
        None
    } else {
        let range = rest.split(';').next().unwrap_or_default().trim();
        let range = range
            .strip_prefix('(')
            .and_then(|range| range.strip_suffix(')'))
            .unwrap_or(range);
        Some(specifiers(range)?)
    };
    Some(Requirement {
        name: normal(name),
        of,
        extras,
        specifiers,
    })
}

fn specifiers(text: &str) -> Option<BTreeSet<VersionSpecifier>> {
    if text.trim().is_empty() {
        return Some(BTreeSet::new());
    }
    Some(text.parse::<VersionSpecifiers>().ok()?.iter().cloned().collect())
}

/// Whether two ranges of Python hold the same versions.
fn mean_the_same(one: &str, other: &str) -> Option<bool> {
    let one: VersionSpecifiers = one.parse().ok()?;
    let other: VersionSpecifiers = other.parse().ok()?;
    // Whoever names another patch release names one of these, too.
    let named = one
        .iter()
        .chain(other.iter())
        .map(|specifier| specifier.version().clone());
    let minors = (0..40).flat_map(|minor| [0, 1, 50].map(|patch| Version::new([3, minor, patch])));
    let majors = [Version::new([2, 7]), Version::new([4]), Version::new([4, 1])];
    let mut all = named.chain(minors).chain(majors);
    Some(all.all(|version| one.contains(&version) == other.contains(&version)))
}

/// The names that are in one of them only, or in both with another range.
fn told(ours: &BTreeSet<Requirement>, theirs: &BTreeSet<Requirement>) -> Vec<String> {
    let new: BTreeSet<_> = ours.difference(theirs).map(identity).collect();
    let old: BTreeSet<_> = theirs.difference(ours).map(identity).collect();
    new.union(&old)
        .map(|one| {
            let what = match (new.contains(one), old.contains(one)) {
                (true, true) => "changed",
                (true, false) => "is new",
                (false, _) => "is gone",
            };
            let (name, of) = one;
            match of {
                Some(of) => format!("`{name}` ({of}) {what}"),
                None => format!("`{name}` {what}"),
            }
        })
        .collect()
}

/// As PEP 503 writes a name.
pub(super) fn normal(name: &str) -> String {
    let parts: Vec<&str> = name
        .split(['-', '_', '.'])
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("-").to_lowercase()
}

fn version(table: &Table) -> Option<Version> {
    text(table, "version")?.parse().ok()
}

fn is_dynamic(about: &Table, field: &str) -> bool {
    list(about.get("dynamic")).any(|name| name.as_str() == Some(field))
}

fn text<'t>(table: &'t Table, key: &str) -> Option<&'t str> {
    table.get(key)?.as_str()
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn tables(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    let table = value.and_then(Value::as_table).into_iter().flatten();
    table.map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With each form that uv writes in another way than the project does.
    const PROJECT: &str = r#"
[project]
name = "My.App"
version = "1.0"
requires-python = "~=3.11"
dependencies = [
    "fastapi>=0.100,<1 ; python_version >= '3.8'",
    "uvicorn[standard] >= 0.20",
    "Typing_Extensions",
    "idna @ https://example.org/idna-3.10-py3-none-any.whl",
    "lib (>=1)",
    "colorama ; sys_platform == 'win32' or extra == 'nobody'",
]
[project.optional-dependencies]
Server_X = ["gunicorn~=23.0", "my-app[other]"]
other = ["orjson!=3.9.1"]
[dependency-groups]
dev = ["pytest", {include-group = "lint"}]
lint = ["ruff>=0.5"]
[tool.uv.sources]
lib = { git = "https://example.org/lib" }
"#;

    /// As uv writes it, without what else there would be.
    const LOCK: &str = r#"version = 1
revision = 5
requires-python = ">=3.11, <4"

[[package]]
name = "anyio"
version = "4.0"
source = { registry = "https://example.org/simple" }

[[package]]
name = "my-app"
version = "1.0"
source = { virtual = "." }
dependencies = [
    { name = "fastapi" },
]

[package.optional-dependencies]
other = [
    { name = "orjson" },
]

[package.metadata]
requires-dist = [
    { name = "colorama", marker = "sys_platform == 'win32' or extra == 'nobody'" },
    { name = "fastapi", marker = "python_full_version >= '3.8'", specifier = ">=0.100,<1" },
    { name = "gunicorn", marker = "extra == 'server-x'", specifier = "~=23.0" },
    { name = "idna", url = "https://example.org/idna-3.10-py3-none-any.whl" },
    { name = "lib", git = "https://example.org/lib" },
    { name = "my-app", extras = ["other"], marker = "extra == 'server-x'" },
    { name = "orjson", marker = "extra == 'other'", specifier = "!=3.9.1" },
    { name = "typing-extensions" },
    { name = "uvicorn", extras = ["standard"], specifier = ">=0.20" },
]
provides-extras = ["server-x", "other"]

[package.metadata.requires-dev]
dev = [
    { name = "pytest" },
    { name = "ruff", specifier = ">=0.5" },
]
lint = [{ name = "ruff", specifier = ">=0.5" }]

[[package]]
name = "ruff"
version = "0.6"
source = { registry = "https://example.org/simple" }
"#;

    fn of(project: &str, lock: &str) -> Vec<String> {
        differences(&toml::from_str(project).unwrap(), lock, ".")
    }

    #[test]
    fn a_lock_fits_what_it_was_made_from() {
        assert_eq!(of(PROJECT, LOCK), Vec::<String>::new());
        for (from, to) in [
            (
                r#""uvicorn[standard] >= 0.20""#,
                r#""UVICORN [standard]>=0.20.0""#,
            ),
            (r#"">=0.100"#, r#""<1 ,>=0.100"#),
            ("~=3.11", ">=3.11,<4.0"),
            ("version = \"1.0\"", "version = \"1.0.0\""),
            // What only the build knows.
            ("version = \"1.0\"", "dynamic = [\"version\"]"),
            // What is not understood is uv's to judge.
            (
                "\"Typing_Extensions\"",
                "\"typing-extensions >= nonsense\", \"new\"",
            ),
        ] {
            assert_eq!(of(&PROJECT.replace(from, to), LOCK), Vec::<String>::new(), "{to}");
        }
    }

    #[test]
    fn each_change_since_is_told() {
        for (from, to, told) in [
            (
                "\"Typing_Extensions\",",
                "\"Typing_Extensions\", \"httpx\",",
                "`httpx` is new",
            ),
            ("\"Typing_Extensions\",", "", "`typing-extensions` is gone"),
            ("fastapi>=0.100,<1", "fastapi>=0.101,<1", "`fastapi` changed"),
            ("uvicorn[standard]", "uvicorn", "`uvicorn` changed"),
            ("orjson!=3.9.1", "orjson", "`orjson` (other) changed"),
            ("ruff>=0.5", "ruff>=0.6", "`ruff` (group dev) changed"),
            ("\"pytest\"", "\"pytest\", \"mypy\"", "`mypy` (group dev) is new"),
            ("~=3.11", ">=3.12,<4", "`requires-python` changed"),
            ("~=3.11", ">=3.11.4,<4", "`requires-python` changed"),
            (
                "version = \"1.0\"",
                "version = \"1.1\"",
                "`version` changed: 1.0 → 1.1",
            ),
            ("My.App", "other-app", "`name` changed"),
        ] {
            let found = of(&PROJECT.replace(from, to), LOCK);
            assert!(found.iter().any(|one| one == told), "{to}: {found:?}");
        }
        let none = of(PROJECT, "version = 1\nrequires-python = \">=3.11\"\n");
        assert_eq!(none, ["it does not have My.App"]);
    }

    #[test]
    fn extras_of_its_own_may_be_noted_as_what_they_ask_for() {
        let noted = r#"{ name = "my-app", extras = ["other"], marker = "extra == 'server-x'" },"#;
        let meant = r#"{ name = "orjson", marker = "extra == 'server-x'", specifier = "!=3.9.1" },"#;
        let lock = LOCK.replace(noted, meant);
        assert_ne!(lock, LOCK);
        assert_eq!(of(PROJECT, &lock), Vec::<String>::new());
        let through = PROJECT
            .replace("\"my-app[other]\"", "\"my-app[third]\"")
            .replace("other = [\"or", "third = [\"my-app[other]\"]\nother = [\"or");
        let lock_through = lock.replace(
            "requires-dist = [",
            "requires-dist = [\n{ name = \"orjson\", marker = \"extra == 'third'\", specifier = \"!=3.9.1\" },",
        );
        let lock_through = lock_through.replace(
            "[\"server-x\", \"other\"]",
            "[\"server-x\", \"third\", \"other\"]",
        );
        assert_eq!(of(&through, &lock_through), Vec::<String>::new());
        let changed = PROJECT.replace("orjson!=3.9.1", "orjson!=3.9.2");
        assert_eq!(
            of(&changed, &lock),
            ["`orjson` (other) changed", "`orjson` (server-x) changed"]
        );
    }

    #[test]
    fn what_needs_no_lock_is_never_behind() {
        assert_eq!(of("[tool.ruff]\n", LOCK), Vec::<String>::new());
        assert_eq!(of("[project]\nname = 'x'\n", ""), Vec::<String>::new());
        let dynamic =
            "[project]\nname = 'my-app'\ndynamic = ['version', 'dependencies', 'optional-dependencies']\n";
        let groups = &PROJECT[PROJECT.find("[dependency-groups]").unwrap()..];
        assert_eq!(of(&format!("{dynamic}{groups}"), LOCK), Vec::<String>::new());
    }
}
