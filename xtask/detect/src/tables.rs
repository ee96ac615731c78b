//! A command of a Flask project's own that makes its tables, and whether it may run before
//! each start.

use serde::Serialize;

use crate::modules::{Definition, Meaning, Module, Modules};
use crate::place::Place;
use crate::python::statement::{self, Call};
use crate::python::{Token, TokenKind};
use crate::tree::{Tree, file_name, is_of_a_start, is_of_the_app, reads_count};

/// A command that makes tables, and is not run before each start by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedCommand {
    /// The command, word by word.
    pub command: Vec<String>,
    /// Why it is left to whoever runs the image.
    pub why: String,
}

/// The command as one of the project's scripts has it.
pub(crate) struct OwnCommand {
    pub(crate) words: Vec<String>,
    /// The line of the script.
    pub(crate) place: Place,
    /// Whether it stamps the empty database that it has filled, so that migrations go on from there.
    pub(crate) stamps: bool,
    /// Why it may not run before each start, where it may not.
    pub(crate) refused: Option<String>,
}

/// The first command that may run before each start, else the first one.
pub(crate) fn find(tree: &Tree, modules: &Modules<'_>) -> Option<OwnCommand> {
    let scripts = tree
        .texts()
        .filter(|(path, _)| is_of_a_start(path) && reads_count(path));
    let lines = scripts.flat_map(|(path, text)| {
        let lines = text.lines().enumerate();
        lines.map(move |(n, line)| (path, n + 1, line))
    });
    let found = lines.filter_map(|(path, n, line)| named(tree, modules, line, Place::new(path, n)));
    let mut all: Vec<OwnCommand> = found.collect();
    let first = all.iter().position(|one| one.refused.is_none()).unwrap_or(0);
    (!all.is_empty()).then(|| all.swap_remove(first))
}

/// The command that a line of a script runs.
fn named(tree: &Tree, modules: &Modules<'_>, line: &str, place: Place) -> Option<OwnCommand> {
    let separators = |c: char| c.is_whitespace() || "\"'[],;&|()".contains(c);
    let words: Vec<&str> = line.split(separators).filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|word| file_name(word) == "manage.py")?;
    let script = tree.named("manage.py").into_iter().next()?;
    // A group of commands may stand before the command.
    let after = words[at + 1..].iter().enumerate().take(2);
    let mut makers = after.map(|(n, word)| (n, word, functions(modules, word)));
    let (n, maker, functions) = makers.find(|(.., all)| {
        all.iter()
            .any(|one| one.lines_with("create_all").next().is_some())
    })?;
    let group = &words[at + 1..at + 1 + n];
    let is_plain = group.iter().all(|word| word.chars().all(char::is_alphanumeric));
    if !is_plain || line.trim_start().starts_with('#') {
        return None;
    }
    let words = ["python", script].into_iter().chain(group.iter().copied());
    let words = words.chain([*maker]).map(str::to_owned).collect();
    let may_run = |one: &Function<'_, '_>| {
        one.may_be_this_command()?;
        one.may_run_at_each_start(modules, &mut Vec::new())
    };
    Some(OwnCommand {
        words,
        place,
        stamps: functions.iter().all(|one| one.stamps_what_was_empty()),
        // Which of several functions it runs is not asked: all of them have to be good.
        refused: functions.iter().find_map(|one| may_run(one).err()),
    })
}

/// A function of the app's.
struct Function<'m, 't> {
    module: &'m Module<'t>,
    definition: &'m Definition<'t>,
}

/// All functions that a command of this name may be: those called so, and those that a
/// decorator gives the name.
fn functions<'m, 't>(modules: &'m Modules<'t>, command: &str) -> Vec<Function<'m, 't>> {
    let name = command.replace('-', "_");
    let all = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let all = all.flat_map(|module| {
        let of_module = module.definitions.iter();
        of_module.map(move |definition| Function { module, definition })
    });
    let is_it = |one: &Function<'_, '_>| {
        let decorators = one.module.lines[one.definition.decorators.clone()].iter();
        let mut tokens = decorators.flat_map(|line| &line.tokens);
        one.definition.name == name
            || tokens.any(|token| token.kind == TokenKind::Text && token.text == command)
    };
    all.filter(|one| !one.definition.is_class && is_it(one)).collect()
}

impl<'m, 't> Function<'m, 't> {
    /// The lines of its body with a call of this name.
    fn lines_with<'a>(&'a self, name: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.definition.body.clone().filter(move |n| {
            let calls = statement::calls(&self.module.lines[*n].tokens);
            calls.iter().any(|call| call.last() == name)
        })
    }

    /// Whether it makes tables, and asks nobody for anything; what stands against it, else.
    fn may_be_this_command(&self) -> Result<(), String> {
        const ASKS: [&str; 5] = [
            "argument",
            "confirmation_option",
            "password_option",
            "prompt",
            "required",
        ];
        let place = Place::new(self.module.path, self.module.number(self.definition.head));
        if self.lines_with("create_all").next().is_none() {
            return Err(format!("{place} has the same name, and makes no tables"));
        }
        let decorators = self.module.lines[self.definition.decorators.clone()].iter();
        let mut tokens = decorators.flat_map(|line| &line.tokens);
        match tokens.any(|token| ASKS.iter().any(|word| token.is_name(word))) {
            true => Err(format!("{place} asks whoever runs it for something")),
            false => Ok(()),
        }
    }

    /// Whether it stamps where it makes the tables, and both only in a database that has
    /// none: migrations would never run after a stamp at each start.
    fn stamps_what_was_empty(&self) -> bool {
        let asks = |line: usize| {
            let around = self.condition_around(line)?;
            let tokens = self.module.lines[around].tokens.iter();
            let mut names = tokens.filter(|token| token.kind == TokenKind::Name);
            let is_asked = names.any(|token| {
                let name = token.text.to_lowercase();
                name.contains("empty") || name.contains("table")
            });
            is_asked.then_some(around)
        };
        let made: Vec<_> = self.lines_with("create_all").map(asks).collect();
        let stamped: Vec<_> = self.lines_with("stamp").map(asks).collect();
        let first = stamped.first().copied().flatten();
        first.is_some() && made.iter().chain(&stamped).all(|one| *one == first)
    }

    /// The line of the nearest `if` that a line of its lies below.
    fn condition_around(&self, line: usize) -> Option<usize> {
        let lines = &self.module.lines;
        let mut indent = lines[line].indent;
        for n in (self.definition.body.start..line).rev() {
            if lines[n].indent >= indent {
                continue;
            }
            indent = lines[n].indent;
            let first = lines[n].tokens.first()?;
            if ["if", "elif", "else"].contains(&first.text) {
                return (first.text == "if").then_some(n);
            }
        }
        None
    }

    /// Whether all that it calls may be done before each start; what may not, else.
    fn may_run_at_each_start(&self, modules: &Modules<'t>, seen: &mut Vec<Place>) -> Result<(), String> {
        const AT_ONCE: usize = 12;
        let head = Place::new(self.module.path, self.module.number(self.definition.head));
        if seen.contains(&head) {
            return Ok(());
        }
        seen.push(head);
        for n in self.definition.body.clone() {
            let line = &self.module.lines[n];
            let place = Place::new(self.module.path, self.module.number(n));
            let begins = |words: &[&str]| line.tokens.first().is_some_and(|one| words.contains(&one.text));
            let is_endless = begins(&["while"])
                && line
                    .tokens
                    .get(1)
                    .is_some_and(|one| ["True", "1"].contains(&one.text));
            if begins(&["assert", "del", "raise"]) || is_endless {
                return Err(format!("{place} may end it, or never does"));
            }
            for call in statement::calls(&line.tokens) {
                if KEYWORDS.contains(&call.path.as_str()) {
                    continue;
                }
                let refused = || format!("{place} calls `{}`", call.path.trim_start_matches('.'));
                let own = match modules.meaning(self.module, &call.path) {
                    Meaning::Inside(module, name) if !MAKES_THE_APP.contains(&call.last()) => {
                        let definition = module.definition(&name);
                        definition.map(|definition| Function { module, definition })
                    }
                    _ => None,
                };
                match own {
                    Some(own) if own.definition.is_class || seen.len() > AT_ONCE => return Err(refused()),
                    Some(own) => own.may_run_at_each_start(modules, seen)?,
                    None if is_harmless(&call) => {}
                    None => return Err(refused()),
                }
            }
        }
        Ok(())
    }
}

/// Words that brackets may stand behind.
const KEYWORDS: [&str; 15] = [
    "and", "await", "elif", "else", "except", "for", "if", "in", "is", "not", "or", "return", "while",
    "with", "yield",
];

/// Functions of Flask projects that give the app itself, whatever is in them.
const MAKES_THE_APP: [&str; 4] = ["create_app", "get_app", "init_app", "make_app"];

/// Calls that change nothing, or nothing more when they are done again, by their last name.
const HARMLESS: [&str; 49] = [
    // Tables, and what migrations know of them.
    "configure_mappers",
    "create_all",
    "stamp",
    "upgrade",
    // The app, and its way to the database.
    "app_context",
    "begin",
    "connect",
    "create_app",
    "create_engine",
    "dispose",
    "get_app",
    "get_bind",
    "get_engine",
    "init_app",
    "make_app",
    "push",
    // Questions.
    "all",
    "count",
    "fetchall",
    "fetchone",
    "first",
    "get_table_names",
    "has_table",
    "inspect",
    "query",
    "reflect",
    "scalar",
    "table_names",
    // Words for whoever reads along.
    "critical",
    "debug",
    "echo",
    "error",
    "exception",
    "format",
    "getLogger",
    "info",
    "print",
    "secho",
    "style",
    "warn",
    "warning",
    // Python's own.
    "bool",
    "int",
    "isinstance",
    "len",
    "range",
    "sleep",
    "str",
    "text",
];

/// Whether a call may be made again and again, by its name and its words.
fn is_harmless(call: &Call<'_, '_>) -> bool {
    match call.last() {
        "execute" => call.positional(0).is_some_and(is_harmless_sql),
        // Anything else than 0 ends the start.
        "exit" | "quit" => match call.arguments.as_slice() {
            [] => true,
            [one] => matches!(one.value, [number] if number.text == "0"),
            _ => false,
        },
        name => HARMLESS.contains(&name) || name.starts_with("is_"),
    }
}

/// One statement that asks whether the database answers, or makes an extension that is not there.
fn is_harmless_sql(argument: &[Token<'_>]) -> bool {
    let inside = statement::call_at(argument).filter(|(call, _)| call.last() == "text");
    let argument = inside
        .as_ref()
        .map_or(Some(argument), |(call, _)| call.positional(0));
    let Some([sql]) = argument else {
        return false;
    };
    let is_text = matches!(sql.kind, TokenKind::Text | TokenKind::Formatted);
    let sql = sql.text.trim().trim_end_matches(';').trim().to_uppercase();
    is_text && !sql.contains(';') && (sql == "SELECT 1" || sql.starts_with("CREATE EXTENSION IF NOT EXISTS "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the command stamps, and why it may not run; `None` where there is none.
    fn read(files: &[(&str, &str)]) -> Option<(bool, Option<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let start = [
            ("manage.py", "from board.cli import manager\nmanager()\n"),
            ("entrypoint.sh", "python manage.py create_db\n"),
        ];
        for (path, text) in start.iter().chain(files) {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let tree = Tree::read(folder.path());
        let own = find(&tree, &Modules::of(&tree))?;
        assert_eq!(own.words, ["python", "manage.py", "create_db"]);
        Some((own.stamps, own.refused))
    }

    fn body(lines: &str) -> Option<(bool, Option<String>)> {
        let lines = lines.replace('\n', "\n    ");
        read(&[("board/cli.py", &format!("def create_db():\n    {lines}\n"))])
    }

    #[test]
    fn only_what_may_be_done_again_and_again_runs_before_each_start() {
        for (lines, stamps) in [
            ("db.create_all()", false),
            (
                "\"\"\"Makes them.\"\"\"\nwith create_app().app_context():\n    db.create_all()\nprint('made')",
                false,
            ),
            (
                "if not inspect(db.engine).has_table('users'):\n    db.create_all()\n    stamp()",
                true,
            ),
            (
                "if is_db_empty():\n    db.create_all()\n    stamp()\nelse:\n    print('there')\n    exit()",
                true,
            ),
            ("db.session.execute(text('SELECT 1;'))\ndb.create_all()", false),
            (
                "db.engine.execute(f'CREATE EXTENSION IF NOT EXISTS \"{name}\";')\ndb.create_all()",
                false,
            ),
            // Migrations would never run again.
            ("db.create_all()\nstamp()", false),
            ("db.create_all()\nif is_empty():\n    stamp()", false),
            ("if os.environ.get:\n    db.create_all()\n    stamp()", false),
        ] {
            assert_eq!(body(lines), Some((stamps, None)), "{lines}");
        }
        for (lines, called) in [
            (
                "db.create_all()\ndb.session.add(Role(name='admin'))",
                "3 calls `db.session.add`",
            ),
            (
                "db.create_all()\ndb.session.commit()",
                "3 calls `db.session.commit`",
            ),
            ("db.drop_all()\ndb.create_all()", "2 calls `db.drop_all`"),
            (
                "db.session.execute('DROP SCHEMA public CASCADE')\ndb.create_all()",
                "2 calls `db.session.execute`",
            ),
            (
                "db.session.execute('SELECT 1; DROP TABLE x')\ndb.create_all()",
                "2 calls `db.session.execute`",
            ),
            (
                "db.session.execute(sql)\ndb.create_all()",
                "2 calls `db.session.execute`",
            ),
            (
                "User.query.delete()\ndb.create_all()",
                "2 calls `User.query.delete`",
            ),
            ("db.create_all()\napp.run()", "3 calls `app.run`"),
            ("db.create_all()\nsys.exit(1)", "3 calls `sys.exit`"),
            (
                "for table in tables:\n    table.drop()\ndb.create_all()",
                "3 calls `table.drop`",
            ),
            ("db.create_all()\nseed()", "3 calls `seed`"),
            (
                "if not is_empty():\n    raise RuntimeError\ndb.create_all()",
                "3 may end it, or never does",
            ),
            (
                "while True:\n    print()\ndb.create_all()",
                "2 may end it, or never does",
            ),
        ] {
            let expected = Some(format!("board/cli.py:{called}"));
            assert_eq!(body(lines).map(|(_, refused)| refused), Some(expected), "{lines}");
        }
    }

    #[test]
    fn functions_that_it_calls_and_its_namesakes_have_to_be_good_too() {
        let wipe = "def wipe():\n    db.drop_all()\n\ndef create_db():\n    wipe()\n    db.create_all()\n";
        let refused = |files: &[(&str, &str)]| read(files).unwrap().1;
        let by = |line: &str| Some(format!("{line} calls `db.drop_all`"));
        assert_eq!(refused(&[("board/cli.py", wipe)]), by("board/cli.py:2"));
        let elsewhere = [
            ("board/__init__.py", ""),
            (
                "board/cli.py",
                "from .data import wipe\n\ndef create_db():\n    wipe()\n    db.create_all()\n",
            ),
            ("board/data.py", "def wipe():\n    db.drop_all()\n"),
        ];
        assert_eq!(refused(&elsewhere), by("board/data.py:2"));
        let good = "def is_empty():\n    return len(inspect(db.engine).get_table_names()) == 0\n\n\
                    def create_db():\n    if is_empty():\n        db.create_all()\n";
        assert_eq!(refused(&[("board/cli.py", good)]), None);
        let namesakes = [
            ("board/db.py", "def create_db():\n    db.create_all()\n"),
            (
                "manage.py",
                "def create_db():\n    db.drop_all()\n    db.create_all()\n",
            ),
        ];
        assert_eq!(refused(&namesakes), by("manage.py:2"));
        let renamed = [
            ("board/db.py", "def create_db():\n    db.create_all()\n"),
            (
                "manage.py",
                "@manager.command('create_db')\ndef anew():\n    db.drop_all()\n",
            ),
        ];
        assert_eq!(
            refused(&renamed).as_deref(),
            Some("manage.py:2 has the same name, and makes no tables")
        );
        let asks = "@manager.command()\n@click.confirmation_option(prompt='Sure?')\ndef create_db():\n    db.create_all()\n";
        assert_eq!(
            refused(&[("board/cli.py", asks)]).as_deref(),
            Some("board/cli.py:3 asks whoever runs it for something")
        );
        assert_eq!(read(&[("board/db.py", "def create_db():\n    pass\n")]), None);
    }
}
