//! Programs of an image's own, from `hive-app.json` to `status`; and an app that
//! hangs.

use definition::spec::ImageSpec;
use definition::spec::program::OwnProgram;
use host::report::Report;
use smoke::Subject;
use smoke::fault::Faults;
use smoke::faults::FULL;

use crate::build_images::{Bench, docker};
use crate::kept_files;
use crate::service::Operator;
use crate::smoke_full::expect_flaws;
use crate::smoke_gate::{UNCOMPILED, Variant, prove, run};

const MAIN: &str = r#"
import os, time
from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
def health():
    return {}


@app.get("/worker")
def worker():
    # It waits for the app in turn.
    for _ in range(100):
        if os.path.exists("/tmp/worker"):
            break
        time.sleep(0.1)
    with open("/tmp/worker") as file:
        return {"said": file.read()}
"#;

/// Says what it was started with, waits to be told to stop, and says that it was.
const WORKER: &str = r#"
import os, signal, socket, sys


def redis():
    with socket.create_connection(("127.0.0.1", 6379)) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(99).decode().strip()


assert len(sys.argv[2]) > 20, "no secret was made"
with open("/tmp/whole", "w") as file:
    file.write(f"{sys.argv[1]} {os.environ['GREETING']} {os.getcwd()} {redis()}")
os.rename("/tmp/whole", "/tmp/worker")
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(print("worker: told to stop", flush=True)))
print("worker: there", flush=True)
while True:
    signal.pause()
"#;

/// The app's `hive-app.json`: a server from `packages`, and a worker that waits
/// for the app.
const CONTRACT: &str = r#"{
    "app": {"import": "main:app", "health_path": "/health", "environment": {"GREETING": "hello {database_name}"}, DIRECTORIES},
    "packages": ["redis-server"],
    "programs": [
        {"name": "redis", "command": ["redis-server", "--save", "", "--bind", "127.0.0.1"], "starts_after": "nothing", "fatal": false},
        {"name": "worker", "command": ["sh", "-c", "sleep 4321 & exec python worker.py {port} {secret:WORKER_KEY}"], "stop_signal": "USR1", "starts_after": "app"}
    ],
    "checks": [{"name": "worker", "http": {"path": "/worker", "contains": "hello hive_test /app +PONG"}}]
}"#;

#[test]
#[ignore = "needs an engine"]
fn an_app_brings_a_worker_of_its_own() {
    let operator = Operator::of(Bench::new("programs", "", ""));
    let bench = &operator.bench;
    let write = |path: &str, text: &str| bench.checkout.write(&format!("app/{path}"), text);
    write("requirements.txt", "fastapi\nuvicorn\n");
    write("main.py", MAIN);
    write("worker.py", WORKER);
    write("media/logo.svg", "of the image");
    let contract = CONTRACT.replace("DIRECTORIES", kept_files::DIRECTORIES);
    let app = bench.checkout.path("app").display().to_string();
    write(
        "hive-app.json",
        &contract.replace(r#""sh", "-c", "sleep"#, r#""pyton", "-c", "sleep"#),
    );
    bench
        .xtask(&["build-images", "--app", &app])
        .expect(1)
        .says(&["programs: worker: no such program: pyton"]);
    write("hive-app.json", &contract);
    bench.xtask(&["build-images", "--app", &app]).expect(0);

    bench.xtask(&["up", &bench.name, "--port", "0"]).expect(2);
    bench
        .xtask(&["up", &bench.name, "--port", &operator.port])
        .expect(0);
    // `STARTING` in its first second.
    let runs = |health: &str, program: &str| {
        let mut lines = health.lines();
        lines.any(|line| line.contains(program) && line.ends_with("RUNNING"))
    };
    let began = std::time::Instant::now();
    for program in ["redis", "worker"] {
        loop {
            let health = bench.xtask(&["health", &bench.name]).expect(0).stdout;
            if runs(&health, program) {
                break;
            }
            assert!(began.elapsed().as_secs() < 30, "{program} in:\n{health}");
        }
    }
    let log = |program: &str| {
        bench
            .xtask(&["logs", &bench.name, "--program", program])
            .expect(0)
            .stdout
    };
    assert!(log("worker").contains("worker: there"), "{}", log("worker"));

    kept_files::outlive(&operator);

    // One that is done without is named; by hand it comes back.
    let exec = |user: &str, script: &str| {
        docker(&["exec", "--user", user, &bench.name, "sh", "-c", script]);
    };
    exec("0:0", "mv /usr/bin/redis-server /usr/bin/redis.gone");
    exec("1000:1000", "kill $(supervisorctl pid redis)");
    let said = || docker(&["exec", &bench.name, "/usr/local/lib/hive/healthcheck"]);
    let status = || bench.xtask(&["status", &bench.name]).expect(0).stdout;
    let until = |expected: &str, said: &dyn Fn() -> String| {
        let began = std::time::Instant::now();
        while !said().contains(expected) {
            assert!(began.elapsed().as_secs() < 60, "{}", said());
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
    };
    until("healthy, without redis could not be started", &said);
    until("without redis could not", &status);
    exec("0:0", "mv /usr/bin/redis.gone /usr/bin/redis-server");
    exec("1000:1000", "supervisorctl start redis");
    until("healthy\n", &said);

    // What it has started goes with it, also where it is stopped by hand.
    exec("1000:1000", "supervisorctl restart worker");
    let count = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 432[1]' | wc -l";
    let left = docker(&["exec", &bench.name, "sh", "-c", count]);
    assert_eq!(left.trim(), "1");

    // By its own signal, and before what it needs.
    docker(&["stop", "--time", "90", &bench.name]);
    let log = docker(&["logs", &bench.name]);
    let at = |text: &str| {
        log.rfind(text)
            .unwrap_or_else(|| panic!("no {text:?} in:\n{log}"))
    };
    assert!(at("worker | worker: told to stop") < at("stopped: app"), "{log}");
    assert!(at("stopped: app") < at("stopped: redis"), "{log}");
    assert!(at("stopped: redis") < at("stopped: postgresql"), "{log}");
}

/// genie with two programs, one of which it can do without, and a few more edits.
fn with_programs(name: &str, edits: &str) -> (Variant, Subject) {
    let programs = r#"[
        {"name": "worker", "command": ["sleep", "inf"], "stop_signal": "TERM", "stop_seconds": 2,
         "starts_after": "database", "fatal": true},
        {"name": "extra", "command": ["sleep", "inf"], "stop_signal": "INT", "stop_seconds": 2,
         "starts_after": "nothing", "fatal": false}
    ]"#;
    let one_line: String = programs.lines().map(str::trim).collect();
    let python = format!(
        "import json; p = \"/etc/hive/image.json\"; d = json.load(open(p)); \
         d[\"programs\"] = json.loads(r\"\"\"{one_line}\"\"\"); d[\"app\"][\"restart_after\"] = 2; \
         json.dump(d, open(p, \"w\"))"
    );
    let variant = Variant::build(
        name,
        &run(&format!("python3 -c '{python}'; {edits} {UNCOMPILED}")),
    );
    let mut subject = variant.subject();
    subject.spec.programs = serde_json::from_str::<Vec<OwnProgram>>(programs).unwrap();
    subject.spec.app.as_mut().unwrap().restart_after = 2;
    (variant, subject)
}

fn faults(variant: &Variant, subject: &Subject, only: &[&str], second_try: bool) -> smoke::Verdict {
    let state = tempfile::tempdir().unwrap();
    let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
    let suite = Faults {
        all: FULL,
        only: &only,
        second_try,
    };
    let subjects = std::slice::from_ref(subject);
    let report = Report::new(true, true);
    let verdicts = smoke::run_full(&report, state.path(), &variant.resources, subjects, suite).unwrap();
    eprintln!("{}", smoke::report::table(&verdicts[0]));
    verdicts.into_iter().next().unwrap()
}

const ALL: [&str; 4] = ["kill-programs", "frozen-programs", "fatal-programs", "frozen-app"];

/// Faults of every image that own programs could spoil.
const OF_ALL_IMAGES: [&str; 3] = ["kill-app", "arbitrary-user", "stop-under-load"];

#[test]
#[ignore = "needs an engine"]
fn programs_that_are_killed_frozen_and_broken() {
    let (variant, subject) = with_programs("has-programs", "");
    let state = tempfile::tempdir().unwrap();
    let gate = prove(&variant.resources, std::slice::from_ref(&subject), state.path()).remove(0);
    assert!(gate.passed(), "{:?}", gate.causes());
    let verdict = faults(&variant, &subject, &[&ALL[..], &OF_ALL_IMAGES[..]].concat(), true);
    assert!(verdict.passed(), "{:?}", verdict.causes());
}

/// What each of these faults is there for is taken away.
#[test]
#[ignore = "needs an engine"]
fn an_image_that_looks_after_no_program_and_no_app() {
    let edits = "cd /usr/local/lib/hive; \
         sed -i 's/^autorestart=true/autorestart=false/; s/^stopwaitsecs=.*/stopwaitsecs=900/' hive_container/own_programs.py; \
         sed -i 's/^ *timeout 60 .*/    true/' health-monitor;";
    let (variant, mut subject) = with_programs("keeps-nothing", edits);
    // What it is waited for in vain.
    subject.spec.app.as_mut().unwrap().restart_after = 1;
    let verdict = faults(&variant, &subject, &ALL, false);
    expect_flaws(
        &verdict,
        &[
            ("kill-programs", "worker was killed, and is not back"),
            (
                "frozen-programs",
                "docker stop while worker, extra hang: exit code 137",
            ),
            ("fatal-programs", "and the container is still up"),
            ("frozen-app", "health did not become 200 within"),
        ],
    );
}

/// The gate misses a program that is not there.
#[test]
#[ignore = "needs an engine"]
fn a_program_that_the_image_lacks() {
    let variant = Variant::build("lacks-worker", "ENV LACKS=1");
    let mut subject = variant.subject();
    let worker = r#"{"name": "worker", "command": ["sleep", "inf"]}"#;
    let add = |spec: &mut ImageSpec| spec.programs = vec![serde_json::from_str(worker).unwrap()];
    add(&mut subject.spec);
    let state = tempfile::tempdir().unwrap();
    let verdict = prove(&variant.resources, &[subject], state.path()).remove(0);
    let causes: Vec<&str> = verdict.causes().iter().map(|check| check.name.as_str()).collect();
    assert_eq!(causes, ["programs-running"]);

    // One that works on an empty volume, and at no later start.
    let once = "if [ -e $d/w ]; then sleep 2; exit 1; fi; touch $d/w; exec sleep inf";
    let once = once.replace("$d", "/var/lib/postgresql/data/hive");
    let edit = format!(
        "sed -i \"s#\\\"sleep\\\", \\\"inf\\\"#\\\"sh\\\", \\\"-c\\\", \\\"{once}\\\"#\" /etc/hive/image.json;"
    );
    let (variant, subject) = with_programs("works-once", &edit);
    let verdict = prove(&variant.resources, &[subject], state.path()).remove(0);
    let causes = verdict.causes();
    assert_eq!(causes[0].name, "nothing-restarted", "{causes:?}");
    assert!(
        causes[0]
            .detail
            .starts_with("after the restart: worker was started"),
        "{causes:?}"
    );
}
