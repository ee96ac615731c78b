//! Regular files and nothing else, wherever somebody may have put something
//! else in a file's place: a FIFO that nobody writes to would block for ever,
//! `/dev/zero` never ends, and to open a device may move it. And files that are
//! written whole or not at all.

use std::fs::{File, FileType, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a file, or what a link leads to, for reading.
///
/// # Errors
/// `InvalidInput` for what is there and no regular file, with what it is.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    check(&path.metadata()?)?;
    // Something else may have taken its place since.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

/// Reads a file, or what a link leads to, as a whole.
///
/// # Errors
/// As for [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// As [`read`], for text: in UTF-8, or in what a mark at its beginning says, as
/// PowerShell and editors of Windows write it.
///
/// # Errors
/// As for [`open`], and `InvalidData` for what is no such text; with the path.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    let text = read(path).and_then(decoded);
    text.map_err(|error| {
        let message = format!("failed to read from file `{}`: {error}", path.display());
        io::Error::new(error.kind(), message)
    })
}

/// Bytes as text, whatever they are: as [`read_to_string`] decodes them, and with
/// signs in the place of what is none.
pub fn lossy(bytes: Vec<u8>) -> String {
    let as_they_are = String::from_utf8_lossy(&bytes).into_owned();
    decoded(bytes).unwrap_or(as_they_are)
}

fn decoded(bytes: Vec<u8>) -> io::Result<String> {
    fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, odd) = rest.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(invalid("half a character at its end"));
        }
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        String::from_utf16(&units).map_err(invalid)
    };
    match bytes.as_slice() {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8(rest.to_vec()).map_err(invalid),
        _ => String::from_utf8(bytes).map_err(invalid),
    }
}

/// A text that differs after every change of a file, or of the file that a link leads
/// to: its path, its inode, its size and both times. `None` where there is no file.
pub fn stamp(path: &Path) -> Option<String> {
    let facts = path.metadata().ok().filter(Metadata::is_file)?;
    Some(format!(
        "{} {} {} {}.{:09} {}.{:09}",
        path.display(),
        facts.ino(),
        facts.size(),
        facts.mtime(),
        facts.mtime_nsec(),
        facts.ctime(),
        facts.ctime_nsec()
    ))
}

/// Writes a file whole or not at all, in the place of what is there; its folder
/// is made if need be. Nobody but this user can read it.
///
/// # Errors
/// When the folder cannot be made or written to.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, 0o600, |_| Ok(())).map(drop)
}

/// As [`replace`], and on the disk when it returns: a machine that goes off leaves what was
/// there or what is there now.
///
/// # Errors
/// As for [`replace`].
pub fn replace_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = write(path, content, 0o600, File::sync_all)?;
    File::open(folder)?.sync_all()
}

/// As [`replace`], for a file that the umask says who can read: others may work
/// with the same checkout.
///
/// # Errors
/// As for [`replace`].
pub fn replace_shared(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, 0o666, |_| Ok(())).map(drop)
}

/// Says in which folder; `then` has the file before it gets its name.
fn write<'a>(
    path: &'a Path,
    content: &[u8],
    mode: u32,
    then: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<&'a Path> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs_err::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new()
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    temporary.write_all(content)?;
    then(temporary.as_file())?;
    temporary.persist(path)?;
    Ok(folder)
}

fn check(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let message = format!("a {}, not a file", kind(metadata.file_type()));
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// What it is called in messages.
pub(crate) fn kind(of: FileType) -> &'static str {
    match () {
        () if of.is_file() => "file",
        () if of.is_dir() => "directory",
        () if of.is_symlink() => "link",
        () if of.is_fifo() => "fifo",
        () if of.is_socket() => "socket",
        () => "device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};

    #[test]
    fn what_is_replaced_is_private_in_place_of_an_open_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("made/file");
        replace(&file, b"older and longer").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        replace(&file, b"secret").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"secret");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Whatever the umask of this process is, an ordinary file has it.
        std::fs::write(dir.path().join("ordinary"), "").unwrap();
        replace_shared(&file, b"shared").unwrap();
        let mode_of = |name: &str| {
            std::fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode_of("made/file"), mode_of("ordinary"));
        replace_durably(&file, b"on the disk").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"on the disk");
    }

    #[test]
    fn a_text_is_read_as_its_mark_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let wide = |unit: fn(u16) -> [u8; 2]| "\u{feff}größe 🙂\n".encode_utf16().flat_map(unit).collect();
        let bytes: [Vec<u8>; 4] = [
            "größe 🙂\n".into(),
            "\u{feff}größe 🙂\n".into(),
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
        ];
        for bytes in bytes {
            std::fs::write(&file, &bytes).unwrap();
            assert_eq!(read_to_string(&file).unwrap(), "größe 🙂\n", "{bytes:?}");
            assert_eq!(lossy(bytes), "größe 🙂\n");
        }
        for bytes in [&b"\xFF\xFEa"[..], b"\xFF\xFE\x00\xD8", b"a\xFF"] {
            std::fs::write(&file, bytes).unwrap();
            let error = read_to_string(&file).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(lossy(b"a\xFF".to_vec()), "a\u{fffd}");
    }

    #[test]
    fn only_files_are_read_and_nothing_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        assert_eq!(read(&at("file")).unwrap(), b"text");
        assert_eq!(read(&at("link")).unwrap(), b"text");

        mkfifoat(CWD, at("fifo"), Mode::RUSR).unwrap();
        std::os::unix::fs::symlink("fifo", at("to-fifo")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, said) in [
            ("fifo", "a fifo, not a file"),
            ("to-fifo", "a fifo, not a file"),
            ("socket", "a socket, not a file"),
            (".", "a directory, not a file"),
            ("/dev/zero", "a device, not a file"),
        ] {
            let error = read(&at(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), said);
        }
        assert_eq!(read(&at("nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
