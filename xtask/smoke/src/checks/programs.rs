//! The processes inside.

use std::collections::BTreeMap;

use crate::facts::Facts;
use crate::facts::{Moment, ProgramsSeen};
use crate::names;
use container::ask::Answer;
use container::figure::Figure;
use container::finding::{Flaw, Judged, flaw, measured, seen};
use container::programs::states;

/// `/proc` of every process: ids, start time, user ids.
pub(crate) const PROCESSES: &str = "\
    grep -H -E '^(Name|Pid|PPid|Uid):' /proc/[0-9]*/status 2>/dev/null\n\
    for stat in /proc/[0-9]*/stat; do cat \"$stat\" 2>/dev/null; done\n\
    true";

/// What the kernel charges to the container, both versions of cgroups.
pub const MEMORY: &str = "\
    cd /sys/fs/cgroup\n\
    if [ -r memory.current ]; then cat memory.current; grep '^inactive_file ' memory.stat\n\
    else cat memory/memory.usage_in_bytes; grep '^total_inactive_file ' memory/memory.stat; fi";

/// All programs there, and RUNNING.
pub(crate) fn running(facts: &Facts, answer: &Answer) -> Judged {
    for (start, seen) in &facts.later {
        let seen = seen.as_ref().map_err(|why| after(start, why))?;
        all_running(facts, &seen.status).map_err(|why| after(start, &why))?;
    }
    all_running(facts, answer)
}

fn after(start: &str, why: &Flaw) -> Flaw {
    flaw(format!("after {start}: {why}"))
}

fn all_running(facts: &Facts, answer: &Answer) -> Judged {
    let states = states(&answer.text);
    for program in facts.spec.program_names() {
        if !states.iter().any(|(name, _)| *name == program) {
            return Err(flaw(format!(
                "supervisorctl status shows no program {program}: {}",
                answer.shown()
            )));
        }
    }
    let bad: Vec<String> = states
        .iter()
        .filter(|(_, state)| *state != "RUNNING")
        .map(|(name, state)| format!("{name} is {state}"))
        .collect();
    if !bad.is_empty() {
        return Err(flaw(bad.join(", ")));
    }
    let names: Vec<&str> = states.iter().map(|(name, _)| *name).collect();
    seen(format!("{} RUNNING", names.join(", ")))
}

/// What is known of a process.
#[derive(Clone, Debug, Default, PartialEq)]
struct ProcessStatus {
    name: String,
    /// 0 for what came from outside of the container: pid 1 and each exec.
    parent: Option<u32>,
    uids: Vec<u32>,
    /// In clock ticks since boot.
    started: u64,
}

/// What [`PROCESSES`] printed, by process ID.
fn processes(text: &str) -> BTreeMap<u32, ProcessStatus> {
    let mut found: BTreeMap<u32, ProcessStatus> = BTreeMap::new();
    for line in text.lines() {
        if let Some((pid, rest)) = line
            .strip_prefix("/proc/")
            .and_then(|rest| rest.split_once("/status:"))
        {
            let (Ok(pid), Some((key, value))) = (pid.parse(), rest.split_once(':')) else {
                continue;
            };
            let process = found.entry(pid).or_default();
            match key {
                "Name" => value.trim().clone_into(&mut process.name),
                "PPid" => process.parent = value.trim().parse().ok(),
                "Uid" => process.uids = value.split_whitespace().filter_map(|n| n.parse().ok()).collect(),
                _ => {}
            }
        } else if let Some((head, rest)) = line.rsplit_once(')') {
            // Field 22 (proc(5)); the name before it may hold blanks.
            let pid = head.split(' ').next().and_then(|n| n.parse().ok());
            let started = rest.split_whitespace().nth(19).and_then(|n| n.parse().ok());
            if let (Some(pid), Some(started)) = (pid, started) {
                found.entry(pid).or_default().started = started;
            }
        }
    }
    found
}

impl ProcessStatus {
    /// The engine's own helper on its way into the container, as at each health
    /// check: root until it becomes the program that was asked for. Nothing
    /// inside can have a parent outside.
    fn is_engines_helper(&self) -> bool {
        self.parent == Some(0) && self.name.starts_with("runc:[")
    }
}

/// Not one user id 0.
pub(crate) fn no_root(_: &Facts, answer: &Answer) -> Judged {
    let all = processes(&answer.text);
    let looked_at: Vec<_> = all.iter().filter(|(_, p)| !p.uids.is_empty()).collect();
    if looked_at.is_empty() {
        return Err(flaw(format!("no process could be looked at: {}", answer.shown())));
    }
    let root: Vec<String> = looked_at
        .iter()
        .filter(|(_, process)| process.uids.contains(&0) && !process.is_engines_helper())
        .map(|(pid, process)| format!("{} (pid {pid})", process.name))
        .collect();
    if root.is_empty() {
        seen(format!("{} processes, none of root", looked_at.len()))
    } else {
        Err(flaw(format!("run as root: {}", root.join(", "))))
    }
}

/// Each program of the window's end was there at its beginning, and
/// supervisord started each just once.
pub(crate) fn nothing_restarted(facts: &Facts, answer: &Answer) -> Judged {
    let first = ProgramsSeen {
        status: facts.answer(Moment::Settled, names::PROGRAMS_RUNNING)?.clone(),
        before: facts.answer(Moment::Fresh, names::NO_ROOT_PROCESS)?.clone(),
        after: answer.clone(),
        log: facts.settled_log.clone()?,
    };
    let same = kept_processes(&first)?;
    for (start, seen) in &facts.later {
        let seen = seen.as_ref().map_err(|why| after(start, why))?;
        kept_processes(seen).map_err(|why| after(start, &why))?;
    }
    let starts: String = facts
        .later
        .iter()
        .map(|(start, _)| format!(", after {start} too"))
        .collect();
    seen(format!(
        "{same} programs kept their processes, none was started twice{starts}"
    ))
}

/// How many programs kept their processes in the window, which is all of them.
fn kept_processes(seen: &ProgramsSeen) -> Result<usize, Flaw> {
    let (status, log) = (&seen.status.text, &seen.log);
    let states = states(status);
    let mut spawned: BTreeMap<&str, usize> = BTreeMap::new();
    for name in log.lines().filter_map(spawned_program) {
        // One that was given up is told by `running`; it will not flap.
        if !states.contains(&(name, "FATAL")) {
            *spawned.entry(name).or_default() += 1;
        }
    }
    let twice = spawned.iter().filter(|(_, times)| **times > 1);
    let ended = states
        .iter()
        .filter(|(_, state)| ["EXITED", "BACKOFF", "STARTING"].contains(state));
    let restless: Vec<String> = twice
        .map(|(name, times)| format!("{name} was started {times} times"))
        .chain(ended.map(|(name, state)| format!("{name} is {state} some seconds after ready")))
        .collect();
    if !restless.is_empty() {
        return Err(flaw(restless.join(", ")));
    }
    if let Some(line) = log.lines().find(|line| line.contains("was terminated by signal")) {
        return Err(flaw(format!("a server process died: {}", line.trim())));
    }
    let (before, after) = (processes(&seen.before.text), processes(&seen.after.text));
    let mut young = Vec::new();
    let mut same = 0;
    for (program, pid) in pids(status) {
        let (Some(now), Some(then)) = (after.get(&pid), before.get(&pid)) else {
            young.push(program);
            continue;
        };
        if now.started == then.started {
            same += 1;
        } else {
            young.push(program);
        }
    }
    if !young.is_empty() {
        return Err(flaw(format!("restarted after ready: {}", young.join(", "))));
    }
    if same == 0 {
        return Err(flaw(format!("no running program to look at: {status}")));
    }
    Ok(same)
}

/// `spawned: 'app' with pid 12` of supervisord's log.
fn spawned_program(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("spawned: '")?;
    let (name, rest) = rest.split_once('\'')?;
    rest.starts_with(" with pid ").then_some(name)
}

/// `app RUNNING pid 12, uptime 0:00:04`.
pub(crate) fn pids(status: &str) -> Vec<(&str, u32)> {
    status
        .lines()
        .filter_map(|line| {
            let (head, rest) = line.split_once(" pid ")?;
            let name = head.split_whitespace().next()?;
            let number = rest.split(',').next()?;
            Some((name, number.trim().parse().ok()?))
        })
        .collect()
}

/// Megabytes that [`MEMORY`] tells of, as `docker stats` counts: without the
/// page cache that can go at any time.
///
/// # Errors
/// A flaw where the cgroup does not tell.
#[expect(clippy::cast_precision_loss, reason = "shown in megabytes")]
pub fn charged(answer: &Answer) -> Result<f64, Flaw> {
    let numbers: Vec<u64> = answer
        .text
        .lines()
        .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
        .collect();
    let &[usage, inactive] = numbers.as_slice() else {
        return Err(flaw(format!(
            "the container's cgroup does not tell its memory: {}",
            answer.shown()
        )));
    };
    Ok(usage.saturating_sub(inactive) as f64 / 1e6)
}

/// All that is charged against the budget.
pub(crate) fn memory(facts: &Facts, answer: &Answer) -> Judged {
    measured(
        Figure::new(charged(answer)?, Some(facts.spec.budgets.memory_mb), "MB"),
        "charged to the container right after ready, without inactive page cache",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn answer(text: &str) -> Answer {
        Answer {
            code: 0,
            text: text.into(),
            took: Duration::ZERO,
        }
    }

    const STATUS_TEXT: &str = "\
app                              RUNNING   pid 31, uptime 0:00:04
postgresql                       RUNNING   pid 9, uptime 0:00:04";

    #[test]
    fn every_program_counts() {
        let facts = crate::tests::facts();
        assert!(running(&facts, &answer(STATUS_TEXT)).is_ok());
        let fatal = STATUS_TEXT.replace("RUNNING   pid 31, uptime 0:00:04", "FATAL     Exited too quickly");
        assert_eq!(
            running(&facts, &answer(&fatal)).unwrap_err().detail,
            "app is FATAL"
        );
        let refused = "unix:///run/hive/supervisor.sock refused connection";
        let said = running(&facts, &answer(refused)).unwrap_err().detail;
        assert!(said.contains("no program postgresql"), "{said}");
        assert!(running(&facts, &answer("")).is_err());
    }

    const PROCESSES_TEXT: &str = "\
/proc/1/status:Name:\tpython3
/proc/1/status:Pid:\t1
/proc/1/status:PPid:\t0
/proc/1/status:Uid:\t1000\t1000\t1000\t1000
/proc/9/status:Name:\tpostgres
/proc/9/status:Uid:\t1000\t1000\t1000\t1000
1 (python3) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 500 0 0
9 (a ) b) S 1 9 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 512 0 0
31 (uvicorn) S 1 31 31 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 530 0 0";

    #[test]
    fn one_root_uid_of_four_is_enough() {
        let facts = crate::tests::facts();
        assert!(no_root(&facts, &answer(PROCESSES_TEXT)).is_ok());
        let setuid = PROCESSES_TEXT.replacen("1000\t1000\t1000\t1000", "1000\t0\t0\t0", 1);
        let said = no_root(&facts, &answer(&setuid)).unwrap_err().detail;
        assert_eq!(said, "run as root: python3 (pid 1)");
        let helper = "/proc/77/status:Name:\trunc:[2:INIT]\n/proc/77/status:PPid:\t0\n/proc/77/status:Uid:\t0\t0\t0\t0";
        let with = |helper: &str| no_root(&facts, &answer(&format!("{PROCESSES_TEXT}\n{helper}")));
        assert!(
            with(helper).is_ok(),
            "the engine's own exec is no process of the image"
        );
        assert!(
            with(&helper.replace("PPid:\t0", "PPid:\t1")).is_err(),
            "a name alone excuses nobody"
        );
        assert!(no_root(&facts, &answer("")).is_err());
    }

    fn restarted(log: &str, before: &str, after: &str) -> Judged {
        let mut facts = crate::tests::facts();
        facts.settled_log = Ok(log.into());
        facts.answers.insert(
            (Moment::Settled, names::PROGRAMS_RUNNING),
            Ok(answer(STATUS_TEXT)),
        );
        facts
            .answers
            .insert((Moment::Fresh, names::NO_ROOT_PROCESS), Ok(answer(before)));
        nothing_restarted(&facts, &answer(after))
    }

    #[test]
    fn flapping_is_seen_in_the_log_and_in_start_times() {
        let once = "2026-01-01T00:00:00Z supervisord | spawned: 'app' with pid 31\n";
        assert!(restarted(once, PROCESSES_TEXT, PROCESSES_TEXT).is_ok());
        let said = restarted(&once.repeat(2), PROCESSES_TEXT, PROCESSES_TEXT)
            .unwrap_err()
            .detail;
        assert_eq!(said, "app was started 2 times");
        let later = PROCESSES_TEXT.replace(" 530 ", " 990 ");
        let said = restarted(once, PROCESSES_TEXT, &later).unwrap_err().detail;
        assert_eq!(said, "restarted after ready: app");
        assert!(restarted(once, "", "").is_err());
    }

    #[test]
    fn programs_are_looked_at_after_each_later_start() {
        let once = "2026-01-01T00:00:00Z supervisord | spawned: 'app' with pid 31\n";
        let later = |log: &str, status: &str| {
            let mut facts = crate::tests::facts();
            facts.settled_log = Ok(once.into());
            let (fresh, settled) = (Moment::Fresh, Moment::Settled);
            for (key, text) in [
                ((settled, names::PROGRAMS_RUNNING), STATUS_TEXT),
                ((fresh, names::NO_ROOT_PROCESS), PROCESSES_TEXT),
            ] {
                facts.answers.insert(key, Ok(answer(text)));
            }
            let seen = ProgramsSeen {
                status: answer(status),
                before: answer(PROCESSES_TEXT),
                after: answer(PROCESSES_TEXT),
                log: log.into(),
            };
            facts.later = vec![("the restart", Ok(seen))];
            facts
        };
        let kept = |facts: &Facts| nothing_restarted(facts, &answer(PROCESSES_TEXT));
        let good = later(once, STATUS_TEXT);
        assert!(kept(&good).is_ok() && running(&good, &answer(STATUS_TEXT)).is_ok());
        let said = kept(&later(&once.repeat(2), STATUS_TEXT)).unwrap_err().detail;
        assert_eq!(said, "after the restart: app was started 2 times");
        let fatal = STATUS_TEXT.replace("RUNNING   pid 31, uptime 0:00:04", "FATAL     Exited too quickly");
        let said = running(&later(once, &fatal), &answer(STATUS_TEXT))
            .unwrap_err()
            .detail;
        assert_eq!(said, "after the restart: app is FATAL");
        let mut gone = good;
        gone.later = vec![("the upgrade", Err(flaw("the container ended")))];
        assert!(kept(&gone).is_err() && running(&gone, &answer(STATUS_TEXT)).is_err());
    }

    #[test]
    fn memory_of_both_cgroup_versions() {
        let facts = crate::tests::facts();
        for text in [
            "100000000\ninactive_file 20000000",
            "100000000\ntotal_inactive_file 20000000",
        ] {
            let figure = memory(&facts, &answer(text)).unwrap().figure.unwrap();
            assert!((figure.value - 80.0).abs() < 1e-9, "{figure:?}");
        }
        assert!(memory(&facts, &answer("cat: no such file")).is_err());
        assert!(memory(&facts, &answer("900000000\ninactive_file 0")).is_err());
    }
}
