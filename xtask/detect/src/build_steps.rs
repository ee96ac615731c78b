//! What is made of a project's files before it serves them: Django's static
//! files, a front end by npm.

use serde::Serialize;
use serde_json::{Value, json};

use crate::django;
use crate::migrations::CommandWords;
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::TokenKind;
use crate::tree::{Tree, file_name, folder_of, is_of_the_app};

/// A front end of which it is known how it is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuiltFrontEnd {
    /// Its folder, `.` for the project's own.
    pub folder: String,
    /// The folder that it is built into.
    pub output: String,
    /// Which of its tools says so.
    pub tool: &'static str,
}

/// What a build has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildFindings {
    /// Commands for the build to run once the dependencies are installed.
    pub steps: Vec<Detected<CommandWords>>,
    /// The front end, where there is one and no doubt.
    pub front_end: Option<Detected<BuiltFrontEnd>>,
}

impl BuildFindings {
    pub(crate) fn of(tree: &Tree, modules: &Modules<'_>) -> Self {
        let mut front_ends = tree
            .texts()
            .filter(|(path, _)| file_name(path) == "package.json")
            .filter_map(|(path, text)| front_end(tree, path, text))
            .filter(|one| is_used(modules, &one.value.folder, &one.value.output));
        let first = front_ends.next();
        Self {
            steps: static_files(tree, modules).into_iter().collect(),
            front_end: first.filter(|_| front_ends.next().is_none()),
        }
    }

    /// The value of `build` in a spec; none where there is nothing to do.
    pub(crate) fn proposed(&self) -> Option<Value> {
        let steps: Vec<&CommandWords> = self.steps.iter().map(|step| &step.value).collect();
        let node = self
            .front_end
            .as_ref()
            .map(|found| match found.value.folder.as_str() {
                "." => json!({ "output": found.value.output }),
                folder => json!({ "folder": folder, "output": found.value.output }),
            });
        match (steps.is_empty(), node) {
            (true, None) => None,
            (false, None) => Some(json!({ "steps": steps })),
            (true, Some(node)) => Some(json!({ "node": node })),
            (false, Some(node)) => Some(json!({ "steps": steps, "node": node })),
        }
    }
}

/// Django gathers its static files where a setting names a folder for them.
fn static_files(tree: &Tree, modules: &Modules<'_>) -> Option<Detected<CommandWords>> {
    let manage = django::manage(tree)?;
    let mut settings = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let module = settings.find(|module| module.value("STATIC_ROOT").is_some())?;
    let words = ["python", manage, "collectstatic", "--noinput"].map(str::to_owned);
    let place = Place::of(module.path, tree.text(module.path)?, "STATIC_ROOT");
    Some(Detected::sure(words.to_vec(), place))
}

/// A front end of npm's whose tool has one folder for what it builds.
fn front_end(tree: &Tree, path: &str, text: &str) -> Option<Detected<BuiltFrontEnd>> {
    const TOOLS: [(&str, &str); 2] = [("vite", "dist"), ("react-scripts", "build")];
    let package: Value = serde_json::from_str(text).ok()?;
    package.pointer("/scripts/build")?.as_str()?;
    let folder = folder_of(path);
    if !is_installed_by_npm(tree, folder) {
        return None;
    }
    let asks = |tool: &str| {
        let parts = ["dependencies", "devDependencies"];
        parts
            .iter()
            .any(|part| package.get(part).and_then(|part| part.get(tool)).is_some())
    };
    let (tool, output) = TOOLS.into_iter().find(|(tool, _)| asks(tool))?;
    let found = BuiltFrontEnd {
        folder: if folder.is_empty() {
            ".".to_owned()
        } else {
            folder.trim_end_matches('/').to_owned()
        },
        output: format!("{folder}{output}"),
        tool,
    };
    Some(Detected::likely(found, Place::of(path, text, "\"build\"")))
}

/// Whether a front end is npm's, by the lock beside it; one that has none is another
/// program's or a workspace's where a folder above it has a lock.
fn is_installed_by_npm(tree: &Tree, folder: &str) -> bool {
    const OWN: [&str; 2] = ["package-lock.json", "npm-shrinkwrap.json"];
    const OTHERS: [&str; 4] = ["pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"];
    let has = |folder: &str, locks: &[&str]| locks.iter().any(|lock| tree.has(&format!("{folder}{lock}")));
    let slashes = folder.match_indices('/').map(|(n, _)| &folder[..=n]);
    let mut above = [""].into_iter().chain(slashes).filter(|above| *above != folder);
    let is_locked_above = above.any(|above| has(above, &OWN) || has(above, &OTHERS));
    !has(folder, &OTHERS) && (has(folder, &OWN) || !is_locked_above)
}

/// Whether the app serves what is built: a Python file of it names the folder, or it is
/// built among the app's own files. Others have a server of their own.
fn is_used(modules: &Modules<'_>, folder: &str, output: &str) -> bool {
    // A spec takes no other path.
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    if !output.bytes().all(good) {
        return false;
    }
    let within = format!("{folder}/");
    let is_own = folder == "." || output.starts_with(&within);
    let parts: Vec<&str> = output.split('/').collect();
    let named = |module: &Module<'_>| {
        let texts = module.lines.iter().flat_map(|line| &line.tokens);
        let texts = texts.filter(|token| matches!(token.kind, TokenKind::Text | TokenKind::Formatted));
        let words: Vec<&str> = texts.flat_map(|token| token.text.split('/')).collect();
        parts.iter().all(|part| words.contains(part))
    };
    let mut of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    !is_own || of_the_app.any(named)
}
