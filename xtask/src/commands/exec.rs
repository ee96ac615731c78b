//! `cargo xtask exec` and `psql`: `docker exec` takes this process's place, so that
//! input, outputs, signals and the exit code are the command's own.

use std::ffi::OsString;

use anyhow::Result;

use super::services;
use crate::cli::service::{ExecArgs, PsqlArgs, ServiceSelection};
use ::service::restart::own;
use definition::spec::ImageSpec;
use host::Host;

/// Runs a command in the environment of a service's app.
pub(super) fn run(args: &ExecArgs, host: &Host) -> Result<()> {
    inside(&args.selection(), host, &[], |spec| {
        // A database alone has no environment but its container's.
        let first = spec.app.is_some().then(|| OsString::from("run-app"));
        first.into_iter().chain(args.command.iter().cloned()).collect()
    })
}

/// Runs psql in a service's container, as the app's role or as the superuser.
pub(super) fn psql(args: &PsqlArgs, host: &Host) -> Result<()> {
    let options: &[&str] = if args.superuser {
        &["--env", "PGSERVICE=superuser"]
    } else {
        &[]
    };
    let selection = args.selection();
    if args.superuser {
        services::with_database(host, &selection.images, "psql --superuser")?;
    }
    inside(&selection, host, options, |_| {
        let first = OsString::from("psql");
        [first].into_iter().chain(args.args.iter().cloned()).collect()
    })
}

/// Returns only where it cannot be run.
fn inside(
    selection: &ServiceSelection,
    host: &Host,
    options: &[&str],
    command: impl Fn(&ImageSpec) -> Vec<OsString>,
) -> Result<()> {
    let specs = services::specs(host, &selection.images)?;
    let engine = services::running_engine(host, selection)?;
    let Some(spec) = specs.first() else {
        return Ok(());
    };
    let (name, handle) = (&spec.name, services::handle(host, &engine, spec));
    let seen = own(&handle)?;
    if !seen.condition.runs() {
        let message = format!(
            "{name} is {}, and nothing can be run in it",
            seen.condition.shown()
        );
        return Err(failure::environment(message)
            .hint(format!("start it: cargo xtask up {name}"))
            .into());
    }
    let mut args = vec!["exec", "--interactive"];
    if host.report.is_terminal() {
        args.push("--tty");
    }
    args.extend(options);
    args.push(name.as_str());
    Err(engine.cmd(&host.runner, &args).args(command(spec)).replace())
}
