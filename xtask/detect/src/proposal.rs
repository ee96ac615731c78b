//! From findings to the two files that an image of one's own needs.

mod values;

use serde_json::{Map, Value, json};

use crate::beside::Companion;
use crate::built;
use crate::database::is_given_anyway;
use crate::dependencies::{self, AskedBy};
use crate::django;
use crate::findings::Findings;
use crate::health::DatabaseAsked;
use crate::libraries;
use crate::migrations::CommandWords;
use crate::place::{Detected, Place};
use crate::queue;
use crate::redis;
use crate::server;
use crate::words::{escaped, is_taken, literally, program, words};
use values::{Known, known};
pub use values::{PYTHON_VERSION, WantedVariable, Whose, wants_python_version, without_value};

/// What only the checkout knows of an image.
#[derive(Clone, Debug)]
pub struct ImageFacts<'a> {
    /// The image's name, which is that of its folder in `images/`.
    pub name: &'a str,
    /// The app's folder, as `images/<name>/image.json` names it.
    pub source: &'a str,
    /// The app's TCP port, in the container and by default outside.
    pub port: u16,
    /// The key of a spec and its value that lead to another Python than the default
    /// one, such as `base` and `ubuntu`.
    pub python: Option<(&'static str, String)>,
    /// The package with the library of the image's Python, where that is the
    /// distribution's.
    pub python_library: Option<&'static str>,
    /// The version of the image's Python, such as `3.13`, where it is known.
    pub python_version: Option<&'a str>,
    /// Packages that are built, as what is pinned of them has no wheel for that.
    pub built: &'a [String],
    /// Packages with extensions that the database makes.
    pub of_extensions: &'a [String],
}

/// The files, with what differs from the defaults alone.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposedFiles {
    /// For `hive-app.json`: how the app wants to be run.
    pub app: Value,
    /// For `images/<name>/image.json`: what the image is.
    pub image: Value,
}

/// The files that the findings lead to. `defaults` is `images/defaults.json`.
pub fn propose(findings: &Findings, image: &ImageFacts<'_>, defaults: &Value) -> ProposedFiles {
    let mut file = Map::new();
    let mut app = app(findings, defaults.get("app"));
    if let Some(version) = image
        .python_version
        .filter(|_| wants_python_version(findings).is_some())
    {
        let environment = app.entry("environment").or_insert_with(|| json!({}));
        environment[PYTHON_VERSION] = json!(version);
    }
    if !app.is_empty() {
        file.insert("app".to_owned(), Value::Object(app));
    }
    if !findings.extensions.is_empty() {
        let names = findings.extensions.iter().map(|one| one.value.as_str());
        let all: Vec<&str> = ["vector"].into_iter().chain(names).collect();
        file.insert("database".to_owned(), json!({ "extensions": all }));
    }
    let mut packages: Vec<&str> = build_packages(findings)
        .into_iter()
        .map(|(package, _)| package)
        .collect();
    let of_built = image.built.iter().filter_map(|name| built::takes(name));
    for package in of_built.flatten() {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    if !packages.is_empty() {
        file.insert("build_packages".to_owned(), json!(packages));
    }
    let mut programs = programs(findings);
    let library = image.python_library.filter(|_| embeds_python(findings));
    let mut of_image: Vec<&str> = library.into_iter().collect();
    of_image.extend(libraries::opened(findings).iter().map(|(package, _)| package));
    of_image.extend(libraries::called(findings).iter().map(|one| one.value.package));
    if findings.has_redis() {
        of_image.push(redis::PACKAGE);
        programs.insert(0, redis::program());
    }
    let of_built = image.built.iter().flat_map(|name| built::uses(name)).copied();
    for package in of_built.chain(image.of_extensions.iter().map(String::as_str)) {
        if !of_image.contains(&package) {
            of_image.push(package);
        }
    }
    if !of_image.is_empty() {
        file.insert("packages".to_owned(), json!(of_image));
    }
    if !programs.is_empty() {
        file.insert("programs".to_owned(), Value::from(programs));
    }
    let mut budgets = Map::new();
    if let Some(megabytes) = memory(findings, defaults) {
        budgets.insert("memory_mb".to_owned(), json!(megabytes));
    }
    if has_many_packages(findings).is_some()
        && let Some(of_all) = defaults.pointer("/budgets/size_mb").and_then(Value::as_u64)
    {
        budgets.insert("size_mb".to_owned(), json!(of_all.max(ROOM.size_mb)));
    }
    if let Some(seconds) = time_of_migrations(findings) {
        budgets.insert("ready_seconds".to_owned(), json!(seconds));
    }
    if !budgets.is_empty() {
        file.insert("budgets".to_owned(), Value::Object(budgets));
    }
    let steps = |words: &CommandWords| with_path(findings, words);
    if let Some(build) = findings.build.proposed(steps) {
        file.insert("build".to_owned(), build);
    }
    let database = database_name(image.name);
    let framework = findings
        .app
        .value()
        .map_or("an app", |app| app.framework.as_str());
    let title = format!(
        "{}: {framework} and PostgreSQL with pgvector in one container",
        image.name
    );
    let mut own = json!({
        "$schema": "../image.schema.json",
        "title": title,
        "app": { "source": image.source, "port": image.port },
        "database": { "name": database, "role": database },
    });
    let for_the_gate: Map<String, Value> = without_value(findings)
        .into_iter()
        .map(|one| (one.name.to_owned(), Value::from(one.stand_in)))
        .collect();
    if let Some((key, value)) = &image.python {
        own[*key] = json!(value);
    }
    if !for_the_gate.is_empty() {
        own["smoke"] = json!({ "environment": for_the_gate });
    }
    ProposedFiles {
        app: Value::Object(file),
        image: own,
    }
}

/// Puts what the app's file would say into the image's.
pub fn join(image: &mut Value, app: Value) {
    match (image, app) {
        (Value::Object(image), Value::Object(app)) => {
            for (key, value) in app {
                join(image.entry(key).or_insert(Value::Null), value);
            }
        }
        (image, app) => *image = app,
    }
}

/// A Python with the app's packages and one more process of it, in megabytes.
pub(crate) const MEMORY_OF_A_PROGRAM: u64 = 200;

/// What an app with many packages may take, in megabytes.
pub(crate) struct Room {
    pub(crate) memory_mb: u64,
    pub(crate) size_mb: u64,
}

/// Room for the largest apps that were seen, and to spare.
pub(crate) const ROOM: Room = Room {
    memory_mb: 1000,
    size_mb: 2000,
};

/// How many packages the app has, where they are too many for the budgets of all images: what
/// its lock has, or what it asks for, each of which brings some more.
pub(crate) fn has_many_packages(findings: &Findings) -> Option<usize> {
    let dependencies = &findings.dependencies;
    let (count, few) = match dependencies.locked.is_empty() {
        false => {
            let names = dependencies.locked.keys();
            let locked = names.filter(|name| !dependencies.of_developers.contains(*name));
            (locked.count(), 60)
        }
        true => (findings.installed().count(), 20),
    };
    (count > few).then_some(count)
}

/// The megabytes that an image of a large app, or one with programs of the app's, gets, where
/// the budget of all images is for neither.
fn memory(findings: &Findings, defaults: &Value) -> Option<u64> {
    let more = programs(findings).len() as u64 * MEMORY_OF_A_PROGRAM;
    let of_all = defaults.pointer("/budgets/memory_mb")?.as_u64()?;
    let room = has_many_packages(findings).map_or(of_all, |_| of_all.max(ROOM.memory_mb));
    (room + more > of_all).then_some(room + more)
}

/// The seconds until the first start is over of an app with a long past: it goes through
/// all of its migrations. On a machine that others use, too, one took more than half a second.
pub(crate) fn time_of_migrations(findings: &Findings) -> Option<usize> {
    const FEW: usize = 100;
    const LONGEST: usize = 600;
    let many = findings.migrations.max(FEW);
    (many > FEW).then(|| (many * 2 / 3).next_multiple_of(10).min(LONGEST))
}

/// Whether something is installed that has Python as a part of it, built here: uWSGI.
pub fn embeds_python(findings: &Findings) -> bool {
    findings.installed().any(|one| one.value.name == "uwsgi")
}

/// The processes beside the server as programs of the image: not those that want
/// a service that the image does not have, as they would end again and again.
fn programs(findings: &Findings) -> Vec<Value> {
    if findings.missing_services().next().is_some() {
        return Vec::new();
    }
    let mut names: Vec<&str> = Vec::new();
    let mut all = Vec::new();
    for one in &findings.processes {
        let (Some(name), Some(command)) = (&one.value.program, &one.value.command) else {
            continue;
        };
        let waits_for_ever = queue::lacks_queue(findings, command);
        let words = words(command);
        if waits_for_ever || !is_name(name) || names.contains(&name.as_str()) || !is_taken(&words) {
            continue;
        }
        names.push(name);
        all.push(json!({ "name": name, "command": literally(&with_path(findings, &words)) }));
    }
    all
}

/// Whether a spec takes it: a Procfile may have other names.
fn is_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(good)
        && ![
            "app",
            "postgresql",
            "health-monitor",
            "metrics",
            "archive",
            "supervisord",
            "redis",
            "hive",
            "all",
        ]
        .contains(&name)
}

/// Whether there is any of [`programs`].
pub(crate) fn has_programs(findings: &Findings) -> bool {
    !programs(findings).is_empty()
}

/// Whether a process is among [`programs`].
pub(crate) fn is_program(findings: &Findings, name: &str) -> bool {
    programs(findings)
        .iter()
        .any(|one| one.get("name").and_then(Value::as_str) == Some(name))
}

/// With `distutils`, and with `pkg_resources`, which later ones have not.
pub(crate) const OLD_SETUPTOOLS: &str = "setuptools<82";

/// What wants it, where the list that is installed leaves setuptools open.
pub(crate) fn old_setuptools(findings: &Findings) -> Option<&Detected<String>> {
    let dependencies = &findings.dependencies;
    let is_open = match dependencies.installed_from {
        Some("requirements.txt") => !dependencies.has("setuptools"),
        // Of these it is known.
        Some("uv.lock" | "poetry.lock" | "pdm.lock") => true,
        _ => false,
    };
    dependencies.of_old_setuptools.as_ref().filter(|_| is_open)
}

/// A command with the folder of the app's modules on its path, where the whole image
/// has not got that there.
fn with_path(findings: &Findings, words: &CommandWords) -> CommandWords {
    let path = findings.app.value().map(|app| app.path.as_str());
    match path.filter(|path| findings.hides_server(path)) {
        Some(path) => {
            let variable = format!("PYTHONPATH=/app/{path}");
            let before = ["env".to_owned(), variable];
            before.into_iter().chain(words.iter().cloned()).collect()
        }
        None => words.clone(),
    }
}

/// The version of a project whose own comes from git.
pub(crate) const NO_VERSION: &str = "0.0.0";

/// What the project's own table asks for beside a list that leaves out what the app is made with:
/// its start installs the project behind the list.
pub(crate) fn unlisted(findings: &Findings) -> &[Detected<String>] {
    let unlisted = findings.dependencies.unlisted.as_slice();
    let framework = findings.app.value().and_then(|app| app.framework.package());
    let of_app = |one: &Detected<String>| dependencies::name_of(&one.value).as_deref() == framework;
    match framework.is_some() && unlisted.iter().any(of_app) {
        true => unlisted,
        false => &[],
    }
}

/// The server that is installed beside an app whose dependencies have none.
pub(crate) fn missing_server(findings: &Findings) -> Option<&'static str> {
    let app = findings.app.value().filter(|_| findings.server.chosen.is_none());
    app.and_then(server::standard)
}

fn app(findings: &Findings, defaults: Option<&Value>) -> Map<String, Value> {
    let mut app = Map::new();
    if let Some(object) = findings.app.value() {
        let server = findings.server.value();
        let name = server.map_or_else(|| server::standard(object), |server| Some(server.name.as_str()));
        let of_server = || {
            let mut words = server::command(name?, object)?;
            if findings.hides_server(&object.path) {
                // Of gunicorn: the folder is on the path once it has been loaded itself.
                words.splice(1..1, ["--chdir".to_owned(), format!("/app/{}", object.path)]);
            }
            Some(words)
        };
        let by_itself = || {
            let module = object.started_by.as_ref().filter(|_| name.is_none())?;
            Some(vec!["python".to_owned(), "-m".to_owned(), module.clone()])
        };
        match by_itself().or_else(of_server) {
            Some(command) => drop(app.insert("command".to_owned(), json!(command))),
            None => {
                app.insert("import".to_owned(), json!(object.import));
                if object.factory {
                    app.insert("factory".to_owned(), json!(true));
                }
            }
        }
    }
    let (mut extras, mut groups) = (Vec::new(), Vec::new());
    for part in findings.parts() {
        match part {
            AskedBy::Project => {}
            AskedBy::Extra(extra) => extras.push(extra),
            AskedBy::Group(group) => groups.push(group),
        }
    }
    groups.extend(findings.dependencies.groups.iter().map(|group| &group.value));
    for (key, names) in [("extras", extras), ("groups", groups)] {
        if !names.is_empty() {
            app.insert(key.to_owned(), json!(names));
        }
    }
    if let Some(package) = &findings.package {
        app.insert("package".to_owned(), json!(package.value));
    }
    if let Some(variable) = &findings.version_from_git {
        let name = variable.value.as_str();
        app.insert("build_environment".to_owned(), json!({ name: NO_VERSION }));
    }
    let beside: Vec<&str> = missing_server(findings)
        .into_iter()
        .chain(findings.missing_driver)
        .chain(old_setuptools(findings).map(|_| OLD_SETUPTOOLS))
        .chain(unlisted(findings).iter().map(|one| one.value.as_str()))
        .collect();
    if !beside.is_empty() {
        app.insert("with".to_owned(), json!(beside));
    }
    let health = findings.health.value();
    app.insert("health_path".to_owned(), json!(health.map(|health| &health.path)));
    if let Some(health) = health {
        let meaning = match health.database {
            DatabaseAsked::At(_) => "readiness",
            DatabaseAsked::Never | DatabaseAsked::Unclear => "liveness",
        };
        app.insert("health".to_owned(), json!(meaning));
    }
    if let Some(command) = findings.before_start.value() {
        let command = &with_path(findings, command);
        app.insert("before_start".to_owned(), json!(literally(command)));
    }
    let environment: Map<String, Value> = environment(findings)
        .into_iter()
        .map(|one| (one.name, Value::from(one.value)))
        .collect();
    if !environment.is_empty() {
        app.insert("environment".to_owned(), Value::Object(environment));
    }
    if !findings.directories.is_empty() {
        let folders: Vec<&str> = findings
            .directories
            .iter()
            .map(|one| one.value.as_str())
            .collect();
        app.insert("directories".to_owned(), json!(folders));
    }
    app.retain(|key, value| defaults.and_then(|defaults| defaults.get(key)) != Some(value));
    app
}

/// A program that runs a command of Flask's, and does not say of which app.
fn of_flask(findings: &Findings) -> Option<&Detected<Companion>> {
    findings.processes.iter().find(|one| {
        let (Some(name), Some(command)) = (&one.value.program, &one.value.command) else {
            return false;
        };
        let says_which = command
            .split_whitespace()
            .any(|word| word == "-A" || word.starts_with("--app") || word.starts_with("FLASK_APP="));
        program(command) == Some("flask") && !says_which && is_program(findings, name)
    })
}

/// A variable of the proposed file, and why it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedVariable {
    /// The variable's name, as the app's environment has it.
    pub name: String,
    /// Its value, with the placeholders of a spec.
    pub value: String,
    /// The line that reads it, or that makes it needed.
    pub place: Place,
    /// Why it has this value, to be shown beside it.
    pub why: String,
}

/// The variables that the file gives the app.
pub fn environment(findings: &Findings) -> Vec<ProposedVariable> {
    let mut found: Vec<ProposedVariable> = Vec::new();
    for one in findings.given().filter(|one| !is_given_anyway(&one.value)) {
        found.push(ProposedVariable {
            name: one.value.name.clone(),
            value: one.value.value.clone(),
            place: one.place.clone(),
            why: one.value.why.clone(),
        });
    }
    if let Some(folder) = &findings.imported_from {
        found.push(ProposedVariable {
            name: "PYTHONPATH".to_owned(),
            value: format!("/app/{}", escaped(&folder.value)),
            place: folder.place.clone(),
            why: "what lies there is imported by its own name, too".to_owned(),
        });
    }
    if let Some(app) = &findings.app.chosen
        && !app.value.path.is_empty()
        && !findings.hides_server(&app.value.path)
        && !(findings.is_package && app.value.path.ends_with("src") && !findings.has_package(&app.value.path))
    {
        found.push(ProposedVariable {
            name: "PYTHONPATH".to_owned(),
            value: format!("/app/{}", escaped(&app.value.path)),
            place: app.place.clone(),
            why: "its modules are imported from there".to_owned(),
        });
    }
    if let Some(app) = &findings.app.chosen
        && let Some(program) = of_flask(findings)
    {
        found.push(ProposedVariable {
            name: "FLASK_APP".to_owned(),
            value: escaped(&app.value.import),
            place: program.place.clone(),
            why: "its program is a command of Flask's, which asks for the app".to_owned(),
        });
    }
    if let Some(settings) = &findings.settings_module {
        found.push(ProposedVariable {
            name: django::SETTINGS.to_owned(),
            value: escaped(&settings.value.module),
            place: settings.place.clone(),
            why: settings.value.why.clone(),
        });
    } else if let Some(settings) = &findings.server_settings {
        let others = &settings.value.of_commands;
        found.push(ProposedVariable {
            name: django::SETTINGS.to_owned(),
            value: escaped(&settings.value.module),
            place: settings.place.clone(),
            why: format!(
                "the server's, for its commands, too: {} names {}",
                others.place, others.value
            ),
        });
    }
    for variable in findings.to_be_given() {
        if found.iter().any(|one| one.name == variable.value.name) {
            continue;
        }
        if let Known::Value { value, why } = known(&variable.value) {
            found.push(ProposedVariable {
                name: variable.value.name.clone(),
                value,
                place: variable.place.clone(),
                why,
            });
        }
    }
    found
}

/// Packages of the distribution that are needed to install, and what needs them.
pub fn build_packages(findings: &Findings) -> Vec<(&'static str, Place)> {
    let needed = built::needed(findings).into_iter();
    let mut found: Vec<(&'static str, Place)> = needed
        .filter(|one| !one.is_used)
        .map(|one| (one.package, one.place))
        .collect();
    for asked in findings.installed() {
        let git = asked.value.from_git.then_some("git");
        for package in git
            .into_iter()
            .chain(asked.value.by_ssh.then_some("openssh-client"))
        {
            if !found.iter().any(|(known, _)| *known == package) {
                found.push((package, asked.place.clone()));
            }
        }
    }
    found
}

/// A name that suits images, from the name of a folder; empty where none can be
/// made of it.
pub fn image_name(folder: &str) -> String {
    let lower = folder.to_lowercase();
    let parts = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty());
    let joined = parts.collect::<Vec<_>>().join("-");
    let named = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    named
        .chars()
        .take(40)
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

/// A database and role of the image's own; PostgreSQL keeps some names to itself.
fn database_name(image: &str) -> String {
    let name = image.replace('-', "_");
    let reserved = ["postgres", "public", "none", "template0", "template1"].contains(&name.as_str());
    if reserved || name.starts_with("pg_") {
        format!("app_{name}")
    } else {
        name
    }
}
