//! How the app finds its database: by which variables, and in which form.

pub(crate) mod drivers;
pub(crate) mod encryption;
mod form;
mod kinds;
pub(crate) mod unled;

use serde::Serialize;

use crate::dependencies::Dependencies;
use crate::modules::Modules;
use crate::place::{Certainty, Detected, Place};
use crate::python::statement;
use crate::settings::ReadVariable;
use crate::tree::is_of_the_app;
use form::Form;
pub(crate) use kinds::KINDS;

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
    let form = form::of(modules, dependencies);
    let has_driver = variables
        .iter()
        .any(|one| texts(&one.value).any(|text| text.starts_with("postgresql+") && !text.ends_with("://")));
    let kinds = kinds::compared(modules, variables);
    let engine = kinds::completed_engine(modules);
    let chosen = kinds::of_an_enum(modules, variables);
    let mut found = Vec::new();
    for variable in variables {
        if kinds::is_of_another(modules, variable, variables) {
            continue;
        }
        let given = |value: &str, why: String| GivenVariable {
            name: variable.value.name.clone(),
            value: value.to_owned(),
            why,
        };
        if let Some((kind, place)) = kinds.get(&variable.value.name) {
            if kinds::shown(&variable.value).is_none() {
                let given = given(kind, format!("{place} compares it with that"));
                found.push(Detected::sure(given, variable.place.clone()));
            }
            continue;
        }
        if let Some((member, place)) = chosen.get(&variable.value.name) {
            let given = given(member, format!("{place} calls it so"));
            found.push(Detected::sure(given, variable.place.clone()));
            continue;
        }
        let behind = engine
            .as_ref()
            .filter(|_| kinds::names_an_engine(&variable.value));
        let apart = || {
            let place = parted(modules, variable)?;
            let both = "{database_user}:{database_password}";
            Some(given(both, format!("{place} takes it apart")))
        };
        let likely = behind
            .map(|place| {
                given(
                    "postgresql",
                    format!("{place} puts it behind `{}`", kinds::ENGINES),
                )
            })
            .or_else(|| for_tests(&variable.value, &form, dependencies))
            .or_else(apart);
        if let Some(given) = likely {
            found.push(Detected::likely(given, variable.place.clone()));
            continue;
        }
        let words = words(&variable.value.name);
        let of_a_file = || kinds::names_a_file(&variable.value, &words, &chosen).then_some(Part::Name);
        let Some(part) = part_of(&variable.value, &words, dependencies).or_else(of_a_file) else {
            continue;
        };
        let (value, why, certainty) = match part {
            Part::Url if has_driver && shows_plain(&variable.value) => (
                "{database_url}".to_owned(),
                "the plain form, as its example shows beside one with a driver".to_owned(),
                Certainty::Likely,
            ),
            Part::Url => form.url(&variable.value),
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
            value: given(&value, why),
            place: variable.place.clone(),
            certainty,
        });
    }
    found
}

/// Says in the URLs that nothing is encrypted, where the code looks for that there.
pub(crate) fn say_unencrypted(found: &mut [Detected<GivenVariable>], said_by_url: &[(String, Place)]) {
    for (name, place) in said_by_url {
        let url = found.iter_mut().map(|one| &mut one.value);
        let mut url = url.filter(|one| one.name == *name && one.value.starts_with("{database_url"));
        if let Some(url) = url.next() {
            url.value.push_str("?sslmode=disable");
            url.why = format!("{}; {place} asks for TLS otherwise", url.why);
        }
    }
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
        [before @ .., "HOST", "NAME"] => (&"HOST", before),
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
        // Beside host and user of a database its name: `DB_BASE`.
        "BASE"
            if before.last().is_some_and(|word| DATABASE.contains(word))
                && !shown.iter().flatten().any(is_file) =>
        {
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
