//! Where the engine's API is, as the `docker` command would find it.
//!
//! A socket of this machine is spoken to directly. Everything else (ssh, TCP
//! with or without TLS) goes through `docker system dial-stdio`, which speaks
//! the same bytes and has the CLI's own credentials.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use host::Environment;
use inputs::hex;
use inputs::regular;

/// Where an engine is that nobody has said anything about; the CLI's default.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The context of nobody who has chosen one.
const DEFAULT_CONTEXT: &str = "default";

/// A way to the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine.
    Socket(PathBuf),
    /// What `docker system dial-stdio` reaches.
    Dial {
        /// The `docker` command: its path, or its name for `PATH`.
        docker: PathBuf,
        /// Variables that this command gets besides the environment's own.
        env: Vec<(String, String)>,
    },
}

impl Endpoint {
    /// What `docker` reaches without any flag: `DOCKER_HOST`, else the context
    /// of `DOCKER_CONTEXT`, else that of the settings, else the default socket.
    pub(crate) fn of_system(env: &Environment, docker: &Path) -> Self {
        let host = env.docker_host.clone().or_else(|| of_context(env));
        match socket(host.as_deref()) {
            Some(path) => Self::Socket(path),
            None => Self::Dial {
                docker: docker.to_owned(),
                env: Vec::new(),
            },
        }
    }
}

/// The socket of a host like `unix:///run/user/1000/docker.sock`; no host is
/// the default one. `None` for all that is no socket here.
fn socket(host: Option<&str>) -> Option<PathBuf> {
    let Some(host) = host else {
        return Some(PathBuf::from(DEFAULT_SOCKET));
    };
    let path = host.strip_prefix("unix://")?;
    Path::new(path).is_absolute().then(|| PathBuf::from(path))
}

/// The context in use, which is also the name of the builder inside of its
/// engine.
pub(crate) fn context(env: &Environment) -> String {
    let named = || {
        let of_settings = || {
            let settings = read(&settings_folder(env)?.join("config.json"))?;
            Some(settings.get("currentContext")?.as_str()?.to_owned())
        };
        env.docker_context.clone().or_else(of_settings)
    };
    // The host wins over every context.
    let name = if env.docker_host.is_some() { None } else { named() };
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| DEFAULT_CONTEXT.to_owned())
}

fn settings_folder(env: &Environment) -> Option<PathBuf> {
    let folder = env.docker_config.clone();
    folder.or_else(|| Some(env.home.as_ref()?.join(".docker")))
}

/// The proxies that docker's settings have for this engine, and the file: those of its address, or
/// `default` (docker/cli, `cli/config/configfile`).
pub(crate) fn proxies(env: &Environment) -> Option<(PathBuf, Value)> {
    let file = settings_folder(env)?.join("config.json");
    let settings = read(&file)?;
    let all = settings.get("proxies")?;
    let host = env.docker_host.clone().or_else(|| of_context(env));
    let host = host.unwrap_or_else(|| format!("unix://{DEFAULT_SOCKET}"));
    let taken = all.get(host).or_else(|| all.get("default"))?.clone();
    Some((file, taken))
}

/// The host of the context in use; `None` for the default one. A context that
/// cannot be read has a host that is no socket, so that the CLI says why.
fn of_context(env: &Environment) -> Option<String> {
    let folder = settings_folder(env);
    let name = Some(context(env)).filter(|name| name != DEFAULT_CONTEXT)?;
    // docker/cli, cli/context/store: the folder is named after the digest.
    let digest = hex::digits(&Sha256::digest(&name));
    let file = folder.map(|folder| folder.join("contexts/meta").join(digest).join("meta.json"));
    let meta = file.and_then(|file| read(&file));
    let host = meta
        .as_ref()
        .and_then(|meta| meta.pointer("/Endpoints/docker/Host")?.as_str());
    Some(host.unwrap_or_default().to_owned())
}

fn read(file: &Path) -> Option<Value> {
    serde_json::from_slice(&regular::read(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(env: &Environment) -> Endpoint {
        Endpoint::of_system(env, Path::new("docker"))
    }

    fn at(path: &str) -> Endpoint {
        Endpoint::Socket(path.into())
    }

    fn dial() -> Endpoint {
        Endpoint::Dial {
            docker: "docker".into(),
            env: Vec::new(),
        }
    }

    #[test]
    fn the_builder_is_that_of_the_context_in_use() {
        let of = |host: Option<&str>, context: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            super::context(&Environment {
                docker_host: owned(host),
                docker_context: owned(context),
                ..Environment::default()
            })
        };
        assert_eq!(of(None, None), "default");
        assert_eq!(of(None, Some("remote")), "remote");
        assert_eq!(of(Some("unix:///x"), Some("remote")), "default");
    }

    #[test]
    fn hosts_are_what_the_command_takes_them_for() {
        let host = |host: &str| {
            of(&Environment {
                docker_host: Some(host.to_owned()),
                ..Environment::default()
            })
        };
        assert_eq!(of(&Environment::default()), at(DEFAULT_SOCKET));
        assert_eq!(host("unix:///run/x.sock"), at("/run/x.sock"));
        for elsewhere in [
            "ssh://build",
            "tcp://127.0.0.1:2376",
            "unix://x.sock",
            "npipe://x",
        ] {
            assert_eq!(host(elsewhere), dial(), "{elsewhere}");
        }
    }

    #[test]
    fn the_proxies_are_those_of_the_engine_or_anybodys() {
        let home = tempfile::tempdir().unwrap();
        let env = |host: Option<&str>| Environment {
            docker_config: Some(home.path().to_owned()),
            docker_host: host.map(str::to_owned),
            ..Environment::default()
        };
        assert_eq!(proxies(&env(None)), None);
        let text =
            r#"{"proxies": {"default": {"httpProxy": "http://a"}, "unix:///b": {"httpProxy": "http://b"}}}"#;
        std::fs::write(home.path().join("config.json"), text).unwrap();
        let taken = |host: Option<&str>| proxies(&env(host)).unwrap().1["httpProxy"].clone();
        assert_eq!(taken(None), "http://a");
        assert_eq!(taken(Some("unix:///b")), "http://b");
        assert_eq!(taken(Some("tcp://c:2376")), "http://a");
    }

    #[test]
    fn contexts_are_followed_to_their_socket() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(".docker").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        // sha256("rootless")
        let meta = "contexts/meta/12b961af5feb3e9d39f93b2cefb9a1a944f18d02cca0cac2f04f5a982240605f/meta.json";
        let mut env = Environment {
            home: Some(home.path().to_owned()),
            ..Environment::default()
        };
        write("config.json", r#"{"auths": {}}"#);
        assert_eq!(of(&env), at(DEFAULT_SOCKET));
        write("config.json", r#"{"currentContext": "rootless"}"#);
        assert_eq!(of(&env), dial(), "a context that is not there");
        write(
            meta,
            r#"{"Name": "rootless", "Endpoints": {"docker": {"Host": "unix:///run/user/7/docker.sock"}}}"#,
        );
        assert_eq!(of(&env), at("/run/user/7/docker.sock"));
        write(meta, r#"{"Endpoints": {"docker": {"Host": "ssh://build"}}}"#);
        assert_eq!(of(&env), dial());
        env.docker_context = Some("default".to_owned());
        assert_eq!(of(&env), at(DEFAULT_SOCKET));
        env.docker_host = Some("unix:///run/other.sock".to_owned());
        assert_eq!(of(&env), at("/run/other.sock"), "DOCKER_HOST has the last word");
    }
}
