//! A folder without a list of packages that a build reads: where it has them
//! instead, and the command that makes the list.

use std::path::{Path, PathBuf};

use detect::dependencies;
use inputs::regular;
use toml::Table;

use super::{foreign, workspace};

/// What to do where nothing says what is installed; `project` is pyproject.toml, where
/// there is one.
pub(super) fn told(folder: &Path, project: Option<&Table>) -> String {
    let shown = folder.display();
    let pyproject = folder.join("pyproject.toml");
    if project.is_some_and(foreign::of_poetry) {
        return format!(
            "{} has no poetry.lock beside it: run `poetry lock` in {shown} and commit the file",
            pyproject.display()
        );
    }
    if let Some(project) = project {
        if let Some(found) = workspace::around(folder, project) {
            let root = found.root.display();
            let first = match found.root.join("uv.lock").is_file() {
                true => String::new(),
                false => format!("run `uv lock` in {root}, commit the file, and "),
            };
            return format!(
                "{} belongs to the uv workspace in {root}, which has the lock for all members: {first}give \
                 {root} as the app's folder, with `\"package\": {:?}` in the spec's `app`",
                pyproject.display(),
                found.member
            );
        }
        // uv reads no other form, and what names no packages has them elsewhere.
        if project.get("project").is_some_and(says_packages) || has_workspace(project) {
            return with_uv(folder, project);
        }
    }
    let groups = project.map(dependencies::listed_groups).unwrap_or_default();
    let way_out = if !groups.is_empty() {
        Some(format!(
            "say in the spec's `app` which of the groups in pyproject.toml it needs, such as `\"groups\": {groups:?}`"
        ))
    } else if folder.join("Pipfile").is_file() {
        Some(format!(
            "run `pipenv lock` in {shown}, which has a Pipfile, and commit the file"
        ))
    } else if let Some(list) = list(folder, "txt") {
        let written = written(folder, &of_list(&list));
        Some(format!("run `{written}`, as {list} has it, and commit the file"))
    } else if let Some(list) = list(folder, "in") {
        let into = quoted(&folder.join("requirements.txt"));
        Some(format!(
            "run `uv pip compile {} --output-file {into}` and commit the file",
            quoted(&folder.join(list))
        ))
    } else if let Some(file) = ["setup.py", "setup.cfg"]
        .iter()
        .find(|file| is_setup(folder, file))
    {
        let written = written(folder, "-e .");
        Some(format!("run `{written}`, as {file} has it, and commit the file"))
    } else {
        below(folder).map(|found| {
            let below = quoted(&found);
            format!("give the folder that has: run `cargo xtask new {below}`")
        })
    };
    match way_out {
        Some(way_out) => format!("{shown} has no list of packages that a build reads: {way_out}"),
        None if let Some(project) = project.filter(|project| project.contains_key("project")) => {
            with_uv(folder, project)
        }
        None if project.is_some() => format!(
            "{} names no packages, and nothing else in {shown} does: write what the app needs into requirements.txt, \
             one package a line",
            pyproject.display()
        ),
        None => format!(
            "{shown} has neither pyproject.toml nor pylock.toml, requirements.txt or Pipfile.lock: write what the app \
             needs into requirements.txt, one package a line"
        ),
    }
}

/// A `requirements.txt` of one line for a folder that has no list of packages that a build reads,
/// where one by another name says what a server is installed from: the line, and that list.
pub fn requirements(folder: &Path) -> Option<(String, String)> {
    let has = |name: &str| folder.join(name).exists();
    let is_listed = dependencies::installed_from(has).is_some() || has("Pipfile") || has("requirements.txt");
    let text = regular::read_to_string(&folder.join("pyproject.toml")).unwrap_or_default();
    let project: Table = text.parse().ok()?;
    let is_another = foreign::of_poetry(&project)
        || workspace::around(folder, &project).is_some()
        || project.get("project").is_some_and(says_packages)
        || has_workspace(&project)
        || !dependencies::listed_groups(&project).is_empty();
    let list = list(folder, "txt").filter(|_| !is_listed && !is_another)?;
    Some((of_list(&list), list))
}

fn of_list(list: &str) -> String {
    format!("-r {list}")
}

fn with_uv(folder: &Path, project: &Table) -> String {
    let pyproject = folder.join("pyproject.toml");
    let shown = pyproject.display();
    match absent_source(folder, project) {
        None => format!(
            "{shown} has no uv.lock beside it: run `uv lock` in {} and commit the file",
            folder.display()
        ),
        Some((name, path)) => format!(
            "{shown} takes {name} from {path}, where it is not: put it into a folder of the app's, say that in \
             `tool.uv.sources`, run `uv lock` in {} and commit the files",
            folder.display()
        ),
    }
}

/// A package that uv would take from a folder which is not there: its name, and where it
/// would be.
fn absent_source(folder: &Path, project: &Table) -> Option<(String, String)> {
    let sources = project.get("tool")?.get("uv")?.get("sources")?.as_table()?;
    sources.iter().find_map(|(name, source)| {
        let path = source.get("path")?.as_str()?;
        (!folder.join(path).exists()).then(|| (name.clone(), path.to_owned()))
    })
}

/// Whether `[project]` has packages, or code that tells them.
fn says_packages(about: &toml::Value) -> bool {
    let dynamic = about.get("dynamic").and_then(toml::Value::as_array);
    let mut by_code = dynamic.into_iter().flatten();
    about.get("dependencies").is_some() || by_code.any(|one| one.as_str() == Some("dependencies"))
}

fn has_workspace(project: &Table) -> bool {
    let uv = project.get("tool").and_then(|tool| tool.get("uv"));
    uv.and_then(|uv| uv.get("workspace")).is_some()
}

/// The list by another name that a server is installed from, from the folder.
fn list(folder: &Path, ending: &str) -> Option<String> {
    let below = files(&folder.join("requirements"));
    let below = below.into_iter().map(|name| format!("requirements/{name}"));
    let all: Vec<String> = files(folder).into_iter().chain(below).collect();
    dependencies::list_elsewhere(all.iter().map(String::as_str), ending).map(str::to_owned)
}

/// Whether setuptools installs a package from this file.
fn is_setup(folder: &Path, file: &str) -> bool {
    let text = regular::read_to_string(&folder.join(file)).unwrap_or_default();
    match file {
        "setup.py" => text.contains("setup("),
        // Many have one for their tools only.
        _ => text.contains("[metadata]") && folder.join("pyproject.toml").is_file(),
    }
}

/// The highest folder below that has a list.
fn below(folder: &Path) -> Option<PathBuf> {
    let of_others = ["docs", "node_modules", "test", "tests", "venv"];
    let mut level = vec![folder.to_owned()];
    for _ in 0..3 {
        let mut next: Vec<PathBuf> = level.iter().flat_map(|folder| folders(folder)).collect();
        next.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with('.') && !of_others.contains(&name.as_ref())
        });
        let has_list = |path: &&PathBuf| {
            let listed = dependencies::installed_from(|name| path.join(name).is_file());
            listed.is_some() || path.join("pyproject.toml").is_file()
        };
        if let Some(found) = next.iter().find(has_list) {
            return Some(found.clone());
        }
        level = next;
    }
    None
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = entries(folder)
        .into_iter()
        .filter(|path| path.is_file())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = entries(folder)
        .into_iter()
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// A command that writes a list of one line.
fn written(folder: &Path, line: &str) -> String {
    format!(
        "echo {} > {}",
        quoted(Path::new(line)),
        quoted(&folder.join("requirements.txt"))
    )
}

/// A word of a shell, in quotes where it needs them.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "._-/:".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::tests::folder;
    use super::*;
    use crate::sample;

    /// What is said of a folder without a list.
    fn said(folder: &Path) -> String {
        read(folder, &sample::spec().app.unwrap()).unwrap_err().join("\n")
    }

    /// The command that is told.
    fn command(said: &str) -> &str {
        let (_, rest) = said.split_once("run `").unwrap();
        rest.split_once('`').unwrap().0
    }

    const TOOLS_ONLY: (&str, &str) = ("pyproject.toml", "[tool.ruff]\nline-length = 110\n");
    const SETUP: (&str, &str) = ("setup.py", "from setuptools import setup\nsetup(name='x')\n");

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what a user would do")]
    fn the_told_command_makes_the_list() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (
                &[
                    TOOLS_ONLY,
                    ("requirements/base.txt", "fastapi\n"),
                    ("requirements/local.txt", "-r base.txt\n"),
                    ("requirements/production.txt", "-r base.txt\ngunicorn\n"),
                ],
                "-r requirements/production.txt\n",
            ),
            (
                &[
                    ("requirements/prod.txt", "fastapi\n"),
                    ("requirements/dev.txt", "x\n"),
                ],
                "-r requirements/prod.txt\n",
            ),
            (
                &[
                    ("requirements-dev.txt", "x\n"),
                    ("app-requirements.txt", "fastapi\n"),
                ],
                "-r app-requirements.txt\n",
            ),
            (&[TOOLS_ONLY, SETUP], "-e .\n"),
            (&[SETUP, ("requirements-dev.txt", "pytest\n")], "-e .\n"),
            (
                &[
                    ("setup.cfg", "[metadata]\nname = x\n"),
                    ("pyproject.toml", "[build-system]\n"),
                ],
                "-e .\n",
            ),
            (
                &[
                    ("pyproject.toml", "[project]\nname = 'x'\nversion = '1'\n"),
                    ("requirements/main.txt", "fastapi\n"),
                ],
                "-r requirements/main.txt\n",
            ),
            (
                &[SETUP, ("requirements/production.txt", "fastapi\n")],
                "-r requirements/production.txt\n",
            ),
        ];
        for (files, expected) in cases {
            let dir = folder(files);
            let said = said(dir.path());
            let status = std::process::Command::new("sh")
                .args(["-c", command(&said)])
                .status();
            assert!(status.unwrap().success(), "{said}");
            let made = fs_err::read_to_string(dir.path().join("requirements.txt")).unwrap();
            assert_eq!(made, expected, "{said}");
            read(dir.path(), &sample::spec().app.unwrap()).unwrap();
        }
    }

    #[test]
    fn tools_of_others_make_theirs() {
        let dir = folder(&[TOOLS_ONLY, ("Pipfile", "[packages]\nfastapi = '*'\n")]);
        let at = dir.path().display().to_string();
        assert!(said(dir.path()).contains(&format!("run `pipenv lock` in {at}, which has a Pipfile")));
        let dir = folder(&[("requirements/main.in", "fastapi\n")]);
        let at = dir.path().display().to_string();
        assert_eq!(
            command(&said(dir.path())),
            format!("uv pip compile {at}/requirements/main.in --output-file {at}/requirements.txt")
        );
        let dir = folder(&[(
            "pyproject.toml",
            "[dependency-groups]\nweb = ['fastapi']\ndev = ['pytest']\n",
        )]);
        let told = said(dir.path());
        assert!(told.ends_with("such as `\"groups\": [\"web\"]`"), "{told}");
        let dynamic = "[project]\nname = 'x'\ndynamic = ['dependencies', 'version']\n";
        let dir = folder(&[
            ("pyproject.toml", dynamic),
            ("requirements/main.txt", "fastapi\n"),
        ]);
        assert_eq!(command(&said(dir.path())), "uv lock");
    }

    #[test]
    fn a_folder_below_that_has_a_list_is_named() {
        for top in [&[TOOLS_ONLY][..], &[]] {
            let below = ("backend/requirements.txt", "fastapi\n");
            let files: Vec<(&str, &str)> = top.iter().copied().chain([below]).collect();
            let dir = folder(&files);
            let said = said(dir.path());
            let (_, backend) = command(&said).split_once("cargo xtask new ").unwrap();
            assert_eq!(Path::new(backend), dir.path().join("backend"));
            read(Path::new(backend), &sample::spec().app.unwrap()).unwrap();
        }
        let dir = folder(&[TOOLS_ONLY]);
        assert!(
            said(dir.path()).contains("write what the app needs into requirements.txt"),
            "{}",
            said(dir.path())
        );
    }
}
