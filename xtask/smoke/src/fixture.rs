//! What a fault has to work with: containers and volumes of the image under
//! test, and the means to look at them and to do them harm.
//!
//! Instances and volumes are shared by reference count: the fault holds them as
//! long as it likes, the fixture keeps them until the bundle is written.

mod containers;
mod databases;
mod disk;
mod inside;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::Subject;
use crate::beside::DatabaseBeside;
use container::boot::{Instance, MOUNT};
use container::finding::flaw;
use container::finding::settled;
use container::http::one_line;
use container::load::MachineLoad;
use container::look;
use container::timeline::Timeline;
use definition::identity::ImageId;
use definition::spec::ImageSpec;
use engine::container::{Container, RunResources, Volume};
use host::process::Output;

pub(crate) use containers::Refusal;
pub(crate) use disk::Cut;
pub use inside::Process;

/// A script of `sh` for [`Fixture::digest`], in the folder that is meant.
pub(crate) const DIGEST: &str = "{ find . -printf '%P %y %m %U:%G %s %l\\n' | LC_ALL=C sort; \
     find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum; } | sha256sum";

/// What one fault makes of one image: its containers, volumes and disks.
#[derive(Debug)]
pub struct Fixture<'a> {
    resources: &'a RunResources,
    subject: &'a Subject,
    /// All images of the run, this one among them.
    subjects: &'a [Subject],
    prefix: String,
    // Dropped in this order: a volume in use cannot be removed.
    instances: RefCell<Vec<Rc<Instance>>>,
    refused: RefCell<Vec<Rc<Container>>>,
    keepers: RefCell<Vec<Rc<Container>>>,
    /// Of an app alone, by the volume that each has.
    databases: RefCell<Vec<(String, DatabaseBeside)>>,
    /// The password of all of them.
    secret: RefCell<Option<Rc<Volume>>>,
    volumes: RefCell<Vec<Rc<Volume>>>,
    timeline: RefCell<Timeline>,
    secrets: RefCell<Vec<String>>,
    names: Cell<u32>,
    neighbours: RefCell<Vec<Rc<Fixture<'a>>>>,
    /// Who else wants the processors, where it is known.
    load: Option<MachineLoad>,
}

impl<'a> Fixture<'a> {
    /// Nothing yet. `prefix` starts the names of all that is made here.
    pub fn new(resources: &'a RunResources, subject: &'a Subject, prefix: String) -> Self {
        Self {
            resources,
            subject,
            subjects: std::slice::from_ref(subject),
            prefix,
            instances: RefCell::default(),
            refused: RefCell::default(),
            keepers: RefCell::default(),
            databases: RefCell::default(),
            secret: RefCell::default(),
            volumes: RefCell::default(),
            timeline: RefCell::default(),
            secrets: RefCell::default(),
            names: Cell::new(0),
            neighbours: RefCell::default(),
            load: None,
        }
    }

    /// The same beside these, who are given the time that they take. The
    /// subject's budgets have it already.
    #[must_use]
    pub(crate) fn beside_others(mut self, load: Option<MachineLoad>) -> Self {
        self.load = load;
        self
    }

    /// How long may be waited for what takes no longer than this on a machine
    /// that has the time.
    pub(crate) fn patience(&self, limit: Duration) -> Duration {
        self.load.map_or(limit, |load| load.patience(limit))
    }

    /// The same in a run with these images, this one among them.
    #[must_use]
    pub(crate) fn among(mut self, subjects: &'a [Subject]) -> Self {
        self.subjects = subjects;
        self
    }

    /// A fixture beside this one for another image of the run, or for this one
    /// once more where there is no other. It lives as long as this one.
    pub(crate) fn neighbour(&self) -> Rc<Fixture<'a>> {
        let own = self.image_id();
        let other = self.subjects.iter().find(|subject| subject.image_id != *own);
        let prefix = self.name("beside");
        let fixture = Self::new(self.resources, other.unwrap_or(self.subject), prefix);
        let fixture = Rc::new(fixture.beside_others(self.load));
        self.neighbours.borrow_mut().push(Rc::clone(&fixture));
        fixture
    }

    /// What the image has to be.
    pub fn spec(&self) -> &ImageSpec {
        &self.subject.spec
    }

    /// The ID of the image under test.
    pub fn image_id(&self) -> &ImageId {
        &self.subject.image_id
    }

    /// Who makes containers, for what this does not offer.
    pub fn resources(&self) -> &RunResources {
        self.resources
    }

    /// A name that nothing else has.
    pub(crate) fn name(&self, what: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("{}-{what}-{}", self.prefix, self.names.get())
    }

    /// Notes what happens, for the bundle's timeline and `--verbose`.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        self.timeline.borrow_mut().note(text);
    }

    /// A text that must not be in the bundle: a password that the fault made.
    /// Those that a volume keeps are found without.
    pub(crate) fn secret(&self, text: impl Into<String>) {
        self.secrets.borrow_mut().push(text.into());
    }

    /// A new, empty volume.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn volume(&self) -> Result<Rc<Volume>> {
        self.volume_with(&[])
    }

    /// The same with options of `docker volume create`, such as
    /// `--opt type=tmpfs`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(crate) fn volume_with(&self, options: &[&str]) -> Result<Rc<Volume>> {
        let volume = Rc::new(self.resources.volume_with(&self.name("data"), options)?);
        self.volumes.borrow_mut().push(Rc::clone(&volume));
        Ok(volume)
    }

    /// Runs a script of `sh` beside the volume, with it mounted at
    /// [`MOUNT`], as the image's user; options such as `--user 0:0` and
    /// further mounts come first.
    ///
    /// # Errors
    /// When the container cannot be run; the script's exit code is in the
    /// output.
    pub(crate) fn beside(&self, volume: &Volume, options: &[&str], script: &str) -> Result<Output> {
        let name = self.name("look");
        look::run(
            self.resources,
            &name,
            self.image_id(),
            volume.name(),
            options,
            script,
        )
    }

    /// As [`Fixture::beside`], and a script that fails is a flaw. What it printed.
    ///
    /// # Errors
    /// A flaw with what it printed.
    pub(crate) fn must_beside(&self, volume: &Volume, options: &[&str], script: &str) -> Result<String> {
        let output = self.beside(volume, options, script)?;
        if !output.success() {
            bail!(flaw(format!(
                "beside the volume, {}: {}",
                host::process::ended(output.status),
                one_line(&output.stderr_text())
            )));
        }
        Ok(output.stdout_text())
    }

    /// A digest of all that a volume holds: paths, kinds, modes, owners, sizes,
    /// link targets and contents. Equal before and after means untouched.
    ///
    /// # Errors
    /// When it cannot be read, as root.
    pub(crate) fn digest(&self, volume: &Volume) -> Result<String> {
        self.must_beside(volume, &["--user", "0:0"], &format!("cd {MOUNT} && {DIGEST}"))
    }

    /// What `pg_controldata` calls the cluster's state: `shut down`,
    /// `in production`, … Only of a volume that no container uses.
    ///
    /// # Errors
    /// A flaw when there is no cluster.
    pub fn cluster_state(&self, volume: &Volume) -> Result<String> {
        let script = look::control_data(self.spec(), &format!("{MOUNT}/pgdata"));
        let text = self.must_beside(volume, &[], &script)?;
        match look::cluster_state(&text) {
            Some(state) => Ok(state.to_owned()),
            None => bail!(flaw(format!("pg_controldata: {}", one_line(&text)))),
        }
    }

    /// What happened so far, a line each with its time.
    pub(crate) fn timeline(&self) -> Vec<String> {
        self.timeline.borrow().lines().to_vec()
    }

    /// The containers that were started, oldest first.
    pub(crate) fn instances(&self) -> Vec<Rc<Instance>> {
        self.instances.borrow().clone()
    }

    /// The containers that refused to start, oldest first.
    pub(crate) fn refusals(&self) -> Vec<Rc<Container>> {
        self.refused.borrow().clone()
    }

    /// The fixtures beside this one, see [`Fixture::neighbour`].
    pub(crate) fn neighbours(&self) -> Vec<Rc<Fixture<'a>>> {
        self.neighbours.borrow().clone()
    }

    /// The volumes that were made, oldest first.
    pub(crate) fn volumes(&self) -> Vec<Rc<Volume>> {
        self.volumes.borrow().clone()
    }

    /// What is left where nothing is removed, for people to look at.
    pub(crate) fn kept(&self) -> Vec<String> {
        let (instances, refused, volumes) = (self.instances(), self.refusals(), self.volumes());
        let containers = instances.iter().map(|instance| instance.container.name());
        let containers = containers.chain(refused.iter().map(|container| container.name()));
        let keepers = self.keepers.borrow();
        let containers = containers.chain(keepers.iter().map(|container| container.name()));
        let kept = containers.map(|name| format!("container {name}"));
        let kept = kept.chain(volumes.iter().map(|volume| format!("volume {}", volume.name())));
        let databases = self.databases.borrow();
        let kept = kept.chain(
            databases
                .iter()
                .map(|(_, one)| format!("container {}", one.instance.container.name())),
        );
        let beside = self.neighbours();
        kept.chain(beside.iter().flat_map(|fixture| fixture.kept()))
            .collect()
    }

    /// The passwords that the fault made, and those that its volumes keep.
    ///
    /// # Errors
    /// On Ctrl-C.
    pub(crate) fn secrets(&self) -> Result<Vec<String>> {
        let mut secrets = self.secrets.borrow().clone();
        for volume in self.volumes().into_iter().chain(self.secret.borrow().clone()) {
            let looked = settled(self.beside(&volume, &["--user", "0:0"], look::PASSWORDS))?;
            let text = looked.map_or_else(|_| String::new(), |output| output.stdout_text());
            secrets.extend(text.lines().map(str::to_owned).filter(|line| !line.is_empty()));
        }
        secrets.extend(self.spec().kept_back().cloned());
        secrets.sort();
        secrets.dedup();
        Ok(secrets)
    }
}
