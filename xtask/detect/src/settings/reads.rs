//! What a line or a call reads of the environment.

use super::forms::{self, Form};
use crate::modules::{Definition, Meaning, Module, Modules};
use crate::python::statement::{self, Call};
use crate::python::{Line, Token, TokenKind};

/// What a line reads.
pub(crate) struct Read {
    pub(crate) name: String,
    pub(crate) default: Default,
    pub(super) annotation: String,
    pub(crate) form: Form,
    pub(super) is_made: bool,
    pub(super) is_refused: bool,
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

/// `os.environ["NAME"]`, and not where it is set.
pub(super) fn subscripts(modules: &Modules<'_>, module: &Module<'_>, line: &Line<'_>) -> Vec<Read> {
    let all = all_subscripted(modules, module, &line.tokens).into_iter();
    all.map(|(name, is_set)| Read {
        name,
        default: if is_set { Default::Other } else { Default::None },
        annotation: String::new(),
        form: Form::Text,
        is_made: false,
        is_refused: false,
    })
    .collect()
}

/// The first variable that tokens read in that way.
pub(crate) fn subscripted(
    modules: &Modules<'_>,
    module: &Module<'_>,
    tokens: &[Token<'_>],
) -> Option<String> {
    let all = all_subscripted(modules, module, tokens).into_iter();
    all.map(|(name, _)| name).next()
}

/// Each variable that stands in brackets behind the environment, and whether it is set there.
pub(crate) fn all_subscripted(
    modules: &Modules<'_>,
    module: &Module<'_>,
    tokens: &[Token<'_>],
) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for n in 0..tokens.len() {
        if n > 0 && tokens[n - 1].is(".") {
            continue;
        }
        let Some((name, length)) = statement::dotted(&tokens[n..]) else {
            continue;
        };
        let rest = &tokens[n + length..];
        if !rest.first().is_some_and(|open| open.is("[")) || !is_environment(modules, module, &name) {
            continue;
        }
        let Some((inside, after)) = statement::bracketed(rest) else {
            continue;
        };
        let is_set = after.first().is_some_and(|next| next.is("=") || next.is("+="));
        found.extend(statement::text_of(inside).map(|name| (name, is_set)));
    }
    found
}

/// What Flask and Quart read by `app.config.from_prefixed_env("SHOP")`, as far as it is
/// known by its name: the key that signs sessions.
pub(super) fn prefixed(modules: &Modules<'_>, module: &Module<'_>, line: &Line<'_>) -> Vec<(Read, bool)> {
    let calls = statement::calls(&line.tokens).into_iter();
    let calls = calls.filter(|call| call.last() == "from_prefixed_env");
    let by_itself = || {
        let quart = module.calls().any(|(_, call)| {
            matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if name.starts_with("quart."))
        });
        let name = if quart { "QUART" } else { "FLASK" };
        name.to_owned()
    };
    calls
        .map(|call| {
            let prefix = call.text("prefix", 0).unwrap_or_else(by_itself);
            let read = Read {
                name: format!("{prefix}_SECRET_KEY"),
                default: Default::Other,
                annotation: String::new(),
                form: Form::Text,
                is_made: false,
                is_refused: false,
            };
            (read, true)
        })
        .collect()
}

pub(super) fn is_environment(modules: &Modules<'_>, module: &Module<'_>, name: &str) -> bool {
    matches!(modules.meaning(module, name), Meaning::Outside(name) if name == "os.environ")
}

/// `os.getenv("NAME", "x")`, `env.str("NAME")`, `config("NAME", default=1)`.
pub(super) fn calls(modules: &Modules<'_>, module: &Module<'_>, line: &Line<'_>) -> Vec<Read> {
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
        Meaning::Outside(name)
            if ["environs.env", "envparse.env"].iter().any(|own| {
                let rest = name.strip_prefix(own);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }) =>
        {
            ("environs.Env".to_owned(), None)
        }
        Meaning::Outside(name) => (name, None),
        Meaning::Inside(other, name) => match made_by(modules, other, &name) {
            Some((outside, call)) => (outside, Some(call)),
            None => match another_name_of(modules, other, &name) {
                Some(outside) => (outside, None),
                None => return read_by_its_own(other, &name, call),
            },
        },
        Meaning::Unknown => return None,
    };
    let read = |name: String, default: Option<&[Token<'_>]>, otherwise: Default| Read {
        name,
        default: default.map_or(otherwise, of_value),
        annotation: String::new(),
        form: Form::Text,
        is_made: false,
        is_refused: false,
    };
    let first = || call.positional(0).and_then(statement::text_of);
    match outside.as_str() {
        // What one of them gave has methods of its own.
        "os.getenv" | "os.environ.get" if declared.is_none() => {
            Some(read(first()?, call.argument("default", 1), Default::Other))
        }
        "os.environ.setdefault" | "os.environ.pop" if declared.is_none() => {
            Some(read(first()?, call.positional(1), Default::None))
        }
        "decouple.config"
        | "starlette.config.Config"
        | "environs.Env"
        | "environs.FileAwareEnv"
        | "envparse.Env"
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
            let scheme = declared.as_ref().and_then(|made| made.named(&name));
            let mut read = read(name, default.or(ahead), Default::None);
            read.form = forms::of_call(call, scheme);
            Some(read)
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

/// The variable that a value is read from, and that has to be set.
pub(crate) fn wanted(modules: &Modules<'_>, module: &Module<'_>, value: &[Token<'_>]) -> Option<String> {
    let (call, rest) = statement::call_at(value)?;
    let read = read_by(modules, module, &call).filter(|_| rest.is_empty())?;
    matches!(read.default, Default::None).then_some(read.name)
}

/// The variable whose value the tokens end with: a call that reads it, or the name of
/// a setting that does.
pub(crate) fn read_at_end(
    modules: &Modules<'_>,
    module: &Module<'_>,
    tokens: &[Token<'_>],
) -> Option<String> {
    Some(read_behind(modules, module, tokens)?.name)
}

/// How it is read there.
pub(super) fn read_behind(modules: &Modules<'_>, module: &Module<'_>, tokens: &[Token<'_>]) -> Option<Read> {
    let last = tokens.last()?;
    let of = |module: &Module<'_>, value: &[Token<'_>]| {
        let calls = statement::calls(value);
        calls.iter().find_map(|call| read_by(modules, module, call))
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

/// What a name stands for that another one was given: `env = os.environ.get`.
fn another_name_of(modules: &Modules<'_>, module: &Module<'_>, name: &str) -> Option<String> {
    const READERS: [&str; 2] = ["os.environ.get", "os.getenv"];
    let value = module.value(name)?;
    let (dotted, length) = statement::dotted(value)?;
    match modules.meaning(module, &dotted) {
        Meaning::Outside(name) if length == value.len() && READERS.contains(&name.as_str()) => Some(name),
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
    let says_so = |word| matches!(call.named(word), Some([value]) if value.is_name("True"));
    let is_required = ["required", "mandatory"].into_iter().any(says_so) || needs_it(module, function);
    let otherwise = if is_required {
        Default::None
    } else {
        Default::Other
    };
    let default = call.argument("default", 1).map_or(otherwise, of_value);
    let is_json = || {
        let mut whole = module.body(function).iter().flat_map(|line| &line.tokens);
        whole.any(|token| token.is_name("loads"))
    };
    // What is no list there may be a plain text.
    let form = match default {
        Default::Other if is_json() => Form::Json(Box::new(Form::Text)),
        _ => Form::Text,
    };
    (is_one && (of_environment || reads())).then(|| Read {
        name: variable,
        default,
        annotation: String::new(),
        form,
        is_made: false,
        is_refused: false,
    })
}

/// Whether a function that reads a variable of the name that it is given has nothing else to
/// return: `def need(name): return os.environ[name]`.
fn needs_it(module: &Module<'_>, function: &Definition<'_>) -> bool {
    let parameters = statement::head(&module.lines[function.head]).map(|head| head.inside);
    let Some([[name, ..]]) = parameters.as_deref() else {
        return false;
    };
    let mut returned = module
        .body(function)
        .iter()
        .filter(|line| line.tokens.first().is_some_and(|word| word.is_name("return")));
    let [Some(one), None] = [returned.next(), returned.next()] else {
        return false;
    };
    matches!(one.tokens.as_slice(), [.., environ, open, given, close]
        if environ.is_name("environ") && open.is("[") && given.text == name.text && close.is("]"))
}

/// What django-environ reads where no name is given.
fn url_of(method: &str) -> Option<String> {
    let known = [
        ("db", "DATABASE_URL"),
        ("db_url", "DATABASE_URL"),
        ("cache", "CACHE_URL"),
        ("cache_url", "CACHE_URL"),
        ("email", "EMAIL_URL"),
        ("email_url", "EMAIL_URL"),
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

pub(super) fn of_value(tokens: &[Token<'_>]) -> Default {
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
