//! Apps that no variable leads to their database.

use serde::Serialize;

use super::GivenVariable;
use super::drivers::{drivers, is_there};
use crate::dependencies::{AskedBy, Dependencies};
use crate::django;
use crate::modules::Modules;
use crate::place::{Detected, Place};
use crate::python::TokenKind;
use crate::python::statement;
use crate::tree::{Tree, file_name, folder_of, is_of_the_app, reads_count};

/// What the app takes the place of its database from, where that is no variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unled {
    /// The package that speaks to PostgreSQL.
    pub driver: String,
    /// A file of settings that is not there, and the example beside it that shows it.
    pub file: String,
    /// That example.
    pub example: String,
}

/// An app that wants settings in a file that each installation writes for itself, such as
/// `configuration.py` beside `configuration_example.py`, and reads no variable that leads to
/// its database.
pub(crate) fn unled(
    tree: &Tree,
    dependencies: &Dependencies,
    database: &[Detected<GivenVariable>],
) -> Option<Detected<Unled>> {
    const KINDS: [&str; 6] = ["example", "sample", "template", "dist", "default", "tpl"];
    let driver = drivers(dependencies).find(|one| one.value.by == AskedBy::Project)?;
    let of_settings = |name: &str| {
        let words: Vec<&str> = name.split(['_', '-', '.']).collect();
        let settings = ["config", "configuration", "settings"];
        words.iter().any(|word| settings.contains(word))
    };
    // Examples of a server's or of a log's settings are there, too.
    let shows_a_database = |example: &str| {
        let text = tree.text(example).unwrap_or_default().to_uppercase();
        let signs = ["DATABASE", "POSTGRES", "DB_HOST", "'HOST'", "\"HOST\""];
        signs.iter().any(|sign| text.contains(sign))
    };
    let mut files = tree.paths().filter(|path| reads_count(path));
    files.find_map(|example| {
        let stem = file_name(example).strip_suffix(".py")?;
        let (stem, kind) = stem.rsplit_once(['_', '-', '.'])?;
        let file = format!("{}{stem}.py", folder_of(example));
        let is_wanted = KINDS.contains(&kind) && of_settings(stem) && !tree.has(&file) && database.is_empty();
        let is_wanted = is_wanted && shows_a_database(example);
        let unled = Unled {
            driver: driver.value.name.clone(),
            file,
            example: example.to_owned(),
        };
        is_wanted.then(|| Detected::likely(unled, driver.place.clone()))
    })
}

/// Where the code says which database it speaks to, of an app with a driver of PostgreSQL and
/// no variable that leads there: Django's `DATABASES`, what makes an engine, or a connection.
pub(crate) fn unread(
    modules: &Modules<'_>,
    dependencies: &Dependencies,
    database: &[Detected<GivenVariable>],
) -> Option<Place> {
    const NAMES: [&str; 2] = ["DATABASES", "SQLALCHEMY_DATABASE_URI"];
    const CALLS: [&str; 5] = [
        "create_engine",
        "create_async_engine",
        "engine_from_config",
        "async_engine_from_config",
        "create_pool",
    ];
    if !database.is_empty() || !is_there(dependencies) {
        return None;
    }
    let counted = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let counted: Vec<_> = counted
        .filter(|module| !django::is_of_developers(module.path.trim_end_matches(".py")))
        .collect();
    let named = counted.iter().find_map(|module| {
        let (n, _) = module.lines.iter().enumerate().find(|(_, line)| {
            let assigned = statement::assignments(line);
            let is_key = line
                .tokens
                .iter()
                .any(|token| token.kind == TokenKind::Text && token.text == NAMES[1]);
            assigned.iter().any(|one| NAMES.contains(&one.target)) || is_key
        })?;
        Some(Place::new(module.path, module.number(n)))
    });
    named.or_else(|| {
        counted.iter().find_map(|module| {
            let (n, _) = module.calls().find(|(_, call)| CALLS.contains(&call.last()))?;
            Some(Place::new(module.path, module.number(n)))
        })
    })
}
