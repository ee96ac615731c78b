//! Which entries of a context are inputs: the app's own ignore file and, on
//! top of it, what no image should hold even if the app forgot to say so.
//!
//! | left out | where | `!pattern` takes it back |
//! |---|---|---|
//! | `.git`, `.hg`, `.svn`, `.bzr` | anywhere | no: history holds what was deleted |
//! | `.env`, `.envrc`, `.envs`, `.env.*`, `.env-*`, `.env_*`, `.env~` | anywhere | no: secrets |
//! | `.env.example`, `.sample`, `.template`, `.dist`; other `.env*` | anywhere | yes |
//! | `.ssh`, `.aws`, `.gnupg`, `.netrc`, `_netrc`, `.pypirc`, `.git-credentials`, `id_rsa` and its like | anywhere | no: secrets |
//! | `*.env`, `.secrets.*`, `.pgpass`, `.docker/config.json`, `.kube`, `.config/gcloud`, `.azure`, `.boto`, `.s3cfg`, `*.p12`, `*.pfx`, `application_default_credentials.json` | anywhere | yes, and it is told |
//! | `*.pem`, `*.key`, `*credential*.json`, `*service*account*.json` with a private key in it | anywhere | yes, and it is told |
//! | `.npmrc`, `.yarnrc`, `.yarnrc.yml`, `bunfig.toml`, `pip.conf`, `pip.ini`, `pdm.toml`, `.pdm.toml`, `auth.toml`, `credentials.toml` with a login in it | anywhere | yes, and it is told |
//! | any file whose first line begins a private key | anywhere | yes, and it is told |
//! | `.venv`, `venv`, any directory with `pyvenv.cfg` | anywhere | yes |
//! | `__pycache__`, `*.pyc`, `*.pyo`, `node_modules`, `.pytest_cache`, `.mypy_cache`, `.ruff_cache`, `.tox`, `.nox`, `.DS_Store` | anywhere | yes |
//! | any directory with `PG_VERSION`; `pgdata` and its like | anywhere | yes |
//! | directories `data/postgres*`, `data/pg*` | the root's `data` | yes |
//! | directories that cannot be read, in `data` or named like a database's | – | no |
//! | `.dockerignore` | the root | yes |
//! | folders and files of this tool: state, cache, backups, cargo's `target` of its checkout, the specs of its images, secrets beside its compose files | where they lie | no: each run changes them |
//! | a volume of this tool's images (`hive` beside `pgdata`), backups with our seal | anywhere | no |
//!
//! `hive-app.json` at the root is never left out: a proof has to be of the contract that
//! an image was built by, and many an ignore file begins with `*`.
//!
//! Taken back are only entries that an exception names: one of its parts,
//! with a letter or digit in it, has to match the entry's name. `!src/**` does
//! not name `src/.venv`; `!src/.venv` does.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backup;

use super::ignore::{self, Ignore, IgnoreVerdict, PatternProblem};

/// What an app says of itself to this tool.
const CONTRACT: &[u8] = b"hive-app.json";

/// Why an entry is left out although the app's ignore file lets it through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExclusionReason {
    /// A version control system's own.
    History,
    /// Holds, or may hold, a secret.
    Secret,
    /// A name that programs keep logins and keys under, and that an app may use
    /// for something else.
    Credentials,
    /// A virtual environment of this machine.
    Environment,
    /// Made by tools from what is there.
    Cache,
    /// A directory with a database's data, such as one with `PG_VERSION`.
    Data,
    /// It is for the builder, not for the image.
    Builder,
    /// A directory of a database that another user owns.
    Unreadable,
    /// What this tool itself writes.
    Own,
}

impl ExclusionReason {
    /// In a word or two, for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Secret => "secret",
            Self::Credentials => "credentials",
            Self::Environment => "virtual environment",
            Self::Cache => "cache",
            Self::Data => "database",
            Self::Builder => "builder's file",
            Self::Unreadable => "unreadable data",
            Self::Own => "this tool's own",
        }
    }
}

/// The rules for one context.
#[derive(Debug, Clone)]
pub struct Rules {
    ignore: Ignore,
    safe: bool,
    /// Paths in the context that are always left out.
    own: Vec<Vec<u8>>,
}

/// Where a walk is: what is known of a directory for its entries to build on.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    verdict: IgnoreVerdict,
    /// Exceptions from the safe set that hold below.
    taken_back: Vec<(Arc<Ignore>, IgnoreVerdict)>,
}

impl Scope {
    /// Whether the directory is an input of its own, not only the way to one.
    pub(super) fn is_kept(&self) -> bool {
        !self.verdict.excluded && !self.taken_back.iter().any(|(_, verdict)| verdict.excluded)
    }
}

/// What to do with an entry.
#[derive(Debug)]
pub(super) enum Decision {
    /// An input; a directory is entered.
    Keep(Scope),
    /// A directory that is no input, but may hold one.
    Enter(Scope),
    /// The app's ignore file excludes it.
    Ignore,
    /// The safe set does. `refused`: exceptions that would take it back.
    LeaveOut {
        reason: ExclusionReason,
        refused: Vec<String>,
    },
}

impl Rules {
    /// What BuildKit does with an ignore file, no more and no less.
    pub fn exact(ignore: Ignore) -> Self {
        Self {
            ignore,
            safe: false,
            own: Vec::new(),
        }
    }

    /// The same with the safe set on top.
    pub fn safe(ignore: Ignore) -> Self {
        Self {
            safe: true,
            ..Self::exact(ignore)
        }
    }

    /// The same without the folders that this tool writes to, as far as they lie
    /// in the context `root`.
    #[must_use]
    pub fn without(mut self, root: &Path, folders: &[PathBuf]) -> Self {
        let root = resolved(root);
        self.own = folders
            .iter()
            .filter_map(|folder| Some(resolved(folder).strip_prefix(&root).ok()?.to_owned()))
            .map(|inside| inside.into_os_string().into_vec())
            .filter(|inside| !inside.is_empty())
            .collect();
        self
    }

    pub(super) fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    /// Whether a file is in whatever the ignore file says.
    pub(super) fn is_contract(&self, path: &[u8]) -> bool {
        self.safe && path == CONTRACT
    }

    /// Decides on an entry before anything but its name and kind is known.
    pub(super) fn decide(
        &self,
        path: &[u8],
        is_directory: bool,
        parent: &Scope,
    ) -> Result<Decision, PatternProblem> {
        if !is_directory && self.is_contract(path) {
            return Ok(Decision::Keep(Scope::default()));
        }
        let verdict = self.ignore.judge(path, &parent.verdict)?;
        if verdict.excluded && !(is_directory && self.ignore.may_keep_below(path)) {
            return Ok(Decision::Ignore);
        }
        let mut scope = Scope {
            verdict,
            taken_back: Vec::with_capacity(parent.taken_back.len()),
        };
        for (exceptions, above) in &parent.taken_back {
            let verdict = exceptions.judge(path, above)?;
            scope.taken_back.push((Arc::clone(exceptions), verdict));
        }
        let reason = match () {
            () if self.own.iter().any(|own| own == path) => Some((ExclusionReason::Own, true)),
            () if self.safe => named(path, is_directory),
            () => None,
        };
        match reason {
            Some((reason, locked)) => self.leave_out(path, is_directory, reason, locked, scope),
            None => Ok(decision(path, is_directory, scope)),
        }
    }

    /// Decides again on a directory when the names in it are known: a database, a
    /// virtual environment or a volume of our images shows by what it holds.
    pub(super) fn decide_by_entries(
        &self,
        path: &[u8],
        scope: Scope,
        holds: impl Fn(&[u8]) -> bool,
    ) -> Result<Decision, PatternProblem> {
        // `pgdata` beside it may lie on another volume.
        let is_volume = || {
            holds(b"hive") && holds(b"pgdata")
                || name_of(path) == b"hive" && holds(b"lock") && holds(b"adopted")
        };
        let reason = match () {
            () if !self.safe => None,
            () if is_volume() => Some(ExclusionReason::Own),
            () if holds(b"PG_VERSION") => Some(ExclusionReason::Data),
            () if holds(b"pyvenv.cfg") => Some(ExclusionReason::Environment),
            () => None,
        };
        match reason {
            Some(ExclusionReason::Own) => self.leave_out(path, true, ExclusionReason::Own, true, scope),
            // The name has said so already, and an exception has spoken.
            Some(_) if named(path, true).is_some() => Ok(decision(path, true, scope)),
            Some(reason) => self.leave_out(path, true, reason, false, scope),
            None => Ok(decision(path, true, scope)),
        }
    }

    /// Decides again on a file whose name does not tell whether it is a secret or a backup,
    /// as `*.pem` is a private key or a certificate. `content` reads as many of its first
    /// bytes as it is asked for, `end` of its last.
    pub(super) fn decide_by_content(
        &self,
        path: &[u8],
        scope: Scope,
        content: impl Fn(usize) -> Vec<u8>,
        end: impl Fn(usize) -> Vec<u8>,
    ) -> Result<Decision, PatternProblem> {
        let name = name_of(path);
        let is_secret = || {
            may_be_key(name) && is_private_key(&content(KEY_WITHIN))
                || !is_made_otherwise(name) && begins_private_key(&content(KEY_LINE))
                || login_in(name).is_some_and(|keys| has_login(&content(KEY_WITHIN), keys))
        };
        let is_backup = || {
            backup::is_named_as_one(name)
                || name.ends_with(backup::ENDING.as_bytes()) && backup::begins_seal(&end(backup::SEAL_SIZE))
        };
        match () {
            () if !self.safe => Ok(Decision::Keep(scope)),
            () if is_backup() => self.leave_out(path, false, ExclusionReason::Own, true, scope),
            () if is_secret() => self.leave_out(path, false, ExclusionReason::Credentials, false, scope),
            () => Ok(Decision::Keep(scope)),
        }
    }

    /// Whether a directory that cannot be read may be left out for it.
    pub(super) fn may_be_unreadable(&self, path: &[u8]) -> bool {
        let is_data = path == b"data" || path.starts_with(b"data/");
        self.safe && (is_data || is_database_name(name_of(path)))
    }

    fn leave_out(
        &self,
        path: &[u8],
        is_directory: bool,
        reason: ExclusionReason,
        locked: bool,
        mut scope: Scope,
    ) -> Result<Decision, PatternProblem> {
        let name = name_of(path);
        let naming = |exception: &[u8]| ignore::names(exception, name);
        if locked || !self.ignore.exceptions().any(naming) {
            let named = self.ignore.exceptions().filter(|text| naming(text));
            let refused = named.map(|text| String::from_utf8_lossy(text).into_owned());
            return Ok(Decision::LeaveOut {
                reason,
                refused: refused.collect(),
            });
        }
        let exceptions = Arc::new(self.ignore.everything_but_exceptions(naming));
        let verdict = exceptions.judge(path, &IgnoreVerdict::default())?;
        if verdict.excluded && !(is_directory && exceptions.may_keep_below(path)) {
            return Ok(Decision::LeaveOut {
                reason,
                refused: Vec::new(),
            });
        }
        scope.taken_back.push((exceptions, verdict));
        Ok(decision(path, is_directory, scope))
    }
}

/// A path without links, also where its end does not exist yet.
fn resolved(path: &Path) -> PathBuf {
    let real = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(rest))
    });
    real.unwrap_or_else(|| path.to_owned())
}

fn decision(path: &[u8], is_directory: bool, scope: Scope) -> Decision {
    if scope.is_kept() {
        return Decision::Keep(scope);
    }
    let mut below = scope.taken_back.iter();
    let open = below.all(|(exceptions, verdict)| !verdict.excluded || exceptions.may_keep_below(path));
    if is_directory && open {
        Decision::Enter(scope)
    } else {
        Decision::Ignore
    }
}

fn name_of(path: &[u8]) -> &[u8] {
    let start = path.iter().rposition(|byte| *byte == b'/');
    &path[start.map_or(0, |slash| slash + 1)..]
}

/// The safe set, by path and name. The flag: no exception takes it back.
fn named(path: &[u8], is_directory: bool) -> Option<(ExclusionReason, bool)> {
    let name = name_of(path);
    match name {
        b".git" | b".hg" | b".svn" | b".bzr" => Some((ExclusionReason::History, true)),
        b".env.example" | b".env.sample" | b".env.template" | b".env.dist" => {
            Some((ExclusionReason::Secret, false))
        }
        b".env" | b".envrc" | b".envs" | b".ssh" | b".aws" | b".gnupg" | b".netrc" | b"_netrc"
        | b".pypirc" | b".git-credentials" | b"id_rsa" | b"id_dsa" | b"id_ecdsa" | b"id_ed25519" => {
            Some((ExclusionReason::Secret, true))
        }
        b".venv" | b"venv" => Some((ExclusionReason::Environment, false)),
        b"__pycache__" | b"node_modules" | b".pytest_cache" | b".mypy_cache" | b".ruff_cache" | b".tox"
        | b".nox" | b".DS_Store" => Some((ExclusionReason::Cache, false)),
        _ if name.ends_with(b".pyc") || name.ends_with(b".pyo") => Some((ExclusionReason::Cache, false)),
        _ if name.starts_with(b".env") => {
            let locked = matches!(name.get(4), Some(b'.' | b'-' | b'_' | b'~'));
            Some((ExclusionReason::Secret, locked))
        }
        b".pgpass"
        | b".kube"
        | b".azure"
        | b".boto"
        | b".s3cfg"
        | b"application_default_credentials.json" => Some((ExclusionReason::Credentials, false)),
        b"config.json" if lies_in(path, b".docker") => Some((ExclusionReason::Credentials, false)),
        b"gcloud" if lies_in(path, b".config") => Some((ExclusionReason::Credentials, false)),
        _ if !is_directory && (name.ends_with(b".env") || name.starts_with(b".secrets.")) => {
            Some((ExclusionReason::Credentials, false))
        }
        _ if name.ends_with(b".p12") || name.ends_with(b".pfx") => {
            Some((ExclusionReason::Credentials, false))
        }
        _ if path == ignore::FILE_NAME.as_bytes() => Some((ExclusionReason::Builder, false)),
        _ if is_directory && is_database(path) => Some((ExclusionReason::Data, false)),
        _ => None,
    }
}

/// Whether the directory around an entry has this name.
fn lies_in(path: &[u8], directory: &[u8]) -> bool {
    let mut parts = path.rsplit(|byte| *byte == b'/');
    parts.nth(1) == Some(directory)
}

fn may_be_key(name: &[u8]) -> bool {
    let has = |word: &[u8]| name.windows(word.len()).any(|part| part == word);
    name.ends_with(b".pem")
        || name.ends_with(b".key")
        || name.ends_with(b".json") && (has(b"credential") || has(b"service") && has(b"account"))
}

/// `-----BEGIN RSA PRIVATE KEY-----` and its like (RFC 7468), also within JSON.
fn is_private_key(content: &[u8]) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    content.windows(MARK.len()).any(|part| part == MARK)
}

/// How many bytes at the beginning of a file are searched for a private key or a login: a key
/// stands at the top, or after a chain of certificates.
const KEY_WITHIN: usize = 64 * 1024;
/// As much as a first line takes that begins a key.
const KEY_LINE: usize = 64;

/// Whether the first line is `-----BEGIN … PRIVATE KEY-----`.
fn begins_private_key(content: &[u8]) -> bool {
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"-----BEGIN ") && is_private_key(line)
}

/// Whether a name is that of sources or of media, as most are: they are not opened for a
/// first line that they cannot have.
fn is_made_otherwise(name: &[u8]) -> bool {
    const ENDINGS: [&[u8]; 26] = [
        b"avif", b"c", b"css", b"gif", b"h", b"html", b"ico", b"jpeg", b"jpg", b"js", b"jsx", b"map", b"md",
        b"mjs", b"mp4", b"po", b"png", b"py", b"pyi", b"rst", b"scss", b"sql", b"svg", b"ts", b"tsx",
        b"webp",
    ];
    let dot = name.iter().rposition(|byte| *byte == b'.');
    dot.is_some_and(|dot| ENDINGS.contains(&&name[dot + 1..]))
}

/// A key of a file of settings, and whether a value that names a variable is one, too.
#[derive(Clone, Copy)]
enum LoginKey {
    /// A part of the key's name says it, whatever the value is.
    Named(&'static str),
    /// The whole key, with a value of its own.
    Valued(&'static str),
}

/// The keys of a package manager's file of settings that hold a login; none of a file of
/// another name. What stands in a URL is looked for in each of them.
fn login_in(name: &[u8]) -> Option<&'static [LoginKey]> {
    use LoginKey::{Named, Valued};
    match name {
        b".npmrc" | b".yarnrc" => Some(&[Named("_auth"), Named("_password")]),
        b".yarnrc.yml" => Some(&[Valued("npmAuthToken"), Valued("npmAuthIdent")]),
        b"pip.conf" | b"pip.ini" => Some(&[]),
        b"bunfig.toml" | b"pdm.toml" | b".pdm.toml" | b"auth.toml" | b"credentials.toml" => {
            Some(&[Valued("token"), Valued("password"), Valued("_authToken")])
        }
        _ => None,
    }
}

impl LoginKey {
    fn is_in(self, line: &str) -> bool {
        match self {
            Self::Named(word) => line.split('=').next().unwrap_or_default().contains(word),
            Self::Valued(word) => line.match_indices(word).any(|(at, _)| {
                let is_of_a_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
                let (before, after) = (
                    &line[..at],
                    line[at + word.len()..].trim_start_matches(['"', '\'']),
                );
                let value = after.trim_start().strip_prefix(['=', ':']).unwrap_or_default();
                let value = value.trim_start().trim_start_matches(['"', '\'']);
                !before.ends_with(is_of_a_name) && value.starts_with(|c: char| !"\"'${#,}".contains(c))
            }),
        }
    }
}

/// Whether a package manager's file of this name and text holds a login, and so is no input.
pub fn holds_login(name: &str, text: &str) -> bool {
    login_in(name.as_bytes()).is_some_and(|keys| has_login(text.as_bytes(), keys))
}

/// Whether a file of settings has one of these keys, or a URL with a login.
fn has_login(content: &[u8], keys: &[LoginKey]) -> bool {
    let text = String::from_utf8_lossy(content);
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']));
    lines.any(|line| {
        let in_url = line.split("://").skip(1).any(|rest| {
            let authority = rest.split(['/', ' ', '"', '\'']).next().unwrap_or_default();
            authority.contains('@')
        });
        in_url || keys.iter().any(|key| key.is_in(line))
    })
}

fn is_database(path: &[u8]) -> bool {
    let in_data = |prefix: &[u8]| {
        path.strip_prefix(b"data/")
            .is_some_and(|rest| rest.starts_with(prefix) && !rest.contains(&b'/'))
    };
    in_data(b"postgres") || in_data(b"pg") || is_database_name(name_of(path))
}

fn is_database_name(name: &[u8]) -> bool {
    let plain: Vec<u8> = name
        .iter()
        .filter(|byte| !b".-_".contains(byte))
        .copied()
        .collect();
    matches!(plain.as_slice(), b"pgdata" | b"postgresdata" | b"postgresqldata")
}

#[cfg(test)]
mod tests;
