//! Images of an app alone, on a real engine: built and proved with a database in
//! another container, and run beside it by compose.

use std::path::Path;
use std::time::{Duration, Instant};

use build::catalog::{Apps, Catalog};
use host::report::Report;
use smoke::Subject;
use smoke::fault::Faults;
use smoke::faults::FULL;

use crate::build_images::{Bench, docker, remove_images};
use crate::sandbox::{self, Checkout, Run};
use crate::service::free_port;
use crate::smoke_gate::{Variant, prove, run};

/// The image whose database it is.
fn database(port: u16) -> String {
    format!(
        r#"{{"title": "test", "app": null, "database": {{"name": "hive_test", "role": "tester", "port": {port}}}}}"#
    )
}

/// An app whose database is that image's.
fn app(database: &str) -> String {
    format!(
        r#"{{"title": "test", "app": {{"port": 20000}},
            "database": {{"name": "hive_test", "role": "tester", "elsewhere": "{database}"}}}}"#
    )
}

#[test]
fn an_app_alone_has_no_server_and_is_refused_what_it_cannot_do() {
    let checkout = Checkout::with_image("front", &app("data"));
    checkout.write("images/data/image.json", &database(25533));
    checkout.xtask(&["render"]).expect(0);
    let read = |file: &str| fs_err::read_to_string(checkout.path(file)).unwrap();
    let dockerfile = read("images/front/Dockerfile");
    for nothing in ["AS postgres-base", "$POSTGRES_PACKAGES", "VOLUME", "initdb", "{{"] {
        assert!(!dockerfile.contains(nothing), "{nothing} in:\n{dockerfile}");
    }
    for text in ["FROM app-base AS production", "postgresql-client-$PG_MAJOR"] {
        assert!(dockerfile.contains(text), "no {text} in:\n{dockerfile}");
    }
    for kind in ["bind", "external", "metrics", "archive"] {
        assert!(
            !checkout
                .path(&format!("docker/compose/front.{kind}.yaml"))
                .exists()
        );
    }
    let compose = read("docker/compose/front.yaml");
    assert!(compose.contains("condition: service_healthy"), "{compose}");

    for (args, hint) in [
        (&["backup", "front"][..], "cargo xtask backup data"),
        (&["restore", "front", "file"], "cargo xtask restore data"),
        (&["update", "front"], "cargo xtask up front"),
        (&["migrate", "front", "--from", "old"], "cargo xtask migrate data"),
    ] {
        let refused = checkout.xtask(args).expect(2);
        refused.says(&["keeps no data: they are those of data", hint]);
    }
    let secrets = [
        "x",
        ".y=/etc/hostname",
        "z=/no/such",
        "z=/etc/hostname",
        "z=/etc/hostname",
    ];
    let secrets = secrets.map(|secret| ["--secret", secret]);
    let up = checkout.xtask(&[&["up", "front"][..], secrets.as_flattened()].concat());
    up.expect(2).says(&[
        "4 problems",
        "--secret is NAME=FILE, and one of them has no `=`",
        "NAME has letters",
        "--secret z: cannot read /no/such",
        "--secret z is given twice",
    ]);
    let superuser = checkout.xtask(&["psql", "front", "--superuser"]).expect(2);
    superuser.says(&["cargo xtask psql --superuser data"]);
    for target in ["quadlet", "kubernetes"] {
        for name in ["front", "data"] {
            let render = checkout.xtask(&["render", "--for", target, name]).expect(0);
            assert!(render.stdout.contains("data-password"), "{}", render.stdout);
        }
    }
    checkout.write("images/front/image.json", &app("front"));
    let plan = checkout.xtask(&["plan"]).expect(2);
    plan.says(&[
        "images/front/image.json: `database.elsewhere` is \"front\", and images/front/image.json has an app",
    ]);
}

/// An image of an app alone and that of its database; all of both goes in the end.
struct Pair {
    bench: Bench,
    database: String,
    port: String,
}

impl Pair {
    fn new() -> Self {
        let bench = Bench::new("front", "", "");
        let database = format!("beside-{}", std::process::id());
        let write = |name: &str, text: &str| {
            bench.checkout.write(&format!("images/{name}/image.json"), text);
        };
        write(&database, &self::database(25534));
        write(&bench.name, &app(&database));
        let port = free_port();
        Self {
            bench,
            database,
            port,
        }
    }

    fn image(&self) -> String {
        format!("hive-{}:latest", self.bench.name)
    }

    fn variable(name: &str, what: &str) -> String {
        format!("HIVE_{}_{what}", name.to_uppercase().replace('-', "_"))
    }

    fn compose(&self, args: &[&str]) -> Run {
        let file = format!("docker/compose/{}.yaml", self.bench.name);
        let file = self.bench.checkout.path(&file);
        let mut compose = sandbox::docker();
        compose.args(["compose", "-f", file.to_str().unwrap()]).args(args);
        for (name, port) in [(&self.bench.name, &self.port), (&self.database, &free_port())] {
            compose.env(Self::variable(name, "PORT"), port);
        }
        sandbox::finish(&mut compose)
    }

    fn sessions(&self) -> String {
        let count = "SELECT count(*) FROM genie_sessions";
        let asked = self
            .bench
            .xtask(&["psql", &self.bench.name, "--", "-XAtqc", count]);
        asked.expect(0).stdout.trim().to_owned()
    }

    /// How a container with these options ends, which is soon.
    fn ends(&self, options: &[&str]) -> (Option<i32>, String) {
        let mut docker = sandbox::docker();
        docker.args(["run", "--rm", "--env", "HIVE_DATABASE_WAIT=2"]);
        let output = docker.args(options).arg(self.image()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // What a test that failed has left by `up`.
        self.bench.xtask(&["down", &self.bench.name, &self.database]);
        self.compose(&["down", "--volumes"]);
        remove_images(&self.database);
    }
}

/// A password file as the compose file wants it.
fn write_password(file: &Path) {
    let install = ["install", "-m", "600", "-o", "1000", "-g", "1000", "/dev/stdin"];
    let script = format!(
        "head -c 24 /dev/urandom | base64 | {} {}",
        install.join(" "),
        file.display()
    );
    let mut shell = std::process::Command::new("sh");
    sandbox::finish(shell.args(["-c", &script])).expect(0);
}

#[test]
#[ignore = "needs an engine"]
fn an_app_alone_is_built_proved_and_run_beside_its_database() {
    let pair = Pair::new();
    let (bench, name) = (&pair.bench, pair.bench.name.as_str());
    let built = bench.xtask(&["build-images", name]).expect(0);
    // The database first, which needs nothing of the other.
    assert!(built.stdout.contains(&format!("hive-{}:latest", pair.database)));
    let plan = bench.xtask(&["plan", name, "--json"]).expect(0).json();
    for image in plan["images"].as_array().unwrap() {
        assert_eq!(image["action"], "up-to-date", "{plan:#}");
    }
    let look = ["run", "--rm", "--entrypoint", "sh", &pair.image(), "-c"];
    let there = "ls /usr/lib/postgresql/*/bin/postgres /var/lib/postgresql 2>/dev/null; psql --version";
    let there = docker(&[&look[..], &[there]].concat());
    assert!(
        there.starts_with("psql (PostgreSQL)"),
        "a server is there: {there}"
    );

    // By compose, written to, taken down, brought up and read; as the tool sees it.
    bench.xtask(&["render"]).expect(0);
    let password = format!("docker/compose/{name}.password");
    write_password(&bench.checkout.path(&password));
    let up = pair.compose(&["up", "--detach", "--wait"]).expect(0);
    assert!(!up.stderr.contains("level=warning"), "{}", up.stderr);
    let health = bench.xtask(&["health", name]).expect(0).stdout;
    for said in ["tester on hive_test", "app", "health-monitor", "/api/v1/health"] {
        assert!(health.contains(said), "no {said} in:\n{health}");
    }
    let insert = "INSERT INTO genie_sessions (user_id) VALUES ('kept')";
    bench.xtask(&["psql", name, "--", "-XAtqc", insert]).expect(0);
    let status = bench.xtask(&["status", "--json"]).expect(0).json();
    for service in status["services"].as_array().unwrap() {
        assert_eq!(service["state"], "healthy", "{status:#}");
    }
    bench.xtask(&["restart", name]).expect(0);
    let down = bench.xtask(&["down", name]).expect(0);
    assert!(!down.stderr.contains("PostgreSQL"), "{}", down.stderr);
    pair.compose(&["down"]).expect(0);
    pair.compose(&["up", "--detach", "--wait"]).expect(0);
    assert_eq!(pair.sessions(), "1");

    // What is wrong with the way to the database is one sentence, and no password.
    let network = format!("hive_{name}_network");
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(secret.path(), "wr0ng\n").unwrap();
    let wrong = format!(
        "{}:/run/secrets/hive_database_password:ro",
        secret.path().display()
    );
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs_err::set_permissions(secret.path(), readable).unwrap();
    let given = ["--network", &network, "--volume", &wrong];
    for (more, code, says) in [
        (&[][..], 78, "cannot be used: password authentication failed"),
        (
            &["--env", "HIVE_DATABASE_HOST=no-such-host"],
            78,
            "no-such-host:5432 cannot be used: could not translate",
        ),
        (
            &["--env", "HIVE_DATABASE_PORT=9"],
            75,
            ":9 within 2 s: Connection refused",
        ),
    ] {
        let (ended, said) = pair.ends(&[&given[..], more].concat());
        assert_eq!(ended, Some(code), "{said}");
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("hive: stopped: app: ") && said.contains(says),
            "{said}"
        );
        assert!(!said.contains("wr0ng"), "{said}");
    }
    let (ended, said) = pair.ends(&[]);
    assert_eq!(ended, Some(78), "{said}");
    assert!(
        said.starts_with("hive: cannot start: there is no password for the database"),
        "{said}"
    );
    what_does_not_ask_is_found(&pair);
    up_brings_the_database_with_it(&pair);
}

/// By `up` on the same rows, though with another password than the file of compose
/// named; and back where it cannot work.
fn up_brings_the_database_with_it(pair: &Pair) {
    let (bench, name, database) = (&pair.bench, pair.bench.name.as_str(), pair.database.as_str());
    pair.compose(&["down"]).expect(0);
    let up = ["up", name, "--port", &pair.port];
    let done = bench.xtask(&up).expect(0);
    let address = format!("{name} http://127.0.0.1:{}\n", pair.port);
    let beside = format!("{database} postgresql://127.0.0.1:25534\n");
    assert_eq!(done.stdout, format!("{beside}{address}"));
    assert_eq!(pair.sessions(), "1");
    bench.xtask(&up).expect(0).says(&[
        &format!("{name}: nothing to do"),
        &format!("{database}: nothing to do"),
    ]);
    let password = docker(&["exec", name, "cat", "/run/secrets/hive_database_password"]);
    let inspected = docker(&["inspect", name, database]);
    assert!(!inspected.contains(password.trim()), "the password is to be seen");

    // Its database may be away for a moment; how soon the app's pool tries again is the
    // app's to say.
    let container = docker(&["inspect", "--format", "{{.Id}}", name]);
    bench.xtask(&["down", database]).expect(0).says(&["stays"]);
    bench.xtask(&up).expect(0);
    let began = Instant::now();
    while bench.xtask(&["health", name]).code != 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "its database is back");
    }
    assert_eq!(container, docker(&["inspect", "--format", "{{.Id}}", name]));

    // With one that nobody finds the container before comes back.
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(
        elsewhere.path(),
        "HIVE_DATABASE_HOST=no-such-host\nHIVE_DATABASE_WAIT=2\n",
    )
    .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), "wr0ng\n").unwrap();
    let secret = format!("hive_database_password={}", file.path().display());
    let told = [
        "--env-file",
        elsewhere.path().to_str().unwrap(),
        "--secret",
        &secret,
    ];
    let failed = bench.xtask(&[&up[..], &told].concat()).expect(4);
    failed.says(&[
        "secret hive_database_password has another value",
        "no-such-host:5432 cannot be used: could not translate",
        "answers again",
    ]);
    assert!(!failed.stderr.contains("wr0ng"), "{}", failed.stderr);
    bench.xtask(&["down", name, database]).expect(0);
    let left = docker(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!left.contains(database), "{left}");
}

/// The outage is made where the database is: a health check that does not ask it is
/// found. Faults find the database beside the app, too.
fn what_does_not_ask_is_found(pair: &Pair) {
    let specs = Catalog::read(&pair.bench.checkout.path(""), Apps::OfSpecs)
        .unwrap()
        .images;
    let blind = r"printf '#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/20000 && echo healthy\n' \
                 >/usr/local/lib/hive/healthcheck";
    let variant = Variant::of(&pair.image(), "blind", &run(blind));
    let (engine, runner) = (&variant.resources.engine, &variant.resources.runner);
    let subject = |reference: &str| -> Subject { smoke::subject(engine, runner, reference, &specs).unwrap() };
    let state = tempfile::tempdir().unwrap();
    let verdict = prove(&variant.resources, &[subject(&variant.tag)], state.path()).remove(0);
    let causes: Vec<&str> = verdict.causes().iter().map(|check| check.name.as_str()).collect();
    assert_eq!(causes, ["container-health"]);
    let upgrade = verdict
        .checks()
        .iter()
        .find(|check| check.name == "rows-of-before")
        .unwrap();
    assert!(upgrade.detail.contains(" tables are there"), "{}", upgrade.detail);
    let login = verdict
        .checks()
        .iter()
        .find(|check| check.name == "sql-login")
        .unwrap();
    let of_image = format!("of image {} (", pair.database);
    assert!(login.detail.contains(&of_image), "{}", login.detail);

    let only = ["moved-port", "odd-password"].map(str::to_owned);
    let suite = Faults {
        all: FULL,
        only: &only,
        second_try: true,
    };
    let subjects = [subject(&pair.image())];
    let report = Report::new(true, true);
    let borne = smoke::run_full(&report, state.path(), &variant.resources, &subjects, suite).unwrap();
    assert!(borne[0].passed(), "{:?}", borne[0].causes());
}
