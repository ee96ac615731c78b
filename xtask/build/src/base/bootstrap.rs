//! A base image made from distribution packages, for machines that reach a
//! package mirror but no registry.
//!
//! mmdebstrap installs the packages into a folder and writes it as a sorted tar
//! with constant times, which [`archive`] wraps. What was made is kept in the
//! cache folder under a key of everything it was made from, and used again
//! without the network until somebody asks for a fresh one.

mod tools;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::base::archive;
use definition::base::Distribution;
use engine::apt;
use engine::apt::sources::{self, Source};
use host::disk;
use inputs::regular;

use host::Host;
use host::lock;
use host::report::{megabytes, seconds};
use tools::Tools;

/// Part of the key: raise it when the making changes the result.
const RECIPE_VERSION: u32 = 1;

/// The most room that the tree, its tar and the archive take at one time, in bytes.
const SPACE_NEEDED: u64 = 900_000_000;

/// Slow mirrors and slow disks.
const DEADLINE: Duration = Duration::from_secs(1800);

/// What images never need; dpkg keeps to it in later stages too. Not given to
/// mmdebstrap as an option: it would filter with a Python program, which a bare
/// machine cannot run. Nobody needs half an installation after a power cut.
const DPKG_RULES: &str = "\
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/lintian/*
force-unsafe-io
";

const SET_UP: &str = "umask 022 && mkdir -p \"$1/etc/dpkg/dpkg.cfg.d\" && cp \"$HIVE_DPKG_RULES\" \"$1/etc/dpkg/dpkg.cfg.d/no-docs\"";

/// Only where mirrors want it: the logins, for as long as packages are fetched.
const LOG_IN: &str = "umask 077 && mkdir -p -m 755 \"$1/etc/apt/auth.conf.d\" && cp \"$HIVE_LOGINS\" \"$1/etc/apt/auth.conf.d/hive.conf\"";
const LOG_OUT: &str = "rm \"$1/etc/apt/auth.conf.d/hive.conf\"";

/// Removes what was extracted before dpkg could keep to its rules, and files
/// that differ between two runs or machines; puts the image's sources in place.
const FINISH: &str = "umask 022 && cd \"$1\" \
&& find usr/share/doc -type f ! -name copyright -delete \
&& find usr/share/doc -type l -delete \
&& find usr/share/doc -type d -empty -delete \
&& find usr/share/man usr/share/info usr/share/lintian -mindepth 1 -delete \
&& find usr/share/locale -mindepth 1 ! -name locale.alias -delete \
&& rm -rf etc/resolv.conf etc/hostname etc/machine-id var/lib/dbus/machine-id var/cache/ldconfig/aux-cache \
    var/cache/debconf/*-old var/lib/dpkg/*-old var/log/apt/* var/log/*.log \
&& cp \"$HIVE_SOURCES\" etc/apt/sources.list";

/// What to make a base from.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// The base set's name; becomes part of the image's name.
    pub set: &'a str,
    /// The distribution whose packages it is made from.
    pub distribution: Distribution,
    /// The codename of the release, such as `trixie`.
    pub suite: &'a str,
    /// On top of the essential packages, apt and its keys.
    pub packages: &'a [String],
}

/// A base image as a file for `docker load`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BootstrappedBase {
    /// `hive-base:<set>-<16 hex digits of the layer's digest>`.
    pub reference: String,
    /// SHA-256 of the layer, in hex.
    pub layer: String,
    /// The file; beside its description, wherever the cache folder lies.
    #[serde(skip)]
    pub archive: PathBuf,
    /// Size of the archive in bytes, to see at once that it was cut off.
    bytes: u64,
    /// BLAKE3 of the archive, in hex, to see that it was damaged.
    checksum: String,
}

/// The base of `recipe`, from the cache folder or made now; `fresh` makes it
/// anew, with the packages of today.
///
/// # Errors
/// `Environment`: no rights, no space, or the distribution cannot be reached.
pub fn base(recipe: Recipe<'_>, cache_dir: &Path, fresh: bool, host: &Host) -> Result<BootstrappedBase> {
    let dir = cache_dir.join("bases");
    fs_err::create_dir_all(&dir)?;
    // Older versions made archives that have logins of mirrors in them.
    fs_err::set_permissions(&dir, Permissions::from_mode(0o700))?;
    let _lock = lock::exclusive(&dir.join("lock"), "another run makes a base", host)?;
    let plan = BootstrapPlan::of(recipe, host)?;
    let place = dir.join(format!("{}-{}", recipe.set, plan.key()));
    if !fresh {
        match kept(&place) {
            Ok(Some(base)) => return Ok(base),
            Ok(None) => {}
            Err(error) => host.report.warn(format!("making the base again: {error:#}")),
        }
    }
    require(host)?;
    disk::require_space(&dir, SPACE_NEEDED, "a base image")?;
    // Also what a killed run has left.
    let scratch = dir.join("scratch");
    disk::remove(&scratch)?;
    fs_err::create_dir_all(&scratch)?;
    let made = make(&plan, &place, &scratch, host);
    // Never leave half a gigabyte behind a failure.
    disk::remove(&scratch)?;
    made
}

/// Everything that decides the result.
struct BootstrapPlan<'a> {
    recipe: Recipe<'a>,
    architecture: String,
    sources: Vec<Source>,
    /// The machine has no source of this distribution: its keys come from a
    /// package and its mirror is the official one.
    foreign: bool,
}

impl<'a> BootstrapPlan<'a> {
    fn of(recipe: Recipe<'a>, host: &Host) -> Result<Self> {
        let configured = sources::configured(Path::new("/"))?;
        let architecture = apt::architecture(host).map_err(|error| {
            failure::environment(format!(
                "a base can be made from packages on Debian and Ubuntu only: {error:#}"
            ))
            .hint("let the base come from a registry instead")
        })?;
        let own = sources::of_suite(&configured, recipe.distribution, recipe.suite);
        let foreign = own.is_empty();
        let sources = if foreign {
            sources::official(recipe.distribution, recipe.suite, &architecture)
        } else {
            own
        };
        Ok(Self {
            recipe,
            architecture,
            sources,
            foreign,
        })
    }

    /// Sixteen hex digits that name the base by everything that decides it: the
    /// name of its files in the cache folder.
    fn key(&self) -> String {
        let mut hash = blake3::Hasher::new();
        let mut part = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part(&RECIPE_VERSION.to_string());
        part(&self.architecture);
        part(&self.lines().join("\n"));
        part(DPKG_RULES);
        for argument in arguments(self, Path::new("")) {
            part(&argument);
        }
        hash.finalize().to_hex().as_str()[..16].to_owned()
    }

    /// The image's own sources: the mirror is the one that can be reached, the
    /// keyring the one inside the image.
    fn lines(&self) -> Vec<String> {
        let keyring = self.recipe.distribution.keyring();
        self.sources
            .iter()
            .flat_map(|source| source.to_lines(keyring))
            .collect()
    }
}

/// The base at `place`, if there is one.
///
/// # Errors
/// When there is one and it is damaged.
fn kept(place: &Path) -> Result<Option<BootstrappedBase>> {
    let described = place.with_extension("json");
    let Ok(text) = fs_err::read(&described) else {
        return Ok(None);
    };
    let mut base: BootstrappedBase =
        serde_json::from_slice(&text).with_context(|| format!("read {}", described.display()))?;
    base.archive = place.with_extension("tar");
    let bytes = fs_err::metadata(&base.archive)?.len();
    anyhow::ensure!(
        bytes == base.bytes && archive::checksum(&base.archive)? == base.checksum,
        "{} is damaged",
        base.archive.display()
    );
    Ok(Some(base))
}

fn make(plan: &BootstrapPlan<'_>, place: &Path, scratch: &Path, host: &Host) -> Result<BootstrappedBase> {
    let recipe = plan.recipe;
    let started = Instant::now();
    let uris: Vec<&str> = plan.sources.iter().flat_map(Source::uris).collect();
    host.report.step(
        "base",
        format!(
            "make {} from packages of {} {} at {}",
            recipe.set,
            recipe.distribution.name(),
            recipe.suite,
            uris.first().unwrap_or(&"no mirror")
        ),
    );
    let layer = scratch.join("layer.tar");
    bootstrap(plan, &layer, scratch, host)?;
    let digest = archive::digest(&layer)?;
    let reference = format!("hive-base:{}-{}", recipe.set, &digest[..16]);
    let half = scratch.join("archive.tar");
    let label = archive::Label {
        architecture: &plan.architecture,
        created_by: &format!("packages of {} {}", recipe.distribution.name(), recipe.suite),
    };
    archive::write(&layer, &digest, &reference, label, &half)?;
    let base = BootstrappedBase {
        reference,
        layer: digest,
        archive: place.with_extension("tar"),
        bytes: fs_err::metadata(&half)?.len(),
        checksum: archive::checksum(&half)?,
    };
    // The description comes last: without it the archive does not count.
    disk::remove(&place.with_extension("json"))?;
    fs_err::rename(half, &base.archive)?;
    let described = scratch.join("base.json");
    fs_err::write(&described, serde_json::to_vec_pretty(&base)?)?;
    fs_err::rename(described, place.with_extension("json"))?;
    host.report.detail(format!(
        "{}, {} in {}",
        base.reference,
        megabytes(base.bytes),
        seconds(started.elapsed())
    ));
    Ok(base)
}

fn bootstrap(plan: &BootstrapPlan<'_>, layer: &Path, scratch: &Path, host: &Host) -> Result<()> {
    let tools = Tools::find(plan.recipe.distribution, scratch, host)?;
    let lines = scratch.join("sources.list");
    fs_err::write(&lines, plan.lines().join("\n") + "\n")?;
    let rules = scratch.join("dpkg-rules");
    fs_err::write(&rules, DPKG_RULES)?;
    let input = input_lines(&plan.sources, &tools.keyring, scratch)?;
    let logins = scratch.join("auth.conf");
    if let Some(text) = sources::auth_conf(&plan.sources) {
        regular::replace(&logins, text.as_bytes()).with_context(|| format!("write {}", logins.display()))?;
    }
    // mmdebstrap binds the host's /dev and /sys into the tree. In namespaces of
    // its own they vanish with it, however it ends; outside, deleting the tree
    // after kill -9 would reach through them.
    let output = apt::mortal(host, "unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(&tools.program)
        .args(arguments(plan, layer))
        .env("SOURCE_DATE_EPOCH", archive::EPOCH.to_string())
        .env("TMPDIR", scratch)
        .env("HIVE_SOURCES", &lines)
        .env("HIVE_DPKG_RULES", &rules)
        .env("HIVE_LOGINS", &logins)
        .env("LC_ALL", "C.UTF-8")
        .env("PERL5LIB", tools.perl_libraries)
        .env("LD_LIBRARY_PATH", tools.libraries)
        .stdin(input)
        .deadline(DEADLINE)
        .output()?;
    if output.success() {
        return Ok(());
    }
    let said = host::process::tail(&output.stderr);
    let name = format!("{} {}", plan.recipe.distribution.name(), plan.recipe.suite);
    let failure = failure::environment(format!("cannot make a base from packages of {name}{said}"));
    Err(if plan.foreign {
        failure.hint(format!(
            "this machine has no apt source for {}: add a mirror of it to /etc/apt/sources.list.d, or choose another base set",
            plan.recipe.distribution.name()
        ))
    } else if said.contains("is expired") {
        failure.hint(format!(
            "the mirror of {name} stands still: a source of that suite with `Check-Valid-Until: no` in /etc/apt/sources.list.d \
             is taken before others, or choose another base set"
        ))
    } else {
        failure.hint("check the network and the machine's apt sources with `apt-get update`")
    }
    .into())
}

fn arguments(plan: &BootstrapPlan<'_>, layer: &Path) -> Vec<String> {
    let mut arguments = vec![
        "--mode=root".to_owned(),
        "--variant=minbase".to_owned(),
        "--format=tar".to_owned(),
        format!("--architectures={}", plan.architecture),
        "--aptopt=Acquire::Languages \"none\"".to_owned(),
        "--aptopt=Acquire::Retries \"3\"".to_owned(),
        "--aptopt=APT::Install-Recommends \"false\"".to_owned(),
    ];
    arguments.push(format!("--setup-hook={SET_UP}"));
    let logins = sources::auth_conf(&plan.sources).is_some();
    if logins {
        arguments.push(format!("--setup-hook={LOG_IN}"));
        arguments.push(format!("--customize-hook={LOG_OUT}"));
    }
    // Ubuntu does not count apt among the packages that every system needs.
    let mut packages = vec!["apt", plan.recipe.distribution.keyring_package()];
    packages.extend(plan.recipe.packages.iter().map(String::as_str));
    // Without it apt in the base believes no mirror that is asked by https.
    let mut mirrors = plan.sources.iter().flat_map(Source::uris);
    if mirrors.any(|uri| uri.starts_with("https:")) && !packages.contains(&"ca-certificates") {
        packages.push("ca-certificates");
    }
    arguments.push(format!("--include={}", packages.join(",")));
    arguments.push(format!("--customize-hook={FINISH}"));
    arguments.push(plan.recipe.suite.to_owned());
    arguments.push(layer.display().to_string());
    // The sources on standard input.
    arguments.push("-".to_owned());
    arguments
}

/// mmdebstrap's sources: as the image's, but with the keys of this machine.
fn input_lines(sources: &[Source], keyring: &Path, scratch: &Path) -> Result<String> {
    let mut text = String::new();
    for (n, source) in sources.iter().enumerate() {
        let block = scratch.join(format!("key-{n}.asc"));
        let keyring = match (source.keyring(), source.key_block()) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(key)) => {
                fs_err::write(&block, key)?;
                block
            }
            (None, None) => keyring.to_owned(),
        };
        for line in source.to_lines(&keyring.display().to_string()) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

fn require(host: &Host) -> Result<()> {
    if rustix::process::geteuid().is_root() && host.program("chroot").is_some() {
        return Ok(());
    }
    Err(
        failure::environment("making a base from packages needs root and chroot")
            .hint("run it as root, or where the registry answers")
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan<'a>(packages: &'a [String], mirror: &str) -> BootstrapPlan<'a> {
        let mut sources = sources::official(Distribution::Debian, "trixie", "amd64");
        sources.truncate(1);
        let text = sources[0].to_stanza().replace("deb.debian.org", mirror);
        let dir = tempfile::tempdir().unwrap();
        let lists = dir.path().join("etc/apt/sources.list.d");
        fs_err::create_dir_all(&lists).unwrap();
        fs_err::write(lists.join("x.sources"), text).unwrap();
        BootstrapPlan {
            recipe: Recipe {
                set: "debian",
                distribution: Distribution::Debian,
                suite: "trixie",
                packages,
            },
            architecture: "amd64".to_owned(),
            sources: sources::configured(dir.path()).unwrap(),
            foreign: false,
        }
    }

    #[test]
    fn key_moves_with_packages_and_mirror() {
        let one = ["ca-certificates".to_owned()];
        let two = ["ca-certificates".to_owned(), "curl".to_owned()];
        let base = plan(&one, "a.example").key();
        assert_eq!(base, plan(&one, "a.example").key());
        assert_ne!(base, plan(&two, "a.example").key());
        assert_ne!(base, plan(&one, "b.example").key());
    }

    #[test]
    fn image_keeps_the_mirror_and_its_own_keyring() {
        let plan = plan(&[], "a.example");
        assert_eq!(
            plan.lines()[0],
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/debian trixie main"
        );
        let dir = tempfile::tempdir().unwrap();
        let input = input_lines(&plan.sources, Path::new("/host/keys.gpg"), dir.path()).unwrap();
        assert!(
            input.starts_with("deb [signed-by=/host/keys.gpg] http://a.example/debian trixie main\n"),
            "{input}"
        );
    }

    #[test]
    fn packages_come_on_top_of_apt_and_keys() {
        let packages = ["ca-certificates".to_owned()];
        let arguments = arguments(&plan(&packages, "a.example"), Path::new("/s/layer.tar"));
        assert!(arguments.contains(&"--include=apt,debian-archive-keyring,ca-certificates".to_owned()));
        assert_eq!(arguments[arguments.len() - 3..], ["trixie", "/s/layer.tar", "-"]);
    }

    #[test]
    fn a_base_believes_mirrors_that_are_asked_by_https() {
        let mut plan = plan(&[], "a.example");
        let included = |plan: &BootstrapPlan<'_>| {
            let all = arguments(plan, Path::new("/s/layer.tar"));
            all.into_iter().find(|one| one.starts_with("--include=")).unwrap()
        };
        assert_eq!(included(&plan), "--include=apt,debian-archive-keyring");
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("etc/apt")).unwrap();
        fs_err::write(
            dir.path().join("etc/apt/sources.list"),
            "deb https://a.example/debian trixie main\n",
        )
        .unwrap();
        plan.sources = sources::configured(dir.path()).unwrap();
        assert_eq!(
            included(&plan),
            "--include=apt,debian-archive-keyring,ca-certificates"
        );
    }

    #[test]
    fn a_damaged_archive_is_told_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("debian-0");
        assert_eq!(kept(&place).unwrap(), None);
        let archive = place.with_extension("tar");
        fs_err::write(&archive, b"content").unwrap();
        let base = BootstrappedBase {
            reference: "hive-base:debian-0".to_owned(),
            layer: "0".to_owned(),
            archive: archive.clone(),
            bytes: 7,
            checksum: archive::checksum(&archive).unwrap(),
        };
        fs_err::write(place.with_extension("json"), serde_json::to_vec(&base).unwrap()).unwrap();
        assert_eq!(kept(&place).unwrap(), Some(base));
        fs_err::write(&archive, b"c0ntent").unwrap();
        assert!(kept(&place).unwrap_err().to_string().contains("is damaged"));
        fs_err::remove_file(&archive).unwrap();
        assert!(kept(&place).is_err());
    }
}
