//! The programs of a container, as its supervisor tells them.

/// Asks the supervisor for the state of all its programs.
pub const STATUS: &str = "supervisorctl status";

/// `name STATE …` lines of `supervisorctl status`.
pub fn states(text: &str) -> Vec<(&str, &str)> {
    const STATES: [&str; 8] = [
        "STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN",
    ];
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, state) = (words.next()?, words.next()?);
            STATES.contains(&state).then_some((name, state))
        })
        .collect()
}
