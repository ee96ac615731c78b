//! Files of a copy that are changed for a while, and put back.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

/// A file as it was.
pub(super) struct Undo {
    path: PathBuf,
    content: Content,
    mode: u32,
}

enum Content {
    File(Vec<u8>),
    Link(PathBuf),
}

impl Undo {
    /// Remembers a file or link as it is now.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let metadata = fs_err::symlink_metadata(path)?;
        let content = if metadata.is_symlink() {
            Content::Link(fs_err::read_link(path)?)
        } else {
            Content::File(fs_err::read(path)?)
        };
        Ok(Self {
            path: path.to_owned(),
            content,
            mode: metadata.permissions().mode(),
        })
    }

    /// Makes it so again, with another inode and time.
    pub(super) fn put_back(self) -> Result<()> {
        fs_err::remove_file(&self.path)?;
        match self.content {
            Content::Link(target) => fs_err::os::unix::fs::symlink(target, &self.path)?,
            Content::File(bytes) => {
                fs_err::write(&self.path, bytes)?;
                fs_err::set_permissions(&self.path, std::fs::Permissions::from_mode(self.mode))?;
            }
        }
        Ok(())
    }
}

/// Another time, umask and, where this may be done, owner.
pub(super) fn as_cloned_elsewhere(path: &Path) -> Result<()> {
    let mode = fs_err::metadata(path)?.permissions().mode();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o700))?;
    let file = fs_err::File::options().append(true).open(path)?;
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000))?;
    match std::os::unix::fs::chown(path, Some(12345), Some(12345)) {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undo_puts_back_files_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs_err::write(&file, "1").unwrap();
        fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        fs_err::os::unix::fs::symlink("file", &link).unwrap();
        let undo = [Undo::of(&file).unwrap(), Undo::of(&link).unwrap()];
        fs_err::write(&file, "2").unwrap();
        as_cloned_elsewhere(&file).unwrap();
        fs_err::remove_file(&link).unwrap();
        fs_err::write(&link, "3").unwrap();
        undo.into_iter().for_each(|undo| undo.put_back().unwrap());
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "1");
        assert_eq!(
            fs_err::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(fs_err::read_link(&link).unwrap(), Path::new("file"));
    }
}
