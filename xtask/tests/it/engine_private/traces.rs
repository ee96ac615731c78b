//! What an engine leaves on the host: interfaces, routes, mounts, processes.
#![expect(clippy::disallowed_methods, reason = "tests are a world of their own")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What an engine could leave on the host.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    interfaces: BTreeSet<String>,
    routes: String,
    mounts: BTreeSet<String>,
}

impl Traces {
    pub(crate) fn of_host() -> Self {
        let names = |dir: &str| {
            std::fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
        };
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        Self {
            interfaces: names("/sys/class/net")
                .map(|name| name.into_string().unwrap())
                .collect(),
            routes: std::fs::read_to_string("/proc/net/route").unwrap(),
            mounts: mounts.lines().map(str::to_owned).collect(),
        }
    }
}

/// `pid command line` of all processes that name the folder, zombies left out.
pub(crate) fn processes_of(cache: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().into_string().unwrap();
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if pid.parse::<u32>().is_ok() && line.contains(&cache.display().to_string()) {
            found.push(format!("{pid} {line}"));
        }
    }
    found
}

/// The pid of the process that is `program`.
pub(crate) fn only(processes: &[String], program: &str) -> String {
    let mut found = processes.iter().filter_map(|line| {
        let (pid, line) = line.split_once(' ')?;
        line.starts_with(program).then(|| pid.to_owned())
    });
    found
        .next()
        .unwrap_or_else(|| panic!("no {program} in {processes:?}"))
}

pub(crate) fn kill_9(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "it did not come about"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
