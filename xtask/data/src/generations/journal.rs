//! What a volume says of an operation on its data, and whether that goes on.

use anyhow::{Error, Result};
use serde::{Deserialize, Serialize};

use definition::identity::ImageId;
use engine::reaper;
use failure::Failure;

/// How the journal calls the way back of a restore or a migration, and that of an update.
pub(crate) const ROLLBACK: &str = "rollback";
pub(crate) const UNDO: &str = "update that is undone";

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

    /// Whether what ran before the operation of this name is to run again.
    pub(crate) fn is_way_back(&self) -> bool {
        [ROLLBACK, UNDO].contains(&self.operation.as_str())
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
            (Carrier::Here(pid), _) => self.goes_on_here(name, pid),
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
            Carrier::Here(pid) => self.goes_on_here(name, pid).into(),
            Carrier::Elsewhere => failure::environment(format!(
                "{name}: a command on another host carries out a {}, or was killed: nothing was touched",
                self.operation
            ))
            .hint(format!("end it where it was killed: cargo xtask up {name}"))
            .into(),
        }
    }

    fn goes_on_here(&self, name: &str, pid: &str) -> Failure {
        let operation = &self.operation;
        let message = format!("{name}: another command, process {pid}, carries out a {operation}");
        failure::environment(message).hint("wait for it, or end it")
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
