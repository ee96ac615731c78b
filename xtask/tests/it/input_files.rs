//! What cannot work of specs, base sets and app folders is told before any work,
//! all of it at once, with the file and the place.

use crate::sandbox::{self, Checkout};

#[test]
fn unknown_image_lists_the_known() {
    let run = Checkout::new().xtask(&["plan", "gennie"]).expect(2);
    run.says(&[
        "error: there is no image \"gennie\"",
        "hint: known images: agent, genie",
    ]);
}

#[test]
fn mistakes_of_all_files_are_told_at_once() {
    let checkout = Checkout::new();
    checkout.edit(
        "images/genie/image.json",
        "\"port\": 48886",
        "\"prot\": 48886, \"workers\": 0",
    );
    checkout.edit(
        "images/agent/image.json",
        "\"role\": \"agent\"",
        "\"role\": \"postgres\"",
    );
    checkout.edit("images/base-sets.lock.json", "\"schema\": 1", "\"schema\": 9");
    let run = checkout.xtask(&["build-images"]).expect(2);
    run.says(&[
        "problems in the input files:",
        "images/genie/image.json: `app.prot` is no known key, did you mean `port`?",
        "images/genie/image.json: `app.port` is missing",
        "images/genie/image.json: `app.workers` is 0, must be between 1 and 64",
        "images/agent/image.json: `database.role` is reserved by PostgreSQL",
        "images/base-sets.lock.json: has schema 9, this version reads schema 1",
    ]);
    assert_eq!(run.stdout, "");
    assert!(
        !checkout.path("target").exists(),
        "work began before the input was right"
    );
}

#[test]
fn app_problems_come_with_their_way_out() {
    let checkout = Checkout::new();
    checkout.write(
        "app/pyproject.toml",
        "[project]\nname = 'x'\nrequires-python = '>=3.11,<3.13'\n",
    );
    let app = checkout.path("app");
    let app = app.to_str().unwrap();
    let run = checkout.xtask(&["build-images", "genie", "--app", app]).expect(2);
    run.says(&["--app: ", "has no uv.lock beside it: run `uv lock`"]);
    checkout.write("app/uv.lock", "");
    let run = checkout
        .xtask(&["build-images", "genie", "--app", app, "--base", "debian"])
        .expect(2);
    run.says(&[
        "requires Python >=3.11,<3.13, but base set debian has Python",
        "`--base ubuntu`",
    ]);
    let run = checkout
        .xtask(&["build-images", "genie", "--app", "/nonexistent"])
        .expect(2);
    run.says(&["--app: the app's folder /nonexistent does not exist"]);
    let file = format!("{app}/pyproject.toml");
    let run = checkout
        .xtask(&["build-images", "genie", "--app", &file])
        .expect(2);
    run.says(&["app/pyproject.toml is a file: give the folder that it lies in"]);
}

#[test]
fn tags_on_the_command_line_are_checked_before_work() {
    let run = Checkout::new()
        .xtask(&["build-images", "--tag=-x", "--tag", "reg.example/a:1"])
        .expect(2);
    run.says(&["--tag: \"-x\" is no tag", "cannot name 2 images at once"]);
}

#[test]
fn no_image_takes_another_ones_name_or_the_tools_own() {
    let checkout = Checkout::new();
    let asked = |tag: &str| checkout.xtask(&["build-images", "genie", "--tag", tag]).expect(2);
    for tag in [
        "hive-agent:latest",
        "docker.io/library/hive-agent:0.1.0",
        "library/hive-agent:next",
    ] {
        asked(tag).says(&[&format!(
            "--tag: \"{tag}\" is a name of image agent: images/agent/image.json"
        )]);
    }
    for tag in ["hive-base:debian", "index.docker.io/library/hive-proof:genie-x"] {
        asked(tag).says(&[&format!(
            "--tag: \"{tag}\" is no name for a release: the tool keeps "
        )]);
    }
    asked("../x:1").says(&["--tag: \"..\" is no registry's host"]);
    // With the version of the app, and of an image that is not asked for.
    checkout.edit(
        "images/agent/image.json",
        "\"title\"",
        "\"tags\": [\"shop:{version}\"], \"title\"",
    );
    asked("docker.io/library/shop:0.1.0")
        .says(&["\"docker.io/library/shop:0.1.0\" is a name of image agent"]);
    checkout.edit(
        "images/genie/image.json",
        "\"title\"",
        "\"tags\": [\"library/shop:0.1.0\"], \"title\"",
    );
    for verb in ["plan", "build-images"] {
        checkout.xtask(&[verb, "agent"]).expect(2).says(&[
            "images/genie/image.json: `tags[0]` is \"shop:0.1.0\", which images/agent/image.json has too",
        ]);
    }
    checkout.write(
        "images/proof/image.json",
        r#"{"title": "t", "app": {"port": 2000}, "database": {"name": "d", "role": "r"}}"#,
    );
    checkout
        .xtask(&["plan"])
        .expect(2)
        .says(&["images/proof/image.json: \"proof\" is no image name: the tool keeps the proofs of images in hive-proof"]);
    assert!(!checkout.path("target").exists(), "work began");
}

#[test]
fn an_apps_tags_are_those_of_the_images_that_it_is_built_into() {
    let checkout = Checkout::new();
    checkout.write("app/requirements.txt", "fastapi\n");
    checkout.write("app/hive-app.json", r#"{"tags": ["shop:latest"]}"#);
    let app = checkout.path("app");
    let mut plan = checkout.command(&["plan", "genie", "--json", "--app", app.to_str().unwrap()]);
    plan.env("DOCKER_HOST", "unix:///nonexistent")
        .env("HIVE_CACHE_DIR", checkout.path("cache"));
    let plan = sandbox::finish(&mut plan).expect(0).json();
    assert_eq!(plan["images"][0]["tags"], serde_json::json!(["shop:latest"]));
}

#[test]
fn a_version_that_no_tag_can_carry_is_told_before_work() {
    let checkout = Checkout::new();
    checkout.write("app/uv.lock", "");
    let app = checkout.path("app");
    let app = app.to_str().unwrap();
    let long = "1".repeat(200);
    for version in ["1!2.0", "1.0 beta", "a/b", "../x", &long] {
        checkout.write(
            "app/pyproject.toml",
            &format!("[project]\nname = 'x'\nversion = '{version}'\n"),
        );
        for verb in ["plan", "build-images"] {
            let run = checkout.xtask(&[verb, "genie", "--app", app]).expect(2);
            run.says(&[
                &format!("app/pyproject.toml: `project.version` {version:?} is no tag: "),
                "`version` in images/genie/image.json gives the tags another one",
            ]);
        }
    }
    assert!(!checkout.path("target").exists(), "work began");
    // The spec has the last word, and a version that is in no tag is nobody's.
    for key in ["\"version\": \"2.0\"", "\"tags\": [\"shop:latest\"]"] {
        checkout.write("images/genie/image.json", &format!(
            r#"{{{key}, "title": "t", "app": {{"port": 48886}}, "database": {{"name": "d", "role": "r"}}}}"#
        ));
        let mut plan = checkout.command(&["plan", "genie", "--app", app]);
        plan.env("DOCKER_HOST", "unix:///nonexistent")
            .env("HIVE_CACHE_DIR", checkout.path("cache"));
        sandbox::finish(&mut plan).expect(0);
    }
}

#[test]
fn fragments_that_are_not_there_are_an_input_that_is_wrong() {
    let checkout = Checkout::new();
    fs_err::rename(checkout.path("docker/stages"), checkout.path("docker/moved")).unwrap();
    checkout
        .xtask(&["plan"])
        .expect(2)
        .says(&["cannot read docker/stages"]);
}

#[test]
fn what_is_no_file_in_images_is_told_and_not_dropped() {
    use std::os::unix::ffi::OsStrExt as _;
    let checkout = Checkout::new();
    let spec = r#"{"title": "t", "app": {"port": 2000}, "database": {"name": "d", "role": "r"}}"#;
    let strange = checkout
        .path("images")
        .join(std::ffi::OsStr::from_bytes(b"a\xff"));
    fs_err::create_dir(&strange).unwrap();
    fs_err::write(strange.join("image.json"), spec).unwrap();
    let special = |path: &str| {
        let path = checkout.path(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    };
    special("images/pipe/image.json");
    fs_err::create_dir_all(checkout.path("images/folder/image.json")).unwrap();
    checkout.write("app/requirements.txt", "fastapi\n");
    let link = checkout.path("app/hive-app.json");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let app = checkout.path("app");
    let run = checkout
        .xtask(&["plan", "--app", app.to_str().unwrap()])
        .expect(2);
    run.says(&[
        "4 problems in the input files:",
        "images/a\u{fffd}: its name is not UTF-8",
        "images/pipe/image.json: is no file, must be a regular file",
        "images/folder/image.json: is a folder, must be a regular file",
        "app/hive-app.json: is a link, must be a regular file",
    ]);
}

#[test]
fn an_apps_folder_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt as _;
    let checkout = Checkout::new();
    let app = checkout
        .path("x")
        .with_file_name(std::ffi::OsStr::from_bytes(b"app\xff"));
    fs_err::create_dir(&app).unwrap();
    fs_err::write(app.join("requirements.txt"), "fastapi\n").unwrap();
    fs_err::write(app.join("hive-app.json"), r#"{"app": {"prot": 1}}"#).unwrap();
    let mut plan = checkout.command(&["plan", "genie", "--app"]);
    sandbox::finish(plan.arg(app))
        .expect(2)
        .says(&["hive-app.json: `app.prot` is no known key"]);
}

#[test]
fn base_sets_and_their_lock_are_checked_before_work() {
    let checkout = Checkout::new();
    checkout.edit("images/base-sets.json", "debian:trixie-slim", "debian trixie");
    checkout.edit(
        "images/base-sets.lock.json",
        "\"images\": {}",
        "\"images\": {\"debian:trixie-slim\": \"foo\"}",
    );
    checkout.xtask(&["plan"]).expect(2).says(&[
        "2 problems in the input files:",
        "images/base-sets.json: `sets.debian.image` \"debian trixie\" is no repository name",
        "images/base-sets.lock.json: `images.debian:trixie-slim` is \"foo\"",
    ]);
    let checkout = Checkout::new();
    let text = fs_err::read_to_string(checkout.path("images/base-sets.json")).unwrap();
    checkout.write("images/base-sets.json", &format!("{text} x"));
    checkout
        .xtask(&["plan"])
        .expect(2)
        .says(&["images/base-sets.json: trailing characters at line"]);
}

#[test]
fn an_ignore_file_cannot_take_what_the_image_needs() {
    let checkout = Checkout::new();
    let app = checkout.path("app");
    checkout.write("app/pyproject.toml", "[project]\nname = 'x'\n");
    checkout.write("app/uv.lock", "");
    checkout.write("app/hive-app.json", "{}");
    for (ignored, said) in [
        ("*", "leaves out pyproject.toml and uv.lock, which"),
        (
            "uv.lock",
            "app/.dockerignore leaves out uv.lock, which the image cannot do without",
        ),
        (
            "*\n!pyproject.toml",
            "hint: add the line `!uv.lock` at the end of that file",
        ),
    ] {
        checkout.write("app/.dockerignore", ignored);
        let mut plan = checkout.command(&["plan", "genie", "--app", app.to_str().unwrap()]);
        plan.env("DOCKER_HOST", "unix:///nonexistent")
            .env("HIVE_CACHE_DIR", checkout.path("cache"));
        sandbox::finish(&mut plan).expect(2).says(&[said]);
    }
}

#[test]
fn a_lock_that_is_older_than_its_project_is_refused_before_any_work() {
    let checkout = Checkout::new();
    let plan = || checkout.xtask(&["plan", "genie", "--engine", "private"]);
    plan().expect(0);
    checkout.edit(
        "images/sample-app/pyproject.toml",
        "dependencies = [",
        "dependencies = [\n    \"httpx\",",
    );
    let run = plan().expect(2);
    run.says(&["uv.lock is older than pyproject.toml (`httpx` is new): run `uv lock` in "]);
    assert_eq!(run.stderr.matches("older than").count(), 1, "{}", run.stderr);
}

#[test]
fn nothing_waits_for_a_pipe_in_the_place_of_a_file() {
    for name in ["pyproject.toml", "requirements.txt", "hive-app.json", "uv.lock"] {
        let checkout = Checkout::new();
        checkout.write("app/main.py", "");
        if name != "requirements.txt" {
            checkout.write("app/pyproject.toml", "[project]\nname = 'x'\n");
        }
        let pipe = checkout.path("app").join(name);
        fs_err::remove_file(&pipe).ok();
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let app = checkout.path("app");
        let run = checkout.xtask(&["plan", "genie", "--app", app.to_str().unwrap()]);
        run.expect(2).says(&[name]);
    }
}
