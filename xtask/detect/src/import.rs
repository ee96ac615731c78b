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
    let name = normal(module);
    let asked = findings
        .dependencies
        .packages
        .iter()
        .any(|one| one.value.name == name);
    let locked = findings.dependencies.locked.contains(&name);
    let tree = Tree::read(folder);
    // A workspace's member, a `lib/` on the path: somewhere below.
    let below = tree.paths().any(|path| {
        let inside = path.strip_suffix(".py").unwrap_or(path);
        inside.split('/').skip(1).any(|part| part == module)
    });
    (instead, asked || locked || below)
}
