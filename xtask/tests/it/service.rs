//! Images that run in earnest, on a real engine: `up`, `down` and what they promise
//! of containers and data.

mod asked;
mod operator;
mod replaced;

use std::process::Stdio;

use self::operator::inspect;
pub(crate) use self::operator::{Operator, free_port};
use crate::build_images::{Bench, docker};

#[test]
#[ignore = "needs an engine"]
fn a_service_is_what_is_wanted_and_keeps_its_rows() {
    let gate = r#", "smoke": {"environment": {"TOKEN": "of the gate"}}"#;
    let service = Operator::of(Bench::new("lasting", "", gate));
    service.bench.build().expect(0);
    let name = service.name();
    let first = service.up(&[]).expect(0);
    first.says(&["no value is given for TOKEN", "--env-file FILE"]);
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
    assert!(
        !changed.stderr.contains("no value is given"),
        "{}",
        changed.stderr
    );
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
