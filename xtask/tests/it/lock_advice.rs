//! What is advised where a lock of Poetry's or PDM's cannot be used, done by the
//! tools themselves on that very project.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::sandbox::{Checkout, Run, finish, skipped};

/// PDM's own range of hishel holds one that it does not work with.
const TOOLS: [&str; 3] = ["poetry==2.5.1", "pdm==2.29.4", "hishel[httpx2]<2"];

/// The folder of the tools' programs, made once; none without a package index.
fn tools() -> Option<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let name = blake3::hash(TOOLS.concat().as_bytes()).to_hex();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lock-tools-{}", &name[..16]));
        let bin = folder.join("bin");
        if bin.join("pdm").is_file() {
            return Ok(bin);
        }
        let run = |program: &Path, args: &[&str]| {
            let said = Command::new(program).args(args).output();
            match said {
                Ok(said) if said.status.success() => Ok(()),
                Ok(said) => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        run(
            Path::new("python3"),
            &["-m", "venv", "--clear", folder.to_str().unwrap()],
        )?;
        let install = ["install", "--quiet", "--disable-pip-version-check"];
        run(&bin.join("pip"), &[&install[..], &TOOLS].concat())?;
        Ok(bin)
    });
    match made {
        Ok(bin) => Some(bin),
        Err(why) => {
            skipped(&format!("no poetry and pdm, and they cannot be installed: {why}"));
            None
        }
    }
}

struct Project {
    checkout: Checkout,
    bin: &'static Path,
}

impl Project {
    fn new(bin: &'static Path, pyproject: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write("app/pyproject.toml", pyproject);
        checkout.write("app/hive-app.json", r#"{"app": {"command": ["python", "-V"]}}"#);
        Self { checkout, bin }
    }

    fn plan(&self) -> Run {
        let app = self.checkout.path("app");
        self.checkout
            .xtask(&["plan", "genie", "--app", app.to_str().unwrap()])
    }

    /// Runs a command of the tools in the app's folder.
    fn run(&self, command: &str) {
        let mut words = command.split(' ');
        let mut tool = Command::new(self.bin.join(words.next().unwrap()));
        tool.args(words)
            .current_dir(self.checkout.path("app"))
            .env("POETRY_VIRTUALENVS_CREATE", "false");
        finish(&mut tool).expect(0);
    }

    /// What `plan` refuses, with this in it, and takes when the command in
    /// backquotes after it was run.
    #[track_caller]
    fn is_mended_by_its_advice(&self, told: &str) {
        let said = self.plan().expect(2).stderr;
        let (_, advice) = said
            .split_once(told)
            .unwrap_or_else(|| panic!("no {told:?} in:\n{said}"));
        let command = advice.split('`').nth(1).unwrap();
        self.run(command);
        self.plan().expect(0);
    }
}

#[test]
#[ignore = "needs an engine"]
fn poetry_mends_what_is_refused() {
    let Some(bin) = tools() else { return };
    let asks = "[tool.poetry]\nname = \"x\"\nversion = \"1\"\npackage-mode = false\n\
        [tool.poetry.dependencies]\npython = \"^3.11\"\n";
    let project = Project::new(bin, asks);
    project.is_mended_by_its_advice("has no poetry.lock beside it: run ");
    let other = asks.replace("^3.11", ">=3.11");
    project.checkout.write("app/pyproject.toml", &other);
    project.is_mended_by_its_advice("poetry.lock is older than pyproject.toml: run ");
    // uv's own would have no packages.
    project
        .checkout
        .write("app/uv.lock", "version = 1\nrequires-python = \">=3.12\"\n");
    let said = project.plan().expect(2).stderr;
    assert!(said.contains("in Poetry's own form: remove it"), "{said}");
    fs_err::remove_file(project.checkout.path("app/uv.lock")).unwrap();
    project.plan().expect(0);
}

#[test]
#[ignore = "needs an engine"]
fn pdm_mends_what_is_refused() {
    let Some(bin) = tools() else { return };
    let asks = "[project]\nname = \"x\"\nversion = \"1\"\nrequires-python = \">=3.11\"\ndependencies = []\n\
        [project.optional-dependencies]\nmore = []\n[tool.pdm]\ndistribution = false\n";
    let project = Project::new(bin, asks);
    project.run("pdm lock");
    project.plan().expect(0);
    let other = asks.replace(">=3.11", ">=3.12");
    project.checkout.write("app/pyproject.toml", &other);
    project.is_mended_by_its_advice("pdm.lock is older than pyproject.toml: run ");
    project.checkout.write(
        "app/hive-app.json",
        r#"{"app": {"command": ["python", "-V"], "extras": ["more"]}}"#,
    );
    project.is_mended_by_its_advice("`app.extras` names `more`, which it does not have: it has none (");
    project.run("pdm lock --strategy no_inherit_metadata --group :all");
    project
        .checkout
        .write("app/hive-app.json", r#"{"app": {"command": ["python", "-V"]}}"#);
    project.plan().expect(0);
    let workspace = format!("{other}[tool.pdm.workspace]\nmembers = [\"libs/*\"]\n");
    project.checkout.write("app/pyproject.toml", &workspace);
    let advice = "pdm lock --update-reuse --strategy inherit_metadata";
    project.plan().expect(2).says(&[&format!(
        "does not say which package is for which machine: run `{advice}`"
    )]);
    project.run(advice);
    project.is_mended_by_its_advice("is that of a workspace of PDM's, which is not read here: run ");
}
