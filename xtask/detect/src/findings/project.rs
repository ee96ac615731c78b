//! What a folder says of the project that it is.

use std::collections::BTreeSet;

use crate::dependencies::{self, at, toml_at};
use crate::django::{self, ChosenSettings};
use crate::entry::AppObject;
use crate::modules::Modules;
use crate::place::{Choice, Detected, Place};
use crate::python::TokenKind;
use crate::tree::{Tree, file_name, folder_of, is_of_the_app, is_shell, reads_count};

pub(super) fn description(tree: &Tree) -> Option<Detected<String>> {
    let (text, table) = toml_at(tree, "pyproject.toml")?;
    let paths = [["project", "description"], ["poetry", "description"]];
    let tool = table.get("tool").and_then(toml::Value::as_table);
    let found = at(&table, &paths[0]).or_else(|| at(tool?, &paths[1]))?.as_str()?;
    let one_line = !found.trim().is_empty() && !found.contains(char::is_control);
    let place = Place::of("pyproject.toml", text, "description");
    one_line.then(|| Detected::sure(found.trim().to_owned(), place))
}

/// `DJANGO_SETTINGS_MODULE` of a Dockerfile, of uWSGI's settings, of the Procfile or of a
/// script, as far as it names a module of the project that is not for developers.
pub(super) fn settings_module(tree: &Tree, modules: &Modules<'_>) -> Option<Detected<ChosenSettings>> {
    const NAME: &str = django::SETTINGS;
    let says_how = |path: &str| {
        let name = file_name(path);
        name.contains("Dockerfile") || ["Procfile", "uwsgi.ini"].contains(&name) || is_shell(name)
    };
    let files = tree
        .texts()
        .filter(|(path, _)| says_how(path) && reads_count(path));
    let lines = files.flat_map(|(path, text)| {
        let mut instruction = "";
        let mut goes_on = false;
        text.lines().enumerate().map(move |(n, line)| {
            if !goes_on {
                instruction = line.split_whitespace().next().unwrap_or_default();
            }
            goes_on = line.ends_with('\\');
            (path, n, line, instruction)
        })
    });
    let mut named = lines.filter_map(|(path, n, line, instruction)| {
        // `RUN X=… python manage.py collectstatic` is of that command alone.
        let is_of_all = match file_name(path) {
            "Procfile" => instruction == "web:",
            "uwsgi.ini" => instruction == "env",
            name if is_shell(name) => instruction == "export" || instruction.starts_with(NAME),
            _ => ["ENV", "ARG"].contains(&instruction),
        };
        if !is_of_all {
            return None;
        }
        let (_, rest) = line.split_once(NAME)?;
        let value = rest.trim_start_matches(['=', ' ', '"', '\'']);
        let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c)));
        let value = &value[..end.unwrap_or(value.len())];
        let is_own = value.contains('.') && modules.find(path, value).is_some();
        let is_meant = is_own && !django::is_of_developers(value);
        is_meant.then(|| Detected::sure(value.to_owned(), Place::new(path, n + 1)))
    });
    let found = named.next()?;
    let starts = modules
        .all
        .iter()
        .filter(|module| ["manage.py", "wsgi.py", "asgi.py"].contains(&file_name(module.path)));
    // A function of the project's may set it for all of them.
    let by_itself: BTreeSet<String> = starts
        .flat_map(|module| django::imported(modules, module.path))
        .collect();
    let by_itself = by_itself.iter().filter_map(|path| modules.at(path));
    let mut names = by_itself.filter_map(|module| {
        let mut texts = module.lines.iter().flat_map(|line| &line.tokens);
        texts.find(|token| token.text == NAME)?;
        texts
            .find(|token| token.kind == TokenKind::Text)
            .map(|token| token.text)
    });
    names.any(|name| name != found.value).then(|| {
        let chosen = ChosenSettings {
            module: found.value,
            why: "the project's own image runs with these settings".to_owned(),
        };
        Detected::sure(chosen, found.place)
    })
}

/// Whether the build installs the project itself, so that its modules are found from
/// anywhere.
pub(super) fn is_package(tree: &Tree, member: &str) -> bool {
    let of_packages = toml_at(tree, &format!("{member}pyproject.toml")).is_some_and(|(_, table)| {
        let uv = at(&table, &["tool", "uv", "package"]).and_then(toml::Value::as_bool);
        table.contains_key("build-system") && uv != Some(false)
    });
    of_packages && is_in_its_list(tree, member)
}

/// The variable that gives a project its version, where its build would ask git for that and says
/// no other one for a folder without a history.
pub(super) fn version_from_git(tree: &Tree, member: &str) -> Option<Detected<String>> {
    const ASKED: [(&str, &str); 6] = [
        ("hatch-vcs", "SETUPTOOLS_SCM_PRETEND_VERSION"),
        ("pdm-backend", "PDM_BUILD_SCM_VERSION"),
        ("poetry-dynamic-versioning", "POETRY_DYNAMIC_VERSIONING_BYPASS"),
        ("setuptools-scm", "SETUPTOOLS_SCM_PRETEND_VERSION"),
        ("uv-dynamic-versioning", "UV_DYNAMIC_VERSIONING_BYPASS"),
        ("vcs-versioning", "SETUPTOOLS_SCM_PRETEND_VERSION"),
    ];
    let file = format!("{member}pyproject.toml");
    let (text, table) = toml_at(tree, &file)?;
    let requires = at(&table, &["build-system", "requires"])?.as_array()?;
    let mut names = requires.iter().filter_map(toml::Value::as_str);
    let (required, (tool, variable)) = names.find_map(|one| {
        let name = dependencies::normal(&dependencies::name_of(one)?);
        let asked = ASKED.iter().find(|(tool, _)| *tool == name)?;
        Some((one, asked))
    })?;
    let is = |keys: &[&str], wanted: &str| {
        let value = at(&table, keys);
        value.is_some_and(|value| value.as_str() == Some(wanted) || value.as_bool() == Some(wanted == "true"))
    };
    let is_dynamic = at(&table, &["project", "version"]).is_none();
    let asks = match *tool {
        "hatch-vcs" => is(&["tool", "hatch", "version", "source"], "vcs"),
        "uv-dynamic-versioning" => is(&["tool", "hatch", "version", "source"], "uv-dynamic-versioning"),
        "pdm-backend" => is(&["tool", "pdm", "version", "source"], "scm"),
        "poetry-dynamic-versioning" => is(&["tool", "poetry-dynamic-versioning", "enable"], "true"),
        _ => is_dynamic,
    };
    let otherwise = [
        &["tool", "setuptools_scm", "fallback_version"][..],
        &["tool", "hatch", "version", "fallback-version"],
        &["tool", "hatch", "version", "raw-options", "fallback_version"],
    ];
    let has_another = otherwise.iter().any(|keys| at(&table, keys).is_some());
    // Of this project alone: what it installs may be built, too, and ask git in the same way.
    let name = at(&table, &["project", "name"]).and_then(toml::Value::as_str);
    let variable = match (*tool, name) {
        ("setuptools-scm" | "vcs-versioning", Some(name)) => {
            let name = dependencies::normal(name).replace('-', "_").to_uppercase();
            format!("{variable}_FOR_{name}")
        }
        _ => (*variable).to_owned(),
    };
    (asks && !has_another).then(|| Detected::sure(variable, Place::of(&file, text, required)))
}

/// Whether what says what is installed has the project in it: a lock of it does, a list of
/// packages where it names its own folder.
fn is_in_its_list(tree: &Tree, member: &str) -> bool {
    const LISTS: [(&str, bool); 6] = [
        ("uv.lock", true),
        ("pylock.toml", false),
        ("poetry.lock", true),
        ("pdm.lock", true),
        ("requirements.txt", false),
        ("Pipfile.lock", false),
    ];
    // A member is installed by the lock of its workspace.
    if !member.is_empty() && tree.has("uv.lock") {
        return true;
    }
    let counts = LISTS
        .iter()
        .find(|(name, _)| tree.has(&format!("{member}{name}")));
    let Some((name, _)) = counts.filter(|(_, has_it)| !has_it) else {
        return true;
    };
    let text = tree.text(&format!("{member}{name}")).unwrap_or_default();
    let names_it = |line: &str| {
        let rest = ["-e", "--editable"]
            .iter()
            .find_map(|flag| line.strip_prefix(flag));
        let rest = rest.unwrap_or(line).trim_start_matches(['=', ' ']);
        let path = rest.split(['[', ' ', '#']).next().unwrap_or_default();
        matches!(path, "." | "./" | "file:." | "file:./")
    };
    text.lines().any(|line| names_it(line.trim()))
}

/// The name of a member, where the top is a uv workspace.
pub(super) fn package(tree: &Tree, member: &str) -> Option<Detected<String>> {
    let (_, top) = toml_at(tree, "pyproject.toml").filter(|_| !member.is_empty())?;
    at(&top, &["tool", "uv", "workspace"])?;
    let file = format!("{member}pyproject.toml");
    let (text, table) = toml_at(tree, &file)?;
    let name = at(&table, &["project", "name"])?.as_str()?;
    Some(Detected::sure(name.to_owned(), Place::of(&file, text, "name")))
}

/// Folders with dependencies of their own, where the top has none: all of them, or those
/// with the app where pyproject.toml is there for tools only.
pub(super) fn projects(tree: &Tree, app: &Choice<AppObject>) -> Vec<String> {
    const MANIFESTS: [&str; 4] = ["pyproject.toml", "requirements.txt", "Pipfile", "setup.py"];
    let has_list = MANIFESTS[1..].iter().any(|name| tree.has(name));
    let of_tools = match toml_at(tree, "pyproject.toml") {
        Some((_, table)) => {
            let of_project = [
                &["project"][..],
                &["tool", "poetry"],
                &["tool", "uv", "workspace"],
            ];
            of_project.iter().all(|keys| at(&table, keys).is_none())
        }
        None => false,
    };
    let has_others = dependencies::installed_from(|name| tree.has(name)).is_some()
        || tree.paths().any(|path| path.starts_with("requirements/"));
    if has_list || has_others || tree.has("pyproject.toml") && !of_tools {
        return Vec::new();
    }
    let apps: Vec<&str> = app
        .chosen
        .iter()
        .chain(&app.others)
        .map(|one| one.place.file.as_str())
        .collect();
    let below = tree
        .paths()
        .filter(|path| MANIFESTS.contains(&file_name(path)) && is_of_the_app(path))
        .filter(|path| !of_tools || apps.iter().any(|app| app.starts_with(folder_of(path))))
        .filter(|path| !folder_of(path).is_empty());
    let mut folders: Vec<String> = below
        .map(|path| folder_of(path).trim_end_matches('/').to_owned())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}
