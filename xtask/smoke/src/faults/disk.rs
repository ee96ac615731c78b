//! A disk that fills up: in memory, so that it is small and fails at once.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::fixture::Fixture;
use container::boot::{Instance, MOUNT};
use container::finding::{Observation, flaw, late, seen};
use container::http::one_line;
use engine::container::Volume;
use host::process::quote;

/// A container that filled its disk goes down; that takes a shutdown in order.
const DOWN: Duration = Duration::from_secs(60);
/// A script in the keeper.
const SCRIPT: Duration = Duration::from_secs(60);
/// The time that `docker stop` gives a container.
const GRACE: Duration = Duration::from_secs(20);

/// Too little room at first, in bytes and in files, and room that goes while
/// the cluster is made: each is told, nothing stays behind, and with room the
/// same volume boots.
pub(crate) fn full_at_first_boot(fixture: &Fixture<'_>) -> Result<Observation> {
    for (options, says) in [
        ("size=60m", "is full: 60 MB free"),
        ("size=300m,nr_inodes=500", "is full: room for 499 more files"),
    ] {
        let small = fixture.disk_in_memory(options)?;
        let refusal = fixture.refused(&[&small.mount()])?;
        let left = small.run("ls -A")?;
        if refusal.code != 78 || !refusal.log.contains(says) || !left.is_empty() {
            bail!(flaw(format!(
                "on a volume of {options}: exit code {}, said {}, left {left:?}",
                refusal.code,
                one_line(&refusal.log)
            )));
        }
    }
    let small = fixture.disk_in_memory("size=140m")?;
    let filler = [
        "sh",
        "-c",
        // No process is started while waiting: the copy takes a third of a second.
        "touch /tmp/waits; while set -- .hive-adopt-*; ! [ -e \"$1\" ]; do :; done; \
         fallocate -l 110M lost+found || head -c 140M /dev/zero >lost+found",
    ];
    let said = std::thread::scope(|scope| {
        let resources = fixture.resources().clone();
        let keeper = small.keeper().name().to_owned();
        let thread = scope.spawn(move || {
            let mut args = vec!["exec", keeper.as_str()];
            args.extend(filler);
            resources
                .engine
                .cmd(&resources.runner, &args)
                .deadline(SCRIPT)
                .output()
        });
        let waits = small.run("until [ -e /tmp/waits ]; do sleep 0.05; done");
        // Slow enough that even a busy machine sees the copy begin.
        let said = waits.and_then(|_| fixture.refused(&[&small.mount(), "--cpus=0.3"]));
        (said, thread.join())
    });
    let refusal = said.0?;
    let says = "cannot make a cluster on the volume /var/lib/postgresql/data: ";
    let last = refusal.said().last().copied().unwrap_or_default().to_owned();
    let left = small.run("ls -A | tr '\\n' ' '")?;
    if refusal.code != 78 || !last.contains(says) || !last.contains("No space left on device") {
        bail!(flaw(format!(
            "with room that went while the cluster was made: exit code {}, said {last:?}; beside it: {:?}",
            refusal.code,
            said.1.map(|output| output.map(|output| output.stderr_text()))
        )));
    }
    if left.contains("adopt") || left.contains("pgdata") {
        bail!(flaw(format!("the failed start left {left}")));
    }
    small.run("rm lost+found")?;
    fixture.boot(&small.volume, &[])?;
    Ok(seen(
        "too few bytes, too few files and room that went meanwhile: each told with exit code 78, \
         nothing left behind; with room the same volume boots",
    )?)
}

/// A full disk refuses rows and goes on; when the WAL finds no room either, the
/// container goes down and says why; with room each acknowledged row is there.
pub(crate) fn full_while_writing(fixture: &Fixture<'_>) -> Result<Observation> {
    let small = fixture.disk_in_memory("size=260m")?;
    small.run("fallocate -l 60m lost+found")?;
    let instance = fixture.boot(&small.volume, &[])?;
    fixture.sql(
        &instance,
        "CREATE TABLE smoke_full (t text STORAGE PLAIN); CREATE TABLE smoke_log AS SELECT 0 AS n",
    )?;
    let rows = ROWS * until_it_fails(fixture, &instance, INSERT)?;
    fixture.until_health(&instance, true, Duration::ZERO)?;
    check_rows(fixture, &instance, rows, 0)?;
    let commits = until_it_fails(fixture, &instance, LOG_ONLY)?;
    let Some(code) = fixture.until_ended(&instance.container, DOWN)? else {
        let limit = fixture.patience(DOWN);
        let detail = format!(
            "there is no room for the WAL, and the container still up after {} s",
            limit.as_secs()
        );
        bail!(late(limit, limit, detail));
    };
    let log = fixture.log(&instance)?;
    let last = log.lines().last().unwrap_or_default();
    let cause = last.strip_prefix("hive: stopped: postgresql: the volume ");
    if code != 78 || cause.is_none_or(|cause| !cause.contains(" is full: ")) {
        bail!(flaw(format!(
            "the disk is full: exit code {code}, last line {last:?}"
        )));
    }
    // What a restart policy would do, over and over.
    let again = fixture.refused(&[&small.mount()])?;
    if again.code != 78 || !again.said().iter().any(|line| line.contains(" is full: ")) {
        bail!(flaw(format!(
            "started again with a full disk: exit code {}, said {}",
            again.code,
            one_line(&again.log)
        )));
    }
    small.run("rm lost+found")?;
    let instance = fixture.boot(&small.volume, &[])?;
    check_rows(fixture, &instance, rows, commits)?;
    instance.container.stop(GRACE)?;
    sound(fixture, &small.volume)?;
    Ok(seen(format!(
        "{rows} rows until the disk was full, healthy all the same; {commits} commits more until \
         the WAL had no room: ended with 78 and said so; with room everything acknowledged was \
         there, and all checksums are right"
    ))?)
}

/// How many rows one [`INSERT`] brings.
const ROWS: u64 = 100;
/// Fills the disk, [`ROWS`] rows at a time.
const INSERT: &str =
    "INSERT INTO smoke_full SELECT repeat(md5(random()::text), 200) FROM generate_series(1, 100)";
/// Fills the WAL alone: 2 MB, and a commit that can be counted.
const LOG_ONLY: &str = "UPDATE smoke_log SET n = n + 1; \
     SELECT length(pg_logical_emit_message(true, 'smoke', repeat('x', 2000000))::text)";

/// Runs SQL in transactions of its own until it cannot; how often it was
/// acknowledged.
fn until_it_fails(fixture: &Fixture<'_>, instance: &Instance, sql: &str) -> Result<u64> {
    let script = format!(
        "n=0\n\
         while psql -XAtq -v ON_ERROR_STOP=1 -1 -c {} >/dev/null 2>/tmp/smoke-why; do n=$((n + 1)); done\n\
         echo $n; head -n 1 /tmp/smoke-why",
        quote(sql)
    );
    let answer = fixture.shell(instance, &script)?;
    fixture.note(format!(
        "acknowledged, and why no more: {}",
        one_line(&answer.text)
    ));
    match answer.text.lines().next().map(|line| line.trim().parse()) {
        Some(Ok(times)) if times > 0 => Ok(times),
        _ => bail!(flaw(format!("nothing could be written: {}", answer.shown()))),
    }
}

/// What was acknowledged is there. The commit that failed may have been made
/// all the same, and could not say so.
fn check_rows(fixture: &Fixture<'_>, instance: &Instance, rows: u64, commits: u64) -> Result<()> {
    let there = fixture.sql(
        instance,
        "SELECT (SELECT count(*) FROM smoke_full), (SELECT n FROM smoke_log)",
    )?;
    let numbers: Vec<u64> = there.trim().split('|').filter_map(|n| n.parse().ok()).collect();
    let good = match numbers[..] {
        [r, c] => (r == rows || r == rows + ROWS) && (c == commits || c == commits + 1),
        _ => false,
    };
    if !good {
        bail!(flaw(format!(
            "{rows} rows and {commits} commits were acknowledged, {there:?} are there"
        )));
    }
    Ok(())
}

/// Checks the checksum of each page of a cluster that does not run.
pub(crate) fn sound(fixture: &Fixture<'_>, volume: &Volume) -> Result<()> {
    let script = format!("/usr/lib/postgresql/current/bin/pg_checksums --check -D {MOUNT}/pgdata");
    fixture.must_beside(volume, &[], &script).map(drop)
}
