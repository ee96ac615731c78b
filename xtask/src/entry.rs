//! What every program of this workspace starts with: the environment, signals,
//! the checkout; and how its errors become exit codes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use failure::FailureKind;
use host::process::Runner;
use host::report::Report;
use host::{Environment, Host};

use crate::checkout;

/// Reads the environment, runs `command` with it, and maps its error to an exit
/// code and a message. `root` and `verbose` are the options of these names.
pub fn run(root: Option<PathBuf>, verbose: bool, command: impl FnOnce(&Host) -> Result<()>) -> ExitCode {
    let env = environment();
    let report = Report::new(env.no_color, verbose);
    let top = || checkout::top(root.as_deref(), env.cargo_manifest_dir.as_deref(), compiled_in());
    let ready = || {
        temporary_folder_is_there()?;
        Ok((runner()?, top()?))
    };
    let host = match ready() {
        Ok((runner, root)) => Host {
            env,
            root,
            runner,
            report,
        },
        Err(error) => return fail(&report, &error),
    };
    match command(&host) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&host.report, &error),
    }
}

fn fail(report: &Report, error: &anyhow::Error) -> ExitCode {
    report.error(&failure::render(error));
    ExitCode::from(failure::kind(error) as u8)
}

/// docker and the tools of other packages end in odd ways where it is not.
fn temporary_folder_is_there() -> Result<()> {
    let folder = std::env::temp_dir();
    if folder.is_dir() {
        return Ok(());
    }
    let message = format!(
        "there is no folder {}, where TMPDIR says that temporary files go",
        folder.display()
    );
    Err(failure::environment(message)
        .hint("unset TMPDIR, or make that folder")
        .into())
}

fn runner() -> Result<Runner> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        // The first one is heard, and cleaned up after; the second one ends at
        // once. In this order, since the flag is set by the first.
        let code = FailureKind::Interrupted as i32;
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .context("install a signal handler")?;
    }
    Runner::new(interrupted)
}

/// The package whose checkout this was compiled in.
pub(crate) fn compiled_in() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The one place that reads the environment.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn environment() -> Environment {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let text = |name: &str| set(name).and_then(|value| value.into_string().ok());
    // BuildKit's client and tools in other folders get these paths, too.
    let folder = |name: &str| set(name).map(|path| std::path::absolute(&path).unwrap_or(path.into()));
    Environment {
        home: set("HOME").map(PathBuf::from),
        xdg_cache_home: set("XDG_CACHE_HOME").map(PathBuf::from),
        xdg_data_home: set("XDG_DATA_HOME").map(PathBuf::from),
        hive_backup_dir: folder("HIVE_BACKUP_DIR"),
        hive_cache_dir: folder("HIVE_CACHE_DIR"),
        hive_state_dir: folder("HIVE_STATE_DIR"),
        docker_host: text("DOCKER_HOST"),
        docker_context: text("DOCKER_CONTEXT"),
        docker_config: set("DOCKER_CONFIG").map(PathBuf::from),
        ssl_cert_file: set("SSL_CERT_FILE").map(PathBuf::from),
        network: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, value)| !value.is_empty() && host::is_of_network(name))
            .collect(),
        no_color: set("NO_COLOR").is_some(),
        cargo_manifest_dir: set("CARGO_MANIFEST_DIR").map(PathBuf::from),
        path: std::env::var_os("PATH"),
    }
}
