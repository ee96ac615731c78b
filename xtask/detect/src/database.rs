//! How the app finds its database: by which variables, and in which form.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dependencies::{AskedBy, AskedPackage, Dependencies, OF_DEVELOPERS};
use crate::django;
use crate::modules::{Meaning, Modules};
use crate::place::{Certainty, Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Token, TokenKind};
use crate::settings::{self, ReadVariable};
use crate::tree::{Tree, file_name, folder_of, is_of_the_app, reads_count};

/// A variable that is given a value in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GivenVariable {
    /// The variable's name, as the code reads it.
    pub name: String,
    /// Its value, with placeholders of a spec.
    pub value: String,
    /// Which sign speaks for this value, to be shown beside it.
    pub why: String,
}

/// What the container gives every app, so that no spec has to.
const GIVEN: [(&str, &str); 5] = [
    ("DATABASE_URL", "{database_url}"),
    ("PGHOST", "{database_host}"),
    ("PGPORT", "{database_port}"),
    ("PGDATABASE", "{database_name}"),
    ("PGUSER", "{database_user}"),
];

/// The part of a connection that a variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Url,
    Host,
    Port,
    User,
    Password,
    Name,
    Engine,
}

/// Values for the variables that lead to the database; those that the container
/// gives anyway are left out of a spec by [`is_given_anyway`].
pub(crate) fn settings(
    modules: &Modules<'_>,
    dependencies: &Dependencies,
    variables: &[Detected<ReadVariable>],
) -> Vec<Detected<GivenVariable>> {
    let form = form(modules, dependencies);
    let has_driver = variables
        .iter()
        .any(|one| texts(&one.value).any(|text| text.starts_with("postgresql+") && !text.ends_with("://")));
    let kinds = kinds(modules, variables);
    let engine = completed_engine(modules);
    let mut found = Vec::new();
    for variable in variables {
        if let Some((kind, place)) = kinds.get(&variable.value.name) {
            if shown_kind(&variable.value).is_none() {
                let given = GivenVariable {
                    name: variable.value.name.clone(),
                    value: kind.clone(),
                    why: format!("{place} compares it with that"),
                };
                found.push(Detected::sure(given, variable.place.clone()));
            }
            continue;
        }
        if let Some(place) = engine.as_ref().filter(|_| names_an_engine(&variable.value)) {
            let given = GivenVariable {
                name: variable.value.name.clone(),
                value: "postgresql".to_owned(),
                why: format!("{place} puts it behind `{ENGINES}`"),
            };
            found.push(Detected::likely(given, variable.place.clone()));
            continue;
        }
        if let Some(given) = for_tests(&variable.value, &form, dependencies) {
            found.push(Detected::likely(given, variable.place.clone()));
            continue;
        }
        if let Some(place) = parted(modules, variable) {
            let given = GivenVariable {
                name: variable.value.name.clone(),
                value: "{database_user}:{database_password}".to_owned(),
                why: format!("{place} takes it apart"),
            };
            found.push(Detected::likely(given, variable.place.clone()));
            continue;
        }
        let Some(part) = part_of(&variable.value, &words(&variable.value.name), dependencies) else {
            continue;
        };
        let (value, why, certainty) = match part {
            Part::Url if has_driver && shows_plain(&variable.value) => (
                "{database_url}".to_owned(),
                "the plain form, as its example shows beside one with a driver".to_owned(),
                Certainty::Likely,
            ),
            Part::Url => url(&variable.value, &form),
            part => {
                let why = if part == Part::Engine {
                    "Django's engine"
                } else {
                    "by its name"
                };
                (part.value(&form).to_owned(), why.to_owned(), Certainty::Likely)
            }
        };
        found.push(Detected {
            value: GivenVariable {
                name: variable.value.name.clone(),
                value,
                why,
            },
            place: variable.place.clone(),
            certainty,
        });
    }
    found
}

/// `DBHOST` as two words; others as they are.
fn unglued(word: &str) -> [Option<&str>; 2] {
    const OF_A_DATABASE: [&str; 7] = [
        "DATABASE",
        "DB",
        "PGSQL",
        "PG",
        "POSTGRESQL",
        "POSTGRES",
        "POSTGRE",
    ];
    const PARTS: [&str; 14] = [
        "DSN", "HOST", "HOSTNAME", "LOGIN", "NAME", "PASS", "PASSWD", "PASSWORD", "PORT", "PWD", "SERVER",
        "URI", "URL", "USER",
    ];
    let two = OF_A_DATABASE.iter().find_map(|begin| {
        let part = word.strip_prefix(begin)?;
        PARTS
            .contains(&part)
            .then(|| [Some(&word[..begin.len()]), Some(part)])
    });
    two.unwrap_or([Some(word), None])
}

/// What an app cannot do without although only its tests use it: a database beside
/// its own, which nobody has made.
fn for_tests(variable: &ReadVariable, form: &Form, dependencies: &Dependencies) -> Option<GivenVariable> {
    let all = words(&variable.name);
    let (of_tests, rest): (Vec<String>, Vec<String>) =
        all.into_iter().partition(|word| TESTS.contains(&word.as_str()));
    let is_one = variable.required && !of_tests.is_empty();
    let part = part_of(variable, &rest, dependencies).filter(|_| is_one)?;
    let name = matches!(part, Part::Url | Part::Name)
        .then_some("_test")
        .unwrap_or_default();
    Some(GivenVariable {
        name: variable.name.clone(),
        value: format!("{}{name}", part.value(form)),
        why: "of its tests alone: a database that is not there".to_owned(),
    })
}

/// Words by which code tells which kind of database is meant.
pub(crate) const KINDS: [&str; 4] = ["postgres", "postgresql", "pgsql", "psql"];

/// What stands before the name of each of Django's engines.
const ENGINES: &str = "django.db.backends.";

/// Where the code makes Django's engine of a name: `"django.db.backends." + backend`.
fn completed_engine(modules: &Modules<'_>) -> Option<Place> {
    let begins = format!("{ENGINES}{{");
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let mut lines = of_the_app.flat_map(|module| module.lines.iter().map(move |line| (module, line)));
    lines.find_map(|(module, line)| {
        let is_one = |token: &&Token<'_>| match token.kind {
            TokenKind::Text => token.text == ENGINES,
            TokenKind::Formatted => token.text.starts_with(&begins),
            _ => false,
        };
        let token = line.tokens.iter().find(is_one)?;
        Some(Place::new(module.path, token.line))
    })
}

/// Whether a variable has the name of an engine alone: `DB_TYPE`, `DATABASE_BACKEND`.
fn names_an_engine(variable: &ReadVariable) -> bool {
    let words = words(&variable.name);
    let of_engines = ["BACKEND", "ENGINE", "TYPE"];
    let is_one = matches!(words.as_slice(), [.., before, last]
        if DATABASE.contains(&before.as_str()) && of_engines.contains(&last.as_str()));
    let is_whole = |text: &str| text.starts_with(ENGINES) || text == "postgresql";
    is_one && !variable.default.as_deref().is_some_and(is_whole)
}

/// Where the code takes user and password of the database out of one variable, with a colon
/// between them: `str(DATABASE_CREDENTIALS).split(":")`.
fn parted(modules: &Modules<'_>, variable: &Detected<ReadVariable>) -> Option<Place> {
    let words = words(&variable.value.name);
    let is_one = words.iter().any(|word| DATABASE.contains(&word.as_str()))
        && words.last().is_some_and(|last| last.starts_with("CREDENTIAL"));
    let read_in = modules.at(&variable.place.file).into_iter();
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let mut lines = read_in
        .chain(of_the_app)
        .filter(|_| is_one)
        .flat_map(|module| module.lines.iter().map(move |line| (module, line)));
    lines.find_map(|(module, line)| {
        let name = line
            .tokens
            .iter()
            .find(|token| token.text.eq_ignore_ascii_case(&variable.value.name))?;
        let mut calls = statement::calls(&line.tokens).into_iter();
        calls
            .any(|call| {
                ["split", "partition"].contains(&call.last()) && call.text("sep", 0).as_deref() == Some(":")
            })
            .then(|| Place::new(module.path, name.line))
    })
}

/// The variables that choose the kind of database, and the word for this one: what
/// code compares them with, as in `os.getenv("DB") == "postgres"`, or a field of settings.
fn kinds(modules: &Modules<'_>, variables: &[Detected<ReadVariable>]) -> BTreeMap<String, (String, Place)> {
    // `self.settings.DB_ENGINE`, of an object whose class is not to be told here.
    let field = |asked: &[Token<'_>]| {
        let [.., dot, last] = asked else { return None };
        let mut fields = variables.iter().filter(|one| !one.value.annotation.is_empty());
        let named = fields.find(|one| dot.is(".") && one.value.name.eq_ignore_ascii_case(last.text))?;
        Some(named.value.name.clone())
    };
    let mut found = BTreeMap::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, line) in module.lines.iter().enumerate() {
            for (at, token) in line.tokens.iter().enumerate() {
                let is_kind = token.kind == TokenKind::Text && KINDS.contains(&token.text);
                if !is_kind {
                    continue;
                }
                let before = &line.tokens[..at];
                let asked = match before {
                    [asked @ .., sign] if sign.is("==") => asked,
                    // `DB in ("postgres", "postgresql")`: the first one will do.
                    [asked @ .., word, open]
                        if word.is_name("in") && ["(", "[", "{"].contains(&open.text) =>
                    {
                        asked
                    }
                    _ => continue,
                };
                if let Some(name) = settings::read_at_end(modules, module, asked).or_else(|| field(asked)) {
                    let place = Place::new(module.path, module.number(n));
                    found.entry(name).or_insert((token.text.to_owned(), place));
                }
            }
        }
    }
    found
}

/// The kind of database that a variable's default has, where it is this one.
fn shown_kind(variable: &ReadVariable) -> Option<&str> {
    variable.default.as_deref().filter(|text| KINDS.contains(text))
}

/// What is shown of a variable's value.
fn texts(variable: &ReadVariable) -> impl Iterator<Item = &str> {
    let example = variable.example.as_ref().map(|one| one.value.as_str());
    variable.default.as_deref().into_iter().chain(example)
}

/// Whether the driver is left out on purpose, for all that is shown.
fn shows_plain(variable: &ReadVariable) -> bool {
    let is_plain = |text: &str| text.starts_with("postgresql://");
    texts(variable).next().is_some() && texts(variable).all(is_plain)
}

/// Whether the container sets a variable to just this.
pub(crate) fn is_given_anyway(variable: &GivenVariable) -> bool {
    let (name, value) = (variable.name.as_str(), variable.value.as_str());
    // Its form is its own.
    name == "HIVE_DATABASE_URL" || GIVEN.contains(&(name, value))
}

impl Part {
    /// What a spec says for it, where no value shows another form.
    fn value(self, form: &Form) -> &'static str {
        match self {
            Self::Url => form.value,
            Self::Host => "{database_host}",
            Self::Port => "{database_port}",
            Self::User => "{database_user}",
            Self::Password => "{database_password}",
            Self::Name => "{database_name}",
            Self::Engine => "django.db.backends.postgresql",
        }
    }
}

/// Of names of variables, in capitals.
fn words(name: &str) -> Vec<String> {
    let name = name.to_uppercase();
    let words = name.split('_').filter(|word| !word.is_empty());
    let words = words.flat_map(|word| unglued(word).into_iter().flatten());
    words.map(str::to_owned).collect()
}

const TESTS: [&str; 3] = ["TEST", "TESTS", "TESTING"];

/// Words for a database that may be this one.
const DATABASE: [&str; 11] = [
    "DATABASE",
    "DB",
    "POSTGRE",
    "POSTGRES",
    "POSTGRESQL",
    "PG",
    "PGSQL",
    "PSQL",
    "SQL",
    "SQLALCHEMY",
    "RDS",
];

/// The part that a variable with these words in its name holds.
fn part_of(variable: &ReadVariable, words: &[impl AsRef<str>], dependencies: &Dependencies) -> Option<Part> {
    const OTHERS: [&str; 14] = [
        "REDIS",
        "MONGO",
        "MONGODB",
        "MYSQL",
        "MARIADB",
        "CLICKHOUSE",
        "NEO4J",
        "SQLITE",
        "CACHE",
        "KAFKA",
        "RABBITMQ",
        "ELASTICSEARCH",
        "CELERY",
        "VECTOR",
    ];
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let name = variable.name.to_uppercase();
    let of_libpq = [
        ("PGHOST", Part::Host),
        ("PGPORT", Part::Port),
        ("PGUSER", Part::User),
        ("PGPASSWORD", Part::Password),
        ("PGDATABASE", Part::Name),
    ];
    if let Some((_, part)) = of_libpq.iter().find(|(known, _)| *known == name) {
        return Some(*part);
    }
    if words
        .iter()
        .any(|word| OTHERS.contains(word) || TESTS.contains(word))
    {
        return None;
    }
    let (last, before) = match words.as_slice() {
        // `DB_USER_NAME` is the user's, not the database's.
        [before @ .., "USER", "NAME"] => (&"USER", before),
        [before @ .., last] => (last, before),
        [] => return None,
    };
    let shown = [
        variable.default.as_deref(),
        variable.example.as_ref().map(|one| one.value.as_str()),
    ];
    // What code puts together of other settings follows from those.
    // `sqlite://` is whole: a database in memory.
    let is_a_part = |text: &&str| text.ends_with("://") && !text.starts_with("sqlite");
    if variable.is_made || shown.iter().flatten().any(is_a_part) {
        return None;
    }
    let is_url = |text: &&str| text.starts_with("postgres") && text.contains("://");
    if variable.annotation.contains("PostgresDsn") || shown.iter().flatten().any(is_url) {
        return Some(Part::Url);
    }
    let of_database = before.iter().any(|word| DATABASE.contains(word));
    // `geo.mmdb` is a file; `app.sqlite3` stands where another engine has a name.
    let is_file = |text: &&str| text.contains(['.', '/']) && !text.contains("sqlite");
    Some(match *last {
        "URL" | "URI" | "DSN" if of_database => Part::Url,
        "STRING" if of_database && before.contains(&"CONNECTION") => Part::Url,
        "HOST" | "HOSTNAME" | "SERVER" | "ADDR" | "ADDRESS" if of_database => Part::Host,
        "PORT" if of_database => Part::Port,
        "USER" | "USERNAME" | "LOGIN" if of_database => Part::User,
        "PASSWORD" | "PASS" | "PWD" | "PASSWD" if of_database => Part::Password,
        "NAME" | "DB" | "DATABASE" | "DBNAME" if of_database && !shown.iter().flatten().any(is_file) => {
            Part::Name
        }
        "ENGINE" if of_database && is_engine_of_django(&shown, dependencies) => Part::Engine,
        _ => return None,
    })
}

/// Whether a variable takes a module of Django's, as what is shown of it says.
fn is_engine_of_django(shown: &[Option<&str>], dependencies: &Dependencies) -> bool {
    let mut shown = shown.iter().flatten().peekable();
    match shown.peek() {
        Some(_) => shown.any(|text| text.starts_with("django.")),
        None => dependencies.has("django"),
    }
}

/// The form of URL that the code wants where no value shows it.
struct Form {
    /// The placeholder for it in a spec, such as `{database_url:asyncpg}`.
    value: &'static str,
    why: String,
}

fn form(modules: &Modules<'_>, dependencies: &Dependencies) -> Form {
    let form = |value, why: &str| Form {
        value,
        why: why.to_owned(),
    };
    // Migrations have an engine of their own, often the only one that takes the URL.
    let calls = |name: &str| {
        modules
            .all
            .iter()
            .filter(|module| reads_count(module.path))
            .find_map(|module| {
                let (n, _) = module.calls().find(|(_, call)| call.last() == name)?;
                Some(Place::new(module.path, module.number(n)))
            })
    };
    let rewritten = rewritten(modules);
    if let Some((scheme, place)) = rewritten.iter().find_map(|(taken, place)| match taken {
        Taken::Plain(scheme) => Some((*scheme, place)),
        Taken::Driver(_) => None,
    }) {
        return form(scheme, &format!("{place} makes the scheme itself"));
    }
    if let Some(place) = asked_scheme(modules) {
        return form(
            "{database_url:postgres://}",
            &format!("{place} asks for that scheme"),
        );
    }
    if dependencies.has("tortoise-orm") {
        let value = if dependencies.has("asyncpg") || !dependencies.has("psycopg") {
            "{database_url:asyncpg://}"
        } else {
            "{database_url:psycopg://}"
        };
        return form(value, "tortoise-orm is among the dependencies");
    }
    let asynchronous = calls("create_async_engine").or_else(|| calls("async_engine_from_config"));
    if let Some(place) = asynchronous {
        let with_driver = rewritten.iter().find_map(|(taken, place)| match taken {
            Taken::Driver(driver) => Some((*driver, place)),
            Taken::Plain(_) => None,
        });
        if let Some((value, taken_out)) = with_driver {
            return form(
                value,
                &format!("{place} makes an asynchronous engine, and {taken_out} takes the driver out"),
            );
        }
        return match dependencies.has("asyncpg") || !has_psycopg(dependencies) {
            true => form(
                "{database_url:asyncpg}",
                &format!("{place} makes an asynchronous engine"),
            ),
            false => form(
                "{database_url:psycopg}",
                &format!("{place} makes an asynchronous engine"),
            ),
        };
    }
    // It takes no driver's name, and an engine beside it none either.
    let directly = modules.all.iter().filter(|module| reads_count(module.path));
    let directly = directly
        .flat_map(|module| module.calls().map(move |(n, call)| (module, n, call)))
        .find(|(module, _, call)| {
            matches!(modules.meaning(module, &call.path), Meaning::Outside(name)
                if ["asyncpg.connect", "asyncpg.create_pool"].contains(&name.as_str()))
        });
    if let Some((module, n, _)) = directly {
        let place = Place::new(module.path, module.number(n));
        return form("{database_url}", &format!("{place} gives it to asyncpg itself"));
    }
    let synchronous = calls("create_engine")
        .or_else(|| calls("SQLAlchemy"))
        .or_else(|| calls("engine_from_config"));
    if let Some(place) = synchronous {
        let value = match () {
            // By name: what the plain scheme means has changed with SQLAlchemy 2.1.
            () if dependencies.has("psycopg2") || dependencies.has("psycopg2-binary") => {
                "{database_url:psycopg2}"
            }
            () if has_psycopg(dependencies) => "{database_url:psycopg}",
            () if dependencies.has("pg8000") => "{database_url:pg8000}",
            () => "{database_url}",
        };
        return form(value, &format!("{place} makes an engine of SQLAlchemy"));
    }
    form(
        "{database_url}",
        "the plain form, as nothing asks for another one",
    )
}

/// What speaks to PostgreSQL where nothing but an extra or a group of the project's
/// brings it: that part has to be installed, too.
pub(crate) fn driver_of_a_part(dependencies: &Dependencies) -> Option<Detected<AskedPackage>> {
    let drivers: Vec<_> = drivers(dependencies).collect();
    let takes_parts = |one: &&&Detected<AskedPackage>| match &one.value.by {
        AskedBy::Project => false,
        AskedBy::Extra(_) => true,
        AskedBy::Group(group) => !OF_DEVELOPERS.contains(&group.as_str()),
    };
    let has_one = drivers.iter().any(|one| one.value.by == AskedBy::Project);
    let has_parts = !matches!(
        dependencies.installed_from,
        Some("requirements.txt" | "Pipfile.lock" | "pylock.toml")
    );
    let mut parts = drivers.iter().filter(takes_parts);
    let found = parts.next().filter(|_| !has_one && has_parts)?;
    Some((*found).clone())
}

/// Where the code says which database it speaks to, of an app with a driver of PostgreSQL and
/// no variable that leads there: Django's `DATABASES`, what makes an engine, or a connection.
pub(crate) fn unread(
    modules: &Modules<'_>,
    dependencies: &Dependencies,
    database: &[Detected<GivenVariable>],
) -> Option<Place> {
    const NAMES: [&str; 2] = ["DATABASES", "SQLALCHEMY_DATABASE_URI"];
    const CALLS: [&str; 5] = [
        "create_engine",
        "create_async_engine",
        "engine_from_config",
        "async_engine_from_config",
        "create_pool",
    ];
    let is_locked = || {
        dependencies
            .locked
            .iter()
            .any(|name| DRIVERS.contains(&name.as_str()))
    };
    let has_driver = drivers(dependencies).next().is_some() || is_locked();
    if !database.is_empty() || !has_driver {
        return None;
    }
    let counted = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let counted: Vec<_> = counted
        .filter(|module| !django::is_of_developers(module.path.trim_end_matches(".py")))
        .collect();
    let named = counted.iter().find_map(|module| {
        let (n, line) = module.lines.iter().enumerate().find(|(_, line)| {
            let assigned = statement::assignments(line);
            let is_key = line
                .tokens
                .iter()
                .any(|token| token.kind == TokenKind::Text && token.text == NAMES[1]);
            assigned.iter().any(|one| NAMES.contains(&one.target)) || is_key
        })?;
        (!line.tokens.is_empty()).then(|| Place::new(module.path, module.number(n)))
    });
    named.or_else(|| {
        counted.iter().find_map(|module| {
            let (n, _) = module.calls().find(|(_, call)| CALLS.contains(&call.last()))?;
            Some(Place::new(module.path, module.number(n)))
        })
    })
}

/// A package that speaks to PostgreSQL, for an app that has a mapper for several databases
/// and nothing that brings one: its list, or a part of it, was made for SQLite.
pub(crate) fn missing_driver(dependencies: &Dependencies) -> Option<&'static str> {
    const MAPPERS: [&str; 8] = [
        "databases",
        "django",
        "flask-sqlalchemy",
        "peewee",
        "sqlalchemy",
        "sqlmodel",
        "flask-migrate",
        "advanced-alchemy",
    ];
    const SIGNS: [&str; 5] = ["psycopg", "asyncpg", "pg8000", "aiopg", "postgres"];
    let is_one = |name: &str| SIGNS.iter().any(|sign| name.contains(sign));
    let mut packages = dependencies.packages.iter().map(|one| &one.value);
    let brings = |one: &AskedPackage| {
        is_one(&one.name) || one.extras.iter().any(|extra| is_one(extra)) || one.from_git
    };
    if packages.any(brings) || dependencies.locked.iter().any(|name| is_one(name)) {
        return None;
    }
    let has_mapper = MAPPERS.iter().any(|name| dependencies.has(name));
    let is_asynchronous = dependencies.has("aiosqlite");
    has_mapper.then_some(match is_asynchronous {
        true => "asyncpg",
        // Every version of Django's and of SQLAlchemy's takes it.
        false => "psycopg2-binary",
    })
}

/// What speaks to PostgreSQL.
const DRIVERS: [&str; 7] = [
    "psycopg",
    "psycopg-binary",
    "psycopg-c",
    "psycopg2",
    "psycopg2-binary",
    "asyncpg",
    "pg8000",
];

/// The packages that speak to PostgreSQL, of all that are asked for.
fn drivers(dependencies: &Dependencies) -> impl Iterator<Item = &Detected<AskedPackage>> {
    let packages = dependencies.packages.iter();
    packages.filter(|one| DRIVERS.contains(&one.value.name.as_str()))
}

/// What the app takes the place of its database from, where that is no variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unled {
    /// The package that speaks to PostgreSQL.
    pub driver: String,
    /// A file of settings that is not there, and the example beside it that shows it.
    pub file: String,
    /// That example.
    pub example: String,
}

/// An app that wants settings in a file that each installation writes for itself, such as
/// `configuration.py` beside `configuration_example.py`, and reads no variable that leads to
/// its database.
pub(crate) fn unled(
    tree: &Tree,
    dependencies: &Dependencies,
    database: &[Detected<GivenVariable>],
) -> Option<Detected<Unled>> {
    const KINDS: [&str; 6] = ["example", "sample", "template", "dist", "default", "tpl"];
    let driver = drivers(dependencies).find(|one| one.value.by == AskedBy::Project)?;
    let of_settings = |name: &str| {
        let words: Vec<&str> = name.split(['_', '-', '.']).collect();
        let settings = ["config", "configuration", "settings"];
        words.iter().any(|word| settings.contains(word))
    };
    // Examples of a server's or of a log's settings are there, too.
    let shows_a_database = |example: &str| {
        let text = tree.text(example).unwrap_or_default().to_uppercase();
        let signs = ["DATABASE", "POSTGRES", "DB_HOST", "'HOST'", "\"HOST\""];
        signs.iter().any(|sign| text.contains(sign))
    };
    let mut files = tree.paths().filter(|path| reads_count(path));
    files.find_map(|example| {
        let stem = file_name(example).strip_suffix(".py")?;
        let (stem, kind) = stem.rsplit_once(['_', '-', '.'])?;
        let file = format!("{}{stem}.py", folder_of(example));
        let is_wanted = KINDS.contains(&kind) && of_settings(stem) && !tree.has(&file) && database.is_empty();
        let is_wanted = is_wanted && shows_a_database(example);
        let unled = Unled {
            driver: driver.value.name.clone(),
            file,
            example: example.to_owned(),
        };
        is_wanted.then(|| Detected::likely(unled, driver.place.clone()))
    })
}

fn has_psycopg(dependencies: &Dependencies) -> bool {
    ["psycopg", "psycopg-binary", "psycopg-c"]
        .iter()
        .any(|name| dependencies.has(name))
}

/// What the code takes out of the URL to put something else in its place: so it wants
/// to be given just that.
enum Taken {
    /// A scheme without a driver, by the placeholder that has it.
    Plain(&'static str),
    /// A driver, in the same way.
    Driver(&'static str),
}

/// Where the code puts another scheme in place of what it is given, the plain ones by
/// how often they are given.
fn rewritten(modules: &Modules<'_>) -> Vec<(Taken, Place)> {
    let read = modules.all.iter().filter(|module| reads_count(module.path));
    let mut found: Vec<(Taken, Place)> = read
        .flat_map(|module| {
            let calls = module.calls();
            calls.filter_map(|(n, call)| Some((taken(&call)?, Place::new(module.path, module.number(n)))))
        })
        .collect();
    found.sort_by_key(|(taken, _)| !matches!(taken, Taken::Plain("{database_url}")));
    found
}

fn taken(call: &Call<'_, '_>) -> Option<Taken> {
    const DRIVERS: [(&str, &str); 4] = [
        ("asyncpg", "{database_url:asyncpg}"),
        ("psycopg2", "{database_url:psycopg2}"),
        ("psycopg", "{database_url:psycopg}"),
        ("pg8000", "{database_url:pg8000}"),
    ];
    let has_driver = |text: &str| text.contains('+');
    if call.last() == "set" {
        // Of SQLAlchemy's URL: whatever was there is gone.
        let set = statement::text_of(call.named("drivername")?)?;
        return (set.starts_with("postgres") && has_driver(&set)).then_some(Taken::Plain("{database_url}"));
    }
    if !["replace", "sub", "removeprefix"].contains(&call.last()) {
        return None;
    }
    let text = call.positional(0).and_then(statement::text_of)?;
    let text = text.trim_start_matches('^').replace('\\', "");
    if let Some((before, driver)) = text.split_once('+') {
        let of_a_url = before.is_empty() || before.starts_with("postgres");
        let known = DRIVERS.iter().find(|(name, _)| driver.starts_with(name));
        return known.filter(|_| of_a_url).map(|(_, value)| Taken::Driver(value));
    }
    // From one plain scheme to another one: the driver is still to be named.
    let made = call.positional(1).and_then(statement::text_of);
    let is_plain = made.is_some_and(|made| made.starts_with("postgres") && !has_driver(&made));
    if !text.starts_with("postgres") || is_plain {
        return None;
    }
    match text.starts_with("postgres:") {
        true => Some(Taken::Plain("{database_url:postgres://}")),
        false => Some(Taken::Plain("{database_url}")),
    }
}

/// Where the code asks whether a URL begins with `postgres://`, the old form of the
/// scheme, and nowhere for the new one.
fn asked_scheme(modules: &Modules<'_>) -> Option<Place> {
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let asked: Vec<(String, Place)> = of_the_app
        .flat_map(|module| module.calls().map(move |(n, call)| (module, n, call)))
        .filter(|(_, _, call)| call.last() == "startswith")
        .flat_map(|(module, n, call)| {
            let tokens = call.arguments.iter().flat_map(|one| one.value);
            let texts =
                tokens.filter(|token| token.kind == TokenKind::Text && token.text.starts_with("postgres"));
            let place = Place::new(module.path, module.number(n));
            texts
                .map(|token| (token.text.to_owned(), place.clone()))
                .collect::<Vec<_>>()
        })
        .collect();
    let (_, place) = asked.iter().find(|(text, _)| text == "postgres://")?;
    let only_that = asked.iter().all(|(text, _)| text == "postgres://");
    only_that.then(|| place.clone())
}

/// The URL in the form that a value shows, or that the code wants.
fn url(variable: &ReadVariable, form: &Form) -> (String, String, Certainty) {
    let example = variable
        .example
        .as_ref()
        .map(|one| (one.value.as_str(), one.place.to_string()));
    let default = variable
        .default
        .as_deref()
        .map(|text| (text, "its default".to_owned()));
    for (text, place) in default.into_iter().chain(example) {
        let Some((scheme, _)) = text.split_once("://") else {
            continue;
        };
        let value = match scheme.strip_prefix("postgresql+") {
            Some(driver) => format!("{{database_url:{driver}}}"),
            None if scheme == "postgres" => "{database_url:postgres://}".to_owned(),
            // The plain scheme leaves the driver to the code.
            _ => continue,
        };
        if scheme == "postgres" && form.value != "{database_url}" {
            continue;
        }
        return (value, format!("the form of {place}"), Certainty::Sure);
    }
    (form.value.to_owned(), form.why.clone(), Certainty::Likely)
}
