//! Folders that the app makes by itself as it starts, or that its own way to start makes.

use super::{MADE_ANEW, kept, place};
use crate::at_work;
use crate::modules::{Meaning, Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement::{self, Call};
use crate::python::{Token, TokenKind};
use crate::tree::Tree;

/// Folders of the project that are not among its files, and that `mkdir` or `makedirs` makes
/// while a module is imported, or in a function that starts the app: what that server would do
/// of its own is not done where another one runs the app.
pub(super) fn made(tree: &Tree, modules: &Modules<'_>) -> Vec<Detected<String>> {
    let mut found: Vec<Detected<String>> = Vec::new();
    for module in at_work::modules(tree, modules) {
        for (n, call) in module.calls() {
            let folder = made_by(modules, module, n, &call)
                .filter(|_| is_of_a_start(module, n))
                .and_then(|path| place(modules, module, path, 0))
                .and_then(|path| kept(&path))
                .filter(|path| !path.starts_with('/') && !is_made_anew(path));
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

/// Whether a part of a path says that what is in it comes back by itself.
fn is_made_anew(path: &str) -> bool {
    const MORE: [&str; 4] = ["BUILD", "DIST", "EXPORT", "EXPORTS"];
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
    // What stands before `.mkdir(` of a line of its own.
    let tokens = module.lines[line].tokens.as_slice();
    let at = tokens
        .windows(3)
        .position(|three| three[0].is(".") && three[1].is_name("mkdir") && three[2].is("("))?;
    let path = &tokens[..at];
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
        let all = made(&tree, &Modules::of(&tree)).into_iter();
        all.map(|one| one.value).collect()
    }

    const SETTINGS: &str = "import os\nfrom pathlib import Path\nclass Settings(BaseSettings):\n    root: str = Field(default=\"shop\")\n    \
                            data: str = \"./files\"\n\nsettings = Settings()\n";

    #[test]
    fn a_folder_that_is_made_at_the_start_is_told() {
        for (made, folder) in [
            ("os.makedirs(\"uploads\", exist_ok=True)", "uploads"),
            ("Path(\"/app/attached\").mkdir(parents=True)", "attached"),
            ("os.mkdir(settings.data)", "files"),
            (
                "def main():\n    Path(settings.root, \"plugins\").mkdir(parents=True, exist_ok=True)",
                "shop/plugins",
            ),
            (
                "def startup():\n    (Path(\"sent\") / \"mail\").mkdir()",
                "sent/mail",
            ),
        ] {
            assert_eq!(found(&format!("{SETTINGS}{made}\n")), [folder], "{made}");
        }
    }

    #[test]
    fn what_is_made_anew_or_on_request_is_not() {
        for made in [
            "os.makedirs(\"logs\")",
            "os.makedirs(\"data/cache\")",
            "os.makedirs(\"/srv/files\")",
            "os.makedirs(unknown)",
            "os.makedirs(settings.nothing)",
            "def upload(file):\n    os.makedirs(\"uploads\")",
            "class A:\n    def run_one(self):\n        os.makedirs(\"uploads\")",
            "folder = make().mkdir()",
        ] {
            assert_eq!(found(&format!("{SETTINGS}{made}\n")), [""; 0], "{made}");
        }
    }
}
