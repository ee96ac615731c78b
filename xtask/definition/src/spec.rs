//! What one image is: `images/<name>/image.json` over `images/defaults.json`.
//!
//! JSON → [`raw::RawSpec`] → [`ImageSpec`]. The first step checks the shape
//! against the schema that editors use, the second the meaning; both collect
//! every problem before anything is said. This module does no I/O: [`load`]
//! takes the texts that the crate `build` has read.

pub mod build;
mod directories;
pub mod kind;
pub mod load;
mod meaning;
pub mod names;
mod own_file;
pub mod patience;
pub mod program;
pub mod raw;
pub mod secret;
pub(crate) mod shape;
pub mod source;
mod sql;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::reference::{ReleaseTag, Tag};
use build::BuildSteps;
use kind::ImageKind;
use names::ImageName;
use program::OwnProgram;

pub use raw::{Budgets, Check, CheckProbe, HealthMeaning, HttpProbe, Method, SqlProbe};

/// A valid spec of one image; everything after this trusts it.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSpec {
    /// The folder below `images/`, and the middle of `hive-<name>`.
    pub name: ImageName,
    /// What the image is, in one line for people.
    pub title: String,
    /// Where the spec was read from, as shown to users.
    pub file: String,
    /// The base set that it is built on, where the spec names one.
    pub base: Option<String>,
    /// The version of the app's Python, where the spec names one.
    pub python: Option<String>,
    /// What runs beside the database; `None` for an image of a database alone.
    pub app: Option<App>,
    /// The database in the image, and the role that uses it.
    pub database: Database,
    /// What runs beside the two.
    pub programs: Vec<OwnProgram>,
    /// What is made of the app's files in the build.
    pub build: BuildSteps,
    /// Extra labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Extra packages of the distribution in the final image.
    pub packages: Vec<String>,
    /// Extra packages of the distribution while dependencies are built.
    pub build_packages: Vec<String>,
    /// The version in `hive-<image>:<version>`; the app's own where absent.
    pub version: Option<Tag>,
    /// Release tags, which may hold the version.
    pub tags: Vec<ReleaseTag>,
    /// Outer limits of what smoke measures.
    pub budgets: Budgets,
    /// Smoke checks of this image's own.
    pub checks: Vec<Check>,
    /// What the app's own file says and the image's says otherwise, a sentence
    /// each.
    pub overruled: Vec<String>,
    /// Variables of the smoke suite's containers, which no image has.
    pub smoke_environment: BTreeMap<String, String>,
}

/// The application's part of a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// What a volume knows it by; absent where nothing has looked at its folder
    /// and the spec does not say.
    pub name: Option<String>,
    /// The folder of the application's sources, relative to the checkout.
    pub source: PathBuf,
    /// What of it is installed.
    pub install: InstallChoice,
    /// What uvicorn is told to serve: an ASGI import string,
    /// `package.module:attribute`.
    pub import: String,
    /// Whether `import` names a function that makes the app.
    pub(crate) factory: bool,
    /// The command, word by word, that runs in place of uvicorn.
    pub command: Option<Vec<String>>,
    /// How many processes uvicorn serves the app with.
    pub(crate) workers: u32,
    /// TCP port, in the container and by default outside.
    pub port: u16,
    /// Path that is asked for health; `None` where the app has none.
    pub health_path: Option<String>,
    /// What an answer of it means, as far as the spec says so.
    pub health: Option<HealthMeaning>,
    /// Runs once per boot between the database's and the app's start.
    pub(crate) before_start: Option<Vec<String>>,
    /// Extra environment; values may hold placeholders.
    pub environment: BTreeMap<String, String>,
    /// After this many looks in a row at which the app gave no answer it is
    /// restarted; 0 for never.
    pub restart_after: u32,
    /// Its folders that lie on the volume: absolute paths in the container, none
    /// inside of another.
    pub directories: Vec<String>,
}

/// What of a project's declared dependencies an image has, in uv's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallChoice {
    /// A member of the workspace; absent for the project at the top.
    pub package: Option<String>,
    /// Extras of the project that are installed along with it.
    pub extras: Vec<String>,
    /// Dependency groups of the project that are installed.
    pub groups: Vec<String>,
    /// Requirements that are installed beside all of these.
    pub with: Vec<String>,
    /// Variables of the steps that install.
    pub environment: BTreeMap<String, String>,
}

impl InstallChoice {
    /// Lines of shell that set the variables.
    pub fn exports(&self) -> String {
        let line =
            |(name, value): (&String, &String)| format!("export {name}='{}'", value.replace('\'', r"'\''"));
        self.environment.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Whether a package is among those that are installed beside the app's own list.
    pub fn has_beside(&self, package: &str) -> bool {
        let name = |requirement: &String| {
            let end = requirement.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c));
            requirement[..end.unwrap_or(requirement.len())]
                .to_lowercase()
                .replace(['_', '.'], "-")
        };
        self.with.iter().any(|one| name(one) == package)
    }

    /// The options of `uv sync` and `uv export`.
    pub fn options(&self) -> String {
        // `--no-dev` would win over `--group dev`.
        let dev = self.groups.iter().any(|group| group == DEV);
        let mut options = Vec::from_iter((!dev).then(|| "--no-dev".to_owned()));
        options.extend(self.package.iter().map(|name| format!("--package {name}")));
        options.extend(self.extras.iter().map(|name| format!("--extra {name}")));
        options.extend(self.groups.iter().map(|name| format!("--group {name}")));
        options.join(" ")
    }
}

/// The group that uv installs by default, and no image has by default.
pub const DEV: &str = "dev";

/// The database's part of a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The name of the database that the app connects to.
    pub name: String,
    /// The app's role, owner of the database, no superuser.
    pub role: String,
    /// Where it is another container's or server's: the image of a database alone
    /// that the app is proved with.
    pub elsewhere: Option<ImageName>,
    /// Where an image of a database alone is published on its host.
    pub(crate) port: Option<u16>,
    /// Extensions that exist before the app starts.
    pub extensions: Vec<String>,
    /// Statements that run once, as the app's role, in one transaction.
    pub initial_sql: Vec<String>,
    /// Settings of PostgreSQL by their names, over the image's own and under
    /// `ALTER SYSTEM`.
    pub(crate) settings: BTreeMap<String, String>,
}

impl App {
    /// The app's part of `/etc/hive/image.json`.
    fn runtime(&self) -> serde_json::Value {
        // No `..`, as below.
        let Self {
            name,
            source: _,
            install: _,
            import,
            factory,
            command,
            workers,
            port,
            health_path,
            // The container's own check asks the database whatever the app does.
            health: _,
            before_start,
            environment,
            restart_after,
            directories,
        } = self;
        serde_json::json!({
            "name": name,
            "import": import,
            "factory": factory,
            "command": command,
            "workers": workers,
            "port": port,
            "health_path": health_path,
            "before_start": before_start,
            "environment": environment,
            "restart_after": restart_after,
            "directories": directories,
        })
    }

    /// What is asked for whether the app answers.
    pub fn asked_path(&self) -> &str {
        self.health_path.as_deref().unwrap_or("/")
    }

    /// Whether an answer with this status says that the app is there: 200, and where
    /// no path is named whatever is no error of the server's own. The container's own
    /// check has the same rule.
    pub fn is_answer(&self, status: u16) -> bool {
        match self.health_path {
            Some(_) => status == 200,
            None => is_of_an_app(status),
        }
    }

    /// What a proof says of the app's health endpoint: the label's value.
    pub fn proved_health(&self) -> &'static str {
        match (&self.health_path, self.health) {
            (None, _) => "none",
            (Some(_), Some(HealthMeaning::Readiness)) => "readiness",
            (Some(_), _) => "liveness",
        }
    }

    /// What a proof does not say of it, in one sentence; `None` where it says
    /// all.
    pub fn unproved_health(&self) -> Option<String> {
        match self.proved_health() {
            "readiness" => None,
            "none" => Some("no health path: the container's own check asks the database".to_owned()),
            _ => Some(format!(
                "GET {} is proved as liveness; the container's own check asks the database",
                self.asked_path()
            )),
        }
    }
}

/// Whether a status on `/` is that of an app that works, where nothing names a path of its
/// health: one without such a route says 404, one that wants a login 401 or leads to it. What
/// answers everything by 500 is an app that its server cannot run.
pub fn is_of_an_app(status: u16) -> bool {
    status < 500
}

/// Where PostgreSQL listens in the container.
pub const POSTGRESQL_PORT: u16 = 5432;

impl ImageSpec {
    /// Which parts its containers run.
    pub fn kind(&self) -> ImageKind {
        match (&self.app, &self.database.elsewhere) {
            (Some(_), None) => ImageKind::AllInOne,
            (Some(_), Some(_)) => ImageKind::App,
            (None, _) => ImageKind::Database,
        }
    }

    /// The names of all programs that a container of the image has to run.
    pub fn program_names(&self) -> Vec<&str> {
        let own = self.programs.iter().map(|program| program.name.as_str());
        self.kind().programs().iter().copied().chain(own).collect()
    }

    /// The port that its containers are reached on: the app's, or PostgreSQL's
    /// where there is no app.
    pub fn port(&self) -> u16 {
        self.app.as_ref().map_or(POSTGRESQL_PORT, |app| app.port)
    }

    /// The port of the host that it is published on where nothing else is said.
    pub fn published_port(&self) -> u16 {
        self.database.port.unwrap_or_else(|| self.port())
    }

    /// See [`App::proved_health`]; `None` where there is no endpoint to prove.
    pub fn proved_health(&self) -> Option<&'static str> {
        self.app.as_ref().map(App::proved_health)
    }

    /// See [`App::unproved_health`].
    pub fn unproved_health(&self) -> Option<String> {
        self.app.as_ref().and_then(App::unproved_health)
    }

    /// The values of `smoke.environment` that are shown nowhere.
    pub fn kept_back(&self) -> impl Iterator<Item = &String> {
        let given = self.smoke_environment.iter();
        let closed = given.filter(|(name, value)| {
            // A short one is part of many words.
            value.len() >= secret::SHORTEST_SECRET && !secret::is_open_to_all(name, value)
        });
        closed.map(|(_, value)| value)
    }

    /// The names of `smoke.environment` for which the image itself has no value: whoever runs it
    /// gives one.
    pub fn given_at_start(&self) -> Vec<&str> {
        let own = self.app.as_ref().map(|app| &app.environment);
        let names = self.smoke_environment.keys().map(String::as_str);
        names
            .filter(|name| own.is_none_or(|own| !own.contains_key(*name)))
            .collect()
    }

    /// What an image that is proved may not start without, in one sentence;
    /// `None` where it is proved as it is.
    pub fn proved_with(&self) -> Option<String> {
        let names: Vec<&str> = self.smoke_environment.keys().map(String::as_str).collect();
        let variables = (!names.is_empty()).then(|| {
            format!(
                "proved with {} of `smoke.environment`: whoever runs it gives values of their own (`-e`)",
                names.join(", ")
            )
        });
        let beside = self.database.elsewhere.as_ref().map(|image| {
            format!("proved with the database of image {image}: whoever runs it says where theirs is")
        });
        let all: Vec<String> = variables.into_iter().chain(beside).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// What outlives a container of the image beside its database, in one
    /// sentence; `None` where that is all.
    pub fn keeps(&self) -> Option<String> {
        let directories = &self.app.as_ref()?.directories;
        (!directories.is_empty()).then(|| format!("keeps {} on the volume", directories.join(", ")))
    }

    /// What `app.directories` may be with those of `more` that it takes: the app's own and
    /// they, as absolute paths. Of two that lie one inside of the other the first is taken.
    pub fn directories_with<'a>(&'a self, more: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let Some(app) = &self.app else {
            return Vec::new();
        };
        let all: Vec<&str> = app.directories.iter().map(String::as_str).chain(more).collect();
        let given: Vec<String> = all.iter().map(|&path| path.to_owned()).collect();
        let import = app.command.is_none().then_some(app.import.as_str());
        let problems = directories::problems(&given, import, &self.build);
        let is_taken = |n: &usize| !problems.iter().any(|(bad, _)| bad == n);
        let taken = all.iter().enumerate().filter(|(n, _)| is_taken(n));
        taken.map(|(_, path)| *path).collect()
    }

    /// `/etc/hive/image.json`: the part of the spec that the container needs.
    pub fn runtime(&self) -> serde_json::Value {
        // No `..`: whether the container needs a field that is new is decided here.
        let Self {
            name: image,
            app,
            database,
            programs,
            // What it makes is there when the container is.
            build: _,
            base: _,
            python: _,
            title: _,
            file: _,
            labels: _,
            packages: _,
            build_packages: _,
            version: _,
            tags: _,
            budgets: _,
            checks: _,
            overruled: _,
            smoke_environment: _,
        } = self;
        let Database {
            name,
            role,
            elsewhere,
            // Inside it is always the same.
            port: _,
            extensions,
            initial_sql,
            settings,
        } = database;
        let mut runtime = serde_json::json!({
            "image": image.as_str(),
            "app": app.as_ref().map(App::runtime),
            "database": {
                "name": name,
                "role": role,
                "extensions": extensions,
                "initial_sql": initial_sql,
                "settings": settings,
            },
            "programs": programs,
        });
        // Images with a database are what they were before there were others.
        if let Some(image) = elsewhere {
            runtime["database"]["elsewhere"] = image.as_str().into();
        }
        runtime
    }
}
