//! Removes what killed runs left behind, and nothing of runs that still go on.
//!
//! A run's id is `<pid>-<start time of that process>-<boot>-<host>`, so that
//! any later run on this host can tell whether it is alive, without a side
//! file. An engine may serve several hosts (or containers that share its
//! socket): runs of other hosts are never touched.

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use super::{Engine, RUN_LABEL};
use crate::process::Runner;

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
    let (Ok(pid), Ok(started)) = (pid.parse::<u32>(), started.parse::<u64>()) else {
        return true;
    };
    if host != host_id() {
        return true;
    }
    boot_id().is_ok_and(|now| now == boot) && start_time(pid) == Some(started)
}

/// Removes containers, networks and volumes of dead runs; returns how many.
///
/// # Errors
/// When the engine does not answer.
pub fn reap(engine: &Engine, runner: &Runner) -> Result<usize> {
    let mut count = 0;
    for (kind, list, remove) in [
        (
            "container",
            &["container", "ls", "--all"][..],
            &["container", "rm", "--force", "--volumes"][..],
        ),
        ("volume", &["volume", "ls"][..], &["volume", "rm", "--force"][..]),
        ("network", &["network", "ls"][..], &["network", "rm"][..]),
    ] {
        let id = if kind == "volume" { "{{.Name}}" } else { "{{.ID}}" };
        let format = format!("{id} {{{{.Label \"{RUN_LABEL}\"}}}}");
        let filter = format!("label={RUN_LABEL}");
        let mut args = list.to_vec();
        args.extend(["--filter", &filter, "--format", &format]);
        for line in engine.cmd(runner, &args).read()?.lines() {
            let Some((id, run)) = line.split_once(' ') else {
                continue;
            };
            if is_alive(run) {
                continue;
            }
            let mut args = remove.to_vec();
            args.push(id);
            // Two reapers at once: the other one may have been faster.
            if engine.cmd(runner, &args).output()?.success() {
                count += 1;
            }
        }
    }
    Ok(count)
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
    hash.finalize()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Field 22 of `/proc/PID/stat` (proc(5)), in clock ticks since boot. The
/// second field is a name in parentheses that may hold blanks.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
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
    fn foreign_ids_are_left_alone() {
        assert!(is_alive(""));
        assert!(is_alive("somebody-else"));
    }
}
