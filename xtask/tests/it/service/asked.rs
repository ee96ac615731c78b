//! A service that is asked: `health`, `logs`, `exec` and `psql`.

use std::io::{Seek as _, Write as _};
use std::process::Command;
use std::time::Duration;

use super::operator::{Operator, inspect};
use crate::build_images::docker;
use crate::sandbox::{self, Run};

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
