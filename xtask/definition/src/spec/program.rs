//! Programs of an image's own, beside PostgreSQL and the app: a worker, a
//! scheduler, a Redis from the distribution's packages.

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names that mean something else: the container's programs, its supervisor and
/// PID 1 in the log, and supervisorctl's word for all programs.
pub const RESERVED_NAMES: [&str; 8] = [
    "postgresql",
    "app",
    "health-monitor",
    "metrics",
    "archive",
    "supervisord",
    "hive",
    "all",
];

/// The most bytes of a name: file names and columns of the log have room for that.
const LONGEST_NAME: usize = 32;

/// The most seconds that all own programs together may take to stop: they are stopped
/// one after the other, and whoever stops the container has to wait for them
/// before PostgreSQL can shut down.
pub const MAX_STOP_SECONDS: u32 = 60;

/// A program of an image's own. It gets the app's user, folder and environment,
/// and is supervised as the app is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OwnProgram {
    /// Its name in the log, in `status` and for `logs --program`, such as
    /// `worker`.
    pub name: String,
    /// What runs, word by word, from the app's folder and in the foreground.
    /// `{port}` and the placeholders of `app.environment` are replaced.
    pub command: Vec<String>,
    /// What asks it to stop.
    #[serde(default)]
    pub stop_signal: StopSignal,
    /// Seconds that it gets to stop in, before SIGKILL.
    #[serde(default = "five")]
    #[cfg_attr(test, schemars(range(min = 1, max = 60)))]
    pub stop_seconds: u32,
    /// What has to work before it starts; what waits for it in turn is stopped
    /// after it.
    #[serde(default)]
    pub starts_after: StartsAfter,
    /// Whether the container ends where the program cannot be kept running. With
    /// `false` it goes on without the program, and its health check says so.
    #[serde(default = "yes")]
    pub fatal: bool,
}

fn five() -> u32 {
    5
}

fn yes() -> bool {
    true
}

/// The signal that asks a program to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// SIGTERM, what most programs expect.
    #[default]
    Term,
    /// SIGINT, as Ctrl-C sends it.
    Int,
    /// SIGQUIT, such as for a cold shutdown of Celery.
    Quit,
    /// SIGHUP, as a terminal that is closed sends it.
    Hup,
    /// SIGUSR1, whose meaning is the program's own.
    Usr1,
    /// SIGUSR2, whose meaning is the program's own.
    Usr2,
}

/// What a program waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StartsAfter {
    /// Starts at once and stops after the app: what the app itself needs.
    Nothing,
    /// The database answers, and `app.before_start` is done.
    #[default]
    Database,
    /// The app listens on its port.
    App,
}

/// What is wrong with the list beyond its shape and its commands: where, by the
/// path below `programs`, and why.
pub(super) fn problems(programs: &[OwnProgram]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (n, program) in programs.iter().enumerate() {
        let name = program.name.as_str();
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        let why = if !starts_well || name.len() > LONGEST_NAME || !name.bytes().all(good) {
            format!(
                "is {name:?}, must be 1 to {LONGEST_NAME} small letters, digits and hyphens that begin with a letter"
            )
        } else if RESERVED_NAMES.contains(&name) {
            format!("is {name:?}, which is the container's own: choose another one")
        } else if programs.iter().take(n).any(|other| other.name == name) {
            format!("{name:?} is used twice")
        } else {
            continue;
        };
        found.push((format!("[{n}].name"), why));
    }
    let seconds: u32 = programs.iter().map(|program| program.stop_seconds).sum();
    if seconds > MAX_STOP_SECONDS {
        found.push((
            String::new(),
            format!(
                "may take {seconds} s to stop, one after the other, and {MAX_STOP_SECONDS} s is the most that a container waits \
                 for all of them: lower `stop_seconds`"
            ),
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, stop_seconds: u32) -> OwnProgram {
        OwnProgram {
            name: name.to_owned(),
            command: vec!["sleep".to_owned()],
            stop_signal: StopSignal::Term,
            stop_seconds,
            starts_after: StartsAfter::Database,
            fatal: true,
        }
    }

    #[test]
    fn little_has_to_be_said() {
        let text = r#"{"name": "worker", "command": ["sleep"]}"#;
        let read: OwnProgram = serde_json::from_str(text).unwrap();
        assert_eq!(read, program("worker", 5));
    }

    #[test]
    fn names_are_files_words_and_each_ones_own() {
        let all = ["worker", "redis-7", "Worker", "app", "a b", "7", "all", "worker"];
        let all: Vec<OwnProgram> = all.iter().map(|name| program(name, 5)).collect();
        let found = problems(&all);
        let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(
            places,
            [
                "[2].name", "[3].name", "[4].name", "[5].name", "[6].name", "[7].name"
            ]
        );
        assert!(found[1].1.contains("is the container's own"), "{found:?}");
        assert_eq!(found[5].1, "\"worker\" is used twice");
    }

    #[test]
    fn together_they_stop_in_time() {
        assert_eq!(problems(&[program("a", 30), program("b", 30)]), []);
        let found = problems(&[program("a", 30), program("b", 31)]);
        assert_eq!(found.len(), 1);
        assert!(found[0].1.starts_with("may take 61 s to stop"), "{found:?}");
    }
}
