//! The generations of a volume, worked on by a container of the image beside the
//! service: what runs, what ran before, what is to run.

mod findings;
mod held;
mod journal;

use std::io::Read;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::file::Backup;
use crate::take::{on_generations, with_files};
use container::boot::MOUNT;
use definition::identity::ImageId;
use engine::Engine;
use engine::container::{Container, RunResources};
use failure::{Failure, FailureKind};
use host::process::{Runner, ended, tail};
use host::report::Report;

pub(crate) use findings::MadeBy;
pub use findings::VolumeFindings;
pub(crate) use held::HeldVolume;
use held::{Attending, VolumeAttendant};
pub use journal::VolumeJournal;
pub(crate) use journal::{ROLLBACK, UNDO};

/// Unpacks what comes on stdin, and compares it where it has another argument.
const UNPACK: &str = include_str!("inside/unpack.py");

/// Longer than any of it; Ctrl-C ends it.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// As whom all is done that is not the volume's owner's.
pub(crate) const ROOT: &str = "0:0";

/// The container that works on a volume. It goes with this, also after `kill -9`.
#[derive(Debug)]
pub(crate) struct VolumeKeeper {
    /// Ends before its container does.
    attendant: Rc<VolumeAttendant>,
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
        let (engine, runner) = (&resources.engine, &resources.runner);
        let name = container.name();
        let (mut attendant, mut seen) = attended(engine, runner, name, &[])?;
        if seen.owner.is_none() {
            // A user who may not look is not the owner.
            (attendant, seen) = attended(engine, runner, name, &["--user", ROOT])?;
        }
        let unseen = || failure::environment(format!("root may not look at volume {volume}"));
        let owner = seen.owner.ok_or_else(unseen)?;
        if owner != seen.user {
            (attendant, _) = attended(engine, runner, name, &["--user", &owner])?;
        }
        Ok(Self {
            attendant: Rc::new(attendant),
            container,
            owner,
            engine: engine.clone(),
            runner: runner.clone(),
        })
    }

    /// The same for what goes on after Ctrl-C.
    pub(crate) fn for_cleanup(&self) -> Self {
        let runner = self.runner.for_cleanup();
        Self {
            attendant: Rc::clone(&self.attendant),
            container: Container::existing(&self.engine, &runner, self.container.name()),
            owner: self.owner.clone(),
            engine: self.engine.clone(),
            runner,
        }
    }

    /// Carries out a verb of the script as the volume's owner, by the program that attends to it or,
    /// where that has ended, by one of its own.
    pub(crate) fn does(&self, verb: &str, args: &[&str]) -> Result<String> {
        match self.attendant.does(&self.runner, verb, args)? {
            Some(said) => Ok(said),
            None => self.runs(&on_generations(&[&[verb], args].concat())),
        }
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

    /// Holds the volume for an operation, where its file system locks folders, and says what its
    /// journal has by then.
    pub(crate) fn hold(&self) -> Result<(Option<HeldVolume>, Option<VolumeJournal>)> {
        HeldVolume::by(&self.attendant, &self.runner)
    }

    /// Puts the files of a backup into a folder of the volume, once each was seen to be the one that
    /// was written, and the backup the one that was sealed.
    pub(crate) fn unpack(&self, backup: &Backup, folder: &str, report: &Report) -> Result<()> {
        let place = format!("{MOUNT}/generations/{folder}");
        let (archive, read) = backup.sealed_contents(&self.runner, report)?;
        let done = self.unpack_as(&self.owner, Sums::Compared, backup, archive, &place);
        match done {
            // What is wrong with a file that somebody has changed matters less than that.
            Err(error) if backup.is_plain() && failure::kind(&error) != FailureKind::Interrupted => {
                backup.check(&self.runner, report)?;
                Err(error)
            }
            Ok(()) if backup.is_plain() => backup.was_sealed(&read),
            done => done,
        }
    }

    /// Puts them anywhere; they are root's then.
    pub(crate) fn unpack_to(&self, backup: &Backup, place: &str, report: &Report) -> Result<()> {
        let archive = backup.contents(&self.runner, report)?;
        self.unpack_as(ROOT, Sums::Left, backup, archive, place)
    }

    fn unpack_as(
        &self,
        user: &str,
        sums: Sums,
        backup: &Backup,
        archive: impl Read + Send + 'static,
        place: &str,
    ) -> Result<()> {
        unpack(
            &self.engine,
            &self.runner,
            (backup, archive),
            (&self.container, user),
            place,
            sums,
        )
    }

    /// The same of a base backup that is being taken.
    pub(crate) fn unpack_from(&self, archive: impl Read + Send + 'static, folder: &str) -> Result<()> {
        let place = format!("{MOUNT}/generations/{folder}");
        let sums = Sums::Compared;
        let container = (&self.container, self.owner.as_str());
        copy_in(&self.engine, &self.runner, archive, container, &place, sums)
    }

    /// What was never in use goes, also of files that are not the owner's: `docker cp` makes
    /// root's.
    pub(crate) fn settle_as_root(&self) -> Result<()> {
        self.run(&["--user", ROOT], &on_generations(&["settle"]))
            .map(drop)
    }

    /// Deletes a generation that somebody has named, also where its files are not the owner's.
    ///
    /// # Errors
    /// When there is none, or an operation works on the volume.
    pub(crate) fn forget(&self, generation: &str) -> Result<()> {
        self.ended(generation, self.does("forget", &[generation]), "end_forgetting")
            .map(drop)
    }

    /// What became of an operation's deletion of a generation that nobody has used.
    pub(crate) fn forgotten(&self, generation: &str, done: Result<String>) -> Result<String> {
        self.ended(generation, done, "settle")
    }

    /// A deletion that could not go on is ended by a verb as root: once begun, what was a generation
    /// is called as what was never in use.
    fn ended(&self, generation: &str, done: Result<String>, verb: &str) -> Result<String> {
        let Err(error) = done else {
            return done;
        };
        self.run(&["--user", ROOT], &on_generations(&[verb]))?;
        match self.look(&[])?.generations.iter().any(|one| one == generation) {
            true => Err(error),
            false => Ok(String::new()),
        }
    }

    /// What lies there becomes the volume's owner's.
    pub(crate) fn own(&self, place: &str) -> Result<()> {
        self.run(&["--user", ROOT], &["chown", "-R", &self.owner, place])
            .map(drop)
    }

    fn run(&self, options: &[&str], command: &[&str]) -> Result<String> {
        run_in(&self.container, options, command)
    }
}

/// A program that attends to the volume of a container, as the image's user unless told otherwise.
fn attended(
    engine: &Engine,
    runner: &Runner,
    container: &str,
    user: &[&str],
) -> Result<(VolumeAttendant, Attending)> {
    let exec = [&["exec", "--interactive"], user, &[container]].concat();
    // Ctrl-C ends what it is asked, and not the one who takes it back.
    let whole = runner.for_cleanup();
    let command = engine.cmd(&whole, &exec).args(on_generations(&["attend"]));
    VolumeAttendant::of(command.dialog()?, runner)
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
    container: (&Container, &str),
    folder: &str,
    sums: Sums,
) -> Result<()> {
    let done = copy_in(engine, runner, archive, container, folder, sums);
    // Whoever was interrupted says so by the error itself.
    done.map_err(|error| {
        let place = failure::environment(format!("unpack {}", backup.path.display()));
        match failure::kind(&error) {
            FailureKind::Interrupted => error,
            _ => error.context(place),
        }
    })
}

pub(crate) fn copy_in(
    engine: &Engine,
    runner: &Runner,
    archive: impl Read + Send + 'static,
    (container, user): (&Container, &str),
    folder: &str,
    sums: Sums,
) -> Result<()> {
    let exec = ["exec", "--interactive", "--user", user, container.name()];
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
