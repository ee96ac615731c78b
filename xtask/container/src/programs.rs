//! The programs of a container, as its supervisor tells them.

/// Asks the supervisor for the state of all its programs. By its path: an app may bring
/// a supervisor of its own, which comes first in `PATH`.
pub const STATUS: &str = "/usr/local/bin/supervisorctl status";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisor_is_asked_by_the_images_own_program() {
        let stage = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docker/stages/30-production.Dockerfile"
        );
        let stage = fs_err::read_to_string(stage).unwrap();
        let links = stage.lines().filter(|line| line.starts_with("ln -s "));
        let links: Vec<&str> = links.filter(|line| line.ends_with(" /usr/local/bin/")).collect();
        assert!(!links.is_empty());
        for link in links {
            assert!(link.contains("/usr/local/lib/hive/supervisorctl "), "{link}");
        }
        assert!(STATUS.starts_with("/usr/local/bin/supervisorctl "));
    }
}
