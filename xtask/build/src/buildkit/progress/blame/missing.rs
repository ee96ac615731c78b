//! What a package missed of the distribution while it was built. Pure.
//!
//! Names are those of Debian and Ubuntu, of packages that both have. What is not
//! known here is left to the log: a wrong name costs more than none.

use definition::base::BaseSets;
use definition::spec::names::PYTHONS;
use detect::{built, libraries};

/// What says that something is missing, and the packages that bring it.
const MISSING: [(&[&str], &[&str]); 25] = [
    (
        &[
            "'x86_64-linux-gnu-g++'",
            "'aarch64-linux-gnu-g++'",
            "command 'g++'",
            "'c++'",
        ],
        &["g++", "python3-dev"],
    ),
    (
        &[
            "-linux-gnu-gcc'",
            "'gcc'",
            "'cc'",
            "gcc: not found",
            "linker `cc` not found",
            "Unknown compiler(s)",
            "No CMAKE_C_COMPILER could be found",
        ],
        &["gcc", "python3-dev"],
    ),
    (&["Python.h: No such file"], &["gcc", "python3-dev"]),
    (&["pg_config", "libpq-fe.h"], &["gcc", "python3-dev", "libpq-dev"]),
    (
        &["mysql_config", "mysql.h: No such", "mysqlclient`"],
        &["gcc", "python3-dev", "pkg-config", "default-libmysqlclient-dev"],
    ),
    (&["ffi.h: No such file"], &["gcc", "python3-dev", "libffi-dev"]),
    (
        &["openssl/", "Could not find directory of OpenSSL"],
        &["gcc", "python3-dev", "libssl-dev", "pkg-config"],
    ),
    (
        &[
            "libxml/",
            "xml2-config",
            "xslt-config",
            "development packages of libxml2",
        ],
        &["gcc", "python3-dev", "libxml2-dev", "libxslt1-dev"],
    ),
    (
        &["xmlsec1"],
        &["gcc", "python3-dev", "pkg-config", "libxmlsec1-dev"],
    ),
    (
        &[
            "lber.h: No such",
            "ldap.h: No such",
            "sasl.h: No such",
            "sasl/sasl.h",
        ],
        &["gcc", "python3-dev", "libldap-dev", "libsasl2-dev"],
    ),
    (
        &[
            "headers or library files could not be found for jpeg",
            "jpeglib.h: No such",
        ],
        &["gcc", "python3-dev", "libjpeg-dev", "zlib1g-dev"],
    ),
    (&["zlib.h: No such"], &["gcc", "python3-dev", "zlib1g-dev"]),
    (&["yaml.h: No such"], &["gcc", "python3-dev", "libyaml-dev"]),
    (&["krb5-config"], &["gcc", "python3-dev", "libkrb5-dev"]),
    (
        &["'apxs' command appears not to be installed"],
        &["gcc", "python3-dev", "apache2-dev"],
    ),
    (
        &["memcached.h: No such"],
        &["gcc", "python3-dev", "libmemcached-dev", "zlib1g-dev"],
    ),
    (
        &["curl-config", "curl/curl.h"],
        &["gcc", "python3-dev", "libcurl4-openssl-dev", "libssl-dev"],
    ),
    (
        &["cairo.h: No such", "Dependency \"cairo\" not found"],
        &["gcc", "python3-dev", "pkg-config", "libcairo2-dev"],
    ),
    (
        &["geos_c.h: No such", "geos-config"],
        &["gcc", "python3-dev", "libgeos-dev"],
    ),
    (&["gdal-config"], &["g++", "python3-dev", "libgdal-dev"]),
    (
        &["'cmake'", "cmake: not found", "CMake is not installed"],
        &["cmake", "g++", "python3-dev"],
    ),
    (
        &["pkg-config: not found", "'pkg-config'", "pkg-config is required"],
        &["pkg-config"],
    ),
    (&["cannot run ssh"], &["git", "openssh-client"]),
    (&["Git executable not found", "'git'", "git: not found"], &["git"]),
    (
        &[
            "Cargo, the Rust package manager, is not installed",
            "can't find Rust compiler",
            "cargo: not found",
            "rustc: not found",
        ],
        &["cargo", "gcc", "python3-dev"],
    ),
];

/// A sentence that names what is missing and the keys that bring it.
pub(super) fn advice(text: &str) -> Option<String> {
    if let Some(library) = libraries::missing(text) {
        return Some(library);
    }
    if is_about_git_tags(text) {
        let variable = [
            ("uv-dynamic-versioning", "UV_DYNAMIC_VERSIONING_BYPASS"),
            ("poetry-dynamic-versioning", "POETRY_DYNAMIC_VERSIONING_BYPASS"),
        ]
        .iter()
        .find(|(tool, _)| text.contains(tool))
        .map_or("SETUPTOOLS_SCM_PRETEND_VERSION", |(_, variable)| variable);
        return Some(format!(
            "the version of a project comes from git, and no history reaches a build: give it by `\"build_environment\": \
             {{\"{variable}\": \"1.0\"}}` in the spec's `app`"
        ));
    }
    let list = to_build(text)?;
    let Some(package) = built(text) else {
        return Some(format!(
            "the build lacks something of the distribution: `\"build_packages\": [{list}]` in the spec brings it"
        ));
    };
    Some(format!(
        "{package} has no wheel for this Python and is built, which takes `\"build_packages\": [{list}]` in the spec; \
         a base set with another Python may have a wheel (`--base`)"
    ))
}

/// The packages that bring what a build says it has not, as a list of a spec.
fn to_build(text: &str) -> Option<String> {
    // The last line that says so is nearest to the end.
    let (_, packages) = text
        .lines()
        .rev()
        .filter(|line| says_missing(line))
        .find_map(|line| {
            MISSING
                .iter()
                .find(|(signs, _)| signs.iter().any(|sign| line.contains(sign)))
        })?;
    let name = built(text).and_then(|package| package.split("==").next());
    // Beside a compiler, which it misses first.
    let takes = name.and_then(|name| built::takes(&name.to_lowercase().replace(['_', '.'], "-")));
    let packages = takes.as_deref().unwrap_or(packages);
    let list: Vec<String> = packages.iter().map(|name| format!("\"{name}\"")).collect();
    Some(list.join(", "))
}

/// A sentence for a package that fails to build, and has a wheel for another Python:
/// `hive: asyncpg==0.28.0 has a wheel for Python 3.11`.
pub(super) fn another_python(text: &str, bases: Option<&BaseSets>) -> Option<String> {
    let (package, python) = text.lines().find_map(|line| {
        line.trim()
            .strip_prefix("hive: ")?
            .split_once(" has a wheel for Python ")
    })?;
    if !PYTHONS.contains(&python) {
        return Some(format!(
            "{package} has wheels for Python {python} and older ones alone, which no image has: let the app take a newer version of it"
        ));
    }
    let base = bases.and_then(|bases| bases.released_with(python));
    let (key, value) = base.map_or(("python", python), |base| ("base", base));
    // A Python of uv's is a download that not each network has.
    let list = base.is_none().then(|| to_build(text)).flatten();
    let or_built = list.map_or_else(String::new, |list| {
        format!("; or `\"build_packages\": [{list}]` in the spec, which may build it for this one")
    });
    Some(format!(
        "{package} has no wheel for this Python, and one for Python {python}: `\"{key}\": \"{value}\"` in images/<image>/image.json \
         takes that{or_built}"
    ))
}

/// Not each mention of a program is a complaint.
fn says_missing(line: &str) -> bool {
    let words = [
        "no such file",
        "not found",
        // As a shell ends that did not find it.
        "exit status 127",
        "not installed",
        "not to be installed",
        "unable to execute",
        "cannot find",
        "can't find",
        "could not find",
        "could not be found",
        "unknown compiler",
        "is required",
        "failed: no",
        "please make sure",
        "make sure the development",
    ];
    let lower = line.to_lowercase();
    words.iter().any(|word| lower.contains(word))
}

fn is_about_git_tags(text: &str) -> bool {
    [
        "setuptools-scm was unable to detect version",
        "Error getting the version from source `vcs`",
        "Error getting the version from source `uv-dynamic-versioning`",
        "unable to detect version for",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

/// The package that was built, with its version: ``Failed to build `a==1` ``.
fn built(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("Failed to build `")?;
    let (name, _) = rest.split_once('`')?;
    Some(name.split(" @ ").next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn names(text: &str, parts: &[&str]) {
        let advice = advice(text).unwrap_or_default();
        for part in parts {
            assert!(advice.contains(part), "{part:?} in {advice:?}");
        }
    }

    #[test]
    fn a_pin_with_a_wheel_for_another_python_is_sent_there() {
        let sets = include_str!("../../../../../../images/base-sets.json");
        let sets: BaseSets = serde_json::from_str(sets).unwrap();
        let told = |python: &str| {
            let text = format!(
                "error: no gcc\n  hive: asyncpg==0.28.0 has a wheel for Python {python}\n  the step ended"
            );
            another_python(&text, Some(&sets)).unwrap()
        };
        assert!(told("3.12").contains(r#"`"base": "ubuntu"`"#), "{}", told("3.12"));
        assert!(told("3.11").contains(r#"`"python": "3.11"`"#), "{}", told("3.11"));
        let gcc = "Failed to build `multidict==6.0.4`\nerror: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'\n\
                   hive: multidict==6.0.4 has a wheel for Python 3.11";
        let either = another_python(gcc, Some(&sets)).unwrap();
        assert!(
            either.contains(r#"takes that; or `"build_packages": ["gcc", "python3-dev"]`"#),
            "{either}"
        );
        assert!(told("3.10").starts_with("asyncpg==0.28.0 has wheels for Python 3.10 and older ones alone"));
        assert_eq!(another_python("Failed to build `a==1`", Some(&sets)), None);
    }

    #[test]
    fn what_is_missing_is_named_with_its_key() {
        let gcc = "  x Failed to build `greenlet==3.0.0`\n  error: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'\n  hint: This usually indicates a problem with the package\n";
        names(
            gcc,
            &[
                "greenlet==3.0.0",
                r#""build_packages": ["gcc", "python3-dev", "g++"]"#,
                "--base",
            ],
        );
        names(
            "Failed to build `mod-wsgi==5.0.0`\nRuntimeError: The 'apxs' command appears not to be installed or is not executable.",
            &[r#"["gcc", "python3-dev", "apache2-dev"]"#],
        );
        names(
            "Failed to build `pycairo==1.29.0`\nDid not find pkg-config by name 'pkg-config'\nDependency lookup for cairo with method 'pkg-config' failed: Pkg-config for machine host machine not found.",
            &[r#"["gcc", "python3-dev", "pkg-config", "libcairo2-dev"]"#],
        );
        names(
            "Failed to build `python-ldap==3.4.5`\nerror: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'",
            &[r#"["gcc", "python3-dev", "libldap-dev", "libsasl2-dev"]"#],
        );
        let pg = "Failed to build `psycopg2==2.9.10`\nError: pg_config executable not found.\npg_config is required to build psycopg2 from source.\n";
        names(
            pg,
            &["psycopg2==2.9.10", r#"["gcc", "python3-dev", "libpq-dev"]"#],
        );
        names(
            "src/x.c:1:10: fatal error: Python.h: No such file or directory",
            &["python3-dev"],
        );
        names(
            "x.c:4: fatal error: ffi.h: No such file or directory\nerror: command '/usr/bin/x86_64-linux-gnu-gcc' failed with exit code 1",
            &["libffi-dev"],
        );
        names(
            "Failed to build `gssapi==1.8.3`\nCalledProcessError: Command 'krb5-config --libs gssapi' returned non-zero exit status \
             127.",
            &["gssapi==1.8.3", r#"["gcc", "python3-dev", "libkrb5-dev"]"#],
        );
        names(
            "Git executable not found. Ensure that Git is installed and available.",
            &[r#""build_packages": ["git"]"#],
        );
        names(
            "error: cannot run ssh: No such file or directory\nfatal: unable to fork",
            &[r#""build_packages": ["git", "openssh-client"]"#],
        );
        names(
            "LookupError: Error getting the version from source `vcs`: setuptools-scm was unable to detect version for /app.",
            &["SETUPTOOLS_SCM_PRETEND_VERSION"],
        );
        names(
            "RuntimeError: Error getting the version from source `uv-dynamic-versioning`: Unable to detect version control system.",
            &[r#""UV_DYNAMIC_VERSIONING_BYPASS": "1.0""#],
        );
        names(
            "ImportError: libpq.so.5: cannot open shared object file: No such file or directory",
            &[r#""packages": ["libpq5"]"#],
        );
    }

    #[test]
    fn what_is_only_mentioned_is_not_missing() {
        for text in [
            "running build_ext\n'gcc' -O2 x.c",
            "checking for pg_config... yes",
            "cloning with 'git'",
        ] {
            assert_eq!(advice(text), None, "{text}");
        }
    }
}
