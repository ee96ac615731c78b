//! A backup read by zstd, tar and PostgreSQL alone.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::build_images::docker;
use crate::sandbox;

/// `zstd -d | tar x`, `pg_verifybackup` and `postgres`, none of it ours; and what is
/// changed in `hive-backup.json` is named by PostgreSQL.
pub(crate) fn with_plain_programs(file: &Path, image: &str) -> Option<String> {
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

/// `pg_restore` and `psql`, as the README has them, into a cluster that `initdb` has made.
pub(crate) fn dump_with_plain_programs(file: &Path, image: &str) -> String {
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
