//! The environment variables that the code reads, and which of them it cannot
//! do without.

mod classes;
mod conditions;
mod dynaconf;
mod forms;
mod reads;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::dependencies::{at, toml_at};
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Line, TokenKind};
use crate::secrets;
use crate::tree::{Tree, file_name, folder_of, is_example_of_env, is_of_a_start, is_of_the_app, reads_count};
use classes::{fields, guarded, is_settings};
pub(crate) use conditions::kept_for_production;
use conditions::{is_asked_for, is_caught, is_imported_on_request, is_revision};
pub(crate) use forms::{Form, of_line as form_of_line, split_by};
pub(crate) use reads::{Default, Read, is_variable, read_at_end, read_by, read_with_default, wanted};
pub(crate) use reads::{all_subscripted, subscripted};
use reads::{calls, prefixed, subscripts};

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
    /// What a value has to look like.
    #[serde(skip)]
    pub(crate) form: Form,
    /// What another place has where it is not set; this one cannot do without all the same.
    #[serde(skip)]
    pub(crate) elsewhere: Option<Detected<String>>,
    /// It is read while the app starts, and not only where something is asked of it.
    #[serde(skip)]
    pub(crate) is_of_start: bool,
    /// An error that the code raises names it, and says that it must be something.
    #[serde(skip)]
    pub(crate) is_of_an_error: bool,
    /// The code makes the hosts of it by which the app answers.
    #[serde(skip)]
    pub(crate) is_of_hosts: bool,
}

/// All variables, by the first place that reads each. Files of others hold settings for
/// another place to run in: what they cannot do without is not asked for.
pub(crate) fn variables(
    tree: &Tree,
    modules: &Modules<'_>,
    of_others: &BTreeSet<String>,
    with_apps: &BTreeSet<String>,
) -> Vec<Detected<ReadVariable>> {
    let mut found: Vec<Detected<ReadVariable>> = Vec::new();
    let mut defaults = BTreeMap::new();
    let mut merge = |read: Read, (is_session_key, is_of_start): (bool, bool), place: Place| {
        let is_known = found.iter().any(|one| one.value.name == read.name);
        if is_known && of_others.contains(&place.file) {
            return;
        }
        let (required, default) = match read.default {
            Default::None => (true, None),
            Default::Text(text) => (false, Some(text)),
            Default::Other => (false, None),
        };
        if let Some(default) = &default {
            let seen = Detected::sure(default.clone(), place.clone());
            defaults.entry(read.name.clone()).or_insert(seen);
        }
        match found.iter_mut().find(|one| one.value.name == read.name) {
            Some(known) => {
                known.value.required &= required;
                known.value.is_session_key |= is_session_key;
                known.value.is_of_start |= is_of_start;
                if known.value.form == Form::Text {
                    known.value.form = read.form;
                }
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
                    form: read.form,
                    elsewhere: None,
                    is_of_start,
                    is_of_an_error: false,
                    is_of_hosts: false,
                },
                place,
            )),
        }
    };
    // A class without a value is not made, whatever a default says that stands elsewhere.
    let mut of_fields: BTreeMap<String, (Place, bool)> = BTreeMap::new();
    // What a default in another place does not help.
    let mut needed = BTreeMap::new();
    let guarded = guarded(modules);
    let own_words = own_words(tree, modules);
    let of_the_app = |module: &&Module<'_>| {
        reads_count(module.path)
            && (!is_script_beside(tree, modules, module) || with_apps.contains(module.path))
    };
    // What stands in them for another place makes nothing of this one's needless.
    let (others, own): (Vec<_>, Vec<_>) = modules
        .all
        .iter()
        .filter(of_the_app)
        .partition(|module| of_others.contains(module.path));
    for module in own.into_iter().chain(others) {
        let mut on_request = None;
        for (n, line) in module.lines.iter().enumerate() {
            let mut reads = subscripts(modules, module, line);
            reads.extend(calls(modules, module, line));
            let may_be_left = reads.iter().any(|one| matches!(one.default, Default::None))
                && (of_others.contains(module.path)
                    || file_name(module.path) == "manage.py" && !module.is_at_the_top(n)
                    || is_revision(module)
                    || is_caught(module, n)
                    || is_asked_for(modules, module, n)
                    || *on_request.get_or_insert_with(|| is_imported_on_request(modules, module)));
            for (read, is_session_key) in prefixed(modules, module, line) {
                merge(
                    read,
                    (is_session_key, true),
                    Place::new(module.path, module.number(n)),
                );
            }
            let mut assigned = statement::assignments(line).into_iter();
            // The first one wins where another stands in for it.
            let mut may_be_key = assigned.any(|one| one.target == "SECRET_KEY") && is_of_settings(module, n);
            for mut read in reads {
                if read.form == Form::Text {
                    read.form = forms::of_line(line, &read.name);
                }
                if matches!(read.default, Default::Other)
                    && is_of_start(module, n)
                    && is_of_settings(module, n)
                    && is_used_as_text(line, &read.name)
                    && !is_asked_for(modules, module, n)
                    && !is_caught(module, n)
                    && !of_others.contains(module.path)
                {
                    read.default = Default::None;
                } else if may_be_left && matches!(read.default, Default::None) {
                    read.default = Default::Other;
                }
                let is_needed = matches!(read.default, Default::None)
                    && is_of_start(module, n)
                    && is_of_settings(module, n)
                    && !of_others.contains(module.path);
                if is_needed {
                    let place = Place::new(module.path, module.number(n));
                    needed.entry(read.name.clone()).or_insert(place);
                }
                let is_session_key = may_be_key && secrets::may_be_session_key(&read.name, &own_words);
                merge(
                    read,
                    (is_session_key, is_of_start(module, n)),
                    Place::new(module.path, module.number(n)),
                );
                may_be_key = false;
            }
        }
        for class in module.definitions.iter().filter(|one| one.is_class) {
            if is_settings(modules, module, class, 0) {
                for (place, read) in fields(modules, module, class, &guarded) {
                    let is_wanted = matches!(read.default, Default::None);
                    let known = of_fields.entry(read.name.clone());
                    known
                        .and_modify(|(_, all)| *all &= is_wanted)
                        .or_insert((place.clone(), is_wanted));
                    merge(read, (false, true), place);
                }
            }
        }
    }
    for (read, place) in dynaconf::reads(tree, modules) {
        merge(read, (false, true), place);
    }
    if !of_others.is_empty() {
        found.sort_by(|one, next| one.place.cmp(&next.place));
    }
    let wanted = wanted_at_the_start(modules, of_others);
    let said = said_by_errors(modules, of_others);
    let wanted_by_words = named_by(said.iter().filter(|text| is_of_each_start(text)));
    let of_errors = named_by(said.iter());
    for variable in &mut found {
        if let Some(place) = needed
            .remove(&variable.value.name)
            .filter(|_| !variable.value.required)
        {
            variable.place = place;
            variable.value.required = true;
            variable.value.default = None;
        }
        if let Some((place, _)) = of_fields
            .remove(&variable.value.name)
            .filter(|(_, is_wanted)| *is_wanted && !variable.value.required)
        {
            variable.place = place;
            variable.value.required = true;
            variable.value.elsewhere = defaults.remove(&variable.value.name);
        }
        let is_empty = variable.value.default.as_deref().is_none_or(str::is_empty);
        let by_words = is_empty && wanted_by_words.contains(&variable.value.name);
        if !variable.value.required && (by_words || wanted.contains(&variable.value.name)) {
            variable.value.required = true;
            variable.value.is_refused = true;
            variable.value.elsewhere = defaults.remove(&variable.value.name);
        }
        variable.value.is_of_an_error = of_errors.contains(&variable.value.name);
        variable.value.example = example(tree, &variable.value.name);
    }
    found
}

/// Variables without which a module ends the app while it is imported: `if not SITE_URL:` or
/// `if SITE_URL is None:` and then `raise`, of a setting that reads one and has nothing
/// without it.
fn wanted_at_the_start(modules: &Modules<'_>, of_others: &BTreeSet<String>) -> BTreeSet<String> {
    let counted = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let counted = counted.filter(|module| !of_others.contains(module.path));
    let lines = counted.flat_map(|module| (0..module.lines.len()).map(move |n| (module, n)));
    let wanted = lines.filter_map(|(module, n)| {
        let name = match module.lines[n].tokens.as_slice() {
            [first, not, name, colon] if first.is_name("if") && not.is_name("not") && colon.is(":") => name,
            [first, name, is, none, colon]
                if first.is_name("if") && is.is_name("is") && none.is_name("None") && colon.is(":") =>
            {
                name
            }
            _ => return None,
        };
        let then = module.lines.get(n + 1)?;
        let ends = module.is_at_the_top(n) && classes::ends_the_app(then);
        let read = ends.then(|| reads::read_behind(modules, module, std::slice::from_ref(name)));
        let read = read.flatten()?;
        let is_empty = match &read.default {
            Default::Text(text) => text.is_empty(),
            Default::None | Default::Other => true,
        };
        is_empty.then_some(read.name)
    });
    wanted.collect()
}

/// The texts of errors that the code raises where something is not as it must be:
/// `raise RuntimeError("APP_SECRET is required at startup")`.
fn said_by_errors(modules: &Modules<'_>, of_others: &BTreeSet<String>) -> Vec<String> {
    const WANTED: [&str; 5] = [
        "is missing",
        "is not set",
        "must be",
        "must not be empty",
        "required",
    ];
    let counted = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let lines = counted
        .filter(|module| !of_others.contains(module.path))
        .flat_map(|module| &module.lines);
    let raised = lines.filter(|line| line.tokens.first().is_some_and(|token| token.is_name("raise")));
    let said = raised.map(|line| {
        let texts = line.tokens.iter();
        let texts = texts.filter(|token| matches!(token.kind, TokenKind::Text | TokenKind::Formatted));
        texts.map(|token| token.text).collect::<String>()
    });
    let is_wanted = |text: &String| {
        let lower = text.to_lowercase();
        WANTED.iter().any(|sign| lower.contains(sign))
    };
    said.filter(is_wanted).collect()
}

/// Whether an error says that it is of each start, wherever it is raised.
fn is_of_each_start(text: &str) -> bool {
    const WHEN: [&str; 4] = ["at start", "in production", "for production", "to start"];
    let lower = text.to_lowercase();
    WHEN.iter().any(|sign| lower.contains(sign))
}

/// The words of texts that may be names of variables.
fn named_by<'t>(texts: impl Iterator<Item = &'t String>) -> BTreeSet<String> {
    let words = texts.flat_map(|text| {
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.split(move |c| !is_of_a_name(c))
    });
    let words = words.filter(|word| word.contains('_'));
    words.map(str::to_owned).collect()
}

/// Whether a line runs when its module is imported.
fn is_of_start(module: &Module<'_>, line: usize) -> bool {
    module.is_at_the_top(line) || module.class_of(line).is_some()
}

/// Whether a line takes for a text what a variable has without a default, which is nothing
/// where nobody sets it: `os.environ.get("HOSTS").split(",")`, `int(os.getenv("PORT"))`.
fn is_used_as_text(line: &Line<'_>, name: &str) -> bool {
    const TAKE_TEXTS: [&str; 4] = ["int", "float", "Path", "loads"];
    let tokens = line.tokens.as_slice();
    // It is looked at beforehand.
    let texts = tokens
        .iter()
        .filter(|token| token.kind == TokenKind::Text && token.text == name);
    if texts.count() != 1
        || tokens
            .iter()
            .any(|token| token.is_name("or") || token.is_name("if"))
    {
        return false;
    }
    let read = |call: &Call<'_, '_>| {
        let alone = call.arguments.len() == 1 && call.text("key", 0).as_deref() == Some(name);
        alone && ["os.environ.get", "os.getenv", "environ.get", "getenv"].contains(&call.path.as_str())
    };
    (0..tokens.len()).any(|n| {
        if n > 0 && tokens[n - 1].is(".") {
            return false;
        }
        let Some((call, rest)) = statement::call_at(&tokens[n..]) else {
            return false;
        };
        if TAKE_TEXTS.contains(&call.last()) && call.arguments.len() == 1 {
            let given = call.positional(0).and_then(statement::call_at);
            return given.is_some_and(|(given, rest)| rest.is_empty() && read(&given));
        }
        let is_method = matches!(rest, [dot, method, open, ..]
            if dot.is(".") && method.kind == TokenKind::Name && open.is("("));
        is_method && read(&call)
    })
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

/// Folders at the top of a project with what is beside its app.
pub(crate) const BESIDE: [&str; 11] = [
    "bin",
    "ci",
    "contrib",
    "deploy",
    "deployment",
    "dev",
    "docker",
    "hack",
    "infra",
    "scripts",
    "tools",
];

/// Whether a file is a script that nothing of the app's knows: what it reads is given by
/// whoever runs it, such as a pipeline.
pub(crate) fn is_script_beside(tree: &Tree, modules: &Modules<'_>, module: &Module<'_>) -> bool {
    let path = module.path;
    let folder = folder_of(path);
    let at_the_top = folder.split('/').next().unwrap_or_default();
    if !BESIDE.contains(&at_the_top) || tree.has(&format!("{folder}__init__.py")) {
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
pub(crate) fn has_name(text: &str, name: &str) -> bool {
    let is_of_a_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    text.match_indices(name).any(|(n, _)| {
        let (before, after) = (&text[..n], &text[n + name.len()..]);
        !before.ends_with(is_of_a_name) && !after.starts_with(is_of_a_name)
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
