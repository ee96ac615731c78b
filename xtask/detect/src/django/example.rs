//! Settings that are named and not there, with an example beside them that only takes others.

use std::collections::BTreeSet;
use std::path::Path;

use super::named;
use crate::modules::Modules;
use crate::place::Place;
use crate::python::statement;
use crate::python::{TokenKind, lines};
use crate::tree::{Tree, file_name, folder_of};

/// An example that is its settings as it stands.
#[derive(Debug)]
pub(crate) struct CopiedSettings {
    /// The file that is not there, and its example.
    pub(crate) file: String,
    pub(crate) example: String,
    pub(crate) text: String,
    /// The line that names the settings.
    pub(crate) place: Place,
}

/// The settings that a project's own programs name, where they are not there and their example
/// has nothing of its own: `from shop.conf.base import *`. Any other has values to be looked at.
pub(crate) fn copied(folder: &Path, tree: &Tree) -> Option<CopiedSettings> {
    let examples: Vec<&str> = tree.paths().filter(|path| shows_settings(path)).collect();
    if examples.is_empty() {
        return None;
    }
    let modules = Modules::of(tree);
    let programs = modules
        .all
        .iter()
        .filter(|module| ["asgi.py", "manage.py", "wsgi.py"].contains(&file_name(module.path)));
    let mut found = programs.flat_map(|module| {
        let settings = named(module);
        let stem = settings.as_ref().map(|one| one.value.replace('.', "/"));
        let roots = roots(module.path).into_iter();
        let stems = roots.filter_map(move |root| Some(format!("{root}{}", stem.as_ref()?)));
        stems.filter_map(move |stem| Some((stem, settings.as_ref()?.place.clone())))
    });
    found.find_map(|(stem, place)| {
        let file = format!("{stem}.py");
        let is_there = tree.has(&file) || tree.has(&format!("{stem}/__init__.py"));
        let mut of_it = examples.iter().filter(|path| is_example_of(path, &stem));
        // Of several each is for its own place to run in: somebody chooses.
        let (Some(example), None, false) = (of_it.next(), of_it.next(), is_there) else {
            return None;
        };
        let text = fs_err::read_to_string(folder.join(example)).ok()?;
        let is_plain = takes_others_alone(&text) && !is_for_developers(&modules, &file, &text);
        is_plain.then(|| CopiedSettings {
            file,
            example: (*example).to_owned(),
            text,
            place,
        })
    })
}

/// Whether a file is called as the example of just this module: `settings.example.py` of
/// `settings`, and not `settings_dev.example.py`.
fn is_example_of(path: &str, stem: &str) -> bool {
    let Some(rest) = path
        .strip_prefix(stem)
        .filter(|rest| rest.starts_with(['.', '_', '-']))
    else {
        return false;
    };
    let mut words = rest.split(['.', '_', '-']).filter(|word| !word.is_empty());
    words.all(|word| word == "py" || super::OF_EXAMPLES.contains(&word))
}

/// Whether an example takes settings that are for those who work on the project, by the name of
/// a module or by a `DEBUG` that is on: an image with these shows its settings to others.
fn is_for_developers(modules: &Modules<'_>, file: &str, text: &str) -> bool {
    let lines = lines(text);
    let imports: Vec<_> = lines.iter().flat_map(statement::imports).collect();
    let taken = imports.iter().filter_map(|one| modules.find(file, &one.module));
    let taken: Vec<_> = taken.collect();
    let files = taken
        .iter()
        .flat_map(|module| super::imported(modules, module.path));
    let mut files = files.collect::<BTreeSet<String>>().into_iter();
    let is_debugged = taken
        .iter()
        .flat_map(|module| module.assignments())
        .any(|(_, one)| one.target == "DEBUG" && matches!(one.value, [value] if value.is_name("True")));
    is_debugged
        || imports.iter().any(|one| super::is_of_developers(&one.module))
        || files
            .any(|file| super::is_of_developers(file.trim_end_matches(".py").trim_end_matches("/__init__")))
}

/// Whether a file is called as an example of a module.
pub(super) fn shows_settings(path: &str) -> bool {
    let mut words = file_name(path).split(['.', '_', '-']);
    path.contains(".py") && words.any(|word| super::OF_EXAMPLES.contains(&word))
}

/// The folders that a program's module may be imported from.
fn roots(path: &str) -> Vec<&str> {
    let folder = folder_of(path);
    let above = folder_of(folder.trim_end_matches('/'));
    let mut roots = vec!["", folder, above];
    roots.dedup();
    roots
}

/// Whether all that stands in a file is imported, and all of one module is.
fn takes_others_alone(text: &str) -> bool {
    let lines = lines(text);
    let is_import = |first: &str| ["from", "import"].contains(&first);
    let is_plain = lines.iter().all(|line| match line.tokens.as_slice() {
        [said] => said.kind == TokenKind::Text,
        all => all.first().is_some_and(|first| is_import(first.text)),
    });
    let takes_all = |line: &crate::python::Line<'_>| line.tokens.last().is_some_and(|last| last.is("*"));
    is_plain && lines.iter().any(takes_all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied_of(files: &[(&str, &str)]) -> Option<String> {
        const MANAGE: &str =
            "import os\nos.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"shop.settings\")\n";
        let folder = tempfile::tempdir().unwrap();
        let of_all = [
            ("manage.py", MANAGE),
            ("shop/conf/base.py", "DEBUG = False\n"),
            ("shop/conf/development.py", "from .base import *\n"),
            ("shop/conf/open.py", "DEBUG = True\n"),
            ("shop/conf/closed.py", "from .open import *\nDEBUG = False\n"),
            ("shop/conf/all.py", "from .development import *\nDEBUG = False\n"),
        ];
        for (name, text) in of_all.iter().chain(files) {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let copied = copied(folder.path(), &Tree::read(folder.path()))?;
        assert_eq!(copied.file, "shop/settings.py");
        Some(copied.example)
    }

    #[test]
    fn the_one_example_of_just_these_settings_is_put_in_place() {
        for (name, module) in [
            ("shop/settings.py.example", "shop.conf.base"),
            ("shop/settings.example.py", ".conf.base"),
            ("shop/settings_sample.py", ".conf.closed"),
            ("shop/settings.py.dist", "shop.conf.base"),
        ] {
            let text = format!("from {module} import *\n");
            let other = (
                "shop/settings_dev.example.py",
                "from .conf.development import *\n",
            );
            assert_eq!(copied_of(&[(name, &text), other]).as_deref(), Some(name));
        }
        for module in [".conf.development", ".conf.open", ".conf.all", "shop.local"] {
            let text = format!("from {module} import *\n");
            assert_eq!(
                copied_of(&[("shop/settings.py.example", &text)]),
                None,
                "{module}"
            );
        }
        let two = [
            ("shop/settings.py.dist", "from .conf.base import *\n"),
            ("shop/settings.py.example", "from .conf.closed import *\n"),
        ];
        assert_eq!(copied_of(&two), None);
        assert_eq!(
            copied_of(&[("shop/settings_dev.example.py", "from .conf.base import *\n")]),
            None
        );
    }

    #[test]
    fn an_example_with_values_of_its_own_is_looked_at_by_somebody() {
        for (text, is_plain) in [
            ("\"\"\"Of us.\"\"\"\n\nfrom .base import *  # noqa\n", true),
            ("import os\nfrom shop.base import *\n", true),
            ("from .base import *\nDEBUG = False\n", false),
            ("from .base import DATABASES\n", false),
            ("from .base import *\nprint(\"x\")\n", false),
            ("", false),
        ] {
            assert_eq!(takes_others_alone(text), is_plain, "{text}");
        }
    }
}
