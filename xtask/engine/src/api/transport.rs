//! How HTTP gets to the engine: over a socket of this machine, or over the
//! stdin and stdout of `docker system dial-stdio`, which are a socket here too.
//!
//! Reads wait in short slices, so that Ctrl-C ends them at once.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::Endpoint;
use host::process::{Dialog, Interrupt};

/// Between two looks at whether the user has asked to stop.
const SLICE: Duration = Duration::from_millis(50);

/// Opens connections to one endpoint.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) endpoint: Endpoint,
    pub(super) interrupt: Interrupt,
}

impl Connector for Dialer {
    type Out = Line;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Line>, ureq::Error> {
        let config = details.config;
        let carrier = match &self.endpoint {
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path).map_err(|error| {
                    said(match error.kind() {
                        ErrorKind::PermissionDenied => format!(
                            "permission denied while trying to connect to the Docker daemon socket at unix://{}",
                            path.display()
                        ),
                        _ => format!(
                            "Cannot connect to the Docker daemon at unix://{}. Is the docker daemon running?",
                            path.display()
                        ),
                    })
                })?;
                Carrier::Socket(stream)
            }
            Endpoint::Dial { docker, env } => {
                let runner = self.interrupt.runner().map_err(other)?;
                let mut command = crate::without_foreign(runner.cmd(docker).args(["system", "dial-stdio"]));
                for (key, value) in env {
                    command = command.env(key, value);
                }
                Carrier::Dialog(Some(command.dialog().map_err(other)?))
            }
        };
        if let Some(stream) = carrier.stream() {
            stream.set_read_timeout(Some(SLICE))?;
        }
        Ok(Some(Line {
            carrier,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            interrupt: self.interrupt.clone(),
        }))
    }
}

/// What the CLI would have said.
#[derive(Debug)]
pub(super) struct Unreachable(pub(super) String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

fn said(text: String) -> ureq::Error {
    ureq::Error::Other(Box::new(Unreachable(text)))
}

fn other(error: anyhow::Error) -> ureq::Error {
    said(format!("{error:#}"))
}

#[derive(Debug)]
enum Carrier {
    Socket(UnixStream),
    /// Empty once it has said its last words.
    Dialog(Option<Dialog>),
}

impl Carrier {
    fn stream(&self) -> Option<&UnixStream> {
        match self {
            Self::Socket(stream) => Some(stream),
            Self::Dialog(dialog) => dialog.as_ref().map(|dialog| &dialog.stream),
        }
    }
}

/// One connection to the engine. It reads in slices of time, so that Ctrl-C is
/// heard while the engine is silent.
#[derive(Debug)]
pub(super) struct Line {
    carrier: Carrier,
    buffers: LazyBuffers,
    interrupt: Interrupt,
}

impl Line {
    /// An end of the connection in the middle of an answer. Where the CLI
    /// carries it, its last words are the reason.
    fn lost(&mut self, error: std::io::Error) -> ureq::Error {
        if let Carrier::Dialog(dialog) = &mut self.carrier
            && let Some(dialog) = dialog.take()
        {
            let words = dialog.last_words();
            if !words.is_empty() {
                return said(words);
            }
        }
        error.into()
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        // Requests are short: all of one fits into the socket's buffer.
        let Some(mut stream) = self.carrier.stream() else {
            return Err(std::io::Error::from(ErrorKind::NotConnected).into());
        };
        stream.set_write_timeout(timeout.not_zero().map(|left| *left))?;
        match stream.write_all(&self.buffers.output()[..amount]) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ureq::Error::Timeout(timeout.reason)),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let end = timeout.not_zero().map(|left| Instant::now() + *left);
        loop {
            if self.interrupt.is_set() {
                return Err(std::io::Error::from(ErrorKind::ConnectionAborted).into());
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            let Some(mut stream) = self.carrier.stream() else {
                return Err(std::io::Error::from(ErrorKind::NotConnected).into());
            };
            match stream.read(self.buffers.input_append_buf()) {
                Ok(0) => return Err(self.lost(ErrorKind::UnexpectedEof.into())),
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(true);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    /// Nothing is to be read from a connection at rest, not even its end.
    fn is_open(&mut self) -> bool {
        let Some(mut stream) = self.carrier.stream() else {
            return false;
        };
        let probe = stream.set_nonblocking(true).and_then(|()| {
            let read = stream.read(&mut [0]);
            stream.set_nonblocking(false)?;
            read
        });
        probe.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// There is no name to be resolved: the endpoint knows the way.
#[derive(Debug)]
pub(super) struct NoNames;

impl Resolver for NoNames {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut nowhere = self.empty();
        nowhere.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Ok(nowhere)
    }
}
