//! Runs the real binary on a checkout of its own, and tells whether an engine
//! may be used.
#![allow(dead_code)] // Not every test needs everything.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::packages;
use build::context::stage::StagedContext;
use engine::Engine;
use host::Environment;
use host::process::Runner;
use host::report::Report;
use xtask::scratch::{TEST_IMAGES, rename_images};

/// What a finished run left.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// What the tool is asked for: data, and nothing else.
    pub stdout: String,
    /// What it tells people: progress, warnings and errors.
    pub stderr: String,
}

impl Run {
    /// Fails with everything it printed unless it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Fails unless stderr has each of these texts.
    #[track_caller]
    pub(crate) fn says(&self, texts: &[&str]) -> &Self {
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in:\n{}", self.stderr);
        }
        self
    }

    /// Stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }
}

/// Runs `cargo xtask ARGS` (the built binary) without TTY and stdin.
pub(crate) fn xtask<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Run {
    finish(command().args(args))
}

/// The binary, for more settings.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(packages::folder("age")).chain(std::env::split_paths(&path));
    command
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("NO_COLOR", "1")
        .env_remove("DOCKER_HOST")
        .stdin(Stdio::null());
    command
}

/// Waits for it and keeps what it printed.
pub(crate) fn finish(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Kills a command as soon as it says that a step of a service's operation begins; what it
/// said.
#[track_caller]
pub(crate) fn killed_at(command: &mut Command, service: &str, step: &str) -> String {
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap());
    let begins = format!("{step} {service}");
    let (mut lines, mut is_there) = (String::new(), false);
    for line in said.lines().map_while(Result::ok) {
        lines += &format!("{line}\n");
        is_there = line.trim_start().starts_with(&begins);
        if is_there {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_there, "it never came to {step}: {lines}");
    lines
}

/// Somebody starts a service by hand that was killed at a step, is served by it, and stops
/// it. Its container forgets that it was healthy, as it does with its next start.
pub(crate) fn served_meanwhile(name: &str) {
    let is_healthy = || {
        let started = docker().args(["start", name]).output().unwrap();
        let asked = ["inspect", "--format", "{{.State.Health.Status}}", name];
        let health = docker().args(asked).output().unwrap();
        started.status.success() && health.stdout.starts_with(b"healthy")
    };
    // What the killed one has begun in its helper holds the volume until it is over.
    let mut tries = 0;
    while !is_healthy() {
        tries += 1;
        assert!(tries < 120, "{name} does not get healthy");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    for args in [
        &["exec", name, "rm", "--force", "/run/hive/was-healthy"][..],
        &["stop", "--time", "30", name],
    ] {
        assert!(docker().args(args).output().unwrap().status.success(), "{args:?}");
    }
}

/// Fails unless a command says that it has put right what was killed at a step. A short step
/// is over, and the next one written down, before the signal comes.
#[track_caller]
pub(crate) fn mended(said: &str, steps: &[&str], place: usize) {
    let mut killed = steps[place..]
        .iter()
        .map(|step| format!("was killed at {step:?}"));
    let step = steps[place];
    assert!(
        killed.any(|told| said.contains(&told)),
        "killed at {step}: {said}"
    );
}

/// The top of this very checkout.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A copy of `images/` and `docker/` that a test may change.
pub(crate) struct Checkout {
    folder: tempfile::TempDir,
}

impl Checkout {
    /// The copy as it is in the repository, but for its images of a database and of an
    /// app alone: what is tried with all images is tried with two.
    pub(crate) fn new() -> Self {
        let Self { folder } = Self::whole();
        let kinds = [
            (
                "postgres",
                ["", ".bind", ".external", ".metrics", ".archive"].as_slice(),
            ),
            ("workspace", &["", ".dev"]),
        ];
        for (image, files) in kinds {
            fs_err::remove_dir_all(folder.path().join("images").join(image)).unwrap();
            for kind in files {
                let file = format!("docker/compose/{image}{kind}.yaml");
                fs_err::remove_file(folder.path().join(file)).unwrap();
            }
        }
        Self { folder }
    }

    fn whole() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["images", "docker"] {
            copy(&repository().join(part), &folder.path().join(part));
        }
        Self { folder }
    }

    /// The copy with one image of this name in place of the repository's, so
    /// that no test moves a tag that somebody uses.
    pub(crate) fn with_image(name: &str, spec: &str) -> Self {
        let checkout = Self::new();
        for image in ["genie", "agent"] {
            fs_err::remove_dir_all(checkout.path("images").join(image)).unwrap();
        }
        checkout.write(&format!("images/{name}/image.json"), spec);
        checkout
    }

    /// The copy with its images under other names, so that no test moves the
    /// tags of the repository's own: `test-genie`, `hive-test-genie:latest`.
    pub(crate) fn renamed() -> Self {
        let checkout = Self::new();
        rename_images(&checkout.path("images"), TEST_IMAGES).unwrap();
        checkout
    }

    /// The same with its images of a database and of an app alone.
    pub(crate) fn whole_renamed() -> Self {
        let checkout = Self::whole();
        rename_images(&checkout.path("images"), TEST_IMAGES).unwrap();
        checkout
    }

    /// The path of something in this checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file and the folders above it.
    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// Replaces a text that has to be there once.
    #[track_caller]
    pub(crate) fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = fs_err::read_to_string(self.path(relative)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from:?} in {relative}");
        self.write(relative, &text.replace(from, to));
    }

    /// The binary, working on this checkout.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.arg("--root").arg(self.folder.path()).args(args);
        // Never the folder of whoever runs the tests.
        command.env("HIVE_BACKUP_DIR", self.path("target/backups"));
        command
    }

    /// Runs the built tool on this checkout and waits for its end.
    pub(crate) fn xtask(&self, args: &[&str]) -> Run {
        finish(&mut self.command(args))
    }
}

/// The files of a folder whose names end like this; none where there is no
/// folder. What cargo and git write is left out.
pub(crate) fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let ours = |entry: &walkdir::DirEntry| entry.file_name() != "target" && entry.file_name() != ".git";
    let entries = walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(ours);
    let files = entries.flatten().map(walkdir::DirEntry::into_path);
    files
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(ending))
        .collect()
}

/// The same of a folder of the repository.
pub(crate) fn repository_files(folder: &str, ending: &str) -> Vec<PathBuf> {
    files_below(&repository().join(folder), ending)
}

/// Copies a folder with all below it; links become files.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(target).unwrap();
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

/// Says that this machine lacks what a test, or a part of one, needs besides an
/// engine; `cargo xtask test` counts these lines.
#[expect(
    clippy::explicit_write,
    reason = "the harness holds back what `eprintln!` prints"
)]
pub(crate) fn skipped(reason: &str) {
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    writeln!(std::io::stderr(), "skipped: {test}: {reason}").unwrap();
}

/// `docker` of the engine that tests may use; `cargo xtask test` says which.
///
/// # Panics
/// Where no engine is promised: `cargo test` leaves out what is ignored.
pub(crate) fn docker() -> Command {
    assert!(
        std::env::var_os("HIVE_TEST_ENGINE").is_some(),
        "no engine is promised by HIVE_TEST_ENGINE: run `cargo xtask test`, and let a test that needs one \
         have `#[ignore = \"needs an engine\"]`"
    );
    let docker = std::env::var_os("HIVE_TEST_DOCKER").unwrap_or_else(|| "docker".into());
    let mut command = Command::new(docker);
    // buildx leaves files where temporary ones go (docker/buildx#3117).
    command
        .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    command
}

/// The same engine, as the tool sees it.
pub(crate) fn engine() -> Engine {
    let env = Environment {
        home: text("HOME").map(PathBuf::from),
        docker_host: text("DOCKER_HOST"),
        docker_context: text("DOCKER_CONTEXT"),
        docker_config: text("DOCKER_CONFIG").map(PathBuf::from),
        ..Environment::default()
    };
    Engine::of_system(docker().get_program().into(), &env)
}

/// The services `test-genie` and `test-agent`, whose names are no test's own: one
/// test has one of them at a time.
static SERVICES: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];

/// Waits for the service of an image that all tests have; nothing is there of it.
pub(crate) fn service_of(image: &str) -> MutexGuard<'static, ()> {
    let place = ["genie", "agent"].iter().position(|known| *known == image);
    // A test that failed has left it good.
    let alone = SERVICES[place.unwrap()]
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // A run that was broken off has left what it had.
    remove_service(&format!("{TEST_IMAGES}-{image}"));
    alone
}

/// Removes all that a service has.
pub(crate) fn remove_service(name: &str) {
    remove(&[
        &["rm", "--force", "--volumes", name],
        &["network", "rm", &format!("hive_{name}_network")],
        &["volume", "rm", &format!("{name}-data")],
    ]);
}

/// What Docker is told to remove. Any of it may be gone, and a test that fails has said why.
pub(crate) fn remove(things: &[&[&str]]) {
    for thing in things {
        let _ended = docker().args(*thing).output();
    }
}

/// A staging folder, locked; what another test's thread starts may inherit the
/// lock for a while.
pub(crate) fn stage(folder: &Path) -> StagedContext {
    let runner = Runner::new(std::sync::Arc::default()).unwrap();
    StagedContext::lock(folder, &runner, &Report::new(true, false)).unwrap()
}

/// A setting of a test as text.
pub(crate) fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A setting of a test, such as how many cases it makes.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}
