//! The database of an app alone while that is proved: a container of the image that
//! its spec names, on a network of the two, with a password in a file that both are
//! given.

use anyhow::{Result, bail};

use crate::Subject;
use container::ask::{self, Answer};
use container::boot::{self, Instance, MOUNT, Watched};
use container::finding::flaw;
use container::look;
use engine::container::{RunNetwork, RunResources, Volume};

/// Where engines put what they were given as secrets.
const SECRETS: &str = "/run/secrets";

/// Makes the password, for whatever uid reads it.
const MAKE_PASSWORD: &str = "umask 022; head -c 24 /dev/urandom | base64 >hive_database_password";

/// A volume with the password, for a database and all apps of it.
///
/// # Errors
/// When the engine refuses.
pub(crate) fn secret(resources: &RunResources, database: &Subject, prefix: &str) -> Result<Volume> {
    let volume = resources.volume(&format!("{prefix}-secrets"))?;
    let (name, script) = (format!("{prefix}-secret"), format!("cd {MOUNT}; {MAKE_PASSWORD}"));
    let root = ["--user", "0:0"];
    let made = look::run(
        resources,
        &name,
        &database.image_id,
        volume.name(),
        &root,
        &script,
    )?;
    if !made.success() {
        bail!("make a password for the database: {}", made.stderr_text());
    }
    Ok(volume)
}

/// The option by which a container is given the password.
pub(crate) fn given(secret: &Volume) -> [String; 2] {
    ["--volume".to_owned(), format!("{}:{SECRETS}", secret.name())]
}

/// A database that an app can reach by the name of its image.
#[derive(Debug)]
pub(crate) struct DatabaseBeside {
    // Dropped in this order: a network in use cannot be removed.
    pub(crate) instance: Instance,
    network: RunNetwork,
    subject: Subject,
}

impl DatabaseBeside {
    /// Starts it on a volume, and waits until it is healthy. `options` of `docker run`
    /// are beside those that it needs.
    ///
    /// # Errors
    /// When the engine refuses, and a flaw where it does not get healthy.
    pub(crate) fn start(
        resources: &RunResources,
        subject: &Subject,
        prefix: &str,
        volume: &str,
        options: &[String],
    ) -> Result<Self> {
        let name = subject.spec.name.as_str();
        let network = resources.network(&format!("{prefix}-net"))?;
        let mount = format!("{volume}:{MOUNT}");
        let own = [
            "--volume",
            &mount,
            "--network",
            network.name(),
            "--network-alias",
            name,
        ];
        let all: Vec<&str> = own
            .into_iter()
            .chain(options.iter().map(String::as_str))
            .collect();
        let (spec, id) = (&subject.spec, &subject.image_id);
        let instance = Instance::start(resources, id, &format!("{prefix}-{name}"), &all, spec.port())?;
        let budget = spec.budgets.ready_seconds;
        let why = match boot::watch(resources, &instance, spec, budget, "the database's boot")? {
            Watched::Up(boot) if boot.ready.is_some() => {
                return Ok(Self {
                    instance,
                    network,
                    subject: subject.clone(),
                });
            }
            Watched::Up(boot) => boot.given_up("docker run", budget).detail,
            Watched::Dead(death) => format!("it ended, {}; last lines: {}", death.how, death.last_lines),
        };
        bail!(flaw(format!(
            "the database beside it, image {name} ({}): {why}",
            id.short()
        )))
    }

    /// Options of `docker run` for a container that is to reach it.
    pub(crate) fn options(&self) -> [String; 2] {
        ["--network".to_owned(), self.network.name().to_owned()]
    }

    /// Runs a script of `sh` in its container, whatever its exit code.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) fn ask(&self, script: &str) -> Result<Answer> {
        let whole = format!("{}{{\n{script}\n}} 2>&1", ask::prelude(&self.subject.spec));
        let command = ["sh", "-c", &whole];
        let output = self.instance.container.exec(ask::DEADLINE, &[], &command, None)?;
        let text = output.stdout_text() + &output.stderr_text();
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            text: text.trim_end_matches('\n').to_owned(),
            took: output.took,
        })
    }
}
