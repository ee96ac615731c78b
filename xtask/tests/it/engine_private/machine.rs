//! Cache folders with a private engine each, and a disk that is small.
#![expect(clippy::disallowed_methods, reason = "tests are a world of their own")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use build::base::bootstrap::{BootstrappedBase, Recipe, base};
use definition::base::Distribution;
use engine::Engine;
use engine::private::Private;
use host::process::Runner;
use host::report::Report;
use host::{Environment, Host};
use tempfile::TempDir;

use crate::sandbox;

/// A cache folder of its own with an engine that goes with it.
pub(crate) struct Machine {
    pub(crate) host: Host,
    cache: TempDir,
}

impl Machine {
    /// With the programs already there; `None` where nobody may start an engine.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            sandbox::skipped("a private engine needs root");
            return None;
        }
        let cache = tempfile::tempdir().unwrap();
        let engine = cache.path().join("engine");
        std::fs::create_dir(&engine).unwrap();
        let copied = Command::new("cp")
            .arg("-al")
            .arg(shared().join("engine/packages"))
            .arg(engine)
            .status();
        assert!(copied.unwrap().success());
        Some(Self { host: host(), cache })
    }

    pub(crate) fn cache(&self) -> &Path {
        self.cache.path()
    }

    pub(crate) fn private(&self) -> Private {
        private(self.cache())
    }

    pub(crate) fn up(&self) -> Engine {
        self.private().up(&self.host).unwrap()
    }

    /// The reference of a base that is in the engine now.
    pub(crate) fn load_base(&self, engine: &Engine) -> String {
        let base = make_base(shared(), &self.host);
        engine.load(&self.host.runner, &base.archive).unwrap();
        base.reference
    }

    /// Stdout, or stderr of a failure.
    pub(crate) fn docker(&self, engine: &Engine, args: &[&str]) -> Result<String, String> {
        let output = engine.cmd(&self.host.runner, args).output().unwrap();
        if output.success() {
            Ok(output.stdout_text())
        } else {
            Err(output.stderr_text())
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nothing to purge after a purge.
        self.private().purge(&self.host).ok();
    }
}

/// A file system of its own below a private engine's data.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// `None` where a container, say, may not mount one.
    pub(crate) fn small(cache: &Path, at: &Path) -> Option<Self> {
        let image = cache.join("disk.img");
        std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        std::fs::create_dir_all(at).unwrap();
        // None of it is kept for root.
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-m", "0"]).arg(&image);
        let made = make.status().is_ok_and(|status| status.success());
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(at);
        let mounted = made && mount.output().unwrap().status.success();
        mounted.then(|| Self(at.to_owned()))
    }

    /// Leaves not one byte; returns the file that takes them.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        let zeros = [0; 4096];
        while file.write_all(&zeros).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(status.unwrap().success());
    }
}

pub(crate) fn docker(machine: &Machine, engine: &Engine, args: &[&str]) -> String {
    machine.docker(engine, args).unwrap()
}

/// Provisioned once, over what a killed run left behind.
pub(crate) fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("private-engine");
        let engine = cache.join("engine");
        for (half, file) in [("packages", "usr/bin/docker"), ("scratch", "root/usr/bin/docker")] {
            let path = engine.join(half).join(file);
            std::fs::remove_dir_all(engine.join(half)).ok();
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"half an exec").unwrap();
        }
        let packages = private(&cache).provision(&host()).unwrap();
        assert!(std::fs::metadata(packages.docker()).unwrap().len() > 1_000_000);
        assert!(!engine.join("scratch").exists());
        cache
    })
}

pub(crate) fn private(cache: &Path) -> Private {
    Private::at(cache)
        .unwrap()
        .forwarding_by(env!("CARGO_BIN_EXE_xtask").into())
}

pub(crate) fn make_base(cache: &Path, host: &Host) -> BootstrappedBase {
    let packages = ["ca-certificates".to_owned()];
    let recipe = Recipe {
        set: "debian",
        distribution: Distribution::Debian,
        suite: "trixie",
        packages: &packages,
    };
    base(recipe, cache, false, host).unwrap()
}

pub(crate) fn host() -> Host {
    Host {
        env: Environment {
            path: std::env::var_os("PATH"),
            ..Environment::default()
        },
        root: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
        runner: Runner::new(Arc::new(AtomicBool::new(false))).unwrap(),
        report: Report::new(true, false),
    }
}
