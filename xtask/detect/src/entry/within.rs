//! Modules that are imported as they lie beside the app's own, where that one is imported as part
//! of a package: `src.main:app`, started by `python src/main.py`, has both on its path.

use std::collections::BTreeSet;

use super::AppObject;
use crate::dependencies::Dependencies;
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::{library, statement};
use crate::tree::folder_of;

/// The app's own folder, where what it imports of that imports by a name that is to be found there
/// alone, and the first line that does. None where it holds a module called as one of Python's own
/// or as a dependency, which it would hide from everybody.
pub(crate) fn imported_from(
    modules: &Modules<'_>,
    dependencies: &Dependencies,
    app: &Detected<AppObject>,
) -> Option<Detected<String>> {
    let own = folder_of(&app.place.file);
    let hides_another = || {
        let inside = modules
            .all
            .iter()
            .filter_map(|module| module.path.strip_prefix(own));
        let mut names = inside.filter_map(|path| path.split(['/', '.']).next());
        names.any(|name| library::has(name) || dependencies.may_bring(name))
    };
    if own.is_empty() || !app.value.path.is_empty() || hides_another() {
        return None;
    }
    let mut left = vec![modules.at(&app.place.file)?];
    let mut seen = BTreeSet::new();
    while let Some(module) = left.pop() {
        if !module.path.starts_with(own) || !seen.insert(module.path) {
            continue;
        }
        for (line, tokens) in module.lines.iter().enumerate() {
            for one in statement::imports(tokens) {
                let name = one.attribute.as_deref();
                // What is further in may be tried, and done without.
                if module.is_at_the_top(line)
                    && tokens.indent == 0
                    && name.is_some_and(|name| lies_there(modules, own, &one.module, name))
                {
                    let place = Place::new(module.path, module.number(line));
                    return Some(Detected::sure(own.trim_end_matches('/').to_owned(), place));
                }
                let dot = if one.module.ends_with('.') { "" } else { "." };
                let below = name.map(|name| format!("{}{dot}{name}", one.module));
                let named = [Some(one.module), below].into_iter().flatten();
                left.extend(named.filter_map(|name| modules.find(module.path, &name)));
            }
        }
    }
    None
}

/// Whether a name is to be had from a module in this folder, and neither from one at the top nor,
/// as far as that can be told, from a package: one that it wraps is imported by its own name there.
fn lies_there(modules: &Modules<'_>, own: &str, dotted: &str, name: &str) -> bool {
    if dotted.starts_with('.') {
        return false;
    }
    let path = dotted.replace('.', "/");
    let first = dotted.split('.').next().unwrap_or_default();
    let is_at_the_top = |module: &Module<'_>| {
        let inside = ["", "src/"]
            .iter()
            .any(|top| *top != own && module.path.starts_with(&format!("{top}{first}/")));
        inside || module.path == format!("{first}.py")
    };
    let Some(found) = modules
        .at(&format!("{own}{path}.py"))
        .or_else(|| modules.at(&format!("{own}{path}/__init__.py")))
    else {
        return false;
    };
    let wraps_one = || {
        let imports = found.lines.iter().flat_map(statement::imports);
        imports
            .filter(|one| !one.module.starts_with('.'))
            .any(|one| one.module.split('.').next() == Some(first))
    };
    let has_it = || {
        found.binds(name) == Some(true)
            || modules.at(&format!("{own}{path}/{name}.py")).is_some()
            || modules.at(&format!("{own}{path}/{name}/__init__.py")).is_some()
    };
    !modules.all.iter().any(is_at_the_top) && !wraps_one() && has_it()
}
