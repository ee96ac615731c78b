//! Names with a grammar: parsed at the edge, trusted after.

use std::fmt;

use crate::reference::OwnRepository;

/// Words of YAML 1.1, and the one target of the Makefile that is of no image.
const OTHER_MEANINGS: [&str; 8] = ["yes", "no", "on", "off", "true", "false", "null", "help"];

/// An image's name: `genie` in `hive-genie`, and a folder below `images/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// Lower-case letters, digits and single hyphens, a letter first, 2 to 40
    /// characters: the part of the OCI repository grammar that is also a good
    /// folder, container (docker wants two characters) and volume name, and a key
    /// of a compose file and a target of the Makefile that mean nothing else.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if OTHER_MEANINGS.contains(&text) {
            return Err(format!(
                "{text:?} is no image name: it means something else to YAML or to make"
            ));
        }
        let good = (2..=40).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.contains("--")
            && !text.ends_with('-');
        if !good {
            return Err(format!(
                "{text:?} is no image name: lower-case letters, digits and single hyphens, a letter first, 2 to 40 characters"
            ));
        }
        let name = Self(text.to_owned());
        match OwnRepository::of_name(&name.repository()) {
            Some(own) => Err(format!(
                "{text:?} is no image name: the tool keeps {} in {}",
                own.content(),
                own.name()
            )),
            None => Ok(name),
        }
    }

    /// The name as it stands in specs and on the command line.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The repository of its release tags: `hive-<name>`.
    pub fn repository(&self) -> String {
        format!("hive-{}", self.0)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks the name of a package: Debian policy 5.6.1, with the architecture and
/// version suffixes of apt.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn check_package(package: &str) -> Result<(), String> {
    let head = package
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let good = |b: u8| b.is_ascii_alphanumeric() || b"+-.:=~".contains(&b);
    if head && package.bytes().all(good) {
        Ok(())
    } else {
        Err(format!("{package:?} is no name of a package"))
    }
}

/// Checks a requirement of Python packaging, as far as one is taken here: a name, extras and
/// versions ([the specification](https://packaging.python.org/en/latest/specifications/dependency-specifiers/)).
/// What comes from a place of its own, or hangs on a marker, belongs into the app's own list.
///
/// # Errors
/// A sentence that says what is wrong.
pub(crate) fn check_requirement(requirement: &str) -> Result<(), String> {
    const OPERATORS: [&str; 8] = ["===", "==", "!=", "~=", "<=", ">=", "<", ">"];
    let is_name = |text: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(good)
    };
    let is_version = |clause: &str| {
        let clause = clause.trim();
        let version = OPERATORS
            .iter()
            .find_map(|operator| clause.strip_prefix(operator));
        let good = |b: u8| b.is_ascii_alphanumeric() || b".*+!-_".contains(&b);
        version.map(str::trim).is_some_and(|text| {
            let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
            starts && text.bytes().all(good)
        })
    };
    let end = requirement.find(|c: char| "[<>=!~ ".contains(c));
    let (name, rest) = requirement.split_at(end.unwrap_or(requirement.len()));
    let rest = rest.trim();
    let (extras, versions) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((extras, versions))) => (Some(extras), versions.trim()),
        Some(None) => (Some(""), rest),
        None => (None, rest),
    };
    let has_extras = extras.is_none_or(|extras| extras.split(',').all(|one| is_name(one.trim())));
    let has_versions = versions.is_empty() || versions.split(',').all(is_version);
    if is_name(name) && has_extras && has_versions {
        return Ok(());
    }
    Err(format!(
        "is {requirement:?}, must be a package by its name, with extras and versions as they are wanted: `gunicorn`, \
         `uvicorn[standard]>=0.30,<1`; what comes from another place than an index belongs into the app's own list"
    ))
}

/// The versions of Python that uv fetches and the container's own code runs on, the
/// newest first.
pub const PYTHONS: [&str; 4] = ["3.14", "3.13", "3.12", "3.11"];

/// Whether a version is one that a spec can name.
///
/// # Errors
/// What it has to be.
pub(crate) fn check_python(version: &str) -> Result<(), String> {
    let known = minor(version).is_some_and(|minor| PYTHONS.contains(&minor.as_str()));
    if known && version.split('.').count() <= 3 {
        return Ok(());
    }
    Err(format!(
        "is {version:?}, must be a version from {} to {}, such as 3.12 or 3.12.4",
        PYTHONS[PYTHONS.len() - 1],
        PYTHONS[0]
    ))
}

/// `3.12` of `3.12.4`; `None` where it is no version in plain numbers.
pub(crate) fn minor(version: &str) -> Option<String> {
    let parts: Vec<&str> = version.split('.').collect();
    let numbers = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [major, minor, ..] if parts.iter().all(numbers) => Some(format!("{major}.{minor}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names() {
        for good in ["genie", "agent", "ab", "my-app2", "online"] {
            assert!(ImageName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "no",
            "null",
            "help",
            "Genie",
            "2a",
            "-a",
            "a-",
            "a--b",
            "a_b",
            "a/b",
            "a b",
            "ä",
            "a\nb",
            "..",
            "base",
            "proof",
            "proof-full",
            "previous",
        ] {
            assert!(ImageName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn requirements_are_names_with_extras_and_versions() {
        for good in [
            "gunicorn",
            "psycopg[binary]",
            "uvicorn[standard] >= 0.30, < 1",
            "setuptools<82",
            "Flask-Login~=0.6.3",
            "a==1.0.*",
            "b==1!2.0+local",
            "c ===2",
        ] {
            assert_eq!(check_requirement(good), Ok(()));
        }
        for bad in [
            "",
            "-r list.txt",
            "--index-url=x",
            "a @ https://example.com/a.whl",
            "./a",
            "a; python_version < '3'",
            "a==",
            "a=1",
            "a[",
            "a[]",
            "a[b",
            "a b",
            "a==1\nb",
            "a==$(id)",
            "a,b",
            "git+https://example.com/a",
        ] {
            assert!(check_requirement(bad).is_err(), "{bad}");
        }
        let told = check_requirement("a @ file:a.whl").unwrap_err();
        assert!(told.contains("belongs into the app's own list"), "{told}");
    }

    #[test]
    fn versions_of_python_are_those_that_uv_has() {
        for good in ["3.11", "3.14", "3.12.4"] {
            assert_eq!(check_python(good), Ok(()));
        }
        for bad in [
            "3.10", "3.15", "3", "3.12.4.1", "3.12rc1", ">=3.12", "3.12.", "pypy3.11", "",
        ] {
            assert!(check_python(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_python("3.9").unwrap_err(),
            "is \"3.9\", must be a version from 3.11 to 3.14, such as 3.12 or 3.12.4"
        );
    }
}
