//! Programs of the image's own: killed, frozen and beyond help. An image without
//! any passes, and says so.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::endings;
use super::processes::{all_is_well, with_rows};
use super::running;
use crate::checks::programs::pids;
use crate::fixture::Fixture;
use container::boot::Instance;
use container::figure::Figure;
use container::finding::{Observation, flaw, late, measured, seen};
use container::programs;
use definition::spec::program::OwnProgram;

/// Until another process has a killed one's place and counts as running, which
/// the supervisor says after its first second.
const BACK: Duration = Duration::from_secs(5);
/// A hung program must not be noticed by the app's clients for so long.
const HUNG: Duration = Duration::from_secs(3);
/// Four tries to start, 1, 2 and 3 s apart, and the health check's next answer.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// Between two looks at the container.
const PAUSE: Duration = Duration::from_millis(200);

/// kill -9 of each, one after the other.
pub(crate) fn killed(fixture: &Fixture<'_>) -> Result<Observation> {
    let own = &fixture.spec().programs;
    if own.is_empty() {
        return none();
    }
    let instance = with_rows(fixture)?;
    let mut slowest = Duration::ZERO;
    for OwnProgram { name, .. } in own {
        let before = pid(fixture, &instance, name)?;
        fixture.note(format!("kill -9 {before} ({name})"));
        fixture.must(&instance, &format!("kill -9 {before}"))?;
        let began = Instant::now();
        while running(fixture, &instance, name)?.is_none_or(|now| now == before) {
            let limit = fixture.patience(BACK);
            if began.elapsed() > limit {
                let detail = format!("{name} was killed, and is not back");
                bail!(late(began.elapsed(), limit, detail));
            }
            fixture.resources().runner.sleep(PAUSE)?;
        }
        slowest = slowest.max(began.elapsed());
    }
    all_is_well(fixture, &instance)?;
    Ok(measured(
        Figure::new(
            slowest.as_secs_f64(),
            Some(fixture.patience(BACK).as_secs_f64()),
            "s",
        ),
        format!(
            "kill -9 of each of {}: RUNNING again by a new process",
            names(own)
        ),
    )?)
}

/// SIGSTOP for all of them: the app goes on, they go on where they were, and one
/// that hangs keeps nobody from stopping the container.
pub(crate) fn frozen(fixture: &Fixture<'_>) -> Result<Observation> {
    let own = &fixture.spec().programs;
    if own.is_empty() {
        return none();
    }
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    let (app, before) = (fixture.app()?, all_pids(fixture, &instance)?);
    fixture.must(&instance, &format!("kill -STOP {before}"))?;
    let began = Instant::now();
    while began.elapsed() < HUNG {
        let said = fixture.health(&instance);
        if !said.as_ref().is_ok_and(|reply| app.is_answer(reply.status)) {
            let said = said.map_or_else(|error| error, |reply| reply.shown());
            bail!(flaw(format!("{} hang, and so does health: {said}", names(own))));
        }
        fixture.resources().runner.sleep(PAUSE)?;
    }
    fixture.must(&instance, &format!("kill -CONT {before}"))?;
    let after = all_pids(fixture, &instance)?;
    if after != before {
        bail!(flaw(format!(
            "{} hung for a while and were restarted: {before} → {after}",
            names(own)
        )));
    }
    fixture.must(&instance, &format!("kill -STOP {before}"))?;
    let graces: u32 = own.iter().map(|program| program.stop_seconds).sum();
    let limit = fixture.spec().budgets.stop_seconds + f64::from(graces);
    let limit = fixture.patience(Duration::from_secs_f64(limit));
    let took = instance.container.stop(limit)?;
    let code = instance.container.exit_code()?.unwrap_or(-1);
    let what = format!(
        "docker stop while {} hang: exit code {code} after {:.0} s",
        names(own),
        took.as_secs_f64()
    );
    if code != 0 {
        bail!(flaw(what));
    }
    running::is_shut_down(fixture, &volume, &what)?;
    Ok(measured(
        Figure::new(took.as_secs_f64(), Some(limit.as_secs_f64()), "s"),
        format!(
            "{} stopped by SIGSTOP: health stayed, they went on; docker stop while they hang: exit code 0, shut down",
            names(own)
        ),
    )?)
}

/// One that cannot be started any more ends the container, or is done without,
/// as the spec says.
pub(crate) fn beyond_help(fixture: &Fixture<'_>) -> Result<Observation> {
    let own = &fixture.spec().programs;
    if own.is_empty() {
        return none();
    }
    let mut said = Vec::new();
    for program in own {
        said.push(if program.fatal {
            endings::fatal_program(fixture, &program.name)?.detail
        } else {
            done_without(fixture, &program.name)?
        });
    }
    seen(said.join("; ")).map_err(Into::into)
}

fn done_without(fixture: &Fixture<'_>, name: &str) -> Result<String> {
    let instance = with_rows(fixture)?;
    endings::break_file(fixture, &instance, "run-app", endings::FAILS)?;
    let pid = pid(fixture, &instance, name)?;
    fixture.must(&instance, &format!("kill -9 {pid}"))?;
    let began = Instant::now();
    let expected = format!("healthy, without {name} ");
    loop {
        let answer = fixture.shell(&instance, "/usr/local/lib/hive/healthcheck")?;
        if answer.ok() && answer.text.starts_with(&expected) {
            break;
        }
        let limit = fixture.patience(GIVEN_UP);
        if began.elapsed() > limit {
            let detail = format!(
                "{name} cannot be started, and the health check says `{}`",
                answer.shown()
            );
            bail!(late(began.elapsed(), limit, detail));
        }
        fixture.resources().runner.sleep(PAUSE)?;
    }
    if running(fixture, &instance, "app")?.is_none() {
        bail!(flaw(format!("{name} cannot be started, and the app is gone")));
    }
    let rows = fixture.sql(&instance, "SELECT count(*) FROM smoke_kill")?;
    Ok(format!(
        "the container goes on without {name}, with all {rows} rows"
    ))
}

fn none() -> Result<Observation> {
    seen("the spec has no programs of its own").map_err(Into::into)
}

fn names(own: &[OwnProgram]) -> String {
    let names: Vec<&str> = own.iter().map(|program| program.name.as_str()).collect();
    names.join(", ")
}

fn all_pids(fixture: &Fixture<'_>, instance: &Rc<Instance>) -> Result<String> {
    let own = fixture.spec().programs.iter();
    let pids: Result<Vec<String>> = own
        .map(|program| Ok(pid(fixture, instance, &program.name)?.to_string()))
        .collect();
    Ok(pids?.join(" "))
}

/// Of a program that was started a moment ago, too: the container may be healthy
/// before the supervisor calls it RUNNING.
fn pid(fixture: &Fixture<'_>, instance: &Instance, name: &str) -> Result<u32> {
    let began = Instant::now();
    loop {
        if let Some(pid) = running(fixture, instance, name)? {
            return Ok(pid);
        }
        let limit = fixture.patience(BACK);
        if began.elapsed() > limit {
            bail!(late(began.elapsed(), limit, format!("{name} is not RUNNING")));
        }
        fixture.resources().runner.sleep(PAUSE)?;
    }
}

/// The process of a program that is RUNNING.
fn running(fixture: &Fixture<'_>, instance: &Instance, name: &str) -> Result<Option<u32>> {
    let text = fixture.shell(instance, programs::STATUS)?.text;
    let runs = programs::states(&text).contains(&(name, "RUNNING"));
    let pid = pids(&text).into_iter().find(|(known, _)| *known == name);
    Ok(pid.filter(|_| runs).map(|(_, pid)| pid))
}
