//! A Redis in the image, for an app that reads where one is.

use serde_json::{Value, json};

use crate::beside::{Companion, REDIS};
use crate::database::GivenVariable;
use crate::django;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Certainty, Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, Token, TokenKind};
use crate::settings::{self, ReadVariable};
use crate::tree::is_of_the_app;

/// The distribution's package, and the program's name.
pub(crate) const PACKAGE: &str = "redis-server";
const PROGRAM: &str = "redis";

/// The variables that lead an app to a Redis, where it asks for a client of one:
/// the image has the program then. Empty for an app without such variables, which
/// may do without.
pub(crate) fn settings(
    services: &[Detected<Companion>],
    variables: &[Detected<ReadVariable>],
) -> Vec<Detected<GivenVariable>> {
    let asks = services.iter().any(|one| one.value.what == REDIS);
    let parts: Vec<(&Detected<ReadVariable>, Part)> = variables
        .iter()
        .filter(|_| asks)
        .filter_map(|variable| Some((variable, part_of(&variable.value)?)))
        .collect();
    let numbers = numbers(&parts);
    parts
        .iter()
        .zip(numbers)
        .map(|((variable, part), number)| Detected {
            value: GivenVariable {
                name: variable.value.name.clone(),
                value: match part {
                    Part::Url => format!("redis://127.0.0.1:6379/{number}"),
                    Part::Host => "127.0.0.1".to_owned(),
                    Part::Port => "6379".to_owned(),
                    Part::Number => number.to_string(),
                    // It is reached from within the container alone, and has none.
                    Part::Password => String::new(),
                },
                why: format!("the program `{PROGRAM}` of the image"),
            },
            place: variable.place.clone(),
            certainty: Certainty::Likely,
        })
        .collect()
}

/// Where the app's code itself looks for a Redis on its own machine, as no variable leads it
/// elsewhere, and what it names there. Of the settings of Django's only those count that the
/// server goes by: `settings`, and what they take in.
pub(crate) fn of_code(
    services: &[Detected<Companion>],
    modules: &Modules<'_>,
    settings: Option<&Module<'_>>,
) -> Option<Detected<String>> {
    services.iter().find(|one| one.value.what == REDIS)?;
    let chosen = settings.map(|one| django::imported(modules, one.path));
    let counts = |module: &&Module<'_>| match &chosen {
        Some(chosen) if chosen.contains(module.path) => true,
        _ if django::is_of_developers(module.path.trim_end_matches(".py")) => false,
        // Other settings, that lie beside the chosen ones.
        Some(_) if is_of_settings(module.path) => false,
        _ => is_of_the_app(module.path),
    };
    let found = modules.all.iter().filter(counts).filter_map(|module| {
        let url = module.lines.iter().find_map(|line| {
            let mut texts = line.tokens.iter().enumerate();
            texts.find(|(at, token)| {
                token.kind == TokenKind::Text && is_of_this_machine(token.text) && !stands_in(line, *at)
            })
        });
        if let Some((_, url)) = url {
            return Some(Detected::likely(
                url.text.to_owned(),
                Place::new(module.path, url.line),
            ));
        }
        let mut calls = module.calls();
        let (n, call) = calls.find(|(_, call)| is_client_of_this_machine(modules, module, call))?;
        let place = Place::new(module.path, module.number(n));
        Some(Detected::likely(format!("{}()", call.path), place))
    });
    found.into_iter().next()
}

/// Whether a module is one of several settings: `settings.py`, `settings_staging.py`,
/// `settings/staging.py`.
fn is_of_settings(path: &str) -> bool {
    let mut parts = path.trim_end_matches(".py").rsplit('/');
    let is_name = |name: &str| name.split('_').any(|word| word == "settings");
    parts.next().is_some_and(is_name) || parts.next() == Some("settings")
}

/// Whether a text is only what counts where something else is not set: it stands behind an `or`
/// or `else`, or beside the name of a variable in a call.
fn stands_in(line: &Line<'_>, at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| &line.tokens[before]);
    if before.is_some_and(|token| ["or", "else"].iter().any(|word| token.is_name(word))) {
        return true;
    }
    let is_it = |token: &Token<'_>| std::ptr::eq(token, &raw const line.tokens[at]);
    let is_name = |text: String| settings::is_variable(&text) && text.to_uppercase() == text;
    statement::calls(&line.tokens).iter().any(|call| {
        let mut values = call.arguments.iter().map(|one| one.value);
        let is_argument = values.clone().any(|value| value.iter().any(is_it));
        is_argument && values.any(|value| statement::text_of(value).is_some_and(is_name))
    })
}

/// The program's address, as a URL.
fn is_of_this_machine(text: &str) -> bool {
    let hosts = ["redis://localhost", "redis://127.0.0.1"];
    let Some(rest) = hosts.iter().find_map(|host| text.strip_prefix(host)) else {
        return false;
    };
    let number = rest.strip_prefix(":6379").unwrap_or(rest);
    match number.strip_prefix('/') {
        Some(number) => number.is_empty() || number.parse().is_ok_and(|number: u32| number < MOST),
        None => number.is_empty(),
    }
}

/// A client that is made without any address, or with that of the program.
fn is_client_of_this_machine(modules: &Modules<'_>, module: &Module<'_>, call: &Call<'_, '_>) -> bool {
    if !["Redis", "StrictRedis"].contains(&call.last()) {
        return false;
    }
    let is_of_redis = |name: &str| name.starts_with("redis.");
    let host = call.argument("host", 0).map(statement::text_of);
    let is_here =
        |host: Option<String>| host.is_some_and(|host| ["localhost", "127.0.0.1"].contains(&host.as_str()));
    let port = call.argument("port", 1);
    matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if is_of_redis(&name))
        && host.is_none_or(is_here)
        && port.is_none_or(|port| matches!(port, [number] if number.text == "6379"))
        && ["connection_pool", "unix_socket_path"]
            .iter()
            .all(|name| call.named(name).is_none())
}

/// The program, which keeps nothing: what is to be kept is in PostgreSQL.
pub(crate) fn program() -> Value {
    json!({
        "name": PROGRAM,
        "command": [PACKAGE, "--save", "", "--bind", "127.0.0.1"],
        "starts_after": "nothing",
    })
}

/// The part of a connection that a variable holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Url,
    Host,
    Port,
    /// Of one of the databases that a Redis has, which go by numbers.
    Number,
    Password,
}

fn part_of(variable: &ReadVariable) -> Option<Part> {
    let words = words(variable);
    let (last, before) = words.split_last()?;
    let of_others = |word: &String| ["TEST", "TESTS", "SENTINEL"].contains(&word.as_str());
    if words.iter().any(of_others) {
        return None;
    }
    let is_url = |text: &str| text.starts_with("redis://");
    if shown(variable).any(is_url) || variable.annotation.contains("RedisDsn") {
        return (!variable.is_made).then_some(Part::Url);
    }
    if !before.iter().any(|word| word == "REDIS") {
        return None;
    }
    match last.as_str() {
        "URL" | "URI" | "DSN" => Some(Part::Url),
        "HOST" | "HOSTNAME" | "SERVER" | "ADDR" | "ADDRESS" => Some(Part::Host),
        "PORT" => Some(Part::Port),
        "DB" | "DATABASE" if variable.required => Some(Part::Number),
        "PASSWORD" if variable.required => Some(Part::Password),
        _ => None,
    }
}

/// The words of a variable's name, in capitals.
pub(crate) fn words(variable: &ReadVariable) -> Vec<String> {
    let name = variable.name.to_uppercase();
    let words = name.split('_').filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// What is shown of a variable's value.
fn shown(variable: &ReadVariable) -> impl Iterator<Item = &str> {
    let example = variable.example.as_ref().map(|one| one.value.as_str());
    variable.default.as_deref().into_iter().chain(example)
}

/// What a Redis is used for, by words of a variable's name: two uses in one
/// database would empty each other.
const USES: [&[&str]; 6] = [
    &["RESULT", "RESULTS"],
    &["CACHE", "CACHES", "CACHING"],
    &[
        "ARQ", "BROKER", "CELERY", "DRAMATIQ", "JOBS", "QUEUE", "QUEUES", "RQ", "SAQ", "TASKIQ", "TASKS",
        "WORKER",
    ],
    &["SESSION", "SESSIONS"],
    &["LIMIT", "LIMITER", "RATE", "THROTTLE"],
    &[
        "CHANNEL", "CHANNELS", "EVENTS", "PUBSUB", "SOCKETIO", "STREAM", "STREAMS",
    ],
];

/// So many databases has a Redis.
const MOST: u32 = 16;

/// The number of a database for each variable: the one that its value shows, else
/// one for each use.
fn numbers(parts: &[(&Detected<ReadVariable>, Part)]) -> Vec<u32> {
    let of_use = |variable: &ReadVariable| {
        let words = words(variable);
        USES.iter()
            .position(|names| words.iter().any(|word| names.contains(&word.as_str())))
    };
    let with_number = parts
        .iter()
        .filter(|(_, part)| matches!(part, Part::Url | Part::Number));
    let mut known: Vec<(Option<usize>, u32)> = with_number
        .filter_map(|(one, _)| Some((of_use(&one.value), shown_number(&one.value)?)))
        .collect();
    let mut number = |variable: &ReadVariable| {
        let of_use = of_use(variable);
        let same = known.iter().find(|(other, _)| *other == of_use);
        if let Some(number) = shown_number(variable).or(same.map(|(_, number)| *number)) {
            return number;
        }
        let is_free = |number: &u32| known.iter().all(|(_, other)| other != number);
        let number = (0..MOST).find(is_free).unwrap_or(0);
        known.push((of_use, number));
        number
    };
    parts
        .iter()
        .map(|(one, part)| match part {
            Part::Url | Part::Number => number(&one.value),
            Part::Host | Part::Port | Part::Password => 0,
        })
        .collect()
}

/// The number in `redis://localhost:6379/1`, or of a value that is one.
fn shown_number(variable: &ReadVariable) -> Option<u32> {
    let number = |text: &str| text.parse().ok().filter(|number| *number < MOST);
    shown(variable).find_map(|text| match text.split_once("://") {
        Some((_, rest)) => number(rest.split(['?', '#']).next()?.rsplit_once('/')?.1),
        None => number(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn variable(name: &str, required: bool, default: Option<&str>) -> Detected<ReadVariable> {
        let variable = ReadVariable {
            name: name.to_owned(),
            required,
            default: default.map(str::to_owned),
            example: None,
            annotation: String::new(),
            is_made: false,
            is_refused: false,
            is_of_an_error: false,
            is_of_hosts: false,
            is_session_key: false,
            form: Default::default(),
            elsewhere: None,
            is_of_start: true,
        };
        Detected::sure(variable, Place::new("settings.py", 1))
    }

    #[test]
    fn code_that_names_no_other_machine_wants_the_program() {
        let client = Companion {
            what: REDIS.to_owned(),
            program: None,
            command: None,
        };
        let client = [Detected::sure(client, Place::new("requirements.txt", 1))];
        let found = |text: &str| {
            let tree = Tree::single("shop/settings.py", text);
            let modules = Modules::of(&tree);
            assert_eq!(of_code(&[], &modules, None), None);
            of_code(&client, &modules, None).map(|one| (one.value, one.place.line))
        };
        for url in [
            "redis://localhost",
            "redis://127.0.0.1:6379/1",
            "redis://localhost:6379/",
        ] {
            let text = format!("import os\nCACHE = {{'default': '{url}', 'env': os.getenv('SHOP_REDIS')}}\n");
            assert_eq!(found(&text), Some((url.to_owned(), 2)));
        }
        for url in [
            "redis://redis:6379/0",
            "redis://localhost:6380/0",
            "redis://localhost.example/0",
            "redis://:secret@localhost:6379/0",
            "rediss://localhost:6379/0",
        ] {
            assert_eq!(found(&format!("CACHE = '{url}'\n")), None, "{url}");
        }
        for behind in [
            "os.environ['SHOP_STORE'] or 'redis://localhost'",
            "given if given else 'redis://localhost'",
            "of_environment('SHOP_STORE', 'redis://localhost')",
            "Field(default='redis://localhost', alias='SHOP_STORE')",
        ] {
            assert_eq!(found(&format!("STORE = {behind}\n")), None, "{behind}");
        }
        let made = |by: &str| found(&format!("import redis\nstore = redis.{by}\n")).map(|(what, _)| what);
        let is = Some("redis.Redis()".to_owned());
        for by in [
            "Redis()",
            "Redis(host='localhost', port=6379, db=2)",
            "Redis('127.0.0.1')",
        ] {
            assert_eq!(made(by), is, "{by}");
        }
        for by in [
            "Redis(host=HOST)",
            "Redis(port=6380)",
            "Redis(connection_pool=pool)",
            "from_url(URL)",
        ] {
            assert_eq!(made(by), None, "{by}");
        }
        assert_eq!(found("class Redis:\n    pass\nstore = Redis()\n"), None);
    }

    /// The values of variables, of an app that asks for a client of Redis.
    fn values(variables: &[Detected<ReadVariable>]) -> Vec<(String, String)> {
        let client = Companion {
            what: REDIS.to_owned(),
            program: None,
            command: None,
        };
        let client = Detected::sure(client, Place::new("requirements.txt", 1));
        let given = settings(&[client], variables).into_iter();
        given.map(|one| (one.value.name, one.value.value)).collect()
    }

    #[test]
    fn names_lead_to_the_program() {
        let value = |name: &str, required| {
            let mut all = values(&[variable(name, required, None)]);
            all.pop().map(|(_, value)| value)
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(value("REDIS_URL", false), is("redis://127.0.0.1:6379/0"));
        assert_eq!(value("SAQ_REDIS_DSN", true), is("redis://127.0.0.1:6379/0"));
        assert_eq!(value("REDIS_CACHE_HOST", false), is("127.0.0.1"));
        assert_eq!(value("REDIS_PORT", false), is("6379"));
        assert_eq!(value("REDIS_PASSWORD", true), is(""));
        for name in [
            "REDIS_PASSWORD",
            "REDIS_DB",
            "REDIS_TTL",
            "TEST_REDIS_URL",
            "REDIS_SENTINEL_HOST",
            "URL",
            "REDIS",
        ] {
            assert_eq!(value(name, false), None, "{name}");
        }
    }

    #[test]
    fn each_use_has_a_database_of_its_own() {
        let numbers = |variables: &[(&str, Option<&str>)]| {
            let variables: Vec<_> = variables
                .iter()
                .map(|(name, default)| variable(name, true, *default))
                .collect();
            let values = values(&variables).into_iter();
            values
                .map(|(_, value)| value.trim_start_matches("redis://127.0.0.1:6379/").to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            numbers(&[("REDIS_CACHE_URL", None), ("REDIS_QUEUE_URL", None)]),
            "0 1"
        );
        let celery = Some("redis://localhost:6379");
        assert_eq!(
            numbers(&[
                ("CELERY_BROKER_URL", celery),
                ("CELERY_RESULT_BACKEND", celery),
                ("QUEUE_URL", celery)
            ]),
            "0 1 0"
        );
        // What a value shows comes first, also where the author shares one.
        assert_eq!(
            numbers(&[
                ("REDIS_URL", None),
                ("REDIS_CACHE_URL", Some("redis://:x@redis:6379/0?timeout=1")),
                ("REDIS_BROKER_URL", Some("redis://redis:6379/3")),
                ("SAQ_REDIS_URL", None),
            ]),
            "1 0 3 3"
        );
        assert_eq!(
            numbers(&[
                ("REDIS_DB", Some("0")),
                ("CELERY_REDIS_DATABASE", None),
                ("REDIS_LIMIT_DB", None)
            ]),
            "0 1 2"
        );
    }

    #[test]
    fn a_url_without_the_name_shows_its_scheme() {
        let url = variable("BROKER_URL", false, Some("redis://localhost"));
        let amqp = variable("QUEUE_URL", false, Some("amqp://localhost"));
        assert_eq!(
            values(&[url, amqp]),
            [("BROKER_URL".to_owned(), "redis://127.0.0.1:6379/0".to_owned())]
        );
    }
}
