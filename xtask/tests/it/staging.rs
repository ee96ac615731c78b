//! The stage as BuildKit sees it: never another checkout's file, and no more
//! sent than has changed. What it makes of the plain tree is printed and not
//! required: with BuildKit 0.13 it is the other checkout's file.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use build::context;
use host::process::Interrupt;
use inputs::context::{Ignore, Rules, WalkOptions};

use crate::sandbox;

const DOCKERFILE: &str = "FROM scratch\nCOPY . /\n";

/// Builds a context and leaves what the image holds in `out`.
fn build(context: &Path, out: &Path, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = folder.path().join("Dockerfile");
    fs::write(&dockerfile, DOCKERFILE).unwrap();
    if out.exists() {
        fs::remove_dir_all(out).unwrap();
    }
    let mut command = sandbox::docker();
    command.args(["buildx", "build", "--quiet"]).args(arguments);
    command
        .arg("--output")
        .arg(format!("type=local,dest={}", out.display()));
    command.arg("--file").arg(&dockerfile).arg(context);
    let run = sandbox::finish(&mut command);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

/// BuildKit takes directories of one name for the same one.
#[test]
#[ignore = "needs an engine"]
fn never_the_file_of_another_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: String| folder.path().join(path);
    // A name that no other run has used.
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let mut plain = Vec::new();
    let mut ours = Vec::new();
    for checkout in ["one", "two"] {
        let app = at(format!("{checkout}/{name}"));
        fs::create_dir_all(&app).unwrap();
        let code = app.join("code.py");
        fs::write(&code, checkout).unwrap();
        let file = File::options().write(true).open(&code).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let found = context::scan(&app, &Rules::safe(Ignore::default()), &WalkOptions::default()).unwrap();
        let stage = sandbox::stage(&at(format!("{checkout}/stage")));
        stage.fill(&app, &found.inputs, &Interrupt::never()).unwrap();
        let out = at("out".to_owned());
        build(&app, &out, &[]);
        plain.push(fs::read_to_string(out.join("code.py")).unwrap());
        build(stage.tree(), &out, &[]);
        ours.push(fs::read_to_string(out.join("code.py")).unwrap());
    }
    eprintln!("plain builds ship {plain:?}");
    assert_eq!(ours, ["one", "two"]);
}

/// The second build of a changed tree sends what changed and nothing else.
#[test]
#[ignore = "needs an engine"]
fn transfer_stays_incremental() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir(at("app")).unwrap();
    fs::write(at("app/large"), vec![7; 4 << 20]).unwrap();
    fs::write(at("app/small"), "1").unwrap();
    let rules = Rules::safe(Ignore::default());
    let sent = || {
        let found = context::scan(&at("app"), &rules, &WalkOptions::default()).unwrap();
        let stage = sandbox::stage(&at("stage"));
        stage
            .fill(&at("app"), &found.inputs, &Interrupt::never())
            .unwrap();
        fs::write(at("Dockerfile"), DOCKERFILE).unwrap();
        let mut command = sandbox::docker();
        command
            .args(["buildx", "build", "--progress=plain", "--file"])
            .arg(at("Dockerfile"));
        command
            .arg("--output")
            .arg(format!("type=local,dest={}", at("out").display()));
        let run = sandbox::finish(command.arg(stage.tree()));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let mut lines = run.stderr.lines();
        let line = lines.rfind(|line| line.contains("transferring context:"));
        line.unwrap_or_default().to_owned()
    };
    assert!(sent().contains("MB"), "{}", sent());
    fs::write(at("app/small"), "2").unwrap();
    let line = sent();
    assert!(line.contains("B ") && !line.contains("MB"), "{line}");
}
