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
}
