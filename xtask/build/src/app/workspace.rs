//! The uv workspace that a folder without a lock of its own belongs to.

use std::path::{Path, PathBuf};

use detect::dependencies;
use inputs::regular;

use toml::{Table, Value};

/// A workspace around a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its top, where its lock is.
    pub root: PathBuf,
    /// The name of the member that lies in the folder.
    pub member: String,
}

/// The workspace that says what is installed for the project in `folder`, which has no
/// lock or list of its own.
pub fn in_place_of(folder: &Path) -> Option<Workspace> {
    if dependencies::installed_from(|name| folder.join(name).is_file()).is_some() {
        return None;
    }
    let text = regular::read_to_string(&folder.join("pyproject.toml")).ok()?;
    around(folder, &text.parse().ok()?)
}

/// The workspace that `folder` is a member of, as its own `pyproject.toml` and
/// those above say.
pub(super) fn around(folder: &Path, project: &Table) -> Option<Workspace> {
    let folder = std::path::absolute(folder).ok()?;
    let member = project.get("project")?.get("name")?.as_str()?.to_owned();
    let root = folder.ancestors().skip(1).find(|above| {
        let text = regular::read_to_string(&above.join("pyproject.toml")).unwrap_or_default();
        let table = text.parse::<Table>().unwrap_or_default();
        let workspace = table
            .get("tool")
            .and_then(|tool| tool.get("uv"))
            .and_then(|uv| uv.get("workspace"));
        let names = |key: &str| {
            workspace
                .and_then(|workspace| workspace.get(key))
                .and_then(Value::as_array)
        };
        let below = folder.strip_prefix(above).unwrap_or(&folder);
        let is_named = |key: &str| {
            let mut patterns = names(key).into_iter().flatten().filter_map(Value::as_str);
            patterns.any(|pattern| matches(pattern, below))
        };
        is_named("members") && !is_named("exclude")
    })?;
    Some(Workspace {
        root: root.to_owned(),
        member,
    })
}

/// Whether a pattern such as `apps/*` means a path: part by part, with `*` and
/// `?` in each, and `**` for any number of parts.
fn matches(pattern: &str, path: &Path) -> bool {
    let pattern: Vec<&str> = pattern
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let path: Vec<String> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    parts_match(&pattern, &path)
}

fn parts_match(pattern: &[&str], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            parts_match(rest, path)
                || path
                    .split_first()
                    .is_some_and(|(_, after)| parts_match(pattern, after))
        }
        (Some((part, rest)), Some((name, after))) => {
            let part: Vec<char> = part.chars().collect();
            let name: Vec<char> = name.chars().collect();
            name_matches(&part, &name) && parts_match(rest, after)
        }
        _ => false,
    }
}

fn name_matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            name_matches(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, after)| name_matches(pattern, after))
        }
        (Some((one, rest)), Some((other, after))) => {
            (*one == '?' || one == other) && name_matches(rest, after)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_finds_its_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let member = dir.path().join("apps/api");
        fs_err::create_dir_all(&member).unwrap();
        let found = |workspace: &str| {
            let text = format!("[tool.uv.workspace]\n{workspace}\n");
            fs_err::write(dir.path().join("pyproject.toml"), text).unwrap();
            let project = "[project]\nname = 'api'\n".parse().unwrap();
            around(&member, &project).map(|found| (found.root, found.member))
        };
        let whole = Some((dir.path().to_owned(), "api".to_owned()));
        for members in ["apps/*", "./apps/api/", "**/api", "*/a?i"] {
            assert_eq!(found(&format!("members = ['{members}']")), whole, "{members}");
        }
        for other in [
            "members = ['apps']",
            "members = ['libs/*']",
            "members = ['apps/*']\nexclude = ['apps/api']",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
