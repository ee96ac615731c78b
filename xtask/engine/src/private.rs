//! The private engine: a Docker Engine that the tool starts itself where there
//! is none, from distribution packages, beside whatever else runs.
//!
//! It lives in the user's cache folder, so every checkout uses the same one:
//!
//! ```text
//! engine.lock       held while somebody provisions, starts, stops or purges
//! engine/hive-private-engine  says that the folder is ours
//! engine/packages/  programs; appears complete or not at all
//! engine/scratch/   half-done provisioning; the next run starts it over
//! engine/run/       files of the running engine: socket, log, configuration
//! engine/data/      images, containers, volumes
//! ```

mod daemon;
mod folder;
pub mod forward;
mod network;
mod packages;
mod requirements;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;

use crate::api::Api;
use crate::private::daemon::Daemon;
pub use crate::private::packages::{NEWER_DEBIAN, Packages};
pub(crate) use crate::private::requirements::{Missing, refusal};
use crate::{Engine, Owner};
use host::Host;
use host::disk;
use host::lock;
use host::report::seconds;

/// Bytes that have to be free at a start: containers, build cache and logs grow.
const SPACE_TO_RUN: u64 = 500_000_000;

/// The private engine of a cache folder, running or not.
#[derive(Debug)]
pub struct Private {
    cache_dir: PathBuf,
    program: PathBuf,
}

/// What there is of the engine.
#[derive(Debug)]
pub struct Status {
    /// The packages it was made of; none before the first provisioning.
    pub packages: Option<Vec<String>>,
    /// The process at the top, while any process of it lives.
    pub pid: Option<i32>,
    /// Whether its API answers at this moment.
    pub answers: bool,
    /// The socket that its API listens on.
    pub socket: PathBuf,
    /// The file that the engine writes its log to.
    pub log: PathBuf,
    /// Its images, containers and volumes.
    pub data: PathBuf,
}

impl Private {
    /// The engine of `cache_dir`, which need not exist. The path is resolved:
    /// the engine outlives the current folder, and mounts are known by theirs.
    ///
    /// # Errors
    /// When the current directory does not exist.
    pub fn at(cache_dir: &Path) -> Result<Self> {
        let cache_dir = disk::resolved(cache_dir)?;
        // dockerd's configuration is JSON, and `:` ends a path in its options.
        if cache_dir.to_str().is_none_or(|path| path.contains(':')) {
            let message = format!(
                "the cache folder {} has a name that Docker cannot use: it is not UTF-8, or has a colon",
                cache_dir.display()
            );
            return Err(failure::environment(message)
                .hint("set HIVE_CACHE_DIR to another folder")
                .into());
        }
        Ok(Self {
            cache_dir,
            // Readable even when cargo has replaced the file meanwhile.
            program: PathBuf::from("/proc/self/exe"),
        })
    }

    /// With another program than the running one to forward published ports:
    /// where this crate is used from a binary that is not `xtask`.
    #[must_use]
    pub fn forwarding_by(self, program: PathBuf) -> Self {
        Self { program, ..self }
    }

    /// Everything the machine lacks for it, at once; see [`refusal`].
    pub(crate) fn requirements(&self, host: &Host) -> Vec<Missing> {
        requirements::missing(host)
    }

    /// Makes its programs ready; needs the network the first time only.
    ///
    /// # Errors
    /// `Environment`: see [`refusal`] and [`Packages::provision`].
    pub fn provision(&self, host: &Host) -> Result<Packages> {
        let _lock = self.lock(host)?;
        self.provision_locked(host)
    }

    /// The running engine, started or provisioned as needed.
    ///
    /// # Errors
    /// `Environment` when it cannot be provisioned or does not come up.
    pub fn up(&self, host: &Host) -> Result<Engine> {
        if let Some(engine) = self.running() {
            return Ok(engine);
        }
        // Before anything is written: programs of another user's run may be there.
        let missing = self.requirements(host);
        if !missing.is_empty() {
            return Err(refusal(&missing).into());
        }
        let _lock = self.lock(host)?;
        let packages = self.provision_locked(host)?;
        let daemon = self.daemon();
        // Alive and silent: somebody's start was cut short, it ends, or it hangs.
        if daemon.is_alive() && (daemon.answers() || daemon.wait_until_up(host).is_ok()) {
            return Ok(self.engine(&packages));
        }
        host.runner.check_interrupt()?;
        if daemon.is_alive() {
            host.report
                .warn("the private engine does not answer, restarting it");
        }
        // Also after kill -9 or a reboot.
        daemon.stop(host)?;
        disk::require_space(&self.dir(), SPACE_TO_RUN, "the private engine's data")?;
        let started = Instant::now();
        host.report.step(
            "engine",
            format!("start the private engine in {}", self.dir().display()),
        );
        daemon.start(&packages, &self.program, host)?;
        host.report
            .detail(format!("answers after {}", seconds(started.elapsed())));
        Ok(self.engine(&packages))
    }

    /// How to talk to it, if it runs and answers; starts nothing.
    pub fn running(&self) -> Option<Engine> {
        let daemon = self.daemon();
        if !daemon.is_alive() || !daemon.answers() {
            return None;
        }
        Packages::existing(&self.packages_dir()).map(|packages| self.engine(&packages))
    }

    /// What there is of it; starts nothing.
    pub fn status(&self) -> Status {
        let daemon = self.daemon();
        Status {
            packages: Packages::existing(&self.packages_dir()).map(|packages| packages.manifest.packages),
            pid: daemon.pid().map(|pid| pid.as_raw_nonzero().get()),
            answers: daemon.answers(),
            socket: daemon.socket(),
            log: daemon.log(),
            data: self.data_dir(),
        }
    }

    /// Stops it; images, containers and volumes stay. Returns whether it ran.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub fn down(&self, host: &Host) -> Result<bool> {
        if !self.dir().exists() {
            return Ok(false);
        }
        folder::recognise(&self.dir())?;
        let _lock = self.lock(host)?;
        self.daemon().stop(host)
    }

    /// Stops it and deletes everything of it: programs, images, containers and
    /// **volumes**. The caller has a flag of the user's that says so.
    ///
    /// # Errors
    /// When it cannot be stopped or a file cannot be removed; before anything
    /// happens where the folder is not recognisably ours, or has a link or a
    /// mount inside.
    pub fn purge(&self, host: &Host) -> Result<()> {
        folder::may_go(&self.dir())?;
        if !self.dir().exists() && !self.lock_path().exists() {
            return Ok(());
        }
        let _lock = self.lock(host)?;
        self.daemon().stop(host)?;
        disk::remove(&self.dir())?;
        fs_err::remove_file(self.lock_path())?;
        Ok(())
    }

    /// Its images, containers and volumes.
    pub fn data_dir(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// What `DOCKER_HOST` is for clients of this engine.
    pub(crate) fn docker_host(&self) -> String {
        format!("unix://{}", self.daemon().socket().display())
    }

    fn provision_locked(&self, host: &Host) -> Result<Packages> {
        if let Some(packages) = Packages::existing(&self.packages_dir()) {
            folder::claim(&self.dir())?;
            return Ok(packages);
        }
        let missing = self.requirements(host);
        if !missing.is_empty() {
            return Err(refusal(&missing).into());
        }
        folder::claim(&self.dir())?;
        folder::can_serve(&self.dir(), host)?;
        self.daemon().socket_fits()?;
        Packages::provision(&self.packages_dir(), &self.dir().join("scratch"), host)
    }

    fn engine(&self, packages: &Packages) -> Engine {
        let daemon = self.daemon();
        let text = |path: PathBuf| path.display().to_string();
        Engine {
            owner: Owner::Private,
            api: Api::at_socket(daemon.socket()),
            docker: packages.docker(),
            env: vec![
                ("DOCKER_HOST".to_owned(), self.docker_host()),
                ("BUILDX_BUILDER".to_owned(), "default".to_owned()),
                // Knows where buildx and compose lie.
                ("DOCKER_CONFIG".to_owned(), text(daemon.client_config())),
            ],
        }
    }

    fn daemon(&self) -> Daemon {
        Daemon::new(self.dir().join("run"), self.data_dir())
    }

    fn dir(&self) -> PathBuf {
        self.cache_dir.join("engine")
    }

    fn packages_dir(&self) -> PathBuf {
        self.dir().join("packages")
    }

    /// Beside the folder, so that a purge can delete the folder while it holds
    /// the lock.
    fn lock_path(&self) -> PathBuf {
        self.cache_dir.join("engine.lock")
    }

    fn lock(&self, host: &Host) -> Result<lock::HeldLock> {
        lock::exclusive(
            &self.lock_path(),
            "another run is busy with the private engine",
            host,
        )
    }
}
