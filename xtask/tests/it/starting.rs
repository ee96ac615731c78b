//! How an app is started: its variables, its modules, and what is told where it
//! cannot be.

use crate::build_images::{Bench, docker};
use crate::sandbox::Run;

/// Says what it was started with.
const MAIN: &str = r#"
import os, sys, time
import psycopg
from fastapi import FastAPI
from utils.db import HERE

AT_START = {"tz": time.strftime("%z"), "here": HERE, "path": [p for p in sys.path if "lib/python3." not in p]}
app = FastAPI()


@app.get("/health")
def health():
    with psycopg.connect(os.environ["OTHER_URL"], connect_timeout=2) as connection:
        connection.execute("select 1")
    return {"ok": True}


@app.get("/started")
def started():
    maps = open("/proc/self/maps").read()
    return AT_START | {"preloaded": "libutil" in maps, "env": dict(os.environ)}
"#;

/// A dependency that ships what it should not, as many do.
const CARELESS: &str = r#"[project]
name = "careless"
version = "1"
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[tool.setuptools]
packages = ["src", "utils"]
"#;

const APP: &str = r#", "import": "src.main:app", "health_path": "/health", "before_start": ["./migrate.sh"],
    "environment": {
        "DATABASE_URL": "{database_url:asyncpg}", "OTHER_URL": "{database_url:postgresql://}",
        "PYTHONPATH": "/app/more", "TZ": "Asia/Tokyo", "LD_PRELOAD": "libutil.so.1", "LANG": "C", "HOME": "/app",
        "PATH": "/app/bin:/opt/venv/bin:/usr/bin:/bin", "DOLLAR": "$HOME ${{X}}", "GIVEN": "spec"
    }"#;

/// What of [`APP`] a request has to show.
const CHECKS: &str = r#", "checks": [
    {"name": "tz", "http": {"path": "/started", "contains": "\"tz\":\"+0900\""}},
    {"name": "own", "http": {"path": "/started", "contains": "\"here\":\"the app\""}},
    {"name": "path", "http": {"path": "/started", "contains": "/app/more\""}},
    {"name": "preload", "http": {"path": "/started", "contains": "\"preloaded\":true"}},
    {"name": "url", "http": {"path": "/started", "contains": "\"DATABASE_URL\":\"postgresql+asyncpg://tester:"}},
    {"name": "lang", "http": {"path": "/started", "contains": "\"LANG\":\"C\""}},
    {"name": "home", "http": {"path": "/started", "contains": "\"HOME\":\"/app\""}},
    {"name": "bin", "http": {"path": "/started", "contains": "\"PATH\":\"/app/bin:"}},
    {"name": "dollar", "http": {"path": "/started", "contains": "\"DOLLAR\":\"$HOME ${X}\""}}]"#;

fn careless(bench: &Bench) -> String {
    let write = |path: &str, text: &str| bench.checkout.write(&format!("app/{path}"), text);
    write(
        "requirements.txt",
        "fastapi\nuvicorn\npsycopg[binary]\n./requirements/careless\n",
    );
    write("requirements/careless/pyproject.toml", CARELESS);
    for package in ["src", "utils"] {
        write(&format!("requirements/careless/{package}/__init__.py"), "");
        write(&format!("{package}/__init__.py"), "");
    }
    write("src/main.py", MAIN);
    write("utils/db.py", "HERE = 'the app'\n");
    write("more/README", "");
    write("migrate.sh", "#!/bin/sh\nexec python -m src.migrate\n");
    write("src/migrate.py", "import utils.db\n");
    executable(bench);
    bench.checkout.path("app").display().to_string()
}

fn executable(bench: &Bench) {
    use std::os::unix::fs::PermissionsExt as _;
    let script = bench.checkout.path("app/migrate.sh");
    fs_err::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
#[ignore = "needs an engine"]
fn what_a_spec_sets_is_there_when_the_app_starts_and_its_modules_are_its_own() {
    let bench = Bench::new("starting", APP, CHECKS);
    let app = careless(&bench);
    bench.xtask(&["build-images", "--app", &app]).expect(0);
    let image = format!("hive-{}:latest", bench.name);
    // The same for a command of whoever runs it, whose own word wins.
    let said = docker(&[
        "run",
        "--rm",
        "--env",
        "GIVEN=here",
        "--env",
        "LANG=C.utf8",
        &image,
        "run-app",
        "sh",
        "-c",
        "echo $GIVEN $LANG $HOME; python -c 'import utils.db as d; print(d.HERE)'",
    ]);
    assert_eq!(said, "here C.utf8 /app\nthe app\n");
}

/// Each ends with a sentence in the build, before anything boots.
#[test]
#[ignore = "needs an engine"]
fn what_cannot_be_started_is_told_in_the_build() {
    let bench = Bench::new("cannot", "", "");
    let app = careless(&bench);
    let spec = |app: &str| {
        let text = crate::build_images::spec(app, "");
        bench
            .checkout
            .write(&format!("images/{}/image.json", bench.name), &text);
    };
    let told = |texts: &[&str]| {
        bench
            .xtask(&["build-images", "--app", &app])
            .expect(1)
            .says(texts);
    };
    spec(r#", "import": "src.wrong.main:app""#);
    told(&[
        "there is no module src.wrong",
        "hint: the app's folder has src/, utils/",
    ]);
    spec(r#", "import": "src.main:app", "command": ["gunicorn", "src.main:app"]"#);
    told(&[
        "app.command: no such program: gunicorn",
        "hint: nothing that is installed brings gunicorn: add its package to the app's dependencies",
    ]);
    spec(r#", "import": "src.main:app", "before_start": ["./migrate.sh"]"#);
    bench.checkout.write("app/migrate.sh", "#!/bin/sh\r\ntrue\r\n");
    executable(&bench);
    told(&[
        "app.before_start: the lines of ./migrate.sh end as on Windows",
        "hint: save it with LF",
    ]);
}

const SMALL: &str =
    "from fastapi import FastAPI\n\napp = FastAPI()\n\n\n@app.get('/health')\ndef health():\n    return {}\n";

/// An app of three lines, under a spec that changes.
struct Small {
    bench: Bench,
    app: String,
}

impl Small {
    fn new(name: &str) -> Self {
        Self::on(Bench::new(name, "", ""))
    }

    fn on(bench: Bench) -> Self {
        bench.checkout.write("app/requirements.txt", "fastapi\nuvicorn\n");
        bench.checkout.write("app/main.py", SMALL);
        let app = bench.checkout.path("app").display().to_string();
        Self { bench, app }
    }

    fn build(&self, app: &str, code: i32) -> Run {
        self.build_with(app, "", code)
    }

    fn build_with(&self, app: &str, more: &str, code: i32) -> Run {
        let text = crate::build_images::spec(&format!(r#", "import": "main:app"{app}"#), more);
        let file = format!("images/{}/image.json", self.bench.name);
        self.bench.checkout.write(&file, &text);
        self.bench
            .xtask(&["build-images", &self.bench.name, "--app", &self.app])
            .expect(code)
    }

    fn label(&self) -> String {
        let image = format!("hive-{}:latest", self.bench.name);
        let format = "{{index .Config.Labels \"dev.hive.health\"}}";
        docker(&["image", "inspect", "--format", format, &image])
            .trim()
            .to_owned()
    }
}

#[test]
#[ignore = "needs an engine"]
fn health_is_proved_as_what_the_spec_claims_and_no_app_is_a_dead_end() {
    let small = Small::new("claims");
    small.build(r#", "health_path": "/health""#, 0).says(&[
        "GET /health said 200 while the database was away; the container's own health check did not",
        "def ready():",
        "GET /health is proved as liveness",
    ]);
    assert_eq!(small.label(), "liveness");
    small
        .build(r#", "health_path": "/health", "health": "readiness""#, 4)
        .says(&["FAIL health-honest", "`app.health` of the spec is \"readiness\""]);
    let silent = small.build(r#", "health_path": "/health", "health": "liveness""#, 0);
    assert!(!silent.stderr.contains("def ready():"), "{}", silent.stderr);
    small.build(r#", "health_path": null"#, 0);
    assert_eq!(small.label(), "none");
    // An app that fails on all that it is asked: its server may not be able to run it.
    let main = format!("{SMALL}\n\n@app.get('/')\ndef front():\n    raise ValueError('no templates')\n");
    small.bench.checkout.write("app/main.py", &main);
    small
        .build_with(
            r#", "health_path": null"#,
            r#", "budgets": {"ready_seconds": 1}"#,
            4,
        )
        .says(&[
            "FAIL health\n",
            "GET / answered 500 Internal Server Error: without `app.health_path` any answer on `/` but a 5xx will do",
            "name a path that answers 200, such as /health;",
            "ValueError: no templates",
        ]);
}

#[test]
#[ignore = "needs an engine"]
fn an_app_that_does_not_get_there_says_why_at_the_end() {
    let small = Small::new("words");
    small.build(r#", "health_path": "/nope""#, 4).says(&[
        "GET /nope answered 404",
        "such as /health",
        "more, which follow from health",
    ]);
    small.build(r#", "health_path": "/health/""#, 4).says(&[
        "GET /health/ answered 307 and leads to",
        "/health: `app.health_path` has to be",
    ]);
    let slow_end = "import time\ntime.sleep(2)\nraise ValueError('set SHOP_KEY')\n";
    let main = format!("{slow_end}{SMALL}");
    small.bench.checkout.write("app/main.py", &main);
    let run = small.build(r#", "health_path": "/health""#, 4);
    let (_, end) = run.stderr.rsplit_once("error: image").unwrap();
    assert!(
        end.contains("the app's last words, at its first start:\n    ValueError: set SHOP_KEY"),
        "{end}"
    );
}

/// Starts with nothing but what the gate alone has, and a key of its own.
const SECRETIVE: &str = r#"
import hashlib, os
from fastapi import FastAPI

os.environ["LLM_KEY"]
app = FastAPI()


@app.get("/health")
def health():
    return {"key": hashlib.sha256(os.environ["APP_KEY"].encode()).hexdigest()}
"#;

/// A container that is removed when it is not needed any more.
struct Started(String);

impl Started {
    fn new(name: &str, options: &[&str], image: &str) -> Self {
        let name = format!("hive-test-{name}-{}", std::process::id());
        docker(&[&["run", "--detach", "--name", &name], options, &[image]].concat());
        Self(name)
    }

    fn status(&self) -> String {
        let state = docker(&["inspect", "--format", "{{.State.Health.Status}}", &self.0]);
        state.trim().to_owned()
    }

    fn key(&self) -> String {
        for _ in 0..240 {
            if self.status() == "healthy" {
                let ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:20000/health').read().decode())";
                return docker(&["exec", &self.0, "python", "-c", ask]);
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        panic!("{}", docker(&["logs", &self.0]));
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.0]);
    }
}

#[test]
#[ignore = "needs an engine"]
fn an_apps_secret_is_made_once_and_what_the_gate_knows_is_in_no_image() {
    let small = Small::new("secret");
    small.bench.checkout.write("app/main.py", SECRETIVE);
    let app =
        r#", "health_path": "/health", "health": "liveness", "environment": {"APP_KEY": "{secret:APP_KEY}"}"#;
    let gate = |key: &str| format!(r#", "smoke": {{"environment": {{"LLM_KEY": "{key}"}}}}"#);
    small.build_with(app, &gate("sk-of-the-gate-alone"), 0);
    let image = format!("hive-{}:latest", small.bench.name);
    let told = docker(&["image", "inspect", &image]) + &docker(&["history", "--no-trunc", &image]);
    let find = "grep -rl sk-of-the-gate-alone /etc /app /opt /usr /home || true";
    let inside = docker(&[
        "run",
        "--rm",
        "--user",
        "0:0",
        "--entrypoint",
        "sh",
        &image,
        "-c",
        find,
    ]);
    assert!(
        !told.contains("sk-of-the-gate-alone") && inside.is_empty(),
        "{inside}"
    );
    // Another value is another proof, and no other image.
    small
        .build_with(app, &gate("sk-of-another-day"), 0)
        .says(&["retest"]);

    let volume = format!("{}-data", small.bench.name);
    let mount = format!("{volume}:/var/lib/postgresql/data");
    let options = ["--volume", mount.as_str(), "--env", "LLM_KEY=x"];
    let first = Started::new("first", &options, &image).key();
    let second = Started::new("second", &options, &image).key();
    assert_eq!(first, second, "kept on the volume");
    let other = Started::new("other", &["--env", "LLM_KEY=x"], &image);
    assert_ne!(other.key(), first, "another volume, another secret");
    docker(&["volume", "rm", &volume]);
}

/// A migration may take longer than the start period: nothing may restart the
/// container meanwhile.
#[test]
#[ignore = "needs an engine"]
fn while_a_migration_runs_the_container_is_starting() {
    let small = Small::new("migrating");
    let slow = r#", "health_path": "/health", "health": "liveness", "before_start": ["sh", "-c", "sleep $SLOW"], "environment": {"SLOW": "0"}"#;
    small.build(slow, 0);
    let image = format!("hive-{}:latest", small.bench.name);
    let options = [
        "--env",
        "SLOW=20",
        "--health-start-period",
        "1s",
        "--health-interval",
        "1s",
    ];
    let one = Started::new("migrating", &options, &image);
    let mut states = vec![one.status()];
    for _ in 0..240 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let state = one.status();
        if states.last() != Some(&state) {
            states.push(state);
        }
        if states.last().is_some_and(|state| state == "healthy") {
            break;
        }
    }
    assert_eq!(states, ["starting", "healthy"]);
}

/// One image after another with two apps: neither gets at the other one's data.
#[test]
#[ignore = "needs an engine"]
fn a_volume_remembers_its_app_and_lets_no_other_one_near_it() {
    let small = Small::new("owner");
    let health = r#", "health_path": "/health", "health": "liveness""#;
    let project = |name: &str| {
        let text = format!("[project]\nname = \"{name}\"\nversion = \"1\"\n");
        small.bench.checkout.write("app/pyproject.toml", &text);
    };
    project("ledger");
    small.build(health, 0);
    let image = format!("hive-{}:latest", small.bench.name);
    let volume = format!("{}-data", small.bench.name);
    let mount = format!("{volume}:/var/lib/postgresql/data");
    let healthy = |options: &[&str]| {
        let options = [&["--volume", mount.as_str()], options].concat();
        Started::new("owner", &options, &image).key()
    };
    healthy(&[]);

    project("shop");
    let name = small.bench.name.clone();
    let becomes = "is the app ledger, and is to become shop";
    let plan = small.bench.xtask(&["plan", &name, "--app", &small.app]).expect(0);
    plan.says(&[becomes]);
    small.build(health, 0).says(&[becomes]);
    let refused = crate::sandbox::docker()
        .args(["run", "--rm", "--volume", &mount, &image])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    let both = "the volume has the data of the app 'ledger', and this image is the app 'shop'";
    assert!(
        said.contains(both) && said.contains("-e HIVE_APP_WAS=ledger"),
        "{said}"
    );
    // The same app under another name; from then on it is known by this one.
    healthy(&["--env", "HIVE_APP_WAS=ledger"]);
    healthy(&[]);
    docker(&["volume", "rm", &volume]);
}

#[test]
fn an_app_is_given_to_one_image_and_what_does_not_count_is_told() {
    let checkout = crate::sandbox::Checkout::new();
    checkout.write("shop/requirements.txt", "uvicorn\n");
    let app = checkout.path("shop").display().to_string();
    checkout
        .xtask(&["plan", "--app", &app])
        .expect(2)
        .says(&["--app: name the IMAGE that is to hold this app; there are agent, genie"]);
    checkout.write("shop/hive-app.json", r#"{"app": {"port": 8000}}"#);
    checkout
        .xtask(&["plan", "genie", "--app", &app])
        .expect(0)
        .says(&["hive-app.json: `app.port` is 8000, and images/genie/image.json has 48886, which counts"]);
}

#[test]
fn what_an_image_is_proved_with_is_told() {
    let image = |more: &str| {
        let spec = format!(
            r#"{{"title": "t", "app": {{"source": "../../shop", "port": 20000, "import": "main:app"}},
                "database": {{"name": "d", "role": "r"}}, "smoke": {{"environment": {{{more}}}}}}}"#
        );
        let checkout = crate::sandbox::Checkout::with_image("shop", &spec);
        checkout.write("shop/requirements.txt", "uvicorn\n");
        checkout.write("shop/main.py", "app = 1\n");
        checkout
    };
    let told = image(r#""LLM_KEY": "sk-1""#).xtask(&["plan", "shop"]).expect(0);
    let said = "proved with LLM_KEY of `smoke.environment`";
    assert!(told.stdout.contains(said), "{}", told.stdout);
    assert!(!told.stdout.contains("sk-1") && !told.stderr.contains("sk-1"));
    assert!(
        !image("")
            .xtask(&["plan", "shop"])
            .expect(0)
            .stdout
            .contains("proved with")
    );
    let refused = image(r#""HIVE_APP_WAS": "other""#).xtask(&["plan", "shop"]);
    refused
        .expect(2)
        .says(&["`smoke.environment.HIVE_APP_WAS` is for whoever runs the container"]);
}

#[test]
#[ignore = "needs an engine"]
fn settings_of_the_spec_are_the_servers_and_alter_system_wins_over_them() {
    let name = format!("settings-{}", std::process::id());
    let checkout = crate::sandbox::Checkout::with_image(
        &name,
        r#"{"title": "t", "app": {"port": 20000, "import": "main:app", "health_path": null},
            "database": {"name": "d", "role": "r", "extensions": ["vector", "pg_stat_statements"],
                "settings": {"shared_preload_libraries": "pg_stat_statements", "hnsw.ef_search": "77", "work_mem": "7MB"}},
            "checks": [
                {"name": "used", "sql": {"query": "SELECT count(*) > 0 FROM pg_stat_statements", "expect": "t"}},
                {"name": "set", "sql": {"query": "SELECT current_setting('hnsw.ef_search') || current_setting('work_mem')", "expect": "777MB"}}
            ]}"#,
    );
    crate::build_images::roomy(&checkout);
    let small = Small::on(Bench { checkout, name });
    let run = small.bench.xtask(&["build-images", "--app", &small.app]);
    run.expect(0);
    let image = format!("hive-{}:latest", small.bench.name);
    let one = Started::new("settings", &[], &image);
    one.key();
    let sql = |sql: &str| docker(&["exec", &one.0, "psql", "-XAtqc", sql, "service=superuser"]);
    sql("ALTER SYSTEM SET work_mem = '9MB'");
    sql("SELECT pg_reload_conf()");
    assert_eq!(sql("SELECT pg_sleep(0.5), current_setting('work_mem')"), "|9MB\n");
}
