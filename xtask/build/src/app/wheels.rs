//! Packages of a lock that have wheels for other Pythons than the image's: they are
//! built from source, which pins of some years ago rarely are without more. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::MOST_NAMED;
use super::lock::normal;

/// The wheels of one package, in all its versions that the lock has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wheels {
    version: String,
    /// The Pythons (the `12` of 3.12) that one is for.
    minors: BTreeSet<u32>,
    /// From this one on, by the stable ABI.
    stable_since: Option<u32>,
    /// Whether one is for any of them, or there are none but what is built anyway.
    any: bool,
}

/// Those packages that not each Python has a wheel of, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundPackages(BTreeMap<String, Wheels>);

impl BoundPackages {
    /// Those of a lock's packages that are `wanted`, on a processor as Python calls
    /// it, such as `x86_64`.
    pub(super) fn read(lock: &str, wanted: &[&str], processor: &str) -> Self {
        let packages = lock.split("[[package]]\n").skip(1).filter_map(|part| {
            let value = |key: &str| {
                let line = part.lines().find_map(|line| line.strip_prefix(key))?;
                line.strip_prefix(" = \"")?.strip_suffix('"')
            };
            let name = normal(value("name").unwrap_or_default());
            let files: Vec<&str> = part
                .split('"')
                .filter_map(|text| text.rsplit('/').next())
                .collect();
            let is_wanted = wanted.contains(&name.as_str());
            is_wanted.then(|| (name, value("version").unwrap_or_default(), files))
        });
        Self::of(packages, processor)
    }

    /// Those among packages, each with its version and the names of its files.
    pub(super) fn of<'a>(
        packages: impl Iterator<Item = (String, &'a str, Vec<&'a str>)>,
        processor: &str,
    ) -> Self {
        let mut all: BTreeMap<String, Wheels> = BTreeMap::new();
        for (name, version, files) in packages {
            let wheels = all.entry(name).or_default();
            version.clone_into(&mut wheels.version);
            let before = wheels.clone();
            for file in files.iter().filter_map(|file| file.strip_suffix(".whl")) {
                wheels.add(file, processor);
            }
            wheels.any |= *wheels == before;
        }
        all.retain(|_, wheels| !wheels.any);
        Self(all)
    }

    /// Those among packages, each with its version and the Pythons that it has a wheel
    /// for: of 3.12 the `12`.
    pub(super) fn of_minors<'a>(packages: impl Iterator<Item = (String, &'a str, BTreeSet<u32>)>) -> Self {
        let wheels = packages.map(|(name, version, minors)| {
            let wheels = Wheels {
                version: version.to_owned(),
                minors,
                ..Wheels::default()
            };
            (name, wheels)
        });
        Self(wheels.collect())
    }

    /// What there is no wheel of for a Python such as `3.13.5`, and one of these that
    /// has all of them, else the command that takes newer versions: `update`, where there
    /// is one, and the flag that stands before each name. `None` where there is nothing
    /// to say.
    pub(super) fn told(&self, python: &str, others: &[&str], update: Option<(&str, &str)>) -> Option<String> {
        let lacking = self.lacking(python)?;
        let newer = update.map(|(command, flag)| {
            let names = minor(python).into_iter().flat_map(|minor| self.without(minor));
            let names: String = names.map(|(name, _)| format!(" {flag}{name}")).collect();
            format!("run `{command}{names}`")
        });
        let with_all = others.iter().find(|other| self.have_all(other));
        let way = match (with_all, self.newest_before(others)) {
            (Some(other), _) => format!("`\"python\": {other:?}` in the spec takes a Python that has them"),
            (None, Some(newest)) => {
                let newer = newer.unwrap_or_else(|| "let the app take newer versions".to_owned());
                format!("there are wheels for Python 3.{newest} and older ones, which no image has: {newer}")
            }
            (None, None) => newer.map_or_else(
                || "a newer version may have one".to_owned(),
                |newer| format!("newer versions may have one: {newer}"),
            ),
        };
        Some(format!("{lacking}: {way}"))
    }

    /// The newest Python that packages without a wheel for any of these have wheels
    /// for, where it is older than all of these.
    fn newest_before(&self, others: &[&str]) -> Option<u32> {
        let oldest = others.iter().filter_map(|other| minor(other)).min()?;
        let without = self
            .0
            .values()
            .filter(|one| !(oldest..).take(others.len()).any(|other| one.are_for(other)));
        without
            .filter_map(|one| one.minors.last().copied())
            .filter(|newest| *newest < oldest)
            .max()
    }

    /// What has no wheel for a Python.
    fn without(&self, minor: u32) -> impl Iterator<Item = (&String, &Wheels)> {
        self.0.iter().filter(move |(_, wheels)| !wheels.are_for(minor))
    }

    /// The same without the way out.
    pub(super) fn lacking(&self, python: &str) -> Option<String> {
        let minor = minor(python)?;
        let missing: Vec<(&String, &Wheels)> = self.without(minor).collect();
        let mut names: Vec<String> = missing
            .iter()
            .take(MOST_NAMED)
            .map(|(name, wheels)| format!("{name} {}", wheels.version))
            .collect();
        if missing.len() > MOST_NAMED {
            names.push(format!("{} more", missing.len() - MOST_NAMED));
        }
        let last = names.pop()?;
        let all = match names.as_slice() {
            [] => last,
            first => format!("{} and {last}", first.join(", ")),
        };
        let verbs = if missing.len() == 1 {
            ["has", "is"]
        } else {
            ["have", "are"]
        };
        Some(format!(
            "{all} {} no wheel for Python 3.{minor} and {} built from source",
            verbs[0], verbs[1]
        ))
    }
}

impl BoundPackages {
    /// Whether a Python such as `3.12` has a wheel of each.
    pub(super) fn have_all(&self, python: &str) -> bool {
        minor(python).is_some_and(|minor| self.0.values().all(|one| one.are_for(minor)))
    }
}

impl Wheels {
    /// Takes in a file's name: `name-version(-build)-python-abi-platform`.
    fn add(&mut self, file: &str, processor: &str) {
        let mut parts = file.rsplit('-');
        let (Some(platform), Some(abi), Some(python)) = (parts.next(), parts.next(), parts.next()) else {
            return;
        };
        let is_ours = platform == "any"
            || (platform.contains("linux") && !platform.contains("musl") && platform.contains(processor));
        for one in python.split('.').filter(|_| is_ours) {
            match one.strip_prefix("cp3").map(str::parse) {
                Some(Ok(minor)) if abi.contains("abi3") => {
                    self.stable_since = Some(self.stable_since.map_or(minor, |since| since.min(minor)));
                }
                // `cp313t` is of the Python without its lock.
                Some(Ok(minor)) if !abi.ends_with('t') => {
                    self.minors.insert(minor);
                }
                Some(_) => {}
                None => self.any |= one.starts_with("py3"),
            }
        }
    }

    fn are_for(&self, minor: u32) -> bool {
        self.any || self.minors.contains(&minor) || self.stable_since.is_some_and(|since| since <= minor)
    }
}

fn minor(python: &str) -> Option<u32> {
    python.split('.').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &[&str])]) -> String {
        let packages = packages.iter().map(|(name, tags)| {
            let wheels = tags
                .iter()
                .map(|tags| format!("    {{ url = \"https://h/{name}-1-{tags}.whl\", hash = \"sha256:0\" }},\n"));
            format!(
                "[[package]]\nname = \"{name}\"\nversion = \"1\"\nsdist = {{ url = \"https://h/{name}-1.tar.gz\" }}\nwheels = [\n{}]\n",
                wheels.collect::<String>()
            )
        });
        packages.collect::<Vec<_>>().join("\n")
    }

    fn told(packages: &[(&str, &[&str])], python: &str) -> Option<String> {
        let names: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
        BoundPackages::read(&lock(packages), &names, "x86_64").told(
            python,
            &["3.14", "3.13", "3.12", "3.11"],
            Some(("uv lock", "--upgrade-package ")),
        )
    }

    const OLD: &[&str] = &[
        "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
        "cp313-cp313-manylinux_2_17_aarch64",
        "cp313-cp313-musllinux_1_1_x86_64",
        "cp313-cp313t-manylinux_2_17_x86_64",
        "cp313-cp313-win_amd64",
    ];

    #[test]
    fn a_pin_without_a_wheel_for_this_python_is_told_with_one_that_has_it() {
        assert_eq!(
            told(&[("httptools", OLD)], "3.13.5").unwrap(),
            "httptools 1 has no wheel for Python 3.13 and is built from source: `\"python\": \"3.12\"` in the spec takes a \
             Python that has them"
        );
        assert_eq!(told(&[("httptools", OLD)], "3.12"), None);
        let new: &[&str] = &["cp313-cp313-manylinux_2_28_x86_64"];
        assert_eq!(
            told(
                &[("a", OLD), ("b", OLD), ("c", OLD), ("d", OLD), ("e", new)],
                "3.13"
            )
            .unwrap(),
            "a 1, b 1, c 1 and 1 more have no wheel for Python 3.13 and are built from source: newer versions may have one: \
             run `uv lock --upgrade-package a --upgrade-package b --upgrade-package c --upgrade-package d`"
        );
    }

    #[test]
    fn pins_that_are_older_than_each_python_are_told_as_that() {
        let ancient: &[&str] = &["cp39-cp39-manylinux1_x86_64", "cp310-cp310-manylinux1_x86_64"];
        assert_eq!(
            told(&[("asyncpg", ancient), ("httptools", OLD)], "3.13").unwrap(),
            "asyncpg 1 and httptools 1 have no wheel for Python 3.13 and are built from source: there are wheels for Python \
             3.10 and older ones, which no image has: run `uv lock --upgrade-package asyncpg --upgrade-package httptools`"
        );
    }

    #[test]
    fn what_each_python_has_or_none_is_no_matter_of_python() {
        for fine in [
            &["py3-none-any"][..],
            &["py2.py3-none-any"],
            &["cp39-abi3-manylinux_2_17_x86_64"],
            &["cp313-none-linux_x86_64"],
            &["py3-none-manylinux_2_17_x86_64"],
            // None of this machine's: built for each Python.
            &["cp313-cp313-win_amd64"],
            &[],
        ] {
            assert_eq!(told(&[("x", fine)], "3.13"), None, "{fine:?}");
        }
        assert!(told(&[("x", &["cp314-abi3-manylinux_2_17_x86_64"])], "3.13").is_some());
        // Not installed at all.
        let unwanted = BoundPackages::read(&lock(&[("x", OLD)]), &["y"], "x86_64");
        assert_eq!(unwanted, BoundPackages::default());
    }
}
