//! The server among the dependencies, and the command that runs the app with it.

use serde::Serialize;

use crate::dependencies::{AskedBy, AskedPackage, Dependencies, OF_DEVELOPERS};
use crate::entry::{AppObject, Framework};
use crate::place::{Certainty, Choice, Detected, Place};

/// A server that can run the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerProgram {
    /// Its package, which is its program, too.
    pub name: String,
    /// Which part of the project asks for it.
    pub by: AskedBy,
}

const ASGI: [&str; 4] = ["uvicorn", "granian", "hypercorn", "daphne"];
const WSGI: [&str; 4] = ["gunicorn", "granian", "waitress", "uwsgi"];
const WAITRESS: [&str; 1] = ["waitress"];

/// The servers that are known, by their names; some twice.
pub(crate) fn known() -> impl Iterator<Item = &'static str> {
    ASGI.into_iter().chain(WSGI)
}

/// What can run an app, the tool's own choice first: none where that is the app itself.
fn fitting(app: Option<&AppObject>, dependencies: &Dependencies) -> &'static [&'static str] {
    let Some(app) = app else { return &ASGI };
    match app.framework {
        // It has a worker for gunicorn.
        Framework::Aiohttp => &WSGI[..1],
        Framework::Tornado => &[],
        // Of the others none takes a name with dots.
        _ if app.attribute().contains('.') => &WAITRESS,
        framework if framework.is_wsgi() => &WSGI,
        // What the source does not say, the list may.
        Framework::Unknown if !has_any(dependencies, &ASGI) && has_any(dependencies, &WSGI) => &WSGI,
        _ => &ASGI,
    }
}

fn has_any(dependencies: &Dependencies, servers: &[&str]) -> bool {
    let brings = |server: &&str| dependencies.packages.iter().any(|one| brings(&one.value, server));
    let is_locked = |server: &&str| {
        dependencies.locked.contains_key(*server) && !dependencies.of_developers.contains(*server)
    };
    servers.iter().any(|server| brings(server) || is_locked(server))
}

/// What runs the app where nothing else is known; none where it runs by itself.
pub(crate) fn standard(app: &AppObject) -> Option<&'static str> {
    match app.framework {
        framework if framework.runs_by_itself() => None,
        _ if app.attribute().contains('.') => Some(WAITRESS[0]),
        framework if framework.is_wsgi() => Some(WSGI[0]),
        _ => Some(ASGI[0]),
    }
}

/// What a server was found in, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Project,
    Part,
    Developers,
    Lock,
}

/// Chooses the server: one that the project itself asks for before one of an
/// extra or group, and what the tool runs by itself before others.
pub(crate) fn find(dependencies: &Dependencies, app: Option<&AppObject>) -> Choice<ServerProgram> {
    let known = fitting(app, dependencies);
    let mut found: Vec<(Origin, usize, Detected<ServerProgram>)> = Vec::new();
    for asked in &dependencies.packages {
        let Some((rank, name)) = known
            .iter()
            .enumerate()
            .find(|(_, server)| brings(&asked.value, server))
        else {
            continue;
        };
        let origin = match &asked.value.by {
            AskedBy::Project => Origin::Project,
            AskedBy::Group(group) if OF_DEVELOPERS.contains(&group.as_str()) => Origin::Developers,
            AskedBy::Extra(_) | AskedBy::Group(_) => Origin::Part,
        };
        let server = ServerProgram {
            name: (*name).to_owned(),
            by: asked.value.by.clone(),
        };
        found.push((origin, rank, Detected::sure(server, asked.place.clone())));
    }
    if !found.iter().any(|(origin, ..)| *origin == Origin::Project) {
        let mut locked = known
            .iter()
            .enumerate()
            .filter(|(_, name)| dependencies.locked.contains_key(**name))
            .filter(|(_, name)| !dependencies.of_developers.contains(**name));
        if let Some((lock, (rank, name))) = dependencies.locks.first().zip(locked.next()) {
            let server = ServerProgram {
                name: (*name).to_owned(),
                by: AskedBy::Project,
            };
            let certainty = Certainty::Unclear;
            let place = Place::new(&lock.place.file, 1);
            found.push((
                Origin::Lock,
                rank,
                Detected {
                    value: server,
                    place,
                    certainty,
                },
            ));
        }
    }
    found.sort_by_key(|(origin, rank, _)| (*origin, *rank));
    let mut all = found.into_iter().map(|(_, _, one)| one);
    let chosen = all.next();
    let rule = match &chosen {
        None => format!("none of {} is among the dependencies", known.join(", ")),
        Some(one) if one.certainty == Certainty::Unclear => "the lock has it".to_owned(),
        Some(_) => "among the dependencies".to_owned(),
    };
    Choice {
        chosen,
        rule,
        others: all.collect(),
    }
}

/// Whether a package is the server, or installs it.
fn brings(asked: &AskedPackage, server: &str) -> bool {
    let extra = |name: &str| asked.extras.iter().any(|extra| extra == name);
    match (server, asked.name.as_str()) {
        (server, name) if server == name => true,
        // `standard-no-fastapi-cloud-cli` is one, too.
        ("uvicorn", "fastapi") => {
            extra("all") || asked.extras.iter().any(|extra| extra.starts_with("standard"))
        }
        ("uvicorn", "litestar") => extra("standard") || extra("full"),
        ("uvicorn", "fastapi-cli") => extra("standard"),
        ("uwsgi", "pyuwsgi") | ("uvicorn", "uvicorn-worker") | ("granian", "litestar-granian") => true,
        _ => false,
    }
}

/// What runs the app in place of the image's own uvicorn; none where that does.
pub(crate) fn command(server: &str, app: &AppObject) -> Option<Vec<String>> {
    let wsgi = app.framework.is_wsgi();
    let called = if app.factory {
        format!("{}()", app.import)
    } else {
        app.import.clone()
    };
    let import = app.import.as_str();
    let words: Vec<&str> = match server {
        "gunicorn" if app.framework == Framework::Aiohttp => vec![
            "gunicorn",
            "--worker-class",
            "aiohttp.GunicornWebWorker",
            "--bind",
            "0.0.0.0:{port}",
            &called,
        ],
        "gunicorn" => vec!["gunicorn", "--bind", "0.0.0.0:{port}", &called],
        "hypercorn" => vec!["hypercorn", "--bind", "0.0.0.0:{port}", &called],
        "daphne" => vec!["daphne", "-b", "0.0.0.0", "-p", "{port}", import],
        // It ends with all its workers when it is told to.
        "uwsgi" => vec![
            "uwsgi",
            "--master",
            "--die-on-term",
            "--need-app",
            "--http",
            "0.0.0.0:{port}",
            "--module",
            &called,
        ],
        "waitress" if app.factory => vec!["waitress-serve", "--port={port}", "--call", import],
        "waitress" => vec!["waitress-serve", "--port={port}", import],
        "granian" => {
            let interface = if wsgi { "wsgi" } else { "asgi" };
            let mut words = vec![
                "granian",
                "--interface",
                interface,
                "--host",
                "0.0.0.0",
                "--port",
                "{port}",
            ];
            words.extend(app.factory.then_some("--factory"));
            words.push(import);
            words
        }
        _ => return None,
    };
    Some(words.into_iter().map(str::to_owned).collect())
}
