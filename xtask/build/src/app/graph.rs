//! What `uv.lock` would install of a choice of package, extras and groups. Pure.
//!
//! Where no machine is asked for, markers are not looked at: what a lock reaches on
//! none of ours counts as reached, too. So this says what surely is not there, and
//! where it would come from.

use std::collections::{BTreeMap, BTreeSet};

use super::lock::normal;
use super::markers::Machine;

/// The packages of a lock, by name. Versions that exclude each other are one.
#[derive(Debug, Default)]
pub(super) struct LockGraph(BTreeMap<String, Node>);

#[derive(Debug, Default)]
struct Node {
    /// Where it lies, from the lock, where it is no package of an index.
    place: Option<String>,
    needs: Vec<Need>,
    extras: BTreeMap<String, Vec<Need>>,
    groups: BTreeMap<String, Vec<Need>>,
}

#[derive(Clone, Debug)]
struct Need {
    name: String,
    extras: Vec<String>,
    /// Where it is needed; empty for everywhere.
    marker: String,
}

/// What is asked for of one package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The name of the package.
    pub name: &'a str,
    /// The extras of it that are wanted.
    pub extras: &'a [String],
    /// The dependency groups of it that are wanted.
    pub groups: &'a [String],
}

impl LockGraph {
    /// uv writes a lock in one form: of thousands of lines only those with a
    /// name, a place or a need are looked at.
    pub(super) fn read(lock: &str) -> Self {
        let mut graph = Self::default();
        for part in lock.split("[[package]]\n").skip(1) {
            let name = part.lines().find_map(|line| line.strip_prefix("name = "));
            let name = normal(name.unwrap_or_default().trim_matches('"'));
            graph.0.entry(name).or_default().read(part);
        }
        graph
    }

    /// Whether it has no package at all.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The package that lies in a folder.
    pub(super) fn at(&self, place: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(_, node)| node.place.as_deref() == Some(place));
        found.map(|(name, _)| name.as_str())
    }

    /// Local packages, with their places.
    pub(super) fn locals(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(name, node)| Some((name.as_str(), node.place.as_deref()?)))
    }

    /// Names of a package's extras.
    pub(super) fn extras(&self, name: &str) -> Vec<String> {
        self.0
            .get(name)
            .map(|node| node.extras.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Names of a package's groups.
    pub(super) fn groups(&self, name: &str) -> Vec<String> {
        self.0
            .get(name)
            .map(|node| node.groups.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// All packages that come with what is asked for, on one machine or on any.
    pub(super) fn reached(&self, asked: Asked<'_>, machine: Option<Machine<'_>>) -> BTreeSet<&str> {
        let is_needed = |need: &&Need| machine.is_none_or(|machine| machine.may(&need.marker));
        let mut seen: BTreeSet<(&str, Option<&str>)> = BTreeSet::new();
        let mut open: Vec<(&str, Option<&str>)> = Vec::new();
        let root = self.0.get_key_value(asked.name);
        if let Some((name, node)) = root {
            open.push((name, None));
            open.extend(
                asked
                    .extras
                    .iter()
                    .filter_map(|extra| node.extras.get_key_value(&normal(extra)))
                    .map(|(extra, _)| (name.as_str(), Some(extra.as_str()))),
            );
            let groups = asked
                .groups
                .iter()
                .filter_map(|group| node.groups.get(&normal(group)));
            open.extend(groups.flatten().filter(is_needed).flat_map(Need::parts));
        }
        while let Some((name, extra)) = open.pop() {
            let Some((name, node)) = self.0.get_key_value(name) else {
                continue;
            };
            if !seen.insert((name, extra)) {
                continue;
            }
            let needs = match extra {
                None => Some(&node.needs),
                Some(extra) => node.extras.get(extra),
            };
            open.extend(
                needs
                    .into_iter()
                    .flatten()
                    .filter(is_needed)
                    .flat_map(Need::parts),
            );
        }
        seen.into_iter().map(|(name, _)| name).collect()
    }
}

impl Need {
    /// The package itself, and it with each extra.
    fn parts(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let extras = self
            .extras
            .iter()
            .map(|extra| (self.name.as_str(), Some(extra.as_str())));
        [(self.name.as_str(), None)].into_iter().chain(extras)
    }

    /// The needs of a line like `[{ name = "a", extra = ["b"] }]`.
    fn all_of(line: &str) -> impl Iterator<Item = Self> {
        line.split("{ name = \"").skip(1).filter_map(|text| {
            let (name, rest) = text.split_once('"')?;
            let rest = rest.split_once('}').map_or(rest, |(own, _)| own);
            // The lock says `extra` of a dependency and `extras` of what it was made from.
            let extras = rest
                .split_once("extra = [")
                .and_then(|(_, list)| list.split_once(']'));
            let extras = extras.map_or("", |(list, _)| list).split(',');
            let extras = extras.map(|extra| normal(extra.trim().trim_matches('"')));
            let marker = rest
                .split_once("marker = \"")
                .and_then(|(_, text)| text.split_once('"'));
            Some(Self {
                name: normal(name),
                extras: extras.filter(|extra| !extra.is_empty()).collect(),
                marker: marker.map_or("", |(marker, _)| marker).to_owned(),
            })
        })
    }
}

impl Node {
    fn read(&mut self, part: &str) {
        let mut table = "";
        let mut key = "";
        for line in part.lines() {
            if let Some(name) = line.strip_prefix('[') {
                table = name.trim_end_matches(']');
                continue;
            }
            let mut rest = line;
            if let Some((name, value)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
                (key, rest) = (name.trim_matches('"'), value);
                self.declare(table, key, value);
            }
            let needs = match (table, key) {
                ("", "dependencies") => &mut self.needs,
                ("package.optional-dependencies", extra) => self.extras.entry(normal(extra)).or_default(),
                ("package.dev-dependencies", group) => self.groups.entry(normal(group)).or_default(),
                _ => continue,
            };
            needs.extend(Need::all_of(rest));
        }
    }

    /// What is there by its name alone, be it empty.
    fn declare(&mut self, table: &str, key: &str, value: &str) {
        match (table, key) {
            ("", "source") => {
                let kinds = ["virtual", "editable", "directory", "path"];
                let place = kinds.iter().find_map(|kind| {
                    let place = value.strip_prefix(&format!("{{ {kind} = \""))?;
                    place.split_once('"').map(|(place, _)| place.to_owned())
                });
                self.place = place.or(self.place.take());
            }
            ("package.metadata", "provides-extras") => {
                for extra in value.split('"').skip(1).step_by(2) {
                    self.extras.entry(normal(extra)).or_default();
                }
            }
            ("package.metadata.requires-dev", group) => {
                self.groups.entry(normal(group)).or_default();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As uv writes it, without what else there would be.
    pub(crate) const LOCK: &str = r#"version = 1
revision = 5

[manifest]
members = [
    "api",
    "root",
]

[[package]]
name = "api"
version = "1"
source = { virtual = "apps/api" }
dependencies = [
    { name = "fastapi", extra = ["standard"] },
    { name = "shared" },
]

[package.optional-dependencies]
server = [
    { name = "gunicorn" },
]

[package.dev-dependencies]
prod = [{ name = "sentry-sdk", marker = "sys_platform == 'linux'" }]

[package.metadata]
requires-dist = [
    { name = "gunicorn", marker = "extra == 'server'" },
]
provides-extras = ["server", "empty"]

[package.metadata.requires-dev]
none = []
prod = [{ name = "sentry-sdk" }]

[[package]]
name = "fastapi"
version = "1"
source = { registry = "https://example.org/simple" }
dependencies = [
    { name = "starlette" },
]
wheels = [
    { url = "https://example.org/fastapi.whl", hash = "sha256:00" },
]

[package.optional-dependencies]
standard = [
    { name = "uvicorn" },
]

[[package]]
name = "root"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "idna" }]

[[package]]
name = "shared"
version = "1"
source = { editable = "../shared" }
"#;

    fn reached(name: &str, extras: &[&str], groups: &[&str]) -> Vec<String> {
        let text = LOCK.to_owned();
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (extras, groups) = (names(extras), names(groups));
        let graph = LockGraph::read(&text);
        let asked = Asked {
            name,
            extras: &extras,
            groups: &groups,
        };
        graph
            .reached(asked, None)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn what_is_installed_follows_from_package_extras_and_groups() {
        assert_eq!(reached("root", &[], &[]), ["root"]);
        // `idna` has no entry of its own; fastapi's extra brings uvicorn.
        assert_eq!(reached("api", &[], &[]), ["api", "fastapi", "shared"]);
        let with = LOCK.to_owned()
            + "\n[[package]]\nname = \"uvicorn\"\n\n[[package]]\nname = \"gunicorn\"\n\n[[package]]\nname = \"sentry-sdk\"\n";
        let graph = LockGraph::read(&with);
        let asked = |extras: &[String], groups: &[String]| {
            let asked = Asked {
                name: "api",
                extras,
                groups,
            };
            graph.reached(asked, None).len()
        };
        assert_eq!(asked(&[], &[]), 4);
        assert_eq!(asked(&["Server".to_owned()], &[]), 5);
        assert_eq!(asked(&[], &["prod".to_owned()]), 5);
    }

    #[test]
    fn extras_and_groups_are_known_also_where_they_are_empty() {
        let graph = LockGraph::read(LOCK);
        assert_eq!(graph.extras("api"), ["empty", "server"]);
        assert_eq!(graph.groups("api"), ["none", "prod"]);
        assert_eq!(graph.at("."), Some("root"));
        let locals: Vec<_> = graph.locals().collect();
        assert_eq!(
            locals,
            [("api", "apps/api"), ("root", "."), ("shared", "../shared")]
        );
    }
}
