//! Findings in words, one line each.

use crate::beside::REDIS;
use crate::build_steps::BuiltFrontEnd;
use crate::database::is_given_anyway;
use crate::database::unled::Unled;
use crate::dependencies::AskedBy;
use crate::findings::Findings;
use crate::health::DatabaseAsked;
use crate::libraries;
use crate::place::{Certainty, Detected, Place};
use crate::postgres::PostgresImage;
use crate::proposal::{self, WantedVariable, Whose};

/// One line, with the word that stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldLine {
    /// `found`, `or`, `missing`, `give`, `beside` or `note`.
    pub label: &'static str,
    /// What there is to say.
    pub text: String,
}

/// Everything that was found, and what was looked for and not found.
pub fn lines(findings: &Findings) -> Vec<ToldLine> {
    let mut told = Vec::new();
    let mut say = |label, text: String| told.push(ToldLine { label, text });
    project(findings, &mut say);
    app(findings, &mut say);
    health(findings, &mut say);
    before_start(findings, &mut say);
    variables(findings, &mut say);
    beside(findings, &mut say);
    told
}

fn at<T>(one: &Detected<T>, text: &str) -> String {
    let unsure = match one.certainty {
        Certainty::Sure | Certainty::Likely => "",
        Certainty::Unclear => " (not sure)",
    };
    format!("{}  {text}{unsure}", one.place)
}

fn project(findings: &Findings, say: &mut impl FnMut(&'static str, String)) {
    let dependencies = &findings.dependencies;
    let counts = dependencies.installed_from;
    for lock in dependencies
        .locks
        .iter()
        .filter(|lock| Some(lock.value.as_str()) == counts)
    {
        say("found", format!("{}  the lock", lock.value));
    }
    for file in dependencies.unread() {
        let instead = counts.map_or_else(String::new, |file| format!(": {file} says what is installed"));
        say("note", format!("{file}  is not read{instead}"));
    }
    for group in &dependencies.groups {
        let text = format!("the packages of the group `{}` are installed", group.value);
        say("found", at(group, &text));
    }
    for python in &findings.dependencies.python {
        say("found", at(python, &format!("Python {}", python.value)));
    }
    if let Some(package) = &findings.package {
        say(
            "found",
            at(
                package,
                &format!("the app is the workspace's package {}", package.value),
            ),
        );
    }
    for folder in &findings.projects {
        say(
            "note",
            format!("{folder}/  is a project of its own: give that folder, if it is meant"),
        );
    }
}

/// Of which part of the project a package is.
fn part(by: &AskedBy) -> String {
    match by {
        AskedBy::Project => String::new(),
        AskedBy::Extra(extra) => format!(" of the extra `{extra}`"),
        AskedBy::Group(group) => format!(" of the group `{group}`"),
    }
}

fn app(findings: &Findings, say: &mut impl FnMut(&'static str, String)) {
    let shown = |one: &Detected<crate::entry::AppObject>| {
        let kind = if one.value.factory {
            ", made by a function"
        } else {
            ""
        };
        format!("{}{kind} → {}", one.value.framework.as_str(), one.value.import)
    };
    match &findings.app.chosen {
        Some(chosen) => say(
            "found",
            at(chosen, &format!("{} ({})", shown(chosen), findings.app.rule)),
        ),
        None => say("missing", format!("the app: {}", findings.app.rule)),
    }
    for other in &findings.app.others {
        say("or", at(other, &shown(other)));
    }
    if findings.app.chosen.is_none() {
        return;
    }
    match &findings.server.chosen {
        Some(server) => {
            let part = part(&server.value.by);
            say(
                "found",
                at(server, &format!("{}{part} runs it", server.value.name)),
            );
        }
        None => match (proposal::missing_server(findings), findings.app.value()) {
            (Some(server), _) => say(
                "missing",
                format!(
                    "a server: {}: the image gets {server} beside them, by `app.with`",
                    findings.server.rule
                ),
            ),
            (None, Some(app)) => {
                let name = app.framework.as_str();
                let starts = app.started_by.as_deref().unwrap_or_default();
                say(
                    "note",
                    format!(
                        "{name} has a server of its own: `app.command` starts the module {starts}, which has to listen on 0.0.0.0 \
                         and the port of the image (`{{port}}` in `app.command` or `app.environment` is that)"
                    ),
                );
            }
            (None, None) => {}
        },
    }
    if let Some(port) = &findings.port {
        say("found", at(port, &format!("port {}", port.value)));
    }
}

fn health(findings: &Findings, say: &mut impl FnMut(&'static str, String)) {
    let shown = |one: &Detected<crate::health::HealthRoute>| {
        let asks = match &one.value.database {
            DatabaseAsked::At(place) => format!("asks the database in {place}"),
            DatabaseAsked::Never => "does not ask the database: it tells that the app runs".to_owned(),
            DatabaseAsked::Unclear => "may ask the database".to_owned(),
        };
        match &one.value.other {
            None => format!("GET {} {asks}", one.value.path),
            Some(other) => {
                let (what, place) = (&other.value, &other.place);
                format!("GET {}, which asks {what} as well in {place}", one.value.path)
            }
        }
    };
    match &findings.health.chosen {
        Some(chosen) => say("found", at(chosen, &shown(chosen))),
        None => {
            let text = format!(
                "a health route: {}; any answer on `/` but a 5xx will do",
                findings.health.rule
            );
            say("missing", text);
        }
    }
    for other in &findings.health.others {
        say("or", at(other, &shown(other)));
    }
}

fn before_start(findings: &Findings, say: &mut impl FnMut(&'static str, String)) {
    if let Some(chosen) = &findings.before_start.chosen {
        let text = format!(
            "{} before each start ({})",
            chosen.value.join(" "),
            findings.before_start.rule
        );
        say("found", at(chosen, &text));
    }
    for other in &findings.before_start.others {
        say("or", at(other, &other.value.join(" ")));
    }
    if let Some(refused) = &findings.not_before_start {
        let text = format!("{} ({})", refused.value.command.join(" "), refused.value.why);
        say("or", at(refused, &text));
    }
    let postgres = &findings.postgres;
    let chosen = postgres.chosen.iter().map(|one| ("found", one));
    for (label, one) in chosen.chain(postgres.others.iter().map(|one| ("or", one))) {
        let PostgresImage { image, major, .. } = &one.value;
        let major = major.map_or(String::new(), |major| format!(" {major}"));
        say(
            label,
            at(one, &format!("PostgreSQL{major} beside the app so far ({image})")),
        );
    }
    for extension in &findings.extensions {
        say(
            "found",
            at(extension, &format!("the extension {}", extension.value)),
        );
    }
    if let Some(variable) = &findings.version_from_git {
        let text = format!(
            "its version comes from git, of which no build has the history: {} is {} in `app.build_environment`",
            variable.value,
            proposal::NO_VERSION
        );
        say("found", at(variable, &text));
    }
    if let [first, ..] = proposal::unlisted(findings) {
        let text = "the list that is installed has not what the app is made with: `app.with` has what the project's own \
                    table names";
        say("found", at(first, text));
    }
    if let Some(old) = proposal::old_setuptools(findings) {
        let with = proposal::OLD_SETUPTOOLS;
        let text = format!(
            "{} wants what setuptools brings: `app.with` has {with}",
            old.value
        );
        say("found", at(old, &text));
    }
    for wanted in proposal::build_packages(findings).chunk_by(|one, next| one.1 == next.1) {
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        say(
            "found",
            format!(
                "{}  needs {} while it is installed",
                wanted[0].1,
                names.join(", ")
            ),
        );
    }
}

fn variables(findings: &Findings, say: &mut impl FnMut(&'static str, String)) {
    if let Some(framework) = &findings.framework {
        let text = format!(
            "{}{} is installed, as the app is made with it",
            framework.value.name,
            part(&framework.value.by)
        );
        say("found", at(framework, &text));
    }
    if let Some(driver) = &findings.driver {
        let text = format!(
            "{}{} is installed, to speak to PostgreSQL",
            driver.value.name,
            part(&driver.value.by)
        );
        say("found", at(driver, &text));
    }
    if let Some(absent) = &findings.absent_settings {
        let (file, example) = &absent.value;
        let text = format!(
            "the settings {file}, which {} names: write them, as {example} shows, with the database of `DATABASE_URL` or of \
             `PGHOST` and its like",
            absent.place
        );
        say("missing", text);
    }
    if let Some(place) = &findings.unread_database {
        let text = format!(
            "a way to the database: {place} says where it is, and no variable was found that leads there: give what it reads \
             in `app.environment`, with `{{database_url}}` or `{{database_host}}` and its like, or let it read DATABASE_URL"
        );
        say("missing", text);
    }
    if let Some(client) = &findings.of_mysql {
        let text = format!(
            "{} speaks to MySQL, which is not in the image: it has PostgreSQL, and the app has to be able to speak to that",
            client.value.name
        );
        say("missing", at(client, &text));
    }
    if let Some(driver) = findings.missing_driver {
        let why = match findings.dependencies.locked.is_empty() {
            true => "no package of the list is one, and what they bring is not known without a lock",
            false => "nothing that is installed brings one",
        };
        say(
            "missing",
            format!("a driver of PostgreSQL: {why}: the image gets {driver} beside them, by `app.with`"),
        );
    }
    if let Some(unled) = &findings.unled {
        let Unled {
            driver,
            file,
            example,
        } = &unled.value;
        let text = format!(
            "a way to the database: {driver} is among the dependencies, and no variable leads to it: write {file}, \
             as {example} shows, with the database of `DATABASE_URL` or of `PGHOST` and its like"
        );
        say("missing", text);
    }
    for one in findings.database.iter().filter(|one| is_given_anyway(&one.value)) {
        say(
            "found",
            at(one, &format!("{} is set in every image", one.value.name)),
        );
    }
    for one in proposal::environment(findings) {
        say(
            "found",
            format!("{}  {} = {} ({})", one.place, one.name, one.value, one.why),
        );
    }
    for wanted in proposal::without_value(findings) {
        say("give", wanted_variable(&wanted));
    }
}

/// What is to be given, who gives it, and what the gate has so long.
fn wanted_variable(wanted: &WantedVariable<'_>) -> String {
    let WantedVariable {
        name,
        place,
        is_refused,
        not_taken,
        whose,
        stand_in,
    } = wanted;
    let because = not_taken
        .as_ref()
        .map_or_else(String::new, |why| format!(" ({why})"));
    let has = match (whose, is_refused) {
        (Whose::Others, _) => "is another's to give",
        (_, true) => "is refused as it is where nobody sets it",
        (_, false) => "has no default",
    };
    let once = match whose {
        Whose::Others | Whose::Secret => " or `docker run -e`",
        Whose::Open => ", `docker run -e` or `app.environment` of hive-app.json",
    };
    let stand_in = match stand_in.split_once('\n') {
        // A key of developers', which stands in the code.
        Some((first, _)) => format!("{first} …"),
        None if stand_in.is_empty() => "\"\"".to_owned(),
        None => stand_in.clone(),
    };
    format!(
        "{place}  {name} {has}{because}: whoever runs the image gives it, by `up --env-file`{once}; the gate has the \
         stand-in {stand_in}"
    )
}

fn beside(findings: &Findings, say: &mut impl FnMut(&'static str, String)) {
    for (package, place) in libraries::opened(findings) {
        say(
            "found",
            format!(
                "{place}  takes something of the distribution when it is used: {package} is in the image"
            ),
        );
    }
    for called in libraries::called(findings) {
        let text = format!(
            "calls {}: {} is in the image",
            called.value.name, called.value.package
        );
        say("found", at(called, &text));
    }
    for folder in &findings.directories {
        let text = format!("{} is written into: it is kept on the volume", folder.value);
        say("found", at(folder, &text));
    }
    for step in &findings.build.steps {
        say(
            "found",
            at(step, &format!("{} in the build", step.value.join(" "))),
        );
    }
    for folder in &findings.build.folders {
        let text = format!("{} is made for that in the image", folder.value);
        say("found", at(folder, &text));
    }
    let built = findings.build.front_end.as_ref();
    if let Some(one) = built {
        let BuiltFrontEnd {
            output,
            script,
            manager,
            other_locks,
            why,
            ..
        } = &one.value;
        let text = match (output, script) {
            (Some(output), _) => format!("a front end, built by {manager} into {output} ({why})"),
            (None, Some(script)) => format!("{manager} run {script} in the build ({why})"),
            (None, None) => format!("the packages of {manager} in the build ({why})"),
        };
        say("found", at(one, &text));
        for lock in other_locks {
            say(
                "note",
                format!("{lock}  is not read: that of {manager} says what is installed"),
            );
        }
    }
    let front_ends = findings.front_ends.iter();
    // Where its packages are used by the settings its place is theirs.
    let is_top = |place: &Place| place.file == "package.json";
    let is_built = |built: &Detected<BuiltFrontEnd>, place: &Place| {
        built.place == *place || built.value.output.is_none() && is_top(place)
    };
    let others = front_ends.filter(|one| built.is_none_or(|built| !is_built(built, &one.place)));
    for one in findings.processes.iter().chain(others) {
        let command = one
            .value
            .command
            .as_deref()
            .map_or(String::new(), |command| format!(": {command}"));
        let what = &one.value.what;
        match &one.value.program {
            Some(name) if proposal::is_program(findings, name) => {
                say(
                    "found",
                    at(one, &format!("{what} is the program `{name}`{command}")),
                );
            }
            _ => say("beside", at(one, &format!("{what}{command}"))),
        }
    }
    if let Some(one) = &findings.redis_of_code {
        let text = format!(
            "the code itself looks for a Redis on this machine ({})",
            one.value
        );
        say("found", at(one, &text));
    }
    for one in findings.services.iter().filter(|_| findings.has_redis()) {
        if one.value.what == REDIS {
            let text = format!("{REDIS} is the program `redis`, from the distribution: it keeps nothing");
            say("found", at(one, &text));
        }
    }
    for one in findings.missing_services() {
        say(
            "beside",
            at(one, &format!("{} is not in the image", one.value.what)),
        );
    }
    if let Some(count) = proposal::has_many_packages(findings) {
        let proposal::Room { memory_mb, size_mb } = proposal::ROOM;
        let has = match findings.dependencies.locked.is_empty() {
            false => "its lock has",
            true => "it asks for",
        };
        let text = format!(
            "`budgets.memory_mb` is {memory_mb} and `budgets.size_mb` {size_mb}, as {has} {count} packages: set them nearer \
             to what the app takes"
        );
        say("note", text);
    }
    if proposal::has_programs(findings) {
        let more = proposal::MEMORY_OF_A_PROGRAM;
        say(
            "note",
            format!("`budgets.memory_mb` has {more} MB more for each program of the app's"),
        );
    }
    if let Some(seconds) = proposal::time_of_migrations(findings) {
        let many = findings.migrations;
        say(
            "note",
            format!(
                "`budgets.ready_seconds` is {seconds}, as the first start goes through {many} migrations"
            ),
        );
    }
    for note in &findings.notes {
        say("note", at(note, &note.value));
    }
}
