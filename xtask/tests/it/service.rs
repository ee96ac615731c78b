//! Images that run in earnest, on a real engine: `up`, `down` and what they promise
//! of containers and data.

use std::io::{Seek as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::build_images::{Bench, docker};
use crate::sandbox::{self, Run};

/// A service of an image that no other test has; all of it goes in the end.
pub(crate) struct Operator {
    pub(crate) bench: Bench,
    pub(crate) port: String,
}

impl Operator {
    /// The image is built and proved.
    fn new(name: &str) -> Self {
        let bench = Bench::new(name, "", "");
        bench.build().expect(0);
        Self::of(bench)
    }

    /// The image is the caller's to build.
    pub(crate) fn of(bench: Bench) -> Self {
        Self {
            bench,
            port: free_port(),
        }
    }

    fn name(&self) -> &str {
        &self.bench.name
    }

    fn xtask(&self, args: &[&str]) -> Run {
        // Two tests have two services, and one cache folder.
        self.bench.xtask(args)
    }

    /// `up` of its port, with more.
    fn up(&self, more: &[&str]) -> Run {
        let args = ["up", self.name(), "--port", &self.port];
        self.xtask(&[&args, more].concat())
    }

    fn start_up(&self, port: &str) -> Child {
        let mut command = self.bench.checkout.command(&["up", self.name(), "--port", port]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn container(&self) -> String {
        inspect(self.name(), "{{.Id}}")
    }

    fn sql(&self, statement: &str) -> String {
        docker(&["exec", self.name(), "psql", "-XAtqc", statement])
            .trim()
            .to_owned()
    }

    /// Another image of the same name, on which the app does not work.
    fn broken(&self) -> String {
        let line = "RUN echo 'raise RuntimeError(\"broken on purpose\")' > /app/api/serve.py";
        self.made("broken", line)
    }

    /// Another image of the same name and content.
    fn other(&self) -> String {
        self.made("other", "LABEL dev.hive.test=other")
    }

    /// The released image with one more line, by its name.
    fn made(&self, kind: &str, line: &str) -> String {
        let tag = format!("hive-{}-{kind}:latest", self.name());
        let folder = tempfile::tempdir().unwrap();
        let text = format!("FROM hive-{}:latest\n{line}\n", self.name());
        fs_err::write(folder.path().join("Dockerfile"), text).unwrap();
        docker(&["build", "--quiet", "--tag", &tag, folder.path().to_str().unwrap()]);
        tag
    }

    /// All containers whose names begin like the service's: name and state.
    fn containers(&self) -> Vec<String> {
        let filter = format!("name={}", self.name());
        let format = "{{.Names}} {{.State}}";
        let listed = docker(&["ps", "--all", "--filter", &filter, "--format", format]);
        let mut all: Vec<String> = listed.lines().map(str::to_owned).collect();
        all.sort();
        all
    }

    fn answers(&self, port: &str) -> bool {
        let url = format!("http://127.0.0.1:{port}/api/v1/health");
        Command::new("curl")
            .args(["-sf", "-o", "/dev/null", &url])
            .status()
            .unwrap()
            .success()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        for container in self.containers() {
            let name = container.split(' ').next().unwrap();
            sandbox::docker()
                .args(["rm", "--force", "--volumes", name])
                .output()
                .unwrap();
        }
        let network = format!("hive_{}_network", self.name());
        sandbox::docker()
            .args(["network", "rm", &network])
            .output()
            .unwrap();
        let volume = format!("{}-data", self.name());
        sandbox::docker()
            .args(["volume", "rm", &volume])
            .output()
            .unwrap();
    }
}

pub(crate) fn free_port() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn inspect(container: &str, format: &str) -> String {
    docker(&["inspect", "--format", format, container])
        .trim()
        .to_owned()
}

#[test]
#[ignore = "needs an engine"]
fn a_service_is_what_is_wanted_and_keeps_its_rows() {
    let service = Operator::new("lasting");
    let name = service.name();
    let first = service.up(&[]).expect(0);
    assert_eq!(
        first.stdout,
        format!("{name} http://127.0.0.1:{}\n", service.port)
    );
    assert!(service.answers(&service.port));
    service.sql("CREATE TABLE kept AS SELECT 42 AS n");
    // Again: nothing changes.
    let container = service.container();
    service.up(&[]).expect(0).says(&["nothing to do"]);
    assert_eq!(service.container(), container);
    for (format, expected) in [
        ("{{.HostConfig.RestartPolicy.Name}}", "unless-stopped"),
        ("{{.Config.StopTimeout}}", "135"),
        (
            "{{range .HostConfig.PortBindings}}{{(index . 0).HostIp}}{{end}}",
            "127.0.0.1",
        ),
    ] {
        assert_eq!(inspect(name, format), expected, "{format}");
    }
    // Another setting: another container, the same rows.
    let variables = service.bench.checkout.path("x.env");
    fs_err::write(&variables, "TOKEN=hunter2\n").unwrap();
    let with_file = ["--env-file", variables.to_str().unwrap()];
    let changed = service.up(&with_file).expect(0);
    changed.says(&["variable TOKEN is new"]);
    assert_ne!(service.container(), container);
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    assert!(!inspect(name, "{{json .Config.Labels}}").contains("hunter2"));
    // The same container again.
    let container = service.container();
    service.xtask(&["restart", name]).expect(0);
    assert_eq!(service.container(), container);
    let status = service.xtask(&["status", name, "--json"]).expect(0).json();
    let row = &status["services"][0];
    assert_eq!(
        (row["state"].as_str(), row["proved"].as_bool()),
        (Some("healthy"), Some(true))
    );
    assert_eq!(row["version"].as_str(), Some("0.1.0"));
    // A container knows its network by an ID, and one made by hand has another.
    docker(&["stop", "--time", "75", name]);
    let network = format!("hive_{name}_network");
    docker(&["network", "rm", &network]);
    docker(&[
        "network",
        "create",
        "--label",
        &format!("dev.hive.service={name}"),
        &network,
    ]);
    let again = service.up(&with_file).expect(0);
    again.says(&[&format!("network {network} is gone")]);
    // The container goes, the data stay, and what somebody else needs.
    let guest = format!("{name}-guest");
    let image = format!("hive-{name}:latest");
    docker(&[
        "run",
        "--detach",
        "--name",
        &guest,
        "--network",
        &network,
        "--entrypoint",
        "sleep",
        &image,
        "600",
    ]);
    service.xtask(&["down", name]).expect(0).says(&[
        "shut down cleanly",
        "its data stay",
        &format!("stays: {guest} is on it"),
    ]);
    docker(&["rm", "--force", "--volumes", &guest]);
    service.xtask(&["down", name]).expect(0);
    assert!(service.containers().is_empty());
    service.xtask(&["down", name]).expect(0).says(&["nothing to do"]);
    service.up(&[]).expect(0);
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    // What was killed has not ended well, and loses nothing by it.
    docker(&["kill", name]);
    service
        .xtask(&["down", name])
        .expect(0)
        .says(&["NOT a clean shutdown, PostgreSQL is \"in production\""]);
    // What it said is not gone with it.
    let gone = service.xtask(&["logs", name, "--program", "app", "--since", "1h"]);
    let gone = gone.expect(0);
    gone.says(&["is not there: this is the end of its last log"]);
    let lines: Vec<&str> = gone.stdout.lines().collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.starts_with("app | ")),
        "{gone:?}"
    );
    let later = ["logs", name, "--since", "2100-01-01T00:00:00Z"];
    assert_eq!(service.xtask(&later).expect(0).stdout, "");
    service.xtask(&["logs", name, "--follow"]).expect(3);
    service.up(&[]).expect(0);
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    // Who did what.
    let history = service
        .bench
        .checkout
        .path("target/images/services/history.jsonl");
    let history = fs_err::read_to_string(history).unwrap();
    let told: Vec<String> = history
        .lines()
        .map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            format!(
                "{} {}",
                entry["verb"].as_str().unwrap(),
                entry["outcome"].as_str().unwrap()
            )
        })
        .collect();
    let expected = [
        "up started",
        "up replaced",
        "restart restarted",
        "up replaced",
        "down stopped",
        "down stopped",
        "up started",
        "down stopped",
        "up started",
    ];
    assert_eq!(told, expected);
}

#[test]
#[ignore = "needs an engine"]
fn a_service_is_asked_without_a_word_of_ours() {
    let service = Operator::new("asked");
    let name = service.name();
    for args in [
        ["psql", name].as_slice(),
        &["exec", name, "--", "true"],
        &["logs", name],
    ] {
        service
            .xtask(args)
            .expect(3)
            .says(&["is not there", "cargo xtask up"]);
    }
    let report = service.xtask(&["health", name, "--json"]).expect(4).json();
    assert_eq!(report["services"][0]["healthy"], false);
    let elsewhere = ["--bind", "127.0.0.2"];
    service.up(&elsewhere).expect(0);
    // In the first second, too, and where it is published.
    let health = service.xtask(&["health", name]).expect(0);
    assert!(
        health
            .stdout
            .contains(&format!("http://127.0.0.2:{}/", service.port)),
        "{}",
        health.stdout
    );
    // Exit codes, streams and input are the command's.
    let script = "import os, sys; print(os.environ['PGUSER'], sys.stdin.read()); print('no', file=sys.stderr); sys.exit(7)";
    let mut exec = service
        .bench
        .checkout
        .command(&["exec", name, "--", "python", "-c", script]);
    let run = with_input(&mut exec, "typed").expect(7);
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str()),
        ("tester typed\n", "no\n")
    );
    service
        .xtask(&["exec", name, "--", "no-such-command"])
        .expect(127);
    let run = service
        .xtask(&["psql", name, "--", "-XAtc", "SELECT current_user"])
        .expect(0);
    assert_eq!(run.stdout, "tester\n");
    let run = service
        .xtask(&["psql", name, "--superuser", "--", "-XAtc", "SELECT current_user"])
        .expect(0);
    assert_eq!(run.stdout, "postgres\n");
    let mut piped = service
        .bench
        .checkout
        .command(&["psql", name, "--", "-XAt", "-v", "ON_ERROR_STOP=1"]);
    assert_eq!(
        with_input(&mut piped, "SELECT 6 * 7;\nSELECT nothing;")
            .expect(3)
            .stdout,
        "42\n"
    );
    // What the programs say.
    let all = service.xtask(&["logs", name]).expect(0).stdout;
    assert!(all.contains("app | ") && all.contains("postgresql | "), "{all}");
    let app = service
        .xtask(&["logs", name, "--program", "app"])
        .expect(0)
        .stdout;
    assert!(
        app.lines().count() > 2 && app.lines().all(|line| line.starts_with("app | ")),
        "{app}"
    );
    service
        .xtask(&["logs", name, "--program", "wroker"])
        .expect(2)
        .says(&[
            "error: there is no program wroker",
            "hint: the programs are app, archive, health-monitor, ",
        ]);
    let some = service
        .xtask(&["logs", name, "--grep", "ready to accept", "--since", "1h"])
        .expect(0);
    assert_eq!(some.stdout.lines().count(), 1, "{}", some.stdout);
    let none = service
        .xtask(&["logs", name, "--since", "2100-01-01T00:00:00Z"])
        .expect(0);
    assert_eq!(none.stdout, "");
    // Each part by itself.
    let good = service.xtask(&["health", name]).expect(0).stdout;
    for part in [
        "sql",
        "postgresql",
        "app",
        "health-monitor",
        "health check",
        "port",
    ] {
        assert!(
            good.lines()
                .any(|line| line.starts_with(&format!("  ok    {part}"))),
            "{part}:\n{good}"
        );
    }
    docker(&["exec", name, "supervisorctl", "stop", "app"]);
    let bad = service.xtask(&["health", name]).expect(4).stdout;
    for part in ["app", "health check", "port"] {
        assert!(
            bad.lines()
                .any(|line| line.starts_with(&format!("  FAIL  {part}"))),
            "{part}:\n{bad}"
        );
    }
    assert!(bad.lines().any(|line| line.starts_with("  ok    sql")), "{bad}");
    // One that hangs is not waited for.
    let unhealthy = || inspect(name, "{{.State.Health.Status}}") == "unhealthy";
    while !unhealthy() {
        std::thread::sleep(Duration::from_millis(200));
    }
    let hangs = service.up(&elsewhere).expect(4);
    hangs.says(&["hangs", "it runs and is no longer healthy", "cargo xtask restart"]);
    service.xtask(&["restart", name]).expect(0);
    docker(&["stop", "--time", "75", name]);
    service
        .xtask(&["exec", name, "--", "true"])
        .expect(3)
        .says(&["is stopped"]);
    let history = service.xtask(&["status", name, "--history"]).expect(0);
    assert!(
        history.stdout.contains(&format!("up {name}")),
        "{}",
        history.stdout
    );
}

/// Runs it with this on its standard input.
fn with_input(command: &mut Command, input: &str) -> Run {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input.as_bytes()).unwrap();
    file.rewind().unwrap();
    sandbox::finish(command.stdin(file))
}

#[test]
#[ignore = "needs an engine"]
fn data_go_only_when_they_are_named_twice() {
    let service = Operator::new("dataful");
    let name = service.name();
    service.up(&[]).expect(0);
    let volume = format!("{name}-data");
    for (args, said) in [
        (vec!["down", "--volumes", name], "say it twice"),
        (vec!["down", name, "--volumes", name], "say it twice"),
        (vec!["down", "--volumes", "other"], "there is no image"),
    ] {
        service.xtask(&args).expect(2).says(&[said]);
        assert_eq!(service.containers(), [format!("{name} running")], "{args:?}");
    }
    // What answers every question with yes has no terminal.
    let mut piped = service.bench.checkout.command(&["down", "--volumes", name]);
    let mut piped = piped.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(piped.stdin.take());
    assert_eq!(piped.wait().unwrap().code(), Some(2));
    let gone = service
        .xtask(&["down", "--volumes", name, "--volumes", name])
        .expect(0);
    gone.says(&["MB, last written", "deleted"]);
    let filter = format!("name={volume}");
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &filter]), "");
}

#[test]
#[ignore = "needs an engine"]
fn what_is_in_the_way_is_told_before_anything_is_stopped() {
    let service = Operator::new("blocked");
    let name = service.name();
    // A container of somebody else.
    docker(&[
        "run",
        "--detach",
        "--name",
        name,
        "--entrypoint",
        "sleep",
        &format!("hive-{name}:latest"),
        "600",
    ]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let broken = service.broken();
    let refused = service
        .xtask(&["up", name, "--port", &port, "--image", &broken])
        .expect(3);
    refused.says(&[
        "3 things are in the way",
        "has no proof",
        "was not made by `cargo xtask up`",
        &format!("port 127.0.0.1:{port} is taken by another program"),
    ]);
    service.xtask(&["down", name]).expect(3).says(&["it stays"]);
    assert_eq!(
        service.containers(),
        [format!("{name} running")],
        "it is left alone, and nothing else is left"
    );
    assert_eq!(
        docker(&["volume", "ls", "--quiet", "--filter", &format!("name={name}")]),
        ""
    );
    docker(&["rm", "--force", "--volumes", name]);
    // What runs goes on where its successor is refused.
    service.up(&[]).expect(0);
    let container = service.container();
    service
        .xtask(&["up", name, "--port", &port])
        .expect(3)
        .says(&["is taken by"]);
    service
        .up(&["--image", &broken])
        .expect(2)
        .says(&["has no proof"]);
    service
        .up(&["--image", "hive-missing:1"])
        .expect(2)
        .says(&["the engine has no image"]);
    assert_eq!(service.container(), container);
    assert!(service.answers(&service.port));
    // A service that somebody has renamed still has the data.
    let renamed = format!("{name}-renamed");
    docker(&["rename", name, &renamed]);
    for (args, said) in [
        (["up", name, "--port", &port], "uses volume"),
        (["down", name, "--volumes", name], "has volume"),
    ] {
        let named_twice = ["--volumes", name];
        let more = if args[0] == "down" {
            named_twice.as_slice()
        } else {
            &[]
        };
        service
            .xtask(&[&args, more].concat())
            .expect(3)
            .says(&[&format!("container {renamed} {said} {name}-data")]);
    }
    docker(&["rename", &renamed, name]);
    // The volume of another image, and of another PostgreSQL.
    let inside = "/var/lib/postgresql/data/pgdata";
    docker(&[
        "exec",
        name,
        "sh",
        "-c",
        &format!("echo 16 > {inside}/PG_VERSION; echo '{{\"image\": \"other\"}}' > {inside}/hive.json"),
    ]);
    let refused = service.up(&["--bind", "0.0.0.0"]).expect(3);
    refused.says(&["belongs to image other", "is of PostgreSQL 16, the image has 17"]);
    assert_eq!(service.containers(), [format!("{name} running")]);
}

#[test]
#[ignore = "needs an engine"]
fn the_container_before_comes_back_by_itself() {
    let service = Operator::new("returns");
    let name = service.name();
    service.up(&[]).expect(0);
    service.sql("CREATE TABLE kept AS SELECT 42 AS n");
    let container = service.container();
    let broken = service.broken();
    let image = ["--image", &broken, "--unproved"];
    // On a copy, while the service works.
    service.up(&image).expect(4).says(&["broken on purpose"]);
    assert_eq!(service.container(), container);
    let failed = service.up(&[&image[..], &["--no-rehearsal"]].concat()).expect(4);
    failed.says(&[
        "broken on purpose",
        "app | RuntimeError",
        "container and data are as before; what the new one made of the data is kept as failed-",
        "the end of its log:",
    ]);
    assert_eq!(service.container(), container);
    assert!(service.answers(&service.port));
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    assert_eq!(service.containers(), [format!("{name} running")]);
    // One that works, with a port that is new, too; and back again.
    let other = service.other();
    let port = free_port();
    let args = ["up", name, "--port", &port, "--image", &other, "--unproved"];
    service.xtask(&args).expect(0).says(&[
        &format!("rehearsed {name}: {other}"),
        &format!("updated {name}: {other}, away for "),
        "cargo xtask update",
    ]);
    assert!(service.answers(&port));
    assert_eq!(service.sql("INSERT INTO kept VALUES (43) RETURNING n"), "43");
    service.xtask(&["update", name, "--undo", "--undo"]).expect(0);
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    // Killed at moments of a replacement: the next one makes it whole.
    for after in [100, 400, 900, 1600, 2500] {
        let port = free_port();
        let mut killed = service.start_up(&port);
        std::thread::sleep(Duration::from_millis(after));
        killed.kill().unwrap();
        killed.wait().unwrap();
        service.xtask(&["up", name, "--port", &port]).expect(0);
        assert!(service.answers(&port), "killed after {after} ms");
        assert_eq!(service.sql("SELECT n FROM kept"), "42");
        assert_eq!(
            service.containers(),
            [format!("{name} running")],
            "killed after {after} ms"
        );
    }
    // Ctrl-C while the old one stops, which an app that hangs makes long.
    docker(&["exec", name, "sh", "-c", "kill -STOP $(supervisorctl pid app)"]);
    let mut interrupted = service.start_up(&free_port());
    std::thread::sleep(Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_child(&interrupted);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(interrupted.wait().unwrap().code(), Some(130));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(service.containers(), [format!("{name} running")]);
    // Two at once: the second one waits for the first, and says so.
    let mut first = service.start_up(&service.port);
    std::thread::sleep(Duration::from_millis(300));
    let second = service.up(&[]).expect(0);
    second.says(&[&format!(
        "another command works on {name} (process {}: xtask ",
        first.id()
    )]);
    assert!(first.wait().unwrap().success());
    assert_eq!(service.containers(), [format!("{name} running")]);
}
