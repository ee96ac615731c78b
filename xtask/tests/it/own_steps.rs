//! What an app has made of its files while its image is built.

use std::path::Path;
use std::process::Command;

use crate::build_images::{Bench, fixture};
use crate::sandbox::{Checkout, copy, skipped};

/// Says who runs it with what, and fails where the app is not there.
const STEP: &str = r#"
import os, pathlib, sys
import fastapi, main
assert os.environ["STATIC_ROOT"] == "/app/static", os.environ
assert len(os.environ["SECRET_KEY"]) > 20
assert os.environ["STRIPE_KEY"] == "given-at-start"
built = pathlib.Path("web/dist/built.txt").read_text()
out = pathlib.Path("static")
out.mkdir()
(out / "step.txt").write_text(f"{os.getuid()} {sys.argv[1]} {built}")
"#;

const PACKAGE: &str = r#"{"name": "web", "private": true, "scripts": {"build": "node build.js"},
    "dependencies": {"is-number": "7.0.0"}}"#;

const PACKAGE_LOCK: &str = r#"{"name": "web", "lockfileVersion": 3, "requires": true, "packages": {
    "": {"name": "web", "dependencies": {"is-number": "7.0.0"}},
    "node_modules/is-number": {"version": "7.0.0", "license": "MIT", "engines": {"node": ">=0.12.0"},
        "integrity": "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="}}}"#;

const BUILD_JS: &str = r#"
const fs = require("fs");
fs.mkdirSync("dist");
fs.writeFileSync("dist/built.txt", `${process.getuid()} ${require("is-number")(7)}`);
"#;

#[test]
#[ignore = "needs an engine"]
fn a_front_end_and_steps_are_built_as_no_root_user_and_only_their_output_is_in_the_image() {
    let app = r#", "import": "main:create", "factory": true, "health_path": "/health",
        "environment": {"STATIC_ROOT": "/app/static", "SECRET_KEY": "{secret:SECRET_KEY}"}"#;
    let build = r#", "build": {"steps": [["python", "make_static.py", "it's $HOME"]],
        "node": {"folder": "web", "output": "web/dist"}}, "smoke": {"environment": {"STRIPE_KEY": "of the gate"}}"#;
    let bench = Bench::new("steps", app, build);
    copy(
        Path::new(&fixture("requirements-app")),
        &bench.checkout.path("app"),
    );
    for (path, text) in [
        ("make_static.py", STEP),
        ("web/package.json", PACKAGE),
        ("web/package-lock.json", PACKAGE_LOCK),
        ("web/build.js", BUILD_JS),
        // Of an older build.
        ("web/dist/built.txt", "stale"),
    ] {
        bench.checkout.write(&format!("app/{path}"), text);
    }
    let folder = bench.checkout.path("app");
    let run = || bench.xtask(&["build-images", "--app", folder.to_str().unwrap()]);
    run().expect(0);
    let made = "print(open('/app/static/step.txt').read())";
    assert_eq!(bench.python(made), "1000 it's $HOME 1000 true");
    let look = "import os, shutil; print(shutil.which('node'), shutil.which('npm'), os.path.exists('/app/web/node_modules'))";
    assert_eq!(bench.python(look), "None None False");
    run().expect(0).says(&["nothing changed"]);

    // What is not made is told, and what a step says when it fails.
    bench.checkout.write("app/web/build.js", "");
    run()
        .expect(1)
        .says(&["the front end's build has made no folder web/dist (build.node.output)"]);
    bench.checkout.write("app/web/build.js", BUILD_JS);
    bench
        .checkout
        .write("app/make_static.py", "raise SystemExit('no static files today')");
    run().expect(1).says(&["no static files today"]);
}

#[test]
#[ignore = "needs an engine"]
fn npm_makes_the_lock_that_is_missing() {
    let build = r#"{"app": {"command": ["python", "-V"]}, "build": {"node": {"folder": "web", "output": "web/dist"}}}"#;
    let checkout = Checkout::new();
    checkout.write("app/requirements.txt", "");
    checkout.write("app/hive-app.json", build);
    checkout.write(
        "app/web/package.json",
        r#"{"name": "web", "private": true, "scripts": {"build": "true"}}"#,
    );
    let app = checkout.path("app");
    let plan = || checkout.xtask(&["plan", "genie", "--app", app.to_str().unwrap()]);
    let said = plan().expect(2).stderr;
    let (_, advice) = said
        .split_once("has no lock beside it (package-lock.json, pnpm-lock.yaml, yarn.lock, bun.lock): run `")
        .unwrap();
    let mut words = advice.split('`').next().unwrap().split(' ');
    let mut npm = Command::new(words.next().unwrap());
    match npm.args(words).current_dir(app.join("web")).output() {
        Ok(output) => assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => return skipped(&format!("no npm: {error}")),
    }
    plan().expect(0);
}
