//! What went wrong, as a kind that decides the exit code, a message and hints.
//!
//! Everything is carried by `anyhow`; a [`Failure`] anywhere in the chain
//! decides the exit code, and the hints of all of them are printed after the
//! message. An error without a `Failure` is an internal one: code 1.

use std::fmt;
use std::io::ErrorKind;

/// The exit codes of every command; `--help` and the README list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A build failed, or the tool itself did.
    Build = 1,
    /// The command line, a spec or another input file is wrong.
    Usage = 2,
    /// The machine lacks something: engine, network, disk, rights.
    Environment = 3,
    /// A check of an image, or of a container of it, failed.
    Smoke = 4,
    /// A `--check` found a file that is not what it should be.
    Drift = 5,
    /// SIGINT (Ctrl-C) or SIGTERM ended the run.
    Interrupted = 130,
}

/// An error that knows its exit code and what the user can do next.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind of failure it is, which decides the exit code.
    pub kind: FailureKind,
    /// Lower case, no full stop, names the file and the place.
    pub message: String,
    /// Each a whole instruction, with the command where there is one.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure with this message, and no hints yet.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// Adds what the user can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A build failed, or the tool itself did: exit code 1.
pub fn build(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Build, message)
}

/// What the user wrote cannot be used, in a file or on the command line: exit
/// code 2.
pub fn usage(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Usage, message)
}

/// The machine lacks something, such as an engine or room: exit code 3.
pub fn environment(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Environment, message)
}

/// An image did not pass its suite: exit code 4.
pub fn smoke(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Smoke, message)
}

/// A `--check` found a file that is not what it should be: exit code 5.
pub fn drift(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Drift, message)
}

/// The user stopped the run, by Ctrl-C or a signal: exit code 130.
pub fn interrupted() -> Failure {
    Failure::new(FailureKind::Interrupted, "interrupted")
}

/// The kind of the outermost [`Failure`] in the chain. Where there is none,
/// [`FailureKind::Environment`] for what the machine refuses whoever asks (see
/// `machine_hint`), else [`FailureKind::Build`].
pub fn kind(error: &anyhow::Error) -> FailureKind {
    // anyhow keeps context values as links of the chain that can be downcast
    // only through the error itself, so both ways are asked.
    error
        .downcast_ref::<Failure>()
        .or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
        .map_or_else(
            || match machine_hint(error) {
                Some(_) => FailureKind::Environment,
                None => FailureKind::Build,
            },
            |failure: &Failure| failure.kind,
        )
}

/// What to do about an error of the system that no part of the tool is to
/// blame for: a full disk, a file system that cannot be written, want of rights.
fn machine_hint(error: &anyhow::Error) -> Option<&'static str> {
    let io: &std::io::Error = error.chain().find_map(|cause| cause.downcast_ref())?;
    match io.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("free some space, or set HIVE_STATE_DIR and HIVE_CACHE_DIR to folders on another disk")
        }
        ErrorKind::ReadOnlyFilesystem => {
            Some("set HIVE_STATE_DIR and HIVE_CACHE_DIR to folders that can be written")
        }
        ErrorKind::PermissionDenied => Some(
            "run it as the user that the file belongs to, or set HIVE_STATE_DIR and HIVE_CACHE_DIR to folders of your own",
        ),
        ErrorKind::NotADirectory => {
            Some("the path leads through a file: look at HIVE_STATE_DIR, HIVE_CACHE_DIR and TMPDIR")
        }
        _ => None,
    }
}

/// The message as it is printed: outermost first, causes joined by `: `, then
/// a `hint:` line for each hint.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}");
    let mut hints: Vec<&str> = Vec::new();
    let outer = error.downcast_ref::<Failure>().into_iter();
    let inner = error.chain().filter_map(|cause| cause.downcast_ref());
    for failure in outer.chain(inner) {
        let failure: &Failure = failure;
        for hint in &failure.hints {
            if !hints.contains(&hint.as_str()) {
                hints.push(hint);
            }
        }
    }
    if hints.is_empty() {
        hints.extend(machine_hint(error));
    }
    if !hints.is_empty() {
        text.push('\n');
    }
    for hint in hints {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn kind_is_found_below_context() {
        let error = Err::<(), _>(environment("no engine").hint("start Docker"))
            .context("build image genie")
            .unwrap_err();
        assert_eq!(kind(&error), FailureKind::Environment);
        assert_eq!(
            render(&error),
            "error: build image genie: no engine\n\nhint: start Docker"
        );
    }

    #[test]
    fn kind_of_context_value_wins() {
        let error = Err::<(), _>(anyhow::anyhow!("exit code 1"))
            .context(smoke("agent failed"))
            .unwrap_err();
        assert_eq!(kind(&error), FailureKind::Smoke);
    }

    #[test]
    fn what_the_machine_refuses_is_its_fault_and_has_a_hint() {
        for (errno, hint) in [
            (28, "free some space"),
            (30, "can be written"),
            (13, "of your own"),
        ] {
            let error = Err::<(), _>(std::io::Error::from_raw_os_error(errno))
                .context("write state")
                .unwrap_err();
            assert_eq!(kind(&error), FailureKind::Environment, "{error:#}");
            assert!(render(&error).contains(hint), "{}", render(&error));
        }
        let error = Err::<(), _>(std::io::Error::from_raw_os_error(13))
            .context(usage("the app cannot be read"))
            .unwrap_err();
        assert_eq!(kind(&error), FailureKind::Usage);
    }

    #[test]
    fn plain_errors_are_internal() {
        assert_eq!(kind(&anyhow::anyhow!("boom")), FailureKind::Build);
    }
}
