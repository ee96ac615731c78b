//! Which settings Django goes by: the server takes those of its module, the commands
//! those of manage.py.

pub(crate) mod example;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::entry::{AppObject, Framework};
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::tree::{Tree, file_name, folder_of, is_of_the_app};

/// The variable that names the module with the settings.
pub(crate) const SETTINGS: &str = "DJANGO_SETTINGS_MODULE";

/// The setting with the hosts by which it answers.
pub(crate) const HOSTS: &str = "ALLOWED_HOSTS";

/// The settings of the server, where commands would go by other ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSettings {
    /// The module that the server's own module names, such as `config.settings.production`.
    pub module: String,
    /// What manage.py names, and where.
    pub of_commands: Detected<String>,
}

/// The settings that an image runs with, where its programs take no or other ones by
/// themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChosenSettings {
    /// The module, such as `config.settings.production`.
    pub module: String,
    /// Which sign speaks for it, to be shown beside it.
    pub why: String,
}

/// Words in the name of a file that shows what another one is.
const OF_EXAMPLES: [&str; 5] = ["example", "sample", "dist", "template", "default"];

/// Django's manage.py: the highest one, as others call theirs so, too.
pub(crate) fn manage(tree: &Tree) -> Option<&str> {
    let of_django = |path: &&str| {
        let text = tree.text(path);
        text.is_some_and(|text| {
            text.contains("django.core") || text.contains(SETTINGS) || is_elsewhere(tree, path, text)
        })
    };
    tree.named("manage.py").into_iter().find(of_django)
}

/// Whether what a script does is a function of the project's: `from shop import command_line`.
fn is_elsewhere(tree: &Tree, path: &str, text: &str) -> bool {
    let named = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("from "))
        .filter_map(|rest| Some(rest.split_once(" import ")?.0.trim().replace('.', "/")));
    let folder = folder_of(path);
    let runs = |file: String| {
        let text = tree.text(&file);
        text.is_some_and(|text| text.contains("execute_from_command_line"))
    };
    named
        .into_iter()
        .any(|module| runs(format!("{folder}{module}.py")) || runs(format!("{folder}{module}/__init__.py")))
}

/// How many migrations there are: files such as `0001_initial.py`.
pub(crate) fn migrations(tree: &Tree) -> usize {
    let is_one = |path: &&str| {
        let name = file_name(path);
        let number = name.bytes().take_while(u8::is_ascii_digit).count();
        number >= 4 && name.ends_with(".py") && path.ends_with(&format!("migrations/{name}"))
    };
    match manage(tree) {
        Some(_) => tree.paths().filter(is_one).count(),
        None => 0,
    }
}

/// What the server goes by, where `migrate` and `collectstatic` would go by something
/// else: they would fill another database than the one that is served.
pub(crate) fn server_settings(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
) -> Option<Detected<ServerSettings>> {
    let file = app?.place.file.as_str();
    let server = named(modules.at(file)?).filter(|_| !names_no_settings(modules, file))?;
    let of_commands = named(modules.at(manage(tree)?)?)?;
    let differs = server.value != of_commands.value;
    let Detected {
        value: module,
        place,
        certainty,
    } = server;
    differs.then_some(Detected {
        value: ServerSettings { module, of_commands },
        place,
        certainty,
    })
}

/// The settings that are meant where neither the server's module nor manage.py names any,
/// since whoever starts them does: those for production that are on top of the ones with
/// the apps, else these themselves. None where several could be meant.
pub(crate) fn unnamed_settings(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
) -> Option<Detected<ChosenSettings>> {
    const FOR_PRODUCTION: [&str; 4] = ["production.py", "prod.py", "deploy.py", "live.py"];
    let app = app?;
    let is_django = matches!(app.value.framework, Framework::DjangoAsgi | Framework::DjangoWsgi);
    if !is_django {
        return None;
    }
    // A name for a package that has functions alone says nothing, either, and whoever works
    // on the project has settings of his own beside it.
    let server = app.place.file.as_str();
    let is_without_apps = names_no_settings(modules, server);
    let is_silent = |path: &str| Some(!tree.text(path)?.contains(SETTINGS));
    let commands = manage(tree)?;
    let of_developers = || {
        let named = modules.at(commands).and_then(named);
        named.is_some_and(|named| is_of_developers(&named.value))
    };
    let is_said = match is_without_apps {
        true => !is_silent(commands)? && !of_developers(),
        false => !is_silent(server)? || !is_silent(commands)?,
    };
    if is_said {
        return None;
    }
    let sources = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let sources: Vec<_> = sources
        .filter(|module| {
            let stem = module.path.trim_end_matches(".py").trim_end_matches("/__init__");
            !is_of_developers(stem)
        })
        .collect();
    let with_apps = sources.iter().filter(|module| {
        ["INSTALLED_APPS", "ROOT_URLCONF"]
            .iter()
            .all(|name| module.value(name).is_some())
    });
    let [base] = with_apps.collect::<Vec<_>>()[..] else {
        return None;
    };
    let on_top = sources.iter().find(|module| {
        FOR_PRODUCTION.contains(&file_name(module.path)) && imported(modules, module.path).contains(base.path)
    });
    let (chosen, why) = match on_top {
        Some(module) => (module, "those for production, as nothing names any"),
        None => (base, "the apps stand there, and nothing names the settings"),
    };
    let path = chosen.path.strip_prefix(&app.value.path)?.trim_start_matches('/');
    let path = path.trim_end_matches(".py").trim_end_matches("/__init__");
    Some(Detected::likely(
        ChosenSettings {
            module: path.replace('/', "."),
            why: why.to_owned(),
        },
        Place::of(chosen.path, tree.text(chosen.path)?, "INSTALLED_APPS"),
    ))
}

/// Whether what a server's module names as settings is a package around them: neither it nor
/// what it takes in has Django's apps.
fn names_no_settings(modules: &Modules<'_>, server: &str) -> bool {
    // What is put together at the start (`include("base.py")`, `globals()`) is not followed.
    let signs = ["INSTALLED_APPS", "include", "globals", "locals", "DjangoDynaconf"];
    let has_apps = |path: &String| {
        let mut lines = modules.at(path).into_iter().flat_map(|module| &module.lines);
        lines.any(|line| line.tokens.iter().any(|token| signs.contains(&token.text)))
    };
    let named = settings_of(modules, server).filter(|one| file_name(one.path) == "__init__.py");
    named.is_some_and(|one| !imported(modules, one.path).iter().any(has_apps))
}

/// Settings that the server's module names, and that each installation writes for itself: the
/// file, and the example that shows it.
pub(crate) fn absent_settings(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
) -> Option<Detected<(String, String)>> {
    let app = app?;
    let named = named(modules.at(&app.place.file)?)?;
    let root = match app.value.path.as_str() {
        "" => String::new(),
        path => format!("{path}/"),
    };
    let file = format!("{root}{}.py", named.value.replace('.', "/"));
    let is_there = modules.find(&app.place.file, &named.value).is_some() || tree.has(&file);
    let stem = file.trim_end_matches(".py").to_owned();
    let shows = |path: &&str| {
        let rest = path.strip_prefix(&stem).unwrap_or_default();
        let mut words = rest.split(['.', '_', '-']);
        words.any(|word| OF_EXAMPLES.contains(&word))
    };
    let example = tree.paths().find(shows).filter(|_| !is_there)?;
    Some(Detected {
        value: (file, example.to_owned()),
        place: named.place,
        certainty: named.certainty,
    })
}

/// Whether settings are those of developers or of tests, by the last part of their name.
pub(crate) fn is_of_developers(module: &str) -> bool {
    const WORDS: [&str; 8] = [
        "ci",
        "dev",
        "devel",
        "development",
        "local",
        "test",
        "testing",
        "tests",
    ];
    let last = module.rsplit(['.', '/']).next().unwrap_or_default();
    last.split(['_', '-']).any(|word| WORDS.contains(&word))
}

/// The path of Django's own pages for those who keep a site, and where it stands.
pub(crate) fn admin(modules: &Modules<'_>) -> Option<Detected<String>> {
    let mut of_routes = modules
        .all
        .iter()
        .filter(|module| is_of_the_app(module.path) && module.value("urlpatterns").is_some());
    of_routes.find_map(|module| {
        module.calls().find_map(|(_, call)| {
            let is_route = ["path", "re_path", "url"].contains(&call.last());
            let (view, _) = statement::dotted(call.argument("view", 1)?)?;
            let text = call.text("route", 0)?;
            let path = text.trim_start_matches('^');
            let is_plain = path
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_/".contains(&b));
            let is_one = is_route && view.ends_with(".site.urls") && is_plain && path.ends_with('/');
            is_one.then(|| Detected::likely(format!("/{path}"), Place::new(module.path, call.line)))
        })
    })
}

/// The settings that a module names: `os.environ.setdefault("DJANGO_SETTINGS_MODULE",
/// "shop.settings")`, or an assignment of that.
fn named(module: &Module<'_>) -> Option<Detected<String>> {
    let by_call = |call: &Call<'_, '_>| {
        let names_it = ["setdefault", "putenv"].contains(&call.last()) && call.text("key", 0)? == SETTINGS;
        names_it.then(|| call.text("value", 1)).flatten()
    };
    let mut calls = module.calls();
    let called = calls.find_map(|(n, call)| Some((n, by_call(&call)?)));
    let assigned = || {
        let mut lines = module.lines.iter().enumerate();
        lines.find_map(|(n, line)| {
            let equals = statement::first(&line.tokens, "=")?;
            let (target, value) = (&line.tokens[..equals], &line.tokens[equals + 1..]);
            let inside = target.iter().any(|token| token.text == SETTINGS);
            let is_key = inside && target.last()?.is("]");
            Some((n, statement::text_of(value).filter(|_| is_key)?))
        })
    };
    let (n, settings) = called.or_else(assigned)?;
    Some(Detected::sure(
        settings,
        Place::new(module.path, module.number(n)),
    ))
}

/// The files with the settings that the module of the server goes by; `None` where it
/// names none that is there.
pub(crate) fn settings_with(modules: &Modules<'_>, server: &str) -> Option<BTreeSet<String>> {
    Some(imported(modules, settings_of(modules, server)?.path))
}

/// The module of settings that the server's own module names, where it is there.
pub(crate) fn settings_of<'m, 't>(modules: &'m Modules<'t>, server: &str) -> Option<&'m Module<'t>> {
    let named = named(modules.at(server)?)?;
    modules.find(server, &named.value)
}

/// Settings for other places to run in: on top of those that the server goes by, or of what
/// these are on top of, and not among them.
pub(crate) fn settings_of_others(
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
    chosen: Option<&Detected<ChosenSettings>>,
) -> BTreeSet<String> {
    let server = app.map_or("", |app| app.place.file.as_str());
    let first = match chosen {
        Some(chosen) => modules.find(server, &chosen.value.module),
        None => settings_of(modules, server),
    };
    let Some(first) = first else {
        return BTreeSet::new();
    };
    let served = imported(modules, first.path);
    let is_on_top = |module: &&Module<'_>| {
        let mut imports = module.lines.iter().flat_map(statement::imports);
        imports.any(|one| {
            let base = modules.find(module.path, &one.module).filter(|_| one.name == "*");
            let base = base.filter(|base| served.contains(base.path));
            base.is_some_and(|base| {
                let below = imported(modules, base.path);
                let mut below = below.iter().filter_map(|path| modules.at(path));
                below.any(|one| one.value("INSTALLED_APPS").is_some())
            })
        })
    };
    let others = modules.all.iter().filter(|module| !served.contains(module.path));
    others
        .filter(is_on_top)
        .map(|module| module.path.to_owned())
        .collect()
}

/// Files that a module takes settings from, itself included.
pub(crate) fn imported(modules: &Modules<'_>, first: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([first.to_owned()]);
    let mut next = vec![first.to_owned()];
    while let Some(path) = next.pop() {
        let Some(module) = modules.at(&path) else { continue };
        for one in module.lines.iter().flat_map(statement::imports) {
            let inside = one.attribute.as_ref().map(|name| {
                let dot = if one.module.ends_with('.') { "" } else { "." };
                format!("{}{dot}{name}", one.module)
            });
            for name in [Some(one.module.clone()), inside].into_iter().flatten() {
                if let Some(other) = modules.find(module.path, &name)
                    && found.insert(other.path.to_owned())
                {
                    next.push(other.path.to_owned());
                }
            }
        }
    }
    found
}
