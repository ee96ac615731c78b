//! The files of a project, as far as they can tell what it is.

use std::collections::BTreeMap;
use std::path::Path;

use inputs::regular;
use serde::Serialize;

/// More would be data and not a program: of them the names are not kept.
const MOST_FILES: usize = 20_000;
/// More is a whole machine.
const MOST_LOOKS: usize = 400_000;
const MOST_BYTES: u64 = 1 << 20;
const DEEPEST: usize = 10;

/// Folders that hold what others wrote, or what is made from the sources.
const FOREIGN: [&str; 8] = [
    "__pycache__",
    "build",
    "dist",
    "htmlcov",
    "node_modules",
    "site-packages",
    "target",
    "venv",
];

/// Folders of what is beside the app: how its developers and its CI run it.
const OF_TOOLS: [&str; 3] = [".devcontainer", ".github/workflows", ".circleci"];

/// So many folders above the app's own are asked for compose files.
const HIGHEST: usize = 3;

/// Whether a compose file builds an image of what lies in a folder below it.
fn builds(text: &str, folder: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        let value = line
            .strip_prefix("build:")
            .or_else(|| line.strip_prefix("context:"));
        value.is_some_and(|value| {
            let value = value.trim().trim_matches(['"', '\'']);
            value.trim_start_matches("./").trim_end_matches('/') == folder
        })
    })
}

/// What was read of a folder.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Each file with `/` between its parts, and its text where it was read.
    files: BTreeMap<String, Option<String>>,
    /// The YAML files of [`OF_TOOLS`], which say nothing of the app itself, and compose files of
    /// folders above.
    of_tools: BTreeMap<String, String>,
    looks: usize,
    telling: usize,
    /// The first name that a generator of projects still has to fill in.
    unfilled: Option<String>,
    /// There were more files than are looked at.
    pub(crate) is_cut: bool,
}

/// As text, with the ends of lines that are looked for: git of Windows gives each line
/// another one.
fn decoded(bytes: Vec<u8>) -> String {
    regular::lossy(bytes).replace("\r\n", "\n")
}

impl Tree {
    /// Reads a folder; what cannot be read is not there.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut tree = Self::default();
        tree.add(folder, "", 0);
        for of_tools in OF_TOOLS {
            tree.add_of_tools(folder, of_tools);
        }
        tree.add_above(folder);
        tree
    }

    /// Has a file that the image will have, and the folder has not.
    pub(crate) fn add_copy(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), Some(text.to_owned()));
    }

    /// A tree of one file, for a look at a single module.
    pub(crate) fn single(path: &str, text: &str) -> Self {
        Self {
            files: BTreeMap::from([(path.to_owned(), Some(text.to_owned()))]),
            ..Self::default()
        }
    }

    fn add(&mut self, folder: &Path, prefix: &str, depth: usize) {
        let Ok(entries) = fs_err::read_dir(folder) else {
            return;
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(fs_err::DirEntry::file_name);
        for entry in entries {
            self.looks += 1;
            self.is_cut |= self.looks > MOST_LOOKS;
            if self.is_cut {
                return;
            }
            let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.path().symlink_metadata())
            else {
                continue;
            };
            let path = format!("{prefix}{name}");
            if name.contains("{{") || name.contains("{%") {
                self.unfilled.get_or_insert(path);
                continue;
            }
            if meta.is_dir() {
                let foreign = name.starts_with('.') || FOREIGN.contains(&name.as_str());
                if depth < DEEPEST && !foreign && !entry.path().join("pyvenv.cfg").exists() {
                    self.add(&entry.path(), &format!("{path}/"), depth + 1);
                }
            } else if meta.is_file() {
                self.add_file(path, &name, meta.len(), &entry.path());
            }
        }
    }

    fn add_of_tools(&mut self, top: &Path, folder: &str) {
        let entries = fs_err::read_dir(top.join(folder)).into_iter().flatten();
        for entry in entries.flatten() {
            let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.path().symlink_metadata())
            else {
                continue;
            };
            if is_yaml(&name) && meta.is_file() && meta.len() <= MOST_BYTES {
                let text = fs_err::read(entry.path()).map(decoded);
                if let Ok(text) = text {
                    self.of_tools.insert(format!("{folder}/{name}"), text);
                }
            }
        }
    }

    /// Compose files of the folders above that build something in this one: the app's own
    /// folder is often one of several in a project.
    fn add_above(&mut self, folder: &Path) {
        let (mut below, mut up) = (String::new(), String::new());
        let parents = folder.ancestors().zip(folder.ancestors().skip(1));
        for (folder, parent) in parents.take(HIGHEST) {
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
                return;
            };
            below = match below.is_empty() {
                true => name.to_owned(),
                false => format!("{name}/{below}"),
            };
            up.push_str("../");
            for entry in fs_err::read_dir(parent).into_iter().flatten().flatten() {
                let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.path().symlink_metadata())
                else {
                    continue;
                };
                if !is_compose(&name) || !meta.is_file() || meta.len() > MOST_BYTES {
                    continue;
                }
                let text = fs_err::read(entry.path()).map(decoded);
                if let Ok(text) = text
                    && builds(&text, &below)
                {
                    self.of_tools.insert(format!("{up}{name}"), text);
                }
            }
        }
    }

    fn add_file(&mut self, path: String, name: &str, size: u64, file: &Path) {
        let tells = tells_something(name);
        if self.files.len() >= MOST_FILES {
            // A folder of pictures does not hide the sources after it.
            self.is_cut |= tells && self.telling >= MOST_FILES;
            if self.is_cut || !tells {
                return;
            }
        }
        self.telling += usize::from(tells);
        let wanted = tells && size <= MOST_BYTES * if is_lock(name) { 32 } else { 1 };
        let bytes = wanted.then(|| fs_err::read(file).ok()).flatten();
        let text = bytes.map(decoded);
        self.files.insert(path, text);
    }

    /// The same without some folders, each with a `/` at its end.
    pub(crate) fn without(mut self, folders: &[String]) -> Self {
        self.files
            .retain(|path, _| !folders.iter().any(|folder| path.starts_with(folder.as_str())));
        self
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Files that were read, with their texts.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter();
        files.filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Files of a development container's and of CI's, and compose files of folders above,
    /// with their texts.
    pub(crate) fn of_tools(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.of_tools.iter();
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// What says that projects are made of this one: the settings of a generator, or a
    /// name that one fills in.
    pub(crate) fn template(&self) -> Option<Template> {
        let mut names = self.paths();
        let settings = names.find(|path| reads_count(path) && file_name(path) == "cookiecutter.json");
        let mut own = ["copier.yml", "copier.yaml"]
            .into_iter()
            .filter(|name| self.has(name));
        match (settings, own.next(), &self.unfilled) {
            (Some(file), ..) => Some(Template {
                generator: Some("cookiecutter"),
                file: file.to_owned(),
            }),
            (None, Some(file), _) => Some(Template {
                generator: Some("copier"),
                file: file.to_owned(),
            }),
            (None, None, Some(file)) => Some(Template {
                generator: None,
                file: file.clone(),
            }),
            (None, None, None) => None,
        }
    }

    /// The folder of the project within this one that a file belongs to, as a
    /// member of a workspace; empty for those of the project itself.
    pub(crate) fn member<'p>(&self, path: &'p str) -> &'p str {
        let mut own = folder_of(path).match_indices('/').map(|(n, _)| &path[..=n]);
        own.rfind(|folder| self.has(&format!("{folder}pyproject.toml")))
            .unwrap_or_default()
    }

    /// Files of this name, the highest ones first.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let mut found: Vec<&str> = self.paths().filter(|path| file_name(path) == name).collect();
        found.sort_by_key(|path| path.matches('/').count());
        found
    }
}

/// A folder of which a generator makes projects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    /// The program that does, where it is known.
    pub generator: Option<&'static str>,
    /// The file or folder that says so.
    pub file: String,
}

pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The folder of a file: empty, or with a `/` at its end.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

fn is_lock(name: &str) -> bool {
    name.ends_with(".lock")
}

fn tells_something(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "Makefile",
        "Pipfile",
        "Procfile",
        "alembic.ini",
        "package.json",
        "pyproject.toml",
        "runtime.txt",
        "setup.cfg",
        "uwsgi.ini",
        ".python-version",
    ];
    const ENDINGS: [&str; 8] = [".lock", ".py", ".sql", ".toml", ".yml", ".yaml", ".txt", ".in"];
    NAMES.contains(&name)
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
        || name.contains("Dockerfile")
        || name.starts_with("vite.config.")
        || is_example_of_env(name)
        || is_shell(name)
}

/// A script of a shell, by its name: images begin with one that often has no ending.
pub(crate) fn is_shell(name: &str) -> bool {
    name.ends_with(".sh") || name.contains("entrypoint") && !name.contains('.')
}

pub(crate) fn is_yaml(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

/// A file of Docker Compose's, by its name.
pub(crate) fn is_compose(name: &str) -> bool {
    name.contains("compose") && is_yaml(name)
}

/// Whether a file says what is run: a script, a Dockerfile, a Procfile, a compose file.
pub(crate) fn is_of_a_start(path: &str) -> bool {
    let name = file_name(path);
    is_shell(name) || name == "Procfile" || name.contains("Dockerfile") || is_compose(name)
}

/// A file that shows which variables an app wants, such as `.env.example`; not
/// `.env` itself, whose values are somebody's own.
pub(crate) fn is_example_of_env(name: &str) -> bool {
    const KINDS: [&str; 6] = ["example", "sample", "template", "dist", "tpl", "defaults"];
    name.contains("env")
        && KINDS
            .iter()
            .any(|kind| name.split(['.', '-', '_']).any(|part| part == *kind))
}

/// Whether a variable that a file reads is one that the app needs. Migrations
/// read the database's URL; what tests and documents read counts for nothing.
pub(crate) fn reads_count(path: &str) -> bool {
    const BESIDE: [&str; 8] = [
        "tests",
        "test",
        "docs",
        "doc",
        "examples",
        "example",
        "samples",
        "benchmarks",
    ];
    let name = file_name(path);
    let of_tests = name.starts_with("test_") || name == "conftest.py";
    !of_tests && !lies_in_any(path, &BESIDE)
}

/// Whether the app may be made in a file: it is none of tests or documents, nor
/// of what only works on the app's data.
pub(crate) fn is_of_the_app(path: &str) -> bool {
    const ON_ITS_DATA: [&str; 4] = ["benchmark", "alembic", "migrations", "notebooks"];
    reads_count(path) && !path.ends_with("_test.py") && !lies_in_any(path, &ON_ITS_DATA)
}

fn lies_in_any(path: &str, folders: &[&str]) -> bool {
    folder_of(path).split('/').any(|part| folders.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_does_not_hide_the_program_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs_err::create_dir(&data).unwrap();
        for n in 0..=MOST_FILES {
            fs_err::write(data.join(format!("{n}.png")), "").unwrap();
        }
        fs_err::write(folder.path().join("main.py"), "app = 1\n").unwrap();
        let tree = Tree::read(folder.path());
        assert_eq!(tree.text("main.py"), Some("app = 1\n"));
        assert!(!tree.is_cut);
    }

    #[test]
    fn a_compose_file_above_counts_where_it_builds_the_folder() {
        let top = tempfile::tempdir().unwrap();
        let app = top.path().join("shop/services/web");
        fs_err::create_dir_all(&app).unwrap();
        let compose = |context: &str| format!("services:\n  web:\n    build:\n      context: {context}\n");
        for (file, context) in [
            ("shop/compose.yml", "./services/web/"),
            ("shop/docker-compose.other.yml", "./services/worker"),
            ("shop/services/compose.yaml", "web"),
            ("compose.yml", "web"),
        ] {
            fs_err::write(top.path().join(file), compose(context)).unwrap();
        }
        let tree = Tree::read(&app);
        let names: Vec<&str> = tree.of_tools().map(|(path, _)| path).collect();
        assert_eq!(names, ["../../compose.yml", "../compose.yaml"]);
    }

    #[test]
    fn a_list_that_powershell_has_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = "\u{feff}flask\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        fs_err::write(folder.path().join("requirements.txt"), bytes).unwrap();
        assert_eq!(
            Tree::read(folder.path()).text("requirements.txt"),
            Some("flask\n")
        );
    }
}
