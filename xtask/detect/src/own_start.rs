//! What a Django project's own container start does behind its migrations.

use crate::django;
use crate::migrations::CommandWords;
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::TokenKind;
use crate::python::statement::{self, Call};
use crate::server;
use crate::tree::{Tree, file_name, is_compose, is_shell, reads_count};
use crate::words::words;

/// Words of a shell that begin or end a block.
const BLOCKS: [&str; 10] = [
    "if", "then", "elif", "else", "fi", "for", "while", "done", "case", "esac",
];

/// What the image does as the project's own container does at each start.
#[derive(Debug)]
pub(crate) struct OwnStart {
    /// The commands behind the migrations, each as a shell reads it.
    pub(crate) behind: Vec<Detected<String>>,
    /// Those that only make files of the app's own: the build runs them.
    pub(crate) in_build: Vec<Detected<CommandWords>>,
}

/// Where a command of the project's belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belongs {
    Start,
    Build,
    /// It asks somebody, takes something away, or was not found.
    Nowhere,
}

/// The commands, where the project's image or its compose file starts by their script and each
/// of them may be run at each start, as it is there.
pub(crate) fn find(tree: &Tree, modules: &Modules<'_>) -> Option<OwnStart> {
    let manage = django::manage(tree)?;
    let (path, found) = of_scripts(tree).next()?;
    if !is_started_by(tree, path) {
        return None;
    }
    let mut own = OwnStart {
        behind: Vec::new(),
        in_build: Vec::new(),
    };
    for (line, rest) in found {
        let place = Place::new(path, line);
        match belongs(modules, rest) {
            Belongs::Start => own
                .behind
                .push(Detected::likely(format!("python {manage} {rest}"), place)),
            Belongs::Build => {
                let words = words(&format!("python {manage} {rest}"));
                own.in_build.push(Detected::likely(words, place));
            }
            Belongs::Nowhere => return None,
        }
    }
    Some(own)
}

/// Whether a Dockerfile or a compose file names the script as what its container starts by.
fn is_started_by(tree: &Tree, script: &str) -> bool {
    let files = tree.texts().filter(|(path, _)| reads_count(path));
    let mut files = files.filter(|(path, _)| {
        let name = file_name(path);
        name.contains("Dockerfile") || is_compose(name)
    });
    files.any(|(_, text)| {
        let mut lines = text.lines().map(str::trim_start);
        lines.any(|line| {
            let keys = ["ENTRYPOINT", "CMD", "entrypoint:", "command:"];
            let is_start = keys.iter().any(|key| line.starts_with(key));
            let separators = |c: char| c.is_whitespace() || "\"'[],".contains(c);
            is_start
                && line
                    .split(separators)
                    .any(|word| file_name(word) == file_name(script))
        })
    })
}

fn belongs(modules: &Modules<'_>, command: &str) -> Belongs {
    const BAD: [&str; 8] = [
        "delete", "drop", "flush", "getpass", "input", "remove", "rmtree", "unlink",
    ];
    const MAKE_FILES: [&str; 4] = ["makedirs", "mkdir", "write_bytes", "write_text"];
    let name = command.split_whitespace().next().unwrap_or_default();
    let file = format!("management/commands/{name}.py");
    let mut all = modules.all.iter().filter(|module| module.path.ends_with(&file));
    let (Some(module), None) = (all.next(), all.next()) else {
        return Belongs::Nowhere;
    };
    let opens_to_write = |call: &Call<'_, '_>| {
        let mode = call.text("mode", 1).or_else(|| call.text("mode", 0));
        call.last() == "open"
            && mode.is_some_and(|mode| mode.len() < 4 && mode.contains(['w', 'a', 'x', '+']))
    };
    let (mut makes_files, mut asks_the_database) = (false, false);
    for line in &module.lines {
        for call in statement::calls(&line.tokens) {
            if BAD.contains(&call.last()) {
                return Belongs::Nowhere;
            }
            makes_files |= MAKE_FILES.contains(&call.last()) || opens_to_write(&call);
            asks_the_database |=
                call.path.contains(".objects.") || ["cursor", "call_command"].contains(&call.last());
        }
    }
    match (makes_files, asks_the_database || imports_models(module)) {
        (false, _) => Belongs::Start,
        (true, false) => Belongs::Build,
        // A root that is read-only has no place for its files.
        (true, true) => Belongs::Nowhere,
    }
}

fn imports_models(module: &Module<'_>) -> bool {
    let mut tokens = module.lines.iter().flat_map(|line| &line.tokens);
    tokens.any(|token| token.kind == TokenKind::Name && token.text == "models")
}

/// What else the project's own start does by commands of its own between its migrations and
/// its server, which the image would not do: in a sentence, with the command that does.
pub(crate) fn further_commands(tree: &Tree) -> Option<Detected<String>> {
    let manage = django::manage(tree)?;
    let (path, found) = of_scripts(tree).next()?;
    let (line, _) = *found.first()?;
    let all: Vec<String> = found
        .iter()
        .map(|(_, rest)| format!("python {manage} {rest}"))
        .collect();
    let note = format!(
        "the project's own start runs `{}` behind its migrations, and the image does not: \
         `\"before_start\": [\"sh\", \"-c\", \"python {manage} migrate --noinput && {}\"]` of `app` does",
        all.join("` and `"),
        all.join(" && ")
    );
    Some(Detected::likely(note, Place::new(path, line)))
}

/// The scripts with such commands, each with its lines.
fn of_scripts(tree: &Tree) -> impl Iterator<Item = (&str, Vec<(usize, &str)>)> {
    let scripts = tree
        .texts()
        .filter(|(path, _)| is_shell(file_name(path)) && reads_count(path));
    let found = scripts.map(|(path, text)| (path, commands_of_start(tree, text)));
    found.filter(|(_, found)| !found.is_empty())
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
        let rest = rest.split(['|', '&', ';']).next().unwrap_or_default().trim();
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
