//! What `cargo xtask` runs: starts the tool, and has cargo build it first where
//! anything that it is made of has changed.
//!
//! `cargo run` looks at each crate of a program before it starts it, and that
//! took longer than a run of the tool with nothing to do. This program has no
//! dependencies and a profile, hence a build lock, of its own.

mod stamp;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use stamp::Stamp;

/// The package of the tool, and its binary.
const TOOL: &str = "xtask";

/// Not quietly: a first build takes a while, and so may waiting for another
/// cargo.
const BUILD: [&str; 5] = ["build", "--package", TOOL, "--bin", TOOL];

/// Has cargo build all of this workspace again.
const FORGET: [&str; 4] = ["clean", "--quiet", "--workspace", "--profile=dev"];

fn main() -> ExitCode {
    match launch() {
        Ok(status) => status,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns where the tool was not started: with cargo's status.
fn launch() -> Result<ExitCode, String> {
    let cargo = from_cargo("CARGO")?;
    let root = checkout(&from_cargo("CARGO_MANIFEST_DIR")?)?;
    let folder = debug_folder().map_err(|error| format!("find the running program: {error}"))?;
    let stamp = Stamp::new(&root, &folder, TOOL, &cargo);
    let before = stamp.read();
    if !stamp.is_current(&before) {
        let began = stamp.remove();
        let mut status = run(&cargo, &root, &BUILD)?;
        if status == 0 && stamp.is_overlooked(&before) {
            status = run(&cargo, &root, &FORGET)?;
            if status == 0 {
                status = run(&cargo, &root, &BUILD)?;
            }
        }
        if status != 0 {
            return Ok(ExitCode::from(status));
        }
        // Without a stamp cargo is asked again the next time.
        if let Ok(began) = began {
            stamp.write(began).ok();
        }
    }
    let program = folder.join(TOOL);
    let error = command(&program).args(std::env::args_os().skip(1)).exec();
    Err(format!("start {}: {error}", program.display()))
}

/// Runs cargo and returns its status.
fn run(cargo: &Path, root: &Path, args: &[&str]) -> Result<u8, String> {
    let status = command(cargo)
        .args(args)
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .status()
        .map_err(|error| format!("start {}: {error}", cargo.display()))?;
    Ok(status.code().map_or(1, |code| u8::try_from(code).unwrap_or(1)))
}

/// What cargo tells each program that it runs.
fn from_cargo(name: &str) -> Result<PathBuf, String> {
    variable(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set: start this with `cargo xtask`"))
}

/// The checkout where this program lies in `xtask/launcher`. Not the one where
/// it was compiled: several checkouts may share a target folder.
fn checkout(package: &Path) -> Result<PathBuf, String> {
    let root = package.ancestors().nth(2).map(Path::to_owned);
    root.ok_or_else(|| format!("{} lies in no checkout", package.display()))
}

/// Where cargo puts the tool: beside the folder of this program's own profile.
fn debug_folder() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let profiles = program.ancestors().nth(2).ok_or(io::ErrorKind::NotFound)?;
    Ok(profiles.join("debug"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program is started before the tool"
)]
fn command(program: &Path) -> Command {
    Command::new(program)
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program is started before the tool"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[expect(clippy::print_stderr, reason = "this program is started before the tool")]
fn say(text: &str) {
    eprintln!("{text}");
}
