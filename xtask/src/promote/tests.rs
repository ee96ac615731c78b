//! Promotions on an engine that moves a tag and then says that it did not.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Range;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use super::*;
use engine::Owner;
use engine::api::Api;
use failure::FailureKind;

/// The image that had the release tag, and those that are to have it.
const OLD: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
const A: &str = "sha256:000000000000000000000000000000000000000000000000000000000000000a";
const B: &str = "sha256:000000000000000000000000000000000000000000000000000000000000000b";

/// An engine with tags and nothing else.
#[derive(Default)]
struct Tags {
    named: BTreeMap<String, String>,
    /// What it was asked to change.
    asked: Vec<String>,
    /// For these of its changes it answers that its disk is full.
    full: Range<usize>,
    /// And whether it moves nothing then. Engines move a tag first.
    refuses: bool,
}

impl Tags {
    fn answer(&mut self, line: &str) -> (u16, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.trim_start_matches("/v1.44/images/");
        if method == "GET" {
            let images: Vec<_> = self
                .named
                .iter()
                .map(|(tag, id)| serde_json::json!({"Id": id, "RepoTags": [tag]}))
                .collect();
            return (200, serde_json::Value::from(images).to_string());
        }
        let full = self.full.contains(&self.asked.len());
        self.asked.push(line.to_owned());
        if !full || !self.refuses {
            if method == "POST" {
                let (id, query) = path.split_once("/tag?repo=").unwrap();
                let (repository, tag) = query.split_once("&tag=").unwrap();
                // As long as something names it.
                if !self.named.values().any(|known| known == id) {
                    return (404, r#"{"message":"No such image"}"#.to_owned());
                }
                self.named.insert(format!("{repository}:{tag}"), id.to_owned());
            } else {
                self.named.remove(path.split('?').next().unwrap());
            }
        }
        if full {
            let message = r#"{"message":"write /x/.tmp-repositories.json: no space left on device"}"#;
            return (500, message.to_owned());
        }
        (200, "[]".to_owned())
    }
}

/// What a promotion of two images, of which one has a release, leaves.
struct Promoted {
    before: BTreeMap<String, String>,
    tags: Tags,
    result: Result<()>,
}

fn promoted(full: Range<usize>, refuses: bool) -> Promoted {
    let named = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(tag, id)| ((*tag).to_owned(), (*id).to_owned()));
        pairs.collect()
    };
    let before = named(&[
        ("hive-a:1", OLD),
        ("hive-candidate:a-x", A),
        ("hive-candidate:b-x", B),
    ]);
    let tags = Arc::new(Mutex::new(Tags {
        named: before.clone(),
        full,
        refuses,
        ..Tags::default()
    }));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("x.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let shared = Arc::clone(&tags);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(first)) = lines.next() {
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                // An empty body is sent as a last piece of none.
                let Some(line) = first.strip_suffix(" HTTP/1.1") else {
                    continue;
                };
                let (status, body) = shared.lock().unwrap().answer(line);
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
            }
        }
    });
    let engine = Engine {
        owner: Owner::System,
        docker: "docker".into(),
        env: Vec::new(),
        api: Api::at_socket(socket),
    };
    let moves = [
        ("hive-previous:a", OLD),
        ("hive-a:1", A),
        ("hive-a:2", A),
        ("hive-b:1", B),
    ]
    .map(|(tag, id)| (Reference::parse(tag).unwrap(), id.parse::<ImageId>().unwrap()));
    let moves: Vec<Move<'_>> = moves.iter().map(|(tag, id)| (tag.clone(), id)).collect();
    let runner = Runner::new(Arc::default()).unwrap();
    let result = move_all(&engine, &runner, &moves);
    let tags = std::mem::take(&mut *tags.lock().unwrap());
    Promoted { before, tags, result }
}

#[test]
fn a_promotion_that_is_not_disturbed_moves_all() {
    let whole = promoted(0..0, false);
    whole.result.unwrap();
    assert_eq!(whole.tags.asked.len(), 4);
    assert_eq!(whole.tags.named["hive-previous:a"], OLD);
    assert_eq!(whole.tags.named["hive-b:1"], B);
}

#[test]
fn wherever_the_disk_becomes_full_no_tag_has_moved() {
    for begin in 0..4 {
        // It stays full, or somebody makes room at once.
        for (full, written) in [(begin..usize::MAX, false), (begin..begin + 1, true)] {
            let stopped = promoted(full, false);
            let error = stopped.result.unwrap_err();
            let said = failure::render(&error);
            assert_eq!(failure::kind(&error), FailureKind::Environment, "{said}");
            for part in ["; no tag has moved", "hint: make room where the engine"] {
                assert!(said.contains(part), "{said}");
            }
            assert_eq!(said.contains("could not write that down"), !written, "{said}");
            assert_eq!(stopped.tags.named, stopped.before, "{begin}");
            // What it never came to is not touched on the way back either.
            let touched = stopped
                .tags
                .asked
                .iter()
                .any(|line| line.contains("repo=hive-b&"));
            assert_eq!(touched, begin == 3, "{:?}", stopped.tags.asked);
        }
    }
}

#[test]
fn what_cannot_be_moved_back_is_named() {
    let stopped = promoted(2..usize::MAX, true);
    let said = failure::render(&stopped.result.unwrap_err());
    assert!(
        said.contains(
            "moving all of them back failed, too: not where they were: hive-previous:a, hive-a:1: "
        ),
        "{said}"
    );
    // The tag that it refused has not moved, and is not touched again.
    let asked = |tag: &str| {
        stopped
            .tags
            .asked
            .iter()
            .filter(|line| line.contains(tag))
            .count()
    };
    assert_eq!(asked("repo=hive-a&tag=2"), 1, "{:?}", stopped.tags.asked);
}
