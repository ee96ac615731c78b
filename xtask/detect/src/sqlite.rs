//! Data that an app keeps in SQLite: a file of the container's own, which ends with it.

use crate::database::{GivenVariable, KINDS};
use crate::django;
use crate::entry::AppObject;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, Token, TokenKind};
use crate::settings;
use crate::tree::{Tree, is_of_the_app};

/// Django's own module for it, and the one for what an image has.
const OF_DJANGO: &str = "django.db.backends.sqlite3";
const POSTGRESQL_OF_DJANGO: &str = "django.db.backends.postgresql";

const INSTEAD: &str =
    "lost with the container: let it read DATABASE_URL, or keep the file in a folder of `app.directories`";

/// What says that data is kept so, a note for each line. A default of a variable that the
/// image gives says nothing.
pub(crate) fn notes(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
    database: &[Detected<GivenVariable>],
) -> Vec<Detected<String>> {
    let mut found: Vec<Detected<String>> = Vec::new();
    let chosen: Vec<Detected<GivenVariable>> = database
        .iter()
        .filter(|one| KINDS.contains(&one.value.value.as_str()))
        .cloned()
        .collect();
    let served = app.and_then(|app| django::settings_with(modules, &app.place.file));
    // Commands of Django's own kind are run by hand, on files that somebody names.
    let serves = |path: &str| is_of_the_app(path) && !path.contains("/management/commands/");
    let served_modules = modules.all.iter().filter(|module| serves(module.path));
    for module in served_modules.filter(|module| !settings::is_script_beside(tree, modules, module)) {
        // What a module that knows of the choice has for another kind of database is not used.
        let is_chosen = module.lines.iter().any(|line| is_given(line, &chosen, None));
        for (n, line) in module.lines.iter().enumerate() {
            if is_of_developers(module, n) {
                continue;
            }
            let mut add = |line: usize, note: String| {
                let place = Place::new(module.path, line);
                if !found.iter().any(|one| one.place == place) {
                    found.push(Detected::likely(note, place));
                }
            };
            let given = |value: Option<&str>| {
                let reads_one = || {
                    let calls = statement::calls(&line.tokens);
                    let mut read = calls
                        .iter()
                        .filter_map(|call| settings::read_by(modules, module, call));
                    read.any(|read| database.iter().any(|one| one.value.name == read.name))
                };
                is_given(line, database, value)
                    || value.is_none() && (reads_one() || is_otherwise(module, n, database))
            };
            let url = line.tokens.iter().enumerate().find(|(n, token)| {
                // The name of the file comes after it: `"sqlite:///" + folder`.
                let goes_on = line.tokens.get(n + 1).is_some_and(|next| next.is("+"));
                is_url(token) || goes_on && token.text.starts_with("sqlite") && token.text.ends_with(":///")
            });
            let url = url.map(|(_, token)| token);
            if let Some(token) = url.filter(|_| !is_chosen && !given(None)) {
                add(token.line, format!("data is kept in SQLite here, {INSTEAD}"));
            }
            for call in statement::calls(&line.tokens) {
                if let Some(name) = opens(modules, module, &call) {
                    add(call.line, format!("{name} keeps data in SQLite here, {INSTEAD}"));
                }
            }
            let engine = line.tokens.iter().enumerate().find(|(n, token)| {
                // Asked for, and not chosen.
                let is_compared = *n > 0 && ["==", "!="].contains(&line.tokens[n - 1].text);
                token.text == OF_DJANGO && !is_compared
            });
            let engine = engine.map(|(_, token)| token);
            let is_served = served.as_ref().is_none_or(|all| all.contains(module.path));
            if let Some(token) =
                engine.filter(|_| !is_chosen && is_served && !given(Some(POSTGRESQL_OF_DJANGO)))
            {
                let note = match database.is_empty() {
                    true => {
                        "Django keeps its data in SQLite here: let DATABASES read DATABASE_URL, with dj-database-url"
                    }
                    false => {
                        "Django keeps its data in SQLite here, unless other settings come after it: look whether those \
                         of the image lead to PostgreSQL"
                    }
                };
                add(token.line, note.to_owned());
            }
        }
    }
    found
}

/// A URL of a file: `sqlite:///app.db`, `f"sqlite+aiosqlite:///{path}"`.
pub(crate) fn is_of_a_file(url: &str) -> bool {
    let after = url
        .split_once("://")
        .map_or("", |(_, after)| after)
        .trim_start_matches('/');
    let in_memory = after.starts_with('?') || after.contains(":memory:") || after.contains("mode=memory");
    (url.starts_with("sqlite:") || url.starts_with("sqlite+")) && !after.is_empty() && !in_memory
}

fn is_url(token: &Token<'_>) -> bool {
    matches!(token.kind, TokenKind::Text | TokenKind::Formatted) && is_of_a_file(token.text)
}

/// What opens a file of SQLite: Python's own module, and classes of this name.
fn opens(modules: &Modules<'_>, module: &Module<'_>, call: &Call<'_, '_>) -> Option<String> {
    let Meaning::Outside(name) = modules.meaning(module, &call.path) else {
        return None;
    };
    let is_class = |part: &str| ["Sqlite", "SQLite"].iter().any(|begin| part.starts_with(begin));
    let known = ["sqlite3.connect", "aiosqlite.connect"].contains(&name.as_str());
    let in_memory = call.arguments.iter().any(|one| {
        let text = statement::text_of(one.value);
        text.is_some_and(|text| text.contains(":memory:") || text.contains("mode=memory"))
    });
    ((known || name.split('.').any(is_class)) && !in_memory).then(|| call.path.clone())
}

/// Whether a line reads a variable that the image gives, and this value where one is
/// asked for.
fn is_given(line: &Line<'_>, database: &[Detected<GivenVariable>], value: Option<&str>) -> bool {
    let mut given = database
        .iter()
        .map(|one| &one.value)
        .filter(|one| value.is_none_or(|value| one.value == value));
    given.any(|one| {
        let variable = one.name.to_uppercase();
        line.tokens.iter().any(|token| {
            let name = token.text.to_uppercase();
            variable == name || !name.is_empty() && variable.ends_with(&format!("_{name}"))
        })
    })
}

/// Whether a line runs only where a variable that the image gives is not set: in the `else:` of
/// a condition that asks for it.
fn is_otherwise(module: &Module<'_>, line: usize, database: &[Detected<GivenVariable>]) -> bool {
    let mut indent = module.lines[line].indent;
    let mut is_branch = false;
    for above in module.lines[..line].iter().rev() {
        let begins = |word: &str| above.tokens.first().is_some_and(|first| first.is_name(word));
        if above.indent < indent {
            indent = above.indent;
            is_branch = begins("else") || begins("elif");
        } else if above.indent == indent && is_branch {
            if begins("if") || begins("elif") {
                if is_given(above, database, None) && !is_denied(above) {
                    return true;
                }
                is_branch = begins("elif");
            } else if ["async", "for", "except", "match", "try", "while"]
                .iter()
                .any(|word| begins(word))
            {
                // The `else:` is of that.
                is_branch = false;
            }
        }
    }
    false
}

/// Whether a condition holds where its variable is not set: `if not X:`, `if X is None:`.
fn is_denied(line: &Line<'_>) -> bool {
    let is_none = |pair: &[Token<'_>]| pair[0].is_name("is") && pair[1].is_name("None");
    line.tokens.get(1).is_some_and(|word| word.is_name("not")) || line.tokens.windows(2).any(is_none)
}

/// Whether a line is of a class such as `TestingConfig`.
fn is_of_developers(module: &Module<'_>, line: usize) -> bool {
    let around = module.class_of(line).map(|class| class.name.to_lowercase());
    around.is_some_and(|name| {
        ["dev", "local", "test"]
            .iter()
            .any(|begin| name.starts_with(begin))
    })
}
