//! The power goes: unlike after `kill -9`, where the kernel still writes what the
//! programs wrote, only what was synced is there afterwards.

use std::time::Duration;

use anyhow::{Result, bail};

use super::crash::{MOMENTS, STOP_GRACE, in_words, rounds_of, works};
use super::disk::sound;
use crate::fixture::{Cut, Fixture};
use container::boot::Instance;
use container::finding::{Observation, flaw, seen};

/// How often the power goes under load.
const ROUNDS: u32 = 10;

/// Of the moments of a first boot, the first with a cluster in its place.
const NAMED: usize = 4;
/// What becomes of the password that was made; no bundle needs the password.
const PASSWORD: &str = "sha256sum hive/database-password";

/// All and contents in turn, so that half of the rounds are of each kind.
fn cut_of(round: usize) -> Cut {
    [Cut::All, Cut::Contents][round % 2]
}

/// The power goes while rows are committed again and again.
pub(crate) fn cut_under_load(fixture: &Fixture<'_>) -> Result<Observation> {
    let disk = fixture.disk_with_power()?;
    let harm = |round: u32, instance: &Instance| {
        // Two rounds each: one into the same container, one into a new one.
        let cut = cut_of(usize::try_from(round / 2)?);
        disk.cut(cut)?;
        fixture.note(format!("the power went: {}", cut.in_words()));
        // A program whose disk is gone may have ended the container itself.
        instance.container.kill_if_running()
    };
    let rounds = rounds_of(fixture, &disk.volume, ROUNDS, harm, || disk.power_on())?;
    seen(format!(
        "{ROUNDS} times the power went under load, half of them with names written and contents not: 0 of \
         {} committed rows lost, back after {:.1} s at most; pg_amcheck and pg_checksums clean",
        rounds.rows,
        rounds.slowest.as_secs_f64()
    ))
    .map_err(Into::into)
}

/// The power goes at each step of the first boot, in both ways from when the
/// cluster has its name.
pub(crate) fn cut_while_new(fixture: &Fixture<'_>) -> Result<Observation> {
    let disk = fixture.disk_with_power()?;
    let mut slowest = Duration::ZERO;
    for (n, (moment, condition)) in MOMENTS.into_iter().enumerate() {
        // Before the cluster has its name, a copy is all that can be lost.
        let named = n >= NAMED;
        for cut in [Cut::Contents, Cut::All].into_iter().take(1 + usize::from(named)) {
            let told = format!("the power went when {moment}, {}", cut.in_words());
            let after = |error| in_words(error, &told);
            let instance = fixture.start_until(&disk.volume, condition).map_err(after)?;
            // It is made before the copy begins.
            let made = (n > 0).then(|| disk.run(PASSWORD)).transpose()?;
            disk.cut(cut)?;
            instance.container.kill_if_running()?;
            fixture.remove(&instance)?;
            disk.power_on()?;
            let (next, took) = works(fixture, &disk.volume).map_err(after)?;
            let kept = disk.run(PASSWORD)?;
            if made.is_some_and(|made| made != kept) {
                bail!(flaw(format!("{told}: the app's role has another password")));
            }
            slowest = slowest.max(took);
            next.container.stop(STOP_GRACE)?;
            fixture.remove(&next)?;
            sound(fixture, &disk.volume).map_err(after)?;
            disk.wipe()?;
        }
    }
    seen(format!(
        "the power went at {} steps of the first boot with names written and contents not, and with both lost: each \
         volume came up in a next container, with the same password, after {:.1} s at most",
        MOMENTS.len(),
        slowest.as_secs_f64()
    ))
    .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_has_its_name_from_there_on() {
        assert_eq!(MOMENTS[NAMED], ("the cluster has its name", "[ -d pgdata ]"));
    }
}
