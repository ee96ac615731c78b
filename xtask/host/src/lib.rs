//! The machine as commands see it: environment, folders, processes, terminal.

pub mod disk;
pub mod lock;
pub mod process;
pub mod proxies;
pub mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::process::Runner;
use crate::report::Report;

/// Every variable the tool reads; `xtask::entry` fills it, nobody else looks.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `HOME`: where settings of docker and of the shell lie.
    pub home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`: where caches lie, if not below `HOME`.
    pub xdg_cache_home: Option<PathBuf>,
    /// `XDG_DATA_HOME`: where data lie, if not below `HOME`.
    pub xdg_data_home: Option<PathBuf>,
    /// `HIVE_BACKUP_DIR`: overrides the folder of backups.
    pub hive_backup_dir: Option<PathBuf>,
    /// `HIVE_CACHE_DIR`: overrides the cache folder (private engine, bases,
    /// staged copies).
    pub hive_cache_dir: Option<PathBuf>,
    /// `HIVE_STATE_DIR`: overrides the state folder (logs, records).
    pub hive_state_dir: Option<PathBuf>,
    /// `DOCKER_HOST`: where the user's engine listens.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`: the name of a context of the CLI.
    pub docker_context: Option<String>,
    /// `DOCKER_CONFIG`: the folder of the CLI's settings.
    pub docker_config: Option<PathBuf>,
    /// `SSL_CERT_FILE`: the CA bundle that builds get when it is set.
    pub ssl_cert_file: Option<PathBuf>,
    /// `CARGO_MANIFEST_DIR`: `cargo run` sets it to the tool's own package.
    pub cargo_manifest_dir: Option<PathBuf>,
    /// What [`is_of_network`] names: proxies, package indexes and their logins.
    pub network: BTreeMap<String, String>,
    /// `NO_COLOR`, set and not empty.
    pub no_color: bool,
    /// `PATH`: where programs are looked for.
    pub path: Option<std::ffi::OsString>,
}

/// Whether a variable says how packages are reached.
pub fn is_of_network(name: &str) -> bool {
    const NAMES: [&str; 43] = [
        "CONDA_PREFIX",
        "NETRC",
        "PDM_PYPI_URL",
        "PIPENV_PYPI_MIRROR",
        "PIP_CONFIG_FILE",
        "PIP_CONSTRAINT",
        "PIP_EXTRA_INDEX_URL",
        "PIP_FIND_LINKS",
        "PIP_INDEX_URL",
        "PIP_NO_BINARY",
        "PIP_NO_INDEX",
        "PIP_ONLY_BINARY",
        "PIP_REQUIRE_HASHES",
        "SSH_AUTH_SOCK",
        "UV_BUILD_CONSTRAINT",
        "UV_CONFIG_FILE",
        "UV_CONSTRAINT",
        "UV_DEFAULT_INDEX",
        "UV_EXCLUDE",
        "UV_EXCLUDE_NEWER",
        "UV_EXCLUDE_NEWER_PACKAGE",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_INDEX",
        "UV_INDEX_STRATEGY",
        "UV_INDEX_URL",
        "UV_NO_BINARY",
        "UV_NO_BINARY_PACKAGE",
        "UV_NO_BUILD",
        "UV_NO_BUILD_PACKAGE",
        "UV_NO_CONFIG",
        "UV_NO_INDEX",
        "UV_NO_SOURCES",
        "UV_NO_VERIFY_HASHES",
        "UV_OVERRIDE",
        "UV_PRERELEASE",
        "UV_PYTHON_DOWNLOADS_JSON_URL",
        "UV_PYTHON_INSTALL_MIRROR",
        "UV_REQUIRE_HASHES",
        "UV_RESOLUTION",
        "VIRTUAL_ENV",
        "XDG_CONFIG_DIRS",
        "XDG_CONFIG_HOME",
    ];
    let login = (name.starts_with("UV_INDEX_") || name.starts_with("POETRY_HTTP_BASIC_"))
        && (name.ends_with("_USERNAME") || name.ends_with("_PASSWORD"));
    let proxy =
        ["http_proxy", "https_proxy", "all_proxy", "no_proxy"].contains(&name.to_lowercase().as_str());
    let npm = name.starts_with("NPM_") || name.starts_with("npm_config_");
    NAMES.contains(&name) || login || proxy || npm
}

/// The machine and the checkout, as every command gets them.
#[derive(Debug)]
pub struct Host {
    /// The environment variables that count, read once at the start.
    pub env: Environment,
    /// The top of the checkout.
    pub root: PathBuf,
    /// Makes processes, which end on Ctrl-C.
    pub runner: Runner,
    /// Prints what users see, as data or as talk.
    pub report: Report,
}

impl Host {
    /// Logs and records of this checkout. Deleting it is always safe.
    pub fn state_dir(&self) -> PathBuf {
        match &self.env.hive_state_dir {
            Some(dir) => dir.clone(),
            None => self.root.join("target/images"),
        }
    }

    /// The same machine with another checkout and another state folder.
    #[must_use]
    pub fn elsewhere(&self, root: &Path, state: PathBuf) -> Self {
        Self {
            env: Environment {
                hive_state_dir: Some(state),
                ..self.env.clone()
            },
            root: root.to_owned(),
            runner: self.runner.clone(),
            report: self.report.clone(),
        }
    }

    /// What several checkouts share: the private engine and bootstrapped bases;
    /// and their staged copies, which lie where no `cargo clean` comes.
    pub fn cache_dir(&self) -> PathBuf {
        if let Some(dir) = &self.env.hive_cache_dir {
            return dir.clone();
        }
        let base = match (&self.env.xdg_cache_home, &self.env.home) {
            (Some(xdg), _) if xdg.is_absolute() => xdg.clone(),
            (_, Some(home)) => home.join(".cache"),
            (_, None) => PathBuf::from("/var/cache"),
        };
        base.join("hive-images")
    }

    /// Backups of services, in a folder for each image. Checkouts share the services,
    /// and so these; no caches and nothing of a checkout lie there.
    pub fn backup_dir(&self) -> PathBuf {
        if let Some(dir) = &self.env.hive_backup_dir {
            return dir.clone();
        }
        let base = match (&self.env.xdg_data_home, &self.env.home) {
            (Some(xdg), _) if xdg.is_absolute() => xdg.clone(),
            (_, Some(home)) => home.join(".local/share"),
            (_, None) => PathBuf::from("/var/backups"),
        };
        base.join("hive-backups")
    }

    /// Where `PATH` has a program.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(self.env.path.as_deref()?)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    }

    /// `path` as a user would type it: relative to the checkout where it lies
    /// inside.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}
