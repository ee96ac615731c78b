//! The archive of PostgreSQL's log on a real engine: its volume full, and the data as they
//! were at a moment.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use crate::build_images::docker;
use crate::sandbox::{self, Checkout, Run};

const NAME: &str = "test-genie";
const ARCHIVE: &str = "test-genie-archive";

/// The service of the image that all tests have, with an archive on a small disk of its own.
struct Archived {
    checkout: Checkout,
    backups: tempfile::TempDir,
    port: String,
    _alone: MutexGuard<'static, ()>,
}

impl Archived {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = Self {
            checkout: Checkout::renamed(),
            backups: tempfile::tempdir().unwrap(),
            port: listener.local_addr().unwrap().port().to_string(),
            _alone: sandbox::service_of("genie"),
        };
        // Room for some segments of 16 MB.
        let options = ["type=tmpfs", "device=tmpfs", "o=size=200m,mode=1777"];
        let options = options.iter().flat_map(|option| ["--opt", option]);
        let label = ["--label", "dev.hive.service=test-genie", ARCHIVE];
        let create: Vec<&str> = ["volume", "create"]
            .into_iter()
            .chain(options)
            .chain(label)
            .collect();
        docker(&create);
        drop(listener);
        let up = ["up", NAME, "--archive", "--port", &one.port];
        one.xtask(&up).expect(0);
        one.xtask(&up).expect(0).says(&["nothing to do"]);
        one
    }

    fn xtask(&self, args: &[&str]) -> Run {
        let mut command = self.checkout.command(args);
        sandbox::finish(command.env("HIVE_BACKUP_DIR", self.backups.path()))
    }

    fn restored_to(&self, moment: &str) -> Vec<String> {
        self.xtask(&["restore", NAME, "--at", moment]).expect(0);
        rows()
    }

    fn status(&self) -> String {
        self.xtask(&["status", NAME]).expect(0).stdout
    }
}

impl Drop for Archived {
    fn drop(&mut self) {
        sandbox::remove_service(NAME);
        sandbox::remove(&[&["volume", "rm", ARCHIVE]]);
    }
}

fn inside(script: &str) -> String {
    docker(&["exec", NAME, "sh", "-ec", script]).trim().to_owned()
}

fn sql(statement: &str) -> String {
    docker(&["exec", NAME, "psql", "-XAtqc", statement])
        .trim()
        .to_owned()
}

fn rows() -> Vec<String> {
    let said = sql("SELECT name FROM ledger ORDER BY name");
    said.lines().map(str::to_owned).collect()
}

/// The server's own clock, between what was committed before and what comes.
fn moment() -> String {
    sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
}

/// More of the log than fits into the segment that is being written.
fn next_segment() {
    inside("PGSERVICE=superuser psql -XAtqc 'SELECT pg_switch_wal()' -c CHECKPOINT");
}

/// Files of the archive's stretches.
fn archived(names: &str) -> Vec<String> {
    let listed = inside(&format!(
        "ls {}/*/{names} 2> /dev/null || true",
        service::archive::PLACE
    ));
    listed.lines().map(str::to_owned).collect()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until the archive says that it has all of the log until now: it looks every few
/// seconds, and only then can a backup of this moment be restored to a later one.
fn until_it_has_the_log_of_now() {
    let now = inside("date +%s");
    let script = format!(
        "cd {}; own=$(sed 's/.*: \"\\(.*\\)\"}}/\\1/' /var/lib/postgresql/data/pgdata/hive-archive.json); \
         test $(sed 's/.*\"until\": \\([0-9]*\\).*/\\1/' $own/stretch.json) -gt {now} && echo yes || true",
        service::archive::PLACE
    );
    until("the archive does not come to the present", || {
        inside(&script) == "yes"
    });
}

/// How many bounds of the slot are left in the cluster's settings.
fn bounds() -> String {
    inside("grep -c ^max_slot_wal_keep_size /var/lib/postgresql/data/pgdata/postgresql.auto.conf || true")
}

fn until_said(line: &str, times: usize) {
    let began = Instant::now();
    loop {
        let log = docker(&["logs", NAME]);
        let said = log.lines().filter(|said| said.contains(line)).count();
        if said == times {
            return;
        }
        assert!(
            said < times && began.elapsed() < Duration::from_secs(60),
            "{said} times {line:?} in:\n{log}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs an engine"]
fn a_moment_is_reached_whatever_became_of_the_archive_meanwhile() {
    let service = Archived::start();
    until_said(
        "archiving begins anew, as nothing is archived of this cluster yet",
        1,
    );
    // For an older image, which gives the slot no bound when it starts.
    assert_eq!(bounds(), "1");
    assert!(service.status().contains("no point in time can be reached"));
    sql("CREATE TABLE ledger (name text); INSERT INTO ledger VALUES ('1 before the backup')");
    let before = moment();
    service.xtask(&["backup", NAME]).expect(0);
    sql("INSERT INTO ledger VALUES ('2 after it')");

    // Full: nothing stops, and it goes on by itself.
    let filler = format!("{}/filler", service::archive::PLACE);
    inside(&format!("head -c 1G /dev/zero > {filler} 2>/dev/null || true"));
    next_segment();
    sql("INSERT INTO ledger VALUES ('3 while it was full')");
    until_said("no log is archived: ", 1);
    assert!(service.status().contains("No space left on device"));
    let healthy = inside("/usr/local/lib/hive/healthcheck");
    assert_eq!(healthy, "healthy");
    inside(&format!("rm {filler}"));
    until_said("the log is archived again", 1);
    assert_eq!(rows().len(), 3);

    // What is older than the last two segments is compressed, and read as well.
    for n in 0..3 {
        sql(&format!("CREATE TABLE filler_{n} (n int)"));
        next_segment();
    }
    until("a segment is compressed", || !archived("*.gz").is_empty());
    let good = moment();
    sql("DELETE FROM ledger");
    sql("INSERT INTO ledger VALUES ('4 after the mistake')");
    let last = moment();
    until_it_has_the_log_of_now();
    for (at, why) in [
        (before.as_str(), "cannot be reached: what can be is from 20"),
        ("2999-01-01T00:00:00Z", "has not come yet"),
        ("today", "is no time like"),
    ] {
        service
            .xtask(&["restore", NAME, "--at", at])
            .expect(2)
            .says(&[why]);
    }
    // Nothing was committed after it: the log ends there.
    assert_eq!(service.restored_to(&last), ["4 after the mistake"]);
    let all = ["1 before the backup", "2 after it", "3 while it was full"];
    assert_eq!(service.restored_to(&good), all);
    // Another life of the cluster: its log is another stretch.
    until_said("archiving begins anew", 3);
    assert!(service.status().contains("no point in time can be reached"));
    service.xtask(&["backup", NAME]).expect(0);
    assert!(service.status().contains("point in time: from "));
    // With the first backup goes the log that only it needed.
    assert_eq!(archived("stretch.json").len(), 3);
    until_it_has_the_log_of_now();
    let pruned = service
        .xtask(&["backup", "prune", NAME, "--keep", "1d"])
        .expect(0);
    pruned.says(&["1 deleted, 1 stay", &format!("in volume {ARCHIVE}")]);
    until("the log is removed", || archived("stretch.json").len() == 1);
    let asked = format!(
        "test -e {}/needed.json && echo there || true",
        service::archive::PLACE
    );
    assert_eq!(inside(&asked), "");

    // Without an archive nothing is left of it in the cluster.
    service.xtask(&["up", NAME, "--port", &service.port]).expect(0);
    assert_eq!(bounds(), "0");
    let named = ["--volumes", NAME, "--volumes", NAME];
    let down = service.xtask(&[&["down", NAME][..], &named].concat()).expect(0);
    down.says(&[
        "deleted volume test-genie-data",
        "deleted volume test-genie-archive",
    ]);
}
