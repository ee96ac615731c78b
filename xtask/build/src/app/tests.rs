//! Apps' folders as they are found.

use super::*;
use crate::sample;

pub(super) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    dir
}

#[test]
fn a_locked_project() {
    let dir = folder(&[
        (
            "pyproject.toml",
            "[project]\nname='x'\nversion='1.2'\nrequires-python='>=3.12'\n",
        ),
        ("uv.lock", ""),
    ]);
    let app = read_app(dir.path()).unwrap();
    assert_eq!(app.shape, DependencySource::Locked);
    assert_eq!(app.version.as_deref(), Some("1.2"));
    assert_eq!(app.requires_python.as_deref(), Some(">=3.12"));
}

#[test]
fn requirements_with_and_without_a_pyproject() {
    let dir = folder(&[("requirements.txt", "fastapi\n")]);
    assert_eq!(
        read_app(dir.path()).unwrap().shape,
        DependencySource::Requirements
    );
    let dir = folder(&[
        ("requirements.txt", "fastapi\n"),
        ("pyproject.toml", "[tool.ruff]\n"),
    ]);
    assert_eq!(
        read_app(dir.path()).unwrap().shape,
        DependencySource::Requirements
    );
}

#[test]
fn versions_are_chosen_of_a_list_and_not_of_a_lock() {
    let list = folder(&[("requirements.txt", "fastapi\n")]);
    assert!(read_app(list.path()).unwrap().is_open());
    let lock = folder(&[
        ("pyproject.toml", "[project]\nname='x'\nversion='1'\n"),
        ("uv.lock", ""),
    ]);
    assert!(!read_app(lock.path()).unwrap().is_open());
}

#[test]
fn what_is_missing_is_named() {
    let problems = read_app(folder(&[]).path()).unwrap_err();
    assert!(
        problems[0].contains("neither pyproject.toml nor "),
        "{problems:?}"
    );
    let problems = read_app(Path::new("/nonexistent/app")).unwrap_err();
    assert!(
        problems[0].contains("/nonexistent/app does not exist"),
        "{problems:?}"
    );
    let problems = read_app(folder(&[("pyproject.toml", "[project\n")]).path()).unwrap_err();
    assert!(
        problems[0].contains("cannot be read: TOML parse error at line 1"),
        "{problems:?}"
    );
}

#[test]
fn a_project_without_lock_is_locked_by_the_build_where_that_can_be_done() {
    let known = "[project]\nname='x'\nversion='1'\ndependencies=['uvicorn']\n[dependency-groups]\nprod=[]\n";
    let bare = folder(&[("pyproject.toml", known)]);
    let app = read_app(bare.path()).unwrap();
    assert_eq!(app.shape, DependencySource::Bare);
    assert!(app.unlocked().is_some());
    choosing(bare.path(), None, &[], &["prod"]).unwrap();
    let found = choosing(bare.path(), Some("x"), &["server"], &[]).unwrap_err();
    for expected in [
        "`app.extras` names `server`, which it does not have: it has none",
        "`app.package` chooses of a uv.lock, and here is none: pyproject.toml says what is installed",
    ] {
        assert!(found.contains(expected), "{found}");
    }
    assert!(app.unlocked().unwrap().ends_with(" as /app/uv.lock"));
    // uv would want more than this file to lock it, and not to choose of it.
    let with = |more: &str| {
        let other = known.replace("[dependency-groups]", &format!("{more}\n[dependency-groups]"));
        read_app(folder(&[("pyproject.toml", &other)]).path())
    };
    for more in [
        "dynamic=['readme']",
        "[tool.uv.sources]\ny={path='../y', editable=true}",
    ] {
        let app = with(more).unwrap();
        assert_eq!(app.shape, DependencySource::Compiled);
        assert!(app.unlocked().unwrap().ends_with(" as /app/pylock.toml"));
    }
    let found = with("dynamic=['dependencies']").unwrap_err();
    assert!(
        found[0].contains("has no uv.lock beside it: run `uv lock` in "),
        "{found:?}"
    );
    let found = with("[tool.uv.sources]\nuvicorn={path='../y'}").unwrap_err();
    assert!(
        found[0].contains("takes uvicorn from ../y, where it is not: put it into "),
        "{found:?}"
    );
    let groups = folder(&[(
        "pyproject.toml",
        "[dependency-groups]\nmain=['uvicorn']\ndev=['pytest']\n",
    )]);
    assert_eq!(
        choosing(groups.path(), None, &[], &["main"]).map(|app| app.shape),
        Ok(DependencySource::Bare)
    );
    let poetry = "[tool.poetry]\nname='x'\n[tool.poetry.dependencies]\nuvicorn='*'\n";
    let found = read_app(folder(&[("pyproject.toml", poetry)]).path()).unwrap_err();
    assert!(
        found[0].contains("has no poetry.lock beside it: run `poetry lock` in "),
        "{found:?}"
    );
}

fn read_app(folder: &Path) -> Result<Application, Vec<String>> {
    read(folder, &sample::spec().app.unwrap())
}

/// A workspace whose top asks for `idna`, with two members.
const WORKSPACE: [(&str, &str); 4] = [
    (
        "pyproject.toml",
        "[project]\nname='root'\nversion='1'\ndependencies=['idna']\n[tool.uv.workspace]\nmembers=['apps/*','libs/*']\n",
    ),
    (
        "apps/api/pyproject.toml",
        "[project]\nname='api'\nversion='2.5'\nrequires-python='>=3.12'\ndependencies=['shared']\n\
         [project.optional-dependencies]\nserver=['uvicorn']\n[dependency-groups]\nprod=['sniffio']\n",
    ),
    (
        "libs/shared/pyproject.toml",
        "[project]\nname='shared'\nversion='1'\n",
    ),
    (
        "uv.lock",
        r#"version = 1
requires-python = ">=3.11"

[[package]]
name = "api"
version = "2.5"
source = { virtual = "apps/api" }
dependencies = [
    { name = "shared" },
]

[package.optional-dependencies]
server = [
    { name = "uvicorn" },
]

[package.dev-dependencies]
prod = [
    { name = "sniffio" },
]

[package.metadata]
requires-dist = [
    { name = "shared", virtual = "libs/shared" },
    { name = "uvicorn", marker = "extra == 'server'" },
]
provides-extras = ["server"]

[package.metadata.requires-dev]
prod = [{ name = "sniffio" }]

[[package]]
name = "idna"
version = "3"
source = { registry = "https://example.org/simple" }

[[package]]
name = "root"
version = "1"
source = { virtual = "." }
dependencies = [
    { name = "idna" },
]

[package.metadata]
requires-dist = [{ name = "idna" }]

[[package]]
name = "shared"
version = "1"
source = { virtual = "libs/shared" }

[[package]]
name = "sniffio"
version = "1"
source = { registry = "https://example.org/simple" }

[[package]]
name = "uvicorn"
version = "1"
source = { registry = "https://example.org/simple" }
"#,
    ),
];

fn choosing(
    folder: &Path,
    package: Option<&str>,
    extras: &[&str],
    groups: &[&str],
) -> Result<Application, String> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut app = sample::spec().app.unwrap();
    app.install.package = package.map(str::to_owned);
    app.install.extras = names(extras);
    app.install.groups = names(groups);
    read(folder, &app).map_err(|problems| problems.join("\n"))
}

#[test]
fn a_member_is_the_app_with_its_extras_and_groups() {
    let dir = folder(&WORKSPACE);
    let app = choosing(dir.path(), Some("api"), &["server"], &["prod"]).unwrap();
    assert_eq!(app.version.as_deref(), Some("2.5"));
    assert_eq!(app.requires_python.as_deref(), Some(">=3.12"));
}

#[test]
fn a_lock_that_git_of_windows_has_checked_out_says_the_same() {
    let dir = folder(&WORKSPACE);
    let requirements = dir.path().join("requirements.txt");
    fs_err::write(&requirements, "sniffio==2\n").unwrap();
    let of_app = || choosing(dir.path(), Some("api"), &["server"], &["prod"]).unwrap();
    let before = of_app();
    assert_eq!(before.disagreeing_lists().len(), 1);
    for name in [
        "uv.lock",
        "pyproject.toml",
        "apps/api/pyproject.toml",
        "requirements.txt",
    ] {
        let path = dir.path().join(name);
        let text = fs_err::read_to_string(&path).unwrap().replace('\n', "\r\n");
        fs_err::write(path, text).unwrap();
    }
    assert_eq!(of_app(), before);
}

#[test]
fn what_a_project_does_not_have_is_told_with_what_it_has() {
    let dir = folder(&WORKSPACE);
    let found = choosing(dir.path(), Some("apo"), &[], &[]).unwrap_err();
    let expected =
        "uv.lock: `app.package` is `apo`, which is none of its local packages: `api`, `root`, `shared`";
    assert!(found.ends_with(expected), "{found}");
    let found = choosing(dir.path(), Some("api"), &["serve"], &["test"]).unwrap_err();
    for expected in [
        "`app.extras` names `serve`, which api does not have: it has server",
        "`app.groups` names `test`, which api does not have: it has prod",
    ] {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_server_that_would_not_be_installed_is_told_with_what_installs_it() {
    let dir = folder(&WORKSPACE);
    let found = choosing(dir.path(), None, &[], &[]).unwrap_err();
    let expected = "uvicorn is not among the dependencies of root: `\"with\": [\"uvicorn\"]` in the spec's `app` installs it \
                    beside them; or run `uv add uvicorn` in ";
    assert!(found.contains(expected), "{found}");
    let mut app = sample::spec().app.unwrap();
    app.install.with = vec!["Uvicorn[standard]>=0.30".to_owned()];
    read(dir.path(), &app).unwrap();
    app.install.with = vec!["uvicorn-worker".to_owned()];
    read(dir.path(), &app).unwrap_err();
    let found = choosing(dir.path(), Some("api"), &[], &[]).unwrap_err();
    let expected =
        "it is in the extra `server`, which `\"extras\": [\"server\"]` in the spec's `app` installs";
    assert!(found.contains(expected), "{found}");
    // The advice is followed.
    choosing(dir.path(), Some("api"), &["server"], &[]).unwrap();

    let lock = dir.path().join("uv.lock");
    let text = fs_err::read_to_string(&lock).unwrap();
    let in_group = text.replace(
        "server = [\n    { name = \"uvicorn\" }",
        "server = [\n    { name = \"idna\" }",
    );
    let in_group = in_group.replace(
        "prod = [\n    { name = \"sniffio\" }",
        "prod = [\n    { name = \"uvicorn\" }",
    );
    fs_err::write(&lock, in_group).unwrap();
    let found = choosing(dir.path(), Some("api"), &[], &[]).unwrap_err();
    let expected = "it is in the group `prod`, which `\"groups\": [\"prod\"]` in the spec's `app` installs";
    assert!(found.contains(expected), "{found}");
    choosing(dir.path(), Some("api"), &[], &["prod"]).unwrap();

    let of_member = text.replacen("{ name = \"shared\" }", "{ name = \"uvicorn\" }", 1);
    fs_err::write(&lock, of_member).unwrap();
    let found = choosing(dir.path(), None, &[], &[]).unwrap_err();
    let expected = "the package `api` has it: `\"package\": \"api\"` in the spec's `app` makes it the app";
    assert!(found.contains(expected), "{found}");
    choosing(dir.path(), Some("api"), &[], &[]).unwrap();
}

#[test]
fn a_member_is_sent_to_its_workspace() {
    let dir = folder(&WORKSPACE);
    let root = dir.path().display();
    let found = choosing(&dir.path().join("apps/api"), None, &[], &[]).unwrap_err();
    let expected =
        format!("give {root} as the app's folder, with `\"package\": \"api\"` in the spec's `app`");
    assert!(found.contains(&expected), "{found}");
    assert!(!found.contains("uv lock"), "it would change nothing: {found}");
    fs_err::remove_file(dir.path().join("uv.lock")).unwrap();
    let found = choosing(&dir.path().join("apps/api"), None, &[], &[]).unwrap_err();
    assert!(
        found.contains(&format!("run `uv lock` in {root}, commit the file, and give")),
        "{found}"
    );
}

#[test]
fn what_lies_outside_is_told_where_it_would_be_installed() {
    let dir = folder(&WORKSPACE);
    let lock = dir.path().join("uv.lock");
    let text = fs_err::read_to_string(&lock).unwrap();
    fs_err::write(&lock, text.replace("\"libs/shared\"", "\"../shared\"")).unwrap();
    let found = choosing(dir.path(), Some("api"), &["server"], &[]).unwrap_err();
    assert!(found.contains("installs `shared` from ../shared"), "{found}");
    // Nothing of it comes with the project at the top.
    let found = choosing(dir.path(), None, &[], &[]).unwrap_err();
    assert!(!found.contains("shared"), "{found}");
}
