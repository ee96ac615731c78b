//! A run of the gate: what is done to the containers, in which order, and
//! what is kept of it for the judges.
//!
//! Three containers at the same time, each on a volume of its own. The steady one has
//! to stay as it is for a while and is asked meanwhile. The mortal one loses its
//! database for a moment, is stopped, and another one boots on its volume. The upgraded
//! one boots on a volume that the image before has left: that image runs while the
//! image under test is built, where it is built at all. Whatever belongs together is
//! seen of one container and one volume; the three only share the time. An app alone
//! has a container with its database each time, on a network of the two: there the
//! database goes away for a moment, and there the volume is.

mod mortal;
mod steady;
mod strand;
mod upgrade;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::Subject;
use crate::facts::Facts;
use crate::proof::image_before;
use crate::verdict::CheckResult;
use container::boot::Instance;
use container::finding::Reached;
use container::timeline::Timeline;
use engine::Image;
use engine::container::RunResources;
use strand::Strand;
pub use upgrade::PreparedUpgrade;
use upgrade::VolumeOfBefore;

/// What goes on from the image before.
const UPGRADED: &str = "upgraded";

/// A health request in a running container.
const REQUEST: Duration = Duration::from_secs(2);

/// A run of the suite on one image, while it goes on.
#[derive(Debug)]
pub(crate) struct GateRun<'a> {
    steady: Strand<'a>,
    mortal: Strand<'a>,
    upgraded: Strand<'a>,
    /// Where the image before has had its turn already: what it left for `upgraded`.
    left: Option<VolumeOfBefore>,
    pub(crate) facts: Facts,
    /// Results of the spec's own checks.
    pub(crate) own: Vec<CheckResult>,
    /// What happened when, for the bundle.
    pub(crate) timeline: Timeline,
}

impl<'a> GateRun<'a> {
    /// Empty volumes and nothing else yet. `prefix` starts the names of all
    /// that the run makes. What is prepared is used where it is of the image before this
    /// one, and goes otherwise.
    ///
    /// # Errors
    /// When the engine refuses a volume, or does not answer.
    pub(crate) fn new(
        resources: &RunResources,
        subject: &'a Subject,
        image: &Image,
        prefix: &str,
        mut prepared: Option<PreparedUpgrade<'a>>,
    ) -> Result<Self> {
        let timeline = Timeline::default();
        let strand = |what| Strand::new(resources, subject, image, what, prefix, timeline.beside());
        let steady = strand("steady")?;
        if prepared.is_some() {
            let before = image_before(resources, &subject.spec, &subject.image_id)?;
            prepared = prepared.filter(|prepared| Some(prepared.image_id()) == before.as_ref());
        }
        let (upgraded, left) = match prepared {
            Some(prepared) => {
                let (strand, left) = prepared.of_subject(subject, image, timeline.beside());
                (strand, Some(left))
            }
            None => (strand(UPGRADED)?, None),
        };
        Ok(Self {
            facts: steady.nothing_seen(),
            steady,
            mortal: strand("mortal")?,
            upgraded,
            left,
            own: Vec::new(),
            timeline,
        })
    }

    /// All of it. What goes wrong in a container is a fact, not an error.
    ///
    /// # Errors
    /// On Ctrl-C, or when the engine does not answer.
    pub(crate) fn run(&mut self) -> Result<()> {
        let (steady, mortal, upgraded) = (&mut self.steady, &mut self.mortal, &mut self.upgraded);
        let left = self.left.take();
        let (own, ended) = thread::scope(|scope| {
            // Closed once the mortal container is up, or given up.
            let (booting, booted) = mpsc::channel();
            // Closed once no container boots that is not timed.
            let (quiet, is_quiet) = mpsc::channel();
            let quiet_too = quiet.clone();
            let mortal = scope.spawn(move || mortal.die(booting, quiet));
            let upgraded = scope.spawn(move || {
                let ended = upgraded.upgrade(&booted, left);
                drop(quiet_too);
                ended
            });
            (steady.stay(&is_quiet), [mortal.join(), upgraded.join()])
        });
        for ended in ended {
            ended.map_err(|_| anyhow!("the run of a container panicked"))??;
        }
        self.own = own?;
        for strand in [&mut self.steady, &mut self.mortal, &mut self.upgraded] {
            self.timeline.join(std::mem::take(&mut strand.timeline));
        }
        self.facts = self.steady.take_facts();
        self.facts.database = self.steady.database_id();
        self.facts.join_upgrade(self.upgraded.take_facts());
        self.facts.join(self.mortal.take_facts());
        Ok(())
    }

    /// The containers, oldest of each volume first, and the databases beside them, for
    /// the bundle.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Instance> {
        let strands = [&self.steady, &self.mortal, &self.upgraded];
        let all = strands.into_iter();
        all.flat_map(|strand| strand.instances.iter().chain(strand.server()))
    }

    /// All that `pg_controldata` says of the mortal container's volume.
    ///
    /// # Errors
    /// On Ctrl-C.
    pub(crate) fn control_data(&self) -> Result<Reached<String>> {
        self.mortal.control_data()
    }

    /// What is left where nothing is removed, for people to look at.
    pub(crate) fn kept(&self) -> Vec<String> {
        let containers = self.instances().map(|instance| instance.container.name());
        let kept = containers.map(|name| format!("container {name}"));
        let volumes = [&self.steady, &self.mortal, &self.upgraded]
            .map(|strand| format!("volume {}", strand.volume.name()));
        kept.chain(volumes).collect()
    }

    /// Removes what is left, at the same time.
    pub(crate) fn clear(self) {
        thread::scope(|scope| {
            for mut strand in [self.steady, self.mortal, self.upgraded] {
                scope.spawn(move || strand.clear());
            }
        });
    }
}
