//! What happens to folders while BuildKit reads them: a build of other content
//! than was hashed never gets a tag, whoever deletes, alters or shares what.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use build::context;
use host::process::{Interrupt, Runner};
use host::report::Report;
use host::{Environment, Host};
use inputs::context::{Ignore, Rules, WalkOptions, sums};

use crate::build_images::{Bench, docker, id_of, remove_images};
use crate::sandbox::{self, Checkout};

/// As many as BuildKit reads for a second or two.
const FILES: usize = 6000;

/// A folder with all that could be taken for something else.
fn strange(folder: &Path) {
    for dir in ["empty", "deep/er"] {
        fs::create_dir_all(folder.join(dir)).unwrap();
    }
    for (path, text) in [
        ("file", "content"),
        ("deep/er/file", ""),
        ("caf\u{e9}", "é"),
        ("back\\slash and \"quotes\"", "x"),
        ("two\nlines\tand a tab", "x"),
        (" blank ", "x"),
        ("-rf", "x"),
    ] {
        fs::write(folder.join(path), text).unwrap();
    }
    symlink("deep/er//file", folder.join("link")).unwrap();
    symlink("nowhere\nat all", folder.join("dangling")).unwrap();
    let tool = folder.join("tool");
    fs::write(&tool, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// What the tool has staged of a folder, and what it expects of a build step.
fn staged(folder: &Path, stage: &Path) -> (PathBuf, String) {
    let found = context::scan(folder, &Rules::safe(Ignore::default()), &WalkOptions::default()).unwrap();
    let stage = sandbox::stage(stage);
    stage.fill(folder, &found.inputs, &Interrupt::never()).unwrap();
    let contents = stage.contents(&found.inputs, &Interrupt::never()).unwrap();
    assert_eq!(
        contents,
        stage.contents(&found.inputs, &Interrupt::never()).unwrap(),
        "from memory"
    );
    (stage.tree().to_owned(), contents)
}

/// `contents` in a shell of this machine.
fn by_shell(folder: &Path) -> String {
    let script = format!("{}\ncontents \"$1\"", sums::SHELL);
    let run = sandbox::finish(
        std::process::Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(folder),
    );
    run.expect(0).stdout.trim().to_owned()
}

#[test]
fn a_build_step_and_the_tool_see_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    strange(&app);
    let (tree, contents) = staged(&app, &folder.path().join("stage"));
    assert_eq!(by_shell(&tree), contents);
    let change = |change: &dyn Fn(&Path)| {
        let other = tempfile::tempdir().unwrap();
        let app = other.path().join("app");
        strange(&app);
        change(&app);
        let (tree, contents) = staged(&app, &other.path().join("stage"));
        assert_eq!(by_shell(&tree), contents);
        contents
    };
    assert_eq!(change(&|_| ()), contents, "times and places do not count");
    let changes: [&dyn Fn(&Path); 7] = [
        &|app| fs::write(app.join("file"), "CONTENT").unwrap(),
        &|app| fs::rename(app.join("file"), app.join("life")).unwrap(),
        &|app| fs::remove_dir(app.join("empty")).unwrap(),
        &|app| fs::remove_file(app.join("deep/er/file")).unwrap(),
        &|app| fs::create_dir(app.join("more")).unwrap(),
        &|app| {
            fs::remove_file(app.join("link")).unwrap();
            symlink("deep/er/file", app.join("link")).unwrap();
        },
        &|app| {
            fs::set_permissions(
                app.join("file"),
                fs::metadata(app.join("tool")).unwrap().permissions(),
            )
            .unwrap()
        },
    ];
    for (n, one) in changes.into_iter().enumerate() {
        assert_ne!(change(one), contents, "change {n}");
    }
}

#[test]
fn a_staged_file_that_is_another_one_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    strange(&app);
    let found = context::scan(&app, &Rules::safe(Ignore::default()), &WalkOptions::default()).unwrap();
    let stage = sandbox::stage(&folder.path().join("stage"));
    stage.fill(&app, &found.inputs, &Interrupt::never()).unwrap();
    assert!(stage.is_whole(&found.inputs));
    let file = stage.tree().join("file");
    let time = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, "CONTENT").unwrap();
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert!(!stage.is_whole(&found.inputs));
    let error = stage.contents(&found.inputs, &Interrupt::never()).unwrap_err();
    assert!(format!("{error:#}").contains("file: "), "{error:#}");

    fs::write(&file, "content").unwrap();
    assert!(stage.is_whole(&found.inputs));
    // Another run makes the folder anew, and its lock is not ours.
    let lock = folder.path().join("stage/lock");
    fs::remove_file(&lock).unwrap();
    assert!(!stage.is_whole(&found.inputs));
    fs::write(&lock, "").unwrap();
    assert!(!stage.is_whole(&found.inputs));
}

/// The step's own judgement, where the tree was altered after it was staged.
#[test]
#[ignore = "needs an engine"]
fn a_build_step_refuses_what_was_not_hashed() {
    let bench = Bench::new("refuses", "", "");
    if id_of("hive-base:debian").is_none() {
        bench.xtask(&["base", "make"]).expect(0);
    }
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    strange(&app);
    let (tree, contents) = staged(&app, &folder.path().join("stage"));
    let dockerfile = folder.path().join("Dockerfile");
    let text = format!(
        "FROM hive-base:debian AS read\nCOPY . /app\nARG APP_CONTENTS\nRUN <<'SH'\n{}\n\
         test \"$(contents /app)\" = \"$APP_CONTENTS\"\nSH\n\
         FROM scratch\nCOPY --from=read /app/tool /\n",
        sums::SHELL
    );
    fs::write(&dockerfile, text).unwrap();
    let build = || {
        let mut command = sandbox::docker();
        command.args([
            "buildx",
            "build",
            "--build-arg",
            &format!("APP_CONTENTS={contents}"),
        ]);
        command
            .arg("--output")
            .arg(format!("type=local,dest={}", folder.path().join("out").display()));
        sandbox::finish(command.args(["--no-cache", "--file"]).arg(&dockerfile).arg(&tree))
    };
    build().expect(0);
    let file = tree.join("file");
    let before = fs::read(&file).unwrap();
    fs::write(&file, "CONTENT").unwrap();
    build().expect(1);
    fs::write(&file, before).unwrap();
    build().expect(0);
    fs::remove_file(&file).unwrap();
    build().expect(1);
}

/// The stage that the tool has made of a checkout's app.
fn stage_of(app: &Path) -> Option<PathBuf> {
    let host = Host {
        env: Environment {
            home: sandbox::text("HOME").map(PathBuf::from),
            xdg_cache_home: sandbox::text("XDG_CACHE_HOME").map(PathBuf::from),
            hive_cache_dir: sandbox::text("HIVE_CACHE_DIR").map(PathBuf::from),
            ..Environment::default()
        },
        root: PathBuf::new(),
        runner: Runner::new(std::sync::Arc::default()).unwrap(),
        report: Report::new(true, false),
    };
    fs::read_dir(host.cache_dir().join("stages"))
        .ok()?
        .map(|stage| stage.unwrap().path())
        .find(|stage| {
            let folders = fs::read(stage.join("of")).unwrap_or_default();
            let folders = String::from_utf8(folders).unwrap();
            folders.split('\0').any(|folder| Path::new(folder) == app)
        })
}

/// Waits for a file to be there.
fn await_file(what: impl Fn() -> Option<PathBuf>) -> PathBuf {
    let began = Instant::now();
    loop {
        if let Some(path) = what().filter(|path| path.exists()) {
            return path;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "nothing was staged");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[ignore = "needs an engine"]
fn folders_that_go_during_a_build_never_make_a_wrong_image() {
    let bench = Bench::new("torn", "", "");
    let app = bench.checkout.path("images/sample-app");
    for n in 0..FILES {
        bench
            .checkout
            .write(&format!("images/sample-app/static/{n:05}"), &format!("{n}\n"));
    }
    let state = bench.checkout.path("target");
    let shipped = |id: &str| {
        let count = "find /app/static -type f | wc -l";
        let counted = docker(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "sh",
            id,
            "-c",
            count,
        ]);
        counted.trim().parse::<usize>().unwrap()
    };
    let mut refused = 0;
    for (n, delay) in [100, 400, 800].into_iter().enumerate() {
        // Else the next build finds the steps of this one in the cache.
        let text = format!("other {n}\n");
        bench.checkout.write("images/sample-app/static/00000", &text);
        if let Some(stage) = stage_of(&app) {
            fs::remove_dir_all(stage).unwrap();
        }
        let mut command = bench.checkout.command(&["build-images"]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let sums = await_file(|| Some(stage_of(&app)?.join("sums")));
        std::thread::sleep(Duration::from_millis(delay));
        // Some of it may be written while it goes; what is left is no matter.
        fs::remove_dir_all(&state).ok();
        fs::remove_dir_all(sums.parent().unwrap()).ok();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match bench.id("latest") {
            Some(id) => assert_eq!(shipped(&id), FILES, "{said}"),
            None => {
                assert_eq!(output.status.code(), Some(1), "{said}");
                refused += 1;
            }
        }
        eprintln!(
            "{delay} ms: {:?}: {}",
            output.status,
            said.lines().rev().take(4).collect::<Vec<_>>().join(" | ")
        );
    }
    assert!(refused > 0, "every deletion came too late");

    // `cargo clean` alone does no harm: nothing that BuildKit reads lies there.
    bench.checkout.write("images/sample-app/static/00000", "whole\n");
    let mut command = bench.checkout.command(&["build-images"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    await_file(|| Some(stage_of(&app)?.join("sums")));
    fs::remove_dir_all(&state).ok();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(shipped(&bench.id("latest").unwrap()), FILES);
    assert_eq!(bench.plan().0, "up-to-date");
}

#[test]
#[ignore = "needs an engine"]
fn two_checkouts_with_one_state_folder_get_their_own_images() {
    let shared = tempfile::tempdir().unwrap();
    let name = format!("shared-{}", std::process::id());
    let spec = |title: &str| {
        format!(
            r#"{{"title": "{title}", "app": {{"port": 20000}}, "database": {{"name": "hive_test", "role": "tester"}}}}"#
        )
    };
    let builds = ["one", "two"].map(|title| {
        let checkout = Checkout::with_image(&name, &spec(title));
        checkout.write("images/sample-app/title", title);
        let mut command = checkout.command(&["build-images", "--tag", title]);
        command.env("HIVE_STATE_DIR", shared.path());
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (title, checkout, child)
    });
    let mut tagged = 0;
    for (title, _checkout, child) in builds {
        let output = child.wait_with_output().unwrap();
        let reference = format!("hive-{name}:{title}");
        if id_of(&reference).is_none() {
            assert!(!output.status.success());
            continue;
        }
        tagged += 1;
        let label = r#"{{index .Config.Labels "org.opencontainers.image.title"}}"#;
        assert_eq!(
            docker(&["image", "inspect", "--format", label, &reference]).trim(),
            title
        );
        let run = [
            "run",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "cat",
            &reference,
            "/app/title",
        ];
        assert_eq!(docker(&run), title);
    }
    remove_images(&name);
    assert!(tagged > 0, "none was built");
}

/// A state folder by a relative path, in the app's own folder, too.
#[test]
#[ignore = "needs an engine"]
fn a_relative_state_folder_is_one_of_the_current_folder() {
    let bench = Bench::new("relative", "", "");
    let current = tempfile::tempdir().unwrap();
    let mut command = bench.checkout.command(&["build-images"]);
    command
        .current_dir(current.path())
        .env("HIVE_STATE_DIR", ".state");
    sandbox::finish(&mut command).expect(0);
    assert!(current.path().join(".state").join(&bench.name).is_dir());
}
