//! The app's folders on the volume: through a backup, a restore and the full suite;
//! and an image that keeps none.

use std::path::Path;
use std::process::Command;

use host::report::Report;
use smoke::fault::Faults;
use smoke::faults::FULL;

use crate::build_images::docker;
use crate::sandbox;
use crate::service::Operator;
use crate::smoke_full::expect_flaws;
use crate::smoke_gate::{Variant, prove, run};

/// What the app's own file says of them.
pub(crate) const DIRECTORIES: &str = r#""directories": ["media", "/var/lib/shop"]"#;

/// Of a service that is up with [`DIRECTORIES`], whose image has `media/logo.svg`.
pub(crate) fn outlive(operator: &Operator) {
    let bench = &operator.bench;
    let name = bench.name.as_str();
    let fault = ["smoke", "--suite", "full", name, "--only", "kept-files", "--json"];
    let passed = bench.xtask(&fault).expect(0).stdout;
    assert!(passed.contains("/app/media, /var/lib/shop"), "{passed}");
    let inside = |script: &str| docker(&["exec", name, "sh", "-ec", script]).trim().to_owned();
    assert_eq!(inside("cat media/logo.svg"), "of the image");
    inside("rm media/logo.svg; printf then > media/upload; printf then > /var/lib/shop/state");
    let backups = tempfile::tempdir().unwrap();
    let xtask = |args: &[&str]| {
        let mut command = bench.checkout.command(args);
        sandbox::finish(command.env("HIVE_BACKUP_DIR", backups.path())).expect(0)
    };
    let taken = xtask(&["backup", name]);
    taken.says(&["2 files of the app compared"]);
    let file = taken.stdout.trim();
    with_plain_programs(Path::new(file));
    let taken = xtask(&["backup", name, "--logical"]);
    taken.says(&["2 files of the app compared"]);
    let file = taken.stdout.trim();
    inside("printf now > media/upload; rm /var/lib/shop/state");
    xtask(&["restore", name, file]);
    let look = "cat media/upload /var/lib/shop/state; ls media";
    assert_eq!(inside(look), "thenthenupload");
    // What was there before stays as long as its cluster does.
    let kept = "cd /var/lib/postgresql/data; ls files; ls generations";
    let listed = inside(kept);
    let [first, second, before] = *listed.lines().collect::<Vec<_>>() else {
        panic!("{listed}");
    };
    assert!([first, second].contains(&"first"), "{listed}");
    xtask(&["restore", name, "--forget", before]);
    let left = inside(kept);
    assert!(left.lines().count() == 1 && left != "first", "{left}");
    // An update has a copy of them, and the way back those of before. So many are copied while it works.
    inside("head -c 70000000 /dev/zero | tr '\\0' x > media/large; cp media/large media/larger");
    let sums = "cd media; sha256sum large larger; stat -c '%n %a %y' large larger";
    let before = inside(sums);
    let next = format!("hive-{name}-next:latest");
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = format!("FROM hive-{name}:latest\nENV NEXT=1\n");
    fs_err::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    docker(&[
        "build",
        "--quiet",
        "--tag",
        &next,
        folder.path().to_str().unwrap(),
    ]);
    xtask(&["update", name, "--image", &next, "--unproved", "--no-rehearsal"]);
    assert_eq!(inside("echo $NEXT; cat media/upload"), "1\nthen");
    assert_eq!(inside(sums), before);
    inside("printf later > media/upload");
    xtask(&["update", name, "--undo", "--undo"]);
    assert_eq!(inside("echo $NEXT; cat media/upload"), "then");
    assert_eq!(inside(sums), before);
    docker(&["image", "rm", &next]);
}

/// zstd, tar and sha256sum, none of it ours.
fn with_plain_programs(backup: &Path) {
    if Command::new("zstd").arg("--version").output().is_err() {
        return sandbox::skipped("no zstd to read a backup with");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "zstd -dc \"$1\" | tar -x -C \"$2\" && cd \"$2/hive-files\" && sha256sum -c SHA256SUMS && cat app/media/upload";
    let mut command = Command::new("sh");
    command.args(["-ec", script, "sh"]).arg(backup).arg(folder.path());
    let said = sandbox::finish(&mut command).expect(0).stdout;
    assert!(
        said.ends_with("then") && said.contains("var/lib/shop/state: OK"),
        "{said}"
    );
}

/// genie with a folder that the image says it keeps, and that lies in the container.
#[test]
#[ignore = "needs an engine"]
fn an_image_that_keeps_no_file() {
    let python = "import json; p = \"/etc/hive/image.json\"; d = json.load(open(p)); \
         d[\"app\"][\"directories\"] = [\"/app/media\"]; json.dump(d, open(p, \"w\"))";
    let variant = Variant::build(
        "keeps-no-file",
        &run(&format!(
            "mkdir -p /usr/share/hive/files/app/media; mkdir -m 777 /app/media; python3 -c '{python}'"
        )),
    );
    let mut subject = variant.subject();
    subject.spec.app.as_mut().unwrap().directories = vec!["/app/media".to_owned()];
    let subjects = [subject];
    let state = tempfile::tempdir().unwrap();
    let gate = prove(&variant.resources, &subjects, state.path()).remove(0);
    let causes: Vec<&str> = gate.causes().iter().map(|check| check.name.as_str()).collect();
    assert_eq!(causes, ["files-survive"]);
    let only = ["kept-files".to_owned()];
    let suite = Faults {
        all: FULL,
        only: &only,
        second_try: false,
    };
    let report = Report::new(true, true);
    let verdicts = smoke::run_full(&report, state.path(), &variant.resources, &subjects, suite).unwrap();
    expect_flaws(&verdicts[0], &[("kept-files", "Read-only file system")]);
}
