//! Programs that work off a queue, which is a service of its own.

use crate::database::GivenVariable;
use crate::findings::Findings;
use crate::place::Detected;
use crate::redis::words;
use crate::words::program;

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
