//! Fragments and specs → the text of a Dockerfile. Pure.
//!
//! The three fragments in `docker/stages/` are Dockerfiles with `{{name}}`
//! placeholders. What differs between base sets goes in as build arguments
//! with the default set's values, so that one rendered, committed file serves
//! all sets and plain `docker build` too.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::base::{BaseSet, BaseSetsLock, ChosenBase, PackageNames, Postgres, Python, UvPin};
use crate::spec::build::{self, BuildSteps, FrontEnd};
use crate::spec::names::{ImageName, PYTHONS};
use crate::spec::{App, Budgets, ImageSpec};
use inputs::context::sums;

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

/// What reads the locks of Poetry and PDM, in the build: which packages a marker
/// means is known to the Python that they are for.
const LOCKED: &str = include_str!("dockerfile/locked.py");

/// The stage of a front end, for images that have one.
const NODE: &str = include_str!("dockerfile/node.Dockerfile");

/// The step that builds it, where a folder comes of it.
const NODE_BUILD: &str = include_str!("dockerfile/node_build.Dockerfile");

/// What chooses the package manager of a front end.
const CHOOSE_MANAGER: &str = include_str!("dockerfile/choose_manager.js");

/// Lets the app's own commands have node and the packages: a change there is in no
/// image, and where they lie only for this step.
const PACKAGES_FOR_STEPS: &str = r"    --mount=type=bind,from=front-end,source=/app/{folder}/node_modules,target=/app/{folder}/node_modules,rw \
    --mount=type=bind,from=front-end,source=/opt/manager,target=/opt/manager \
";

/// The step of the app's own commands, for images that have some.
const STEPS: &str = include_str!("dockerfile/steps.Dockerfile");

/// The step that moves the app's folders of data away, for images that have some.
const DIRECTORIES: &str = include_str!("dockerfile/directories.Dockerfile");

/// A fragment as it was read.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// As users know it, such as `docker/stages/10-python-deps.Dockerfile`.
    pub shown: String,
    /// What the file holds, placeholders included.
    pub text: String,
}

impl Fragment {
    fn own(name: &str, text: &str) -> Self {
        Self {
            shown: format!("{name}.Dockerfile"),
            text: text.to_owned(),
        }
    }
}

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
        // Of it the steps of the build have the names.
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
    values.insert("start_period", start_period(budgets).to_string());
    values.insert("runtime_json", runtime);
    values.insert("contents", sums::SHELL.to_owned());
    values.insert("network", format!("{CAS}\n{INDEXES}"));
    values.insert("network_without_logins", format!("{CAS}\n{PROXIES}"));
    values.insert("locked", LOCKED.trim_end().to_owned());
    values.insert(
        "stand_ins",
        stand_ins(smoke_environment.keys(), app.as_ref().map(|app| &app.environment)),
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
    values.insert("app_package", install.package.clone().unwrap_or_default());
    own_directories(directories, values)?;
    Ok(name.as_deref())
}

/// Lines of shell that give a build step what nobody has given: an app that reads a key of
/// another company's as it is imported has no settings without. What the gate gives is no
/// part of an image, so that each name has something that stands for a value.
fn stand_ins<'n>(
    names: impl Iterator<Item = &'n String>,
    environment: Option<&BTreeMap<String, String>>,
) -> String {
    // What a step runs by is the build's to say.
    const OF_PROGRAMS: [&str; 5] = ["HIVE_", "HOME", "LD_", "PATH", "PYTHON"];
    let is_known = |name: &str| environment.is_some_and(|environment| environment.contains_key(name));
    let wanted = names.filter(|name| !is_known(name) && !OF_PROGRAMS.iter().any(|own| name.starts_with(own)));
    let line = |name: &String| {
        let upper = name.to_uppercase();
        let value = match () {
            () if upper.ends_with("DSN") => "https://given-at-start@given-at-start.invalid/1",
            () if upper.ends_with("URL") || upper.ends_with("URI") => "https://given-at-start.invalid",
            () => "given-at-start",
        };
        format!("export {name}={value}")
    };
    wanted.map(line).collect::<Vec<_>>().join("\n")
}

/// Packages of the distribution in the stage that installs the app: what the image has
/// is there, too, where the app's own code runs in it. PostgreSQL's library comes with
/// the server there.
fn while_building(own: &[String], of_image: &[String], build: &BuildSteps) -> String {
    let mut all = own.to_vec();
    if !build.steps.is_empty() {
        let library = ["libpq5".to_owned()];
        for package in library.iter().chain(of_image) {
            if !all.contains(package) {
                all.push(package.clone());
            }
        }
    }
    all.join(" ")
}

/// The stage of a front end and the app's own steps; empty where there are none.
fn own_steps(build: &BuildSteps, values: &mut BTreeMap<&'static str, String>) -> Result<()> {
    let BuildSteps { steps, node } = build;
    let (mut front_end, mut own) = (String::new(), String::new());
    let (mut python_from, mut packages) = ("${BASE}", String::new());
    if let Some(FrontEnd {
        folder,
        command,
        output,
    }) = node
    {
        let folder = build::clean(folder);
        let mut build = String::new();
        match output {
            Some(output) => {
                let output = build::clean(output);
                own = format!("\nCOPY --from=front-end /app/{output} /app/{output}\n");
                values.insert("node_output", output);
                let command = match command {
                    Some(command) => format!("as_user {}", shell_words(command)),
                    None => "run_script build".to_owned(),
                };
                values.insert("node_command", command);
                build = fill(&Fragment::own("node_build", NODE_BUILD), values)?;
            }
            None => {
                python_from = "node-tools";
                packages = PACKAGES_FOR_STEPS.replace("{folder}", &folder);
            }
        }
        values.insert("node_build", build);
        values.insert("node_folder", folder);
        values.insert("choose_manager", CHOOSE_MANAGER.trim_end().to_owned());
        front_end = fill(&Fragment::own("node", NODE), values)?;
    }
    values.insert("python_from", python_from.to_owned());
    values.insert("packages_for_steps", packages);
    if !steps.is_empty() {
        let lines: Vec<String> = steps
            .iter()
            .map(|step| format!("step {}", shell_words(step)))
            .collect();
        values.insert("steps", lines.join("\n"));
        own += &fill(&Fragment::own("steps", STEPS), values)?;
    }
    values.insert("front_end", front_end);
    values.insert("own_steps", own);
    Ok(())
}

/// The step of the folders that lie on the volume; empty where there are none.
fn own_directories(directories: &[String], values: &mut BTreeMap<&'static str, String>) -> Result<()> {
    let mut step = String::new();
    if !directories.is_empty() {
        // Their names hold nothing that a shell reads.
        let lines: Vec<String> = directories.iter().map(|path| format!("keep {path}")).collect();
        values.insert("directories", lines.join("\n"));
        step = fill(&Fragment::own("directories", DIRECTORIES), values)?;
    }
    values.insert("own_directories", step);
    Ok(())
}

/// A command as the shell reads it, word by word.
fn shell_words(command: &[String]) -> String {
    let quoted = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Seconds in which an engine does not count that a container is not healthy yet:
/// a machine may be three times as slow as the one that the budgets are for.
pub fn start_period(budgets: &Budgets) -> u64 {
    let longest = budgets.ready_seconds.max(budgets.restart_seconds);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema bounds it"
    )]
    let period = (longest * 3.0).ceil() as u64;
    period.max(60)
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

/// Begins lines that are there only for an image with an app.
const IF_APP: &str = "{{if app}}";
/// Begins lines that are there only for an image with a database in it.
const IF_DATABASE: &str = "{{if database}}";
/// Begins those that take their place where there is none.
const ELSE: &str = "{{else}}";
const END: &str = "{{end}}";

/// The value that only an image has whose database is elsewhere.
const ELSEWHERE: &str = "elsewhere";

/// A fragment with its placeholders filled and without the lines of another kind
/// of image.
fn fill(fragment: &Fragment, values: &BTreeMap<&'static str, String>) -> Result<String> {
    let mut out = String::new();
    // Only an app is installed from anything.
    let (has_app, has_database) = (
        values.contains_key("install_options"),
        !values.contains_key(ELSEWHERE),
    );
    // Where lines of one kind of image begin, and whether they are kept.
    let mut part: Option<(usize, bool)> = None;
    for (n, line) in fragment.text.lines().enumerate() {
        part = match (line, part) {
            (IF_APP, None) => Some((n, has_app)),
            (IF_DATABASE, None) => Some((n, has_database)),
            (ELSE, Some((since, is_kept))) => Some((since, !is_kept)),
            (END, Some(_)) => None,
            (IF_APP | IF_DATABASE | ELSE | END, _) => bail!(failure::usage(format!(
                "{}:{}: {line} in a wrong place: known is {IF_APP} or {IF_DATABASE}, {ELSE}, {END}, a line each",
                fragment.shown,
                n + 1
            ))),
            (_, Some((_, false))) => continue,
            (_, part) => {
                fill_line(&mut out, fragment, n, line, values)?;
                part
            }
        };
    }
    if let Some((since, _)) = part {
        bail!(failure::usage(format!(
            "{}:{}: {} without {END}",
            fragment.shown,
            since + 1,
            fragment.text.lines().nth(since).unwrap_or_default()
        )));
    }
    Ok(out)
}

/// Writes one line with its placeholders filled.
fn fill_line(
    out: &mut String,
    fragment: &Fragment,
    n: usize,
    line: &str,
    values: &BTreeMap<&'static str, String>,
) -> Result<()> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            bail!(failure::usage(format!(
                "{}:{}: `{{{{` without `}}}}`",
                fragment.shown,
                n + 1
            )));
        };
        let Some(value) = values.get(name) else {
            let known: Vec<&str> = values.keys().copied().collect();
            bail!(
                failure::usage(format!(
                    "{}:{}: unknown placeholder {{{{{name}}}}}",
                    fragment.shown,
                    n + 1
                ))
                .hint(format!("known placeholders: {}", known.join(", ")))
            );
        };
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    // A placeholder that is empty must not leave a blank at the line's end.
    let kept = out.trim_end_matches([' ', '\t']).len();
    out.truncate(kept);
    out.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String> {
        let values = BTreeMap::from([("port", "2000".to_owned()), ("packages", String::new())]);
        fill(
            &Fragment {
                shown: "f.Dockerfile".to_owned(),
                text: text.to_owned(),
            },
            &values,
        )
    }

    #[test]
    fn placeholders_are_filled() {
        assert_eq!(
            filled("EXPOSE {{port}}\nRUN x {{packages}}\n").unwrap(),
            "EXPOSE 2000\nRUN x\n"
        );
    }

    #[test]
    fn steps_have_the_libraries_of_the_image() {
        let steps = |text: &str| serde_json::from_str::<BuildSteps>(text).unwrap();
        let [own, of_image] = [["gcc"], ["libmagic1"]].map(|names| names.map(str::to_owned).to_vec());
        assert_eq!(while_building(&own, &of_image, &steps("{}")), "gcc");
        assert_eq!(
            while_building(&own, &of_image, &steps(r#"{"steps": [["x"]]}"#)),
            "gcc libpq5 libmagic1"
        );
        let same = ["libpq5".to_owned()];
        assert_eq!(
            while_building(&same, &same, &steps(r#"{"steps": [["x"]]}"#)),
            "libpq5"
        );
    }

    #[test]
    fn mistakes_name_fragment_and_line() {
        let error = filled("A\nB {{prot}}\n").unwrap_err();
        assert_eq!(
            failure::render(&error),
            "error: f.Dockerfile:2: unknown placeholder {{prot}}\n\nhint: known placeholders: packages, port"
        );
        assert_eq!(
            filled("{{port").unwrap_err().to_string(),
            "f.Dockerfile:1: `{{` without `}}`"
        );
    }

    #[test]
    fn lines_of_another_kind_of_image_are_left_out() {
        let text = "A\n{{if app}}\nB\n{{else}}\nC {{port}}\n{{end}}\nD\n";
        assert_eq!(filled(text).unwrap(), "A\nC 2000\nD\n");
        let text = "{{if database}}\nA\n{{else}}\nB\n{{end}}\n";
        assert_eq!(filled(text).unwrap(), "A\n");
        let elsewhere = BTreeMap::from([(ELSEWHERE, "postgres".to_owned())]);
        let fragment = Fragment::own("f", text);
        assert_eq!(fill(&fragment, &elsewhere).unwrap(), "B\n");
        for (text, said) in [
            ("A\n{{if app}}\n", "f.Dockerfile:2: {{if app}} without {{end}}"),
            (
                "{{else}}\n",
                "f.Dockerfile:1: {{else}} in a wrong place: known is {{if app}} or {{if database}}, {{else}}, {{end}}, a line each",
            ),
        ] {
            assert_eq!(filled(text).unwrap_err().to_string(), said);
        }
    }

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

    #[test]
    fn a_step_of_the_build_has_what_the_gate_is_given_by_name_alone() {
        let names = [
            "APP_SECRET",
            "HIVE_DATABASE_WAIT",
            "PATH",
            "SENTRY_DSN",
            "STRIPE_KEY",
        ]
        .map(str::to_owned);
        let own = BTreeMap::from([("APP_SECRET".to_owned(), "{secret:APP_SECRET}".to_owned())]);
        assert_eq!(
            stand_ins(names.iter(), Some(&own)),
            "export SENTRY_DSN=https://given-at-start@given-at-start.invalid/1\nexport STRIPE_KEY=given-at-start"
        );
        assert_eq!(stand_ins([].iter(), None), "");
    }

    #[test]
    fn label_values_survive_the_dockerfile() {
        assert_eq!(quote(r#"a "b" $c \d"#), r#""a \"b\" \$c \\d""#);
    }
}
