//! How build steps reach what they install from: the machine's proxies, package
//! indexes and logins.
//!
//! All of it travels as BuildKit secrets, whose values are in no layer, history
//! or cache key. What decides which packages come, the indexes without their
//! logins, is hashed into a build argument, and so into the fingerprint.

mod address;
mod docker;
mod files;
mod netrc;
mod npm;
mod python;
mod settings;
mod ssh;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::buildkit::Access;
pub(crate) use address::{is_token, login_of_authority};
use docker::DockerProxies;
use files::{of_app, settings_files};
use host::Host;
use host::proxies::{self, ProxyVariable};
use inputs::context::holds_login;
use inputs::{hex, regular};
use npm::{NpmFile, NpmSettings};
use python::PythonSource;
use settings::IndexSettings;
use ssh::GitBySsh;

/// The build argument with the hash of the indexes, and of npm's registries where a
/// front end is built.
pub const INDEX_ARGUMENT: &str = "INDEX_SETTINGS";

/// The build argument with the hash of where uv fetches a Python.
pub const PYTHON_ARGUMENT: &str = "PYTHON_SOURCE";

/// Files at the top of an app whose text may name a host that wants a login.
const NAMING_HOSTS: [&str; 9] = [
    "pyproject.toml",
    "uv.lock",
    "requirements.txt",
    "poetry.lock",
    "pdm.lock",
    "Pipfile",
    "Pipfile.lock",
    "pylock.toml",
    "uv.toml",
];

/// The locks of npm, pnpm, Yarn and Bun: what is beside package.json says which of them
/// installs.
pub(crate) const FRONT_END_LOCKS: [&str; 6] = [
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "bun.lockb",
];

/// What a front end says of its registries: the logins of those hosts go along, wherever
/// they stand.
const FRONT_END_SETTINGS: [&str; 4] = [".npmrc", ".yarnrc", "bunfig.toml", "pnpm-workspace.yaml"];

/// What an app says of where its packages come from.
#[derive(Clone, Copy, Debug)]
pub struct AppSources<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// Its requirements.txt and the lists that this takes in, from its folder.
    pub lists: &'a BTreeSet<PathBuf>,
    /// The hosts that packages are taken from by SSH, each with the file that names it.
    pub by_ssh: &'a [(PathBuf, String)],
    /// Whether the build chooses versions.
    pub is_open: bool,
}

/// What build steps get of this machine's network settings.
#[derive(Clone, Default)]
pub struct BuildNetwork {
    /// Secret id → its value.
    pub secrets: BTreeMap<&'static str, String>,
    /// Over the indexes, and for an image with a front end npm's registries; absent
    /// where the machine names none.
    pub indexes: Option<String>,
    /// Over where a Python of uv's comes from; absent where the machine does not say.
    pub python: Option<String>,
    /// What must be shown nowhere.
    pub logins: Vec<String>,
    /// Those of them that the steps see which install by uv.
    of_python: Vec<String>,
    /// Those that the steps see which install by npm and its like.
    of_npm: Vec<String>,
    /// What the app takes from git by SSH.
    ssh: GitBySsh,
    /// A proxy that no build step reaches: the variable, and where it is.
    loopback_proxy: Option<(String, String)>,
}

impl std::fmt::Debug for BuildNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.secrets.keys().collect();
        f.debug_struct("BuildNetwork")
            .field("secrets", &ids)
            .field("indexes", &self.indexes)
            .finish_non_exhaustive()
    }
}

impl BuildNetwork {
    /// Reads the machine's settings for one image; logins of a netrc file only for the
    /// hosts that these settings or its app name. `front_end` is a folder with a lock of
    /// npm's or its like: npm's settings count where there is one, and those of uv's
    /// Pythons where the image `needs_python`.
    ///
    /// # Errors
    /// For settings that cannot be used in a build, and would be missed.
    pub fn of(
        host: &Host,
        app: Option<&AppSources<'_>>,
        front_end: Option<&Path>,
        needs_python: bool,
    ) -> Result<Self> {
        let by_ssh = app.map(|app| app.by_ssh.to_vec()).unwrap_or_default();
        // What a list leaves open such files decide; a lock has decided.
        let is_open = app.is_some_and(|app| app.is_open);
        let lists = app.map(|app| app.lists.clone()).unwrap_or_default();
        let app = app.map(|app| app.folder);
        let of_docker = DockerProxies::of(&host.env);
        let variables = &of_docker.beside(&host.env.network);
        let files = settings_files(&host.env, app).map_err(failure::usage)?;
        let own = app.map(of_app).unwrap_or_default();
        let settings = IndexSettings::read(variables, &files, &own).map_err(failure::usage)?;
        let python = match needs_python {
            true => PythonSource::read(variables, &files).map_err(failure::usage)?,
            false => PythonSource::default(),
        };
        let home = host.env.home.clone().unwrap_or_default();
        if let Some(problem) = app.and_then(|app| of_another_tool(variables, app, &settings)) {
            return Err(failure::usage(problem).into());
        }
        if let Some(problem) = beside_indexes(&settings.find_links, &home) {
            return Err(failure::usage(problem).into());
        }
        if let Some((source, file)) = settings.versions_in_file.as_ref().filter(|_| is_open) {
            let message = format!(
                "{source} says in {file} which versions count, and no build step sees the files of this machine: put the \
                 file into the app's folder, name it there (`-c constraints.txt`, or `constraint-dependencies` of \
                 `[tool.uv]`), and unset it for this command"
            );
            return Err(failure::usage(message).into());
        }
        let registries = match front_end {
            None => NpmSettings::default(),
            Some(folder) => NpmSettings::read(variables, &npm_files(host, folder)).map_err(failure::usage)?,
        };
        refuse_loopback(&settings, &registries, &python)?;
        let locks = front_end.map(front_end_texts).unwrap_or_default();
        let hashed = |text: String| hex::digits(&Sha256::digest(text));
        let both = [settings.identity(), registries.identity()];
        let both: Vec<String> = both.into_iter().flatten().collect();
        let mut network = Self {
            indexes: (!both.is_empty()).then(|| hashed(both.concat())),
            ssh: GitBySsh::of(by_ssh, variables.get("SSH_AUTH_SOCK")),
            python: python.identity().map(hashed),
            of_python: [settings.logins(), python.logins()].concat(),
            of_npm: registries.secrets(&locks),
            ..Self::default()
        };
        if let Some(text) = registries.npmrc(&locks) {
            network.secrets.insert("npmrc", text);
        }
        network.take_proxies(variables, &of_docker);
        network.take_variables(variables, &settings, &python, &home);
        if let Some(text) = settings.uv_toml() {
            network.secrets.insert("uv-config", text);
        }
        network.take_netrc(host, &naming(app, &lists, &settings, &python));
        network.close();
        Ok(network)
    }

    /// What the image's build gets of it; the SSH agent only where the app takes a
    /// package by SSH.
    pub fn access(&self) -> Access {
        Access {
            secrets: self.secrets.clone(),
            ssh_agent: self.ssh.agent().map(Path::to_owned),
        }
    }

    /// Refuses what no build could work with, once the image is to be built.
    ///
    /// # Errors
    /// For a proxy on this machine's loopback, and for an app that wants an SSH agent
    /// where there is none.
    pub fn check_reachable(&self) -> Result<()> {
        self.ssh.check()?;
        let Some((source, at)) = &self.loopback_proxy else {
            return Ok(());
        };
        let message =
            format!("{source} is {at}, and no build step reaches a proxy on this machine's loopback");
        Err(failure::environment(message)
            .hint(format!(
                "let the proxy listen on an address of this machine too (`ip -brief address` lists them), and set {source} to that"
            ))
            .into())
    }

    /// Takes the proxies: for steps whose files are in the image only those without a
    /// login.
    fn take_proxies(&mut self, variables: &BTreeMap<String, String>, of_docker: &DockerProxies) {
        for ProxyVariable { name, source, value } in proxies::of(variables) {
            for logins in [&mut self.of_python, &mut self.of_npm] {
                logins.extend(address::login_of(value));
            }
            if name != "no_proxy" && address::is_loopback(value) {
                self.loopback_proxy = Some((of_docker.said(source), address::without_login(value)));
            }
        }
        let open = proxy_lines(variables, |value| address::login_of(value).is_empty());
        if !open.is_empty() {
            self.secrets.insert("proxies", open);
        }
    }

    /// Takes the variables of the steps that install, and the hosts that git knows where
    /// one of them is for git.
    fn take_variables(
        &mut self,
        variables: &BTreeMap<String, String>,
        settings: &IndexSettings,
        python: &PythonSource,
        home: &Path,
    ) {
        let mut exports = proxy_lines(variables, |_| true);
        for (name, value) in settings.variables() {
            export(&mut exports, &name, &value);
        }
        for (name, value) in python.variables() {
            export(&mut exports, name, value);
        }
        if self.ssh.is_wanted() {
            export(&mut exports, "GIT_SSH_COMMAND", ssh::COMMAND);
            let known = [
                home.join(".ssh/known_hosts"),
                PathBuf::from("/etc/ssh/ssh_known_hosts"),
            ];
            let known = known.map(|file| regular::read_to_string(&file).unwrap_or_default());
            self.secrets
                .insert(ssh::KNOWN_HOSTS, self.ssh.known(&known.join("\n")));
        }
        if !exports.is_empty() {
            self.secrets.insert("build-environment", exports);
        }
    }

    /// Takes the netrc's logins for the hosts that one of the texts names.
    fn take_netrc(&mut self, host: &Host, named: &[String]) {
        let netrc = regular::read_to_string(&netrc_file(host)).unwrap_or_default();
        let wanted = netrc::entries(&netrc, |machine| {
            named.iter().any(|text| names_host(text, machine))
        });
        if !wanted.text.is_empty() {
            self.secrets.insert("netrc", wanted.text);
            self.of_python.extend(wanted.secrets);
        }
    }

    /// Sorts the logins once all are known, and names those that no file may have.
    fn close(&mut self) {
        for logins in [&mut self.of_python, &mut self.of_npm] {
            // What is short is no secret, and would be struck out of every line.
            logins.retain(|login| login.len() > 3);
        }
        let logins: BTreeSet<&String> = self.of_python.iter().chain(&self.of_npm).collect();
        self.logins = logins.into_iter().cloned().collect();
        for (id, logins) in [
            ("logins", &self.logins),
            ("python-logins", &self.of_python),
            ("npm-logins", &self.of_npm),
        ] {
            let sought = sought_in_files(logins);
            if !sought.is_empty() {
                self.secrets.insert(id, sought);
            }
        }
    }
}

/// Refuses an index, registry or place of Pythons that only this machine reaches.
fn refuse_loopback(settings: &IndexSettings, registries: &NpmSettings, python: &PythonSource) -> Result<()> {
    let of_index = settings.on_loopback().or(registries.on_loopback());
    let of_index = of_index.map(|found| ("the package index", found));
    let of_python = python.on_loopback().map(|found| ("a place of Pythons,", found));
    let Some((what, (source, at))) = of_index.or(of_python) else {
        return Ok(());
    };
    let message = format!("{source} names {what} {at}, and no build step reaches this machine's loopback");
    Err(failure::environment(message)
        .hint("let it listen on an address of this machine too, and name that")
        .into())
}

/// The logins that no file of an image may have, line by line. What could be a
/// word is left out: a password `database` stands in thousands of files.
fn sought_in_files(logins: &[String]) -> String {
    let distinct = logins
        .iter()
        .filter(|login| login.contains(':') || login.len() >= DISTINCT);
    let lines = distinct.filter(|login| !login.contains(char::is_control));
    lines.map(|login| format!("{login}\n")).collect()
}

/// The fewest characters by which a login cannot be a word of some text.
const DISTINCT: usize = 16;

/// The ends of names of packages.
const ARCHIVES: [&str; 7] = [".whl", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip"];

/// Variables by which a tool names an index in place of the public one, each with the
/// lock that it installs.
const OF_ANOTHER_TOOL: [(&str, &str); 2] = [
    ("PDM_PYPI_URL", "pdm.lock"),
    ("PIPENV_PYPI_MIRROR", "Pipfile.lock"),
];

/// What a build would miss of an index that only the tool of the app's lock reads.
fn of_another_tool(
    variables: &BTreeMap<String, String>,
    app: &Path,
    settings: &IndexSettings,
) -> Option<String> {
    let is_read = |(name, lock): &&(&str, &str)| variables.contains_key(*name) && app.join(lock).is_file();
    let (name, lock) = OF_ANOTHER_TOOL.iter().find(is_read)?;
    (!settings.has_default()).then(|| {
        format!(
            "{name} names a package index, and uv, which installs what {lock} says, does not read it: name it in \
             UV_DEFAULT_INDEX, too"
        )
    })
}

/// What a build would miss of packages that lie beside the indexes: it would take
/// those of the same name from an index. pip takes `~` for the home folder.
fn beside_indexes(find_links: &[(String, String)], home: &Path) -> Option<String> {
    let (source, place) = find_links.iter().find(|(_, place)| {
        let path = place.strip_prefix("file://").unwrap_or(place);
        let below_home = (path == "~").then_some("").or(path.strip_prefix("~/"));
        // Another user's home folder, or a page.
        if path.contains("://") || path.starts_with('~') && below_home.is_none() {
            return true;
        }
        let path = below_home.map_or_else(|| PathBuf::from(path), |below| home.join(below));
        let entries = fs_err::read_dir(&path).into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // A file is a page with links.
        path.is_file() || names.any(|name| ARCHIVES.iter().any(|end| name.ends_with(end)))
    })?;
    Some(format!(
        "{source} names packages in {}, and a build does not look there: name an index instead, or put the packages \
         into the app's folder, and unset it for this command",
        address::without_login(place)
    ))
}

/// The proxies as lines of shell, in both spellings.
fn proxy_lines(variables: &BTreeMap<String, String>, is_wanted: fn(&str) -> bool) -> String {
    let mut script = String::new();
    for ProxyVariable { name, value, .. } in proxies::of(variables).filter(|one| is_wanted(one.value)) {
        export(&mut script, name, value);
        export(&mut script, &name.to_uppercase(), value);
    }
    script
}

fn export(script: &mut String, name: &str, value: &str) {
    script.push_str(&format!("export {name}='{}'\n", value.replace('\'', "'\\''")));
}

/// All that names a host which a build asks.
fn naming(
    app: Option<&Path>,
    lists: &BTreeSet<PathBuf>,
    settings: &IndexSettings,
    python: &PythonSource,
) -> Vec<String> {
    let named = app.map(naming_hosts).unwrap_or_default();
    let named = named.into_iter().map(|(_, text)| text);
    // Lists that others take in, wherever they lie.
    let lists = app.into_iter().flat_map(|app| {
        let texts = lists.iter();
        texts.filter_map(|list| regular::read_to_string(&app.join(list)).ok())
    });
    let of_python = python.variables().map(|(_, url)| url.to_owned());
    named
        .chain(lists)
        .chain(settings.urls())
        .chain(of_python)
        .collect()
}

/// The files of an app whose text may name a host that wants a login, by their paths
/// in its folder: also those that a `requirements.txt` includes, as they are usually
/// called.
pub(crate) fn naming_hosts(app: &Path) -> Vec<(String, String)> {
    let listed = |below: &str| {
        let entries = fs_err::read_dir(app.join(below)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut paths: Vec<String> = names.map(|name| format!("{below}{name}")).collect();
        paths.sort();
        paths
    };
    let is_list = |path: &String| path.starts_with("requirements") || path.starts_with("constraints");
    let lists = [listed(""), listed("requirements/")].concat();
    let lists = lists
        .into_iter()
        .filter(|path| is_list(path) && path.ends_with(".txt"));
    let mut found = Vec::new();
    for path in NAMING_HOSTS.map(str::to_owned).into_iter().chain(lists) {
        if found.iter().all(|(known, _)| *known != path)
            && let Ok(text) = regular::read_to_string(&app.join(&path))
        {
            found.push((path, text));
        }
    }
    found
}

/// Whether a URL in a text has this host.
fn names_host(text: &str, host: &str) -> bool {
    text.match_indices(host).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + host.len()..].chars().next();
        matches!(before, Some('/' | '@'))
            && after.is_none_or(|c| matches!(c, '/' | ':' | '"' | '\'' | '?' | '#') || c.is_whitespace())
    })
}

fn netrc_file(host: &Host) -> PathBuf {
    let home = host.env.home.clone().unwrap_or_default();
    let named = host.env.network.get("NETRC").map(PathBuf::from);
    named.unwrap_or_else(|| home.join(".netrc"))
}

/// What a front end has that names hosts of registries: its locks, and the settings of its own that
/// a build has. Each name of a host ends with a slash there.
fn front_end_texts(folder: &Path) -> Vec<String> {
    let names = FRONT_END_LOCKS.into_iter().chain(FRONT_END_SETTINGS);
    let texts = names.filter_map(|name| Some((name, regular::read_to_string(&folder.join(name)).ok()?)));
    // A login there may be for those who publish, and its file is in no build.
    let open = texts.filter(|(name, text)| !holds_login(name, text));
    open.map(|(_, text)| format!("{}/", text.replace(['\n', '"', '\''], "/")))
        .collect()
}

/// npm's settings, in files of the machine (where Debian's npm looks) and the user, and
/// in that of a front end's which no build has; what comes later wins.
fn npm_files(host: &Host, front_end: &Path) -> Vec<NpmFile> {
    let home = host.env.home.clone().unwrap_or_default();
    let user = npm::user_file(&host.env.network).unwrap_or_else(|| home.join(".npmrc"));
    let read = |(path, is_own): (PathBuf, bool)| {
        let text = regular::read_to_string(&path).ok()?;
        (!is_own || npm::has_logins(&text)).then_some(NpmFile { path, text, is_own })
    };
    let own = front_end.join(".npmrc");
    [(PathBuf::from("/etc/npmrc"), false), (user, false), (own, true)]
        .into_iter()
        .filter_map(read)
        .collect()
}

#[cfg(test)]
mod tests;
