//! Proxies of docker's own settings: what `docker build` gives its steps on such a machine. Here they
//! come as the variables would, so that a login among them is a secret as well.

use std::collections::BTreeMap;
use std::path::PathBuf;

use host::{Environment, proxies};

/// How docker's settings call what the variables say.
const NAMES: [(&str, &str); 4] = [
    ("http_proxy", "httpProxy"),
    ("https_proxy", "httpsProxy"),
    ("all_proxy", "allProxy"),
    ("no_proxy", "noProxy"),
];

/// Those that count, by their variables.
#[derive(Debug, Default)]
pub(super) struct DockerProxies {
    file: PathBuf,
    values: BTreeMap<String, String>,
}

impl DockerProxies {
    /// Those for the engine in use which no variable names.
    pub(super) fn of(env: &Environment) -> Self {
        let Some((file, settings)) = engine::docker_proxies(env) else {
            return Self::default();
        };
        let values = NAMES.iter().filter_map(|(variable, key)| {
            let value = settings.get(key)?.as_str()?;
            let counts = !value.is_empty() && proxies::named(&env.network, variable).is_none();
            counts.then(|| ((*variable).to_owned(), value.to_owned()))
        });
        let values = values.collect();
        Self { file, values }
    }

    /// The machine's variables with these.
    pub(super) fn beside(&self, variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let of_settings = self.values.clone().into_iter();
        of_settings.chain(variables.clone()).collect()
    }

    /// Who names a proxy, as the user knows it.
    pub(super) fn said(&self, variable: &str) -> String {
        let key = NAMES.iter().find(|(known, _)| *known == variable);
        match key.filter(|_| self.values.contains_key(variable)) {
            Some((_, key)) => format!("{key} of {}", self.file.display()),
            None => variable.to_owned(),
        }
    }
}
