//! All that is found of a project.

mod project;
mod wanted;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::at_work;
use crate::beside::{self, Companion};
use crate::build_steps::BuildFindings;
use crate::called::{self, CalledProgram};
use crate::database::unled::{self, Unled};
use crate::database::{self, GivenVariable, drivers, encryption};
use crate::debugging::{self, SwitchedOn};
use crate::dependencies::{AskedBy, AskedPackage, Dependencies};
use crate::directories;
use crate::django::example::{self, CopiedSettings};
use crate::django::{self, ChosenSettings, ServerSettings};
use crate::entry::{self, AppObject, Framework, within};
use crate::extensions;
use crate::health::{self, HealthRoute};
use crate::hosts::{self, Hosts};
use crate::its_image;
use crate::member;
use crate::migrations::{self, CommandWords};
use crate::modules::Modules;
use crate::notes;
use crate::own_start;
use crate::place::{Choice, Detected, Place};
use crate::postgres::{self, PostgresImage};
use crate::redis;
use crate::routes;
use crate::server::{self, ServerProgram};
use crate::settings::{self, ReadVariable};
use crate::tables::RefusedCommand;
use crate::tree::{Template, Tree, is_of_the_app};
use project::{description, is_package, package, projects, settings_module, version_from_git};

/// What a folder is, as far as its files tell.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    /// The folder that was looked at.
    pub folder: PathBuf,
    /// One line about the project, where it has one.
    pub description: Option<Detected<String>>,
    /// What it asks for: packages, their locks, the version of Python.
    pub dependencies: Dependencies,
    /// What a server is given.
    pub app: Choice<AppObject>,
    /// The server among the dependencies that can run the app.
    pub server: Choice<ServerProgram>,
    /// The member of a uv workspace that the app belongs to.
    pub package: Option<Detected<String>>,
    /// The port of the project's own way to start.
    pub port: Option<Detected<u16>>,
    /// The route that tells whether it works.
    pub health: Choice<HealthRoute>,
    /// What has to run before the app.
    pub before_start: Choice<CommandWords>,
    /// The app's folder, where its modules import what lies there by its own name.
    pub imported_from: Option<Detected<String>>,
    /// A command that makes tables, and is not sure to be safe before the app.
    pub not_before_start: Option<Detected<RefusedCommand>>,
    /// Django's settings of the server, where its commands would go by other ones.
    pub server_settings: Option<Detected<ServerSettings>>,
    /// The variables that the code reads.
    pub variables: Vec<Detected<ReadVariable>>,
    /// Those of them that lead to the database, with their values.
    pub database: Vec<Detected<GivenVariable>>,
    /// The settings of Django's that the project's own image runs with, where those are
    /// not what its programs take by themselves; or those that are meant where neither
    /// says so.
    pub settings_module: Option<Detected<ChosenSettings>>,
    /// The package that speaks to PostgreSQL, where only an extra or a group brings it.
    pub driver: Option<Detected<AskedPackage>>,
    /// The package that the app is made with, where only an extra or a group brings it.
    pub framework: Option<Detected<AskedPackage>>,
    /// A module of Django's settings that is named and not there, and the example beside it
    /// that shows it.
    pub absent_settings: Option<Detected<(String, String)>>,
    /// A package that speaks to PostgreSQL, where the app wants one and has none.
    pub missing_driver: Option<&'static str>,
    /// What speaks to MySQL, in an app that speaks to nothing of PostgreSQL's.
    pub of_mysql: Option<Detected<AskedPackage>>,
    /// Where the code says which database it speaks to, where no variable leads there.
    pub unread_database: Option<Place>,
    /// How many migrations of Django's the project has.
    pub migrations: usize,
    /// A file of settings that the way to the database is to be written into.
    pub unled: Option<Detected<Unled>>,
    /// Extensions of PostgreSQL that the project makes, and its role may not.
    pub extensions: Vec<Detected<String>>,
    /// Where Django's engine for data of places is asked for.
    pub geodjango: Option<Place>,
    /// The PostgreSQL that the project has beside itself so far.
    pub postgres: Choice<PostgresImage>,
    /// Processes beside the server, such as a worker of Celery.
    pub processes: Vec<Detected<Companion>>,
    /// Services that the image does not have.
    pub services: Vec<Detected<Companion>>,
    /// The variables that lead to the Redis of the image, which it has where there
    /// are some.
    pub redis: Vec<Detected<GivenVariable>>,
    /// What of the code leads there without a variable: the image has it then, too.
    pub redis_of_code: Option<Detected<String>>,
    /// The path of Django's own pages for those who keep a site.
    pub admin: Option<Detected<String>>,
    /// Programs of the distribution that the app's code calls.
    pub called: Vec<Detected<CalledProgram>>,
    /// Packages of the distribution that its own image has, as far as an app uses such.
    pub of_its_image: Vec<Detected<&'static str>>,
    /// Folders of data that it writes into.
    pub directories: Vec<Detected<String>>,
    /// Variables with folders that no image has, and what they are in this one.
    pub moved_folders: Vec<Detected<GivenVariable>>,
    /// Variables with the hosts that the app answers by, and a value that lets the container's
    /// own check in.
    pub hosts: Vec<Detected<GivenVariable>>,
    /// Switches of debugging that are on where nobody sets them, and what turns them off.
    pub turned_off: Vec<Detected<GivenVariable>>,
    /// What the build has to make of the project's files.
    pub build: BuildFindings,
    /// Front ends that want to be built.
    pub front_ends: Vec<Detected<Companion>>,
    /// What says that projects are made of this folder by a generator.
    pub template: Option<Template>,
    /// Folders below that are projects, where this one is none.
    pub projects: Vec<String>,
    /// The variable by which the project's build takes a version that it would have from git, of
    /// which no build has the history.
    pub version_from_git: Option<Detected<String>>,
    /// The package is installed from its folder, `src/` included.
    pub is_package: bool,
    /// The folders of the members of the uv workspace at the top, each with a `/` at its end.
    #[serde(skip)]
    pub(crate) member_folders: Vec<String>,
    /// The app's Python files.
    #[serde(skip)]
    pub(crate) sources: Vec<String>,
    /// What a person should know or look at, since no rule can decide it.
    pub notes: Vec<Detected<String>>,
    /// The variables that some of these notes give a value, and where each of those stands.
    #[serde(skip)]
    pub(crate) switches: Vec<(String, Place)>,
}

/// Looks at a folder. What cannot be read is taken for not there.
pub fn look(folder: &Path) -> Findings {
    look_at(folder, None)
}

/// The same for the app that somebody names: by its import string, or by its file as
/// `apps/api/main.py:app`.
pub fn look_at(folder: &Path, import: Option<&str>) -> Findings {
    look_for(folder, None, import)
}

/// The same for a member of the uv workspace in `folder`, by the name of its package. An
/// app is named as from the member's own folder.
pub fn look_at_member(folder: &Path, package: &str, import: Option<&str>) -> Findings {
    look_for(folder, Some(package), import)
}

fn look_for(folder: &Path, package: Option<&str>, import: Option<&str>) -> Findings {
    let mut whole = Tree::read(folder);
    let copied = example::copied(folder, &whole);
    if let Some(copied) = &copied {
        whole.add_copy(&copied.file, &copied.text);
    }
    let mut findings = look_into(folder, whole, package, import);
    findings.build.steps.splice(0..0, copied.map(copy));
    findings
}

/// The step of the build that puts an example in its place.
fn copy(copied: CopiedSettings) -> Detected<CommandWords> {
    let words = ["cp".to_owned(), copied.example, copied.file];
    Detected::sure(words.to_vec(), copied.place)
}

fn look_into(folder: &Path, whole: Tree, package: Option<&str>, import: Option<&str>) -> Findings {
    let modules = Modules::of(&whole);
    let dependencies = Dependencies::read(&whole, &modules);
    let found = entry::find(&whole, &modules, &dependencies);
    let all: Vec<_> = found
        .app
        .chosen
        .iter()
        .chain(&found.app.others)
        .cloned()
        .collect();
    let entry = entry_of(&whole, &modules, found, folder, package, import);
    let of_app = entry.app.chosen.as_ref();
    let member = of_app.map_or("", |app| whole.member(&app.place.file));
    let others = match member {
        "" => Vec::new(),
        member => member::of_others(&whole, member, &all),
    };
    if others.is_empty() {
        return of_tree(folder, &whole, &modules, dependencies, entry);
    }
    let own = whole.without(&others);
    let modules = Modules::of(&own);
    let dependencies = Dependencies::read(&own, &modules);
    of_tree(folder, &own, &modules, dependencies, entry)
}

/// The app that is meant of those that were found, and how it is started.
fn entry_of(
    tree: &Tree,
    modules: &Modules<'_>,
    mut found: entry::Entry,
    folder: &Path,
    package: Option<&str>,
    import: Option<&str>,
) -> entry::Entry {
    let member = package.and_then(|package| member::folder_of_package(tree, package));
    match (member, import) {
        (Some(member), import) => {
            let mut own = member::entry(folder, &member, import);
            let port = own.port.take();
            let app = member::from_the_top(tree, modules, found.app, own);
            entry::Entry { app, port }
        }
        (None, Some(import)) => {
            found.app = entry::wanted(tree, modules, found.app, import);
            found
        }
        (None, None) => found,
    }
}

/// What the files say of an app.
fn of_tree(
    folder: &Path,
    tree: &Tree,
    modules: &Modules<'_>,
    dependencies: Dependencies,
    entry: entry::Entry,
) -> Findings {
    let member = entry
        .app
        .chosen
        .as_ref()
        .map_or("", |app| tree.member(&app.place.file));
    let with_apps = entry::with_apps(tree, modules);
    let at_work = at_work::modules(tree, modules, &with_apps);
    let folders = directories::find(tree, modules, &at_work);
    let (before_start, not_before_start) =
        migrations::find(tree, modules, &dependencies, entry.app.value(), member);
    let settings_module = settings_module(tree, modules)
        .or_else(|| django::unnamed_settings(tree, modules, entry.app.chosen.as_ref()));
    let of_others = django::settings_of_others(modules, entry.app.chosen.as_ref(), settings_module.as_ref());
    let mut variables = settings::variables(tree, modules, &of_others, &with_apps);
    hosts::mark(modules, &mut variables);
    let mut database = database::settings(modules, &dependencies, &variables);
    let encryption = encryption::asked(modules, &variables);
    database::say_unencrypted(&mut database, &encryption.said_by_url);
    database.extend(encryption.given);
    let settings_of_django =
        debugging::settings_of(modules, entry.app.chosen.as_ref(), settings_module.as_ref());
    let is_django = matches!(
        entry.app.value().map(|app| app.framework),
        Some(Framework::DjangoAsgi | Framework::DjangoWsgi)
    );
    let hosts = match is_django {
        true => hosts::find(modules, &variables, settings_of_django),
        false => Hosts::default(),
    };
    for variable in variables.iter_mut().map(|one| &mut one.value) {
        if hosts.wanted.contains(&variable.name) {
            variable.is_of_hosts = true;
            variable.is_refused |= !variable.required;
            variable.required = true;
        }
    }
    let may_be_off = hosts.closed.is_none() && debugging::may_be_off(modules, settings_of_django);
    let on = debugging::switched_on(modules, &variables, settings_of_django);
    let is_debugged = !on.is_empty() || debugging::is_fixed(modules, settings_of_django);
    let closed = hosts.note(is_debugged);
    let (turned_off, left_on): (Vec<_>, Vec<_>) = on.into_iter().partition(|_| may_be_off);
    let left_on = left_on.into_iter();
    let left_on = left_on.map(|one| (one.name.clone(), Detected::sure(one.note(), one.place)));
    let debugging: Vec<_> = left_on.chain(settings::kept_for_production(modules)).collect();
    let notes = notes::find(tree, modules, entry.app.chosen.as_ref(), &database);
    let has_data = !database.is_empty() || notes.has_sqlite;
    let unled = unled::unled(tree, &dependencies, &database);
    let absent_settings = django::absent_settings(tree, modules, entry.app.chosen.as_ref());
    // Where it is fixed in the code, that is told.
    let is_told = unled.is_some() || absent_settings.is_some() || notes.names_a_database;
    let extensions = extensions::find(tree);
    let is_package = is_package(tree, member);
    let mut findings = Findings {
        geodjango: extensions::geodjango(tree, &extensions).map(|one| one.place.clone()),
        unread_database: unled::unread(modules, &dependencies, &database).filter(|_| !is_told),
        absent_settings,
        missing_driver: drivers::missing(&dependencies, modules).filter(|_| has_data),
        of_mysql: drivers::of_mysql(tree, &dependencies),
        folder: folder.to_owned(),
        description: description(tree),
        server: server::find(&dependencies, entry.app.value()),
        settings_module,
        driver: drivers::of_a_part(&dependencies),
        framework: entry
            .app
            .value()
            .and_then(|app| dependencies.of_a_part(&[app.framework.package()?], &drivers::DRIVERS)),
        health: health::choose(modules, &routes::find(modules)),
        before_start,
        not_before_start,
        imported_from: (entry.app.chosen.as_ref())
            .and_then(|app| within::imported_from(modules, &dependencies, app)),
        server_settings: django::server_settings(tree, modules, entry.app.chosen.as_ref()),
        extensions,
        postgres: postgres::find(tree),
        processes: beside::processes(tree, modules, entry.app.chosen.as_ref()),
        services: beside::services(&dependencies),
        admin: django::admin(modules),
        called: called::programs(modules, &at_work),
        of_its_image: its_image::packages(tree, &with_apps),
        directories: folders.kept,
        moved_folders: folders.moved,
        hosts: hosts.given,
        turned_off: turned_off.into_iter().map(turned_off_as).collect(),
        build: BuildFindings::of(tree, modules, &dependencies, folders.of_build),
        front_ends: beside::front_ends(tree),
        template: tree.template(),
        projects: projects(tree, &entry.app),
        member_folders: member::folders(tree),
        version_from_git: version_from_git(tree, member).filter(|_| is_package),
        is_package,
        package: package(tree, member),
        sources: modules
            .all
            .iter()
            .map(|module| module.path.to_owned())
            .filter(|path| is_of_the_app(path))
            .collect(),
        notes: notes
            .all
            .into_iter()
            .chain(own_start::further_commands(tree))
            .chain(encryption.note)
            .chain(folders.closed)
            .chain(closed)
            .chain(debugging.iter().map(|(_, note)| note.clone()))
            .collect(),
        switches: debugging
            .into_iter()
            .map(|(name, note)| (name, note.place))
            .collect(),
        redis: Vec::new(),
        redis_of_code: None,
        migrations: django::migrations(tree),
        unled,
        app: entry.app,
        port: entry.port,
        dependencies,
        variables,
        database,
    };
    findings
        .variables
        .retain(|one| settings::is_variable(&one.value.name));
    findings.redis = redis::settings(&findings.services, &findings.variables);
    findings.redis_of_code = match findings.redis.is_empty() {
        true => redis::of_code(&findings.services, modules, settings_of_django),
        false => None,
    };
    findings
}

impl Findings {
    /// The same for somebody who has set these variables: nobody is asked for them, and no
    /// note gives them a value.
    pub fn with_set(&self, set: &BTreeSet<String>) -> Self {
        let mut rest = self.clone();
        let is_followed = |note: &Detected<String>| {
            let mut switches = self.switches.iter();
            switches.any(|(name, place)| {
                set.contains(name) && *place == note.place && note.value.starts_with(&format!("{name} "))
            })
        };
        rest.notes.retain(|note| !is_followed(note));
        for given in [&mut rest.hosts, &mut rest.turned_off] {
            given.retain(|one| !set.contains(&one.value.name));
        }
        let known = rest.variables.iter_mut().map(|one| &mut one.value);
        for variable in known.filter(|one| set.contains(&one.name)) {
            variable.required = false;
        }
        rest
    }

    /// Variables of which it is known what they are in the image, whatever else is read.
    pub(crate) fn given(&self) -> impl Iterator<Item = &Detected<GivenVariable>> {
        let of_services = self.database.iter().chain(&self.redis);
        let of_folders = of_services.chain(&self.moved_folders);
        of_folders.chain(&self.hosts).chain(&self.turned_off)
    }

    /// Whether the folder is a project at all.
    pub fn is_project(&self) -> bool {
        let declared = !self.dependencies.packages.is_empty() || !self.dependencies.locks.is_empty();
        declared || self.app.chosen.is_some() || !self.app.others.is_empty()
    }

    /// The folders of the workspace's members, where each app that could be meant is
    /// the only one of its own.
    pub fn members(&self) -> Option<Vec<String>> {
        let apps = &self.app.others;
        let mut folders = Vec::new();
        for app in apps {
            let folder = self
                .member_folders
                .iter()
                .rfind(|folder| app.place.file.starts_with(*folder))?;
            folders.push(folder.trim_end_matches('/').to_owned());
        }
        folders.sort();
        folders.dedup();
        (folders.len() == apps.len()).then_some(folders)
    }

    /// The extras and groups of the project that are installed.
    pub(crate) fn parts(&self) -> Vec<&AskedBy> {
        let server = self.server.value().map(|server| &server.by);
        let asked = [&self.framework, &self.driver];
        let asked = asked.map(|one| one.as_ref().map(|one| &one.value.by));
        let mut parts: Vec<&AskedBy> = Vec::new();
        for part in [server].into_iter().chain(asked).flatten() {
            if *part != AskedBy::Project && !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }

    /// The packages that it asks for and that are installed.
    pub(crate) fn installed(&self) -> impl Iterator<Item = &Detected<AskedPackage>> {
        let parts = self.parts();
        let packages = self.dependencies.packages.iter();
        packages.filter(move |one| one.value.by == AskedBy::Project || parts.contains(&&one.value.by))
    }

    /// What is installed, and what the lock installs with it.
    pub(crate) fn in_image(&self) -> Vec<(&str, &Place)> {
        let asked = self.installed();
        let asked: Vec<(&str, &Place)> = asked.map(|one| (one.value.name.as_str(), &one.place)).collect();
        let names = asked.iter().map(|(name, _)| *name).collect();
        let brought = self.dependencies.locked_with(names);
        asked.into_iter().chain(brought).collect()
    }

    /// Whether the image has a Redis.
    pub(crate) fn has_redis(&self) -> bool {
        !self.redis.is_empty() || self.redis_of_code.is_some()
    }

    /// Services that it speaks to, and the image does not have.
    pub(crate) fn missing_services(&self) -> impl Iterator<Item = &Detected<Companion>> {
        let has_redis = self.has_redis();
        let services = self.services.iter();
        services.filter(move |one| !(has_redis && one.value.what == beside::REDIS))
    }

    /// Whether a folder is a package itself: an installed project has the one around it on the
    /// path.
    pub(crate) fn has_package(&self, folder: &str) -> bool {
        self.sources.contains(&format!("{folder}/__init__.py"))
    }

    /// Whether a folder has a module of the server's name, which is settings of it more often than
    /// not: on Python's path it would hide the server.
    pub(crate) fn hides_server(&self, folder: &str) -> bool {
        let server = self.server.value().map(|server| server.name.as_str());
        server == Some("gunicorn") && self.sources.contains(&format!("{folder}/gunicorn.py"))
    }

    /// The folder, other than the project's own, that has a module or package of this
    /// name in it.
    pub(crate) fn folder_of_module(&self, name: &str) -> Option<&str> {
        let holds = |path: &'_ str| {
            let mut parts = path.match_indices(name).map(|(n, _)| n);
            parts.find(|n| {
                let after = &path[n + name.len()..];
                path[..*n].ends_with('/') && (after == ".py" || after.starts_with('/'))
            })
        };
        let is_there = |path: &String| path.starts_with(&format!("{name}/")) || *path == format!("{name}.py");
        if self.sources.iter().any(is_there) {
            return None;
        }
        let folders = self
            .sources
            .iter()
            .filter_map(|path| Some(&path[..holds(path)? - 1]));
        folders.min_by_key(|folder| folder.len())
    }

    /// Variables that the app cannot do without, and for which nothing is known; and
    /// secrets that stand in the code, or that it makes anew at each start.
    pub fn to_be_given(&self) -> Vec<&Detected<ReadVariable>> {
        let known: Vec<&str> = self.given().map(|one| one.value.name.as_str()).collect();
        let is_known = |name: &str| known.contains(&name);
        let wanted = self
            .variables
            .iter()
            .filter(|one| wanted::is_wanted(&one.value, &self.variables))
            .filter(|one| !is_known(&one.value.name));
        wanted.collect()
    }
}

/// A switch of debugging in an image, which is for others.
fn turned_off_as(one: SwitchedOn) -> Detected<GivenVariable> {
    let given = GivenVariable {
        name: one.name,
        value: one.off,
        why: "the code has it on where nobody sets it, and would show its settings to others".to_owned(),
    };
    Detected::sure(given, one.place)
}
