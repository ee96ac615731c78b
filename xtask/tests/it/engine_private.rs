//! The private engine on the real machine: root, apt and a mirror are needed.
#![expect(clippy::disallowed_methods, reason = "tests are a world of their own")]

mod machine;
mod server;
mod traces;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use definition::identity::ImageId;
use definition::reference::Reference;
use engine::Engine;
use xtask::promote;

use self::machine::{Disk, Machine, docker, host, make_base, private, shared};
use self::server::{get, serve};
use self::traces::{Traces, kill_9, only, processes_of, wait_until};
use crate::sandbox;

#[test]
#[ignore = "needs an engine"]
fn two_starts_at_once_make_one_engine_and_down_leaves_only_its_data() {
    let Some(machine) = Machine::new() else { return };
    let before = Traces::of_host();
    let machine_cache = machine.cache();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| private(machine_cache).up(&host()).unwrap());
        }
    });
    let engine = machine.up();
    let status = machine.private().status();
    assert!(status.answers && status.pid.is_some(), "{status:?}");
    assert_eq!(
        processes_of(machine.cache())
            .iter()
            .filter(|line| line.contains("dockerd"))
            .count(),
        1
    );
    assert_eq!(
        Traces::of_host(),
        before,
        "a running engine shows in the host's network or mounts"
    );
    docker(&machine, &engine, &["volume", "create", "kept"]);

    assert!(machine.private().down(&machine.host).unwrap());
    assert!(
        !machine.private().down(&machine.host).unwrap(),
        "the second time there is nothing to stop"
    );
    assert_eq!(processes_of(machine.cache()), Vec::<String>::new());
    assert!(machine.private().running().is_none());
    assert!(!status.socket.exists());

    let engine = machine.up();
    assert_eq!(docker(&machine, &engine, &["volume", "ls", "--quiet"]), "kept");
    machine.private().purge(&machine.host).unwrap();
    let left: Vec<_> = std::fs::read_dir(machine.cache()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(processes_of(machine.cache()), Vec::<String>::new());
    assert_eq!(Traces::of_host(), before);
}

#[test]
#[ignore = "needs an engine"]
fn a_full_disk_moves_no_tag_neither_in_memory_nor_on_the_disk() {
    let Some(machine) = Machine::new() else { return };
    let data = machine.cache().join("engine/data");
    let Some(disk) = Disk::small(machine.cache(), &data) else {
        sandbox::skipped("a small disk needs a loop device");
        return;
    };
    let engine = machine.up();
    let image = |content: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("content"), content).unwrap();
        let archive = folder.path().join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(folder.path())
            .arg("content");
        assert!(tar.status().unwrap().success());
        let id = docker(&machine, &engine, &["import", archive.to_str().unwrap()]);
        id.parse::<ImageId>().unwrap()
    };
    let (old, new) = (image("old"), image("new"));
    for tag in ["hive-full:1", "hive-candidate:full-new"] {
        docker(
            &machine,
            &engine,
            &[
                "tag",
                if tag == "hive-full:1" {
                    old.as_str()
                } else {
                    new.as_str()
                },
                tag,
            ],
        );
    }
    let tags = |engine: &Engine| -> BTreeSet<String> {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let listed = docker(
            &machine,
            engine,
            &["image", "ls", "--no-trunc", "--format", format],
        );
        listed.lines().map(str::to_owned).collect()
    };
    let before = tags(&engine);
    let moves = [
        ("hive-previous:full", &old),
        ("hive-full:1", &new),
        ("hive-full:2", &new),
    ]
    .map(|(tag, id)| (Reference::parse(tag).unwrap(), id));
    let ballast = disk.fill();

    let error = promote::move_all(&engine, &machine.host.runner, &moves).unwrap_err();
    let said = failure::render(&error);
    assert_eq!(failure::kind(&error), failure::FailureKind::Environment, "{said}");
    assert!(
        said.contains("no tag has moved") && said.contains("hint: make room"),
        "{said}"
    );
    assert_eq!(tags(&engine), before, "in memory: {said}");
    machine.private().down(&machine.host).unwrap();
    std::fs::remove_file(ballast).unwrap();
    let engine = machine.up();
    assert_eq!(tags(&engine), before, "on the disk: {said}");

    promote::move_all(&engine, &machine.host.runner, &moves).unwrap();
    assert_eq!(tags(&engine).len(), before.len() + 2);
    machine.private().down(&machine.host).unwrap();
}

#[test]
#[ignore = "needs an engine"]
fn published_ports_are_on_the_hosts_loopback_and_containers_have_egress() {
    let Some(machine) = Machine::new() else { return };
    let engine = machine.up();
    let image = machine.load_base(&engine);
    let container = serve(&machine, &engine, &image, "first", &[]);
    let shown = docker(&machine, &engine, &["port", &container, "8000/tcp"]);
    assert_eq!(get(&shown), "hello");
    // More than the engine has random ports: each leaves a port in TIME-WAIT on
    // the forwarder's side for a minute.
    for n in 0..700 {
        let mut stream = TcpStream::connect(&shown).unwrap();
        stream.write_all(b"GET /linger HTTP/1.0\r\n").unwrap();
        let mut answer = [0; 64];
        let length = stream
            .read(&mut answer)
            .unwrap_or_else(|error| panic!("connection {n}: {error}"));
        assert!(length > 0, "connection {n}");
    }
    let second = serve(&machine, &engine, &image, "second", &[]);
    let port = |shown: &str| shown.rsplit(':').next().unwrap().parse::<i32>().unwrap();
    let next = docker(&machine, &engine, &["port", &second, "8000/tcp"]);
    assert!(
        (port(&next) - port(&shown)).abs() < 500,
        "{shown} and {next} are not of one block"
    );
    let update = docker(
        &machine,
        &engine,
        &["run", "--rm", &image, "apt-get", "--error-on=any", "update"],
    );
    assert!(update.contains("Reading package lists"), "{update}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = machine
        .docker(
            &engine,
            &[
                "run",
                "--rm",
                "-p",
                &format!("127.0.0.1:{port}:8000"),
                &image,
                "true",
            ],
        )
        .unwrap_err();
    assert!(error.contains("in use"), "{error}");
    docker(&machine, &engine, &["rm", "--force", &container]);
    assert!(
        TcpStream::connect(&shown).is_err(),
        "the port outlives its container"
    );
}

#[test]
#[ignore = "needs an engine"]
fn kill_9_of_dockerd_leaves_nothing_and_the_next_start_repairs() {
    let Some(machine) = Machine::new() else { return };
    let before = Traces::of_host();
    let engine = machine.up();
    let image = machine.load_base(&engine);
    serve(&machine, &engine, &image, "kept", &["--restart", "always"]);
    kill_9(&only(&processes_of(machine.cache()), "dockerd"));
    wait_until(|| processes_of(machine.cache()).is_empty());
    assert_eq!(Traces::of_host(), before);
    let status = machine.private().status();
    assert!(status.pid.is_none() && !status.answers, "{status:?}");

    let engine = machine.up();
    let shown = docker(&machine, &engine, &["port", "kept", "8000/tcp"]);
    wait_until(|| TcpStream::connect(&shown).is_ok());
    assert_eq!(get(&shown), "hello");

    // The rest of the engine dies with its first process as well.
    let top = machine.private().status().pid.unwrap();
    kill_9(&top.to_string());
    wait_until(|| processes_of(machine.cache()).is_empty());
    machine.up();
}

#[test]
#[ignore = "needs an engine"]
fn an_engine_that_ends_meanwhile_is_to_blame_and_not_the_image() {
    let Some(machine) = Machine::new() else { return };
    let engine = machine.up();
    let kind_after = |meanwhile: &dyn Fn()| {
        let failed = engine.while_it_runs(|| -> anyhow::Result<()> {
            meanwhile();
            Err(failure::smoke("the image does not answer").into())
        });
        failure::kind(&failed.unwrap_err())
    };
    let down = || assert!(machine.private().down(&machine.host).unwrap());
    assert_eq!(kind_after(&|| {}), failure::FailureKind::Smoke);
    let started_again = || {
        down();
        machine.up();
    };
    assert_eq!(kind_after(&started_again), failure::FailureKind::Environment);
    assert_eq!(kind_after(&down), failure::FailureKind::Environment);
}

#[test]
#[ignore = "needs an engine"]
fn two_engines_do_not_touch_each_other() {
    let (Some(one), Some(other)) = (Machine::new(), Machine::new()) else {
        return;
    };
    let (first, second) = (one.up(), other.up());
    let image = one.load_base(&first);
    assert_eq!(image, other.load_base(&second));
    let id = |machine: &Machine, engine| {
        docker(
            machine,
            engine,
            &["image", "inspect", "--format", "{{.Id}}", &image],
        )
    };
    assert_eq!(id(&one, &first), id(&other, &second), "one archive, one image ID");
    serve(&one, &first, &image, "web", &[]);
    serve(&other, &second, &image, "web", &[]);
    let shown = docker(&one, &first, &["port", "web", "8000/tcp"]);
    assert_ne!(shown, docker(&other, &second, &["port", "web", "8000/tcp"]));
    kill_9(&only(&processes_of(other.cache()), "dockerd"));
    other.up();
    other.private().down(&other.host).unwrap();
    assert_eq!(get(&shown), "hello");
    docker(
        &one,
        &first,
        &["run", "--rm", &image, "apt-get", "--error-on=any", "update"],
    );
}

#[test]
#[ignore = "needs an engine"]
fn a_base_is_the_same_each_time_and_a_damaged_one_is_made_again() {
    let (cache, host) = (tempfile::tempdir().unwrap(), host());
    let first = make_base(shared(), &host);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(shared().join("bases"))
        .arg(cache.path())
        .status();
    assert!(copied.unwrap().success());
    let started = Instant::now();
    let kept = make_base(cache.path(), &host);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "made, not kept: {:?}",
        started.elapsed()
    );
    std::fs::write(&kept.archive, b"damaged").unwrap();
    let again = make_base(cache.path(), &host);
    assert_eq!(again, kept);
    assert_eq!(again.layer, first.layer);
    assert!(!cache.path().join("bases/scratch").exists());
}
