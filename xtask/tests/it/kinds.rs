//! Images of a database alone, on a real engine: built, proved, run, and asked from
//! other containers.

use build::catalog::{Apps, Catalog};
use host::report::Report;
use smoke::Subject;
use smoke::fault::Faults;
use smoke::faults::FULL;

use crate::build_images::{Bench, docker};
use crate::sandbox::{self, Checkout};
use crate::service::Operator;
use crate::smoke_full::expect_flaws;
use crate::smoke_gate::{Variant, prove, run};

/// Nothing is said that follows from the rest.
const DATABASE: &str = r#"{
    "title": "test",
    "app": null,
    "database": {"name": "hive_test", "role": "tester", "port": 25532, "initial_sql": ["CREATE TABLE given (n int)"]},
    "checks": [{"name": "given", "sql": {"query": "SELECT count(*) FROM given", "expect": "0"}}]
}"#;

/// The image `name` of a database alone, not yet built.
fn bench(name: &str) -> Bench {
    let bench = Bench::new(name, "", "");
    let file = format!("images/{}/image.json", bench.name);
    bench.checkout.write(&file, DATABASE);
    bench
}

#[test]
fn an_app_is_nothing_for_an_image_of_a_database_alone() {
    let checkout = Checkout::with_image("alone", DATABASE);
    let none = "images/alone/image.json says that its image has no app";
    let app = checkout.path("images/sample-app").display().to_string();
    let plan = checkout.xtask(&["plan", "alone", "--app", &app]).expect(2);
    plan.says(&[&format!("--app: {none}")]);
    checkout.xtask(&["new", "alone"]).expect(2).says(&[none]);
    checkout
        .xtask(&["new", &app, "--name", "alone"])
        .expect(2)
        .says(&[none, "--name NAME"]);

    checkout.xtask(&["render"]).expect(0);
    let read = |file: &str| fs_err::read_to_string(checkout.path(file)).unwrap();
    let dockerfile = read("images/alone/Dockerfile");
    for nothing in ["AS python-deps", "/opt/venv", "/app", "{{"] {
        assert!(!dockerfile.contains(nothing), "{nothing} in:\n{dockerfile}");
    }
    assert!(dockerfile.contains("\nEXPOSE 5432\n"), "{dockerfile}");
    let compose = read("docker/compose/alone.yaml");
    assert!(compose.contains(":-25532}:5432"), "{compose}");
    assert!(!checkout.path("docker/compose/alone.dev.yaml").exists());
}

/// What psql prints in a container of this image, as a client in another one.
fn client(image: &str, network: &str, url: &str) -> (bool, String) {
    let output = sandbox::docker()
        .args(["run", "--rm", "--network", network, image])
        // Of a start that this container has not had.
        .args(["env", "-u", "PGSERVICE"])
        .args(["psql", "-XAtqc", "SELECT current_user", url])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).trim().to_owned(),
    )
}

#[test]
#[ignore = "needs an engine"]
fn a_database_alone_is_built_proved_and_run() {
    let operator = Operator::of(bench("alone"));
    let bench = &operator.bench;
    let name = bench.name.as_str();
    bench.build().expect(0).says(&["network-login"]);
    assert_eq!(bench.plan().0, "up-to-date");
    let image = format!("hive-{name}:latest");
    let there = docker(&[
        "run",
        "--rm",
        "--entrypoint",
        "sh",
        &image,
        "-c",
        "ls /app /opt/venv; true",
    ]);
    assert_eq!(there, "", "neither an app nor its Python");

    // On its port outside, where nothing else is said.
    bench.xtask(&["up", name]).expect(0);
    let published = docker(&["port", name, "5432/tcp"]);
    assert_eq!(published.trim(), "127.0.0.1:25532");
    bench.xtask(&["up", name, "--port", &operator.port]).expect(0);
    let health = bench.xtask(&["health", name]).expect(0).stdout;
    for said in ["PostgreSQL answers at", "health-monitor", "tester on hive_test"] {
        assert!(health.contains(said), "no {said} in:\n{health}");
    }
    assert!(!health.contains("app "), "{health}");
    let who = bench.xtask(&["psql", name, "--", "-XAtqc", "SELECT current_user"]);
    assert_eq!(who.expect(0).stdout.trim(), "tester");
    let uid = bench.xtask(&["exec", name, "--", "id", "-u"]).expect(0);
    assert_eq!(uid.stdout.trim(), "1000");

    // Who has the password comes in from the network, the superuser does not.
    let kept = "/var/lib/postgresql/data/hive";
    let password = |file: &str| docker(&["exec", name, "cat", &format!("{kept}/{file}-password")]);
    let network = format!("hive_{name}_network");
    let ask = |role: &str, password: &str| {
        let url = format!("postgresql://{role}:{}@{name}/hive_test", password.trim());
        client(&image, &network, &url)
    };
    assert_eq!(ask("tester", &password("database")), (true, "tester".to_owned()));
    for (role, password, why) in [
        ("tester", "wrong", "password authentication failed"),
        ("postgres", password("superuser").as_str(), "pg_hba.conf rejects"),
    ] {
        let (is_in, said) = ask(role, password);
        assert!(!is_in && said.contains(why), "{role}: {said}");
    }

    // A backup is proved as one of any image.
    bench.xtask(&["backup", name]).expect(0);
    bench.xtask(&["down", name]).expect(0);
}

/// What is the database's alone is held, and can fail; faults that go another way
/// where there is no app are borne.
#[test]
#[ignore = "needs an engine"]
fn a_database_alone_bears_what_fits_it_and_lets_not_everybody_in() {
    let bench = bench("shut");
    bench.build().expect(0);
    let specs = Catalog::read(&bench.checkout.path(""), Apps::OfSpecs)
        .unwrap()
        .images;
    let good = format!("hive-{}:latest", bench.name);
    let subject = |variant: &Variant| -> Subject {
        let (engine, runner) = (&variant.resources.engine, &variant.resources.runner);
        smoke::subject(engine, runner, &variant.tag, &specs).unwrap()
    };
    let state = tempfile::tempdir().unwrap();

    let open = "sed -i 's/^host *all *postgres *all *reject/host all postgres all trust/' /etc/hive/pg_hba.database.conf";
    let variant = Variant::of(&good, "open", &run(open));
    let only = ["kill-monitor", "odd-password", "side-by-side"].map(str::to_owned);
    let suite = Faults {
        all: FULL,
        only: &only,
        second_try: true,
    };
    let subjects = [subject(&variant)];
    let report = Report::new(true, true);
    let borne = smoke::run_full(&report, state.path(), &variant.resources, &subjects, suite).unwrap();
    assert!(borne[0].passed(), "{:?}", borne[0].causes());
    let verdict = prove(&variant.resources, &subjects, state.path()).remove(0);
    let causes: Vec<&str> = verdict.causes().iter().map(|check| check.name.as_str()).collect();
    assert_eq!(causes, ["network-login"]);
    expect_flaws(
        &verdict,
        &[("network-login", "the superuser was not turned away by its name")],
    );

    // One in which nothing makes the role and the database.
    let unready = "printf '#!/bin/sh\\necho no >&2\\nexit 78\\n' > /usr/local/lib/hive/make-ready";
    let variant = Variant::of(&good, "unready", &run(unready));
    let verdict = prove(&variant.resources, &[subject(&variant)], state.path()).remove(0);
    let cause = verdict.causes()[0].clone();
    assert_eq!(cause.name, "stays-up");
    assert!(cause.detail.contains("exit code 78"), "{}", cause.detail);
}
