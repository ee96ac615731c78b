//! Requests to a published port of this host.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use definition::spec::Method;

/// All but what a URL never gives a meaning (RFC 3986).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// No body that a check looks at is longer.
const LONGEST_BODY: u64 = 1 << 20;

/// Talks to `http://127.0.0.1:<port>` or another address of this host, never through
/// a proxy: `http_proxy` set on a build machine must not decide what a smoke test
/// reaches.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The status of the answer, such as 200.
    pub status: u16,
    /// The body, at most one MiB of it.
    pub body: String,
    /// The `Location` header, as the server wrote it: where a redirection
    /// leads.
    pub location: Option<String>,
    /// From the request's first byte to the body's last.
    pub took: Duration,
}

/// `text` as it stands for itself at any place of a URL: what could be taken for
/// something else as `%XX`.
pub fn percent_encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

impl Reply {
    /// `503 {"status":"unhealthy"…`, on one line.
    pub fn shown(&self) -> String {
        format!("{} {}", self.status, one_line(&self.body))
    }
}

/// The first 200 characters, on one line.
pub fn one_line(text: &str) -> String {
    let text: Vec<&str> = text.split_whitespace().collect();
    let text = text.join(" ");
    match text.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

impl Client {
    /// `keep` lets requests share a connection, as a busy client does.
    pub fn new(port: u16, keep: bool) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, port).into(), keep)
    }

    /// The same at another address than the loopback.
    pub fn at(address: SocketAddr, keep: bool) -> Self {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(usize::from(keep))
            .allow_non_standard_methods(true)
            .build();
        Self {
            agent: config.new_agent(),
            base: format!("http://{address}"),
        }
    }

    /// `GET path`, with a deadline for all of it.
    ///
    /// # Errors
    /// A sentence, when no whole answer came.
    pub fn get(&self, path: &str, deadline: Duration) -> Result<Reply, String> {
        self.send(Method::Get, path, None, deadline)
    }

    /// Any request, with a deadline for all of it.
    ///
    /// # Errors
    /// A sentence, when no whole answer came.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        json: Option<&str>,
        deadline: Duration,
    ) -> Result<Reply, String> {
        let started = Instant::now();
        let request = ureq::http::Request::builder()
            .method(method.as_str())
            // As a proxy in front asks, which ends HTTPS: an app may send everybody else there.
            .header("x-forwarded-proto", "https")
            .uri(format!("{}{path}", self.base));
        let wrong = |error: ureq::http::Error| format!("{path}: {error}");
        // A request without a body must not announce one.
        let reply = match json {
            None => {
                let request = request.body(()).map_err(wrong)?;
                self.agent.run(self.with_deadline(request, deadline))
            }
            Some(json) => {
                let request = request.header("content-type", "application/json");
                let request = request.body(json.to_owned()).map_err(wrong)?;
                self.agent.run(self.with_deadline(request, deadline))
            }
        };
        let reply = reply.map_err(|error| error.to_string())?;
        let status = reply.status().as_u16();
        let location = reply.headers().get("location");
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        reply
            .into_body()
            .into_reader()
            .take(LONGEST_BODY)
            .read_to_end(&mut body)
            .map_err(|error| format!("status {status}, then {error}"))?;
        Ok(Reply {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            location,
            took: started.elapsed(),
        })
    }

    fn with_deadline<B: ureq::AsSendBody>(
        &self,
        request: ureq::http::Request<B>,
        deadline: Duration,
    ) -> ureq::http::Request<B> {
        self.agent
            .configure_request(request)
            .timeout_global(Some(deadline))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};

    /// Answers one connection with `reply` and returns the head of what was asked.
    fn serve(reply: &'static str) -> (u16, std::thread::JoinHandle<String>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let handle = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = String::new();
            let mut asked = BufReader::new(stream.try_clone().unwrap());
            while !head.ends_with("\r\n\r\n") {
                asked.read_line(&mut head).unwrap();
            }
            stream.write_all(reply.as_bytes()).unwrap();
            head
        });
        (port, handle)
    }

    #[test]
    fn other_statuses_are_answers_too() {
        let (port, server) = serve("HTTP/1.1 503 Unavailable\r\ncontent-length: 4\r\n\r\ndown");
        let reply = Client::new(port, false)
            .get("/health?x=1", Duration::from_secs(5))
            .unwrap();
        assert_eq!((reply.status, reply.body.as_str()), (503, "down"));
        let asked = server.join().unwrap();
        assert!(asked.starts_with("GET /health?x=1 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nx-forwarded-proto: https\r\n"), "{asked}");
    }

    #[test]
    fn redirects_are_not_followed() {
        let (port, server) = serve("HTTP/1.1 307 Go\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n");
        let reply = Client::new(port, false).get("/", Duration::from_secs(5)).unwrap();
        assert_eq!(reply.status, 307);
        server.join().unwrap();
    }

    #[test]
    fn a_server_that_says_nothing_does_not_hang_us() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let started = Instant::now();
        assert!(
            Client::new(port, false)
                .get("/", Duration::from_millis(200))
                .is_err()
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn long_bodies_are_shown_short() {
        assert_eq!(one_line(" a\n  b "), "a b");
        assert_eq!(one_line(&"é".repeat(300)).chars().count(), 201);
    }
}
