//! How a container is run: hardened, with others beside it, with the small
//! shared memory that engines give, talking much.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::fixture::Fixture;
use container::boot::Instance;
use container::finding::{Observation, flaw, seen};
use container::http::one_line;
use container::programs;
use engine::container::{Container, Volume};

/// `docker stop`'s own default: what users get.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Longer than that is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// As `docker/README.md` says, and tighter: few processes, little memory.
const HARDENED: [&str; 14] = [
    "--read-only",
    "--tmpfs",
    "/run/hive",
    "--tmpfs",
    "/tmp",
    "--tmpfs",
    "/var/log/hive",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--pids-limit",
    "100",
    "--memory=512m",
];

/// No capability, no way to get one, nothing writable but what it needs; all
/// works as ever.
pub(crate) fn hardened(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &HARDENED)?;
    // Else it would prove nothing.
    let facts = fixture.must(
        &instance,
        "grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/1/status | tr -s '\\t\\n' '  '; touch /usr/x 2>&1; true",
    )?;
    let none = "0000000000000000";
    for part in [
        &format!("CapEff: {none}"),
        &format!("CapBnd: {none}"),
        "NoNewPrivs: 1",
        "Read-only file system",
    ] {
        if !facts.contains(part) {
            bail!(flaw(format!(
                "the engine did not harden it: no `{part}` in {facts}"
            )));
        }
    }
    build_index_in_parallel(fixture, &instance)?;
    all_running(fixture, &instance)?;
    stop_cleanly(fixture, &instance, &volume)?;
    let again = fixture.boot(&volume, &HARDENED)?;
    let rows = fixture.sql(&again, "SELECT count(*) FROM smoke_vectors")?;
    if rows != ROWS.to_string() {
        bail!(flaw(format!("{ROWS} rows were stored, {rows} are there after")));
    }
    seen(
        "read-only root, no capabilities, no new privileges, 100 processes, 512 MB: first boot, parallel HNSW \
         build, clean stop, second boot",
    )
    .map_err(Into::into)
}

/// Rows with a vector each.
const ROWS: u32 = 5000;

/// A parallel HNSW build and a parallel hash join in the 64 MB of shared memory
/// that an engine gives by default.
pub(crate) fn small_shared_memory(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    let shared = fixture.must(&instance, "df --output=size --block-size=1M /dev/shm | tail -n 1")?;
    if shared.trim() != "64" {
        bail!(flaw(format!(
            "/dev/shm has {} MB: with more than 64 nothing is proved",
            shared.trim()
        )));
    }
    build_index_in_parallel(fixture, &instance)?;
    let plan = fixture.sql(
        &instance,
        "CREATE TABLE smoke_wide AS SELECT n AS id, repeat(md5(n::text), 6) AS body FROM generate_series(1, 400000) n; \
         ANALYZE smoke_wide; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; \
         SET min_parallel_table_scan_size = 0; SET work_mem = '256MB'; SET enable_mergejoin = off; \
         EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT count(a.body || b.body) \
         FROM smoke_wide a JOIN smoke_wide b USING (id)",
    )?;
    if !plan.contains("Parallel Hash Join") || !plan.contains("Workers Launched: 2") {
        bail!(flaw(format!("the join was not parallel: {}", one_line(&plan))));
    }
    // Nor does a first boot need any of it.
    fixture.remove(&instance)?;
    let empty = fixture.volume()?;
    fixture.boot(&empty, &["--ipc=none"])?;
    seen(format!(
        "64 MB /dev/shm: HNSW over {ROWS} vectors by 2 parallel workers with 256 MB, and a parallel hash join of \
         2 × 80 MB; without any /dev/shm a first boot"
    ))
    .map_err(Into::into)
}

/// Two workers, which share all of `maintenance_work_mem`: `posix` shared memory
/// would die of that (pgvector#453).
fn build_index_in_parallel(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    let said = fixture.sql(
        instance,
        &format!(
            "CREATE TABLE smoke_vectors AS SELECT n AS id, \
             (SELECT array_agg(random()) FROM generate_series(1, 64) WHERE n > 0)::vector(64) AS at \
             FROM generate_series(1, {ROWS}) n; ANALYZE smoke_vectors; \
             SET min_parallel_table_scan_size = 0; SET max_parallel_maintenance_workers = 2; \
             SET maintenance_work_mem = '256MB'; SET client_min_messages = debug1; \
             CREATE INDEX smoke_vectors_at ON smoke_vectors USING hnsw (at vector_l2_ops); \
             RESET client_min_messages; SET enable_seqscan = off; \
             SELECT 'nearest is ' || id FROM smoke_vectors \
             ORDER BY at <-> (SELECT at FROM smoke_vectors WHERE id = 77) LIMIT 1"
        ),
    )?;
    if !said.contains("parallel worker") {
        bail!(flaw(format!(
            "the index was not built in parallel: {}",
            one_line(&said)
        )));
    }
    if !said.contains("nearest is 77") {
        bail!(flaw(format!(
            "the nearest of row 77 is not itself: {}",
            one_line(&said)
        )));
    }
    Ok(())
}

/// Another image of this run (or this one again) beside it, on one network: each
/// has its own passwords and data, and neither database can be reached.
pub(crate) fn side_by_side(fixture: &Fixture<'_>) -> Result<Observation> {
    let other = fixture.neighbour();
    let (here, there) = (fixture.volume()?, other.volume()?);
    let (mine, theirs) = (fixture.start(&here, &[])?, other.start(&there, &[])?);
    fixture.until_ready(&mine)?;
    other.until_ready(&theirs)?;
    let passwords = [password(fixture, &mine)?, password(&other, &theirs)?];
    if passwords[0] == passwords[1] {
        bail!(flaw("two containers made the same password"));
    }
    fixture.sql(&mine, "CREATE TABLE smoke_mine (n int)")?;
    let seen_there = other.sql(&theirs, "SELECT to_regclass('smoke_mine') IS NULL")?;
    if seen_there != "t" {
        bail!(flaw("a table made in one container is in the other"));
    }
    let foreign = "timeout 5 bash -c 'exec 3<>/dev/tcp/$0/$1' ";
    let (from, to) = (&mine, address(&theirs.container)?);
    let port = other.spec().port();
    let reachable = fixture.shell(from, &format!("{foreign} {to} {port}"))?;
    if !reachable.ok() {
        bail!(flaw(format!(
            "the neighbour is not reachable at {to}:{port}: {}",
            reachable.shown()
        )));
    }
    let database = fixture.shell(from, &format!("{foreign} {to} 5432"))?;
    // A database alone is there for others.
    if other.spec().app.is_some() && !database.text.contains("refused") {
        bail!(flaw(format!(
            "the neighbour's PostgreSQL is reachable from another container: {}",
            database.shown()
        )));
    }
    stop_cleanly(fixture, &mine, &here)?;
    // Its neighbour's end is nothing to it.
    other.until_health(&theirs, true, PATIENCE)?;
    all_running(&other, &theirs)?;
    seen(format!(
        "{} beside {}, published on {} and {}: other passwords, other data; from one container the other \
         answers on port {port} alone; one stopped, the other went on",
        fixture.spec().name,
        other.spec().name,
        mine.port,
        theirs.port
    ))
    .map_err(Into::into)
}

/// The app role's password, told to the fixture so that no bundle has it.
fn password(fixture: &Fixture<'_>, instance: &Instance) -> Result<String> {
    let line = fixture.must(instance, "head -n 1 /run/hive/pgpass")?;
    let password = line.rsplit(':').next().unwrap_or_default().to_owned();
    if password.is_empty() {
        bail!(flaw("there is no password in /run/hive/pgpass"));
    }
    fixture.secret(&password);
    Ok(password)
}

/// Its address on the engine's default bridge.
fn address(container: &Container) -> Result<String> {
    let document = container.inspect()?;
    let network = document.pointer("/NetworkSettings/Networks/bridge/IPAddress");
    match network.and_then(|address| address.as_str()) {
        Some(address) if !address.is_empty() => Ok(address.to_owned()),
        _ => bail!("container {} has no address", container.name()),
    }
}

/// `docker stop` by its own grace: exit code 0, and the cluster shut down.
pub(super) fn stop_cleanly(fixture: &Fixture<'_>, instance: &Instance, volume: &Volume) -> Result<()> {
    let took = instance.container.stop(STOP_GRACE)?;
    let code = instance.container.exit_code()?.unwrap_or(-1);
    let what = format!("docker stop: exit code {code} after {:.1} s", took.as_secs_f64());
    if code != 0 {
        bail!(flaw(what));
    }
    is_shut_down(fixture, volume, &what)
}

/// A flaw unless the cluster was shut down when `what` had happened. A database
/// elsewhere goes on.
pub(super) fn is_shut_down(fixture: &Fixture<'_>, volume: &Volume, what: &str) -> Result<()> {
    if !fixture.has_database() {
        return Ok(());
    }
    let state = fixture.cluster_state(volume)?;
    if state != "shut down" {
        bail!(flaw(format!("{what}, pg_controldata says `{state}`")));
    }
    Ok(())
}

/// A flaw unless the supervisor calls every program RUNNING.
pub(super) fn all_running(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    let text = fixture.shell(instance, programs::STATUS)?.text;
    let states = programs::states(&text);
    let bad = states.iter().any(|(_, state)| *state != "RUNNING");
    if bad || states.is_empty() {
        bail!(flaw(format!("not all programs run: {}", one_line(&text))));
    }
    Ok(())
}

/// Lines that a program prints, of [`LINE_BYTES`] each: more than all its files
/// may hold.
const LINES: usize = 320_000;
const LINE_BYTES: usize = 150;
/// What one file of a program's log may hold, and how many there are; see
/// `docker/README.md`.
const FILE_BYTES: usize = 10 * 1024 * 1024;
const FILES: usize = 4;

/// A program that prints more than its files may hold: nothing is lost on the way
/// to `docker logs`, each line has its program's name, and the files rotate.
pub(crate) fn logs(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    let talker = if fixture.spec().app.is_some() {
        "app"
    } else {
        "health-monitor"
    };
    // Into the program's own pipe, a line a write, so that lines stay whole.
    let print = format!(
        "import os, sys\n\
         pipe = os.open(sys.argv[1], os.O_WRONLY)\n\
         for n in range(1, {LINES} + 1):\n\
         \x20   os.write(pipe, (f\"smoke {{n:06}} \".ljust({LINE_BYTES} - 1, \".\") + \"\\n\").encode())\n"
    );
    fixture.must(
        &instance,
        &format!(
            "/usr/bin/python3 -I - /proc/$(/usr/local/bin/supervisorctl pid {talker})/fd/1 <<'PY'\n{print}PY"
        ),
    )?;
    fixture.until_health(&instance, true, PATIENCE)?;
    let listed = fixture.must(
        &instance,
        &format!(
            "cd /var/log/hive; for file in {talker}.log*; do echo \"$file $(stat -c %s $file)\"; done; tail -n 1 {talker}.log"
        ),
    )?;
    let log = fixture.log(&instance)?;
    let begins = format!("{talker} | smoke ");
    let numbers: Vec<usize> = log
        .lines()
        .filter_map(|line| line.strip_prefix(&begins)?.get(..6)?.parse().ok())
        .collect();
    let in_order = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    if numbers.len() != LINES || !in_order {
        bail!(flaw(format!(
            "{talker} printed {LINES} lines, docker logs has {} of them{}",
            numbers.len(),
            if in_order { "" } else { ", not in order" }
        )));
    }
    let mut programs = vec!["supervisord", "health-monitor", talker];
    programs.extend(fixture.has_database().then_some("postgresql"));
    names(&log, &programs)?;
    let files: Vec<(&str, usize)> = listed
        .lines()
        .filter_map(|line| {
            let (name, size) = line.split_once(' ')?;
            Some((name, size.parse().ok()?))
        })
        .collect();
    let fits = files.iter().all(|(_, size)| *size <= FILE_BYTES);
    let last = format!("smoke {LINES:06} ");
    if files.len() != FILES || !fits || !listed.contains(&last) {
        bail!(flaw(format!(
            "/var/log/hive should have {FILES} files of {talker}, none over {FILE_BYTES} bytes, with line {LINES} \
             at the end: {}",
            one_line(&listed)
        )));
    }
    seen(format!(
        "{talker} printed {} MB: all {LINES} lines are in docker logs, in order and by name; {FILES} files hold the last {} MB",
        LINES * LINE_BYTES / 1_000_000,
        files.iter().map(|(_, size)| size).sum::<usize>() / 1_000_000
    ))
    .map_err(Into::into)
}

/// Every line says whose it is, and every program has said something.
fn names(log: &str, programs: &[&str]) -> Result<()> {
    let name = |line: &str| line.split_once(" | ").map(|(name, _)| name.to_owned());
    let nameless = log
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("hive: "))
        .find(|line| name(line).is_none_or(|name| name.contains(' ')));
    if let Some(line) = nameless {
        bail!(flaw(format!(
            "a line without a program's name: {}",
            one_line(line)
        )));
    }
    for program in programs {
        if !log.lines().any(|line| name(line).as_deref() == Some(*program)) {
            bail!(flaw(format!("docker logs has no line of {program}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_needs_a_name_and_each_program_a_line() {
        let good = "supervisord | started\npostgresql | LOG:  a | b\napp | x\nhealth-monitor | healthy\nhive: stopped";
        let programs = ["supervisord", "postgresql", "health-monitor", "app"];
        assert!(names(good, &programs).is_ok());
        let nameless = format!("{good}\nTraceback (most recent call last)");
        let said = names(&nameless, &programs).unwrap_err().to_string();
        assert!(said.contains("Traceback"), "{said}");
        let said = names(&good.replace("app | x\n", ""), &programs)
            .unwrap_err()
            .to_string();
        assert!(said.ends_with("no line of app"), "{said}");
    }
}
