//! One container started again and again: nothing may get lost, slower or more.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};

use super::running::{all_running, stop_cleanly};
use crate::fixture::Fixture;
use container::boot::{Instance, MOUNT};
use container::figure::Figure;
use container::finding::{Observation, flaw, measured};

/// Longer than that is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Starts of one container after its first.
const RESTARTS: u32 = 12;
/// Each way to end has come once by then: what a start leaves once is there.
const SETTLED: u32 = 3;
/// The most traces that are told of those that are left behind.
const TOLD: usize = 4;

/// The same container stopped, restarted, killed and started, again and again;
/// and paused.
pub(crate) fn restarts(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let mut instance = fixture.boot(&volume, &[])?;
    fixture.sql(&instance, "CREATE TABLE smoke_restarts (n int PRIMARY KEY)")?;
    let mut slowest = Duration::ZERO;
    let mut settled = BTreeSet::new();
    for round in 1..=RESTARTS {
        fixture.sql(&instance, &format!("INSERT INTO smoke_restarts VALUES ({round})"))?;
        match round % 3 {
            0 => instance.container.kill("KILL")?,
            1 => stop_cleanly(fixture, &instance, &volume)?,
            _ => docker(fixture, &["restart", instance.container.name()]).map(drop)?,
        }
        instance = if round % 3 == 2 {
            fixture.rejoin(&instance)?
        } else {
            fixture.start_again(&instance)?
        };
        fixture.until_health(&instance, true, PATIENCE)?;
        if round % 3 == 2 && fixture.has_database() {
            was_shut_down(&fixture.log(&instance)?)?;
        }
        slowest = slowest.max(instance.started.elapsed());
        let rows = fixture.sql(&instance, "SELECT count(*) FROM smoke_restarts")?;
        if rows != round.to_string() {
            bail!(flaw(format!("{round} rows were stored, {rows} are there")));
        }
        if round == SETTLED {
            settled = traces(fixture, &instance)?;
        }
    }
    for verb in ["pause", "unpause"] {
        docker(fixture, &[verb, instance.container.name()])?;
        fixture.resources().runner.sleep(Duration::from_millis(500))?;
    }
    fixture.until_health(&instance, true, PATIENCE)?;
    all_running(fixture, &instance)?;
    nothing_more(&settled, &traces(fixture, &instance)?)?;
    Ok(measured(
        Figure::new(
            slowest.as_secs_f64(),
            Some(fixture.spec().budgets.restart_seconds),
            "s",
        ),
        format!(
            "{RESTARTS} times docker stop, restart or kill, the slowest start until 200; no file, shared memory \
             segment or WAL more than after {SETTLED}; docker pause and unpause"
        ),
    )?)
}

/// Whether PostgreSQL's last start followed a shutdown in order.
fn was_shut_down(log: &str) -> Result<()> {
    let last = log.lines().rfind(|line| line.contains("database system was "));
    if !last.is_some_and(|line| line.contains("database system was shut down")) {
        bail!(flaw(format!(
            "docker restart, and then: {}",
            last.unwrap_or_default()
        )));
    }
    Ok(())
}

/// What a start may leave behind, a line each: names on the volume but for those
/// of tables, WAL beyond what a cluster of this size keeps, files in the
/// container's own layer, shared memory.
fn traces(fixture: &Fixture<'_>, instance: &Instance) -> Result<BTreeSet<String>> {
    let of_the_volume = format!(
        "cd {MOUNT}; find . \\( -path './pgdata/base/*' -o -path './pgdata/pg_wal/*' \\) -prune -o -print; \
         [ $(ls pgdata/pg_wal | wc -l) -le 6 ] || ls pgdata/pg_wal; "
    );
    let script = format!(
        "{}find /run/hive /tmp /dev/shm; ls /var/log/hive; \
         echo \"$(tail -n +2 /proc/sysvipc/shm | wc -l) shared memory segments\"",
        if fixture.has_database() {
            of_the_volume.as_str()
        } else {
            ""
        }
    );
    let inside = fixture.must(instance, &script)?;
    let layer = docker(fixture, &["diff", instance.container.name()])?;
    let lines = inside.lines().chain(layer.lines());
    Ok(lines.map(str::to_owned).collect())
}

fn nothing_more(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Result<()> {
    let more: Vec<&str> = after.difference(before).map(String::as_str).collect();
    if !more.is_empty() {
        let shown = more.iter().take(TOLD).copied().collect::<Vec<_>>().join(", ");
        bail!(flaw(format!(
            "{} restarts left {} traces: {shown}",
            RESTARTS - SETTLED,
            more.len()
        )));
    }
    Ok(())
}

fn docker(fixture: &Fixture<'_>, args: &[&str]) -> Result<String> {
    let resources = fixture.resources();
    resources.engine.cmd(&resources.runner, args).read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_start_counts() {
        let (clean, crash) = (
            "x database system was shut down at",
            "x database system was not properly shut down",
        );
        assert!(was_shut_down(&format!("{crash}\n{clean}\ny")).is_ok());
        assert!(was_shut_down(&format!("{clean}\n{crash}\ny")).is_err());
        assert!(was_shut_down("").is_err());
    }

    #[test]
    fn what_is_gone_is_no_trace() {
        let set = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<BTreeSet<_>>();
        let before = set(&["./hive/lock", "1 shared memory segments"]);
        assert!(nothing_more(&before, &set(&["./hive/lock"])).is_ok());
        let said = nothing_more(
            &before,
            &set(&["./hive/lock", "./hive/x", "2 shared memory segments"]),
        )
        .unwrap_err()
        .to_string();
        assert_eq!(
            said,
            "9 restarts left 2 traces: ./hive/x, 2 shared memory segments"
        );
    }
}
