//! The service whose database an app alone uses: on which networks it is found, and
//! which password it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::handle::ServiceHandle;
use crate::seen::ContainerPlace;
use crate::wanted::ServiceOptions;

/// What an app alone is told of its database by, beside the password: whoever gives
/// one of these knows where that is.
const ELSEWHERE: [&str; 4] = [
    "HIVE_DATABASE_HOST",
    "HIVE_DATABASE_PORT",
    "HIVE_DATABASE_URL",
    "HIVE_DATABASE_URL_FILE",
];

/// The same as a file among the secrets.
const URL_SECRET: &str = "hive_database_url";

/// What a start writes down for the programs that come after it, the password included
/// wherever that is from.
const VALUES: &str = "/run/hive/values.json";

/// For what takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether these options say where the database is, which is then nobody's here.
pub fn is_told(options: &ServiceOptions) -> bool {
    let by_variable = ELSEWHERE
        .iter()
        .any(|name| options.environment.contains_key(*name));
    by_variable || options.secrets.contains_key(URL_SECRET)
}

/// How another container reaches the database of a service that runs.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseAccess {
    /// The networks on which it has its name, with the engine's IDs of them.
    pub(crate) networks: BTreeMap<String, String>,
    /// The password of the app's role.
    pub(crate) password: String,
}

impl DatabaseAccess {
    /// Of the service of `handle`, which is healthy.
    ///
    /// # Errors
    /// An environment failure where its container is gone or has written nothing down;
    /// an engine that does not answer.
    pub(crate) fn of(handle: &ServiceHandle) -> Result<Self> {
        let name = &handle.name;
        let gone = || {
            failure::environment(format!("container {name} is no longer there"))
                .hint(format!("cargo xtask up {name}"))
        };
        let ContainerPlace::Own(seen) = handle.place()? else {
            return Err(gone().into());
        };
        let container = handle.container(name.as_str());
        let values = container.exec(DEADLINE, &[], &["cat", VALUES], None)?;
        // What it prints is no part of an error: it is the password.
        if !values.status.success() {
            return Err(failure::environment(format!(
                "container {name} has no {VALUES}, in which its password stands"
            ))
            .hint(format!("start it again: cargo xtask restart {name}"))
            .into());
        }
        let values: Value = serde_json::from_slice(&values.stdout)
            .ok()
            .with_context(|| format!("{VALUES} of container {name} is not JSON"))?;
        let password = values.get("database_password").and_then(Value::as_str);
        let password = password.with_context(|| format!("{VALUES} of container {name} has no password"))?;
        Ok(Self {
            networks: seen.networks,
            password: password.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_says_where_the_database_is_needs_none_here() {
        let with = |variable: &str| ServiceOptions {
            environment: [(variable.to_owned(), "x".to_owned())].into(),
            ..ServiceOptions::default()
        };
        assert!(!is_told(&ServiceOptions::default()));
        assert!(!is_told(&with("HIVE_DATABASE_WAIT")));
        for variable in ELSEWHERE {
            assert!(is_told(&with(variable)), "{variable}");
        }
        let secrets = |name: &str| ServiceOptions {
            secrets: [(name.to_owned(), "x".to_owned())].into(),
            ..ServiceOptions::default()
        };
        assert!(is_told(&secrets(URL_SECRET)));
        assert!(
            !is_told(&secrets(crate::wanted::DATABASE_PASSWORD)),
            "only who logs in"
        );
    }
}
