//! Which settings Django goes by: the server takes those of its module, the commands
//! those of manage.py.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::entry::AppObject;
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::tree::Tree;

/// The variable that names the module with the settings.
pub(crate) const SETTINGS: &str = "DJANGO_SETTINGS_MODULE";

/// The settings of the server, where commands would go by other ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerSettings {
    /// The module that the server's own module names, such as `config.settings.production`.
    pub module: String,
    /// What manage.py names, and where.
    pub of_commands: Detected<String>,
}

/// Django's manage.py: the highest one, as others call theirs so, too.
pub(crate) fn manage(tree: &Tree) -> Option<&str> {
    let of_django = |path: &&str| {
        let text = tree.text(path);
        text.is_some_and(|text| text.contains("django.core") || text.contains(SETTINGS))
    };
    tree.named("manage.py").into_iter().find(of_django)
}

/// What the server goes by, where `migrate` and `collectstatic` would go by something
/// else: they would fill another database than the one that is served.
pub(crate) fn server_settings(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
) -> Option<Detected<ServerSettings>> {
    let server = named(modules.at(&app?.place.file)?)?;
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
    let named = named(modules.at(server)?)?;
    let settings = modules.find(server, &named.value)?;
    Some(imported(modules, settings.path))
}

/// Files that a module takes settings from, itself included.
fn imported(modules: &Modules<'_>, first: &str) -> BTreeSet<String> {
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
