//! What has to run before the app starts: migrations, and scripts for that.

use crate::dependencies::{Dependencies, at, toml_at};
use crate::entry::AppObject;
use crate::modules::Modules;
use crate::place::{Choice, Detected, Place};
use crate::tree::{Tree, file_name, folder_of};

/// A command, word by word.
pub type CommandWords = Vec<String>;

/// Chooses the command: a script that the project has for this, then what its
/// Procfile says of a release, then the tools' own.
pub(crate) fn find(
    tree: &Tree,
    modules: &Modules<'_>,
    dependencies: &Dependencies,
    app: Option<&AppObject>,
) -> Choice<CommandWords> {
    let mut found: Vec<(Detected<CommandWords>, &str)> = Vec::new();
    let mut add = |words: &[&str], place: Place, rule| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        found.push((Detected::sure(words, place), rule));
    };
    for name in ["prestart.sh", "pre_start.sh", "pre-start.sh"] {
        for path in tree.named(name).into_iter().take(1) {
            add(
                &["bash", path],
                Place::new(path, 1),
                "a script of this name runs before the start",
            );
        }
    }
    if let Some((line, command)) = process(tree, "release") {
        let place = Place::new("Procfile", line);
        add(
            &["sh", "-c", command],
            place,
            "the Procfile runs it before a release",
        );
    }
    let flask = dependencies.has("flask-migrate");
    let configured = tree.named("alembic.ini");
    for path in configured
        .iter()
        .filter(|_| !flask && dependencies.has("alembic"))
    {
        let head = if heads(modules, tree, path) > 1 {
            "heads"
        } else {
            "head"
        };
        let words = match folder_of(path).is_empty() {
            true => vec!["alembic", "upgrade", head],
            false => vec!["alembic", "-c", path, "upgrade", head],
        };
        let place = Place::of(path, tree.text(path).unwrap_or_default(), "script_location");
        add(
            &words,
            place,
            "alembic is among the dependencies and has its settings here",
        );
    }
    if flask && let Some(app) = app {
        let import = app.import.strip_suffix(":app").unwrap_or(&app.import);
        if let Some(path) = configured.first() {
            let words = ["flask", "--app", import, "db", "upgrade"];
            add(
                &words,
                Place::new(path, 1),
                "Flask-Migrate is among the dependencies",
            );
        }
    }
    for path in tree.named("manage.py").into_iter().take(1) {
        let place = Place::of(
            path,
            tree.text(path).unwrap_or_default(),
            "DJANGO_SETTINGS_MODULE",
        );
        add(
            &["python", path, "migrate", "--noinput"],
            place,
            "Django's own command",
        );
    }
    if let Some((text, table)) = toml_at(tree, "pyproject.toml")
        && at(&table, &["tool", "aerich"]).is_some()
        && dependencies.has("aerich")
    {
        let place = Place::of("pyproject.toml", text, "[tool.aerich]");
        add(
            &["aerich", "upgrade"],
            place,
            "aerich is among the dependencies and has its settings here",
        );
    }
    let mut all = found.into_iter();
    match all.next() {
        Some((chosen, rule)) => Choice {
            chosen: Some(chosen),
            rule: rule.to_owned(),
            others: all.map(|(one, _)| one).collect(),
        },
        None => Choice {
            rule: "nothing that migrates was found".to_owned(),
            ..Choice::default()
        },
    }
}

/// A line of the Procfile: its number and its command.
pub(crate) fn process<'t>(tree: &'t Tree, name: &str) -> Option<(usize, &'t str)> {
    let text = tree.text("Procfile")?;
    text.lines().enumerate().find_map(|(n, line)| {
        let command = line.strip_prefix(name)?.trim_start().strip_prefix(':')?;
        Some((n + 1, command.trim()))
    })
}

/// How many revisions no other one follows.
fn heads(modules: &Modules<'_>, tree: &Tree, settings: &str) -> usize {
    let text = tree.text(settings).unwrap_or_default();
    let location = text.lines().find_map(|line| {
        line.strip_prefix("script_location")?
            .trim_start()
            .strip_prefix('=')
    });
    let location = location
        .unwrap_or("alembic")
        .trim()
        .trim_start_matches("%(here)s/");
    let folder = format!("{}{location}/versions/", folder_of(settings));
    let versions: Vec<_> = modules
        .all
        .iter()
        .filter(|module| module.path.starts_with(&folder))
        .collect();
    let text = |name: &str, n: usize| {
        let value = versions[n].value(name).unwrap_or_default();
        value
            .iter()
            .map(|token| token.text.to_owned())
            .collect::<Vec<_>>()
    };
    let followed: Vec<String> = (0..versions.len())
        .flat_map(|n| text("down_revision", n))
        .collect();
    let is_head = |n: &usize| {
        text("revision", *n)
            .first()
            .is_some_and(|own| !followed.contains(own))
    };
    (0..versions.len())
        .filter(|n| file_name(versions[*n].path) != "__init__.py")
        .filter(is_head)
        .count()
}
