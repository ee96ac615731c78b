//! The client against engines that behave, refuse, hang and go away.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::follow::Next;
use super::*;

fn runner() -> Runner {
    Runner::new(Arc::default()).unwrap()
}

/// An engine that gives each request the answer of `reply`, and tells which
/// requests came on which connection.
struct Fake {
    folder: tempfile::TempDir,
    asked: mpsc::Receiver<(usize, String)>,
}

impl Fake {
    fn new(reply: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("x.sock")).unwrap();
        let (sender, asked) = mpsc::channel();
        let reply = Arc::new(reply);
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (reply, sender) = (Arc::clone(&reply), sender.clone());
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    while let Some(Ok(first)) = lines.next() {
                        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                        let line = first.trim_end_matches(" HTTP/1.1").to_owned();
                        let reply = reply(&line);
                        // Before the answer, at which a test may look.
                        sender.send((number, line)).ok();
                        stream.write_all(reply.as_bytes()).unwrap();
                    }
                });
            }
        });
        Self { folder, asked }
    }

    fn api(&self) -> Api {
        Api::at_socket(self.folder.path().join("x.sock"))
    }
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn one_connection_serves_many_requests() {
    let fake = Fake::new(|line| match line {
        "GET /v1.44/images/json" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n3\r\n 2]\r\n0\r\n\r\n"
                .to_owned()
        }
        _ => answer("404 Not Found", r#"{"message":"No such image: x"}"#),
    });
    let (api, runner) = (fake.api(), runner());
    assert_eq!(api.document::<Vec<u8>>(&runner, "/images/json").unwrap(), [1, 2]);
    let missing = api.get(&runner, "/images/x/json").unwrap();
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.good().unwrap_err().to_string(),
        "Error response from daemon: No such image: x"
    );
    let connections: Vec<usize> = fake.asked.try_iter().map(|(number, _)| number).collect();
    assert_eq!(connections, [0, 0]);
}

#[test]
fn a_refusal_without_words_is_told_by_its_status() {
    let fake = Fake::new(|_| answer("502 Bad Gateway", "<html>"));
    let error = fake.api().document::<Value>(&runner(), "/x").unwrap_err();
    assert_eq!(error.to_string(), "Error response from daemon: status 502");
}

#[test]
fn an_engine_that_has_outlived_our_version_is_spoken_to_in_its_own() {
    let fake = Fake::new(|line| match line {
        "GET /version" => answer("200 OK", r#"{"Version":"99.0","MinAPIVersion":"1.90"}"#),
        "GET /v1.90/x" => answer("200 OK", "[]"),
        _ => answer(
            "400 Bad Request",
            r#"{"message":"client version 1.44 is too old. Minimum supported API version is 1.90"}"#,
        ),
    });
    let (api, runner) = (fake.api(), runner());
    for _ in 0..2 {
        assert!(api.document::<Vec<u8>>(&runner, "/x").unwrap().is_empty());
    }
    let asked: Vec<String> = fake.asked.try_iter().map(|(_, line)| line).collect();
    assert_eq!(
        asked,
        ["GET /v1.44/x", "GET /version", "GET /v1.90/x", "GET /v1.90/x"]
    );
}

#[test]
fn nobody_at_the_socket_is_said_as_the_command_says_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("x.sock");
    let api = Api::at_socket(socket.clone());
    let expected = format!(
        "Cannot connect to the Docker daemon at unix://{}. Is the docker daemon running?",
        socket.display()
    );
    let error = api.get(&runner(), "/x").unwrap_err();
    assert_eq!(error.to_string(), expected);
    drop(UnixListener::bind(&socket).unwrap());
    let error = api.get(&runner(), "/x").unwrap_err();
    assert_eq!(error.to_string(), expected, "a socket that a dead engine left");
    assert!(!api.answers(Duration::from_secs(1)));
}

#[test]
fn a_connection_that_ends_early_is_an_error() {
    let fake = Fake::new(|_| "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[]".to_owned());
    // The server goes on waiting for a request: only the deadline ends this.
    let error = fake
        .api()
        .raw(
            &runner().interrupt(),
            "GET",
            "/x",
            RequestBody::Nothing,
            Duration::from_millis(200),
        )
        .unwrap_err();
    assert_eq!(error.to_string(), "the engine did not answer GET /x within 0 s");

    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("x.sock")).unwrap();
    let server = thread::spawn(move || drop(listener.accept().unwrap()));
    let error = Api::at_socket(folder.path().join("x.sock"))
        .get(&runner(), "/x")
        .unwrap_err();
    server.join().unwrap();
    assert!(
        error
            .to_string()
            .contains("the connection to the engine was lost"),
        "{error}"
    );
}

#[test]
fn an_answer_without_a_length_lasts_until_the_connection_ends() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("x.sock")).unwrap();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for piece in ["one ", "two"] {
            stream.write_all(piece.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
    });
    let api = Api::at_socket(folder.path().join("x.sock"));
    let answer = api.post(&runner(), "/exec/1/start", &serde_json::json!({}));
    assert_eq!(answer.unwrap().good().unwrap(), b"one two");
    server.join().unwrap();
}

#[test]
fn ctrl_c_ends_a_wait_and_clean_up_goes_on() {
    let told = Arc::new(AtomicBool::new(false));
    let runner = Runner::new(Arc::clone(&told)).unwrap();
    let fake = Fake::new(|line| match line {
        "GET /v1.44/slow" => String::new(),
        _ => answer("200 OK", "[]"),
    });
    let api = fake.api();
    let began = Instant::now();
    let user = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        told.store(true, Ordering::Relaxed);
    });
    let error = api.get(&runner, "/slow").unwrap_err();
    assert_eq!(failure::kind(&error), failure::FailureKind::Interrupted);
    assert!(began.elapsed() < Duration::from_secs(20));
    user.join().unwrap();
    assert!(api.get(&runner, "/quick").is_err());
    assert_eq!(api.get(&runner.for_cleanup(), "/quick").unwrap().status, 200);
}

/// A `docker` that does this when it is called.
fn command(folder: &tempfile::TempDir, script: &str) -> Api {
    let docker = folder.path().join("docker");
    fs_err::write(&docker, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs_err::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let env = vec![("WHICH".to_owned(), "engine".to_owned())];
    Api::new(Endpoint::Dial { docker, env })
}

#[test]
fn the_command_carries_what_is_no_socket_here() {
    let folder = tempfile::tempdir().unwrap();
    let api = command(
        &folder,
        r#"echo "$@ of $WHICH" >>"${0%/*}/called"
           while read -r line; do
             test "$line" = "$(printf '\r')" && printf 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]'
           done"#,
    );
    let runner = runner();
    for _ in 0..3 {
        assert!(
            api.document::<Vec<u8>>(&runner, "/images/json")
                .unwrap()
                .is_empty()
        );
    }
    let called = fs_err::read_to_string(folder.path().join("called")).unwrap();
    assert_eq!(
        called, "system dial-stdio of engine\n",
        "one process for all of them"
    );
}

#[test]
fn what_the_command_says_at_its_end_is_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let api = command(&folder, "echo 'ssh: host build not found' >&2; exit 255");
    let error = api.get(&runner(), "/x").unwrap_err();
    assert_eq!(error.to_string(), "ssh: host build not found");
    let nowhere = Api::new(Endpoint::Dial {
        docker: folder.path().join("nothing"),
        env: Vec::new(),
    });
    let error = nowhere.get(&runner(), "/x").unwrap_err();
    assert!(error.to_string().contains("system dial-stdio"), "{error}");
}

#[test]
fn paths_and_queries_keep_references_whole() {
    assert_eq!(escaped("hive-genie:1.0_x~"), "hive-genie:1.0_x~");
    assert_eq!(escaped("a b&c=d?é#"), "a%20b%26c%3Dd%3F%C3%A9%23");
    assert_eq!(
        filters("label", &["a\"b".to_owned()]),
        "filters=%7B%22label%22:%5B%22a%5C%22b%22%5D%7D"
    );
}

#[test]
fn an_answer_without_end_is_read_while_it_comes() {
    let fake = Fake::new(|line| match line {
        "GET /v1.44/events" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n".to_owned()
        }
        "GET /v1.44/log" => answer("200 OK", "whole"),
        _ => answer("404 Not Found", r#"{"message":"No such container: x"}"#),
    });
    let (api, told) = (fake.api(), Arc::new(AtomicBool::new(false)));
    let runner = Runner::new(Arc::clone(&told)).unwrap();
    let soon = || Some(Instant::now() + Duration::from_millis(120));
    let events = api.follow(&runner, "/events").unwrap();
    assert_eq!(
        events.next(&runner, None).unwrap(),
        Next::Bytes(b"one\n".to_vec())
    );
    assert_eq!(events.next(&runner, soon()).unwrap(), Next::Silence);
    let log = api.follow(&runner, "/log").unwrap();
    assert_eq!(log.next(&runner, None).unwrap(), Next::Bytes(b"whole".to_vec()));
    assert_eq!(log.next(&runner, None).unwrap(), Next::End);
    let refused = api.follow(&runner, "/missing").unwrap_err().to_string();
    assert_eq!(refused, "Error response from daemon: No such container: x");
    told.store(true, Ordering::Relaxed);
    let error = events.next(&runner, None).unwrap_err();
    assert_eq!(failure::kind(&error), failure::FailureKind::Interrupted);
}
