//! The form of URL that the code wants.

use super::drivers::has_psycopg;
use crate::dependencies::Dependencies;
use crate::modules::{Meaning, Modules};
use crate::place::{Certainty, Place};
use crate::python::TokenKind;
use crate::python::statement::{self, Call};
use crate::settings::ReadVariable;
use crate::tree::{is_of_the_app, reads_count};

/// The form of URL that the code wants where no value shows it.
pub(super) struct Form {
    /// The placeholder for it in a spec, such as `{database_url:asyncpg}`.
    pub(super) value: &'static str,
    why: String,
}

impl Form {
    /// The URL in the form that a value shows, or that the code wants.
    pub(super) fn url(&self, variable: &ReadVariable) -> (String, String, Certainty) {
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
            if scheme == "postgres" && self.value != "{database_url}" {
                continue;
            }
            return (value, format!("the form of {place}"), Certainty::Sure);
        }
        (self.value.to_owned(), self.why.clone(), Certainty::Likely)
    }
}

pub(super) fn of(modules: &Modules<'_>, dependencies: &Dependencies) -> Form {
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
