//! What the application's folder says about itself.
//!
//! Only what decides how it is built: its files, `requires-python`, version.
//! Nothing is run.

mod lock;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use definition::spec::load::APP_FILE;

/// How the dependencies are declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencySource {
    /// `pyproject.toml` with `uv.lock`.
    Locked,
    /// `requirements.txt` only.
    Requirements,
}

/// An application that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its folder.
    pub folder: PathBuf,
    /// How its dependencies are declared.
    pub shape: DependencySource,
    /// `project.requires-python`.
    pub requires_python: Option<String>,
    /// `project.version`; absent where it is dynamic.
    pub version: Option<String>,
}

#[derive(Deserialize)]
struct Pyproject {
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    version: Option<String>,
    #[serde(rename = "requires-python")]
    requires_python: Option<String>,
}

impl Application {
    /// The files at its top that a build or the suite cannot do without.
    pub fn needed(&self) -> Vec<&'static str> {
        let mut needed = match self.shape {
            DependencySource::Locked => vec!["pyproject.toml", "uv.lock"],
            DependencySource::Requirements => vec!["requirements.txt"],
        };
        // Else an image would be built by one contract and smoked by another.
        if self.folder.join(APP_FILE).exists() {
            needed.push(APP_FILE);
        }
        needed
    }
}

/// Reads an application's folder.
///
/// # Errors
/// A sentence for each thing that is wrong, with the file.
pub fn read(folder: &Path) -> Result<Application, Vec<String>> {
    if !folder.is_dir() {
        let shown = folder.display();
        return Err(vec![if folder.exists() {
            format!("{shown} is a file: give the folder that it lies in")
        } else {
            format!("the app's folder {shown} does not exist")
        }]);
    }
    let pyproject = folder.join("pyproject.toml");
    if pyproject.is_file() {
        return read_project(folder, &pyproject);
    }
    if folder.join("requirements.txt").is_file() {
        return Ok(Application {
            folder: folder.to_owned(),
            shape: DependencySource::Requirements,
            requires_python: None,
            version: None,
        });
    }
    Err(vec![format!(
        "{} has neither pyproject.toml with uv.lock nor requirements.txt",
        folder.display()
    )])
}

fn read_project(folder: &Path, pyproject: &Path) -> Result<Application, Vec<String>> {
    let shown = pyproject.display();
    let text = fs_err::read_to_string(pyproject).map_err(|error| vec![error.to_string()])?;
    let parsed: Pyproject = toml::from_str(&text).map_err(|error| {
        vec![format!(
            "{shown} cannot be read: {}",
            first_line(&error.to_string())
        )]
    })?;
    let locked = folder.join("uv.lock").is_file();
    let requirements = folder.join("requirements.txt").is_file();
    let shape = match (locked, requirements) {
        (true, _) => DependencySource::Locked,
        // Many projects have a pyproject.toml for their tools only.
        (false, true) => DependencySource::Requirements,
        (false, false) => {
            return Err(vec![format!(
                "{shown} has no uv.lock beside it: run `uv lock` in {} and commit the file",
                folder.display()
            )]);
        }
    };
    if shape == DependencySource::Locked {
        check_lock(folder, &text)?;
    }
    let project = parsed.project;
    Ok(Application {
        folder: folder.to_owned(),
        shape,
        requires_python: project.as_ref().and_then(|p| p.requires_python.clone()),
        version: project.and_then(|p| p.version),
    })
}

/// Holds `uv.lock` against the project, and against the local packages that it
/// names: a lock that is behind would be built without what they ask for.
fn check_lock(folder: &Path, project: &str) -> Result<(), Vec<String>> {
    let path = folder.join("uv.lock");
    let lock = fs_err::read_to_string(&path).map_err(|error| vec![error.to_string()])?;
    let behind = |text: &str, at: &str| match toml::from_str(text) {
        Ok(project) => lock::differences(&project, &lock, at),
        // It is read, and told, where it is built.
        Err(_) => Vec::new(),
    };
    let mut found = behind(project, ".");
    for at in lock::members(&lock) {
        // One that `.dockerignore` leaves out may not be there at all.
        if let Ok(text) = std::fs::read_to_string(folder.join(&at).join("pyproject.toml")) {
            found.extend(behind(&text, &at).into_iter().map(|one| format!("{at}: {one}")));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(vec![format!(
        "{} is older than pyproject.toml ({}): run `uv lock` in {} and commit the file",
        path.display(),
        found.join(", "),
        folder.display()
    )])
}

fn first_line(text: &str) -> String {
    // toml draws the place over several lines: keep what says where and what.
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && *line != "|")
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs_err::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn a_locked_project() {
        let dir = folder(&[
            (
                "pyproject.toml",
                "[project]\nname='x'\nversion='1.2'\nrequires-python='>=3.12'\n",
            ),
            ("uv.lock", ""),
        ]);
        let app = read(dir.path()).unwrap();
        assert_eq!(app.shape, DependencySource::Locked);
        assert_eq!(app.version.as_deref(), Some("1.2"));
        assert_eq!(app.requires_python.as_deref(), Some(">=3.12"));
    }

    #[test]
    fn requirements_with_and_without_a_pyproject() {
        let dir = folder(&[("requirements.txt", "fastapi\n")]);
        assert_eq!(read(dir.path()).unwrap().shape, DependencySource::Requirements);
        let dir = folder(&[
            ("requirements.txt", "fastapi\n"),
            ("pyproject.toml", "[tool.ruff]\n"),
        ]);
        assert_eq!(read(dir.path()).unwrap().shape, DependencySource::Requirements);
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = folder(&[("pyproject.toml", "[project]\nname='x'\n")]);
        let problems = read(dir.path()).unwrap_err();
        assert!(
            problems[0].contains("has no uv.lock beside it: run `uv lock`"),
            "{problems:?}"
        );
        let problems = read(folder(&[]).path()).unwrap_err();
        assert!(problems[0].contains("neither pyproject.toml"), "{problems:?}");
        let problems = read(Path::new("/nonexistent/app")).unwrap_err();
        assert!(
            problems[0].contains("/nonexistent/app does not exist"),
            "{problems:?}"
        );
        let problems = read(folder(&[("pyproject.toml", "[project\n")]).path()).unwrap_err();
        assert!(
            problems[0].contains("cannot be read: TOML parse error at line 1"),
            "{problems:?}"
        );
    }
}
