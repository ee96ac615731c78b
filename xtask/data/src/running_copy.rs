//! A copy of the cluster that runs, on the volume that it has, and the log that comes
//! meanwhile: what is left to be copied once the service is stopped is next to nothing.

use std::io::{PipeWriter, pipe};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::take::with_slot;
use host::process::{Stream, ended, tail};
use service::handle::ServiceHandle;

/// Copies, and goes on with the log.
const FOLLOW: &str = include_str!("inside/follow.py");

/// The word by which it says that the copy is there.
const COPIED: &[u8] = b"copied";

/// The exit code by which it says that the server sends nobody its log.
const SENDS_NO_LOG: i32 = 2;

/// Longer than any copy; Ctrl-C ends it, and the end of the container.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// The program in the service's container that copies. It ends with this, also where
/// this process is killed: its input ends then.
pub(crate) struct RunningCopy {
    input: Option<PipeWriter>,
    copied: Receiver<()>,
    program: Option<JoinHandle<Result<Ended>>>,
}

/// How the program has ended.
#[derive(Debug, Default)]
struct Ended {
    code: Option<i32>,
    said: String,
}

/// What became of a copy.
pub(crate) enum Copied {
    /// It is there, and its log is received.
    Whole,
    /// The server sends nobody its log, and why.
    Never(String),
}

impl RunningCopy {
    /// Begins to copy into the folders that were made for the operation `id`.
    pub(crate) fn start(handle: &ServiceHandle, id: &str) -> Result<Self> {
        let (reader, input) = pipe().context("make a pipe")?;
        let (tell, copied) = mpsc::channel();
        let (engine, interrupt) = (handle.engine.clone(), handle.runner.interrupt());
        let (container, id) = (handle.name.to_string(), id.to_owned());
        let program = thread::spawn(move || {
            let runner = interrupt.runner()?;
            let exec = ["exec", "--interactive", &container];
            let command = engine.cmd(&runner, &exec).args(with_slot(FOLLOW, &[&id]));
            let mut said = Vec::new();
            let done = command
                .stdin_from(reader)
                .deadline(LONGEST)
                .stream(|stream, line| {
                    match stream {
                        // Nobody may wait for it any more.
                        Stream::Stdout if line == COPIED => drop(tell.send(())),
                        Stream::Stdout | Stream::Stderr => said.extend([line, b"\n"].concat()),
                    }
                    Ok(())
                })?;
            Ok(Ended {
                code: done.status.code(),
                said: format!("{}{}", ended(done.status), tail(&said)),
            })
        });
        Ok(Self {
            input: Some(input),
            copied,
            program: Some(program),
        })
    }

    /// Waits until the copy is there, or cannot be.
    ///
    /// # Errors
    /// An environment failure with what the program said, where it ends before; Ctrl-C.
    pub(crate) fn wait(&mut self) -> Result<Copied> {
        if self.copied.recv().is_ok() {
            return Ok(Copied::Whole);
        }
        let Ended { code, said } = self.end()?;
        if code == Some(SENDS_NO_LOG) {
            return Ok(Copied::Never(said));
        }
        Err(failure::environment(format!("copy the data while the service works: it {said}")).into())
    }

    /// Ends it, and says how it has ended.
    fn end(&mut self) -> Result<Ended> {
        self.input = None;
        let Some(program) = self.program.take() else {
            return Ok(Ended::default());
        };
        let done = program.join();
        done.unwrap_or_else(|_| Err(anyhow!("a thread that copies data panicked")))
    }
}

impl Drop for RunningCopy {
    fn drop(&mut self) {
        // How it ends says nothing: whether the copy is whole is seen by what it has.
        self.end().ok();
    }
}
