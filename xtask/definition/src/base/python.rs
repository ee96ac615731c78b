//! The Python that an app runs on: its base's own, or one that uv fetches.

use pep440_rs::{Version, VersionSpecifiers};

use super::BaseSet;
use crate::spec::names::{PYTHONS, check_python, minor};

/// No minor version of Python has ever had so many patch releases.
const PATCHES: u64 = 60;

/// What an app says of its Python.
#[derive(Clone, Copy, Debug, Default)]
pub struct PythonWish<'a> {
    /// `python` of the spec: this one and no other.
    pub spec: Option<&'a str>,
    /// `requires-python`: one of these.
    pub requires: Option<&'a str>,
    /// `.python-version`: what its developers have.
    pub developed_on: Option<&'a str>,
}

impl BaseSet {
    /// A wanted version, unless it is that of the base's own Python: `3.13` is
    /// that of 3.13.5, too.
    pub(crate) fn lacks<'v>(&self, wanted: Option<&'v str>) -> Option<&'v str> {
        let own = format!("{}.", self.python.version);
        wanted.filter(|version| !own.starts_with(&format!("{version}.")))
    }
}

/// The Python of uv's that an app takes: its developers' own, else the newest.
pub(super) fn of_uv(requires: &VersionSpecifiers, developed_on: Option<&str>) -> Option<&'static str> {
    let own = developed_on.and_then(|version| minor(version.trim()));
    let all: Vec<&str> = PYTHONS
        .into_iter()
        .filter(|version| fits(version, requires))
        .collect();
    let chosen = all.iter().find(|version| own.as_deref() == Some(**version));
    chosen.or(all.first()).copied()
}

/// Whether a version, or one of its patches where it names none, is one of these.
pub(super) fn fits(version: &str, requires: &VersionSpecifiers) -> bool {
    let whole = |text: &str| {
        text.parse::<Version>()
            .is_ok_and(|version| requires.contains(&version))
    };
    match version.split('.').count() {
        2 => (0..PATCHES).any(|patch| whole(&format!("{version}.{patch}"))),
        _ => whole(version),
    }
}

/// What is said of a Python that an app's developers have and its image has not;
/// `None` for one that no spec can name.
pub(super) fn passed_over(developed_on: &str, has: &str) -> Option<String> {
    let version = developed_on.trim();
    check_python(version).ok()?;
    (minor(version) != minor(has)).then(|| {
        format!(
            "runs on Python {has}, and .python-version says {version}: `\"python\": {version:?}` in the spec takes that one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_developers_own_is_taken_where_it_fits() {
        let of = |requires: &str, developed_on| of_uv(&requires.parse().unwrap(), developed_on);
        assert_eq!(of(">=3.14", None), Some("3.14"));
        assert_eq!(of(">=3.14.2,<3.15", None), Some("3.14"));
        assert_eq!(of("<3.12", Some("3.12")), Some("3.11"));
        assert_eq!(of(">=3.11", Some("3.12.4")), Some("3.12"));
        assert_eq!(of(">=3.11", Some("pypy@3.11")), Some("3.14"));
        assert_eq!(of(">=3.15", None), None);
        assert_eq!(of("==3.9.*", Some("3.9")), None);
    }

    #[test]
    fn what_the_developers_have_is_told_where_the_image_has_another() {
        assert_eq!(passed_over("3.13.1\n", "3.13.5"), None);
        assert_eq!(passed_over("3.10", "3.13.5"), None);
        assert_eq!(
            passed_over("3.11\n", "3.13.5").unwrap(),
            "runs on Python 3.13.5, and .python-version says 3.11: `\"python\": \"3.11\"` in the spec takes that one"
        );
    }
}
