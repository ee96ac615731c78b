//! Base sets: the operating-system base and its package names, as data.
//!
//! A base comes from a registry or is bootstrapped from the distribution's
//! packages; both are `FROM ${BASE}` for the same Dockerfile. Here are the
//! data and their checks.

mod chosen;
mod python;

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use pep440_rs::{Version, VersionSpecifiers};
use serde::{Deserialize, Serialize};

use crate::identity::Platform;
use crate::reference::Reference;
use crate::spec::names::check_package;
pub use chosen::ChosenBase;
pub use python::PythonWish;

/// The number in `images/base-sets.lock.json` that this code reads and writes.
pub(crate) const LOCK_SCHEMA: u32 = 1;

/// What `images/base-sets.json` says: the bases that images can be built on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSets {
    /// The set that is used where `--base` names none.
    pub default: String,
    /// Each base set by its name, which `--base` takes.
    pub sets: BTreeMap<String, BaseSet>,
}

/// One operating-system base, with its packages and their versions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSet {
    /// What it is, in one line for people.
    pub title: String,
    /// Where a registry has it, `repository:tag`.
    pub image: String,
    /// Whose packages it is bootstrapped from: `debian` or `ubuntu`.
    pub distribution: Distribution,
    /// The distribution's suite, such as `trixie`.
    pub suite: String,
    /// Whether the suite still changes from day to day: such a set is chosen by its
    /// name, and never because of its Python.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unreleased: bool,
    /// Which Python this base has, and from which packages.
    pub(crate) python: Python,
    /// Which PostgreSQL this base has, and from which packages.
    pub postgres: Postgres,
    /// The packages that bring supervisord.
    pub(crate) supervisor: PackageNames,
}

/// Which distribution a machine or an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Debian, whose packages come from debian.org.
    Debian,
    /// Ubuntu, whose packages come from ubuntu.com.
    Ubuntu,
}

impl Distribution {
    /// How os-release and mirrors call it: `debian` or `ubuntu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Ubuntu => "ubuntu",
        }
    }

    /// From the name that os-release and the base sets use.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "debian" => Some(Self::Debian),
            "ubuntu" => Some(Self::Ubuntu),
            _ => None,
        }
    }

    /// Where each system of this distribution keeps the archive's keys.
    pub fn keyring(self) -> &'static str {
        match self {
            Self::Debian => "/usr/share/keyrings/debian-archive-keyring.gpg",
            Self::Ubuntu => "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        }
    }

    /// The package that has them.
    pub fn keyring_package(self) -> &'static str {
        match self {
            Self::Debian => "debian-archive-keyring",
            Self::Ubuntu => "ubuntu-keyring",
        }
    }

    /// Whether a mirror at `uri` is one of its archive: the last part of the path says
    /// so, as in `deb.debian.org/debian`.
    pub fn owns(self, uri: &str) -> bool {
        let path = uri.trim_end_matches('/');
        let last = path.rsplit('/').next().unwrap_or(path);
        match self {
            Self::Debian => matches!(last, "debian" | "debian-security"),
            Self::Ubuntu => matches!(last, "ubuntu" | "ubuntu-ports"),
        }
    }
}

/// Python of a base set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Python {
    /// What the app's `requires-python` is held against.
    pub(crate) version: String,
    /// Packages of the stage that installs dependencies: interpreter and venv.
    pub(crate) packages: Vec<String>,
}

impl Python {
    /// `None` for a version that [`BaseSets::problems`] tells.
    fn parsed(&self) -> Option<Version> {
        self.version.parse().ok()
    }

    fn fits(&self, specifiers: &VersionSpecifiers) -> bool {
        self.parsed().is_some_and(|version| specifiers.contains(&version))
    }
}

/// PostgreSQL of a base set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Major version: a data directory belongs to exactly one.
    pub major: u32,
    /// The packages of the server and of pgvector.
    pub(crate) packages: Vec<String>,
}

/// Packages of the distribution, with no more to say of them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackageNames {
    /// Their names; they are installed together.
    pub(crate) packages: Vec<String>,
}

/// `images/base-sets.lock.json`: outside references pinned by digest.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSetsLock {
    /// The number of this file's format: [`LOCK_SCHEMA`].
    pub(crate) schema: u32,
    /// The uv that installs dependencies.
    pub(crate) uv: UvPin,
    /// `repository:tag` → `sha256:…`; a base that is missing here is not pinned.
    pub images: BTreeMap<String, String>,
}

/// uv's version and the digests of its wheels.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UvPin {
    /// A version as PEP 440 has it, such as `0.13.8`.
    pub(crate) version: String,
    /// Platform (`linux/amd64`) → SHA-256 of the wheel, hexadecimal.
    pub(crate) sha256: BTreeMap<String, String>,
}

/// Collects what the types of these files cannot say.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn take<T>(&mut self, path: &str, result: Result<T, String>) {
        if let Err(message) = result {
            self.0.push(format!("`{path}` {message}"));
        }
    }

    /// Whether a text is of this form.
    fn check(&mut self, path: &str, text: &str, is_good: bool, form: &str) {
        if !is_good {
            self.0.push(format!("`{path}` is {text:?}, must be {form}"));
        }
    }

    fn version(&mut self, path: &str, text: &str) {
        self.check(
            path,
            text,
            text.parse::<Version>().is_ok(),
            "a version such as 3.13.5",
        );
    }

    fn packages(&mut self, path: &str, packages: &[String]) {
        for (n, package) in packages.iter().enumerate() {
            self.take(&format!("{path}[{n}]"), check_package(package));
        }
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Small letters, digits, `.` and hyphens, as in names of suites and platforms.
fn is_word(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(good)
}

impl BaseSets {
    /// What no build could use, each with its place.
    pub fn problems(&self) -> Vec<String> {
        let Self { default, sets } = self;
        let mut problems = Problems::default();
        if !sets.contains_key(default) {
            let message = format!("`default` is {default:?}, which is no key of `sets`");
            problems.0.push(message);
        }
        for (name, set) in sets {
            let BaseSet {
                title,
                image,
                distribution: _,
                suite,
                unreleased: _,
                python,
                postgres,
                supervisor,
            } = set;
            let at = |key: &str| format!("sets.{name}.{key}");
            let word = "a word of small letters, digits, `.` and `-`";
            problems.check(&format!("sets.{name}"), name, is_word(name), word);
            let line = !title.trim().is_empty() && !title.contains(char::is_control);
            problems.check(&at("title"), title, line, "one line of text");
            problems.take(&at("image"), Reference::parse(image));
            problems.check(&at("suite"), suite, is_word(suite), word);
            problems.version(&at("python.version"), &python.version);
            problems.packages(&at("python.packages"), &python.packages);
            problems.packages(&at("postgres.packages"), &postgres.packages);
            problems.packages(&at("supervisor.packages"), &supervisor.packages);
        }
        problems.0
    }

    /// The named set, or the default one.
    ///
    /// # Errors
    /// A usage error that lists the known sets.
    pub fn choose(&self, name: Option<&str>) -> Result<(&str, &BaseSet)> {
        let name = name.unwrap_or(&self.default);
        match self.sets.get_key_value(name) {
            Some((name, set)) => Ok((name, set)),
            None => {
                let known: Vec<&str> = self.sets.keys().map(String::as_str).collect();
                bail!(
                    failure::usage(format!("there is no base set {name:?}"))
                        .hint(format!("known base sets: {}", known.join(", ")))
                )
            }
        }
    }
}

impl BaseSetsLock {
    /// What no build could use, each with its place.
    pub fn problems(&self) -> Vec<String> {
        let Self {
            schema: _,
            uv: UvPin { version, sha256 },
            images,
        } = self;
        let mut problems = Problems::default();
        problems.version("uv.version", version);
        for (platform, digest) in sha256 {
            let good = platform.parse::<Platform>().is_ok();
            problems.check("uv.sha256", platform, good, "a platform such as linux/amd64");
            let at = format!("uv.sha256.{platform}");
            problems.check(&at, digest, is_sha256(digest), "64 hexadecimal digits");
        }
        for (image, digest) in images {
            let at = format!("images.{image}");
            problems.take(&at, Reference::parse(image));
            let good = digest.strip_prefix("sha256:").is_some_and(is_sha256);
            problems.check(&at, digest, good, "`sha256:` and 64 hexadecimal digits");
        }
        problems.0
    }

    /// Parses the lock.
    ///
    /// # Errors
    /// A sentence for JSON that cannot be read or a schema of another version.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = serde_json::from_str(text).map_err(|error| format!("cannot be read: {error}"))?;
        if lock.schema != LOCK_SCHEMA {
            return Err(format!(
                "has schema {}, this version reads schema {LOCK_SCHEMA}",
                lock.schema
            ));
        }
        Ok(lock)
    }

    /// What `FROM` gets for a base from a registry: by digest where locked.
    pub fn pinned(&self, image: &str) -> String {
        match self.images.get(image) {
            Some(digest) => format!("{image}@{digest}"),
            None => image.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> BaseSets {
        serde_json::from_str(include_str!("../../../images/base-sets.json")).unwrap()
    }

    #[test]
    fn unknown_sets_list_the_known() {
        let error = sets().choose(Some("alpine")).unwrap_err();
        assert_eq!(
            failure::render(&error),
            "error: there is no base set \"alpine\"\n\nhint: known base sets: debian, forky, ubuntu"
        );
    }

    #[test]
    fn what_no_build_could_use_is_told_with_its_place() {
        let text = include_str!("../../../images/base-sets.json");
        let with = |from: &str, to: &str| -> BaseSets {
            assert!(text.contains(from), "{from}");
            serde_json::from_str(&text.replacen(from, to, 1)).unwrap()
        };
        assert!(sets().problems().is_empty());
        for (from, to, said) in [
            (
                "\"debian:trixie-slim\"",
                "\"debian trixie\"",
                "`sets.debian.image` \"debian trixie\" is no repository",
            ),
            (
                "debian:trixie-slim",
                "debian:x\\n",
                "`sets.debian.image` \"x\\n\" is no tag",
            ),
            (
                "\"python3\"",
                "\"--allow-downgrades\"",
                "`sets.debian.python.packages[0]` \"--allow-downgrades\"",
            ),
            (
                "\"trixie\"",
                "\"trixie main\"",
                "`sets.debian.suite` is \"trixie main\"",
            ),
            ("3.13.5", "newest", "`sets.debian.python.version` is \"newest\""),
            (
                "\"default\": \"debian\"",
                "\"default\": \"x\"",
                "`default` is \"x\", which is no key",
            ),
            (
                "    \"debian\": {",
                "    \"De bian\": {",
                "`sets.De bian` is \"De bian\", must be a word",
            ),
        ] {
            let found = with(from, to).problems();
            assert!(
                found.iter().any(|line| line.starts_with(said)),
                "{said} in {found:?}"
            );
        }

        let lock = BaseSetsLock::parse(include_str!("../../../images/base-sets.lock.json")).unwrap();
        assert!(lock.problems().is_empty());
        let broken = |change: fn(&mut BaseSetsLock)| {
            let mut lock = lock.clone();
            change(&mut lock);
            lock.problems()
        };
        let digest = |lock: &mut BaseSetsLock, digest: &str| {
            lock.images
                .insert("debian:trixie-slim".to_owned(), digest.to_owned());
        };
        let good = format!("sha256:{}", "0".repeat(64));
        let mut pinned = lock.clone();
        digest(&mut pinned, &good);
        assert!(pinned.problems().is_empty());
        digest(&mut pinned, "foo");
        assert_eq!(
            pinned.problems(),
            ["`images.debian:trixie-slim` is \"foo\", must be `sha256:` and 64 hexadecimal digits"]
        );
        assert_eq!(
            broken(|lock| drop(lock.uv.sha256.insert("linux/amd64".to_owned(), "xyz".to_owned()))),
            ["`uv.sha256.linux/amd64` is \"xyz\", must be 64 hexadecimal digits"]
        );
        let found = broken(|lock| drop(lock.uv.sha256.insert("x".to_owned(), "0".repeat(64))));
        assert_eq!(
            found,
            ["`uv.sha256` is \"x\", must be a platform such as linux/amd64"]
        );
        assert_eq!(broken(|lock| lock.uv.version.push('!')).len(), 1);
    }

    #[test]
    fn a_lock_of_another_schema_is_refused() {
        let text = include_str!("../../../images/base-sets.lock.json");
        assert!(BaseSetsLock::parse(text).is_ok());
        let error = BaseSetsLock::parse(&text.replace("\"schema\": 1", "\"schema\": 2")).unwrap_err();
        assert_eq!(error, "has schema 2, this version reads schema 1");
    }
}
