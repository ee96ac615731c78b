//! Whether a folder has what an import string names.

use std::path::Path;

use crate::dependencies::normal;
use crate::findings::look;
use crate::modules::Modules;
use crate::tree::Tree;
use inputs::regular;

/// What is wrong with an import string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongImport {
    /// What is not there, such as ``has no api/serve.py``.
    pub missing: String,
    /// What the folder has instead, where it has: the import string, whether it
    /// is a factory, and the line.
    pub instead: Option<Instead>,
}

/// An app of the folder that could be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instead {
    /// What a spec would say: `package.module:attribute`.
    pub import: String,
    /// Whether it is a function that makes the app.
    pub factory: bool,
    /// Where it stands, file and line: `main.py:16`.
    pub place: String,
}

/// Holds an import string against a folder. Only what is sure to fail is told: a
/// package may bring the module, a star import the name.
pub fn check(folder: &Path, import: &str) -> Option<WrongImport> {
    let (module, attribute) = import.split_once(':')?;
    let attribute = attribute.split('.').next()?;
    let relative = module.replace('.', "/");
    let at_top = ["", "src/"].map(|root| {
        // As Python looks for them.
        [
            format!("{root}{relative}/__init__.py"),
            format!("{root}{relative}.py"),
        ]
    });
    let files: Vec<&String> = at_top
        .iter()
        .flatten()
        .filter(|file| folder.join(file).is_file())
        .collect();
    let first = module.split('.').next()?;
    let Some(file) = files.first() else {
        return missing_module(folder, first, &relative);
    };
    let has_not = |file: &str| {
        let text = fs_err::read(folder.join(file)).ok()?;
        let tree = Tree::single(file, &regular::lossy(text));
        let has = Modules::of(&tree).all.first()?.binds(attribute)?;
        (!has).then_some(())
    };
    files.iter().try_for_each(|file| has_not(file))?;
    let tree = Tree::read(folder);
    // A module in a package is a name in it once anything has imported it.
    let inside = format!("{relative}/{attribute}");
    if may_be_compiled(&tree, &relative) || has_module(&tree, &inside) {
        return None;
    }
    let (instead, asked_by_name) = instead(folder, first, |name, wanted| name == wanted);
    // A package is found before a namesake in the app's folder.
    (!asked_by_name).then(|| WrongImport {
        missing: format!("{file} has no `{attribute}`"),
        instead,
    })
}

/// What is wrong where no file is a module of this name.
fn missing_module(folder: &Path, first: &str, relative: &str) -> Option<WrongImport> {
    // `agno_os` may come with `agno`: what a package installs is not in its name.
    let beginning = |name: &str| name.split('-').next().map(str::to_owned);
    let (instead, may_be_installed) =
        instead(folder, first, |name, wanted| beginning(name) == beginning(wanted));
    let tree = Tree::read(folder);
    // A workspace's member, a `lib/` on the path: somewhere below.
    let mut paths = tree.paths();
    let below = paths.any(|path| {
        let inside = path.strip_suffix(".py").unwrap_or(path);
        inside.split('/').skip(1).any(|part| part == first)
    });
    let elsewhere = below
        || may_be_compiled(&tree, first)
        || may_be_compiled(&tree, relative)
        || may_lead_elsewhere(&tree, first);
    // Without an app in the folder it may well be a package's.
    (!may_be_installed && !elsewhere && instead.is_some()).then(|| WrongImport {
        missing: format!("there is no {relative}.py"),
        instead,
    })
}

/// What is compiled has the platform in its name.
fn may_be_compiled(tree: &Tree, relative: &str) -> bool {
    tree.paths().any(|path| {
        let rest = path.strip_prefix("src/").unwrap_or(path).strip_prefix(relative);
        let kinds = [".so", ".pyd", ".pyc"];
        rest.is_some_and(|rest| rest.starts_with('.') && kinds.iter().any(|kind| rest.ends_with(kind)))
    })
}

/// Whether a package has a module, or a folder of them.
fn has_module(tree: &Tree, relative: &str) -> bool {
    tree.paths().any(|path| {
        let rest = path.strip_prefix("src/").unwrap_or(path).strip_prefix(relative);
        rest.is_some_and(|rest| rest.starts_with(['.', '/']))
    })
}

/// Whether a package may have its modules in other folders: it says so itself, or
/// what installs the project gives a folder this name.
fn may_lead_elsewhere(tree: &Tree, first: &str) -> bool {
    let package = ["", "src/"].map(|root| format!("{root}{first}/"));
    if tree
        .paths()
        .any(|path| package.iter().any(|folder| path.starts_with(folder)))
    {
        let own = package
            .iter()
            .filter_map(|folder| tree.text(&format!("{folder}__init__.py")));
        return own
            .into_iter()
            .any(|text| ["__path__", "modules"].iter().any(|word| text.contains(word)));
    }
    let installs = ["pyproject.toml", "setup.cfg", "setup.py"];
    installs.iter().filter_map(|file| tree.text(file)).any(|text| {
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == first)
    })
}

/// The app of a folder, and whether the folder asks for a package whose name may
/// be that of a module.
fn instead(folder: &Path, module: &str, is_its: impl Fn(&str, &str) -> bool) -> (Option<Instead>, bool) {
    let findings = look(folder);
    let app = findings.app.chosen.as_ref().or(findings.app.others.first());
    let instead = app.map(|app| Instead {
        import: app.value.import.clone(),
        factory: app.value.factory,
        place: app.place.to_string(),
    });
    let wanted = normal(module);
    let dependencies = &findings.dependencies;
    let asked = dependencies.packages.iter().map(|one| &one.value.name);
    let asked = asked
        .chain(dependencies.locked.keys())
        .any(|name| is_its(name, &wanted));
    (instead, asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(files: &[(&str, &str)], import: &str) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let app = [("main.py", "from fastapi import FastAPI\napp = FastAPI()\n")];
        for (path, text) in files.iter().chain(&app) {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let wrong = check(folder.path(), import)?;
        Some(format!("{}, {}", wrong.missing, wrong.instead.unwrap().import))
    }

    #[test]
    fn what_is_sure_to_fail_is_told_with_what_there_is() {
        let told = |text: &str| Some(format!("{text}, main:app"));
        assert_eq!(wrong(&[], "api.serve:app"), told("there is no api/serve.py"));
        assert_eq!(
            wrong(&[], "main:application"),
            told("main.py has no `application`")
        );
        let package = [("api/__init__.py", "")];
        assert_eq!(wrong(&package, "api:app"), told("api/__init__.py has no `app`"));
    }

    #[test]
    fn what_may_be_there_is_left_to_the_build() {
        for (files, import) in [
            (&[][..], "main:app"),
            (&[("lib/serve.py", "")], "serve:app"),
            (&[("requirements.txt", "agno\n")], "agno_os.web:app"),
            (&[("serve.cpython-313-x86_64-linux-gnu.so", "")], "serve:app"),
            (&[("src/shop/web.py", "from x import *\n")], "shop.web:app"),
            // A package goes before a module beside it.
            (
                &[("web.py", ""), ("web/__init__.py", "app = make()\n")],
                "web:app",
            ),
            (
                &[("web.cpython-313-x86_64-linux-gnu.so", ""), ("web.py", "")],
                "web:app",
            ),
            (
                &[("api/serve.cpython-313-x86_64-linux-gnu.so", "")],
                "api.serve:app",
            ),
            (
                &[("api/__init__.py", "from .app import x\n"), ("api/app.py", "")],
                "api:app.it",
            ),
            (&[("requirements.txt", "web\n"), ("web.py", "")], "web:app"),
            (
                &[("setup.py", "setup(package_dir={'shop': 'source'})\n")],
                "shop.web:app",
            ),
            (
                &[("api/__init__.py", "__path__.append('/app/more')\n")],
                "api.serve:app",
            ),
        ] {
            assert_eq!(wrong(files, import), None, "{import}");
        }
    }
}
