//! Where uv on this machine would fetch a Python. Pure.

use std::collections::BTreeMap;

use toml::Value;

use super::address;
use super::settings::SettingsFile;

/// Variables, each with the key of `uv.toml` that says the same.
const NAMES: [(&str, &str); 2] = [
    ("UV_PYTHON_INSTALL_MIRROR", "python-install-mirror"),
    ("UV_PYTHON_DOWNLOADS_JSON_URL", "python-downloads-json-url"),
];

/// What the machine says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct PythonSource {
    /// Variable → who says so, and its value.
    given: BTreeMap<&'static str, (String, String)>,
}

impl PythonSource {
    /// Reads variables and files; later files win, and variables over all.
    ///
    /// # Errors
    /// A sentence for what no build step sees.
    pub(super) fn read(variables: &BTreeMap<String, String>, files: &[SettingsFile]) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for file in files {
            let Some(table) = file.of_uv()? else { continue };
            for (name, key) in NAMES {
                if let Some(value) = table.get(key).and_then(Value::as_str) {
                    let source = format!("`{key}` in {}", file.path.display());
                    given.insert(name, (source, value.to_owned()));
                }
            }
        }
        for (name, _) in NAMES {
            if let Some(value) = variables.get(name).filter(|value| !value.is_empty()) {
                given.insert(name, (name.to_owned(), value.clone()));
            }
        }
        let is_url = |value: &str| value.starts_with("http://") || value.starts_with("https://");
        match given.values().find(|(_, value)| !is_url(value)) {
            None => Ok(Self { given }),
            Some((source, value)) => Err(format!(
                "{source} is {value:?}, and no build step sees the files of this machine: name an address (http:// or https://)"
            )),
        }
    }

    /// What the step's environment has of it.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given
            .iter()
            .map(|(name, (_, value))| (*name, value.as_str()))
    }

    /// What decides which Python comes, without logins.
    pub(super) fn identity(&self) -> Option<String> {
        let lines = self.variables();
        let lines = lines.map(|(name, value)| format!("{name}={}\n", address::without_login(value)));
        let text: String = lines.collect();
        (!text.is_empty()).then_some(text)
    }

    /// The first address that only this machine reaches, with who names it.
    pub(super) fn on_loopback(&self) -> Option<(String, String)> {
        let mut given = self.given.values();
        let (source, value) = given.find(|(_, value)| address::is_loopback(value))?;
        Some((source.clone(), address::without_login(value)))
    }

    /// What must be shown nowhere.
    pub(super) fn logins(&self) -> Vec<String> {
        self.variables()
            .flat_map(|(_, value)| address::login_of(value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::network::settings::SettingsForm;

    fn source(variables: &[(&str, &str)], uv_toml: &str) -> Result<PythonSource, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let file = SettingsFile {
            path: PathBuf::from("/etc/uv/uv.toml"),
            text: uv_toml.to_owned(),
            form: SettingsForm::Uv,
        };
        PythonSource::read(&variables.iter().map(owned).collect(), &[file])
    }

    #[test]
    fn a_mirror_of_variables_and_files_is_used_and_its_login_is_in_no_name() {
        assert_eq!(source(&[], "").unwrap().identity(), None);
        let file = "python-install-mirror = \"https://me:s3cret@mirror.example/python\"";
        let found = source(
            &[("UV_PYTHON_DOWNLOADS_JSON_URL", "https://j.example/d.json")],
            file,
        )
        .unwrap();
        assert_eq!(
            found.variables().collect::<Vec<_>>(),
            [
                ("UV_PYTHON_DOWNLOADS_JSON_URL", "https://j.example/d.json"),
                (
                    "UV_PYTHON_INSTALL_MIRROR",
                    "https://me:s3cret@mirror.example/python"
                ),
            ]
        );
        assert_eq!(
            found.identity().unwrap(),
            "UV_PYTHON_DOWNLOADS_JSON_URL=https://j.example/d.json\nUV_PYTHON_INSTALL_MIRROR=https://mirror.example/python\n"
        );
        assert!(found.logins().contains(&"s3cret".to_owned()));
        let over = source(&[("UV_PYTHON_INSTALL_MIRROR", "http://127.0.0.1:1/p")], file).unwrap();
        assert_eq!(
            over.on_loopback().unwrap(),
            (
                "UV_PYTHON_INSTALL_MIRROR".to_owned(),
                "http://127.0.0.1:1/p".to_owned()
            )
        );
    }

    #[test]
    fn a_folder_of_the_machine_is_refused_by_name() {
        for (variables, file, who) in [
            (
                &[("UV_PYTHON_INSTALL_MIRROR", "file:///srv/p")][..],
                "",
                "UV_PYTHON_INSTALL_MIRROR is \"file:///srv/p\"",
            ),
            (
                &[],
                "python-downloads-json-url = \"/srv/d.json\"",
                "`python-downloads-json-url` in /etc/uv/uv.toml is ",
            ),
        ] {
            let told = source(variables, file).unwrap_err();
            assert!(told.starts_with(who), "{told}");
        }
    }
}
