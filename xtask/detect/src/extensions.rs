//! Extensions of PostgreSQL that the project makes and its database's owner may not.

use crate::place::{Detected, Place};
use crate::tree::{Tree, file_name};

/// What the owner of a database may make by itself (`trusted` in PostgreSQL).
const TRUSTED: [&str; 22] = [
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pg_trgm",
    "pgcrypto",
    "plpgsql",
    "seg",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
];

/// `CREATE EXTENSION` of what only a superuser may make.
pub(crate) fn find(tree: &Tree) -> Vec<Detected<String>> {
    let mut found: Vec<Detected<String>> = Vec::new();
    for (path, text) in tree
        .texts()
        .filter(|(path, _)| path.ends_with(".py") || path.ends_with(".sql"))
        .filter(|(path, _)| !file_name(path).starts_with("test"))
    {
        let is_comment = |line: &str| line.trim_start().starts_with(['#', '-']);
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            let upper = line.to_ascii_uppercase();
            let Some(start) = upper.find("CREATE EXTENSION ") else {
                continue;
            };
            let rest = line.get(start + 17..).unwrap_or_default().trim_start();
            let exists = rest.to_ascii_uppercase().starts_with("IF NOT EXISTS ");
            let rest = if exists { rest[14..].trim_start() } else { rest };
            let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let name: String = rest
                .trim_start_matches(['"', '\\'])
                .chars()
                .take_while(|c| good(*c))
                .collect();
            let known = found.iter().any(|one| one.value == name);
            if !name.is_empty() && !known && !TRUSTED.contains(&name.as_str()) {
                found.push(Detected::sure(name, Place::new(path, n + 1)));
            }
        }
    }
    found
}
