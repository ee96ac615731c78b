//! Logs of containers that are gone: the last lines of each, in the state folder.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::handle::ServiceHandle;
use crate::names::ServiceName;
use host::report::Report;
use inputs::{clock, regular};

/// How many logs of a service stay.
const KEPT: usize = 10;

/// How many lines of a log are kept; the engine has up to 40 MB of it.
const LINES: u32 = 20_000;

/// Writes the end of a container's log, each line with its time, where it outlives the
/// container; older ones go. Returns the file.
///
/// # Errors
/// When the container is gone or the file cannot be written.
pub(crate) fn keep(handle: &ServiceHandle, container: &str, state: &Path) -> Result<PathBuf> {
    let text = handle.container(container).last_lines(LINES)?;
    let name = format!("{}.log", clock::stamp(SystemTime::now()));
    let path = folder(state, &handle.name).join(name);
    regular::replace(&path, format!("{text}\n").as_bytes())?;
    let all = logs(state, &handle.name)?;
    for old in &all[..all.len().saturating_sub(KEPT)] {
        fs_err::remove_file(old)?;
    }
    Ok(path)
}

/// The same of a container that is about to go, which it does without its log, too.
pub(crate) fn keep_or_say(handle: &ServiceHandle, container: &str, report: &Report, state: &Path) {
    if let Err(error) = keep(handle, container, state) {
        report.warn(format!(
            "the log of container {container} goes with it: {error:#}"
        ));
    }
}

/// The log of the service's container that went last; `None` where none is kept.
///
/// # Errors
/// When the folder cannot be read.
pub fn newest(state: &Path, name: &ServiceName) -> Result<Option<PathBuf>> {
    Ok(logs(state, name)?.pop())
}

/// All that are kept, the oldest first.
fn logs(state: &Path, name: &ServiceName) -> Result<Vec<PathBuf>> {
    let folder = folder(state, name);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for entry in fs_err::read_dir(&folder)? {
        let path = entry?.path();
        let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "log");
        if is_log(&path) {
            all.push(path);
        }
    }
    // Their names are times.
    all.sort();
    Ok(all)
}

fn folder(state: &Path, name: &ServiceName) -> PathBuf {
    state.join("services").join(name.as_str())
}

/// The lines of a kept log, each with its time where it has one.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn lines(path: &Path) -> Result<Vec<(Option<SystemTime>, String)>> {
    let bytes = regular::read(path).with_context(|| format!("read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let line = |line: &str| match line.split_once(' ') {
        Some((time, rest)) if clock::parse(time).is_some() => (clock::parse(time), rest.to_owned()),
        _ => (None, line.to_owned()),
    };
    Ok(text.lines().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use definition::spec::names::ImageName;

    #[test]
    fn the_newest_is_found_and_other_files_are_none() {
        let state = tempfile::tempdir().unwrap();
        let name = ServiceName::of(&ImageName::parse("genie").unwrap());
        assert_eq!(newest(state.path(), &name).unwrap(), None);
        let folder = folder(state.path(), &name);
        fs_err::create_dir_all(&folder).unwrap();
        for file in ["20261126T1.log", "20261126T2.log", "z.txt"] {
            fs_err::write(folder.join(file), "").unwrap();
        }
        let found = newest(state.path(), &name).unwrap().unwrap();
        assert_eq!(found, folder.join("20261126T2.log"));
    }

    #[test]
    fn lines_have_their_times() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), "2026-11-21T03:15:00.5Z app | a b\napp | x\n").unwrap();
        let lines = lines(file.path()).unwrap();
        assert_eq!(
            lines,
            [
                (clock::parse("2026-11-21T03:15:00.5Z"), "app | a b".to_owned()),
                (None, "app | x".to_owned()),
            ]
        );
        assert!(lines[0].0.is_some());
    }
}
