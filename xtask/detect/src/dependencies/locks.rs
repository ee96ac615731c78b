//! What locks of TOML say is installed, and for whom.

use std::collections::BTreeSet;

use super::{AskedBy, Dependencies, OF_DEVELOPERS, imports_of_setuptools, normal};
use crate::place::{Detected, Place};
use crate::tree::Tree;

impl Dependencies {
    /// The packages of the lock that counts which only developers get: of `uv.lock` what nothing
    /// leads to that the project itself asks for, of the others what they say themselves.
    fn for_developers(&self, tree: &Tree) -> BTreeSet<String> {
        let Some(lock @ ("uv.lock" | "poetry.lock" | "pdm.lock")) = self.installed_from else {
            return BTreeSet::new();
        };
        if lock != "uv.lock" {
            let packages = tree.text(lock).unwrap_or_default().split("[[package]]\n").skip(1);
            let is_of_theirs = |package: &&str| {
                let mut lines = package.lines();
                let groups = lines.find_map(|line| {
                    line.strip_prefix("groups = ")
                        .or_else(|| line.strip_prefix("category = "))
                });
                groups.is_some_and(|groups| !groups.contains("\"main\"") && !groups.contains("\"default\""))
            };
            let named = packages.filter(is_of_theirs).filter_map(brings);
            return named.map(|(name, _)| name).collect();
        }
        let own = self.packages.iter().map(|one| &one.value);
        // Groups that are no developers' may be installed, too.
        let own = own.filter(|one| match &one.by {
            AskedBy::Project | AskedBy::Extra(_) => true,
            AskedBy::Group(group) => !OF_DEVELOPERS.contains(&group.as_str()),
        });
        let reached = self.reached(own.map(|one| one.name.as_str()).collect());
        let names = self
            .brought
            .keys()
            .filter(|name| !reached.contains(name.as_str()));
        names.cloned().collect()
    }

    /// Packages and all that `uv.lock` brings with them.
    fn reached<'d>(&'d self, mut left: Vec<&'d str>) -> BTreeSet<&'d str> {
        let mut reached = BTreeSet::new();
        while let Some(name) = left.pop() {
            if reached.insert(name) {
                left.extend(self.brought.get(name).into_iter().flatten().map(String::as_str));
            }
        }
        reached
    }

    /// What the lock installs because of these packages, and its line there; without a lock of
    /// TOML nothing.
    pub(crate) fn locked_with<'d>(&'d self, asked: Vec<&'d str>) -> Vec<(&'d str, &'d Place)> {
        let is_of_uv = self.installed_from == Some("uv.lock");
        let reached = self.reached(asked);
        let all = self.locked.iter().map(|(name, place)| (name.as_str(), place));
        let counts = |(name, place): &(&str, &Place)| {
            Some(place.file.as_str()) == self.installed_from
                && if is_of_uv {
                    reached.contains(name)
                } else {
                    !self.of_developers.contains(*name)
                }
        };
        all.filter(counts).collect()
    }

    /// What a lock without setuptools installs, and takes it for granted.
    fn wants_setuptools(&self, lock: &str, text: &str) -> Option<Detected<String>> {
        let lines: Vec<&str> = text.lines().collect();
        let value = |line: &str, key: &str| Some(line.strip_prefix(key)?.strip_suffix('"')?.to_owned());
        let pinned = lines.windows(2).enumerate().filter_map(|(n, pair)| {
            let name = normal(&value(pair[0], "name = \"")?);
            let version = value(pair[1], "version = \"")?;
            let is_installed = !self.of_developers.contains(&name);
            let pin = format!("{name}=={version}");
            (is_installed && imports_of_setuptools(&pin))
                .then(|| Detected::sure(pin, Place::new(lock, n + 1)))
        });
        let mut pinned = pinned.filter(|_| !self.locked.contains_key("setuptools"));
        pinned.next()
    }

    pub(super) fn locks(&mut self, tree: &Tree) {
        const LOCKS: [&str; 7] = [
            "uv.lock",
            "poetry.lock",
            "pdm.lock",
            "Pipfile.lock",
            "pylock.toml",
            "pixi.lock",
            "conda-lock.yml",
        ];
        for lock in LOCKS.into_iter().filter(|lock| tree.has(lock)) {
            self.locks
                .push(Detected::sure(lock.to_owned(), Place::new(lock, 1)));
            // Each package of a TOML lock has a line of its own for its name.
            for (n, line) in tree.text(lock).unwrap_or_default().lines().enumerate() {
                if let Some(name) = line
                    .strip_prefix("name = \"")
                    .and_then(|rest| rest.strip_suffix('"'))
                {
                    self.locked
                        .entry(normal(name))
                        .or_insert_with(|| Place::new(lock, n + 1));
                }
            }
        }
        let packages = tree.text("uv.lock").unwrap_or_default().split("[[package]]\n");
        self.brought = packages.filter_map(brings).collect();
        self.of_developers = self.for_developers(tree);
        if let Some(lock @ ("uv.lock" | "poetry.lock" | "pdm.lock")) = self.installed_from {
            self.of_old_setuptools = self.wants_setuptools(lock, tree.text(lock).unwrap_or_default());
        }
        let packages = tree.text("uv.lock").unwrap_or_default().split("[[package]]\n");
        for package in packages.filter(|one| one.contains("\nsdist = ") && !one.contains("\nwheels = [")) {
            let name = package
                .strip_prefix("name = \"")
                .and_then(|rest| rest.split('"').next());
            self.source_only.extend(name.map(normal));
        }
    }
}

/// The name of a lock's package, and the names of those that it brings, by itself or with
/// an extra of its own.
fn brings(package: &str) -> Option<(String, Vec<String>)> {
    let name = package.strip_prefix("name = \"")?.split('"').next()?;
    let mut brought = Vec::new();
    let mut counts = true;
    for line in package.lines() {
        if line.starts_with("[package.") {
            counts = line == "[package.optional-dependencies]";
        }
        let named = line.trim().strip_prefix("{ name = \"");
        if let Some(named) = named.and_then(|rest| rest.split('"').next()).filter(|_| counts) {
            brought.push(normal(named));
        }
    }
    Some((normal(name), brought))
}
