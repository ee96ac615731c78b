//! Updates on a real engine: an image that migrates the data, and one whose migration
//! fails after it has changed the schema.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::build_images::docker;
use crate::sandbox::{self, Checkout, Run};

const NAME: &str = "test-genie";

/// Adds a column and a table, in a transaction of its own. It needs the secret of the service.
const MIGRATES: &str = "RUN printf '%s\\n' \
    'with psycopg.connect(database_url()) as second:' \
    '    second.execute(\"ALTER TABLE documents ADD COLUMN IF NOT EXISTS source TEXT\")' \
    '    second.execute(\"CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY)\")' \
    'open(\"/run/secrets/api_key\").close()' \
    >> /app/api/migrate.py\n";

/// Does so, too, writes a row, and fails then.
const FAILS: &str = "RUN printf '%s\\n' \
    'with psycopg.connect(database_url()) as third:' \
    '    third.execute(\"INSERT INTO tags VALUES ($$only there$$) ON CONFLICT DO NOTHING\")' \
    'raise SystemExit(\"broken on purpose\")' \
    >> /app/api/migrate.py\n";

/// The service of the image that all tests have, and two more images of it.
struct Updater {
    _alone: MutexGuard<'static, ()>,
    checkout: Checkout,
    port: String,
    migrating: String,
    broken: String,
}

impl Updater {
    fn start() -> Self {
        let alone = sandbox::service_of("genie");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        drop(listener);
        let first = format!("hive-{NAME}:latest");
        let migrating = image("migrating", &format!("FROM {first}\n{MIGRATES}"));
        let broken = image("broken", &format!("FROM {migrating}\n{FAILS}"));
        let one = Self {
            _alone: alone,
            checkout: Checkout::renamed(),
            port,
            migrating,
            broken,
        };
        let variables = one.checkout.path("x.env");
        fs_err::write(&variables, "TOKEN=of the service\n").unwrap();
        let file = variables.to_str().unwrap();
        let up = ["up", NAME, "--port", &one.port, "--env-file", file];
        let secret = one.checkout.path("secret");
        fs_err::write(&secret, "of the service\n").unwrap();
        let secret = format!("api_key={}", secret.display());
        one.xtask(&[&up[..], &["--secret", &secret]].concat()).expect(0);
        one
    }

    fn xtask(&self, args: &[&str]) -> Run {
        self.checkout.xtask(args)
    }

    fn update(&self, image: &str, more: &[&str]) -> Run {
        let args = ["update", NAME, "--image", image, "--unproved"];
        self.xtask(&[&args, more].concat())
    }

    fn sql(&self, statement: &str) -> String {
        docker(&["exec", NAME, "psql", "-XAtqc", statement])
            .trim()
            .to_owned()
    }

    /// What tells whether anything of the service was touched.
    fn container(&self) -> String {
        let format = "{{.Id}} {{.State.StartedAt}} {{.State.Health.Status}}";
        docker(&["inspect", "--format", format, NAME])
    }

    fn image_id(&self) -> String {
        docker(&["inspect", "--format", "{{.Image}}", NAME])
    }

    /// What lies beside the cluster.
    fn generations(&self) -> Vec<String> {
        let listed = docker(&["exec", NAME, "ls", "-A", "/var/lib/postgresql/data/generations"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// All rows that were acknowledged are there.
    #[track_caller]
    fn has(&self, acknowledged: &BTreeSet<String>) {
        let rows = self.sql("SELECT id FROM genie_sessions");
        let rows: BTreeSet<String> = rows.lines().map(str::to_owned).collect();
        let lost: Vec<&String> = acknowledged.difference(&rows).collect();
        assert!(lost.is_empty(), "of {} rows lost: {lost:?}", acknowledged.len());
    }

    /// An update that is killed as soon as it says that a step begins; what it said.
    #[track_caller]
    fn killed_at(&self, step: &str) -> String {
        let args = [
            "update",
            NAME,
            "--image",
            &self.migrating,
            "--unproved",
            "--no-rehearsal",
        ];
        let mut command = self.checkout.command(&args);
        sandbox::killed_at(&mut command, NAME, step)
    }

    /// Containers and volumes that were there for this alone.
    fn left_beside(&self, what: &str) -> [String; 2] {
        let name = format!("name={NAME}.{what}");
        [&["ps", "--all"][..], &["volume", "ls"]]
            .map(|list| docker(&[list, &["--quiet", "--filter", &name]].concat()))
    }

    fn has_migrated(&self) -> bool {
        self.sql("SELECT to_regclass('tags') IS NOT NULL") == "t"
    }
}

/// Another image of the same name.
fn image(of: &str, dockerfile: &str) -> String {
    let tag = format!("hive-{NAME}-{of}:latest");
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    docker(&["build", "--quiet", "--tag", &tag, folder.path().to_str().unwrap()]);
    tag
}

impl Drop for Updater {
    fn drop(&mut self) {
        sandbox::remove_service(NAME);
        sandbox::remove(&[&["image", "rm", &self.broken, &self.migrating]]);
    }
}

/// Sends rows to the published port again and again, and keeps the ids of those that
/// were acknowledged.
struct Client {
    stop: Arc<AtomicBool>,
    sends: JoinHandle<BTreeSet<String>>,
}

impl Client {
    fn start(port: &str) -> Self {
        let url = format!("http://127.0.0.1:{port}/api/v1/sessions");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let send = move || {
            let output = Command::new("curl")
                .args([
                    "-sf",
                    "--max-time",
                    "5",
                    "--json",
                    r#"{"user_id": "ledger", "session_data": {}}"#,
                ])
                .arg(&url)
                .output()
                .unwrap();
            let row: Value = serde_json::from_slice(&output.stdout).ok()?;
            output
                .status
                .success()
                .then(|| row["id"].as_str().unwrap().to_owned())
        };
        let sends = thread::spawn(move || {
            let mut acknowledged = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                acknowledged.extend(send());
                thread::sleep(Duration::from_millis(20));
            }
            acknowledged
        });
        Self { stop, sends }
    }

    fn acknowledged(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.sends.join().unwrap()
    }
}

#[test]
#[ignore = "needs an engine"]
fn another_image_takes_over_whole_or_not_at_all() {
    let service = Updater::start();
    rehearsed(&service);
    taken_back(&service);
    killed(&service);
    undone(&service);
    large(&service);
}

/// An image is tried out on a copy while the service works.
fn rehearsed(service: &Updater) {
    let touched = service.container();
    service
        .xtask(&["update", NAME, "--rehearse"])
        .expect(0)
        .says(&["nothing to do"]);
    service
        .xtask(&["update", NAME, "--rehearse", "--image", &service.migrating])
        .expect(2)
        .says(&["has no proof", "--unproved"]);
    service.sql("CREATE TABLE mark (is_of text)");
    let good = service.update(&service.migrating, &["--rehearse"]).expect(0);
    good.says(&[
        "rehearsed",
        "9 checks of the spec are met",
        "public.documents: source is new (text)",
        "public.tags is new",
    ]);
    assert!(!good.stderr.contains("mark"), "{}", good.stderr);
    let bad = service.update(&service.broken, &["--rehearse"]).expect(4);
    bad.says(&[
        "app | broken on purpose",
        "before_start failed",
        "does not work on a copy of the data",
        "the service was not touched",
    ]);
    assert!(!service.has_migrated());
    assert_eq!(service.container(), touched);
    assert_eq!(service.left_beside("rehearsal"), ["", ""]);
}

/// What a migration did that failed is nobody's, and what was acknowledged is there.
fn taken_back(service: &Updater) {
    let client = Client::start(&service.port);
    let failed = service.update(&service.broken, &["--no-rehearsal"]).expect(4);
    let acknowledged = client.acknowledged();
    failed.says(&[
        "before_start failed",
        "does not work with the new image; container and data are as before",
        "is kept as failed-",
        "1 row was written there: public.tags 1",
        "to get it out: cargo xtask backup test-genie --generation failed-",
    ]);
    assert!(!service.has_migrated());
    assert!(acknowledged.len() > 2, "{acknowledged:?}");
    service.has(&acknowledged);
    let beside = service.generations();
    assert!(
        beside.len() == 1 && beside[0].starts_with("failed-"),
        "{beside:?}"
    );
    got_out(service, &beside[0]);
    service
        .xtask(&["restore", NAME, "--forget", &beside[0]])
        .expect(0);
}

/// What was put aside is backed up as what runs is, and stays as it is.
fn got_out(service: &Updater, generation: &str) {
    let place = format!("/var/lib/postgresql/data/generations/{generation}");
    let listed = "find $0 -type f -printf '%p %s %T@ %C@\n' | sort | sha256sum";
    let state = || docker(&["exec", NAME, "sh", "-c", listed, &place]);
    let before = state();
    let of = ["backup", NAME, "--generation", generation];
    let proved = service.xtask(&of).expect(0);
    proved.says(&["restored", "indexes lead to all rows"]);
    let list = service.xtask(&["backup", "list", NAME]).expect(0);
    assert!(
        list.stdout.trim().ends_with(&format!("  of {generation}")),
        "{}",
        list.stdout
    );
    let status = service.xtask(&["status", NAME]).expect(0);
    assert!(status.stdout.contains("no proved backup"), "{}", status.stdout);
    let dump = service.checkout.path("dump.tar.zst");
    let to = ["--logical", "--no-verify", "--to", dump.to_str().unwrap()];
    service.xtask(&[&of[..], &to].concat()).expect(0);
    service
        .xtask(&["backup", NAME, "--generation", "failed-1"])
        .expect(2)
        .says(&["has no generation failed-1; it has", generation]);
    assert_eq!(state(), before);
    assert_eq!(service.left_beside("kept"), ["", ""]);
    if Command::new("zstd").arg("--version").output().is_err() {
        return sandbox::skipped("no zstd to read a backup with");
    }
    let read = "zstd -dc \"$0\" | tar -xO --wildcards 'database.dump/*' | grep -ac 'only there'";
    let found = Command::new("sh").args(["-c", read]).arg(&dump).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "1");
}

/// An update ends whole whenever it is killed.
fn killed(service: &Updater) {
    let first = service.image_id();
    let client = Client::start(&service.port);
    let mut before = None;
    for step in data::replacement::STEPS {
        // Each one has the one before to put right, and is killed in its turn.
        let said = service.killed_at(step);
        if let Some(before) = before.replace(step) {
            let mended = format!("was killed at {before:?}");
            assert!(said.contains(&mended), "no {mended:?} in {said}");
        }
        if step == "exchange" {
            // Whatever the next command is.
            service
                .xtask(&["restart", NAME])
                .expect(0)
                .says(&["was killed at \"exchange\""]);
            assert!(!service.has_migrated());
            assert_eq!(service.image_id(), first);
            assert_eq!(service.generations(), [""; 0]);
            before = None;
        }
    }
    let again = service.update(&service.migrating, &["--no-rehearsal"]).expect(0);
    let acknowledged = client.acknowledged();
    again.says(&["was killed at \"start\"", "nothing to do"]);
    assert!(service.has_migrated());
    assert_ne!(service.image_id(), first);
    service.has(&acknowledged);
    for told in [["printenv", "TOKEN"], ["cat", "/run/secrets/api_key"]] {
        let told = docker(&[&["exec", NAME][..], &told].concat());
        assert_eq!(told.trim(), "of the service");
    }
    let beside = service.generations();
    assert!(
        beside.len() == 1 && beside[0].starts_with("before-"),
        "{beside:?}"
    );
    let status = service.xtask(&["status", NAME]).expect(0);
    assert!(
        status.stdout.contains(&format!("data put aside: {}", beside[0])),
        "{}",
        status.stdout
    );
}

/// Image and data from before come back, and only where that is said.
fn undone(service: &Updater) {
    service.sql("INSERT INTO mark VALUES ('later')");
    service.xtask(&["update", NAME, "--undo"]).expect(2).says(&[
        "is lost to it",
        "nothing was touched",
        "--undo --undo",
    ]);
    assert!(service.has_migrated());
    let undo = ["update", NAME, "--undo", "--undo", "--image"];
    let refused = service.xtask(&[&undo[..], &[&service.migrating, "--unproved"]].concat());
    refused.expect(2).says(&["already", "--generation before-"]);
    // As where the image of that time is gone.
    service
        .xtask(&[&undo[..], &[&format!("hive-{NAME}:latest")]].concat())
        .expect(0)
        .says(&[
            "away for",
            "public.mark 1",
            "--generation failed-",
            "--forget failed-",
        ]);
    assert!(!service.has_migrated());
    assert_eq!(service.sql("SELECT count(*) FROM mark"), "0");
    service
        .xtask(&["update", NAME, "--undo", "--undo"])
        .expect(2)
        .says(&["no way back is kept"]);
    // The image goes with the last of what it could be a way back to.
    let kept = || {
        let filter = format!("reference=hive-kept:{NAME}");
        docker(&["image", "ls", "--quiet", "--filter", &filter])
    };
    assert_ne!(kept(), "");
    for beside in service.generations() {
        service.xtask(&["restore", NAME, "--forget", &beside]).expect(0);
    }
    assert_eq!(kept(), "");
}

/// What takes long to be copied is copied while the service works, with all that comes meanwhile;
/// rows that are in no log come along, too.
fn large(service: &Updater) {
    service.sql("CREATE TABLE large (id integer, body text)");
    service.sql("INSERT INTO large SELECT g, repeat(md5(g::text), 60) FROM generate_series(1, 280000) g");
    let client = Client::start(&service.port);
    let migrated = service.update(&service.migrating, &["--no-rehearsal"]).expect(0);
    let acknowledged = client.acknowledged();
    assert!(!migrated.stderr.contains("once more"), "{}", migrated.stderr);
    assert!(service.has_migrated());
    service.has(&acknowledged);
    assert_eq!(
        service.sql("SELECT count(*), sum(length(body)) FROM large"),
        "280000|537600000"
    );
    assert_eq!(left_of_a_copy(), [""; 0], "nothing says that it was one");

    service.sql("CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 3)");
    let first = format!("hive-{NAME}:latest");
    service.update(&first, &["--no-rehearsal"]).expect(0);
    assert_eq!(service.sql("SELECT count(*) FROM unlogged"), "3");
    service.sql("DROP TABLE large, unlogged");
    for beside in service.generations() {
        service.xtask(&["restore", NAME, "--forget", &beside]).expect(0);
    }
}

/// The files by which a server knows that it starts from a copy.
fn left_of_a_copy() -> Vec<String> {
    let listed = docker(&["exec", NAME, "ls", "-A", "/var/lib/postgresql/data/pgdata"]);
    let names = listed.lines().filter(|name| name.contains("backup_"));
    names.map(str::to_owned).collect()
}
