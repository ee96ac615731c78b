//! Packages that lie in the app's folder beside all indexes: uv's settings there name
//! their place, and a step that installs ahead of the app has only its lists.

use std::path::Path;

use toml::{Table, Value};

use inputs::regular;

/// A sentence for each place, with who names it.
pub(super) fn problems(folder: &Path) -> Vec<String> {
    let read = |name: &str| regular::read_to_string(&folder.join(name)).unwrap_or_default();
    let table = |text: &str| text.parse::<Table>().unwrap_or_default();
    let project = table(&read("pyproject.toml"));
    let of_project = || project.get("tool")?.get("uv")?.as_table().cloned();
    // uv reads one of the two.
    let (file, settings) = match folder.join("uv.toml").is_file() {
        true => ("uv.toml", table(&read("uv.toml"))),
        false => ("pyproject.toml", of_project().unwrap_or_default()),
    };
    let of_settings = places(&settings).into_iter().map(|(key, place)| {
        format!(
            "{}: `{key}` takes packages from {place}",
            folder.join(file).display()
        )
    });
    let mut found: Vec<String> = of_settings.collect();
    if found.is_empty() && !project.is_empty() {
        let lock = read("uv.lock");
        let of_lock = lock.lines().find_map(|line| {
            let place = line.strip_prefix("source = { registry = \"")?.split('"').next()?;
            (!is_address(place)).then(|| {
                format!(
                    "{}: takes packages from {place}",
                    folder.join("uv.lock").display()
                )
            })
        });
        found.extend(of_lock);
    }
    let end = ", and the step that installs has the lists alone: name the file of each package instead, as in \
               `[tool.uv.sources]` NAME = { path = \"wheels/NAME-1.0-py3-none-any.whl\" }, or by a line \
               ./wheels/NAME-1.0-py3-none-any.whl of requirements.txt";
    found.iter().map(|one| format!("{one}{end}")).collect()
}

/// The places on this machine that settings of uv's name, each with its key.
fn places(settings: &Table) -> Vec<(&'static str, &str)> {
    let of_pip = settings.get("pip").and_then(Value::as_table);
    let mut found = Vec::new();
    for table in [Some(settings), of_pip].into_iter().flatten() {
        for key in ["find-links", "index-url", "extra-index-url", "index"] {
            let values = match table.get(key) {
                Some(Value::Array(many)) => many.iter().collect(),
                one => Vec::from_iter(one),
            };
            let texts = values.into_iter().filter_map(|value| match value {
                Value::Table(index) => index.get("url")?.as_str(),
                one => one.as_str(),
            });
            found.extend(texts.filter(|text| !is_address(text)).map(|text| (key, text)));
        }
    }
    found
}

/// Whether a build step reaches it.
fn is_address(place: &str) -> bool {
    place.contains("://") && !place.starts_with("file:")
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder;
    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let dir = folder(files);
        let top = format!("{}/", dir.path().display());
        let found = problems(dir.path());
        let begin = |one: &String| one.split(", and the step").next().unwrap().replace(&top, "");
        found.iter().map(begin).collect()
    }

    #[test]
    fn packages_in_a_folder_of_the_app_are_told_with_who_names_them() {
        let lock = "[[package]]\nname = \"a\"\nsource = { registry = \"https://h.example/simple\" }\n\
                    [[package]]\nname = \"foo\"\nsource = { registry = \"wheels\" }\n";
        for (files, said) in [
            (
                &[("pyproject.toml", "[tool.uv]\nfind-links = [\"./wheels\"]\n")][..],
                "pyproject.toml: `find-links` takes packages from ./wheels",
            ),
            (
                &[
                    ("pyproject.toml", "[tool.uv]\n"),
                    ("uv.toml", "[pip]\nfind-links = [\"wheels\"]\n"),
                ],
                "uv.toml: `find-links` takes packages from wheels",
            ),
            (
                &[(
                    "pyproject.toml",
                    "[[tool.uv.index]]\nname = \"w\"\nurl = \"wheels\"\nformat = \"flat\"\n",
                )],
                "pyproject.toml: `index` takes packages from wheels",
            ),
            (
                &[("pyproject.toml", "[project]\nname = \"x\"\n"), ("uv.lock", lock)],
                "uv.lock: takes packages from wheels",
            ),
        ] {
            assert_eq!(told(files), [said]);
        }
    }

    #[test]
    fn pages_and_files_that_are_named_one_by_one_are_fine() {
        let project = "[tool.uv]\nfind-links = [\"https://h.example/links\"]\n\
                       [tool.uv.sources]\nfoo = { path = \"wheels/foo-1.0-py3-none-any.whl\" }\n\
                       [[tool.uv.index]]\nurl = \"https://h.example/simple\"\n";
        let lock = "[[package]]\nname = \"foo\"\nsource = { path = \"wheels/foo-1.0-py3-none-any.whl\" }\n";
        assert!(told(&[("pyproject.toml", project), ("uv.lock", lock)]).is_empty());
        assert!(told(&[("requirements.txt", "./wheels/foo-1.0-py3-none-any.whl\n")]).is_empty());
    }
}
