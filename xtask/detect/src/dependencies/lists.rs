//! The files of a project that say what is installed, and the parts of it that are for developers.

use toml::Table;

use super::{at, entries};

/// Groups that are for those who work on a project: taken where nothing else has a
/// server, since a lock has theirs, too, and nobody else's installation would.
pub(crate) const OF_DEVELOPERS: [&str; 10] = [
    "dev",
    "develop",
    "development",
    "test",
    "tests",
    "testing",
    "lint",
    "docs",
    "typing",
    "ci",
];

/// What many projects have for other tools beside their lock, too.
pub(super) const REQUIREMENTS: &str = "requirements.txt";

/// The file that says what a build installs, of those that a folder has; `None` where
/// `pyproject.toml` alone may.
pub fn installed_from(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    // These say nothing without their project.
    let of_projects = ["uv.lock", "poetry.lock", "pdm.lock"];
    let order = [
        "uv.lock",
        "pylock.toml",
        "poetry.lock",
        "pdm.lock",
        REQUIREMENTS,
        "Pipfile.lock",
    ];
    let counts = |file: &&str| has(file) && (!of_projects.contains(file) || has("pyproject.toml"));
    order.into_iter().find(counts)
}

/// Of these files, the list by another name that a server is installed from:
/// `requirements/production.txt`, `requirements-prod.txt`; none of those that are for
/// developers. They are paths from the project's folder.
pub fn list_elsewhere<'p>(paths: impl Iterator<Item = &'p str>, ending: &str) -> Option<&'p str> {
    const ORDER: [&str; 9] = [
        "production",
        "prod",
        "deploy",
        "main",
        "app",
        "common",
        "base",
        "default",
        "requirements",
    ];
    const OF_DEVELOPERS: [&str; 11] = [
        "build",
        "ci",
        "dev",
        "develop",
        "development",
        "docs",
        "lint",
        "local",
        "test",
        "testing",
        "tests",
    ];
    let ranked = paths.filter_map(|path| {
        // A list takes what follows a blank for another option.
        let stem = path.strip_suffix(ending)?.strip_suffix('.')?.to_lowercase();
        let is_list = match stem.strip_prefix("requirements/") {
            Some(name) => !name.contains('/'),
            None => !stem.contains('/') && stem.contains("requirements"),
        };
        let words: Vec<&str> = stem
            .trim_start_matches("requirements/")
            .split(['-', '_', '.'])
            .collect();
        let is_for_others = words.iter().any(|word| OF_DEVELOPERS.contains(word));
        let known = ORDER.iter().position(|one| words.contains(one));
        let counts = is_list && !is_for_others && !path.contains(char::is_whitespace);
        counts.then_some((known.unwrap_or(ORDER.len()), path))
    });
    ranked.min().map(|(_, path)| path)
}

/// The groups of a `pyproject.toml` that has packages in `[dependency-groups]` alone, as no
/// project: those that are not for developers. Empty for every other one.
pub fn listed_groups(table: &Table) -> Vec<&str> {
    let is_project = [&["project"][..], &["tool", "poetry"], &["tool", "pdm"]];
    if is_project.iter().any(|keys| at(table, keys).is_some()) {
        return Vec::new();
    }
    let names = entries(table.get("dependency-groups")).map(|(name, _)| name.as_str());
    names.filter(|name| !OF_DEVELOPERS.contains(name)).collect()
}
