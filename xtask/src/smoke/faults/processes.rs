//! kill -9 of one process: it heals by itself, or takes the container down.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::smoke::boot::Guest;
use crate::smoke::figure::Figure;
use crate::smoke::scene::{Process, Scene};
use crate::smoke::verdict::{Seen, flaw, measured};

/// From the kill to health's next 200, see the goals of recovery.
const POSTGRESQL_BACK: Duration = Duration::from_secs(3);
/// Longer than that is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Crash recovery of the whole server by a new postmaster.
pub fn postmaster(scene: &Scene<'_>) -> Result<Seen> {
    let volume = scene.volume()?;
    let guest = scene.boot(&volume, &[])?;
    scene.sql(
        &guest,
        "CREATE TABLE smoke_kill AS SELECT n FROM generate_series(1, 1000) n",
    )?;
    let took = kill(scene, &guest, "postmaster", |process| {
        process.command.contains("/bin/postgres -D")
    })?;
    let rows = scene.sql(&guest, "SELECT count(*) FROM smoke_kill")?;
    if rows != "1000" {
        bail!(flaw(format!(
            "1000 rows were committed before, {rows} are there after"
        )));
    }
    Ok(measured(
        Figure::new(took.as_secs_f64(), Some(POSTGRESQL_BACK.as_secs_f64()), "s"),
        "kill -9 of the postmaster until health is 200 again; every committed row is there",
    )?)
}

/// Kills the process that `is_it` knows, and waits until another one has taken
/// its place and health is 200: how long that took since the kill.
fn kill(scene: &Scene<'_>, guest: &Guest, what: &str, is_it: impl Fn(&Process) -> bool) -> Result<Duration> {
    let find = || -> Result<Option<Process>> {
        let all = scene.processes(guest)?;
        Ok(all.into_iter().find(|process| is_it(process)))
    };
    let Some(victim) = find()? else {
        bail!(flaw(format!("there is no process {what}")));
    };
    scene.note(format!("kill -9 {} ({})", victim.pid, victim.command));
    let began = Instant::now();
    scene.must(guest, &format!("kill -9 {}", victim.pid))?;
    // Health may say 200 for a moment more: one that counts comes after the
    // victim was replaced.
    loop {
        scene.until_health(guest, true, PATIENCE.saturating_sub(began.elapsed()))?;
        if find()?.is_some_and(|next| next.pid != victim.pid) {
            scene.until_health(guest, true, PATIENCE)?;
            return Ok(began.elapsed());
        }
        if began.elapsed() > PATIENCE {
            bail!(flaw(format!(
                "health is 200, and no new {what} is there {} s after the kill",
                PATIENCE.as_secs()
            )));
        }
    }
}
