//! Settings that are named and not there, with an example beside them that only takes others.

use std::path::Path;

use super::named;
use crate::modules::Modules;
use crate::place::Place;
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
        let example = examples
            .iter()
            .find(|path| path.starts_with(&stem) && !is_there)?;
        let text = fs_err::read_to_string(folder.join(example)).ok()?;
        takes_others_alone(&text).then(|| CopiedSettings {
            file,
            example: (*example).to_owned(),
            text,
            place,
        })
    })
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
