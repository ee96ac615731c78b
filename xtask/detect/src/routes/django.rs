//! The routes of a Django project: from its `ROOT_URLCONF` through `include`.

use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};

use super::{Route, Text, join};

/// The routes below `ROOT_URLCONF`, which `named` reads of a module, through each `include`.
pub(super) fn find<'m, 't>(
    modules: &'m Modules<'t>,
    named: impl Fn(&'m Module<'t>) -> Option<Text>,
) -> Vec<Detected<Route<'m, 't>>> {
    let roots = modules
        .all
        .iter()
        .filter_map(|module| modules.find(module.path, &named(module)?.text));
    let mut found = Vec::new();
    if let Some(root) = roots.into_iter().next() {
        below(modules, root, "/", 0, &mut found);
    }
    found
}

fn below<'m, 't>(
    modules: &'m Modules<'t>,
    module: &'m Module<'t>,
    prefix: &str,
    depth: usize,
    found: &mut Vec<Detected<Route<'m, 't>>>,
) {
    for (_, call) in module.calls().filter(|_| depth < 8) {
        let Some(path) = path_of(&call) else { continue };
        let path = match path.is_empty() {
            true => prefix.to_owned(),
            false => join(prefix, &path),
        };
        let place = Place::new(module.path, call.line);
        let Some(view) = call.argument("view", 1) else {
            continue;
        };
        match statement::call_at(view) {
            Some((included, _)) if included.last() == "include" => {
                let Some(name) = included.text("arg", 0) else {
                    continue;
                };
                match modules.find(module.path, &name) {
                    Some(other) => below(modules, other, &path, depth + 1, found),
                    None if name == "health_check.urls" => {
                        found.push(Detected::sure(Route { path, function: None }, place));
                    }
                    None => {}
                }
            }
            _ if path.contains(['<', '(']) => {}
            made => {
                let name = made
                    .map(|(call, _)| call.path)
                    .or_else(|| Some(statement::dotted(view)?.0));
                let function = name.and_then(|name| function(modules, module, &name));
                found.push(Detected::sure(Route { path, function }, place));
            }
        }
    }
}

/// The path of `path("health/", …)` or `re_path(r"^health/$", …)`; `None` for a
/// pattern that matches more than one path.
fn path_of(call: &Call<'_, '_>) -> Option<String> {
    match call.path.as_str() {
        "path" => call.text("route", 0),
        "re_path" | "url" => {
            let pattern = call.text("route", 0)?;
            let plain = pattern.trim_start_matches('^').trim_end_matches('$');
            (!plain.contains(['\\', '[', '?', '*', '+'])).then(|| plain.to_owned())
        }
        _ => None,
    }
}

/// The function `view`, or `get` of a class by `Class.as_view()`.
fn function<'m, 't>(
    modules: &'m Modules<'t>,
    module: &'m Module<'t>,
    name: &str,
) -> Option<(&'m Module<'t>, &'m crate::modules::Definition<'t>)> {
    let name = name.trim_end_matches(".as_view");
    let Meaning::Inside(other, name) = modules.meaning(module, name) else {
        return None;
    };
    let definition = other.definition(&name)?;
    if !definition.is_class {
        return Some((other, definition));
    }
    let within = |one: &&crate::modules::Definition<'_>| {
        let class = one.within.map(|class| other.definitions[class].name);
        class == Some(definition.name) && one.name == "get"
    };
    Some((other, other.definitions.iter().find(within)?))
}
