//! What the rows share: a copy of the checkout, its images built and proved,
//! and the same images as plain bake builds them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::super::Bench;
use super::super::clock::Timed;
use super::BAKE;
use crate::buildkit::{self, Target};
use crate::catalog::{Apps, Catalog};
use crate::cli::Selection;
use crate::dockerfile;
use crate::engine::{Engine, Owner};
use crate::request::Request;
use crate::scratch::Scratch;
use crate::survey::ROOTFS;

/// A first build of all images with their proofs.
const DEADLINE: Duration = Duration::from_secs(3600);

/// What the rows share. Its images go with it.
#[derive(Debug)]
pub struct Scene {
    scratch: Scratch,
    engine: Engine,
    root: PathBuf,
    /// The reference of the base, once everything is built.
    base: OnceCell<String>,
    /// The bake file, once bake has built everything.
    bake: OnceCell<PathBuf>,
}

impl Scene {
    /// The copy; nothing is built yet.
    pub(super) fn open(bench: &Bench<'_>) -> Result<Self> {
        let engine = bench.engine()?.clone();
        let folder = bench.folder.join("fingerprint");
        Ok(Self {
            scratch: Scratch::new(bench.host, &engine, &folder, "bench")?,
            engine,
            root: bench.host.root.clone(),
            base: OnceCell::new(),
            bake: OnceCell::new(),
        })
    }

    /// The built binary on the copy.
    pub(super) fn xtask(&self, label: &str, args: &[&str]) -> Result<Timed> {
        let program = std::env::current_exe().context("find the running program")?;
        Ok(self.on_copy(Timed::new(label, program), args))
    }

    /// `cargo xtask` on the copy.
    pub(super) fn cargo_xtask(&self, label: &str, args: &[&str]) -> Timed {
        // cargo looks for its alias in the current folder.
        let cargo = Timed::new(label, "env")
            .args(["-C".as_ref(), self.root.as_os_str()])
            .args(["cargo", "xtask"]);
        self.on_copy(cargo, args)
    }

    fn on_copy(&self, timed: Timed, args: &[&str]) -> Timed {
        let engine = match self.engine.owner {
            Owner::System => "system",
            Owner::Private => "private",
        };
        timed
            .args(["--root".as_ref(), self.scratch.root.as_os_str()])
            .args(args)
            .args(["--engine", engine])
            .env("HIVE_STATE_DIR", &self.scratch.state)
    }

    /// Builds and proves all images of the copy; done once.
    pub(super) fn build(&self, bench: &Bench<'_>) -> Result<&str> {
        if let Some(base) = self.base.get() {
            return Ok(base);
        }
        bench.host.report.detail("builds and proves the images first");
        let document = self.scratch.build_images(bench.host, &[])?;
        let base = document
            .pointer("/base/reference")
            .and_then(Value::as_str)
            .context("`build-images --json` names no base")?;
        Ok(self.base.get_or_init(|| base.to_owned()))
    }

    /// Plain bake of the same Dockerfiles on the same folders, after a first
    /// build that fills its cache.
    pub(super) fn bake(&self, bench: &Bench<'_>) -> Result<Timed> {
        if self.bake.get().is_none() {
            let file = self.write_bake_file(bench)?;
            bench.host.report.detail("builds the same with plain bake");
            self.bake_command(&bench.host.runner, &file)
                .deadline(DEADLINE)
                .run()?;
            self.bake.get_or_init(|| file);
        }
        let file = self.bake.get().context("the bake file is not written")?;
        let mut timed = Timed::new(BAKE, &self.engine.docker)
            .args(["buildx", "bake", "--file"])
            .args([file]);
        for (key, value) in self
            .engine
            .env
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .chain(BAKE_ENV)
        {
            timed = timed.env(key, value);
        }
        Ok(timed)
    }

    fn bake_command<'a>(
        &self,
        runner: &'a crate::process::Runner,
        file: &Path,
    ) -> crate::process::Command<'a> {
        let mut command = self.engine.cmd(runner, &["buildx", "bake", "--file"]).arg(file);
        for (key, value) in BAKE_ENV {
            command = command.env(key, value);
        }
        command
    }

    fn write_bake_file(&self, bench: &Bench<'_>) -> Result<PathBuf> {
        let base = self.build(bench)?;
        let host = bench.host;
        let catalog = Catalog::read(&self.scratch.root, Apps::OfSpecs)?;
        let request = Request::resolve(host, &catalog, &Selection::default())?;
        let mut arguments = request.arguments.clone();
        arguments.insert("BASE".to_owned(), base.to_owned());
        let folder = self.scratch.state.join("bake");
        fs_err::create_dir_all(&folder)?;
        let targets: Vec<Target> = request
            .jobs
            .iter()
            .map(|job| {
                let image = job.spec.name.to_string();
                let dockerfile = folder.join(format!("{image}.Dockerfile"));
                fs_err::write(&dockerfile, &job.dockerfile)?;
                Ok(Target {
                    fingerprint: "none".to_owned(),
                    candidate_tag: format!("hive-bench-bake:{image}"),
                    dockerfile,
                    stage: dockerfile::TARGET.to_owned(),
                    context: job.app.folder.clone(),
                    contexts: BTreeMap::from([(ROOTFS.to_owned(), self.scratch.root.join("docker/rootfs"))]),
                    args: arguments.clone(),
                    image,
                })
            })
            .collect::<Result<_>>()?;
        let secrets = host
            .env
            .ssl_cert_file
            .iter()
            .map(|file| ("ca-bundle".to_owned(), file.clone()))
            .collect();
        let options = buildkit::Options {
            secrets,
            no_cache: false,
        };
        let file = folder.join("bake.json");
        fs_err::write(&file, buildkit::request(&targets, &options)?)?;
        Ok(file)
    }
}

/// As [`buildkit::bake`] sets them: without them the ID of an image moves at
/// each no-op, and newer versions ask before they read a folder.
const BAKE_ENV: [(&str, &str); 2] = [
    ("BUILDX_NO_DEFAULT_ATTESTATIONS", "1"),
    ("BUILDX_BAKE_ENTITLEMENTS_FS", "0"),
];
