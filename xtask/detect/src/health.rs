//! The route that tells whether the service works, and whether it asks the
//! database before it says so.

mod others;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::modules::{Definition, Meaning, Module, Modules};
use crate::place::{Choice, Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, Token, TokenKind};
use crate::routes::Route;

/// Whether a function asks the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseAsked {
    /// It does, and this is the place that says so.
    At(Place),
    /// Nothing in it, or in what it calls, looks like that.
    Never,
    /// It calls what could not be followed.
    Unclear,
}

/// A route by which health can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthRoute {
    /// The whole path, with the prefixes of all routers above it.
    pub path: String,
    /// Whether it asks the database.
    pub database: DatabaseAsked,
    /// What it asks beside the app and its database, and where that stands: a check by it says
    /// nothing of the app where that does not run.
    pub other: Option<Detected<String>>,
}

/// Last parts of a path that speak of health, the most telling first.
const OF_HEALTH: [&str; 11] = [
    "ready",
    "readyz",
    "readiness",
    "health",
    "healthz",
    "healthcheck",
    "health-check",
    "health_check",
    "_health",
    "__health__",
    "ht",
];

/// Names that speak of less, or of something else: a `status` may be that of an order,
/// and asks the database for it.
const OF_LESS: [&str; 8] = [
    "live", "livez", "liveness", "_status", "status", "up", "ping", "probe",
];

/// Whether a path is one of a request, with no part that only the app's users know:
/// `/{tenant}/health`, `/<lang>/status`.
fn can_be_asked_for(path: &str) -> bool {
    path.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&b))
}

/// What stands behind a name of health for the part of it that asks the database:
/// `/health/db`.
const OF_THE_DATABASE: [&str; 4] = ["database", "db", "postgres", "postgresql"];

/// The part of a path that tells what it speaks of.
fn telling_part(path: &str) -> &str {
    let mut parts = path.trim_end_matches('/').rsplit('/');
    match (parts.next().unwrap_or_default(), parts.next()) {
        (last, Some(before)) if OF_THE_DATABASE.contains(&last.to_lowercase().as_str()) => before,
        (last, _) => last,
    }
}

/// Whether a request that has a path alone is refused: the function wants a value of the
/// query, as in `def status(order: str)`, or somebody who has logged in.
fn wants_more(module: &Module<'_>, function: &Definition<'_>) -> bool {
    const OF_ONE_VALUE: [&str; 8] = [
        "Decimal", "UUID", "bool", "date", "datetime", "float", "int", "str",
    ];
    const OF_A_REQUEST: [&str; 6] = ["Body", "Cookie", "Form", "Header", "Path", "Query"];
    const OF_A_PERSON: [&str; 7] = [
        "admin",
        "auth",
        "authenticated",
        "login",
        "permission",
        "token",
        "user",
    ];
    let is_of_a_person = |name: &str| {
        let name = name.rsplit('.').next().unwrap_or_default().to_lowercase();
        name.split('_').any(|word| OF_A_PERSON.contains(&word))
    };
    let mut guards = module.lines[function.decorators.clone()]
        .iter()
        .filter_map(|line| statement::dotted(line.tokens.get(1..)?));
    if guards.any(|(name, _)| name.ends_with("_required")) {
        return true;
    }
    let head = statement::head(&module.lines[function.head]);
    let parameters = head.map(|head| head.inside).unwrap_or_default();
    parameters.into_iter().any(|parameter| {
        let calls = statement::calls(parameter);
        let mut depends = calls
            .iter()
            .filter(|call| ["Depends", "Security"].contains(&call.last()));
        let of_whom = |call: &&Call<'_, '_>| {
            let given = call.positional(0).and_then(statement::dotted);
            given.is_some_and(|(name, _)| is_of_a_person(&name))
        };
        if depends.any(|call| of_whom(&call)) {
            return true;
        }
        let default = statement::first(parameter, "=").map(|equals| &parameter[equals + 1..]);
        let Some(default) = default else {
            return matches!(parameter, [_, colon, kind] if colon.is(":") && OF_ONE_VALUE.contains(&kind.text));
        };
        let made = statement::call_at(default).filter(|(call, _)| OF_A_REQUEST.contains(&call.last()));
        made.is_some_and(|(call, _)| {
            let first = call.argument("default", 0);
            first.is_none_or(|first| matches!(first, [dots] if dots.is("...")))
                && call.named("default_factory").is_none()
        })
    })
}

/// Chooses the route, of those that ask the app and its database alone: names of health before
/// others, of them what asks the database
/// before what does not, then the most telling name, then the shortest path.
pub(crate) fn choose(modules: &Modules<'_>, routes: &[Detected<Route<'_, '_>>]) -> Choice<HealthRoute> {
    let mut found: Vec<(usize, Detected<HealthRoute>)> = Vec::new();
    let names = OF_HEALTH.iter().chain(&OF_LESS);
    for route in routes {
        let path = &route.value.path;
        let last = telling_part(path);
        let is_refused = route
            .value
            .function
            .is_some_and(|(module, function)| wants_more(module, function));
        if is_refused || !can_be_asked_for(path) {
            continue;
        }
        let Some(rank) = names.clone().position(|name| last.eq_ignore_ascii_case(name)) else {
            continue;
        };
        let database = match route.value.function {
            Some((module, function)) => match asks(modules, module, function, &mut BTreeSet::new()) {
                DatabaseAsked::At(_) if hides_failures(module, function) => DatabaseAsked::Unclear,
                asked => asked,
            },
            // The package django-health-check, which asks each database.
            None if last == "ht" => DatabaseAsked::At(route.place.clone()),
            None => DatabaseAsked::Unclear,
        };
        let health = HealthRoute {
            path: path.clone(),
            database,
            other: others::asked(modules, route.value.function),
        };
        found.push((
            rank,
            Detected {
                value: health,
                place: route.place.clone(),
                certainty: route.certainty,
            },
        ));
    }
    let paths: Vec<String> = found.iter().map(|(_, one)| one.value.path.clone()).collect();
    // `/api/maps/health` beside `/api/health` is that of a part, which may ask anybody.
    let is_of_a_part = |path: &str| {
        let (above, last) = path.trim_end_matches('/').rsplit_once('/').unwrap_or_default();
        let mut others = paths
            .iter()
            .filter_map(|other| other.trim_end_matches('/').rsplit_once('/'));
        others.any(|(parent, name)| name == last && parent != above && above.starts_with(parent))
    };
    found.sort_by_key(|(rank, one)| {
        let is_of_less = *rank >= OF_HEALTH.len();
        let asks = match one.value.database {
            _ if is_of_less => 0,
            DatabaseAsked::At(_) => 0,
            DatabaseAsked::Unclear if is_of_a_part(&one.value.path) => 2,
            DatabaseAsked::Unclear => 1,
            DatabaseAsked::Never => 2,
        };
        (is_of_less, asks, one.certainty, *rank, one.value.path.len())
    });
    let all = found.into_iter().map(|(_, one)| one);
    let (mut good, of_others): (Vec<_>, Vec<_>) = all.partition(|one| one.value.other.is_none());
    let chosen = (!good.is_empty()).then(|| good.remove(0));
    let others = [good, of_others].concat();
    let rule = match (&chosen, others.is_empty()) {
        (None, true) => "no route has a name that speaks of health",
        (None, false) => "none asks the app and its database alone",
        (Some(_), true) => "the only one",
        (Some(_), false) => {
            "a name of health, of those one that asks the database, else the most telling name"
        }
    };
    Choice {
        chosen,
        rule: rule.to_owned(),
        others,
    }
}

/// Whether an error that a handler catches may be answered with 200: `except Exception: return
/// {"status": "unhealthy"}`.
fn hides_failures(module: &Module<'_>, function: &Definition<'_>) -> bool {
    let body = module.body(function);
    let tells = |lines: &[Line<'_>]| lines.iter().flat_map(|line| &line.tokens).any(tells_of_failure);
    let is_told = tells(body);
    body.iter().enumerate().any(|(n, line)| {
        if !line.tokens.first().is_some_and(|token| token.is_name("except")) {
            return false;
        }
        let below = body[n + 1..]
            .iter()
            .take_while(|below| below.indent > line.indent);
        let block = &body[n + 1..n + 1 + below.count()];
        let answers = |line: &Line<'_>| line.tokens.first().is_some_and(|token| token.is_name("return"));
        !tells(block) && (!is_told || block.iter().any(answers))
    })
}

/// Whether a token is of an answer that is no 200, or of an error.
fn tells_of_failure(token: &Token<'_>) -> bool {
    const NAMES: [&str; 5] = ["HTTPException", "abort", "raise", "status", "status_code"];
    let of_code = token.text.len() == 3 && token.text.starts_with('5');
    let is_text = matches!(token.kind, TokenKind::Text | TokenKind::Formatted);
    !is_text && (of_code || token.text.starts_with("HTTP_5") || NAMES.contains(&token.text))
}

/// Methods that send a statement.
const STATEMENTS: [&str; 20] = [
    "execute",
    "executemany",
    "exec",
    "exec_driver_sql",
    "scalar",
    "scalars",
    "scalar_one",
    "fetch",
    "fetchval",
    "fetchrow",
    "fetch_one",
    "fetch_all",
    "fetch_val",
    "fetchone",
    "fetchall",
    "ensure_connection",
    "cursor",
    "is_usable",
    "execute_query",
    "query",
];

/// The functions that were looked at: each once, also where they call each other.
type Seen = BTreeSet<(String, usize)>;

/// More functions than any health check should call.
const MOST_FUNCTIONS: usize = 200;

fn asks(
    modules: &Modules<'_>,
    module: &Module<'_>,
    function: &Definition<'_>,
    seen: &mut Seen,
) -> DatabaseAsked {
    let mut answer = DatabaseAsked::Never;
    if !seen.insert((module.path.to_owned(), function.head)) {
        return answer;
    }
    if seen.len() > MOST_FUNCTIONS {
        return DatabaseAsked::Unclear;
    }
    // What `Depends(…)` in the head names is called before the body.
    let all = std::iter::once(&module.lines[function.head]).chain(module.body(function));
    for line in all {
        if let Some(token) = line.tokens.iter().find(|token| is_query(token)) {
            return DatabaseAsked::At(Place::new(module.path, token.line));
        }
        for call in statement::calls(&line.tokens) {
            let is_method = call.path.contains('.');
            if is_method && STATEMENTS.contains(&call.last()) || call.path.contains(".objects.") {
                return DatabaseAsked::At(Place::new(module.path, call.line));
            }
            match followed(modules, module, function, &call, seen) {
                at @ DatabaseAsked::At(_) => return at,
                DatabaseAsked::Unclear => answer = DatabaseAsked::Unclear,
                DatabaseAsked::Never => {}
            }
        }
    }
    answer
}

fn is_query(token: &Token<'_>) -> bool {
    let text = || {
        token
            .text
            .trim_start()
            .get(..7)
            .unwrap_or_default()
            .to_ascii_uppercase()
    };
    matches!(token.kind, TokenKind::Text | TokenKind::Formatted) && text() == "SELECT "
}

/// What a call, or the function that it is given, does.
fn followed(
    modules: &Modules<'_>,
    module: &Module<'_>,
    function: &Definition<'_>,
    call: &Call<'_, '_>,
    seen: &mut Seen,
) -> DatabaseAsked {
    let given = call
        .positional(0)
        .and_then(statement::dotted)
        .map(|(name, _)| name);
    let handed_on = ["Depends", "run_in_threadpool", "to_thread", "wait_for"].contains(&call.last());
    let name = given.filter(|_| handed_on).unwrap_or_else(|| call.path.clone());
    match modules.meaning(module, &name) {
        Meaning::Inside(other, name) => match other.definition(&name) {
            Some(next) if !next.is_class && !std::ptr::eq(next, function) => asks(modules, other, next, seen),
            Some(_) => DatabaseAsked::Never,
            None => method(modules, &name, seen),
        },
        Meaning::Unknown => method(modules, &name, seen),
        Meaning::Outside(_) => DatabaseAsked::Never,
    }
}

/// A method of an object whose class is not known: that of this name, where the
/// project has one only.
fn method(modules: &Modules<'_>, name: &str, seen: &mut Seen) -> DatabaseAsked {
    let Some((object, name)) = name.rsplit_once('.') else {
        return DatabaseAsked::Never;
    };
    let methods = modules.all.iter().flat_map(|module| {
        let of_classes = module
            .definitions
            .iter()
            .filter(|one| one.within.is_some() && !one.is_class);
        of_classes.map(move |one| (module, one))
    });
    let mut same = methods.filter(|(_, one)| one.name == name);
    match (same.next(), same.next()) {
        (Some((module, one)), None) => asks(modules, module, one, seen),
        (Some(_), Some(_)) => DatabaseAsked::Unclear,
        (None, _) => {
            let words = ["db", "database", "postgres", "health"];
            let telling = words.iter().any(|word| object.to_lowercase().contains(word));
            if telling {
                DatabaseAsked::Unclear
            } else {
                DatabaseAsked::Never
            }
        }
    }
}
