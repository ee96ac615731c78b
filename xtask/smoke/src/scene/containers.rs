//! Starting containers of the image under test, and waiting for what becomes of
//! them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::Scene;
use container::ask;
use container::boot::Boot;
use container::boot::{self, Guest, MOUNT, Watched};
use container::finding::{flaw, late};
use container::http::one_line;
use engine::container::{Container, Volume};

/// Between two looks whether a container has ended; each starts a process.
const LOOK_PAUSE: Duration = Duration::from_millis(150);
/// A container that refuses to start says so at once; a busy machine takes
/// longer.
const REFUSAL: Duration = Duration::from_secs(30);

/// What a frozen container prints.
const FROZEN: &str = "smoke-frozen";

/// A container that ended by itself when it was to start.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its exit code.
    pub code: i64,
    /// All it printed, without the engine's timestamps.
    pub log: String,
    /// From `docker run` until it had ended.
    pub took: Duration,
}

impl Refusal {
    /// The entrypoint's own lines: `hive: cannot start: …` and what to do.
    pub fn said(&self) -> Vec<&str> {
        let own = |line: &&str| line.starts_with("hive:");
        self.log.lines().filter(own).collect()
    }
}

impl Scene<'_> {
    /// Starts a container on a volume, as users do, its port published on one
    /// that the kernel picks. `options` of `docker run` as they are.
    ///
    /// # Errors
    /// When the engine cannot start it, and a flaw when it ends at once.
    pub fn start(&self, volume: &Volume, options: &[&str]) -> Result<Rc<Guest>> {
        self.start_command(volume, options, &[])
    }

    /// The same with a command after the image; with `--entrypoint` among the
    /// options, these are its arguments.
    ///
    /// # Errors
    /// As [`Scene::start`].
    pub fn start_command(&self, volume: &Volume, options: &[&str], command: &[&str]) -> Result<Rc<Guest>> {
        self.start_as(self.image_id(), volume, options, command)
    }

    /// [`Scene::start`] of another image, such as the one before.
    ///
    /// # Errors
    /// As [`Scene::start`].
    pub fn start_image(&self, image: &str, volume: &Volume) -> Result<Rc<Guest>> {
        self.start_as(image, volume, &[], &[])
    }

    fn start_as(
        &self,
        image: &str,
        volume: &Volume,
        options: &[&str],
        command: &[&str],
    ) -> Result<Rc<Guest>> {
        let name = self.name("box");
        let mount = format!("{}:{MOUNT}", volume.name());
        let mut all = vec!["--volume", mount.as_str()];
        all.extend(options);
        self.note(format!("docker run --name {name} {}", all.join(" ")));
        let port = self.spec().app.port;
        let started = Guest::start_command(self.lab, image, &name, &all, command, port);
        let guest = Rc::new(started?);
        self.guests.borrow_mut().push(Rc::clone(&guest));
        Ok(guest)
    }

    /// Waits until the engine says healthy and the health endpoint 200.
    ///
    /// # Errors
    /// A flaw when the container ends or does not get there.
    pub fn until_ready(&self, guest: &Guest) -> Result<Boot> {
        let spec = self.spec();
        match boot::watch(self.lab, guest, spec, spec.budgets.ready_seconds, "boot")? {
            Watched::Up(boot) if boot.ready.is_some() && boot.first_200.is_some() => {
                self.note(format!("{}: healthy", guest.container.name()));
                Ok(boot)
            }
            Watched::Up(boot) => bail!(boot.given_up("docker run", spec.budgets.ready_seconds)),
            Watched::Dead(death) => bail!(flaw(format!(
                "the container ended {:.1} s after its start, {}; last lines: {}",
                death.after.as_secs_f64(),
                death.how,
                death.last_lines
            ))),
        }
    }

    /// Starts a container that freezes (SIGSTOP for all but PID 1) the moment a
    /// condition of `sh` holds inside, and returns then. PID 1 is what the
    /// image's entrypoint makes of it, as ever.
    ///
    /// # Errors
    /// A flaw when the moment does not come within half a minute.
    pub fn start_until(&self, volume: &Volume, condition: &str) -> Result<Rc<Guest>> {
        let inspect = self.lab.engine.image(&self.lab.runner, self.image_id())?;
        let entrypoint = inspect
            .as_ref()
            .and_then(|image| image.document().pointer("/Config/Entrypoint/0")?.as_str());
        let Some(entrypoint) = entrypoint else {
            bail!(flaw("the image has no entrypoint"));
        };
        // A loop without pause: some moments last a few milliseconds.
        let script = format!(
            "(cd {MOUNT}; while :; do {condition} && break; done; kill -STOP -1; echo {FROZEN}) & exec {}",
            ask::quote(entrypoint)
        );
        let guest = self.start_command(volume, &["--entrypoint", "sh"], &["-c", &script])?;
        let began = Instant::now();
        while !self.log(&guest)?.contains(FROZEN) {
            let limit = self.patience(REFUSAL);
            if began.elapsed() > limit {
                let detail = format!("the moment never came: {condition}");
                bail!(late(began.elapsed(), limit, detail));
            }
            self.lab.runner.sleep(LOOK_PAUSE)?;
        }
        self.note(format!("{} is frozen: {condition}", guest.container.name()));
        Ok(guest)
    }

    /// [`Scene::start`] and [`Scene::until_ready`].
    ///
    /// # Errors
    /// As both.
    pub fn boot(&self, volume: &Volume, options: &[&str]) -> Result<Rc<Guest>> {
        let guest = self.start(volume, options)?;
        self.until_ready(&guest)?;
        Ok(guest)
    }

    /// `docker start` of a container that has ended: the same container, its
    /// published port another one.
    ///
    /// # Errors
    /// When the engine cannot start it, and a flaw when it ends at once.
    pub fn start_again(&self, guest: &Guest) -> Result<Rc<Guest>> {
        self.note(format!("docker start {}", guest.container.name()));
        let again = Rc::new(guest.start_again(self.spec().app.port)?);
        Ok(self.replace(again))
    }

    /// The same container after the engine's restart policy started it again,
    /// its published port another one.
    ///
    /// # Errors
    /// When it does not run.
    pub fn rejoin(&self, guest: &Guest) -> Result<Rc<Guest>> {
        let again = Rc::new(guest.rejoin(self.spec().app.port)?);
        Ok(self.replace(again))
    }

    fn replace(&self, again: Rc<Guest>) -> Rc<Guest> {
        let mut guests = self.guests.borrow_mut();
        guests.retain(|known| known.container.name() != again.container.name());
        guests.push(Rc::clone(&again));
        again
    }

    /// SIGKILL for PID 1 by the host, as the kernel would: from inside nothing
    /// can kill it, and after `docker kill` no restart policy acts.
    ///
    /// # Errors
    /// When the container does not run, or the engine refuses.
    pub fn kill_first_process(&self, guest: &Guest) -> Result<()> {
        let state = guest.container.inspect()?;
        let Some(pid) = state
            .pointer("/State/Pid")
            .and_then(Value::as_u64)
            .filter(|pid| *pid > 1)
        else {
            bail!("container {} has no first process", guest.container.name());
        };
        self.note(format!("kill -9 {pid} on the host: PID 1 of the container"));
        let options = [
            "--pid",
            "host",
            "--user",
            "0:0",
            "--network",
            "none",
            "--entrypoint",
            "sh",
        ];
        let script = format!("kill -9 {pid}");
        let output = self
            .lab
            .call(&self.name("kill"), self.image_id(), &options, &["-c", &script])?;
        if !output.success() {
            bail!("kill -9 {pid} on the host: {}", output.stderr_text());
        }
        Ok(())
    }

    /// Removes a container now, with its end in the timeline: a fault that
    /// starts many has no use for the old ones. Its volume stays.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove(&self, guest: &Guest) -> Result<()> {
        let name = guest.container.name();
        let log = self.log(guest)?;
        self.note(format!("{name}: removed; it printed\n{log}"));
        self.guests
            .borrow_mut()
            .retain(|known| known.container.name() != name);
        guest.container.remove()
    }

    /// Starts a container that has to end by itself, with another exit code
    /// than 0. `options` have to mount its volume, if any.
    ///
    /// # Errors
    /// A flaw when it is still up after half a minute, or ends with 0.
    pub fn refused(&self, options: &[&str]) -> Result<Refusal> {
        let name = self.name("refused");
        self.note(format!("docker run --name {name} {}", options.join(" ")));
        let began = Instant::now();
        let container = Rc::new(self.lab.start(&name, self.image_id(), options, &[])?);
        self.refused.borrow_mut().push(Rc::clone(&container));
        let Some(code) = self.until_ended(&container, REFUSAL)? else {
            let limit = self.patience(REFUSAL);
            let detail = format!(
                "the container should have refused to start, and is up after {} s",
                limit.as_secs()
            );
            bail!(late(began.elapsed(), limit, detail));
        };
        let took = began.elapsed();
        let log = self.words_of(&container)?;
        self.note(format!("{name}: ended with {code}: {}", one_line(&log)));
        if code == 0 {
            bail!(flaw(format!(
                "the container should have failed, and ended with 0: {}",
                one_line(&log)
            )));
        }
        Ok(Refusal { code, log, took })
    }

    /// Waits until a container has ended; its exit code, `None` when it has not
    /// within the limit, which [`Scene::patience`] stretches.
    ///
    /// # Errors
    /// On Ctrl-C, or when the engine does not answer.
    pub fn until_ended(&self, container: &Container, limit: Duration) -> Result<Option<i64>> {
        let (began, limit) = (Instant::now(), self.patience(limit));
        loop {
            if let Some(code) = container.exit_code()? {
                self.note(format!("{}: ended with {code}", container.name()));
                return Ok(Some(code));
            }
            if began.elapsed() > limit {
                return Ok(None);
            }
            self.lab.runner.sleep(LOOK_PAUSE)?;
        }
    }

    /// What a container printed so far, without the engine's timestamps.
    ///
    /// # Errors
    /// When it is gone.
    pub fn log(&self, guest: &Guest) -> Result<String> {
        self.words_of(&guest.container)
    }

    /// The same of a container that is no guest.
    ///
    /// # Errors
    /// When it is gone.
    pub fn words_of(&self, container: &Container) -> Result<String> {
        Ok(without_times(&container.logs()?))
    }
}

/// `docker logs --timestamps` puts a time before each line.
fn without_times(log: &str) -> String {
    let lines = log
        .lines()
        .map(|line| line.split_once(' ').map_or("", |(_, rest)| rest));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_lose_their_times_and_keep_empty_lines() {
        let log = "2026-11-21T09:00:00Z hive: cannot start: x\n2026-11-21T09:00:01Z\n";
        assert_eq!(without_times(log), "hive: cannot start: x\n");
    }

    #[test]
    fn the_entrypoints_words_are_found() {
        let refusal = Refusal {
            code: 78,
            log: "app | x\nhive: cannot start: the volume is full".into(),
            took: Duration::ZERO,
        };
        assert_eq!(refusal.said(), ["hive: cannot start: the volume is full"]);
    }
}
