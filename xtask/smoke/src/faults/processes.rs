//! kill -9 and SIGSTOP of single processes: they heal by themselves, and health
//! says what is going on meanwhile.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::fixture::{Fixture, Process};
use container::boot::Instance;
use container::figure::Figure;
use container::finding::{Observation, flaw, late, measured};
use container::http::Client;
use container::postgres_port;
use container::programs;
use definition::spec::App;

/// For how long health may be away: the goal for PostgreSQL, on a machine that
/// has the time.
const POSTGRESQL_BACK: Duration = Duration::from_secs(3);
/// The same for the app.
const APP_BACK: Duration = Duration::from_secs(2);
/// Until health leaves 200 when a program hangs, and until it is back when it
/// goes on; the health check's own time-outs are 3 s.
const FROZEN: Duration = Duration::from_secs(8);
/// From one look of the health monitor at an app that hangs to the next: its pause,
/// and the time limit of an answer.
const LOOK: Duration = Duration::from_secs(13);
/// Until an app that ignores its stop signal is killed and answers again.
const RESTARTED: Duration = Duration::from_secs(15);
/// The image's own check, asked by hand.
const CHECK: Duration = Duration::from_secs(10);
/// What a client that is told to end still waits for a 200.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Longer than that is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// PostgreSQL's own processes; it starts all of them again when one crashes.
const SERVANTS: [&str; 5] = [
    "postgres: checkpointer",
    "postgres: background writer",
    "postgres: walwriter",
    "postgres: autovacuum launcher",
    "postgres: logical replication launcher",
];

/// Crash recovery of the whole server by a new postmaster.
pub(crate) fn postmaster(fixture: &Fixture<'_>) -> Result<Observation> {
    let instance = with_rows(fixture)?;
    let took = kill(fixture, &instance, "postmaster", is_postmaster)?;
    all_is_well(fixture, &instance)?;
    back(
        took,
        fixture.patience(POSTGRESQL_BACK),
        "kill -9 of the postmaster",
    )
}

/// A session of a client: the postmaster ends all others and recovers.
pub(crate) fn backend(fixture: &Fixture<'_>) -> Result<Observation> {
    let instance = with_rows(fixture)?;
    fixture.must(
        &instance,
        "PGAPPNAME=victim psql -XAtqc 'SELECT pg_sleep(100)' >/dev/null 2>&1 &\n\
         for n in $(seq 100); do \
         [ \"$(psql -XAtqc \"SELECT count(*) FROM pg_stat_activity WHERE application_name = 'victim'\")\" = 1 ] \
         && exit 0; sleep 0.05; done; exit 1",
    )?;
    let pid = fixture.sql(
        &instance,
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'victim'",
    )?;
    let is_it = |process: &Process| process.pid.to_string() == pid;
    let took = kill_one(fixture, &instance, "backend", Successor::None, is_it)?;
    all_is_well(fixture, &instance)?;
    back(
        took,
        fixture.patience(POSTGRESQL_BACK),
        "kill -9 of a session's backend",
    )
}

/// Each of PostgreSQL's own processes, one after the other.
pub(crate) fn servants(fixture: &Fixture<'_>) -> Result<Observation> {
    let instance = with_rows(fixture)?;
    let mut slowest = Duration::ZERO;
    for servant in SERVANTS {
        let is_it = |process: &Process| process.command == servant;
        let took = kill(fixture, &instance, servant, is_it)?;
        slowest = slowest.max(took);
    }
    all_is_well(fixture, &instance)?;
    let names: Vec<&str> = SERVANTS
        .iter()
        .filter_map(|name| name.strip_prefix("postgres: "))
        .collect();
    back(
        slowest,
        fixture.patience(POSTGRESQL_BACK),
        &format!("kill -9 of each of {}, the longest", names.join(", ")),
    )
}

/// The app; PostgreSQL must not notice.
pub(crate) fn app(fixture: &Fixture<'_>) -> Result<Observation> {
    let instance = with_rows(fixture)?;
    let took = kill(fixture, &instance, "app", is_app)?;
    all_is_well(fixture, &instance)?;
    back(took, fixture.patience(APP_BACK), "kill -9 of the app")
}

/// The health monitor, which nobody but the log misses.
pub(crate) fn monitor(fixture: &Fixture<'_>) -> Result<Observation> {
    let instance = with_rows(fixture)?;
    let is_it = |process: &Process| is_program(process, "health-monitor");
    let took = kill(fixture, &instance, "health-monitor", is_it)?;
    all_is_well(fixture, &instance)?;
    back(
        took,
        fixture.patience(POSTGRESQL_BACK),
        "kill -9 of the health monitor",
    )
}

/// PID 1 itself, from the host: the container ends, the restart policy starts
/// it again, and nothing is lost.
pub(crate) fn supervisord(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &["--restart", "on-failure:3"])?;
    fixture.sql(&instance, ROWS)?;
    let began = Instant::now();
    fixture.kill_first_process(&instance)?;
    while instance.container.restarts()? == 0 {
        let limit = fixture.patience(PATIENCE);
        if began.elapsed() > limit {
            let detail = "supervisord was killed, and the engine did not start the container again";
            bail!(late(began.elapsed(), limit, detail));
        }
        fixture.resources().runner.sleep(Duration::from_millis(100))?;
    }
    let instance = fixture.rejoin(&instance)?;
    fixture.until_health(&instance, true, PATIENCE)?;
    let took = began.elapsed();
    all_is_well(fixture, &instance)?;
    back(
        took,
        Duration::from_secs_f64(fixture.spec().budgets.restart_seconds),
        "kill -9 of supervisord, started again by the restart policy",
    )
}

/// All of PostgreSQL hangs: health leaves 200, and comes back with it.
pub(crate) fn frozen_postgresql(fixture: &Fixture<'_>) -> Result<Observation> {
    frozen(fixture, "PostgreSQL", |process| {
        is_postmaster(process) || process.command.starts_with("postgres: ")
    })
}

/// The app hangs: its container restarts it, where the spec does not say never.
pub(crate) fn frozen_app(fixture: &Fixture<'_>) -> Result<Observation> {
    let looks = fixture.app()?.restart_after;
    if looks == 0 {
        return frozen(fixture, "the app", is_app);
    }
    let instance = with_rows(fixture)?;
    let freeze = freeze(fixture, &instance, "the app", is_app)?;
    let limit = LOOK * (looks + 1) + RESTARTED;
    let (came, _) = fixture.until_health(&instance, true, limit)?;
    all_is_well(fixture, &instance)?;
    let log = fixture.log(&instance)?;
    let said = log.lines().find(|line| line.contains("restarting it"));
    let Some(said) = said.filter(|line| line.starts_with("health-monitor | ")) else {
        bail!(flaw(
            "the app is back, and the log does not say that it was restarted"
        ));
    };
    Ok(measured(
        Figure::new(
            came.as_secs_f64(),
            Some(fixture.patience(limit).as_secs_f64()),
            "s",
        ),
        format!(
            "the app stopped by SIGSTOP: the health check said `{}`; back by itself, `{said}`",
            freeze.check
        ),
    )?)
}

/// What was seen of a program that was stopped by SIGSTOP.
struct Freeze {
    /// Process IDs, with blanks between them.
    pids: String,
    /// Until health left 200, and what it said then.
    left: Duration,
    said: String,
    /// The answer of the image's own health check.
    check: String,
}

fn frozen(fixture: &Fixture<'_>, what: &str, is_it: fn(&Process) -> bool) -> Result<Observation> {
    let instance = with_rows(fixture)?;
    let Freeze {
        pids,
        left,
        said,
        check,
    } = freeze(fixture, &instance, what, is_it)?;
    fixture.must(&instance, &format!("kill -CONT {pids}"))?;
    let (came, _) = fixture.until_health(&instance, true, FROZEN)?;
    all_is_well(fixture, &instance)?;
    Ok(measured(
        Figure::new(
            left.as_secs_f64(),
            Some(fixture.patience(FROZEN).as_secs_f64()),
            "s",
        ),
        format!(
            "{what} stopped by SIGSTOP: health left 200 after {:.1} s ({said}), the health check said \
             `{check}`; went on: 200 again after {:.1} s",
            left.as_secs_f64(),
            came.as_secs_f64()
        ),
    )?)
}

/// Stops all processes that `is_it` knows, and waits until health and the image's
/// own check have noticed.
fn freeze(
    fixture: &Fixture<'_>,
    instance: &Instance,
    what: &str,
    is_it: fn(&Process) -> bool,
) -> Result<Freeze> {
    let all = fixture.processes(instance)?;
    let pids: Vec<String> = all
        .iter()
        .filter(|process| is_it(process))
        .map(|process| process.pid.to_string())
        .collect();
    if pids.is_empty() {
        bail!(flaw(format!("there is no process of {what}")));
    }
    let pids = pids.join(" ");
    fixture.must(instance, &format!("kill -STOP {pids}"))?;
    let (left, said) = fixture.until_health(instance, false, FROZEN)?;
    // What the engine asks, too.
    let check = fixture.patience(CHECK).as_secs();
    let answer = fixture.shell(
        instance,
        &format!("timeout {check} /usr/local/lib/hive/healthcheck"),
    )?;
    if answer.code != 1 || !answer.text.starts_with("unhealthy: ") {
        bail!(flaw(format!(
            "{what} hangs, and the image's health check says: {}",
            answer.shown()
        )));
    }
    Ok(Freeze {
        pids,
        left,
        said,
        check: answer.text,
    })
}

/// Committed before the harm, looked for after it.
pub(crate) const ROWS: &str = "CREATE TABLE smoke_kill AS SELECT n FROM generate_series(1, 1000) n";

pub(crate) fn with_rows(fixture: &Fixture<'_>) -> Result<std::rc::Rc<Instance>> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    fixture.sql(&instance, ROWS)?;
    Ok(instance)
}

/// The rows are there, and every program is RUNNING.
pub(crate) fn all_is_well(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    let rows = fixture.sql(instance, "SELECT count(*) FROM smoke_kill")?;
    if rows != "1000" {
        bail!(flaw(format!(
            "1000 rows were committed before, {rows} are there after"
        )));
    }
    let (began, limit) = (Instant::now(), fixture.patience(PATIENCE));
    loop {
        let text = fixture.shell(instance, programs::STATUS)?.text;
        let states = programs::states(&text);
        // A program is STARTING for its first second.
        let bad = states.iter().find(|(_, state)| *state != "RUNNING");
        match bad {
            None if !states.is_empty() => return Ok(()),
            _ if began.elapsed() > limit => {
                bail!(late(
                    began.elapsed(),
                    limit,
                    format!("not all programs run: {text}")
                ))
            }
            _ => fixture.resources().runner.sleep(Duration::from_millis(200))?,
        }
    }
}

fn back(took: Duration, limit: Duration, what: &str) -> Result<Observation> {
    Ok(measured(
        Figure::new(took.as_secs_f64(), Some(limit.as_secs_f64()), "s"),
        format!("{what}: health was away for so long; every committed row is there"),
    )?)
}

/// Whether it is PostgreSQL's first process, the parent of all others.
pub(crate) fn is_postmaster(process: &Process) -> bool {
    process.command.contains("/bin/postgres -D ")
}

/// The process that the supervisor has started as this program.
pub(crate) fn is_program(process: &Process, name: &str) -> bool {
    process.parent == 1 && process.program == name
}

fn is_app(process: &Process) -> bool {
    is_program(process, "app")
}

/// Whether another process has to take the victim's place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Successor {
    Needed,
    None,
}

/// Kills the process that `is_it` knows, and waits until another one has taken
/// its place and health is 200: for how long clients got no prompt 200, zero
/// where they noticed nothing.
///
/// # Errors
/// A flaw when there is no such process, or no other one and no 200 in time.
pub fn kill(
    fixture: &Fixture<'_>,
    instance: &Instance,
    what: &str,
    is_it: impl Fn(&Process) -> bool,
) -> Result<Duration> {
    kill_one(fixture, instance, what, Successor::Needed, is_it)
}

fn kill_one(
    fixture: &Fixture<'_>,
    instance: &Instance,
    what: &str,
    successor: Successor,
    is_it: impl Fn(&Process) -> bool,
) -> Result<Duration> {
    let Some(victim) = fixture
        .processes(instance)?
        .into_iter()
        .find(|process| is_it(process))
    else {
        bail!(flaw(format!("there is no process {what}")));
    };
    fixture.note(format!("kill -9 {} ({})", victim.pid, victim.command));
    let (port, app) = (instance.port, fixture.spec().app.as_ref());
    let over = AtomicBool::new(false);
    let (replaced, samples) = std::thread::scope(|scope| {
        let client = scope.spawn(|| watch_health(port, app, &over));
        let replaced = kill_and_wait(fixture, instance, what, successor, &victim, &is_it);
        over.store(true, Ordering::Relaxed);
        (replaced, client.join())
    });
    replaced?;
    let samples = samples.map_err(|_| anyhow!("the client panicked"))?;
    let away = downtime(&samples);
    fixture.note(format!("{what}: health was away for {:.3} s", away.as_secs_f64()));
    Ok(away)
}

fn kill_and_wait(
    fixture: &Fixture<'_>,
    instance: &Instance,
    what: &str,
    successor: Successor,
    victim: &Process,
    is_it: impl Fn(&Process) -> bool,
) -> Result<()> {
    let began = Instant::now();
    fixture.must(instance, &format!("kill -9 {}", victim.pid))?;
    // Health may say 200 for a moment more: one that counts comes after the
    // victim was replaced.
    loop {
        fixture.until_health(instance, true, PATIENCE.saturating_sub(began.elapsed()))?;
        let all = fixture.processes(instance)?;
        let is_gone = !all.iter().any(|process| process.pid == victim.pid);
        if is_gone && (successor == Successor::None || all.iter().any(&is_it)) {
            return fixture.until_health(instance, true, PATIENCE).map(drop);
        }
        let limit = fixture.patience(PATIENCE);
        if began.elapsed() > limit {
            let detail = format!(
                "health is 200, and no new {what} is there {} s after the kill",
                limit.as_secs()
            );
            bail!(late(began.elapsed(), limit, detail));
        }
    }
}

/// One request to the health endpoint: when it was made and answered, and
/// whether by 200.
#[derive(Clone, Copy, Debug)]
struct Sample {
    asked: Instant,
    answered: Instant,
    good: bool,
}

impl Sample {
    fn took(&self) -> Duration {
        self.answered.duration_since(self.asked)
    }
}

/// A 200 that takes longer was held back until the service was there again.
const PROMPT: Duration = Duration::from_millis(250);

/// A client that asks again and again until it is told to end and has a 200, or
/// does not get one any more. A `docker exec` takes longer than some recoveries:
/// it cannot time them.
fn watch_health(port: u16, app: Option<&App>, over: &AtomicBool) -> Vec<Sample> {
    let client = Client::new(port, false);
    let mut samples: Vec<Sample> = Vec::new();
    let mut told: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        let good = match app {
            Some(app) => client
                .get(app.asked_path(), PATIENCE)
                .is_ok_and(|reply| reply.status == 200),
            None => postgres_port::answers((Ipv4Addr::LOCALHOST, port).into(), PATIENCE).is_ok(),
        };
        samples.push(Sample {
            asked,
            answered: Instant::now(),
            good,
        });
        if over.load(Ordering::Relaxed) {
            let since = *told.get_or_insert_with(Instant::now);
            // Where it never comes back, whoever said `over` knows.
            if good || since.elapsed() > LAST_LOOK {
                return samples;
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From the last prompt 200 before the first answer that was none until the 200
/// that ends the last of these; zero where every answer was a prompt 200.
fn downtime(samples: &[Sample]) -> Duration {
    let away = |sample: &Sample| !sample.good || sample.took() > PROMPT;
    let (Some(first), Some(last)) = (samples.iter().position(away), samples.iter().rposition(away)) else {
        return Duration::ZERO;
    };
    let from = samples[first.saturating_sub(1)]
        .answered
        .min(samples[first].asked);
    let until = match samples.get(last + 1) {
        Some(next) if !samples[last].good => next,
        _ => &samples[last],
    };
    until.answered.duration_since(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart() {
        let process = |parent, program: &str, command: &str| Process {
            pid: 9,
            parent,
            program: program.into(),
            command: command.into(),
        };
        let postgres = "/usr/lib/postgresql/current/bin/postgres -D /x";
        assert!(is_postmaster(&process(1, "", postgres)));
        assert!(is_app(&process(1, "app", "node server.js")));
        // A worker of it, what it left behind, and another program.
        assert!(!is_app(&process(31, "app", "node server.js")));
        assert!(!is_app(&process(1, "", "postgres: checkpointer")));
        assert!(!is_app(&process(1, "worker", "celery")));
        assert!(is_program(&process(1, "worker", "celery"), "worker"));
    }

    #[test]
    fn downtime_is_what_clients_saw() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let sample = |asked, answered, good| Sample {
            asked: at(asked),
            answered: at(answered),
            good,
        };
        let good = [sample(0, 2, true), sample(12, 14, true)];
        assert_eq!(downtime(&good), Duration::ZERO);
        let away = [
            sample(0, 2, true),
            sample(12, 1512, false),
            sample(1522, 1524, true),
            sample(1534, 1540, false),
            sample(1550, 1552, true),
        ];
        assert_eq!(downtime(&away), Duration::from_millis(1550));
        // Away until the end of the watch.
        assert_eq!(downtime(&away[..2]), Duration::from_millis(1510));
        // The app waits for its database and says 200 then.
        let held_back = [
            sample(0, 2, true),
            sample(12, 1012, true),
            sample(1022, 1024, true),
        ];
        assert_eq!(downtime(&held_back), Duration::from_millis(1010));
    }
}
