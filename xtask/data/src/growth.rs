//! Tells how far something has come that a container works on.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Result;

use engine::container::Container;
use host::report::Report;

/// Between two looks, each of which is a program in the container.
const PAUSE: Duration = Duration::from_secs(2);

/// For one look.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs `work` and tells meanwhile how many bytes lie in a folder that it fills, of
/// about `total`.
///
/// # Errors
/// Those of `work`.
pub(crate) fn told<T>(
    report: &Report,
    container: &Container,
    folder: &str,
    total: Option<u64>,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    asked(report, total, || size(container, folder), work)
}

/// The same, with another way to ask how many bytes are done. What is done within one
/// pause is done without a word.
///
/// # Errors
/// Those of `work`.
pub(crate) fn asked<T>(
    report: &Report,
    total: Option<u64>,
    look: impl Fn() -> Option<u64> + Send,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let mut progress = report.progress(total);
        scope.spawn(move || {
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                // A look that fails is one that tells nothing.
                if let Some(bytes) = look() {
                    progress.reach(bytes);
                }
            }
        });
        let done = work();
        drop(end);
        done
    })
}

/// How much of its cluster a server has sent to the base backups that are taken of it;
/// it is asked as the superuser, who alone may see that.
pub(crate) fn sent(container: &Container) -> Option<u64> {
    let options = [
        "--env",
        "PGSERVICEFILE=/run/hive/pg_service.conf",
        "--env",
        "PGSERVICE=superuser",
    ];
    let command = [
        "/usr/bin/psql",
        "-XAtqc",
        "SELECT max(backup_streamed) FROM pg_stat_progress_basebackup",
    ];
    let said = container.exec(DEADLINE, &options, &command, None).ok()?;
    first_number(&said.stdout_text())
}

/// What the files in a folder take of the disk; some may go while they are counted.
fn size(container: &Container, folder: &str) -> Option<u64> {
    let command = ["du", "--summarize", "--block-size=1", folder];
    let said = container.exec(DEADLINE, &[], &command, None).ok()?;
    first_number(&said.stdout_text())
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_what_comes_before_the_folder() {
        assert_eq!(first_number("4096\t/hive-migrate/old\n"), Some(4096));
        assert_eq!(first_number("du: cannot access"), None);
        assert_eq!(first_number(""), None);
    }
}
