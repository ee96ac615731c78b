//! What a run of the suite saw, for judges to look at: values, no engine.
//!
//! Two containers are looked at, each on a volume of its own: the *steady* one
//! is left alone and asked, the *mortal* one loses its database and is stopped
//! and followed by a third on its volume.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::rows::TableRows;
use container::ask::Answer;
use container::boot::{Boot, Death};
use container::finding::{Flaw, Reached, flaw};
use definition::identity::ImageId;
use definition::spec::{App, ImageSpec};
use engine::Image;

/// After ready, nothing may restart for this long.
pub const WINDOW: Duration = Duration::from_secs(3);

/// How long health may go on saying 200 after PostgreSQL stopped, and how
/// long it may take to say it again after the start.
pub(crate) const OUTAGE_LIMIT: Duration = Duration::from_secs(10);

/// When a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Right after the first boot.
    Fresh,
    /// When the container beside it is up, too: nothing of ours is in the way
    /// of what is timed.
    Quiet,
    /// When nothing may have restarted for [`WINDOW`].
    Settled,
    /// After the boot on the same volume.
    Again,
}

impl Moment {
    /// In file names and messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Quiet => "quiet",
            Self::Settled => "settled",
            Self::Again => "again",
        }
    }
}

/// Files in a folder of the container's own layer, which go with it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct LeftFiles {
    /// The folder's path in the container.
    pub(crate) folder: String,
    /// Some of their names.
    pub(crate) names: Vec<String>,
    /// Whether it is where folders of data are, and has no code.
    pub(crate) may_be_kept: bool,
}

/// Everything seen. Parts that were not reached say why.
#[derive(Debug)]
pub struct Facts {
    /// What the image has to be.
    pub(crate) spec: ImageSpec,
    /// What `docker image inspect` says of it.
    pub(crate) image: Image,
    /// `docker history`, one JSON document a line.
    pub(crate) history: Reached<String>,
    /// The name of the volume that the questions are about.
    pub(crate) volume: String,
    /// The image whose database an app alone is proved with.
    pub(crate) database: Option<ImageId>,
    /// First boot of the steady container, on an empty volume.
    pub(crate) first: Reached<Boot>,
    /// Requests to the health endpoint.
    pub(crate) health: Reached<Samples>,
    /// PostgreSQL stopped and started again, in the mortal container.
    pub(crate) outage: Reached<Outage>,
    /// `docker stop` of the mortal container, with an open session.
    pub(crate) stop: Reached<Stop>,
    /// A new container on the mortal one's volume.
    pub(crate) again: Reached<Boot>,
    /// A new container on a volume of the image before.
    pub(crate) upgrade: Reached<Upgrade>,
    /// Programs after the later starts, by what was started; where the spec has
    /// programs of its own.
    pub(crate) later: Vec<(&'static str, Reached<ProgramsSeen>)>,
    /// The tables right after the first boot on an empty volume.
    pub(crate) fresh_tables: Reached<Vec<TableRows>>,
    /// An end nobody asked for.
    pub(crate) death: Option<Death>,
    /// What the app wrote by then into the steady container's own layer.
    pub(crate) left: Reached<Vec<LeftFiles>>,
    /// The app's last words at its first start, where it did not get there.
    pub(crate) last_words: Option<String>,
    /// The app's last exception, where it runs and its health was no good.
    pub(crate) exception: Option<String>,
    /// What the container was asked, and when.
    pub(crate) answers: BTreeMap<(Moment, &'static str), Reached<Answer>>,
    /// `docker logs` of the steady container when the window after ready was
    /// over.
    pub(crate) settled_log: Reached<String>,
    /// `docker logs` of all containers, at the end, each by itself with the container's
    /// name.
    pub(crate) whole_logs: Vec<(String, String)>,
    /// `docker container inspect` of all containers.
    pub(crate) inspect: String,
    /// What of the two could not be read, and why.
    pub(crate) unread: Vec<String>,
    /// Passwords made at the first boots. Never shown, never written.
    pub(crate) secrets: Vec<String>,
    /// How long each part took.
    pub(crate) took: BTreeMap<GatePart, Duration>,
}

/// The parts of a run, for `took`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatePart {
    /// Looking at the image, without a container.
    Image,
    /// The first boot, on an empty volume.
    Boot,
    /// Requests to the health endpoint.
    Health,
    /// The window in which nothing may restart.
    Window,
    /// The outage: PostgreSQL is stopped and started again.
    Outage,
    /// The container's end by `docker stop`.
    Stop,
    /// The boot on the same volume.
    Again,
    /// The image before, and the boot on its volume.
    Upgrade,
}

/// Health requests in a row.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    /// What came back, in milliseconds.
    pub(crate) took_ms: Vec<f64>,
    /// Answers that will not do, shown.
    pub(crate) bad: Vec<String>,
}

/// PostgreSQL away for a moment.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    /// Until the endpoint gave no answer any more that will do; `None` when it always did.
    pub(crate) noticed: Option<Duration>,
    /// What the endpoint said then.
    pub(crate) said: String,
    /// From PostgreSQL's start until such an answer; `None` when none came.
    pub(crate) back: Option<Duration>,
    /// What the image's own health check said meanwhile.
    pub(crate) container: ContainerHealth,
}

/// The image's own health check while PostgreSQL was away, and after.
#[derive(Clone, Debug)]
pub(crate) struct ContainerHealth {
    /// Whether it failed while PostgreSQL was away.
    pub(crate) left: bool,
    /// What it said then; at the end, where it was never content again.
    pub(crate) said: String,
    /// From PostgreSQL's start until it was content again.
    pub(crate) back: Option<Duration>,
}

/// The end of the first container.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// `docker stop`, from call to return.
    pub(crate) took: Duration,
    /// Exit code of the container.
    pub(crate) exit_code: i64,
    /// `Database cluster state` of `pg_controldata`; `None` where the database is
    /// elsewhere.
    pub(crate) cluster_state: Option<Reached<String>>,
}

/// The programs of a container when the window after ready was over.
#[derive(Clone, Debug)]
pub(crate) struct ProgramsSeen {
    /// What the supervisor says of them.
    pub(crate) status: Answer,
    /// The processes when the window began.
    pub(crate) before: Answer,
    /// And when it was over.
    pub(crate) after: Answer,
    /// What `docker logs` printed when it was over.
    pub(crate) log: String,
}

/// What became of a volume of the image before, on which the spec's checks left
/// their rows.
#[derive(Clone, Debug)]
pub(crate) enum Upgrade {
    /// The engine has no earlier image of this app.
    NoneBefore,
    /// The image before does not get healthy with this spec: why.
    BeforeFails(ImageId, String),
    /// This image refuses the volume, and says why.
    Refused(ImageId, String),
    /// This image was started on it.
    Started {
        /// The image that the volume was first booted with.
        before: ImageId,
        /// How many of the spec's checks passed there.
        checks: usize,
        /// How this image's start on it went.
        boot: Box<Boot>,
        /// The tables when the image before was stopped.
        had: Reached<Vec<TableRows>>,
        /// The tables under this image.
        has: Reached<Vec<TableRows>>,
        /// Checks of the spec that fail under this image, each with what it said.
        failed: Vec<FailedAgain>,
    },
}

/// A check of the spec that fails on the volume of the image before.
#[derive(Clone, Debug)]
pub(crate) struct FailedAgain {
    /// Its name, and what it said.
    pub(crate) said: String,
    /// Whether the image before passed it when it was asked a second time: one that
    /// can be asked just once says nothing here.
    pub(crate) held: bool,
}

impl Facts {
    /// The app of the image under test.
    ///
    /// # Errors
    /// A flaw where it has none.
    pub(crate) fn app(&self) -> Result<&App, Flaw> {
        self.spec.app.as_ref().ok_or_else(|| flaw("the image has no app"))
    }

    /// The facts of a run that has seen nothing yet: each part says so.
    pub(crate) fn new(spec: &ImageSpec, image: Image, volume: &str) -> Self {
        fn unseen<T>() -> Reached<T> {
            Err(flaw("not reached"))
        }
        Self {
            spec: spec.clone(),
            image,
            history: unseen(),
            volume: volume.to_owned(),
            database: None,
            first: unseen(),
            health: unseen(),
            outage: unseen(),
            stop: unseen(),
            again: unseen(),
            upgrade: unseen(),
            later: Vec::new(),
            fresh_tables: unseen(),
            death: None,
            left: Ok(Vec::new()),
            last_words: None,
            exception: None,
            answers: BTreeMap::new(),
            settled_log: unseen(),
            whole_logs: Vec::new(),
            inspect: String::new(),
            unread: Vec::new(),
            secrets: Vec::new(),
            took: BTreeMap::new(),
        }
    }

    /// What is shown nowhere: the passwords, and what the gate alone was given.
    pub(crate) fn hidden(&self) -> Vec<String> {
        let given = self.spec.kept_back().cloned();
        self.secrets.iter().cloned().chain(given).collect()
    }

    /// Whether the first boot became healthy.
    pub(crate) fn is_ready(&self) -> bool {
        self.first.as_ref().is_ok_and(|boot| boot.ready.is_some())
    }

    /// Whether the health endpoint said 200 at the first boot.
    pub(crate) fn says_healthy(&self) -> bool {
        self.first.as_ref().is_ok_and(|boot| boot.first_200.is_some())
    }

    /// Adds what was seen of the mortal container.
    pub(crate) fn join(&mut self, mortal: Self) {
        self.outage = mortal.outage;
        self.stop = mortal.stop;
        self.again = mortal.again;
        self.later.extend(mortal.later);
        self.death = self.death.take().or(mortal.death);
        self.last_words = self.last_words.take().or(mortal.last_words);
        self.answers.extend(mortal.answers);
        self.whole_logs.extend(mortal.whole_logs);
        self.inspect.push_str(&mortal.inspect);
        self.unread.extend(mortal.unread);
        self.secrets.extend(mortal.secrets);
        self.secrets.sort();
        self.secrets.dedup();
        self.took.extend(mortal.took);
    }

    /// Adds what was seen of the image before, and on its volume. The log is that of
    /// the image under test alone.
    pub(crate) fn join_upgrade(&mut self, upgraded: Self) {
        self.upgrade = upgraded.upgrade;
        self.later.extend(upgraded.later);
        self.whole_logs.extend(upgraded.whole_logs);
        self.inspect.push_str(&upgraded.inspect);
        self.unread.extend(upgraded.unread);
        self.secrets.extend(upgraded.secrets);
        self.took.extend(upgraded.took);
    }

    /// The answer to a check's question.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn answer(&self, when: Moment, name: &'static str) -> Result<&Answer, Flaw> {
        match self.answers.get(&(when, name)) {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(why)) => Err(why.clone()),
            None => Err(match &self.death {
                Some(death) => flaw(format!(
                    "not reached: the container ended during {}",
                    death.during
                )),
                None => flaw("not reached"),
            }),
        }
    }
}
