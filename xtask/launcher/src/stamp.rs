//! Whether the built tool is what cargo would build now. A stamp names all that
//! a build read, with times, sizes and inodes; it is written after a build and
//! removed before the next one.
//!
//! It is stricter than cargo, which only asks whether a file is younger than
//! the build: a file that another one of any age takes the place of is noticed,
//! too. Where in doubt there is no stamp, and cargo decides.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::variable;

/// In the names of variables that decide what cargo, rustc and the C compiler
/// make; a few more do no harm.
const DECIDING: [&str; 4] = ["CARGO", "RUST", "CC", "FLAGS"];

/// The stamp of a program in the folder of cargo's profile.
pub(crate) struct Stamp<'a> {
    root: &'a Path,
    program: PathBuf,
    /// Where cargo lists the sources.
    listing: PathBuf,
    /// Held by cargo as long as it builds.
    lock: PathBuf,
    file: PathBuf,
    cargo: &'a Path,
}

/// Seconds and nanoseconds of the file system's clock.
type Time = (i64, i64);

impl<'a> Stamp<'a> {
    pub(crate) fn new(root: &'a Path, folder: &Path, program: &str, cargo: &'a Path) -> Self {
        Self {
            root,
            program: folder.join(program),
            listing: folder.join(format!("{program}.d")),
            lock: folder.join(".cargo-lock"),
            file: folder.join(format!("{program}.stamp")),
            cargo,
        }
    }

    /// What was written; nothing where there is none.
    pub(crate) fn read(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    /// Whether nothing has changed since this was written.
    pub(crate) fn is_current(&self, written: &str) -> bool {
        let paths = written.lines().skip(1).filter_map(|line| line.split_once('\t'));
        let paths = paths.map(|(path, _)| PathBuf::from(path)).collect();
        self.text(&paths).is_ok_and(|(text, _)| text == written)
    }

    /// Whether a build left the program as it was although a source has changed
    /// since this was written: cargo goes by times alone, so it does not see a
    /// file that takes the place of a younger one, nor another checkout that
    /// shares the target folder.
    pub(crate) fn is_overlooked(&self, written: &str) -> bool {
        let mut lines = written.lines();
        let program = lines.next().and_then(|line| line.rsplit_once(' '));
        let now = fs::metadata(&self.program).map(|meta| facts(&meta));
        if now.ok().as_deref() != program.map(|(facts, _)| facts) {
            return false;
        }
        // But for the last time, which a change of the mode moves, too.
        let content = |line: &str| line.rsplit_once(' ').map(|(content, _)| content.to_owned());
        let known: BTreeSet<_> = lines.filter_map(content).collect();
        let sources = fs::read_to_string(&self.listing).map(|listing| sources(&listing));
        sources.unwrap_or_default().iter().any(|source| {
            let now = fs::metadata(source).ok().and_then(|meta| line(source, &meta));
            !now.is_some_and(|now| content(&now).is_some_and(|now| known.contains(&now)))
        })
    }

    /// Removes it before a build, and returns when.
    pub(crate) fn remove(&self) -> io::Result<Time> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::remove_file(&self.file).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        // An empty one tells the time by the file system's clock.
        let meta = File::create_new(&self.file)?.metadata()?;
        Ok((meta.mtime(), meta.mtime_nsec()))
    }

    /// Writes it, unless something has changed since `began`, before the build.
    pub(crate) fn write(&self, began: Time) -> io::Result<()> {
        // No other checkout's cargo puts its program here meanwhile.
        let lock = File::open(&self.lock)?;
        lock.lock()?;
        let sources = sources(&fs::read_to_string(&self.listing)?);
        // Where one did before, the list is not of this checkout.
        if sources.is_empty() || !sources.iter().all(|source| source.starts_with(self.root)) {
            return Ok(());
        }
        let mut paths = self.manifests(&sources);
        paths.extend(sources);
        let (text, youngest) = self.text(&paths)?;
        if youngest < began {
            fs::write(&self.file, text)?;
        }
        Ok(())
    }

    /// The manifests of all sources, and the folders where a new file can
    /// become part of a package without a word in another one.
    fn manifests(&self, sources: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let mut paths = BTreeSet::from([self.root.join("Cargo.toml"), self.root.join("Cargo.lock")]);
        for source in sources {
            paths.extend(source.parent().map(Path::to_owned));
            let inside = source
                .ancestors()
                .skip(1)
                .take_while(|folder| *folder != self.root);
            for folder in inside {
                let manifest = folder.join("Cargo.toml");
                if manifest.exists() {
                    paths.extend([manifest, folder.to_owned()]);
                }
            }
        }
        paths
    }

    /// What the stamp says now of these paths, and the youngest of their times.
    fn text(&self, paths: &BTreeSet<PathBuf>) -> io::Result<(String, Time)> {
        let program = facts(&fs::metadata(&self.program)?);
        let mut text = format!("{program} {:016x}\n", self.settings());
        let mut youngest = (0, 0);
        for path in paths {
            let meta = fs::metadata(path)?;
            text += &line(path, &meta).ok_or(io::ErrorKind::InvalidFilename)?;
            text.push('\n');
            youngest = youngest
                .max((meta.mtime(), meta.mtime_nsec()))
                .max((meta.ctime(), meta.ctime_nsec()));
        }
        Ok((text, youngest))
    }

    /// Which toolchain builds, and how: a digest, since a token for a registry
    /// may be among the variables.
    fn settings(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        let variables: BTreeSet<_> = std::env::vars_os()
            .filter(|(name, _)| DECIDING.iter().any(|part| name.to_string_lossy().contains(part)))
            .collect();
        variables.hash(&mut hash);
        let compiler = self.cargo.with_file_name("rustc");
        for program in [self.cargo, &compiler] {
            fs::metadata(program)
                .map(|meta| facts(&meta))
                .ok()
                .hash(&mut hash);
        }
        for folder in config_folders() {
            for name in ["config", "config.toml"] {
                if let Ok(config) = fs::read(folder.join(name)) {
                    (&folder, name, config).hash(&mut hash);
                }
            }
        }
        hash.finish()
    }
}

/// Where cargo looks for its configuration.
fn config_folders() -> Vec<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let mut folders: Vec<_> = here.ancestors().map(|folder| folder.join(".cargo")).collect();
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    folders.extend(variable("CARGO_HOME").map(PathBuf::from).or(home));
    folders
}

/// What a stamp says of a path; nothing of one that does not fit in a line.
fn line(path: &Path, meta: &fs::Metadata) -> Option<String> {
    let name = path.to_str().filter(|name| !name.contains(['\t', '\n']))?;
    Some(format!("{name}\t{}", facts(meta)))
}

/// What no change of a file leaves as it is.
fn facts(meta: &fs::Metadata) -> String {
    format!(
        "{}:{} {} {}.{:09} {}.{:09}",
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    )
}

/// The sources in one of cargo's `.d` files: `program: source source`, with a
/// backslash before each blank of a name.
fn sources(listing: &str) -> BTreeSet<PathBuf> {
    let Some((_, names)) = listing.split_once(": ") else {
        return BTreeSet::new();
    };
    let names = names.trim_end().replace("\\ ", "\0");
    let names = names.split(' ').filter(|name| !name.is_empty());
    names.map(|name| PathBuf::from(name.replace('\0', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_with_blanks_in_their_names() {
        let listing = "/a b/target/debug/xtask: /a\\ b/src/main.rs /a\\ b/x.json\n";
        let expected = ["/a b/src/main.rs", "/a b/x.json"].map(PathBuf::from);
        assert_eq!(sources(listing), BTreeSet::from(expected));
        assert_eq!(sources(""), BTreeSet::new());
    }
}
