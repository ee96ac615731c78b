//! What is made of a project's files before it serves them: Django's static
//! files, a front end by npm and its like.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::dependencies::Dependencies;
use crate::directories::gathered_from_itself;
use crate::django;
use crate::migrations::CommandWords;
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::TokenKind;
use crate::tree::{Tree, file_name, folder_of, is_of_the_app, reads_count};

/// A front end of which it is known how it is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BuiltFrontEnd {
    /// Its folder, `.` for the project's own.
    pub folder: String,
    /// The folder that it is built into; absent where the build's own steps want its
    /// packages.
    pub output: Option<String>,
    /// The script of package.json that one of these steps runs.
    pub script: Option<String>,
    /// What installs it: `npm`, `pnpm`, `yarn` or `bun`.
    pub manager: &'static str,
    /// Locks beside package.json that are of others, and are not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_locks: Vec<String>,
    /// Which of its tools, or what else, says so.
    pub why: String,
}

/// What a build has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildFindings {
    /// Commands for the build to run once the dependencies are installed.
    pub steps: Vec<Detected<CommandWords>>,
    /// Folders outside of the app's that they write to.
    pub folders: Vec<Detected<String>>,
    /// The front end, where there is one and no doubt.
    pub front_end: Option<Detected<BuiltFrontEnd>>,
}

impl BuildFindings {
    /// `static_folders` are those outside of the app's that static files are gathered in.
    pub(crate) fn of(
        tree: &Tree,
        modules: &Modules<'_>,
        dependencies: &Dependencies,
        static_folders: Vec<Detected<String>>,
    ) -> Self {
        let files = tree
            .texts()
            .filter(|(path, _)| file_name(path) == "package.json" && reads_count(path));
        let files: Vec<(&str, &str)> = files.collect();
        let mut front_ends = files
            .iter()
            .filter_map(|(path, text)| front_end(tree, path, text))
            .filter(|one| {
                let output = one.value.output.as_deref();
                output.is_none_or(|output| {
                    is_static(tree, output) || is_used(modules, &one.value.folder, output)
                })
            });
        let first = front_ends.next();
        let only = first.filter(|_| front_ends.next().is_none());
        let steps: Vec<_> = static_files(tree, modules, dependencies).into_iter().collect();
        let at_the_top = files.iter().find(|(path, _)| *path == "package.json");
        let of_steps = at_the_top
            .filter(|_| !steps.is_empty())
            .and_then(|(_, text)| for_steps(tree, modules, text));
        let mut folders = static_folders;
        folders.retain(|_| !steps.is_empty());
        folders.truncate(1);
        Self {
            steps,
            folders,
            front_end: match of_steps {
                // What the settings name is needed, whatever else there is.
                Some(used) if used.place.file != "package.json" => Some(used),
                other => only.or(other),
            },
        }
    }

    /// The value of `build` in a spec; none where there is nothing to do.
    pub(crate) fn proposed(&self, as_run: impl Fn(&CommandWords) -> CommandWords) -> Option<Value> {
        let mut steps: Vec<CommandWords> = self.steps.iter().map(|step| as_run(&step.value)).collect();
        let mut build = Map::new();
        if let Some(found) = self.front_end.as_ref().map(|found| &found.value) {
            if let Some(script) = &found.script {
                steps.insert(0, [found.manager, "run", script].map(str::to_owned).to_vec());
            }
            let mut node = Map::new();
            if found.folder != "." {
                node.insert("folder".to_owned(), json!(found.folder));
            }
            if let Some(output) = &found.output {
                node.insert("output".to_owned(), json!(output));
            }
            build.insert("node".to_owned(), Value::Object(node));
        }
        if !steps.is_empty() {
            build.insert("steps".to_owned(), json!(steps));
        }
        if !self.folders.is_empty() {
            let paths: Vec<&str> = self.folders.iter().map(|folder| folder.value.as_str()).collect();
            build.insert("folders".to_owned(), json!(paths));
        }
        (!build.is_empty()).then_some(Value::Object(build))
    }
}

/// Packages whose finder of static files writes into the package itself, which is root's, and the
/// module of each.
const WRITE_INTO_THEMSELVES: [(&str, &str); 1] = [("django-simple-bulma", "django_simple_bulma")];

/// Django gathers its static files where a setting names a folder for them.
fn static_files(
    tree: &Tree,
    modules: &Modules<'_>,
    dependencies: &Dependencies,
) -> Option<Detected<CommandWords>> {
    let manage = django::manage(tree)?;
    let mut settings = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let module = settings.find(|module| module.value("STATIC_ROOT").is_some())?;
    if gathered_from_itself(modules, module).is_some() {
        return None;
    }
    let words = ["python", manage, "collectstatic", "--noinput"];
    let writes = WRITE_INTO_THEMSELVES
        .iter()
        .find(|(package, _)| dependencies.has(package));
    let words = match writes {
        None => words.map(str::to_owned).to_vec(),
        Some((_, module)) => {
            let on_a_copy = format!(
                "mkdir /tmp/own && cp -r /opt/venv/lib/python3.*/site-packages/{module} /tmp/own && \
                 PYTHONPATH=/tmp/own:$PYTHONPATH {}",
                words.join(" ")
            );
            vec!["sh".to_owned(), "-c".to_owned(), on_a_copy]
        }
    };
    let place = Place::of(module.path, tree.text(module.path)?, "STATIC_ROOT");
    Some(Detected::sure(words, place))
}

/// What installs the packages of a folder, by its lock: of several the one whose manager
/// package.json names, else the first. The others come with it.
fn manager(tree: &Tree, folder: &str) -> Option<(&'static str, Vec<String>)> {
    const LOCKS: [(&str, &str); 6] = [
        ("package-lock.json", "npm"),
        ("npm-shrinkwrap.json", "npm"),
        ("pnpm-lock.yaml", "pnpm"),
        ("yarn.lock", "yarn"),
        ("bun.lock", "bun"),
        ("bun.lockb", "bun"),
    ];
    let there: Vec<_> = LOCKS
        .iter()
        .filter(|(lock, _)| tree.has(&format!("{folder}{lock}")))
        .collect();
    let named = named_manager(tree, folder);
    let meant = there.iter().find(|(_, manager)| named == Some(*manager));
    let (_, manager) = meant.or(there.first())?;
    let others = there.iter().filter(|(_, other)| other != manager);
    Some((
        manager,
        others.map(|(lock, _)| format!("{folder}{lock}")).collect(),
    ))
}

/// The manager that package.json names by `packageManager`.
fn named_manager(tree: &Tree, folder: &str) -> Option<&'static str> {
    let package: Value = serde_json::from_str(tree.text(&format!("{folder}package.json"))?).ok()?;
    let named = package.get("packageManager")?.as_str()?.split('@').next()?;
    ["npm", "pnpm", "yarn", "bun"]
        .into_iter()
        .find(|one| *one == named)
}

/// A front end whose tool has one folder for what it builds. One without a lock is
/// proposed with the manager that it names, else with npm, and the build says what makes one.
fn front_end(tree: &Tree, path: &str, text: &str) -> Option<Detected<BuiltFrontEnd>> {
    const TOOLS: [(&str, &str); 2] = [("vite", "dist"), ("react-scripts", "build")];
    let package: Value = serde_json::from_str(text).ok()?;
    let script = package.pointer("/scripts/build")?.as_str()?;
    let folder = folder_of(path);
    let asks = |tool: &str| {
        let parts = ["dependencies", "devDependencies"];
        parts
            .iter()
            .any(|part| package.get(part).and_then(|part| part.get(tool)).is_some())
    };
    // A member of a workspace is built from its top.
    let manager = manager(tree, folder);
    let slashes = folder.match_indices('/').map(|(n, _)| &folder[..=n]);
    let mut above = [""].into_iter().chain(slashes).filter(|above| *above != folder);
    if manager.is_none() && above.any(|above| self::manager(tree, above).is_some()) {
        return None;
    }
    let (manager, other_locks) =
        manager.unwrap_or_else(|| (named_manager(tree, folder).unwrap_or("npm"), Vec::new()));
    let (output, why) = match TOOLS.into_iter().find(|(tool, _)| asks(tool)) {
        None => {
            let output = joined(folder, &named_by(script)?).filter(|output| is_static(tree, output))?;
            (output, "the script says so".to_owned())
        }
        Some((tool, by_itself)) => match (tool == "vite").then(|| out_dir(tree, folder)).flatten() {
            Some((Some(output), place)) => (output, format!("{place} says so")),
            // Put together by code, or outside of the app's folder.
            Some((None, _)) => return None,
            // The app's own settings say where it builds into.
            None if asks("litestar-vite-plugin") || asks("laravel-vite-plugin") => return None,
            None => (
                format!("{folder}{by_itself}"),
                format!("{tool} does so by itself"),
            ),
        },
    };
    let found = BuiltFrontEnd {
        folder: shown(folder),
        output: Some(output),
        script: None,
        manager,
        other_locks,
        why,
    };
    Some(Detected::likely(found, Place::of(path, text, "\"build\"")))
}

/// The one folder that a script gives its tools to build into: `parcel build --dist-dir static`,
/// `esbuild --outdir=static`.
fn named_by(script: &str) -> Option<String> {
    const OPTIONS: [&str; 4] = ["--dist-dir", "--out-dir", "--outDir", "--outdir"];
    let mut words = script.split_whitespace();
    let mut found: Option<&str> = None;
    while let Some(word) = words.next() {
        let value = match word.split_once('=') {
            Some((option, value)) if OPTIONS.contains(&option) => value,
            None if OPTIONS.contains(&word) => words.next()?,
            _ => continue,
        };
        let value = value.trim_matches(['"', '\'']).trim_end_matches('/');
        if found.is_some_and(|known| known != value) {
            return None;
        }
        found = Some(value);
    }
    found.map(str::to_owned)
}

/// Whether a folder is below the static files of a package, which the app serves.
fn is_static(tree: &Tree, output: &str) -> bool {
    let Some((package, _)) = output.split_once("/static/") else {
        return false;
    };
    tree.has(&format!("{package}/__init__.py"))
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

fn shown(folder: &str) -> String {
    match folder.trim_end_matches('/') {
        "" => ".".to_owned(),
        folder => folder.to_owned(),
    }
}

/// The folder that Vite's settings name, from the project's, and where; without a
/// folder where they name none that can be told.
fn out_dir(tree: &Tree, folder: &str) -> Option<(Option<String>, Place)> {
    let endings = ["ts", "js", "mjs", "mts"];
    let path = endings.map(|ending| format!("{folder}vite.config.{ending}"));
    let path = path.iter().find(|path| tree.has(path))?;
    let text = tree.text(path)?;
    let (_, rest) = text.split_once("outDir:")?;
    let place = Place::of(path, text, "outDir:");
    let rest = rest.trim_start();
    let quoted = rest.chars().next().filter(|c| ['\'', '"'].contains(c));
    let named = quoted.and_then(|quote| rest[1..].split(quote).next());
    Some((named.and_then(|named| joined(folder, named)), place))
}

/// A path as it is reached from a folder; none that leads out of the project.
fn joined(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" if parts.is_empty() => return None,
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!parts.is_empty() && !path.starts_with('/')).then(|| parts.join("/"))
}

/// What the steps of the build want of npm and its like: packages that the settings
/// take files or programs of, or the script `build`, which writes where the static
/// files are gathered from.
fn for_steps(tree: &Tree, modules: &Modules<'_>, text: &str) -> Option<Detected<BuiltFrontEnd>> {
    let (manager, other_locks) = manager(tree, "")?;
    let package: Value = serde_json::from_str(text).ok()?;
    let has_script = package.pointer("/scripts/build").is_some_and(Value::is_string);
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let named = of_the_app
        .filter(|module| {
            let mut names = ["STATIC_ROOT", "STATICFILES_DIRS"].iter();
            names.any(|name| module.value(name).is_some())
        })
        .find_map(|module| {
            let mut tokens = module.lines.iter().flat_map(|line| &line.tokens);
            let token = tokens
                .find(|token| token.text.contains("node_modules") || token.text.contains("npm.finders"))?;
            Some(Place::new(module.path, token.line))
        });
    let place = match &named {
        Some(place) => place.clone(),
        None if has_script => Place::of("package.json", text, "\"build\""),
        None => return None,
    };
    let found = BuiltFrontEnd {
        folder: ".".to_owned(),
        output: None,
        script: has_script.then(|| "build".to_owned()),
        manager,
        other_locks,
        why: match named {
            Some(_) => "its packages are used there".to_owned(),
            None => "it writes among the app's own files".to_owned(),
        },
    };
    Some(Detected::likely(found, place))
}
