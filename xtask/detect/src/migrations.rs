//! What has to run before the app starts: migrations, and scripts for that.

use crate::alembic;
use crate::dependencies::{Dependencies, at, toml_at};
use crate::django;
use crate::entry::{AppObject, Framework};
use crate::modules::Modules;
use crate::place::{Choice, Detected, Place};
use crate::python::statement;
use crate::tables::{self, OwnCommand, RefusedCommand};
use crate::tree::{Tree, file_name, folder_of, is_of_the_app};
use crate::words::is_taken;

/// A command, word by word.
pub type CommandWords = Vec<String>;

/// Chooses the command: a script that the project has for this, then what its
/// Procfile says of a release, then the tools' own. `member` is the folder of the
/// app's own project in a workspace: a script of it is run from there. Beside it, a
/// command of the project's own that is not taken.
pub(crate) fn find(
    tree: &Tree,
    modules: &Modules<'_>,
    dependencies: &Dependencies,
    app: Option<&AppObject>,
    member: &str,
) -> (Choice<CommandWords>, Option<Detected<RefusedCommand>>) {
    let mut found: Vec<(Detected<CommandWords>, &str)> = Vec::new();
    let mut add = |words: &[&str], place: Place, rule| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        found.push((Detected::sure(words, place), rule));
    };
    for name in ["prestart.sh", "pre_start.sh", "pre-start.sh"] {
        let fits = |path: &&str| !calls_a_manager(tree.text(path).unwrap_or_default());
        for path in tree.named(name).into_iter().take(1).filter(fits) {
            let there = path
                .strip_prefix(member)
                .filter(|_| !member.is_empty())
                .map(|script| in_folder(member.trim_end_matches('/'), &format!("bash {}", word(script))));
            let words = match &there {
                Some(there) => vec!["sh", "-c", there.as_str()],
                None => vec!["bash", path],
            };
            add(
                &words,
                Place::new(path, 1),
                "a script of this name runs before the start",
            );
        }
    }
    let release = process(tree, "release");
    if let Some((line, command)) = release.filter(|(_, command)| !command.is_empty()) {
        let place = Place::new("Procfile", line);
        add(
            &["sh", "-c", command],
            place,
            "the Procfile runs it before a release",
        );
    }
    let flask = dependencies.has("flask-migrate");
    let configured = tree.named("alembic.ini");
    let mut in_sections: Option<(Detected<CommandWords>, String)> = None;
    for path in configured
        .iter()
        .filter(|_| !flask && dependencies.has("alembic"))
    {
        let text = tree.text(path).unwrap_or_default();
        if let sections @ [first, ..] = other_sections(text).as_slice() {
            let words = ["alembic", "-c", path, "-n", first, "upgrade", "head"];
            let words = words.map(str::to_owned).to_vec();
            let place = Place::of(path, text, "script_location");
            let why = format!(
                "its [alembic] says no script_location, and these do: {}",
                sections.join(", ")
            );
            in_sections.get_or_insert((Detected::sure(words, place), why));
            continue;
        }
        let head = if heads(modules, tree, path) > 1 {
            "heads"
        } else {
            "head"
        };
        let folder = folder_of(path).trim_end_matches('/');
        let is_there = !folder.is_empty() && is_run_there(tree, path);
        if let Some(url) = alembic::fixed_url(tree, modules, path, &scripts_of(tree, path)) {
            let ini = if is_there { file_name(path) } else { path };
            let program = url.upgrade(ini, head);
            let there = in_folder(folder, &format!("python -c {}", word(&program)));
            let words = match is_there {
                true => ["sh", "-c", &there],
                false => ["python", "-c", &program],
            };
            let rule = "alembic is among the dependencies, and its env.py takes the database from this line alone: it gets the \
                        image's";
            add(&words, url.place, rule);
            continue;
        }
        let there = in_folder(folder, &format!("alembic upgrade {head}"));
        let words = match folder.is_empty() {
            true => vec!["alembic", "upgrade", head],
            false if is_there => vec!["sh", "-c", &there],
            false => vec!["alembic", "-c", path, "upgrade", head],
        };
        let place = Place::of(path, tree.text(path).unwrap_or_default(), "script_location");
        add(
            &words,
            place,
            "alembic is among the dependencies and has its settings here",
        );
    }
    let upgrade = app.filter(|_| flask).and_then(|app| {
        let import = app.import.strip_suffix(":app").unwrap_or(&app.import);
        let words = ["flask", "--app", import, "db", "upgrade"];
        Some((words, Place::new(configured.first()?, 1)))
    });
    let of_flask = app.filter(|app| app.framework == Framework::Flask);
    let mut refused = in_sections.map(|(command, why)| Detected {
        value: RefusedCommand {
            command: command.value,
            why,
        },
        place: command.place,
        certainty: command.certainty,
    });
    let mut refuse = |own: OwnCommand, why: String| {
        let command = own.words;
        refused = Some(Detected::sure(RefusedCommand { command, why }, own.place));
    };
    let mut own = of_flask.and_then(|_| tables::find(tree, modules));
    if let Some(bad) = own.take_if(|own| own.refused.is_some()) {
        let why = bad.refused.clone().unwrap_or_default();
        refuse(bad, format!("it need not be safe before each start: {why}"));
    }
    match (upgrade, own) {
        (Some((upgrade, _)), Some(own)) if own.stamps => add(
            &[
                "sh",
                "-c",
                &format!("{} && {}", own.words.join(" "), upgrade.join(" ")),
            ],
            own.place,
            "the project makes its tables by a command of its own, and Flask-Migrate changes them",
        ),
        (Some((upgrade, place)), own) => {
            add(&upgrade, place, "Flask-Migrate is among the dependencies");
            if let Some(own) = own {
                let why = "it does not stamp an empty database, and `flask db upgrade` makes the tables";
                refuse(own, why.to_owned());
            }
        }
        (None, Some(own)) => add(
            &own.words.iter().map(String::as_str).collect::<Vec<_>>(),
            own.place,
            "the project makes its tables by a command of its own",
        ),
        (None, None) => {}
    }
    let of_litestar = app.filter(|app| app.framework == Framework::Litestar);
    if let (Some(app), Some(path)) = (of_litestar, configured.first())
        && dependencies.has("advanced-alchemy")
        && !dependencies.has("alembic")
    {
        let words = [
            "litestar",
            "--app",
            &app.import,
            "database",
            "upgrade",
            "--no-prompt",
        ];
        add(
            &words,
            Place::new(path, 1),
            "Advanced Alchemy is among the dependencies",
        );
    }
    if let Some(path) = django::manage(tree) {
        let place = Place::of(path, tree.text(path).unwrap_or_default(), django::SETTINGS);
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
    let taken = found
        .iter()
        .position(|(one, _)| is_taken(&one.value))
        .map(|n| found.remove(n));
    let (chosen, rule) = taken.map_or((None, "nothing that migrates was found"), |(one, rule)| {
        (Some(one), rule)
    });
    let choice = Choice {
        chosen,
        rule: rule.to_owned(),
        others: found.into_iter().map(|(one, _)| one).collect(),
    };
    (choice, refused)
}

/// A line of the Procfile: its number and its command.
pub(crate) fn process<'t>(tree: &'t Tree, name: &str) -> Option<(usize, &'t str)> {
    let text = tree.text("Procfile")?;
    text.lines().enumerate().find_map(|(n, line)| {
        let command = line.strip_prefix(name)?.trim_start().strip_prefix(':')?;
        Some((n + 1, command.trim()))
    })
}

/// The sections with migrations of their own, where `[alembic]` has none: of several databases,
/// or schemas.
fn other_sections(text: &str) -> Vec<&str> {
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.trim_end().strip_suffix(']'))
        {
            section = name;
        } else if line.starts_with("script_location") {
            found.push(section);
        }
    }
    match found.contains(&"alembic") {
        true => Vec::new(),
        false => found,
    }
}

/// Where the settings say that the scripts are.
fn script_location<'t>(tree: &'t Tree, settings: &str) -> &'t str {
    let text = tree.text(settings).unwrap_or_default();
    let location = text.lines().find_map(|line| {
        line.strip_prefix("script_location")?
            .trim_start()
            .strip_prefix('=')
    });
    location.unwrap_or("alembic").trim()
}

/// Whether alembic finds its scripts from the folder of its settings alone: it looks
/// for them in the folder that it is started in.
fn is_run_there(tree: &Tree, settings: &str) -> bool {
    let location = script_location(tree, settings);
    let has = |folder: &str| tree.has(&format!("{folder}{location}/env.py"));
    !location.starts_with("%(here)s") && has(folder_of(settings)) && !has("")
}

/// The folder of the scripts: as it is said from the project's own folder, where it is
/// there, else from that of the settings.
fn scripts_of(tree: &Tree, settings: &str) -> String {
    let location = script_location(tree, settings);
    let is_here = location.starts_with("%(here)s") || !tree.has(&format!("{location}/env.py"));
    let location = location.trim_start_matches("%(here)s/");
    match is_here {
        true => format!("{}{location}", folder_of(settings)),
        false => location.to_owned(),
    }
}

/// Scripts of Alembic's without any revision, of an app that makes its tables nowhere else:
/// they are often kept out of git.
pub(crate) fn without_revisions(tree: &Tree, modules: &Modules<'_>) -> Option<Detected<String>> {
    let settings = *tree.named("alembic.ini").first()?;
    let text = tree.text(settings)?;
    let scripts = scripts_of(tree, settings);
    let folder = format!("{scripts}/versions/");
    let is_elsewhere = text.lines().any(|line| line.starts_with("version_locations"));
    let is_revision =
        |path: &str| path.starts_with(&folder) && path.ends_with(".py") && file_name(path) != "__init__.py";
    if is_elsewhere
        || !tree.has(&format!("{scripts}/env.py"))
        || tree.paths().any(is_revision)
        || makes_tables(modules)
    {
        return None;
    }
    let note = format!(
        "{scripts}/versions has no migration, so that nothing makes the tables: `alembic revision --autogenerate` writes one, \
         which belongs among the files"
    );
    Some(Detected::likely(
        note,
        Place::of(settings, text, "script_location"),
    ))
}

/// Whether the app calls SQLAlchemy's `create_all`, itself or by a function around it.
fn makes_tables(modules: &Modules<'_>) -> bool {
    let counted = || modules.all.iter().filter(|module| is_of_the_app(module.path));
    let is_used = |name: &str| {
        let mut lines = counted().flat_map(|module| &module.lines);
        lines.any(|line| {
            let is_other = statement::imports(line).is_empty() && statement::head(line).is_none();
            is_other && line.tokens.iter().any(|token| token.is_name(name))
        })
    };
    counted().any(|module| {
        let mut lines = module.lines.iter().enumerate();
        lines.any(|(n, line)| {
            let within = module.definitions.iter().rfind(|one| one.body.contains(&n));
            let has_it = line.tokens.iter().any(|token| token.is_name("create_all"));
            has_it && within.is_none_or(|function| is_used(function.name))
        })
    })
}

/// How many revisions no other one follows.
fn heads(modules: &Modules<'_>, tree: &Tree, settings: &str) -> usize {
    let folder = format!("{}/versions/", scripts_of(tree, settings));
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

/// A command of a shell that is run in a folder.
fn in_folder(folder: &str, command: &str) -> String {
    format!("cd {} && {command}", word(folder))
}

/// One word of a shell, in quotes where it needs them.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    // No option of the command.
    let text = match text.starts_with('-') {
        true => format!("./{text}"),
        false => text.to_owned(),
    };
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Whether a script runs something by the manager of developers' packages, which no image has.
fn calls_a_manager(text: &str) -> bool {
    const MANAGERS: [&str; 6] = ["hatch", "pdm", "pipenv", "poetry", "rye", "uv"];
    let commands = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    commands.into_iter().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words
            .windows(2)
            .any(|two| MANAGERS.contains(&two[0]) && two[1] == "run")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_word_of_the_shell() {
        assert_eq!(in_folder("back-end/app", "x"), "cd back-end/app && x");
        assert_eq!(in_folder("it's; rm", "x"), r"cd 'it'\''s; rm' && x");
        assert_eq!(in_folder("-x", "y"), "cd ./-x && y");
    }
}
