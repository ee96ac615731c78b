//! Lines that run only where somebody sets a variable, and what the code has for production
//! alone.

use super::classes::ends_the_app;
use super::reads::{Default, is_environment, read_by};
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement;
use crate::python::{Line, Token, TokenKind};
use crate::tree::is_of_the_app;

/// Whether a line runs only where a variable is set that need not be: below
/// `if "NAME" in os.environ:`, or `if USE_S3:` of a switch that is off by itself.
pub(super) fn is_asked_for(modules: &Modules<'_>, module: &Module<'_>, line: usize) -> bool {
    let mut indent = module.lines[line].indent;
    for above in module.lines[..line].iter().rev() {
        if above.indent >= indent {
            continue;
        }
        indent = above.indent;
        if let [word, rest @ ..] = above.tokens.as_slice()
            && (word.is_name("if") || word.is_name("elif"))
            && is_switch(modules, module, rest)
        {
            return true;
        }
        if indent == 0 {
            break;
        }
    }
    false
}

/// Whether what a line cannot read is caught: it stands in a `try:` whose first `except` goes
/// on with something else.
pub(super) fn is_caught(module: &Module<'_>, line: usize) -> bool {
    let mut indent = module.lines[line].indent;
    for (n, above) in module.lines[..line].iter().enumerate().rev() {
        if above.indent >= indent {
            continue;
        }
        indent = above.indent;
        let is_try = matches!(above.tokens.as_slice(), [word, ..] if word.is_name("try"));
        if !is_try {
            continue;
        }
        let after = module.lines[n + 1..].iter();
        let mut after = after.skip_while(|line| line.indent > indent);
        let is_except = after
            .next()
            .and_then(|line| line.tokens.first())
            .is_some_and(|word| word.is_name("except"));
        let goes_on = after.next().is_some_and(|line| !ends_the_app(line));
        if is_except && goes_on {
            return true;
        }
    }
    false
}

/// Whether a module is run by hand or once, such as a migration: what it reads is not asked
/// for at each start.
pub(super) fn is_revision(module: &Module<'_>) -> bool {
    let of_alembic = || {
        ["revision", "down_revision"]
            .iter()
            .all(|name| module.value(name).is_some())
    };
    let of_django = || module.path.contains("/migrations/") && module.definition("Migration").is_some();
    of_alembic() || of_django()
}

/// Whether a condition is met only where somebody sets a variable.
fn is_switch(modules: &Modules<'_>, module: &Module<'_>, condition: &[Token<'_>]) -> bool {
    let end = statement::first(condition, ":").unwrap_or(condition.len());
    let any_word = |word: &'static str| move |token: &Token<'_>| token.is_name(word);
    let ways = condition[..end].split(any_word("or"));
    let mut ways = ways.map(|way| {
        way.split(any_word("and"))
            .any(|part| is_switch_alone(modules, module, part))
    });
    ways.all(|is_one| is_one)
}

fn is_switch_alone(modules: &Modules<'_>, module: &Module<'_>, condition: &[Token<'_>]) -> bool {
    if another_choice(modules, module, condition).is_some() {
        return true;
    }
    let turns = |token: &Token<'_>| {
        token.is_name("not")
            || token.is_name("else")
            || ["!=", "==", "<", ">", "<=", ">="].contains(&token.text)
    };
    if condition.iter().any(turns) {
        return false;
    }
    let membership = condition.windows(2).enumerate().any(|(n, two)| {
        let named = two[0].kind == TokenKind::Text && two[1].is_name("in");
        let of = statement::dotted(condition.get(n + 2..).unwrap_or_default());
        named && of.is_some_and(|(name, _)| is_environment(modules, module, &name))
    });
    membership || is_off(modules, module, condition) || {
        let value = statement::dotted(condition)
            .filter(|(name, length)| *length == condition.len() && !name.contains('.'))
            .and_then(|(name, _)| module.value(&name));
        value.is_some_and(|value| is_off(modules, module, value))
    }
}

/// Of `KIND == "prod"` the variable, what it is where nobody sets it, and what it would have
/// to be; none where that is the same.
fn another_choice(
    modules: &Modules<'_>,
    module: &Module<'_>,
    condition: &[Token<'_>],
) -> Option<(String, String, String)> {
    let equals = statement::first(condition, "==")?;
    let (left, right) = (&condition[..equals], &condition[equals + 1..]);
    let value = match left {
        [name] => module.value(name.text).unwrap_or_default(),
        other => other,
    };
    let calls = statement::calls(value);
    let read = calls.iter().find_map(|call| read_by(modules, module, call))?;
    let chosen = statement::text_of(right).or_else(|| member_of_enum(modules, module, right))?;
    match read.default {
        Default::Text(by_itself) if by_itself != chosen => Some((read.name, by_itself, chosen)),
        _ => None,
    }
}

/// The text that `Kind.S3` stands for, of a class with such names in it.
fn member_of_enum(modules: &Modules<'_>, module: &Module<'_>, tokens: &[Token<'_>]) -> Option<String> {
    let (name, length) = statement::dotted(tokens).filter(|(_, length)| *length == tokens.len())?;
    let name = match length {
        // `Kind.S3.value`
        5.. => name.strip_suffix(".value").unwrap_or(&name).to_owned(),
        _ => name,
    };
    let Meaning::Inside(other, name) = modules.meaning(module, &name) else {
        return None;
    };
    let (class, member) = name.split_once('.')?;
    let class = other.definition(class).filter(|one| one.is_class)?;
    let mut members = other.body(class).iter().flat_map(statement::assignments);
    statement::text_of(members.find(|one| one.target == member)?.value)
}

/// What the code has for production alone, where a variable would have to say that it is, by
/// that variable: without a word the image would run as something else.
pub(crate) fn kept_for_production(modules: &Modules<'_>) -> Vec<(String, Detected<String>)> {
    const PRODUCTION: [&str; 3] = ["live", "prod", "production"];
    let mut found: Vec<(String, Detected<String>)> = Vec::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, line) in module.lines.iter().enumerate() {
            let [word, condition @ ..] = line.tokens.as_slice() else {
                continue;
            };
            if !word.is_name("if") && !word.is_name("elif") {
                continue;
            }
            let end = statement::first(condition, ":").unwrap_or(condition.len());
            let parts = condition[..end].split(|token| token.is_name("and") || token.is_name("or"));
            for (name, by_itself, chosen) in parts.filter_map(|part| another_choice(modules, module, part)) {
                let is_meant = PRODUCTION.contains(&chosen.to_lowercase().as_str());
                if !is_meant || found.iter().any(|(known, _)| *known == name) {
                    continue;
                }
                let note = format!(
                    "{name} is {by_itself:?} where nobody sets it, and the image runs as that: `\"{name}\": {chosen:?}` in \
                     `app.environment` takes what the code has for production, which may ask for more"
                );
                found.push((
                    name,
                    Detected::sure(note, Place::new(module.path, module.number(n))),
                ));
            }
        }
    }
    found
}

/// Whether a module is imported below such conditions alone, as settings for another place
/// to run in are.
pub(super) fn is_imported_on_request(modules: &Modules<'_>, module: &Module<'_>) -> bool {
    let imports_it = |other: &Module<'_>, line: &Line<'_>| {
        let is_it = |name: &str| {
            let found = modules.find(other.path, name);
            found.is_some_and(|found| found.path == module.path)
        };
        statement::imports(line).iter().any(|one| {
            let dot = if one.module.ends_with('.') { "" } else { "." };
            let inside = one.attribute.as_ref();
            is_it(&one.module) || inside.is_some_and(|name| is_it(&format!("{}{dot}{name}", one.module)))
        })
    };
    let others = modules.all.iter().filter(|other| other.path != module.path);
    let mut places = others.flat_map(|other| {
        let lines = other.lines.iter().enumerate();
        let lines = lines.filter(move |(_, line)| imports_it(other, line));
        lines.map(move |(n, _)| is_asked_for(modules, other, n))
    });
    places.next().is_some_and(|first| first && places.all(|one| one))
}

/// Whether a value is that of a variable which says no, or nothing, by itself.
fn is_off(modules: &Modules<'_>, module: &Module<'_>, value: &[Token<'_>]) -> bool {
    let calls = statement::calls(value);
    let mut reads = calls.iter().filter_map(|call| read_by(modules, module, call));
    let says_no =
        |text: &str| ["", "0", "false", "no", "off", "none"].contains(&text.to_lowercase().as_str());
    reads.next().is_some_and(|first| {
        std::iter::once(first)
            .chain(reads)
            .all(|read| match read.default {
                Default::None => false,
                Default::Text(text) => says_no(&text),
                Default::Other => true,
            })
    })
}
