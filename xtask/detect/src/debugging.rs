//! A `DEBUG` that the code has on where nobody sets it: it shows settings and code to whoever
//! asks for a wrong page.

use std::collections::BTreeSet;

use crate::django::{self, ChosenSettings};
use crate::entry::AppObject;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, TokenKind};
use crate::settings::{self, Default, ReadVariable};
use crate::tree::is_of_the_app;
use crate::words;

/// The setting of Django's, and the name of most others.
const SETTING: &str = "DEBUG";

const NAMES: [&str; 4] = ["DEBUG", "DJANGO_DEBUG", "FLASK_DEBUG", "APP_DEBUG"];

/// A switch that is on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SwitchedOn {
    pub(crate) name: String,
    /// What turns it off, as its code reads it.
    pub(crate) off: String,
    pub(crate) place: Place,
}

impl SwitchedOn {
    /// The sentence for one that stays on: off it may want more.
    pub(crate) fn note(&self) -> String {
        let Self { name, off, .. } = self;
        format!(
            "{name} is on where nobody sets it: `\"{name}\": {off:?}` in `app.environment` turns it off for what others reach"
        )
    }
}

/// The module of settings that Django's server goes by.
pub(crate) fn settings_of<'m, 't>(
    modules: &'m Modules<'t>,
    app: Option<&Detected<AppObject>>,
    chosen: Option<&Detected<ChosenSettings>>,
) -> Option<&'m Module<'t>> {
    let server = app.map_or("", |app| app.place.file.as_str());
    match chosen {
        Some(chosen) => modules.find(server, &chosen.value.module),
        None => django::settings_of(modules, server),
    }
}

/// Each switch that is on, by its name.
pub(crate) fn switched_on(
    modules: &Modules<'_>,
    variables: &[Detected<ReadVariable>],
    settings: Option<&Module<'_>>,
) -> Vec<SwitchedOn> {
    let mut found: Vec<SwitchedOn> = Vec::new();
    for module in counted(modules, settings, SETTING) {
        for (n, line) in module.lines.iter().enumerate() {
            for call in statement::calls(&line.tokens) {
                if let Some((name, off)) = left_on(modules, module, line, &call) {
                    let place = Place::new(module.path, module.number(n));
                    found.push(SwitchedOn { name, off, place });
                }
            }
        }
    }
    // A class of pydantic's knows what each word means.
    for one in variables.iter().filter(|one| !one.value.annotation.is_empty()) {
        let off = one.value.default.as_deref().and_then(words::off);
        if let Some(off) = off.filter(|_| NAMES.contains(&one.value.name.as_str())) {
            let (name, off, place) = (one.value.name.clone(), off.to_owned(), one.place.clone());
            found.push(SwitchedOn { name, off, place });
        }
    }
    let mut told = BTreeSet::new();
    found.retain(|one| told.insert(one.name.clone()));
    found
}

/// Whether the code itself has it on, with no variable that turns it off.
pub(crate) fn is_fixed(modules: &Modules<'_>, settings: Option<&Module<'_>>) -> bool {
    let counted = counted(modules, settings, SETTING).into_iter();
    let mut all = counted.flat_map(|module| module.assignments());
    all.any(|(_, one)| one.target == SETTING && matches!(one.value, [value] if value.is_name("True")))
}

/// Whether the settings are the same without it but for debugging itself. Else the first try
/// would depend on what nobody has named: a redirection to HTTPS that believes no proxy, files
/// in somebody's storage, a variable that production alone wants. Of the projects that were
/// looked at the switch was on in two, and nothing hung on it in either.
pub(crate) fn may_be_off(modules: &Modules<'_>, settings: Option<&Module<'_>>) -> bool {
    let counted = counted(modules, settings, SETTING);
    let has = |name: &str| {
        let mut all = counted.iter().flat_map(|module| module.assignments());
        all.any(|(_, one)| one.target == name)
    };
    let redirects = counted
        .iter()
        .flat_map(|module| module.assignments())
        .any(|(_, one)| one.target == "SECURE_SSL_REDIRECT" && statement::uses(one.value, SETTING));
    let is_behind_a_proxy = has("SECURE_PROXY_SSL_HEADER");
    let wants_more = |module: &&Module<'_>| {
        let mut lines = (0..module.lines.len()).filter(|n| is_for_production(module, *n));
        lines.any(|n| {
            let line = &module.lines[n];
            let assigned = statement::assignments(line);
            let is_secure = |name: &str| name == "SECURE_SSL_REDIRECT" && !is_behind_a_proxy;
            let is_switch = |one: &statement::Assignment<'_, '_>| {
                !is_secure(one.target)
                    && matches!(one.value, [value] if value.is_name("True") || value.is_name("False"))
            };
            // What hosts are let in is looked at by itself.
            let is_known =
                |one: &statement::Assignment<'_, '_>| one.target == django::HOSTS || is_switch(one);
            assigned.is_empty() || !assigned.iter().all(is_known)
        })
    };
    (!redirects || is_behind_a_proxy) && !counted.iter().any(wants_more)
}

/// Whether a line at the top of a module runs only where nothing is debugged: below
/// `if not DEBUG:`, or in what is left of `if DEBUG:`.
fn is_for_production(module: &Module<'_>, line: usize) -> bool {
    let is_debug = |line: &Line<'_>| line.tokens.iter().any(|token| token.is_name(SETTING));
    let begins = |line: &Line<'_>, word: &str| line.tokens.first().is_some_and(|first| first.is_name(word));
    let mut indent = module.lines[line].indent;
    let mut is_other = false;
    for above in module.lines[..line].iter().rev() {
        if is_other && above.indent == indent && begins(above, "if") {
            if is_debug(above) {
                return true;
            }
            is_other = false;
        }
        if above.indent >= indent {
            continue;
        }
        indent = above.indent;
        let is_negated = above
            .tokens
            .iter()
            .any(|token| token.is_name("not") || token.is_name("False"));
        if begins(above, "if") && is_debug(above) && is_negated {
            return true;
        }
        is_other = begins(above, "else") || begins(above, "elif");
    }
    false
}

/// The modules whose reads count: the settings that the server goes by, with what they take
/// in unless they say `setting` themselves; all that are not of developers, where none are
/// known.
pub(crate) fn counted<'m, 't>(
    modules: &'m Modules<'t>,
    settings: Option<&'m Module<'t>>,
    setting: &str,
) -> Vec<&'m Module<'t>> {
    let all = modules.all.iter();
    match settings {
        Some(settings) if settings.assignments().any(|(_, one)| one.target == setting) => vec![settings],
        Some(settings) => {
            let files = django::imported(modules, settings.path);
            all.filter(|module| files.contains(module.path)).collect()
        }
        None => all
            .filter(|module| is_of_the_app(module.path))
            .filter(|module| !django::is_of_developers(module.path.trim_end_matches(".py")))
            .collect(),
    }
}

/// The switch that a call reads and that is on by itself, and what turns it off there.
fn left_on(
    modules: &Modules<'_>,
    module: &Module<'_>,
    line: &Line<'_>,
    call: &Call<'_, '_>,
) -> Option<(String, String)> {
    let read = settings::read_by(modules, module, call)?;
    let Default::Text(default) = read.default else {
        return None;
    };
    if !NAMES.contains(&read.name.as_str()) {
        return None;
    }
    let off = words::off(&default)?;
    let all = statement::calls(&line.tokens);
    let is_number = all.iter().any(|one| one.path == "int");
    let is_of_os =
        matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if name.starts_with("os."));
    let off = match is_of_os {
        _ if is_number => "0",
        // `bool("False")` is true, and so is every text but an empty one.
        true if takes_any_text(line, call, &all) => "",
        _ => off,
    };
    Some((read.name, off.to_owned()))
}

/// Whether what a call of `os` gives is asked for nothing but whether it is empty: it is a
/// value or all of `bool(…)`, or its default is no text, which nothing is compared with.
fn takes_any_text(line: &Line<'_>, call: &Call<'_, '_>, all: &[Call<'_, '_>]) -> bool {
    let is_it = |value| {
        let alone = statement::call_at(value).filter(|(_, rest)| rest.is_empty());
        alone.is_some_and(|(one, _)| one.path == call.path && one.line == call.line)
    };
    let is_value = statement::assignments(line).iter().any(|one| is_it(one.value));
    let in_bool = all
        .iter()
        .any(|one| one.path == "bool" && one.positional(0).is_some_and(is_it));
    let default = call.argument("default", 1).unwrap_or_default();
    is_value || in_bool || default.iter().all(|token| token.kind != TokenKind::Text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn it_is_turned_off_where_nothing_else_hangs_on_it() {
        let may_be_off = |lines: &str| {
            let tree = Tree::single("config.py", &format!("import os\nDEBUG = True\n{lines}\n"));
            super::may_be_off(&Modules::of(&tree), None)
        };
        for lines in [
            "X = 1",
            "if DEBUG:\n    INTERNAL_IPS = ['127.0.0.1']",
            "if not DEBUG:\n    SESSION_COOKIE_SECURE = True\n    ALLOWED_HOSTS = ['*']",
            "SECURE_PROXY_SSL_HEADER = ('a', 'b')\nSECURE_SSL_REDIRECT = not DEBUG",
        ] {
            assert!(may_be_off(lines), "{lines}");
        }
        for lines in [
            "SECURE_SSL_REDIRECT = not DEBUG",
            "if not DEBUG:\n    SECURE_SSL_REDIRECT = True",
            "if DEBUG:\n    A = 1\nelse:\n    STORAGE = os.environ['BUCKET']",
            "if DEBUG:\n    A = 1\nelif CI:\n    A = 2\nelse:\n    import s3",
            "if not settings.DEBUG:\n    sentry.init()",
        ] {
            assert!(!may_be_off(lines), "{lines}");
        }
    }

    #[test]
    fn what_turns_it_off_has_the_form_that_the_code_reads() {
        let off = |value: &str| {
            let text = format!("import os\nimport environ\nenv = environ.Env()\nDEBUG = {value}\n");
            let tree = Tree::single("config.py", &text);
            let found = switched_on(&Modules::of(&tree), &[], None);
            Some(found.into_iter().next()?.off)
        };
        for (value, expected) in [
            ("os.environ.get('DEBUG', 'True') == 'True'", Some("False")),
            (
                "os.getenv('DEBUG', 'true').lower() in ('true', '1')",
                Some("false"),
            ),
            ("os.getenv('DEBUG', '1') == '1'", Some("0")),
            ("env.bool('DEBUG', default=True)", Some("False")),
            ("int(os.environ.get('DEBUG', 1))", Some("0")),
            ("bool(int(os.environ.get('DEBUG', '1')))", Some("0")),
            ("bool(os.environ.get('DEBUG', True))", Some("")),
            ("bool(os.environ.get('DEBUG', 'True'))", Some("")),
            ("os.environ.get('DEBUG', True)", Some("")),
            ("os.environ.get('DEBUG', 'yes')", Some("")),
            ("str(os.environ.get('DEBUG', True)) == 'True'", Some("")),
            ("os.environ.get('DEBUG', 'False') == 'True'", None),
            ("os.environ.get('DEBUG')", None),
        ] {
            assert_eq!(off(value).as_deref(), expected, "{value}");
        }
    }
}
