//! What an app has beside its server: other processes, services, a front end.

mod composed;

use serde::Serialize;

use crate::dependencies::{AskedBy, Dependencies};
use crate::django;
use crate::entry::AppObject;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::{Token, TokenKind, statement};
use crate::tree::{Tree, file_name, folder_of, is_of_the_app, reads_count};

/// Something that runs, or is built, beside the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Companion {
    /// What it is, such as `a worker of Celery`.
    pub what: String,
    /// What it is called as a program of the image; absent for what is none.
    pub program: Option<String>,
    /// How it is started or built, where that is known.
    pub command: Option<String>,
}

/// Processes that the app needs beside its server.
pub(crate) fn processes(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
) -> Vec<Detected<Companion>> {
    // Modules have the names by which the app's own are imported.
    let root = app.map_or("", |app| app.value.path.as_str());
    let root = match root {
        "" => String::new(),
        root => format!("{root}/"),
    };
    let mut found = Vec::new();
    let mut actors: Vec<(String, Place)> = Vec::new();
    let companion = |what: &str, program: &str, command: &str| Companion {
        what: what.to_owned(),
        program: Some(program.to_owned()),
        command: Some(command.to_owned()),
    };
    for (n, line) in tree.text("Procfile").unwrap_or_default().lines().enumerate() {
        if let Some((name, command)) = line.split_once(':')
            && !["web", "release"].contains(&name.trim())
            && !line.starts_with('#')
        {
            let what = format!("the process `{}`", name.trim());
            // Procfiles allow more than names of programs do.
            let program = name.trim().to_lowercase().replace('_', "-");
            found.push(Detected::sure(
                companion(&what, &program, command.trim()),
                Place::new("Procfile", n + 1),
            ));
        }
    }
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        let dotted = module
            .path
            .strip_prefix(&root)
            .unwrap_or(module.path)
            .trim_end_matches(".py")
            .trim_end_matches("/__init__")
            .replace('/', ".");
        for (n, call) in module.calls() {
            if let Meaning::Outside(name) = modules.meaning(module, &call.path)
                && ["celery.Celery", "celery.app.Celery"].contains(&name.as_str())
            {
                // By itself it has one process for each processor, whatever the memory.
                let command = format!("celery -A {dotted} worker --concurrency 1");
                let place = Place::new(module.path, module.number(n));
                found.push(Detected::sure(
                    companion("a worker of Celery", "worker", &command),
                    place,
                ));
            }
        }
        if let Some(line) = first_actor(modules, module) {
            actors.push((dotted.clone(), Place::new(module.path, line)));
        }
        if let Some(class) = module.definition("WorkerSettings").filter(|one| one.is_class) {
            let command = format!("arq {dotted}.WorkerSettings");
            let place = Place::new(module.path, module.number(class.head));
            found.push(Detected::sure(
                companion("a worker of arq", "worker", &command),
                place,
            ));
        }
    }
    found.extend(cluster_of_django_q(tree, modules));
    if let Some((_, place)) = actors.first() {
        let modules: Vec<&str> = actors.iter().map(|(module, _)| module.as_str()).collect();
        let command = format!("dramatiq {}", modules.join(" "));
        let worker = companion("a worker of Dramatiq", "worker", &command);
        found.push(Detected::sure(worker, place.clone()));
    }
    let told = composed::processes(tree, modules, &found);
    found.extend(told);
    found
}

/// The worker of Django-Q where its queue is in the app's own database: `Q_CLUSTER` with `orm`.
fn cluster_of_django_q(tree: &Tree, modules: &Modules<'_>) -> Option<Detected<Companion>> {
    let manage = django::manage(tree)?;
    let counted = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let mut settings = counted.filter_map(|module| Some((module, module.value("Q_CLUSTER")?)));
    let (module, first) = settings.find_map(|(module, value)| {
        let is_key = |token: &&Token<'_>| token.kind == TokenKind::Text && token.text == "orm";
        let in_it = value.iter().find(is_key)?;
        Some((module, in_it))
    })?;
    let worker = Companion {
        what: "a worker of Django-Q".to_owned(),
        program: Some("qcluster".to_owned()),
        command: Some(format!("python {manage} qcluster")),
    };
    Some(Detected::sure(worker, Place::new(module.path, first.line)))
}

/// The line of the first function that Dramatiq's decorator makes an actor.
fn first_actor(modules: &Modules<'_>, module: &Module<'_>) -> Option<usize> {
    module.lines.iter().find_map(|line| {
        let [at, rest @ ..] = line.tokens.as_slice() else {
            return None;
        };
        let (name, _) = statement::dotted(rest).filter(|_| at.is("@"))?;
        matches!(modules.meaning(module, &name), Meaning::Outside(name) if name == "dramatiq.actor")
            .then_some(at.line)
    })
}

/// The one that the image can have, too.
pub(crate) const REDIS: &str = "Redis";

/// Services that are not in the image, told by the packages that speak to them.
pub(crate) fn services(dependencies: &Dependencies) -> Vec<Detected<Companion>> {
    const CLIENTS: [(&str, &str); 18] = [
        ("redis", REDIS),
        ("aioredis", REDIS),
        ("arq", REDIS),
        ("rq", REDIS),
        ("django-redis", REDIS),
        ("django-rq", REDIS),
        ("channels-redis", REDIS),
        ("coredis", REDIS),
        ("litestar-saq", REDIS),
        ("saq", REDIS),
        ("taskiq-redis", REDIS),
        ("pymongo", "MongoDB"),
        ("motor", "MongoDB"),
        ("beanie", "MongoDB"),
        ("pika", "RabbitMQ"),
        ("aio-pika", "RabbitMQ"),
        ("aiokafka", "Kafka"),
        ("elasticsearch", "Elasticsearch"),
    ];
    /// Brokers as extras of what works off queues: `celery[redis]`.
    const EXTRAS: [(&str, &str); 3] = [("redis", REDIS), ("hiredis", REDIS), ("rabbitmq", "RabbitMQ")];
    let mut found: Vec<Detected<Companion>> = Vec::new();
    let clients = CLIENTS.iter().filter_map(|(client, service)| {
        let asked = dependencies.own(client)?;
        Some((*service, &asked.place))
    });
    let brokers = EXTRAS.iter().flat_map(|(extra, service)| {
        let asked = dependencies
            .packages
            .iter()
            .filter(|one| one.value.by == AskedBy::Project);
        let with_it = asked.filter(move |one| one.value.extras.iter().any(|own| own == extra));
        with_it.map(|one| (*service, &one.place))
    });
    for (service, place) in clients.chain(brokers) {
        if !found.iter().any(|one| one.value.what == service) {
            let companion = Companion {
                what: service.to_owned(),
                program: None,
                command: None,
            };
            found.push(Detected::likely(companion, place.clone()));
        }
    }
    found
}

/// Front ends that are built by npm or its like.
pub(crate) fn front_ends(tree: &Tree) -> Vec<Detected<Companion>> {
    let mut found = Vec::new();
    let files = tree.texts().filter(|(path, _)| file_name(path) == "package.json");
    // What others wrote is there as it is used.
    let is_own = |path: &str| !path.split('/').any(|part| ["vendor", "vendored"].contains(&part));
    for (path, text) in files.filter(|(path, _)| reads_count(path) && is_own(path)) {
        let package: Option<serde_json::Value> = serde_json::from_str(text).ok();
        let build = package
            .as_ref()
            .and_then(|package| package.pointer("/scripts/build")?.as_str());
        if build.is_none() {
            continue;
        }
        let folder = folder_of(path);
        let program = [
            ("pnpm-lock.yaml", "pnpm"),
            ("yarn.lock", "yarn"),
            ("bun.lock", "bun"),
            ("bun.lockb", "bun"),
        ];
        let program = program
            .iter()
            .find(|(lock, _)| tree.has(&format!("{folder}{lock}")));
        let program = program.map_or("npm", |(_, program)| program);
        let place = match folder.is_empty() {
            true => "the project's folder".to_owned(),
            false => folder.trim_end_matches('/').to_owned(),
        };
        let companion = Companion {
            what: format!("a front end in {place}"),
            program: None,
            command: Some(format!("{program} run build")),
        };
        found.push(Detected::sure(companion, Place::of(path, text, "\"build\"")));
    }
    found
}
