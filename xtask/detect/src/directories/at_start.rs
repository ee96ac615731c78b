//! Folders that the app makes by itself as it starts, or that its own way to start makes.

use std::collections::BTreeSet;
use std::path::Path;

use super::{MADE_ANEW, kept, place};
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Token, TokenKind};
use crate::tree::{Tree, is_of_the_app};

/// Folders of the project that are not among its files, and that `mkdir` or `makedirs` makes
/// while a module is imported, or in a function that starts the app: what that server would do
/// of its own is not done where another one runs the app. A kept folder is there before, as a link:
/// one that is made without regard to that, or removed, would fail.
pub(super) fn made(tree: &Tree, modules: &Modules<'_>, at_work: &[&Module<'_>]) -> Vec<Detected<String>> {
    let mut found: Vec<Detected<String>> = Vec::new();
    let removed = removed(modules);
    for module in at_work {
        for (n, call) in module.calls() {
            let folder = made_by(modules, module, n, &call)
                .filter(|_| is_of_a_start(module, n))
                .and_then(|path| place(modules, module, path, 0))
                .and_then(|path| kept(&path))
                .filter(|path| !path.starts_with('/') && !is_made_anew(path))
                .filter(|path| may_be_there(&call) || is_guarded(modules, module, n, path))
                .filter(|path| !removed.iter().any(|other| Path::new(path).starts_with(other)));
            let is_there = |folder: &String| {
                let below = format!("{folder}/");
                tree.paths().any(|path| path.starts_with(&below))
            };
            if let Some(folder) = folder.filter(|folder| !is_there(folder)) {
                found.push(Detected::likely(
                    folder,
                    Place::new(module.path, module.number(n)),
                ));
            }
        }
    }
    found.sort_by_key(|one| one.value.matches('/').count());
    found
}

/// Whether a call that makes a folder takes one that is there.
fn may_be_there(call: &Call<'_, '_>) -> bool {
    let said = call.argument("exist_ok", 2);
    matches!(said, Some([yes]) if yes.is_name("True"))
}

/// Whether a line runs only where its folder is not there: `if not os.path.exists("files"):`.
fn is_guarded(modules: &Modules<'_>, module: &Module<'_>, line: usize, folder: &str) -> bool {
    let indent = module.lines[line].indent;
    let mut before = (0..line).rev();
    let Some(head) = before.find(|n| module.lines[*n].indent < indent) else {
        return false;
    };
    let [word, not, asked @ ..] = module.lines[head].tokens.as_slice() else {
        return false;
    };
    if !word.is_name("if") || !not.is_name("not") || asked.iter().any(|token| token.is_name("or")) {
        return false;
    }
    let of_path = ["exists", "is_dir"]
        .iter()
        .find_map(|method| before_method(asked, method));
    let of_calls = statement::calls(asked).into_iter().filter_map(|call| {
        let asks = ["exists", "isdir"].contains(&call.last());
        call.argument("path", 0).filter(|_| asks)
    });
    let mut paths = of_path.into_iter().chain(of_calls);
    paths.any(|path| folder_at(modules, module, path).as_deref() == Some(folder))
}

/// What the app removes or moves away, anywhere: no link may stand there.
fn removed(modules: &Modules<'_>) -> BTreeSet<String> {
    const BY_CALLS: [&str; 6] = ["move", "removedirs", "rename", "replace", "rmdir", "rmtree"];
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let calls = of_the_app.flat_map(|module| module.calls().map(move |(n, call)| (module, n, call)));
    let by_name = calls.filter(|(_, _, call)| BY_CALLS.contains(&call.last()));
    let paths = by_name.filter_map(|(module, n, call)| {
        let is_of = matches!(modules.meaning(module, &call.path), Meaning::Outside(_));
        let argument = || call.arguments.first().map(|one| one.value);
        let path = match is_of || call.last() == "rmtree" {
            true => argument(),
            false => before_method(&module.lines[n].tokens, call.last()),
        };
        folder_at(modules, module, path?)
    });
    paths.collect()
}

/// The folder of the app's that a path leads to.
fn folder_at(modules: &Modules<'_>, module: &Module<'_>, path: &[Token<'_>]) -> Option<String> {
    kept(&place(modules, module, path, 0)?)
}

/// What stands before a method that is called of it, from the beginning of the tokens on.
fn before_method<'m, 't>(tokens: &'m [Token<'t>], method: &str) -> Option<&'m [Token<'t>]> {
    let at = tokens
        .windows(3)
        .position(|three| three[0].is(".") && three[1].is_name(method) && three[2].is("("))?;
    Some(&tokens[..at])
}

/// Whether a part of a path says that what is in it comes back by itself, or is of one run: the
/// numbers of several processes are wrong where they outlive these.
fn is_made_anew(path: &str) -> bool {
    const MORE: [&str; 17] = [
        "BUILD",
        "DIST",
        "EXPORT",
        "EXPORTS",
        "LOCK",
        "LOCKS",
        "MULTIPROC",
        "MULTIPROCESS",
        "PID",
        "PIDS",
        "PROMETHEUS",
        "RUN",
        "RUNTIME",
        "SCRATCH",
        "SOCK",
        "SOCKET",
        "SOCKETS",
    ];
    let upper = path.to_uppercase();
    let mut words = upper.split(['/', '_', '-', '.']);
    words.any(|word| MADE_ANEW.contains(&word) || MORE.contains(&word)) || upper.starts_with('.')
}

/// The path that a call makes a folder of.
fn made_by<'m, 't>(
    modules: &Modules<'_>,
    module: &'m Module<'t>,
    line: usize,
    call: &Call<'m, 't>,
) -> Option<&'m [Token<'t>]> {
    let of_os = ["os.makedirs", "os.mkdir"];
    if matches!(modules.meaning(module, &call.path), Meaning::Outside(name) if of_os.contains(&name.as_str()))
    {
        return call.argument("name", 0).or_else(|| call.named("path"));
    }
    if call.last() != "mkdir" {
        return None;
    }
    // What stands before it of a line of its own.
    let path = before_method(&module.lines[line].tokens, "mkdir")?;
    let is_whole = path
        .first()
        .is_some_and(|first| first.kind == TokenKind::Name || first.is("("))
        && statement::first(path, "=").is_none();
    is_whole.then_some(path)
}

/// Whether a line runs as the app starts: while its module is imported, or in a function by whose
/// name or decorator it is started.
fn is_of_a_start(module: &Module<'_>, line: usize) -> bool {
    const NAMES: [&str; 12] = [
        "create_app",
        "init_app",
        "lifespan",
        "main",
        "make_app",
        "on_startup",
        "run",
        "run_server",
        "serve",
        "setup",
        "start",
        "startup",
    ];
    if module.is_at_the_top(line) {
        return true;
    }
    let mut around = module.definitions.iter().filter(|one| one.body.contains(&line));
    let Some(function) = around.next_back().filter(|one| !one.is_class) else {
        return false;
    };
    let mut decorators = module.lines[function.decorators.clone()].iter();
    let of_an_event = decorators.any(|line| {
        let name = statement::dotted(line.tokens.get(1..).unwrap_or_default());
        name.is_some_and(|(name, _)| name.ends_with(".on_event"))
    });
    of_an_event || NAMES.contains(&function.name)
}

/// The default of a field that a class of settings has, of an object of it: `settings.data_dir`.
/// What comes behind it, too.
pub(super) fn of_settings<'m, 't>(
    modules: &'m Modules<'t>,
    module: &Module<'t>,
    tokens: &'m [Token<'t>],
) -> Option<(&'m Module<'t>, &'m [Token<'t>], &'m [Token<'t>])> {
    let [object, dot, field, rest @ ..] = tokens else {
        return None;
    };
    let is_field = object.kind == TokenKind::Name && dot.is(".") && field.kind == TokenKind::Name;
    if !is_field || rest.first().is_some_and(|next| next.is("(")) {
        return None;
    }
    let Meaning::Inside(other, name) = modules.meaning(module, object.text) else {
        return None;
    };
    statement::call_at(other.value(&name)?)?;
    let lines = other.lines.iter().enumerate();
    let of_classes = lines.filter(|(n, _)| other.class_of(*n).is_some());
    let mut fields = of_classes
        .flat_map(|(_, line)| statement::assignments(line))
        .filter(|one| one.target == field.text);
    let value = fields.next().filter(|_| fields.next().is_none())?.value;
    let default = match statement::call_at(value) {
        Some((call, [])) if call.last() == "Field" => call.argument("default", 0)?,
        _ => value,
    };
    Some((other, default, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let tree = Tree::single("shop/__init__.py", text);
        let modules = Modules::of(&tree);
        let at_work: Vec<_> = modules.all.iter().collect();
        let all = made(&tree, &modules, &at_work).into_iter();
        all.map(|one| one.value).collect()
    }

    const SETTINGS: &str = "import os\nfrom pathlib import Path\nclass Settings(BaseSettings):\n    root: str = Field(default=\"shop\")\n    \
                            data: str = \"./files\"\n\nsettings = Settings()\n";

    #[test]
    fn a_folder_that_is_made_at_the_start_is_told() {
        for (made, folder) in [
            ("os.makedirs(\"uploads\", exist_ok=True)", "uploads"),
            ("Path(\"/app/attached\").mkdir(0o755, True, True)", "attached"),
            (
                "if not os.path.isdir(settings.data):\n    os.mkdir(settings.data)",
                "files",
            ),
            (
                "SENT = Path(\"sent\")\nif not SENT.exists():\n    SENT.mkdir(parents=True)",
                "sent",
            ),
            (
                "def main():\n    Path(settings.root, \"plugins\").mkdir(parents=True, exist_ok=True)",
                "shop/plugins",
            ),
            (
                "def startup():\n    (Path(\"sent\") / \"mail\").mkdir(exist_ok=True)",
                "sent/mail",
            ),
        ] {
            assert_eq!(found(&format!("{SETTINGS}{made}\n")), [folder], "{made}");
        }
    }

    #[test]
    fn what_is_made_anew_or_on_request_is_not() {
        for made in [
            "os.makedirs(\"logs\", exist_ok=True)",
            "os.makedirs(\"data/cache\", exist_ok=True)",
            "os.makedirs(\"run\", exist_ok=True)",
            "os.makedirs(\"data/prometheus_multiproc\", exist_ok=True)",
            "os.makedirs(\"/srv/files\", exist_ok=True)",
            "os.makedirs(unknown, exist_ok=True)",
            "os.makedirs(settings.nothing, exist_ok=True)",
            "def upload(file):\n    os.makedirs(\"uploads\", exist_ok=True)",
            "class A:\n    def run_one(self):\n        os.makedirs(\"uploads\", exist_ok=True)",
            "folder = make().mkdir(exist_ok=True)",
        ] {
            assert_eq!(found(&format!("{SETTINGS}{made}\n")), [""; 0], "{made}");
        }
    }
    #[test]
    fn what_cannot_be_a_link_is_not() {
        let makes = "os.makedirs(\"work\", exist_ok=True)";
        assert_eq!(found(&format!("{SETTINGS}{makes}\n")), ["work"]);
        for removes in [
            "import shutil\nif os.path.isdir(\"work\"):\n    shutil.rmtree(\"work\")",
            "from shutil import rmtree\ndef clear():\n    rmtree(Path(\"work\"))",
            "def clear():\n    os.rename(\"work\", \"old\")",
            "WORK = Path(\"work\")\ndef clear():\n    WORK.rmdir()",
        ] {
            assert_eq!(
                found(&format!("{SETTINGS}{removes}\n{makes}\n")),
                [""; 0],
                "{removes}"
            );
        }
        for fails in [
            "os.makedirs(\"work\")",
            "os.makedirs(\"work\", exist_ok=False)",
            "Path(\"work\").mkdir(parents=True)",
            "if not os.path.exists(\"other\"):\n    os.mkdir(\"work\")",
            "if not os.path.exists(\"work\") or settings.root:\n    os.mkdir(\"work\")",
            "if os.path.exists(\"work\"):\n    os.mkdir(\"work\")",
        ] {
            assert_eq!(found(&format!("{SETTINGS}{fails}\n")), [""; 0], "{fails}");
        }
    }
}
