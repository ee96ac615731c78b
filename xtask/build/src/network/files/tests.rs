//! Machines, users and folders above apps with settings, and which of them count.

use std::collections::BTreeMap;

use super::*;
use crate::network::settings::IndexSettings;

/// A machine's folders below one of this test's.
struct Machine {
    dir: tempfile::TempDir,
    env: Environment,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let dirs = ["none", "xdg", "xdg2"].map(|name| dir.path().join(name).display().to_string());
        let network = BTreeMap::from([("XDG_CONFIG_DIRS".to_owned(), dirs.join(":"))]);
        let home = Some(dir.path().join("home"));
        Self {
            env: Environment {
                home,
                network,
                ..Environment::default()
            },
            dir,
        }
    }

    /// The same with a variable, whose value is a path below this test's folder.
    fn with(mut self, name: &str, below: &str) -> Self {
        let value = self.dir.path().join(below).display().to_string();
        self.env.network.insert(name.to_owned(), value);
        self
    }

    fn read(&self, app: &str) -> Result<Vec<SettingsFile>, String> {
        settings_files(&self.env, Some(&self.dir.path().join(app)))
    }

    /// Which of this test's files count, as they stand below its folder.
    fn found(&self, app: &str) -> Vec<String> {
        let found = self.read(app).unwrap();
        let below = found
            .iter()
            .filter_map(|file| file.path.strip_prefix(self.dir.path()).ok());
        below.map(|path| path.display().to_string()).collect()
    }

    /// What uv in the build reads of them.
    fn uv_toml(&self, app: &str) -> String {
        let found = self.read(app).unwrap();
        let own = found
            .into_iter()
            .filter(|file| file.path.starts_with(self.dir.path()));
        let own: Vec<SettingsFile> = own.collect();
        let settings = IndexSettings::read(&BTreeMap::new(), &own, &Table::new()).unwrap();
        settings.uv_toml().unwrap_or_default()
    }
}

const INTERNAL: &str =
    "[[index]]\nname = \"internal\"\nurl = \"https://internal.example/simple\"\ndefault = true\n";

#[test]
fn the_machines_settings_are_read_where_uv_and_pip_read_them() {
    let machine = Machine::new(&[
        ("xdg/uv/uv.toml", INTERNAL),
        ("xdg2/uv/uv.toml", "index-url = \"https://other.example\"\n"),
        ("xdg/pip/pip.conf", ""),
        ("xdg2/pip/pip.conf", ""),
        ("home/.config/uv/uv.toml", ""),
        ("home/.config/pip/pip.conf", ""),
    ]);
    // uv takes the first, pip all of them.
    assert_eq!(
        machine.found("app"),
        [
            "xdg/uv/uv.toml",
            "home/.config/uv/uv.toml",
            "xdg/pip/pip.conf",
            "xdg2/pip/pip.conf",
            "home/.config/pip/pip.conf"
        ]
    );
    assert!(machine.uv_toml("app").contains("https://internal.example/simple"));
}

#[test]
fn settings_of_a_folder_above_count_where_the_app_has_none() {
    let project = INTERNAL.replace("[[index]]", "[[tool.uv.index]]");
    let of_tools = "[tool.ruff]\nline-length = 100\n";
    let machine = Machine::new(&[
        ("mono/pyproject.toml", &project),
        ("mono/services/pyproject.toml", of_tools),
        ("mono/services/list/requirements.txt", "flask\n"),
        (
            "mono/services/bare/pyproject.toml",
            "[project]\nname = \"bare\"\n",
        ),
        ("mono/services/own/pyproject.toml", "[tool.uv]\npackage = false\n"),
        (
            "mono/services/file/uv.toml",
            "extra-index-url = [\"https://x.example\"]\n",
        ),
        ("broken/pyproject.toml", "[tool.uv\n"),
        ("broken/app/requirements.txt", "flask\n"),
        ("beside/pyproject.toml", &project),
        ("beside/uv.toml", ""),
        ("beside/app/requirements.txt", "flask\n"),
    ]);
    for app in ["mono/services/list", "mono/services/bare"] {
        assert_eq!(machine.found(app), ["mono/pyproject.toml"], "{app}");
        assert_eq!(
            machine.uv_toml(app),
            "[[index]]\ndefault = true\nname = \"internal\"\nurl = \"https://internal.example/simple\"\n"
        );
    }
    for app in ["mono/services/own", "mono/services/file", "broken/app"] {
        assert_eq!(machine.found(app), Vec::<String>::new(), "{app}");
    }
    assert_eq!(machine.found("beside/app"), ["beside/uv.toml"]);
}

#[test]
fn a_named_file_or_none_is_all_that_uv_reads() {
    let files = [
        ("xdg/uv/uv.toml", INTERNAL),
        ("mono/uv.toml", INTERNAL),
        ("corp/uv.toml", ""),
    ];
    let named = Machine::new(&files).with("UV_CONFIG_FILE", "corp/uv.toml");
    assert_eq!(named.found("mono/app"), ["corp/uv.toml"]);
    let mut none = Machine::new(&files);
    for (value, found) in [("1", &[][..]), ("false", &["xdg/uv/uv.toml", "mono/uv.toml"])] {
        none.env
            .network
            .insert("UV_NO_CONFIG".to_owned(), value.to_owned());
        assert_eq!(none.found("mono/app"), found, "{value}");
    }
    none.env
        .network
        .insert("UV_CONFIG_FILE".to_owned(), "/dev/null".to_owned());
    assert_eq!(none.found("mono/app"), Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_told_and_not_passed_over() {
    let gone = Machine::new(&[]).with("UV_CONFIG_FILE", "corp/uv.tml");
    let told = gone.read("app").unwrap_err();
    assert!(told.starts_with("UV_CONFIG_FILE names /"), "{told}");
    assert!(told.ends_with("corp/uv.tml, and there is no such file"), "{told}");
    for name in ["home/.config/uv/uv.toml", "home/.pip/pip.conf"] {
        let machine = Machine::new(&[]);
        let path = machine.dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, b"# caf\xe9\n").unwrap();
        let told = machine.read("app").unwrap_err();
        assert!(told.contains(name), "{told}");
        assert!(
            told.ends_with("packages would come from elsewhere without the index settings in it"),
            "{told}"
        );
    }
}

#[test]
fn pip_reads_the_machines_file_beside_a_named_one_and_a_venvs_beside_both() {
    let files = [
        ("xdg/pip/pip.conf", ""),
        ("home/.pip/pip.conf", ""),
        ("venv/pip.conf", ""),
        ("named.conf", ""),
    ];
    let machine = || Machine::new(&files).with("VIRTUAL_ENV", "venv");
    let [system, user, venv] = ["xdg/pip/pip.conf", "home/.pip/pip.conf", "venv/pip.conf"];
    assert_eq!(machine().found("app"), [system, user, venv]);
    let named = machine().with("PIP_CONFIG_FILE", "named.conf");
    assert_eq!(named.found("app"), [system, venv, "named.conf"]);
    // As pip takes it: one that is not there is none.
    let gone = machine().with("PIP_CONFIG_FILE", "gone");
    assert_eq!(gone.found("app"), [system, user, venv]);
    let mut none = machine();
    none.env
        .network
        .insert("PIP_CONFIG_FILE".to_owned(), "/dev/null".to_owned());
    assert_eq!(none.found("app"), Vec::<String>::new());
}
