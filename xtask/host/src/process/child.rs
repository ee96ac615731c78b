//! Children that end with their handles, whole process groups at a time.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Runner, Stream};

/// Between SIGTERM and SIGKILL for a child that has to go.
const TERM_GRACE: Duration = Duration::from_secs(10);

/// Parts of a child's outputs while they come.
pub(super) type Pieces = mpsc::Receiver<(Stream, Vec<u8>)>;

/// How much of a copied output is read at a time, and how many of that wait.
const PIECE: usize = 1 << 18;
const PIECES: usize = 16;

/// A child that is talked with; ended when this is dropped.
#[derive(Debug)]
pub struct Dialog {
    /// Its stdin for writing, its stdout for reading.
    pub stream: UnixStream,
    pub(super) child: Group,
}

impl Dialog {
    /// Whether the child has not ended.
    pub fn goes_on(&mut self) -> bool {
        matches!(self.child.0.try_wait(), Ok(None))
    }

    /// Ends it and returns what it printed on stderr.
    pub fn last_words(mut self) -> String {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
        let pipe = self.child.0.stderr.take();
        let began = Instant::now();
        // One that ends by itself still has to say why.
        while began.elapsed() < Duration::from_millis(500) && matches!(self.child.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(self.child);
        let mut said = Vec::new();
        if let Some(pipe) = pipe {
            // A grandchild may hold the pipe open: what is there now is enough.
            rustix::io::ioctl_fionbio(&pipe, true).ok();
            pipe.take(1 << 16).read_to_end(&mut said).ok();
        }
        String::from_utf8_lossy(&said).trim_end().to_owned()
    }
}

/// A child and its process group; gone when this is dropped.
#[derive(Debug)]
pub(super) struct Group(pub(super) Child);

impl Group {
    /// Ends it, with an error, on Ctrl-C and past its deadline.
    pub(super) fn end_if_told(
        &mut self,
        runner: &Runner,
        started: Instant,
        deadline: Duration,
        line: &str,
    ) -> Result<()> {
        if runner.is_interrupted() {
            self.end();
            bail!(failure::interrupted());
        }
        if started.elapsed() > deadline {
            self.end();
            bail!("`{line}` did not end within {} s", deadline.as_secs());
        }
        Ok(())
    }

    /// Writes its stdin, where there is something to write.
    pub(super) fn feed(&mut self, source: Option<Box<dyn Read + Send>>) {
        if let (Some(mut pipe), Some(mut source)) = (self.0.stdin.take(), source) {
            std::thread::spawn(move || {
                // A child that does not get all its input says so by its exit code.
                std::io::copy(&mut source, &mut pipe).ok();
            });
        }
    }

    /// The lines of both its outputs while they come, each with its newline.
    pub(super) fn lines(&mut self) -> Pieces {
        let (sender, receiver) = mpsc::channel();
        let reader = |stream: Stream, pipe: Option<Box<dyn Read + Send>>| {
            let Some(pipe) = pipe else { return };
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                loop {
                    let mut line = Vec::new();
                    match pipe.read_until(b'\n', &mut line) {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {
                            if sender.send((stream, line)).is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        };
        reader(Stream::Stdout, self.0.stdout.take().map(|p| Box::new(p) as _));
        reader(Stream::Stderr, self.0.stderr.take().map(|p| Box::new(p) as _));
        receiver
    }

    /// What both its outputs have, as it comes. The child waits where nobody takes
    /// it: all of it may be more than there is memory.
    pub(super) fn pieces(&mut self) -> Pieces {
        let (sender, receiver) = mpsc::sync_channel(PIECES);
        let reader = |stream: Stream, pipe: Option<Box<dyn Read + Send>>| {
            let Some(mut pipe) = pipe else { return };
            let sender = sender.clone();
            std::thread::spawn(move || {
                let mut piece = vec![0; PIECE];
                while let Ok(length @ 1..) = pipe.read(&mut piece) {
                    if sender.send((stream, piece[..length].to_vec())).is_err() {
                        return;
                    }
                }
            });
        };
        reader(Stream::Stdout, self.0.stdout.take().map(|p| Box::new(p) as _));
        reader(Stream::Stderr, self.0.stderr.take().map(|p| Box::new(p) as _));
        receiver
    }

    /// SIGTERM to the group, SIGKILL after [`TERM_GRACE`].
    fn end(&mut self) {
        let Some(group) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) else {
            return;
        };
        // It may have ended meanwhile; then there is nobody to signal.
        rustix::process::kill_process_group(group, rustix::process::Signal::TERM).ok();
        let start = Instant::now();
        while start.elapsed() < TERM_GRACE {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.0.wait().ok();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
        }
    }
}
