//! What a Django project's own container start does behind its migrations.

use crate::django;
use crate::place::{Detected, Place};
use crate::server;
use crate::tree::{Tree, file_name, is_shell, reads_count};

/// Words of a shell that begin or end a block.
const BLOCKS: [&str; 10] = [
    "if", "then", "elif", "else", "fi", "for", "while", "done", "case", "esac",
];

/// What else the project's own start does by commands of its own between its migrations and its
/// server, which the image does not do: in a sentence, with the commands that do. What one of them
/// does to rows that are there, or leaves in files, its name does not tell.
pub(crate) fn further_commands(tree: &Tree) -> Option<Detected<String>> {
    let manage = django::manage(tree)?;
    let (path, found) = of_scripts(tree).next()?;
    let (line, _) = *found.first()?;
    let all: Vec<String> = found
        .iter()
        .map(|(_, rest)| format!("python {manage} {rest}"))
        .collect();
    let is_alone = |rest: &str| !rest.contains(['|', '&', ';', '<', '>']);
    let way = if found.iter().all(|(_, rest)| is_alone(rest)) {
        format!(
            "`\"before_start\": [\"sh\", \"-c\", \"python {manage} migrate --noinput && {}\"]` of `app` does, at each start",
            all.join(" && ")
        )
    } else {
        "what of it belongs before each start `before_start` of `app` does".to_owned()
    };
    let note = format!(
        "the project's own start runs `{}` behind its migrations, and the image does not: {way}",
        all.join("` and `")
    );
    Some(Detected::likely(note, Place::new(path, line)))
}

/// The scripts with such commands, each with its lines.
fn of_scripts(tree: &Tree) -> impl Iterator<Item = (&str, Vec<(usize, &str)>)> {
    let scripts = tree.texts().filter(|(path, text)| {
        is_shell(file_name(path)) && reads_count(path) && !is_of_developers(path, text)
    });
    let found = scripts.map(|(path, text)| (path, commands_of_start(tree, text)));
    found.filter(|(_, found)| !found.is_empty())
}

/// Whether a script starts a server for those who work on the project.
fn is_of_developers(path: &str, text: &str) -> bool {
    let mut folders = path.split('/');
    let below = ["dev", "development", "local", "test", "tests"];
    folders.any(|part| below.contains(&part)) || text.contains("--reload") || text.contains("runserver")
}

/// A command without what ends the start where it fails, which [`further_commands`] does anyway:
/// `migrate || die "no tables"`.
fn without_end(command: &str) -> &str {
    const ENDS: [&str; 5] = ["abort", "die", "error", "exit", "fail"];
    let Some((own, otherwise)) = command.split_once("||") else {
        return command;
    };
    let first = otherwise.split_whitespace().next().unwrap_or_default();
    match ENDS.contains(&first) && !otherwise.contains([';', '&', '|']) {
        true => own.trim_end(),
        false => command,
    }
}

/// The commands of the project's own that a script which starts a server runs behind its
/// migrations, each with its line: those that nobody has to ask for.
fn commands_of_start<'t>(tree: &Tree, text: &'t str) -> Vec<(usize, &'t str)> {
    const OF_DJANGO: [&str; 4] = ["collectstatic", "migrate", "runserver", "test"];
    // Others set a database up for developers.
    let starts = text.contains("exec \"$@\"") || server::known().any(|server| text.contains(server));
    let (mut migrated, mut block) = (None, 0);
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|_| starts) {
        let first = line.split_whitespace().next().unwrap_or_default();
        // Branches of `case` and functions, too.
        let bounds = line.trim_end().ends_with([')', '{', '}']) || first == ";;" || line.ends_with(";;");
        block += usize::from(bounds || BLOCKS.contains(&first));
        let Some((before, rest)) = line.split_once("manage.py ") else {
            continue;
        };
        let rest = without_end(rest.trim());
        let name = rest.split_whitespace().next().unwrap_or_default();
        // What takes words of others is done by hand.
        let is_asked = before.contains(['#', ';', '&', '|', '[', '{']) || BLOCKS.contains(&first);
        let is_whole = !is_asked && !rest.contains(['$', '\\', '"']);
        if name == "migrate" && is_whole {
            migrated.get_or_insert(block);
        }
        let file = format!("management/commands/{name}.py");
        // The database answers by then, so nothing is to be waited for.
        let is_own = tree.paths().any(|path| path.ends_with(&file)) && !name.starts_with("wait");
        // In a block of its own it is done where somebody asks for it.
        let is_always = migrated.is_some_and(|of_migrations| block == of_migrations);
        if is_always && is_own && is_whole && !OF_DJANGO.contains(&name) {
            found.push((n + 1, rest));
        }
    }
    found
}
