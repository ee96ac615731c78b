//! What users see without an engine: sentences, exit codes, rendered files.

use crate::sandbox::{self, Checkout};

#[test]
fn help_lists_exit_codes_and_every_command() {
    let run = sandbox::xtask(["--help"]).expect(0);
    for word in [
        "Exit codes:",
        "build-images",
        "smoke",
        "plan",
        "render",
        "engine",
        "base",
        "inputs",
        "audit",
        "bench",
        "test",
    ] {
        assert!(run.stdout.contains(word), "{word} in {}", run.stdout);
    }
}

#[test]
fn unknown_command_is_a_usage_error() {
    sandbox::xtask(["frobnicate"]).expect(2).says(&["frobnicate"]);
}

#[test]
fn the_verbs_of_other_tools_lead_to_those_here() {
    for (asked, verb) in [
        ("init", "new"),
        ("run", "up"),
        ("doctor", "engine status"),
        ("clean", "engine purge"),
    ] {
        let run = sandbox::xtask([asked]).expect(2);
        run.says(&[&format!("a similar subcommand exists: '{verb}'")]);
        let mut words: Vec<&str> = verb.split(' ').collect();
        words.push("--help");
        sandbox::xtask(words).expect(0);
    }
}

#[test]
fn a_backup_that_is_not_there_is_wrong_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no.tar.zst");
    for path in [file.to_str().unwrap(), folder.path().to_str().unwrap()] {
        sandbox::xtask(["backup", "verify", "--bytes", path])
            .expect(2)
            .says(&[path, "hint: those that are there: cargo xtask backup list"]);
    }
    fs_err::write(&file, "a folder was meant").unwrap();
    let checkout = Checkout::new();
    let mut command = checkout.command(&["backup", "list"]);
    sandbox::finish(command.env("HIVE_BACKUP_DIR", &file))
        .expect(2)
        .says(&[file.to_str().unwrap()]);
}

#[test]
fn bench_lists_rows_with_their_goals_and_starts_nothing() {
    let run = sandbox::xtask(["bench", "--list", "fingerprint"]).expect(0);
    assert!(
        run.stdout.starts_with("fingerprint\n  unchanged "),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("(≤ 40 ms, ≤ 0.1 × docker buildx bake)"),
        "{}",
        run.stdout
    );
    let run = sandbox::xtask(["bench", "unchanged", "nothing", "naught"]).expect(2);
    run.says(&[
        "error: there is no suite or row \"nothing\", \"naught\"",
        "hint: `cargo xtask bench --list` shows all of them",
    ]);
    sandbox::xtask(["bench", "--runs", "0"]).expect(2);
}

#[test]
fn what_is_no_text_or_no_place_is_said_and_does_not_panic() {
    use std::os::unix::ffi::OsStrExt as _;
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    sandbox::xtask([odd]).expect(2);
    let status = |cache: &std::ffi::OsStr| {
        let mut command = sandbox::command();
        command.args(["engine", "status"]).env("HIVE_CACHE_DIR", cache);
        sandbox::finish(&mut command)
    };
    for cache in [odd, "a:b".as_ref()] {
        status(cache)
            .expect(3)
            .says(&["Docker cannot use", "hint: set HIVE_CACHE_DIR"]);
    }
    let checkout = Checkout::new();
    let app = checkout.path("images/defaults.json");
    let run = checkout
        .xtask(&["plan", "genie", "--app", app.to_str().unwrap()])
        .expect(2);
    run.says(&["defaults.json is a file"]);
}

/// `engine status` beside an engine that is nothing but its answer to
/// `/version`, and a `docker` that tells its environment.
fn status_beside(version: &str, variables: &[(&str, &str)]) -> (sandbox::Run, String) {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let listener = std::os::unix::net::UnixListener::bind(at("sock")).unwrap();
    let length = version.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{version}");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let script = format!(
        "#!/bin/sh\nenv >{}\necho buildx v0.29.1 x\n",
        at("seen").display()
    );
    fs_err::write(at("docker"), script).unwrap();
    fs_err::set_permissions(at("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let mut command = sandbox::command();
    command
        .args(["engine", "status"])
        .env("HIVE_CACHE_DIR", at("cache"))
        .env("DOCKER_HOST", format!("unix://{}", at("sock").display()))
        .env("PATH", path)
        .envs(variables.iter().copied());
    let run = sandbox::finish(&mut command);
    (run, fs_err::read_to_string(at("seen")).unwrap_or_default())
}

#[test]
fn variables_for_other_docker_calls_do_not_reach_ours() {
    let foreign = [
        ("BUILDX_BUILDER", "ci"),
        ("BUILDX_CONFIG", "/nowhere"),
        ("BUILDX_OF_NEXT_YEAR", "1"),
        ("BUILDKIT_PROGRESS", "tty"),
        ("COMPOSE_FILE", "x.yaml"),
        ("COMPOSE_BAKE", "true"),
        ("DOCKER_DEFAULT_PLATFORM", "linux/arm64"),
        ("DOCKER_TLS_VERIFY", "1"),
        ("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "/nowhere"),
        ("SOURCE_DATE_EPOCH", "315532800"),
    ];
    let version = r#"{"Version": "28.5.2", "Os": "linux", "Arch": "amd64", "MinAPIVersion": "1.24"}"#;
    let (run, seen) = status_beside(version, &foreign);
    let run = run.expect(0);
    assert!(
        run.stdout
            .contains("system (used): Docker Engine 28.5.2, buildx v0.29.1"),
        "{}",
        run.stdout
    );
    assert!(seen.contains("\nBUILDX_BUILDER=default\n"), "{seen}");
    for (name, value) in foreign {
        assert!(
            !seen.contains(&format!("{name}={value}")),
            "{name} reached docker"
        );
    }
}

#[test]
fn a_temporary_folder_that_is_not_there_is_named() {
    let run = sandbox::finish(sandbox::command().arg("plan").env("TMPDIR", "/nowhere")).expect(3);
    run.says(&[
        "there is no folder /nowhere, where TMPDIR says",
        "hint: unset TMPDIR",
    ]);
}

#[test]
fn podman_is_called_by_its_name() {
    let version = r#"{"Version": "5.4.2", "Os": "linux", "Arch": "amd64", "MinAPIVersion": "1.24",
        "Components": [{"Name": "Podman Engine", "Version": "5.4.2"}]}"#;
    let (run, _) = status_beside(version, &[]);
    assert!(run.expect(0).stdout.contains("Podman 5.4.2 answers"));
}

#[test]
fn ctrl_c_is_heard_while_a_large_file_is_hashed() {
    let checkout = Checkout::new();
    checkout.write("app/large", "");
    let large = fs_err::File::options()
        .write(true)
        .open(checkout.path("app/large"))
        .unwrap();
    // Minutes of hashing, and no room on disk.
    large.set_len(1 << 40).unwrap();
    let app = checkout.path("app");
    let mut command = checkout.command(&["inputs", app.to_str().unwrap()]);
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it was to hash for minutes");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let told = std::time::Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        told.elapsed() < std::time::Duration::from_secs(2),
        "{:?}",
        told.elapsed()
    );
}

#[test]
fn names_of_files_move_no_cursor_and_forge_no_line() {
    let checkout = Checkout::new();
    checkout.write("app/a\u{1b}[2J\n644 forged b", "");
    checkout.write("app/\u{1b}[2J/.pgpass", "");
    let app = checkout.path("app");
    let run = checkout.xtask(&["inputs", app.to_str().unwrap()]).expect(0);
    assert_eq!(run.stdout.lines().count(), 2, "{}", run.stdout);
    run.says(&["not in the image: \\u{1b}[2J/.pgpass (credentials)"]);
    assert!(!(run.stdout + &run.stderr).contains('\u{1b}'));
}

#[test]
fn what_this_tool_and_its_operators_write_is_no_input_of_an_app_around_the_checkout() {
    let checkout = Checkout::new();
    let written = [
        "docker/compose/genie.password",
        "docker/compose/genie.env",
        "kept/genie/any.name",
        "target/images/log",
        // With what only the gate gets.
        "images/mono/image.json",
    ];
    for path in written.iter().chain(&["main.py"]) {
        checkout.write(path, "secret");
    }
    let root = checkout.path("");
    let mut command = checkout.command(&["inputs", root.to_str().unwrap()]);
    command.env("HIVE_BACKUP_DIR", checkout.path("kept"));
    let run = sandbox::finish(&mut command).expect(0);
    for path in written {
        assert!(!run.stdout.contains(path), "{path} in {}", run.stdout);
    }
    assert!(run.stdout.contains("main.py") && run.stdout.contains("docker/compose/genie.yaml"));
}

#[test]
fn inputs_lists_what_a_build_can_read() {
    let checkout = Checkout::new();
    for (path, text) in [
        ("app/.dockerignore", "*.log\n"),
        ("app/x.log", ""),
        ("app/.env", "SECRET=1"),
        ("app/main.py", "pass\n"),
    ] {
        checkout.write(path, text);
    }
    let app = checkout.path("app");
    std::os::unix::fs::symlink("main.py", app.join("link")).unwrap();
    fs_err::create_dir(app.join("empty")).unwrap();
    let app = app.to_str().unwrap();
    let run = checkout.xtask(&["inputs", app]).expect(0);
    let digest = blake3::hash(b"pass\n");
    assert_eq!(
        run.stdout,
        format!("755 directory empty\n777 link link -> main.py\n644 {digest} main.py\n")
    );
    run.says(&[
        "not in the image: .env (secret)",
        "not in the image: .dockerignore",
    ]);
    // As BuildKit would: the ignore file alone.
    let exact = checkout
        .xtask(&["inputs", app, "--exact", "--json"])
        .expect(0)
        .json();
    let paths: Vec<&str> = exact["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| input["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, [".dockerignore", ".env", "empty", "link", "main.py"]);
    // One digest, the same from every path.
    let one = checkout.xtask(&["inputs", app, "--digest"]).expect(0).stdout;
    assert_eq!(one.trim().len(), 64);
    let moved = checkout.path("elsewhere");
    fs_err::rename(app, &moved).unwrap();
    let two = checkout
        .xtask(&["inputs", moved.to_str().unwrap(), "--digest"])
        .expect(0)
        .stdout;
    assert_eq!(one, two);
    assert_ne!(one.trim(), exact["digest"]);
    let run = checkout.xtask(&["inputs", "/nonexistent"]).expect(2);
    assert_eq!(run.stderr.trim(), "error: there is no folder /nonexistent");
}

#[test]
fn rendered_files_are_what_the_specs_say() {
    sandbox::xtask(["render", "--check"]).expect(0);
}

#[test]
fn drift_has_its_own_exit_code_and_render_repairs_it() {
    let checkout = Checkout::new();
    checkout.edit("images/genie/image.json", "48886", "48887");
    let run = checkout.xtask(&["render", "--check"]).expect(5);
    run.says(&["images/genie/Dockerfile", "hint: run `cargo xtask render`"]);
    checkout.xtask(&["render"]).expect(0);
    checkout.xtask(&["render", "--check"]).expect(0);
    let dockerfile = fs_err::read_to_string(checkout.path("images/genie/Dockerfile")).unwrap();
    assert!(dockerfile.contains("EXPOSE 48887"));
}

#[test]
fn plan_works_without_any_engine() {
    let checkout = Checkout::new();
    let cache = checkout.path("cache");
    let run = sandbox::finish(
        checkout
            .command(&["plan", "--json"])
            .env("HIVE_CACHE_DIR", &cache)
            .env("DOCKER_HOST", "unix:///nonexistent"),
    )
    .expect(0);
    let plan = run.json();
    let images = plan["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for image in images {
        assert_eq!(image["action"], "build");
        assert_eq!(image["fingerprint"], serde_json::Value::Null);
    }
    assert!(!cache.exists(), "a plan provisions nothing");
}

#[test]
fn a_forced_system_engine_that_is_down_is_an_environment_error() {
    let checkout = Checkout::new();
    let run = sandbox::finish(
        checkout
            .command(&["build-images", "--engine", "system"])
            .env("DOCKER_HOST", "unix:///nonexistent"),
    )
    .expect(3);
    run.says(&[
        "error: the system's engine cannot be used:",
        "hint: start or install Docker Engine 25 or newer",
    ]);
}

#[test]
fn purge_needs_the_flag_that_names_the_data() {
    let checkout = Checkout::new();
    let cache = checkout.path("cache");
    checkout.write("cache/engine/data/volume", "precious");
    let run = sandbox::finish(
        checkout
            .command(&["engine", "purge"])
            .env("HIVE_CACHE_DIR", &cache),
    )
    .expect(2);
    run.says(&[
        "this would delete the private engine with all its images, containers and volumes",
        "--delete-data",
    ]);
    assert!(checkout.path("cache/engine/data/volume").exists());
}

#[test]
fn a_missing_ca_bundle_is_told_before_work() {
    let run = Checkout::new()
        .xtask(&["build-images", "--ca-bundle", "/nonexistent.crt"])
        .expect(2);
    run.says(&["--ca-bundle: there is no file /nonexistent.crt"]);
}

#[test]
fn a_folder_that_is_no_checkout_is_a_usage_error() {
    sandbox::xtask(["--root", "/nonexistent", "plan"])
        .expect(2)
        .says(&["/nonexistent is no checkout"]);
}

/// What a forced system engine says to an engine of this version (none: there
/// is no engine) and to a `docker` that answers like this.
fn with_docker(version: Option<&str>, buildx: &str) -> sandbox::Run {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    let checkout = Checkout::new();
    let script = format!(
        "#!/bin/sh\ncase $1 in\nbuildx) {buildx} ;;\nsystem) echo 'permission denied while trying to connect' >&2; exit 1 ;;\nesac\n"
    );
    checkout.write("bin/docker", &script);
    let docker = checkout.path("bin/docker");
    fs_err::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", checkout.path("bin").display());
    let mut command = checkout.command(&["build-images", "--engine", "system"]);
    command
        .env("PATH", path)
        .env("DOCKER_HOST", "tcp://127.0.0.1:1")
        .env("HIVE_CACHE_DIR", checkout.path("cache"));
    if let Some(version) = version {
        let body = format!(r#"{{"Version":"{version}","Os":"linux","Arch":"amd64"}}"#);
        let socket = checkout.path("engine.sock");
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let asked = stream.read(&mut [0; 1024]).unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).unwrap();
                assert!(asked > 0);
            }
        });
    }
    sandbox::finish(&mut command)
}

#[test]
fn an_engine_that_is_too_old_or_has_no_buildx_is_named_as_such() {
    let new = Some("28.5.2");
    let good = "echo github.com/docker/buildx v0.29.1 x";
    with_docker(Some("20.10.24+dfsg1"), good)
        .expect(3)
        .says(&["the Docker Engine is too old: it is 20.10.24+dfsg1, 25.0 or newer is needed"]);
    with_docker(new, "echo 'unknown command: docker buildx' >&2; exit 1")
        .expect(3)
        .says(&["the `docker` command has no buildx plugin"]);
    with_docker(new, "echo github.com/docker/buildx v0.9.1 x")
        .expect(3)
        .says(&["buildx is too old: it is v0.9.1, 0.13 or newer is needed"]);
    with_docker(None, good)
        .expect(3)
        .says(&["no Docker Engine answers (permission denied while trying to connect)"]);
}

#[test]
fn the_history_is_shown_and_its_runs_are_named_without_an_engine() {
    let checkout = Checkout::new();
    let listed = checkout.xtask(&["explain", "--list"]).expect(0).stdout;
    assert_eq!(listed, "agent: nothing is recorded\ngenie: nothing is recorded\n");
    let json = checkout.xtask(&["explain", "--list", "--json"]).expect(0).json();
    assert_eq!(json["images"][0]["runs"], serde_json::json!([]));
    let run = checkout.xtask(&["explain", "--from", "last"]).expect(2);
    run.says(&[
        "nothing is recorded of agent; nothing is recorded of genie",
        "explain --list",
    ]);
    let run = checkout.xtask(&["explain", "--list", "nobody"]).expect(2);
    run.says(&["nobody"]);
    let run = checkout.xtask(&["explain", "--from", "yesterday"]).expect(2);
    run.says(&["\"yesterday\" is no number, not `last`, and not 4 or more digits of a fingerprint"]);
    checkout.xtask(&["explain", "--to", "3"]).expect(2);
    // What cannot be read is nothing, and no error.
    checkout.write(
        "target/images/history/images/genie/000007.json",
        "{\"schema\": 99}",
    );
    checkout.write("target/images/history/images/gone/notes.txt", "x");
    let listed = checkout.xtask(&["explain", "--list"]).expect(0).stdout;
    assert!(
        listed.ends_with("genie: nothing is recorded\ngone: nothing is recorded\n"),
        "{listed}"
    );
}
