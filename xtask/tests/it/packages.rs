//! Programs of the distribution's packages that some tests use, and that no machine need
//! have installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::sandbox;

/// Where the programs of a package lie once [`programs`] has unpacked it.
pub(crate) fn folder(package: &str) -> PathBuf {
    unpacked(package).join("usr/bin")
}

fn unpacked(package: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("packages")
        .join(package)
}

/// Unpacks a package beside the build, once. `None`, and told, where it cannot be had.
pub(crate) fn programs(package: &str) -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let place = unpacked(package);
    if place.exists() {
        return Some(folder(package));
    }
    let parent = place.parent().unwrap();
    fs_err::create_dir_all(parent).unwrap();
    let made = tempfile::tempdir_in(parent).unwrap();
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(made.path()).stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    let download = ["download", "--quiet", package];
    // A new machine has no lists of packages.
    let got =
        run("apt-get", &download) || run("apt-get", &["update", "--quiet"]) && run("apt-get", &download);
    if !got {
        sandbox::skipped(&format!("the distribution's package `{package}` cannot be had"));
        return None;
    }
    assert!(run("sh", &["-c", "dpkg-deb --extract *.deb ."]));
    fs_err::rename(made.keep(), &place).unwrap();
    Some(folder(package))
}

/// `age` and `age-keygen`, the package's own also where the machine has others: what the
/// tool finds, too.
pub(crate) fn age(program: &str) -> Command {
    Command::new(folder("age").join(program))
}
