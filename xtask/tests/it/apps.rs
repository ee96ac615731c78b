//! Other apps than the sample, built by `build-images --app`.

use std::process::Command;

use crate::build_images::{Bench, docker, fixture};

#[test]
#[ignore = "needs an engine"]
fn an_app_without_lock_with_a_factory_and_odd_names_works() {
    let bench = Bench::new(
        "factory",
        r#", "import": "main:create", "factory": true, "health_path": "/health""#,
        "",
    );
    bench.checkout.edit(
        &format!("images/{}/image.json", bench.name),
        r#""name": "hive_test", "role": "tester""#,
        r#""name": "we'ird \"db: é/@%", "role": "o'role 100%""#,
    );
    let app = fixture("requirements-app");
    bench.xtask(&["build-images", "--app", &app]).expect(0);
    let id = bench.id("latest").unwrap();
    let listed = docker(&["image", "inspect", "--format", "{{join .RepoTags \" \"}}", &id]);
    let fingerprint = docker(&[
        "image",
        "inspect",
        "--format",
        "{{index .Config.Labels \"dev.hive.fingerprint\"}}",
        &id,
    ]);
    // Without a version of its own the image is named after its content.
    assert!(
        listed.contains(&format!("hive-{}:{}", bench.name, &fingerprint[..12])),
        "{listed}"
    );
    // The suite finds the app's promises in the image, not in the checkout.
    bench.xtask(&["smoke", &bench.name]).expect(0);
}

#[test]
#[ignore = "needs an engine"]
fn a_package_that_needs_its_readme_is_installed_and_secrets_stay_out() {
    let environment = r#", "import": "shop.web:app", "health_path": "/healthz", "environment": {"APP_DSN": "{database_url}"}"#;
    let more = r#", "database": {"name": "shop", "role": "shop", "extensions": ["vector", "pg_trgm"], "initial_sql": ["create table seed (n int)", "insert into seed values (7)"]},
        "checks": [{"name": "seed", "sql": {"query": "select n from seed", "expect": "7"}}]"#;
    let bench = Bench::new("package", "", "");
    let text = format!(r#"{{"title": "test", "app": {{"port": 20000{environment}}}{more}}}"#);
    bench
        .checkout
        .write(&format!("images/{}/image.json", bench.name), &text);
    let app = bench.checkout.path("app");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(fixture("package-app"))
        .arg(&app)
        .status()
        .unwrap();
    assert!(copied.success());
    for junk in [
        ".env",
        ".git/config",
        "data/postgres/PG_VERSION",
        ".venv/pyvenv.cfg",
        "new\nline.txt",
    ] {
        bench.checkout.write(&format!("app/{junk}"), "junk");
    }
    bench.checkout.write(
        "app/docker/__init__.py",
        "raise ImportError('shadows the package docker')\n",
    );
    let run = bench
        .xtask(&["--verbose", "build-images", "--app", app.to_str().unwrap()])
        .expect(0);
    // The README: `--verbose` lists what was left out.
    run.says(&["not in the image: ", "/app/.git (history)", "/app/.env (secret)"]);
    assert!(
        bench.id("2.1.0-local.1").is_some(),
        "a local version becomes a tag"
    );
    let image = format!("hive-{}:latest", bench.name);
    let listing = docker(&[
        "run",
        "--rm",
        "--entrypoint",
        "find",
        &image,
        "/app",
        "-not",
        "-name",
        "*.pyc",
    ]);
    for junk in [".env", ".git", "PG_VERSION", "pyvenv.cfg"] {
        assert!(!listing.contains(junk), "{junk} in\n{listing}");
    }
    assert!(listing.contains("new\nline.txt"), "{listing}");
    // One of its dependencies has no wheel.
    let import = [
        "run",
        "--rm",
        "--entrypoint",
        "python",
        &image,
        "-c",
        "import docopt",
    ];
    docker(&import);
}

/// A build backend that writes into every cache it can reach, and then fails.
const POISON: &str = r#"
import pathlib
places = [line.split()[1] for line in open("/proc/self/mounts")] + ["/root/.cache", "/var/cache"]
found = set()
for place in places:
    if place not in ("/",) and not place.startswith(("/proc", "/sys", "/dev")):
        found.update(pathlib.Path(place).rglob("fastapi/__init__.py"))
for path in found:
    try:
        with path.open("a") as file:
            file.write("\nPOISON = 'of another app'\n")
    except FileNotFoundError:
        pass  # uv's own, while it unpacks
raise SystemExit(f"the backend has run and found {len(found)} in caches")
"#;

const FOREIGN_BUILD: &str = r#"[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"#;

#[test]
#[ignore = "needs an engine"]
fn what_one_app_builds_with_never_reaches_the_image_of_another_one() {
    let environment = r#", "import": "shop.web:app", "health_path": "/healthz", "environment": {"APP_DSN": "{database_url}"}"#;
    let bench = Bench::new("victim", environment, "");
    let fixture = std::path::PathBuf::from(fixture("package-app"));
    let files = ["pyproject.toml", "uv.lock"].map(|name| fs_err::read_to_string(fixture.join(name)).unwrap());
    let [project, lock] = files;
    // The cache has what all of them need.
    let app = bench.checkout.path("app");
    crate::sandbox::copy(&fixture, &app);
    let build = |app: &str| {
        bench.xtask(&[
            "build-images",
            "--app",
            bench.checkout.path(app).to_str().unwrap(),
        ])
    };
    build("app").expect(0);

    let (own, _) = project.split_once("[build-system]").unwrap();
    bench
        .checkout
        .write("as-project/pyproject.toml", &format!("{own}{FOREIGN_BUILD}"));
    bench.checkout.write("as-project/uv.lock", &lock);
    bench.checkout.write("as-project/backend.py", POISON);
    bench.checkout.write("as-project/README.md", "");
    bench.checkout.write(
        "as-dependency/requirements.txt",
        "fastapi\nuvicorn\n./requirements/evil\n",
    );
    let evil = "[project]\nname = \"evil\"\nversion = \"1\"\n";
    bench.checkout.write(
        "as-dependency/requirements/evil/pyproject.toml",
        &format!("{evil}{FOREIGN_BUILD}"),
    );
    bench
        .checkout
        .write("as-dependency/requirements/evil/backend.py", POISON);
    for app in ["as-project", "as-dependency"] {
        build(app).expect(1).says(&["the backend has run"]);
    }

    // Its dependencies are installed again, from the cache; no step of an earlier run has this lock.
    bench
        .checkout
        .write("app/uv.lock", &format!("{lock}\n# {}\n", bench.name));
    build("app").expect(0);
    let look = "import fastapi; print(getattr(fastapi, 'POISON', 'clean'))";
    assert_eq!(bench.python(look), "clean");
}

/// What the tool does not compare, uv does: with what it asks for now, the lock
/// would hold other packages.
#[test]
#[ignore = "needs an engine"]
fn a_lock_that_only_uv_knows_to_be_old_is_never_built_from() {
    let bench = Bench::new("old-lock", "", "");
    let app = bench.checkout.path("app");
    crate::sandbox::copy(std::path::Path::new(&fixture("package-app")), &app);
    let project = fs_err::read_to_string(app.join("pyproject.toml")).unwrap();
    let project = format!("{project}[tool.uv]\nconstraint-dependencies = [\"anyio<4\"]\n");
    bench.checkout.write("app/pyproject.toml", &project);
    bench
        .checkout
        .write("app/hive-app.json", r#"{"app": {"import": "shop.web:app"}}"#);
    let run = bench
        .xtask(&["build-images", "--app", app.to_str().unwrap()])
        .expect(1);
    run.says(&[
        "needs to be updated",
        "hint: run `uv lock` in the app's folder and commit uv.lock",
    ]);
    assert_eq!(bench.id("latest"), None);
}
