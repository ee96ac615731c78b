//! Locks of Poetry and PDM beside projects that they fit, and that they do not.

use super::current::{pdm_hash_of_before, poetry_hash};
use super::*;
use crate::sample;

const POETRY: [&str; 2] = [
    include_str!("../../../../tests/fixtures/poetry-app/pyproject.toml"),
    include_str!("../../../../tests/fixtures/poetry-app/poetry.lock"),
];
const PDM: [&str; 2] = [
    include_str!("../../../../tests/fixtures/pdm-app/pyproject.toml"),
    include_str!("../../../../tests/fixtures/pdm-app/pdm.lock"),
];

/// What is told of a project, its lock, extras and groups.
fn told(shape: DependencySource, [project, lock]: [&str; 2], chosen: [&[&str]; 2]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join(shape.file()), lock).unwrap();
    let [extras, groups] = chosen.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let mut app = sample::spec().app.unwrap();
    app.install.extras = extras;
    app.install.groups = groups;
    let top = format!("{}/", dir.path().display());
    let found = problems(dir.path(), &project.parse().unwrap(), &app, shape);
    found
        .iter()
        .map(|one| one.replace(&top, "").replace(top.trim_end_matches('/'), "."))
        .collect()
}

#[test]
fn locks_as_their_tools_wrote_them_are_taken() {
    let chosen: [&[&str]; 2] = [&["server"], &["prod"]];
    assert_eq!(told(DependencySource::Poetry, POETRY, chosen), [""; 0]);
    let chosen: [&[&str]; 2] = [&["server"], &["prod_x"]];
    assert_eq!(told(DependencySource::Pdm, PDM, chosen), [""; 0]);
}

#[test]
fn a_lock_of_another_project_is_refused() {
    let [project, lock] = POETRY;
    let changed = project.replace("docopt = \"^0.6\"", "docopt = \"^0.5\"");
    assert_eq!(
        told(DependencySource::Poetry, [&changed, lock], [&["server"], &[]]),
        ["poetry.lock is older than pyproject.toml: run `poetry lock` in . and commit the file"]
    );
    let [project, lock] = PDM;
    let changed = project.replace("\"docopt\"", "\"docopt<1\"");
    assert_eq!(
        told(DependencySource::Pdm, [&changed, lock], [&["server"], &[]]),
        ["pdm.lock is older than pyproject.toml: run `pdm lock` in . and commit the file"]
    );
    // What neither of them reads may change.
    for (shape, [project, lock]) in [(DependencySource::Poetry, POETRY), (DependencySource::Pdm, PDM)] {
        let changed = project.replace("1.4.0", "1.5.0") + "\n[tool.ruff]\nline-length = 100\n";
        assert_eq!(told(shape, [&changed, lock], [&["server"], &[]]), [""; 0]);
    }
}

/// Hashes that Poetry 2.5 and PDM 2.29 have written.
#[test]
fn hashes_are_those_of_the_tools() {
    let project = "[project]\nname = 'pep-app'\nversion = '1'\nrequires-python = '>=3.11,<4'\n\
        dependencies = ['starlette>=0.40', 'typing-extensions']\n\
        [project.optional-dependencies]\nserver = ['uvicorn[standard]>=0.30']\n\
        [dependency-groups]\ntest = ['iniconfig']\nprod = ['docopt', {include-group = 'test'}]\n\
        [tool.poetry]\npackage-mode = false\n\
        [[tool.poetry.source]]\nname = 'simple'\nurl = 'https://pypi.org/simple/'\npriority = 'primary'\n";
    let project: Table = project.parse().unwrap();
    assert_eq!(
        poetry_hash(&project, true),
        "a23904bb4c882fe49fd76eb6fc232af1a24e445dfee0fb71faf001d9ab4f2f4b"
    );
    assert_ne!(poetry_hash(&project, false), poetry_hash(&project, true));
}

#[test]
fn a_lock_of_pdm_before_2_18_is_that_of_its_project() {
    let project: Table = PDM[0].parse().unwrap();
    // As PDM 2.12.4 has written it.
    let known = "8670c9756039ffb8cb33c9553ce09c970ee849169277f291b32f7e4805763466";
    assert_eq!(pdm_hash_of_before(&project), known);
    let lock: Table = format!("[metadata]\ncontent_hash = \"sha256:{known}\"")
        .parse()
        .unwrap();
    assert!(pdm_is_current(&lock, &project));
    let changed: Table = PDM[0].replace("\"docopt\"", "\"docopt<1\"").parse().unwrap();
    assert!(
        pdm_is_current(&lock, &changed),
        "it did not know of dependency-groups"
    );
    let changed: Table = PDM[0]
        .replace("\"iniconfig\"", "\"iniconfig<9\"")
        .parse()
        .unwrap();
    assert!(!pdm_is_current(&lock, &changed));
}

#[test]
fn what_the_lock_does_not_have_is_told_with_what_it_has() {
    assert_eq!(
        told(DependencySource::Poetry, POETRY, [&["serve"], &["test"]]),
        [
            "poetry.lock: `app.extras` names `serve`, which it does not have: it has server",
            "poetry.lock: `app.groups` names `test`, which it does not have: it has dev, prod",
        ]
    );
    let found = told(DependencySource::Pdm, PDM, [&["serve"], &[]]);
    assert_eq!(
        found,
        [
            "pdm.lock: `app.extras` names `serve`, which it does not have: it has dev, prod-x, server \
          (`pdm lock --group :all` locks all that the project has)"
        ]
    );
}

#[test]
fn a_server_that_would_not_be_installed_is_told_with_what_installs_it() {
    let advice =
        "uvicorn is not among what is installed: `\"extras\": [\"server\"]` in the spec's `app` installs it";
    for (shape, files) in [(DependencySource::Poetry, POETRY), (DependencySource::Pdm, PDM)] {
        assert_eq!(
            told(shape, files, [&[], &[]]),
            [format!("{}: {advice}", shape.file())]
        );
        let dir = tempfile::tempdir().unwrap();
        let [project, lock] = files;
        fs_err::write(dir.path().join(shape.file()), lock).unwrap();
        let mut app = sample::spec().app.unwrap();
        app.install.with = vec!["uvicorn".to_owned()];
        let project = project.parse().unwrap();
        assert_eq!(problems(dir.path(), &project, &app, shape), [""; 0]);
    }
}

#[test]
fn what_lies_outside_and_what_says_no_markers_is_refused() {
    let [project, lock] = POETRY;
    let local = "[[package]]\nname = \"shared\"\nversion = \"1\"\ngroups = [\"main\"]\n\
        [package.source]\ntype = \"directory\"\nurl = \"../shared\"\n\n[extras]";
    let lock = lock.replace("[extras]", local);
    let found = told(DependencySource::Poetry, [project, &lock], [&["server"], &[]]);
    assert!(
        found[0].starts_with("poetry.lock installs `shared` from ../shared, and"),
        "{found:?}"
    );
    let [project, lock] = PDM;
    let bare = lock.replace(
        "strategy = [\"inherit_metadata\"]",
        "strategy = [\"cross_platform\"]",
    );
    let chosen: [&[&str]; 2] = [&["server"], &[]];
    assert_eq!(told(DependencySource::Pdm, [project, &bare], chosen), [""; 0]);
    let dynamic = project.replacen("[project]\n", "[project]\ndynamic = [\"dependencies\"]\n", 1);
    let found = told(DependencySource::Pdm, [&dynamic, &bare], chosen);
    assert!(
        found[0].contains("run `pdm lock --update-reuse --strategy inherit_metadata` in ."),
        "{found:?}"
    );
}

#[test]
fn a_range_of_python_is_told_as_others_write_it() {
    for (asked, told) in [
        ("^3.11", Some(">=3.11,<4")),
        ("~3.12", Some("==3.12.*")),
        ("~3.12.1", Some("==3.12.*")),
        (">=3.9, <3.14", Some(">=3.9, <3.14")),
        ("*", None),
        (">=3.9 || <3", None),
    ] {
        let project = format!("[tool.poetry.dependencies]\npython = '{asked}'\n");
        assert_eq!(
            python_of_poetry(&project.parse().unwrap()).as_deref(),
            told,
            "{asked}"
        );
    }
}
