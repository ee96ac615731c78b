//! For how long a start is waited for: a figure above its budget fails the gate, but a
//! machine that is slow has to get there all the same.

use super::Budgets;

/// A machine may be this many times as slow as the one that the budgets are for.
const SLOWER: f64 = 3.0;

/// Seconds on top, for what takes its time whatever the budget: the engine makes a
/// container, and looks at its health.
const ON_TOP: f64 = 5.0;

/// An engine counts no failed look at a container's health for at least so many seconds.
const SHORTEST_PERIOD: u64 = 60;

/// The seconds for which a start is waited for that shows no progress, by the seconds of
/// its budget.
pub const fn for_start(budget: f64) -> f64 {
    budget * SLOWER + ON_TOP
}

/// Seconds in which an engine does not count that a container is not healthy yet
/// (`--health-start-period`).
pub fn start_period(budgets: &Budgets) -> u64 {
    let longest = budgets.ready_seconds.max(budgets.restart_seconds);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the schema bounds it"
    )]
    let period = (longest * SLOWER).ceil() as u64;
    period.max(SHORTEST_PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_gets_three_times_the_budget() {
        assert!((for_start(20.0) - 65.0).abs() < 1e-9);
        let period = |ready_seconds, restart_seconds| {
            start_period(&Budgets {
                ready_seconds,
                restart_seconds,
                stop_seconds: 1.0,
                health_ms: 1.0,
                query_ms: 1.0,
                memory_mb: 1.0,
                size_mb: 1.0,
            })
        };
        assert_eq!(period(20.1, 6.0), 61);
        assert_eq!(period(20.0, 300.0), 900);
        assert_eq!(period(1.0, 1.0), SHORTEST_PERIOD);
    }
}
