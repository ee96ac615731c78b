//! What changes behind BuildKit's back, built plainly and by us, side by side.
//!
//! BuildKit takes a file of a context that it knows for unchanged where size
//! and time are, and misses modes of directories and extended attributes on a
//! second build. What plain bake ships is printed and not required: the day it
//! ships the new file is a good one. What we ship has to be what was hashed,
//! entry by entry.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use build::buildkit::progress::{Detail, Progress};
use build::buildkit::{self, Access, BakeOptions, Target};
use build::context;
use engine::Engine;
use host::process::{Interrupt, Runner};
use host::report::Report;
use inputs::context::{Ignore, Input, InputKind, Inputs, Rules, WalkOptions};

use crate::build_images::remove_images;
use crate::sandbox;

/// How a file gets other content under the same size and time.
const WAYS: [&str; 4] = ["in-place", "cp-p", "rsync", "tar"];

/// All files of the tree have it, as those of an archive or of a build with
/// `SOURCE_DATE_EPOCH` do.
const TIME: Duration = Duration::from_secs(1_000_000_000);

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + TIME).unwrap();
}

fn run(program: &str, args: &[&Path]) {
    let output = std::process::Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Replaces the content the way that a tool does.
fn replace(way: &str, path: &Path, text: &str) {
    let aside = path.with_file_name(".aside");
    match way {
        "in-place" => put(path, text),
        "cp-p" => {
            let source = path.parent().unwrap().with_file_name("source");
            put(&source, text);
            run("cp", &[Path::new("-p"), &source, path]);
        }
        // A file beside it takes its place in one step.
        "rsync" => {
            put(&aside, text);
            fs::rename(&aside, path).unwrap();
        }
        "tar" => {
            fs::remove_file(path).unwrap();
            put(path, text);
        }
        other => panic!("no way {other}"),
    }
    let metadata = path.metadata().unwrap();
    assert_eq!(metadata.modified().unwrap(), SystemTime::UNIX_EPOCH + TIME);
    assert_eq!(metadata.len(), 4);
}

/// An entry of an image: its mode and, for a file, its content.
type Entries = BTreeMap<String, (u32, Vec<u8>)>;

/// Everything below `folder` in an image that nothing can run in.
fn entries(id: &str, folder: &str) -> Entries {
    let created = sandbox::finish(sandbox::docker().args(["create", id, "none"]));
    assert_eq!(created.code, 0, "{}", created.stderr);
    let container = created.stdout.trim();
    let exported = sandbox::docker().args(["export", container]).output().unwrap();
    sandbox::finish(sandbox::docker().args(["rm", "--force", container]));
    let mut archive = tar::Archive::new(exported.stdout.as_slice());
    let mut found = Entries::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry
            .path()
            .unwrap()
            .to_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        let Some(path) = path.strip_prefix(folder).and_then(|path| path.strip_prefix('/')) else {
            continue;
        };
        let extensions = entry.pax_extensions().unwrap();
        let attributes = extensions.into_iter().flatten().flatten();
        let attributes: Vec<&str> = attributes.filter_map(|one| one.key().ok()).collect();
        assert!(
            !attributes
                .iter()
                .any(|key| key.contains("xattr") && key.contains("user.")),
            "{attributes:?}"
        );
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        let mode = entry.header().mode().unwrap() & 0o7777;
        found.insert(path.to_owned(), (mode, content));
    }
    found
}

/// Two builds of one folder in one call, each with a cache of its own.
struct Pair {
    folder: tempfile::TempDir,
    engine: Engine,
    runner: Runner,
    name: String,
}

impl Pair {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            engine: sandbox::engine(),
            runner: Runner::new(Arc::new(AtomicBool::new(false))).unwrap(),
            name: format!("stale-{}", std::process::id()),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The context. BuildKit knows it by its name: one that no other run has.
    fn app(&self, path: &str) -> PathBuf {
        let name = self.folder.path().file_name().unwrap();
        self.at("context").join(name).join(path)
    }

    /// What was hashed, what we ship, what plain bake ships.
    fn build(&self) -> (Inputs, Entries, Entries) {
        let app = self.app("");
        let rules = Rules::safe(Ignore::default());
        let options = WalkOptions {
            index: Some(&self.at("index")),
            ..WalkOptions::default()
        };
        let found = context::scan(&app, &rules, &options).unwrap();
        // What another test's thread starts inherits the lock for a while.
        let stage = sandbox::stage(&self.at("stage"));
        stage.fill(&app, &found.inputs, &Interrupt::never()).unwrap();
        let target = |image: &str, context: &Path| {
            let label = format!("LABEL dev.hive.image={}", self.name);
            Target {
                image: image.to_owned(),
                fingerprint: "none".to_owned(),
                candidate_tag: format!("hive-test-{}:{image}", self.name),
                dockerfile: format!("FROM scratch AS it\n{label}\nCOPY . /{image}/\n"),
                stage: "it".to_owned(),
                context: context.to_owned(),
                contexts: BTreeMap::new(),
                args: BTreeMap::new(),
                access: Access::default(),
            }
        };
        let targets = [target("ours", stage.tree()), target("plain", &app)];
        let report = Report::new(true, false);
        let mut progress = Progress::new(Detail::Quiet, &["ours", "plain"], &self.at("logs")).unwrap();
        let options = BakeOptions::default();
        let built = buildkit::bake(
            &self.engine,
            &self.runner,
            &report,
            &targets,
            &options,
            &mut progress,
        );
        let built = built.unwrap();
        let ours = entries(built[0].id.as_str(), "ours");
        let plain = entries(built[1].id.as_str(), "plain");
        (found.inputs, ours, plain)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        remove_images(&self.name);
    }
}

/// Nothing more, nothing less, nothing else.
#[track_caller]
fn assert_same(inputs: &[Input], image: &Entries) {
    let hashed: Vec<&str> = inputs.iter().map(|input| &*input.path).collect();
    let shipped: Vec<&str> = image.keys().map(String::as_str).collect();
    assert_eq!(shipped, hashed);
    for input in inputs {
        let (mode, content) = &image[&*input.path];
        assert_eq!(*mode, input.mode(), "{}", input.path);
        if let InputKind::File { digest, .. } = &input.kind {
            assert_eq!(blake3::hash(content).as_bytes(), &digest.0, "{}", input.path);
        }
    }
}

#[test]
#[ignore = "needs an engine"]
fn what_is_built_is_what_was_hashed_where_plain_bake_is_stale() {
    let pair = Pair::new();
    fs::create_dir_all(pair.app("mode")).unwrap();
    for way in WAYS {
        put(&pair.app(way), "old\n");
    }
    put(&pair.app("mode/file"), "file");
    put(&pair.app("attribute"), "file");
    let (before, ours, plain) = pair.build();
    assert_same(&before, &ours);
    for way in WAYS {
        assert_eq!(plain[way].1, b"old\n", "{way}");
    }

    for way in WAYS {
        replace(way, &pair.app(way), "new\n");
    }
    let (after, ours, plain) = pair.build();
    assert_same(&after, &ours);
    for way in WAYS {
        let shipped = |image: &Entries| String::from_utf8_lossy(&image[way].1).trim().to_owned();
        eprintln!(
            "{way}: plain bake ships the {} content, we ship the {}",
            shipped(&plain),
            shipped(&ours)
        );
        assert_eq!(shipped(&ours), "new", "{way}");
    }
    let moved = |path: &str| {
        let of = |inputs: &[Input]| inputs.iter().find(|input| &*input.path == path).cloned();
        of(&before) != of(&after)
    };
    assert!(WAYS.iter().all(|way| moved(way)), "the key did not move");

    // Of these BuildKit sees a change the first time only; to us they are no
    // facts, and the image has what the key stands for.
    fs::set_permissions(pair.app("mode"), Permissions::from_mode(0o700)).unwrap();
    let attribute = pair.app("attribute");
    match rustix::fs::setxattr(&attribute, "user.x", b"1", rustix::fs::XattrFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOTSUP) => {}
        Err(error) => panic!("{error}"),
    }
    let (same, ours, plain) = pair.build();
    assert_eq!(same, after);
    assert_same(&same, &ours);
    eprintln!(
        "mode 700: plain bake ships {:o}, we ship {:o}",
        plain["mode"].0, ours["mode"].0
    );
}
