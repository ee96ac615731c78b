//! Whether the app's folder has the front end that its spec names: told before
//! anything is built.

use std::path::Path;

use crate::network::FRONT_END_LOCKS;
use definition::spec::build::FrontEnd;
use inputs::regular;
use serde_json::Value;

/// All that the installation and the build command would miss.
pub(crate) fn problems(folder: &Path, front_end: &FrontEnd) -> Vec<String> {
    let place = folder.join(&front_end.folder);
    let package = place.join("package.json");
    let read = regular::read_to_string(&package).map_err(|_| {
        format!(
            "{} is not there: `build.node.folder` names the folder of the front end",
            package.display()
        )
    });
    let parsed = read.and_then(|text| {
        serde_json::from_str::<Value>(&text)
            .map_err(|error| format!("{} is no JSON: {error}", package.display()))
    });
    let manifest = match parsed {
        Ok(manifest) => manifest,
        Err(problem) => return vec![problem],
    };
    let mut found = Vec::new();
    if !FRONT_END_LOCKS.iter().any(|lock| place.join(lock).is_file()) {
        found.push(format!(
            "{} has no lock beside it (package-lock.json, pnpm-lock.yaml, yarn.lock, bun.lock): run `npm install --package-lock-only` in {} and commit the file",
            package.display(),
            place.display()
        ));
    }
    let script = match (&front_end.command, &front_end.output) {
        (None, Some(_)) => Some("build"),
        (Some(command), _) => match command.as_slice() {
            [manager, run, script, ..]
                if run == "run" && ["npm", "pnpm", "yarn", "bun"].contains(&manager.as_str()) =>
            {
                Some(script.as_str())
            }
            _ => None,
        },
        (None, None) => None,
    };
    if let Some(script) = script
        && manifest
            .get("scripts")
            .and_then(|scripts| scripts.get(script))
            .is_none()
    {
        let scripts = manifest.get("scripts").and_then(Value::as_object);
        let known: Vec<&str> = scripts
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        found.push(format!(
            "{} has no script `{script}`, which `build.node` runs; it has {known}",
            package.display()
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_npm_would_miss_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let front_end: FrontEnd = serde_json::from_str(r#"{"folder": "web", "output": "web/dist"}"#).unwrap();
        let told = || {
            let top = format!("{}/", dir.path().display());
            let found = problems(dir.path(), &front_end);
            found.iter().map(|one| one.replace(&top, "")).collect::<Vec<_>>()
        };
        assert_eq!(
            told(),
            ["web/package.json is not there: `build.node.folder` names the folder of the front end"]
        );
        fs_err::create_dir(dir.path().join("web")).unwrap();
        fs_err::write(
            dir.path().join("web/package.json"),
            r#"{"scripts": {"dev": "x"}}"#,
        )
        .unwrap();
        assert_eq!(
            told(),
            [
                "web/package.json has no lock beside it (package-lock.json, pnpm-lock.yaml, yarn.lock, bun.lock): run `npm install --package-lock-only` in web and \
                 commit the file",
                "web/package.json has no script `build`, which `build.node` runs; it has dev",
            ]
        );
        fs_err::write(
            dir.path().join("web/package.json"),
            r#"{"scripts": {"build": "x"}}"#,
        )
        .unwrap();
        for lock in FRONT_END_LOCKS {
            let lock = dir.path().join("web").join(lock);
            fs_err::write(&lock, "").unwrap();
            assert_eq!(told(), [""; 0], "{}", lock.display());
            fs_err::remove_file(lock).unwrap();
        }
    }
}
