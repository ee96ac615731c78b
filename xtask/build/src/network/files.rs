//! Which files of pip and uv on this machine name where packages come from.

use std::io;
use std::path::{Path, PathBuf};

use toml::Table;

use super::settings::{SettingsFile, SettingsForm, is_off, tool_uv};
use host::Environment;
use inputs::regular;

/// The settings of pip and uv, in files of the machine, of the user and of folders
/// above the app; what comes later wins.
///
/// # Errors
/// A sentence for a file that is there, or that a variable names, and cannot be read:
/// without it packages would come from elsewhere.
pub(super) fn settings_files(env: &Environment, app: Option<&Path>) -> Result<Vec<SettingsFile>, String> {
    let mut found = Vec::new();
    match env.network.get("UV_CONFIG_FILE") {
        // uv reads no other file then.
        Some(named) if named == "/dev/null" => {}
        Some(named) => {
            let read = readable(Path::new(named))?;
            let text =
                read.ok_or_else(|| format!("UV_CONFIG_FILE names {named}, and there is no such file"))?;
            found.push(file(Path::new(named), text, SettingsForm::Uv));
        }
        None if is_on(env, "UV_NO_CONFIG") => {}
        None => {
            for path in [of_machine(env), Some(config_home(env).join("uv/uv.toml"))]
                .into_iter()
                .flatten()
            {
                if let Some(text) = readable(&path)? {
                    found.push(file(&path, text, SettingsForm::Uv));
                }
            }
            if let Some(app) = app {
                found.extend(above(app)?);
            }
        }
    }
    for path in pip_files(env) {
        if let Some(text) = readable(&path)? {
            found.push(file(&path, text, SettingsForm::Pip));
        }
    }
    Ok(found)
}

fn file(path: &Path, text: String, form: SettingsForm) -> SettingsFile {
    SettingsFile {
        path: path.to_owned(),
        text,
        form,
    }
}

/// The text of a file; `None` where none is there.
fn readable(path: &Path) -> Result<Option<String>, String> {
    match regular::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(format!(
            "{error}: packages would come from elsewhere without the index settings in it"
        )),
    }
}

fn is_on(env: &Environment, name: &str) -> bool {
    env.network.get(name).is_some_and(|value| !is_off(value))
}

fn config_home(env: &Environment) -> PathBuf {
    let named = env.network.get("XDG_CONFIG_HOME").map(PathBuf::from);
    named.unwrap_or_else(|| env.home.clone().unwrap_or_default().join(".config"))
}

/// The folders with settings of the whole machine, by what goes before.
fn config_dirs(env: &Environment) -> Vec<PathBuf> {
    let named = env
        .network
        .get("XDG_CONFIG_DIRS")
        .map_or("/etc/xdg", String::as_str);
    named
        .split(':')
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .collect()
}

/// The one file that uv reads of the machine's.
fn of_machine(env: &Environment) -> Option<PathBuf> {
    let dirs = config_dirs(env).into_iter().chain([PathBuf::from("/etc")]);
    dirs.map(|dir| dir.join("uv/uv.toml")).find(|path| path.is_file())
}

/// uv's settings in the nearest folder above the app that has some, where the app has
/// none itself: uv looks no further than the first.
fn above(app: &Path) -> Result<Option<SettingsFile>, String> {
    let app = std::path::absolute(app).unwrap_or_else(|_| app.to_owned());
    for folder in app.ancestors() {
        let path = folder.join("uv.toml");
        let found = match readable(&path)? {
            Some(text) => Some(file(&path, text, SettingsForm::Uv)),
            None => {
                let path = folder.join("pyproject.toml");
                // What is no TOML uv passes over.
                let project = regular::read_to_string(&path).ok();
                let project = project.filter(|text| {
                    let table = text.parse::<Table>().unwrap_or_default();
                    tool_uv(&table).is_some()
                });
                project.map(|text| file(&path, text, SettingsForm::Project))
            }
        };
        if found.is_some() {
            // The app's own come with the app.
            return Ok(found.filter(|_| folder != app));
        }
    }
    Ok(None)
}

/// uv's settings of the app itself.
pub(super) fn of_app(app: &Path) -> Table {
    let read = |name: &str| regular::read_to_string(&app.join(name)).ok();
    let table = |text: String| text.parse::<Table>().unwrap_or_default();
    match read("uv.toml") {
        Some(text) => table(text),
        None => {
            let project = read("pyproject.toml").map(table).unwrap_or_default();
            tool_uv(&project).cloned().unwrap_or_default()
        }
    }
}

/// Which of its files pip reads: of the user's and the named one just one, those of the
/// machine and of a virtual environment always, and none at all where `/dev/null` is named.
fn pip_files(env: &Environment) -> Vec<PathBuf> {
    let home = env.home.clone().unwrap_or_default();
    let named = env.network.get("PIP_CONFIG_FILE").map(PathBuf::from);
    if named.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let named = named.filter(|path| path.exists());
    let dirs = config_dirs(env).into_iter().map(|dir| dir.join("pip/pip.conf"));
    let mut files: Vec<PathBuf> = dirs.chain([PathBuf::from("/etc/pip.conf")]).collect();
    if named.is_none() {
        files.extend([home.join(".pip/pip.conf"), config_home(env).join("pip/pip.conf")]);
    }
    let of_venv = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .iter()
        .find_map(|name| env.network.get(*name));
    files.extend(of_venv.map(|venv| Path::new(venv).join("pip.conf")));
    files.extend(named);
    files
}

#[cfg(test)]
mod tests;
