//! Where npm looks for packages on this machine, and its logins there: for the
//! front ends of apps. Pure.
//!
//! A project's own `.npmrc` is a file of the app, and goes before all of this in npm. One
//! with logins reaches no build: it is read here then.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::address::{is_loopback, is_token, login_of, without_login};

/// The variables of npm that count; it takes either spelling.
const REGISTRY: [&str; 2] = ["npm_config_registry", "NPM_CONFIG_REGISTRY"];
const USER_FILE: [&str; 2] = ["npm_config_userconfig", "NPM_CONFIG_USERCONFIG"];

/// Keys of a registry's login that are secrets; user names and addresses are none.
const SECRETS: [&str; 3] = [":_authToken", ":_auth", ":_password"];

/// An `.npmrc` of the machine, of the user, or of a project's that has logins.
#[derive(Clone, Debug)]
pub(super) struct NpmFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The text of the file.
    pub text: String,
    /// Of the project: a login in it may be for those who publish.
    pub is_own: bool,
}

/// Whether the `.npmrc` of a project is left out of a build.
pub(super) fn has_logins(text: &str) -> bool {
    inputs::context::holds_login(".npmrc", text)
}

/// Keys that a build decides on by itself, or that are a login's.
fn is_of_the_machine(key: &str) -> bool {
    const KEYS: [&str; 12] = [
        "ca",
        "cafile",
        "cache",
        "cert",
        "email",
        "globalconfig",
        "https-proxy",
        "key",
        "noproxy",
        "prefix",
        "proxy",
        "userconfig",
    ];
    let key = key.trim_end_matches("[]");
    KEYS.contains(&key)
        || ["_auth", "_password", "username"]
            .iter()
            .any(|part| key.contains(part))
}

/// What the machine says of npm's registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NpmSettings {
    /// `registry` and `@scope:registry` → who says so, and the URL.
    registries: BTreeMap<String, (String, String)>,
    /// `//host/path/:_authToken` and its like → the value.
    logins: BTreeMap<String, String>,
    /// Lines of a project's own file that no build has, which say how it is installed.
    of_project: Vec<String>,
}

/// The file of the user's settings, where a variable names one.
pub(super) fn user_file(variables: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = USER_FILE.iter().find_map(|name| variables.get(*name));
    named.map(PathBuf::from)
}

impl NpmSettings {
    /// Reads variables and files; later files win, and variables over files.
    ///
    /// # Errors
    /// A sentence for a variable in a file that a build cannot fill in.
    pub(super) fn read(variables: &BTreeMap<String, String>, files: &[NpmFile]) -> Result<Self, String> {
        let mut settings = Self::default();
        for NpmFile { path, text, is_own } in files {
            let shown = path.display().to_string();
            for line in text.lines() {
                let line = line.trim();
                if line.starts_with(['#', ';']) {
                    continue;
                }
                let Some((key, value)) = line.split_once('=') else {
                    continue;
                };
                let (key, value) = (key.trim(), value.trim().trim_matches(['"', '\'']));
                let is_registry = key == "registry" || key.starts_with('@') && key.ends_with(":registry");
                if !is_registry && !key.starts_with("//") {
                    if *is_own && !is_of_the_machine(key) && filled(value, variables).as_deref() == Ok(value)
                    {
                        settings.of_project.push(format!("{key}={value}\n"));
                    }
                    continue;
                }
                let value = match filled(value, variables) {
                    Err(_) if *is_own && !is_registry => continue,
                    filled => filled,
                };
                let value = value.map_err(|name| format!("{shown}: `{key}` has ${{{name}}}, which is not set for npm here: a build takes variables whose names start with NPM_ or npm_config_"))?;
                if is_registry {
                    settings.registries.insert(key.to_owned(), (shown.clone(), value));
                } else {
                    settings.logins.insert(key.to_owned(), value);
                }
            }
        }
        let named = REGISTRY
            .iter()
            .find_map(|name| Some((*name, variables.get(*name)?)));
        if let Some((name, url)) = named {
            let said = (name.to_owned(), url.clone());
            settings.registries.insert("registry".to_owned(), said);
        }
        Ok(settings)
    }

    /// The user's file of the build step: all registries, and the logins of the hosts
    /// that they or `texts`, the front ends' locks, name.
    pub(super) fn npmrc(&self, texts: &[String]) -> Option<String> {
        let registries = self.registries.iter().map(|(key, (_, url))| (key, url));
        let logins = self.wanted_logins(texts);
        let lines: Vec<String> = registries
            .chain(logins)
            .map(|(key, value)| format!("{key}={value}\n"))
            .chain(self.of_project.iter().cloned())
            .collect();
        (!lines.is_empty()).then(|| lines.concat())
    }

    fn wanted_logins<'s>(&'s self, texts: &'s [String]) -> impl Iterator<Item = (&'s String, &'s String)> {
        self.logins.iter().filter(move |(key, _)| {
            let host = key.trim_start_matches('/').split('/').next().unwrap_or_default();
            let at = format!("//{host}/");
            let named = |text: &str| format!("{text}/").contains(&at);
            self.registries
                .values()
                .any(|(_, url)| named(&without_login(url)))
                || texts.iter().any(|text| named(text))
        })
    }

    /// What decides where packages come from, and how they lie there, without logins.
    pub(super) fn identity(&self) -> Option<String> {
        let line = |(key, (_, url)): (&String, &(String, String))| format!("{key}={}\n", without_login(url));
        let registries = self.registries.iter().map(line);
        let lines: Vec<String> = registries.chain(self.of_project.iter().cloned()).collect();
        (!lines.is_empty()).then(|| lines.concat())
    }

    /// What must be shown nowhere of that which the build gets.
    pub(super) fn secrets(&self, texts: &[String]) -> Vec<String> {
        let of_urls = self.registries.values().flat_map(|(_, url)| login_of(url));
        let is_secret = |key: &str| SECRETS.iter().any(|end| key.ends_with(end));
        let given = self
            .wanted_logins(texts)
            .filter(|(key, value)| is_secret(key) || is_token(value));
        of_urls.chain(given.map(|(_, value)| value.clone())).collect()
    }

    /// The first registry that only this machine reaches, with who names it.
    pub(super) fn on_loopback(&self) -> Option<(String, String)> {
        let found = self.registries.values().find(|(_, url)| is_loopback(url))?;
        Some((found.0.clone(), without_login(&found.1)))
    }
}

/// A value with npm's `${NAME}` filled in. `Err` with the name of one that is not known;
/// `${NAME?}` is empty then.
fn filled(value: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, later)) = after.split_once('}') else {
            break;
        };
        text.push_str(before);
        let bare = name.trim_end_matches('?');
        match variables.get(bare) {
            Some(value) => text.push_str(value),
            None if bare != name => {}
            None => return Err(name.to_owned()),
        }
        rest = later;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], text: &str) -> Result<NpmSettings, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let file = NpmFile {
            path: PathBuf::from("/home/me/.npmrc"),
            text: text.to_owned(),
            is_own: false,
        };
        NpmSettings::read(&variables, &[file])
    }

    const FILE: &str = "; mine\nregistry = https://npm.corp.example/\n@corp:registry=\"https://git.corp.example/npm/\"\n\
        //npm.corp.example/:_authToken=${NPM_TOKEN}\n//git.corp.example/npm/:username=me\n\
        //git.corp.example/npm/:_password=cGFzcw==\n//elsewhere.example/:_authToken=never\nfund=false\n";

    #[test]
    fn the_other_keys_of_a_project_whose_file_is_left_out_still_count() {
        let own = NpmFile {
            path: PathBuf::from("/app/web/.npmrc"),
            text: "legacy-peer-deps=true\nnode-linker = hoisted\n# fund=false\npublic-hoist-pattern[]=*types*\n\
                   //npm.example/:_authToken=${NPM_TOKEN}\n_auth=abc\nemail=me@example.org\nproxy=http://me:pw@proxy/\n\
                   cafile=/home/me/ca.pem\n"
                .to_owned(),
            is_own: true,
        };
        let settings = NpmSettings::read(&BTreeMap::new(), &[own]).unwrap();
        let lines = "legacy-peer-deps=true\nnode-linker=hoisted\npublic-hoist-pattern[]=*types*\n";
        assert_eq!(settings.npmrc(&[]).unwrap(), lines);
        assert_eq!(
            settings.identity().unwrap(),
            lines,
            "another value is another build"
        );
        // Those of the machine's own file are the machine's.
        assert_eq!(read(&[], "legacy-peer-deps=true\n").unwrap().npmrc(&[]), None);
    }

    #[test]
    fn registries_and_their_logins_go_along_and_nobody_elses() {
        let settings = read(&[("NPM_TOKEN", "t0ken")], FILE).unwrap();
        assert_eq!(
            settings.npmrc(&[]).unwrap(),
            "@corp:registry=https://git.corp.example/npm/\nregistry=https://npm.corp.example/\n\
             //git.corp.example/npm/:_password=cGFzcw==\n//git.corp.example/npm/:username=me\n\
             //npm.corp.example/:_authToken=t0ken\n"
        );
        assert_eq!(settings.secrets(&[]), ["cGFzcw==", "t0ken"]);
        assert_eq!(
            settings.identity().unwrap(),
            "@corp:registry=https://git.corp.example/npm/\nregistry=https://npm.corp.example/\n"
        );
        // A lock names more hosts than the settings.
        let lock = ["\"resolved\": \"https://elsewhere.example/x/-/x-1.tgz\"".to_owned()];
        assert!(settings.secrets(&lock).contains(&"never".to_owned()));
    }

    #[test]
    fn a_variable_wins_over_files_and_another_login_is_the_same_registry() {
        let of = |url: &str| read(&[("NPM_CONFIG_REGISTRY", url)], "registry=https://file.example/").unwrap();
        let settings = of("https://me:secret@variable.example/");
        assert_eq!(
            settings.npmrc(&[]).unwrap(),
            "registry=https://me:secret@variable.example/\n"
        );
        assert!(settings.secrets(&[]).contains(&"secret".to_owned()));
        assert_eq!(
            settings.identity(),
            of("https://you:other@variable.example/").identity()
        );
        let loopback = of("http://localhost:4873/").on_loopback().unwrap();
        assert_eq!(loopback.0, "NPM_CONFIG_REGISTRY");
        assert_eq!(read(&[], "").unwrap().npmrc(&[]), None);
    }

    #[test]
    fn a_projects_own_file_counts_where_its_logins_keep_it_out_of_the_build() {
        let text = "@corp:registry=https://npm.example/\n//npm.example/:_authToken=${NPM_TOKEN}\n\
                    //publish.example/:_authToken=${CI_TOKEN}\n";
        assert!(has_logins(text));
        assert!(!has_logins(
            "@corp:registry=https://npm.example/\n# //npm.example/:_authToken=x\n"
        ));
        let file = |path: &str, text: &str, is_own| NpmFile {
            path: PathBuf::from(path),
            text: text.to_owned(),
            is_own,
        };
        let user = file("/home/me/.npmrc", "@corp:registry=https://old.example/\n", false);
        let own = file("/app/.npmrc", text, true);
        let variables = BTreeMap::from([("NPM_TOKEN".to_owned(), "t0ken".to_owned())]);
        let settings = NpmSettings::read(&variables, &[user, own]).unwrap();
        assert_eq!(
            settings.npmrc(&["https://publish.example/".to_owned()]).unwrap(),
            "@corp:registry=https://npm.example/\n//npm.example/:_authToken=t0ken\n"
        );
    }

    #[test]
    fn a_variable_that_a_build_does_not_have_is_told_by_name() {
        let told = read(&[], "//npm.corp.example/:_authToken=${CI_TOKEN}").unwrap_err();
        assert!(
            told.starts_with("/home/me/.npmrc: `//npm.corp.example/:_authToken` has ${CI_TOKEN}, which"),
            "{told}"
        );
        let optional = read(&[], "//a.example/:_authToken=${CI_TOKEN?}").unwrap();
        assert_eq!(optional.logins["//a.example/:_authToken"], "");
    }
}
