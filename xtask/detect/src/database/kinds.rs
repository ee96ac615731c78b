//! Variables that choose which kind of database it is.

use std::collections::BTreeMap;

use super::{DATABASE, words};
use crate::modules::{Meaning, Modules};
use crate::place::{Detected, Place};
use crate::python::statement;
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
        let [.., object, dot, last] = asked else {
            return None;
        };
        let lower = object.text.to_lowercase();
        let of_settings = ["conf", "settings"].iter().any(|word| lower.contains(word));
        let mut fields = variables
            .iter()
            .filter(|one| of_settings || !one.value.annotation.is_empty());
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
                // `KIND = settings.KIND`, compared by its own name.
                let named = || match asked {
                    [.., name] if name.kind == TokenKind::Name => field(module.value(name.text)?),
                    _ => None,
                };
                let name = settings::read_at_end(modules, module, asked)
                    .or_else(|| field(asked))
                    .or_else(named);
                if let Some(name) = name {
                    let place = Place::new(module.path, module.number(n));
                    found.entry(name).or_insert((token.text.to_owned(), place));
                }
            }
        }
    }
    found
}

/// The variables whose type is an enumeration of kinds of databases, and what this kind is
/// called there: `class Kind(StrEnum)` with `POSTGRESQL = "POSTGRESQL"`.
pub(super) fn of_an_enum(
    modules: &Modules<'_>,
    variables: &[Detected<ReadVariable>],
) -> BTreeMap<String, (String, Place)> {
    let is_one = |one: &&Detected<ReadVariable>| {
        let words = words(&one.value.name);
        words.iter().any(|word| DATABASE.contains(&word.as_str()))
    };
    let named = variables.iter().filter(is_one).filter_map(|one| {
        let module = modules.at(&one.place.file)?;
        let Meaning::Inside(other, name) = modules.meaning(module, &one.value.annotation) else {
            return None;
        };
        let class = other.definition(&name).filter(|class| class.is_class)?;
        let head = other.lines[class.head].tokens.iter();
        head.into_iter().find(|token| token.text.ends_with("Enum"))?;
        let lines = class.body.clone().map(|n| (n, &other.lines[n]));
        let mut members =
            lines.flat_map(|(n, line)| statement::assignments(line).into_iter().map(move |one| (n, one)));
        let (n, value) = members.find_map(|(n, member)| {
            let value = statement::text_of(member.value)?;
            KINDS
                .contains(&value.to_lowercase().as_str())
                .then_some((n, value))
        })?;
        Some((
            one.value.name.clone(),
            (value, Place::new(other.path, other.number(n))),
        ))
    });
    named.collect()
}

/// Whether a variable has the name of a database, and shows the file that another kind has
/// there: `DATABASE_NAME`, which is `shop.db` where nobody chooses this one.
pub(super) fn names_a_file(
    variable: &ReadVariable,
    words: &[String],
    chosen: &BTreeMap<String, (String, Place)>,
) -> bool {
    let is_name = matches!(words, [before, last] if DATABASE.contains(&before.as_str()) && last == "NAME");
    let is_file = variable
        .default
        .as_deref()
        .is_some_and(|text| text.ends_with(".db"));
    is_name && is_file && !chosen.is_empty()
}

/// Whether a variable that may be left leads to another database than the app's own: the URL
/// of one that is there only where it is set, as `if REPLICA_URL:` says, or a name that no
/// host and no user stand beside.
pub(super) fn is_of_another(
    modules: &Modules<'_>,
    variable: &Detected<ReadVariable>,
    variables: &[Detected<ReadVariable>],
) -> bool {
    let name = variable.value.name.as_str();
    if variable.value.required || variable.value.default.is_some() {
        return false;
    }
    let stands_for = |end: &str| {
        let before = name.strip_suffix(end)?;
        let mut others = variables.iter().map(|one| one.value.name.as_str());
        (!before.is_empty() && others.any(|other| before.ends_with('_') && other == end)).then_some(before)
    };
    if ["DATABASE_URL", "DB_URL", "POSTGRES_URL"]
        .iter()
        .any(|end| stands_for(end).is_some())
    {
        return is_looked_at(modules, variable);
    }
    let Some(before) = name
        .strip_suffix("DATABASE_NAME")
        .or_else(|| name.strip_suffix("DB_NAME"))
        .filter(|before| !before.is_empty())
    else {
        return false;
    };
    let mut others = variables.iter().map(|one| one.value.name.as_str());
    let is_alone = !others.any(|other| other != name && other.starts_with(before));
    let mut others = variables.iter().map(|one| one.value.name.as_str());
    is_alone && others.any(|other| ["DATABASE_NAME", "DB_NAME", "POSTGRES_DB"].contains(&other))
}

/// Whether the code looks whether a variable is set: `if REPLICA_URL:` of what it is read into.
fn is_looked_at(modules: &Modules<'_>, variable: &Detected<ReadVariable>) -> bool {
    let Some(module) = modules.at(&variable.place.file) else {
        return false;
    };
    let line = (0..module.lines.len()).find(|n| module.number(*n) == variable.place.line);
    let Some(line) = line else { return false };
    let targets = statement::assignments(&module.lines[line]);
    let mut lines = module.lines.iter();
    lines.any(|line| {
        matches!(line.tokens.as_slice(), [word, name, colon]
            if word.is_name("if") && colon.is(":") && targets.iter().any(|one| one.target == name.text))
    })
}

/// The kind of database that a variable's default has, where it is this one.
pub(super) fn shown(variable: &ReadVariable) -> Option<&str> {
    variable.default.as_deref().filter(|text| KINDS.contains(text))
}
