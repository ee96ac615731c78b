//! Packages that have wheels for other Pythons than the image's, or run on others alone.
//! Without a wheel they are built from source, which pins of some years ago rarely are
//! without more. Pure.

use std::collections::{BTreeMap, BTreeSet};

use definition::spec::names::PYTHONS;
use pep440_rs::Version;

use super::MOST_NAMED;
use super::ceiling::Ceiling;
use super::failing;
use super::lock::normal;
use super::markers::Machine;

/// One version of a package that a lock or a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pin {
    name: String,
    version: String,
    /// The Pythons (the `12` of 3.12) that it is not installed on.
    absent: BTreeSet<u32>,
    wheels: Wheels,
    /// The first Python that it does not run on.
    fails_since: Option<u32>,
    /// The first Python that installs it, where older ones do not.
    runs_since: Option<u32>,
}

/// What a version of a package has wheels for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wheels {
    /// The Pythons that one is for.
    minors: BTreeSet<u32>,
    /// From this one on, by the stable ABI.
    stable_since: Option<u32>,
    /// Whether one is for any of them, or there are none but what is built anyway.
    any: bool,
}

/// One version of a package as a lock has it.
pub(super) struct Locked<'a> {
    /// As PEP 503 writes it.
    pub name: String,
    pub version: &'a str,
    /// The names of its files.
    pub files: Vec<&'a str>,
    /// The Pythons that it is not installed on.
    pub absent: BTreeSet<u32>,
}

/// What a list asks for of a package.
pub(super) struct Listed {
    /// As PEP 503 writes it.
    pub name: String,
    /// Its versions as the list has them; a pin's version alone.
    pub shown: String,
    /// The newest version that may be taken; `None` where there is no end.
    pub newest: Option<Ceiling>,
    /// The oldest one; `None` where there is no beginning.
    pub oldest: Option<Version>,
    /// The Pythons that it is not installed on.
    pub absent: BTreeSet<u32>,
    /// The Pythons that it has a wheel for, as far as that is known.
    pub minors: Option<BTreeSet<u32>>,
}

/// Those packages that not each Python has a wheel of, or runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoundPackages(Vec<Pin>);

/// How well a Python suits what is pinned: what does not run on it, and what it has no
/// wheel of. Less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Misfits {
    failing: usize,
    built: usize,
}

/// The Pythons of images: of 3.12 the `12`.
pub(super) fn minors() -> impl Iterator<Item = u32> {
    PYTHONS.into_iter().filter_map(minor)
}

impl BoundPackages {
    /// Those of `uv.lock` that are installed on a Python: what is `reached` on each, on a
    /// processor as Python calls it, such as `x86_64`.
    pub(super) fn read(lock: &str, reached: &BTreeMap<u32, Vec<&str>>, processor: &str) -> Self {
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
            // Of several versions of a package each says which Pythons it is for.
            let forks = part.split_once("\nresolution-markers = [");
            let forks = forks.and_then(|(_, list)| list.split_once("\n]"));
            let forks: Vec<&str> =
                forks.map_or_else(Vec::new, |(list, _)| list.split('"').skip(1).step_by(2).collect());
            let is_on = |minor: u32, names: &[&str]| {
                let machine = Machine { minor, processor };
                let is_its_fork = forks.is_empty() || forks.iter().any(|marker| machine.may(marker));
                names.contains(&name.as_str()) && is_its_fork
            };
            let absent = reached.iter().filter(|(minor, names)| !is_on(**minor, names));
            let absent: BTreeSet<u32> = absent.map(|(minor, _)| *minor).collect();
            (absent.len() < reached.len()).then(|| Locked {
                version: value("version").unwrap_or_default(),
                name: name.clone(),
                files,
                absent,
            })
        });
        Self::of(packages, processor)
    }

    /// Those among packages that a lock has with their files.
    pub(super) fn of<'a>(packages: impl Iterator<Item = Locked<'a>>, processor: &str) -> Self {
        let pins = packages.map(|package| {
            let mut wheels = Wheels::default();
            for file in package.files.iter().filter_map(|file| file.strip_suffix(".whl")) {
                wheels.add(file, processor);
            }
            wheels.any |= wheels == Wheels::default();
            Pin {
                version: package.version.to_owned(),
                absent: package.absent,
                wheels,
                fails_since: None,
                runs_since: None,
                name: package.name,
            }
        });
        Self::of_pins(pins.collect(), |pin| {
            (Ceiling::pin(&pin.version), pin.version.parse().ok())
        })
    }

    /// Those that a list asks for.
    pub(super) fn of_list(asked: Vec<Listed>) -> Self {
        let ends: Vec<_> = asked
            .iter()
            .map(|one| (one.newest.clone(), one.oldest.clone()))
            .collect();
        let pins = asked.into_iter().map(|one| Pin {
            name: one.name,
            version: one.shown,
            absent: one.absent,
            wheels: Wheels {
                any: one.minors.is_none(),
                minors: one.minors.unwrap_or_default(),
                stable_since: None,
            },
            fails_since: None,
            runs_since: None,
        });
        let mut ends = ends.into_iter();
        Self::of_pins(pins.collect(), |_| ends.next().unwrap_or_default())
    }

    /// Those of packages, of which each has a newest and an oldest version that may be taken.
    fn of_pins(mut pins: Vec<Pin>, mut ends: impl FnMut(&Pin) -> (Option<Ceiling>, Option<Version>)) -> Self {
        let names: BTreeSet<String> = pins.iter().map(|pin| pin.name.clone()).collect();
        for pin in &mut pins {
            let (newest, oldest) = ends(pin);
            pin.fails_since = newest.and_then(|newest| failing::since(&pin.name, &newest, &names));
            pin.runs_since = oldest.and_then(|oldest| failing::first(&pin.name, &oldest));
        }
        // Of several versions that a Python may have one with a wheel for it is enough.
        let before = pins.clone();
        for (n, pin) in pins.iter_mut().enumerate() {
            let others = before.iter().enumerate();
            let others = others.filter(|(m, other)| *m != n && other.name == pin.name);
            for (_, other) in others {
                let has = |minor: &u32| !other.absent.contains(minor) && other.wheels.are_for(*minor);
                pin.absent
                    .extend(minors().filter(|minor| !pin.wheels.are_for(*minor)).filter(has));
            }
        }
        pins.retain(|pin| !pin.wheels.any || pin.fails_since.is_some() || pin.runs_since.is_some());
        pins.sort_by(|one, other| one.name.cmp(&other.name));
        Self(pins)
    }

    /// What does not suit a Python such as `3.13.5`, and one of these that all suits, else
    /// the command that takes newer versions: `update`, where there is one, and the flag
    /// that stands before each name. `None` where there is nothing to say.
    pub(super) fn told(&self, python: &str, others: &[&str], update: Option<(&str, &str)>) -> Option<String> {
        let unsuited = self.unsuited(python)?;
        let minor = minor(python)?;
        let newer = update.map(|(command, flag)| {
            let names = self.misfits(minor).map(|pin| &pin.name);
            let names: String = names.map(|name| format!(" {flag}{name}")).collect();
            format!("run `{command}{names}`")
        });
        if let Some(other) = others.iter().find(|other| self.suit(other)) {
            let has = if self.failing(minor).next().is_some() {
                "that suits"
            } else {
                "that has them"
            };
            return Some(format!(
                "{unsuited}: `\"python\": {other:?}` in the spec takes a Python {has}"
            ));
        }
        let mut ways = Vec::new();
        let better = others
            .iter()
            .filter(|other| self.suited(other) < self.suited(python));
        if let Some(other) = better.min_by_key(|other| self.suited(other)) {
            let left = self.misfits(self::minor(other)?).collect();
            ways.push(format!(
                "`\"python\": {other:?}` in the spec leaves {}",
                named(left)
            ));
        }
        ways.push(match self.newest_before(others) {
            Some(newest) => {
                let newer = newer.unwrap_or_else(|| "let the app take newer versions".to_owned());
                format!("there are wheels for Python 3.{newest} and older ones, which no image has: {newer}")
            }
            None => newer.map_or_else(
                || "a newer version may have one".to_owned(),
                |newer| format!("newer versions may have one: {newer}"),
            ),
        });
        Some(format!("{unsuited}: {}", ways.join("; ")))
    }

    /// The newest Python that packages without a wheel for any of these have wheels
    /// for, where it is older than all of these.
    fn newest_before(&self, others: &[&str]) -> Option<u32> {
        let others: Vec<u32> = others.iter().filter_map(|other| minor(other)).collect();
        let oldest = others.iter().min()?;
        let without = self.0.iter();
        let without = without.filter(|pin| !others.iter().any(|other| pin.wheels.are_for(*other)));
        without
            .filter_map(|pin| pin.wheels.minors.last().copied())
            .filter(|newest| newest < oldest)
            .max()
    }

    /// What is installed on a Python and has no wheel for it.
    fn built(&self, minor: u32) -> impl Iterator<Item = &Pin> {
        let pins = self.0.iter();
        pins.filter(move |pin| !pin.absent.contains(&minor) && !pin.wheels.are_for(minor))
    }

    /// What is installed on a Python and does not run there.
    fn failing(&self, minor: u32) -> impl Iterator<Item = &Pin> {
        let fails = move |pin: &&Pin| {
            pin.fails_since.is_some_and(|since| since <= minor)
                || pin.runs_since.is_some_and(|since| since > minor)
        };
        let pins = self.0.iter();
        pins.filter(move |pin| !pin.absent.contains(&minor) && fails(pin))
    }

    /// Both.
    fn misfits(&self, minor: u32) -> impl Iterator<Item = &Pin> {
        let is_built = move |pin: &&Pin| !pin.wheels.are_for(minor);
        self.built(minor)
            .chain(self.failing(minor).filter(move |pin| !is_built(pin)))
    }

    /// The same as [`Self::told`] without the way out.
    pub(super) fn unsuited(&self, python: &str) -> Option<String> {
        let minor = minor(python)?;
        let (built, failing): (Vec<&Pin>, Vec<&Pin>) =
            (self.built(minor).collect(), self.failing(minor).collect());
        let mut said = Vec::new();
        let verbs = |pins: &[&Pin]| match pins.len() {
            1 => ["has", "is", "does"],
            _ => ["have", "are", "do"],
        };
        if !built.is_empty() {
            let [has, is, _] = verbs(&built);
            let named = named(built);
            said.push(format!(
                "{named} {has} no wheel for Python 3.{minor} and {is} built from source"
            ));
        }
        if !failing.is_empty() {
            let [_, _, does] = verbs(&failing);
            let named = named(failing);
            said.push(format!("{named} {does} not run on Python 3.{minor}"));
        }
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// The packages that are built on a Python such as `3.13.5`, each with its version.
    pub(super) fn built_on(&self, python: &str) -> Vec<(&str, &str)> {
        let pins = minor(python).into_iter().flat_map(|minor| self.built(minor));
        pins.map(|pin| (pin.name.as_str(), pin.version.as_str()))
            .collect()
    }

    /// How well a Python such as `3.12` suits what is pinned.
    pub(super) fn suited(&self, python: &str) -> Misfits {
        let count = |minor: u32| (self.failing(minor).count(), self.built(minor).count());
        let (failing, built) = minor(python).map_or((0, 0), count);
        Misfits { failing, built }
    }

    /// Whether a Python such as `3.12` has a wheel of each package, and runs it.
    fn suit(&self, python: &str) -> bool {
        self.suited(python) == Misfits { failing: 0, built: 0 }
    }
}

/// Some packages with their versions.
fn named(pins: Vec<&Pin>) -> String {
    let mut names: Vec<String> = pins
        .iter()
        .take(MOST_NAMED)
        .map(|pin| format!("{} {}", pin.name, pin.version))
        .collect();
    if pins.len() > MOST_NAMED {
        names.push(format!("{} more", pins.len() - MOST_NAMED));
    }
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
        None => String::new(),
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

    fn on_all<'n>(names: &[&'n str]) -> BTreeMap<u32, Vec<&'n str>> {
        minors().map(|minor| (minor, names.to_vec())).collect()
    }

    fn told(packages: &[(&str, &[&str])], python: &str) -> Option<String> {
        let names: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
        BoundPackages::read(&lock(packages), &on_all(&names), "x86_64").told(
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
            "a 1, b 1, c 1 and 1 more have no wheel for Python 3.13 and are built from source: `\"python\": \"3.12\"` in the \
             spec leaves e 1; newer versions may have one: run `uv lock --upgrade-package a --upgrade-package b --upgrade-package c --upgrade-package d`"
        );
    }

    #[test]
    fn what_a_marker_keeps_from_a_python_is_no_matter_there() {
        let new: &[&str] = &["cp313-cp313-manylinux_2_28_x86_64"];
        let lock = lock(&[("a", OLD), ("b", new), ("c", OLD)]);
        let mut reached = on_all(&["a", "b", "c"]);
        for minor in [11, 12] {
            reached.insert(minor, vec!["a", "c"]);
        }
        let told = |lock: &str| {
            let bound = BoundPackages::read(lock, &reached, "x86_64");
            bound
                .told("3.13", &["3.14", "3.13", "3.12", "3.11"], None)
                .unwrap_or_default()
        };
        assert_eq!(
            told(&lock),
            "a 1 and c 1 have no wheel for Python 3.13 and are built from source: `\"python\": \"3.12\"` in the spec takes a \
             Python that has them"
        );
        // Of two versions each is for its own Pythons.
        let fork = |marker: &str| format!("\nresolution-markers = [\n    \"{marker}\",\n]\nsdist = ");
        let old = lock.replace("\nsdist = ", &fork("python_full_version < '3.13'"));
        assert_eq!(told(&old), "");
        let newer = lock.replace("\nsdist = ", &fork("python_full_version >= '3.13'"));
        assert!(told(&newer).starts_with("a 1 and c 1 have no wheel"));
    }

    #[test]
    fn pins_that_are_older_than_each_python_are_told_as_that() {
        let ancient: &[&str] = &["cp39-cp39-manylinux1_x86_64", "cp310-cp310-manylinux1_x86_64"];
        assert_eq!(
            told(&[("asyncpg", ancient), ("httptools", OLD)], "3.13").unwrap(),
            "asyncpg 1 and httptools 1 have no wheel for Python 3.13 and are built from source: `\"python\": \"3.12\"` in \
             the spec leaves asyncpg 1; there are wheels for Python 3.10 and older ones, which no image has: run `uv lock --upgrade-package asyncpg --upgrade-package httptools`"
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
        let unwanted = BoundPackages::read(&lock(&[("x", OLD)]), &on_all(&["y"]), "x86_64");
        assert_eq!(unwanted, BoundPackages::default());
    }
}
