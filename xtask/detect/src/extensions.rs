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

/// A trusted extension by what it brings.
struct Brought {
    name: &'static str,
    /// Its functions, types and operator classes, as PostgreSQL names them where it has not got
    /// them.
    missing: &'static [&'static str],
    /// What in code or SQL is one of them, and cannot be a name of the project's own.
    used: &'static [&'static str],
    /// How Django's migrations make it, as far as they have an operation of its own.
    operation: Option<&'static str>,
}

const BROUGHT: [Brought; 6] = [
    Brought {
        name: "uuid-ossp",
        missing: &[
            "uuid_generate_v4(",
            "uuid_generate_v1(",
            "uuid_generate_v1mc(",
            "uuid_generate_v5(",
        ],
        used: &["uuid_generate_v4(", "uuid_generate_v1", "uuid_generate_v5("],
        operation: None,
    },
    Brought {
        name: "pgcrypto",
        missing: &["crypt(", "gen_salt(", "digest(", "hmac("],
        used: &["gen_salt("],
        operation: Some("CryptoExtension("),
    },
    Brought {
        name: "pg_trgm",
        missing: &[
            "similarity(",
            "word_similarity(",
            "\"gin_trgm_ops\"",
            "\"gist_trgm_ops\"",
        ],
        used: &[
            "gin_trgm_ops",
            "gist_trgm_ops",
            "func.similarity(",
            "func.word_similarity(",
        ],
        operation: Some("TrigramExtension("),
    },
    Brought {
        name: "unaccent",
        missing: &["unaccent("],
        used: &["func.unaccent("],
        operation: Some("UnaccentExtension("),
    },
    Brought {
        name: "citext",
        missing: &["\"citext\""],
        used: &["postgresql.CITEXT", "import CITEXT", " CITEXT("],
        operation: Some("CITextExtension("),
    },
    Brought {
        name: "hstore",
        missing: &["\"hstore\""],
        used: &["postgresql.HSTORE", "import HSTORE", " HSTORE("],
        operation: Some("HStoreExtension("),
    },
];

/// The trusted extension that brings what PostgreSQL says it has not: `uuid_generate_v4()`.
pub(crate) fn that_brings(missing: &str) -> Option<&'static str> {
    let brings = |one: &&Brought| one.missing.iter().any(|name| missing.starts_with(name));
    BROUGHT.iter().find(brings).map(|one| one.name)
}

/// The engine of Django's for data of places, and what it makes.
const OF_GEODJANGO: &str = "django.contrib.gis.db.backends.postgis";
const POSTGIS: &str = "postgis";

/// Where Django's engine for data of places is asked for: it opens GDAL when it is imported.
pub(crate) fn geodjango<'e>(tree: &Tree, found: &'e [Detected<String>]) -> Option<&'e Detected<String>> {
    let is_named = |one: &&Detected<String>| {
        let text = tree.text(&one.place.file).unwrap_or_default();
        one.value == POSTGIS && text.contains(OF_GEODJANGO)
    };
    found.iter().find(is_named)
}

/// What comes with PostgreSQL itself and only a superuser may make.
const OF_POSTGRESQL: [&str; 16] = [
    "adminpack",
    "amcheck",
    "autoinc",
    "bloom",
    "dblink",
    "dict_xsyn",
    "earthdistance",
    "file_fdw",
    "insert_username",
    "moddatetime",
    "pageinspect",
    "pg_buffercache",
    "pg_prewarm",
    "pg_stat_statements",
    "pgrowlocks",
    "pgstattuple",
];

/// Others that packages of PostgreSQL bring, or procedural languages.
const OF_PACKAGES: [&str; 40] = [
    "address_standardizer",
    "age",
    "citus",
    "hll",
    "http",
    "hypopg",
    "ip4r",
    "pg_bigm",
    "pg_cron",
    "pg_hint_plan",
    "pg_ivm",
    "pg_jsonschema",
    "pg_net",
    "pg_partman",
    "pg_qualstats",
    "pg_rational",
    "pg_repack",
    "pg_search",
    "pg_similarity",
    "pg_textsearch",
    "pgaudit",
    "pgmq",
    "pgroonga",
    "pgrouting",
    "pgsodium",
    "pgvectorscale",
    "plperl",
    "plpython3u",
    "plv8",
    "postgis",
    "postgis_raster",
    "postgis_tiger_geocoder",
    "postgis_topology",
    "postgres_fdw",
    "prefix",
    "rum",
    "timescaledb",
    "vchord",
    "vectorscale",
    "wal2json",
];

fn is_known(name: &str) -> bool {
    OF_POSTGRESQL.contains(&name) || OF_PACKAGES.contains(&name)
}

/// What a line makes: by SQL, or as an operation of Django's. A text may speak of it, too:
/// `create extension by hand` ends no statement behind the name, and `… first"` names none that
/// there is. In a file of SQL (`is_sql`) all of it is statements.
fn made_in(line: &str, is_sql: bool) -> Option<String> {
    let good = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    // Its engine makes the extension before the first migration.
    if line.contains(OF_GEODJANGO) {
        return Some(POSTGIS.to_owned());
    }
    if line.contains("BloomExtension(") {
        return Some("bloom".to_owned());
    }
    if let Some((_, rest)) = line.split_once("CreateExtension(") {
        let quoted = rest.strip_prefix(['"', '\''])?;
        return Some(quoted.chars().take_while(good).collect());
    }
    let start = line.to_ascii_uppercase().find("CREATE EXTENSION ")?;
    let rest = line.get(start + 17..)?.trim_start();
    let exists = rest.to_ascii_uppercase().starts_with("IF NOT EXISTS ");
    let rest = if exists { rest[14..].trim_start() } else { rest };
    let unquoted = rest.trim_start_matches(['"', '\\']);
    let name: String = unquoted.chars().take_while(good).collect();
    let behind = unquoted[name.len()..].trim_start().to_ascii_uppercase();
    let goes_on = ["SCHEMA ", "VERSION ", "CASCADE", "WITH "]
        .iter()
        .any(|word| behind.starts_with(word));
    let ends = behind.is_empty() || behind.starts_with([';', '"', '\'', '\\']) || goes_on;
    let is_written = exists || behind.starts_with(';') || unquoted.len() < rest.len();
    let is_one = is_sql || is_written || is_known(&name.to_ascii_lowercase());
    (is_one && ends).then_some(name)
}

/// What the project makes that only a superuser may make, and what it uses and does not make.
pub(crate) fn find(tree: &Tree) -> Vec<Detected<String>> {
    let mut made: Vec<Detected<String>> = Vec::new();
    let mut used: Vec<Detected<String>> = Vec::new();
    for (path, text) in tree
        .texts()
        .filter(|(path, _)| path.ends_with(".py") || path.ends_with(".sql"))
        .filter(|(path, _)| !file_name(path).starts_with("test"))
    {
        let is_comment = |line: &str| line.trim_start().starts_with(['#', '-']);
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !is_comment(line)) {
            let place = || Place::new(path, n + 1);
            for one in &BROUGHT {
                if one.operation.is_some_and(|operation| line.contains(operation)) {
                    add(&mut made, one.name.to_owned(), place());
                } else if one.used.iter().any(|sign| line.contains(sign)) {
                    add(&mut used, one.name.to_owned(), place());
                }
            }
            let Some(name) = made_in(line, path.ends_with(".sql")) else {
                continue;
            };
            // A file of SQL may be run by the container of the database alone, at its first start.
            if !TRUSTED.contains(&name.as_str()) || path.ends_with(".py") || is_of_migrations(path) {
                add(&mut made, name, place());
            }
        }
    }
    used.retain(|one| made.iter().all(|other| other.value != one.value));
    made.retain(|one| !TRUSTED.contains(&one.value.as_str()));
    made.extend(used);
    with_required(made)
}

/// What an extension cannot be made without, by what PostgreSQL and their packages have in the files
/// called `*.control` (`requires`). The image makes one after the other.
const REQUIRED: [(&str, &[&str]); 7] = [
    ("earthdistance", &["cube"]),
    ("pgrouting", &["postgis"]),
    ("postgis_raster", &["postgis"]),
    ("postgis_tiger_geocoder", &["fuzzystrmatch", "postgis"]),
    ("postgis_topology", &["postgis"]),
    ("vchord", &["vector"]),
    ("vectorscale", &["vector"]),
];

/// The same with what they require, each before what requires it. Each image has vector.
fn with_required(found: Vec<Detected<String>>) -> Vec<Detected<String>> {
    let mut all: Vec<Detected<String>> = Vec::new();
    for one in found {
        let required = REQUIRED.iter().find(|(name, _)| *name == one.value);
        for name in required.map_or(&[][..], |(_, names)| *names) {
            if *name != "vector" {
                add(&mut all, (*name).to_owned(), one.place.clone());
            }
        }
        add(&mut all, one.value, one.place);
    }
    all
}

fn add(found: &mut Vec<Detected<String>>, name: String, place: Place) {
    if !name.is_empty() && found.iter().all(|one| one.value != name) {
        found.push(Detected::sure(name, place));
    }
}

/// Whether a file lies where the steps of migrations do.
fn is_of_migrations(path: &str) -> bool {
    path.split('/')
        .any(|part| part.contains("migration") || part == "versions")
}
