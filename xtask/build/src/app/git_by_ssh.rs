//! What of an app's packages a build takes from git by SSH: of what is installed, and of
//! nothing else that a file says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use definition::spec::App;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::lock::{self, normal};
use super::{DependencySource, locked_wheels, requirements};
use inputs::regular;

/// Each host, with the file that names it. `reached` is what of `uv.lock` is installed, and
/// empty where no package is the app and all of it may be.
pub(super) fn wanted(
    folder: &Path,
    project: &Table,
    app: &App,
    shape: DependencySource,
    reached: &[&str],
) -> Vec<(PathBuf, String)> {
    let file = shape.file();
    let text = || lock::read(&folder.join(file)).unwrap_or_default();
    let of_file = |urls: Vec<String>| vec![(file.to_owned(), urls)];
    let of_project = |urls| ("pyproject.toml".to_owned(), urls);
    let build_system = || of_project(of_toml(project.get("build-system")));
    let mut found = match shape {
        DependencySource::Locked => of_file(of_uv(&text(), reached)),
        DependencySource::Poetry | DependencySource::Pdm => {
            of_file(of_table(&text().parse().unwrap_or_default(), project, app))
        }
        DependencySource::Pipfile => of_file(of_pipfile(&text())),
        DependencySource::Pylock => of_file(of_toml(text().parse::<Table>().ok().map(Value::from).as_ref())),
        DependencySource::Requirements => of_lists(folder),
        DependencySource::Bare | DependencySource::Compiled => Vec::new(),
    };
    found.push(match shape {
        // The project's own, where the build asks it what it needs.
        DependencySource::Bare | DependencySource::Compiled | DependencySource::Requirements => {
            of_project(of_toml(Some(&Value::from(project.clone()))))
        }
        _ => build_system(),
    });
    let hosts = found.iter().flat_map(|(file, urls)| {
        let hosts: BTreeSet<String> = urls.iter().filter_map(|url| host(url)).collect();
        hosts.into_iter().map(move |host| (folder.join(file), host))
    });
    hosts.collect()
}

/// The sources of what is installed of a `uv.lock`.
fn of_uv(lock: &str, reached: &[&str]) -> Vec<String> {
    let value = |package: &str, key: &str| -> Option<String> {
        let line = package.lines().find_map(|line| line.strip_prefix(key))?;
        line.split('"').next().map(str::to_owned)
    };
    let packages = lock.split("[[package]]\n").skip(1);
    let installed = packages.filter(|package| {
        let name = value(package, "name = \"").unwrap_or_default();
        reached.is_empty() || reached.contains(&name.as_str())
    });
    installed
        .filter_map(|package| value(package, "source = { git = \""))
        .collect()
}

/// The same of a lock of Poetry's or PDM's.
fn of_table(lock: &Table, project: &Table, app: &App) -> Vec<String> {
    let entries = lock.get("package").and_then(Value::as_array);
    let entries: Vec<&Table> = entries
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
        .collect();
    let installed = locked_wheels::wanted(&entries, project, app, None);
    let of_name = |entry: &&&Table| {
        let name = entry.get("name").and_then(Value::as_str).unwrap_or_default();
        installed.contains(&normal(name))
    };
    let urls = entries.iter().filter(of_name).filter_map(|entry| {
        let source = entry.get("source");
        let is_git = source.and_then(|source| source.get("type")?.as_str()) == Some("git");
        let of_poetry = || source.filter(|_| is_git)?.get("url");
        entry.get("git").or_else(of_poetry)?.as_str().map(str::to_owned)
    });
    urls.collect()
}

/// The same of pipenv's lock, which has those of developers apart.
fn of_pipfile(lock: &str) -> Vec<String> {
    let lock: Json = serde_json::from_str(lock).unwrap_or_default();
    let entries = lock.get("default").and_then(Json::as_object);
    let entries = entries.into_iter().flatten();
    let urls = entries.filter_map(|(_, entry)| Some(entry.get("git")?.as_str()?.to_owned()));
    urls.collect()
}

/// Lines of `requirements.txt` and of the lists that it takes in, without comments.
fn of_lists(folder: &Path) -> Vec<(String, Vec<String>)> {
    let files = requirements::files(folder).into_iter();
    let urls = files.map(|file| {
        let text = regular::read_to_string(&folder.join(&file)).unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| line.split(" #").next().unwrap_or_default().trim());
        let named = lines.filter(|line| !line.starts_with('#') && line.contains("git+ssh://"));
        (file.display().to_string(), named.map(str::to_owned).collect())
    });
    urls.collect()
}

/// Requirements with `git+ssh://`, and what stands at `git = ` or is the `url` of a `vcs`,
/// wherever in a file: a project's own address is none.
fn of_toml(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) if text.contains("git+ssh://") => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().flat_map(|one| of_toml(Some(one))).collect(),
        Some(Value::Table(table)) => {
            let urls = table.iter().flat_map(|(key, value)| {
                let of_vcs = || value.get("url").filter(|_| key == "vcs")?.as_str();
                let repository = value.as_str().filter(|_| key == "git").or_else(of_vcs);
                match repository {
                    Some(url) => vec![url.to_owned()],
                    None => of_toml(Some(value)),
                }
            });
            urls.collect()
        }
        _ => Vec::new(),
    }
}

/// The host of what is reached by SSH: `git+ssh://git@host:22/path`, `git@host:path`.
fn host(text: &str) -> Option<String> {
    let authority = match text.split_once("ssh://") {
        Some((_, rest)) => rest.split(['/', '"', '\'', ' ']).next()?,
        None if text.contains("://") => return None,
        // As git has it, and no URL.
        None => text.split_once(':').filter(|(before, _)| before.contains('@'))?.0,
    };
    let host = authority.rsplit('@').next()?.split(':').next()?;
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::*;
    use crate::sample;

    fn told(shape: DependencySource, reached: &[&str], files: &[(&str, &str)]) -> Vec<String> {
        let dir = folder(files);
        let project = regular::read_to_string(&dir.path().join("pyproject.toml")).unwrap_or_default();
        let found = wanted(
            dir.path(),
            &project.parse().unwrap(),
            &sample::spec().app.unwrap(),
            shape,
            reached,
        );
        let below = |path: &Path| path.strip_prefix(dir.path()).unwrap().display().to_string();
        let shown = found.iter().map(|(file, host)| format!("{} {host}", below(file)));
        shown.collect()
    }

    #[test]
    fn repositories_by_ssh_are_seen_in_each_list() {
        let uv = "[[package]]\nname = \"x\"\nsource = { git = \"ssh://git@git.example:2222/x?rev=1#0\" }\n";
        let poetry = "[[package]]\nname = \"x\"\ngroups = [\"main\"]\n\
                      [package.source]\ntype = \"git\"\nurl = \"git@git.example:org/x.git\"\n";
        let pdm =
            "[[package]]\nname = \"x\"\ngroups = [\"default\"]\ngit = \"ssh://git@git.example/x.git\"\n";
        let pipfile = "{\"default\": {\"x\": {\"git\": \"git+ssh://git@git.example/x\", \"ref\": \"0\"}}}";
        let pylock =
            "[[packages]]\nname = \"x\"\nvcs = { type = \"git\", url = \"ssh://git@git.example/x\" }\n";
        let bare = "[project]\nname = \"a\"\ndependencies = [\"x\"]\n[tool.uv.sources]\n\
                    x = { git = \"ssh://git@git.example/x\" }\n";
        for (shape, text) in [
            (DependencySource::Locked, uv),
            (DependencySource::Poetry, poetry),
            (DependencySource::Pdm, pdm),
            (DependencySource::Pipfile, pipfile),
            (DependencySource::Pylock, pylock),
            (DependencySource::Bare, bare),
        ] {
            let file = shape.file();
            assert_eq!(
                told(shape, &["x"], &[(file, text)]),
                [format!("{file} git.example")],
                "{text}"
            );
        }
        let lists = [
            (
                "requirements.txt",
                "x @ git+ssh://git@a.example/x@v1\n-e git+ssh://b.example/y#egg=y\nz @ git+ssh://a.example/z\n\
                 -r requirements/base.txt\n",
            ),
            ("requirements/base.txt", "w @ git+ssh://git@c.example/w # why\n"),
        ];
        assert_eq!(
            told(DependencySource::Requirements, &[], &lists),
            [
                "requirements/base.txt c.example",
                "requirements.txt a.example",
                "requirements.txt b.example"
            ]
        );
        let build = [
            (
                "pyproject.toml",
                "[build-system]\nrequires = [\"x @ git+ssh://git@git.example/x\"]\n",
            ),
            ("uv.lock", ""),
        ];
        assert_eq!(
            told(DependencySource::Locked, &["a"], &build),
            ["pyproject.toml git.example"]
        );
    }

    #[test]
    fn what_is_not_installed_is_no_repository() {
        let project = "# x @ git+ssh://git@h.example/x\n[project]\nname = \"a\"\n\
                       [project.urls]\nSource = \"ssh://git@h.example/o/x.git\"\n\
                       [tool.poetry]\nrepository = \"git@h.example:o/x.git\"\n";
        let of_developers = "[dependency-groups]\ndev = [\"x\"]\n[tool.uv.sources]\nx = { git = \"ssh://git@h.example/x\" }\n";
        let uv = "[[package]]\nname = \"x\"\nsource = { git = \"ssh://git@h.example/x#0\" }\n";
        let poetry = "[[package]]\nname = \"x\"\ngroups = [\"dev\"]\n\
                      [package.source]\ntype = \"git\"\nurl = \"git@h.example:org/x.git\"\n";
        let pipfile = "{\"default\": {}, \"develop\": {\"x\": {\"git\": \"ssh://git@h.example/x\"}}}";
        let whole = format!("{project}{of_developers}");
        for (shape, reached, files) in [
            (
                DependencySource::Bare,
                &[][..],
                &[("pyproject.toml", project)][..],
            ),
            (
                DependencySource::Locked,
                &["a"],
                &[("pyproject.toml", &whole), ("uv.lock", uv)],
            ),
            (
                DependencySource::Poetry,
                &[],
                &[("pyproject.toml", project), ("poetry.lock", poetry)],
            ),
            (DependencySource::Pipfile, &[], &[("Pipfile.lock", pipfile)]),
            (
                DependencySource::Requirements,
                &[],
                &[
                    (
                        "requirements.txt",
                        "# x @ git+ssh://git@h.example/x\ny @ git+https://h.example/y\n",
                    ),
                    ("requirements-dev.txt", "x @ git+ssh://git@h.example/x\n"),
                ],
            ),
        ] {
            assert_eq!(told(shape, reached, files), Vec::<String>::new(), "{files:?}");
        }
    }
}
