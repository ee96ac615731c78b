//! Pins of `requirements.txt`, which says nothing of wheels: what is known of the
//! packages that web applications with PostgreSQL have most. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::lock::normal;
use super::wheels::BoundPackages;
use inputs::regular;

/// Of each package the first version with a wheel for Python 3.11, 3.12, 3.13 and
/// 3.14. What has been published does not change; what is not known here is left to
/// the build, which asks the index.
const FIRST: [(&str, [&str; 4]); 16] = [
    ("aiohttp", ["3.8.4", "3.9.0", "3.10.5", "3.13.0"]),
    ("asyncpg", ["0.27.0", "0.29.0", "0.30.0", "0.31.0"]),
    ("cffi", ["1.15.1", "1.16.0", "1.17.0", "2.0.0"]),
    ("frozenlist", ["1.3.3", "1.4.1", "1.4.1", "1.4.1"]),
    ("greenlet", ["2.0.2", "3.0.0", "3.1.0", "3.2.3"]),
    ("httptools", ["0.5.0", "0.6.1", "0.6.2", "0.7.1"]),
    ("lxml", ["4.9.1", "4.9.3", "5.3.0", "6.0.1"]),
    ("multidict", ["6.0.3", "6.0.5", "6.0.5", "6.0.5"]),
    ("orjson", ["3.9.7", "3.9.7", "3.10.7", "3.11.3"]),
    ("pillow", ["9.2.0", "10.0.0", "10.4.0", "11.3.0"]),
    ("psycopg-binary", ["3.1.12", "3.1.12", "3.2.3", "3.2.10"]),
    ("psycopg2-binary", ["2.9.5", "2.9.9", "2.9.10", "2.9.11"]),
    ("pydantic-core", ["2.0.1", "2.4.0", "2.20.0", "2.41.1"]),
    ("pyyaml", ["6.0", "6.0.1", "6.0.2", "6.0.3"]),
    ("uvloop", ["0.17.0", "0.18.0", "0.21.0", "0.22.1"]),
    ("yarl", ["1.8.2", "1.9.3", "1.9.3", "1.9.3"]),
];

/// The Python of the first column, of 3.11 the `11`.
const OLDEST: u32 = 11;

/// Packages that not each Python has a wheel of; none where the file cannot be read.
pub(super) fn bound(folder: &Path) -> BoundPackages {
    let mut pins = Vec::new();
    let mut seen = BTreeSet::new();
    collect(folder, PathBuf::from("requirements.txt"), &mut seen, &mut pins);
    of_pins(&pins)
}

/// The lines `name==version` of a file and of those that it takes in.
fn collect(folder: &Path, path: PathBuf, seen: &mut BTreeSet<PathBuf>, pins: &mut Vec<(String, String)>) {
    if !seen.insert(path.clone()) {
        return;
    }
    let text = regular::read_to_string(&folder.join(&path)).unwrap_or_default();
    for line in text.lines() {
        if let Some(other) = ["-r", "--requirement"]
            .iter()
            .find_map(|option| line.strip_prefix(option))
        {
            let other = other.trim_start_matches(['=', ' ']).trim();
            let beside = path.parent().unwrap_or(Path::new(""));
            collect(folder, beside.join(other), seen, pins);
        } else if let Some((name, rest)) = line.split_once("==") {
            let ends = |c: char| c.is_whitespace() || ";\\,#".contains(c);
            let version = rest.trim_start().split(ends).next().unwrap_or_default();
            let name = name.split('[').next().unwrap_or_default();
            pins.push((normal(name.trim()), version.to_owned()));
        }
    }
}

fn of_pins(pins: &[(String, String)]) -> BoundPackages {
    // Two pins of a package are for two Pythons.
    let once = |pin: &&(String, String)| pins.iter().all(|other| other.0 != pin.0 || other.1 == pin.1);
    let known = pins.iter().filter(once).filter_map(|(name, version)| {
        let (_, first) = FIRST.iter().find(|(known, _)| known == name)?;
        let ours = numbers(version)?;
        let has = first
            .iter()
            .zip(OLDEST..)
            .filter(|(first, _)| numbers(first).is_some_and(|first| first <= ours));
        Some((
            name.clone(),
            version.as_str(),
            has.map(|(_, minor)| minor).collect(),
        ))
    });
    BoundPackages::of_minors(known)
}

/// `2.9.10` as numbers; `None` for a version of another form, of which nothing is known.
fn numbers(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use definition::spec::names::PYTHONS;

    fn told(files: &[(&str, &str)], python: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs_err::write(folder.path().join(name), text).unwrap();
        }
        bound(folder.path()).told(python, &PYTHONS, None)
    }

    #[test]
    fn pins_of_some_years_ago_lead_to_the_python_of_their_time() {
        let requirements = "fastapi==0.109.0\nasyncpg==0.29.0\nhttpx\n";
        assert_eq!(
            told(&[("requirements.txt", requirements)], "3.13.5").unwrap(),
            "asyncpg 0.29.0 has no wheel for Python 3.13 and is built from source: `\"python\": \"3.12\"` in the spec takes a \
             Python that has them"
        );
        assert_eq!(told(&[("requirements.txt", requirements)], "3.12"), None);
        let apart = [
            ("requirements.txt", "-r requirements/base.txt\n"),
            (
                "requirements/base.txt",
                "-r ../requirements.txt\nPsycopg2_Binary == 2.9.5 ; python_version > '3'\nuvloop[x]==0.17.0 \\\n",
            ),
        ];
        assert!(
            told(&apart, "3.13")
                .unwrap()
                .contains("psycopg2-binary 2.9.5 and uvloop 0.17.0 have no wheel")
        );
        assert!(told(&apart, "3.13").unwrap().contains("\"3.11\""));
        let none_has = told(&[("requirements.txt", "asyncpg==0.26.0")], "3.13").unwrap();
        assert!(none_has.ends_with(": a newer version may have one"), "{none_has}");
    }

    #[test]
    fn what_is_newer_open_or_unknown_is_left_to_the_build() {
        let two = "asyncpg==0.29.0 ; python_version < '3.13'\nasyncpg==0.30.0 ; python_version >= '3.13'";
        for fine in [
            two,
            "asyncpg==0.30.0",
            "asyncpg==0.100.0",
            "asyncpg>=0.20",
            "asyncpg==0.29.0rc1",
            "unknown==0.1",
            "",
        ] {
            assert_eq!(told(&[("requirements.txt", fine)], "3.13"), None, "{fine}");
        }
    }
}
