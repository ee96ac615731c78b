//! What kind of image a spec means: which of the two parts, the database and the
//! app, its containers run.

use super::build::BuildSteps;
use super::raw::{CheckProbe, RawSpec};

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

/// What of a spec does not go with its kind, each with its key; and a kind that
/// cannot be built.
pub(super) fn problems(raw: &RawSpec) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut tell = |path: &str, message: &str| found.push((path.to_owned(), message.to_owned()));
    match (&raw.app, raw.database.elsewhere) {
        (None, true) => tell(
            "app",
            "is null, and `database.elsewhere` is true: nothing is left to run",
        ),
        (Some(_), true) => tell(
            "database.elsewhere",
            "is true, and an image of an app alone cannot be built yet: leave it out",
        ),
        (Some(_), false) => {}
        (None, false) => {
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
        match load(Some(&defaults), &[files]) {
            Ok(images) => Ok(images[0].kind()),
            Err(found) => Err(found.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn the_kind_follows_from_the_spec_and_has_to_be_one_that_can_be_built() {
        let (app, no_app, nothing) = (json!({"port": 2000}), Value::Null, json!({}));
        assert_eq!(kind(&app, &nothing, &nothing), Ok(ImageKind::AllInOne));
        let port = json!({"port": 5532});
        assert_eq!(kind(&no_app, &port, &nothing), Ok(ImageKind::Database));
        let elsewhere = json!({"elsewhere": true});
        for (app, database, said) in [
            (
                &app,
                &elsewhere,
                "`database.elsewhere` is true, and an image of an app alone",
            ),
            (
                &no_app,
                &elsewhere,
                "`app` is null, and `database.elsewhere` is true",
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
