//! Whether a project has what a spec chooses of it, and whether what comes with
//! that can be built and served here. Pure.

use std::path::Path;

use definition::spec::{App, InstallChoice};

use super::graph::{Asked, LockGraph};
use super::lock::normal;
use super::markers::Machine;

/// What serves an app that has no command of its own.
pub(super) const SERVER: &str = "uvicorn";

/// A lock and what is chosen of it.
pub(super) struct Chosen<'a> {
    /// The app's folder, where the lock lies.
    pub folder: &'a Path,
    /// The packages of the lock, and what each needs.
    pub graph: &'a LockGraph,
    /// The package that is the app; none where a workspace without a project at
    /// its top installs all members.
    pub name: Option<String>,
    /// Groups that are installed without being asked for.
    pub default_groups: Vec<String>,
}

impl<'a> Chosen<'a> {
    /// What the spec chooses, by the names that the lock has.
    ///
    /// # Errors
    /// When the lock does not have the package.
    pub(super) fn of(
        folder: &'a Path,
        graph: &'a LockGraph,
        install: &InstallChoice,
        default_groups: Vec<String>,
    ) -> Result<Self, String> {
        let name = match &install.package {
            None => graph.at(".").map(str::to_owned),
            Some(wanted) => {
                let wanted = normal(wanted);
                if !graph.locals().any(|(name, _)| name == wanted) {
                    let known: Vec<String> = graph.locals().map(|(name, _)| format!("`{name}`")).collect();
                    return Err(format!(
                        "{}: `app.package` is `{wanted}`, which is none of its local packages: {}",
                        folder.join("uv.lock").display(),
                        known.join(", ")
                    ));
                }
                Some(wanted)
            }
        };
        Ok(Self {
            folder,
            graph,
            name,
            default_groups,
        })
    }

    /// Where the app's package lies, from the lock.
    pub(super) fn place(&self) -> Option<&str> {
        let name = self.name.as_deref()?;
        self.graph
            .locals()
            .find_map(|(known, place)| (known == name).then_some(place))
    }

    /// All that is wrong with the choice.
    pub(super) fn problems(&self, app: &App) -> Vec<String> {
        // Of all members together each may have an extra or group, and uv knows.
        let Some(name) = &self.name else {
            return self.outside(self.graph.locals().map(|(name, _)| name));
        };
        let mut found = Vec::new();
        for (key, wanted, known) in [
            ("app.extras", &app.install.extras, self.graph.extras(name)),
            ("app.groups", &app.install.groups, self.graph.groups(name)),
        ] {
            for one in wanted.iter().filter(|one| !known.contains(&normal(one))) {
                let known = match known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("it has {}", known.join(", ")),
                };
                found.push(format!(
                    "{}: `{key}` names `{one}`, which {name} does not have: {known}",
                    self.folder.join("pyproject.toml").display()
                ));
            }
        }
        let reached = self.reached(app);
        found.extend(self.outside(reached.iter().copied()));
        if found.is_empty()
            && app.command.is_none()
            && !reached.contains(&SERVER)
            && !app.install.has_beside(SERVER)
        {
            found.push(self.without_server(name, app));
        }
        found
    }

    /// All packages that come with the app, and none where no package is the app.
    pub(super) fn reached(&self, app: &App) -> Vec<&'a str> {
        self.with(&app.install.extras, &self.groups(app), None)
    }

    /// Those that come with it on one machine.
    pub(super) fn reached_on(&self, app: &App, machine: Machine<'_>) -> Vec<&'a str> {
        self.with(&app.install.extras, &self.groups(app), Some(machine))
    }

    fn groups(&self, app: &App) -> Vec<String> {
        let own = app.install.groups.iter();
        own.chain(&self.default_groups).cloned().collect()
    }

    fn with(&self, extras: &[String], groups: &[String], machine: Option<Machine<'_>>) -> Vec<&'a str> {
        let name = self.name.as_deref().unwrap_or_default();
        let asked = Asked { name, extras, groups };
        self.graph.reached(asked, machine).into_iter().collect()
    }

    /// BuildKit gets the app's folder and nothing beside it.
    fn outside<'n>(&self, names: impl Iterator<Item = &'n str>) -> Vec<String> {
        let names: Vec<&str> = names.collect();
        let locals = self.graph.locals().filter(|(name, place)| {
            names.contains(name) && (place.starts_with("..") || place.starts_with('/'))
        });
        locals
            .map(|(name, place)| {
                format!(
                    "{} installs `{name}` from {place}, and what lies outside of the app's folder reaches no build: \
                     move it inside, or make one uv workspace of both and give its folder as the app's, with \
                     `app.package`",
                    self.folder.join("uv.lock").display()
                )
            })
            .collect()
    }

    /// Where the server is, if not in what is installed.
    fn without_server(&self, name: &str, app: &App) -> String {
        let install = &app.install;
        let extras = self.graph.extras(name);
        let groups = self.graph.groups(name);
        let more = |known: &[String], one: &String| -> Vec<String> {
            known.iter().chain([one]).map(|one| format!("{one:?}")).collect()
        };
        let has = |extras: &[String], groups: &[String]| self.with(extras, groups, None).contains(&SERVER);
        let way = if let Some(extra) = extras.iter().find(|extra| has(&[(*extra).clone()], &[])) {
            format!(
                "it is in the extra `{extra}`, which `\"extras\": [{}]` in the spec's `app` installs",
                more(&install.extras, extra).join(", ")
            )
        } else if let Some(group) = groups.iter().find(|group| has(&[], &[(*group).clone()])) {
            format!(
                "it is in the group `{group}`, which `\"groups\": [{}]` in the spec's `app` installs",
                more(&install.groups, group).join(", ")
            )
        } else if let Some(member) = self.member_with_server() {
            format!(
                "the package `{member}` has it: `\"package\": {member:?}` in the spec's `app` makes it the app"
            )
        } else {
            format!(
                "`\"with\": [\"{SERVER}\"]` in the spec's `app` installs it beside them; or run `uv add {SERVER}` in {} and \
                 commit both files, or give the spec an `app.command`",
                self.folder.display()
            )
        };
        format!(
            "{}: {SERVER} is not among the dependencies of {name}: {way}",
            self.folder.join("uv.lock").display()
        )
    }

    fn member_with_server(&self) -> Option<&str> {
        let mut members = self.graph.locals().map(|(name, _)| name);
        members.find(|name| {
            let asked = Asked {
                name,
                extras: &[],
                groups: &[],
            };
            self.graph.reached(asked, None).contains(SERVER)
        })
    }
}
