//! Variables that choose which kind of database it is.

use std::collections::BTreeMap;

use super::{DATABASE, words};
use crate::modules::Modules;
use crate::place::{Detected, Place};
use crate::python::{Token, TokenKind};
use crate::settings::{self, ReadVariable};
use crate::tree::is_of_the_app;

/// Words by which code tells which kind of database is meant.
pub(crate) const KINDS: [&str; 4] = ["postgres", "postgresql", "pgsql", "psql"];

/// What stands before the name of each of Django's engines.
pub(super) const ENGINES: &str = "django.db.backends.";

/// Where the code makes Django's engine of a name: `"django.db.backends." + backend`.
pub(super) fn completed_engine(modules: &Modules<'_>) -> Option<Place> {
    let begins = format!("{ENGINES}{{");
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let mut lines = of_the_app.flat_map(|module| module.lines.iter().map(move |line| (module, line)));
    lines.find_map(|(module, line)| {
        let is_one = |token: &&Token<'_>| match token.kind {
            TokenKind::Text => token.text == ENGINES,
            TokenKind::Formatted => token.text.starts_with(&begins),
            _ => false,
        };
        let token = line.tokens.iter().find(is_one)?;
        Some(Place::new(module.path, token.line))
    })
}

/// Whether a variable has the name of an engine alone: `DB_TYPE`, `DATABASE_BACKEND`.
pub(super) fn names_an_engine(variable: &ReadVariable) -> bool {
    let words = words(&variable.name);
    let of_engines = ["BACKEND", "ENGINE", "TYPE"];
    let is_one = matches!(words.as_slice(), [.., before, last]
        if DATABASE.contains(&before.as_str()) && of_engines.contains(&last.as_str()));
    let is_whole = |text: &str| text.starts_with(ENGINES) || text == "postgresql";
    is_one && !variable.default.as_deref().is_some_and(is_whole)
}

/// The variables that choose the kind of database, and the word for this one: what
/// code compares them with, as in `os.getenv("DB") == "postgres"`, or a field of settings.
pub(super) fn compared(
    modules: &Modules<'_>,
    variables: &[Detected<ReadVariable>],
) -> BTreeMap<String, (String, Place)> {
    // `self.settings.DB_ENGINE`, of an object whose class is not to be told here.
    let field = |asked: &[Token<'_>]| {
        let [.., dot, last] = asked else { return None };
        let mut fields = variables.iter().filter(|one| !one.value.annotation.is_empty());
        let named = fields.find(|one| dot.is(".") && one.value.name.eq_ignore_ascii_case(last.text))?;
        Some(named.value.name.clone())
    };
    let mut found = BTreeMap::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, line) in module.lines.iter().enumerate() {
            for (at, token) in line.tokens.iter().enumerate() {
                let is_kind = token.kind == TokenKind::Text && KINDS.contains(&token.text);
                if !is_kind {
                    continue;
                }
                let before = &line.tokens[..at];
                let asked = match before {
                    [asked @ .., sign] if sign.is("==") => asked,
                    // `DB in ("postgres", "postgresql")`: the first one will do.
                    [asked @ .., word, open]
                        if word.is_name("in") && ["(", "[", "{"].contains(&open.text) =>
                    {
                        asked
                    }
                    _ => continue,
                };
                if let Some(name) = settings::read_at_end(modules, module, asked).or_else(|| field(asked)) {
                    let place = Place::new(module.path, module.number(n));
                    found.entry(name).or_insert((token.text.to_owned(), place));
                }
            }
        }
    }
    found
}

/// The kind of database that a variable's default has, where it is this one.
pub(super) fn shown(variable: &ReadVariable) -> Option<&str> {
    variable.default.as_deref().filter(|text| KINDS.contains(text))
}
