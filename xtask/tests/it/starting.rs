//! How an app is started: its variables, its modules, and what is told where it
//! cannot be.

use crate::build_images::{Bench, docker};

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
    told(&["app.command: no such program: gunicorn"]);
    spec(r#", "import": "src.main:app", "before_start": ["./migrate.sh"]"#);
    bench.checkout.write("app/migrate.sh", "#!/bin/sh\r\ntrue\r\n");
    executable(&bench);
    told(&[
        "app.before_start: the lines of ./migrate.sh end as on Windows",
        "hint: save it with LF",
    ]);
}
