//! The uv workspace that a folder without a lock of its own belongs to.

use std::path::{Path, PathBuf};

use detect::dependencies;
use inputs::regular;

use toml::Table;

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
        let below = folder.strip_prefix(above).unwrap_or(&folder);
        detect::workspace::has_member(&table, below)
    })?;
    Some(Workspace {
        root: root.to_owned(),
        member,
    })
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
