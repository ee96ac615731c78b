//! What kind of image a spec means: which of the two parts, the database and the
//! app, its containers run.

use super::ImageSpec;
use super::build::BuildSteps;
use super::raw::{CheckProbe, RawApp, RawSpec};

/// Which parts a container of an image runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImageKind {
    /// PostgreSQL and the app.
    AllInOne,
    /// The app; its database is another container's or server's.
    App,
    /// PostgreSQL, for apps in other containers.
    Database,
}

impl ImageKind {
    /// All kinds.
    pub const EVERY: &'static [Self] = &[Self::AllInOne, Self::App, Self::Database];
    /// Those whose containers run an app.
    pub const WITH_APP: &'static [Self] = &[Self::AllInOne, Self::App];
    /// Those whose containers run PostgreSQL, and so keep data.
    pub const WITH_DATABASE: &'static [Self] = &[Self::AllInOne, Self::Database];

    /// The programs that every container of the kind has, besides those of an
    /// image's own.
    pub(super) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::AllInOne => &["postgresql", "app"],
            Self::App => &["app"],
            Self::Database => &["postgresql"],
        }
    }
}

/// What of a spec does not go with its kind, each with its key.
pub(super) fn problems(raw: &RawSpec) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut tell = |path: &str, message: &str| found.push((path.to_owned(), message.to_owned()));
    match (&raw.app, &raw.database.elsewhere) {
        (None, Some(image)) => tell(
            "app",
            &format!("is null, and `database.elsewhere` is {image:?}: nothing is left to run"),
        ),
        (Some(app), Some(image)) => {
            for (path, message) in of_a_database(raw, app, image) {
                tell(&path, &message);
            }
        }
        (Some(_), None) => {}
        (None, None) => {
            let without_app = "`app` is null, which leaves it no folder: leave it out, or name an app";
            let of_the_app = [
                ("programs", raw.programs.is_empty()),
                ("build", raw.build == BuildSteps::default()),
                ("build_packages", raw.build_packages.is_empty()),
                ("python", raw.python.is_none()),
            ];
            for (path, is_left_out) in of_the_app {
                if !is_left_out {
                    tell(path, &format!("is for an app: {without_app}"));
                }
            }
            for (n, check) in raw.checks.iter().enumerate() {
                if matches!(check.probe, CheckProbe::Http(_)) {
                    tell(
                        &format!("checks[{n}].http"),
                        "asks an app, and `app` is null: ask the database, by `sql`",
                    );
                }
            }
        }
    }
    if raw.app.is_some() && raw.database.port.is_some() {
        tell(
            "database.port",
            "is for an image of a database alone: `app.port` is what this one publishes",
        );
    }
    found
}

/// What of a spec is for an image that has the database, and keeps data.
fn of_a_database(raw: &RawSpec, app: &RawApp, image: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let of_the_server = [
        ("database.settings", raw.database.settings.is_empty()),
        ("database.initial_sql", raw.database.initial_sql.is_empty()),
    ];
    for (path, is_left_out) in of_the_server {
        if !is_left_out {
            let message = format!(
                "is the database's, which is another image's: write it into images/{image}/image.json"
            );
            found.push((path.to_owned(), message));
        }
    }
    if !app.directories.is_empty() {
        let message = "lie on the volume of the database, and this image has none: keep files in the database \
                       or in a storage of their own, or leave out `database.elsewhere`";
        found.push(("app.directories".to_owned(), message.to_owned()));
    }
    for (n, package) in raw.packages.iter().enumerate() {
        if is_of_a_server(package) {
            let message = format!(
                "is {package:?}, which is for a server, and this image has none: write it into images/{image}/image.json"
            );
            found.push((format!("packages[{n}]"), message));
        }
    }
    found
}

/// Whether a package of the distribution is a server of PostgreSQL or an extension
/// of one: `postgresql`, `postgresql-17`, `postgresql-17-cron`.
fn is_of_a_server(package: &str) -> bool {
    let rest = package.strip_prefix("postgresql");
    rest.is_some_and(|rest| {
        let major = rest.strip_prefix('-').map(|rest| rest.split('-').next());
        rest.is_empty()
            || rest.starts_with("-contrib")
            || major.flatten().is_some_and(|major| major.parse::<u32>().is_ok())
    })
}

/// What only all images together show: whether the image that an app alone is
/// proved with is one of a database alone, with the role and database that it logs
/// in to. The key, and a sentence.
pub(super) fn companion_problem(image: &ImageSpec, all: &[ImageSpec]) -> Option<(&'static str, String)> {
    let name = image.database.elsewhere.as_ref()?;
    let Some(other) = all.iter().find(|other| other.name == *name) else {
        let alone = all.iter().filter(|image| image.kind() == ImageKind::Database);
        let known: Vec<&str> = alone.map(|image| image.name.as_str()).collect();
        let known = match known.as_slice() {
            [] => "there is none of a database alone".to_owned(),
            known => format!("of a database alone are {}", known.join(", ")),
        };
        return Some((
            "database.elsewhere",
            format!("is \"{name}\", which is no image: {known}"),
        ));
    };
    if other.kind() != ImageKind::Database {
        return Some((
            "database.elsewhere",
            format!(
                "is \"{name}\", and {} has an app: name an image of a database alone (`\"app\": null`)",
                other.file
            ),
        ));
    }
    let same = [
        ("database.name", &image.database.name, &other.database.name),
        ("database.role", &image.database.role, &other.database.role),
    ];
    let (path, ours, theirs) = same.into_iter().find(|(_, ours, theirs)| ours != theirs)?;
    Some((
        path,
        format!(
            "is {ours:?}, and {} makes {theirs:?}: say the same in both",
            other.file
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::load::{ImageFiles, SourceFile, load};
    use serde_json::{Value, json};

    /// The kind that a spec with these parts means, or the problems with them.
    fn kind(app: &Value, database: &Value, more: &Value) -> Result<ImageKind, Vec<String>> {
        let file = |shown: &str, text: &str| SourceFile {
            shown: shown.into(),
            folder: "images/a".into(),
            text: text.into(),
        };
        let mut own = json!({"title": "t", "app": app, "database": {"name": "d", "role": "r"}});
        for (part, more) in [("/database", database), ("", more)] {
            let part = own.pointer_mut(part).unwrap().as_object_mut().unwrap();
            part.extend(more.as_object().unwrap().clone());
        }
        let files = ImageFiles {
            name: "aa".into(),
            own: file("images/aa/image.json", &own.to_string()),
            app: None,
        };
        let defaults = file(
            "images/defaults.json",
            include_str!("../../../../images/defaults.json"),
        );
        match load(Some(&defaults), &[files, database_alone()]) {
            Ok(images) => Ok(images[0].kind()),
            Err(found) => Err(found.iter().map(ToString::to_string).collect()),
        }
    }

    /// An image that an app alone may be proved with.
    fn database_alone() -> ImageFiles {
        let text = json!({"title": "t", "app": null, "database": {"name": "d", "role": "r", "port": 5533}});
        ImageFiles {
            name: "pg".into(),
            own: SourceFile {
                shown: "images/pg/image.json".into(),
                folder: "images/pg".into(),
                text: text.to_string(),
            },
            app: None,
        }
    }

    #[test]
    fn the_kind_follows_from_the_spec_and_has_to_be_one_that_can_be_built() {
        let (app, no_app, nothing) = (json!({"port": 2000}), Value::Null, json!({}));
        assert_eq!(kind(&app, &nothing, &nothing), Ok(ImageKind::AllInOne));
        let port = json!({"port": 5532});
        assert_eq!(kind(&no_app, &port, &nothing), Ok(ImageKind::Database));
        let elsewhere = |image: &str| json!({"elsewhere": image});
        assert_eq!(kind(&app, &elsewhere("pg"), &nothing), Ok(ImageKind::App));
        let renamed = json!({"elsewhere": "pg", "role": "other"});
        for (app, database, said) in [
            (
                &app,
                &elsewhere("none"),
                "`database.elsewhere` is \"none\", which is no image: of a database alone are pg",
            ),
            (
                &app,
                &elsewhere("aa"),
                "`database.elsewhere` is \"aa\", and images/aa/image.json has an app: name an",
            ),
            (
                &app,
                &renamed,
                "`database.role` is \"other\", and images/pg/image.json makes \"r\": say the same in both",
            ),
            (
                &no_app,
                &elsewhere("pg"),
                "`app` is null, and `database.elsewhere` is \"pg\"",
            ),
            (&app, &port, "`database.port` is for an image of a database alone"),
        ] {
            let problems = kind(app, database, &nothing).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:#?}");
            let wanted = format!("images/aa/image.json: {said}");
            assert!(problems[0].starts_with(&wanted), "{problems:#?}");
        }
    }

    #[test]
    fn what_only_an_app_can_use_is_refused_at_once_where_there_is_none() {
        let more = json!({
            "programs": [{"name": "worker", "command": ["sleep"]}],
            "build": {"steps": [["true"]]},
            "build_packages": ["gcc"],
            "python": "3.12",
            "packages": ["postgresql-17-cron"],
            "checks": [
                {"name": "one", "sql": {"query": "SELECT 1", "expect": "1"}},
                {"name": "two", "http": {"path": "/"}},
            ],
        });
        let problems = kind(&Value::Null, &json!({}), &more).unwrap_err();
        let places: Vec<&str> = problems
            .iter()
            .map(|problem| problem.split('`').nth(1).unwrap())
            .collect();
        assert_eq!(
            places,
            ["programs", "build", "build_packages", "python", "checks[1].http"]
        );
    }

    #[test]
    fn what_only_a_database_can_use_is_refused_at_once_where_it_is_elsewhere() {
        let app = json!({"port": 2000, "directories": ["media"]});
        let database = json!({
            "elsewhere": "pg", "port": 5600, "settings": {"a.b": "1"}, "initial_sql": ["SELECT 1"],
            "extensions": ["vector"],
        });
        let more = json!({"packages": ["postgresql-17-cron", "postgresql-client-17", "tzdata"]});
        let problems = kind(&app, &database, &more).unwrap_err();
        let places: Vec<&str> = problems
            .iter()
            .map(|problem| problem.split('`').nth(1).unwrap())
            .collect();
        assert_eq!(
            places,
            [
                "database.settings",
                "database.initial_sql",
                "app.directories",
                "packages[0]",
                "database.port"
            ]
        );
        for is_one in ["postgresql", "postgresql-contrib", "postgresql-16-pgvector"] {
            assert!(is_of_a_server(is_one), "{is_one}");
        }
        for is_none in ["postgresql-common", "postgresql-client", "postgis"] {
            assert!(!is_of_a_server(is_none), "{is_none}");
        }
    }

    #[test]
    fn a_kind_runs_the_programs_of_its_parts() {
        for &kind in ImageKind::EVERY {
            let runs = |name| kind.programs().contains(&name);
            assert_eq!(runs("app"), ImageKind::WITH_APP.contains(&kind), "{kind:?}");
            assert_eq!(
                runs("postgresql"),
                ImageKind::WITH_DATABASE.contains(&kind),
                "{kind:?}"
            );
        }
    }
}
