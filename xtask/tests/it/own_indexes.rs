//! Each package comes from the index that the app's own list or lock says, also where
//! another one has the same name in a higher version: what a build step runs, on this
//! machine, with uv and two indexes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use crate::build_images::fixture;
use crate::sandbox::{repository, skipped};

const LOGIN: &str = "someone:pa55-that-nobody-sees";

/// The uv of the images, made once; none without a package index.
fn uv() -> Option<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let lock = fs_err::read_to_string(repository().join("images/base-sets.lock.json")).unwrap();
        let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
        let version = lock["uv"]["version"].as_str().unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("uv-{version}"));
        let uv = folder.join("bin/uv");
        if uv.is_file() {
            return Ok(uv);
        }
        let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let target = made.path().join("uv");
        let said = Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--target",
            ])
            .arg(&target)
            .arg(format!("uv=={version}"))
            .output();
        match said {
            Ok(said) if said.status.success() => {}
            Ok(said) => return Err(String::from_utf8_lossy(&said.stderr).into_owned()),
            Err(error) => return Err(error.to_string()),
        }
        // An error is one where it is there by now.
        let renamed = fs_err::rename(&target, &folder);
        if uv.is_file() {
            Ok(uv)
        } else {
            Err(format!("{renamed:?}"))
        }
    });
    match made {
        Ok(uv) => Some(uv),
        Err(why) => {
            skipped(&format!("no uv, and it cannot be installed: {why}"));
            None
        }
    }
}

/// A company's index, and one that anybody may put packages into.
struct Indexes {
    child: Child,
    output: BufReader<ChildStdout>,
    port: String,
    hashes: BTreeMap<String, String>,
}

impl Indexes {
    fn start() -> Self {
        let mut child = Command::new("python3")
            .args([&fixture("two_indexes.py"), LOGIN])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim().to_owned()
        };
        let (port, hashes) = (line(), serde_json::from_str(&line()).unwrap());
        Self {
            child,
            output,
            port,
            hashes,
        }
    }

    fn url(&self, index: &str) -> String {
        format!("http://127.0.0.1:{}/{index}/simple", self.port)
    }

    fn hash(&self, file: &str) -> &str {
        &self.hashes[file]
    }

    /// The index and the package of each page that was shown.
    fn asked(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let mut asked = String::new();
        self.output.read_to_string(&mut asked).unwrap();
        asked.lines().map(str::to_owned).collect()
    }
}

impl Drop for Indexes {
    fn drop(&mut self) {
        // It has ended already where its requests were looked at.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

/// The programs of this machine, and this uv.
fn path_with(uv: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [uv.parent().unwrap().to_owned()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    std::env::join_paths(paths).unwrap()
}

/// Installs what the files of an app say as the step of a build does it, where the public
/// index is the machine's default one; who has made each of the modules.
fn installed(uv: &Path, indexes: &Indexes, script: &str, files: &[(&str, &str)], modules: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_str().unwrap();
    for folder in ["deps", "opt/uv", "tmp", "home"] {
        fs_err::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for (name, text) in files {
        fs_err::write(dir.path().join("deps").join(name), text).unwrap();
    }
    let scripts = repository().join("xtask/definition/src/dockerfile");
    let here = |name: &str| {
        let text = fs_err::read_to_string(scripts.join(name)).unwrap();
        // The place is below /tmp itself.
        let text = text.replace("/tmp/", &format!("{place}/tmp/"));
        text.replace("/opt/", &format!("{place}/opt/"))
    };
    for name in ["address.py", script] {
        fs_err::write(dir.path().join("tmp").join(name), here(name)).unwrap();
    }
    let stage = fs_err::read_to_string(repository().join("docker/stages/10-python-deps.Dockerfile")).unwrap();
    let compile = stage
        .lines()
        .find(|line| line.contains("uv pip compile --quiet --no-header"));
    let step = format!(
        "set -eu\ninstall() {{ uv \"$@\"; }}\n{}\noptions=$(python3 {place}/tmp/{script})\n\
         if [ {script} = bare.py ]; then {}\n\
         uv pip install --python {place}/opt/venv/bin/python --requirement pylock.toml; fi\n\
         if [ -f ahead.txt ]; then asks {place}/opt/indexes\n\
         uv pip install --python {place}/opt/venv/bin/python --requirement ahead.txt; fi\n{}\n\
         if [ -f with.txt ]; then asks {place}/opt/indexes\n{}\nsh -eu {place}/opt/uv/with; fi\n",
        here("asks.sh"),
        compile.unwrap().replace("{{with_compiled}}", ""),
        here("lists.sh"),
        here("with.sh").replace("{{requirements}}", "$(cat with.txt)"),
    );
    let run = |command: &mut Command| {
        let output = command
            .env_clear()
            .env("PATH", path_with(uv))
            .env("HOME", dir.path().join("home"))
            .env("UV_DEFAULT_INDEX", indexes.url("public"))
            .env("UV_INDEX_CORP_USERNAME", "someone")
            .env("UV_INDEX_CORP_PASSWORD", LOGIN.split_once(':').unwrap().1)
            .env("TOKEN", LOGIN.split_once(':').unwrap().1)
            .current_dir(dir.path().join("deps"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let venv = dir.path().join("opt/venv");
    run(Command::new(uv)
        .args(["venv", "--quiet", "--python", "python3"])
        .arg(&venv));
    run(Command::new("sh").args(["-c", &step]));
    for entry in walkdir::WalkDir::new(dir.path().join("deps")) {
        let path = entry.unwrap().into_path();
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains(LOGIN.split_once(':').unwrap().1), "{text}");
    }
    let names: Vec<String> = modules
        .iter()
        .map(|name| format!("__import__({name:?}).ORIGIN"))
        .collect();
    let told = format!("print({})", names.join(", "));
    run(Command::new(venv.join("bin/python")).args(["-c", &told]))
        .trim()
        .to_owned()
}

/// A project in which the index that anybody may put packages into is the default one.
fn project(indexes: &Indexes, requires: &str) -> String {
    format!(
        "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"{requires}\"]\n\
         [[tool.uv.index]]\nurl = \"{}\"\ndefault = true\n",
        indexes.url("public")
    )
}

fn never_public(asked: &[String], package: &str) {
    assert!(
        asked.contains(&format!("corp {package}")) && !asked.contains(&format!("public {package}")),
        "{asked:?}"
    );
}

#[test]
#[ignore = "needs an engine"]
fn an_index_of_a_lists_own_goes_before_that_of_the_machine() {
    let Some(uv) = uv() else { return };
    let indexes = Indexes::start();
    let url = indexes.url("corp").replace("//", "//someone:${TOKEN}@");
    // Also before the one that it names beside it, which uv would ask first; and what is
    // installed beside it comes from there.
    let public = format!("--extra-index-url {}\n", indexes.url("public"));
    let public = public.as_str();
    for (more, lines, with) in [
        ("", "hive-lib\n", ""),
        (public, "hive-lib\n", ""),
        (public, "", "hive-lib\n"),
    ] {
        let list = format!("# a note \\\n-i {url}\n{more}{lines}");
        let mut files = vec![("requirements.txt", list.as_str())];
        if !with.is_empty() {
            files.push(("with.txt", with));
        }
        let origin = installed(uv, &indexes, "listed.py", &files, &["hive_lib"]);
        assert_eq!(origin, "corp", "{list}");
    }
    never_public(&indexes.asked(), "hive-lib");
}

#[test]
#[ignore = "needs an engine"]
fn a_package_of_a_project_that_is_listed_comes_from_the_index_of_its_source() {
    let Some(uv) = uv() else { return };
    let indexes = Indexes::start();
    let project = format!(
        "[project]\nname = \"x\"\ndynamic = [\"version\"]\nrequires-python = \">=3.9\"\n\
         dependencies = [\"hive-lib==1.0\", \"hive-other\"]\n\
         [[tool.uv.index]]\nname = \"corp\"\nurl = \"{}\"\nexplicit = true\n\
         [tool.uv.sources]\nhive-lib = {{ index = \"corp\" }}\n",
        indexes.url("corp")
    );
    let origin = installed(
        uv,
        &indexes,
        "bare.py",
        &[("pyproject.toml", &project)],
        &["hive_lib", "hive_other"],
    );
    assert_eq!(origin, "corp public");
    never_public(&indexes.asked(), "hive-lib");
}

#[test]
#[ignore = "needs an engine"]
fn a_package_of_pipenvs_comes_from_the_index_of_its_entry() {
    let Some(uv) = uv() else { return };
    let indexes = Indexes::start();
    let corp = indexes.url("corp");
    let lock = serde_json::json!({
        "_meta": {"sources": [
            {"name": "pypi", "url": "https://pypi.org/simple"},
            {"name": "corp", "url": corp},
        ]},
        "default": {
            "hive-lib": {"version": "==1.0", "index": "corp"},
            "hive-other": {"version": "==1.0", "index": "pypi"},
        },
    });
    let origin = installed(
        uv,
        &indexes,
        "pipfile.py",
        &[("Pipfile.lock", &lock.to_string())],
        &["hive_lib", "hive_other"],
    );
    assert_eq!(origin, "corp public");
    never_public(&indexes.asked(), "hive-lib");
}

#[test]
#[ignore = "needs an engine"]
fn a_package_of_poetrys_comes_from_the_index_of_the_lock_and_so_does_what_builds_it() {
    let Some(uv) = uv() else { return };
    let indexes = Indexes::start();
    let entry = |name: &str, version: &str, file: &str, source: &str| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ngroups = [\"main\"]\n\
             files = [{{file = \"x\", hash = \"sha256:{}\"}}]\n{source}",
            indexes.hash(file)
        )
    };
    let corp = format!(
        "[package.source]\ntype = \"legacy\"\nurl = \"{}\"\nreference = \"corp\"\n",
        indexes.url("corp")
    );
    let lock = [
        entry("hive-lib", "1.0", "corp/hive_lib-1.0-py3-none-any.whl", &corp),
        entry("hive-built", "1.0", "corp/hive_built-1.0.tar.gz", &corp),
        entry("hive-other", "1.0", "public/hive_other-1.0-py3-none-any.whl", ""),
    ];
    let project = "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = \">=3.9\"\n";
    let origin = installed(
        uv,
        &indexes,
        "locked.py",
        &[("pyproject.toml", project), ("poetry.lock", &lock.concat())],
        &["hive_lib", "hive_built", "hive_other"],
    );
    assert_eq!(origin, "corp corp public");
    let asked = indexes.asked();
    for package in ["hive-lib", "hive-built", "hive-backend"] {
        never_public(&asked, package);
    }
}

#[test]
#[ignore = "needs an engine"]
fn any_index_of_pdms_has_a_wheel_by_its_hash_and_none_what_builds_a_package() {
    let Some(uv) = uv() else { return };
    let indexes = Indexes::start();
    let entry = |name: &str, version: &str, file: &str| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ngroups = [\"default\"]\n\
             files = [{{file = \"x\", hash = \"sha256:{}\"}}]\n",
            indexes.hash(file)
        )
    };
    let lock = [
        entry("hive-lib", "5.0", "corp/hive_lib-5.0-py3-none-any.whl"),
        entry("hive-built", "1.0", "corp/hive_built-1.0.tar.gz"),
        // The company's index has another version of it.
        entry("hive-other", "1.0", "public/hive_other-1.0-py3-none-any.whl"),
    ];
    let project = format!(
        "[project]\nname = \"x\"\nversion = \"1\"\n[[tool.pdm.source]]\nname = \"corp\"\nurl = \"{}\"\n\
         include_packages = []\n",
        indexes.url("corp")
    );
    let origin = installed(
        uv,
        &indexes,
        "locked.py",
        &[("pyproject.toml", &project), ("pdm.lock", &lock.concat())],
        &["hive_lib", "hive_built", "hive_other"],
    );
    assert_eq!(origin, "corp corp public");
    never_public(&indexes.asked(), "hive-backend");
}

#[test]
#[ignore = "needs an engine"]
fn the_look_at_a_lock_asks_no_index_without_those_of_the_machine() {
    let Some(uv) = uv() else { return };
    let indexes = Indexes::start();
    let dir = tempfile::tempdir().unwrap();
    let script =
        fs_err::read_to_string(repository().join("xtask/definition/src/dockerfile/is_current.sh")).unwrap();
    let script = script.replace("/tmp/uv", dir.path().join("said").to_str().unwrap());
    let run = |of_machine: bool, script: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-euc", script])
            .env_clear()
            .env("PATH", path_with(uv))
            .env("HOME", dir.path())
            .current_dir(dir.path());
        if of_machine {
            command
                .env("UV_INDEX", format!("corp={}", indexes.url("corp")))
                .env("UV_INDEX_CORP_USERNAME", "someone")
                .env("UV_INDEX_CORP_PASSWORD", LOGIN.split_once(':').unwrap().1);
        }
        command.output().unwrap()
    };
    let look = format!("{script}\nis_current");
    let write = |requires: &str| {
        fs_err::write(dir.path().join("pyproject.toml"), project(&indexes, requires)).unwrap()
    };
    write("hive-lib<2");
    assert!(run(true, "uv lock").status.success());
    assert!(run(true, &look).status.success());
    // Nothing that is here knows what another index has now.
    fs_err::remove_dir_all(dir.path().join(".cache")).unwrap();
    write("hive-lib>2");
    let said = run(true, &look);
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        !said.status.success() && told.contains("needs to be updated"),
        "{told}"
    );
    // Nor does a lock of elsewhere need the machine's indexes.
    write("hive-other>=1");
    assert!(run(false, "uv lock").status.success());
    assert!(run(true, &look).status.success());
    never_public(&indexes.asked(), "hive-lib");
}
