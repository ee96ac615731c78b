//! The modules that run as the app works, of all that a project has.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Module, Modules};
use crate::python::Line;
use crate::python::statement;
use crate::settings;
use crate::tree::{Tree, file_name, folder_of, is_of_a_start, is_of_the_app, reads_count};

/// Those of packages, those with an app, those that others import or a start names. Not scripts of
/// developers, nor what people ask Django for. `with_apps` are the files that have apps in them.
pub(crate) fn modules<'m, 't>(
    tree: &Tree,
    modules: &'m Modules<'t>,
    with_apps: &BTreeSet<String>,
) -> Vec<&'m Module<'t>> {
    let imported = imported(modules);
    let is_one = |module: &&Module<'t>| {
        let path = module.path;
        let folder = folder_of(path);
        if !is_of_the_app(path)
            || path.contains("management/commands/")
            || settings::is_script_beside(tree, modules, module)
        {
            return false;
        }
        let is_beside = settings::BESIDE.contains(&top(path));
        let mut importers = imported.get(path).into_iter().flatten();
        let is_imported = importers.any(|by| !is_beside || top(by) != top(path));
        let in_package = tree.has(&format!("{folder}__init__.py")) && !is_beside;
        let mut starts = tree.texts().filter(|(other, _)| is_of_a_start(other));
        in_package
            || is_imported
            || with_apps.contains(path)
            || starts.any(|(_, text)| settings::has_name(text, file_name(path)))
    };
    modules.all.iter().filter(is_one).collect()
}

/// The first folder of a path; none of a file at the top.
fn top(path: &str) -> &str {
    path.split_once('/').map_or("", |(top, _)| top)
}

/// What of the project's is imported, and by whom.
fn imported<'m>(modules: &'m Modules<'_>) -> BTreeMap<&'m str, BTreeSet<&'m str>> {
    let read = modules.all.iter().filter(|module| reads_count(module.path));
    let lines = read.flat_map(|module| module.lines.iter().map(move |line| (module, line)));
    let named = lines.flat_map(|(module, line)| named(line).into_iter().map(move |name| (module, name)));
    let found =
        named.filter_map(|(module, name)| Some((module.path, modules.find(module.path, &name)?.path)));
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (by, what) in found.filter(|(by, what)| by != what) {
        all.entry(what).or_default().insert(by);
    }
    all
}

/// The modules that an import may mean: `from a import b` either `a` or `a.b`.
fn named(line: &Line<'_>) -> Vec<String> {
    if let [word, rest @ ..] = line.tokens.as_slice()
        && word.is_name("import")
    {
        let parts = statement::parts(rest).into_iter();
        return parts
            .filter_map(|part| Some(statement::dotted(part)?.0))
            .collect();
    }
    let all = statement::imports(line).into_iter();
    let both = all.flat_map(|one| {
        let dots = if one.module.ends_with('.') { "" } else { "." };
        let inner = one.attribute.map(|name| format!("{}{dots}{name}", one.module));
        [Some(one.module), inner].into_iter().flatten()
    });
    both.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry;

    #[test]
    fn scripts_beside_the_app_do_not_run_as_it_works() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            (
                "main.py",
                "from fastapi import FastAPI\nimport parts.media\napp = FastAPI()\n",
            ),
            ("parts/media.py", "from . import sizes\n"),
            ("parts/sizes.py", ""),
            ("parts/alone.py", ""),
            ("checks/names.py", ""),
            ("tools/__init__.py", ""),
            ("tools/docs.py", "import tools.pages\n"),
            ("tools/pages.py", ""),
            ("serve.py", ""),
            ("Dockerfile", "CMD [\"python\", \"serve.py\"]\n"),
            ("shop/__init__.py", ""),
            ("shop/views.py", ""),
            ("shop/management/commands/fill.py", ""),
        ] {
            let file = folder.path().join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }
        let tree = Tree::read(folder.path());
        let all = Modules::of(&tree);
        let with_apps = entry::with_apps(&tree, &all);
        let found = modules(&tree, &all, &with_apps);
        let found: Vec<&str> = found.iter().map(|module| module.path).collect();
        assert_eq!(
            found,
            [
                "main.py",
                "parts/media.py",
                "parts/sizes.py",
                "serve.py",
                "shop/__init__.py",
                "shop/views.py"
            ]
        );
    }
}
