//! A Redis in the image, for an app that reads where one is.

use serde_json::{Value, json};

use crate::beside::{Companion, REDIS};
use crate::database::GivenVariable;
use crate::place::{Certainty, Detected};
use crate::settings::ReadVariable;

/// The distribution's package, and the program's name.
pub(crate) const PACKAGE: &str = "redis-server";
const PROGRAM: &str = "redis";

/// The variables that lead an app to a Redis, where it asks for a client of one:
/// the image has the program then. Empty for an app without such variables, which
/// may do without.
pub(crate) fn settings(
    services: &[Detected<Companion>],
    variables: &[Detected<ReadVariable>],
) -> Vec<Detected<GivenVariable>> {
    let asks = services.iter().any(|one| one.value.what == REDIS);
    variables
        .iter()
        .filter(|_| asks)
        .filter_map(|variable| {
            Some(Detected {
                value: GivenVariable {
                    name: variable.value.name.clone(),
                    value: value_of(&variable.value)?.to_owned(),
                    why: format!("the program `{PROGRAM}` of the image"),
                },
                place: variable.place.clone(),
                certainty: Certainty::Likely,
            })
        })
        .collect()
}

/// The program, which keeps nothing: what is to be kept is in PostgreSQL.
pub(crate) fn program() -> Value {
    json!({
        "name": PROGRAM,
        "command": [PACKAGE, "--save", "", "--bind", "127.0.0.1"],
        "starts_after": "nothing",
    })
}

fn value_of(variable: &ReadVariable) -> Option<&'static str> {
    let name = variable.name.to_uppercase();
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    let (last, before) = words.split_last()?;
    if !before.contains(&"REDIS")
        || before
            .iter()
            .any(|word| ["TEST", "TESTS", "SENTINEL"].contains(word))
    {
        return None;
    }
    match *last {
        "URL" | "URI" | "DSN" => Some("redis://127.0.0.1:6379/0"),
        "HOST" | "HOSTNAME" | "SERVER" | "ADDR" | "ADDRESS" => Some("127.0.0.1"),
        "PORT" => Some("6379"),
        "DB" | "DATABASE" if variable.required => Some("0"),
        // It is reached from within the container alone, and has none.
        "PASSWORD" if variable.required => Some(""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_the_program() {
        let value = |name: &str, required| {
            value_of(&ReadVariable {
                name: name.to_owned(),
                required,
                default: None,
                example: None,
                annotation: String::new(),
                is_made: false,
            })
        };
        assert_eq!(value("REDIS_URL", false), Some("redis://127.0.0.1:6379/0"));
        assert_eq!(value("SAQ_REDIS_DSN", true), Some("redis://127.0.0.1:6379/0"));
        assert_eq!(value("REDIS_CACHE_HOST", false), Some("127.0.0.1"));
        assert_eq!(value("REDIS_PORT", false), Some("6379"));
        assert_eq!(value("REDIS_PASSWORD", true), Some(""));
        for name in [
            "REDIS_PASSWORD",
            "REDIS_DB",
            "REDIS_TTL",
            "TEST_REDIS_URL",
            "REDIS_SENTINEL_HOST",
            "URL",
            "REDIS",
        ] {
            assert_eq!(value(name, false), None, "{name}");
        }
    }
}
