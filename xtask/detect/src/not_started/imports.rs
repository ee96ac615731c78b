//! Modules that an app imports, and Python does not find.

use crate::dependencies::{self, AskedBy, AskedPackage};
use crate::findings::Findings;
use crate::place::Detected;

/// Modules that are not called as the package which brings them, or are asked for most.
const PACKAGES: [(&str, &str); 28] = [
    ("PIL", "pillow"),
    ("aiofiles", "aiofiles"),
    ("aiosqlite", "aiosqlite"),
    ("asyncpg", "asyncpg"),
    ("bs4", "beautifulsoup4"),
    ("cv2", "opencv-python-headless"),
    ("dateutil", "python-dateutil"),
    ("dj_database_url", "dj-database-url"),
    ("dotenv", "python-dotenv"),
    ("email_validator", "email-validator"),
    ("greenlet", "greenlet"),
    ("gunicorn", "gunicorn"),
    ("httpx", "httpx"),
    ("jinja2", "jinja2"),
    ("jose", "python-jose"),
    ("jwt", "pyjwt"),
    ("multipart", "python-multipart"),
    ("passlib", "passlib"),
    ("pip", "pip"),
    ("psycopg", "psycopg[binary]"),
    ("psycopg2", "psycopg2-binary"),
    ("pydantic_settings", "pydantic-settings"),
    ("redis", "redis"),
    ("requests", "requests"),
    ("sklearn", "scikit-learn"),
    ("uvicorn", "uvicorn"),
    ("whitenoise", "whitenoise"),
    ("yaml", "pyyaml"),
];

/// A module that the app has, and Python does not find, or that is no dependency.
pub(super) fn for_module(findings: &Findings, words: &str) -> Option<String> {
    if let Some((_, rest)) = words.split_once("; '")
        && let Some((name, _)) = rest.split_once("' is not a package")
        && let Some(folder) = findings.folder_of_module(name)
    {
        return Some(format!(
            "{folder}/{name}.py hides the package {name} where {folder} is on Python's path: `PYTHONPATH` in `app.environment` of \
             hive-app.json has to do without {folder}, or the file gets another name"
        ));
    }
    let (_, rest) = words.split_once("No module named '")?;
    let name = rest.split('\'').next()?;
    let first = name.split('.').next()?;
    if let Some(folder) = findings
        .folder_of_module(first)
        .filter(|_| !findings.dependencies.may_bring(first))
    {
        return Some(format!(
            "{first} lies in {folder}, which is not on Python's path: \
             `\"app\": {{\"environment\": {{\"PYTHONPATH\": \"/app/{folder}\"}}}}` in hive-app.json puts it there"
        ));
    }
    if let Some(part) = of_a_part(findings, first) {
        return Some(part);
    }
    let driver = ["psycopg2", "psycopg", "asyncpg", "pg8000"];
    let asked = driver.iter().find(|one| **one == first)?;
    let has =
        |name: &str| findings.dependencies.has(name) || findings.dependencies.has(&format!("{name}-binary"));
    let other = driver.iter().find(|one| *one != asked && has(one))?;
    // The variable with a URL, if there is one: else the code makes it of its parts.
    let given = findings.database.iter().map(|one| &one.value);
    let mut urls = given.filter(|one| one.value.starts_with("{database_url"));
    let (is_made, has_url) = (!findings.database.is_empty(), urls.next().is_some());
    if is_made && !has_url {
        let known = PACKAGES.iter().find(|(module, _)| module == asked);
        let package = known.map_or(*asked, |(_, package)| package);
        return Some(format!(
            "the code makes the URL of its database itself, and SQLAlchemy takes the driver {asked} for it (since 2.1 for one that \
             names none): `\"app\": {{\"with\": [\"{package}\"]}}` in hive-app.json installs that beside {other}"
        ));
    }
    Some(format!(
        "the URL of its database asks for the driver {asked}, and {other} is among the dependencies: `{{database_url:{other}}}` \
         in `app.environment` of hive-app.json is the form for that one"
    ))
}

/// A module of a package that nobody asks for. What a package is called is told where that is
/// known: by a module's name alone anybody's could be meant.
pub(super) fn for_no_package(findings: &Findings, words: &str) -> Option<String> {
    let (_, rest) = words.split_once("No module named '")?;
    let module = rest.split(['\'', '.']).next()?;
    let is_own = |path: &String| path.starts_with(&format!("{module}/")) || *path == format!("{module}.py");
    let name = dependencies::normal(module);
    let is_asked = |package: &str| package == name || package.strip_prefix("django-") == Some(&name);
    let is_there = findings.installed().any(|one| is_asked(&one.value.name));
    if is_there || findings.sources.iter().any(is_own) {
        return None;
    }
    let known = PACKAGES.iter().find(|(of, _)| *of == module);
    let way = match known {
        Some((_, package)) => {
            format!(
                "`\"app\": {{\"with\": [\"{package}\"]}}` in hive-app.json installs {package} beside the app's own list"
            )
        }
        None => "`app.with` in hive-app.json installs its package beside the app's own list".to_owned(),
    };
    Some(format!(
        "nothing that is installed brings the module {module}: {way}"
    ))
}

/// A module that an extra or a group of the project's brings, and nothing that the image has.
fn of_a_part(findings: &Findings, module: &str) -> Option<String> {
    let name = dependencies::normal(module);
    let is_it = |one: &&Detected<AskedPackage>| {
        let package = one.value.name.as_str();
        package == name || package.strip_prefix("django-") == Some(&name)
    };
    if findings.installed().any(|one| is_it(&one)) {
        return None;
    }
    let asked = findings.dependencies.packages.iter().find(is_it)?;
    let (key, part, what) = match &asked.value.by {
        AskedBy::Project => return None,
        AskedBy::Extra(extra) => ("extras", extra, "extra"),
        AskedBy::Group(group) => ("groups", group, "group"),
    };
    Some(format!(
        "{module} comes with {}, which {} has in the {what} {part} alone: `\"app\": {{\"{key}\": [\"{part}\"]}}` in \
         hive-app.json installs that, beside what stands there",
        asked.value.name, asked.place
    ))
}
