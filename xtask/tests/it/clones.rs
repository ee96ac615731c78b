//! Two machines' worth of clones of one commit: other path, umask, owner, times
//! of checkout, and another user who runs the tool. One fingerprint, and what
//! one has built the other does not build again.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::build_images::Bench;
use crate::sandbox::{self, Run};

/// Nobody's, on Debian and elsewhere.
const STRANGER: u32 = 65534;

/// A checkout that is committed, and the folder that its clones are made in.
struct Clones {
    folder: tempfile::TempDir,
}

impl Clones {
    /// Commits everything that lies in `checkout`.
    fn of(checkout: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // For the stranger to get in.
        mode(folder.path(), 0o755);
        let clones = Self { folder };
        fs_err::write(checkout.join(".gitignore"), "target\n").unwrap();
        let origin = checkout.to_str().unwrap();
        for args in [
            &["init", "--quiet"][..],
            &["add", "--all"],
            &[
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example",
                "commit",
                "--quiet",
                "-m",
                "all",
            ],
        ] {
            let args: Vec<&str> = ["-C", origin].iter().chain(args).copied().collect();
            sandbox::finish(Command::new("git").args(args)).expect(0);
        }
        clones
    }

    /// A clone below `place`, with a umask, and files of this age.
    fn make(&self, origin: &Path, place: &str, umask: &str, age: Duration) -> PathBuf {
        let path = self.folder.path().join(place);
        let script = format!("umask {umask} && exec git clone --quiet \"$1\" \"$2\"");
        let mut clone = Command::new("sh");
        clone.args(["-c", &script, "sh"]).arg(origin).arg(&path);
        sandbox::finish(&mut clone).expect(0);
        fs_err::remove_dir_all(path.join(".git")).unwrap();
        for entry in walkdir::WalkDir::new(&path) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let file = fs_err::File::options().write(true).open(entry.path()).unwrap();
                file.set_modified(SystemTime::now() - age).unwrap();
            }
        }
        path
    }
}

fn mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn xtask_in(clone: &Path, args: &[&str]) -> Run {
    sandbox::finish(sandbox::command().arg("--root").arg(clone).args(args))
}

#[test]
fn clones_have_the_same_inputs_whoever_looks() {
    let checkout = sandbox::Checkout::new();
    let origin = checkout.path("");
    let clones = Clones::of(&origin);
    let one = clones.make(&origin, "here/one", "022", Duration::ZERO);
    let other = clones.make(&origin, "there/deeper/other", "077", Duration::from_secs(86_400));
    for part in ["images/sample-app", "docker/rootfs"] {
        let digest = |clone: &Path| {
            let folder = clone.join(part);
            let args = ["inputs", "--digest", folder.to_str().unwrap()];
            xtask_in(clone, &args).expect(0).stdout
        };
        let (first, second) = (digest(&one), digest(&other));
        assert_eq!(first.trim().len(), 64);
        assert_eq!(first, second, "{part}");
        fs_err::write(other.join(part).join("new"), "").unwrap();
        assert_ne!(first, digest(&other), "{part}: this test can fail");
        fs_err::remove_file(other.join(part).join("new")).unwrap();
    }
}

#[test]
fn a_clone_of_another_user_has_the_same_inputs() {
    if !rustix::process::geteuid().is_root() {
        return sandbox::skipped("to become another user needs root");
    }
    let checkout = sandbox::Checkout::new();
    let origin = checkout.path("");
    let clones = Clones::of(&origin);
    let theirs = clones.make(&origin, "theirs", "077", Duration::ZERO);
    for entry in walkdir::WalkDir::new(&theirs) {
        chown(entry.unwrap().path(), Some(STRANGER), Some(STRANGER)).unwrap();
    }
    // Whoever built this binary may keep it to themselves.
    let binary = clones.folder.path().join("xtask");
    fs_err::copy(env!("CARGO_BIN_EXE_xtask"), &binary).unwrap();
    for part in ["images/sample-app", "docker/rootfs"] {
        let ours = ["inputs", "--digest", &checkout.path(part).to_string_lossy()].map(str::to_owned);
        let ours = sandbox::xtask(ours).expect(0).stdout;
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
        command.arg(&binary).arg("--root").arg(&theirs);
        command.args(["inputs", "--digest"]).arg(theirs.join(part));
        let seen = sandbox::finish(command.env("HOME", &theirs)).expect(0).stdout;
        assert_eq!(ours, seen, "{part}");
    }
}

#[test]
#[ignore = "needs an engine"]
fn what_one_clone_has_built_the_other_does_not_build_again() {
    let bench = Bench::new("cloned", "", "");
    let origin = bench.checkout.path("");
    let clones = Clones::of(&origin);
    let one = clones.make(&origin, "here/one", "022", Duration::ZERO);
    let other = clones.make(&origin, "there/deeper/other", "077", Duration::from_secs(86_400));
    if rustix::process::geteuid().is_root() {
        for entry in walkdir::WalkDir::new(&other) {
            chown(entry.unwrap().path(), Some(STRANGER), Some(STRANGER)).unwrap();
        }
    }
    xtask_in(&one, &["build-images"]).expect(0);
    let run = xtask_in(&other, &["build-images", "--json"]).expect(0);
    run.says(&["1 up to date"]);
    let image = &run.json()["images"][0];
    assert_eq!(image["action"], "up-to-date", "{image}");
    // And back again: looking changed nothing.
    xtask_in(&one, &["build-images"])
        .expect(0)
        .says(&["1 up to date"]);
}
