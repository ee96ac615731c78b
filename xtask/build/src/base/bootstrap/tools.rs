//! mmdebstrap, and what it needs that the machine lacks.

use std::path::{Path, PathBuf};

use anyhow::Result;

use definition::base::Distribution;
use engine::apt;
use engine::apt::sources::{self, OsRelease};
use engine::private::NEWER_DEBIAN;

use host::Host;

/// What mmdebstrap needs to run, from the system or unpacked for this.
pub(super) struct Tools {
    pub(super) program: PathBuf,
    /// For `PERL5LIB`: the modules of perl that were unpacked.
    pub(super) perl_libraries: String,
    /// For `LD_LIBRARY_PATH`: the libraries that were unpacked.
    pub(super) libraries: String,
    /// The distribution's keys, by which apt checks its packages.
    pub(super) keyring: PathBuf,
}

impl Tools {
    /// From the system, else from packages extracted below `scratch`.
    pub(super) fn find(distribution: Distribution, scratch: &Path, host: &Host) -> Result<Self> {
        let keyring = Path::new(distribution.keyring());
        let mut names = Vec::new();
        let installed = host.program("mmdebstrap");
        if installed.is_none() {
            names.push("mmdebstrap");
        }
        // A minimal system has the base of perl only.
        let perl = ["-MPOSIX", "-MPod::Usage", "-MTime::Local", "-MDigest::SHA", "-e1"];
        let full_perl = host.program("perl").is_some() && host.runner.cmd("perl").args(perl).succeeds()?;
        let root = scratch.join("tools");
        let mut missing: Vec<&str> = Vec::new();
        if !full_perl {
            missing.push("perl");
        }
        if !keyring.exists() {
            names.push(distribution.keyring_package());
        }
        fetch_tools(names, &missing, &root, scratch, host)?;
        Ok(Self {
            program: installed.unwrap_or_else(|| root.join("usr/bin/mmdebstrap")),
            perl_libraries: perl_folders(&root),
            libraries: library_folders(&root),
            keyring: if keyring.exists() {
                keyring.to_owned()
            } else {
                root.join(keyring.strip_prefix("/")?)
            },
        })
    }
}

/// Fetches `alone` without and `whole` with their dependencies.
fn fetch_tools(alone: Vec<&str>, whole: &[&str], root: &Path, scratch: &Path, host: &Host) -> Result<()> {
    if alone.is_empty() && whole.is_empty() {
        return Ok(());
    }
    let system = OsRelease::read(Path::new("/"));
    let configured = sources::configured(Path::new("/"))?;
    let distribution = system
        .distribution
        .ok_or_else(|| failure::environment(format!("{} is neither Debian nor Ubuntu", system.pretty)))?;
    let own = sources::of_suite(&configured, distribution, &system.codename);
    let apt = apt::Root::fetch(&scratch.join("apt"), &own, host)?;
    let known = apt.candidates(&alone, host)?;
    let (here, elsewhere): (Vec<&str>, Vec<&str>) =
        alone.into_iter().partition(|name| known.contains_key(*name));
    apt::extract(&apt.fetch_only(&owned(&here), host)?, root, host)?;
    if !whole.is_empty() {
        apt::extract(
            &apt.fetch_with_missing_dependencies(&owned(whole), host)?,
            root,
            host,
        )?;
    }
    if !elsewhere.is_empty() {
        // Another distribution's keys: older releases do not have them.
        let newer = sources::of_suite(&configured, distribution, NEWER_DEBIAN);
        let apt = apt::Root::fetch(&scratch.join("apt-newer"), &newer, host)?;
        apt::extract(&apt.fetch_only(&owned(&elsewhere), host)?, root, host)?;
    }
    Ok(())
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Where extracted perl packages keep their modules.
fn perl_folders(root: &Path) -> String {
    let mut folders = vec![root.join("usr/share/perl5")];
    for parent in ["usr/share/perl".into(), arch_folder(root).join("perl")] {
        folders.extend(subfolders(&root.join(parent)));
    }
    join(&folders)
}

fn library_folders(root: &Path) -> String {
    join(&[root.join(arch_folder(root))])
}

/// `usr/lib/x86_64-linux-gnu`, or a folder that does not exist.
fn arch_folder(root: &Path) -> PathBuf {
    let found = subfolders(&root.join("usr/lib"));
    let found = found
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    found.unwrap_or_else(|| root.join("usr/lib/none"))
}

fn subfolders(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

fn join(folders: &[PathBuf]) -> String {
    let there = folders.iter().filter(|folder| folder.is_dir());
    let texts: Vec<String> = there.map(|folder| folder.display().to_string()).collect();
    texts.join(":")
}
