//! What the shape of a spec cannot say: grammars of names, templates, what is
//! reserved. Collects every problem.

mod database;
mod template;

use std::path::Path;

use self::template::check_template;
use super::directories;
use super::kind;
use super::names::{ImageName, check_package, check_python, check_requirement};
use super::program;
use super::raw::{CheckProbe, HealthMeaning, HttpProbe, RawApp, RawDatabase, RawSpec};
use super::secret;
use super::shape::ShapeProblem;
use super::{App, Database, ImageSpec, InstallChoice, POSTGRESQL_PORT};
use crate::reference::{ReleaseTag, Tag};

/// The spec that a file of the right shape means.
///
/// # Errors
/// Every problem found.
pub(super) fn validate(
    name: &str,
    raw: RawSpec,
    file: &str,
    source_folder: &Path,
) -> Result<ImageSpec, Vec<ShapeProblem>> {
    let mut meaning = Meaning::default();
    let image_name = meaning.take("", ImageName::parse(name));
    meaning.every_part(&raw);
    let version = raw.version.as_deref();
    let version = version.and_then(|version| meaning.take("version", Tag::of_version(version)));
    let tags = raw
        .tags
        .clone()
        .unwrap_or_else(|| vec![format!("hive-{name}:latest"), format!("hive-{name}:{{version}}")]);
    if tags.is_empty() {
        meaning.tell("tags", "is empty: an image without a tag cannot be used");
    }
    let tags = tags.iter().enumerate();
    let tags = tags
        .filter_map(|(n, tag)| meaning.take(&format!("tags[{n}]"), ReleaseTag::parse(tag)))
        .collect();
    let Some(image_name) = image_name.filter(|_| meaning.found.is_empty()) else {
        return Err(meaning.found);
    };
    // No `..`: a key that is new has to become something.
    let RawSpec {
        schema_link: _,
        title,
        base,
        python,
        app,
        database,
        programs,
        build,
        labels,
        packages,
        build_packages,
        version: _,
        tags: _,
        budgets,
        checks,
        smoke,
    } = raw;
    let RawDatabase {
        name,
        role,
        elsewhere,
        port,
        extensions,
        initial_sql,
        settings,
    } = database;
    Ok(ImageSpec {
        name: image_name,
        title,
        file: file.to_owned(),
        base,
        python,
        app: app.map(|app| app_of(app, source_folder)),
        database: Database {
            name,
            role,
            elsewhere: elsewhere.and_then(|image| ImageName::parse(&image).ok()),
            port,
            extensions,
            initial_sql,
            settings,
        },
        programs,
        build,
        labels,
        packages,
        build_packages,
        version,
        tags,
        budgets,
        checks,
        // By whoever knows the files.
        overruled: Vec::new(),
        smoke_environment: smoke.environment,
    })
}

fn app_of(raw: RawApp, source_folder: &Path) -> App {
    // No `..`, as above.
    let RawApp {
        name,
        source,
        package,
        extras,
        groups,
        with,
        build_environment,
        import,
        factory,
        command,
        workers,
        port,
        health_path,
        health,
        before_start,
        environment,
        restart_after,
        directories,
    } = raw;
    App {
        name,
        source: super::source::joined(source_folder, &source),
        install: InstallChoice {
            package,
            extras,
            groups,
            with,
            environment: build_environment,
        },
        import,
        factory,
        command,
        workers,
        port,
        health_path,
        health,
        before_start,
        environment,
        restart_after,
        directories: directories
            .iter()
            .map(|path| directories::absolute(path))
            .collect(),
    }
}

/// Variables that the container itself goes by, and what says so instead. Any
/// other one is the spec's to set.
const NOT_FOR_A_SPEC: [(&str, &str); 5] = [
    (
        "HIVE_API_PORT",
        "is what `app.port` says: the app gets it, and `docker run -e` can move it",
    ),
    (
        "HIVE_APP_WAS",
        "is for whoever runs the container on a volume of an app that had another name",
    ),
    (
        "HIVE_DATABASE_PASSWORD",
        "is no place for a password: whoever runs the container names a file by HIVE_DATABASE_PASSWORD_FILE",
    ),
    (
        "HIVE_DATABASE_PASSWORD_FILE",
        "is for whoever runs the container: give it by `docker run -e`",
    ),
    (
        "PGDATA",
        "is the container's own: its data lies on its volume, and the app has nothing to do there",
    ),
];

/// Collects what the shape cannot say.
#[derive(Default)]
struct Meaning {
    found: Vec<ShapeProblem>,
}

impl Meaning {
    fn tell(&mut self, path: &str, message: impl Into<String>) {
        self.found.push(ShapeProblem {
            path: path.to_owned(),
            message: message.into(),
        });
    }

    fn take<T>(&mut self, path: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.tell(path, message)).ok()
    }

    /// All parts but the version and the tags, of which something is made.
    fn every_part(&mut self, raw: &RawSpec) {
        for (path, message) in kind::problems(raw) {
            self.tell(&path, message);
        }
        if let Some(app) = &raw.app {
            self.app(app);
        }
        if let Some(version) = &raw.python {
            self.take("python", check_python(version));
        }
        if let Some(image) = &raw.database.elsewhere {
            self.take("database.elsewhere", ImageName::parse(image));
        }
        self.database(raw);
        self.programs(raw);
        self.packages("packages", &raw.packages);
        self.packages("build_packages", &raw.build_packages);
        self.checks(raw);
        for (path, message) in raw.build.problems() {
            self.tell(&path, message);
        }
        if let Some(app) = &raw.app {
            let import = app.command.is_none().then_some(app.import.as_str());
            for (n, message) in directories::problems(&app.directories, import, &raw.build) {
                self.tell(&format!("app.directories[{n}]"), message);
            }
        }
        for (key, value) in &raw.smoke.environment {
            self.variable(&format!("smoke.environment.{key}"), key, value);
        }
        self.statements(raw);
        self.labels(raw);
        self.line("title", &raw.title);
    }

    /// Passwords in what PostgreSQL is told: all of it is in the image.
    fn statements(&mut self, raw: &RawSpec) {
        let statements = raw.database.initial_sql.iter().enumerate();
        let statements = statements.map(|(n, text)| (format!("database.initial_sql[{n}]"), text));
        let settings = raw.database.settings.iter();
        let settings = settings.map(|(name, text)| (format!("database.settings.{name}"), text));
        let found: Vec<(String, &str)> = statements
            .chain(settings)
            .filter_map(|(path, text)| Some((path, secret::in_sql(text)?)))
            .collect();
        for (path, found) in found {
            self.tell(
                &path,
                format!(
                    "has {found}, and everybody who has the image could read it: a command of `app.before_start` can \
                     say it, with a `{{secret:NAME}}` of `app.environment`"
                ),
            );
        }
    }

    fn labels(&mut self, raw: &RawSpec) {
        for (key, value) in &raw.labels {
            self.line(&format!("labels.{key}"), value);
            if secret::is_secret(key, value) {
                self.tell(
                    &format!("labels.{key}"),
                    "looks like a secret, and everybody who has the image could read it",
                );
            }
            let good = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
            if key.is_empty() || !key.bytes().all(good) {
                self.tell(
                    &format!("labels.{key}"),
                    "is no name of a label: letters, digits, `.`, `_`, `-`, `/` and `:`",
                );
            }
            if key.starts_with("dev.hive.") {
                self.tell(
                    &format!("labels.{key}"),
                    "starts with `dev.hive.`, which is the tool's own",
                );
            }
        }
    }

    fn app(&mut self, app: &RawApp) {
        if let Some(name) = &app.name {
            self.line("app.name", name);
        }
        let import_ok = app.import.split_once(':').is_some_and(|(module, attribute)| {
            !attribute.is_empty()
                && module.split('.').all(is_python_name)
                && attribute.split('.').all(is_python_name)
        });
        if !import_ok {
            self.tell(
                "app.import",
                format!("is {:?}, must be `package.module:attribute`", app.import),
            );
        }
        for (name, value) in &app.build_environment {
            let path = format!("app.build_environment.{name}");
            self.variable(&path, name, value);
            if value.contains(|c: char| c.is_control()) {
                self.tell(&path, "must be one line of text");
            }
            if secret::is_baked_in(name, value) {
                self.tell(&path, secret::IN_BUILD_ENVIRONMENT);
            }
        }
        self.chosen("app.package", app.package.as_slice());
        self.chosen("app.extras", &app.extras);
        self.chosen("app.groups", &app.groups);
        for (n, requirement) in app.with.iter().enumerate() {
            self.take(&format!("app.with[{n}]"), check_requirement(requirement));
        }
        if app.port == POSTGRESQL_PORT {
            self.tell(
                "app.port",
                format!("is {POSTGRESQL_PORT}, which PostgreSQL has in the container: choose another one"),
            );
        }
        match &app.health_path {
            Some(path) => self.path("app.health_path", path, &[]),
            None if app.health == Some(HealthMeaning::Readiness) => self.tell(
                "app.health",
                "is \"readiness\", and `app.health_path` names nothing that could say so",
            ),
            None => {}
        }
        for (path, command) in [
            ("app.command", &app.command),
            ("app.before_start", &app.before_start),
        ] {
            let Some(command) = command else { continue };
            self.command(path, command, "name a program, or leave the key out");
        }
        for (key, value) in &app.environment {
            let path = format!("app.environment.{key}");
            self.variable(&path, key, value);
            if secret::is_baked_in(key, value) {
                let way_out = format!("write {{secret:{key}}} {}", secret::GIVEN);
                let gate = "or give the gate alone a value in `smoke.environment`";
                let why = "looks like a secret, and everybody who has the image could read it";
                self.tell(&path, format!("{why}: {way_out}, {gate}"));
            }
            self.template(&path, value);
        }
    }

    fn command(&mut self, path: &str, command: &[String], way_out: &str) {
        if command.first().is_none_or(String::is_empty) {
            self.tell(path, format!("is empty: {way_out}"));
        }
        if let Some(found) = secret::in_command(command) {
            let way_out = format!("write {{secret:NAME}} in its place {}", secret::GIVEN);
            self.tell(path, format!("has {found}: {way_out}"));
        }
        for (n, word) in command.iter().enumerate() {
            if word.contains('\0') {
                self.tell(&format!("{path}[{n}]"), "holds a NUL character");
            }
            self.template(&format!("{path}[{n}]"), word);
        }
    }

    fn programs(&mut self, raw: &RawSpec) {
        for (place, why) in program::problems(&raw.programs) {
            self.tell(&format!("programs{place}"), why);
        }
        for (n, program) in raw.programs.iter().enumerate() {
            let path = format!("programs[{n}].command");
            self.command(&path, &program.command, "name a program");
        }
    }

    /// A variable as an engine and the container take it.
    fn variable(&mut self, path: &str, key: &str, value: &str) {
        if !is_variable(key) {
            self.tell(path, "is no name of an environment variable");
        }
        if value.contains('\0') {
            self.tell(path, "holds a NUL character");
        }
        if let Some((_, instead)) = NOT_FOR_A_SPEC.iter().find(|(name, _)| *name == key) {
            self.tell(path, *instead);
        }
    }

    /// Names as Python packages, extras and groups have them.
    fn chosen(&mut self, path: &str, names: &[String]) {
        for name in names {
            let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
            let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            if !edge(name.bytes().next()) || !edge(name.bytes().last()) || !name.bytes().all(good) {
                self.tell(
                    path,
                    format!("has {name:?}, which is no name of Python packaging"),
                );
            }
        }
    }

    fn packages(&mut self, key: &str, packages: &[String]) {
        for (n, package) in packages.iter().enumerate() {
            self.take(&format!("{key}[{n}]"), check_package(package));
        }
    }

    fn checks(&mut self, raw: &RawSpec) {
        for (n, check) in raw.checks.iter().enumerate() {
            self.line(&format!("checks[{n}].name"), &check.name);
            if raw.checks.iter().take(n).any(|other| other.name == check.name) {
                self.tell(
                    &format!("checks[{n}].name"),
                    format!("{:?} is used twice", check.name),
                );
            }
            match &check.probe {
                CheckProbe::Http(probe) => self.http_check(&format!("checks[{n}].http"), probe),
                CheckProbe::Sql(probe) if probe.query.trim().is_empty() => {
                    self.tell(&format!("checks[{n}].sql.query"), "is empty");
                }
                CheckProbe::Sql(probe) if probe.expect.is_none() && probe.save.is_none() => {
                    let path = format!("checks[{n}].sql");
                    self.tell(&path, "checks nothing: give `expect`, `save` or both");
                }
                CheckProbe::Sql(_) => {}
            }
        }
    }

    fn http_check(&mut self, at: &str, probe: &HttpProbe) {
        // `{name}` stands for what a check before it saved.
        self.path(&format!("{at}.path"), &probe.path, b"{}");
        for (name, pointer) in &probe.save {
            if !pointer.starts_with('/') {
                self.tell(
                    &format!("{at}.save.{name}"),
                    format!("is {pointer:?}, must be a JSON pointer such as `/id`"),
                );
            }
        }
    }

    /// RFC 3986, with a query and without a fragment; `more` is allowed, too.
    fn path(&mut self, at: &str, path: &str, more: &[u8]) {
        let good =
            |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b) || more.contains(&b);
        if !path.starts_with('/') {
            self.tell(at, format!("is {path:?}, must be a path that starts with `/`"));
        } else if !path.bytes().all(good) {
            let encoded = path.bytes().map(|b| match char::from(b) {
                c if good(b) => c.to_string(),
                _ => format!("%{b:02X}"),
            });
            let encoded: String = encoded.collect();
            self.tell(
                at,
                format!("is {path:?}, must be written as in a request: {encoded:?}"),
            );
        } else if !path.split('%').skip(1).all(starts_with_hex) {
            self.tell(at, format!("is {path:?}: write `%25` for a `%`"));
        }
    }

    fn line(&mut self, path: &str, text: &str) {
        if text.trim().is_empty() || text.contains(|c: char| c.is_control()) {
            self.tell(path, "must be one line of text");
        }
    }

    fn template(&mut self, path: &str, text: &str) {
        if let Err(message) = check_template(text) {
            self.tell(path, message);
        }
    }
}

fn starts_with_hex(text: &str) -> bool {
    text.get(..2)
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_python_name(name: &str) -> bool {
    name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}
