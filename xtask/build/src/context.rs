//! What of a directory a build can read, and a staged copy of just that: the
//! crate `inputs`, with its problems as failures.

pub mod stage;

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use inputs::context::ignore::{self, Ignore};
use inputs::context::walk::{self, Found, WalkOptions};
use inputs::context::{InputProblem, Rules, problem};
use inputs::regular;

use failure::Failure;

/// The most problems that a message lists.
const LISTED: usize = 20;

/// The ignore file that counts for `context`, read. `dockerfile` is the one
/// that is built where `context` is its main context, `None` for a named one.
///
/// # Errors
/// A file that cannot be read, or lines that BuildKit refuses, as a usage
/// failure with the file and all the lines.
pub fn ignore(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore> {
    let Some(file) = ignore::file_for(context, dockerfile) else {
        return Ok(Ignore::default());
    };
    let shown = file.display();
    let real = fs_err::canonicalize(&file)?;
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = fs_err::canonicalize(folder)?;
    if !real.starts_with(&folder) {
        // BuildKit would find nothing behind such a link and ignore nothing.
        return Err(failure::usage(format!("{shown}: the link points out of its directory")).into());
    }
    let content = regular::read(&file).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::PermissionDenied => {
            failure::usage(format!("{shown}: {error}")).into()
        }
        _ => anyhow::Error::new(error).context(format!("read {shown}")),
    })?;
    Ignore::parse(&content).map_err(|problems| {
        let lines = problems.iter().map(ToString::to_string);
        failure::usage(listed(&format!("{shown} cannot be used"), lines)).into()
    })
}

/// The inputs of a context.
///
/// # Errors
/// A usage failure with all the entries that cannot be used;
/// [`failure::interrupted`] where the options stopped it.
pub fn scan(context: &Path, rules: &Rules, options: &WalkOptions<'_>) -> Result<Found> {
    walk::walk(context, rules, options).map_err(|problems| unusable(context, &problems))
}

/// A file name for a folder: two folders never share an index or a staged copy.
pub fn folder_key(folder: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let digest = blake3::hash(folder.as_os_str().as_bytes());
    digest.to_hex().chars().take(16).collect()
}

/// All the problems as one usage failure, unless the caller wanted no more.
fn unusable(context: &Path, problems: &[InputProblem]) -> anyhow::Error {
    let is = |what: fn(&problem::What) -> bool| problems.iter().find(|problem| what(&problem.what));
    if is(|what| *what == problem::What::Stopped).is_some() {
        return failure::interrupted().into();
    }
    if let Some(root) = is(|what| matches!(what, problem::What::NoDirectory(_))) {
        return failure::usage(format!("{}: {}", context.display(), root.what)).into();
    }
    let what = format!("the context {} cannot be used", context.display());
    let lines = problems.iter().map(ToString::to_string);
    with_hints(failure::usage(listed(&what, lines)), problems).into()
}

fn listed(what: &str, lines: impl ExactSizeIterator<Item = String>) -> String {
    let count = lines.len();
    let mut text = format!("{what}:");
    for line in lines.take(LISTED) {
        text.push_str("\n  ");
        text.push_str(&line);
    }
    if count > LISTED {
        text.push_str(&format!("\n  and {} others", count - LISTED));
    }
    text
}

fn with_hints(mut failure: Failure, problems: &[InputProblem]) -> Failure {
    let any = |holds: fn(&problem::What) -> bool| problems.iter().any(|problem| holds(&problem.what));
    if any(|what| matches!(what, problem::What::Changed)) {
        failure = failure.hint("run again when nothing writes to the directory");
    }
    if any(|what| !matches!(what, problem::What::Changed)) {
        failure = failure.hint("exclude what the image does not need in .dockerignore");
    }
    failure
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(error: &anyhow::Error) -> String {
        assert_eq!(failure::kind(error), failure::FailureKind::Usage);
        format!("{error:#}")
    }

    #[test]
    fn ignore_file_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ignore(folder.path(), Some(Path::new("nowhere/Dockerfile"))).is_ok());
        let file = folder.path().join(".dockerignore");
        fs::write(&file, "a\n[\n!\n").unwrap();
        let shown = file.display();
        assert_eq!(
            text(&ignore(folder.path(), None).unwrap_err()),
            format!(
                "{shown} cannot be used:\n  line 2: syntax error in pattern: \"[\"\n  \
                 line 3: illegal exclusion pattern: \"!\""
            )
        );
    }

    #[test]
    fn ignore_file_that_is_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("app");
        fs::create_dir(&context).unwrap();
        symlink("rules", context.join(".dockerignore")).unwrap();
        assert!(!ignore(&context, None).unwrap().has_exceptions());
        fs::write(context.join("rules"), "!a\n").unwrap();
        assert!(ignore(&context, None).unwrap().has_exceptions());
        fs::remove_file(context.join("rules")).unwrap();
        fs::write(folder.path().join("out"), "!a\n").unwrap();
        symlink("../out", context.join("rules")).unwrap();
        let error = text(&ignore(&context, None).unwrap_err());
        assert!(error.ends_with("the link points out of its directory"), "{error}");
    }

    #[test]
    fn ignore_file_that_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".dockerignore");
        fs::create_dir(&file).unwrap();
        let error = text(&ignore(folder.path(), None).unwrap_err());
        assert_eq!(error, format!("{}: a directory, not a file", file.display()));
        fs::remove_dir(&file).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
        let error = text(&ignore(folder.path(), None).unwrap_err());
        assert_eq!(error, format!("{}: a fifo, not a file", file.display()));
    }

    #[test]
    fn no_directory_and_no_more_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let rules = Rules::safe(Ignore::default());
        let nowhere = folder.path().join("nowhere");
        let error = scan(&nowhere, &rules, &WalkOptions::default()).unwrap_err();
        assert_eq!(
            text(&error),
            format!("{}: No such file or directory (os error 2)", nowhere.display())
        );
        let stop = WalkOptions {
            stop: &|| true,
            ..WalkOptions::default()
        };
        let error = scan(folder.path(), &rules, &stop).unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Interrupted);
    }

    #[test]
    fn many_problems_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..25 {
            symlink("/x", folder.path().join(format!("l{index:02}"))).unwrap();
        }
        let rules = Rules::safe(Ignore::default());
        let error = text(&scan(folder.path(), &rules, &WalkOptions::default()).unwrap_err());
        assert!(
            error.contains("\n  l00: the link points out of the context"),
            "{error}"
        );
        assert!(error.ends_with("\n  and 5 others"), "{error}");
    }
}
