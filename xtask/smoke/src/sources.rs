//! The sources that decide what the suite says: its own crate, all crates of
//! the workspace that it stands on, and the versions of everything else.
//!
//! The build script runs this and the suite's key covers what it gathers, so
//! that nothing has to be listed by hand: a check, a fault or a helper that is
//! new or changed makes old proofs not count. Uses the standard library alone,
//! since whatever a build script needs is compiled before everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The sources that decide what a suite says.
pub(crate) struct Sources {
    /// Everything, each part as a line with its name and length, then its bytes.
    pub(crate) text: Vec<u8>,
    /// Files and folders whose change makes another text.
    pub(crate) from: Vec<PathBuf>,
}

/// What of a crate counts: whatever is compiled, and by which settings.
const PARTS: [&str; 3] = ["Cargo.toml", "build.rs", "src"];

/// Gathers the sources of `package`, a crate of the workspace at `root`, and of
/// all that `Cargo.lock` says it depends on.
pub(crate) fn gather(root: &Path, package: &str) -> io::Result<Sources> {
    let manifest = root.join("Cargo.toml");
    let members = members(root, &fs::read_to_string(&manifest)?)?;
    let lock = root.join("Cargo.lock");
    let locked = Locked::parse(&fs::read_to_string(&lock)?);
    // Settings that the crates inherit.
    let mut files = BTreeSet::from([manifest.clone()]);
    let mut sources = Sources {
        text: Vec::new(),
        from: vec![manifest, lock],
    };
    for name in locked.all_below(package)? {
        match members.get(&name) {
            // By its content, wherever the checkout is.
            Some(folder) => {
                for part in PARTS.map(|part| folder.join(part)) {
                    if part.exists() {
                        collect(&part, &mut files)?;
                        sources.from.push(part);
                    }
                }
            }
            None => add(&mut sources.text, &name, locked.block(&name).as_bytes()),
        }
    }
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        add(
            &mut sources.text,
            &name.to_string_lossy(),
            &unix_lines(fs::read(&file)?),
        );
    }
    Ok(sources)
}

fn add(text: &mut Vec<u8>, name: &str, content: &[u8]) {
    text.extend_from_slice(format!("{name}\n{}\n", content.len()).as_bytes());
    text.extend_from_slice(content);
}

/// Checkouts may have other ends of lines, which mean nothing to the compiler.
fn unix_lines(bytes: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(line) => out.extend_from_slice(&[line, b"\n"].concat()),
            None => out.extend_from_slice(line),
        }
    }
    out
}

fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.insert(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

/// Name → folder of the workspace's crates.
fn members(root: &Path, manifest: &str) -> io::Result<BTreeMap<String, PathBuf>> {
    let list = manifest.split_once("members = [").map_or("", |(_, rest)| rest);
    let list = list.split_once(']').map_or("", |(list, _)| list);
    let mut members = BTreeMap::new();
    for path in list.split('"').skip(1).step_by(2) {
        if path.contains('*') {
            return Err(io::Error::other(format!(
                "Cargo.toml: write the member {path:?} without `*`"
            )));
        }
        let folder = root.join(path);
        let manifest = fs::read_to_string(folder.join("Cargo.toml"))?;
        let name = manifest.lines().find_map(|line| value(line, "name"));
        let name = name.ok_or_else(|| io::Error::other(format!("{path}/Cargo.toml has no name")))?;
        members.insert(name.to_owned(), folder);
    }
    Ok(members)
}

/// `Cargo.lock`, by the names of packages: several versions of one are one.
struct Locked(BTreeMap<String, Vec<String>>);

impl Locked {
    fn parse(lock: &str) -> Self {
        let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for block in lock.split("[[package]]").skip(1) {
            let lines = block.trim().lines();
            let block: String = lines.map(|line| format!("{line}\n")).collect();
            if let Some(name) = block.lines().find_map(|line| value(line, "name")) {
                packages.entry(name.to_owned()).or_default().push(block);
            }
        }
        Self(packages)
    }

    fn block(&self, name: &str) -> String {
        self.0.get(name).map(|blocks| blocks.concat()).unwrap_or_default()
    }

    /// A package and all that it depends on, whatever for.
    fn all_below(&self, package: &str) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut open = vec![package.to_owned()];
        while let Some(name) = open.pop() {
            if !self.0.contains_key(&name) {
                return Err(io::Error::other(format!("Cargo.lock has no package {name}")));
            }
            if found.insert(name.clone()) {
                // ` "name",` or, where there are several, ` "name 1.2.3",`.
                let block = self.block(&name);
                let names = block.lines().filter_map(|line| line.strip_prefix(" \""));
                open.extend(names.filter_map(|rest| Some(rest.split([' ', '"']).next()?.to_owned())));
            }
        }
        Ok(found)
    }
}

/// The text that a line of TOML gives to a key.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
    rest.trim().strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
// For the build script, too, whose module this is under another path.
#[path = "sources/tests.rs"]
mod tests;
