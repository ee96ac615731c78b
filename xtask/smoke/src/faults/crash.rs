//! The whole container dies: under load, and while it makes its first cluster.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::fixture::Fixture;
use crate::ledger::Ledger;
use container::boot::Instance;
use container::figure::Figure;
use container::finding::{Flaw, Observation, flaw, measured, seen};
use container::http::one_line;
use engine::container::Volume;
use failure::FailureKind;

/// `kill -9` under load, as often as this in the full suite.
const ROUNDS: u32 = 20;
/// Sessions that write at the same time.
const WRITERS: u32 = 3;
/// `docker stop`'s own default: what users get.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// Longer than that is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// When `docker stop` comes, after `docker run` returned.
const MOMENTS_MS: [u64; 8] = [0, 50, 150, 300, 500, 800, 1300, 2500];

/// When `kill -9` comes: what has just become true on the volume. By events
/// and not by the clock: on a quick machine the copy of the cluster lies
/// between any two times one would write down.
pub(super) const MOMENTS: [(&str, &str); 9] = [
    ("the volume is taken", "[ -e hive/lock ]"),
    ("the copy begins", "[ -d pgdata ] || [ -d .hive-adopt-* ]"),
    (
        "the copy goes on",
        "[ -e pgdata/global/pg_control ] || [ -e .hive-adopt-*/global/pg_control ]",
    ),
    (
        "the copy is complete",
        "[ -e pgdata/hive.json ] || [ -e .hive-adopt-*/hive.json ]",
    ),
    ("the cluster has its name", "[ -d pgdata ]"),
    ("the volume is marked", "[ -e hive/adopted ]"),
    ("PostgreSQL starts", "[ -e pgdata/postmaster.pid ]"),
    ("PostgreSQL is up", "grep -qs ready pgdata/postmaster.pid"),
    ("the database is ready", "[ -e /run/hive/database-ready ]"),
];

/// kill -9 of the container while rows are committed again and again.
pub(crate) fn killed_under_load(fixture: &Fixture<'_>) -> Result<Observation> {
    let rounds = kill_rounds(fixture, ROUNDS)?;
    seen(format!(
        "{ROUNDS} times kill -9 under load, half of them into a new container: 0 of {} committed rows lost, \
         back after {:.1} s at most; pg_amcheck and pg_checksums clean",
        rounds.rows,
        rounds.slowest.as_secs_f64()
    ))
    .map_err(Into::into)
}

/// What came of the kills of [`kill_rounds`].
#[derive(Clone, Debug)]
pub struct Rounds {
    /// Rows that were acknowledged; all of them were there each time.
    pub rows: u64,
    /// The longest time from the start after a kill until health was 200.
    pub slowest: Duration,
}

/// Writes, kills the container at odd moments, starts it again and looks for
/// every row that was ever acknowledged; at the end looks at every table, index
/// and page.
///
/// # Errors
/// A flaw at the first row that is lost, or when it does not come back.
pub fn kill_rounds(fixture: &Fixture<'_>, rounds: u32) -> Result<Rounds> {
    let kill = |_: u32, instance: &Instance| instance.container.kill("KILL");
    let volume = fixture.volume()?;
    rounds_of(fixture, &volume, rounds, kill, || Ok(()))
}

/// [`kill_rounds`] with an end of another kind: `harm` has to end the container,
/// and `mend` is done before it is started again (in turn the same container, and
/// a new one on its volume).
///
/// # Errors
/// As [`kill_rounds`].
pub(super) fn rounds_of(
    fixture: &Fixture<'_>,
    volume: &Volume,
    rounds: u32,
    mut harm: impl FnMut(u32, &Instance) -> Result<()>,
    mut mend: impl FnMut() -> Result<()>,
) -> Result<Rounds> {
    let mut instance = fixture.boot(volume, &[])?;
    let mut ledger = Ledger::open(fixture, &instance)?;
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        // 50 ms to 1.2 s, no two of them alike and none by chance.
        let pause = Duration::from_millis(50 + u64::from(round) * 397 % 1150);
        ledger.load(fixture, &instance, WRITERS, || {
            fixture.resources().runner.sleep(pause)?;
            harm(round, &instance)
        })?;
        mend()?;
        let began = Instant::now();
        if round % 2 == 0 {
            instance = fixture.start_again(&instance)?;
        } else {
            fixture.remove(&instance)?;
            instance = fixture.start(volume, &[])?;
        }
        fixture.until_health(&instance, true, PATIENCE)?;
        slowest = slowest.max(began.elapsed());
        ledger.verify(fixture, &instance)?;
    }
    inspect_pages(fixture, &instance, volume)?;
    Ok(Rounds {
        rows: ledger.rows(),
        slowest,
    })
}

/// Every table and index by `pg_amcheck`, then every page's checksum after a
/// clean stop.
fn inspect_pages(fixture: &Fixture<'_>, instance: &Instance, volume: &Volume) -> Result<()> {
    let script = "unset PGHOST PGPORT PGUSER PGPASSFILE; export PGSERVICE=superuser\n\
         pg_amcheck --install-missing --heapallindexed --parent-check --database \"$PGDATABASE\"";
    fixture.must(instance, script)?;
    instance.container.stop(STOP_GRACE)?;
    let state = fixture.cluster_state(volume)?;
    if state != "shut down" {
        bail!(flaw(format!("docker stop left the cluster `{state}`")));
    }
    let script = "for bin in /usr/lib/postgresql/*/bin; do \
         $bin/pg_checksums --check -D /var/lib/postgresql/data/pgdata || exit 1; done";
    fixture.must_beside(volume, &[], script).map(drop)
}

/// SIGKILL at each step of the first boot.
pub(crate) fn killed_while_new(fixture: &Fixture<'_>) -> Result<Observation> {
    let mut slowest = Duration::ZERO;
    for (moment, condition) in MOMENTS {
        let after = |error: anyhow::Error| in_words(error, &format!("killed when {moment}"));
        let volume = fixture.volume()?;
        let instance = fixture.start_until(&volume, condition).map_err(after)?;
        instance.container.kill("KILL")?;
        slowest = slowest.max(comes_up(fixture, &volume).map_err(after)?);
        fixture.remove(&instance)?;
    }
    seen(format!(
        "kill -9 at {} steps of the first boot ({}): each volume came up in a next container, after {:.1} s \
         at most",
        MOMENTS.len(),
        MOMENTS.map(|(moment, _)| moment).join(", "),
        slowest.as_secs_f64()
    ))
    .map_err(Into::into)
}

/// `docker stop` at many moments of the first boot.
pub(crate) fn stopped_while_new(fixture: &Fixture<'_>) -> Result<Observation> {
    let limit = Duration::from_secs_f64(fixture.spec().budgets.stop_seconds);
    let mut slowest = Duration::ZERO;
    for moment in MOMENTS_MS {
        let after = |error: anyhow::Error| in_words(error, &format!("{moment} ms after docker run"));
        let volume = fixture.volume()?;
        let instance = fixture.start(&volume, &[])?;
        fixture.resources().runner.sleep(Duration::from_millis(moment))?;
        let took = instance.container.stop(STOP_GRACE)?;
        let code = instance.container.exit_code()?.unwrap_or(-1);
        // The time is judged at the end, as a figure: a machine that was busy
        // with other faults gets a second try.
        if code != 0 {
            let said = format!("docker stop took {:.1} s, exit code {code}", took.as_secs_f64());
            return Err(after(flaw(said).into()));
        }
        slowest = slowest.max(took);
        comes_up(fixture, &volume).map_err(after)?;
        fixture.remove(&instance)?;
    }
    Ok(measured(
        Figure::new(slowest.as_secs_f64(), Some(limit.as_secs_f64()), "s"),
        format!(
            "docker stop at {} moments of the first boot, 0 to {} ms after docker run: exit code 0, the \
             slowest stop; each volume came up in a next container",
            MOMENTS_MS.len(),
            MOMENTS_MS[MOMENTS_MS.len() - 1]
        ),
    )?)
}

/// [`works`], and the container goes.
fn comes_up(fixture: &Fixture<'_>, volume: &Volume) -> Result<Duration> {
    let (next, took) = works(fixture, volume)?;
    fixture.remove(&next)?;
    Ok(took)
}

/// A next container on what an ended one has left: healthy, and a database that
/// takes rows. How long that took.
pub(super) fn works(fixture: &Fixture<'_>, volume: &Volume) -> Result<(Rc<Instance>, Duration)> {
    let began = Instant::now();
    let next = fixture.start(volume, &[])?;
    fixture.until_health(&next, true, PATIENCE)?;
    let took = began.elapsed();
    let sql =
        "CREATE TABLE smoke_new (n int); INSERT INTO smoke_new VALUES (1); SELECT count(*) FROM smoke_new";
    let rows = fixture.sql(&next, sql)?;
    if rows != "1" {
        bail!(flaw(format!("one row was written, {rows} are there")));
    }
    Ok((next, took))
}

/// The same error, with when it happened.
pub(crate) fn in_words(error: anyhow::Error, when: &str) -> anyhow::Error {
    if failure::kind(&error) == FailureKind::Interrupted {
        return error;
    }
    let detail = format!("{when}: {error:#}");
    // One that came too late stays one.
    let figure = error.downcast::<Flaw>().ok().and_then(|flaw| flaw.figure);
    Flaw { detail, figure }.into()
}

/// `docker stop` with idle sessions, an open transaction and writers.
pub(crate) fn stopped_under_load(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    let mut ledger = Ledger::open(fixture, &instance)?;
    fixture.must(
        &instance,
        "psql -XAtqc 'CREATE TABLE smoke_open (n int)' && \
         for n in 1 2 3 4 5; do (sleep 100 | psql -XAtq >/dev/null 2>&1 &) ; done && \
         ({ echo 'BEGIN; INSERT INTO smoke_open VALUES (1);'; sleep 100; } | psql -XAtq >/dev/null 2>&1 &) && \
         for n in $(seq 100); do \
         [ \"$(psql -XAtqc \"SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'\")\" = 1 ] && exit 0; \
         sleep 0.05; done; exit 1",
    )?;
    let mut took = Duration::ZERO;
    let rows = ledger.load(fixture, &instance, WRITERS, || {
        fixture.resources().runner.sleep(Duration::from_millis(300))?;
        took = instance.container.stop(STOP_GRACE)?;
        Ok(())
    })?;
    let code = instance.container.exit_code()?;
    let state = fixture.cluster_state(&volume)?;
    if code != Some(0) || state != "shut down" {
        bail!(flaw(format!(
            "docker stop under load: exit code {}, pg_controldata says `{state}`",
            code.unwrap_or(-1)
        )));
    }
    let next = fixture.boot(&volume, &[])?;
    let log = fixture.log(&next)?;
    if log.contains("automatic recovery in progress") {
        bail!(flaw(format!("a clean stop needed recovery: {}", one_line(&log))));
    }
    ledger.verify(fixture, &next)?;
    let open = fixture.sql(&next, "SELECT count(*) FROM smoke_open")?;
    if open != "0" {
        bail!(flaw("a row of a transaction that never committed is there"));
    }
    Ok(measured(
        Figure::new(took.as_secs_f64(), Some(fixture.spec().budgets.stop_seconds), "s"),
        format!(
            "docker stop with 6 open sessions and {WRITERS} writers: exit code 0, shut down, \
             {rows} committed rows are there, the open transaction's is not"
        ),
    )?)
}
