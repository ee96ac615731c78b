//! apt as a library of packages: the machine's own mirrors and keys, used from
//! private state and cache folders, so that the system's lists, locks and
//! database stay as they are. apt verifies everything; no check is turned off.

pub mod sources;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::apt::sources::Source;
use host::disk;
use inputs::regular;

use host::Host;
use host::process::Command;
use host::proxies;

/// Fetching indices or packages over a slow line.
const FETCH_DEADLINE: Duration = Duration::from_secs(900);

/// Four hundred megabytes onto a slow disk.
const EXTRACT_DEADLINE: Duration = Duration::from_secs(600);

/// apt with lists, cache and sources of its own.
#[derive(Debug)]
pub struct Root {
    dir: PathBuf,
}

impl Root {
    /// Lays out `dir` for `sources` and fetches their indices.
    ///
    /// # Errors
    /// `Environment` when a mirror does not answer or its signature is bad.
    pub fn fetch(dir: &Path, sources: &[Source], host: &Host) -> Result<Self> {
        let root = Self { dir: dir.to_owned() };
        for folder in ["lists/partial", "cache", "archives/partial", "state"] {
            fs_err::create_dir_all(dir.join(folder))?;
        }
        let stanzas: Vec<String> = sources.iter().map(Source::to_stanza).collect();
        fs_err::write(dir.join("private.sources"), stanzas.join("\n"))?;
        let mut settings = configuration(dir);
        if let Some(logins) = sources::auth_conf(sources) {
            // In place of the machine's own file, so with what that has.
            let own = fs_err::read_to_string("/etc/apt/auth.conf").unwrap_or_default();
            let file = dir.join("auth.conf");
            regular::replace(&file, format!("{own}\n{logins}").as_bytes())
                .with_context(|| format!("write {}", file.display()))?;
            settings.push_str(&format!("Dir::Etc::netrc \"{}\";\n", file.display()));
        }
        fs_err::write(dir.join("apt.conf"), settings)?;
        let update = root
            .command(host, "apt-get")
            .args(["--error-on=any", "update"])
            .output()?;
        if !update.success() {
            let uris: Vec<&str> = sources.iter().flat_map(Source::uris).collect();
            return Err(failure::environment(format!(
                "cannot fetch package indices from {}{}",
                uris.join(", "),
                host::process::tail(update.stderr_text().as_bytes())
            ))
            .hint("check the network and the machine's apt sources with `apt-get update`")
            .into());
        }
        Ok(root)
    }

    /// The version that would be installed, for each of `names` that has one.
    ///
    /// # Errors
    /// When apt-cache fails.
    pub fn candidates(&self, names: &[&str], host: &Host) -> Result<BTreeMap<String, String>> {
        let text = self.command(host, "apt-cache").arg("policy").args(names).read()?;
        Ok(parse_policy(&text))
    }

    /// Fetches `names`, and whatever of their dependencies the machine lacks,
    /// and returns the verified `.deb` files.
    ///
    /// # Errors
    /// `Environment` when a package cannot be fetched or resolved.
    pub fn fetch_with_missing_dependencies(&self, names: &[String], host: &Host) -> Result<Vec<PathBuf>> {
        self.clear()?;
        let output = self
            .command(host, "apt-get")
            .args(["install", "--yes", "--download-only", "--reinstall"])
            .args(["--no-install-recommends", "--allow-downgrades"])
            .args(names)
            .output()?;
        self.fetched(names, &output)
    }

    /// Fetches exactly `names`, without dependencies.
    ///
    /// # Errors
    /// `Environment` when a package cannot be fetched.
    pub fn fetch_only(&self, names: &[String], host: &Host) -> Result<Vec<PathBuf>> {
        self.clear()?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        // `download` writes into the current directory and nowhere else.
        let output = in_english(mortal(host, "env"))
            .arg("--chdir")
            .arg(self.dir.join("archives"))
            .args(["apt-get", "--config-file"])
            .arg(self.dir.join("apt.conf"))
            .arg("download")
            .args(names)
            .output()?;
        self.fetched(names, &output)
    }

    fn fetched(&self, names: &[String], output: &host::process::Output) -> Result<Vec<PathBuf>> {
        if !output.success() {
            return Err(failure::environment(format!(
                "cannot fetch packages {}{}",
                names.join(", "),
                host::process::tail(output.stderr_text().as_bytes())
            ))
            .hint("check the network and the machine's apt sources with `apt-get update`")
            .into());
        }
        let mut debs = Vec::new();
        for entry in fs_err::read_dir(self.dir.join("archives"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "deb") {
                debs.push(path);
            }
        }
        debs.sort();
        Ok(debs)
    }

    fn clear(&self) -> Result<()> {
        let archives = self.dir.join("archives");
        disk::remove(&archives)?;
        fs_err::create_dir_all(archives.join("partial"))?;
        Ok(())
    }

    fn command<'a>(&self, host: &'a Host, program: &str) -> Command<'a> {
        // Not by APT_CONFIG: the system's files would come after it and win.
        in_english(mortal(host, program))
            .arg("--config-file")
            .arg(self.dir.join("apt.conf"))
    }
}

/// A command of apt's, or of what calls it, that ends with this process, even by kill -9:
/// the next run deletes what it was about to write. It has the machine's proxies in the
/// spelling that apt reads.
pub fn mortal<'a>(host: &'a Host, program: &str) -> Command<'a> {
    let command = host.runner.cmd("setpriv").args(["--pdeathsig", "KILL", program]);
    proxies::of(&host.env.network).fold(command, |command, proxy| command.env(proxy.name, proxy.value))
}

fn in_english(command: Command<'_>) -> Command<'_> {
    command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .deadline(FETCH_DEADLINE)
}

/// Extracts `.deb` files on top of each other into `into`, as many at a time as
/// there are processors: most of the time goes into decompression.
///
/// # Errors
/// `Environment` when dpkg-deb fails, for instance for want of space.
pub fn extract(debs: &[PathBuf], into: &Path, host: &Host) -> Result<()> {
    fs_err::create_dir_all(into)?;
    if debs.is_empty() {
        return Ok(());
    }
    let mut names = Vec::new();
    for deb in debs {
        names.extend_from_slice(deb.as_os_str().as_bytes());
        names.push(0);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    mortal(host, "xargs")
        .args(["--null", "--replace={}", "--max-procs"])
        .arg(processors.to_string())
        .args(["dpkg-deb", "--extract", "{}"])
        .arg(into)
        .stdin(names)
        .deadline(EXTRACT_DEADLINE)
        .run()
        .with_context(|| failure::environment(format!("cannot extract packages into {}", into.display())))?;
    Ok(())
}

/// The engine's architecture in the distribution's words: `amd64`.
///
/// # Errors
/// When dpkg is missing.
pub fn architecture(host: &Host) -> Result<String> {
    host.runner.cmd("dpkg").arg("--print-architecture").read()
}

/// Everything apt would write lies in `dir`; hooks of the system are not run,
/// because they act on the system's caches.
fn configuration(dir: &Path) -> String {
    let at = |name: &str| format!("\"{}\"", dir.join(name).display());
    [
        format!("Dir::State {};", at("state")),
        format!("Dir::State::lists {};", at("lists")),
        "Dir::State::status \"/var/lib/dpkg/status\";".to_owned(),
        format!("Dir::Cache {};", at("cache")),
        format!("Dir::Cache::archives {};", at("archives")),
        "Dir::Cache::pkgcache \"\";".to_owned(),
        "Dir::Cache::srcpkgcache \"\";".to_owned(),
        format!("Dir::Etc::sourcelist {};", at("private.sources")),
        "Dir::Etc::sourceparts \"/dev/null\";".to_owned(),
        "Dir::Etc::preferences \"/dev/null\";".to_owned(),
        "Dir::Etc::preferencesparts \"/dev/null\";".to_owned(),
        // Only reads of the system's database: its lock is not ours to take.
        "Debug::NoLocking \"true\";".to_owned(),
        // The cache folder of a user is closed to `_apt`.
        "APT::Sandbox::User \"root\";".to_owned(),
        "Acquire::Languages \"none\";".to_owned(),
        // Without a network, say so soon.
        "Acquire::Retries \"2\";".to_owned(),
        "Acquire::http::Timeout \"15\";".to_owned(),
        "Acquire::https::Timeout \"15\";".to_owned(),
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";".to_owned(),
        "Acquire::IndexTargets::deb::CNF::DefaultEnabled \"false\";".to_owned(),
        "#clear APT::Update::Pre-Invoke;".to_owned(),
        "#clear APT::Update::Post-Invoke;".to_owned(),
        "#clear APT::Update::Post-Invoke-Stats;".to_owned(),
        "#clear APT::Update::Post-Invoke-Success;".to_owned(),
        String::new(),
    ]
    .join("\n")
}

/// Package name to candidate version, from `apt-cache policy`.
fn parse_policy(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut package = None;
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = Some(name.to_owned());
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
            && version != "(none)"
            && let Some(name) = package.take()
        {
            found.insert(name, version.to_owned());
        }
    }
    found
}

/// The first number of a Debian version: 26 for `26.1.5+dfsg1-9`.
pub(crate) fn major(version: &str) -> Option<u32> {
    let upstream = version.split_once(':').map_or(version, |(_epoch, rest)| rest);
    let digits = upstream.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use host::Environment;
    use host::process::Runner;
    use host::report::Report;

    /// apt reads no capitals (apt-transport-http(1)).
    #[test]
    fn apt_gets_the_proxies_that_stand_in_capitals() {
        let network = [
            ("HTTP_PROXY", "http://me:p%40ss@proxy:3128"),
            ("NO_PROXY", "mirror.corp"),
        ];
        let host = Host {
            env: Environment {
                network: network
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                ..Environment::default()
            },
            root: "/".into(),
            runner: Runner::new(Arc::default()).unwrap(),
            report: Report::new(true, false),
        };
        let said = mortal(&host, "sh")
            .args(["-c", "echo $http_proxy $no_proxy"])
            .read()
            .unwrap();
        assert_eq!(said, "http://me:p%40ss@proxy:3128 mirror.corp");
    }

    #[test]
    fn policy_gives_candidates_only() {
        let text = "docker.io:\n  Installed: (none)\n  Candidate: 26.1.5+dfsg1-9\n  Version table:\n     \
                    26.1.5+dfsg1-9 500\n        500 http://x trixie/main amd64 Packages\nrunc:\n  \
                    Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        let found = parse_policy(text);
        assert_eq!(found.get("docker.io").map(String::as_str), Some("26.1.5+dfsg1-9"));
        assert!(!found.contains_key("runc"));
    }

    #[test]
    fn majors() {
        assert_eq!(major("26.1.5+dfsg1-9"), Some(26));
        assert_eq!(major("5:28.0~rc1"), Some(28));
        assert_eq!(major("unknown"), None);
    }

    #[test]
    fn configuration_keeps_out_of_the_system() {
        let text = configuration(Path::new("/c/apt"));
        for line in [
            "Dir::State \"/c/apt/state\";",
            "Dir::Cache::archives \"/c/apt/archives\";",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
