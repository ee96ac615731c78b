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
