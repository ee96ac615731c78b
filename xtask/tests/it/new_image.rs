//! `cargo xtask new`: from a folder that nobody has seen to an image of its own.

mod proved;

use serde_json::{Value, json};

use crate::sandbox::Checkout;

const MAIN: &str = r#"
import os

import psycopg
from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
def health():
    with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=2) as connection:
        connection.execute("SELECT 1")
    return {"ok": True}
"#;

/// A checkout with an app `apps/notes` in it, which need not lie there.
fn with_notes() -> Checkout {
    let checkout = Checkout::new();
    checkout.write(
        "apps/notes/requirements.txt",
        "fastapi\nuvicorn\npsycopg[binary]\n",
    );
    checkout.write("apps/notes/main.py", MAIN);
    checkout
}

fn read(checkout: &Checkout, path: &str) -> Value {
    serde_json::from_str(&fs_err::read_to_string(checkout.path(path)).unwrap()).unwrap()
}

#[test]
fn it_writes_what_differs_and_the_plan_takes_it() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    let run = checkout.xtask(&["new", &folder]).expect(0);
    run.says(&[
        "found main.py:7  FastAPI → main:app (the only one)",
        "found requirements.txt:2  uvicorn runs it",
        "found main.py:10  GET /health asks the database in main.py:13",
        "next cargo xtask build-images notes",
    ]);
    let files = [
        "hive-app.json",
        "images/notes/image.json",
        "images/notes/Dockerfile",
        "docker/compose/notes.yaml",
        "docker/compose/notes.dev.yaml",
        "docker/compose/notes.bind.yaml",
        "docker/compose/notes.external.yaml",
        "docker/compose/notes.metrics.yaml",
        "docker/compose/notes.archive.yaml",
    ];
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(
        lines.len() == files.len() && lines.iter().zip(files).all(|(line, file)| line.ends_with(file)),
        "{lines:?}"
    );
    let app = read(&checkout, "apps/notes/hive-app.json");
    assert_eq!(app["app"]["import"], "main:app");
    let image = read(&checkout, "images/notes/image.json");
    assert_eq!(
        image["app"],
        json!({ "source": "../../apps/notes", "port": 8000 })
    );
    assert_eq!(image["database"], json!({ "name": "notes", "role": "notes" }));
    checkout.xtask(&["plan", "notes"]).expect(0);
    checkout.xtask(&["render", "--check"]).expect(0);
}

/// The app's folder has a list, the one above it none.
#[test]
fn the_only_project_of_a_folder_is_the_app_and_called_as_the_folder_is() {
    let checkout = with_notes();
    let top = checkout.path("apps").display().to_string();
    for _ in 0..2 {
        let run = checkout.xtask(&["new", &top]).expect(0);
        run.says(&[
            "found ",
            "apps is no project itself: notes, which is one, has the app",
            "found main.py:7  FastAPI → main:app",
            "next cargo xtask build-images apps",
        ]);
    }
    let image = read(&checkout, "images/apps/image.json");
    assert_eq!(image["app"]["source"], "../../apps/notes");
    checkout.write("apps/other/requirements.txt", "fastapi\nuvicorn\n");
    checkout.write("apps/other/main.py", MAIN);
    checkout
        .xtask(&["new", &top, "--name", "both"])
        .expect(2)
        .says(&["is no project itself, and has some in it: notes, other"]);
}

/// As `uv run --package` means one: by its folder, each with an image of its own.
#[test]
fn members_of_a_workspace_have_an_image_each() {
    let checkout = Checkout::new();
    checkout.write(
        "shop/pyproject.toml",
        "[tool.uv.workspace]\nmembers = [\"services/*\"]\n",
    );
    let members = ["orders", "users"];
    for member in members {
        let at = |file: &str| format!("shop/services/{member}/{file}");
        let project = format!(
            "[project]\nname = \"{member}-service\"\nversion = \"1\"\ndependencies = [\"fastapi\", \"uvicorn\"]\n"
        );
        checkout.write(&at("pyproject.toml"), &project);
        checkout.write(&at("app/__init__.py"), "");
        let health = MAIN.replace("/health", &format!("/{member}/health"));
        checkout.write(&at("app/main.py"), &health);
    }
    let top = checkout.path("shop");
    let folder = |member: &str| top.join("services").join(member).display().to_string();
    let run = checkout.xtask(&["new", &top.display().to_string()]).expect(2);
    run.says(&[&format!(
        "give the member that is meant: `cargo xtask new {}` or `cargo xtask new {}`",
        folder("orders"),
        folder("users")
    )]);
    for member in members {
        let run = checkout.xtask(&["new", &folder(member)]).expect(0);
        // uv has one lock for all members, at the top.
        run.says(&[
            &format!("the app is the workspace's package {member}-service"),
            &format!("run `uv lock` in {} and commit the file", top.display()),
            &format!("next cargo xtask build-images {member}"),
        ]);
        let app = &read(&checkout, &format!("images/{member}/image.json"))["app"];
        assert_eq!(app["source"], "../../shop");
        assert_eq!(app["package"], format!("{member}-service"));
        assert_eq!(app["health_path"], format!("/{member}/health"));
        assert_eq!(
            app["environment"]["PYTHONPATH"],
            format!("/app/services/{member}")
        );
    }
    // One file at the top would be of both.
    assert!(!top.join("hive-app.json").exists());
    for again in ["users", &folder("users")] {
        let run = checkout
            .xtask(&["new", again, "--overwrite", "image.json"])
            .expect(0);
        run.says(&["wrote images/users/image.json"]);
        assert_eq!(
            read(&checkout, "images/users/image.json")["app"]["package"],
            "users-service"
        );
    }
    let run = checkout
        .xtask(&["new", &folder("users"), "--name", "orders"])
        .expect(2);
    run.says(&["images/orders/image.json is the image of another app"]);
    // As it was written before members were known.
    let image = read(&checkout, "images/users/image.json");
    let mut of_before = image.clone();
    of_before["app"] = json!({ "source": "../../shop/services/users", "port": image["app"]["port"] });
    checkout.write("images/users/image.json", &of_before.to_string());
    let run = checkout.xtask(&["new", &folder("users")]).expect(2);
    run.says(&["a member of the workspace in", "give `--overwrite image.json`"]);
    checkout
        .xtask(&["new", &folder("users"), "--overwrite", "image.json"])
        .expect(0);
    assert_eq!(read(&checkout, "images/users/image.json"), image);
    // What such a file says comes along, also where it is meant for one of them.
    checkout.write(
        "shop/hive-app.json",
        r#"{"app": {"before_start": ["true"], "health_path": "/x", "environment": {"A": "1"}}, "packages": ["git"]}"#,
    );
    let run = checkout.xtask(&["new", &folder("users")]).expect(0);
    run.says(&["first shop/hive-app.json is of all images of this folder, and gives images/users/image.json `app.before_start`, \
         `app.environment.A`, `packages`: move what is of another member alone into its images/NAME/image.json"]);
    assert!(
        !run.stderr.contains("--overwrite hive-app.json"),
        "{}",
        run.stderr
    );
    let run = checkout
        .xtask(&["new", &folder("users"), "--overwrite", "hive-app.json"])
        .expect(2);
    run.says(&[
        "nothing of users-service is written into it",
        "give `--overwrite image.json`",
    ]);
}

#[test]
fn a_list_elsewhere_is_made_one_by_the_told_command() {
    let checkout = with_notes();
    let notes = checkout.path("apps/notes");
    fs_err::create_dir(notes.join("requirements")).unwrap();
    fs_err::rename(
        notes.join("requirements.txt"),
        notes.join("requirements/production.txt"),
    )
    .unwrap();
    checkout.write("apps/notes/pyproject.toml", "[tool.ruff]\nline-length = 110\n");
    let folder = notes.display().to_string();
    let run = checkout.xtask(&["new", &folder, "--dry-run"]).expect(0);
    let (_, told) = run
        .stderr
        .split_once("list of packages that a build reads: run `")
        .unwrap();
    let (command, _) = told.split_once('`').unwrap();
    let status = std::process::Command::new("sh").args(["-c", command]).status();
    assert!(status.unwrap().success(), "{command}");
    let list = notes.join("requirements.txt");
    let told = fs_err::read_to_string(&list).unwrap();
    fs_err::remove_file(&list).unwrap();
    // What is not tried out only has it by itself.
    checkout
        .xtask(&["new", &folder])
        .expect(0)
        .says(&["requirements.txt  -r requirements/production.txt (no build reads"]);
    assert_eq!(fs_err::read_to_string(&list).unwrap(), told);
    checkout.xtask(&["plan", "notes"]).expect(0);
}

/// Pins of before the default base's Python: what the user would have had to find out.
#[test]
fn a_base_whose_python_has_wheels_of_all_pins_is_proposed() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    checkout.write(
        "apps/notes/pyproject.toml",
        "[project]\nname = \"notes\"\nversion = \"1\"\nrequires-python = \">=3.11\"\n\
         dependencies = [\"fastapi\", \"httptools\", \"uvicorn\"]\n",
    );
    let names = ["fastapi", "httptools", "uvicorn"].map(|name| format!("{{ name = {name:?} }}"));
    let names = names.join(", ");
    let package = |name: &str, more: &str| {
        format!(
            "[[package]]\nname = {name:?}\nversion = \"1\"\nsource = {{ registry = \"https://h/simple\" }}\n{more}\n"
        )
    };
    let wheel = format!(
        "wheels = [\n    {{ url = \"https://h/httptools-1-cp312-cp312-manylinux_2_17_{}.whl\" }},\n]\n",
        std::env::consts::ARCH
    );
    let own = format!(
        "[[package]]\nname = \"notes\"\nversion = \"1\"\nsource = {{ virtual = \".\" }}\n\
         dependencies = [{names}]\n\n[package.metadata]\nrequires-dist = [{names}]\n\n"
    );
    let lock = [
        "version = 1\nrequires-python = \">=3.11\"\n\n",
        &package("fastapi", ""),
    ];
    let lock = lock.concat() + &package("httptools", &wheel) + &own + &package("uvicorn", "");
    checkout.write("apps/notes/uv.lock", &lock);
    checkout.xtask(&["new", &folder]).expect(0).says(&[
        "found base = ubuntu (httptools 1 has no wheel for Python 3.13 and is built from source)",
        "next cargo xtask build-images notes",
    ]);
    assert_eq!(read(&checkout, "images/notes/image.json")["base"], "ubuntu");
    // A lock that is behind is to be made anew first, with the same pins.
    let project = checkout.path("apps/notes/pyproject.toml");
    let asked = fs_err::read_to_string(&project).unwrap();
    fs_err::write(
        &project,
        format!("{asked}[dependency-groups]\ndev = [\"pytest\"]\n"),
    )
    .unwrap();
    fs_err::remove_dir_all(checkout.path("images/notes")).unwrap();
    checkout.write(
        "apps/notes/compose.yaml",
        "services:\n  db:\n    image: postgres:17\n",
    );
    let behind = checkout.xtask(&["new", &folder, "--dry-run"]).expect(0);
    behind.says(&[
        "found base = ubuntu (httptools 1",
        "uv.lock is older than pyproject.toml",
    ]);
    // Nor is its other PostgreSQL a reason for the Python that lacks them.
    fs_err::write(&project, asked).unwrap();
    let other = checkout.xtask(&["new", &folder]).expect(0);
    other.says(&[
        "found base = ubuntu (httptools 1",
        "note compose.yaml:3 names PostgreSQL 17, and this image has 16 (base set ubuntu): `\"base\": \"debian\"` with \
         `\"python\": \"3.12\"` in images/notes/image.json has that (",
    ]);
    // A file that stays is not told to be another one, and plan says the same of it.
    checkout.write(
        "images/notes/image.json",
        r#"{"title": "x", "app": {"source": "../../apps/notes", "port": 8000}, "database": {"name": "n", "role": "n"}}"#,
    );
    let kept = checkout.xtask(&["new", "notes"]).expect(0);
    kept.says(&["`\"python\": \"3.12\"` in the spec takes a Python that has them"]);
    assert!(!kept.stderr.contains("base = ubuntu"), "{}", kept.stderr);
}

/// A list says nothing of wheels, nor a package that it does not run on a newer Python.
#[test]
fn pins_of_a_list_lead_to_a_python_that_runs_them_or_to_what_builds_them() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    let list = checkout.path("apps/notes/requirements.txt");
    fs_err::write(&list, "fastapi\nSQLAlchemy==2.0.0b3\nuvicorn\n").unwrap();
    let told = "found base = ubuntu (sqlalchemy 2.0.0b3 does not run on Python 3.13)";
    checkout
        .xtask(&["new", &folder, "--dry-run"])
        .expect(0)
        .says(&[told]);
    // No Python has a wheel of each: the one that has the most, and what builds the rest.
    fs_err::write(
        &list,
        "fastapi\nuvicorn\norjson==3.9.7\nhttptools==0.4.0\nnumpy==1.26.0\n",
    )
    .unwrap();
    let run = checkout.xtask(&["new", &folder]).expect(0);
    run.says(&[
        "found base = ubuntu (httptools 0.4.0, numpy 1.26.0 and orjson 3.9.7 have no wheel for Python 3.13 and are built \
         from source)",
        "found what builds httptools 0.4.0 is in `build_packages`",
        "note httptools 0.4.0 has no wheel for Python 3.12 and is built from source: a newer version may have one",
    ]);
    assert_eq!(read(&checkout, "images/notes/image.json")["base"], "ubuntu");
    let app = read(&checkout, "apps/notes/hive-app.json");
    assert_eq!(app["build_packages"], json!(["gcc", "python3-dev"]));
}

#[test]
fn another_postgresql_than_the_projects_own_is_told_with_the_base_that_has_it() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    checkout.write(
        "apps/notes/compose.yaml",
        "services:\n  db:\n    image: pgvector/pgvector:pg16\n",
    );
    let told = "note compose.yaml:3 names PostgreSQL 16, and this image has 17 (base set debian): `\"base\": \
                \"ubuntu\"` in images/notes/image.json has that (";
    checkout.xtask(&["new", &folder]).expect(0).says(&[
        "found compose.yaml:3  PostgreSQL 16 beside the app so far (pgvector/pgvector:pg16)",
        told,
    ]);
    // What is told to be done ends it.
    let mut image = read(&checkout, "images/notes/image.json");
    image["base"] = json!("ubuntu");
    checkout.write("images/notes/image.json", &image.to_string());
    let run = checkout.xtask(&["new", "notes"]).expect(0);
    assert!(!run.stderr.contains("names PostgreSQL"), "{}", run.stderr);
}

#[test]
fn a_dry_run_writes_nothing_and_json_has_all() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    let document = checkout
        .xtask(&["new", &folder, "--dry-run", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        document["findings"]["app"]["chosen"]["value"]["import"],
        "main:app"
    );
    assert_eq!(document["findings"]["health"]["chosen"]["place"], "main.py:10");
    assert_eq!(document["files"][1]["fate"], "written");
    assert_eq!(document["next"], json!(["cargo xtask build-images notes"]));
    assert!(!checkout.path("images/notes").exists() && !checkout.path("apps/notes/hive-app.json").exists());
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_named() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    let own = "{\"app\": {\"import\": \"main:app\", \"health_path\": \"/mine\"}}";
    checkout.write("apps/notes/hive-app.json", own);
    let run = checkout.xtask(&["new", &folder]).expect(0);
    run.says(&["hive-app.json", "--overwrite hive-app.json writes it anew"]);
    assert_eq!(
        read(&checkout, "apps/notes/hive-app.json")["app"]["health_path"],
        "/mine"
    );
    // By the name of the image that there is now; its port stays its own.
    checkout
        .xtask(&["new", "notes", "--overwrite", "hive-app.json"])
        .expect(0);
    assert_eq!(
        read(&checkout, "apps/notes/hive-app.json")["app"]["health_path"],
        "/health"
    );
    assert_eq!(read(&checkout, "images/notes/image.json")["app"]["port"], 8000);
    // The name of another app's image is not taken.
    checkout.write("other/notes/requirements.txt", "fastapi\nuvicorn\n");
    checkout.write(
        "other/notes/main.py",
        "from fastapi import FastAPI\napp = FastAPI()\n",
    );
    let other = checkout.path("other/notes").display().to_string();
    let run = checkout.xtask(&["new", &other]).expect(2);
    run.says(&[
        "images/notes/image.json is the image of another app, apps/notes",
        "--name NAME",
    ]);
    checkout.xtask(&["new", &other, "--name", "notes-two"]).expect(0);
    // 8000 is taken.
    assert_eq!(
        read(&checkout, "images/notes-two/image.json")["app"]["port"],
        8001
    );
}

#[test]
fn what_only_the_user_can_decide_is_asked_with_the_command() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    checkout.write("apps/notes/second/service.py", MAIN);
    checkout.write("apps/notes/first/service.py", MAIN);
    fs_err::remove_file(checkout.path("apps/notes/main.py")).unwrap();
    let run = checkout.xtask(&["new", &folder]).expect(2);
    let advised = format!("cargo xtask new {folder} --import first.service:app");
    run.says(&[
        "which app is meant? first.service:app, second.service:app",
        &advised,
    ]);
    checkout
        .xtask(&["new", &folder, "--import", "first.service:app"])
        .expect(0);
    assert_eq!(
        read(&checkout, "apps/notes/hive-app.json")["app"]["import"],
        "first.service:app"
    );

    checkout.write("apps/script/requirements.txt", "requests\n");
    checkout.write("apps/script/fetch.py", "print(1)\n");
    let script = checkout.path("apps/script").display().to_string();
    checkout
        .xtask(&["new", &script])
        .expect(2)
        .says(&["no app was found in any Python file"]);

    for (name, file, first) in [
        ("cutter", "cookiecutter.json", "run `cookiecutter "),
        ("copied", "copier.yml", "run `copier copy "),
        (
            "other",
            "README",
            "fill it in with the program that it is made for",
        ),
    ] {
        checkout.write(&format!("apps/{name}/{file}"), "{}\n");
        checkout.write(&format!("apps/{name}/{{{{ a.name }}}}/main.py"), MAIN);
        let folder = checkout.path(&format!("apps/{name}")).display().to_string();
        checkout.xtask(&["new", &folder]).expect(2).says(&[
            "is a template",
            "and no app before it is filled in",
            first,
            "cargo xtask new FOLDER",
        ]);
    }

    checkout.write("apps/halves/backend/requirements.txt", "fastapi\nuvicorn\n");
    checkout.write("apps/halves/backend/main.py", MAIN);
    let halves = checkout.path("apps/halves").display().to_string();
    checkout.write("apps/halves/admin/requirements.txt", "fastapi\nuvicorn\n");
    checkout.write("apps/halves/admin/main.py", MAIN);
    let run = checkout.xtask(&["new", &halves]).expect(2);
    run.says(&[&format!("run `cargo xtask new {halves}/admin`")]);
    checkout.xtask(&["new", &format!("{halves}/backend")]).expect(0);
    checkout
        .xtask(&["new", "nothing"])
        .expect(2)
        .says(&["there is no folder nothing", "known images: "]);
}

/// The first failure that newcomers met: the import of the defaults.
#[test]
fn an_import_that_is_not_there_is_refused_with_what_mends_it() {
    let checkout = with_notes();
    let folder = checkout.path("apps/notes").display().to_string();
    let run = checkout.xtask(&["plan", "genie", "--app", &folder]).expect(2);
    run.says(&[
        "apps/notes: there is no api/serve.py (`app.import` of images/defaults.json is \"api.serve:app\")",
        "main.py:7 has main:app: run `cargo xtask new apps/notes`",
        "or put {\"app\":{\"import\":\"main:app\"}} into apps/notes/hive-app.json",
    ]);
    checkout.write(
        "apps/notes/hive-app.json",
        "{\"app\":{\"import\":\"main:application\"}}",
    );
    let run = checkout.xtask(&["plan", "genie", "--app", &folder]).expect(2);
    run.says(&["main.py has no `application` (`app.import` of apps/notes/hive-app.json"]);
    // The advice, as it stands there.
    checkout.write("apps/notes/hive-app.json", "{\"app\":{\"import\":\"main:app\"}}");
    checkout.xtask(&["plan", "genie", "--app", &folder]).expect(0);
    // What may come from a package or a star is left to the build.
    for main in ["from somewhere import *\n", "def __getattr__(name): return 1\n"] {
        checkout.write("apps/notes/main.py", main);
        checkout.xtask(&["plan", "genie", "--app", &folder]).expect(0);
    }
}
