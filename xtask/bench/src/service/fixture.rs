//! What the rows share: two proved images of the same app, and how each is run.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::super::Bench;
use super::super::clock::Timed;
use build::catalog::{Apps, Catalog};
use definition::spec::ImageSpec;
use engine::Engine;
use host::process::{Runner, quote};
use xtask::scratch::{self, Scratch};

/// What the rows share. Services, data and images go with it.
#[derive(Debug)]
pub(crate) struct ServicesFixture {
    scratch: Scratch,
    pub(crate) engine: Engine,
    runner: Runner,
    program: PathBuf,
    /// What compose has on top of its file: no limits.
    unlimited: PathBuf,
    /// The one that `up` runs.
    pub(crate) ours: BenchedService,
    /// The one that compose runs.
    pub(crate) peer: BenchedService,
}

/// An image, and where its service is published.
#[derive(Debug)]
pub(crate) struct BenchedService {
    pub(crate) spec: ImageSpec,
    pub(crate) port: u16,
}

impl ServicesFixture {
    /// Builds and proves the images; nothing runs yet.
    pub(crate) fn open(bench: &Bench<'_>) -> Result<Self> {
        let engine = bench.engine()?.clone();
        let (scratch, _) = bench.proved("service")?;
        let mut specs = Catalog::read(&scratch.root, Apps::OfSpecs)?.images.into_iter();
        let mut next = || -> Result<BenchedService> {
            let spec = specs.next().context("the checkout has not two images")?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let port = listener.local_addr()?.port();
            Ok(BenchedService { spec, port })
        };
        let (ours, peer) = (next()?, next()?);
        let unlimited = scratch.root.join("unlimited.yaml");
        let name = &peer.spec.name;
        let text = format!("services: {{{name}: {{cpus: !reset null, mem_limit: !reset null}}}}\n");
        fs_err::write(&unlimited, text)?;
        let fixture = Self {
            program: scratch::tool()?,
            runner: bench.host.runner.for_cleanup(),
            scratch,
            engine,
            unlimited,
            ours,
            peer,
        };
        fixture.xtask("render", &["render"]).run(&bench.host.runner)?;
        Ok(fixture)
    }

    /// How many services `status` shows.
    pub(crate) fn services(&self) -> usize {
        self.scratch.images.len()
    }

    /// The engine's name as `--engine` takes it.
    pub(crate) fn owner(&self) -> &'static str {
        self.engine.owner.as_str()
    }

    /// The built binary on the copy.
    pub(crate) fn xtask(&self, label: &str, args: &[&str]) -> Timed {
        Timed::new(label, &self.program)
            .args(["--root".as_ref(), self.scratch.root.as_os_str()])
            .args(args)
            .env("HIVE_STATE_DIR", &self.scratch.state)
    }

    /// `up` of our service, with more.
    pub(crate) fn up(&self, label: &str, more: &[&str]) -> Timed {
        let port = self.ours.port.to_string();
        self.xtask(label, &["up", self.ours.spec.name.as_str()])
            .args(["--port", &port, "--engine", self.owner()])
            .args(more)
    }

    /// compose on the file of its service.
    pub(crate) fn compose(&self, label: &str, args: &[&str]) -> Timed {
        let file = format!("{}/{}.yaml", deploy::compose::FOLDER, self.peer.spec.name);
        Timed::new(label, &self.engine.docker)
            .args(["compose", "--file"])
            .args([self.scratch.root.join(file)])
            .args(["--file".as_ref(), self.unlimited.as_os_str()])
            .args(args)
            .env(self.variable("PORT"), self.peer.port.to_string())
            .on(&self.engine)
    }

    /// A variable of the compose file.
    pub(crate) fn variable(&self, what: &str) -> String {
        deploy::names::variable(&self.peer.spec.name, what)
    }

    /// A script that leaves nothing of our service.
    pub(crate) fn down(&self) -> Result<String> {
        let name = self.ours.spec.name.as_str();
        let program = self.program.to_str().context("the program's path is not UTF-8")?;
        let root = self
            .scratch
            .root
            .to_str()
            .context("the copy's path is not UTF-8")?;
        Ok(format!(
            "{} --root {} down {name} --volumes {name} --volumes {name} --engine {}",
            quote(program),
            quote(root),
            self.owner()
        ))
    }

    /// A script that leaves nothing of compose's.
    pub(crate) fn compose_down(&self) -> Result<String> {
        let docker = self
            .engine
            .docker
            .to_str()
            .context("docker's path is not UTF-8")?;
        let project = deploy::names::project(&self.peer.spec.name);
        let volume = deploy::names::volume(&self.peer.spec.name);
        Ok(format!(
            "{docker} compose --project-name {project} down && {docker} volume rm --force {volume}",
            docker = quote(docker)
        ))
    }

    /// Both run and are healthy.
    pub(crate) fn both_up(&self, bench: &Bench<'_>) -> Result<()> {
        let runner = &bench.host.runner;
        self.up("up", &[]).run(runner)?;
        self.compose("compose", &["up", "--detach", "--wait"]).run(runner)
    }

    /// Another image of the same content as a service's, by its name.
    pub(crate) fn other(&self, service: &BenchedService) -> Result<String> {
        self.made_of(service, "other", "LABEL dev.hive.bench=other\n")
    }

    /// A service's image with more instructions, by its name.
    pub(crate) fn made_of(&self, service: &BenchedService, tag: &str, more: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let repository = service.spec.name.repository();
        let text = format!("FROM {repository}:latest\n{more}");
        fs_err::write(folder.path().join("Dockerfile"), text)?;
        let tag = format!("{repository}:{tag}");
        self.engine
            .cmd(&self.runner, &["build", "--quiet", "--tag", &tag])
            .arg(folder.path())
            .run()
            .with_context(|| format!("make {tag}"))?;
        Ok(tag)
    }
}

impl Drop for ServicesFixture {
    fn drop(&mut self) {
        for script in [self.down(), self.compose_down()].into_iter().flatten() {
            let shell = Timed::new("clean up", "sh")
                .args(["-c", &script])
                .on(&self.engine);
            // What is left has a name that says whose it is.
            shell.run(&self.runner).ok();
        }
    }
}
