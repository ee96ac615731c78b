//! What the app said when it ended, taken out of its container's log.

/// The most lines of an exception's own text that are told.
const MOST_LINES: usize = 8;
/// The most lines that are told where there is no exception.
const WITHOUT_EXCEPTION: usize = 4;
/// An app that has ended this often with the same last words will not start any more.
const SAME_ENDS: usize = 3;

const TRACEBACK: &str = "Traceback (most recent call last):";
/// What stands at the beginning of a line that is no part of an exception.
const OTHER_LINES: [&str; 5] = ["INFO:", "WARNING:", "ERROR:", "hive: ", "During handling"];

/// One start of the app, with all that it printed.
#[derive(Debug, Default)]
struct AppRun<'a> {
    lines: Vec<&'a str>,
    ended: bool,
}

/// The app's last words at its first start: its last exception, or its last
/// lines where it ended without one. `None` where it did neither. `log` is
/// `docker logs --timestamps`.
pub fn of_the_app(log: &str) -> Option<String> {
    runs(log).first().and_then(AppRun::last_words)
}

/// The last exception that the app has told of at its last start, whether it went
/// on or not.
pub fn last_exception(log: &str) -> Option<String> {
    let exception = runs(log).last()?.exception()?.join("\n");
    Some(exception)
}

/// The last line that the app has said with something in it, `before_start` included,
/// with its time: the same line twice is progress.
pub(crate) fn last_line(log: &str) -> Option<&str> {
    let said = |line: &&str| {
        let text = line
            .split_once(' ')
            .and_then(|(_, line)| line.strip_prefix("app | "));
        text.is_some_and(|text| !text.trim().is_empty())
    };
    log.lines().rev().find(said)
}

/// The same where the app has ended again and again, each time with these.
pub(crate) fn without_end(log: &str) -> Option<String> {
    let ends: Vec<Option<String>> = runs(log)
        .iter()
        .filter(|run| run.ended)
        .map(AppRun::last_words)
        .collect();
    let last = ends.len().checked_sub(SAME_ENDS)?;
    let (first, rest) = ends.get(last..)?.split_first()?;
    first.clone().filter(|_| rest.iter().all(|words| words == first))
}

fn runs(log: &str) -> Vec<AppRun<'_>> {
    let mut runs: Vec<AppRun<'_>> = Vec::new();
    for line in log.lines() {
        let Some((_, line)) = line.split_once(' ') else {
            continue;
        };
        if line.starts_with("supervisord | spawned: 'app' ") {
            runs.push(AppRun::default());
        } else if let Some(run) = runs.last_mut() {
            if let Some(said) = line.strip_prefix("app | ") {
                run.lines.push(said.trim_end());
            } else if line.starts_with("supervisord | exited: app ") {
                run.ended = true;
            }
        }
    }
    runs
}

impl AppRun<'_> {
    fn last_words(&self) -> Option<String> {
        if let Some(exception) = self.exception() {
            return Some(exception.join("\n"));
        }
        let lines: Vec<&str> = self
            .lines
            .iter()
            .copied()
            .filter(|line| !line.is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(WITHOUT_EXCEPTION)..];
        (self.ended && !last.is_empty()).then(|| last.join("\n"))
    }

    fn exception(&self) -> Option<Vec<&str>> {
        let begins = self.lines.iter().rposition(|line| line.contains(TRACEBACK))?;
        own_lines(&self.lines[begins + 1..])
    }
}

/// The last exception among the last lines of a program, which may begin on the way to it.
pub fn exception_at_end(lines: &[&str]) -> Option<String> {
    let is_way = |line: &&str| line.contains(TRACEBACK) || line.trim_start().starts_with("File \"");
    let way = lines.iter().rposition(is_way)?;
    Some(own_lines(&lines[way + 1..])?.join("\n"))
}

/// An exception's own lines, of those that follow a line of the way there.
fn own_lines<'l>(rest: &[&'l str]) -> Option<Vec<&'l str>> {
    let own = rest
        .iter()
        .position(|line| !line.is_empty() && !line.starts_with(' '))?;
    let lines = rest[own..].iter().copied();
    let of_it = |line: &&str| !OTHER_LINES.iter().any(|other| line.starts_with(other));
    let mut found: Vec<&str> = lines.take_while(of_it).collect();
    // A line of signs, each in a line of its own, says nothing.
    found.dedup();
    found.truncate(MOST_LINES);
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> String {
        lines
            .iter()
            .map(|line| format!("2026-11-25T19:11:24Z {line}\n"))
            .collect()
    }

    const START: &str = "supervisord | spawned: 'app' with pid 21";
    const END: &str = "supervisord | exited: app (exit status 1; not expected)";

    #[test]
    fn the_last_lines_of_a_program_end_with_its_exception() {
        let lines = [
            "+ python manage.py collectstatic",
            "Traceback (most recent call last):",
            "  File \"a.py\", line 1, in <module>",
            "KeyError: 'A'",
            "",
            "Traceback (most recent call last):",
            "  File \"settings.py\", line 2, in <module>",
            "    raise ImproperlyConfigured('SITE_URL: none')",
            "django.core.exceptions.ImproperlyConfigured: SITE_URL must not be local.",
            "Set it.",
        ];
        let found = "django.core.exceptions.ImproperlyConfigured: SITE_URL must not be local.\nSet it.";
        assert_eq!(exception_at_end(&lines).as_deref(), Some(found));
        // The beginning of a long one is not among them.
        assert_eq!(exception_at_end(&lines[6..]).as_deref(), Some(found));
        assert_eq!(exception_at_end(&lines[..1]), None);
        assert_eq!(exception_at_end(&lines[8..]), None);
    }

    #[test]
    fn the_last_line_of_the_app_has_its_time_and_something_in_it() {
        let text = log(&["app | one", "app | two", "postgresql | checkpoint", "app |  "]);
        assert_eq!(last_line(&text), Some("2026-11-25T19:11:24Z app | two"));
        assert_eq!(last_line(&log(&["postgresql | checkpoint"])), None);
    }

    #[test]
    fn the_last_exception_of_the_first_start_is_told_whole() {
        let text = log(&[
            "app | of nobody",
            START,
            "app | Traceback (most recent call last):",
            "app |   File \"x.py\", line 1",
            "app | KeyError: 'A'",
            "app | ",
            "app | During handling of the above exception, another exception occurred:",
            "app | Traceback (most recent call last):",
            "app |   File \"y.py\", line 2",
            "postgresql | FATAL: of somebody else",
            "app |     load()",
            "app | pydantic.ValidationError: 1 error for Settings",
            "app | api_key",
            "app |   Field required",
            "app | hive: the database cannot be made ready",
            END,
            START,
            "app | Traceback (most recent call last):",
            "app |   File \"z.py\", line 3",
            "app | OSError: address in use",
            END,
        ]);
        let words = "pydantic.ValidationError: 1 error for Settings\napi_key\n  Field required";
        assert_eq!(of_the_app(&text).as_deref(), Some(words));
    }

    #[test]
    fn an_app_that_runs_and_complains_of_nothing_has_no_last_words() {
        assert_eq!(of_the_app(&log(&[START, "app | INFO: Uvicorn running"])), None);
        assert_eq!(of_the_app(""), None);
        let ended = log(&[START, "app | set SHOP_KEY", "app | ", END]);
        assert_eq!(of_the_app(&ended).as_deref(), Some("set SHOP_KEY"));
    }

    #[test]
    fn the_last_exception_is_heard_of_an_app_that_goes_on() {
        let failed = |what: &str| {
            [
                "app | ERROR:    Exception in ASGI application".to_owned(),
                "app | Traceback (most recent call last):".to_owned(),
                "app |   File \"x.py\", line 1".to_owned(),
                format!("app | {what}"),
                "app | INFO:     127.0.0.1 GET /health 500".to_owned(),
            ]
        };
        let runs = [
            failed("E: of the first").to_vec(),
            vec![START.to_owned()],
            failed("E: a").to_vec(),
            failed("E: b").to_vec(),
        ];
        let lines = runs.concat();
        let text = log(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(last_exception(&text).as_deref(), Some("E: b"));
        assert_eq!(last_exception(&log(&[START, "app | INFO: fine"])), None);
    }

    #[test]
    fn lines_of_one_sign_do_not_hide_what_is_said() {
        let mut lines = vec![
            START,
            "app | Traceback (most recent call last):",
            "app | ValueError:",
        ];
        lines.extend(["app | ="; 70]);
        lines.extend(["app | set it", END]);
        assert_eq!(
            of_the_app(&log(&lines)).as_deref(),
            Some("ValueError:\n=\nset it")
        );
    }

    #[test]
    fn three_same_ends_are_enough() {
        let end = |words: &str| [START.to_owned(), format!("app | {words}"), END.to_owned()];
        let text = |words: &[&str]| {
            let lines: Vec<String> = words.iter().flat_map(|words| end(words)).collect();
            log(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(without_end(&text(&["a", "a"])), None);
        assert_eq!(without_end(&text(&["b", "a", "a"])), None);
        assert_eq!(without_end(&text(&["b", "a", "a", "a"])).as_deref(), Some("a"));
    }
}
