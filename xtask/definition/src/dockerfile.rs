//! Fragments and specs → the text of a Dockerfile. Pure.
//!
//! The three fragments in `docker/stages/` are Dockerfiles with `{{name}}`
//! placeholders. What differs between base sets goes in as build arguments
//! with the default set's values, so that one rendered, committed file serves
//! all sets and plain `docker build` too.

mod fragment;
mod own_steps;

use std::collections::BTreeMap;

use anyhow::Result;

use crate::base::{BaseSet, BaseSetsLock, ChosenBase, PackageNames, Postgres, Python, UvPin};
use crate::spec::names::{ImageName, PYTHONS};
use crate::spec::{App, ImageSpec, patience};
use inputs::context::sums;

pub use self::fragment::Fragment;
use self::fragment::{ELSEWHERE, fill};
use self::own_steps::{own_directories, own_steps, stand_ins, while_building};

/// The stage that is the image.
pub const TARGET: &str = "production";

/// The machine's own CAs, for every program that has a variable of its own for
/// them.
const CAS: &str = r"CA=
if [ -s /run/secrets/ca-bundle ]; then
    CA=/run/secrets/ca-bundle
    export SSL_CERT_FILE=$CA UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1
    export PIP_CERT=$CA GIT_SSL_CAINFO=$CA CURL_CA_BUNDLE=$CA REQUESTS_CA_BUNDLE=$CA NODE_EXTRA_CA_CERTS=$CA
fi";

/// What each step does after that which installs something: the machine's
/// proxies, package indexes and logins, which `build-images` gives.
const INDEXES: &str = "if [ -s /run/secrets/build-environment ]; then . /run/secrets/build-environment; fi";

/// The same for a step whose files are in the image and whose commands are the
/// app's: what they see of the environment may get into a file.
const PROXIES: &str = "if [ -s /run/secrets/proxies ]; then . /run/secrets/proxies; fi";

/// A step fails where a login lies in what it has made, and BuildKit keeps nothing of it.
const NO_LOGIN_IN: &str = r#"no_login_in() {
    logins=/run/secrets/$1 whose=$2
    shift 2
    [ -s "$logins" ] || return 0
    found=$(grep -rlF -f "$logins" "$@") || [ $? -eq 1 ]
    found=$(echo "$found" | sed 's#^/look/with-app#/opt#; s#^/look##; s#^/opt/with-app#/opt#')
    if [ -n "$found" ]; then
        echo "a login of this machine's package indexes or proxies lies in a file $whose:" $found >&2
        exit 1
    fi
}"#;

/// What uv keeps of an answer for the next time: of an index that says that its answers vary with the
/// login, and whose address has one, that is in it.
const FORGET_WHAT_WAS_ASKED: &str = "grep -rlsaE --include='*.rkyv' --include='*.http' --include='*.msgpack' \
    'Basic [A-Za-z0-9+/]{4}' /root/.cache/uv | xargs -r rm";

/// What reads the locks of Poetry and PDM, in the build: which packages a marker
/// means is known to the Python that they are for.
const LOCKED: &str = include_str!("dockerfile/locked.py");

/// The same for pipenv's lock, and for `requirements.txt`.
const PIPFILE: &str = include_str!("dockerfile/pipfile.py");
const LISTED: &str = include_str!("dockerfile/listed.py");

/// What decides how a `pyproject.toml` alone becomes a list.
const BARE: &str = include_str!("dockerfile/bare.py");

/// What lists the packages that the app's own one is built with.
const BUILD_SYSTEM: &str = include_str!("dockerfile/build_system.py");

/// What puts the app's indexes before those of the machine, and what installs each list of a lock's
/// from its own.
const ASKS: &str = include_str!("dockerfile/asks.sh");
const LISTS: &str = include_str!("dockerfile/lists.sh");

/// What tells whether a lock of uv's is current.
const IS_CURRENT: &str = include_str!("dockerfile/is_current.sh");

/// What two of them know of indexes, and the line by which they take it: a script of the
/// build is one text.
const ADDRESS: &str = include_str!("dockerfile/address.py");
const FROM_ADDRESS: &str = "from address import index, is_public, write\n";

/// Renders an image's Dockerfile.
///
/// # Errors
/// A usage error for a placeholder that is unknown, with its fragment and line.
pub fn render(
    fragments: &[Fragment],
    spec: &ImageSpec,
    default_base: &BaseSet,
    lock: &BaseSetsLock,
) -> Result<String> {
    let values = values(spec, default_base, lock)?;
    let sources: Vec<&str> = fragments.iter().map(|fragment| fragment.shown.as_str()).collect();
    let mut text = format!(
        "# Do not edit: rendered by `cargo xtask render` from {}\n# and from {}, images/defaults.json, images/base-sets.json and its lock.\n",
        sources.join(",\n# "),
        spec.file
    );
    for fragment in fragments {
        text.push('\n');
        text.push_str(&fill(fragment, &values)?);
    }
    Ok(text)
}

/// The build arguments that make a Dockerfile use a base set.
///
/// `BASE` is not among them: its reference may differ from machine to machine
/// where its content does not, so that the caller adds it outside of the key.
pub fn arguments(base: &ChosenBase, lock: &BaseSetsLock) -> BTreeMap<String, String> {
    let python = ("python_version", base.python.clone().unwrap_or_default());
    let of_set = base_values(&base.set).into_iter();
    let values = of_set.chain(uv_values(lock)).chain([python]);
    values.map(|(name, value)| (name.to_uppercase(), value)).collect()
}

fn base_values(set: &BaseSet) -> Vec<(&'static str, String)> {
    // No `..` here and below: what is new in a base set, a lock or a spec either
    // gets into the image or is named as what does not.
    let BaseSet {
        title: _,
        // These four are the base itself.
        image: _,
        distribution: _,
        suite: _,
        unreleased: _,
        python: Python {
            version: _,
            packages: python,
        },
        postgres: Postgres {
            major,
            packages: postgres,
        },
        supervisor: PackageNames { packages: supervisor },
    } = set;
    vec![
        ("python_packages", python.join(" ")),
        ("postgres_packages", postgres.join(" ")),
        ("supervisor_packages", supervisor.join(" ")),
        ("pg_major", major.to_string()),
    ]
}

fn uv_values(lock: &BaseSetsLock) -> Vec<(&'static str, String)> {
    let UvPin { version, sha256 } = &lock.uv;
    let hashes: Vec<String> = sha256
        .values()
        .map(|sha256| format!("--hash=sha256:{sha256}"))
        .collect();
    vec![("uv_version", version.clone()), ("uv_hashes", hashes.join(" "))]
}

fn values(spec: &ImageSpec, set: &BaseSet, lock: &BaseSetsLock) -> Result<BTreeMap<&'static str, String>> {
    let runtime = serde_json::to_string_pretty(&spec.runtime())?;
    let mut values: BTreeMap<&'static str, String> =
        base_values(set).into_iter().chain(uv_values(lock)).collect();
    let ImageSpec {
        name,
        title,
        labels,
        packages,
        build_packages,
        app,
        // Of it the container gets what `runtime` has.
        database,
        programs: _,
        build,
        file: _,
        // What the request has made of it, and of the app's wish, is `set`.
        base: _,
        python,
        // These are not in an image, but what it is called and held against.
        version: _,
        tags: _,
        checks: _,
        overruled: _,
        // Of it the steps of the build have the names, and what everybody may see.
        smoke_environment,
        // How long a start may take is the health check's to know, too.
        budgets,
    } = spec;
    values.insert("base", lock.pinned(&set.image));
    let python = set.lacks(python.as_deref());
    values.insert("pythons", PYTHONS.join(" "));
    values.insert("python_version", python.unwrap_or_default().to_owned());
    values.insert("image", name.to_string());
    values.insert("title", title.clone());
    values.insert("port", spec.port().to_string());
    if let Some(image) = &database.elsewhere {
        values.insert(ELSEWHERE, image.to_string());
    }
    values.insert("folders_of_data", String::new());
    let app_name = match app {
        Some(app) => of_app(app, &mut values)?,
        None => None,
    };
    values.insert("packages", packages.join(" "));
    values.insert("build_packages", while_building(build_packages, packages, build));
    values.insert(
        "labels",
        self::labels(name, title, spec.proved_health(), app_name, labels),
    );
    values.insert("start_period", patience::start_period(budgets).to_string());
    values.insert("runtime_json", runtime);
    values.insert("contents", sums::SHELL.to_owned());
    values.insert("network", format!("{CAS}\n{INDEXES}"));
    values.insert("network_without_logins", format!("{CAS}\n{PROXIES}"));
    for (name, script) in [
        ("locked", LOCKED),
        ("pipfile", PIPFILE),
        ("listed", LISTED),
        ("bare", BARE),
        ("build_system", BUILD_SYSTEM),
        ("asks", ASKS),
        ("lists", LISTS),
        ("is_current", IS_CURRENT),
    ] {
        values.insert(name, script.replace(FROM_ADDRESS, ADDRESS).trim_end().to_owned());
    }
    values.insert("no_login_in", NO_LOGIN_IN.to_owned());
    values.insert("forget_what_was_asked", FORGET_WHAT_WAS_ASKED.to_owned());
    values.insert(
        "stand_ins",
        stand_ins(smoke_environment, app.as_ref().map(|app| &app.environment)),
    );
    own_steps(build, &mut values)?;
    Ok(values)
}

/// Takes what an app is installed by; what it is called.
fn of_app<'a>(app: &'a App, values: &mut BTreeMap<&'static str, String>) -> Result<Option<&'a str>> {
    let App {
        install,
        directories,
        name,
        // This is the image's.
        port: _,
        // These in labels.
        health_path: _,
        health: _,
        // Of these the container gets what `runtime` has.
        source: _,
        import: _,
        factory: _,
        command: _,
        workers: _,
        before_start: _,
        environment: _,
        restart_after: _,
    } = app;
    values.insert("install_options", install.options());
    values.insert("build_environment", install.exports());
    own_steps::with_packages(&install.with, values)?;
    values.insert("app_package", install.package.clone().unwrap_or_default());
    // An app that opens a file there as it is imported has to find the folder, in steps too.
    let of_the_app = directories.iter().filter(|path| path.starts_with("/app/"));
    values.insert(
        "folders_of_data",
        of_the_app.map(|path| format!(" {path}")).collect(),
    );
    own_directories(directories, values)?;
    Ok(name.as_deref())
}

/// `LABEL` lines; a value is quoted so that the Dockerfile's own expansion
/// leaves it as it is.
fn labels(
    name: &ImageName,
    title: &str,
    health: Option<&str>,
    app: Option<&str>,
    extra: &BTreeMap<String, String>,
) -> String {
    let own = [
        (crate::labels::IMAGE_LABEL, Some(name.as_str())),
        (crate::labels::HEALTH_LABEL, health),
        ("org.opencontainers.image.title", Some(title)),
        (crate::labels::APP_LABEL, app),
    ];
    let own = own.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let extra = extra.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let lines: Vec<String> = own
        .chain(extra)
        .map(|(key, value)| format!("LABEL {}={}", quote(key), quote(value)))
        .collect();
    lines.join("\n")
}

/// A double-quoted word of a Dockerfile.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package's `*.pth` runs as the venv's Python starts.
    #[test]
    fn the_venvs_python_starts_neither_as_root_in_the_image_nor_beside_logins() {
        let stages = [
            include_str!("../../../docker/stages/10-python-deps.Dockerfile"),
            include_str!("../../../docker/stages/30-production.Dockerfile"),
        ];
        let mut calls = 0;
        for text in stages {
            let code = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
            // uv is told where it installs to.
            let starts = code.filter(|line| {
                line.replace("--python /opt/venv", "")
                    .contains("/opt/venv/bin/python")
            });
            for line in starts {
                assert!(line.starts_with("as_hive "), "{line}");
                calls += 1;
            }
            for line in text.lines().filter(|line| line.contains("-m compileall")) {
                assert!(line.contains(" -I -S ") || line.starts_with("python3 "), "{line}");
            }
        }
        assert_eq!(calls, 2);
    }

    /// The fragments whose steps get something of this machine.
    const WITH_SECRETS: [&str; 5] = [
        include_str!("../../../docker/stages/10-python-deps.Dockerfile"),
        include_str!("../../../docker/stages/20-postgres-base.Dockerfile"),
        include_str!("dockerfile/node.Dockerfile"),
        include_str!("dockerfile/node_build.Dockerfile"),
        include_str!("dockerfile/steps.Dockerfile"),
    ];

    /// apt fetches by https as a user of its own, and npm runs as one.
    #[test]
    fn every_user_of_a_step_can_read_the_cas() {
        let mounts: Vec<&str> = WITH_SECRETS
            .iter()
            .flat_map(|text| text.split("--mount=type=secret,id=ca-bundle").skip(1))
            .map(|after| after.split_whitespace().next().unwrap())
            .collect();
        assert_eq!(mounts, [",mode=0444"; 11]);
    }

    /// pip and npm write the login of an index into what they keep of its answers, where those vary
    /// with that. Of uv's entries the step itself takes those away.
    #[test]
    fn no_cache_that_others_come_upon_is_mounted_where_a_login_is() {
        let steps: Vec<&str> = WITH_SECRETS
            .iter()
            .flat_map(|text| text.split("\nRUN ").skip(1))
            .collect();
        let has_login = |step: &&&str| step.contains("id=netrc") || step.contains("id=npmrc");
        let with_login: Vec<&&str> = steps.iter().filter(has_login).collect();
        assert_eq!(with_login.len(), 6);
        let cached: Vec<&&&str> = with_login
            .iter()
            .filter(|step| step.contains("type=cache"))
            .collect();
        assert_eq!(cached.len(), 1);
        assert!(cached[0].contains("id=hive-uv") && cached[0].contains("{{forget_what_was_asked}}"));
    }

    /// Nothing else of the folder is there in a build.
    #[test]
    fn what_two_scripts_share_is_in_the_text_of_each() {
        for script in [LOCKED, PIPFILE] {
            let whole = script.replace(FROM_ADDRESS, ADDRESS);
            assert!(script.contains("write(") && !script.contains("def write("));
            assert!(whole.contains("def write(") && !whole.contains("from address"));
        }
    }

    #[test]
    fn label_values_survive_the_dockerfile() {
        assert_eq!(quote(r#"a "b" $c \d"#), r#""a \"b\" \$c \\d""#);
    }
}
