//! A project's own commands and texts, as a spec has them.

use definition::spec::secret;

/// A line of shell as words; by a shell where it is more than words.
pub(crate) fn words(line: &str) -> Vec<String> {
    let is_plain = |c: char| c.is_alphanumeric() || " -_./:=@,+%".contains(c);
    let assigns = line.split(' ').next().is_some_and(|first| first.contains('='));
    let words: Vec<&str> = if line.chars().all(is_plain) && !assigns {
        line.split_whitespace().collect()
    } else {
        vec!["sh", "-c", line]
    };
    words.into_iter().map(str::to_owned).collect()
}

/// Whether a spec takes a command of the project's as it is: not one that has a secret
/// in it, which would be part of the image.
pub(crate) fn is_taken(words: &[String]) -> bool {
    let empty = words.first().is_none_or(String::is_empty);
    let odd = words.iter().any(|word| word.contains(char::is_control));
    !empty && !odd && secret::in_command(words).is_none()
}

/// Words of the project's as a spec writes them: a brace in them is no placeholder's.
pub(crate) fn literally(words: &[String]) -> Vec<String> {
    words.iter().map(|word| escaped(word)).collect()
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// Switches as people write them, on and off.
const ON_AND_OFF: [(&str, &str); 9] = [
    ("True", "False"),
    ("true", "false"),
    ("TRUE", "FALSE"),
    ("1", "0"),
    ("yes", "no"),
    ("Yes", "No"),
    ("on", "off"),
    ("On", "Off"),
    ("y", "n"),
];

/// The other one, in the form of a switch that is on.
pub(crate) fn off(on: &str) -> Option<&'static str> {
    ON_AND_OFF
        .iter()
        .find(|(known, _)| *known == on)
        .map(|(_, off)| *off)
}

/// Whether a text is a switch that is off.
pub(crate) fn is_off(text: &str) -> bool {
    ON_AND_OFF.iter().any(|(_, off)| *off == text)
}

/// What a command runs, behind variables for it alone and programs that only start it,
/// such as an agent that measures, with their options.
pub(crate) fn program(command: &str) -> Option<&str> {
    const STARTERS: [&[&str]; 9] = [
        &["newrelic-admin", "run-program"],
        &["ddtrace-run"],
        &["opentelemetry-instrument"],
        &["uv", "run"],
        &["poetry", "run"],
        &["pdm", "run"],
        &["pipenv", "run"],
        &["exec"],
        &["env"],
    ];
    let all: Vec<&str> = command.split_whitespace().collect();
    let mut words = all.as_slice();
    loop {
        let starter = STARTERS.iter().find(|starter| words.starts_with(starter));
        words = match (starter, words) {
            (Some(starter), _) => behind_options(&words[starter.len()..]),
            (None, ["python" | "python3", rest @ ..]) => match module(rest) {
                Some(module) => module,
                None => return words.first().copied(),
            },
            (None, [first, rest @ ..]) if first.contains('=') => rest,
            (None, _) => return words.first().copied(),
        };
    }
}

/// The words behind the options of a starter.
fn behind_options<'w, 't>(words: &'w [&'t str]) -> &'w [&'t str] {
    const WITH_A_VALUE: [&str; 13] = [
        "--directory",
        "--env-file",
        "--extra",
        "--group",
        "--only-group",
        "--package",
        "--project",
        "--python",
        "--unset",
        "--with",
        "-C",
        "-p",
        "-u",
    ];
    match words {
        [option, _, rest @ ..] if WITH_A_VALUE.contains(option) => behind_options(rest),
        [option, rest @ ..] if option.starts_with('-') => behind_options(rest),
        _ => words,
    }
}

/// What Python is given to run by `-m`, and its words, behind Python's own options.
fn module<'w, 't>(words: &'w [&'t str]) -> Option<&'w [&'t str]> {
    match words {
        ["-m", rest @ ..] => Some(rest),
        ["-W" | "-X", _, rest @ ..] => module(rest),
        [option, rest @ ..] if option.starts_with('-') => module(rest),
        _ => None,
    }
}

/// Whether a value says of itself that another one belongs there: `your-client-id`, `change-me`.
pub(crate) fn stands_for_one(text: &str) -> bool {
    const WORDS: [&str; 5] = ["changeit", "changeme", "changethis", "placeholder", "replaceme"];
    let lower = text.trim().to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let asks = |two: &[&str]| {
        ["change", "replace"].contains(&two[0]) && ["it", "me", "this", "with"].contains(&two[1])
    };
    let is_frame = lower.starts_with('<') && lower.ends_with('>');
    // A sentence may speak to somebody, too.
    let is_yours = lower.contains("your-")
        || lower.contains("your_")
        || words.len() < 4 && words.first() == Some(&"your");
    is_frame || is_yours || words.iter().any(|word| WORDS.contains(word)) || words.windows(2).any(asks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_stands_for_one_says_so() {
        for text in [
            "your-client-id",
            "CHANGE_ME",
            "<number>",
            "changethis",
            "please change this",
            "Your name",
        ] {
            assert!(stands_for_one(text), "{text}");
        }
        for text in [
            "Exchange",
            "climate-change",
            "a<b",
            "yourself",
            "replacement",
            "Welcome to your shop",
            "Your order has been shipped",
            "",
        ] {
            assert!(!stands_for_one(text), "{text}");
        }
    }

    #[test]
    fn a_program_is_known_behind_what_starts_it() {
        for (command, expected) in [
            ("celery -A shop worker", Some("celery")),
            (
                "newrelic-admin run-program celery --app=shop worker",
                Some("celery"),
            ),
            (
                "C_FORCE_ROOT=1 exec uv run python -m dramatiq shop",
                Some("dramatiq"),
            ),
            ("python -m shop.worker --queue=celery", Some("shop.worker")),
            ("newrelic-admin", Some("newrelic-admin")),
            ("uv run --no-dev celery -A shop worker", Some("celery")),
            ("uv run --group worker --no-sync rq worker", Some("rq")),
            ("env -i -u LANG PATH=/bin celery", Some("celery")),
            ("python -u -X dev -m celery -A shop", Some("celery")),
            ("python3 -u worker.py -m celery", Some("python3")),
            ("uv run", None),
            ("X=1", None),
            ("", None),
        ] {
            assert_eq!(program(command), expected, "{command}");
        }
    }
}
