//! Whether a folder has what an import string names.

use std::path::Path;

use crate::dependencies::normal;
use crate::findings::look;
use crate::modules::Modules;
use crate::tree::Tree;

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
    /// `package.module:attribute`.
    pub import: String,
    /// Whether it is a function that makes the app.
    pub factory: bool,
    /// `main.py:16`.
    pub place: String,
}

/// Holds an import string against a folder. Only what is sure to fail is told: a
/// package may bring the module, a star import the name.
pub fn check(folder: &Path, import: &str) -> Option<WrongImport> {
    let (module, attribute) = import.split_once(':')?;
    let attribute = attribute.split('.').next()?;
    let relative = module.replace('.', "/");
    let files = ["", "src/"].map(|root| {
        [
            format!("{root}{relative}.py"),
            format!("{root}{relative}/__init__.py"),
        ]
    });
    if let Some(file) = files.iter().flatten().find(|file| folder.join(file).is_file()) {
        let text = fs_err::read(folder.join(file)).ok()?;
        let tree = Tree::single(file, &String::from_utf8_lossy(&text));
        let modules = Modules::of(&tree);
        if modules.all.first()?.binds(attribute) != Some(false) {
            return None;
        }
        return Some(WrongImport {
            missing: format!("{file} has no `{attribute}`"),
            instead: instead(folder, module).0,
        });
    }
    let first = module.split('.').next()?;
    let (instead, may_be_installed) = instead(folder, first);
    // Without an app in the folder it may well be a package's.
    (!may_be_installed && instead.is_some()).then(|| WrongImport {
        missing: format!("there is no {relative}.py"),
        instead,
    })
}

/// The app of a folder, and whether a module of this name may come from
/// elsewhere than from its top.
fn instead(folder: &Path, module: &str) -> (Option<Instead>, bool) {
    let findings = look(folder);
    let app = findings.app.chosen.as_ref().or(findings.app.others.first());
    let instead = app.map(|app| Instead {
        import: app.value.import.clone(),
        factory: app.value.factory,
        place: app.place.to_string(),
    });
    // `agno_os` may come with `agno`: what a package installs is not in its name.
    let first = |name: &str| name.split('-').next().map(str::to_owned);
    let wanted = first(&normal(module));
    let dependencies = &findings.dependencies;
    let asked = dependencies
        .packages
        .iter()
        .any(|one| first(&one.value.name) == wanted);
    let locked = dependencies.locked.iter().any(|name| first(name) == wanted);
    let tree = Tree::read(folder);
    // A workspace's member, a `lib/` on the path: somewhere below.
    let below = tree.paths().any(|path| {
        let inside = path.strip_suffix(".py").unwrap_or(path);
        // What is compiled has the platform in its name.
        let compiled = path
            .strip_prefix(module)
            .is_some_and(|rest| rest.starts_with('.'));
        compiled && inside == path || inside.split('/').skip(1).any(|part| part == module)
    });
    (instead, asked || locked || below)
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
        ] {
            assert_eq!(wrong(files, import), None, "{import}");
        }
    }
}
