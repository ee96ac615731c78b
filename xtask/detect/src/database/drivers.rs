//! The packages that speak to PostgreSQL: which one the app has, and which one it lacks.

use crate::dependencies::{AskedPackage, Dependencies};
use crate::place::Detected;

/// What speaks to PostgreSQL where nothing but an extra or a group of the project's
/// brings it: that part has to be installed, too.
pub(crate) fn of_a_part(dependencies: &Dependencies) -> Option<Detected<AskedPackage>> {
    dependencies.of_a_part(&DRIVERS, &[])
}

/// A package that speaks to PostgreSQL, for an app that has a mapper for several databases
/// and nothing that brings one: its list, or a part of it, was made for SQLite.
pub(crate) fn missing(dependencies: &Dependencies) -> Option<&'static str> {
    const MAPPERS: [&str; 8] = [
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
    if packages.any(brings) || dependencies.locked.iter().any(|name| is_one(name)) {
        return None;
    }
    let has_mapper = MAPPERS.iter().any(|name| dependencies.has(name));
    let is_asynchronous = dependencies.has("aiosqlite");
    has_mapper.then_some(match is_asynchronous {
        true => "asyncpg",
        // Every version of Django's and of SQLAlchemy's takes it.
        false => "psycopg2-binary",
    })
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
    let mut locked = dependencies.locked.iter();
    drivers(dependencies).next().is_some() || locked.any(|name| DRIVERS.contains(&name.as_str()))
}

pub(super) fn has_psycopg(dependencies: &Dependencies) -> bool {
    ["psycopg", "psycopg-binary", "psycopg-c"]
        .iter()
        .any(|name| dependencies.has(name))
}
