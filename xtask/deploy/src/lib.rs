//! What runs of an image, wherever it runs: one description, made of the image's
//! spec, and a writer for each kind of file. Pure.
//!
//! It is no part of `definition`: how a service runs is nothing that an image is
//! built or proved from, and a change here must not cost anybody a proof.

pub mod compose;
pub mod kubernetes;
pub mod names;
pub mod quadlet;
#[cfg(test)]
#[path = "../../definition/src/spec/sample.rs"]
mod sample;

use std::path::{Component, Path, PathBuf};

use definition::spec::names::ImageName;
use definition::spec::program::MAX_STOP_SECONDS;
use definition::spec::{ImageSpec, patience};

/// Seconds that a stop may take: what supervisord gives its programs one after
/// the other, those of the image's own included, and room. The engine's own
/// default of 10 would kill PostgreSQL.
pub const STOP_SECONDS: u32 = 75 + MAX_STOP_SECONDS;

/// Where the data lie in the container.
pub const DATA: &str = "/var/lib/postgresql/data";

/// Where a second volume is mounted for an archive of PostgreSQL's log.
pub const ARCHIVE: &str = "/var/lib/postgresql/archive";

/// The image's own health check.
const CHECK: &str = "/usr/local/lib/hive/healthcheck";

/// The secret that an app alone and its database are given, by the name under which
/// both look for it.
const SECRET: &str = "hive_database_password";

/// Where every engine puts secrets.
const SECRETS: &str = "/run/secrets";

/// Where the app lies in the container.
const APP: &str = "/app";

/// The user and the group that the container runs as.
pub const UID: u32 = 1000;

/// What a service may have of a machine.
const LIMITS: Limits = Limits {
    memory: "2g",
    reserved: "512m",
    cpus: "1.0",
    processes: 512,
};

/// Folders that the container writes to where its root is read-only; they count
/// as its memory. The logs of its programs are 4 × 10 MB each.
const SCRATCH: [(&str, Option<&str>); 3] = [
    ("/run/hive", None),
    ("/tmp", Some("256m")),
    ("/var/log/hive", Some("160m")),
];

/// What a service may have of a machine, in the engine's words.
#[derive(Clone, Copy, Debug)]
struct Limits {
    memory: &'static str,
    reserved: &'static str,
    cpus: &'static str,
    /// How many there may be; the kernel counts each thread as one.
    processes: u32,
}

/// One service, as every writer needs it.
#[derive(Clone, Debug)]
pub struct Deployment {
    name: ImageName,
    /// Where the spec was read from.
    file: String,
    /// The port inside.
    port: u16,
    /// The port of the host where nothing else is said.
    published: u16,
    /// Whether it keeps data, and so has a volume.
    keeps_data: bool,
    /// Seconds that a start may take without being counted as unhealthy.
    start_seconds: u64,
    /// The app's folder, relative to the checkout; `None` for a database alone.
    source: Option<PathBuf>,
    /// Of an app alone: the database that its file puts beside it.
    database: Option<Box<Deployment>>,
    /// Whether it is the database of an app alone, which has to know its password.
    is_shared: bool,
    /// Whether PostgreSQL's log is archived, where it is not an override's to say.
    is_archived: bool,
}

impl Deployment {
    /// That of an image of the checkout at `root`.
    pub fn of(spec: &ImageSpec, root: &Path) -> Self {
        Self {
            name: spec.name.clone(),
            file: spec.file.clone(),
            port: spec.port(),
            published: spec.published_port(),
            keeps_data: spec.database.elsewhere.is_none(),
            start_seconds: patience::start_period(&spec.budgets),
            source: spec.app.as_ref().map(|app| relative(root, &app.source)),
            database: None,
            is_shared: false,
            is_archived: false,
        }
    }

    /// The same with an archive of PostgreSQL's log, where it has one to archive.
    #[must_use]
    pub fn archived(self) -> Self {
        Self {
            is_archived: self.keeps_data,
            ..self
        }
    }

    /// The same of an image among others, one of which may have its database, or have
    /// its own in this one.
    pub fn among(specs: &[ImageSpec], spec: &ImageSpec, root: &Path) -> Self {
        let elsewhere = |spec: &ImageSpec| spec.database.elsewhere.clone();
        let database = elsewhere(spec).and_then(|name| specs.iter().find(|one| one.name == name));
        Self {
            database: database.map(|spec| Box::new(Self::of(spec, root))),
            is_shared: specs
                .iter()
                .any(|one| elsewhere(one).as_ref() == Some(&spec.name)),
            ..Self::of(spec, root)
        }
    }

    /// The database whose password two services share, where this is one of them.
    fn shared_database(&self) -> Option<&ImageName> {
        let own = self.is_shared.then_some(&self.name);
        self.database.as_ref().map(|database| &database.name).or(own)
    }

    /// What speaks on its port.
    fn protocol(&self) -> &'static str {
        match self.source {
            Some(_) => "http",
            None => "postgresql",
        }
    }

    /// A variable of its compose files.
    fn variable(&self, what: &str) -> String {
        names::variable(&self.name, what)
    }

    /// The release that runs where nothing else is said.
    fn release(&self) -> String {
        format!("{}:latest", self.name.repository())
    }
}

/// The way from one folder to another, both without `..`.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let (mut from, mut to) = (from.components().peekable(), to.components().peekable());
    while from.peek().is_some() && from.peek() == to.peek() {
        from.next();
        to.next();
    }
    let up = from.map(|_| Component::ParentDir);
    up.chain(to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The app alone `genie`, and `data`, which has its database.
    pub(crate) fn with_database() -> [ImageSpec; 2] {
        let named = |name: &str| ImageName::parse(name).unwrap();
        let (mut app, mut database) = (sample::spec(), sample::spec());
        app.database.elsewhere = Some(named("data"));
        (database.name, database.app) = (named("data"), None);
        [app, database]
    }

    #[test]
    fn a_folder_is_named_from_another_one() {
        let of = |from, to| relative(Path::new(from), Path::new(to)).display().to_string();
        assert_eq!(of("/src", "/src/images/app"), "images/app");
        assert_eq!(of("/a/src", "/a/my-app"), "../my-app");
        assert_eq!(of("/a/b", "/c"), "../../c");
    }
}
