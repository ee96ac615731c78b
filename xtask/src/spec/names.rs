//! Names with a grammar: parsed at the edge, trusted after.

use std::fmt;

/// An image's name: `genie` in `hive-genie`, and a folder below `images/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// Lower-case letters, digits and single hyphens, a letter first, at most
    /// 40 characters: the part of the OCI repository grammar that is also a
    /// good folder, container and volume name.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = text.len() <= 40
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.contains("--")
            && !text.ends_with('-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no image name: lower-case letters, digits and single hyphens, a letter first"
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `hive-<name>`.
    pub fn repository(&self) -> String {
        format!("hive-{}", self.0)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a reference `[registry/]repository:tag` as the engine does
/// (distribution's reference grammar), digest excluded.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_reference(text: &str) -> Result<(), String> {
    let (repository, tag) = match text.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => return Err(format!("{text:?} has no tag: write `repository:tag`")),
    };
    check_tag(tag)?;
    let mut parts = repository.split('/');
    let first = parts.next().unwrap_or_default();
    let is_registry =
        repository.contains('/') && (first.contains('.') || first.contains(':') || first == "localhost");
    let path: Vec<&str> = if is_registry {
        parts.collect()
    } else {
        repository.split('/').collect()
    };
    if path.is_empty() || !path.iter().all(|part| is_path_component(part)) {
        return Err(format!(
            "{repository:?} is no repository name: lower-case letters and digits, joined by `.`, `_`, `__` or hyphens"
        ));
    }
    Ok(())
}

/// Checks the part after the colon: a letter, digit or `_`, then at most 127
/// of letters, digits, `_`, `.` and `-`.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
    if good {
        Ok(())
    } else {
        Err(format!(
            "{tag:?} is no tag: letters, digits, `_`, `.` and `-`, neither `.` nor `-` first, at most 128 characters"
        ))
    }
}

fn is_path_component(part: &str) -> bool {
    let mut runs = part.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    let separators_ok = {
        let mut separator = String::new();
        let mut ok = true;
        for c in part.chars() {
            if c.is_ascii_lowercase() || c.is_ascii_digit() {
                ok &= matches!(separator.as_str(), "" | "." | "_" | "__")
                    || separator.bytes().all(|b| b == b'-');
                separator.clear();
            } else {
                separator.push(c);
            }
        }
        ok && separator.is_empty()
    };
    runs.next().is_some_and(|run| !run.is_empty()) && separators_ok
}

/// A version as a tag: `+`, which local versions and semver builds use and
/// tags forbid, becomes `-`.
pub fn version_tag(version: &str) -> String {
    version.replace('+', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names() {
        for good in ["genie", "agent", "a", "my-app2"] {
            assert!(ImageName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "Genie", "2a", "-a", "a-", "a--b", "a_b", "a/b", "a b", "ä", "a\nb", "..",
        ] {
            assert!(ImageName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references() {
        for good in [
            "hive-genie:latest",
            "localhost:5000/a/b:1",
            "ghcr.io/o/n:v1.2",
            "a__b:x",
            "a--b:x",
        ] {
            assert_eq!(check_reference(good), Ok(()), "{good}");
        }
        // `:-c02e4d8` was published by the first unified container's pipeline.
        for bad in [
            "hive-genie",
            "hive-genie:-c02e4d8",
            "Hive:1",
            "a..b:1",
            "a:",
            ":1",
            "a/:1",
            "h:5000/a",
            "a___b:1",
            "a b:1",
        ] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn local_versions_become_tags() {
        assert_eq!(check_tag(&version_tag("1.2.0+cu128")), Ok(()));
    }
}
