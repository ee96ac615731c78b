//! What a person should know or look at, since no rule can decide it.

use crate::database::GivenVariable;
use crate::entry::AppObject;
use crate::migrations;
use crate::modules::Modules;
use crate::place::{Detected, Place};
use crate::python::statement;
use crate::sqlite;
use crate::tree::{Tree, file_name, folder_of, is_of_the_app, reads_count};

/// All of them, and what they say of the database.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) all: Vec<Detected<String>>,
    /// Whether the app keeps data in SQLite.
    pub(crate) has_sqlite: bool,
    /// Whether the code itself says which database it speaks to.
    pub(crate) names_a_database: bool,
}

/// What URLs of databases begin with, before a `+` and the driver.
const SCHEMES: [&str; 8] = [
    "cockroachdb",
    "mariadb",
    "mssql",
    "mysql",
    "oracle",
    "postgres",
    "postgresql",
    "sqlite",
];

/// A database that stands in the code and not in the environment, and what a start of the
/// project's own does that the image does not.
pub(crate) fn find(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Option<&Detected<AppObject>>,
    database: &[Detected<GivenVariable>],
) -> Notes {
    let mut found = sqlite::notes(tree, modules, app, database);
    let has_sqlite = !found.is_empty();
    let mut names_a_database = has_sqlite;
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, call) in module.calls() {
            let makes =
                ["create_engine", "create_async_engine", "connect", "create_pool"].contains(&call.last());
            let url = call.positional(0).and_then(|tokens| {
                let own = statement::text_of(tokens);
                own.or_else(|| statement::text_of(module.value(&statement::dotted(tokens)?.0)?))
            });
            // Brokers and sockets are connected to, too.
            let url = url.filter(|url| makes && !sqlite::is_of_a_file(url));
            let scheme = url.as_deref().and_then(|url| Some(url.split_once("://")?.0));
            let is_a_databases =
                |scheme: &&str| SCHEMES.contains(&scheme.split('+').next().unwrap_or_default());
            if let Some(scheme) = scheme.filter(is_a_databases) {
                let note =
                    format!("the code itself names a database ({scheme}://…): let it read DATABASE_URL");
                found.push(Detected::likely(note, Place::new(module.path, module.number(n))));
                names_a_database = true;
            }
        }
    }
    found.extend(copied_into_place(tree));
    found.extend(migrations::without_revisions(tree, modules));
    if tree.is_cut {
        let note = "there are more files than are looked at: the rest is not known".to_owned();
        found.push(Detected::sure(note, Place::new(".", 1)));
    }
    Notes {
        all: found,
        has_sqlite,
        names_a_database,
    }
}

/// Modules that a Dockerfile puts where the project has none: the image has what lies in the
/// project's folder alone.
fn copied_into_place(tree: &Tree) -> Vec<Detected<String>> {
    let mut found: Vec<Detected<String>> = Vec::new();
    let files = tree
        .texts()
        .filter(|(path, _)| file_name(path).contains("Dockerfile") && reads_count(path));
    for (path, text) in files {
        for (n, line) in text.lines().enumerate() {
            let line = line.trim().trim_end_matches('\\').trim().trim_end_matches(';');
            for command in line.split("&&") {
                let words: Vec<&str> = command.split_whitespace().collect();
                let [.., from, to] = words.as_slice() else {
                    continue;
                };
                let copies = words
                    .iter()
                    .any(|word| ["cp", "COPY", "ADD", "mv"].contains(word));
                let [from, to] = [from, to].map(|word| word.trim_start_matches("./"));
                let is_module = |file: &str| file.ends_with(".py");
                if !copies || !is_module(from) || !is_module(to) || !tree.has(from) {
                    continue;
                }
                // The image's own folder stands before it.
                let mut ends = std::iter::once(to).chain(to.match_indices('/').map(|(n, _)| &to[n + 1..]));
                let place = ends.find(|end| {
                    let folder = folder_of(end);
                    let is_there = tree.paths().any(|path| path.starts_with(folder));
                    !folder.is_empty() && is_there
                });
                if let Some(place) = place.filter(|place| !tree.has(place)) {
                    let note = format!(
                        "{from} is copied to {place}, which the image has not: `cp {from} {place}` in the app's folder puts \
                         it there"
                    );
                    found.push(Detected::likely(note, Place::new(path, n + 1)));
                }
            }
        }
    }
    found
}
