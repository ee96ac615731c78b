//! Versions of packages that a Python installs and does not run, or does not install. Pure.

use std::collections::BTreeSet;

use pep440_rs::Version;

use super::ceiling::Ceiling;

/// Versions that fail as they are imported.
struct Failing {
    name: &'static str,
    /// The first of them, and the first that runs again.
    from: &'static str,
    until: &'static str,
    /// The first Python, of 3.13 the `13`.
    since: u32,
    /// The package that brings back what they miss of Python.
    unless: Option<&'static str>,
}

/// What of web applications' packages is known to fail, each held against the versions
/// beside both ends: they import `cgi`, carry a six of before 3.12, wrap sockets as `ssl`
/// did, or lean on how Python made its classes.
const FAILING: [Failing; 11] = [
    Failing::new("django", ("0", "4.1"), 13, CGI),
    Failing::new("eventlet", ("0", "0.34.1"), 12, None),
    Failing::new("httpx", ("0", "0.23.1"), 13, CGI),
    Failing::new("kafka-python", ("0", "2.0.3"), 12, None),
    // Has no wheels, and calls what Python 3.13 has no more.
    Failing::new("psycopg2", ("0", "2.9.10"), 13, None),
    Failing::new("pydantic", ("0", "1.10.16"), 13, None),
    Failing::new("six", ("0", "1.16.0"), 12, None),
    Failing::new("sqlalchemy", ("2.0.0b1", "2.0.31"), 13, None),
    Failing::new("twisted", ("0", "24.3.0"), 13, CGI),
    Failing::new("typing-extensions", ("4.4.0", "4.6.0"), 12, None),
    Failing::new("webob", ("0", "1.8.9"), 13, CGI),
];

const CGI: Option<&str> = Some("legacy-cgi");

impl Failing {
    const fn new(
        name: &'static str,
        (from, until): (&'static str, &'static str),
        since: u32,
        unless: Option<&'static str>,
    ) -> Self {
        Self {
            name,
            from,
            until,
            since,
            unless,
        }
    }

    fn is(&self, name: &str, newest: &Ceiling, beside: &BTreeSet<String>) -> bool {
        let reaches = |version: &str| version.parse().is_ok_and(|version| newest.reaches(&version));
        self.name == name
            && reaches(self.from)
            && !reaches(self.until)
            && self.unless.is_none_or(|other| !beside.contains(other))
    }
}

/// The first Python, of 3.13 the `13`, that does not run the newest version of a package
/// that may be taken; `beside` are all packages that are.
pub(super) fn since(name: &str, newest: &Ceiling, beside: &BTreeSet<String>) -> Option<u32> {
    let known = FAILING.iter().find(|known| known.is(name, newest, beside))?;
    Some(known.since)
}

/// The first versions of web applications' packages that want a newer Python than the oldest of
/// the images, and which: what their `Requires-Python` says on the index.
const NEWER: [(&str, &str, u32); 4] = [
    ("django", "6.0a1", 12),
    ("ipython", "9.11.0", 12),
    ("numpy", "2.5.0rc1", 12),
    ("scipy", "1.18.0rc1", 12),
];

/// The first Python, of 3.12 the `12`, that installs a package of which the oldest version that
/// may be taken is this one, as far as that is known.
pub(super) fn first(name: &str, oldest: &Version) -> Option<u32> {
    let mut known = NEWER.iter().filter(|(known, ..)| *known == name);
    let wants = |version: &str| version.parse().is_ok_and(|version: Version| *oldest >= version);
    known.find_map(|(_, version, minor)| wants(version).then_some(*minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_python_does_not_run_is_known_by_its_version() {
        let since = |name: &str, asked: &str, beside: &str| {
            let beside = beside.split(' ').map(str::to_owned).collect();
            super::since(name, &Ceiling::of(asked).unwrap(), &beside)
        };
        for (name, asked, expected) in [
            ("sqlalchemy", "==2.0.0b3", Some(13)),
            ("sqlalchemy", "==2.0.30", Some(13)),
            ("sqlalchemy", "<2.0.20", Some(13)),
            ("sqlalchemy", "==2.0.31", None),
            ("sqlalchemy", "~=2.0.0", None),
            ("sqlalchemy", "<2.0", None),
            ("sqlalchemy", "==1.4.54", None),
            ("typing-extensions", "==4.5.0", Some(12)),
            ("psycopg2", "==2.9.6", Some(13)),
            ("psycopg2", "==2.9.10", None),
            ("pydantic", "==1.10.15", Some(13)),
            ("pydantic", "<2", None),
            ("django", "==3.2.*", Some(13)),
            ("unknown", "==1", None),
        ] {
            assert_eq!(since(name, asked, "starlette"), expected, "{name}{asked}");
        }
        assert_eq!(since("django", "==4.0.10", "asgiref legacy-cgi"), None);
    }
    #[test]
    fn the_python_that_a_version_wants_is_known_by_its_oldest() {
        let first = |name: &str, oldest: &str| super::first(name, &oldest.parse().unwrap());
        for (name, oldest, expected) in [
            ("django", "6.0", Some(12)),
            ("django", "6.1.3", Some(12)),
            ("django", "5.2.9", None),
            ("numpy", "2.5.0", Some(12)),
            ("numpy", "2.4.6", None),
            ("unknown", "6.0", None),
        ] {
            assert_eq!(first(name, oldest), expected, "{name} {oldest}");
        }
    }
}
