//! What is no good backup, and what was killed.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::source::{SmallDisk, Source};
use crate::build_images::docker;
use crate::sandbox;

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

    // The last good one stays, and so does what is newer; what is called otherwise is nobody's here.
    let folder = source.backups.path().join("test-genie");
    let one = fs_err::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let own = folder.join("own.tar.zst");
    fs_err::copy(one.path(), &own).unwrap();
    source
        .xtask(&["backup", "prune", "test-genie", "--keep", "1d"])
        .expect(0)
        .says(&[
            "called otherwise, and left alone: own.tar.zst",
            "0 deleted, 4 stay",
        ]);
    fs_err::remove_file(&own).unwrap();

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
