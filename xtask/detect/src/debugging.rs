//! A `DEBUG` that the code has on where nobody sets it: it shows settings and code to whoever
//! asks for a wrong page.

use std::collections::BTreeSet;

use crate::django::{self, ChosenSettings};
use crate::entry::AppObject;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, TokenKind};
use crate::settings::{self, Default, ReadVariable};
use crate::tree::is_of_the_app;
use crate::words;

const NAMES: [&str; 4] = ["DEBUG", "DJANGO_DEBUG", "FLASK_DEBUG", "APP_DEBUG"];

/// A sentence for each switch that is on, by its name, with the value that turns it off. Off
/// it may want more settings, such as `ALLOWED_HOSTS`.
pub(crate) fn notes(
    modules: &Modules<'_>,
    variables: &[Detected<ReadVariable>],
    app: Option<&Detected<AppObject>>,
    chosen: Option<&Detected<ChosenSettings>>,
) -> Vec<(String, Detected<String>)> {
    let server = app.map_or("", |app| app.place.file.as_str());
    let settings = match chosen {
        Some(chosen) => modules.find(server, &chosen.value.module),
        None => django::settings_of(modules, server),
    };
    let mut found: Vec<(String, String, Place)> = Vec::new();
    for module in counted(modules, settings) {
        for (n, line) in module.lines.iter().enumerate() {
            for call in statement::calls(&line.tokens) {
                if let Some((name, off)) = left_on(modules, module, line, &call) {
                    found.push((name, off, Place::new(module.path, module.number(n))));
                }
            }
        }
    }
    // A class of pydantic's knows what each word means.
    for one in variables.iter().filter(|one| !one.value.annotation.is_empty()) {
        let off = one.value.default.as_deref().and_then(words::off);
        if let Some(off) = off.filter(|_| NAMES.contains(&one.value.name.as_str())) {
            found.push((one.value.name.clone(), off.to_owned(), one.place.clone()));
        }
    }
    let mut told = BTreeSet::new();
    found.retain(|(name, ..)| told.insert(name.clone()));
    let notes = found.into_iter().map(|(name, off, place)| {
        let note = format!(
            "{name} is on where nobody sets it: `\"{name}\": {off:?}` in `app.environment` turns it off for what others reach"
        );
        (name, Detected::sure(note, place))
    });
    notes.collect()
}

/// The modules whose reads count: the settings that the server goes by, with what they take
/// in unless they say it themselves; all that are not of developers, where none are known.
fn counted<'m, 't>(modules: &'m Modules<'t>, settings: Option<&'m Module<'t>>) -> Vec<&'m Module<'t>> {
    let all = modules.all.iter();
    match settings {
        Some(settings) if settings.assignments().any(|(_, one)| one.target == "DEBUG") => vec![settings],
        Some(settings) => {
            let files = django::imported(modules, settings.path);
            all.filter(|module| files.contains(module.path)).collect()
        }
        None => all
            .filter(|module| is_of_the_app(module.path))
            .filter(|module| !django::is_of_developers(module.path.trim_end_matches(".py")))
            .collect(),
    }
}

/// The switch that a call reads and that is on by itself, and what turns it off there.
fn left_on(
    modules: &Modules<'_>,
    module: &Module<'_>,
    line: &Line<'_>,
    call: &Call<'_, '_>,
) -> Option<(String, String)> {
    let read = settings::read_by(modules, module, call)?;
    let Default::Text(default) = read.default else {
        return None;
    };
    if !NAMES.contains(&read.name.as_str()) {
        return None;
    }
    let off = words::off(&default)?;
    let all = statement::calls(&line.tokens);
    let is_number = all.iter().any(|one| one.path == "int");
    let is_of_os =
        matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if name.starts_with("os."));
    let off = match is_of_os {
        _ if is_number => "0",
        // `bool("False")` is true, and so is every text but an empty one.
        true if takes_any_text(line, call, &all) => "",
        _ => off,
    };
    Some((read.name, off.to_owned()))
}

/// Whether what a call of `os` gives is asked for nothing but whether it is empty: it is a
/// value or all of `bool(…)`, or its default is no text, which nothing is compared with.
fn takes_any_text(line: &Line<'_>, call: &Call<'_, '_>, all: &[Call<'_, '_>]) -> bool {
    let is_it = |value| {
        let alone = statement::call_at(value).filter(|(_, rest)| rest.is_empty());
        alone.is_some_and(|(one, _)| one.path == call.path && one.line == call.line)
    };
    let is_value = statement::assignments(line).iter().any(|one| is_it(one.value));
    let in_bool = all
        .iter()
        .any(|one| one.path == "bool" && one.positional(0).is_some_and(is_it));
    let default = call.argument("default", 1).unwrap_or_default();
    is_value || in_bool || default.iter().all(|token| token.kind != TokenKind::Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn what_turns_it_off_has_the_form_that_the_code_reads() {
        let off = |value: &str| {
            let text = format!("import os\nimport environ\nenv = environ.Env()\nDEBUG = {value}\n");
            let tree = Tree::single("config.py", &text);
            let notes = notes(&Modules::of(&tree), &[], None, None);
            let note = notes.into_iter().next()?.1.value;
            let (_, after) = note.split_once("`\"DEBUG\": \"")?;
            Some(after.split_once('"')?.0.to_owned())
        };
        for (value, expected) in [
            ("os.environ.get('DEBUG', 'True') == 'True'", Some("False")),
            (
                "os.getenv('DEBUG', 'true').lower() in ('true', '1')",
                Some("false"),
            ),
            ("os.getenv('DEBUG', '1') == '1'", Some("0")),
            ("env.bool('DEBUG', default=True)", Some("False")),
            ("int(os.environ.get('DEBUG', 1))", Some("0")),
            ("bool(int(os.environ.get('DEBUG', '1')))", Some("0")),
            ("bool(os.environ.get('DEBUG', True))", Some("")),
            ("bool(os.environ.get('DEBUG', 'True'))", Some("")),
            ("os.environ.get('DEBUG', True)", Some("")),
            ("os.environ.get('DEBUG', 'yes')", Some("")),
            ("str(os.environ.get('DEBUG', True)) == 'True'", Some("")),
            ("os.environ.get('DEBUG', 'False') == 'True'", None),
            ("os.environ.get('DEBUG')", None),
        ] {
            assert_eq!(off(value).as_deref(), expected, "{value}");
        }
    }
}
