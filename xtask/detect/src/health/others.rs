//! What a health route asks beside the app and its database.

use std::collections::BTreeSet;

use crate::modules::{Definition, Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::TokenKind;
use crate::python::statement;
use crate::tree::is_of_the_app;

/// What names of functions and classes speak of.
const OTHERS: [(&str, &str); 6] = [
    ("celery", "a worker of Celery"),
    ("cron", "a job that another program runs"),
    ("heartbeat", "another program's sign of life"),
    ("periodic", "a job that another program runs"),
    ("rabbit", "RabbitMQ"),
    ("worker", "a worker"),
];

/// Parts of the package django-health-check, by their names among the apps.
const PARTS: [(&str, &str); 3] = [
    ("health_check.contrib.celery", "a worker of Celery"),
    ("health_check.contrib.celery_ping", "a worker of Celery"),
    ("health_check.contrib.rabbitmq", "RabbitMQ"),
];

/// What the function of a route asks, or the package where that has it.
pub(super) fn asked(
    modules: &Modules<'_>,
    function: Option<(&Module<'_>, &Definition<'_>)>,
) -> Option<Detected<String>> {
    let Some((module, function)) = function else {
        return of_the_package(modules);
    };
    let mut seen = BTreeSet::new();
    let mut open = vec![(module, function)];
    while let Some((module, function)) = open.pop() {
        if !seen.insert((module.path, function.head)) || seen.len() > super::MOST_FUNCTIONS {
            continue;
        }
        // What is registered to be asked stands beside what asks it.
        if let Some(found) = of_checks(module) {
            return Some(found);
        }
        for line in module.body(function) {
            for call in statement::calls(&line.tokens) {
                if let Some(what) = named(&call.path) {
                    return Some(Detected::likely(what, Place::new(module.path, call.line)));
                }
                if let Meaning::Inside(other, name) = modules.meaning(module, &call.path)
                    && let Some(next) = other.definition(&name).filter(|next| !next.is_class)
                {
                    open.push((other, next));
                }
            }
        }
    }
    None
}

fn of_the_package(modules: &Modules<'_>) -> Option<Detected<String>> {
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    of_the_app
        .flat_map(|module| {
            let tokens = module.lines.iter().flat_map(|line| &line.tokens);
            tokens.map(move |token| (module, token))
        })
        .filter(|(_, token)| token.kind == TokenKind::Text)
        .find_map(|(module, token)| {
            let (_, what) = PARTS.iter().find(|(part, _)| *part == token.text)?;
            Some(Detected::likely(
                (*what).to_owned(),
                Place::new(module.path, token.line),
            ))
        })
}

/// A check of a file that is of something else, as `class CronJobHealthCheck`.
fn of_checks(module: &Module<'_>) -> Option<Detected<String>> {
    module.definitions.iter().find_map(|one| {
        let is_check = one.name.to_lowercase().contains("check");
        let what = named(one.name).filter(|_| is_check)?;
        Some(Detected::likely(
            what,
            Place::new(module.path, module.number(one.head)),
        ))
    })
}

fn named(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let known = OTHERS.iter().find(|(word, _)| lower.contains(word));
    known.map(|(_, what)| (*what).to_owned())
}
