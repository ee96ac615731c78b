//! The routes of an app: what answers where, through the routers they hang on.

mod django;
mod texts;

use crate::modules::{Definition, Meaning, Module, Modules};
use crate::place::{Certainty, Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Token, TokenKind};
use crate::tree::is_of_the_app;

/// A path that answers GET, and the function behind it.
#[derive(Clone, Debug)]
pub(crate) struct Route<'m, 't> {
    pub(crate) path: String,
    /// Where the function is, if the project has it.
    pub(crate) function: Option<(&'m Module<'t>, &'m Definition<'t>)>,
}

/// Something that routes hang on: the file and the name that it is bound to.
type Owner = (String, String);

/// `parent` has `child` below `prefix`.
#[derive(Debug)]
struct Edge {
    parent: Owner,
    child: Owner,
    prefix: Text,
}

/// A text, and whether it is sure to be that.
#[derive(Clone, Debug)]
struct Text {
    text: String,
    certainty: Certainty,
}

impl Text {
    fn sure(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            certainty: Certainty::Sure,
        }
    }

    fn then(&self, next: &Self) -> Self {
        Self {
            text: join(&self.text, &next.text),
            certainty: self.certainty.max(next.certainty),
        }
    }
}

/// Whether a parameter is an app, by its type or else by its name.
fn is_an_app(name: &str, kind: &[Token<'_>]) -> bool {
    match kind {
        [colon, kind @ ..] if colon.is(":") => kind.iter().any(|token| APPS.contains(&token.text)),
        _ => ["app", "application", "flask_app"].contains(&name),
    }
}

/// Of two parts of a path.
pub(crate) fn join(prefix: &str, path: &str) -> String {
    let path = path.trim_start_matches('/');
    let prefix = prefix.trim_end_matches('/');
    match (prefix.is_empty(), path.is_empty()) {
        (_, false) => format!("{prefix}/{path}"),
        (false, true) => prefix.to_owned(),
        (true, true) => "/".to_owned(),
    }
}

/// The whole path of a route below a prefix: `/` there is the prefix with its slash, and
/// without it another path, except for Litestar.
fn below(prefix: &str, path: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    match path {
        "/" => format!("{prefix}/"),
        _ => join(prefix, path),
    }
}

/// What makes an app, at whose top paths begin.
const APPS: [&str; 9] = [
    "FastAPI",
    "Starlette",
    "Litestar",
    "Quart",
    "Flask",
    "APIFlask",
    "OpenAPI",
    "Bottle",
    "Sanic",
];

/// What makes something that an app includes.
const ROUTERS: [&str; 5] = ["APIRouter", "Router", "Blueprint", "APIBlueprint", "Controller"];

struct Graph<'m, 't> {
    modules: &'m Modules<'t>,
    /// Of each owner the prefix of its own.
    own: Vec<(Owner, Text)>,
    roots: Vec<Owner>,
    /// Apps that a function gets and hangs routes on: which app it is, its caller knows.
    given: Vec<Owner>,
    edges: Vec<Edge>,
    /// Classes of Litestar's with routes, which code may hang on an app that no line
    /// lists them for.
    controllers: Vec<Owner>,
}

/// All routes that answer GET and hang on an app.
pub(crate) fn find<'m, 't>(modules: &'m Modules<'t>) -> Vec<Detected<Route<'m, 't>>> {
    let mut graph = Graph {
        modules,
        own: Vec::new(),
        roots: Vec::new(),
        given: Vec::new(),
        edges: Vec::new(),
        controllers: Vec::new(),
    };
    let app = || modules.all.iter().filter(|module| is_of_the_app(module.path));
    for module in app() {
        graph.owners(module);
        graph.includes(module);
    }
    let mut found = Vec::new();
    for module in app() {
        found.extend(graph.decorated(module));
        found.extend(graph.called(module));
    }
    let of_django = |module: &'m Module<'t>| graph.text(module, module.value("ROOT_URLCONF")?);
    found.extend(django::find(modules, of_django));
    found
}

impl<'m, 't> Graph<'m, 't> {
    /// The owner that a name means in a module.
    fn owner(&self, module: &Module<'t>, name: &str) -> Owner {
        match self.modules.meaning(module, name) {
            Meaning::Inside(other, name) => (other.path.to_owned(), name),
            // A name of a function, such as the `app` of a factory.
            _ => (module.path.to_owned(), name.to_owned()),
        }
    }

    fn owners(&mut self, module: &'m Module<'t>) {
        for line in &module.lines {
            for one in statement::assignments(line) {
                let Some((call, _)) = statement::call_at(one.value) else {
                    continue;
                };
                let owner = (module.path.to_owned(), one.target.to_owned());
                if APPS.contains(&call.last()) || self.is_app(module, &call.path) {
                    self.roots.push(owner.clone());
                }
                if ROUTERS.contains(&call.last()) {
                    let named = ["prefix", "url_prefix", "path"]
                        .iter()
                        .find_map(|name| call.named(name));
                    let prefix = named.and_then(|tokens| self.text(module, tokens));
                    self.own.push((owner, prefix.unwrap_or_else(|| Text::sure(""))));
                }
            }
        }
        for function in module.definitions.iter().filter(|one| !one.is_class) {
            let head = statement::head(&module.lines[function.head]);
            let parameters = head.map(|head| head.inside).unwrap_or_default();
            for parameter in parameters {
                if let [name, kind @ ..] = parameter
                    && is_an_app(name.text, kind)
                    && module.value(name.text).is_none()
                {
                    self.given.push((module.path.to_owned(), name.text.to_owned()));
                }
            }
        }
        for class in module.definitions.iter().filter(|one| one.is_class) {
            if self.is_controller(module, class) {
                self.controllers
                    .push((module.path.to_owned(), class.name.to_owned()));
            }
            let own = module
                .body(class)
                .iter()
                .flat_map(statement::assignments)
                .find(|one| one.target == "path");
            if let Some(prefix) = own.and_then(|one| self.text(module, one.value)) {
                self.own
                    .push(((module.path.to_owned(), class.name.to_owned()), prefix));
            }
        }
    }

    /// A class of the project on top of a framework's, or a factory.
    fn is_app(&self, module: &Module<'t>, name: &str) -> bool {
        let Meaning::Inside(other, name) = self.modules.meaning(module, name) else {
            return false;
        };
        let Some(definition) = other.definition(&name).filter(|one| one.is_class) else {
            return false;
        };
        let head = statement::head(&other.lines[definition.head]);
        let bases = head.map(|head| head.inside).unwrap_or_default();
        bases
            .iter()
            .any(|base| base.last().is_some_and(|last| APPS.contains(&last.text)))
    }

    fn is_controller(&self, module: &Module<'t>, class: &Definition<'t>) -> bool {
        let head = statement::head(&module.lines[class.head]);
        let bases = head.map(|head| head.inside).unwrap_or_default();
        let mut names = bases.into_iter().filter_map(statement::dotted);
        names.any(|(name, _)| {
            matches!(self.modules.meaning(module, &name), Meaning::Outside(name)
                if ["litestar.Controller", "litestar.controller.Controller"].contains(&name.as_str()))
        })
    }

    fn includes(&mut self, module: &'m Module<'t>) {
        for (n, call) in module.calls() {
            match call.last() {
                "include_router" | "register_blueprint" | "mount" => self.include(module, &call),
                "Mount" if self.is_of_starlette(module, &call.path) => self.mount(module, n, &call),
                made if APPS.contains(&made) || ROUTERS.contains(&made) => {
                    let Some(list) = call.named("route_handlers") else {
                        continue;
                    };
                    let target = statement::assignments(&module.lines[n])
                        .first()
                        .map(|one| one.target.to_owned());
                    let parent = (
                        module.path.to_owned(),
                        target.unwrap_or_else(|| format!("line {n}")),
                    );
                    if APPS.contains(&made) && !self.roots.contains(&parent) {
                        self.roots.push(parent.clone());
                    }
                    let names = statement::bracketed(list).map(|(inside, _)| statement::parts(inside));
                    for part in names.into_iter().flatten() {
                        if let Some((name, _)) = statement::dotted(part) {
                            let child = self.owner(module, &name);
                            let (parent, prefix) = (parent.clone(), Text::sure(""));
                            self.edges.push(Edge {
                                parent,
                                child,
                                prefix,
                            });
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn include(&mut self, module: &'m Module<'t>, call: &Call<'m, 't>) {
        let Some((parent, verb)) = call.path.rsplit_once('.') else {
            return;
        };
        let (child, prefix) = match verb {
            "mount" => (call.argument("app", 1), call.argument("path", 0)),
            _ => (
                call.positional(0)
                    .or_else(|| call.named("router"))
                    .or_else(|| call.named("blueprint")),
                call.named("prefix").or_else(|| call.named("url_prefix")),
            ),
        };
        let Some(child) = child.and_then(|tokens| self.included(module, tokens)) else {
            return;
        };
        let unknown = || Text {
            text: String::new(),
            certainty: Certainty::Unclear,
        };
        let prefix = prefix.map_or_else(
            || Text::sure(""),
            |tokens| {
                let given = || self.given_text(module, tokens);
                self.text(module, tokens).or_else(given).unwrap_or_else(unknown)
            },
        );
        self.edges.push(Edge {
            parent: self.owner(module, parent),
            child,
            prefix,
        });
    }

    /// What is included: a router by its name, or the one that a function of the project's
    /// returns, as in `include_router(build_router())`.
    fn included(&self, module: &'m Module<'t>, tokens: &[Token<'t>]) -> Option<Owner> {
        let Some((made, _)) = statement::call_at(tokens) else {
            return Some(self.owner(module, &statement::dotted(tokens)?.0));
        };
        let Meaning::Inside(other, name) = self.modules.meaning(module, &made.path) else {
            return None;
        };
        let function = other.definition(&name).filter(|one| !one.is_class)?;
        let mut returned = other.body(function).iter().rev().filter_map(|line| {
            let [word, name] = line.tokens.as_slice() else {
                return None;
            };
            (word.is_name("return") && name.kind == TokenKind::Name).then_some(name.text)
        });
        Some((other.path.to_owned(), returned.next()?.to_owned()))
    }

    /// The text that callers give a function for a parameter of this name.
    fn given_text(&self, module: &'m Module<'t>, tokens: &[Token<'t>]) -> Option<Text> {
        let [name] = tokens else { return None };
        let functions = module.definitions.iter().filter(|one| !one.is_class);
        let mut taking = functions.filter_map(|function| {
            let inside = statement::head(&module.lines[function.head])?.inside;
            let parameters = inside
                .into_iter()
                .filter(|one| !matches!(one, [star] if star.is("*")));
            let position = parameters
                .into_iter()
                .position(|one| one.first().is_some_and(|first| first.text == name.text))?;
            Some((function, position))
        });
        let (function, position) = taking.next()?;
        self.modules.all.iter().find_map(|caller| {
            let mut calls = caller.calls().filter(|(_, call)| call.last() == function.name);
            calls.find_map(|(_, call)| {
                let is_it = matches!(self.modules.meaning(caller, &call.path), Meaning::Inside(other, _)
                    if other.path == module.path);
                let given = call.argument(name.text, position).filter(|_| is_it)?;
                self.text(caller, given)
            })
        })
    }

    /// `Mount("/api", app=api)` in the line that makes an app.
    fn mount(&mut self, module: &'m Module<'t>, line: usize, call: &Call<'m, 't>) {
        let child = call.argument("app", 1).and_then(statement::dotted);
        let Some((child, _)) = child else {
            return;
        };
        let assigned = statement::assignments(&module.lines[line]);
        let target = assigned.first().map(|one| one.target.to_owned());
        let parent = (
            module.path.to_owned(),
            target.unwrap_or_else(|| format!("line {line}")),
        );
        let is_app = module.lines[line]
            .tokens
            .iter()
            .any(|token| APPS.contains(&token.text));
        if is_app && !self.roots.contains(&parent) {
            self.roots.push(parent.clone());
        }
        self.edges.push(Edge {
            parent,
            child: self.owner(module, &child),
            prefix: Text::sure(mounted(module, line, call)),
        });
    }

    /// Where paths of an owner begin: once for each way from an app to it.
    fn prefixes(&self, owner: &Owner, depth: usize) -> Vec<Text> {
        if self.roots.contains(owner) && !self.edges.iter().any(|edge| edge.child == *owner) {
            return vec![Text::sure("")];
        }
        if depth > 8 {
            return Vec::new();
        }
        if self.given.contains(owner) && !self.roots.contains(owner) {
            return vec![Text {
                text: String::new(),
                certainty: Certainty::Likely,
            }];
        }
        let own = self
            .own
            .iter()
            .find(|(other, _)| other == owner)
            .map(|(_, prefix)| prefix);
        let mut found = Vec::new();
        let is_listed = self.edges.iter().any(|edge| edge.child == *owner);
        if !is_listed && self.controllers.contains(owner) {
            let top = Text {
                text: String::new(),
                certainty: Certainty::Likely,
            };
            found.push(own.map_or_else(|| top.clone(), |own| top.then(own)));
        }
        for edge in self.edges.iter().filter(|edge| edge.child == *owner) {
            for above in self.prefixes(&edge.parent, depth + 1) {
                let whole = above.then(&edge.prefix);
                found.push(own.map_or_else(|| whole.clone(), |own| whole.then(own)));
            }
        }
        found
    }

    /// Routes by decorator: `@app.get("/health")`, `@get("/health")`,
    /// `@bp.route("/health")`.
    fn decorated(&self, module: &'m Module<'t>) -> Vec<Detected<Route<'m, 't>>> {
        let mut found = Vec::new();
        for definition in module.definitions.iter().filter(|one| !one.is_class) {
            for n in definition.decorators.clone() {
                let Some((call, _)) = statement::call_at(&module.lines[n].tokens[1..]) else {
                    continue;
                };
                let (owner, verb) = call
                    .path
                    .rsplit_once('.')
                    .map_or((None, &*call.path), |(a, b)| (Some(a), b));
                if !answers_get(verb, &call) {
                    continue;
                }
                let Some(mut path) = self.path(module, &call) else {
                    continue;
                };
                let owner = match owner {
                    Some(name) => self.owner(module, name),
                    // Litestar lists the functions or their class, and knows no slash at the end.
                    None => {
                        path.text.truncate(path.text.trim_end_matches('/').len());
                        let class = definition.within.map(|class| module.definitions[class].name);
                        (
                            module.path.to_owned(),
                            class.unwrap_or(definition.name).to_owned(),
                        )
                    }
                };
                found.extend(self.routes(module, n, &owner, &path, Some((module, definition))));
            }
        }
        found
    }

    fn path(&self, module: &Module<'t>, call: &Call<'m, 't>) -> Option<Text> {
        let argument = ["path", "rule"]
            .iter()
            .find_map(|name| call.named(name))
            .or_else(|| call.positional(0));
        match argument {
            Some(tokens) => self.text(module, tokens),
            None => Some(Text::sure("")),
        }
    }

    /// Routes by call: `app.add_api_route("/health", check)`,
    /// `Route("/health", check)`.
    fn called(&self, module: &'m Module<'t>) -> Vec<Detected<Route<'m, 't>>> {
        let mut found = Vec::new();
        for (n, call) in module.calls() {
            let owner = match (call.path.rsplit_once('.'), call.last()) {
                (Some((owner, _)), "add_api_route" | "add_url_rule" | "add_route") => {
                    self.owner(module, owner)
                }
                (_, "Route") if self.is_of_starlette(module, &call.path) => {
                    let path = call
                        .text("path", 0)
                        .map(|path| below(&mounted(module, n, &call), &path));
                    let place = Place::new(module.path, call.line);
                    let function = self.function(module, call.argument("endpoint", 1));
                    found.extend(path.map(|path| Detected::likely(Route { path, function }, place)));
                    continue;
                }
                _ => continue,
            };
            let Some(path) = self.path(module, &call) else {
                continue;
            };
            let view = call
                .named("view_func")
                .or_else(|| call.named("endpoint"))
                .or_else(|| call.positional(1));
            let view = call.positional(2).or(view);
            let function = self.function(module, view);
            found.extend(self.routes(module, n, &owner, &path, function));
        }
        found
    }

    fn is_of_starlette(&self, module: &Module<'t>, name: &str) -> bool {
        matches!(self.modules.meaning(module, name), Meaning::Outside(name) if name.starts_with("starlette."))
    }

    fn function(
        &self,
        module: &'m Module<'t>,
        tokens: Option<&[Token<'t>]>,
    ) -> Option<(&'m Module<'t>, &'m Definition<'t>)> {
        let (name, _) = statement::dotted(tokens?)?;
        match self.modules.meaning(module, &name) {
            Meaning::Inside(other, name) => Some((other, other.definition(&name)?)),
            _ => Some((module, module.definitions.iter().find(|one| one.name == name)?)),
        }
    }

    fn routes(
        &self,
        module: &Module<'t>,
        line: usize,
        owner: &Owner,
        path: &Text,
        function: Option<(&'m Module<'t>, &'m Definition<'t>)>,
    ) -> Vec<Detected<Route<'m, 't>>> {
        let place = Place::new(module.path, module.number(line));
        let whole = self.prefixes(owner, 0).into_iter().map(|prefix| Text {
            text: below(&prefix.text, &path.text),
            certainty: prefix.certainty.max(path.certainty),
        });
        whole
            .filter(|path| !path.text.contains(['{', '<']))
            .map(|path| Detected {
                value: Route {
                    path: path.text,
                    function,
                },
                place: place.clone(),
                certainty: path.certainty,
            })
            .collect()
    }
}

fn answers_get(verb: &str, call: &Call<'_, '_>) -> bool {
    match verb {
        "get" => true,
        "route" | "api_route" => call.named("methods").is_none_or(|methods| {
            methods
                .iter()
                .any(|method| method.text.eq_ignore_ascii_case("get"))
        }),
        _ => false,
    }
}

/// The prefix of each `Mount("/api", routes=[…])` around a route of one line, or
/// around a mount, with its own.
fn mounted(module: &Module<'_>, line: usize, route: &Call<'_, '_>) -> String {
    let within = |tokens: &[Token<'_>]| {
        let inside = route.arguments.first().and_then(|one| one.value.first());
        inside.is_some_and(|first| tokens.iter().any(|token| std::ptr::eq(token, first)))
    };
    let mounts = statement::calls(&module.lines[line].tokens);
    let around = mounts.iter().filter(|call| call.last() == "Mount");
    let around = around.filter(|mount| mount.arguments.iter().any(|one| within(one.value)));
    around
        .filter_map(|mount| mount.text("path", 0))
        .fold(String::new(), |prefix, path| join(&prefix, &path))
}
