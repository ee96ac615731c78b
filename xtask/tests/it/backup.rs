//! Backups of containers that work, on a real engine: taken under load, read by
//! other people's programs, proved, refused, and cleaned up after.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::build_images::docker;
use crate::packages;
use crate::sandbox::{self, Checkout, Run};
use crate::smoke_gate::good;

/// A container of the good image that nobody started by `up`, with as few rights as
/// it needs, and a folder for its backups.
struct Source {
    name: String,
    checkout: Checkout,
    backups: tempfile::TempDir,
}

impl Source {
    fn start(name: &str) -> Self {
        let one = Self {
            name: format!("hive-test-{name}-{}", std::process::id()),
            checkout: Checkout::renamed(),
            backups: tempfile::tempdir().unwrap(),
        };
        let options = "--read-only --tmpfs /run/hive:mode=1777 --tmpfs /tmp:mode=1777 \
            --tmpfs /var/log/hive:mode=1777 --cap-drop ALL --security-opt no-new-privileges --user 12345:0";
        let mut args = vec!["run", "--detach", "--name", &one.name];
        args.extend(options.split_whitespace());
        let image = good("genie");
        args.push(&image);
        docker(&args);
        let wait = "for n in $(seq 300); do /usr/local/lib/hive/healthcheck && exit; sleep 0.2; done; exit 1";
        one.inside(wait);
        one
    }

    fn inside(&self, script: &str) -> String {
        docker(&["exec", &self.name, "sh", "-c", script])
            .trim()
            .to_owned()
    }

    fn sql(&self, statement: &str) -> String {
        docker(&[
            "exec",
            &self.name,
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ])
        .trim()
        .to_owned()
    }

    /// One statement after the other, and what the last one says.
    fn superuser(&self, statements: &str) -> String {
        let mut args = vec!["exec", "--env", "PGSERVICE=superuser", &self.name];
        args.extend([
            "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            "dbname=hive_genie",
        ]);
        args.extend(["-c", "SET search_path = public, pg_catalog"]);
        args.extend(statements.split("; ").flat_map(|one| ["-c", one]));
        docker(&args).trim().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.checkout.command(args);
        command.env("HIVE_BACKUP_DIR", self.backups.path());
        command
    }

    fn xtask(&self, args: &[&str]) -> Run {
        sandbox::finish(&mut self.command(args))
    }

    fn backup(&self, more: &[&str]) -> Run {
        self.xtask(&[&["backup", "test-genie", "--container", &self.name], more].concat())
    }

    /// Level and path of each backup.
    fn listed(&self) -> Vec<(String, PathBuf)> {
        let list = self.xtask(&["backup", "list", "test-genie", "--json"]).expect(0);
        let text = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap().to_owned();
        let all = list.json()["backups"].as_array().unwrap().clone();
        all.iter()
            .map(|one| (text(one, "level"), text(one, "file").into()))
            .collect()
    }

    /// Rows that one session writes one by one, each with some log to turn over.
    fn load(&self) -> Load {
        self.sql("CREATE TABLE ledger (n bigint PRIMARY KEY, filler text)");
        let script = "n=0; while :; do n=$((n + 1)); \
            echo \"INSERT INTO ledger SELECT $n, string_agg(md5(random()::text), '') FROM generate_series(1, 3000) RETURNING n;\"; \
            done | psql -XAtq";
        let mut command = sandbox::docker();
        command.args(["exec", &self.name, "sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let last = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let seen = std::sync::Arc::clone(&last);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let number = line.trim().parse().unwrap_or(0);
                seen.store(number, std::sync::atomic::Ordering::SeqCst);
            }
        });
        Load { child, last }
    }
}

/// What an app's role can put in the way of a superuser that reads its database,
/// and what would speak for it if it were called.
const IN_THE_WAY: &str = "CREATE SCHEMA own; \
    CREATE FUNCTION own.quote_ident(name) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE 'called'; END$$; \
    CREATE FUNCTION own.n() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE 'called'; END$$; \
    CREATE VIEW own.one AS SELECT own.n() AS n; CREATE SEQUENCE own.of_a_view; \
    ALTER SEQUENCE own.of_a_view OWNED BY own.one.n; CREATE TABLE counted (n serial); \
    CREATE FUNCTION own.low(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN \
      IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RAISE 'called'; END IF; \
      RETURN lower($1); END$$; REVOKE EXECUTE ON FUNCTION own.low FROM PUBLIC; \
    CREATE TABLE own.\"all kinds\" (n int PRIMARY KEY, t text NOT NULL, a int[], r int4range, d tsvector, v public.vector(3)); \
    INSERT INTO own.\"all kinds\" SELECT n, 'T' || n, ARRAY[n % 7, n], int4range(n, n + 3), \
      to_tsvector('simple', $$it's a \\ w$$ || n), ARRAY[n, 1, n % 5]::public.vector FROM generate_series(1, 2000) n; \
    CREATE INDEX ON own.\"all kinds\" (own.low(t)) WHERE own.low('A') = 'a'; \
    CREATE INDEX ON own.\"all kinds\" USING gin (a); CREATE INDEX ON own.\"all kinds\" USING gin (d); \
    CREATE INDEX ON own.\"all kinds\" USING gist (r); CREATE INDEX ON own.\"all kinds\" USING spgist (t); \
    CREATE INDEX ON own.\"all kinds\" USING hash (own.low(t)); CREATE INDEX ON own.\"all kinds\" USING brin (n); \
    CREATE INDEX ON own.\"all kinds\" USING hnsw ((v::public.halfvec(3)) public.halfvec_l2_ops); \
    CREATE INDEX ON own.\"all kinds\" USING hnsw ((public.binary_quantize(v)::bit(3)) public.bit_hamming_ops); \
    DELETE FROM own.\"all kinds\" WHERE n % 10 = 3; \
    ALTER TABLE own.\"all kinds\" FORCE ROW LEVEL SECURITY; ALTER TABLE own.\"all kinds\" ENABLE ROW LEVEL SECURITY; \
    CREATE SEQUENCE own.plain; CREATE TABLE own.multiples (n bigint DEFAULT nextval('own.plain') * 10); INSERT INTO own.multiples DEFAULT VALUES; \
    CREATE MATERIALIZED VIEW own.later AS SELECT n FROM own.\"all kinds\" WITH NO DATA; CREATE INDEX ON own.later (n); \
    CREATE UNLOGGED TABLE own.sessions AS SELECT 1 AS n; CREATE UNLOGGED TABLE own.nothing (n int); \
    CREATE TABLE own.late (id bigserial PRIMARY KEY); INSERT INTO own.late VALUES (999999); \
    CREATE SEQUENCE own.shared; CREATE TABLE own.later_still (id bigint DEFAULT nextval('own.shared')); INSERT INTO own.later_still VALUES (5); \
    ALTER DATABASE hive_genie SET enable_indexonlyscan = off; \
    ALTER DATABASE hive_genie SET statement_timeout = 600000; \
    ALTER ROLE hive SET client_encoding TO 'utf8'; \
    ALTER DATABASE hive_genie SET search_path = own, pg_catalog, public";

/// What makes a database that is not whole, and how that is told.
const NOT_WHOLE: [(&str, &str); 2] = [
    (
        "CREATE TABLE late (r int4range); CREATE INDEX late_r ON late USING gist (r); \
         UPDATE pg_index SET indisready = false WHERE indexrelid = 'late_r'::regclass; \
         INSERT INTO late SELECT int4range(n, n + 5) FROM generate_series(1, 100) n; \
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'late_r'::regclass",
        "late_r of public.late leads to 0 of 100 rows",
    ),
    (
        "CREATE TABLE late (a int[]); CREATE INDEX late_a ON late USING gin (a); \
         UPDATE pg_index SET indisready = false WHERE indexrelid = 'late_a'::regclass; \
         INSERT INTO late SELECT ARRAY[n] FROM generate_series(1, 100) n; \
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'late_a'::regclass",
        "public.late_a does not find 20 rows of public.late",
    ),
];

/// The container and the volume that the proof of a process has made.
fn made_by(process: u32) -> Vec<String> {
    let filter = format!("name=test-genie.proof-{process}");
    let mut all = Vec::new();
    for list in [
        &["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"][..],
        &["volume", "ls", "--filter", &filter, "--format", "{{.Name}}"],
    ] {
        all.extend(docker(list).lines().map(str::to_owned));
    }
    all
}

impl Drop for Source {
    fn drop(&mut self) {
        // It may be gone, and a test that fails has said why.
        let _ended = sandbox::docker()
            .args(["rm", "--force", "--volumes", &self.name])
            .output();
    }
}

/// A disk that no backup fits on.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where nobody may mount one.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m", "none"];
        let mut mount = Command::new("mount");
        let done = mount.args(options).arg(folder.path()).output();
        if !done.is_ok_and(|done| done.status.success()) {
            sandbox::skipped("nobody may mount a small disk");
            return None;
        }
        Some(Self(folder))
    }

    /// That a backup there is refused, and leaves nothing.
    #[track_caller]
    fn is_too_small(&self, source: &Source, more: &[&str]) {
        let file = self.0.path().join("one.tar.zst");
        let to = ["--to", file.to_str().unwrap()];
        let refused = source.backup(&[&to, more].concat()).expect(3);
        refused.says(&["No space left on device", "make room there"]);
        assert_eq!(fs_err::read_dir(self.0.path()).unwrap().count(), 0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

/// A session outside that knows what was committed.
struct Load {
    child: Child,
    last: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Load {
    fn acknowledged(&self) -> u64 {
        self.last.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Under a load that turns the log over several times, in a hardened container of
/// another uid. What comes of it needs nothing of ours: zstd, tar and PostgreSQL.
#[test]
#[ignore = "needs an engine"]
fn a_backup_under_load_is_read_by_other_programs() {
    let source = Source::start("backup-load");
    // So that the log is recycled after every few rows of the ledger.
    source.inside(
        "PGSERVICE=superuser psql -XAtq -c \"ALTER SYSTEM SET max_wal_size = '32MB'\" -c \"ALTER SYSTEM SET min_wal_size = '32MB'\" \
         -c 'SELECT pg_reload_conf()'",
    );
    source.sql(IN_THE_WAY);
    // A database that its owner has closed, and one that somebody has begun to drop.
    source.superuser(
        "CREATE DATABASE shut OWNER hive; ALTER DATABASE shut ALLOW_CONNECTIONS false; \
         CREATE DATABASE half; UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'",
    );
    source.inside("echo key > $PGDATA/../hive/secret.FIELD_KEY");
    source.sql("CREATE TABLE large AS SELECT n, md5(n::text) AS text FROM generate_series(1, 300000) n");
    let load = source.load();
    let began = Instant::now();
    while load.acknowledged() < 10 {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the load does not start"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let file = source.backups.path().join("own name.tar.zst");
    let known = load.acknowledged();
    let done = source.backup(&["--to", file.to_str().unwrap()]).expect(0);
    let wal =
        source.inside("PGSERVICE=superuser psql -XAtqc 'SELECT pg_current_wal_lsn() - $$0/0$$::pg_lsn'");
    drop(load);
    assert!(
        wal.parse::<u64>().unwrap() > 4 * 32_000_000,
        "the log was not turned over: {wal}"
    );
    done.says(&["written test-genie", "restored test-genie"]);
    done.says(&[
        "all of 4 databases read",
        "4 of other kinds to samples",
        "own.late_id_seq is behind own.late.id (database hive_genie)",
        "own.shared is behind own.later_still.id (database hive_genie)",
        "table own.sessions (database hive_genie) comes back empty",
        "secret FIELD_KEY is not in it",
    ]);
    assert!(!done.stderr.contains("own.nothing"), "{}", done.stderr);
    assert!(!done.stderr.contains("not asked"), "{}", done.stderr);
    assert_eq!(done.stdout.trim(), file.to_str().unwrap());
    assert_eq!(
        fs_err::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let slots = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(source.sql(slots), "0", "the slot went with its session");
    let dump = source.backup(&["--logical"]).expect(0);
    dump.says(&[
        "written test-genie",
        "loaded, 12 tables with ",
        "database shut is not in it",
    ]);
    dump.says(&["own.late_id_seq is behind own.late.id"]);
    assert!(!dump.stderr.contains("comes back empty"), "{}", dump.stderr);
    let dump = PathBuf::from(dump.stdout.trim());
    let list = source.xtask(&["backup", "list", "test-genie"]).expect(0).stdout;
    assert!(list.contains("  logical   restored  "), "{list}");

    let Some(rows) = with_plain_programs(&file, &good("genie")) else {
        return;
    };
    for rows in [rows, dump_with_plain_programs(&dump, &good("genie"))] {
        let (count, last) = rows.split_once('|').unwrap();
        assert_eq!(count, last, "no row between is missing");
        assert!(
            last.parse::<u64>().unwrap() >= known,
            "{known} were committed before: {rows}"
        );
    }
}

/// `pg_restore` and `psql`, as the README has them, into a cluster that `initdb` has made.
fn dump_with_plain_programs(file: &Path, image: &str) -> String {
    let script = "docker run --detach --name $NAME --network none --entrypoint sleep $IMAGE infinity > /dev/null; \
        docker exec $NAME sh -ec 'unset PGDATA; initdb -D /tmp/d -U postgres > /tmp/log; \
          pg_ctl start -s -w -D /tmp/d -l /tmp/log -o \"-c listen_addresses= -c unix_socket_directories=/tmp\"'; \
        in_it() { docker exec -i $NAME env -u PGSERVICE -u PGSERVICEFILE PGHOST=/tmp PGUSER=postgres \"$@\"; }; \
        psql() { in_it psql -Xq \"$@\"; }; pg_restore() { in_it pg_restore --exit-on-error \"$@\"; }; \
        zstd -dc $FILE | tar -xO roles.sql | psql -d postgres; \
        zstd -dc $FILE | tar -xO --wildcards 'database.dump/*' | pg_restore --create -d postgres; \
        psql -At -d hive_genie -c 'SHOW search_path' -c 'SELECT count(*), max(n) FROM ledger'";
    let name = format!("hive-test-plain-dump-{}", std::process::id());
    let docker = sandbox::docker();
    let folder = Path::new(docker.get_program()).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(folder).chain(std::env::split_paths(&path));
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", script])
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("FILE", file)
        .envs([("NAME", name.as_str()), ("IMAGE", image)]);
    let run = sandbox::finish(&mut command);
    let _gone = sandbox::docker()
        .args(["rm", "--force", "--volumes", &name])
        .output();
    let run = run.expect(0);
    let (settings, rows) = run.stdout.trim().split_once('\n').unwrap();
    assert_eq!(settings, "own, pg_catalog, public");
    rows.to_owned()
}

/// `zstd -d | tar x`, `pg_verifybackup` and `postgres`, none of it ours; and what is
/// changed in `hive-backup.json` is named by PostgreSQL.
fn with_plain_programs(file: &Path, image: &str) -> Option<String> {
    let Ok(zstd) = Command::new("zstd")
        .arg("-dc")
        .arg(file)
        .stdin(Stdio::null())
        .output()
    else {
        sandbox::skipped("no zstd to read a backup with");
        return None;
    };
    assert!(zstd.status.success(), "{}", String::from_utf8_lossy(&zstd.stderr));
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("backup.tar");
    fs_err::write(&tar, zstd.stdout).unwrap();
    let name = format!("hive-test-plain-{}", std::process::id());
    let options = ["--network", "none", "--entrypoint", "sleep"];
    docker(
        &[
            &["run", "--detach", "--name", &name],
            &options[..],
            &[image, "infinity"],
        ]
        .concat(),
    );
    docker(&["cp", tar.to_str().unwrap(), &format!("{name}:/tmp/backup.tar")]);
    let run = |script: &str| {
        let all = ["exec", &name, "sh", "-ec", script];
        let output = sandbox::docker().args(all).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).trim().to_owned(),
        )
    };
    let all = run(
        "mkdir -m 700 /tmp/d && tar -x -f /tmp/backup.tar -C /tmp/d && pg_verifybackup -q /tmp/d && \
         sed -i s/test-genie/tast-genie/ /tmp/d/hive-backup.json",
    );
    let changed = run("pg_verifybackup -q /tmp/d");
    let rows = run(
        "sed -i s/tast-genie/test-genie/ /tmp/d/hive-backup.json && pg_verifybackup -q /tmp/d && \
         echo 'local all all trust' > /tmp/hba && \
         pg_ctl start -s -w -D /tmp/d -l /tmp/log \
           -o '-c listen_addresses= -c unix_socket_directories=/tmp -c hba_file=/tmp/hba' && \
         unset PGSERVICE PGSERVICEFILE && psql -XAtq -h /tmp -U postgres -d hive_genie -c 'SELECT count(*), max(n) FROM ledger'",
    );
    docker(&["rm", "--force", "--volumes", &name]);
    assert!(all.0, "{}", all.1);
    assert!(
        !changed.0 && changed.1.contains("hive-backup.json"),
        "{}",
        changed.1
    );
    assert!(rows.0, "{}", rows.1);
    Some(rows.1)
}

/// What goes to stdout is the same, and decrypts to a backup.
fn is_passed_on(source: &Source, key: &dyn Fn(&str) -> String) {
    let (passed, plain) = (key("passed.age"), key("passed.tar.zst"));
    let args = ["backup", "test-genie", "--container", &source.name, "--to", "-"];
    let mut command = source.command(&args);
    command.args(["--encrypt", &key("ours.pub")]);
    let out = fs_err::File::create(&passed).unwrap().into_file();
    assert!(command.stdout(out).status().unwrap().success());
    let decrypt = [
        "--decrypt",
        "--identity",
        &key("ours"),
        "--output",
        &plain,
        &passed,
    ];
    assert!(packages::age("age").args(decrypt).status().unwrap().success());
    source.xtask(&["backup", "verify", "--bytes", &plain]).expect(0);
}

/// By age itself: what it decrypts is an ordinary backup, and nobody without the key reads
/// any of it. The image is started on it, too.
#[test]
#[ignore = "needs an engine"]
fn an_encrypted_backup_is_read_by_age_alone() {
    let keys = tempfile::tempdir().unwrap();
    let key = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    if packages::programs("age").is_none() {
        return;
    }
    for name in ["ours", "theirs"] {
        let made = packages::age("age-keygen").args(["-o", &key(name)]).status();
        assert!(made.unwrap().success());
    }
    let public = packages::age("age-keygen")
        .args(["-y", &key("ours")])
        .output()
        .unwrap();
    fs_err::write(key("ours.pub"), public.stdout).unwrap();
    let source = Source::start("backup-age");
    source.sql("CREATE TABLE mark AS SELECT 'secret of the source' AS is");
    source
        .backup(&["--encrypt", "age1nobody"])
        .expect(2)
        .says(&["--encrypt age1nobody"]);
    if let Some(disk) = SmallDisk::mount() {
        disk.is_too_small(&source, &["--encrypt", &key("ours.pub")]);
    }
    let done = source
        .backup(&["--encrypt", &key("ours.pub"), "--boot"])
        .expect(0);
    done.says(&[
        "encrypted test-genie",
        "booted test-genie",
        "checks of the spec are met",
    ]);
    let file = PathBuf::from(done.stdout.trim());
    let path = file.to_str().unwrap();
    assert!(path.ends_with(".tar.zst.age"), "{path}");
    let dump = key("dump.age");
    source
        .backup(&["--logical", "--encrypt", &key("ours.pub"), "--to", &dump])
        .expect(0)
        .says(&["encrypted test-genie", "loaded, "]);
    let mut names: Vec<String> = fs_err::read_dir(file.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [path.to_owned(), format!("{path}.seal")],
        "nothing plain is left"
    );
    assert_eq!(source.listed(), [("booted".to_owned(), file.clone())]);

    let verify = |more: &[&str]| source.xtask(&[&["backup", "verify", path], more].concat());
    verify(&[]).expect(2).says(&["is encrypted", "--identity FILE"]);
    verify(&["--identity", &key("theirs")])
        .expect(2)
        .says(&["decrypt", "theirs"]);
    verify(&["--bytes"]).expect(0).says(&["whole"]);
    is_passed_on(&source, &key);
    let plain = key("plain.tar.zst");
    let decrypt = ["--decrypt", "--identity", &key("ours"), "--output", &plain, path];
    assert!(packages::age("age").args(decrypt).status().unwrap().success());
    source.xtask(&["backup", "verify", "--bytes", &plain]).expect(0);
    // Its seal is lost: what is in it is enough.
    fs_err::remove_file(format!("{path}.seal")).unwrap();
    let list = source.xtask(&["backup", "list", "test-genie"]).expect(0);
    assert!(
        list.stdout
            .contains(".seal, which says what it is, is not beside it"),
        "{}",
        list.stdout
    );
    // That the image once ran on these bytes stays true.
    verify(&["--identity", &key("ours")]).expect(0).says(&["booted"]);
    assert_eq!(source.listed(), [("booted".to_owned(), file.clone())]);
    let mut bytes = fs_err::read(&file).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    fs_err::write(&file, bytes).unwrap();
    verify(&["--bytes"]).expect(2).says(&["is not what was written"]);
    verify(&["--identity", &key("ours")]).expect(2).says(&["decrypt"]);
}

/// The kernel ends a process of the server that a backup is proved with.
fn is_not_to_blame_for_the_machine(source: &Source, file: &str) {
    let mut command = source.command(&["backup", "verify", file]);
    let mut verify = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let kill = "while :; do for one in /proc/[0-9]*; do read -r line < $one/cmdline; case $line in \
        'postgres: postgres hive_genie '*) kill -9 ${one#/proc/} && exit;; esac; done 2> /dev/null; done";
    let name = format!("test-genie.proof-{}", verify.id());
    let began = Instant::now();
    loop {
        let mut kills = sandbox::docker();
        let killed = kills.args(["exec", &name, "sh", "-c", kill]).output().unwrap();
        if killed.status.success() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60) && verify.try_wait().unwrap().is_none());
    }
    let ended = verify.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
}

/// What is not whole is told, and what was killed is put away by the next command.
#[test]
#[ignore = "needs an engine"]
fn a_backup_that_is_not_whole_is_refused() {
    let source = Source::start("backup-refused");
    // Killed while the proof runs: the file is there, and nobody has proved it.
    let mut command = source.command(&["backup", "test-genie", "--container", &source.name]);
    let mut killed = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while made_by(killed.id()).len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(60) && killed.try_wait().unwrap().is_none());
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let levels = |of: &[(String, PathBuf)]| of.iter().map(|(level, _)| level.clone()).collect::<Vec<_>>();
    let first = source.listed();
    assert_eq!(levels(&first), ["written"]);
    let file = first[0].1.to_str().unwrap();
    source
        .xtask(&["backup", "verify", file, "--boot"])
        .expect(0)
        .says(&["booted", "checks of the spec are met"]);
    assert!(made_by(killed.id()).is_empty());
    assert_eq!(levels(&source.listed()), ["booted"]);
    is_not_to_blame_for_the_machine(&source, file);
    assert_eq!(levels(&source.listed()), ["booted"]);

    for (statements, why) in NOT_WHOLE {
        source.superuser(statements);
        let refused = source.backup(&[]).expect(4);
        refused.says(&[&format!("is no good backup: database hive_genie: {why}")]);
        source.superuser("DROP TABLE late");
    }
    // A page of zeros is an empty one for PostgreSQL, with a right checksum.
    let path = source.superuser(
        "CREATE TABLE holes AS SELECT generate_series(1, 5000) AS n; CREATE INDEX ON holes (n); CHECKPOINT; \
         SELECT pg_relation_filepath('holes')",
    );
    source.inside(&format!(
        "dd if=/dev/zero of=$PGDATA/{path} bs=8192 count=1 conv=notrunc 2> /tmp/dd || cat /tmp/dd"
    ));
    let refused = source.backup(&[]).expect(4);
    refused.says(&["holes_n_idx of public.holes leads to 226 rows that are not there"]);
    source.superuser("DROP TABLE holes");
    let refused = ["refused"; NOT_WHOLE.len() + 1];
    assert_eq!(levels(&source.listed()), [&["booted"], &refused[..]].concat());

    // The last good one stays, and so does what is newer.
    source
        .xtask(&["backup", "prune", "test-genie", "--keep", "1d"])
        .expect(0)
        .says(&["0 deleted, 4 stay"]);

    if let Some(disk) = SmallDisk::mount() {
        disk.is_too_small(&source, &[]);
    }

    // A page that has changed on the disk: no file, and no list entry.
    let path = source.sql(
        "CREATE TABLE rotten AS SELECT generate_series(1, 50000) AS n; SELECT pg_relation_filepath('rotten')",
    );
    source.inside(&format!(
        "PGSERVICE=superuser psql -XAtqc CHECKPOINT; \
         printf rotten | dd of=$PGDATA/{path} bs=1 seek=100000 conv=notrunc 2> /tmp/dd || cat /tmp/dd"
    ));
    source.backup(&[]).expect(3).says(&["checksum"]);
    assert_eq!(source.listed().len(), 4);
    let names = fs_err::read_dir(source.backups.path().join("test-genie")).unwrap();
    assert_eq!(names.count(), 4, "nothing half is left");
    let cut = sandbox::finish(
        source
            .command(&["backup", "verify"])
            .arg(source.checkout.path("images/defaults.json")),
    );
    cut.expect(2).says(&["does not end in a seal"]);
}
