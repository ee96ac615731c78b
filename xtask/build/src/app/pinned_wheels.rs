//! Pins and upper bounds of what says nothing of wheels, such as `requirements.txt`: what
//! is known of the packages that web applications with PostgreSQL have most. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use definition::spec::App;
use serde_json::Value;
use toml::Table;

use super::ceiling::{self, Ceiling};
use super::markers::Machine;
use super::wheels::{BoundPackages, Listed, minors as minors_of_images};
use super::{DependencySource, bare, requirements};
use inputs::regular;

/// Of each package the first version with a wheel for Python 3.11, 3.12, 3.13 and 3.14.
/// For one of them: `echo NAME | uv pip compile --no-deps --only-binary :all: --resolution
/// lowest --python-platform x86_64-manylinux_2_28 --python-version 3.13 -`. What has been
/// published does not change; what is not known here is left to the build, which asks the
/// index. A package that is built without a compiler, such as MarkupSafe, is not here.
const FIRST: [(&str, [&str; 4]); 33] = [
    ("aiohttp", ["3.8.4", "3.9.0", "3.10.5", "3.13.0"]),
    ("asyncpg", ["0.27.0", "0.29.0", "0.30.0", "0.31.0"]),
    ("cffi", ["1.15.1", "1.16.0", "1.17.0", "2.0.0"]),
    ("frozenlist", ["1.3.3", "1.4.1", "1.4.1", "1.4.1"]),
    ("gevent", ["22.10.1", "23.7.0", "24.10.1", "25.8.1"]),
    ("greenlet", ["2.0.2", "3.0.0", "3.1.0", "3.2.3"]),
    ("grpcio", ["1.49.1", "1.59.0", "1.66.2", "1.75.1"]),
    ("hiredis", ["2.1.0", "2.3.2", "3.1.0", "3.3.0"]),
    ("httptools", ["0.5.0", "0.6.1", "0.6.2", "0.7.1"]),
    ("jiter", ["0.1.0", "0.1.0", "0.6.0", "0.10.0"]),
    ("lxml", ["4.9.1", "4.9.3", "5.3.0", "6.0.1"]),
    ("msgspec", ["0.9.1", "0.18.3", "0.19.0", "0.20.0"]),
    ("multidict", ["6.0.3", "6.0.5", "6.0.5", "6.0.5"]),
    ("numpy", ["1.23.2", "1.26.0", "2.1.0", "2.3.2"]),
    ("orjson", ["3.9.7", "3.9.7", "3.10.7", "3.11.3"]),
    ("pandas", ["1.5.0", "2.1.1", "2.2.3", "2.3.3"]),
    ("pendulum", ["3.0.0", "3.0.0", "3.1.0", "3.1.0"]),
    ("pillow", ["9.2.0", "10.0.0", "10.4.0", "11.3.0"]),
    ("psycopg-binary", ["3.1.12", "3.1.12", "3.2.3", "3.2.10"]),
    ("psycopg2-binary", ["2.9.5", "2.9.9", "2.9.10", "2.9.11"]),
    ("pyarrow", ["10.0.1", "14.0.0", "18.0.0", "22.0.0"]),
    ("pydantic-core", ["2.0.1", "2.4.0", "2.20.0", "2.41.1"]),
    ("pyyaml", ["6.0", "6.0.1", "6.0.2", "6.0.3"]),
    ("regex", ["2022.9.11", "2023.10.3", "2024.9.11", "2025.7.29"]),
    ("rpds-py", ["0.11.0", "0.11.0", "0.19.1", "0.26.0"]),
    ("scikit-learn", ["1.1.3", "1.3.1", "1.5.2", "1.7.2"]),
    ("scipy", ["1.9.2", "1.11.2", "1.14.1", "1.16.1"]),
    ("shapely", ["1.8.5", "2.0.2", "2.0.6", "2.1.2"]),
    ("tiktoken", ["0.1.1", "0.5.2", "0.8.0", "0.12.0"]),
    ("ujson", ["5.5.0", "5.8.0", "5.10.0", "5.11.0"]),
    ("uvloop", ["0.17.0", "0.18.0", "0.21.0", "0.22.1"]),
    ("yarl", ["1.8.2", "1.9.3", "1.9.3", "1.9.3"]),
    ("zstandard", ["0.19.0", "0.22.0", "0.23.0", "0.24.0"]),
];

/// The Python of the first column, of 3.11 the `11`.
const OLDEST: u32 = 11;

/// Packages that not each Python has a wheel of, or runs; none where the file cannot be
/// read.
pub(super) fn bound(folder: &Path, project: &Table, app: &App, shape: DependencySource) -> BoundPackages {
    let lines = match shape {
        DependencySource::Requirements => {
            let mut lines = Vec::new();
            let first = PathBuf::from("requirements.txt");
            collect(folder, first, &mut BTreeSet::new(), &mut lines);
            lines
        }
        DependencySource::Pipfile => of_pipfile(folder),
        _ => {
            let lines = bare::asked_lines(project, &app.install).into_iter();
            lines.map(str::to_owned).collect()
        }
    };
    let asked = lines
        .iter()
        .filter_map(|line| asked(line, std::env::consts::ARCH));
    BoundPackages::of_list(asked.collect())
}

/// The lines of a file and of those that it takes in.
fn collect(folder: &Path, path: PathBuf, seen: &mut BTreeSet<PathBuf>, lines: &mut Vec<String>) {
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
            if let Some(other) = requirements::inside(&beside.join(other)) {
                collect(folder, other, seen, lines);
            }
        } else {
            // Up to a comment, a line's end that goes on, or what pip is told of it.
            let ends = ["#", "\\", " --"].iter().filter_map(|end| line.find(end));
            lines.push(line[..ends.min().unwrap_or(line.len())].to_owned());
        }
    }
}

/// What is installed of `Pipfile.lock`, as lines of a list.
fn of_pipfile(folder: &Path) -> Vec<String> {
    let text = regular::read_to_string(&folder.join("Pipfile.lock")).unwrap_or_default();
    let lock: Value = serde_json::from_str(&text).unwrap_or_default();
    let entries = lock.get("default").and_then(Value::as_object);
    let lines = entries.into_iter().flatten().map(|(name, about)| {
        let text = |key: &str| about.get(key).and_then(Value::as_str).unwrap_or_default();
        format!("{name}{} ; {}", text("version"), text("markers"))
    });
    lines.collect()
}

/// What a requirement as PEP 508 writes it asks for; `None` where any version will do, or it is
/// another's to say which.
fn asked(line: &str, processor: &str) -> Option<Listed> {
    let (wanted, marker) = line.split_once(';').unwrap_or((line, ""));
    let (name, _) = bare::named(wanted.trim());
    let versions = &wanted[wanted.find(['=', '<', '>', '~', '!'])?..];
    let versions = versions.trim_end().trim_end_matches(')').trim_end();
    let (newest, oldest) = (Ceiling::of(versions), ceiling::floor(versions));
    if newest.is_none() && oldest.is_none() {
        return None;
    }
    // An early version of the first one with a wheel may have it, or not.
    let end = newest.as_ref().filter(|newest| !newest.is_early());
    let first = FIRST.iter().find(|(known, _)| *known == name);
    let minors = end.zip(first).map(|(newest, (_, first))| {
        let has = |first: &str| first.parse().is_ok_and(|first| newest.reaches(&first));
        let minors = first.iter().zip(OLDEST..).filter(|(first, _)| has(first));
        minors.map(|(_, minor)| minor).collect()
    });
    let absent = minors_of_images().filter(|minor| {
        let machine = Machine {
            minor: *minor,
            processor,
        };
        !machine.may_in_list(marker)
    });
    let shown = newest.as_ref().map_or(versions, Ceiling::shown).to_owned();
    Some(Listed {
        name,
        shown,
        absent: absent.collect(),
        newest,
        oldest,
        minors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use definition::spec::names::PYTHONS;

    fn told(files: &[(&str, &str)], python: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
            fs_err::write(folder.path().join(name), text).unwrap();
        }
        let shape = match files[0].0 {
            "Pipfile.lock" => DependencySource::Pipfile,
            "pyproject.toml" => DependencySource::Bare,
            _ => DependencySource::Requirements,
        };
        let project = match shape {
            DependencySource::Bare => files[0].1.parse().unwrap(),
            _ => Table::new(),
        };
        let app = sample::spec().app.unwrap();
        bound(folder.path(), &project, &app, shape).told(python, &PYTHONS, None)
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
        let said = told(&apart, "3.13").unwrap();
        assert!(
            said.contains("psycopg2-binary 2.9.5 and uvloop 0.17.0 have no wheel"),
            "{said}"
        );
        assert!(told(&apart, "3.13").unwrap().contains("\"3.11\""));
        let none_has = told(&[("requirements.txt", "asyncpg==0.26.0")], "3.13").unwrap();
        assert!(none_has.ends_with(": a newer version may have one"), "{none_has}");
    }

    #[test]
    fn a_version_that_python_does_not_run_leads_to_one_that_does() {
        let list = "asyncpg\nSQLAlchemy==2.0.0b3  # async\nuvicorn\n";
        assert_eq!(
            told(&[("requirements.txt", list)], "3.13.5").unwrap(),
            "sqlalchemy 2.0.0b3 does not run on Python 3.13: `\"python\": \"3.12\"` in the spec takes a Python that suits"
        );
        assert_eq!(told(&[("requirements.txt", list)], "3.12"), None);
        let both = "SQLAlchemy==2.0.20\nasyncpg==0.28.0\ndjango==3.2.*\n";
        assert_eq!(
            told(&[("requirements.txt", both)], "3.13.5").unwrap(),
            "asyncpg 0.28.0 has no wheel for Python 3.13 and is built from source, django ==3.2.* and sqlalchemy 2.0.20 do \
             not run on Python 3.13: `\"python\": \"3.11\"` in the spec takes a Python that suits"
        );
    }

    #[test]
    fn a_version_that_wants_a_newer_python_keeps_the_image_from_an_older_one() {
        let list = "Django==6.0\nlxml==4.9.2\n";
        assert_eq!(
            told(&[("requirements.txt", list)], "3.13.5").unwrap(),
            "lxml 4.9.2 has no wheel for Python 3.13 and is built from source: a newer version may have one"
        );
        for wanted in ["==6.0", ">=6.0", "~=6.0", ">=6.0,<7"] {
            let list = format!("Django{wanted}\n");
            let said = told(&[("requirements.txt", &list)], "3.11").unwrap();
            let shown = wanted.trim_start_matches("==");
            assert_eq!(
                said,
                format!(
                    "django {shown} does not run on Python 3.11: `\"python\": {:?}` in the spec takes a Python that suits",
                    PYTHONS[0]
                )
            );
            assert_eq!(told(&[("requirements.txt", &list)], "3.12"), None);
        }
        // An older version is taken there.
        for open in ["Django<7", "Django>=5.2", "Django==5.2"] {
            assert_eq!(told(&[("requirements.txt", open)], "3.11"), None, "{open}");
        }
    }

    #[test]
    fn what_is_for_an_extra_that_no_list_has_moves_no_python() {
        let list =
            "lxml==4.9.2 ; extra == \"old\"\nasyncpg==0.29.0; python_version < '3.13' and extra == 'x'\n";
        assert_eq!(told(&[("requirements.txt", list)], "3.13"), None);
    }

    #[test]
    fn upper_bounds_and_lists_of_other_tools_are_read_too() {
        let bounds = "[project]\nname = \"x\"\ndependencies = [\"numpy>=1.20,<2\", \"pandas ~= 2.1\"]\n";
        assert_eq!(
            told(&[("pyproject.toml", bounds)], "3.13").unwrap(),
            "numpy >=1.20,<2 has no wheel for Python 3.13 and is built from source: `\"python\": \"3.12\"` in the spec takes \
             a Python that has them"
        );
        let pipfile = r#"{"default": {"lxml": {"version": "==4.9.3", "markers": "python_version >= '3.8'"},
            "pyyaml": {"version": "==6.0.1", "markers": "sys_platform == 'win32'"}, "own": {"path": "."}},
            "develop": {"orjson": {"version": "==3.9.7"}}}"#;
        let said = told(&[("Pipfile.lock", pipfile)], "3.13").unwrap();
        assert!(said.starts_with("lxml 4.9.3 has no wheel"), "{said}");
    }

    #[test]
    fn where_no_python_has_all_that_with_the_most_is_told() {
        let list = "asyncpg==0.28.0\npandas==2.1.1\nnumpy==1.26.0\n";
        assert_eq!(
            told(&[("requirements.txt", list)], "3.13").unwrap(),
            "asyncpg 0.28.0, numpy 1.26.0 and pandas 2.1.1 have no wheel for Python 3.13 and are built from source: \
             `\"python\": \"3.11\"` in the spec takes a Python that has them"
        );
        let apart = "asyncpg==0.28.0\npandas==2.1.1\nnumpy==1.26.0\norjson==3.9.7\nuvloop==0.16.0\n";
        assert_eq!(
            told(&[("requirements.txt", apart)], "3.13").unwrap(),
            "asyncpg 0.28.0, numpy 1.26.0, orjson 3.9.7 and 2 more have no wheel for Python 3.13 and are built from source: \
             `\"python\": \"3.11\"` in the spec leaves uvloop 0.16.0; a newer version may have one"
        );
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
