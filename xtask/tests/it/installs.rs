//! What an app says of its dependencies is what its image has.

use std::path::Path;

use crate::build_images::{Bench, fixture};
use crate::sandbox::{Checkout, Run, copy};

/// A bench with an app of its own that a test may change.
fn bench_with(name: &str, app: &str, fixture_name: &str) -> Bench {
    let bench = Bench::new(name, app, "");
    copy(Path::new(&fixture(fixture_name)), &bench.checkout.path("app"));
    bench
}

fn build(bench: &Bench) -> Run {
    let app = bench.checkout.path("app");
    bench.xtask(&["build-images", "--app", app.to_str().unwrap()])
}

#[test]
fn a_member_given_as_the_app_is_sent_to_its_workspace() {
    let checkout = Checkout::new();
    let given = |app: &str| checkout.xtask(&["plan", "genie", "--app", app]).expect(2).stderr;
    let root = fixture("workspace-app");
    let said = given(&format!("{root}/apps/api"));
    let advice = format!("give {root} as the app's folder, with `\"package\": \"api\"` in the spec's `app`");
    assert!(said.contains(&advice), "{said}");
}

#[test]
#[ignore = "needs an engine"]
fn a_member_of_a_workspace_is_built_with_its_extra_and_group() {
    let choice = r#", "package": "api", "extras": ["server"], "groups": ["database"], "import": "web:app", "health_path": "/health""#;
    let bench = bench_with("member", choice, "workspace-app");
    build(&bench).expect(0);
    assert!(bench.id("3.0").is_some(), "the member's version");
    assert_eq!(
        bench.python("import greeting; print(greeting.__file__)"),
        "/app/libs/greeting/src/greeting/__init__.py"
    );
}

/// A package in `src/`, as before pyproject.toml, whose version comes from outside.
const SETUP: &str = r#"
import os
from setuptools import setup
setup(name="shop", version=os.environ["SHOP_VERSION"], package_dir={"": "src"}, packages=["shop"], install_requires=["uvicorn"])
"#;

#[test]
#[ignore = "needs an engine"]
fn requirements_name_other_files_and_the_app_itself() {
    let app = r#", "import": "shop:create", "factory": true, "health_path": "/health", "build_environment": {"SHOP_VERSION": "1.5"}, "with": ["gunicorn >= 23", "tornado<6.5"]"#;
    let bench = Bench::new("requirements", app, "");
    let web = fs_err::read_to_string(format!("{}/main/__init__.py", fixture("requirements-app"))).unwrap();
    bench.checkout.write("app/src/shop/__init__.py", &web);
    bench.checkout.write("app/setup.py", SETUP);
    bench.checkout.write(
        "app/requirements/base.txt",
        "fastapi  # the web\npsycopg[binary]\n",
    );
    bench.checkout.write("app/constraints.txt", "h11<0.16\n");
    // What is installed beside the list wants the first one, too, and in whatever version; the
    // second is decided on with it.
    let kept = "packaging==23.2\ntornado>=6";
    let versions = "import importlib.metadata as m; print(m.version('shop'), m.version('h11') < '0.16', \
                    m.version('packaging'), m.version('tornado') < '6.5', m.version('gunicorn') >= '23')";
    // The first is there before the app is, the second only with it.
    for folder in ["requirements", "reqs"] {
        bench.checkout.write(
            &format!("app/{folder}/base.txt"),
            &format!("fastapi  # the web\npsycopg[binary]\n{kept}\n"),
        );
        let top = format!("-r {folder}/base.txt\n-c constraints.txt\n-e .\n");
        bench.checkout.write("app/requirements.txt", &top);
        build(&bench).expect(0);
        assert_eq!(bench.python(versions), "1.5 True 23.2 True True", "{folder}");
    }
    bench.set_spec(&app.replace("gunicorn >= 23", "packaging>=24"), "");
    build(&bench)
        .expect(1)
        .says(&["packaging>=24", "packaging==23.2"]);
}

const NATIVE: &str = r#"
from setuptools import Extension, setup
setup(name="native", version="1", ext_modules=[Extension("native", ["native.c"])])
"#;

const NATIVE_C: &str = r#"
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "native"};
PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&module); }
"#;

/// Each piece of advice is followed, and the next build has no need of it.
#[test]
#[ignore = "needs an engine"]
fn what_the_build_lacks_is_named_and_the_advice_mends_it() {
    let app = r#", "import": "main:create", "factory": true, "health_path": "/health""#;
    let bench = bench_with("compiler", app, "requirements-app");
    bench.checkout.write("app/native/setup.py", NATIVE);
    bench.checkout.write("app/native/native.c", NATIVE_C);
    let top = "fastapi\npsycopg[binary]\nuvicorn\n./native\n";
    bench.checkout.write("app/requirements.txt", top);
    let advice = r#""build_packages": ["gcc", "python3-dev"]"#;
    let said = build(&bench).expect(1);
    said.says(&[
        "native",
        "has no wheel for this Python and is built, which takes `",
        advice,
    ]);
    let spec = format!("images/{}/image.json", bench.name);
    bench
        .checkout
        .edit(&spec, r#"{"title""#, &format!(r#"{{{advice}, "title""#));
    build(&bench).expect(0);
    assert_eq!(bench.python("import native; print(native.__name__)"), "native");
}

/// A lock with the hashes of other files, but for the first ones.
fn with_other_hashes(lock: &str, kept: usize) -> String {
    let mut parts = lock.split("sha256:");
    let mut forged = parts.next().unwrap().to_owned();
    for (n, part) in parts.enumerate() {
        let other = match &part[..1] {
            own if n < kept => own,
            "0" => "1",
            _ => "0",
        };
        forged.push_str(&format!("sha256:{other}{}", &part[1..]));
    }
    forged
}

#[test]
#[ignore = "needs an engine"]
fn locks_of_pipenv_and_of_any_tool_are_installed_with_their_hashes() {
    let app = r#", "import": "main:create", "factory": true, "health_path": "/health""#;
    let bench = bench_with("locks", app, "requirements-app");
    copy(Path::new(&fixture("pipfile-app")), &bench.checkout.path("app"));
    fs_err::remove_file(bench.checkout.path("app/requirements.txt")).unwrap();
    build(&bench).expect(0);
    let version = "import importlib.metadata as m; print(m.version('uvicorn'))";
    assert_eq!(bench.python(version), "0.54.0");
    // Hashes of other files: nothing of them is installed.
    let lock = fs_err::read_to_string(bench.checkout.path("app/Pipfile.lock")).unwrap();
    // The first is that of the Pipfile.
    bench
        .checkout
        .write("app/Pipfile.lock", &with_other_hashes(&lock, 1));
    build(&bench).expect(1).says(&["Hash mismatch for "]);
    // A pylock.toml goes before it.
    copy(Path::new(&fixture("pylock-app")), &bench.checkout.path("app"));
    build(&bench).expect(0);
    assert_eq!(bench.python(version), "0.53.0");
}

#[test]
#[ignore = "needs an engine"]
fn locks_of_poetry_and_pdm_are_installed_with_extras_groups_and_hashes() {
    let bench = bench_with("tools", "", "requirements-app");
    fs_err::remove_file(bench.checkout.path("app/requirements.txt")).unwrap();
    let has = "import importlib.metadata as m; print([d for d in ('uvicorn', 'docopt', 'iniconfig', 'colorama', \
               'itsdangerous') \
               if list(m.distributions(name=d))])";
    for (tool, group) in [("poetry", "prod"), ("pdm", "prod-x")] {
        copy(
            Path::new(&fixture(&format!("{tool}-app"))),
            &bench.checkout.path("app"),
        );
        let choice = format!(r#", "extras": ["server"], "groups": ["{group}"]"#);
        let choice = format!(r#"{choice}, "with": ["itsdangerous"]"#);
        let app = format!(r#"{choice}, "import": "main:create", "factory": true, "health_path": "/health""#);
        bench.set_spec(&app, "");
        build(&bench).expect(0);
        assert_eq!(
            bench.python(has),
            "['uvicorn', 'docopt', 'itsdangerous']",
            "{tool}"
        );
        assert!(bench.id("1.4.0").is_some(), "the version of {tool}'s project");
        let file = format!("app/{tool}.lock");
        let lock = fs_err::read_to_string(bench.checkout.path(&file)).unwrap();
        // PDM's has one of the project, too.
        let own = usize::from(tool == "pdm");
        bench.checkout.write(&file, &with_other_hashes(&lock, own));
        build(&bench).expect(1).says(&["Hash mismatch for "]);
        fs_err::remove_file(bench.checkout.path(&file)).unwrap();
    }
}

/// The lock that the build made, given to the app, is what later builds use. What uv cannot lock
/// without the rest of the app is listed, and the app's package is installed as well.
#[test]
#[ignore = "needs an engine"]
fn a_project_without_lock_is_locked_by_the_build_and_the_image_has_the_lock() {
    let choice =
        r#", "with": ["uvicorn"], "import": "main:create", "factory": true, "health_path": "/health""#;
    let bench = bench_with("bare", choice, "requirements-app");
    fs_err::remove_file(bench.checkout.path("app/requirements.txt")).unwrap();
    let project = "[project]\nname = \"bare\"\nversion = \"0.7\"\nrequires-python = \">=3.12\"\n\
        dependencies = [\"fastapi\", \"psycopg[binary]\"]\n";
    bench.checkout.write("app/pyproject.toml", project);
    let told = "no lock: the build makes one";
    build(&bench).expect(0).says(&[told]);
    assert!(bench.id("0.7").is_some());
    let lock = bench.python("print(open('/app/uv.lock').read())");
    bench.checkout.write("app/uv.lock", &format!("{lock}\n"));
    let run = build(&bench).expect(0);
    assert!(!run.stderr.contains(told), "{}", run.stderr);
    assert_eq!(bench.python("print(open('/app/uv.lock').read())"), lock);
    fs_err::remove_file(bench.checkout.path("app/uv.lock")).unwrap();
    let project = project.replace("version = \"0.7\"", "dynamic = [\"version\"]")
        + "[project.optional-dependencies]\nown = [\"own-plugins\"]\n[dependency-groups]\nmore = [\"iniconfig\"]\n\
           [build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
           [tool.setuptools]\npackages = [\"main\"]\n[tool.setuptools.dynamic]\nversion = { file = \"VERSION\" }\n\
           [tool.uv.sources]\nown-plugins = { path = \"../own-plugins\" }\n";
    bench.checkout.write("app/pyproject.toml", &project);
    bench.checkout.write("app/VERSION", "0.9\n");
    bench.set_spec(
        &choice.replace("\"with\"", "\"groups\": [\"more\"], \"with\""),
        "",
    );
    build(&bench)
        .expect(0)
        .says(&["no lock: the build makes a list of versions by `uv pip compile`"]);
    let has = "import importlib.metadata as m, tomllib; \
               listed = tomllib.load(open('/app/pylock.toml', 'rb'))['packages']; \
               listed = {one['name']: one['version'] for one in listed if 'hashes' in one['wheels'][0]}; \
               print([m.version(d) == listed[d] for d in ('uvicorn', 'iniconfig')], m.version('bare'))";
    assert_eq!(bench.python(has), "[True, True] 0.9");
}
