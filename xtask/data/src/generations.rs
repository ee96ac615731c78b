//! The generations of a volume, worked on by a container of the image beside the
//! service: what runs, what ran before, what is to run.

mod findings;
mod journal;

use std::cell::{Cell, RefCell};
use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::file::Backup;
use crate::take::{on_generations, with_files};
use container::boot::MOUNT;
use definition::identity::ImageId;
use engine::Engine;
use engine::container::{Container, RunResources};
use failure::Failure;
use host::process::{Dialog, Runner, ended, tail};
use host::report::Report;

pub(crate) use findings::MadeBy;
pub use findings::VolumeFindings;
pub use journal::VolumeJournal;
pub(crate) use journal::{ROLLBACK, UNDO};

/// Unpacks what comes on stdin, and compares it where it has another argument.
const UNPACK: &str = include_str!("inside/unpack.py");

/// Longer than any of it; Ctrl-C ends it.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// How long a container may take until it has begun to hold its volume.
const HOLDING: Duration = Duration::from_secs(60);

/// Who carries something out says every ten seconds that he is there.
const SILENCE: Duration = Duration::from_secs(100);

/// After this time it is looked whether somebody has ended a wait.
const LOOK: Duration = Duration::from_millis(100);

/// As whom all is done that is not the volume's owner's.
pub(crate) const ROOT: &str = "0:0";

/// Whose the volume is: of the cluster's user, else of the one that the image has.
const OWNER: &str = "cd /var/lib/postgresql/data || exit; \
    for one in pgdata hive; do [ -e $one ] && stat -c %u:%g $one && exit; done; echo $(id -u):$(id -g)";

/// A volume that an operation holds: others see that somebody works on it, on whichever host. It is
/// let go with this, also where this process is killed: the program that holds it ends with its
/// input. What is to be done on the volume it does, too: to start another program for each of an
/// operation's steps takes longer than most of them.
#[derive(Debug)]
pub(crate) struct HeldVolume {
    /// Closed before the dialog is: its program ends with its input.
    answers: RefCell<BufReader<UnixStream>>,
    dialog: Dialog,
    /// How many it was asked.
    asked: Cell<u64>,
}

/// What the program that holds a volume says first.
#[derive(Debug, Deserialize)]
struct Holding {
    is_held: bool,
    journal: Option<VolumeJournal>,
}

/// What became of one verb.
#[derive(Debug, Deserialize)]
struct Answer {
    /// Which one it was: nobody has waited for the answers before.
    number: u64,
    code: i32,
    said: String,
    told: String,
}

impl HeldVolume {
    fn new(dialog: Dialog) -> Result<Self> {
        let stream = dialog.stream.try_clone().context("duplicate a socket's handle")?;
        Ok(Self {
            dialog,
            answers: RefCell::new(BufReader::new(stream)),
            asked: Cell::new(0),
        })
    }

    /// What the program says first; nothing where it has ended.
    fn said(&self) -> Result<String> {
        let mut line = String::new();
        self.dialog.stream.set_read_timeout(Some(HOLDING))?;
        let read = self.answers.borrow_mut().read_line(&mut line);
        read.with_context(|| format!("hold the volume: wait {} s for it", HOLDING.as_secs()))?;
        self.dialog.stream.set_read_timeout(Some(LOOK))?;
        Ok(line)
    }

    /// Has a verb carried out; none where the program has ended, or the way to it.
    ///
    /// # Errors
    /// As [`VolumeKeeper::does`].
    fn does(&self, runner: &Runner, verb: &str, args: &[&str]) -> Result<Option<String>> {
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let mut words = vec![Value::from(number), verb.into()];
        words.extend(args.iter().map(|&word| word.into()));
        let line = format!("{}\n", Value::from(words));
        if (&self.dialog.stream).write_all(line.as_bytes()).is_err() {
            return Ok(None);
        }
        loop {
            let Some(line) = self.line(runner)? else {
                return Ok(None);
            };
            let answer: Answer = serde_json::from_str(&line).context("read what the volume's holder says")?;
            if answer.number == number {
                return answer.outcome(verb).map(Some);
            }
        }
    }

    /// Its next line that is not empty; none where there will be no more.
    fn line(&self, runner: &Runner) -> Result<Option<String>> {
        let (mut line, mut heard) = (Vec::new(), Instant::now());
        loop {
            match self.answers.borrow_mut().read_until(b'\n', &mut line) {
                Ok(1) if line == b"\n" => {
                    line.clear();
                    heard = Instant::now();
                }
                Ok(_) if line.ends_with(b"\n") => return Ok(Some(String::from_utf8(line)?)),
                Ok(_) => return Ok(None),
                Err(error) if matches!(error.kind(), WouldBlock | TimedOut) => {
                    runner.check_interrupt()?;
                    // A connection that was forgotten on the way says nothing of it.
                    if heard.elapsed() > SILENCE {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == Interrupted => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Whether it still does: its program, or the way to it, may have ended.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.dialog.goes_on()
    }

    fn into_last_words(self) -> String {
        self.dialog.last_words()
    }
}

impl Answer {
    fn outcome(self, verb: &str) -> Result<String> {
        if self.code == 0 {
            return Ok(self.said.trim().to_owned());
        }
        let told = self.told.trim().to_owned();
        if let Some(refusal) = refusal(Some(self.code), told) {
            return Err(refusal.into());
        }
        let message = format!("`{verb}` ended with {}{}", self.code, tail(self.told.as_bytes()));
        Err(failure::environment(message).into())
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

    /// The same by the program that holds the volume, where one does.
    pub(crate) fn does_by(&self, held: Option<&HeldVolume>, verb: &str, args: &[&str]) -> Result<String> {
        let said = held.map(|held| held.does(&self.runner, verb, args)).transpose()?;
        said.flatten().map_or_else(|| self.does(verb, args), Ok)
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
        self.look_by(None, extensions)
    }

    /// The same by the program that holds the volume, where one does.
    pub(crate) fn look_by(&self, held: Option<&HeldVolume>, extensions: &[&str]) -> Result<VolumeFindings> {
        let said = self.does_by(held, "look", &[&serde_json::to_string(extensions)?])?;
        serde_json::from_str(&said).context("read what the volume says of itself")
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
        let held = HeldVolume::new(command.dialog()?)?;
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
        self.unpack_as(&self.owner, Sums::Compared, backup, &place, report)
    }

    /// Puts them anywhere; they are root's then.
    pub(crate) fn unpack_to(&self, backup: &Backup, place: &str, report: &Report) -> Result<()> {
        self.unpack_as(ROOT, Sums::Left, backup, place, report)
    }

    fn unpack_as(&self, user: &str, sums: Sums, backup: &Backup, place: &str, report: &Report) -> Result<()> {
        let archive = backup.contents(&self.runner, report)?;
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

    /// What was never in use goes.
    pub(crate) fn settle(&self) -> Result<()> {
        let done = self.does("settle", &[]);
        done.or_else(|_| self.settle_as_root()).map(drop)
    }

    /// The same of files that are not the owner's: `docker cp` makes root's.
    fn settle_as_root(&self) -> Result<String> {
        self.run(&["--user", ROOT], &on_generations(&["settle"]))
    }

    /// Deletes a generation that somebody has named, whose ever its files are.
    pub(crate) fn forget(&self, generation: &str) -> Result<()> {
        let Err(error) = self.does("forget", &[generation]) else {
            return Ok(());
        };
        // Begun, it is called as what was never in use.
        self.settle_as_root()?;
        match self.look(&[])?.generations.iter().any(|one| one == generation) {
            true => Err(error),
            false => Ok(()),
        }
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
    container: (&Container, &str),
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
    use failure::FailureKind;

    /// A holder that says these lines to whatever it is asked first, and then ends.
    fn held(answers: &str) -> (Runner, HeldVolume) {
        let runner = Runner::new(std::sync::Arc::default()).unwrap();
        let script =
            format!("echo hello; read -r asked; echo \"$asked\" >&2; printf '{answers}'; read -r end");
        let held = HeldVolume::new(runner.cmd("sh").args(["-c", &script]).dialog().unwrap()).unwrap();
        assert_eq!(held.said().unwrap(), "hello\n");
        (runner, held)
    }

    #[test]
    fn who_holds_the_volume_carries_out_what_he_is_asked() {
        // The answer that nobody has waited for is not this one's.
        let stale = r#"{"number": 0, "code": 0, "said": "late", "told": ""}"#;
        let (runner, holder) = held(&format!(
            r#"\n{stale}\n\n{{"number": 1, "code": 0, "said": "done\\n", "told": ""}}\n"#
        ));
        let done = holder.does(&runner, "note", &["{\"a\": 1}"]).unwrap();
        assert_eq!(done.as_deref(), Some("done"));
        // It has ended: the next one is another program's to do.
        assert_eq!(holder.does(&runner, "finish", &[]).unwrap(), None);
        let words = holder.into_last_words();
        assert!(words.contains(r#"[1,"note","{\"a\": 1}"]"#), "{words}");
    }

    #[test]
    fn what_he_will_not_do_he_says_in_his_own_words() {
        let (runner, holder) = held(r#"{"number": 1, "code": 1, "said": "", "told": "no room\\n"}\n"#);
        let refused = holder.does(&runner, "keep", &[]).unwrap_err();
        assert_eq!(failure::kind(&refused), FailureKind::Environment);
        assert_eq!(refused.to_string(), "no room");
        let (runner, holder) = held(r#"{"number": 1, "code": -9, "said": "", "told": ""}\n"#);
        let killed = holder.does(&runner, "keep", &[]).unwrap_err();
        assert!(killed.to_string().starts_with("`keep` ended with -9"), "{killed}");
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
