//! The Python and shell of the container: unit tests of what needs no container,
//! and ruff and shellcheck over all of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::sandbox::{repository, repository_files, skipped};

/// Rules of shellcheck that are not for us: lists of packages are split on
/// purpose (SC2086), awk and perl have dollars of their own (SC2016), and what a
/// start writes is not there to be read (SC1091).
const NOT_FOR_US: &str = "--exclude=SC2086,SC2016,SC1091";

#[test]
fn the_pure_parts_do_what_they_say() {
    let mut python = Command::new("python3");
    python
        .args(["-m", "unittest", "discover", "--start-directory", "docker/tests"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "PYTHONPATH",
            repository().join("docker/rootfs/usr/local/lib/hive"),
        )
        .current_dir(repository());
    match python.output() {
        Ok(output) => {
            is_content(&output);
            // An older Python is content with no tests at all.
            assert!(!String::from_utf8_lossy(&output.stderr).contains("Ran 0 tests"));
        }
        Err(error) => skipped(&format!("no python3 to run unit tests with: {error}")),
    }
}

#[test]
fn ruff_finds_nothing() {
    let Some(ruff) = tool("ruff") else { return };
    let mut python = scripts("python");
    python.extend(repository_files("docker", ".py"));
    python.extend(repository_files("images/sample-app", ".py"));
    // What the tool runs in containers.
    python.extend(repository_files("xtask/data/src/inside", ".py"));
    python.extend(repository_files("xtask/definition/src", ".py"));
    python.extend(repository_files("xtask/smoke/src/checks", ".py"));
    assert!(python.len() > 20, "{python:?}");
    for verb in [&["check", "--no-cache"][..], &["format", "--check", "--no-cache"]] {
        let mut command = Command::new(&ruff);
        command
            .args(verb)
            .args(["--config", "docker/ruff.toml"])
            .args(&python);
        is_content(&command.current_dir(repository()).output().unwrap());
    }
}

#[test]
fn shellcheck_finds_nothing() {
    let Some(shellcheck) = tool("shellcheck") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut shell = scripts("sh");
    shell.extend(repository_files("xtask/data/src/inside", ".sh"));
    for dockerfile in [
        "images/genie/Dockerfile",
        "docker/bench/official.Dockerfile",
        "docker/bench/documents.Dockerfile",
    ] {
        let text = fs_err::read_to_string(repository().join(dockerfile)).unwrap();
        for (number, script) in heredocs(&text).into_iter().enumerate() {
            // Its name is what shellcheck says it of.
            let path = folder
                .path()
                .join(format!("{}.{number}", dockerfile.replace('/', ".")));
            fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            shell.push(path);
        }
    }
    assert!(shell.len() > 10, "{shell:?}");
    let mut command = Command::new(&shellcheck);
    command.arg(NOT_FOR_US).args(&shell);
    is_content(&command.current_dir(repository()).output().unwrap());
}

/// Fails with all that it printed unless it ended with 0.
#[track_caller]
fn is_content(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// A pinned tool of `docker/tests/tools.txt`, installed into the build folder
/// once; what `PATH` has where that cannot be done.
fn tool(name: &str) -> Option<PathBuf> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let why = match INSTALLED.get_or_init(install) {
        Ok(folder) if folder.join(name).is_file() => return Some(folder.join(name)),
        Ok(_) => "it is not for this machine".to_owned(),
        Err(why) => why.clone(),
    };
    let said = Command::new(name).arg("--version").output();
    if said.is_ok_and(|said| said.status.success()) {
        return Some(name.into());
    }
    skipped(&format!("no {name}, and it cannot be installed: {why}"));
    None
}

/// Where the tools' programs are.
fn install() -> Result<PathBuf, String> {
    let pinned = repository().join("docker/tests/tools.txt");
    let text = fs_err::read(&pinned).unwrap();
    let name = blake3::hash(&text).to_hex();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tools-{}", &name[..16]));
    if !folder.is_dir() {
        // Whole under its own name or not there: another test may be at it.
        let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let target = made.path().join("tools");
        let output = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--target"])
            .arg(&target)
            .arg("--requirement")
            .arg(&pinned)
            .output()
            .map_err(|error| format!("python3: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(said.lines().last().unwrap_or("pip failed").to_owned());
        }
        // An error is one where it is there by now.
        let renamed = fs_err::rename(&target, &folder);
        if !folder.is_dir() {
            return Err(format!("{renamed:?}"));
        }
    }
    Ok(folder.join("bin"))
}

/// Scripts without an ending, by the program that their first line names.
fn scripts(program: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["docker/rootfs", "ci", "xtask/engine/src"] {
        for entry in walkdir::WalkDir::new(repository().join(folder)) {
            let path = entry.unwrap().into_path();
            let Ok(text) = fs_err::read_to_string(&path) else {
                continue;
            };
            let first = text.lines().next().unwrap_or_default();
            if first.starts_with("#!")
                && first.contains(program)
                && path.extension().is_none_or(|e| e != "py")
            {
                found.push(path);
            }
        }
    }
    found
}

/// The scripts of a Dockerfile's `RUN <<'SH'`.
fn heredocs(text: &str) -> Vec<&str> {
    let scripts = text.split("<<'SH'\n").skip(1);
    scripts.map(|rest| rest.split("\nSH\n").next().unwrap()).collect()
}
