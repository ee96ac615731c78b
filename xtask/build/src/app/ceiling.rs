//! The newest version that is asked of a package: what a pin or an upper bound leaves.
//! Pure.

use pep440_rs::{Operator, Version, VersionSpecifier, VersionSpecifiers};

/// The end of the versions that a requirement allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ceiling {
    version: Version,
    /// Whether it is allowed itself.
    is_allowed: bool,
    /// As the requirement has it: a pin's version alone.
    shown: String,
}

impl Ceiling {
    /// That of a lock: one version. `None` for what is no version.
    pub(super) fn pin(version: &str) -> Option<Self> {
        Some(Self {
            version: version.parse().ok()?,
            is_allowed: true,
            shown: version.to_owned(),
        })
    }

    /// That of specifiers such as `==1.2` or `>=1,<2`. `None` where they have no end.
    pub(super) fn of(specifiers: &str) -> Option<Self> {
        let all: VersionSpecifiers = specifiers.parse().ok()?;
        let ends = all.iter().filter_map(end);
        let (version, is_allowed) =
            ends.min_by(|one, other| one.0.cmp(&other.0).then(one.1.cmp(&other.1)))?;
        let shown = specifiers.trim();
        let pinned = shown.trim_start_matches('=').trim();
        let is_pin = all.len() == 1 && is_allowed && shown.starts_with("==");
        Some(Self {
            version,
            is_allowed,
            shown: if is_pin { pinned } else { shown }.to_owned(),
        })
    }

    /// Whether this version, or a newer one, may be taken.
    pub(super) fn reaches(&self, version: &Version) -> bool {
        match self.is_allowed {
            true => *version <= self.version,
            // Early versions of what is left out are left out, too.
            false => version.only_release() < self.version.only_release(),
        }
    }

    /// Whether it is one of before a release.
    pub(super) fn is_early(&self) -> bool {
        self.is_allowed && self.version.any_prerelease()
    }

    /// As its requirement has it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

/// The oldest version that specifiers allow, or that they say is too old; `None` where they have
/// no beginning.
pub(super) fn floor(specifiers: &str) -> Option<Version> {
    let all: VersionSpecifiers = specifiers.parse().ok()?;
    let begins = |operator: &Operator| {
        matches!(
            operator,
            Operator::Equal
                | Operator::EqualStar
                | Operator::ExactEqual
                | Operator::GreaterThan
                | Operator::GreaterThanEqual
                | Operator::TildeEqual
        )
    };
    let lower = all.iter().filter(|one| begins(one.operator()));
    lower.map(|one| one.version().clone()).max()
}

/// The version that one specifier ends with, and whether it allows that.
fn end(specifier: &VersionSpecifier) -> Option<(Version, bool)> {
    let version = specifier.version();
    Some(match specifier.operator() {
        Operator::Equal | Operator::ExactEqual | Operator::LessThanEqual => (version.clone(), true),
        Operator::LessThan => (version.clone(), false),
        Operator::EqualStar => (after(version.release())?, false),
        Operator::TildeEqual => (after(version.release().split_last()?.1)?, false),
        Operator::NotEqual | Operator::NotEqualStar | Operator::GreaterThan | Operator::GreaterThanEqual => {
            return None;
        }
    })
}

/// The first version that does not begin with these numbers; `None` where no number is greater.
fn after(release: &[u64]) -> Option<Version> {
    let (last, first) = release.split_last()?;
    let next = last.checked_add(1)?;
    Some(Version::new(first.iter().copied().chain([next])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_begins_with_the_oldest_version_that_it_allows() {
        for (asked, expected) in [
            ("==6.0", Some("6.0")),
            ("==6.0.*", Some("6.0")),
            ("~=6.0.1", Some("6.0.1")),
            (">=5.2,>6.0,<7,!=8", Some("6.0")),
            ("<6.0", None),
            ("!=6.0", None),
            ("latest", None),
        ] {
            assert_eq!(floor(asked), expected.map(|one| one.parse().unwrap()), "{asked}");
        }
    }

    #[test]
    fn a_requirement_ends_with_the_newest_version_that_it_allows() {
        for (asked, shown, reached, not_reached) in [
            ("==2.0.0b3", "2.0.0b3", "2.0.0b3", "2.0.0"),
            (" == 1.2", "1.2", "1.2.0", "1.2.1"),
            ("===1.2", "1.2", "1.2", "1.3"),
            ("<2", "<2", "1.99", "2.0.0b1"),
            (">=1.1,<=2.0", ">=1.1,<=2.0", "2.0", "2.0.1"),
            ("<3,==1.4.*", "<3,==1.4.*", "1.4.99", "1.5"),
            ("~=1.4.2", "~=1.4.2", "1.4.99", "1.5"),
            ("~=1.4", "~=1.4", "1.99", "2"),
        ] {
            let ceiling = Ceiling::of(asked).unwrap();
            let reaches = |version: &str| ceiling.reaches(&version.parse().unwrap());
            assert_eq!(ceiling.shown(), shown, "{asked}");
            assert!(reaches(reached) && !reaches(not_reached), "{asked}");
        }
        for open in [
            "",
            ">=1",
            "!=1.2",
            ">1,!=1.5.*",
            "latest",
            "==18446744073709551615.*",
            "~=18446744073709551615.0",
        ] {
            assert_eq!(Ceiling::of(open), None, "{open}");
        }
        assert_eq!(Ceiling::pin("main"), None);
    }
}
