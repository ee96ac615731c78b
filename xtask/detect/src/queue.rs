//! Programs that work off a queue, which is a service of its own.

use crate::database::GivenVariable;
use crate::findings::Findings;
use crate::place::Detected;
use crate::redis::words;

/// Whether a command works off a queue that the image does not have: it would end again
/// and again, or wait for ever.
pub(crate) fn lacks_queue(findings: &Findings, command: &str) -> bool {
    let Some(program) = program(command) else {
        return false;
    };
    let has_redis = !findings.redis.is_empty();
    let is_number_0 = |one: &Detected<GivenVariable>| {
        let (value, is_url) = (&one.value.value, one.value.value.contains("://"));
        !is_url || value.ends_with("/0")
    };
    match program {
        // Their queue is where the app's own code says, and always in a Redis.
        "arq" => !has_redis,
        // Theirs is in the first database of the Redis of this machine, whatever the code says.
        "rq" | "rqscheduler" => !has_redis || !findings.redis.iter().all(is_number_0),
        "celery" | "dramatiq" | "huey_consumer.py" => !has_redis || has_another_broker(findings),
        _ => false,
    }
}

/// What a command runs, behind variables for it alone and programs that only start it,
/// such as an agent that measures, with their options.
pub(crate) fn program(command: &str) -> Option<&str> {
    const STARTERS: [&[&str]; 9] = [
        &["newrelic-admin", "run-program"],
        &["ddtrace-run"],
        &["opentelemetry-instrument"],
        &["uv", "run"],
        &["poetry", "run"],
        &["pdm", "run"],
        &["pipenv", "run"],
        &["exec"],
        &["env"],
    ];
    let all: Vec<&str> = command.split_whitespace().collect();
    let mut words = all.as_slice();
    loop {
        let starter = STARTERS.iter().find(|starter| words.starts_with(starter));
        words = match (starter, words) {
            (Some(starter), _) => behind_options(&words[starter.len()..]),
            (None, ["python" | "python3", rest @ ..]) => match module(rest) {
                Some(module) => module,
                None => return words.first().copied(),
            },
            (None, [first, rest @ ..]) if first.contains('=') => rest,
            (None, _) => return words.first().copied(),
        };
    }
}

/// The words behind the options of a starter.
fn behind_options<'w, 't>(words: &'w [&'t str]) -> &'w [&'t str] {
    const WITH_A_VALUE: [&str; 13] = [
        "--directory",
        "--env-file",
        "--extra",
        "--group",
        "--only-group",
        "--package",
        "--project",
        "--python",
        "--unset",
        "--with",
        "-C",
        "-p",
        "-u",
    ];
    match words {
        [option, _, rest @ ..] if WITH_A_VALUE.contains(option) => behind_options(rest),
        [option, rest @ ..] if option.starts_with('-') => behind_options(rest),
        _ => words,
    }
}

/// What Python is given to run by `-m`, and its words, behind Python's own options.
fn module<'w, 't>(words: &'w [&'t str]) -> Option<&'w [&'t str]> {
    match words {
        ["-m", rest @ ..] => Some(rest),
        ["-W" | "-X", _, rest @ ..] => module(rest),
        [option, rest @ ..] if option.starts_with('-') => module(rest),
        _ => None,
    }
}

/// Whether a variable names a broker that no Redis was given for.
fn has_another_broker(findings: &Findings) -> bool {
    const BROKERS: [&str; 4] = ["AMQP", "BROKER", "RABBIT", "RABBITMQ"];
    let is_given = |name: &str| findings.redis.iter().any(|one| one.value.name == name);
    let mut others = findings.variables.iter().filter(|one| !is_given(&one.value.name));
    others.any(|one| {
        words(&one.value)
            .iter()
            .any(|word| BROKERS.contains(&word.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_behind_what_starts_it() {
        for (command, expected) in [
            ("celery -A shop worker", Some("celery")),
            (
                "newrelic-admin run-program celery --app=shop worker",
                Some("celery"),
            ),
            (
                "C_FORCE_ROOT=1 exec uv run python -m dramatiq shop",
                Some("dramatiq"),
            ),
            ("python -m shop.worker --queue=celery", Some("shop.worker")),
            ("newrelic-admin", Some("newrelic-admin")),
            ("uv run --no-dev celery -A shop worker", Some("celery")),
            ("uv run --group worker --no-sync rq worker", Some("rq")),
            ("env -i -u LANG PATH=/bin celery", Some("celery")),
            ("python -u -X dev -m celery -A shop", Some("celery")),
            ("python3 -u worker.py -m celery", Some("python3")),
            ("uv run", None),
            ("X=1", None),
            ("", None),
        ] {
            assert_eq!(program(command), expected, "{command}");
        }
    }
}
