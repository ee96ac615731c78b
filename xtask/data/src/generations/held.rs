//! A program in the helper container that does what is done on a volume, and holds it for an
//! operation.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{VolumeJournal, refusal};
use failure::FailureKind;
use host::process::{Dialog, Runner, tail};

/// Who carries something out says every ten seconds that he is there.
const SILENCE: Duration = Duration::from_secs(100);

/// After this time it is looked whether somebody has ended a wait.
const LOOK: Duration = Duration::from_millis(100);

/// The program that does what is done on a volume, as its owner. It ends with this, also where
/// this process is killed: its input ends then. To start another program for each step of an
/// operation takes longer than most of them.
#[derive(Debug)]
pub(crate) struct VolumeAttendant {
    /// Closed before the dialog is: its program ends with its input.
    answers: RefCell<BufReader<UnixStream>>,
    dialog: RefCell<Dialog>,
    /// How many it was asked.
    asked: Cell<u64>,
}

/// What it says first.
#[derive(Debug, Deserialize)]
pub(super) struct Attending {
    /// As whom it is there: `UID:GID`.
    pub(super) user: String,
    /// Whose the volume is; none where this user may not see that.
    pub(super) owner: Option<String>,
}

/// A volume that an operation holds: others see that somebody works on it, on whichever host. It is
/// let go with this, and with the program that holds it.
#[derive(Debug)]
pub(crate) struct HeldVolume(Rc<VolumeAttendant>);

/// What the program says that was asked to hold the volume.
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

impl VolumeAttendant {
    fn new(dialog: Dialog) -> Result<Self> {
        let stream = dialog.stream.try_clone().context("duplicate a socket's handle")?;
        stream.set_read_timeout(Some(LOOK))?;
        Ok(Self {
            dialog: RefCell::new(dialog),
            answers: RefCell::new(BufReader::new(stream)),
            asked: Cell::new(0),
        })
    }

    /// One that is there, and what it says first.
    pub(super) fn of(dialog: Dialog, runner: &Runner) -> Result<(Self, Attending)> {
        let attendant = Self::new(dialog)?;
        let said = attendant.line(runner)?;
        match said.and_then(|said| serde_json::from_str(&said).ok()) {
            Some(attending) => Ok((attendant, attending)),
            None => {
                let why = attendant.dialog.into_inner().last_words();
                Err(failure::environment(format!("look at the volume: {why}")).into())
            }
        }
    }

    /// Has a verb carried out; none where the program has ended, or the way to it.
    ///
    /// # Errors
    /// With its own words where it refuses, and on Ctrl-C.
    pub(super) fn does(&self, runner: &Runner, verb: &str, args: &[&str]) -> Result<Option<String>> {
        let Some(number) = self.ask(verb, args) else {
            return Ok(None);
        };
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

    /// Asks for a verb, and does not wait for its answer, which has this number; none where nobody
    /// is there to be asked.
    fn ask(&self, verb: &str, args: &[&str]) -> Option<u64> {
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let mut words = vec![Value::from(number), verb.into()];
        words.extend(args.iter().map(|&word| word.into()));
        let line = format!("{}\n", Value::from(words));
        let asked = (&self.dialog.borrow().stream).write_all(line.as_bytes());
        asked.is_ok().then_some(number)
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
}

impl HeldVolume {
    /// Holds a volume, where its file system locks folders, and says what its journal has by then.
    pub(super) fn by(
        attendant: &Rc<VolumeAttendant>,
        runner: &Runner,
    ) -> Result<(Option<Self>, Option<VolumeJournal>)> {
        let hint = "wait for what works on it, and try again";
        let told = |why: &str| failure::environment(format!("hold the volume: {why}")).hint(hint);
        let said = match attendant.does(runner, "hold", &[]) {
            Ok(said) => said.ok_or_else(|| told("who attends to it has ended"))?,
            Err(error) if failure::kind(&error) == FailureKind::Environment => {
                return Err(told(&error.to_string()).into());
            }
            Err(error) => return Err(error),
        };
        let Holding { is_held, journal } =
            serde_json::from_str(&said).context("read what the volume's holder says")?;
        Ok((is_held.then(|| Self(Rc::clone(attendant))), journal))
    }

    /// Whether it still does: its program, or the way to it, may have ended.
    pub(crate) fn goes_on(&self) -> bool {
        self.0.dialog.borrow_mut().goes_on()
    }
}

impl Drop for HeldVolume {
    fn drop(&mut self) {
        // Where nobody is there to be asked, nobody holds it.
        self.0.ask("release", &[]);
    }
}

impl Answer {
    fn outcome(self, verb: &str) -> Result<String> {
        if self.code == 0 {
            return Ok(self.said.trim_end().to_owned());
        }
        let told = self.told.trim_end().to_owned();
        if let Some(refusal) = refusal(Some(self.code), told) {
            return Err(refusal.into());
        }
        let message = format!("`{verb}` ended with {}{}", self.code, tail(self.told.as_bytes()));
        Err(failure::environment(message).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attendant that says these lines to whatever it is asked first, and then ends.
    fn attendant(answers: &str) -> (Runner, VolumeAttendant) {
        let runner = Runner::new(std::sync::Arc::default()).unwrap();
        let script =
            format!("echo hello; read -r asked; echo \"$asked\" >&2; printf '{answers}'; read -r end");
        let attendant =
            VolumeAttendant::new(runner.cmd("sh").args(["-c", &script]).dialog().unwrap()).unwrap();
        assert_eq!(attendant.line(&runner).unwrap().as_deref(), Some("hello\n"));
        (runner, attendant)
    }

    #[test]
    fn who_holds_the_volume_carries_out_what_he_is_asked() {
        // The answer that nobody has waited for is not this one's.
        let stale = r#"{"number": 0, "code": 0, "said": "late", "told": ""}"#;
        let (runner, holder) = attendant(&format!(
            r#"\n{stale}\n\n{{"number": 1, "code": 0, "said": "done\\n", "told": ""}}\n"#
        ));
        let done = holder.does(&runner, "note", &["{\"a\": 1}"]).unwrap();
        assert_eq!(done.as_deref(), Some("done"));
        // It has ended: the next one is another program's to do.
        assert_eq!(holder.does(&runner, "finish", &[]).unwrap(), None);
        let words = holder.dialog.into_inner().last_words();
        assert!(words.contains(r#"[1,"note","{\"a\": 1}"]"#), "{words}");
    }

    #[test]
    fn what_he_will_not_do_he_says_in_his_own_words() {
        let (runner, holder) = attendant(r#"{"number": 1, "code": 1, "said": "", "told": "no room\\n"}\n"#);
        let refused = holder.does(&runner, "keep", &[]).unwrap_err();
        assert_eq!(failure::kind(&refused), FailureKind::Environment);
        assert_eq!(refused.to_string(), "no room");
        let (runner, holder) = attendant(r#"{"number": 1, "code": -9, "said": "", "told": ""}\n"#);
        let killed = holder.does(&runner, "keep", &[]).unwrap_err();
        assert!(killed.to_string().starts_with("`keep` ended with -9"), "{killed}");
    }
}
