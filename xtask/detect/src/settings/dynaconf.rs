//! Settings of Dynaconf, which stand in files of TOML and are read from the environment by a prefix.

use toml::{Table, Value};

use super::forms::Form;
use super::reads::{Default, Read};
use crate::dependencies::toml_at;
use crate::modules::{Meaning, Modules};
use crate::place::Place;
use crate::python::statement;
use crate::tree::{Tree, is_of_the_app};

/// The prefix that it has by itself, and of the settings object that it makes by itself
/// ([its documentation](https://www.dynaconf.com/envvars/)).
const PREFIX: &str = "DYNACONF";

/// The variables by which the settings of the project's files can be given, with what stands there.
pub(super) fn reads(tree: &Tree, modules: &Modules<'_>) -> Vec<(Read, Place)> {
    let Some(prefix) = prefix(modules) else {
        return Vec::new();
    };
    let mut found: Vec<(Read, Place)> = Vec::new();
    for file in tree.named("settings.toml") {
        let Some((text, table)) = toml_at(tree, file) else {
            continue;
        };
        for (key, value) in in_force(&table) {
            let upper = key.to_uppercase();
            let name = match prefix.as_str() {
                "" => upper,
                prefix => format!("{prefix}_{upper}"),
            };
            let default = match value {
                Value::String(text) => Default::Text(text.clone()),
                Value::Integer(number) => Default::Text(number.to_string()),
                _ => Default::Other,
            };
            let place = Place::of(file, text, key);
            if found.iter().all(|(one, _)| one.name != name) {
                let read = Read {
                    name,
                    default,
                    annotation: String::new(),
                    form: Form::Text,
                    is_made: false,
                    is_refused: false,
                };
                found.push((read, place));
            }
        }
    }
    found
}

/// The prefix of its variables, where the project uses it; empty where it says that there is none.
fn prefix(modules: &Modules<'_>) -> Option<String> {
    const CLASSES: [&str; 4] = [
        "dynaconf.Dynaconf",
        "dynaconf.FlaskDynaconf",
        "dynaconf.LazySettings",
        "dynaconf.contrib.FlaskDynaconf",
    ];
    let own = || modules.all.iter().filter(|module| is_of_the_app(module.path));
    let made = own()
        .flat_map(|module| module.calls().map(move |(_, call)| (module, call)))
        .find(|(module, call)| {
            matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if CLASSES.contains(&name.as_str()))
        });
    if let Some((_, call)) = made {
        return Some(match call.named("envvar_prefix") {
            Some([value]) if value.is_name("False") => String::new(),
            Some(value) => statement::text_of(value).unwrap_or_else(|| PREFIX.to_owned()),
            None => PREFIX.to_owned(),
        });
    }
    let by_itself = own().any(|module| {
        let mut imports = module.lines.iter().flat_map(statement::imports);
        imports.any(|one| one.module == "dynaconf" && one.attribute.as_deref() == Some("settings"))
    });
    by_itself.then(|| PREFIX.to_owned())
}

/// The settings of a file: those of a table that has none in it are everybody's. Of environments the
/// one that it takes by itself, before what all have; the names of the others count, too.
fn in_force(table: &Table) -> Vec<(&String, &Value)> {
    let environments = || {
        table
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_table()?)))
    };
    if environments().next().is_none() {
        return table.iter().collect();
    }
    let rank = |name: &str| ["development", "default"].iter().position(|known| *known == name);
    let mut all: Vec<_> = environments()
        .flat_map(|(name, table)| {
            let rank = rank(name).unwrap_or(usize::MAX);
            table.iter().map(move |(key, value)| (rank, key, value))
        })
        .collect();
    all.sort_by_key(|(rank, _, _)| *rank);
    let mut found: Vec<(&String, &Value)> = Vec::new();
    for (_, key, value) in all {
        if found.iter().all(|(known, _)| *known != key) {
            found.push((key, value));
        }
    }
    found
}
