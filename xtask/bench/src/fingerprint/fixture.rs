//! What the rows share: a copy of the checkout, its images built and proved,
//! and the same images as plain bake builds them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::super::clock::Timed;
use super::super::{Bench, bake_options};
use super::BAKE;
use build::buildkit::{self, Target};
use build::catalog::{Apps, Catalog};
use build::request::Request;
use build::request::Selection;
use definition::dockerfile;
use engine::Engine;
use host::Host;
use xtask::scratch::{self, Scratch};
use xtask::survey::ROOTFS;

/// A first build of all images with their proofs.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Which definitions a row is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BenchedBuild {
    /// Images of the copy; all where none is named.
    pub(super) images: Vec<String>,
    /// The app instead of the specs' own.
    pub(super) app: Option<PathBuf>,
}

/// What the rows share. Its images go with it.
#[derive(Debug)]
pub(crate) struct CheckoutFixture {
    scratch: Scratch,
    engine: Engine,
    checkout: PathBuf,
    program: PathBuf,
    /// What is built, and on which base.
    built: RefCell<BTreeMap<BenchedBuild, String>>,
    /// What plain bake has built, by its bake file.
    baked: RefCell<BTreeMap<BenchedBuild, PathBuf>>,
}

impl BenchedBuild {
    fn args(&self) -> Vec<String> {
        let app = self.app.iter().map(|app| app.display().to_string());
        self.images
            .iter()
            .cloned()
            .chain(app.flat_map(|app| ["--app".to_owned(), app]))
            .collect()
    }
}

impl CheckoutFixture {
    /// The copy; nothing is built yet.
    pub(super) fn open(bench: &Bench<'_>) -> Result<Self> {
        let engine = bench.engine()?.clone();
        let scratch = bench.scratch("fingerprint")?;
        Ok(Self {
            scratch,
            engine,
            checkout: bench.host.root.clone(),
            program: scratch::tool()?,
            built: RefCell::default(),
            baked: RefCell::default(),
        })
    }

    /// One image of the copy.
    pub(super) fn one_image(&self) -> Result<String> {
        let first = self.scratch.images.first();
        first.cloned().context("the checkout has no image")
    }

    /// A folder of the copy, or of what is made beside it.
    pub(super) fn folder(&self, name: &str) -> PathBuf {
        self.scratch.state.with_file_name(name)
    }

    /// The folder of the sample app in the copy.
    pub(super) fn sample_app(&self) -> Result<PathBuf> {
        let catalog = Catalog::read(&self.scratch.root, Apps::OfSpecs)?;
        let app = catalog.images.iter().find_map(|image| image.app.as_ref());
        Ok(app
            .context("the checkout has no image with an app")?
            .source
            .clone())
    }

    /// Where builds of a row leave logs and indexes.
    pub(super) fn state(&self) -> &Path {
        &self.scratch.state
    }

    /// The built binary on the copy.
    pub(super) fn xtask(&self, label: &str, command: &str, subject: &BenchedBuild) -> Timed {
        self.on_copy(Timed::new(label, &self.program), command, subject)
    }

    /// The built binary as it is.
    pub(super) fn plain_xtask(&self, label: &str, args: &[&str]) -> Timed {
        Timed::new(label, &self.program)
            .args(args)
            .env("HIVE_STATE_DIR", &self.scratch.state)
    }

    /// `cargo xtask` on the copy.
    pub(super) fn cargo_xtask(&self, label: &str, command: &str, subject: &BenchedBuild) -> Timed {
        // cargo looks for its alias in the current folder.
        let cargo = Timed::new(label, "env")
            .args(["-C".as_ref(), self.checkout.as_os_str()])
            .args(["cargo", "xtask"]);
        self.on_copy(cargo, command, subject)
    }

    fn on_copy(&self, timed: Timed, command: &str, subject: &BenchedBuild) -> Timed {
        timed
            .args(["--root".as_ref(), self.scratch.root.as_os_str()])
            .args([command])
            .args(subject.args())
            .args(["--engine", self.owner()])
            .env("HIVE_STATE_DIR", &self.scratch.state)
    }

    /// The engine's name as `--engine` takes it.
    pub(super) fn owner(&self) -> &'static str {
        self.engine.owner.as_str()
    }

    /// Builds and proves a subject, once. Returns the base's reference.
    pub(super) fn build(&self, bench: &Bench<'_>, subject: &BenchedBuild) -> Result<String> {
        if let Some(base) = self.built.borrow().get(subject) {
            return Ok(base.clone());
        }
        bench.host.report.detail("builds and proves first");
        let document = self.build_again(bench, subject)?;
        let base = Scratch::base_in(&document)?;
        self.built.borrow_mut().insert(subject.clone(), base.to_owned());
        Ok(base.to_owned())
    }

    /// Runs `build-images --json`, whatever was done before.
    pub(super) fn build_again(&self, bench: &Bench<'_>, subject: &BenchedBuild) -> Result<Value> {
        let args = subject.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.scratch.build_images(bench.host, &args)
    }

    /// Plain bake of the same Dockerfiles on the same folders, after a first
    /// build that fills its cache.
    pub(super) fn bake(&self, bench: &Bench<'_>, subject: &BenchedBuild) -> Result<Timed> {
        let known = self.baked.borrow().get(subject).cloned();
        let file = match known {
            Some(file) => file,
            None => {
                let file = self.write_bake_file(bench, subject)?;
                bench.host.report.detail("builds the same with plain bake");
                let mut command = self
                    .engine
                    .cmd(&bench.host.runner, &["buildx", "bake", "--file"])
                    .arg(&file);
                for (key, value) in buildkit::BAKE_ENV {
                    command = command.env(key, value);
                }
                command = command.env("TMPDIR", &self.scratch.state);
                command.deadline(DEADLINE).run()?;
                self.baked.borrow_mut().insert(subject.clone(), file.clone());
                file
            }
        };
        Ok(self.bake_file(&file))
    }

    /// Adds what `docker` needs to reach the engine.
    pub(super) fn with_engine(&self, timed: Timed) -> Timed {
        let variables = buildkit::BAKE_ENV.into_iter();
        variables.fold(timed.on(&self.engine), |timed, (key, value)| {
            timed.env(key, value)
        })
    }

    /// What plain bake calls an image of the copy.
    pub(super) fn baked_reference(image: &str) -> String {
        format!("hive-bench-bake:{image}")
    }

    /// The CLI that reaches the engine by [`Self::with_engine`].
    pub(super) fn docker(&self) -> String {
        self.engine.docker.display().to_string()
    }

    /// The top of the copy.
    pub(super) fn root(&self) -> &Path {
        &self.scratch.root
    }

    fn write_bake_file(&self, bench: &Bench<'_>, subject: &BenchedBuild) -> Result<PathBuf> {
        // All subjects have the same base.
        let known = self.built.borrow().values().next().cloned();
        let base = match known {
            Some(base) => base,
            None => self.build(bench, subject)?,
        };
        let host = bench.host;
        let app = subject.app.as_deref();
        let apps = app.map_or(Apps::OfSpecs, |folder| Apps::Folder(folder, &subject.images));
        let catalog = Catalog::read(&self.scratch.root, apps)?;
        let selection = Selection {
            images: subject.images.clone(),
            app: subject.app.clone(),
            ..Selection::default()
        };
        let request = Request::resolve(host, &catalog, &selection)?;
        let folder = self.folder(&format!("bake-{}", self.baked.borrow().len()));
        fs_err::create_dir_all(&folder)?;
        let rootfs = self.scratch.root.join("docker/rootfs");
        let targets: Vec<Target> = request
            .jobs
            .iter()
            .map(|job| {
                let image = job.spec.name.to_string();
                let mut args = job.arguments.clone();
                args.insert("BASE".to_owned(), base.clone());
                Ok(Target {
                    // Smoke looks at its form.
                    fingerprint: "0".repeat(64),
                    candidate_tag: Self::baked_reference(&image),
                    dockerfile: job.dockerfile.clone(),
                    stage: dockerfile::TARGET.to_owned(),
                    context: job
                        .app
                        .as_ref()
                        .map_or_else(|| rootfs.clone(), |app| app.folder.clone()),
                    contexts: BTreeMap::from([(ROOTFS.to_owned(), rootfs.clone())]),
                    access: buildkit::Access::default(),
                    args,
                    image,
                })
            })
            .collect::<Result<_>>()?;
        save(host, &folder, &targets)
    }

    /// A Dockerfile of `docker/bench/`, by bake with the app of a subject in the place of our
    /// Dockerfile. The last stage has the file's name.
    pub(super) fn bake_peer(&self, bench: &Bench<'_>, subject: &BenchedBuild, name: &str) -> Result<Timed> {
        let base = self.build(bench, subject)?;
        let root = self.root();
        let catalog = Catalog::read(root, Apps::OfSpecs)?;
        let (_, set) = catalog.bases.choose(None)?;
        let args = [("BASE", base), ("PG_MAJOR", set.postgres.major.to_string())];
        let app = subject.app.clone();
        let target = Target {
            image: name.to_owned(),
            fingerprint: format!("bench-{name}"),
            candidate_tag: Self::baked_reference(name),
            dockerfile: fs_err::read_to_string(root.join(format!("docker/bench/{name}.Dockerfile")))?,
            stage: name.to_owned(),
            context: app.context("a peer is built of an app's folder")?,
            contexts: BTreeMap::new(),
            args: args.map(|(key, value)| (key.to_owned(), value)).into(),
            access: buildkit::Access::default(),
        };
        let folder = self.folder(&format!("bake-{name}"));
        fs_err::create_dir_all(&folder)?;
        let file = save(bench.host, &folder, &[target])?;
        Ok(self.bake_file(&file))
    }

    /// The call of bake for a file.
    fn bake_file(&self, file: &Path) -> Timed {
        let bake = Timed::new(BAKE, &self.engine.docker)
            .args(["buildx", "bake", "--file"])
            .args([file]);
        // buildx leaves files where temporary ones go (docker/buildx#3117).
        self.with_engine(bake.env("TMPDIR", &self.scratch.state))
    }

    /// A copy of the sample app at `folder`, which may hold other files.
    pub(super) fn copy_sample_app(&self, folder: &Path) -> Result<()> {
        scratch::copy(&self.sample_app()?, folder)
    }
}

/// Writes the bake file of some targets. Returns its path.
fn save(host: &Host, folder: &Path, targets: &[Target]) -> Result<PathBuf> {
    let file = folder.join("bake.json");
    fs_err::write(&file, buildkit::request(targets, &bake_options(host), folder)?)?;
    Ok(file)
}
