//! Processes of the app that its compose files run beside the server.

use super::Companion;
use crate::django;
use crate::modules::Modules;
use crate::place::{Detected, Place};
use crate::tree::{Tree, file_name, is_compose, reads_count};
use crate::words;

/// Programs that work beside a server.
const WORKERS: [&str; 9] = [
    "arq",
    "celery",
    "dramatiq",
    "faststream",
    "huey_consumer.py",
    "procrastinate",
    "rq",
    "saq",
    "taskiq",
];

/// Words of commands that end, that serve, or that are for developers.
const OTHERS: [&str; 20] = [
    "--reload",
    "alembic",
    "collectstatic",
    "createsuperuser",
    "daphne",
    "fastapi",
    "flask",
    "flower",
    "granian",
    "gunicorn",
    "hypercorn",
    "loaddata",
    "migrate",
    "pytest",
    "runserver",
    "runserver_plus",
    "shell",
    "test",
    "uvicorn",
    "watchmedo",
];

/// Services that are the server itself.
const SERVERS: [&str; 7] = ["api", "app", "backend", "django", "flask", "server", "web"];

/// The commands of compose files that are a process of the app's: of `known`, which other files
/// say, none is told again. They are told alone, since whether the app needs each is not known.
pub(super) fn processes(
    tree: &Tree,
    modules: &Modules<'_>,
    known: &[Detected<Companion>],
) -> Vec<Detected<Companion>> {
    let composed = tree.texts().chain(tree.of_tools());
    let composed = composed.filter(|(path, _)| is_compose(file_name(path)) && !is_for_tests(path));
    let mut found: Vec<Detected<Companion>> = Vec::new();
    for (path, text) in composed {
        for (line, service, command) in commands(text) {
            let is_told = |one: &Detected<Companion>| is_same(one.value.command.as_deref(), &command);
            let is_server = SERVERS.contains(&service.as_str());
            if is_server || !is_process(tree, modules, &command) || known.iter().chain(&found).any(is_told) {
                continue;
            }
            let companion = Companion {
                what: format!("the service `{service}`"),
                program: None,
                command: Some(command),
            };
            found.push(Detected::likely(companion, Place::new(path, line)));
        }
    }
    found
}

fn is_for_tests(path: &str) -> bool {
    let mut parts = file_name(path).split(['.', '-', '_']);
    !path.starts_with("../") && !reads_count(path)
        || parts.any(|part| ["ci", "test", "tests"].contains(&part))
}

/// Whether two commands are the same work: the same program, and of Celery the same part.
fn is_same(known: Option<&str>, command: &str) -> bool {
    let part = |command: &str| {
        let mut words = command.split_whitespace();
        let part = words.find(|word| ["beat", "worker"].contains(word));
        part.map(str::to_owned)
    };
    known.is_some_and(|known| {
        let programs = (words::program(known), words::program(command));
        known == command
            || programs.0 == programs.1
                && programs.0.is_some_and(|program| WORKERS.contains(&program))
                && part(known) == part(command)
            || known.ends_with(" qcluster") && command.ends_with(" qcluster")
    })
}

/// Whether a command is a process beside the server: a worker, a command of Django's, or a
/// module of the project's.
fn is_process(tree: &Tree, modules: &Modules<'_>, command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    let is_another = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or_default();
        OTHERS.contains(&name)
    };
    let is_plain = !command.contains(['&', '|', ';', '$', '(', '`']);
    // One word is given to a program that another file names.
    if !is_plain || words.len() < 2 || words.iter().any(is_another) {
        return false;
    }
    let of_django = || {
        let mut words = words.iter().skip_while(|word| !word.ends_with("manage.py"));
        words.next().is_some() && words.next().is_some() && django::manage(tree).is_some()
    };
    words::program(command).is_some_and(|program| {
        WORKERS.contains(&program) || program.contains('.') && modules.find("", program).is_some()
    }) || of_django()
}

/// Each `command:` of a compose file: its line, its service and the words.
fn commands(text: &str) -> Vec<(usize, String, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let Some(value) = line.trim_start().strip_prefix("command:") else {
            continue;
        };
        let own = indent(line);
        let mut above = lines[..n].iter().rev();
        let service = above.find(|above| !above.trim().is_empty() && indent(above) < own);
        let Some(service) = service
            .and_then(|line| line.trim().split_once(':'))
            .map(|(name, _)| name)
        else {
            continue;
        };
        let value = value.trim();
        let below = lines[n + 1..]
            .iter()
            .take_while(|line| indent(line) > own && !line.trim().is_empty())
            .map(|line| line.trim());
        let words: Option<String> = match value {
            "" => {
                let items: Option<Vec<&str>> = below
                    .map(|item| Some(item.strip_prefix("- ")?.trim().trim_matches(['"', '\''])))
                    .collect();
                items.map(|items| items.join(" "))
            }
            ">" | ">-" | "|" | "|-" => Some(below.collect::<Vec<_>>().join(" ")),
            list if list.starts_with('[') => serde_json::from_str::<Vec<String>>(list)
                .ok()
                .map(|words| words.join(" ")),
            plain => Some(plain.trim_matches(['"', '\'']).to_owned()),
        };
        if let Some(words) = words.filter(|words| !words.is_empty()) {
            found.push((n + 1, service.trim().to_owned(), words));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_in_each_form() {
        let text = "services:\n  web:\n    command: >\n      uvicorn app:app\n      --reload\n  mail:\n    build: .\n    command: [\"python\", \"-m\", \"shop.mail\"]\n  work:\n    command:\n      - celery\n      - \"-A\"\n      - shop\n    image: x\n  plain:\n    command: 'saq shop.work'\n  odd:\n    command: [*words]\n";
        let read: Vec<(usize, String, String)> = commands(text);
        let read: Vec<(usize, &str, &str)> = read
            .iter()
            .map(|(line, service, words)| (*line, service.as_str(), words.as_str()))
            .collect();
        let expected = [
            (3, "web", "uvicorn app:app --reload"),
            (8, "mail", "python -m shop.mail"),
            (10, "work", "celery -A shop"),
            (16, "plain", "saq shop.work"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn the_same_work_is_told_once() {
        let known = Some("celery -A shop worker --concurrency 1");
        assert!(is_same(known, "uv run celery -A shop.celery worker -l info"));
        assert!(!is_same(known, "celery -A shop beat"));
        assert!(!is_same(None, "celery -A shop beat"));
        assert!(is_same(
            Some("python manage.py qcluster"),
            "python3 manage.py qcluster"
        ));
    }
}
