//! Which engine is used: the system's where it is good enough, else the
//! private one where the machine allows it.

mod buildx;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::private::{self, Private};
use super::{Engine, OLDEST_ENGINE};

use host::Host;

/// The engine that `--engine` or the environment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// The one the tool provisions.
    Private,
    /// The one that `docker` reaches by the environment and its contexts.
    System,
}

/// The oldest buildx that was tried.
const MIN_BUILDX: (u32, u32) = (0, 13);

/// A CLI that does not answer for this long hangs.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// What there is of the system's engine.
#[derive(Clone, Debug)]
pub enum SystemEngine {
    /// It answers and is new enough, and so is its buildx.
    Ready {
        /// The engine, ready to be called.
        engine: Engine,
        /// The engine's version, such as `28.5.2`.
        version: String,
        /// The version of buildx, such as `v0.29.1`.
        buildx: String,
    },
    /// It will not, for this reason.
    Unusable(String),
}

/// Looks at the system's engine; changes nothing.
///
/// # Errors
/// Ctrl-C.
pub fn system(host: &Host) -> Result<SystemEngine> {
    let engine = Engine::of_system(PathBuf::from("docker"), &host.env);
    if !has_docker(host) {
        return Ok(SystemEngine::Unusable("there is no `docker` command".to_owned()));
    }
    let private = Private::at(&host.cache_dir())?.docker_host();
    if host.env.docker_host.as_ref() == Some(&private) {
        // `eval "$(cargo xtask engine env)"` must not turn the private engine
        // into the system's.
        return Ok(SystemEngine::Unusable(
            "DOCKER_HOST names the private engine".to_owned(),
        ));
    }
    let version = match engine.version(&host.runner) {
        Ok(server) if server.components.iter().any(|part| part.name.contains("Podman")) => {
            return Ok(SystemEngine::Unusable(format!(
                "Podman {} answers in the place of a Docker Engine",
                server.version
            )));
        }
        Ok(server) => server.version,
        Err(error) => {
            host.runner.check_interrupt()?;
            let said = format!("{error:#}");
            let first = said.lines().next().unwrap_or_default();
            return Ok(SystemEngine::Unusable(format!(
                "no Docker Engine answers ({first})"
            )));
        }
    };
    if numbers(&version) < Some(OLDEST_ENGINE) {
        let (major, minor) = OLDEST_ENGINE;
        return Ok(SystemEngine::Unusable(format!(
            "the Docker Engine is too old: it is {version}, {major}.{minor} or newer is needed"
        )));
    }
    let Some(buildx) = buildx::version(host, &engine)? else {
        return Ok(SystemEngine::Unusable(
            "the `docker` command has no buildx plugin".to_owned(),
        ));
    };
    if numbers(buildx.trim_start_matches('v')) < Some(MIN_BUILDX) {
        let (major, minor) = MIN_BUILDX;
        return Ok(SystemEngine::Unusable(format!(
            "buildx is too old: it is {buildx}, {major}.{minor} or newer is needed"
        )));
    }
    Ok(SystemEngine::Ready {
        engine,
        version,
        buildx,
    })
}

/// The engine that would be used, if it runs already; starts nothing.
///
/// # Errors
/// An environment error where a forced system engine will not do.
pub fn find(host: &Host, choice: Option<EngineChoice>) -> Result<Option<Engine>> {
    if choice != Some(EngineChoice::Private) {
        match system(host)? {
            SystemEngine::Ready { engine, .. } => return Ok(Some(engine)),
            SystemEngine::Unusable(why) if choice == Some(EngineChoice::System) => {
                return Err(unusable(&why).into());
            }
            SystemEngine::Unusable(_) => {}
        }
    }
    Ok(Private::at(&host.cache_dir())?.running())
}

/// The engine to use, provisioned and started where needed.
///
/// # Errors
/// An environment error that says all that is missing and how to get it.
pub fn obtain(host: &Host, choice: Option<EngineChoice>) -> Result<Engine> {
    let private = Private::at(&host.cache_dir())?;
    if choice == Some(EngineChoice::Private) {
        return private.up(host);
    }
    let why = match system(host)? {
        SystemEngine::Ready { engine, .. } => return Ok(engine),
        SystemEngine::Unusable(why) => why,
    };
    if choice == Some(EngineChoice::System) {
        return Err(unusable(&why).into());
    }
    if let Some(engine) = private.running() {
        return Ok(engine);
    }
    let missing = private.requirements(host);
    if !missing.is_empty() {
        let mut failure = private::refusal(&missing);
        failure.hints.splice(0..0, rights(&why));
        failure.message = format!("{why}; and {}", failure.message);
        return Err(failure.into());
    }
    host.report
        .step("engine", format!("{why}: the private engine is used"));
    private.up(host)
}

/// For a user who may not talk to the engine that is there.
fn rights(why: &str) -> Option<String> {
    let refused = why.to_lowercase().contains("permission denied");
    refused.then(|| {
        "join the group that may use it (sudo usermod --append --groups docker \"$USER\") and log in again".to_owned()
    })
}

fn unusable(why: &str) -> failure::Failure {
    let mut failure = failure::environment(format!("the system's engine cannot be used: {why}"));
    failure.hints.extend(rights(why));
    failure
        .hint("start or install Docker Engine 25 or newer with buildx")
        .hint("on Debian and Ubuntu, as root, `--engine private` needs neither")
}

/// Whether `PATH` has a `docker`.
pub fn has_docker(host: &Host) -> bool {
    host.program("docker").is_some()
}

/// Major and minor of `28.5.2`, `25.0.3+dfsg1`, `0.13.1`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(numbers("20.10.24+dfsg1") < Some(OLDEST_ENGINE));
        assert!(numbers("25.0.0") >= Some(OLDEST_ENGINE));
        assert!(numbers("0.9.1") < Some(MIN_BUILDX));
        assert_eq!(numbers("dev"), None);
        assert!(None < Some(OLDEST_ENGINE), "an unknown version is too old");
    }
}
