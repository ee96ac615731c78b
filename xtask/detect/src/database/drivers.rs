//! The packages that speak to PostgreSQL: which one the app has, and which one it lacks.

use crate::dependencies::{AskedPackage, Dependencies};
use crate::modules::Modules;
use crate::place::Detected;
use crate::python::TokenKind;
use crate::tree::{Tree, is_of_the_app};

/// What speaks to PostgreSQL where nothing but an extra or a group of the project's
/// brings it: that part has to be installed, too.
pub(crate) fn of_a_part(dependencies: &Dependencies) -> Option<Detected<AskedPackage>> {
    dependencies.of_a_part(&DRIVERS, &[])
}

/// A package that speaks to PostgreSQL, for an app that has a mapper for several databases
/// and nothing that brings one: its list, or a part of it, was made for SQLite.
pub(crate) fn missing(dependencies: &Dependencies, modules: &Modules<'_>) -> Option<&'static str> {
    const MAPPERS: [&str; 9] = [
        "tortoise-orm",
        "databases",
        "django",
        "flask-sqlalchemy",
        "peewee",
        "sqlalchemy",
        "sqlmodel",
        "flask-migrate",
        "advanced-alchemy",
    ];
    const SIGNS: [&str; 5] = ["psycopg", "asyncpg", "pg8000", "aiopg", "postgres"];
    let is_one = |name: &str| SIGNS.iter().any(|sign| name.contains(sign));
    let mut packages = dependencies.packages.iter().map(|one| &one.value);
    let brings = |one: &AskedPackage| {
        is_one(&one.name) || one.extras.iter().any(|extra| is_one(extra)) || one.from_git
    };
    if packages.any(brings) || dependencies.locked.keys().any(|name| is_one(name)) {
        return None;
    }
    let has_mapper = MAPPERS.iter().any(|name| dependencies.has(name));
    has_mapper.then(|| match named(modules) {
        Some(driver) => driver,
        None if is_asynchronous(dependencies, modules) => "asyncpg",
        // Every version of Django's and of SQLAlchemy's takes it.
        None => "psycopg2-binary",
    })
}

/// The package of the driver that the code has in a URL or puts into one:
/// `postgresql+asyncpg://`.
fn named(modules: &Modules<'_>) -> Option<&'static str> {
    const NAMED: [(&str, &str); 5] = [
        ("+asyncpg", "asyncpg"),
        ("+psycopg2", "psycopg2-binary"),
        ("+psycopg", "psycopg[binary]"),
        ("+psycopg_async", "psycopg[binary]"),
        ("+pg8000", "pg8000"),
    ];
    let app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let tokens = app.flat_map(|module| module.lines.iter().flat_map(|line| &line.tokens));
    let mut texts = tokens.filter(|token| token.kind == TokenKind::Text);
    texts.find_map(|token| {
        let (_, rest) = token
            .text
            .split_once("postgresql+")
            .or_else(|| token.text.split_once("postgres+"))?;
        let driver = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        let known = NAMED.iter().find(|(name, _)| name[1..] == *driver)?;
        Some(known.1)
    })
}

/// Whether nothing but an asynchronous driver will do.
fn is_asynchronous(dependencies: &Dependencies, modules: &Modules<'_>) -> bool {
    const PACKAGES: [&str; 5] = ["aiosqlite", "aiomysql", "asyncmy", "databases", "tortoise-orm"];
    const CALLS: [&str; 2] = ["create_async_engine", "async_engine_from_config"];
    let app = || modules.all.iter().filter(|module| is_of_the_app(module.path));
    PACKAGES.iter().any(|name| dependencies.has(name))
        || app().any(|module| module.calls().any(|(_, call)| CALLS.contains(&call.last())))
}

/// What speaks to MySQL, in an app that asks for nothing of PostgreSQL's and names it nowhere.
pub(crate) fn of_mysql(tree: &Tree, dependencies: &Dependencies) -> Option<Detected<AskedPackage>> {
    const CLIENTS: [&str; 6] = [
        "mysqlclient",
        "pymysql",
        "aiomysql",
        "asyncmy",
        "mysql-connector-python",
        "mysql-connector",
    ];
    let is_named = |(path, text): (&str, &str)| is_of_the_app(path) && text.contains("postgres");
    if is_there(dependencies) || tree.texts().any(is_named) {
        return None;
    }
    let asked = CLIENTS.iter().find_map(|name| dependencies.own(name))?;
    Some(asked.clone())
}

/// What speaks to PostgreSQL.
pub(crate) const DRIVERS: [&str; 7] = [
    "psycopg",
    "psycopg-binary",
    "psycopg-c",
    "psycopg2",
    "psycopg2-binary",
    "asyncpg",
    "pg8000",
];

/// The packages that speak to PostgreSQL, of all that are asked for.
pub(super) fn drivers(dependencies: &Dependencies) -> impl Iterator<Item = &Detected<AskedPackage>> {
    let packages = dependencies.packages.iter();
    packages.filter(|one| DRIVERS.contains(&one.value.name.as_str()))
}

/// Whether the app has one, be it by another package of its lock.
pub(super) fn is_there(dependencies: &Dependencies) -> bool {
    let mut locked = dependencies.locked.keys();
    drivers(dependencies).next().is_some() || locked.any(|name| DRIVERS.contains(&name.as_str()))
}

pub(super) fn has_psycopg(dependencies: &Dependencies) -> bool {
    ["psycopg", "psycopg-binary", "psycopg-c"]
        .iter()
        .any(|name| dependencies.has(name))
}
