//! What the application's folder says about itself.
//!
//! Only what decides how it is built: its files, `requires-python`, version.
//! Nothing is run.

mod bare;
mod ceiling;
mod choice;
pub(crate) mod entry;
mod failing;
mod foreign;
pub(crate) mod front_end;
mod git_by_ssh;
mod graph;
mod links;
mod lists;
mod lock;
mod locked;
mod locked_wheels;
mod logins;
mod markers;
mod pinned_wheels;
mod requirements;
pub mod unlisted;
mod wheels;
pub mod workspace;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Table;

use choice::Chosen;
use definition::spec::load::APP_FILE;
use definition::spec::names::PYTHONS;
use definition::spec::{App, DEV};
use detect::dependencies;
use graph::LockGraph;
use inputs::regular;
use lists::UnreadList;
use markers::Machine;
use wheels::BoundPackages;

/// The most packages that a sentence names; of more it says how many.
const MOST_NAMED: usize = 3;

/// How the dependencies are declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DependencySource {
    /// `uv.lock` beside its `pyproject.toml`: uv installs what it says.
    Locked,
    /// `pylock.toml` of whichever tool wrote it (PEP 751).
    Pylock,
    /// `requirements.txt` and no lock: versions may be open.
    Requirements,
    /// `Pipfile.lock`, which pipenv writes beside its `Pipfile`.
    Pipfile,
    /// `poetry.lock` beside its `pyproject.toml`, both read in the build.
    Poetry,
    /// `pdm.lock` beside its `pyproject.toml`, both read in the build.
    Pdm,
    /// `pyproject.toml` alone: the build makes the `uv.lock`.
    Bare,
    /// The same where uv cannot lock all of it without the rest of the app: the build makes the
    /// `requirements.txt` of what is chosen.
    Compiled,
}

/// An application that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The folder that holds its sources.
    pub folder: PathBuf,
    /// How its dependencies are declared.
    pub(crate) shape: DependencySource,
    /// What it is called: `project.name`, else its folder.
    pub(crate) name: String,
    /// The versions of Python that it takes, as its project or lock says: the
    /// base's has to be one.
    pub requires_python: Option<String>,
    /// The version of Python in `.python-version`, as its developers have it.
    pub(crate) developed_on: Option<String>,
    /// `project.version`; absent where it is dynamic.
    pub(crate) version: Option<String>,
    /// Lists of packages beside the one that is installed from.
    pub(crate) unread: Vec<UnreadList>,
    /// What not each Python has a wheel of, or runs.
    pub(crate) bound: BoundPackages,
    /// The hosts that packages are taken from by SSH, each with the file that names it.
    pub(crate) git_by_ssh: Vec<(PathBuf, String)>,
}

impl DependencySource {
    /// All that have a list of packages.
    const WITH_LIST: [Self; 6] = [
        Self::Locked,
        Self::Pylock,
        Self::Poetry,
        Self::Pdm,
        Self::Requirements,
        Self::Pipfile,
    ];

    /// The file that says what is installed.
    fn file(self) -> &'static str {
        match self {
            Self::Locked => "uv.lock",
            Self::Pylock => "pylock.toml",
            Self::Requirements => "requirements.txt",
            Self::Pipfile => "Pipfile.lock",
            Self::Poetry => "poetry.lock",
            Self::Pdm => "pdm.lock",
            Self::Bare | Self::Compiled => "pyproject.toml",
        }
    }
}

impl Application {
    /// Its `requirements.txt` and the lists that this takes in, from its folder.
    pub(crate) fn lists(&self) -> BTreeSet<PathBuf> {
        requirements::files(&self.folder)
    }

    /// Whether the build chooses versions.
    pub(crate) fn is_open(&self) -> bool {
        matches!(
            self.shape,
            DependencySource::Requirements | DependencySource::Bare | DependencySource::Compiled
        )
    }

    /// The files at its top that a build or the suite cannot do without.
    pub fn needed(&self) -> Vec<&'static str> {
        let file = self.shape.file();
        let mut needed = match self.shape {
            DependencySource::Locked | DependencySource::Poetry | DependencySource::Pdm => {
                vec!["pyproject.toml", file]
            }
            _ => vec![file],
        };
        // Else an image would be built by one contract and smoked by another.
        if self.folder.join(APP_FILE).exists() {
            needed.push(APP_FILE);
        }
        needed
    }

    /// Which of several lists of packages counts, where they agree, in one sentence.
    pub fn installed_from(&self) -> Option<String> {
        lists::agreeing(self.shape.file(), &self.unread)
    }

    /// Packages that have no wheel for a Python such as `3.13.5`, or do not run on it, in
    /// one sentence.
    pub fn without_wheel(&self, python: &str) -> Option<String> {
        let update = match self.shape {
            DependencySource::Poetry => Some(("poetry update", "")),
            DependencySource::Pdm => Some(("pdm update", "")),
            DependencySource::Locked => Some(("uv lock", "--upgrade-package ")),
            DependencySource::Pylock
            | DependencySource::Requirements
            | DependencySource::Pipfile
            | DependencySource::Bare
            | DependencySource::Compiled => None,
        };
        self.bound.told(python, &PYTHONS, update)
    }

    /// The same without the way out.
    pub fn unsuited(&self, python: &str) -> Option<String> {
        self.bound.unsuited(python)
    }

    /// The packages that have no wheel for a Python such as `3.13.5`, each with its
    /// version.
    pub fn built_on(&self, python: &str) -> Vec<(&str, &str)> {
        self.bound.built_on(python)
    }

    /// The Pythons that suit what is pinned better than one such as `3.13.5`, the best
    /// first: of those that suit it as well one that is `at_hand`, then that of the app's
    /// developers, then the newest.
    pub fn better_pythons(&self, python: &str, at_hand: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let own = format!("{}.", self.developed_on.as_deref().unwrap_or_default().trim());
        let is_own = |one: &str| own.starts_with(&format!("{one}."));
        let suited = self.bound.suited(python);
        let mut better: Vec<&str> = PYTHONS.into_iter().collect();
        better.retain(|one| self.bound.suited(one) < suited);
        better.sort_by_key(|one| (self.bound.suited(one), !at_hand(one), !is_own(one)));
        better
    }

    /// What lists of packages that do not count say otherwise, a sentence each.
    pub fn disagreeing_lists(&self) -> Vec<String> {
        lists::disagreeing(self.shape.file(), &self.unread)
    }

    /// What an image of it is not pinned to, in one sentence; `None` where its
    /// folder has a lock, or leaves versions open in a file of its own.
    pub fn unlocked(&self) -> Option<String> {
        let (made, file) = match self.shape {
            DependencySource::Bare => ("no lock: the build makes one", "uv.lock"),
            DependencySource::Compiled => (
                "no lock: the build makes a list of versions by `uv pip compile`",
                "pylock.toml",
            ),
            _ => return None,
        };
        Some(format!(
            "{made}, and what it finds that day is installed; the image has it as /app/{file}"
        ))
    }
}

/// Reads an application's folder, which need not be the one that its spec names.
///
/// # Errors
/// A sentence for each thing that is wrong, with the file.
pub fn read(folder: &Path, app: &App) -> Result<Application, Vec<String>> {
    read_all(folder, app, true)
}

/// The same of an app that no build would take as it is, such as one with a lock that is
/// older than its project: what its lists pin stays after what is to be done first.
pub fn read_as_it_is(folder: &Path, app: &App) -> Option<Application> {
    read_all(folder, app, false).ok()
}

fn read_all(folder: &Path, app: &App, is_strict: bool) -> Result<Application, Vec<String>> {
    if !folder.is_dir() {
        let shown = folder.display();
        return Err(vec![if folder.exists() {
            format!("{shown} is a file: give the folder that it lies in")
        } else {
            format!("the app's folder {shown} does not exist")
        }]);
    }
    let refused = match is_strict {
        true => [logins::problems(folder), links::problems(folder)].concat(),
        false => Vec::new(),
    };
    let pyproject = folder.join("pyproject.toml");
    let read = if pyproject.is_file() {
        read_project(folder, &pyproject, app, is_strict)
    } else {
        match without_project(folder) {
            Some(shape) => with_list(folder, &Table::new(), app, shape, is_strict),
            None => Err(vec![unlisted::told(folder, None)]),
        }
    };
    match (read, refused.is_empty()) {
        (read, true) => read,
        (Ok(_), false) => Err(refused),
        (Err(mut found), false) => {
            found.extend(refused);
            let mut seen = BTreeSet::new();
            found.retain(|problem| seen.insert(problem.clone()));
            Err(found)
        }
    }
}

fn read_project(
    folder: &Path,
    pyproject: &Path,
    app: &App,
    is_strict: bool,
) -> Result<Application, Vec<String>> {
    let shown = pyproject.display();
    let text = regular::read_to_string(pyproject).map_err(|error| vec![error.to_string()])?;
    let project: Table = toml::from_str(&text).map_err(|error| {
        vec![format!(
            "{shown} cannot be read: {}",
            first_line(&error.to_string())
        )]
    })?;
    let locked = folder.join("uv.lock").is_file();
    if locked {
        return read_locked(folder, &project, app, is_strict);
    }
    match without_project(folder) {
        // Many projects have a pyproject.toml for their tools only.
        Some(shape) => with_list(folder, &project, app, shape, is_strict),
        None => {
            let alone = workspace::around(folder, &project).is_none();
            match bare::shape(&project, &app.install).filter(|_| alone) {
                Some(shape) => with_list(folder, &project, app, shape, is_strict),
                None => Err(vec![unlisted::told(folder, Some(&project))]),
            }
        }
    }
}

/// What says the dependencies where there is no `uv.lock`; the steps of the build
/// look in the same order.
fn without_project(folder: &Path) -> Option<DependencySource> {
    let file = dependencies::installed_from(|name| folder.join(name).is_file())?;
    DependencySource::WITH_LIST
        .into_iter()
        .find(|shape| shape.file() == file)
}

/// An app of which all is installed that one file lists.
fn with_list(
    folder: &Path,
    project: &Table,
    app: &App,
    shape: DependencySource,
    is_strict: bool,
) -> Result<Application, Vec<String>> {
    let install = &app.install;
    let mut problems = match shape {
        DependencySource::Requirements => requirements::problems(folder, &install.environment),
        DependencySource::Pipfile => foreign::check_pipfile(folder).err().into_iter().collect(),
        DependencySource::Poetry | DependencySource::Pdm => locked::problems(folder, project, app, shape),
        DependencySource::Bare | DependencySource::Compiled => bare::problems(folder, project, install),
        DependencySource::Locked | DependencySource::Pylock => Vec::new(),
    };
    let of_project = matches!(
        shape,
        DependencySource::Poetry
            | DependencySource::Pdm
            | DependencySource::Bare
            | DependencySource::Compiled
    );
    let chosen = [
        ("app.package", install.package.is_some()),
        ("app.extras", !of_project && !install.extras.is_empty()),
        ("app.groups", !of_project && !install.groups.is_empty()),
    ];
    for (key, _) in chosen.iter().filter(|(_, is_set)| *is_set) {
        problems.push(format!(
            "{}: `{key}` chooses of a uv.lock, and here is none: {} says what is installed",
            folder.display(),
            shape.file()
        ));
    }
    if is_strict && !problems.is_empty() {
        return Err(problems);
    }
    let unread = lists::beside(folder, project, shape).map_err(|problem| vec![problem])?;
    Ok(Application {
        unread,
        bound: match shape {
            DependencySource::Poetry | DependencySource::Pdm | DependencySource::Pylock => {
                locked_wheels::bound(folder, project, app, shape)
            }
            _ => pinned_wheels::bound(folder, project, app, shape),
        },
        git_by_ssh: git_by_ssh::wanted(folder, project, app, shape, &[]),
        developed_on: regular::read_to_string(&folder.join(".python-version")).ok(),
        folder: folder.to_owned(),
        shape,
        name: name_of(folder, project),
        requires_python: about(project, "requires-python").or_else(|| locked::python_of_poetry(project)),
        version: about(project, "version").or_else(|| of_poetry(project, "version")),
    })
}

/// Holds `uv.lock` against the projects that it was made from, and what the
/// spec chooses against both.
fn read_locked(
    folder: &Path,
    project: &Table,
    app: &App,
    is_strict: bool,
) -> Result<Application, Vec<String>> {
    let path = folder.join("uv.lock");
    let lock = lock::read(&path).map_err(|error| vec![error.to_string()])?;
    if is_strict {
        check_lock(folder, project, &lock)?;
    }
    let graph = LockGraph::read(&lock);
    if graph.is_empty() && foreign::of_poetry(project) {
        return Err(vec![format!(
            "{} has no packages, since uv does not read what pyproject.toml says in Poetry's own form: remove it{}",
            path.display(),
            match folder.join("poetry.lock").is_file() {
                true => String::new(),
                false => format!(
                    ", run `poetry lock` in {} and commit poetry.lock",
                    folder.display()
                ),
            }
        )]);
    }
    let chosen =
        Chosen::of(folder, &graph, &app.install, default_groups(project)).map_err(|problem| vec![problem])?;
    let problems = chosen.problems(app);
    if is_strict && !problems.is_empty() {
        return Err(problems);
    }
    let own = match chosen.place() {
        None | Some(".") => project.clone(),
        // What cannot be read there is told where it is built.
        Some(at) => read_table(&folder.join(at).join("pyproject.toml")).unwrap_or_default(),
    };
    let of_lock = || lock::text_before_packages(&lock, "requires-python");
    let unread = lists::beside(folder, project, DependencySource::Locked).map_err(|problem| vec![problem])?;
    let reached = chosen.reached(app);
    let processor = std::env::consts::ARCH;
    let on = |minor| (minor, chosen.reached_on(app, Machine { minor, processor }));
    let bound = BoundPackages::read(&lock, &wheels::minors().map(on).collect(), processor);
    let git_by_ssh = git_by_ssh::wanted(folder, project, app, DependencySource::Locked, &reached);
    Ok(Application {
        unread,
        bound,
        git_by_ssh,
        developed_on: regular::read_to_string(&folder.join(".python-version")).ok(),
        folder: folder.to_owned(),
        shape: DependencySource::Locked,
        name: name_of(folder, &own),
        requires_python: about(&own, "requires-python").or_else(of_lock),
        version: about(&own, "version"),
    })
}

/// What the app is called, as far as its folder says: on one line, for a volume
/// keeps it.
fn name_of(folder: &Path, project: &Table) -> String {
    let of_folder = || {
        folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let name = about(project, "name")
        .or_else(|| of_poetry(project, "name"))
        .unwrap_or_else(of_folder);
    name.replace(char::is_control, " ")
}

/// A key of `[tool.poetry]`, where Poetry kept names and versions before
/// `[project]`; `None` where it is no text.
fn of_poetry(project: &Table, key: &str) -> Option<String> {
    let tool = project.get("tool")?.get("poetry")?;
    text_of(tool.get(key))
}

/// A key of `[project]` (PEP 621); `None` where it is no text.
fn about(project: &Table, key: &str) -> Option<String> {
    text_of(project.get("project")?.get(key))
}

/// Some leave a version empty, which says as much as none.
fn text_of(value: Option<&toml::Value>) -> Option<String> {
    let text = value?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The groups that uv installs unasked, without the one that no image has.
fn default_groups(project: &Table) -> Vec<String> {
    let uv = project.get("tool").and_then(|tool| tool.get("uv"));
    let declared = uv.and_then(|uv| uv.get("default-groups"));
    let names: Vec<&str> = match declared.and_then(|groups| groups.as_str()) {
        Some("all") => {
            let groups = project
                .get("dependency-groups")
                .and_then(|groups| groups.as_table());
            groups
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str())
                .collect()
        }
        _ => {
            let groups = declared.and_then(|groups| groups.as_array());
            groups
                .into_iter()
                .flatten()
                .filter_map(|name| name.as_str())
                .collect()
        }
    };
    let kept = names.into_iter().filter(|name| *name != DEV);
    kept.map(str::to_owned).collect()
}

fn read_table(path: &Path) -> Option<Table> {
    regular::read_to_string(path).ok()?.parse().ok()
}

/// A lock that is behind would be built without what its projects ask for.
fn check_lock(folder: &Path, project: &Table, lock: &str) -> Result<(), Vec<String>> {
    let mut found = lock::differences(project, lock, ".");
    for at in lock::members(lock) {
        // One that `.dockerignore` leaves out may not be there at all; one that
        // cannot be read is told where it is built.
        if let Some(member) = read_table(&folder.join(&at).join("pyproject.toml")) {
            let behind = lock::differences(&member, lock, &at);
            found.extend(behind.into_iter().map(|one| format!("{at}: {one}")));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(vec![format!(
        "{} is older than pyproject.toml ({}): run `uv lock` in {} and commit the file",
        folder.join("uv.lock").display(),
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
mod tests;
