//! The engine's HTTP API, for what is asked or done many times: a call takes a
//! millisecond or two where the CLI takes thirty to sixty.
//!
//! What builds, loads and pulls stays with the CLI, which knows about
//! credentials, plugins and progress.

pub(crate) mod endpoint;
pub mod follow;
pub mod frames;
mod transport;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

pub use endpoint::Endpoint;
use transport::{Dialer, NoNames, Unreachable};

use failure::Failure;
use host::process::{Interrupt, Runner};

/// The version of the API that is spoken: that of engine 25, the oldest one
/// that will do, which engine 29 still speaks.
const VERSION: &str = "1.44";

/// An engine that says nothing for this long is taken for one that has failed.
const DEADLINE: Duration = Duration::from_secs(120);

/// Room for what is sent and received at once. The library's own 128 KB each
/// cost more to fill with zeros, in a build without optimisation, than a call.
const BUFFER_SIZE: usize = 16 << 10;

/// No answer that is asked for is longer: 10,000 images are 6 MB. What a container
/// printed may be, and then nobody looks through all of it.
const LONGEST_ANSWER: u64 = 64 << 20;

/// The API of one engine. Connections are kept, and shared by clones.
#[derive(Clone, Debug)]
pub struct Api {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Ends its calls on Ctrl-C.
    agent: OnceLock<ureq::Agent>,
    /// Lets its calls end after Ctrl-C, too: they clean up.
    cleanup: OnceLock<ureq::Agent>,
    /// Spoken in place of [`VERSION`] with an engine that no longer does.
    spoken: OnceLock<String>,
    /// What `/version` said; held while it is asked.
    version: Mutex<Option<Version>>,
    /// What `/info` said; held while it is asked.
    info: Mutex<Option<Value>>,
}

/// A part of an engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Component {
    /// `Engine` and `containerd` with Docker, `Podman Engine` with Podman.
    pub(crate) name: String,
}

/// What an engine says of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Version {
    /// Such as `28.5.2`.
    #[serde(default)]
    pub(crate) version: String,
    /// Such as `linux`.
    #[serde(default)]
    pub(crate) os: String,
    /// Such as `amd64`.
    #[serde(default)]
    pub(crate) arch: String,
    /// Its parts by name: another program may speak the same API.
    #[serde(default)]
    pub(crate) components: Vec<Component>,
    /// The oldest API that it speaks.
    #[serde(default, rename = "MinAPIVersion")]
    oldest_api: String,
}

/// An answer that came whole, whatever its status.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status of HTTP, such as 404.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The body of a good answer.
    ///
    /// # Errors
    /// The engine's own words for any status but 2xx and 304.
    pub(crate) fn good(self) -> Result<Vec<u8>> {
        match self.status {
            200..=299 | 304 => Ok(self.body),
            _ => Err(self.failure().into()),
        }
    }

    /// From 500 on it is not the question that is wrong, but the machine.
    fn failure(&self) -> Failure {
        let message = self.refusal();
        if self.status < 500 {
            return failure::build(message);
        }
        let full = message.contains("no space left on device");
        let failure = failure::environment(message);
        if full {
            return failure.hint(
                "make room where the engine keeps its images, which `docker system df` shows, and run the same command again",
            );
        }
        failure
    }

    /// As the CLI says it: `Error response from daemon: No such image: x`.
    pub(crate) fn refusal(&self) -> String {
        let parsed: Option<Value> = serde_json::from_slice(&self.body).ok();
        let message = parsed.as_ref().and_then(|body| body.get("message")?.as_str());
        match message {
            Some(message) => format!("Error response from daemon: {message}"),
            None => format!("Error response from daemon: status {}", self.status),
        }
    }
}

impl Api {
    /// Whether the engine listens on a socket of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.endpoint, Endpoint::Socket(_))
    }

    /// The API behind an endpoint. Connects when it is first used.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            shared: Arc::default(),
        }
    }

    /// The API behind a socket of this machine.
    pub fn at_socket(path: PathBuf) -> Self {
        Self::new(Endpoint::Socket(path))
    }

    /// Where its API is reached.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it answers within `deadline`.
    pub(crate) fn answers(&self, deadline: Duration) -> bool {
        let agent = self.agent(&Interrupt::never());
        let reply = self.exchange(agent, "GET", "/_ping", RequestBody::Nothing, deadline);
        reply.is_ok_and(|answer| answer.status == 200)
    }

    /// The process that listens on the engine's socket; `None` where that is on
    /// another machine. systemd listens in the place of an engine that it starts.
    pub fn listener(&self) -> Option<i32> {
        let Endpoint::Socket(path) = &self.endpoint else {
            return None;
        };
        let stream = UnixStream::connect(path).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
        Some(peer.pid.as_raw_nonzero().get())
    }

    /// The engine's version and platform. It is asked once.
    ///
    /// # Errors
    /// When it does not answer within `deadline`, or on Ctrl-C.
    pub(crate) fn version(&self, runner: &Runner, deadline: Duration) -> Result<Version> {
        self.version_until(&runner.interrupt(), deadline)
    }

    /// Asks for the version in the background. The engine runs other programs
    /// to tell it, which takes longer than all other calls of a run with
    /// nothing to build. A failure shows when [`Api::version`] asks again.
    pub(crate) fn expect_version(&self, runner: &Runner, deadline: Duration) {
        let (api, interrupt) = (self.clone(), runner.interrupt());
        std::thread::spawn(move || api.version_until(&interrupt, deadline).ok());
    }

    fn version_until(&self, interrupt: &Interrupt, deadline: Duration) -> Result<Version> {
        let mut known = self.shared.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = &*known {
            return Ok(version.clone());
        }
        let answer = self.raw(interrupt, "GET", "/version", RequestBody::Nothing, deadline)?;
        let version: Version =
            serde_json::from_slice(&answer.good()?).context("read the engine's version")?;
        Ok(known.insert(version).clone())
    }

    /// What the engine says of its setting: the document of `/info`. It is
    /// asked once.
    ///
    /// # Errors
    /// As [`Api::document`].
    pub(crate) fn info(&self, runner: &Runner) -> Result<Value> {
        let mut known = self.shared.info.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(info) => Ok(info.clone()),
            None => Ok(known.insert(self.document(runner, "/info")?).clone()),
        }
    }

    /// `GET`, of a path without the API's version: `/images/json`.
    ///
    /// # Errors
    /// When no whole answer comes, or on Ctrl-C.
    pub(crate) fn get(&self, runner: &Runner, path: &str) -> Result<Response> {
        self.send(runner, "GET", path)
    }

    /// `GET`, and the document of a good answer.
    ///
    /// # Errors
    /// As [`Api::get`]; the engine's own words where it refuses.
    pub fn document<T: serde::de::DeserializeOwned>(&self, runner: &Runner, path: &str) -> Result<T> {
        let body = self.get(runner, path)?.good()?;
        serde_json::from_slice(&body).with_context(|| format!("read the engine's answer to {path}"))
    }

    /// Any method, without a body.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(crate) fn send(&self, runner: &Runner, method: &str, path: &str) -> Result<Response> {
        self.call(runner, method, path, RequestBody::Nothing, DEADLINE)
    }

    /// `POST` of a document.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(crate) fn post(&self, runner: &Runner, path: &str, document: &Value) -> Result<Response> {
        self.call(runner, "POST", path, RequestBody::Document(document), DEADLINE)
    }

    /// `PUT` of a tar archive.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(crate) fn put(&self, runner: &Runner, path: &str, archive: &[u8]) -> Result<Response> {
        self.call(runner, "PUT", path, RequestBody::Archive(archive), DEADLINE)
    }

    /// Any method, answered within `deadline`.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub(crate) fn call(
        &self,
        runner: &Runner,
        method: &str,
        path: &str,
        body: RequestBody<'_>,
        deadline: Duration,
    ) -> Result<Response> {
        let version = self.shared.spoken.get().map_or(VERSION, String::as_str);
        let versioned = format!("/v{version}{path}");
        let answer = self.raw(&runner.interrupt(), method, &versioned, body, deadline)?;
        // "client version 1.44 is too old. Minimum supported API version is 1.99"
        let outlived = answer.status == 400 && answer.refusal().contains("is too old");
        if !outlived || self.shared.spoken.get().is_some() {
            return Ok(answer);
        }
        let oldest = self.version(runner, DEADLINE)?.oldest_api;
        self.shared.spoken.set(oldest).ok();
        self.call(runner, method, path, body, deadline)
    }

    fn raw(
        &self,
        interrupt: &Interrupt,
        method: &str,
        path: &str,
        body: RequestBody<'_>,
        deadline: Duration,
    ) -> Result<Response> {
        interrupt.check()?;
        let answer = self.exchange(self.agent(interrupt), method, path, body, deadline);
        // An end by Ctrl-C is no fault of the engine.
        interrupt.check()?;
        answer
    }

    fn agent(&self, interrupt: &Interrupt) -> &ureq::Agent {
        let slot = if interrupt.is_for_cleanup() {
            &self.shared.cleanup
        } else {
            &self.shared.agent
        };
        slot.get_or_init(|| self.new_agent(interrupt))
    }

    /// One whose calls end on this interrupt.
    fn new_agent(&self, interrupt: &Interrupt) -> ureq::Agent {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_age(Duration::from_secs(600))
            .input_buffer_size(BUFFER_SIZE)
            .output_buffer_size(BUFFER_SIZE)
            .build();
        let dialer = Dialer {
            endpoint: self.endpoint.clone(),
            interrupt: interrupt.clone(),
        };
        ureq::Agent::with_parts(config, dialer, NoNames)
    }

    fn exchange(
        &self,
        agent: &ureq::Agent,
        method: &str,
        path: &str,
        body: RequestBody<'_>,
        deadline: Duration,
    ) -> Result<Response> {
        let asked = || format!("ask the engine for {path}");
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("http://docker{path}"));
        let reply = match body {
            RequestBody::Nothing => {
                // Some calls refuse a body, and one without a length counts.
                let request = match method {
                    "POST" => request.header("content-length", "0"),
                    _ => request,
                };
                agent.run(within(agent, request.body(()).with_context(asked)?, deadline))
            }
            RequestBody::Document(document) => {
                let request = request.header("content-type", "application/json");
                let request = request.body(document.to_string()).with_context(asked)?;
                agent.run(within(agent, request, deadline))
            }
            RequestBody::Archive(archive) => {
                let request = request.header("content-type", "application/x-tar");
                let request = request.body(archive).with_context(asked)?;
                agent.run(within(agent, request, deadline))
            }
        };
        let failed = |error: ureq::Error| match error {
            ureq::Error::Timeout(_) => failure::environment(format!(
                "the engine did not answer {method} {path} within {} s",
                deadline.as_secs()
            )),
            ureq::Error::BodyExceedsLimit(longest) => failure::build(format!(
                "the engine's answer to {method} {path} is longer than {} MB",
                longest >> 20
            )),
            ureq::Error::Other(error) if error.is::<Unreachable>() => failure::environment(error.to_string()),
            error => failure::environment(format!(
                "{method} {path}: the connection to the engine was lost ({error})"
            )),
        };
        let reply = reply.map_err(failed)?;
        let status = reply.status().as_u16();
        let mut body = reply.into_body();
        let body = body
            .with_config()
            .limit(LONGEST_ANSWER)
            .read_to_vec()
            .map_err(failed)?;
        Ok(Response { status, body })
    }
}

/// What a call sends.
#[derive(Clone, Copy)]
pub(crate) enum RequestBody<'a> {
    Nothing,
    Document(&'a Value),
    Archive(&'a [u8]),
}

fn within<B: ureq::AsSendBody>(
    agent: &ureq::Agent,
    request: ureq::http::Request<B>,
    deadline: Duration,
) -> ureq::http::Request<B> {
    agent
        .configure_request(request)
        .timeout_global(Some(deadline))
        .build()
}

/// `filters=…`, as the API wants lists of strings by kind.
pub(crate) fn filters(kind: &str, values: &[String]) -> String {
    let filters = serde_json::json!({ kind: values });
    format!("filters={}", escaped(&filters.to_string()))
}

/// For a part of a path or query: all but unreserved characters (RFC 3986) and
/// the slashes and colons of references as `%XX`.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

#[cfg(test)]
mod tests;
