//! The app: objects and factories that a server can run, and which of them is meant.

mod alone;
mod choice;
mod commands;
pub(crate) mod within;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::dependencies::Dependencies;
use crate::modules::{Definition, Meaning, Module, Modules};
use crate::place::{Certainty, Choice, Detected, Place};
use crate::python::statement::{self, Assignment, Call};
use crate::python::{Token, TokenKind};
use crate::tree::{Tree, file_name, folder_of, is_of_the_app};
use choice::choose;
pub(crate) use choice::wanted;

/// What an app is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Framework {
    /// An app of FastAPI: it speaks ASGI.
    FastApi,
    /// An app of Starlette alone, without FastAPI: it speaks ASGI.
    Starlette,
    /// An app of Litestar: it speaks ASGI.
    Litestar,
    /// An app of Quart: it speaks ASGI.
    Quart,
    /// An app of Flask, or of what extends it: it speaks WSGI.
    Flask,
    /// Django by its `get_asgi_application`, as in `asgi.py`.
    DjangoAsgi,
    /// Django by its `get_wsgi_application`, as in `wsgi.py`.
    DjangoWsgi,
    /// An app of Bottle: it speaks WSGI.
    Bottle,
    /// An app of CherryPy as an object: it speaks WSGI.
    CherryPy,
    /// The server of an app of Dash, which is one of Flask: it speaks WSGI.
    Dash,
    /// An app of Falcon by `falcon.App`: it speaks WSGI.
    Falcon,
    /// An app of Falcon by `falcon.asgi.App`: it speaks ASGI.
    FalconAsgi,
    /// An app of Pyramid by `make_wsgi_app`: it speaks WSGI.
    Pyramid,
    /// An app of Sanic: it speaks ASGI.
    Sanic,
    /// An app of aiohttp: its server is its own.
    Aiohttp,
    /// An app of Tornado: its server is its own.
    Tornado,
    /// Something that the source does not say.
    Unknown,
}

impl Framework {
    /// The package that it comes with.
    pub(crate) fn package(&self) -> Option<&'static str> {
        match self {
            Self::FastApi => Some("fastapi"),
            Self::Starlette => Some("starlette"),
            Self::Litestar => Some("litestar"),
            Self::Quart => Some("quart"),
            Self::Flask => Some("flask"),
            Self::DjangoAsgi | Self::DjangoWsgi => Some("django"),
            Self::Bottle => Some("bottle"),
            Self::CherryPy => Some("cherrypy"),
            Self::Dash => Some("dash"),
            Self::Falcon | Self::FalconAsgi => Some("falcon"),
            Self::Pyramid => Some("pyramid"),
            Self::Sanic => Some("sanic"),
            Self::Aiohttp => Some("aiohttp"),
            Self::Tornado => Some("tornado"),
            Self::Unknown => None,
        }
    }

    /// What is meant by a module and a name in it, where no more is known: Django has
    /// its handler at `wsgi:application` or `asgi:application`, and so has one of the
    /// project's own.
    fn by_place(module: &str, attribute: &str) -> Self {
        match (module.rsplit(['.', '/']).next(), attribute) {
            (Some("wsgi"), "application") => Self::DjangoWsgi,
            (Some("asgi"), "application") => Self::DjangoAsgi,
            _ => Self::Unknown,
        }
    }

    /// Its name in sentences; both kinds of Django have the same.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FastApi => "FastAPI",
            Self::Starlette => "Starlette",
            Self::Litestar => "Litestar",
            Self::Quart => "Quart",
            Self::Flask => "Flask",
            Self::DjangoAsgi | Self::DjangoWsgi => "Django",
            Self::Bottle => "Bottle",
            Self::CherryPy => "CherryPy",
            Self::Dash => "Dash",
            Self::Falcon | Self::FalconAsgi => "Falcon",
            Self::Pyramid => "Pyramid",
            Self::Sanic => "Sanic",
            Self::Aiohttp => "aiohttp",
            Self::Tornado => "Tornado",
            Self::Unknown => "an app",
        }
    }

    /// Whether it is run by a WSGI server and not by uvicorn.
    pub fn is_wsgi(self) -> bool {
        matches!(
            self,
            Self::Flask
                | Self::DjangoWsgi
                | Self::Bottle
                | Self::CherryPy
                | Self::Dash
                | Self::Falcon
                | Self::Pyramid
        )
    }

    /// Whether it has its own server, and speaks neither ASGI nor WSGI.
    pub fn runs_by_itself(self) -> bool {
        matches!(self, Self::Aiohttp | Self::Tornado)
    }

    /// By the name that makes one.
    fn of(name: &str) -> Option<Self> {
        if name == "falcon.asgi.App" {
            return Some(Self::FalconAsgi);
        }
        let (package, made) = name.rsplit_once('.')?;
        let package = package.split('.').next().unwrap_or_default();
        Some(match (package, made) {
            ("fastapi", "FastAPI") => Self::FastApi,
            ("starlette", "Starlette") => Self::Starlette,
            ("litestar", "Litestar") => Self::Litestar,
            ("quart", "Quart") => Self::Quart,
            ("flask", "Flask") | ("apiflask", "APIFlask") | ("flask_openapi3", "OpenAPI") => Self::Flask,
            ("django", "get_asgi_application") => Self::DjangoAsgi,
            ("django", "get_wsgi_application") => Self::DjangoWsgi,
            ("bottle", "Bottle" | "default_app") => Self::Bottle,
            ("cherrypy", "Application") => Self::CherryPy,
            ("falcon", "App" | "API") => Self::Falcon,
            ("sanic", "Sanic") => Self::Sanic,
            ("aiohttp", "Application") => Self::Aiohttp,
            ("tornado", "Application") => Self::Tornado,
            _ => return None,
        })
    }
}

/// What a server could be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppObject {
    /// What a server is told: `package.module:attribute`.
    pub import: String,
    /// Whether the attribute is a function that makes the app.
    pub factory: bool,
    /// What it is made with.
    pub framework: Framework,
    /// A folder below the project's that has to be on Python's path for this
    /// import, as with a `src/` that is not installed; empty where none has.
    pub path: String,
    /// Of one that has its own server: the module that starts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
}

impl AppObject {
    pub(crate) fn attribute(&self) -> &str {
        self.import.split(':').next_back().unwrap_or_default()
    }
}

/// The app and the port that its own way to start it names.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) app: Choice<AppObject>,
    pub(crate) port: Option<Detected<u16>>,
}

/// Collects app objects and the project's own ways to start one, and chooses by
/// them.
pub(crate) fn find(tree: &Tree, modules: &Modules<'_>, dependencies: &Dependencies) -> Entry {
    let mut candidates = candidates(tree, modules);
    candidates.retain(|one| is_importable(one.value.import.split(':').next().unwrap_or_default()));
    candidates.sort_by(|one, next| one.place.cmp(&next.place));
    // What is put around an app under its name is that app.
    let mut imports = BTreeSet::new();
    candidates.retain(|one| imports.insert((one.place.file.clone(), one.value.import.clone())));
    let started = commands::all(tree, modules);
    let port = started
        .iter()
        .find_map(|one| Some(Detected::sure(one.value.port?, one.place.clone())));
    let mounted = mounted(modules);
    let (below, candidates): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|one| {
        let attribute = one.value.attribute();
        mounted
            .iter()
            .any(|(file, name)| *file == one.place.file && name == attribute)
    });
    let mut app = choose(tree, modules, dependencies, candidates, &started);
    if app.chosen.is_none() && app.others.is_empty() {
        app = choose(tree, modules, dependencies, below, &started);
    } else {
        app.others.extend(below);
    }
    let alone = app.chosen.as_mut().and_then(|one| alone::take(modules, one));
    Entry {
        app,
        port: port.or(alone),
    }
}

/// The file and name of what another app has below it: `app.mount("/api", api)`,
/// `Mount("/api", app=api)`.
fn mounted(modules: &Modules<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        let all = module.calls().map(|(_, call)| call);
        for call in all.filter(|call| ["mount", "Mount"].contains(&call.last())) {
            let made = call.argument("app", 1).and_then(statement::dotted);
            match made.map(|(name, _)| modules.meaning(module, &name)) {
                Some(Meaning::Inside(other, name)) => found.push((other.path.to_owned(), name)),
                Some(Meaning::Outside(_) | Meaning::Unknown) | None => {}
            }
        }
    }
    found
}

/// The files that have something in them which a server may be given.
pub(crate) fn with_apps(tree: &Tree, modules: &Modules<'_>) -> BTreeSet<String> {
    let all = candidates(tree, modules).into_iter();
    all.map(|one| one.place.file).collect()
}

/// All app objects and factories of the project.
fn candidates(tree: &Tree, modules: &Modules<'_>) -> Vec<Detected<AppObject>> {
    let mut found = Vec::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        let handlers = module.definitions.iter().filter(|one| one.within.is_none());
        let wrapped = handlers.filter_map(|one| Some(handled_by(modules, module, one)?.0));
        let wrapped: Vec<&str> = wrapped.collect();
        for (n, one) in module
            .assignments()
            .filter(|(_, one)| !wrapped.contains(&one.target))
        {
            let path = || root(tree, modules, module);
            if let Some((framework, certainty)) = framework_of(modules, module, &one) {
                found.push(object(module, &path(), one.target, n, framework, certainty));
            } else if let Some(served) = server_of_dash(modules, module, &one) {
                found.push(object(
                    module,
                    &path(),
                    &served,
                    n,
                    Framework::Dash,
                    Certainty::Sure,
                ));
            }
        }
        for definition in module.definitions.iter().filter(|one| one.within.is_none()) {
            let callable = !definition.is_class && !definition.is_async && definition.needs_no_argument;
            if let Some((_, framework)) = handled_by(modules, module, definition) {
                let root = root(tree, modules, module);
                let name = definition.name;
                found.push(object(
                    module,
                    &root,
                    name,
                    definition.head,
                    framework,
                    Certainty::Sure,
                ));
            } else if callable && let Some(framework) = made_by(modules, module, definition) {
                let mut made = object(
                    module,
                    &root(tree, modules, module),
                    definition.name,
                    definition.head,
                    framework,
                    Certainty::Sure,
                );
                made.value.factory = true;
                found.push(made);
            }
        }
    }
    found
}

/// Django behind a handler of the project's own: `def application(environ,
/// start_response)` that calls what `get_wsgi_application()` has made, which has the
/// name that is given back.
fn handled_by<'m>(
    modules: &Modules<'_>,
    module: &'m Module<'_>,
    function: &Definition<'_>,
) -> Option<(&'m str, Framework)> {
    if function.is_class || !["application", "app"].contains(&function.name) {
        return None;
    }
    let arguments = statement::head(&module.lines[function.head])?.inside.len();
    let mut made = module.assignments().filter_map(|(_, one)| {
        let (framework, _) = framework_of(modules, module, &one)?;
        let takes = match framework {
            Framework::DjangoWsgi => 2,
            Framework::DjangoAsgi => 3,
            _ => return None,
        };
        let mut body = module.body(function).iter();
        let is_called = body.any(|line| statement::uses(&line.tokens, one.target));
        (is_called && takes == arguments).then_some((one.target, framework))
    });
    made.next()
}

fn object(
    module: &Module<'_>,
    path: &str,
    name: &str,
    line: usize,
    framework: Framework,
    certainty: Certainty,
) -> Detected<AppObject> {
    Detected {
        value: AppObject {
            import: format!("{}:{name}", dotted_name(module.path, path)),
            factory: false,
            framework,
            path: path.trim_end_matches('/').to_owned(),
            started_by: None,
        },
        place: Place::new(module.path, module.number(line)),
        certainty,
    }
}

/// What a server is given of an app of Dash, whose own object speaks nothing: its `server`,
/// by the name that the module has for it, or as `app.server`.
fn server_of_dash(modules: &Modules<'_>, module: &Module<'_>, one: &Assignment<'_, '_>) -> Option<String> {
    let makes_dash = |value: &[Token<'_>]| {
        let made = statement::call_at(value).map(|(call, _)| modules.meaning(module, &call.path));
        matches!(made, Some(Meaning::Outside(name)) if DASH.contains(&name.as_str()))
    };
    if makes_dash(one.value) {
        let whole = format!("{}.server", one.target);
        let is_whole = |value: &[Token<'_>]| {
            statement::dotted(value).is_some_and(|(name, length)| name == whole && length == value.len())
        };
        let mut named = module.assignments().filter(|(_, other)| is_whole(other.value));
        return Some(
            named
                .next()
                .map_or(whole.clone(), |(_, other)| other.target.to_owned()),
        );
    }
    None
}

/// What makes an app of Dash.
const DASH: [&str; 3] = ["dash.Dash", "dash.dash.Dash", "dash_extensions.enrich.DashProxy"];

/// What an assignment at the top of a module makes, if that is an app.
fn framework_of(
    modules: &Modules<'_>,
    module: &Module<'_>,
    one: &Assignment<'_, '_>,
) -> Option<(Framework, Certainty)> {
    let made = statement::call_at(one.value).and_then(|(call, rest)| {
        let made = constructed(modules, module, &call.path)
            .or_else(|| of_pyramid(&call))
            .or_else(|| match modules.meaning(module, &call.path) {
                Meaning::Inside(other, name) => made_by(modules, other, other.definition(&name)?),
                _ => None,
            })?;
        rest.is_empty().then_some(made)
    });
    let annotated = || constructed(modules, module, &statement::dotted(one.annotation)?.0);
    if let Some(framework) = made.or_else(annotated) {
        return Some((framework, Certainty::Sure));
    }
    if server_of_dash(modules, module, one).is_some() {
        return None;
    }
    // What a library makes, `app = agent_os.get_app()`, shows by its name only.
    let conventional = ["main", "app", "asgi", "wsgi", "server", "serve", "api"];
    let stem = module.path.trim_end_matches(".py").trim_end_matches("/__init__");
    let stem = file_name(stem);
    let is_call =
        one.value.last().is_some_and(|last| last.is(")")) && one.value.first()?.kind == TokenKind::Name;
    let named = ["app", "application"].contains(&one.target) && conventional.contains(&stem);
    (named && is_call && !is_no_web_app(modules, module, one.value))
        .then_some((Framework::by_place(stem, one.target), Certainty::Unclear))
}

/// Pyramid's app, which its settings make: `config.make_wsgi_app()`.
fn of_pyramid(call: &Call<'_, '_>) -> Option<Framework> {
    (call.last() == "make_wsgi_app").then_some(Framework::Pyramid)
}

/// Names of things that are called `app`, too.
fn is_no_web_app(modules: &Modules<'_>, module: &Module<'_>, value: &[Token<'_>]) -> bool {
    let Some((path, _)) = statement::dotted(value) else {
        return true;
    };
    let Meaning::Outside(name) = modules.meaning(module, &path) else {
        return false;
    };
    [
        "celery", "typer", "click", "rq", "arq", "dramatiq", "logging", "argparse",
    ]
    .contains(&name.split('.').next().unwrap_or_default())
}

/// The framework whose class, or a class on top of it, has this name.
fn constructed(modules: &Modules<'_>, module: &Module<'_>, name: &str) -> Option<Framework> {
    match modules.meaning(module, name) {
        Meaning::Outside(name) => Framework::of(&name),
        Meaning::Inside(other, name) => {
            let class = other.definition(&name).filter(|one| one.is_class)?;
            let head = statement::head(&other.lines[class.head])?;
            let bases = head.inside.iter().filter_map(|base| statement::dotted(base));
            let mut outside = bases.filter_map(|(base, _)| match modules.meaning(other, &base) {
                Meaning::Outside(name) => Framework::of(&name),
                _ => None,
            });
            outside.next_back()
        }
        Meaning::Unknown => None,
    }
}

/// What a function returns, if that is an app.
fn made_by(modules: &Modules<'_>, module: &Module<'_>, function: &Definition<'_>) -> Option<Framework> {
    if function.is_class {
        return None;
    }
    let head = statement::head(&module.lines[function.head])?;
    if let Some((name, _)) = statement::dotted(head.returns)
        && let Some(framework) = constructed(modules, module, &name)
    {
        return Some(framework);
    }
    let body = module.body(function);
    let returned = body.iter().filter_map(|line| match line.tokens.as_slice() {
        [word, value @ ..] if word.is_name("return") => Some(value),
        _ => None,
    });
    returned
        .filter_map(|value| returned_app(modules, module, function, value))
        .next()
}

fn returned_app(
    modules: &Modules<'_>,
    module: &Module<'_>,
    function: &Definition<'_>,
    value: &[Token<'_>],
) -> Option<Framework> {
    if let Some((call, _)) = statement::call_at(value) {
        return constructed(modules, module, &call.path).or_else(|| of_pyramid(&call));
    }
    let [name] = value else { return None };
    let lines = module.body(function).iter();
    let assigned = lines
        .flat_map(statement::assignments)
        .filter(|one| one.target == name.text);
    let mut made = assigned.filter_map(|one| {
        let (call, _) = statement::call_at(one.value)?;
        constructed(modules, module, &call.path).or_else(|| of_pyramid(&call))
    });
    made.next_back()
}

/// The folder from which a module is imported: what its own imports need, else
/// the one around its package.
fn root(tree: &Tree, modules: &Modules<'_>, module: &Module<'_>) -> String {
    let member = tree.member(module.path);
    let sources = format!("{member}src/");
    let mut folders = vec![member];
    let own = folder_of(module.path);
    folders.extend(own.match_indices('/').map(|(n, _)| &own[..=n]));
    // `my-app/main.py` is imported from its own folder only.
    folders.retain(|folder| is_importable(&dotted_name(module.path, folder)));
    let is_package = |folder: &str| modules.at(&format!("{folder}__init__.py")).is_some();
    let relative = module.lines.iter().any(|line| matches!(line.tokens.as_slice(), [word, dot, ..] if word.is_name("from") && (dot.is(".") || dot.is("..."))));
    // Django's are imported by name, and a folder around a package may be called as it is.
    let settings = settings_of_django(module).map(|name| name.replace('.', "/"));
    let has_settings = |folder: &str| {
        let named = settings.as_ref().map(|name| format!("{folder}{name}"));
        named.is_some_and(|path| {
            modules.at(&format!("{path}.py")).is_some()
                || modules.at(&format!("{path}/__init__.py")).is_some()
        })
    };
    let needed: Vec<String> = module
        .lines
        .iter()
        .flat_map(statement::imports)
        .filter(|one| !one.module.starts_with('.'))
        .filter_map(|one| one.module.split('.').next().map(str::to_owned))
        .collect();
    let has = |folder: &str, name: &str| {
        let inside = format!("{folder}{name}/");
        modules.at(&format!("{folder}{name}.py")).is_some()
            || modules.all.iter().any(|one| one.path.starts_with(&inside))
    };
    // What lies beside it in a package is imported by its own name alone.
    let is_started_within = |folder: &str| {
        let within = needed.iter().any(|name| has(folder, name));
        within && !relative && !needed.iter().any(|name| has(member, name))
    };
    // A module that imports from its own package lies in one; that of a folder which Django's
    // settings are imported from says nothing.
    folders.retain(|folder| {
        *folder == member
            || folder.len() > member.len()
                && (!is_package(folder) || has_settings(folder) || is_started_within(folder))
    });
    if relative {
        folders.retain(|folder| folder.len() < own.len());
    }
    let score = |folder: &str| {
        let imported = needed.iter().filter(|name| has(folder, name)).count();
        (has_settings(folder), imported)
    };
    // `src/` is no package unless it says so itself; else the highest one wins.
    let preferred = |folder: &str| (score(folder), folder == sources);
    let best = folders
        .iter()
        .copied()
        .max_by_key(|folder| (preferred(folder), std::cmp::Reverse(folder.len())));
    best.unwrap_or_default().to_owned()
}

/// Whether each part of a dotted name is one of Python's.
fn is_importable(dotted: &str) -> bool {
    dotted.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

/// The module that `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")`
/// names.
fn settings_of_django<'t>(module: &Module<'t>) -> Option<&'t str> {
    let mut lines = module.lines.iter();
    lines.find_map(|line| {
        let mut texts = line.tokens.iter().filter(|token| token.kind == TokenKind::Text);
        let named = texts.any(|token| token.text == "DJANGO_SETTINGS_MODULE");
        named.then(|| texts.next()).flatten().map(|token| token.text)
    })
}

fn dotted_name(path: &str, root: &str) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path).trim_end_matches(".py");
    inside.trim_end_matches("/__init__").replace('/', ".")
}
