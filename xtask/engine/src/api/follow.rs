//! Answers that have no end of their own: events, and the log of a container
//! that runs. A thread reads them; it ends with the handle.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::{Api, Response, VERSION};
use host::process::Runner;

/// Between two looks at whether the user has asked to stop.
const SLICE: Duration = Duration::from_millis(50);

/// An engine that does not begin to answer for this long is down.
const BEGINNING: Duration = Duration::from_secs(20);

/// The most bytes that are read at once.
const PIECE: usize = 16 << 10;

/// What comes of an answer.
enum Piece {
    /// It has begun: from here on nothing is missed.
    Begun,
    /// The status is not the one of success: nothing follows.
    Refused(Response),
    Bytes(Vec<u8>),
    Lost(anyhow::Error),
}

/// An answer while it comes.
#[derive(Debug)]
pub struct Follow {
    pieces: mpsc::Receiver<Piece>,
    stop: Arc<AtomicBool>,
}

/// What waiting for more gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// These bytes, in pieces as they happened to come.
    Bytes(Vec<u8>),
    /// Nothing until the given moment.
    Silence,
    /// The engine has nothing more to say.
    End,
}

impl Api {
    /// `GET` of an answer that is read while it comes, on a connection of its
    /// own. When this returns, the answer has begun.
    ///
    /// # Errors
    /// When the engine does not answer or refuses, or on Ctrl-C.
    pub fn follow(&self, runner: &Runner, path: &str) -> Result<Follow> {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, pieces) = mpsc::channel();
        let (api, path) = (self.clone(), path.to_owned());
        let reader = Runner::new(Arc::clone(&stop))?;
        std::thread::spawn(move || {
            let version = api.shared.spoken.get().map_or(VERSION, String::as_str);
            let read = api.read_on(&reader, &format!("/v{version}{path}"), &sender);
            if let Err(error) = read {
                // Nobody may listen any more.
                sender.send(Piece::Lost(error)).ok();
            }
        });
        let follow = Follow { pieces, stop };
        match follow.receive(runner, Some(Instant::now() + BEGINNING))? {
            Some(Piece::Begun) => Ok(follow),
            Some(Piece::Refused(answer)) => Err(answer.failure().into()),
            Some(Piece::Lost(error)) => Err(error),
            _ => Err(failure::environment(format!(
                "the engine did not answer within {} s",
                BEGINNING.as_secs()
            ))
            .into()),
        }
    }

    fn read_on(&self, reader: &Runner, path: &str, to: &mpsc::Sender<Piece>) -> Result<()> {
        let agent = self.new_agent(&reader.interrupt());
        let request = ureq::http::Request::builder()
            .uri(format!("http://docker{path}"))
            .body(())
            .with_context(|| format!("ask the engine for {path}"))?;
        let reply = agent.run(request).map_err(|error| lost(path, &error))?;
        let status = reply.status().as_u16();
        let mut body = reply.into_body().into_reader();
        if status != 200 {
            let mut said = Vec::new();
            body.take(PIECE as u64).read_to_end(&mut said)?;
            to.send(Piece::Refused(Response { status, body: said })).ok();
            return Ok(());
        }
        let mut goes_on = to.send(Piece::Begun).is_ok();
        let mut piece = vec![0; PIECE];
        while goes_on {
            let length = body.read(&mut piece).map_err(|error| lost(path, &error))?;
            if length == 0 {
                break;
            }
            goes_on = to.send(Piece::Bytes(piece[..length].to_vec())).is_ok();
        }
        Ok(())
    }
}

fn lost(path: &str, error: &dyn std::fmt::Display) -> failure::Failure {
    failure::environment(format!(
        "GET {path}: the connection to the engine was lost ({error})"
    ))
}

impl Follow {
    /// What comes next, waiting no longer than `until`; for ever without it.
    ///
    /// # Errors
    /// When the connection is lost, or on Ctrl-C.
    pub fn next(&self, runner: &Runner, until: Option<Instant>) -> Result<Next> {
        match self.receive(runner, until)? {
            Some(Piece::Bytes(bytes)) => Ok(Next::Bytes(bytes)),
            Some(Piece::Lost(error)) => Err(error),
            Some(_) => Ok(Next::End),
            None => Ok(Next::Silence),
        }
    }

    /// `None` when the time is over. The reader that is gone has come to the end.
    fn receive(&self, runner: &Runner, until: Option<Instant>) -> Result<Option<Piece>> {
        loop {
            runner.check_interrupt()?;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            match self.pieces.recv_timeout(slice) {
                Ok(piece) => return Ok(Some(piece)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Some(Piece::Begun)),
                Err(RecvTimeoutError::Timeout) if left == Some(slice) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
