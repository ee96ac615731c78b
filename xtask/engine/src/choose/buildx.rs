//! Which buildx the `docker` command has.
//!
//! To ask takes two processes. The answer is remembered for as long as neither
//! the command nor any buildx that it could find is another file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ANSWER_DEADLINE, Engine};
use host::Host;
use inputs::regular;

/// Where the command looks besides the user's folder (docker/cli,
/// cli-plugins/manager/manager_unix.go).
const SYSTEM_FOLDERS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// What `buildx version` said, so that it is not asked in every run.
#[derive(Debug, Serialize, Deserialize)]
struct Memo {
    /// Of the files that were there.
    key: String,
    /// The version that buildx told then, such as `v0.29.1`.
    version: String,
}

/// `v0.29.1`; `None` where the command has no buildx.
///
/// # Errors
/// When the command cannot be started or does not end, or on Ctrl-C.
pub(super) fn version(host: &Host, engine: &Engine) -> Result<Option<String>> {
    let file = host.cache_dir().join("buildx.json");
    let key = key(host);
    if let Some(memo) = recall(&file)
        && key.as_ref() == Some(&memo.key)
    {
        return Ok(Some(memo.version));
    }
    let output = engine
        .cmd(&host.runner, &["buildx", "version"])
        .deadline(ANSWER_DEADLINE)
        .output()?;
    if !output.success() {
        return Ok(None);
    }
    let said = output.stdout_text();
    let version = said.split_whitespace().nth(1).unwrap_or_default().to_owned();
    if let Some(key) = key {
        // A memo that is lost costs a second question only.
        keep(
            &file,
            &Memo {
                key,
                version: version.clone(),
            },
        )
        .ok();
    }
    Ok(Some(version))
}

fn recall(file: &Path) -> Option<Memo> {
    serde_json::from_slice(&regular::read(file).ok()?).ok()
}

fn keep(file: &Path, memo: &Memo) -> Result<()> {
    Ok(regular::replace(file, &serde_json::to_vec(memo)?)?)
}

/// Over the command and every buildx in reach; `None` where one of the two
/// cannot be found, and nothing can be remembered.
fn key(host: &Host) -> Option<String> {
    let docker = regular::stamp(&host.program("docker")?)?;
    let plugins: Vec<String> = folders(host)
        .iter()
        .filter_map(|folder| regular::stamp(&folder.join("docker-buildx")))
        .collect();
    if plugins.is_empty() {
        return None;
    }
    let text = format!("{docker}\n{}", plugins.join("\n"));
    Some(blake3::hash(text.as_bytes()).to_hex().to_string())
}

fn folders(host: &Host) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let home = host.env.home.as_ref().map(|home| home.join(".docker"));
    if let Some(own) = host.env.docker_config.clone().or(home) {
        let settings: Option<Value> = regular::read(&own.join("config.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let more = settings
            .as_ref()
            .and_then(|settings| settings.get("cliPluginsExtraDirs")?.as_array());
        folders.extend(
            more.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(PathBuf::from),
        );
        folders.push(own.join("cli-plugins"));
    }
    folders.extend(SYSTEM_FOLDERS.map(PathBuf::from));
    folders
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::*;
    use host::Environment;
    use host::process::Runner;
    use host::report::Report;

    /// A machine whose `docker` counts how often it is asked.
    fn machine(folder: &Path) -> Host {
        let docker = folder.join("bin/docker");
        let script = format!(
            "#!/bin/sh\necho asked >>{0}/asked\ncat {0}/answer\n",
            folder.display()
        );
        for (file, text) in [
            (&docker, script.as_str()),
            (&folder.join("config/cli-plugins/docker-buildx"), "one"),
        ] {
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, text).unwrap();
        }
        fs_err::write(folder.join("answer"), "github.com/docker/buildx v0.29.1 abc\n").unwrap();
        fs_err::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
        Host {
            env: Environment {
                hive_cache_dir: Some(folder.join("cache")),
                docker_config: Some(folder.join("config")),
                path: Some(folder.join("bin").into()),
                ..Environment::default()
            },
            root: folder.to_owned(),
            runner: Runner::new(Arc::default()).unwrap(),
            report: Report::new(true, false),
        }
    }

    #[test]
    fn it_is_asked_again_only_when_a_file_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let host = machine(folder.path());
        let engine = Engine::of_system(at("bin/docker"), &host.env);
        let asked = || fs_err::read_to_string(at("asked")).unwrap().lines().count();
        let ask = || version(&host, &engine).unwrap();
        assert_eq!(ask().as_deref(), Some("v0.29.1"));
        assert_eq!(ask().as_deref(), Some("v0.29.1"));
        assert_eq!(asked(), 1);
        fs_err::write(at("answer"), "github.com/docker/buildx v0.30.0 abc\n").unwrap();
        fs_err::write(at("config/cli-plugins/docker-buildx"), "another").unwrap();
        assert_eq!(ask().as_deref(), Some("v0.30.0"));
        fs_err::write(at("cache/buildx.json"), "{").unwrap();
        assert_eq!(ask().as_deref(), Some("v0.30.0"));
        assert_eq!(asked(), 3);
    }

    #[test]
    fn that_there_is_none_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let host = machine(folder.path());
        let docker = folder.path().join("bin/docker");
        fs_err::write(&docker, "#!/bin/sh\nexit 1\n").unwrap();
        let engine = Engine::of_system(docker, &host.env);
        assert_eq!(version(&host, &engine).unwrap(), None);
        assert!(!folder.path().join("cache/buildx.json").exists());
    }
}
