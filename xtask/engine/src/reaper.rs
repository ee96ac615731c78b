//! Removes what killed runs left behind, and nothing of runs that still go on.
//!
//! A run's id is `<pid>-<start time of that process>-<boot>-<host>`, so that
//! any later run on this host can tell whether it is alive, without a side
//! file. An engine may serve several hosts (or containers that share its
//! socket): runs of other hosts are never touched.

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::process::Pid;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::api::{escaped, filters};
use super::{Engine, RUN_LABEL};
use host::process::Runner;
use inputs::hex;

/// The id of this very run.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn run_id() -> Result<String> {
    let pid = std::process::id();
    let started = start_time(pid).unwrap_or_default();
    Ok(format!("{pid}-{started}-{}-{}", boot_id()?, host_id()))
}

/// Whether the run with this id still goes on. An id that is not of this host
/// counts as alive: what we cannot judge we do not remove.
pub fn is_alive(run: &str) -> bool {
    let parts: Vec<&str> = run.split('-').collect();
    let &[pid, started, boot, host] = parts.as_slice() else {
        return true;
    };
    let (Ok(pid), Ok(started)) = (pid.parse::<i32>(), started.parse::<u64>()) else {
        return true;
    };
    if host != host_id() {
        return true;
    }
    boot_id().is_ok_and(|now| now == boot) && process_is_alive(pid, started)
}

/// Whether it can be told here if the run with this id still goes on.
pub fn is_of_this_host(run: &str) -> bool {
    run.split('-').nth(3) == Some(host_id().as_str())
}

/// Whether this very process is there. Only the kernel's "no such process" says
/// that it is not: with `hidepid` /proc does not show those of other users, and
/// then a number that was given out again counts as alive, too.
fn process_is_alive(pid: i32, started: u64) -> bool {
    let Some(handle) = Pid::from_raw(pid) else {
        return false;
    };
    if rustix::process::test_kill_process(handle) == Err(Errno::SRCH) {
        return false;
    }
    let pid = pid.cast_unsigned();
    // Whoever should have asked how it ended is gone, too.
    let is_over = stat(pid).is_some_and(|fields| fields.starts_with(['Z', 'X']));
    !is_over && start_time(pid).is_none_or(|now| now == started)
}

/// What a run can leave, in the order in which it can be removed.
const KINDS: [ResourceKind; 3] = [
    ResourceKind {
        list: "/containers/json?all=1&",
        within: "",
        name: "Id",
        remove: ("/containers/", "?force=1&v=1"),
    },
    ResourceKind {
        list: "/volumes?",
        within: "/Volumes",
        name: "Name",
        remove: ("/volumes/", "?force=1"),
    },
    ResourceKind {
        list: "/networks?",
        within: "",
        name: "Id",
        remove: ("/networks/", ""),
    },
];

/// How the API lists and removes things of a kind.
struct ResourceKind {
    list: &'static str,
    /// Where in the answer the list is.
    within: &'static str,
    /// The key that names one.
    name: &'static str,
    remove: (&'static str, &'static str),
}

/// Removes containers, networks and volumes of dead runs; returns how many.
///
/// # Errors
/// When the engine does not answer.
pub fn reap(engine: &Engine, runner: &Runner) -> Result<usize> {
    remove(engine, runner, |run| !is_alive(run))
}

/// The same of one run, of which somebody knows that it is over, wherever it was.
///
/// # Errors
/// As [`reap`].
pub fn remove_run(engine: &Engine, runner: &Runner, run: &str) -> Result<usize> {
    remove(engine, runner, |one| one == run)
}

fn remove(engine: &Engine, runner: &Runner, is_over: impl Fn(&str) -> bool) -> Result<usize> {
    let mut count = 0;
    let filters = filters("label", &[RUN_LABEL.to_owned()]);
    for kind in &KINDS {
        let listed: Value = engine
            .api
            .document(runner, &format!("{}{filters}", kind.list))
            .context("look for leftovers of killed runs")?;
        let found = listed.pointer(kind.within).and_then(Value::as_array);
        for one in found.into_iter().flatten() {
            let run = one
                .get("Labels")
                .and_then(|labels| labels.get(RUN_LABEL)?.as_str());
            let name = one.get(kind.name).and_then(Value::as_str);
            let (Some(run), Some(name)) = (run, name) else {
                continue;
            };
            if !is_over(run) || is_inherited(engine, runner, one, run)? {
                continue;
            }
            let (before, after) = kind.remove;
            let answer = engine
                .api
                .send(runner, "DELETE", &format!("{before}{}{after}", escaped(name)))?;
            // Two reapers at once: the other one may have been faster.
            count += usize::from(answer.good().is_ok());
        }
    }
    Ok(count)
}

/// Whether a container has its run's label from its image: somebody has
/// committed one of ours, and what is made of that is not ours.
fn is_inherited(engine: &Engine, runner: &Runner, container: &Value, run: &str) -> Result<bool> {
    let Some(id) = container.get("ImageID").and_then(Value::as_str) else {
        return Ok(false);
    };
    let image = engine.image(runner, id)?;
    Ok(image.is_some_and(|image| image.label(RUN_LABEL) == Some(run)))
}

fn boot_id() -> Result<String> {
    let text = fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().replace('-', ""))
}

/// Process ids mean something within one PID namespace of one machine only.
fn host_id() -> String {
    let machine = fs_err::read_to_string("/etc/machine-id").unwrap_or_default();
    let name = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let namespace = fs_err::read_link("/proc/self/ns/pid").unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [machine.trim(), name.trim(), &namespace.to_string_lossy()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::digits(&hash.finalize()[..6])
}

/// `/proc/PID/stat` (proc(5)) from its third field on: the second one is a name in
/// parentheses that may hold blanks.
fn stat(pid: u32) -> Option<String> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

/// Field 22, in clock ticks since boot.
fn start_time(pid: u32) -> Option<u64> {
    stat(pid)?.split(' ').nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_run_is_alive_and_a_dead_one_is_not() {
        let run = run_id().unwrap();
        assert!(is_alive(&run));
        let (_, rest) = run.split_once('-').unwrap();
        assert!(!is_alive(&format!("4194305-{rest}")));
        let after_reboot = run.replace(&boot_id().unwrap(), "0000");
        assert!(!is_alive(&after_reboot));
        let elsewhere = format!("4194305-1-0000-{}", "0".repeat(12));
        assert!(is_alive(&elsewhere));
    }

    #[test]
    fn a_number_that_was_given_out_again_is_another_process() {
        let pid = std::process::id();
        let started = start_time(pid).unwrap();
        assert!(process_is_alive(pid.cast_signed(), started));
        assert!(!process_is_alive(pid.cast_signed(), started + 1));
        assert!(!process_is_alive(0, started));
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the runner asks each process for its end"
    )]
    fn a_process_that_nobody_has_asked_for_its_end_is_over() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (pid, started) = (child.id().cast_signed(), start_time(child.id()).unwrap());
        assert!(process_is_alive(pid, started));
        child.kill().unwrap();
        while stat(child.id()).is_some_and(|fields| !fields.starts_with('Z')) {
            std::thread::yield_now();
        }
        assert!(!process_is_alive(pid, started));
        child.wait().unwrap();
        assert!(!process_is_alive(pid, started));
    }

    #[test]
    fn runs_of_this_host_are_told_from_others() {
        let run = run_id().unwrap();
        assert!(is_of_this_host(&run) && is_alive(&run));
        let (_, rest) = run.split_once('-').unwrap();
        let dead = format!("4194305-{rest}");
        assert!(is_of_this_host(&dead) && !is_alive(&dead));
        for other in [
            format!("1-1-{}-{}", boot_id().unwrap(), "0".repeat(12)),
            "somebody-else".to_owned(),
        ] {
            assert!(!is_of_this_host(&other), "{other}");
        }
    }

    #[test]
    fn foreign_ids_are_left_alone() {
        assert!(is_alive(""));
        assert!(is_alive("somebody-else"));
    }
}
