//! How the project itself starts its app: in a Procfile, a Dockerfile, a
//! script, or by `uvicorn.run`.

use crate::modules::Modules;
use crate::place::{Certainty, Detected, Place};
use crate::python::statement;
use crate::tree::{Tree, file_name, is_compose, is_of_the_app, is_shell};

use super::{AppObject, Framework};

/// An app that a command names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// A dotted name, or the path of a file.
    pub(crate) module: String,
    pub(crate) attribute: Option<String>,
    pub(crate) factory: bool,
    pub(crate) port: Option<u16>,
}

impl Started {
    /// Reads what a command calls the app: `a.b:c`, `a.b:c()`, `a/b.py`, `a.wsgi`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let called = text.ends_with("()");
        let text = text.trim_end_matches("()");
        let (module, attribute) = match text.split_once(':') {
            Some((module, attribute)) => (module, Some(attribute)),
            None => (text, None),
        };
        let is_name = |text: &str| {
            let good = |c: char| c.is_alphanumeric() || "._".contains(c);
            text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(good)
        };
        let is_file = module.ends_with(".py") && attribute.is_none();
        let is_module = is_name(module) && attribute.is_none_or(is_name);
        (is_file || is_module).then(|| Self {
            module: module.trim_start_matches("./").to_owned(),
            attribute: attribute.map(str::to_owned),
            factory: called,
            port: None,
        })
    }
}

const SERVERS: [&str; 8] = [
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "granian",
    "daphne",
    "fastapi",
    "litestar",
    "waitress-serve",
];

/// All of them, what is closest to production first.
pub(crate) fn all(tree: &Tree, modules: &Modules<'_>) -> Vec<Detected<Started>> {
    let mut found = Vec::new();
    let kinds: [fn(&str) -> bool; 4] = [
        |name| name == "Procfile",
        |name| name.contains("Dockerfile"),
        is_compose,
        |name| is_shell(name) || name == "Makefile",
    ];
    for kind in kinds {
        for (path, text) in tree.texts().filter(|(path, _)| kind(file_name(path))) {
            for (n, line) in text.lines().enumerate() {
                if let Some(started) = in_command(line) {
                    found.push(Detected::sure(started, Place::new(path, n + 1)));
                }
            }
        }
    }
    found.extend(in_code(modules));
    found
}

/// The app that a line of a script starts.
fn in_command(line: &str) -> Option<Started> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let separators = |c: char| c.is_whitespace() || "\"'[],".contains(c);
    let words: Vec<&str> = line.split(separators).filter(|word| !word.is_empty()).collect();
    let program = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let server = words
        .iter()
        .position(|word| SERVERS.contains(&program(word).as_str()))?;
    let of_fastapi = program(words[server]) == "fastapi";
    if of_fastapi
        && !words
            .get(server + 1)
            .is_some_and(|word| ["run", "dev"].contains(word))
    {
        return None;
    }
    let after = &words[server + 1..];
    let named = |word: &&&str| {
        word.contains(':') && !word.contains('/')
            || word.ends_with(".wsgi")
            || of_fastapi && word.ends_with(".py")
    };
    // `gunicorn -c gunicorn.py application`: a module alone has an `application`.
    let alone = || {
        let (last, before) = after.split_last()?;
        let of_an_option = before
            .last()
            .is_some_and(|word| word.starts_with('-') && !word.contains('='));
        let is_module = program(words[server]) == "gunicorn" && !of_an_option && !last.ends_with(".py");
        let mut started = Started::parse(last).filter(|_| is_module)?;
        started.attribute = Some("application".to_owned());
        Some(started)
    };
    let mut named = after.iter().filter(named);
    let mut started = named.find_map(|word| Started::parse(word)).or_else(alone)?;
    started.factory |= after.contains(&"--factory");
    for (n, word) in after.iter().enumerate() {
        let (flag, value) = word
            .split_once('=')
            .unwrap_or((word, after.get(n + 1).copied().unwrap_or_default()));
        if ["--port", "-p", "--bind", "-b"].contains(&flag) {
            started.port = value.rsplit(':').next().and_then(|port| port.parse().ok());
        }
    }
    Some(started)
}

/// `uvicorn.run("main:app", port=8000)`, with a text or an object.
fn in_code(modules: &Modules<'_>) -> Vec<Detected<Started>> {
    let mut found = Vec::new();
    for module in modules.all.iter().filter(|module| is_of_the_app(module.path)) {
        for (n, call) in module.calls().filter(|(_, call)| call.path == "uvicorn.run") {
            let Some(app) = call.argument("app", 0) else {
                continue;
            };
            let started = match (statement::text_of(app), app) {
                (Some(text), _) => Started::parse(&text),
                (None, [name]) => Some(Started {
                    module: module.path.to_owned(),
                    attribute: Some(name.text.to_owned()),
                    factory: false,
                    port: None,
                }),
                _ => None,
            };
            if let Some(mut started) = started {
                started.factory |= call
                    .named("factory")
                    .is_some_and(|value| value[0].is_name("True"));
                let port = call.named("port").and_then(<[_]>::first);
                started.port = port.and_then(|port| port.text.parse().ok());
                found.push(Detected::sure(started, Place::new(module.path, module.number(n))));
            }
        }
    }
    found
}

/// The file that a dotted name stands for.
pub(crate) fn file_of(module: &str) -> String {
    format!("{}.py", module.replace('.', "/"))
}

/// An app that no candidate is, such as one that a library makes; none where the
/// project has no such module or that has no such name.
pub(crate) fn as_written(modules: &Modules<'_>, started: &Started) -> Option<Detected<AppObject>> {
    let is_file = started.module.ends_with(".py");
    let file = if is_file {
        started.module.clone()
    } else {
        file_of(&started.module)
    };
    let module = modules.at(&file)?;
    let attribute = match &started.attribute {
        Some(attribute) => attribute.as_str(),
        None if started.module.ends_with("wsgi") => "application",
        None => "app",
    };
    if module.binds(attribute) == Some(false) {
        return None;
    }
    let defined = module.definition(attribute).map(|one| one.head);
    let assigned = || module.assignments().find(|(_, one)| one.target == attribute);
    let line = defined.or_else(|| assigned().map(|(n, _)| n)).unwrap_or_default();
    let dotted = file.trim_end_matches(".py").replace('/', ".");
    if !super::is_importable(&dotted) {
        return None;
    }
    Some(Detected {
        value: AppObject {
            import: format!("{dotted}:{attribute}"),
            factory: started.factory,
            framework: Framework::by_place(&dotted, attribute),
            path: String::new(),
            started_by: None,
        },
        place: Place::new(module.path, module.number(line)),
        certainty: Certainty::Likely,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_app_and_port() {
        let shown = |line: &str| {
            in_command(line).map(|one| {
                let attribute = one.attribute.as_deref().unwrap_or("-");
                format!(
                    "{} {attribute} {} {}",
                    one.module,
                    one.factory,
                    one.port.unwrap_or(0)
                )
            })
        };
        for (line, expected) in [
            (
                "web: uvicorn app.main:app --host 0.0.0.0 --port $PORT",
                "app.main app false 0",
            ),
            (
                "CMD [\"uvicorn\", \"shop.web:create_app\", \"--factory\", \"--port\", \"8080\"]",
                "shop.web create_app true 8080",
            ),
            (
                "exec gunicorn -k uvicorn.workers.UvicornWorker -b 0.0.0.0:9000 'shop:create_app()'",
                "shop create_app true 9000",
            ),
            (
                "CMD [\"/app/.venv/bin/fastapi\", \"run\", \"app/main.py\", \"--port\", \"80\"]",
                "app/main.py - false 80",
            ),
            ("gunicorn mysite.wsgi --bind=:8000", "mysite.wsgi - false 8000"),
            (
                "exec gunicorn -c /home/shop/gunicorn_config.py application",
                "application application false 0",
            ),
        ] {
            assert_eq!(shown(line).as_deref(), Some(expected), "{line}");
        }
        for none in [
            "# uvicorn main:app",
            "RUN pip install uvicorn",
            "pip install fastapi",
            "gunicorn -c gunicorn_config.py",
            "gunicorn --worker-class gevent",
            "echo a:b",
        ] {
            assert_eq!(shown(none), None, "{none}");
        }
    }
}
