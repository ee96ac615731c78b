//! `cargo xtask engine`: which engine, and the private one's life.

use anyhow::Result;

use crate::cli::{EngineAction, EngineArgs, EngineOption};
use engine::choose::{self, SystemEngine};
use engine::private::Private;
use engine::{Engine, Owner};

use host::{Host, process};

pub(crate) fn run(args: &EngineArgs, host: &Host) -> Result<()> {
    let private = Private::at(&host.cache_dir())?;
    match &args.action {
        EngineAction::Status(option) => status(*option, &private, host),
        EngineAction::Up => {
            let engine = private.up(host)?;
            host.report.step("engine", "the private engine runs");
            host.report.data(&docker_host(&engine))
        }
        EngineAction::Down => {
            let ran = private.down(host)?;
            host.report.step(
                "engine",
                if ran {
                    "stopped; images and volumes are kept"
                } else {
                    "did not run"
                },
            );
            Ok(())
        }
        EngineAction::Purge { delete_data } => purge(*delete_data, &private, host),
        EngineAction::Env(option) => env(*option, host),
    }
}

fn status(option: EngineOption, private: &Private, host: &Host) -> Result<()> {
    let used = choose::find(host, option.engine)?;
    let mark = |owner: Owner| {
        if used.as_ref().is_some_and(|engine| engine.owner == owner) {
            " (used)"
        } else {
            ""
        }
    };
    let system = match choose::system(host)? {
        SystemEngine::Ready { version, buildx, .. } => format!("Docker Engine {version}, buildx {buildx}"),
        SystemEngine::Unusable(why) => format!("cannot be used: {why}"),
    };
    host.report
        .data(&format!("system{}: {system}", mark(Owner::System)))?;
    let status = private.status();
    let state = match (&status.packages, status.pid, status.answers) {
        (_, _, true) => format!("runs, socket {}", status.socket.display()),
        (_, Some(pid), false) => format!("process {pid} does not answer, log {}", status.log.display()),
        (Some(_), None, false) => "is down, start it by `cargo xtask engine up`".to_owned(),
        (None, None, false) => "not provisioned yet".to_owned(),
    };
    host.report
        .data(&format!("private{}: {state}", mark(Owner::Private)))?;
    if let Some(packages) = status.packages {
        host.report
            .data(&format!("private packages: {}", packages.join(", ")))?;
        host.report
            .data(&format!("private data: {}", status.data.display()))?;
    }
    Ok(())
}

fn purge(delete_data: bool, private: &Private, host: &Host) -> Result<()> {
    if !delete_data {
        let message = format!(
            "this would delete the private engine with all its images, containers and volumes in {}",
            private.data_dir().display()
        );
        return Err(failure::usage(message)
            .hint("`cargo xtask engine purge --delete-data` does it")
            .hint("`cargo xtask engine down` only stops it")
            .into());
    }
    private.purge(host)?;
    host.report.step("engine", "the private engine is gone");
    Ok(())
}

fn env(option: EngineOption, host: &Host) -> Result<()> {
    let engine = match choose::find(host, option.engine)? {
        Some(engine) => engine,
        None => choose::obtain(host, option.engine)?,
    };
    for line in exports(&engine, host) {
        host.report.data(&line)?;
    }
    Ok(())
}

/// `export NAME='value'` lines for a POSIX shell.
fn exports(engine: &Engine, host: &Host) -> Vec<String> {
    if engine.owner == Owner::System {
        return Vec::new();
    }
    let mut lines: Vec<String> = engine
        .env
        .iter()
        .filter(|(key, _)| key.starts_with("DOCKER_"))
        .map(|(key, value)| format!("export {key}={}", process::quote(value)))
        .collect();
    if let (false, Some(folder)) = (choose::has_docker(host), engine.docker.parent()) {
        lines.push(format!(
            "export PATH={}:\"$PATH\"",
            process::quote(&folder.display().to_string())
        ));
    }
    lines
}

fn docker_host(engine: &Engine) -> String {
    let host = engine.env.iter().find(|(key, _)| key == "DOCKER_HOST");
    host.map(|(_, value)| value.clone()).unwrap_or_default()
}
