//! Projects of many shapes, each a file in `shapes/`: the files of the project,
//! then what is to be said of it, then the `hive-app.json` that it leads to.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use definition::spec::load::{self, ImageFiles, SourceFile};
use detect::findings::{look, look_at, look_at_member};
use detect::proposal::{ImageFacts, propose};
use detect::told;
use serde_json::Value;

const DEFAULTS: &str = include_str!("../../../images/defaults.json");

/// Writes the files of a shape into a folder.
fn unpack(files: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files.split("--- ").skip(1) {
        let (name, text) = file.split_once('\n').unwrap();
        let file = folder.path().join(name);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, text).unwrap();
    }
    folder
}

/// What is said of a folder, and the file that it leads to.
fn found(folder: &Path) -> String {
    let findings = look(folder);
    let facts = ImageFacts {
        name: "shape",
        source: "../shape",
        port: 8000,
        python: None,
        python_library: Some("libpython3.13"),
        python_version: Some("3.13"),
        built: &[],
        of_extensions: &[],
    };
    let proposed = propose(&findings, &facts, &serde_json::from_str(DEFAULTS).unwrap());
    let told = told::lines(&findings);
    let told: String = told
        .iter()
        .map(|line| format!("{} {}\n", line.label, line.text))
        .collect();
    let file = |shown: &str, text: String| SourceFile {
        shown: shown.to_owned(),
        folder: PathBuf::from("images/shape"),
        text,
    };
    let files = ImageFiles {
        name: "shape".to_owned(),
        own: file("images/shape/image.json", proposed.image.to_string()),
        app: Some(file("hive-app.json", proposed.app.to_string())),
    };
    let defaults = file("images/defaults.json", DEFAULTS.to_owned());
    let problems = load::load(Some(&defaults), &[files]).err().unwrap_or_default();
    let problems: String = problems
        .iter()
        .map(|problem| format!("wrong: {problem}\n"))
        .collect();
    let app = if proposed.app == Value::Object(serde_json::Map::new()) {
        "none".to_owned()
    } else {
        serde_json::to_string_pretty(&proposed.app).unwrap()
    };
    let smoke = proposed
        .image
        .get("smoke")
        .map_or_else(String::new, |smoke| format!("=== smoke of image.json\n{smoke}\n"));
    format!("{told}=== hive-app.json\n{problems}{app}\n{smoke}")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has no `Environment`")]
fn every_shape_is_read_right_and_gives_a_valid_spec() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shapes");
    let entries = fs_err::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|one| one.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 25, "{} shapes", paths.len());
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs_err::read_to_string(&path).unwrap();
        let (files, expected) = text.split_once("=== said\n").unwrap_or((&text, ""));
        let found = found(unpack(files).path());
        if std::env::var_os("UPDATE_SHAPES").is_some() {
            fs_err::write(&path, format!("{files}=== said\n{found}")).unwrap();
        } else if found != expected || found.contains("wrong: ") {
            wrong.push(format!("{}:\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_app_is_named_by_its_file_where_several_have_its_import_string() {
    let text = include_str!("shapes/two-services.txt");
    let folder = unpack(text.split("=== said").next().unwrap());
    let chosen = |import: &str| {
        let findings = look_at(folder.path(), Some(import));
        let app = findings.app.chosen.map(|one| one.place.file);
        (
            app,
            findings.package.map(|one| one.value),
            findings.app.others.len(),
        )
    };
    for service in ["orders", "users"] {
        let file = format!("services/{service}/app/main.py");
        let expected = (Some(file.clone()), Some(service.to_owned()), 1);
        assert_eq!(chosen(&format!("{file}:app")), expected);
    }
    assert_eq!(chosen("app.main:app"), (None, None, 2));
    assert_eq!(chosen("services/none/main.py:app"), (None, None, 2));
    let elsewhere = (Some("--import".to_owned()), None, 2);
    assert_eq!(chosen("of.a.package:app"), elsewhere);
}

#[test]
fn a_first_start_gets_time_for_the_migrations_of_a_long_past() {
    let seconds = |many: usize| {
        let text = include_str!("shapes/celery-on-the-image-redis.txt");
        let folder = unpack(text.split("=== said").next().unwrap());
        let migrations = folder.path().join("letters/migrations");
        fs_err::create_dir_all(&migrations).unwrap();
        fs_err::write(migrations.join("__init__.py"), "").unwrap();
        for n in 1..=many {
            fs_err::write(migrations.join(format!("{n:04}_change.py")), "").unwrap();
        }
        let said = found(folder.path());
        assert!(!said.contains("wrong: "), "{said}");
        let note = said.lines().find(|line| line.contains("ready_seconds"));
        note.map(str::to_owned)
    };
    let note = |seconds: usize, many: usize| {
        Some(format!(
            "note `budgets.ready_seconds` is {seconds}, as the first start goes through {many} migrations"
        ))
    };
    assert_eq!(seconds(100), None);
    assert_eq!(seconds(158), note(110, 158));
    assert_eq!(seconds(1416), note(600, 1416));
}

#[test]
fn what_was_set_is_not_asked_for_again() {
    let folder = unpack(
        "--- requirements.txt\nflask\ngunicorn\n--- app.py\nimport os\nfrom flask import Flask\n\napp = Flask(__name__)\n\
         SITE = os.environ[\"SITE\"]\nMAIL = os.environ[\"MAIL_FROM\"]\nDEBUG = os.getenv(\"DEBUG\", \"1\") == \"1\"\n\
         if os.getenv(\"STAGE\", \"dev\") == \"prod\":\n    pass\n",
    );
    let findings = look(folder.path());
    let said = |set: &[&str]| {
        let set = set.iter().map(|name| (*name).to_owned()).collect();
        let lines = told::lines(&findings.with_set(&set)).into_iter();
        let about =
            lines.filter(|line| ["give", "note"].contains(&line.label) || line.text.contains("  DEBUG = "));
        let about = about.map(|line| line.text.split("  ").nth(1).unwrap_or_default().to_owned());
        let names = about.map(|text| text.split(' ').next().unwrap_or_default().to_owned());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(said(&[]), "DEBUG SITE MAIL_FROM STAGE");
    assert_eq!(said(&["SITE", "DEBUG"]), "MAIL_FROM STAGE");
    assert_eq!(said(&["MAIL_FROM", "STAGE"]), "DEBUG SITE");
}

#[test]
fn only_members_of_a_workspace_are_told_as_such() {
    let text = include_str!("shapes/workspace-with-sources-at-the-top.txt");
    let folder = unpack(text.split("=== said").next().unwrap());
    let members = |more: &str| {
        let file = folder.path().join("pyproject.toml");
        let patterns = "members = [\"services/*\", \"libs/*\"]";
        fs_err::write(file, format!("[tool.uv.workspace]\n{patterns}\n{more}")).unwrap();
        fs_err::remove_file(folder.path().join("services/api/Dockerfile")).ok();
        look(folder.path()).members()
    };
    let all = ["libs/core", "libs/mail", "services/api", "services/other"];
    assert_eq!(members(""), Some(all.map(str::to_owned).to_vec()));
    // `new` would take that folder for a project alone.
    assert_eq!(members("exclude = [\"services/other\"]"), None);
}

#[test]
fn a_member_of_a_workspace_is_seen_apart_from_the_others() {
    let text = include_str!("shapes/workspace-members.txt");
    let folder = unpack(text.split("=== said").next().unwrap());
    let said = |package: &str| {
        let findings = look_at_member(folder.path(), package, None);
        let told = told::lines(&findings).into_iter();
        let told: Vec<String> = told.map(|line| format!("{} {}", line.label, line.text)).collect();
        told.join("\n")
    };
    let give = "has no default: whoever runs the image gives it, by `up --env-file`, `docker run -e` or `app.environment` of \
                hive-app.json; the gate has the stand-in given-at-start";
    let shared = format!("give libs/shared/shared/__init__.py:3  SHARED_TENANT {give}");
    assert_eq!(
        said("orders"),
        format!(
            "found services/orders/pyproject.toml:2  the app is the workspace's package orders\n\
             found services/orders/app/main.py:5  FastAPI → app.main:app (Dockerfile:1 names it)\n\
             found services/orders/pyproject.toml:3  uvicorn runs it\n\
             found services/orders/Dockerfile:1  port 9100\n\
             found services/orders/app/main.py:9  GET /orders/health does not ask the database: it tells that the app runs\n\
             found services/orders/app/main.py:5  PYTHONPATH = /app/services/orders (its modules are imported from there)\n\
             {shared}\n\
             give services/orders/app/main.py:6  ORDERS_REGION {give}"
        )
    );
    // One that nobody starts, by the only app that it has.
    let users = said("users");
    assert!(users.contains("FastAPI → app.main:app (the only one)"), "{users}");
    assert!(
        users.contains("beside services/users/pyproject.toml:3  MongoDB is not in the image"),
        "{users}"
    );
    assert!(
        users.contains("GET /health ") && users.contains("USERS_REGION"),
        "{users}"
    );
    assert!(!users.contains("orders"), "{users}");
    let none = look_at_member(folder.path(), "shared", None);
    assert_eq!((none.app.chosen, none.app.others.len()), (None, 0));
}
