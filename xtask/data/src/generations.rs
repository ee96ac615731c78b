//! The generations of a volume, worked on by a container of the image beside the
//! service: what runs, what ran before, what is to run.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::file::Backup;
use crate::take::{on_generations, with_files};
use container::boot::MOUNT;
use definition::identity::ImageId;
use engine::container::{Container, RunResources};
use engine::{Engine, reaper};
use failure::Failure;
use host::process::{Dialog, Runner, ended, tail};
use host::report::Report;

/// Unpacks what comes on stdin, and compares it where it has another argument.
const UNPACK: &str = include_str!("inside/unpack.py");

/// Longer than any of it; Ctrl-C ends it.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// How long a container may take until it has begun to hold its volume.
const HOLDING: Duration = Duration::from_secs(60);

/// Whose the volume is: of the cluster's user, else of the one that the image has.
const OWNER: &str = "cd /var/lib/postgresql/data || exit; \
    for one in pgdata hive; do [ -e $one ] && stat -c %u:%g $one && exit; done; echo $(id -u):$(id -g)";

/// What the volume says of an operation that goes on, or was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeJournal {
    /// The word by which `exchange` and `replacement` tell their operations apart.
    pub operation: String,
    /// Of this operation alone: its generations are called `new-<id>` and
    /// `before-<id>`.
    pub id: String,
    /// The step that comes, or was in work.
    pub step: String,
    /// The backup of a restore, or the source of a migration.
    #[serde(default)]
    pub file: String,
    /// The image that an update puts in the place of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// Whether the service ran when it began, and is to run at its end.
    pub service_ran: bool,
    /// The run of this tool that carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Whether that run holds the volume as long as it is there.
    #[serde(default)]
    pub holds: bool,
}

/// Who carries an operation out.
enum Carrier<'a> {
    /// A process of this host that is there.
    Here(&'a str),
    /// A run of another host, of which nothing is known here.
    Elsewhere,
    /// This very run, or one that was killed.
    Nobody,
}

impl VolumeJournal {
    /// One whose first step is still to come.
    pub(crate) fn begun(operation: &str, id: &str, service_ran: bool) -> Self {
        Self {
            operation: operation.to_owned(),
            id: id.to_owned(),
            step: String::new(),
            file: String::new(),
            image: None,
            service_ran,
            run: reaper::run_id().ok(),
            holds: false,
        }
    }

    /// Whether only what it holds can tell if it goes on.
    pub(crate) fn is_of_another_host(&self) -> bool {
        matches!(self.carrier(), Carrier::Elsewhere)
    }

    fn carrier(&self) -> Carrier<'_> {
        let ours = reaper::run_id().ok();
        let run = self.run.as_deref().filter(|run| Some(*run) != ours.as_deref());
        match run {
            Some(run) if !reaper::is_of_this_host(run) => Carrier::Elsewhere,
            Some(run) if reaper::is_alive(run) => Carrier::Here(run.split('-').next().unwrap_or_default()),
            _ => Carrier::Nobody,
        }
    }

    /// For whoever would end it as one that was killed, and has seen whether the volume `is_held`.
    ///
    /// # Errors
    /// When another run still carries it out: locks of commands lie where each user keeps his.
    /// One of another host has to let go of the volume, unless somebody knows better: he
    /// `takes_over`.
    pub(crate) fn was_killed(&self, name: &str, is_held: Option<bool>, takes_over: bool) -> Result<()> {
        let operation = &self.operation;
        let failure = match (self.carrier(), is_held) {
            (Carrier::Nobody, _) => return Ok(()),
            (Carrier::Here(pid), _) => {
                let message = format!("{name}: another command, process {pid}, carries out a {operation}");
                failure::environment(message).hint("wait for it, or end it")
            }
            (Carrier::Elsewhere, _) if takes_over => return Ok(()),
            (Carrier::Elsewhere, Some(false)) if self.holds => return Ok(()),
            (Carrier::Elsewhere, Some(true)) => failure::environment(format!(
                "{name}: a command on another host carries out a {operation}: it holds the volume"
            ))
            .hint(format!(
                "wait for it; where that host is gone for good: cargo xtask up {name} --take-over"
            )),
            (Carrier::Elsewhere, _) => failure::environment(format!(
                "{name}: a command on another host carries out a {operation}, or was killed: from here it cannot be \
                 told"
            ))
            .hint(format!("where it is over for sure: cargo xtask up {name} --take-over")),
        };
        Err(failure.into())
    }

    /// For whoever ends nothing: that another run carries it out, or may do so; else that it was
    /// killed.
    pub(crate) fn refused(&self, name: &str) -> Error {
        match self.carrier() {
            Carrier::Nobody => self.unfinished(name),
            Carrier::Here(_) => match self.was_killed(name, None, false) {
                Err(error) => error,
                Ok(()) => self.unfinished(name),
            },
            Carrier::Elsewhere => failure::environment(format!(
                "{name}: a command on another host carries out a {}, or was killed: nothing was touched",
                self.operation
            ))
            .hint(format!("end it where it was killed: cargo xtask up {name}"))
            .into(),
        }
    }

    /// That it was, to whoever may not end it.
    fn unfinished(&self, name: &str) -> Error {
        let killed = self.killed();
        failure::environment(format!(
            "{name}: {killed}, and is not ended yet: nothing was touched"
        ))
        .hint(format!(
            "end it, done where the service works on it, else as before: cargo xtask up {name}"
        ))
        .into()
    }

    /// What was killed, and where.
    pub(crate) fn killed(&self) -> String {
        let (operation, file, step) = (&self.operation, &self.file, &self.step);
        match file.as_str() {
            "" => format!("an {operation} was killed at {step:?}"),
            file => format!("a {operation} of {file} was killed at {step:?}"),
        }
    }
}

/// What a plan has to know of a volume and of the image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct VolumeFindings {
    pub(crate) major: u32,
    pub(crate) missing_extensions: Vec<String>,
    pub(crate) free_bytes: u64,
    /// None where the file system counts no files.
    pub(crate) free_files: Option<u64>,
    /// What is kept beside what runs, by name.
    pub generations: Vec<String>,
    /// The version of PostgreSQL of each.
    pub(crate) versions: BTreeMap<String, String>,
    /// Of an operation that was killed.
    pub(crate) journal: Option<VolumeJournal>,
    /// Whether a run holds the volume, wherever that is; none where it cannot be told.
    pub(crate) is_held: Option<bool>,
    /// The operation that has put the running cluster in its place.
    pub(crate) running: Option<String>,
    /// Whether a server has run on the running cluster since it was made.
    pub(crate) is_used: bool,
    /// Whether the service was healthy since the last step of an operation began, however
    /// often its container was started since then. Images from before this never say so.
    pub(crate) was_healthy: bool,
    /// What of the running cluster lies elsewhere, by the names of the links to it.
    pub(crate) tablespaces: Vec<String>,
    /// Where the running cluster was migrated from.
    pub(crate) migrated_from: Option<String>,
    /// The image that an update has made the running cluster for.
    pub(crate) running_image: Option<ImageId>,
    /// Which disk the volume lies on, as its container knows it.
    pub(crate) disk: u64,
    /// What an update has noted of the generations that it put aside, by name.
    pub(crate) kept: BTreeMap<String, Value>,
    /// The image that ran on each, where an update has noted it.
    pub(crate) images: BTreeMap<String, ImageId>,
    /// The app's secrets that the volume keeps, by name.
    pub(crate) secrets: Vec<String>,
}

/// What has put the running data in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MadeBy<'a> {
    /// The first start of the volume.
    Itself,
    Restore {
        id: &'a str,
    },
    Migration {
        id: &'a str,
        from: &'a str,
    },
    Update,
}

impl MadeBy<'_> {
    /// The command that brings back what ran before.
    pub(crate) fn way_back(self, service: &str) -> Option<String> {
        match self {
            Self::Itself => None,
            Self::Restore { .. } => Some(format!("cargo xtask restore {service} --undo")),
            Self::Migration { .. } => Some(format!("cargo xtask migrate {service} --rollback")),
            Self::Update => Some(format!("cargo xtask update {service} --undo")),
        }
    }
}

impl VolumeFindings {
    pub(crate) fn made_by(&self) -> MadeBy<'_> {
        match (&self.running, &self.migrated_from, &self.running_image) {
            (None, _, _) => MadeBy::Itself,
            (Some(id), Some(from), _) => MadeBy::Migration { id, from },
            (Some(_), None, Some(_)) => MadeBy::Update,
            (Some(id), None, None) => MadeBy::Restore { id },
        }
    }

    /// # Errors
    /// When no generation of this name is kept on the volume, with those that are.
    pub(crate) fn has(&self, volume: &str, generation: &str) -> Result<()> {
        if self.generations.iter().any(|one| one == generation) {
            return Ok(());
        }
        let all = if self.generations.is_empty() {
            "none".to_owned()
        } else {
            self.generations.join(", ")
        };
        let message = format!("volume {volume} has no generation {generation}; it has {all}");
        Err(failure::usage(message).into())
    }
}

#[cfg(test)]
impl VolumeFindings {
    /// A volume with room for everything, beside which nothing is put aside.
    pub(crate) fn sample() -> Self {
        Self {
            major: 17,
            missing_extensions: Vec::new(),
            free_bytes: u64::MAX,
            free_files: None,
            generations: Vec::new(),
            journal: None,
            is_held: Some(false),
            running: None,
            is_used: false,
            was_healthy: false,
            tablespaces: Vec::new(),
            migrated_from: None,
            running_image: None,
            versions: BTreeMap::new(),
            disk: 1,
            kept: BTreeMap::new(),
            images: BTreeMap::new(),
            secrets: Vec::new(),
        }
    }
}

/// A volume that an operation holds: others see that somebody works on it, on whichever host. It is
/// let go with this, also where this process is killed: the program that holds it ends with its
/// input.
#[derive(Debug)]
pub(crate) struct HeldVolume(Dialog);

/// What the program that holds a volume says first.
#[derive(Debug, Deserialize)]
struct Holding {
    is_held: bool,
    journal: Option<VolumeJournal>,
}

impl HeldVolume {
    /// What the program says first; nothing where it has ended.
    fn said(&self) -> Result<String> {
        let mut line = String::new();
        self.0.stream.set_read_timeout(Some(HOLDING))?;
        let read = BufReader::new(&self.0.stream).read_line(&mut line);
        read.with_context(|| format!("hold the volume: wait {} s for it", HOLDING.as_secs()))?;
        Ok(line)
    }

    /// Whether it still does: its program, or the way to that, may have ended.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.0.goes_on()
    }

    fn into_last_words(self) -> String {
        self.0.last_words()
    }
}

/// The container that works on a volume. It goes with this, also after `kill -9`.
#[derive(Debug)]
pub(crate) struct VolumeKeeper {
    container: Container,
    owner: String,
    engine: Engine,
    runner: Runner,
}

impl VolumeKeeper {
    pub(crate) fn start(resources: &RunResources, name: &str, image: &ImageId, volume: &str) -> Result<Self> {
        Self::start_with(resources, name, image, volume, &[])
    }

    /// The same with more options of `docker run`.
    pub(crate) fn start_with(
        resources: &RunResources,
        name: &str,
        image: &ImageId,
        volume: &str,
        more: &[&str],
    ) -> Result<Self> {
        let mount = format!("{volume}:{MOUNT}");
        let options = [&IDLE[..], &["--volume", &mount], more].concat();
        let container = resources.start(name, image.as_str(), &options, &["infinity"])?;
        let mut keeper = Self {
            container,
            owner: "0:0".to_owned(),
            engine: resources.engine.clone(),
            runner: resources.runner.clone(),
        };
        let ours = keeper.run(&[], &["sh", "-c", OWNER]);
        keeper.owner = match ours {
            Ok(owner) => owner,
            // A user who may not look is not the owner.
            Err(_) => keeper.run(&["--user", "0:0"], &["sh", "-c", OWNER])?,
        };
        Ok(keeper)
    }

    /// The same for what goes on after Ctrl-C.
    pub(crate) fn for_cleanup(&self) -> Self {
        let runner = self.runner.for_cleanup();
        Self {
            container: Container::existing(&self.engine, &runner, self.container.name()),
            owner: self.owner.clone(),
            engine: self.engine.clone(),
            runner,
        }
    }

    /// Carries out a verb of the script as the volume's owner.
    pub(crate) fn does(&self, verb: &str, args: &[&str]) -> Result<String> {
        self.runs(&on_generations(&[&[verb], args].concat()))
    }

    /// What another command says as the volume's owner.
    pub(crate) fn runs(&self, command: &[&str]) -> Result<String> {
        self.run(&["--user", &self.owner], command)
    }

    /// The container that has the volume.
    pub(crate) fn container(&self) -> &Container {
        &self.container
    }

    /// `UID:GID`.
    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    pub(crate) fn look(&self, extensions: &[&str]) -> Result<VolumeFindings> {
        let said = self.does("look", &[&serde_json::to_string(extensions)?])?;
        serde_json::from_str(&said).context("read what the volume says of itself")
    }

    /// Writes down which step comes.
    pub(crate) fn note(&self, journal: &VolumeJournal) -> Result<()> {
        self.does("note", &[&serde_json::to_string(journal)?]).map(drop)
    }

    /// Holds the volume for an operation, where its file system locks folders, and says what its
    /// journal has by then.
    pub(crate) fn hold(&self) -> Result<(Option<HeldVolume>, Option<VolumeJournal>)> {
        let exec = [
            "exec",
            "--interactive",
            "--user",
            &self.owner,
            self.container.name(),
        ];
        let runner = self.runner.for_cleanup();
        let command = self.engine.cmd(&runner, &exec).args(on_generations(&["hold"]));
        let held = HeldVolume(command.dialog()?);
        let Ok(Holding { is_held, journal }) = serde_json::from_str(&held.said()?) else {
            let why = held.into_last_words();
            return Err(failure::environment(format!("hold the volume: {why}"))
                .hint("wait for what works on it, and try again")
                .into());
        };
        Ok((is_held.then_some(held), journal))
    }

    /// Puts the files of a backup into a folder of the volume, once each was seen to be the one that
    /// was written.
    pub(crate) fn unpack(&self, backup: &Backup, folder: &str, report: &Report) -> Result<()> {
        let place = format!("{MOUNT}/generations/{folder}");
        self.unpack_and(Sums::Compared, backup, &place, report)?;
        self.own(&place)
    }

    /// Puts them anywhere; they are root's then.
    pub(crate) fn unpack_to(&self, backup: &Backup, place: &str, report: &Report) -> Result<()> {
        self.unpack_and(Sums::Left, backup, place, report)
    }

    fn unpack_and(&self, sums: Sums, backup: &Backup, place: &str, report: &Report) -> Result<()> {
        let archive = backup.contents(&self.runner, report)?;
        unpack(
            &self.engine,
            &self.runner,
            (backup, archive),
            &self.container,
            place,
            sums,
        )
    }

    /// The same of a base backup that is being taken.
    pub(crate) fn unpack_from(&self, archive: impl Read + Send + 'static, folder: &str) -> Result<()> {
        let place = format!("{MOUNT}/generations/{folder}");
        let sums = Sums::Compared;
        copy_in(&self.engine, &self.runner, archive, &self.container, &place, sums)?;
        self.own(&place)
    }

    /// What was never in use goes. Of one that was unpacked half, the files are still root's.
    pub(crate) fn settle(&self) -> Result<()> {
        let owner = &self.owner;
        let script = format!(
            "for one in {MOUNT}/generations/new-*.part; do [ ! -e $one ] || chown -R {owner} $one; done"
        );
        self.run(&["--user", "0:0"], &["sh", "-c", &script])?;
        self.does("settle", &[]).map(drop)
    }

    /// What lies there becomes the volume's owner's.
    pub(crate) fn own(&self, place: &str) -> Result<()> {
        self.run(&["--user", "0:0"], &["chown", "-R", &self.owner, place])
            .map(drop)
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Result<String> {
        run_in(&self.container, options, command)
    }
}

/// The command that says what a container's archive has.
pub(crate) fn archived() -> Vec<&'static str> {
    on_generations(&["archived"])
}

/// Whether each file of a base backup is compared with the sums in it while it is unpacked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sums {
    Compared,
    /// All is looked at afterwards, or it is no base backup.
    Left,
}

/// Unpacked in the container, by the library that each image's PostgreSQL has: an engine
/// that is given zstd may die of it.
pub(crate) fn unpack(
    engine: &Engine,
    runner: &Runner,
    (backup, archive): (&Backup, impl Read + Send + 'static),
    container: &Container,
    folder: &str,
    sums: Sums,
) -> Result<()> {
    let done = copy_in(engine, runner, archive, container, folder, sums);
    // Whoever was interrupted says so by the error itself.
    done.map_err(|error| {
        let place = failure::environment(format!("unpack {}", backup.path.display()));
        match failure::kind(&error) {
            failure::FailureKind::Interrupted => error,
            _ => error.context(place),
        }
    })
}

pub(crate) fn copy_in(
    engine: &Engine,
    runner: &Runner,
    archive: impl Read + Send + 'static,
    container: &Container,
    folder: &str,
    sums: Sums,
) -> Result<()> {
    let exec = ["exec", "--interactive", "--user", "0:0", container.name()];
    let more: &[&str] = match sums {
        Sums::Compared => &["compare"],
        Sums::Left => &[],
    };
    let command = with_files(UNPACK, &[&[folder], more].concat());
    let unpack = engine.cmd(runner, &exec).args(command);
    unpack.stdin_from(archive).deadline(LONGEST).run().map(drop)
}

/// Options of a container whose command is `infinity`: it does what is run in it, and nothing
/// else.
pub(crate) const IDLE: [&str; 5] = ["--no-healthcheck", "--entrypoint", "sleep", "--network", "none"];

/// What ends a script that judges a backup, where that is to blame: `EX_DATAERR`. Python ends
/// with 1 by itself, and an engine does so where the container is gone.
const OF_THE_DATA: i32 = 65;

/// What ends one where the machine is the cause.
const OF_THE_MACHINE: i32 = 3;

/// What ends any other script that will not do it.
const REFUSED: i32 = 1;

/// What ends one where something else has to be asked for: `EX_USAGE` of `sysexits.h`.
const UNREACHABLE: i32 = 64;

/// What a script that judges a backup says; why it refuses it, where it does.
pub(crate) fn judgement(
    container: &Container,
    command: &[&str],
) -> Result<std::result::Result<String, String>> {
    let output = container.exec(LONGEST, &[], command, None)?;
    if output.status.code() == Some(OF_THE_DATA) {
        // What is told is not bounded, and the seal is.
        return Ok(Err(output.stderr_text().chars().take(2000).collect()));
    }
    if !output.success() {
        let message = format!("the proof {}{}", ended(output.status), tail(&output.stderr));
        return Err(failure::environment(message).into());
    }
    Ok(Ok(output.stdout_text()))
}

/// What a command in a container says; what it says on stderr where it fails.
pub(crate) fn run_in(container: &Container, options: &[&str], command: &[&str]) -> Result<String> {
    run_in_for(container, LONGEST, options, command)
}

/// The same, for this long.
pub(crate) fn run_in_for(
    container: &Container,
    deadline: Duration,
    options: &[&str],
    command: &[&str],
) -> Result<String> {
    let output = container.exec(deadline, options, command, None)?;
    if output.success() {
        return Ok(output.stdout_text());
    }
    if let Some(refusal) = refusal(output.status.code(), output.stderr_text()) {
        return Err(refusal.into());
    }
    let program = command.first().copied().unwrap_or_default();
    let message = format!("`{program}` {}{}", ended(output.status), tail(&output.stderr));
    Err(failure::environment(message).into())
}

/// What a script has refused, in its own words.
fn refusal(code: Option<i32>, said: String) -> Option<Failure> {
    match code.filter(|_| !said.is_empty())? {
        REFUSED | OF_THE_DATA | OF_THE_MACHINE => Some(failure::environment(said)),
        UNREACHABLE => Some(failure::usage(said)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use failure::FailureKind;

    #[test]
    fn what_another_run_still_carries_out_was_not_killed() {
        let was_killed = |journal: &VolumeJournal| journal.was_killed("genie", Some(false), false);
        let mut journal = VolumeJournal::begun("restore", "1", true);
        was_killed(&journal).unwrap();
        let ours = journal.run.clone().unwrap();
        let (pid, rest) = ours.split_once('-').unwrap();
        let (_, rest) = rest.split_once('-').unwrap();
        // The parent of this process is there as long as the test is.
        let parent = std::os::unix::process::parent_id();
        let stat = fs_err::read_to_string(format!("/proc/{parent}/stat")).unwrap();
        let started = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap();
        journal.run = Some(format!("{parent}-{started}-{rest}"));
        let process = format!("genie: another command, process {parent}, carries out a restore");
        // Whatever the volume says: it is seen here.
        for takes_over in [false, true] {
            let told = journal.was_killed("genie", Some(false), takes_over).unwrap_err();
            assert!(failure::render(&told).contains(&process));
        }
        assert!(failure::render(&journal.refused("genie")).contains(&process));
        // A number that was given out again, another boot, an older tool.
        let (_, host) = rest.split_once('-').unwrap();
        for dead in [
            Some(format!("{parent}-1-{rest}")),
            Some(format!("{pid}-1-0000-{host}")),
            None,
        ] {
            journal.run = dead;
            was_killed(&journal).unwrap();
            let told = failure::render(&journal.refused("genie"));
            assert!(told.contains("was killed at"), "{told}");
        }
    }

    #[test]
    fn what_another_host_has_begun_is_its_own_until_it_lets_go_of_the_volume() {
        let mut journal = VolumeJournal::begun("restore", "1", true);
        journal.run = Some("1-1-0000-0000".to_owned());
        let told = |journal: &VolumeJournal, is_held, takes_over| {
            let done = journal.was_killed("genie", is_held, takes_over);
            done.map_err(|error| failure::render(&error))
        };
        // An older tool holds nothing; some file systems lock no folders.
        for (holds, is_held) in [(false, Some(false)), (true, None), (false, None)] {
            journal.holds = holds;
            let cannot = told(&journal, is_held, false).unwrap_err();
            assert!(cannot.contains("from here it cannot be told"), "{cannot}");
            assert!(cannot.contains("cargo xtask up genie --take-over"), "{cannot}");
        }
        journal.holds = true;
        let works = told(&journal, Some(true), false).unwrap_err();
        assert!(
            works.contains("a command on another host carries out a restore: it holds"),
            "{works}"
        );
        assert_eq!(told(&journal, Some(false), false), Ok(()), "it has let go");
        for is_held in [Some(true), Some(false), None] {
            assert_eq!(told(&journal, is_held, true), Ok(()), "somebody has said so");
        }
        let refused = failure::render(&journal.refused("genie"));
        assert!(
            refused.contains("on another host carries out a restore, or was killed"),
            "{refused}"
        );
    }

    #[test]
    fn a_script_says_whose_fault_it_is() {
        let kind = |code, said: &str| refusal(code, said.to_owned()).map(|failure| failure.kind);
        for code in [1, 3, 65] {
            assert_eq!(kind(Some(code), "no room"), Some(FailureKind::Environment));
        }
        assert_eq!(kind(Some(64), "take an earlier backup"), Some(FailureKind::Usage));
        for (code, said) in [(Some(1), ""), (Some(2), "a shell's own"), (None, "killed")] {
            assert_eq!(kind(code, said), None);
        }
    }
}
