//! The engine's programs, taken from distribution packages without installing
//! anything: fetched and verified by apt, extracted into a folder.
//!
//! The engine itself comes from the machine's own release where that has one
//! new enough, else from the first Debian release that has. What touches the
//! kernel or other libraries (runc, iptables, slirp4netns) always comes from
//! the machine's own release: a newer runc wants a newer libc, and then dockerd
//! starts but every container fails.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::apt;
use crate::apt::sources::{self, OsRelease, Source};
use crate::{INSTALL_ENGINE, OLDEST_ENGINE};
use definition::base::Distribution;
use host::disk;

use host::Host;
use host::report::{megabytes, seconds};

/// The Debian release whose engine runs on older ones too (glibc 2.34).
pub const NEWER_DEBIAN: &str = "trixie";

/// The most bytes that fetching and extracting take on disk at one time: indices,
/// 90 MB of packages, 370 MB of programs.
const SPACE_NEEDED: u64 = 800_000_000;

/// Programs from the machine's own release; the libraries they need come along
/// where the machine lacks them.
const COMPANIONS: [&str; 4] = ["runc", "iptables", "slirp4netns", "tini"];

/// What lies in the folder; written last, so its presence says "complete".
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Manifest {
    /// Package file names, which carry the versions.
    pub(crate) packages: Vec<String>,
}

/// A complete set of programs.
#[derive(Debug)]
pub struct Packages {
    dir: PathBuf,
    /// Which packages it was made of.
    pub(crate) manifest: Manifest,
}

impl Packages {
    /// The programs in `dir`, if they are all there.
    pub(crate) fn existing(dir: &Path) -> Option<Self> {
        let text = fs_err::read_to_string(dir.join("manifest.json")).ok()?;
        Some(Self {
            dir: dir.to_owned(),
            manifest: serde_json::from_str(&text).ok()?,
        })
    }

    /// Fetches and extracts the programs into `dir`, which appears complete or
    /// not at all. `scratch` is for apt's files and half-done work and is gone
    /// afterwards.
    ///
    /// # Errors
    /// `Environment` for want of network, packages or space.
    pub(crate) fn provision(dir: &Path, scratch: &Path, host: &Host) -> Result<Self> {
        disk::require_space(dir.parent().unwrap_or(dir), SPACE_NEEDED, "the private engine")?;
        // Also what a killed run has left.
        disk::remove(scratch)?;
        let made = make(dir, scratch, host);
        disk::remove(scratch)?;
        let manifest = made?;
        Ok(Self {
            dir: dir.to_owned(),
            manifest,
        })
    }

    /// The path of the docker CLI among the unpacked packages.
    pub fn docker(&self) -> PathBuf {
        self.dir.join("usr/bin/docker")
    }

    /// Where buildx and compose lie.
    pub(crate) fn cli_plugins(&self) -> PathBuf {
        self.dir.join("usr/libexec/docker/cli-plugins")
    }

    /// docker-init, which dockerd puts before a container's program for
    /// `--init`.
    pub(crate) fn init(&self) -> PathBuf {
        self.dir.join("links/docker-init")
    }

    /// iptables for a kernel without nf_tables.
    pub(crate) fn legacy_iptables(&self) -> PathBuf {
        self.dir.join("links-legacy")
    }

    /// `PATH` for the daemon: these programs, then the system's.
    pub(crate) fn path(&self) -> String {
        let own = ["links", "usr/sbin", "usr/bin", "sbin", "bin"]
            .map(|dir| self.dir.join(dir).display().to_string());
        format!(
            "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            own.join(":")
        )
    }

    /// Folders with libraries the machine lacked.
    pub(crate) fn libraries(&self) -> Vec<PathBuf> {
        let lib = self.dir.join("usr/lib");
        let Ok(entries) = fs_err::read_dir(lib) else {
            return Vec::new();
        };
        let multiarch = |path: &PathBuf| path.to_string_lossy().ends_with("-linux-gnu");
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(multiarch)
            .collect()
    }
}

fn make(dir: &Path, scratch: &Path, host: &Host) -> Result<Manifest> {
    let root = scratch.join("root");
    fs_err::create_dir_all(&root)?;
    let debs = fetch(scratch, host)?;
    let started = Instant::now();
    apt::extract(&debs, &root, host)?;
    link_programs(&root)?;
    host.report
        .detail(format!("extracted in {}", seconds(started.elapsed())));
    let name = |deb: &PathBuf| Some(deb.file_stem()?.to_string_lossy().replace("%3a", ":"));
    let manifest = Manifest {
        packages: debs.iter().filter_map(name).collect(),
    };
    fs_err::write(root.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    disk::remove(dir)?;
    fs_err::rename(&root, dir)?;
    Ok(manifest)
}

fn fetch(scratch: &Path, host: &Host) -> Result<Vec<PathBuf>> {
    let system = OsRelease::read(Path::new("/"));
    let configured = sources::configured(Path::new("/"))?;
    let distribution = system.distribution.context("neither Debian nor Ubuntu")?;
    let own = sources::of_suite(&configured, distribution, &system.codename);
    let started = Instant::now();
    host.report
        .step("engine", format!("fetch packages from {}", mirrors(&own)));
    let release = apt::Root::fetch(&scratch.join("apt"), &own, host)?;
    let available = release.candidates(&ENGINE_NAMES, host)?;
    let mut names: Vec<String> = COMPANIONS.map(str::to_owned).to_vec();
    let engine = choose(&available);
    names.extend(engine.iter().flatten().cloned());
    let mut debs = release.fetch_with_missing_dependencies(&names, host)?;
    if engine.is_none() {
        debs.extend(fetch_newer(scratch, &configured, host)?);
    }
    let mut bytes = 0;
    for deb in &debs {
        bytes += fs_err::metadata(deb)?.len();
    }
    host.report.detail(format!(
        "{} packages, {} in {}",
        debs.len(),
        megabytes(bytes),
        seconds(started.elapsed())
    ));
    Ok(debs)
}

/// Names differ: Ubuntu's `docker.io` contains the command and its compose v2
/// has a name of its own.
const ENGINE_NAMES: [&str; 6] = [
    "docker.io",
    "docker-cli",
    "docker-buildx",
    "docker-compose-v2",
    "docker-compose",
    "containerd",
];

/// The packages to take from the machine's own release, or none where its
/// engine is too old or incomplete.
fn choose(available: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let new_enough = apt::major(available.get("docker.io")?)? >= OLDEST_ENGINE.0;
    if !new_enough || !available.contains_key("docker-buildx") {
        return None;
    }
    let mut names = vec!["docker.io", "docker-buildx", "containerd"];
    if available.contains_key("docker-cli") {
        names.push("docker-cli");
    }
    // `docker-compose` next to it is the Python one; without it, it is v2.
    let compose = ["docker-compose-v2", "docker-compose"];
    names.extend(compose.into_iter().find(|name| available.contains_key(*name)));
    Some(names.into_iter().map(str::to_owned).collect())
}

fn fetch_newer(scratch: &Path, configured: &[Source], host: &Host) -> Result<Vec<PathBuf>> {
    let newer = sources::of_suite(configured, Distribution::Debian, NEWER_DEBIAN);
    if newer.is_empty() {
        let (major, _) = OLDEST_ENGINE;
        return Err(failure::environment(format!(
            "this machine's release has no Docker Engine {major} or newer, and no Debian mirror is configured"
        ))
        .hint(INSTALL_ENGINE)
        .into());
    }
    host.report.detail(format!(
        "its engine is too old; taking that of Debian {NEWER_DEBIAN} from {}",
        mirrors(&newer)
    ));
    let root = apt::Root::fetch(&scratch.join("apt-newer"), &newer, host)?;
    let names = choose(&root.candidates(&ENGINE_NAMES, host)?)
        .with_context(|| format!("Debian {NEWER_DEBIAN} has no complete engine on this mirror"))?;
    root.fetch_only(&names, host)
}

fn mirrors(sources: &[Source]) -> String {
    let mut uris: Vec<&str> = sources.iter().flat_map(Source::uris).collect();
    uris.sort_unstable();
    uris.dedup();
    uris.join(", ")
}

/// Names that maintainer scripts or `update-alternatives` would have made.
fn link_programs(root: &Path) -> Result<()> {
    let programs = [
        "iptables",
        "iptables-save",
        "iptables-restore",
        "ip6tables",
        "ip6tables-save",
        "ip6tables-restore",
    ];
    for (folder, variant) in [
        ("links", "xtables-nft-multi"),
        ("links-legacy", "xtables-legacy-multi"),
    ] {
        let dir = root.join(folder);
        fs_err::create_dir_all(&dir)?;
        // Where the machine has iptables itself, apt fetched it again; only a
        // local build that no mirror has is not among the packages.
        let found = ["usr/sbin", "sbin"]
            .map(|sbin| root.join(sbin).join(variant))
            .into_iter()
            .find(|path| path.exists());
        for program in programs.iter().filter(|_| found.is_some()) {
            symlink(relative(root, found.as_deref()), dir.join(program))?;
        }
    }
    // Static first: containers get it mounted whatever their libc is.
    let inits = ["usr/bin/tini-static", "usr/bin/tini"];
    let init = inits.into_iter().find(|path| root.join(path).exists());
    let init = init.context("package tini has no program tini")?;
    symlink(Path::new("..").join(init), root.join("links/docker-init"))?;
    Ok(())
}

/// Relative, because the folder is renamed when it is complete.
fn relative(root: &Path, path: Option<&Path>) -> PathBuf {
    let inside = path
        .and_then(|path| path.strip_prefix(root).ok())
        .unwrap_or(Path::new(""));
    Path::new("..").join(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter()
            .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
            .collect()
    }

    #[test]
    fn debian_13_and_ubuntu_24_serve_themselves() {
        let trixie = available(&[
            ("docker.io", "26.1.5+dfsg1-9"),
            ("docker-cli", "26.1.5+dfsg1-9"),
            ("docker-buildx", "0.13.1+ds1-3"),
            ("docker-compose", "2.26.1-4"),
            ("containerd", "1.7.24~ds1-6"),
        ]);
        let names = choose(&trixie).unwrap();
        assert_eq!(
            names,
            [
                "docker.io",
                "docker-buildx",
                "containerd",
                "docker-cli",
                "docker-compose"
            ]
        );
        let noble = available(&[
            ("docker.io", "27.5.1-0ubuntu3~24.04.2"),
            ("docker-buildx", "0.20.1-0ubuntu1~24.04.2"),
            ("docker-compose-v2", "2.33.0"),
            ("docker-compose", "1.29.2-6"),
            ("containerd", "1.7.27"),
        ]);
        let names = choose(&noble).unwrap();
        assert_eq!(
            names,
            ["docker.io", "docker-buildx", "containerd", "docker-compose-v2"]
        );
    }

    #[test]
    fn an_old_or_incomplete_engine_is_not_taken() {
        let bookworm = available(&[("docker.io", "20.10.24+dfsg1-1"), ("docker-buildx", "0.13.1")]);
        assert_eq!(choose(&bookworm), None);
        assert_eq!(choose(&available(&[("docker.io", "26.1.5")])), None);
        assert_eq!(choose(&available(&[])), None);
    }

    #[test]
    fn half_done_work_is_not_taken_for_complete() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Packages::existing(dir.path()).is_none());
        fs_err::write(dir.path().join("manifest.json"), "{\"packages\": [").unwrap();
        assert!(Packages::existing(dir.path()).is_none());
        fs_err::write(dir.path().join("manifest.json"), "{\"packages\": [\"runc_1\"]}").unwrap();
        assert!(Packages::existing(dir.path()).is_some());
    }
}
