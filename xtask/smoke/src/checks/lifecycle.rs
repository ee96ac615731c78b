//! Start, stop, start again.

use crate::facts::Facts;
use crate::secrets::scrub;
use container::boot::Boot;
use container::figure::Figure;
use container::finding::{Judged, flaw, measured, seen};

/// What `pg_controldata` says after a clean shutdown.
const SHUT_DOWN: &str = "shut down";

/// Started, and never ended by itself.
pub(crate) fn stays_up(facts: &Facts) -> Judged {
    if let Some(death) = &facts.death {
        return Err(flaw(format!(
            "the container ended during {}, {:.1} s after its start, {}; last lines: {}",
            death.during,
            death.after.as_secs_f64(),
            death.how,
            death.last_lines
        )));
    }
    match &facts.first {
        Ok(_) => seen("ran until it was told to stop"),
        Err(why) => Err(why.clone()),
    }
}

/// First boot against the budget.
pub(crate) fn time_to_ready(facts: &Facts) -> Judged {
    let boot = facts.first.as_ref().map_err(Clone::clone)?;
    ready(
        boot,
        facts.spec.budgets.ready_seconds,
        "docker run on an empty volume",
    )
}

/// Boot on the same volume against the budget.
pub(crate) fn restart(facts: &Facts) -> Judged {
    let boot = facts.again.as_ref().map_err(Clone::clone)?;
    ready(
        boot,
        facts.spec.budgets.restart_seconds,
        "docker run on the same volume",
    )
}

fn ready(boot: &Boot, budget: f64, what: &str) -> Judged {
    let Some(ready) = boot.ready else {
        return Err(boot.given_up(what, budget));
    };
    let first = boot.first_200.map_or_else(String::new, |first| {
        format!("; first 200 after {:.2} s", first.as_secs_f64())
    });
    measured(
        Figure::new(ready.as_secs_f64(), Some(budget), "s"),
        format!("{what} until healthy{first}"),
    )
}

/// In time, exit code 0, clean.
pub(crate) fn clean_stop(facts: &Facts) -> Judged {
    let stop = facts.stop.as_ref().map_err(Clone::clone)?;
    let figure = Figure::new(
        stop.took.as_secs_f64(),
        Some(facts.spec.budgets.stop_seconds),
        "s",
    );
    let state = match &stop.cluster_state {
        Some(Ok(state)) => Some(state),
        Some(Err(why)) => return Err(why.clone()),
        None => None,
    };
    let said = format!(
        "with an open session: exit code {}{}",
        stop.exit_code,
        state.map_or_else(String::new, |state| format!(", pg_controldata says `{state}`"))
    );
    if stop.exit_code != 0 || state.is_some_and(|state| state != SHUT_DOWN) {
        let mut unclean = flaw(format!("docker stop {said}"));
        unclean.figure = Some(figure);
        return Err(unclean);
    }
    measured(figure, said)
}

/// No password in what everybody may read.
pub(crate) fn no_secret_leaked(facts: &Facts) -> Judged {
    if facts.secrets.is_empty() && facts.death.is_some() {
        return Err(flaw("not reached: the container ended"));
    }
    if facts.secrets.is_empty() {
        return Err(flaw("the container keeps no password in /run/hive/pgpass"));
    }
    let shown = |text: &str| facts.secrets.iter().any(|secret| text.contains(secret.as_str()));
    if let Some(why) = facts
        .whole_logs
        .iter()
        .find_map(|(container, log)| logged(container, log, &facts.secrets, &facts.hidden()))
    {
        return Err(flaw(why));
    }
    if shown(&facts.inspect) {
        return Err(flaw("a password made at first boot is in `docker inspect`"));
    }
    if let Some(error) = facts.unread.first() {
        return Err(flaw(format!("not all could be looked through: {error}")));
    }
    seen(format!(
        "{} passwords, none in {} lines of log or in docker inspect",
        facts.secrets.len(),
        facts
            .whole_logs
            .iter()
            .map(|(_, log)| log.lines().count())
            .sum::<usize>()
    ))
}

/// Who has logged a secret, where, and the line without anything `hidden`; `None` where
/// nobody has. `log` is `docker logs --timestamps` of one `container`.
fn logged(container: &str, log: &str, secrets: &[String], hidden: &[String]) -> Option<String> {
    let mut lines = log.lines().enumerate();
    let (n, line) = lines.find(|(_, line)| secrets.iter().any(|secret| line.contains(secret.as_str())))?;
    let (time, text) = line.split_once(' ').unwrap_or(("", line));
    // The container's own words have no program before them.
    let of_program = text
        .split_once(" | ")
        .filter(|(program, _)| !program.contains(' '));
    let (program, said) = of_program.unwrap_or(("the container's start", text));
    Some(format!(
        "a password made at first boot is in the container's log: {program} wrote it (line {} of \
         {container}/docker-logs.txt, {time}): `{}`{}",
        n + 1,
        // What is cut through is found no more.
        cut(&scrub(said.trim(), hidden)),
        of_variables(line)
    ))
}

/// As much of a line as a message has room for.
fn cut(line: &str) -> String {
    const MOST: usize = 160;
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// What to do about a line of a frame, as rich draws it around the values of variables in
/// each traceback.
fn of_variables(line: &str) -> &'static str {
    match line.contains('│') {
        true => {
            ". Tracebacks there show the values of variables: take `show_locals` off where the app sets up rich, or give \
             structlog's `ConsoleRenderer` an `exception_formatter=structlog.dev.plain_traceback`"
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Stop;
    use crate::tests::facts;
    use container::boot::Death;
    use std::time::Duration;

    #[test]
    fn ready_is_judged_by_its_budget() {
        let mut facts = facts();
        facts.first = Ok(Boot {
            ready: Some(Duration::from_millis(1420)),
            first_200: Some(Duration::from_millis(1300)),
            ..Boot::default()
        });
        let seen = time_to_ready(&facts).unwrap();
        assert!(seen.detail.ends_with("first 200 after 1.30 s"), "{}", seen.detail);
        facts.spec.budgets.ready_seconds = 1.0;
        assert!(time_to_ready(&facts).is_err());
        facts.first = Ok(Boot::default());
        let hopeless = time_to_ready(&facts).unwrap_err();
        assert_eq!(hopeless.figure, None, "given up before the budget was over");
        facts.first = Ok(Boot {
            gave_up: Duration::from_secs(8),
            ..Boot::default()
        });
        let late = time_to_ready(&facts).unwrap_err().figure.unwrap();
        assert!(!late.is_within());
    }

    #[test]
    fn a_stop_has_to_be_quick_and_clean_and_zero() {
        let stop = |ms, exit_code, state: &str| Stop {
            took: Duration::from_millis(ms),
            exit_code,
            cluster_state: (!state.is_empty()).then(|| Ok(state.into())),
        };
        let mut facts = facts();
        for (good, stop) in [
            (true, stop(500, 0, "shut down")),
            (false, stop(500, 1, "shut down")),
            (false, stop(500, 0, "in production")),
            (false, stop(60_000, 0, "shut down")),
            // Of an app alone.
            (true, stop(500, 0, "")),
            (false, stop(500, 1, "")),
        ] {
            facts.stop = Ok(stop);
            assert_eq!(clean_stop(&facts).is_ok(), good, "{:?}", facts.stop);
        }
    }

    #[test]
    fn a_death_is_told_with_its_last_words() {
        let mut facts = facts();
        facts.first = Ok(Boot::default());
        assert!(stays_up(&facts).is_ok());
        facts.death = Some(Death {
            during: "first boot",
            after: Duration::from_millis(2300),
            how: "exit code 1".into(),
            last_lines: "app | boom".into(),
        });
        let said = stays_up(&facts).unwrap_err().detail;
        assert_eq!(
            said,
            "the container ended during first boot, 2.3 s after its start, exit code 1; last lines: app | boom"
        );
    }

    #[test]
    fn leaks_are_found_and_an_unknown_password_is_no_proof() {
        let mut facts = facts();
        assert!(no_secret_leaked(&facts).is_err());
        facts.secrets = vec!["s3cret".into()];
        let of = |container: &str, log: &str| (container.to_owned(), log.to_owned());
        facts.whole_logs = vec![of("x-steady-1", "t hive: starting\n")];
        assert!(no_secret_leaked(&facts).is_ok());
        facts.unread = vec!["the log is longer than 64 MB".into()];
        assert!(no_secret_leaked(&facts).is_err());
        facts.unread.clear();
        facts.inspect = "{\"Env\":[\"PW=s3cret\"]}".into();
        assert!(no_secret_leaked(&facts).is_err());
        for (line, told) in [
            (
                "t9 worker | at postgresql://hive:s3cret@127.0.0.1/x, again s3cret",
                "worker wrote it (line 2 of x-mortal-2/docker-logs.txt, t9): `at postgresql://hive:[scrubbed]@127.0.0.1/x, \
                 again [scrubbed]`",
            ),
            (
                "t9 hive: PW is s3cret | x",
                "the container's start wrote it (line 2 of x-mortal-2/docker-logs.txt, t9): `hive: PW is [scrubbed] | x`",
            ),
        ] {
            facts.whole_logs = vec![
                of("x-steady-1", "t1 hive: starting\n"),
                of("x-mortal-2", &format!("t1 hive: starting\n{line}\n")),
            ];
            let said = no_secret_leaked(&facts).unwrap_err().detail;
            assert_eq!(
                said,
                format!("a password made at first boot is in the container's log: {told}")
            );
        }
        let framed = format!(
            "t9 app | │ kwargs = {{'password': 's3cret'}} {}│\n",
            "─".repeat(200)
        );
        facts.whole_logs = vec![of("x-steady-1", &framed)];
        let said = no_secret_leaked(&facts).unwrap_err().detail;
        assert!(
            said.contains(
                "app wrote it (line 1 of x-steady-1/docker-logs.txt, t9): `│ kwargs = {'password': '[scrubbed]'} ──"
            ),
            "{said}"
        );
        assert!(said.contains("…`. Tracebacks there show the values"), "{said}");
    }

    #[test]
    fn a_line_that_is_cut_shows_no_part_of_what_the_gate_was_given() {
        let mut facts = facts();
        facts.secrets = vec!["s3cret".into()];
        let licence = "ABCD-EFGH-IJKL-MNOP";
        facts
            .spec
            .smoke_environment
            .insert("LICENSE".into(), licence.into());
        let line = format!("t9 app | env: s3cret {} {licence}\n", ".".repeat(130));
        facts.whole_logs = vec![("x-steady-1".into(), line)];
        let said = no_secret_leaked(&facts).unwrap_err().detail;
        assert!(said.ends_with(". [scrubbed]`"), "{said}");
    }
}
