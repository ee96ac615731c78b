//! The environment variables that the code reads, and which of them it cannot
//! do without.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::dependencies::{at, toml_at};
use crate::entry;
use crate::modules::{Definition, Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Assignment, Call};
use crate::python::{Line, Token, TokenKind};
use crate::secrets;
use crate::tree::{Tree, file_name, folder_of, is_example_of_env, is_of_a_start, is_of_the_app, reads_count};

/// A variable, from all places that read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadVariable {
    /// The variable's name, as the app's environment has it.
    pub name: String,
    /// Whether the app cannot do without.
    pub required: bool,
    /// What it is where it is not set, as far as that is a text or a number.
    pub default: Option<String>,
    /// What a file such as `.env.example` shows, and where.
    pub example: Option<Detected<String>>,
    /// The type that the code gives it, such as `PostgresDsn`.
    #[serde(skip)]
    pub(crate) annotation: String,
    /// Its default is a URL that the code makes of other settings.
    #[serde(skip)]
    pub(crate) is_made: bool,
    /// It has a default, with which the app does not start.
    #[serde(skip)]
    pub(crate) is_refused: bool,
    /// The code takes it as what Django and Flask sign sessions with, whatever its name.
    #[serde(skip)]
    pub(crate) is_session_key: bool,
}

/// What a line reads.
pub(crate) struct Read {
    pub(crate) name: String,
    pub(crate) default: Default,
    annotation: String,
    is_made: bool,
    is_refused: bool,
}

/// What a variable is where nobody sets it.
pub(crate) enum Default {
    /// It has to be set.
    None,
    /// A text or a number, as it stands there.
    Text(String),
    /// Something that is not to be told.
    Other,
}

/// All variables, by the first place that reads each.
pub(crate) fn variables(tree: &Tree, modules: &Modules<'_>) -> Vec<Detected<ReadVariable>> {
    let mut found: Vec<Detected<ReadVariable>> = Vec::new();
    let mut merge = |read: Read, is_session_key: bool, place: Place| {
        let (required, default) = match read.default {
            Default::None => (true, None),
            Default::Text(text) => (false, Some(text)),
            Default::Other => (false, None),
        };
        match found.iter_mut().find(|one| one.value.name == read.name) {
            Some(known) => {
                known.value.required &= required;
                known.value.is_session_key |= is_session_key;
                known.value.default = known.value.default.take().or(default);
            }
            None => found.push(Detected::sure(
                ReadVariable {
                    name: read.name,
                    required,
                    default,
                    example: None,
                    annotation: read.annotation,
                    is_made: read.is_made,
                    is_refused: read.is_refused,
                    is_session_key,
                },
                place,
            )),
        }
    };
    let guarded = guarded(modules);
    let own_words = own_words(tree, modules);
    let with_apps = entry::with_apps(tree, modules);
    let of_the_app = |module: &&Module<'_>| {
        let has_app = with_apps.contains(module.path);
        reads_count(module.path) && (has_app || !is_script_beside(tree, modules, module))
    };
    for module in modules.all.iter().filter(of_the_app) {
        let mut on_request = None;
        for (n, line) in module.lines.iter().enumerate() {
            let mut reads = subscripts(modules, module, line);
            reads.extend(calls(modules, module, line));
            let may_be_left = reads.iter().any(|one| matches!(one.default, Default::None))
                && (is_asked_for(modules, module, n)
                    || *on_request.get_or_insert_with(|| is_imported_on_request(modules, module)));
            let mut assigned = statement::assignments(line).into_iter();
            // The first one wins where another stands in for it.
            let mut may_be_key = assigned.any(|one| one.target == "SECRET_KEY") && is_of_settings(module, n);
            for mut read in reads {
                if may_be_left && matches!(read.default, Default::None) {
                    read.default = Default::Other;
                }
                let is_session_key = may_be_key && secrets::may_be_session_key(&read.name, &own_words);
                merge(read, is_session_key, Place::new(module.path, module.number(n)));
                may_be_key = false;
            }
        }
        for class in module.definitions.iter().filter(|one| one.is_class) {
            if is_settings(modules, module, class, 0) {
                for (line, read) in fields(modules, module, class, &guarded) {
                    merge(read, false, Place::new(module.path, line));
                }
            }
        }
    }
    for variable in &mut found {
        variable.value.example = example(tree, &variable.value.name);
    }
    found
}

/// Whether a line stands in a module of settings, or in a class of them.
fn is_of_settings(module: &Module<'_>, line: usize) -> bool {
    const NAMES: [&str; 5] = ["conf", "config", "configuration", "setting", "settings"];
    let path = module.path.trim_end_matches(".py");
    let of_module = path
        .split(['/', '_', '-'])
        .any(|word| NAMES.contains(&word.to_lowercase().as_str()));
    let class = module.class_of(line).map(|class| class.name.to_lowercase());
    of_module || class.is_some_and(|name| name.contains("config") || name.contains("setting"))
}

/// The words of the project's name, and of its packages at the top, in capitals.
fn own_words(tree: &Tree, modules: &Modules<'_>) -> BTreeSet<String> {
    let table = toml_at(tree, "pyproject.toml").map(|(_, table)| table);
    let names = [&["project", "name"][..], &["tool", "poetry", "name"]];
    let named = names
        .iter()
        .filter_map(|keys| at(table.as_ref()?, keys)?.as_str());
    let packages = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let packages = packages.filter_map(|module| {
        let path = module.path.strip_prefix("src/").unwrap_or(module.path);
        Some(path.split_once('/')?.0)
    });
    let words = named.chain(packages).flat_map(|name| name.split(['-', '_', '.']));
    words.map(str::to_uppercase).collect()
}

/// Whether a file is a script that nothing of the app's knows: what it reads is given by
/// whoever runs it, such as a pipeline.
fn is_script_beside(tree: &Tree, modules: &Modules<'_>, module: &Module<'_>) -> bool {
    const FOLDERS: [&str; 6] = ["bin", "ci", "contrib", "docker", "hack", "scripts"];
    let path = module.path;
    let folder = folder_of(path);
    let at_the_top = folder.split('/').next().unwrap_or_default();
    if !FOLDERS.contains(&at_the_top) || tree.has(&format!("{folder}__init__.py")) {
        return false;
    }
    let dotted = path.trim_end_matches(".py").replace('/', ".");
    let stem = dotted.rsplit('.').next().unwrap_or_default();
    let is_imported = modules.all.iter().any(|other| {
        let mut imports = other.lines.iter().flat_map(statement::imports);
        imports.any(|one| {
            let names_it = one.module.ends_with(stem) || one.attribute.as_deref() == Some(stem);
            names_it && other.path != path
        })
    });
    let mut texts = tree
        .texts()
        .filter(|(other, _)| *other != path && !other.ends_with(".lock"));
    // An image may have it in another folder.
    let is_run_by = |other: &str, text: &str| is_of_a_start(other) && has_name(text, file_name(path));
    !is_imported
        && !texts.any(|(other, text)| text.contains(path) || text.contains(&dotted) || is_run_by(other, text))
}

/// Whether a text has a file's name in it, and not as the end of another one.
fn has_name(text: &str, name: &str) -> bool {
    let is_of_a_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    text.match_indices(name).any(|(n, _)| {
        let (before, after) = (&text[..n], &text[n + name.len()..]);
        !before.ends_with(is_of_a_name) && !after.starts_with(is_of_a_name)
    })
}

/// `os.environ["NAME"]`, and not where it is set.
fn subscripts(modules: &Modules<'_>, module: &Module<'_>, line: &Line<'_>) -> Vec<Read> {
    let mut found = Vec::new();
    for n in 0..line.tokens.len() {
        if n > 0 && line.tokens[n - 1].is(".") {
            continue;
        }
        let Some((name, length)) = statement::dotted(&line.tokens[n..]) else {
            continue;
        };
        let rest = &line.tokens[n + length..];
        if !rest.first().is_some_and(|open| open.is("[")) || !is_environment(modules, module, &name) {
            continue;
        }
        let Some((inside, after)) = statement::bracketed(rest) else {
            continue;
        };
        let is_set = after.first().is_some_and(|next| next.is("=") || next.is("+="));
        if let Some(name) = statement::text_of(inside) {
            found.push(Read {
                name,
                default: if is_set { Default::Other } else { Default::None },
                annotation: String::new(),
                is_made: false,
                is_refused: false,
            });
        }
    }
    found
}

/// Whether a line runs only where a variable is set that need not be: below
/// `if "NAME" in os.environ:`, or `if USE_S3:` of a switch that is off by itself.
fn is_asked_for(modules: &Modules<'_>, module: &Module<'_>, line: usize) -> bool {
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
    if is_another_choice(modules, module, condition) {
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

/// `KIND == "prod"`, of a variable that is something else where nobody sets it.
fn is_another_choice(modules: &Modules<'_>, module: &Module<'_>, condition: &[Token<'_>]) -> bool {
    another_choice(modules, module, condition).is_some()
}

/// Of such a condition the variable, what it is by itself, and what it would have to be.
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
    let chosen = statement::text_of(right)?;
    match read.default {
        Default::Text(by_itself) if by_itself != chosen => Some((read.name, by_itself, chosen)),
        _ => None,
    }
}

/// What the code has for production alone, where a variable would have to say that it is:
/// without a word the image would run as something else.
pub(crate) fn kept_for_production(modules: &Modules<'_>) -> Vec<Detected<String>> {
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
    found.into_iter().map(|(_, note)| note).collect()
}

/// Whether a module is imported below such conditions alone, as settings for another place
/// to run in are.
fn is_imported_on_request(modules: &Modules<'_>, module: &Module<'_>) -> bool {
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

fn is_environment(modules: &Modules<'_>, module: &Module<'_>, name: &str) -> bool {
    matches!(modules.meaning(module, name), Meaning::Outside(name) if name == "os.environ")
}

/// `os.getenv("NAME", "x")`, `env.str("NAME")`, `config("NAME", default=1)`.
fn calls(modules: &Modules<'_>, module: &Module<'_>, line: &Line<'_>) -> Vec<Read> {
    let calls = statement::calls(&line.tokens);
    calls
        .iter()
        .filter_map(|call| read_by(modules, module, call))
        .collect()
}

/// The variable that a call reads.
pub(crate) fn read_by(modules: &Modules<'_>, module: &Module<'_>, call: &Call<'_, '_>) -> Option<Read> {
    let (outside, declared) = match modules.meaning(module, &call.path) {
        // The library's own object, made by nobody here.
        Meaning::Outside(name) if name == "environs.env" || name.starts_with("environs.env.") => {
            ("environs.Env".to_owned(), None)
        }
        Meaning::Outside(name) => (name, None),
        Meaning::Inside(other, name) => match made_by(modules, other, &name) {
            Some((outside, call)) => (outside, Some(call)),
            None => return read_by_its_own(other, &name, call),
        },
        Meaning::Unknown => return None,
    };
    let read = |name: String, default: Option<&[Token<'_>]>, otherwise: Default| Read {
        name,
        default: default.map_or(otherwise, of_value),
        annotation: String::new(),
        is_made: false,
        is_refused: false,
    };
    let first = || call.positional(0).and_then(statement::text_of);
    match outside.as_str() {
        "os.getenv" | "os.environ.get" => Some(read(first()?, call.argument("default", 1), Default::Other)),
        "os.environ.setdefault" | "os.environ.pop" => Some(read(first()?, call.positional(1), Default::None)),
        "decouple.config"
        | "starlette.config.Config"
        | "environs.Env"
        | "environs.FileAwareEnv"
        | "environ.Env"
        | "environ.FileAwareEnv" => {
            let last = call.last();
            let given = if call.path.contains('.') {
                first().or_else(|| url_of(last))
            } else {
                first()
            };
            // `env(DEBUG=(bool, False))` and `env.read_env()` name no variable.
            let name = given.filter(|name| is_variable(name))?;
            let ahead = declared.as_ref().and_then(|made| of_scheme(made, &name));
            let default = call.argument("default", default_position(&outside, call));
            Some(read(name, default.or(ahead), Default::None))
        }
        "dj_database_url.config" => {
            let name = call
                .text("env", usize::MAX)
                .unwrap_or_else(|| "DATABASE_URL".to_owned());
            Some(read(name, call.argument("default", 0), Default::Other))
        }
        _ => None,
    }
}

/// The variable that a value is read from, with what it is where nobody sets that.
pub(crate) fn read_with_default<'m, 't>(
    modules: &Modules<'_>,
    module: &Module<'_>,
    value: &'m [Token<'t>],
) -> Option<(String, &'m [Token<'t>])> {
    let (call, rest) = statement::call_at(value)?;
    let read = read_by(modules, module, &call).filter(|_| rest.is_empty())?;
    let default = call.arguments.iter().find(|one| one.name == Some("default"));
    let default = default.or_else(|| call.arguments.iter().filter(|one| one.name.is_none()).nth(1));
    Some((read.name, default?.value))
}

/// The variable whose value the tokens end with: a call that reads it, or the name of
/// a setting that does.
pub(crate) fn read_at_end(
    modules: &Modules<'_>,
    module: &Module<'_>,
    tokens: &[Token<'_>],
) -> Option<String> {
    let last = tokens.last()?;
    let of = |module: &Module<'_>, value: &[Token<'_>]| {
        let calls = statement::calls(value);
        let mut reads = calls.iter().filter_map(|call| read_by(modules, module, call));
        reads.next().map(|read| read.name)
    };
    if last.is(")") {
        return of(module, tokens);
    }
    if last.kind != TokenKind::Name {
        return None;
    }
    match modules.meaning(module, last.text) {
        Meaning::Inside(other, name) => of(other, other.value(&name)?),
        _ => None,
    }
}

/// `get_env("NAME", "x")`, where the project has a function of that kind.
fn read_by_its_own(module: &Module<'_>, name: &str, call: &Call<'_, '_>) -> Option<Read> {
    let function = module.definition(name).filter(|one| !one.is_class)?;
    let mut words = name.split('_');
    let of_environment = words.any(|word| ["env", "getenv", "environ"].contains(&word));
    let variable = call.positional(0).and_then(statement::text_of)?;
    let is_one = is_variable(&variable) && variable.to_uppercase() == variable;
    let reads = || {
        let body = module.body(function).iter();
        let mut whole = body.flat_map(|line| &line.tokens);
        whole.any(|token| token.text == "os" || token.text == "environ")
    };
    (is_one && (of_environment || reads())).then(|| Read {
        name: variable,
        default: call.argument("default", 1).map_or(Default::Other, of_value),
        annotation: String::new(),
        is_made: false,
        is_refused: false,
    })
}

/// What django-environ reads where no name is given.
fn url_of(method: &str) -> Option<String> {
    let known = [
        ("db", "DATABASE_URL"),
        ("cache", "CACHE_URL"),
        ("email", "EMAIL_URL"),
    ];
    known
        .iter()
        .find(|(name, _)| *name == method)
        .map(|(_, variable)| (*variable).to_owned())
}

/// `env` of `env = environ.Env(…)` stands for what made it: its name, and the call.
fn made_by<'m, 't>(
    modules: &Modules<'_>,
    module: &'m Module<'t>,
    name: &str,
) -> Option<(String, Call<'m, 't>)> {
    let object = name.split('.').next()?;
    let (call, _) = statement::call_at(module.value(object)?)?;
    match modules.meaning(module, &call.path) {
        Meaning::Outside(name) => Some((name, call)),
        _ => None,
    }
}

/// Where a call without names has its default, after the variable: `env.str("X", "y")`,
/// but `env("X", str, "y")` of those whose second argument is a type.
fn default_position(reader: &str, call: &Call<'_, '_>) -> usize {
    let takes_type = match reader {
        "starlette.config.Config" => true,
        "environ.Env" | "environ.FileAwareEnv" => {
            let of_lists = ["list", "tuple", "dict"].contains(&call.last());
            of_lists || !call.path.contains('.')
        }
        _ => false,
    };
    if takes_type { 2 } else { 1 }
}

/// The default that `environ.Env(NAME=(bool, False))` declares ahead of all reads.
fn of_scheme<'m, 't>(made: &Call<'m, 't>, name: &str) -> Option<&'m [Token<'t>]> {
    let (inside, _) = statement::bracketed(made.named(name)?)?;
    statement::parts(inside).get(1).copied()
}

pub(crate) fn is_variable(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(good)
}

fn of_value(tokens: &[Token<'_>]) -> Default {
    match tokens {
        [one] if one.kind == TokenKind::Number || one.is_name("True") || one.is_name("False") => {
            Default::Text(one.text.to_owned())
        }
        all => {
            // `SecretStr("x")` is a text that does not show itself.
            let within = statement::call_at(all).map(|(call, _)| call);
            let within = within.filter(|call| call.last() == "SecretStr");
            let text = within.map_or_else(|| statement::text_of(all), |call| call.text("secret_value", 0));
            text.map_or(Default::Other, Default::Text)
        }
    }
}

/// A class on top of pydantic's settings, be it through others.
fn is_settings(modules: &Modules<'_>, module: &Module<'_>, class: &Definition<'_>, depth: usize) -> bool {
    bases(module, class)
        .iter()
        .any(|base| match modules.meaning(module, base) {
            Meaning::Outside(name) => name.starts_with("pydantic") && name.ends_with(".BaseSettings"),
            Meaning::Inside(other, name) => {
                depth < 6
                    && other
                        .definition(&name)
                        .is_some_and(|base| is_settings(modules, other, base, depth + 1))
            }
            Meaning::Unknown => false,
        })
}

fn bases(module: &Module<'_>, class: &Definition<'_>) -> Vec<String> {
    let head = statement::head(&module.lines[class.head]);
    let inside = head.map(|head| head.inside).unwrap_or_default();
    inside
        .into_iter()
        .filter_map(|base| Some(statement::dotted(base)?.0))
        .collect()
}

/// The variables of a settings class, each with its line.
fn fields(
    modules: &Modules<'_>,
    module: &Module<'_>,
    class: &Definition<'_>,
    guarded: &[String],
) -> Vec<(usize, Read)> {
    let prefix = option(modules, module, class, "env_prefix", 0).unwrap_or_default();
    let refused = refused_where_empty(module, class);
    let mut found = Vec::new();
    for one in own_fields(module, class) {
        let line = one.annotation.first().map_or(1, |token| token.line);
        let nested = option(modules, module, class, "env_nested_delimiter", 0).and_then(|delimiter| {
            let (name, _) = statement::dotted(one.annotation)?;
            match modules.meaning(module, &name) {
                Meaning::Inside(other, name) => Some((delimiter, other, other.definition(&name)?)),
                _ => None,
            }
        });
        let name = format!("{prefix}{}", one.target).to_uppercase();
        match nested.filter(|(_, _, class)| class.is_class) {
            Some((delimiter, other, nested)) => {
                for inner in own_fields(other, nested) {
                    let mut read = field(&inner, "");
                    let optional = !one.value.is_empty() && matches!(read.default, Default::None);
                    read.name = format!("{name}{delimiter}{}", inner.target).to_uppercase();
                    read.default = if optional { Default::Other } else { read.default };
                    found.push((inner.annotation.first().map_or(1, |token| token.line), read));
                }
            }
            // It reads its own variables, and code hands it over.
            None if is_settings_itself(modules, module, one.annotation) => {}
            // What the value itself reads is known from there.
            None if reads(modules, module, one.value, &name) => {}
            None => {
                let mut read = field(&one, &prefix);
                let is_off = matches!(one.value, [value] if value.is_name("False"));
                let is_refused = is_empty(one.value) && refused.iter().any(|field| field == one.target);
                let is_guarded =
                    (is_empty(one.value) || is_off) && guarded.iter().any(|field| field == one.target);
                if is_refused || is_guarded {
                    read.default = Default::None;
                    read.is_refused = true;
                }
                found.push((line, read));
            }
        }
    }
    found
}

fn is_empty(value: &[Token<'_>]) -> bool {
    matches!(value, [one] if one.is_name("None"))
        || statement::text_of(value).is_some_and(|text| text.is_empty())
}

/// Fields that a class does not take without a value although they have a default:
/// `if self.debug is False and not self.DSN:` and then `raise`.
fn refused_where_empty(module: &Module<'_>, class: &Definition<'_>) -> Vec<String> {
    let of_class = |one: &&Definition<'_>| {
        let around = one.within.and_then(|around| module.definitions.get(around));
        !one.is_class && around.is_some_and(|around| around.head == class.head)
    };
    let mut found = Vec::new();
    for check in module.definitions.iter().filter(of_class) {
        let decorators = module.lines[check.decorators.clone()].iter();
        let decorators = decorators.filter_map(|line| Some(statement::call_at(line.tokens.get(1..)?)?.0));
        let of_fields: Vec<String> = decorators
            .filter(|call| ["field_validator", "validator"].contains(&call.last()))
            .flat_map(|call| call.arguments)
            .filter_map(|argument| statement::text_of(argument.value))
            .collect();
        let body = module.body(check);
        for (n, condition) in body.iter().enumerate() {
            let begins = condition.tokens.first();
            // Its text is often made in a line of its own.
            let then = body[n + 1..]
                .iter()
                .find(|line| statement::assignments(line).is_empty());
            let raises =
                then.is_some_and(|line| line.tokens.first().is_some_and(|first| first.is_name("raise")));
            if !raises || !begins.is_some_and(|first| first.is_name("if") || first.is_name("elif")) {
                continue;
            }
            for (n, token) in condition.tokens.iter().enumerate() {
                let Some((name, length)) = statement::dotted(&condition.tokens[n..]) else {
                    continue;
                };
                let is_negated = n > 0 && condition.tokens[n - 1].is_name("not");
                let after = &condition.tokens[n + length..];
                let is_none = matches!(after, [is, none, ..] if is.is_name("is") && none.is_name("None"));
                if !is_negated && !is_none || token.is_name("not") {
                    continue;
                }
                match name.strip_prefix("self.") {
                    Some(field) => found.push(field.to_owned()),
                    None if !name.contains('.') => found.extend(of_fields.iter().cloned()),
                    None => {}
                }
            }
        }
    }
    found
}

/// Attributes without which a module ends the app while it is imported:
/// `if not settings.region:` and then `sys.exit(1)`.
fn guarded(modules: &Modules<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, condition) in module.lines.iter().enumerate() {
            let [first, negation, rest @ .., _] = condition.tokens.as_slice() else {
                continue;
            };
            if !first.is_name("if") || !negation.is_name("not") || !module.is_at_the_top(n) {
                continue;
            }
            let block = module.lines[n + 1..].iter();
            let mut block = block.take_while(|line| line.indent > condition.indent);
            let one_condition = !rest
                .iter()
                .any(|token| token.is_name("and") || token.is_name("or"));
            if let [.., dot, name] = rest
                && dot.is(".")
                && one_condition
                && block.any(ends_the_app)
            {
                found.push(name.text.to_owned());
            }
        }
    }
    found
}

fn ends_the_app(line: &Line<'_>) -> bool {
    let raises = line.tokens.first().is_some_and(|first| first.is_name("raise"));
    let calls = statement::calls(&line.tokens);
    let exits = ["sys.exit", "os._exit", "exit", "quit"];
    raises || calls.iter().any(|call| exits.contains(&call.path.as_str()))
}

/// Whether a field's type is a class of settings of the project's.
fn is_settings_itself(modules: &Modules<'_>, module: &Module<'_>, annotation: &[Token<'_>]) -> bool {
    let Some((name, _)) = statement::dotted(annotation) else {
        return false;
    };
    match modules.meaning(module, &name) {
        Meaning::Inside(other, name) => {
            let class = other.definition(&name).filter(|one| one.is_class);
            class.is_some_and(|class| is_settings(modules, other, class, 0))
        }
        Meaning::Outside(_) | Meaning::Unknown => false,
    }
}

/// Whether a value is `config("NAME")`, of this name.
fn reads(modules: &Modules<'_>, module: &Module<'_>, value: &[Token<'_>], name: &str) -> bool {
    let calls = statement::calls(value);
    let mut read = calls.iter().filter_map(|call| read_by(modules, module, call));
    read.any(|read| read.name == name)
}

/// Annotated names, without what pydantic does not take for a field.
fn own_fields<'m, 't>(module: &'m Module<'t>, class: &Definition<'t>) -> Vec<Assignment<'m, 't>> {
    let within = |n: &usize| module.class_of(*n).is_some_and(|one| one.head == class.head);
    let lines = class.body.clone().filter(within);
    let all = lines.flat_map(|n| statement::assignments(&module.lines[n]));
    all.filter(|one| {
        let fixed = one
            .annotation
            .first()
            .is_none_or(|first| first.text == "ClassVar");
        !fixed && one.target != "model_config" && !one.target.starts_with('_')
    })
    .collect()
}

fn field(one: &Assignment<'_, '_>, prefix: &str) -> Read {
    let name = format!("{prefix}{}", one.target).to_uppercase();
    let annotation: String = one.annotation.iter().map(|token| token.text).collect();
    let described = |tokens| {
        statement::call_at(tokens)
            .map(|(call, _)| call)
            .filter(|call| call.last() == "Field")
    };
    // `Annotated[str, Field(alias="X")]` describes in the annotation.
    let in_annotation = statement::calls(one.annotation)
        .into_iter()
        .find(|call| call.last() == "Field");
    let in_value = described(one.value);
    let alias = [&in_value, &in_annotation].into_iter().flatten().find_map(alias);
    let default = match &in_value {
        None if one.value.is_empty() => Default::None,
        None => of_value(one.value),
        Some(call) if call.named("default_factory").is_some() => Default::Other,
        Some(call) => match call.argument("default", 0) {
            None => Default::None,
            Some([dots]) if dots.is("...") => Default::None,
            Some(value) => of_value(value),
        },
    };
    let of_parts = |token: &Token<'_>| {
        token.kind == TokenKind::Formatted && token.text.contains('{') && token.text.contains('@')
    };
    Read {
        name: alias.unwrap_or(name),
        default,
        annotation,
        is_made: one.value.iter().any(of_parts),
        is_refused: false,
    }
}

fn alias(call: &Call<'_, '_>) -> Option<String> {
    let given = ["validation_alias", "alias", "env"]
        .iter()
        .find_map(|name| call.named(name))?;
    // `AliasChoices("A", "B")` and `["A", "B"]` take the first that is set.
    let text = given.iter().find(|token| token.kind == TokenKind::Text)?;
    Some(text.text.to_uppercase())
}

/// A setting of a settings class, its own or one that it inherits.
fn option(
    modules: &Modules<'_>,
    module: &Module<'_>,
    class: &Definition<'_>,
    key: &str,
    depth: usize,
) -> Option<String> {
    let own = module.body(class).iter().find_map(|line| {
        line.tokens.windows(3).find_map(|three| {
            let named = three[0].text == key && (three[1].is("=") || three[1].is(":"));
            (named && three[2].kind == TokenKind::Text).then(|| three[2].text.to_owned())
        })
    });
    own.or_else(|| {
        bases(module, class)
            .iter()
            .filter(|_| depth < 6)
            .find_map(|base| match modules.meaning(module, base) {
                Meaning::Inside(other, name) => {
                    option(modules, other, other.definition(&name)?, key, depth + 1)
                }
                _ => None,
            })
    })
}

/// What `.env.example` and its like show for a variable; the highest file first.
fn example(tree: &Tree, name: &str) -> Option<Detected<String>> {
    let mut files: Vec<(&str, &str)> = tree
        .texts()
        .filter(|(path, _)| is_example_of_env(file_name(path)))
        .collect();
    files.sort_by_key(|(path, _)| path.matches('/').count());
    files.into_iter().find_map(|(path, text)| {
        text.lines().enumerate().find_map(|(n, line)| {
            let line = line.trim().trim_start_matches("export ");
            let (key, value) = line.split_once('=')?;
            let value = value
                .split(" #")
                .next()
                .unwrap_or_default()
                .trim()
                .trim_matches(['"', '\'']);
            let same = key.trim().eq_ignore_ascii_case(name) && !value.is_empty();
            same.then(|| Detected::sure(value.to_owned(), Place::new(path, n + 1)))
        })
    })
}
