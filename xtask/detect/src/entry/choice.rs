//! Which of several app objects is meant.

use super::{AppObject, Framework, commands, object, root};
use crate::dependencies::{Dependencies, at, toml_at};
use crate::modules::Modules;
use crate::place::{Certainty, Choice, Detected, Place};
use crate::tree::{Tree, file_name, folder_of};

/// Where FastAPI's command line looks for an app, in its order.
const FASTAPI_FILES: [&str; 6] = [
    "main.py",
    "app.py",
    "api.py",
    "app/main.py",
    "app/app.py",
    "app/api.py",
];

/// Other names of files that hold an app, in this order.
const OTHER_FILES: [&str; 9] = [
    "main.py",
    "app.py",
    "asgi.py",
    "wsgi.py",
    "server.py",
    "serve.py",
    "api.py",
    "web.py",
    "__init__.py",
];

pub(super) fn choose(
    tree: &Tree,
    modules: &Modules<'_>,
    dependencies: &Dependencies,
    mut candidates: Vec<Detected<AppObject>>,
    started: &[Detected<commands::Started>],
) -> Choice<AppObject> {
    let named: Vec<_> = entrypoint(tree)
        .into_iter()
        .chain(started.iter().cloned())
        .collect();
    for one in &named {
        let Detected { value, place, .. } = one;
        let fitting = fitting(one, &named, &candidates);
        if fitting.len() > 1 {
            let (meant, rest): (Vec<_>, Vec<_>) = candidates
                .into_iter()
                .enumerate()
                .partition(|(n, _)| fitting.contains(n));
            return Choice {
                chosen: None,
                rule: format!("{place} names one of several"),
                others: meant.into_iter().chain(rest).map(|(_, one)| one).collect(),
            };
        }
        let known = fitting.first().map(|n| candidates.remove(*n));
        let written = || commands::as_written(modules, value);
        if let Some(mut chosen) = known.or_else(written) {
            chosen.value.factory |= value.factory;
            return Choice {
                chosen: Some(chosen),
                rule: format!("{place} names it"),
                others: candidates,
            };
        }
    }
    // Both lie side by side in each Django project.
    let django = |framework| move |one: &Detected<AppObject>| one.value.framework == framework;
    if candidates.iter().any(django(Framework::DjangoAsgi))
        && candidates.iter().any(django(Framework::DjangoWsgi))
    {
        let asgi = ["uvicorn", "daphne", "hypercorn", "granian"]
            .iter()
            .any(|server| dependencies.has(server));
        let left = if asgi {
            Framework::DjangoWsgi
        } else {
            Framework::DjangoAsgi
        };
        let (rest, others): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|one| !django(left)(one));
        let mut choice = best(rest);
        choice.others.extend(others);
        if choice.chosen.is_some() {
            let server = if asgi {
                "an ASGI server is"
            } else {
                "no ASGI server is"
            };
            choice.rule = format!("{server} among the dependencies");
        }
        return choice;
    }
    best(candidates)
}

/// The first by the conventions; none where two are equal.
fn best(mut candidates: Vec<Detected<AppObject>>) -> Choice<AppObject> {
    if candidates.is_empty() {
        return Choice {
            rule: "no app object and no factory was found".to_owned(),
            ..Choice::default()
        };
    }
    candidates.sort_by_key(rank);
    let first = rank(&candidates[0]);
    if candidates.get(1).is_some_and(|second| rank(second) == first) {
        return Choice {
            chosen: None,
            rule: "several could be meant, and nothing tells which".to_owned(),
            others: candidates,
        };
    }
    let chosen = candidates.remove(0);
    let rule = match candidates.is_empty() {
        true => "the only one".to_owned(),
        false => format!("the first by convention: {}", chosen.value.import),
    };
    Choice {
        chosen: Some(chosen),
        rule,
        others: candidates,
    }
}

type Rank = (bool, usize, usize, usize, bool);

/// Lower is better: what is sure, FastAPI's own files, names of files, depth,
/// names of objects, objects before factories.
fn rank(one: &Detected<AppObject>) -> Rank {
    const NAMES: [&str; 6] = ["app", "application", "api", "create_app", "get_app", "make_app"];
    let path = one.place.file.as_str();
    let position = |list: &[&str], name: &str| list.iter().position(|one| *one == name).unwrap_or(list.len());
    let fastapi = position(&FASTAPI_FILES, path);
    let file = position(&OTHER_FILES, file_name(path)) * 16 + path.matches('/').count();
    let name = position(&NAMES, one.value.attribute());
    let unsure = one.certainty == Certainty::Unclear;
    (unsure, fastapi, file, name, one.value.factory)
}

/// The app of `[tool.fastapi] entrypoint = "backend.main:app"`, which the program
/// `fastapi` starts.
fn entrypoint(tree: &Tree) -> Option<Detected<commands::Started>> {
    let (text, table) = toml_at(tree, "pyproject.toml")?;
    let entrypoint = at(&table, &["tool", "fastapi", "entrypoint"])?.as_str()?;
    let place = Place::of("pyproject.toml", text, entrypoint);
    Some(Detected::sure(commands::Started::parse(entrypoint)?, place))
}

/// The objects that a command may mean, by their positions: below the folder of its own
/// file before others, and one of each file. Where files of the same name lie beside it in
/// other folders, as with a Dockerfile for each service, theirs may be meant as well.
fn fitting(
    command: &Detected<commands::Started>,
    all: &[Detected<commands::Started>],
    candidates: &[Detected<AppObject>],
) -> Vec<usize> {
    let file = command.place.file.as_str();
    let mut found = named_by(command, candidates);
    let is_below = |n: &usize, folder: &str| candidates[*n].place.file.starts_with(folder);
    let own = folder_of(file);
    if !own.is_empty() && found.iter().all(|n| is_below(n, own)) && !found.is_empty() {
        let others = all.iter().filter(|one| {
            let (folder, other) = (folder_of(&one.place.file), one.place.file.as_str());
            file_name(other) == file_name(file) && !folder.starts_with(own) && !own.starts_with(folder)
        });
        for other in others {
            let folder = folder_of(&other.place.file);
            for n in named_by(other, candidates) {
                if is_below(&n, folder) && !found.contains(&n) {
                    found.push(n);
                }
            }
        }
    }
    found
}

/// Those that a command names, without regard to others.
fn named_by(command: &Detected<commands::Started>, candidates: &[Detected<AppObject>]) -> Vec<usize> {
    let folder = folder_of(&command.place.file);
    let same = |n: &usize| names_it(&command.value, &candidates[*n]);
    let all: Vec<usize> = (0..candidates.len()).filter(same).collect();
    let file = |n: usize| candidates[n].place.file.as_str();
    let asked = command.value.module.as_str();
    let exact = [
        format!("{folder}{}", commands::file_of(asked)),
        format!("{folder}{asked}"),
    ];
    let ways: [&dyn Fn(&usize) -> bool; 3] = [
        &|n| exact.iter().any(|path| path == file(*n)),
        &|n| file(*n).starts_with(folder),
        &|_| true,
    ];
    let mut found: Vec<usize> = Vec::new();
    for way in ways {
        for n in all.iter().copied().filter(way) {
            if !found.iter().any(|known| file(*known) == file(n)) {
                found.push(n);
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

/// The app that somebody names: `package.module:attribute`, or by its file
/// `apps/api/main.py:attribute`, where `()` at the end says that it is a factory.
pub(crate) fn wanted(
    tree: &Tree,
    modules: &Modules<'_>,
    app: Choice<AppObject>,
    import: &str,
) -> Choice<AppObject> {
    let factory = import.ends_with("()");
    let import = import.trim_end_matches("()");
    let (module, attribute) = import.split_once(':').unwrap_or((import, "app"));
    let by_file = module.ends_with(".py");
    let file = module.trim_start_matches("./");
    let fits = |one: &Detected<AppObject>| match by_file {
        true => one.place.file == file && one.value.attribute() == attribute,
        false => one.value.import == import,
    };
    let all = app.chosen.into_iter().chain(app.others);
    let (mut fitting, others): (Vec<_>, Vec<_>) = all.partition(fits);
    if fitting.len() > 1 {
        fitting.extend(others);
        return Choice {
            chosen: None,
            rule: format!("--import {import} names several"),
            others: fitting,
        };
    }
    let of_file = || {
        let module = modules.at(file).filter(|_| by_file)?;
        let path = root(tree, modules, module);
        Some(object(
            module,
            &path,
            attribute,
            0,
            Framework::Unknown,
            Certainty::Likely,
        ))
    };
    let as_named = || Detected {
        value: AppObject {
            import: import.to_owned(),
            factory: false,
            framework: Framework::Unknown,
            path: String::new(),
            started_by: None,
        },
        place: Place::new("--import", 1),
        certainty: Certainty::Likely,
    };
    let chosen = fitting.pop().or_else(of_file);
    let mut chosen = match chosen {
        // There is no such file.
        None if by_file => None,
        chosen => Some(chosen.unwrap_or_else(as_named)),
    };
    if let Some(chosen) = &mut chosen {
        chosen.value.factory |= factory;
    }
    Choice {
        rule: match chosen {
            Some(_) => "--import names it".to_owned(),
            None => format!("there is no file {file}"),
        },
        chosen,
        others,
    }
}

/// Whether a command means this object.
fn names_it(started: &commands::Started, one: &Detected<AppObject>) -> bool {
    let (module, attribute) = one.value.import.split_once(':').unwrap_or_default();
    let asked = started.module.as_str();
    // Another folder may be on the path there.
    let same_module = asked == module
        || one.place.file == started.module
        || one.place.file == commands::file_of(asked)
        || one
            .place
            .file
            .ends_with(&format!("/{}", commands::file_of(asked)));
    same_module
        && started
            .attribute
            .as_deref()
            .is_none_or(|asked| asked == attribute)
}
