//! The types behind `images/image.schema.json`; the doc comments are what
//! editors show.

use std::collections::BTreeMap;
use std::sync::LazyLock;

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::build::BuildSteps;
use super::program::OwnProgram;

/// What one image is. `images/defaults.json` has what all images share; a key
/// here wins over the same key there.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSpec {
    /// The schema for editors: `../image.schema.json`.
    #[serde(rename = "$schema", default)]
    #[expect(dead_code, reason = "read by editors only")]
    pub(super) schema_link: Option<String>,
    /// What the image is, in one line: the label `org.opencontainers.image.title`.
    pub(crate) title: String,
    /// The app: where its sources are, how it is run and asked for its health;
    /// `null` for an image of a database alone.
    pub(crate) app: Option<RawApp>,
    /// The base set of `images/base-sets.json` that the image is built on. Default:
    /// the one that is default there, or one whose Python fits the app's
    /// `requires-python`. `--base` wins over it.
    #[serde(default)]
    pub(crate) base: Option<String>,
    /// The app's Python, such as `3.12` or `3.12.4` (3.11 to 3.14): uv fetches it where
    /// the base set has another one. Default: the base set's, or one that fits the
    /// app's `requires-python`.
    #[serde(default)]
    pub(crate) python: Option<String>,
    /// The database that the app finds when it starts.
    pub(crate) database: RawDatabase,
    /// Programs of the image's own beside PostgreSQL and the app: a worker, a
    /// scheduler, a Redis from `packages`.
    #[serde(default)]
    pub(crate) programs: Vec<OwnProgram>,
    /// What is made of the app's files while the image is built.
    #[serde(default)]
    pub(crate) build: BuildSteps,
    /// Extra labels of the image.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// Extra packages of the distribution in the final image.
    #[serde(default)]
    pub(crate) packages: Vec<String>,
    /// Extra packages of the distribution while Python dependencies are built,
    /// such as `gcc` and `libpq-dev`.
    #[serde(default)]
    pub(crate) build_packages: Vec<String>,
    /// The version in `hive-<image>:<version>`. Default: `project.version` of
    /// the app's pyproject.toml.
    #[serde(default)]
    pub(crate) version: Option<String>,
    /// Release tags; `{version}` stands for the version. Default:
    /// `hive-<image>:latest` and `hive-<image>:{version}`.
    #[serde(default)]
    pub(crate) tags: Option<Vec<String>>,
    /// Outer limits of what smoke measures.
    pub(crate) budgets: Budgets,
    /// Smoke checks of this image's own.
    #[serde(default)]
    pub(crate) checks: Vec<Check>,
    /// What only the smoke suite knows. In `images/<name>/image.json`: the
    /// app's own file is part of the image.
    #[serde(default)]
    pub(crate) smoke: SmokeOnly,
}

/// What only the smoke suite knows.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct SmokeOnly {
    /// Variables that its containers get as by `docker run -e`, such as a key
    /// for tests. They are in no image.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
}

/// The app: where its sources are, how it is run and asked for its health.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct RawApp {
    /// What the app is called: a volume remembers whose data it has, and lets no
    /// other app near it. Default: `project.name` of pyproject.toml, else the
    /// folder's name.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The application's folder, relative to the file that names it. It holds
    /// pyproject.toml and a lock, or another list of what is installed. `--app DIR` overrides.
    pub source: String,
    /// The member of a uv workspace that is the app, by its package's name;
    /// `source` is the workspace then. Default: the project at its top.
    #[serde(default)]
    pub package: Option<String>,
    /// Extras of the project that are installed, such as `["server"]`.
    #[serde(default)]
    pub extras: Vec<String>,
    /// Dependency groups that are installed. `dev` is not, unless it stands
    /// here.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Packages of the index that are installed beside those of the app's own list, such as
    /// `["gunicorn"]` or `["gunicorn>=23,<24"]`. A lock's versions, and those of a list with
    /// hashes, stay as they are; with a list that leaves versions open they are decided on
    /// together.
    #[serde(default)]
    pub with: Vec<String>,
    /// Variables of the steps that build and install packages, such as
    /// `SETUPTOOLS_SCM_PRETEND_VERSION`. They are not in the image. No secrets:
    /// its Dockerfile shows them.
    #[serde(default)]
    pub build_environment: BTreeMap<String, String>,
    /// ASGI import string, such as `api.serve:app`.
    pub(crate) import: String,
    /// Whether `import` names a function that makes the app.
    #[serde(default)]
    pub(crate) factory: bool,
    /// Runs instead of uvicorn, from the app's folder. `{port}` and the
    /// placeholders of `environment` are replaced.
    #[serde(default)]
    pub(crate) command: Option<Vec<String>>,
    /// How many processes uvicorn serves the app with.
    #[serde(default = "one")]
    #[cfg_attr(test, schemars(range(min = 1, max = 64)))]
    pub(crate) workers: u32,
    /// TCP port, in the container and by default outside. Above 1023, since
    /// nothing in the container runs as root.
    #[cfg_attr(test, schemars(range(min = 1024, max = 65535)))]
    pub(crate) port: u16,
    /// Path that is asked for health and answers 200. `null` where the app has
    /// none: then any answer of the app on `/` will do, except an error (5xx).
    #[serde(default)]
    pub(crate) health_path: Option<String>,
    /// What an answer of `health_path` means. The container's own health check
    /// asks the database in any case.
    #[serde(default)]
    pub(crate) health: Option<HealthMeaning>,
    /// Runs once per boot after the database answers and before the app
    /// starts, such as `["alembic", "upgrade", "head"]`.
    #[serde(default)]
    pub before_start: Option<Vec<String>>,
    /// Environment of the app, over what the image sets by itself and under
    /// what `docker run -e` gives. Values may hold `{database_url}`,
    /// `{database_url:asyncpg}` (the URL for a driver of SQLAlchemy; with
    /// `://` at its end a whole scheme), `{database_host}`, `{database_port}`,
    /// `{database_name}`, `{database_user}`, `{database_password}`,
    /// `{database_password_urlencoded}` and `{port}`; `{{` and `}}` stand for
    /// braces. `{secret:NAME}` is made at the first start and kept on the
    /// volume, or comes from the file that `NAME_FILE` names. No secrets as
    /// they are: this is part of the image.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// The app is restarted when it has given no answer so many times in a row,
    /// about 13 s apart; 0 for never. An answer of any kind counts as one, and
    /// while the database is away nothing counts.
    #[serde(default = "six")]
    #[cfg_attr(test, schemars(range(min = 0, max = 1000)))]
    pub(crate) restart_after: u32,
    /// Folders of data that outlive the container, such as `["media"]`: they lie
    /// on the volume, and backups have them. From the app's folder, or absolute
    /// below `/var/lib`. What the image has in them is copied when they are made.
    #[serde(default)]
    pub(crate) directories: Vec<String>,
}

/// What a health endpoint that answers 200 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum HealthMeaning {
    /// The service works, database included: the gate holds the endpoint to it.
    Readiness,
    /// The app runs, whether or not the database answers.
    Liveness,
}

fn one() -> u32 {
    1
}

fn six() -> u32 {
    6
}

/// The database that the app finds when it starts.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDatabase {
    /// Name of the database, which the app's role owns.
    pub(crate) name: String,
    /// The app's role: owner of the database, no superuser.
    pub(crate) role: String,
    /// For an image of an app alone, whose database is another container's or
    /// server's: the image of a database alone, of the same `images/`, that it is
    /// proved with. Its name is where the container looks for the database, unless
    /// whoever runs it says otherwise.
    #[serde(default)]
    pub(crate) elsewhere: Option<String>,
    /// TCP port outside, for an image of a database alone. Inside it is always
    /// 5432, which is the default here, too.
    #[serde(default)]
    #[cfg_attr(test, schemars(range(min = 1024, max = 65535)))]
    pub(crate) port: Option<u16>,
    /// Extensions that exist before the app starts. An app alone makes none, and
    /// does not start where its database lacks one of them.
    #[serde(default)]
    pub(crate) extensions: Vec<String>,
    /// Statements that run once, as the app's role, in one transaction.
    #[serde(default)]
    pub(crate) initial_sql: Vec<String>,
    /// Settings of PostgreSQL, over the image's own and under `ALTER SYSTEM`,
    /// such as `"shared_preload_libraries": "pg_stat_statements"` or
    /// `"hnsw.ef_search": "100"`.
    #[serde(default)]
    pub(crate) settings: BTreeMap<String, String>,
}

/// Outer limits of what smoke measures; a figure above fails the image.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// `docker run` on an empty volume until healthy, in seconds.
    #[cfg_attr(test, schemars(range(min = 0.001, max = 3600)))]
    pub ready_seconds: f64,
    /// Start on an existing volume until healthy, in seconds.
    #[cfg_attr(test, schemars(range(min = 0.001, max = 3600)))]
    pub restart_seconds: f64,
    /// `docker stop` until the container has ended, in seconds.
    #[cfg_attr(test, schemars(range(min = 0.001, max = 60)))]
    pub stop_seconds: f64,
    /// Health endpoint, median of several requests, in milliseconds.
    #[cfg_attr(test, schemars(range(min = 0.001, max = 1000)))]
    pub health_ms: f64,
    /// Vector query, median of several, in milliseconds.
    #[cfg_attr(test, schemars(range(min = 0.001, max = 100)))]
    pub query_ms: f64,
    /// Memory of the whole container when idle, in MB (10^6 bytes).
    #[cfg_attr(test, schemars(range(min = 1, max = 1_000_000)))]
    pub memory_mb: f64,
    /// Size of the image, in MB (10^6 bytes).
    #[cfg_attr(test, schemars(range(min = 1, max = 100_000)))]
    pub size_mb: f64,
}

/// A smoke check of an image's own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Unique within the image; shown in reports.
    pub name: String,
    /// What is asked and what has to come back.
    #[serde(flatten)]
    pub probe: CheckProbe,
}

/// Exactly one of the two.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CheckProbe {
    /// A request to the app.
    Http(HttpProbe),
    /// A query as the app's role, over TCP.
    Sql(SqlProbe),
}

/// A request to the app and what has to come back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    #[serde(default)]
    pub method: Method,
    /// Path and query, such as `/items?limit=1`.
    pub path: String,
    /// JSON that is sent as the body; without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<serde_json::Value>,
    /// The status that the answer has to have.
    #[serde(default = "two_hundred")]
    #[cfg_attr(test, schemars(range(min = 100, max = 599)))]
    pub status: u16,
    /// Text that the body has to contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Values of the JSON answer to keep, each by a name and a JSON pointer
    /// such as `/id`. `{name}` in the checks that follow stands for the value;
    /// a JSON text that is nothing but `{name}` becomes the value itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub save: BTreeMap<String, String>,
}

fn two_hundred() -> u16 {
    200
}

/// The method of an HTTP request (RFC 9110).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    /// Reads something and changes nothing.
    Get,
    /// Creates something, or asks for work to be done.
    Post,
    /// Puts something in the place of what is there.
    Put,
    /// Changes a part of something.
    Patch,
    /// Removes what is at the path.
    Delete,
}

impl Method {
    /// As it stands in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A query and what has to come back.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SqlProbe {
    /// One statement; `{name}` in it is what an earlier check has kept.
    pub query: String,
    /// The whole output, as `psql -At` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Name under which the output is kept: `{name}` in the checks that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save: Option<String>,
}

/// The schema of a whole spec, all its files together; [`super::shape`] uses it.
/// It is made of the types above by the test that compares the two, so that no
/// user compiles and runs what makes it.
pub(crate) fn schema() -> &'static serde_json::Value {
    static SCHEMA: LazyLock<serde_json::Value> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "a test holds the file against the types")]
        serde_json::from_str(include_str!("schema.json")).expect("schema.json is JSON")
    });
    &SCHEMA
}

/// The schema of one file, for editors: no key is required that another file
/// may bring.
pub fn file_schema() -> serde_json::Value {
    let mut schema = schema().clone();
    for part in ["", "/$defs/RawApp", "/$defs/RawDatabase", "/$defs/Budgets"] {
        if let Some(map) = schema
            .pointer_mut(part)
            .and_then(serde_json::Value::as_object_mut)
        {
            map.remove("required");
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::shape;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test has no `Environment`")]
    fn the_schema_is_that_of_the_types() {
        let mut made = schemars::schema_for!(RawSpec).to_value();
        made["title"] = "image spec".into();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/spec/schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            let text = serde_json::to_string_pretty(&made).unwrap();
            fs_err::write(file, text + "\n").unwrap();
        }
        let kept: serde_json::Value = serde_json::from_str(&fs_err::read_to_string(file).unwrap()).unwrap();
        assert_eq!(
            kept, made,
            "run `UPDATE_SCHEMA=1 cargo test -p xtask the_schema_is` and `cargo xtask render`"
        );
    }

    #[test]
    fn every_shipped_file_is_fine_for_an_editor() {
        for (name, text) in [
            ("defaults", include_str!("../../../../images/defaults.json")),
            ("genie", include_str!("../../../../images/genie/image.json")),
            ("agent", include_str!("../../../../images/agent/image.json")),
            ("app", include_str!("../../../../images/sample-app/hive-app.json")),
        ] {
            let value = serde_json::from_str(text).unwrap();
            assert_eq!(shape::problems(&file_schema(), &value), [], "{name}");
        }
    }

    #[test]
    fn a_mistake_is_one_for_an_editor_too() {
        let value = serde_json::json!({"app": {"prot": 1}});
        assert_eq!(shape::problems(&file_schema(), &value).len(), 1);
    }
}
