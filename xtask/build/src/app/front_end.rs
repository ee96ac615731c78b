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
    if locks(&place).is_empty() {
        found.push(format!(
            "{} has no lock beside it (package-lock.json, pnpm-lock.yaml, yarn.lock, bun.lock): run `{}` in {} and commit the file",
            package.display(),
            makes_lock(&manifest),
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

/// The locks beside a front end's package.json.
fn locks(place: &Path) -> Vec<&'static str> {
    let there = FRONT_END_LOCKS.into_iter();
    there.filter(|lock| place.join(lock).is_file()).collect()
}

/// The manager that package.json names by `packageManager`, and its version.
fn named_manager(manifest: &Value) -> Option<(&str, &str)> {
    let named = manifest.get("packageManager")?.as_str()?;
    Some(named.split_once('@').unwrap_or((named, "")))
}

/// The command that makes a lock and installs nothing, of the manager that package.json
/// names, else npm.
fn makes_lock(manifest: &Value) -> &'static str {
    match named_manager(manifest) {
        Some(("pnpm", _)) => "pnpm install --lockfile-only",
        Some(("yarn", version)) if version.starts_with("1.") => "yarn install",
        Some(("yarn", _)) => "yarn install --mode=update-lockfile",
        Some(("bun", _)) => "bun install --lockfile-only",
        _ => "npm install --package-lock-only",
    }
}

/// Which lock counts, where those of several managers lie beside each other: as the build
/// chooses it.
pub(crate) fn two_locks(folder: &Path, front_end: &FrontEnd) -> Option<String> {
    let of = |lock: &str| match lock {
        "pnpm-lock.yaml" => "pnpm",
        "yarn.lock" => "yarn",
        "bun.lock" | "bun.lockb" => "bun",
        _ => "npm",
    };
    let place = folder.join(&front_end.folder);
    let text = regular::read_to_string(&place.join("package.json")).ok()?;
    let manifest: Value = serde_json::from_str(&text).ok()?;
    let there = locks(&place);
    let named = named_manager(&manifest).map(|(name, _)| name);
    let meant = there.iter().find(|lock| named == Some(of(lock)));
    let counts = meant.or(there.first())?;
    let others: Vec<&str> = there
        .iter()
        .copied()
        .filter(|lock| of(lock) != of(counts))
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "{}: {counts} says what is installed, and {} is not read{}",
            place.display(),
            others.join(", "),
            match meant {
                Some(_) => "",
                None => ": `packageManager` of package.json says which manager is meant",
            }
        )
    })
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
        for (named, command) in [
            ("pnpm@9.1.0+sha512.abc", "pnpm install --lockfile-only"),
            ("yarn@1.22.22", "yarn install"),
            ("yarn@4.1.0", "yarn install --mode=update-lockfile"),
            ("bun@1.2.0", "bun install --lockfile-only"),
            ("npm@11.0.0", "npm install --package-lock-only"),
        ] {
            let text = format!(r#"{{"packageManager": "{named}", "scripts": {{"build": "x"}}}}"#);
            fs_err::write(dir.path().join("web/package.json"), text).unwrap();
            assert!(
                told()[0].contains(&format!("run `{command}` in web and")),
                "{named}: {:?}",
                told()
            );
        }
        for lock in FRONT_END_LOCKS {
            let lock = dir.path().join("web").join(lock);
            fs_err::write(&lock, "").unwrap();
            assert_eq!(told(), [""; 0], "{}", lock.display());
            fs_err::remove_file(lock).unwrap();
        }
    }

    #[test]
    fn of_two_locks_the_one_that_counts_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let front_end: FrontEnd = serde_json::from_str(r#"{"folder": ".", "output": "dist"}"#).unwrap();
        let told = |manifest: &str, locks: &[&str]| {
            let folder = tempfile::tempdir_in(dir.path()).unwrap();
            fs_err::write(folder.path().join("package.json"), manifest).unwrap();
            for lock in locks {
                fs_err::write(folder.path().join(lock), "").unwrap();
            }
            let said = two_locks(folder.path(), &front_end)?;
            Some(said.split_once(": ").unwrap().1.to_owned())
        };
        assert_eq!(told("{}", &["package-lock.json"]), None);
        assert_eq!(told("{}", &["package-lock.json", "npm-shrinkwrap.json"]), None);
        let both = ["package-lock.json", "pnpm-lock.yaml"];
        assert_eq!(
            told("{}", &both).unwrap(),
            "package-lock.json says what is installed, and pnpm-lock.yaml is not read: `packageManager` of package.json says which \
             manager is meant"
        );
        assert_eq!(
            told(r#"{"packageManager": "pnpm@9.1.0"}"#, &both).unwrap(),
            "pnpm-lock.yaml says what is installed, and package-lock.json is not read"
        );
    }
}
