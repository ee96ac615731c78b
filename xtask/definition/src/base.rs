//! Base sets: the operating-system base and its package names, as data.
//!
//! A base comes from a registry or is bootstrapped from the distribution's
//! packages; both are `FROM ${BASE}` for the same Dockerfile. this is
//! the data and its checks.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use pep440_rs::{Version, VersionSpecifiers};
use serde::{Deserialize, Serialize};

/// The number in `images/base-sets.lock.json` that this code reads and writes.
pub const LOCK_SCHEMA: u32 = 1;

/// `images/base-sets.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSets {
    /// The set that is used where `--base` names none.
    pub default: String,
    /// By name.
    pub sets: BTreeMap<String, BaseSet>,
}

/// One operating-system base.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSet {
    /// One line for people.
    pub title: String,
    /// Where a registry has it, `repository:tag`.
    pub image: String,
    /// Whose packages it is bootstrapped from: `debian` or `ubuntu`.
    pub distribution: Distribution,
    /// The distribution's suite, such as `trixie`.
    pub suite: String,
    /// Python of this base.
    pub python: Python,
    /// PostgreSQL of this base.
    pub postgres: Postgres,
    /// supervisord of this base.
    pub supervisor: Packages,
}

/// Which distribution a machine or an image is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// debian.org's.
    Debian,
    /// ubuntu.com's.
    Ubuntu,
}

impl Distribution {
    /// `debian`, `ubuntu`.
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

    /// `archive` of `deb.debian.org/debian`: the last part of a mirror's path.
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
pub struct Python {
    /// What the app's `requires-python` is held against.
    pub version: String,
    /// Packages of the stage that installs dependencies: interpreter and venv.
    pub packages: Vec<String>,
}

/// PostgreSQL of a base set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Major version: a data directory belongs to exactly one.
    pub major: u32,
    /// Server and pgvector.
    pub packages: Vec<String>,
}

/// Names of packages.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Installed together.
    pub packages: Vec<String>,
}

/// `images/base-sets.lock.json`: outside references pinned by digest.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`LOCK_SCHEMA`].
    pub schema: u32,
    /// The uv that installs dependencies.
    pub uv: UvPin,
    /// `repository:tag` → `sha256:…`; a base that is missing here is not pinned.
    pub images: BTreeMap<String, String>,
}

/// uv's version and the digests of its wheels.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UvPin {
    /// PEP 440 version.
    pub version: String,
    /// Platform (`linux/amd64`) → SHA-256 of the wheel, hexadecimal.
    pub sha256: BTreeMap<String, String>,
}

impl BaseSets {
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

    /// Checks an app's `requires-python` against a set's Python.
    ///
    /// # Errors
    /// A sentence that says which base set would do.
    pub fn check_python(&self, name: &str, requires: &str) -> Result<(), String> {
        let specifiers: VersionSpecifiers = requires
            .parse()
            .map_err(|error| format!("requires-python {requires:?} cannot be read: {error}"))?;
        let fits = |set: &BaseSet| {
            set.python
                .version
                .parse::<Version>()
                .is_ok_and(|v| specifiers.contains(&v))
        };
        let Some(set) = self.sets.get(name) else {
            return Err(format!("there is no base set {name:?}"));
        };
        if fits(set) {
            return Ok(());
        }
        let others: Vec<String> = self
            .sets
            .iter()
            .filter(|(_, other)| fits(other))
            .map(|(name, other)| format!("`--base {name}` (Python {})", other.python.version))
            .collect();
        let way_out = if others.is_empty() {
            let all: Vec<String> = self
                .sets
                .iter()
                .map(|(name, other)| format!("{name} has {}", other.python.version))
                .collect();
            format!("no base set would do: {}", all.join(", "))
        } else {
            format!("{} would do", others.join(" or "))
        };
        Err(format!(
            "requires Python {requires}, but base set {name} has Python {}; {way_out}",
            set.python.version
        ))
    }
}

impl Lock {
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
    fn python_mismatch_says_which_base_would_do() {
        let sets = sets();
        assert_eq!(sets.check_python("debian", ">=3.12"), Ok(()));
        assert_eq!(
            sets.check_python("debian", ">=3.11,<3.13").unwrap_err(),
            "requires Python >=3.11,<3.13, but base set debian has Python 3.13.5; `--base ubuntu` (Python 3.12.3) would do"
        );
        assert_eq!(
            sets.check_python("debian", ">=3.14").unwrap_err(),
            "requires Python >=3.14, but base set debian has Python 3.13.5; no base set would do: debian has 3.13.5, ubuntu has 3.12.3"
        );
    }

    #[test]
    fn unknown_sets_list_the_known() {
        let error = sets().choose(Some("alpine")).unwrap_err();
        assert_eq!(
            failure::render(&error),
            "error: there is no base set \"alpine\"\n\nhint: known base sets: debian, ubuntu"
        );
    }

    #[test]
    fn a_lock_of_another_schema_is_refused() {
        let text = include_str!("../../../images/base-sets.lock.json");
        assert!(Lock::parse(text).is_ok());
        let error = Lock::parse(&text.replace("\"schema\": 1", "\"schema\": 2")).unwrap_err();
        assert_eq!(error, "has schema 2, this version reads schema 1");
    }
}
