//! Folders that the app writes into, and that have to outlive its container.

mod at_start;

use std::path::Path;

use definition::spec::build::folder_problem;

use crate::database::GivenVariable;
use crate::modules::{Module, Modules};
use crate::place::{Detected, Place};
use crate::python::statement;
use crate::python::{Token, TokenKind};
use crate::settings;
use crate::tree::{Tree, file_name, is_compose, is_of_the_app, is_shell, reads_count};

/// Whether a setting holds one by its name: Django's `MEDIA_ROOT`, and what others call theirs,
/// such as `UPLOAD_FOLDER`.
fn is_of_data(setting: &str) -> bool {
    const WHAT: [&str; 4] = ["ATTACHMENTS", "MEDIA", "UPLOAD", "UPLOADS"];
    const WHERE: [&str; 5] = ["DIR", "DIRECTORY", "FOLDER", "PATH", "ROOT"];
    let words: Vec<&str> = setting.split('_').collect();
    matches!(words.as_slice(), [what, place] if WHAT.contains(what) && WHERE.contains(place))
}

/// What makes a path of its parts, and says nothing else.
const OF_PATHS: [&str; 11] = [
    "Path", "PurePath", "abspath", "absolute", "join", "joinpath", "os", "path", "pathlib", "resolve", "str",
];

/// Words of settings that hold what is made anew, or what is part of the code.
const MADE_ANEW: [&str; 11] = [
    "CACHE",
    "CACHES",
    "LOCALE",
    "LOG",
    "LOGS",
    "STATIC",
    "STATICFILES",
    "TEMP",
    "TEMPLATE",
    "TEMPLATES",
    "TMP",
];

/// Where an app has its files.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    /// Folders of data as a spec has them, and what names each.
    pub(crate) kept: Vec<Detected<String>>,
    /// Variables with places that are in no image, and what they are instead.
    pub(crate) moved: Vec<Detected<GivenVariable>>,
    /// Places outside of the app's folder that static files are gathered in.
    pub(crate) of_build: Vec<Detected<String>>,
    /// A sentence for each place that no variable moves, and where the app may not write.
    pub(crate) closed: Vec<Detected<String>>,
}

/// The folders that settings name, and those that a start script makes, or one of the modules that
/// run as the app works.
pub(crate) fn find(tree: &Tree, modules: &Modules<'_>, at_work: &[&Module<'_>]) -> Folders {
    let mut found = Folders::default();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, one) in module.lines.iter().enumerate().flat_map(|(n, line)| {
            let all = statement::assignments(line);
            all.into_iter().map(move |one| (n, one))
        }) {
            let target = one.target.to_uppercase();
            let is_data = is_of_data(&target);
            // A function's own name is part of a path that it makes.
            let is_setting = module.is_at_the_top(n) || module.class_of(n).is_some();
            if !is_setting || !is_data && target != "STATIC_ROOT" {
                continue;
            }
            if target == "STATIC_ROOT"
                && let Some(name) = settings::wanted(modules, module, one.value)
            {
                let folder = own_folder(tree, "/staticfiles").map(|folder| GivenVariable {
                    name,
                    value: format!("/app/{folder}"),
                    why: "static files are gathered there".to_owned(),
                });
                let line = Place::new(module.path, module.number(n));
                found.moved.extend(folder.map(|one| Detected::likely(one, line)));
                continue;
            }
            if target == "STATIC_ROOT"
                && let Some((line, folder)) = gathered_from_itself(modules, module)
                && line == n
            {
                let text = format!(
                    "STATIC_ROOT is in the image the folder {folder}, which STATICFILES_DIRS gathers from, and Django refuses \
                     that: no collectstatic is in the build until STATIC_ROOT is another one, such as `BASE_DIR / \"staticfiles\"`"
                );
                let line = Place::new(module.path, module.number(n));
                found.closed.push(Detected::sure(text, line));
                continue;
            }
            let read = settings::read_with_default(modules, module, one.value);
            let value = read.as_ref().map_or(one.value, |(_, default)| default);
            let Some(path) = place(modules, module, value, 0) else {
                continue;
            };
            let line = Place::new(module.path, module.number(n));
            let folder = match (kept(&path), read) {
                (Some(folder), _) => Some(folder),
                // Of another image, where the user has a home.
                (None, Some((name, _))) if path.starts_with('/') => {
                    let folder = own_folder(tree, &path);
                    let moved = folder.as_ref().map(|folder| GivenVariable {
                        name,
                        value: format!("/app/{folder}"),
                        why: format!("{path} is of another image"),
                    });
                    found
                        .moved
                        .extend(moved.map(|moved| Detected::likely(moved, line.clone())));
                    folder
                }
                (None, None) if target == "STATIC_ROOT" && folder_problem(&path).is_none() => {
                    found.of_build.push(Detected::likely(path, line.clone()));
                    None
                }
                (None, None) => {
                    let told = closed(one.target, &path).map(|told| Detected::likely(told, line.clone()));
                    found.closed.extend(told);
                    None
                }
                (None, Some(_)) => None,
            };
            if let Some(folder) = folder.filter(|_| is_data) {
                add(tree, &mut found.kept, Detected::likely(folder, line));
            }
        }
    }
    for made in made_by_scripts(tree).into_iter().chain(mounted(tree)) {
        if named_by_settings(modules, &made.value) {
            add(tree, &mut found.kept, made);
        }
    }
    for made in at_start::made(tree, modules, at_work) {
        add(tree, &mut found.kept, made);
    }
    found
}

/// What is said of a setting that names a place of the whole machine's, which belongs to
/// root in an image.
fn closed(setting: &str, path: &str) -> Option<String> {
    let open = ["/app", "/tmp", "/dev", "/run"];
    let is_open = open.iter().any(|open| Path::new(path).starts_with(open));
    if !path.starts_with('/') || is_open {
        return None;
    }
    let last = kept(path.trim_end_matches('/').rsplit('/').next()?)?;
    let own = match setting {
        "STATIC_ROOT" | "MEDIA_ROOT" => format!("BASE_DIR / \"{last}\""),
        _ => format!("\"{last}\""),
    };
    Some(format!(
        "{setting} is {path}, where nothing of the app's may write in the image: let it be a folder of the project's own, such \
         as `{own}`"
    ))
}

/// A folder of the app's own in the place of one elsewhere, with nothing of the project's
/// in it.
fn own_folder(tree: &Tree, path: &str) -> Option<String> {
    let last = kept(path.trim_end_matches('/').rsplit('/').next()?)?;
    let is_free = |name: &str| {
        let below = format!("{name}/");
        !tree.has(name) && !tree.paths().any(|path| path.starts_with(&below))
    };
    [last.clone(), format!("{last}-files")]
        .into_iter()
        .find(|name| is_free(name))
}

/// Adds a folder, but for one that holds code, or lies within another or around it.
fn add(tree: &Tree, found: &mut Vec<Detected<String>>, folder: Detected<String>) {
    let below = format!("{}/", folder.value);
    let holds_code = tree
        .paths()
        .any(|path| path.starts_with(&below) && path.ends_with(".py"));
    let overlaps = |other: &Detected<String>| {
        let other = format!("{}/", other.value);
        other.starts_with(&below) || below.starts_with(&other)
    };
    if !holds_code && !found.iter().any(overlaps) {
        found.push(folder);
    }
}

/// Folders of the project that are not among its files, and that its Dockerfiles and
/// scripts make: `mkdir -p data/icons`. The outer ones come first.
fn made_by_scripts(tree: &Tree) -> Vec<Detected<String>> {
    let mut found: Vec<Detected<String>> = Vec::new();
    let scripts = tree
        .texts()
        .filter(|(path, _)| reads_count(path))
        .filter(|(path, _)| file_name(path).contains("Dockerfile") || is_shell(file_name(path)));
    for (path, text) in scripts {
        for (n, line) in text.lines().enumerate() {
            let line = line.trim().strip_prefix("RUN ").unwrap_or(line);
            for command in line.split(['&', ';', '|']) {
                let mut words = command.split_whitespace();
                if words.next() != Some("mkdir") {
                    continue;
                }
                let folders = words.filter(|word| !word.starts_with('-') && !word.starts_with('/'));
                for folder in folders.filter_map(kept) {
                    let below = format!("{folder}/");
                    if !tree.paths().any(|path| path.starts_with(&below)) {
                        found.push(Detected::likely(folder, Place::new(path, n + 1)));
                    }
                }
            }
        }
    }
    found.sort_by_key(|one| one.value.matches('/').count());
    found
}

/// Folders of the project that its compose files put a volume on, below what its Dockerfile
/// works in: `images:/opt/shop/images`.
fn mounted(tree: &Tree) -> Vec<Detected<String>> {
    let work = |text: &str| {
        let mut lines = text.lines().rev().map(str::trim);
        lines.find_map(|line| {
            let folder = line.strip_prefix("WORKDIR ")?.trim().trim_matches('"');
            folder
                .starts_with('/')
                .then(|| folder.trim_end_matches('/').to_owned())
        })
    };
    let of_images = tree
        .texts()
        .filter(|(path, _)| file_name(path).contains("Dockerfile") && reads_count(path));
    let folders: Vec<String> = of_images.filter_map(|(_, text)| work(text)).collect();
    let for_developers = |path: &str| {
        let mut parts = file_name(path).split(['.', '-', '_']);
        parts.any(|part| ["ci", "dev", "local", "override", "test"].contains(&part))
    };
    let composed = tree
        .texts()
        .filter(|(path, _)| is_compose(file_name(path)) && !for_developers(path));
    let lines = composed.flat_map(|(path, text)| {
        text.lines()
            .enumerate()
            .map(move |(n, line)| (Place::new(path, n + 1), line))
    });
    let found = lines.filter_map(|(place, line)| {
        let item = line.trim().strip_prefix("- ")?.trim_matches(['"', '\'']);
        let (volume, rest) = item.split_once(':')?;
        let is_named = !volume.is_empty()
            && volume
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let target = rest.split(':').next().filter(|_| is_named)?;
        let below = folders
            .iter()
            .find_map(|folder| target.strip_prefix(folder.as_str())?.strip_prefix('/'));
        let folder = kept(below?)?;
        let is_data = folder
            .split('/')
            .all(|part| !part.starts_with('.') && !MADE_ANEW.contains(&part.to_uppercase().as_str()));
        is_data.then(|| Detected::likely(folder, place))
    });
    found.collect()
}

/// Whether a setting of the project leads into a folder, and to data there.
fn named_by_settings(modules: &Modules<'_>, folder: &str) -> bool {
    let of_the_app = modules.all.iter().filter(|module| is_of_the_app(module.path));
    let below = format!("{folder}/");
    let mut settings = of_the_app.flat_map(|module| module.assignments().map(move |(_, one)| (module, one)));
    settings.any(|(module, one)| {
        let upper = one.target.to_uppercase();
        let is_data = !upper.split('_').any(|word| MADE_ANEW.contains(&word));
        // Most values are no paths at all.
        let may_be = is_data && one.value.len() > 1;
        let path = may_be.then(|| place(modules, module, one.value, 0)).flatten();
        path.and_then(|path| kept(&path))
            .is_some_and(|path| path == folder || path.starts_with(&below))
    })
}

/// So many settings may stand one on top of the other.
const DEEPEST: usize = 12;

/// Of tokens that begin with the read of a variable its default, and what comes after.
fn read_at<'m, 't>(
    modules: &Modules<'_>,
    module: &Module<'_>,
    value: &'m [Token<'t>],
) -> Option<(&'m [Token<'t>], &'m [Token<'t>])> {
    let (_, after) = statement::call_at(value)?;
    let read = &value[..value.len() - after.len()];
    let (_, default) = settings::read_with_default(modules, module, read)?;
    Some((default, after))
}

/// The path that an expression makes: absolute, or from the app's folder, which is
/// where the app is started. None where that is not to be told from the code alone.
fn place(modules: &Modules<'_>, module: &Module<'_>, value: &[Token<'_>], depth: usize) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut up = 0;
    let mut start = None;
    let mut left = value;
    while let [token, rest @ ..] = left {
        left = rest;
        match (token.kind, token.text) {
            (TokenKind::Text, text) => parts.push(text.to_owned()),
            (TokenKind::Name, "parent" | "dirname") => up += 1,
            (TokenKind::Name, "__file__") => start = Some(module.path.to_owned()),
            (TokenKind::Name, name) if depth < DEEPEST => {
                // What a variable is where nobody sets it.
                let here = &value[value.len() - rest.len() - 1..];
                let read = read_at(modules, module, here);
                let field = at_start::of_settings(modules, module, here);
                let made = match (read, field) {
                    (Some((default, after)), _) => {
                        left = after;
                        place(modules, module, default, depth + 1)?
                    }
                    (None, Some((other, default, after))) => {
                        left = after;
                        place(modules, other, default, depth + 1)?
                    }
                    (None, None) if OF_PATHS.contains(&name) => continue,
                    (None, None) => place(modules, module, module.value(name)?, depth + 1)?,
                };
                match start {
                    None if parts.is_empty() => start = Some(made),
                    _ => parts.push(made),
                }
            }
            (TokenKind::Sign, "(" | ")" | "." | "," | "/") => {}
            _ => return None,
        }
    }
    let mut path = start.unwrap_or_default();
    for _ in 0..up {
        // Above the project it is another one's.
        path = match path.rsplit_once('/') {
            Some((folder, _)) => folder.to_owned(),
            None if path.is_empty() => return None,
            None => String::new(),
        };
    }
    for part in parts {
        path = match (part.starts_with('/'), path.is_empty()) {
            (true, _) | (_, true) => part.to_owned(),
            (false, false) => format!("{path}/{part}"),
        };
    }
    Some(path)
}

/// Whether static files are gathered in a folder that they are gathered from, which Django
/// refuses: the line of that, and the folder. A path of another image may be one of this image's.
pub(crate) fn gathered_from_itself(modules: &Modules<'_>, module: &Module<'_>) -> Option<(usize, String)> {
    let assigned = |name: &str| module.assignments().find(|(_, one)| one.target == name);
    let (line, root) = assigned("STATIC_ROOT")?;
    let root = kept(&place(modules, module, root.value, 0)?)?;
    let (inside, _) = statement::bracketed(assigned("STATICFILES_DIRS")?.1.value)?;
    let mut sources = statement::parts(inside).into_iter();
    let is_root = |source: &[Token<'_>]| place(modules, module, source, 0).and_then(|path| kept(&path));
    sources
        .any(|source| is_root(source).as_ref() == Some(&root))
        .then_some((line, root))
}

/// What a spec takes of it.
fn kept(path: &str) -> Option<String> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    if parts.contains(&"..") || !path.bytes().all(good) {
        return None;
    }
    match (path.starts_with('/'), parts.as_slice()) {
        (true, ["app", rest @ ..]) | (false, rest) if !rest.is_empty() => Some(rest.join("/")),
        (true, ["var", "lib", _, ..]) => Some(format!("/{}", parts.join("/"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(tree: &Tree) -> Folders {
        find(tree, &Modules::of(tree), &[])
    }

    fn found(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::single(path, text);
        let all = folders(&tree).kept;
        all.into_iter().map(|one| one.value).collect()
    }

    #[test]
    fn paths_are_told_from_their_parts() {
        let base = "BASE_DIR = Path(__file__).resolve().parent.parent\n";
        for (value, expected) in [
            ("BASE_DIR / \"media\"", "media"),
            ("os.path.join(BASE_DIR, \"var\", \"media\")", "var/media"),
            ("str(BASE_DIR / \"./media/\")", "media"),
            ("\"uploads\"", "uploads"),
            ("Path(\"/app/uploads\")", "uploads"),
            ("\"/var/lib/shop/media\"", "/var/lib/shop/media"),
        ] {
            let text = format!("{base}MEDIA_ROOT = {value}\n");
            assert_eq!(found("mysite/settings.py", &text), [expected], "{value}");
        }
        let nested = "B = os.path.dirname(os.path.abspath(__file__))\nclass Settings:\n    upload_dir: str = B + \"x\"\nUPLOAD_DIR = os.path.join(B, \"files\")\n";
        assert_eq!(found("api/config.py", nested), ["api/files"]);
        let field = "class Settings(BaseSettings):\n    upload_dir: str = \"data/uploads\"\n";
        assert_eq!(found("config.py", field), ["data/uploads"]);
    }

    #[test]
    fn a_place_that_a_variable_may_change_is_that_of_its_default() {
        let text =
            "import os\nBASE = \"/app\"\nMEDIA_ROOT = os.getenv(\"MEDIA\", os.path.join(BASE, \"files\"))\n";
        assert_eq!(found("mysite/settings.py", text), ["files"]);
        let text = "import os\nfrom environs import Env\nenv = Env()\nBASE = os.path.dirname(__file__)\n\
                    DATA = env.str(\"DATA\", os.path.join(BASE, \"data\"))\n\
                    MEDIA_ROOT = os.path.join(DATA, os.getenv(\"MEDIA\", \"files\"), \"of\")\n";
        assert_eq!(found("mysite/settings.py", text), ["mysite/data/files/of"]);
        let text = "import os\nMEDIA_ROOT = os.getenv(\"MEDIA\", \"/home/gym/media\")\n\
                    STATIC_ROOT = os.environ.get(\"STATIC\", default=\"/srv/mysite/\")\n";
        let tree = Tree::single("mysite/settings.py", text);
        let folders = folders(&tree);
        let moved: Vec<_> = folders
            .moved
            .iter()
            .map(|one| (&*one.value.name, &*one.value.value))
            .collect();
        assert_eq!(moved, [("MEDIA", "/app/media"), ("STATIC", "/app/mysite-files")]);
        assert_eq!(folders.kept[0].value, "media");
        assert_eq!(folders.kept.len(), 1);
    }

    #[test]
    fn static_files_get_a_folder_where_the_settings_want_one() {
        let moved = |read: &str| {
            let text = format!("import environ\nenv = environ.Env()\nSTATIC_ROOT = {read}\n");
            let tree = Tree::single("mysite/settings.py", &text);
            let moved = folders(&tree).moved;
            let moved = moved.into_iter().map(|one| (one.value.name, one.value.value));
            moved.collect::<Vec<_>>()
        };
        let given = [("STATIC".to_owned(), "/app/staticfiles".to_owned())];
        assert_eq!(moved("env.str(\"STATIC\")"), given);
        assert_eq!(moved("env(\"STATIC\", default=\"static\")"), []);
        assert_eq!(moved("\"static\""), []);
    }

    #[test]
    fn a_place_that_nothing_moves_and_nobody_may_write_is_told() {
        let told = |line: &str| {
            let tree = Tree::single("mysite/settings.py", line);
            let closed = folders(&tree).closed;
            closed.into_iter().map(|one| one.value).collect::<Vec<_>>()
        };
        let of_build = |line: &str| {
            let tree = Tree::single("mysite/settings.py", line);
            let of_build = folders(&tree).of_build;
            of_build.into_iter().map(|one| one.value).collect::<Vec<_>>()
        };
        assert_eq!(
            of_build("STATIC_ROOT = \"/public_collected\"\n"),
            ["/public_collected"]
        );
        assert_eq!(told("STATIC_ROOT = \"/public_collected\"\n"), [""; 0]);
        assert_eq!(
            of_build("STATIC_ROOT = \"/usr/share/public_collected\"\n"),
            [""; 0]
        );
        assert_eq!(
            told("STATIC_ROOT = \"/usr/share/public_collected\"\n"),
            [
                "STATIC_ROOT is /usr/share/public_collected, where nothing of the app's may write in the image: let it be a folder of the \
                 project's own, such as `BASE_DIR / \"public_collected\"`"
            ]
        );
        assert_eq!(told("UPLOAD_FOLDER = \"/srv/up/\"\n").len(), 1);
        for open in [
            "STATIC_ROOT = \"/app/static\"",
            "STATIC_ROOT = \"/tmp/static\"",
            "STATIC_ROOT = \"static\"",
            "MEDIA_ROOT = \"/var/lib/shop/media\"",
            "STATIC_URL = \"/static/\"",
        ] {
            assert_eq!(told(&format!("{open}\n")), [""; 0], "{open}");
        }
    }

    #[test]
    fn nothing_is_guessed() {
        let local = "def name_of(file):\n    upload_dir = \"attachments\"\n    return upload_dir + file\n";
        assert_eq!(found("shop/utils.py", local), [""; 0]);
        for value in [
            "os.environ[\"MEDIA\"]",
            "os.getenv(\"MEDIA\", make())",
            "\"/srv/media\"",
            "\"/var/lib\"",
            "\"\"",
            "\"..\"",
            "UNKNOWN / \"media\"",
            "Path(__file__).parent.parent.parent / \"media\"",
            "f\"{x}/media\"",
        ] {
            assert_eq!(
                found("mysite/settings.py", &format!("MEDIA_ROOT = {value}\n")),
                [""; 0],
                "{value}"
            );
        }
    }
}
