//! The only place that spawns processes.
//!
//! A [`Runner`] makes [`Command`]s on top of `xshell`, which quotes and prints
//! them, and adds what xshell 0.2 lacks: a deadline, the tail of the output in
//! the error, output line by line while it comes, and an end on Ctrl-C. Each
//! child leads its own process group, so that Ctrl-C reaches this process only
//! and clean-up stays in its hands.

mod child;
mod runner;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::io::{Cursor, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub use child::Dialog;
use child::{Group, Pieces};
pub use runner::{Interrupt, Runner};

/// How many lines of output an error carries.
const TAIL_LINES: usize = 30;

/// How many characters of a command an error carries.
const LONGEST_LINE: usize = 1000;

/// Commands that must not hang the tool: nothing but a build takes longer.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(120);

/// Lets another program take this process's place; returns only where that fails.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn replace(program: &str, args: &[&OsStr]) -> anyhow::Error {
    let error = std::process::Command::new(program).args(args).exec();
    let message = format!("cannot run {program}: {error}");
    failure::environment(message).into()
}

/// One command, built by value; `Display` is its shell-quoted line.
pub struct Command<'a> {
    cmd: xshell::Cmd<'a>,
    runner: &'a Runner,
    deadline: Duration,
    stdin: Option<Box<dyn Read + Send>>,
}

impl fmt::Display for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cmd.fmt(f)
    }
}

/// Which of the child's streams a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, which holds what the child was started for.
    Stdout,
    /// Standard error, where the child tells what it does.
    Stderr,
}

/// What a finished command left behind.
#[derive(Debug)]
pub struct Output {
    /// The exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// Everything it printed on stdout (empty when it was streamed).
    pub stdout: Vec<u8>,
    /// Everything it printed on stderr (empty when it was streamed).
    pub stderr: Vec<u8>,
    /// The time from its spawn to its end.
    pub took: Duration,
}

impl Output {
    /// Whether it ended with exit code 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Stdout as text, without the newlines at its end.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Stderr as text, without the newlines at its end.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

impl<'a> Command<'a> {
    /// Adds one argument, which no shell looks at.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.cmd = self.cmd.arg(arg.as_ref());
        self
    }

    /// Adds arguments, which no shell looks at.
    #[must_use]
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.cmd = self.cmd.args(args);
        self
    }

    /// Sets a variable of the child's environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.cmd = self.cmd.env(key.as_ref(), value.as_ref());
        self
    }

    /// Removes a variable from the child's environment.
    #[must_use]
    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.cmd = self.cmd.env_remove(key.as_ref());
        self
    }

    /// How long it may take; it is ended, with an error, after that.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Bytes for its standard input, which is closed otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(Box::new(Cursor::new(bytes.into())));
        self
    }

    /// The same of a file or part of one, which is read while the child reads it.
    #[must_use]
    pub fn stdin_from(mut self, source: impl Read + Send + 'static) -> Self {
        self.stdin = Some(Box::new(source));
        self
    }

    /// As an error names it: of one that has a whole script among its arguments the
    /// beginning.
    fn shortened(&self) -> String {
        let line = self.to_string();
        let mut rest = line.char_indices().skip(LONGEST_LINE);
        match rest.next() {
            Some((at, _)) => format!("{}… ({} more characters)", &line[..at], rest.count() + 1),
            None => line,
        }
    }

    /// Runs it and copies its stdout to `target` while it comes, however much it is.
    ///
    /// # Errors
    /// As [`Command::output`]; where `target` cannot be written the child is ended.
    pub fn copy(self, target: &mut dyn Write) -> Result<Output> {
        let mut stderr = Vec::new();
        let (status, took) = self.supervise(Group::pieces, &mut |stream, piece| {
            match stream {
                Stream::Stdout => target.write_all(piece)?,
                Stream::Stderr => stderr.extend_from_slice(piece),
            }
            Ok(())
        })?;
        Ok(Output {
            status,
            stdout: Vec::new(),
            stderr,
            took,
        })
    }

    /// Runs it and returns whatever it did, also with another exit code than 0.
    ///
    /// # Errors
    /// When it cannot be started, passes its deadline, or Ctrl-C ends it.
    pub fn output(self) -> Result<Output> {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let (status, took) = self.supervise(Group::lines, &mut |stream, chunk| {
            match stream {
                Stream::Stdout => stdout.extend_from_slice(chunk),
                Stream::Stderr => stderr.extend_from_slice(chunk),
            }
            Ok(())
        })?;
        Ok(Output {
            status,
            stdout,
            stderr,
            took,
        })
    }

    /// Runs it; another exit code than 0 is an error that carries the command
    /// and the tail of what it printed.
    ///
    /// # Errors
    /// As [`Command::output`], and for an exit code other than 0.
    pub fn run(self) -> Result<Output> {
        let line = self.shortened();
        let output = self.output()?;
        if !output.success() {
            let shown = if output.stderr.is_empty() {
                &output.stdout
            } else {
                &output.stderr
            };
            bail!("`{line}` {}{}", ended(output.status), tail(shown));
        }
        Ok(output)
    }

    /// Runs it and returns its stdout as text without the newlines at the end.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub fn read(self) -> Result<String> {
        Ok(self.run()?.stdout_text())
    }

    /// Whether it ends with exit code 0.
    ///
    /// # Errors
    /// As [`Command::output`].
    pub fn succeeds(self) -> Result<bool> {
        Ok(self.output()?.success())
    }

    /// Runs it and hands each line to `each` while it comes (newline removed).
    ///
    /// # Errors
    /// As [`Command::output`]; an error of `each` ends the child.
    pub fn stream(self, mut each: impl FnMut(Stream, &[u8]) -> Result<()>) -> Result<Output> {
        let (status, took) = self.supervise(Group::lines, &mut |stream, line| {
            each(stream, line.strip_suffix(b"\n").unwrap_or(line))
        })?;
        Ok(Output {
            status,
            stdout: Vec::new(),
            stderr: Vec::new(),
            took,
        })
    }

    /// Starts it as a daemon that outlives this process: a process group of its
    /// own, which no signal of the terminal reaches, and nothing inherited but
    /// `log` as stdout and stderr. Returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn detach(self, log: std::fs::File) -> Result<Child> {
        let line = self.shortened();
        let mut command = self.into_std();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("duplicate the log's handle")?)
            .stderr(log);
        command.spawn().with_context(|| format!("start `{line}`"))
    }

    /// Starts it with one socket for both its stdin and its stdout, for a
    /// protocol that is spoken with it. It is ended with the handle.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn dialog(self) -> Result<Dialog> {
        let line = self.shortened();
        let (ours, theirs) = UnixStream::pair().context("make a pair of sockets")?;
        let mut command = self.into_std();
        command
            .stdin(OwnedFd::from(
                theirs.try_clone().context("duplicate a socket's handle")?,
            ))
            .stdout(OwnedFd::from(theirs))
            .stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("start `{line}`"))?;
        Ok(Dialog {
            stream: ours,
            child: Group(child),
        })
    }

    /// Lets it take this process's place, with its terminal and its input; returns
    /// only where that fails.
    pub fn replace(self) -> anyhow::Error {
        let line = self.shortened();
        let mut command: std::process::Command = self.cmd.into();
        let error = command.exec();
        failure::environment(format!("cannot run `{line}`: {error}")).into()
    }

    fn into_std(self) -> std::process::Command {
        let mut command: std::process::Command = self.cmd.into();
        command.process_group(0);
        command
    }

    fn supervise(
        mut self,
        read: fn(&mut Group) -> Pieces,
        each: &mut dyn FnMut(Stream, &[u8]) -> Result<()>,
    ) -> Result<(ExitStatus, Duration)> {
        self.runner.check_interrupt()?;
        let line = self.shortened();
        let (runner, deadline, stdin) = (self.runner, self.deadline, self.stdin.take());
        let mut command = self.into_std();
        command
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("start `{line}`"))?;
        let mut child = Group(child);
        child.feed(stdin);
        let parts = read(&mut child);
        let mut exited: Option<Instant> = None;
        loop {
            match parts.recv_timeout(Duration::from_millis(50)) {
                Ok((stream, bytes)) => each(stream, &bytes)?,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if exited.is_none() && child.0.try_wait()?.is_some() {
                        exited = Some(Instant::now());
                    }
                    // A daemon of the child may hold the pipes open for ever.
                    if exited.is_some_and(|at| at.elapsed() > Duration::from_secs(1)) {
                        break;
                    }
                }
            }
            child.end_if_told(runner, started, deadline, &line)?;
        }
        // The pipes are closed, yet the child may still run.
        loop {
            if let Some(status) = child.0.try_wait()? {
                return Ok((status, started.elapsed()));
            }
            child.end_if_told(runner, started, deadline, &line)?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// `text` as one word of a POSIX shell, which reads it back as it was.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// `ended with exit code 1`, `was ended by signal 9`.
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

/// The last lines of `output`, each on its own line after a colon; empty for
/// no output.
pub fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines: VecDeque<&str> = VecDeque::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    let mut shown = String::new();
    for (n, line) in lines.iter().enumerate() {
        shown.push_str(if n == 0 { ":\n  " } else { "\n  " });
        shown.push_str(line);
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn runner() -> Runner {
        Runner::new(Arc::new(AtomicBool::new(false))).unwrap()
    }

    #[test]
    fn failure_carries_the_beginning_of_a_script() {
        let script = format!("exit 7 # {}", "x".repeat(2000));
        let failed = runner().cmd("sh").args(["-c", &script]).run();
        let said = failed.unwrap_err().to_string();
        // The shell's own quotes, its name and its option are characters, too.
        let line = format!("sh -c \"{script}\"").chars().count();
        let ends = format!("x… ({} more characters)` ended with exit code 7", line - 1000);
        assert!(
            said.starts_with("`sh -c \"exit 7") && said.ends_with(&ends),
            "{said}"
        );
    }

    #[test]
    fn failure_carries_command_code_and_tail() {
        let error = runner()
            .cmd("sh")
            .args(["-c", "echo out; echo 'no such thing' >&2; exit 7"])
            .run()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("ended with exit code 7:\n  no such thing"),
            "{error}"
        );
    }

    #[test]
    fn deadline_ends_the_whole_group() {
        let started = Instant::now();
        let error = runner()
            .cmd("sh")
            .args(["-c", "sleep 30 & sleep 30"])
            .deadline(Duration::from_millis(200))
            .run()
            .unwrap_err()
            .to_string();
        assert!(error.contains("did not end within"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(9));
    }

    #[test]
    fn interrupt_ends_commands_but_not_cleanup() {
        let flag = Arc::new(AtomicBool::new(true));
        let runner = Runner::new(flag).unwrap();
        let error = runner.cmd("true").run().unwrap_err();
        assert_eq!(failure::kind(&error), failure::FailureKind::Interrupted);
        assert!(runner.for_cleanup().cmd("true").succeeds().unwrap());

        let (runner, given_up) = (Runner::new(Arc::default()).unwrap(), Arc::default());
        let some = runner.unless(&given_up);
        assert!(some.cmd("true").succeeds().unwrap());
        given_up.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(some.cmd("true").run().is_err());
        assert!(runner.cmd("true").succeeds().unwrap());
    }

    #[test]
    fn stdin_and_lines() {
        let mut lines = Vec::new();
        runner()
            .cmd("cat")
            .stdin("a\nb")
            .stream(|stream, line| {
                assert_eq!(stream, Stream::Stdout);
                lines.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            })
            .unwrap();
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn what_is_copied_is_what_was_printed() {
        let source = Cursor::new(vec![b'\n'; 3_000_000]).chain(Cursor::new(vec![0xff; 1_000_001]));
        let mut target = Vec::new();
        let output = runner()
            .cmd("sh")
            .args(["-c", "cat; echo apart >&2; exit 3"])
            .stdin_from(source)
            .copy(&mut target)
            .unwrap();
        assert_eq!(
            (output.status.code(), output.stderr_text().as_str()),
            (Some(3), "apart")
        );
        assert_eq!(target.len(), 4_000_001);
        assert_eq!(target.iter().filter(|byte| **byte == b'\n').count(), 3_000_000);
    }

    #[test]
    fn a_target_that_is_full_ends_the_child() {
        let mut full = fs_err::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let endless = runner().cmd("yes").copy(&mut full).unwrap_err();
        assert_eq!(failure::kind(&endless), failure::FailureKind::Environment);
    }

    #[test]
    fn a_daemon_that_keeps_the_pipes_open_does_not_hang_us() {
        let started = Instant::now();
        runner()
            .cmd("sh")
            .args(["-c", "sleep 20 & exit 0"])
            .run()
            .unwrap();
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}
