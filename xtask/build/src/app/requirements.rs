//! What `requirements.txt` refers to, file by file: whether a build has all of
//! it.

use super::logins;
use inputs::regular;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// All that no build could install, with file and line.
pub(super) fn problems(folder: &Path, environment: &BTreeMap<String, String>) -> Vec<String> {
    Walk::of(folder, environment).found
}

/// The list and all that it takes in, from the app's folder.
pub(super) fn files(folder: &Path) -> BTreeSet<PathBuf> {
    Walk::of(folder, &BTreeMap::new()).seen
}

struct Walk<'a> {
    folder: &'a Path,
    /// The variables that a build step has from the spec.
    environment: &'a BTreeMap<String, String>,
    seen: BTreeSet<PathBuf>,
    found: Vec<String>,
}

impl<'a> Walk<'a> {
    fn of(folder: &'a Path, environment: &'a BTreeMap<String, String>) -> Self {
        let mut walk = Self {
            folder,
            environment,
            seen: BTreeSet::new(),
            found: Vec::new(),
        };
        walk.file(Path::new("requirements.txt"));
        walk
    }

    fn file(&mut self, path: &Path) {
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        let Ok(text) = regular::read_to_string(&self.folder.join(path)) else {
            return;
        };
        for (number, line) in text.lines().enumerate() {
            let at = format!("{}:{}", self.folder.join(path).display(), number + 1);
            // A `#` begins a comment at a line's beginning or after a blank.
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.starts_with('#') {
                continue;
            }
            if logins::has_login(line) {
                self.found.push(logins::told(&at));
            }
            for name in variables(line).filter(|name| !self.environment.contains_key(*name)) {
                self.found.push(format!(
                    "{at}: no build step has the variable {name}: give it a value in `app.build_environment`, or, where \
                     it is a login, let the machine give it (README, \"Behind a proxy\")"
                ));
            }
            if let Some(other) = option(line, &["-r", "--requirement", "-c", "--constraint"]) {
                // As pip does: from the file that names it.
                if !other.contains("://") {
                    self.other(&at, path, other);
                }
            } else if let Some(place) = option(line, &INDEXES) {
                if !place.contains("://") {
                    self.packages(&at, place);
                }
            } else if let Some(place) = local(line) {
                self.place(&at, place);
            }
            for name in OF_PIP_ALONE.iter().filter(|name| has_option(line, name)) {
                self.found.push(format!(
                    "{at}: uv, which installs it, takes no `{name}` in a list: take it out; what a build of a package is \
                     told is `config-settings-package` in the app's uv.toml"
                ));
            }
        }
    }

    fn other(&mut self, at: &str, from: &Path, other: &str) {
        let path = from.parent().unwrap_or(Path::new("")).join(other);
        match inside(&path) {
            None => self.found.push(format!(
                "{at}: {other} lies outside of the app's folder, and nothing there reaches a build"
            )),
            Some(path) if !self.folder.join(&path).is_file() => {
                self.found
                    .push(format!("{at}: there is no file {}", path.display()));
            }
            Some(path) => self.file(&path),
        }
    }

    /// A folder of packages, or a page with links: from the app's folder.
    fn packages(&mut self, at: &str, place: &str) {
        match inside(Path::new(path_of(place))) {
            None => self.found.push(outside(at, place)),
            Some(path) if !self.folder.join(&path).exists() => {
                self.found
                    .push(format!("{at}: there is no folder {}", path.display()));
            }
            Some(_) => {}
        }
    }

    /// A package that lies in a folder, or as an archive: from the app's folder.
    fn place(&mut self, at: &str, place: &str) {
        match inside(Path::new(place)) {
            None => self.found.push(outside(at, place)),
            Some(path) => {
                let whole = self.folder.join(&path);
                let is_project = ["pyproject.toml", "setup.py", "setup.cfg"]
                    .iter()
                    .any(|name| whole.join(name).is_file());
                let is_archive = ARCHIVES.iter().any(|end| place.ends_with(end));
                if !whole.is_file() && is_archive {
                    self.found
                        .push(format!("{at}: there is no file {}", path.display()));
                } else if !whole.is_file() && !is_project {
                    self.found.push(format!(
                        "{at}: {place} is no project: it has neither pyproject.toml nor setup.py"
                    ));
                }
            }
        }
    }
}

/// The value of an option in one of its spellings: `-r x`, `-rx`, `--requirement=x`.
fn option<'l>(line: &'l str, names: &[&str]) -> Option<&'l str> {
    names.iter().find_map(|name| {
        let rest = line.strip_prefix(name)?;
        let is_long = name.starts_with("--");
        let value = rest
            .strip_prefix(['=', ' ', '\t'])
            .or((!is_long && !rest.is_empty()).then_some(rest))?;
        Some(value.trim())
    })
}

/// Options that name indexes, and places of packages beside them.
const INDEXES: [&str; 5] = ["-f", "--find-links", "-i", "--index-url", "--extra-index-url"];

/// Options that pip takes in a list, and for which uv ends.
const OF_PIP_ALONE: [&str; 7] = [
    "--build-option",
    "--config-setting",
    "--config-settings",
    "--global-option",
    "--install-option",
    "--no-use-pep517",
    "--use-pep517",
];

/// The ends of files that are packages.
const ARCHIVES: [&str; 7] = [".whl", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip"];

fn has_option(line: &str, name: &str) -> bool {
    line.split_whitespace()
        .any(|word| word.split('=').next() == Some(name))
}

fn outside(at: &str, place: &str) -> String {
    format!(
        "{at}: {place} lies outside of the app's folder, and nothing there reaches a build: move it inside"
    )
}

/// Where a requirement lies, if in a folder of this machine: `libs/one`, `./one.whl`,
/// `file:libs/one`, and each with a name before it (`one @ libs/one`).
fn local(line: &str) -> Option<&str> {
    let (of_option, text) = match option(line, &["-e", "--editable"]) {
        Some(value) => (true, value),
        None => (false, line),
    };
    if text.starts_with('-') {
        return None;
    }
    let named = text.split_once('@').filter(|(name, _)| is_name(name));
    let text = named.map_or(text, |(_, place)| place.trim_start());
    // Up to extras (`.[server]`), a marker, hashes.
    let ends = |c: char| c.is_whitespace() || matches!(c, ';' | '[' | '#');
    let place = text.split(ends).next().unwrap_or_default();
    let path = path_of(place);
    let is_path = of_option
        || named.is_some()
        || path != place
        || path.starts_with('.')
        || path.contains('/')
        || ARCHIVES.iter().any(|end| path.ends_with(end));
    (is_path && !path.is_empty() && !path.contains("://")).then_some(path)
}

/// The path of a place that may be a URL of a file.
fn path_of(place: &str) -> &str {
    place
        .strip_prefix("file://")
        .or(place.strip_prefix("file:"))
        .unwrap_or(place)
}

/// Whether this is a package's name, with or without extras.
fn is_name(text: &str) -> bool {
    let name = text.split('[').next().unwrap_or_default().trim();
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The path without `.` and `..`, if it stays inside.
pub(super) fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir if clean.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// The variables that pip and uv fill in: `${NAME}`, in capital letters.
fn variables(line: &str) -> impl Iterator<Item = &str> {
    let names = line
        .split("${")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('}')?.0));
    let is_named = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    names.filter(move |name| !name.is_empty() && name.chars().all(is_named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let top = format!("{}/", dir.path().display());
        let environment = BTreeMap::from([("TOKEN".to_owned(), "x".to_owned())]);
        problems(dir.path(), &environment)
            .iter()
            .map(|one| one.replace(&top, ""))
            .collect()
    }

    #[test]
    fn every_form_that_a_build_has_is_fine() {
        let top = "# all\n-r reqs/base.txt\n-creqs/limits.txt\n--requirement=reqs/base.txt\n-e .\n.[server] ; python_version > '3'\n\
                   ./libs/one\nfile:libs/one\nflask==3 \\\n    --hash=sha256:00\nx @ git+https://h.example/x@v1\n\
                   --extra-index-url https://me:${TOKEN}@h.example/simple\nlibs/one[a]\none @ libs/one\n\
                   one @ file:./libs/one\n-e git+https://h.example/x#egg=x\nvendor/a-1-py3-none-any.whl --hash=sha256:00\n\
                   --find-links vendor\n-f https://h.example/links\n--no-index\n";
        let found = told(&[
            ("requirements.txt", top),
            ("reqs/base.txt", "-r ../more.txt\n"),
            ("more.txt", "idna\n"),
            ("reqs/limits.txt", "idna<4\n"),
            ("setup.py", ""),
            ("libs/one/pyproject.toml", ""),
            ("vendor/a-1-py3-none-any.whl", ""),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_list_that_powershell_has_written_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = "\u{feff}-r gone.txt\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        fs_err::write(dir.path().join("requirements.txt"), bytes).unwrap();
        let found = problems(dir.path(), &BTreeMap::new());
        assert!(
            found[0].ends_with("requirements.txt:1: there is no file gone.txt"),
            "{found:?}"
        );
    }

    #[test]
    fn what_no_build_has_is_told_with_its_line() {
        let top = "-r reqs/base.txt\n-r ../base.txt\n-e ../lib\n./nothing\n-i https://me:secret@h.example/simple\n\
             --extra-index-url https://${WHO}:${TOKEN}@h.example/simple\nx @ https://h.example/${other}/x.whl\n\
             libs/none\nx @ file:../x\nx-1.tar.gz\n--find-links=/wheels\n-f wheels\nx==1 --global-option=build\n--use-pep517\n";
        assert_eq!(
            told(&[("requirements.txt", top)]),
            [
                "requirements.txt:1: there is no file reqs/base.txt",
                "requirements.txt:2: ../base.txt lies outside of the app's folder, and nothing there reaches a build",
                "requirements.txt:3: ../lib lies outside of the app's folder, and nothing there reaches a build: move it inside",
                "requirements.txt:4: ./nothing is no project: it has neither pyproject.toml nor setup.py",
                "requirements.txt:5: has a login in a URL, and this file is part of the image: let the machine give \
                 it (README, \"Behind a proxy\")",
                "requirements.txt:6: no build step has the variable WHO: give it a value in `app.build_environment`, or, \
                 where it is a login, let the machine give it (README, \"Behind a proxy\")",
                "requirements.txt:8: libs/none is no project: it has neither pyproject.toml nor setup.py",
                "requirements.txt:9: ../x lies outside of the app's folder, and nothing there reaches a build: move it inside",
                "requirements.txt:10: there is no file x-1.tar.gz",
                "requirements.txt:11: /wheels lies outside of the app's folder, and nothing there reaches a build: move it inside",
                "requirements.txt:12: there is no folder wheels",
                "requirements.txt:13: uv, which installs it, takes no `--global-option` in a list: take it out; what a build of \
                 a package is told is `config-settings-package` in the app's uv.toml",
                "requirements.txt:14: uv, which installs it, takes no `--use-pep517` in a list: take it out; what a build of a \
                 package is told is `config-settings-package` in the app's uv.toml",
            ]
        );
    }
}
