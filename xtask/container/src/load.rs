//! How much of the machine others want while nothing of ours runs, so that a
//! budget of time says something of the image and not of the neighbours.
//!
//! A budget is for a machine that has the time. On one where ten tasks want two
//! processors everything takes five times as long, and a gate that fails then
//! has found nothing. Only a second look is judged like that, of the gate as of
//! the full suite (see both `run_all` of the crate `smoke`): what keeps its
//! limits keeps them anyhow.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use definition::spec::Budgets;
use engine::Engine;
use host::process::Runner;

/// Looks at the run queue, over two seconds: compilers come and go.
const LOOKS: u32 = 40;
/// Between two looks at the run queue.
const PAUSE: Duration = Duration::from_millis(50);

/// What a gate or two faults of ours have had their part in of the last minute's load: it
/// has at most three boots at a time, and each is one task for most of its time.
const OURS: f64 = 4.0;

/// No limit is made longer than this.
const LONGEST: Duration = Duration::from_secs(120);

/// More than this is no machine to prove anything on.
const MOST: f64 = 8.0;

/// What others want of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MachineLoad {
    /// Tasks that run or wait for a processor or a disk, on average.
    pub(crate) others: f64,
    /// How many processors there are to run them.
    pub(crate) processors: usize,
}

impl MachineLoad {
    /// Looks for two seconds; `None` where the containers run on another
    /// machine, or the kernel is not Linux: then nothing is known.
    ///
    /// # Errors
    /// When the kernel does not tell, or on Ctrl-C.
    pub(crate) fn look(engine: &Engine, runner: &Runner) -> Result<Option<Self>> {
        let file = Path::new("/proc/loadavg");
        if !engine.api.is_local() || !file.exists() {
            return Ok(None);
        }
        let (mut now, mut minute) = (0.0, 0.0);
        for _ in 0..LOOKS {
            let text = fs_err::read_to_string(file)?;
            let load = loads(&text).with_context(|| format!("read /proc/loadavg: {text:?}"))?;
            // One of them is this look.
            now += f64::from(load.1.saturating_sub(1)) / f64::from(LOOKS);
            minute = load.0;
            runner.sleep(PAUSE)?;
        }
        Ok(Some(Self {
            others: others(now, minute),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }))
    }

    /// [`MachineLoad::look`]; `None` also where others leave room.
    ///
    /// # Errors
    /// As [`MachineLoad::look`].
    pub fn in_the_way(engine: &Engine, runner: &Runner) -> Result<Option<Self>> {
        Ok(Self::look(engine, runner)?.filter(|load| load.slowdown() > 1.0))
    }

    /// How many times as long a task takes that shares the processors with
    /// these: at least 1, at most 8.
    #[expect(clippy::cast_precision_loss, reason = "a handful of processors")]
    pub(crate) fn slowdown(self) -> f64 {
        ((self.others + 1.0) / self.processors as f64).clamp(1.0, MOST)
    }

    /// `12 other tasks want 2 processors`.
    pub(crate) fn shown(self) -> String {
        format!(
            "{:.0} other tasks want {} processors",
            self.others, self.processors
        )
    }

    /// What a run that is made again because of it is told to get:
    /// `12 other tasks want 2 processors: it gets 6.5 times its limits`.
    pub fn allowance(self) -> String {
        format!(
            "{}: it gets {:.1} times its limits",
            self.shown(),
            self.slowdown()
        )
    }

    /// A limit with that much more time. One of minutes has room as it is.
    pub fn patience(self, limit: Duration) -> Duration {
        limit.mul_f64(self.slowdown()).min(LONGEST.max(limit))
    }

    /// The budgets with that much more time; sizes stay.
    pub fn stretch(self, budgets: &Budgets) -> Budgets {
        let by = self.slowdown();
        Budgets {
            ready_seconds: budgets.ready_seconds * by,
            restart_seconds: budgets.restart_seconds * by,
            stop_seconds: budgets.stop_seconds * by,
            health_ms: budgets.health_ms * by,
            query_ms: budgets.query_ms * by,
            ..budgets.clone()
        }
    }
}

/// The load of the last minute, and the tasks that can run, of
/// `0.50 0.40 0.30 7/312 4711`.
fn loads(loadavg: &str) -> Option<(f64, u32)> {
    let mut fields = loadavg.split(' ');
    let minute = fields.next()?.parse().ok()?;
    let runnable = fields.nth(2)?.split_once('/')?.0.parse().ok()?;
    Some((minute, runnable))
}

/// Two seconds may lie between two compilers, and tasks that wait for a disk cannot
/// run: both are in the load of the last minute, and so is what was ours.
fn others(now: f64, minute: f64) -> f64 {
    now.max(minute - OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(others: f64) -> MachineLoad {
        MachineLoad {
            others,
            processors: 2,
        }
    }

    #[test]
    fn an_empty_machine_gives_no_more_time() {
        assert!((load(0.0).slowdown() - 1.0).abs() < 1e-9);
        assert!((load(1.0).slowdown() - 1.0).abs() < 1e-9, "one processor is free");
        assert!((load(5.0).slowdown() - 3.0).abs() < 1e-9);
        assert!((load(1e6).slowdown() - MOST).abs() < 1e-9);
    }

    #[test]
    fn times_are_stretched_and_sizes_are_not() {
        let budgets = crate::sample::spec().budgets;
        let stretched = load(3.0).stretch(&budgets);
        assert!((stretched.ready_seconds - budgets.ready_seconds * 2.0).abs() < 1e-9);
        assert!((stretched.health_ms - budgets.health_ms * 2.0).abs() < 1e-9);
        assert!((stretched.memory_mb - budgets.memory_mb).abs() < 1e-9);
        assert!((stretched.size_mb - budgets.size_mb).abs() < 1e-9);
    }

    #[test]
    fn limits_follow_the_load_as_far_as_anybody_waits() {
        let seconds = Duration::from_secs;
        assert_eq!(load(0.0).patience(seconds(3)), seconds(3));
        assert_eq!(load(9.0).patience(seconds(3)), seconds(15));
        assert_eq!(load(9.0).patience(seconds(60)), seconds(120));
        assert_eq!(load(9.0).patience(seconds(150)), seconds(150));
        let said = load(12.0).allowance();
        assert_eq!(
            said,
            "12 other tasks want 2 processors: it gets 6.5 times its limits"
        );
    }

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(loads("23.90 20.40 15.41 20/469 32505\n"), Some((23.90, 20)));
        assert_eq!(loads("23.90 20.40"), None);
    }

    #[test]
    fn a_lull_is_not_taken_for_a_machine_of_ours_alone() {
        assert!((others(5.0, 14.0) - 10.0).abs() < 1e-9);
        assert!((others(12.0, 8.0) - 12.0).abs() < 1e-9);
        assert!(
            others(0.0, 3.5).abs() < 1e-9,
            "what the gate itself did a moment ago"
        );
    }
}
