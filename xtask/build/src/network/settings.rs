//! Where pip and uv look for packages on this machine. Pure.
//!
//! uv in the build gets what uv here would use: its variables as variables, and
//! what stands in files, which a project's own settings go before, as a file.
//! pip's settings count where uv has none of the kind.

mod pip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::address::{authority, is_loopback, is_token, login_of, without_login};
use pip::{PipKeys, read_pip};

/// Variables of uv that name indexes.
const UV_VARIABLES: [&str; 5] = [
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX_STRATEGY",
];

/// Variables of uv that say which versions count of those that an index has.
const UV_VERSIONS: [&str; 5] = [
    "UV_EXCLUDE_NEWER",
    "UV_EXCLUDE_NEWER_PACKAGE",
    "UV_NO_BUILD_PACKAGE",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
];

/// Variables that name files which say so.
const VERSIONS_IN_FILES: [&str; 5] = [
    "PIP_CONSTRAINT",
    "UV_BUILD_CONSTRAINT",
    "UV_CONSTRAINT",
    "UV_EXCLUDE",
    "UV_OVERRIDE",
];

/// What forbids every index: a build that asked one all the same would get what
/// nobody wants.
const NO_INDEX: [&str; 2] = ["UV_NO_INDEX", "PIP_NO_INDEX"];

/// What decides whether code of packages runs in a build, and which files of theirs count:
/// variables, and keys of `uv.toml` and of its table `pip`.
const OF_CODE: [&str; 9] = [
    "PIP_NO_BINARY",
    "PIP_ONLY_BINARY",
    "PIP_REQUIRE_HASHES",
    "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE",
    "UV_NO_BUILD",
    "UV_NO_SOURCES",
    "UV_NO_VERIFY_HASHES",
    "UV_REQUIRE_HASHES",
];
const KEYS_OF_CODE: [&str; 7] = [
    "no-binary",
    "no-binary-package",
    "no-build",
    "no-sources",
    "no-verify-hashes",
    "only-binary",
    "require-hashes",
];

/// Set in the steps where the indexes in uv's variables are those of pip's settings, which
/// an index of a list's own puts away.
const OF_PIP: &str = "HIVE_INDEXES_OF_PIP";

/// What names folders and pages of packages beside the indexes.
const FIND_LINKS: [&str; 2] = ["UV_FIND_LINKS", "PIP_FIND_LINKS"];

/// Keys of `uv.toml` that name indexes, and which versions count of those that they have.
const UV_KEYS: [&str; 13] = [
    "index",
    "index-url",
    "extra-index-url",
    "index-strategy",
    "build-constraint-dependencies",
    "constraint-dependencies",
    "exclude-dependencies",
    "exclude-newer",
    "exclude-newer-package",
    "no-build-package",
    "override-dependencies",
    "prerelease",
    "resolution",
];

/// The table of `uv.toml` that goes before its keys wherever `uv pip` installs.
const UV_PIP: &str = "pip";

/// The keys of that table that say the same.
const UV_PIP_KEYS: [&str; 7] = [
    "index-url",
    "extra-index-url",
    "index-strategy",
    "exclude-newer",
    "exclude-newer-package",
    "prerelease",
    "resolution",
];

/// A file of uv or pip that may name indexes.
#[derive(Clone, Debug)]
pub(super) struct SettingsFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The text of the file.
    pub text: String,
    /// Whose it is, and where in it the settings stand.
    pub form: SettingsForm,
}

/// What a file of settings looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettingsForm {
    /// A `uv.toml`.
    Uv,
    /// A `pyproject.toml`, with uv's settings in its table `tool.uv`.
    Project,
    /// A `pip.conf`.
    Pip,
}

impl SettingsFile {
    /// uv's settings in it; `None` for a file of pip's.
    ///
    /// # Errors
    /// A sentence for what is no TOML.
    pub(super) fn of_uv(&self) -> Result<Option<Table>, String> {
        if self.form == SettingsForm::Pip {
            return Ok(None);
        }
        let table: Table = self.text.parse().map_err(|_| {
            let shown = self.path.display();
            format!("{shown} is no TOML: the index settings in it cannot be used")
        })?;
        Ok(match self.form {
            SettingsForm::Project => Some(tool_uv(&table).cloned().unwrap_or_default()),
            _ => Some(table),
        })
    }
}

/// uv's settings in a `pyproject.toml`.
pub(super) fn tool_uv(project: &Table) -> Option<&Table> {
    project.get("tool")?.get("uv")?.as_table()
}

/// What the machine says of indexes.
#[derive(Clone, Debug, Default)]
pub(super) struct IndexSettings {
    variables: BTreeMap<String, String>,
    /// `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD` of the environment, by variable.
    credentials: BTreeMap<String, String>,
    uv_toml: Table,
    /// Each URL, with who names it.
    named: Vec<(String, String)>,
    /// Places of packages beside the indexes, each with who names it.
    pub(super) find_links: Vec<(String, String)>,
    /// Who names a file of this machine that says which versions count, and the file.
    pub(super) versions_in_file: Option<(String, String)>,
    /// For pip, which installs uv in the build.
    pip: BTreeMap<String, String>,
}

impl IndexSettings {
    /// Reads variables and files; later files win. `own` are uv's settings of the app
    /// itself, which come with it: what they say of indexes pip's do not.
    ///
    /// # Errors
    /// A sentence for a setting that a build cannot follow.
    pub(super) fn read(
        variables: &BTreeMap<String, String>,
        files: &[SettingsFile],
        own: &Table,
    ) -> Result<Self, String> {
        let mut settings = Self::default();
        for name in OF_CODE {
            if variables.get(name).is_some_and(|value| !is_off(value)) {
                return Err(of_code(name));
            }
        }
        for name in NO_INDEX {
            if variables.get(name).is_some_and(|value| !is_off(value)) {
                return Err(no_index(name));
            }
        }
        for name in FIND_LINKS {
            settings.find_links(name, variables.get(name).map_or("", String::as_str));
        }
        for (name, value) in variables {
            let name_of = name.as_str();
            if UV_VARIABLES.contains(&name_of) || UV_VERSIONS.contains(&name_of) {
                settings.variables.insert(name.clone(), value.clone());
            } else if is_credential(name) {
                settings.credentials.insert(name.clone(), value.clone());
            } else if let Some(name) = credential_of_poetry(name) {
                settings.credentials.entry(name).or_insert_with(|| value.clone());
            }
        }
        for file in files {
            if let Some(table) = file.of_uv()? {
                settings.read_uv(&file.path, &table)?;
            }
        }
        let mut pip = read_pip(files)?;
        for (name, key) in [
            ("PIP_INDEX_URL", "index-url"),
            ("PIP_EXTRA_INDEX_URL", "extra-index-url"),
        ] {
            if let Some(value) = variables.get(name) {
                pip.insert(key, (name.to_owned(), value.clone()));
            }
        }
        if let Some((file, places)) = pip.get("find-links") {
            settings.find_links(&format!("`find-links` in {file}"), places);
        }
        let named = VERSIONS_IN_FILES
            .iter()
            .find_map(|name| variables.get_key_value(*name));
        let of_pip = pip
            .get("constraint")
            .map(|(file, place)| (format!("`constraint` in {file}"), place.clone()));
        settings.versions_in_file = named
            .map(|(name, place)| (name.clone(), place.clone()))
            .or(of_pip);
        settings.take_pip(&pip, own);
        settings.name_all();
        let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        match settings.named.iter().find(|(_, url)| !is_url(url)) {
            None => Ok(settings),
            Some((source, place)) => Err(format!(
                "{source} names the package index {}, and no build step sees the files of this machine: name an address \
                 (http:// or https://)",
                without_login(place)
            )),
        }
    }

    fn read_uv(&mut self, path: &Path, table: &Table) -> Result<(), String> {
        let shown = path.display();
        let of_pip = table.get(UV_PIP).and_then(Value::as_table);
        for (name, table) in [("", Some(table)), ("pip.", of_pip)] {
            let Some(table) = table else { continue };
            if table.get("no-index").and_then(Value::as_bool) == Some(true) {
                return Err(no_index(&format!("`{name}no-index` in {shown}")));
            }
            if let Some(key) = KEYS_OF_CODE
                .into_iter()
                .find(|key| table.get(*key).is_some_and(is_said))
            {
                return Err(of_code(&format!("`{name}{key}` in {shown}")));
            }
            let places = table.get("find-links").and_then(Value::as_array);
            for place in places.into_iter().flatten().filter_map(Value::as_str) {
                // A path goes from the file that names it.
                let place = match place.contains("://") {
                    true => place.to_owned(),
                    false => path.with_file_name(place).display().to_string(),
                };
                self.find_links
                    .push((format!("`{name}find-links` in {shown}"), place));
            }
        }
        let taken = |table: &Table, keys: &[&str]| -> Vec<(String, Value)> {
            let found = keys.iter().filter_map(|key| table.get_key_value(*key));
            found.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        join(&mut self.uv_toml, taken(table, &UV_KEYS));
        let of_pip = of_pip.map(|table| taken(table, &UV_PIP_KEYS)).unwrap_or_default();
        if !of_pip.is_empty() {
            let all = self.uv_toml.entry(UV_PIP).or_insert_with(|| Table::new().into());
            if let Some(all) = all.as_table_mut() {
                join(all, of_pip);
            }
        }
        Ok(())
    }

    /// pip parts places by blanks, uv by commas.
    fn find_links(&mut self, source: &str, places: &str) {
        let places = places
            .split([',', ' ', '\t', '\n'])
            .filter(|place| !place.is_empty());
        self.find_links
            .extend(places.map(|place| (source.to_owned(), place.to_owned())));
    }

    /// pip's settings: for pip itself, and for uv where it has none.
    ///
    /// pip takes the highest version of all its indexes, uv asks one after the other, and
    /// what stands in more than one comes from the first: `index-url` goes before
    /// `extra-index-url`, and the public index after all others. Beside any index of uv's
    /// pip's more ones do not count, since uv would ask them first.
    fn take_pip(&mut self, pip: &PipKeys, own: &Table) {
        let (variables, all) = (&self.variables, [&self.uv_toml, own]);
        let has = |names: &[&str]| names.iter().any(|name| variables.contains_key(*name));
        let has_default =
            has(&["UV_DEFAULT_INDEX", "UV_INDEX_URL"]) || all.iter().any(|table| has_default(table));
        let has_any = has_default
            || has(&["UV_INDEX", "UV_EXTRA_INDEX_URL"])
            || all.iter().any(|table| has_more(table));
        let url = pip.get("index-url").map(|(_, url)| url.trim().to_owned());
        let more = pip.get("extra-index-url").map(|(_, urls)| urls.clone());
        let for_pip = url.clone().or_else(|| {
            let given = variables
                .get("UV_DEFAULT_INDEX")
                .or(variables.get("UV_INDEX_URL"))?;
            Some(url_of(given).to_owned())
        });
        let of_uv = url.clone().filter(|_| !has_default);
        let more_of_uv: Vec<String> = match &more {
            Some(more) if !has_any => more.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if of_uv.is_some() || !more_of_uv.is_empty() {
            let (mut indexes, public): (Vec<String>, Vec<String>) = of_uv
                .iter()
                .cloned()
                .chain(more_of_uv)
                .partition(|url| !is_public(url));
            indexes.extend(public);
            // Without a first one of its own pip asks the public one, too.
            if of_uv.is_some() || indexes.last().is_some_and(|url| is_public(url)) {
                let last = indexes.pop().unwrap_or_default();
                self.variables.insert("UV_DEFAULT_INDEX".to_owned(), last);
            }
            if !indexes.is_empty() {
                self.variables.insert("UV_INDEX".to_owned(), indexes.join(" "));
            }
            self.pip.insert(OF_PIP.to_owned(), "1".to_owned());
        }
        for (name, value) in [("PIP_INDEX_URL", for_pip), ("PIP_EXTRA_INDEX_URL", more)] {
            if let Some(value) = value {
                self.pip.insert(name.to_owned(), value);
            }
        }
        let indexes = pip.iter().filter(|(key, _)| key.ends_with("index-url"));
        for (_, (source, value)) in indexes {
            self.named.extend(
                value
                    .split_whitespace()
                    .map(|url| (source.clone(), url.to_owned())),
            );
        }
    }

    fn name_all(&mut self) {
        for (name, value) in self
            .variables
            .iter()
            .filter(|(name, _)| UV_VARIABLES.contains(&name.as_str()) && *name != "UV_INDEX_STRATEGY")
        {
            let urls = value.split_whitespace().map(url_of);
            self.named.extend(urls.map(|url| (name.clone(), url.to_owned())));
        }
        let of_tables = tables(&self.uv_toml).filter_map(|index| index.get("url"));
        let of_keys = [Some(&self.uv_toml), of_pip(&self.uv_toml)]
            .into_iter()
            .flatten()
            .flat_map(|table| ["index-url", "extra-index-url"].map(|key| table.get(key)))
            .flatten();
        let lists = of_tables.chain(of_keys).flat_map(|value| match value {
            Value::Array(many) => many.iter().collect::<Vec<_>>(),
            one => vec![one],
        });
        let urls = lists.filter_map(Value::as_str);
        let found: Vec<_> = urls.map(|url| ("uv.toml".to_owned(), url.to_owned())).collect();
        self.named.extend(found);
    }

    /// What the build steps' environment has of it.
    pub(super) fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let all = self.variables.iter().chain(&self.credentials).chain(&self.pip);
        all.map(|(name, value)| (name.clone(), value.clone()))
    }

    /// What uv reads as the user's settings.
    pub(super) fn uv_toml(&self) -> Option<String> {
        if self.uv_toml.is_empty() {
            return None;
        }
        // Of what stands there, texts, flags and lists of them, JSON is TOML.
        let lines = |table: &Table, keep: fn(&Value) -> bool| -> String {
            let values = table.iter().filter(|(_, value)| keep(value));
            values
                .map(|(key, value)| format!("{} = {}\n", key_of(key), serde_json::json!(value)))
                .collect()
        };
        let mut text = lines(&self.uv_toml, |value| {
            let is_list_of_tables = value
                .as_array()
                .is_some_and(|list| list.iter().any(Value::is_table));
            !is_list_of_tables && !value.is_table()
        });
        let is_of_pip = |key: &str| key == UV_PIP;
        for (key, table) in inner(&self.uv_toml).filter(|(key, _)| !is_of_pip(key)) {
            text.push_str(&format!("[{key}]\n{}", lines(table, |_| true)));
        }
        for index in tables(&self.uv_toml) {
            // `cache-control` is a table, and says nothing of which packages come.
            text.push_str(&format!("[[index]]\n{}", lines(index, |value| !value.is_table())));
        }
        if let Some(table) = of_pip(&self.uv_toml) {
            text.push_str(&format!(
                "[{UV_PIP}]\n{}",
                lines(table, |value| !value.is_table())
            ));
            for (key, table) in inner(table) {
                text.push_str(&format!("[{UV_PIP}.{key}]\n{}", lines(table, |_| true)));
            }
        }
        Some(text)
    }

    /// Whether the machine names the index that is asked when no other has a package.
    pub(super) fn has_default(&self) -> bool {
        let named = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"];
        named.iter().any(|name| self.variables.contains_key(*name)) || has_default(&self.uv_toml)
    }

    /// The URL of each index that somebody names, one for each time.
    pub(super) fn urls(&self) -> impl Iterator<Item = String> {
        self.named.iter().map(|(_, url)| url.clone())
    }

    /// What decides which packages come, without logins.
    pub(super) fn identity(&self) -> Option<String> {
        if self.variables.is_empty() && self.uv_toml.is_empty() && self.pip.is_empty() {
            return None;
        }
        let files = self.uv_toml().unwrap_or_default();
        let mut text = format!("{files}\n{:?}\n{:?}", self.variables, self.pip);
        for (_, url) in &self.named {
            text = text.replace(url.as_str(), &without_login(url));
        }
        Some(text)
    }

    /// The first index that only this machine reaches, with who names it.
    pub(super) fn on_loopback(&self) -> Option<(String, String)> {
        let found = self.named.iter().find(|(_, url)| is_loopback(url))?;
        Some((found.0.clone(), without_login(&found.1)))
    }

    /// What must be shown nowhere.
    pub(super) fn logins(&self) -> Vec<String> {
        let of_urls = self.named.iter().flat_map(|(_, url)| login_of(url));
        let secrets = self
            .credentials
            .iter()
            .filter(|(name, value)| name.ends_with("_PASSWORD") || is_token(value));
        of_urls.chain(secrets.map(|(_, value)| value.clone())).collect()
    }
}

fn tables(uv_toml: &Table) -> impl Iterator<Item = &Table> {
    let list = uv_toml.get("index").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_table)
}

/// Whether settings of uv's name the index that is asked when no other has a package.
fn has_default(uv_toml: &Table) -> bool {
    let is_default = |index: &Table| index.get("default").and_then(Value::as_bool) == Some(true);
    let keys = [Some(uv_toml), of_pip(uv_toml)];
    tables(uv_toml).any(is_default)
        || keys
            .into_iter()
            .flatten()
            .any(|table| table.contains_key("index-url"))
}

/// Whether they name more indexes, which any package may come from.
fn has_more(uv_toml: &Table) -> bool {
    let is_explicit = |index: &Table| index.get("explicit").and_then(Value::as_bool) == Some(true);
    let keys = [Some(uv_toml), of_pip(uv_toml)];
    tables(uv_toml).any(|index| !is_explicit(index))
        || keys
            .into_iter()
            .flatten()
            .any(|table| table.contains_key("extra-index-url"))
}

/// Whether an index is the one that everybody may put packages into.
fn is_public(url: &str) -> bool {
    ["pypi.org", "pypi.python.org", "test.pypi.org"].contains(&authority(url).1)
}

/// Whether a value switches something on, or names something.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Boolean(is_on) => *is_on,
        Value::Array(names) => !names.is_empty(),
        _ => true,
    }
}

/// A key as TOML has it: the name of a package may have a dot.
fn key_of(name: &str) -> String {
    match name.contains('.') {
        true => serde_json::json!(name).to_string(),
        false => name.to_owned(),
    }
}

/// The tables that stand in one.
fn inner(table: &Table) -> impl Iterator<Item = (&String, &Table)> {
    table
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_table()?)))
}

fn of_pip(uv_toml: &Table) -> Option<&Table> {
    uv_toml.get(UV_PIP).and_then(Value::as_table)
}

/// Takes the settings of a later file. uv puts its lists before those of the earlier
/// ones; of all else the later file's counts, name by name in a table.
fn join(all: &mut Table, later: Vec<(String, Value)>) {
    for (key, mut value) in later {
        if let (Value::Table(named), Some(Value::Table(earlier))) = (&mut value, all.get_mut(&key)) {
            earlier.extend(std::mem::take(named));
            continue;
        }
        if let (Value::Array(list), Some(Value::Array(earlier))) = (&mut value, all.get_mut(&key)) {
            list.append(earlier);
        }
        all.insert(key, value);
    }
}

/// `UV_INDEX_<NAME>_USERNAME` and `…_PASSWORD`. uv reads no other names than a
/// shell can export, and an environment may have others.
pub(super) fn is_credential(name: &str) -> bool {
    let exported = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    exported && name.starts_with("UV_INDEX_") && (name.ends_with("_USERNAME") || name.ends_with("_PASSWORD"))
}

/// uv's variable for a login that Poetry has in one of its own: a source of Poetry's has
/// the same name for uv.
fn credential_of_poetry(name: &str) -> Option<String> {
    let of_uv = format!("UV_INDEX_{}", name.strip_prefix("POETRY_HTTP_BASIC_")?);
    is_credential(&of_uv).then_some(of_uv)
}

pub(super) fn is_off(value: &str) -> bool {
    matches!(
        value.to_lowercase().as_str(),
        "" | "0" | "f" | "false" | "n" | "no" | "off"
    )
}

fn no_index(source: &str) -> String {
    format!("{source} forbids every package index, and a build installs from one: unset it for this command")
}

fn of_code(source: &str) -> String {
    format!(
        "{source} decides which packages are built, or which of their files count, and a build cannot follow that: say it \
         in the app (hashes in its list or lock; `[tool.uv]` of its pyproject.toml, or its uv.toml), and unset it for this command"
    )
}

/// An entry of `UV_INDEX` may have a name: `internal=https://…`.
fn url_of(entry: &str) -> &str {
    match entry.split_once('=') {
        Some((name, url)) if !name.contains(['/', ':']) => url,
        _ => entry,
    }
}
