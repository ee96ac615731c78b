//! The inside of the image where it is no matter for every app: the sample app is
//! what is harmed.

use crate::sandbox;
use crate::smoke_gate::good;

/// A container of the good image that goes with this value.
struct Sample(String);

impl Sample {
    fn start(name: &str, options: &[&str]) -> Self {
        let name = format!("hive-test-{name}-{}", std::process::id());
        let one = Self(name);
        one.docker(&[&["run", "--detach", "--name", &one.0], options, &[&good("genie")]].concat());
        one
    }

    /// What `docker` printed, both streams; it has to succeed.
    #[track_caller]
    fn docker(&self, args: &[&str]) -> String {
        let output = sandbox::docker().args(args).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{}: {args:?}: {said}", self.0);
        said
    }

    #[track_caller]
    fn inside(&self, command: &[&str]) -> String {
        self.docker(&[&["exec", &self.0], command].concat())
    }

    /// SQL as the app's role.
    #[track_caller]
    fn sql(&self, sql: &str) -> String {
        let psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql];
        self.inside(&psql).trim().to_owned()
    }

    /// Waits until the image's own check says healthy.
    #[track_caller]
    fn healthy(&self) {
        let wait = "for n in $(seq 300); do /usr/local/lib/hive/healthcheck && exit; sleep 0.2; done; exit 1";
        self.inside(&["sh", "-c", wait]);
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It may be gone, and a test that fails has said why.
        let _ended = sandbox::docker()
            .args(["rm", "--force", "--volumes", &self.0])
            .output();
    }
}

/// The app's role owns the database, and removes the schema that the extension
/// lies in. Its functions must not be among those that the extension's script,
/// which the superuser runs, finds.
#[test]
#[ignore = "needs an engine"]
fn an_extension_that_the_app_removed_is_made_again() {
    let one = Sample::start("removed-extension", &[]);
    one.healthy();
    one.sql("DROP SCHEMA public CASCADE");
    one.sql("CREATE SCHEMA other; CREATE FUNCTION other.f() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    one.docker(&["restart", &one.0]);
    one.healthy();
    let made = "SELECT n.nspname, r.rolname FROM pg_extension x JOIN pg_namespace n ON n.oid = extnamespace \
         JOIN pg_roles r ON r.oid = extowner WHERE extname = 'vector'";
    assert_eq!(one.sql(made), "public|postgres");
    let schemas = "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace \
         WHERE nspname NOT LIKE 'pg_%' AND nspname <> 'information_schema'";
    assert_eq!(
        one.sql(schemas),
        "other public",
        "nothing is left of where it was made"
    );
}

/// The app's data stays readable, and nothing stops the start: migrations are no
/// part of what is read-only.
#[test]
#[ignore = "needs an engine"]
fn a_database_that_is_read_only_starts() {
    let one = Sample::start("read-only", &[]);
    one.healthy();
    let superuser = ["psql", "-Xq", "service=superuser", "-c"];
    one.inside(
        &[
            &superuser[..],
            &["ALTER SYSTEM SET default_transaction_read_only = on"],
        ]
        .concat(),
    );
    one.docker(&["restart", &one.0]);
    one.healthy();
    assert_eq!(one.sql("SHOW default_transaction_read_only"), "on");
    one.inside(
        &[
            &superuser[..],
            &["ALTER SYSTEM RESET default_transaction_read_only"],
        ]
        .concat(),
    );
}

/// All volumes are copies of one prepared cluster. PostgreSQL tells clusters
/// apart by an identifier, so that the backup or the log of one is no other's.
#[test]
#[ignore = "needs an engine"]
fn each_volume_is_a_cluster_of_its_own_and_lets_its_superuser_back_it_up() {
    let (one, other) = (Sample::start("own-1", &[]), Sample::start("own-2", &[]));
    let identifier = |of: &Sample| {
        of.healthy();
        let control = of.inside(&[
            "sh",
            "-c",
            "pg_controldata $PGDATA | sed -n 's/^Database system identifier: *//p'",
        ]);
        let running = of.sql("SELECT system_identifier FROM pg_control_system()");
        assert_eq!(control.trim(), running);
        running
    };
    let (first, second) = (identifier(&one), identifier(&other));
    assert_ne!(first, second);
    one.docker(&["restart", &one.0]);
    assert_eq!(identifier(&one), first, "it stays");

    let backup = "pg_basebackup -D /tmp/b -X stream -c fast && pg_verifybackup -q /tmp/b && \
         pg_controldata /tmp/b | grep -c";
    let by = |service: &str| format!("PGSERVICE={service} sh -c '{backup} {first}'");
    assert_eq!(one.inside(&["sh", "-c", &by("superuser")]).trim(), "1");
    let refused = one.inside(&["sh", "-c", &format!("{} 2>&1 || echo ended", by("app"))]);
    assert!(
        refused.contains("no pg_hba.conf entry for replication connection") && refused.ends_with("ended\n"),
        "{refused}"
    );
}

/// PID 1 loses a signal that it does not handle yet, and `docker stop` then waits
/// for its whole grace period.
#[test]
#[ignore = "needs an engine"]
fn a_stop_in_the_first_moments_is_heard() {
    let image = good("genie");
    for round in 0..12 {
        let one = Sample(format!("hive-test-first-moments-{}", std::process::id()));
        one.docker(&["create", "--name", &one.0, &image]);
        one.docker(&["start", &one.0]);
        std::thread::sleep(std::time::Duration::from_millis(5 * round));
        one.docker(&["stop", "--time", "60", &one.0]);
        let code = one.docker(&["inspect", "--format", "{{.State.ExitCode}}", &one.0]);
        // Until it becomes our program, PID 1 is the runtime's, which is written in Go: there a
        // signal that ends a process and cannot end PID 1 makes it exit with 2.
        let code = code.trim();
        assert!(["0", "2"].contains(&code), "round {round}: {code}");
    }
}

/// What `docker exec` leaves behind is PID 1's to bury.
#[test]
#[ignore = "needs an engine"]
fn orphans_do_not_stay_as_zombies() {
    let one = Sample::start("orphans", &[]);
    one.healthy();
    let orphans = "for n in $(seq 1000); do (sleep 0.01 &); done; sleep 0.02";
    one.inside(&["sh", "-c", orphans]);
    let zombies = "for n in $(seq 100); do cat /proc/[0-9]*/stat 2>/dev/null | grep -q ') Z ' || exit 0; sleep 0.1; done; exit 1";
    one.inside(&["sh", "-c", zombies]);
    // What the engine itself ignores, its containers ignore as well.
    let ignored = |options: &[&str], command: &[&str]| {
        let image = good("genie");
        one.docker(&[&["run", "--rm"], options, &[&image], command].concat())
    };
    let status = ["SigIgn", "/proc/self/status"];
    let by_us = ignored(&[], &[&["grep"], &status[..]].concat());
    assert_eq!(by_us, ignored(&["--entrypoint", "grep"], &status));
    // What a program leaves in a session of its own is told when it ends.
    let left = "setsid sleep 1000 > /dev/null 2>&1 & sleep 0.2; kill -9 $(supervisorctl pid app)";
    let as_the_app = ["exec", "--env", "SUPERVISOR_PROCESS_NAME=app", &one.0];
    one.docker(&[&as_the_app[..], &["sh", "-c", left]].concat());
    let is_told = || {
        one.docker(&["logs", &one.0])
            .contains("app has ended, and has left sleep (")
    };
    let told = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        is_told()
    });
    assert!(told, "{}", one.docker(&["logs", &one.0]));
    // Nor do those that live on outlast the database, or end unheard.
    let volume = "/var/lib/postgresql/data/heard";
    let daemon = format!("trap 'echo heard > {volume}; exit' TERM; while :; do sleep 0.05; done");
    one.inside(&[
        "sh",
        "-c",
        &format!("setsid sh -c \"{daemon}\" > /dev/null 2>&1 &"),
    ]);
    one.docker(&["stop", "--time", "60", &one.0]);
    let logs = one.docker(&["logs", &one.0]);
    let stopped = "stopped what was left in the background: ";
    let stopped = logs.lines().find(|line| line.contains(stopped));
    assert!(
        stopped.is_some_and(|line| line.contains("sh (") && line.contains("sleep (")),
        "{logs}"
    );
    let code = one.docker(&["inspect", "--format", "{{.State.ExitCode}}", &one.0]);
    assert_eq!(code.trim(), "0");
    let heard = [
        "run",
        "--rm",
        "--volumes-from",
        &one.0,
        &good("genie"),
        "cat",
        volume,
    ];
    assert_eq!(one.docker(&heard).trim(), "heard");
}
