//! Paths that somebody gave, and what the system says of them.

use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;

use failure::Failure;

/// What a file is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A backup that is there.
    Read,
    /// A backup that is to be there, or its proof.
    Write,
}

/// An error of a path that was given on the command line or by `HIVE_BACKUP_DIR`: of
/// its kind, and with what leads elsewhere. What is none of the path's stays as it is.
pub(crate) fn explain(purpose: Purpose, path: &Path, error: anyhow::Error) -> anyhow::Error {
    let Some(cause) = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>()) else {
        return error;
    };
    // It has no stable kind.
    let is_loop = Errno::from_io_error(cause) == Some(Errno::LOOP);
    let doing = match purpose {
        Purpose::Read => "read",
        Purpose::Write => "write",
    };
    let message = format!("{doing} {}", path.display());
    let failure = match cause.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename
        | ErrorKind::AlreadyExists => wrong(purpose, message),
        _ if is_loop => wrong(purpose, message),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            failure::environment(message)
                .hint("make room there, or write to another disk: `--to FILE`, or HIVE_BACKUP_DIR")
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            let hint = match purpose {
                Purpose::Read => "read it as the user that it belongs to",
                Purpose::Write => "write where that is allowed: `--to FILE`, or HIVE_BACKUP_DIR",
            };
            failure::environment(message).hint(hint)
        }
        _ => return error,
    };
    error.context(failure)
}

/// Whether the place is the cause: it is read-only, somebody else's, or full.
pub(crate) fn takes_nothing(error: &anyhow::Error) -> bool {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| {
        let (rights, room) = (
            [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied],
            [ErrorKind::StorageFull, ErrorKind::QuotaExceeded],
        );
        rights.contains(&cause.kind()) || room.contains(&cause.kind())
    })
}

fn wrong(purpose: Purpose, message: String) -> Failure {
    let hint = match purpose {
        Purpose::Read => "those that are there: cargo xtask backup list",
        Purpose::Write => "name another file: `--to FILE`; or another folder: HIVE_BACKUP_DIR",
    };
    failure::usage(message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use failure::FailureKind;

    fn told(purpose: Purpose, errno: Errno) -> (FailureKind, String) {
        let error = anyhow::Error::from(io::Error::from(errno)).context("make it");
        let error = explain(purpose, Path::new("/b/a.tar.zst"), error);
        (failure::kind(&error), failure::render(&error))
    }

    #[test]
    fn a_wrong_path_is_wrong_input() {
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP] {
            let (kind, text) = told(Purpose::Read, errno);
            assert_eq!(kind, FailureKind::Usage);
            assert!(text.starts_with("error: read /b/a.tar.zst: make it: "), "{text}");
            assert!(text.ends_with("hint: those that are there: cargo xtask backup list"));
        }
        let (kind, text) = told(Purpose::Write, Errno::NAMETOOLONG);
        assert_eq!(kind, FailureKind::Usage);
        assert!(text.ends_with("hint: name another file: `--to FILE`; or another folder: HIVE_BACKUP_DIR"));
    }

    #[test]
    fn what_the_machine_lacks_leads_to_the_right_variable() {
        for (purpose, errno, hint) in [
            (
                Purpose::Write,
                Errno::NOSPC,
                "make room there, or write to another disk: `--to FILE`, or HIVE_BACKUP_DIR",
            ),
            (
                Purpose::Write,
                Errno::DQUOT,
                "make room there, or write to another disk: `--to FILE`, or HIVE_BACKUP_DIR",
            ),
            (
                Purpose::Write,
                Errno::ROFS,
                "write where that is allowed: `--to FILE`, or HIVE_BACKUP_DIR",
            ),
            (
                Purpose::Write,
                Errno::ACCESS,
                "write where that is allowed: `--to FILE`, or HIVE_BACKUP_DIR",
            ),
            (
                Purpose::Read,
                Errno::ACCESS,
                "read it as the user that it belongs to",
            ),
        ] {
            let (kind, text) = told(purpose, errno);
            assert_eq!(kind, FailureKind::Environment);
            assert_eq!(text.split_once("\n\nhint: ").unwrap().1, hint);
        }
    }

    #[test]
    fn a_place_that_takes_nothing_is_known() {
        let takes_nothing = |errno: Errno| {
            let error = anyhow::Error::from(io::Error::from(errno)).context("its proof");
            takes_nothing(&explain(Purpose::Write, Path::new("/b/a.tar.zst"), error))
        };
        for errno in [
            Errno::ROFS,
            Errno::ACCESS,
            Errno::PERM,
            Errno::NOSPC,
            Errno::DQUOT,
        ] {
            assert!(takes_nothing(errno), "{errno}");
        }
        assert!(!takes_nothing(Errno::IO) && !takes_nothing(Errno::NOENT));
    }

    #[test]
    fn what_is_none_of_the_paths_stays_as_it_is() {
        let error = explain(Purpose::Read, Path::new("a"), anyhow::anyhow!("it is not whole"));
        assert_eq!(failure::render(&error), "error: it is not whole");
        let (kind, text) = told(Purpose::Read, Errno::IO);
        assert_eq!(kind, FailureKind::Build);
        assert!(text.starts_with("error: make it: "), "{text}");
    }
}
