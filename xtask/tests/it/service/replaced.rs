//! A container in the place of another one: what is in its way, and what comes back
//! where it does not work.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use super::operator::{Operator, free_port};
use crate::build_images::docker;

#[test]
#[ignore = "needs an engine"]
fn what_is_in_the_way_is_told_before_anything_is_stopped() {
    let service = Operator::new("blocked");
    let name = service.name();
    // A container of somebody else.
    docker(&[
        "run",
        "--detach",
        "--name",
        name,
        "--entrypoint",
        "sleep",
        &format!("hive-{name}:latest"),
        "600",
    ]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let broken = service.broken();
    let refused = service
        .xtask(&["up", name, "--port", &port, "--image", &broken])
        .expect(3);
    refused.says(&[
        "3 things are in the way",
        "has no proof",
        "was not made by `cargo xtask up`",
        &format!("port 127.0.0.1:{port} is taken by another program"),
    ]);
    service.xtask(&["down", name]).expect(3).says(&["it stays"]);
    assert_eq!(
        service.containers(),
        [format!("{name} running")],
        "it is left alone, and nothing else is left"
    );
    assert_eq!(
        docker(&["volume", "ls", "--quiet", "--filter", &format!("name={name}")]),
        ""
    );
    docker(&["rm", "--force", "--volumes", name]);
    // What runs goes on where its successor is refused.
    service.up(&[]).expect(0);
    let container = service.container();
    service
        .xtask(&["up", name, "--port", &port])
        .expect(3)
        .says(&["is taken by"]);
    service
        .up(&["--image", &broken])
        .expect(2)
        .says(&["has no proof"]);
    service
        .up(&["--image", "hive-missing:1"])
        .expect(2)
        .says(&["the engine has no image"]);
    assert_eq!(service.container(), container);
    assert!(service.answers(&service.port));
    // A service that somebody has renamed still has the data.
    let renamed = format!("{name}-renamed");
    docker(&["rename", name, &renamed]);
    for (args, said) in [
        (["up", name, "--port", &port], "uses volume"),
        (["down", name, "--volumes", name], "has volume"),
    ] {
        let named_twice = ["--volumes", name];
        let more = if args[0] == "down" {
            named_twice.as_slice()
        } else {
            &[]
        };
        service
            .xtask(&[&args, more].concat())
            .expect(3)
            .says(&[&format!("container {renamed} {said} {name}-data")]);
    }
    docker(&["rename", &renamed, name]);
    // The volume of another image, and of another PostgreSQL.
    let inside = "/var/lib/postgresql/data/pgdata";
    docker(&[
        "exec",
        name,
        "sh",
        "-c",
        &format!("echo 16 > {inside}/PG_VERSION; echo '{{\"image\": \"other\"}}' > {inside}/hive.json"),
    ]);
    let refused = service.up(&["--bind", "0.0.0.0"]).expect(3);
    refused.says(&["belongs to image other", "is of PostgreSQL 16, the image has 17"]);
    assert_eq!(service.containers(), [format!("{name} running")]);
}

#[test]
#[ignore = "needs an engine"]
fn the_container_before_comes_back_by_itself() {
    let service = Operator::new("returns");
    let name = service.name();
    service.up(&[]).expect(0);
    service.sql("CREATE TABLE kept AS SELECT 42 AS n");
    let container = service.container();
    let broken = service.broken();
    let image = ["--image", &broken, "--unproved"];
    // On a copy, while the service works.
    service.up(&image).expect(4).says(&["broken on purpose"]);
    assert_eq!(service.container(), container);
    let failed = service.up(&[&image[..], &["--no-rehearsal"]].concat()).expect(4);
    failed.says(&[
        "broken on purpose",
        "app | RuntimeError",
        "container and data are as before; what the new one made of the data is kept as failed-",
        "the end of its log:",
    ]);
    assert_eq!(service.container(), container);
    assert!(service.answers(&service.port));
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    assert_eq!(service.containers(), [format!("{name} running")]);
    // One that works, with a port that is new, too; and back again.
    let other = service.other();
    let port = free_port();
    let args = ["up", name, "--port", &port, "--image", &other, "--unproved"];
    service.xtask(&args).expect(0).says(&[
        &format!("rehearsed {name}: {other}"),
        &format!("updated {name}: {other}, away for "),
        "cargo xtask update",
    ]);
    assert!(service.answers(&port));
    assert_eq!(service.sql("INSERT INTO kept VALUES (43) RETURNING n"), "43");
    service.xtask(&["update", name, "--undo", "--undo"]).expect(0);
    assert_eq!(service.sql("SELECT n FROM kept"), "42");
    // Killed at moments of a replacement: the next one makes it whole.
    for after in [100, 400, 900, 1600, 2500] {
        let port = free_port();
        let mut killed = service.start_up(&port);
        std::thread::sleep(Duration::from_millis(after));
        killed.kill().unwrap();
        killed.wait().unwrap();
        service.xtask(&["up", name, "--port", &port]).expect(0);
        assert!(service.answers(&port), "killed after {after} ms");
        assert_eq!(service.sql("SELECT n FROM kept"), "42");
        assert_eq!(
            service.containers(),
            [format!("{name} running")],
            "killed after {after} ms"
        );
    }
    // Ctrl-C while the old one stops, which an app that hangs makes long.
    docker(&["exec", name, "sh", "-c", "kill -STOP $(supervisorctl pid app)"]);
    let mut interrupted = service.start_up(&free_port());
    std::thread::sleep(Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_child(&interrupted);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(interrupted.wait().unwrap().code(), Some(130));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(service.containers(), [format!("{name} running")]);
    // Two at once: the second one waits for the first, and says so.
    let mut first = service.start_up(&service.port);
    std::thread::sleep(Duration::from_millis(300));
    let second = service.up(&[]).expect(0);
    second.says(&[&format!(
        "another command works on {name} (process {}: xtask ",
        first.id()
    )]);
    assert!(first.wait().unwrap().success());
    assert_eq!(service.containers(), [format!("{name} running")]);
}
