//! What a fault has to work with: containers and volumes of the image under
//! test, and the means to look at them and to do them harm.
//!
//! Guests and volumes are shared by reference count: the fault holds them as
//! long as it likes, the scene keeps them until the bundle is written.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::ask::{self, Answer};
use super::boot::{self, Guest, MOUNT, Watched};
use super::course::settled;
use super::facts::Boot;
use super::http::{Client, Reply, one_line};
use super::timeline::Timeline;
use super::verdict::flaw;
use super::{Subject, look};
use crate::engine::container::{Container, Lab, Volume};
use crate::process::Output;
use crate::spec::ImageSpec;

/// One request to the health endpoint.
const REQUEST: Duration = Duration::from_secs(5);
/// Between two requests to it.
const PAUSE: Duration = Duration::from_millis(25);
/// Between two looks whether a container has ended; each starts a process.
const LOOK_PAUSE: Duration = Duration::from_millis(150);
/// Between two looks whether a container that does not answer has ended.
const DEATH_PAUSE: Duration = Duration::from_secs(1);
/// A script inside a container.
const SCRIPT: Duration = Duration::from_secs(60);
/// A container that refuses to start says so at once; a busy machine takes
/// longer.
const REFUSAL: Duration = Duration::from_secs(30);

/// What a frozen container prints.
const FROZEN: &str = "smoke-frozen";
/// A script of `sh` for [`Scene::digest`], in the folder that is meant.
pub const DIGEST: &str = "{ find . -printf '%P %y %m %U:%G %s %l\\n' | LC_ALL=C sort; \
     find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum; } | sha256sum";

/// The stage of one fault on one image.
#[derive(Debug)]
pub struct Scene<'a> {
    lab: &'a Lab,
    subject: &'a Subject,
    /// All images of the run, this one among them.
    subjects: &'a [Subject],
    prefix: String,
    // Dropped in this order: a volume in use cannot be removed.
    guests: RefCell<Vec<Rc<Guest>>>,
    refused: RefCell<Vec<Rc<Container>>>,
    volumes: RefCell<Vec<Rc<Volume>>>,
    timeline: RefCell<Timeline>,
    secrets: RefCell<Vec<String>>,
    names: Cell<u32>,
    neighbours: RefCell<Vec<Rc<Scene<'a>>>>,
}

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

/// A process inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// In the container's own namespace.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// `/proc/PID/cmdline`, with blanks; PostgreSQL's processes put their title
    /// there (`postgres: checkpointer`).
    pub command: String,
}

impl<'a> Scene<'a> {
    /// An empty stage. `prefix` starts the names of all that is made here.
    pub fn new(lab: &'a Lab, subject: &'a Subject, prefix: String) -> Self {
        Self {
            lab,
            subject,
            subjects: std::slice::from_ref(subject),
            prefix,
            guests: RefCell::default(),
            refused: RefCell::default(),
            volumes: RefCell::default(),
            timeline: RefCell::default(),
            secrets: RefCell::default(),
            names: Cell::new(0),
            neighbours: RefCell::default(),
        }
    }

    /// The same in a run with these images, this one among them.
    #[must_use]
    pub fn among(mut self, subjects: &'a [Subject]) -> Self {
        self.subjects = subjects;
        self
    }

    /// A stage beside this one for another image of the run, or for this one
    /// once more where there is no other. It lives as long as this one.
    pub fn neighbour(&self) -> Rc<Scene<'a>> {
        let own = self.image_id();
        let other = self.subjects.iter().find(|subject| subject.image_id != own);
        let prefix = self.name("beside");
        let scene = Self::new(self.lab, other.unwrap_or(self.subject), prefix);
        let scene = Rc::new(scene);
        self.neighbours.borrow_mut().push(Rc::clone(&scene));
        scene
    }

    /// What the image has to be.
    pub fn spec(&self) -> &ImageSpec {
        &self.subject.spec
    }

    /// The image under test, `sha256:…`.
    pub fn image_id(&self) -> &str {
        &self.subject.image_id
    }

    /// Who makes containers, for what this does not offer.
    pub fn lab(&self) -> &Lab {
        self.lab
    }

    /// A name that nothing else has.
    pub fn name(&self, what: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("{}-{what}-{}", self.prefix, self.names.get())
    }

    /// Notes what happens, for the bundle's timeline and `--verbose`.
    pub fn note(&self, text: impl AsRef<str>) {
        self.timeline.borrow_mut().note(text);
    }

    /// A text that must not be in the bundle: a password that the fault made.
    /// Those that a volume keeps are found without.
    pub fn secret(&self, text: impl Into<String>) {
        self.secrets.borrow_mut().push(text.into());
    }

    // --- volumes ---------------------------------------------------------

    /// A new, empty volume.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn volume(&self) -> Result<Rc<Volume>> {
        self.volume_with(&[])
    }

    /// The same with options of `docker volume create`, such as
    /// `--opt type=tmpfs`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn volume_with(&self, options: &[&str]) -> Result<Rc<Volume>> {
        let volume = Rc::new(self.lab.volume_with(&self.name("data"), options)?);
        self.volumes.borrow_mut().push(Rc::clone(&volume));
        Ok(volume)
    }

    /// Runs a script of `sh` beside the volume, with it mounted at
    /// [`MOUNT`], as the image's user; options such as `--user 0:0` and
    /// further mounts come first.
    ///
    /// # Errors
    /// When the container cannot be run; the script's exit code is in the
    /// output.
    pub fn beside(&self, volume: &Volume, options: &[&str], script: &str) -> Result<Output> {
        let name = self.name("look");
        look::run(self.lab, &name, self.image_id(), volume.name(), options, script)
    }

    /// As [`Scene::beside`], and a script that fails is a flaw. What it printed.
    ///
    /// # Errors
    /// A flaw with what it printed.
    pub fn must_beside(&self, volume: &Volume, options: &[&str], script: &str) -> Result<String> {
        let output = self.beside(volume, options, script)?;
        if !output.success() {
            bail!(flaw(format!(
                "beside the volume, {}: {}",
                crate::process::ended(output.status),
                one_line(&output.stderr_text())
            )));
        }
        Ok(output.stdout_text())
    }

    /// A digest of all that a volume holds: paths, kinds, modes, owners, sizes,
    /// link targets and contents. Equal before and after means untouched.
    ///
    /// # Errors
    /// When it cannot be read, as root.
    pub fn digest(&self, volume: &Volume) -> Result<String> {
        self.must_beside(volume, &["--user", "0:0"], &format!("cd {MOUNT} && {DIGEST}"))
    }

    /// What `pg_controldata` calls the cluster's state: `shut down`,
    /// `in production`, … Only of a volume that no container uses.
    ///
    /// # Errors
    /// A flaw when there is no cluster.
    pub fn cluster_state(&self, volume: &Volume) -> Result<String> {
        let script = look::control_data(self.spec(), &format!("{MOUNT}/pgdata"));
        let text = self.must_beside(volume, &[], &script)?;
        match look::cluster_state(&text) {
            Some(state) => Ok(state.to_owned()),
            None => bail!(flaw(format!("pg_controldata: {}", one_line(&text)))),
        }
    }

    // --- containers ------------------------------------------------------

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
            Watched::Up(boot) => bail!(flaw(format!(
                "not healthy after {:.0} s: {}",
                boot.gave_up.as_secs_f64(),
                one_line(&boot.last_words)
            ))),
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
            if began.elapsed() > REFUSAL {
                bail!(flaw(format!("the moment never came: {condition}")));
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
            bail!(flaw(format!(
                "the container should have refused to start, and is up after {} s",
                REFUSAL.as_secs()
            )));
        };
        let took = began.elapsed();
        let log = without_times(&container.logs()?);
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
    /// within the limit.
    ///
    /// # Errors
    /// On Ctrl-C, or when the engine does not answer.
    pub fn until_ended(&self, container: &Container, limit: Duration) -> Result<Option<i64>> {
        let began = Instant::now();
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
        Ok(without_times(&guest.container.logs()?))
    }

    // --- inside ----------------------------------------------------------

    /// Runs a script of `sh` inside, with libpq set to the app's role over TCP
    /// (see [`ask`]); whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be run, or takes longer than a minute.
    pub fn shell(&self, guest: &Guest, script: &str) -> Result<Answer> {
        self.exec(guest, &[], script)
    }

    /// As [`Scene::shell`] with options of `docker exec`, such as `--user 0:0`.
    ///
    /// # Errors
    /// As [`Scene::shell`].
    pub fn exec(&self, guest: &Guest, options: &[&str], script: &str) -> Result<Answer> {
        let whole = format!("{}{{\n{script}\n}} 2>&1", ask::prelude(self.spec()));
        let output = guest
            .container
            .exec(SCRIPT, options, &["sh", "-c", &whole], None)?;
        let mut text = output.stdout_text();
        // The engine's own words: no such container, not running, …
        text.push_str(&output.stderr_text());
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            text,
            took: output.took,
        })
    }

    /// As [`Scene::shell`], and a script that fails is a flaw. What it printed.
    ///
    /// # Errors
    /// A flaw with what it printed.
    pub fn must(&self, guest: &Guest, script: &str) -> Result<String> {
        let answer = self.shell(guest, script)?;
        if !answer.ok() {
            bail!(flaw(format!("`{}`: {}", one_line(script), answer.shown())));
        }
        Ok(answer.text)
    }

    /// SQL as the app's role, over TCP; rows as psql prints them unaligned.
    ///
    /// # Errors
    /// A flaw with what psql said.
    pub fn sql(&self, guest: &Guest, sql: &str) -> Result<String> {
        let script = format!("psql -XAtq -v ON_ERROR_STOP=1 -c {}", ask::quote(sql));
        self.must(guest, &script)
    }

    /// SQL as the superuser, by the socket.
    ///
    /// # Errors
    /// A flaw with what psql said.
    pub fn superuser_sql(&self, guest: &Guest, sql: &str) -> Result<String> {
        let script = format!(
            "unset PGHOST PGPORT PGUSER PGPASSFILE PGDATABASE\n\
             PGSERVICE=superuser PGDATABASE={} psql -XAtq -v ON_ERROR_STOP=1 -c {}",
            ask::quote(&self.spec().database.name),
            ask::quote(sql)
        );
        self.must(guest, &script)
    }

    /// Every process inside but the one that looks.
    ///
    /// # Errors
    /// A flaw when `/proc` cannot be read.
    pub fn processes(&self, guest: &Guest) -> Result<Vec<Process>> {
        let script = "for dir in /proc/[0-9]*; do\n\
             pid=${dir#/proc/}; [ $pid = $$ ] && continue\n\
             parent=$(sed -n 's/^PPid:[[:space:]]*//p' $dir/status 2>/dev/null)\n\
             command=$(tr '\\0' ' ' <$dir/cmdline 2>/dev/null)\n\
             [ -n \"$command\" ] && echo \"$pid $parent $command\"\n\
             done; true";
        Ok(processes(&self.must(guest, script)?))
    }

    // --- from outside ----------------------------------------------------

    /// One request to the health endpoint through the published port.
    ///
    /// # Errors
    /// A sentence, when no whole answer came.
    pub fn health(&self, guest: &Guest) -> Result<Reply, String> {
        Client::new(guest.port, false).get(&self.spec().app.health_path, REQUEST)
    }

    /// Asks until the health endpoint says 200 (`up`) or anything else, no answer
    /// included: how long that took, and what it said.
    ///
    /// # Errors
    /// A flaw with its last words when it does not within the limit.
    pub fn until_health(&self, guest: &Guest, up: bool, limit: Duration) -> Result<(Duration, String)> {
        let began = Instant::now();
        let mut next_look = DEATH_PAUSE;
        loop {
            let reply = self.health(guest);
            let is_up = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            let said = reply.map_or_else(|error| error, |reply| reply.shown());
            if is_up == up {
                self.note(format!("{}: health: {said}", guest.container.name()));
                return Ok((began.elapsed(), said));
            }
            // No answer at all: it may be because there is nobody any more.
            if said.contains("refused") && began.elapsed() > next_look {
                if let Some(death) = guest.death("wait for health")? {
                    bail!(flaw(format!(
                        "the container ended, {}; last lines: {}",
                        death.how, death.last_lines
                    )));
                }
                next_look = began.elapsed() + DEATH_PAUSE;
            }
            if began.elapsed() > limit {
                bail!(flaw(format!(
                    "health did not {} within {:.0} s; it said: {said}",
                    if up { "become 200" } else { "leave 200" },
                    limit.as_secs_f64()
                )));
            }
            self.lab.runner.sleep(PAUSE)?;
        }
    }

    // --- for the bundle --------------------------------------------------

    /// What happened so far.
    pub fn timeline(&self) -> Vec<String> {
        self.timeline.borrow().lines().to_vec()
    }

    /// The containers that were started, oldest first.
    pub fn guests(&self) -> Vec<Rc<Guest>> {
        self.guests.borrow().clone()
    }

    /// The containers that refused to start, oldest first.
    pub fn refusals(&self) -> Vec<Rc<Container>> {
        self.refused.borrow().clone()
    }

    /// The stages beside this one.
    pub fn neighbours(&self) -> Vec<Rc<Scene<'a>>> {
        self.neighbours.borrow().clone()
    }

    /// The volumes, oldest first.
    pub fn volumes(&self) -> Vec<Rc<Volume>> {
        self.volumes.borrow().clone()
    }

    /// What is left where nothing is removed, for people to look at.
    pub fn kept(&self) -> Vec<String> {
        let (guests, refused, volumes) = (self.guests(), self.refusals(), self.volumes());
        let containers = guests.iter().map(|guest| guest.container.name());
        let containers = containers.chain(refused.iter().map(|container| container.name()));
        let kept = containers.map(|name| format!("container {name}"));
        let kept = kept.chain(volumes.iter().map(|volume| format!("volume {}", volume.name())));
        let beside = self.neighbours();
        kept.chain(beside.iter().flat_map(|scene| scene.kept())).collect()
    }

    /// The passwords that the fault made, and those that its volumes keep.
    ///
    /// # Errors
    /// On Ctrl-C.
    pub fn secrets(&self) -> Result<Vec<String>> {
        let mut secrets = self.secrets.borrow().clone();
        for volume in self.volumes() {
            let looked = settled(self.beside(&volume, &["--user", "0:0"], look::PASSWORDS))?;
            let text = looked.map_or_else(|_| String::new(), |output| output.stdout_text());
            secrets.extend(text.lines().map(str::to_owned).filter(|line| !line.is_empty()));
        }
        secrets.sort();
        secrets.dedup();
        Ok(secrets)
    }
}

/// `docker logs --timestamps` puts a time before each line.
fn without_times(log: &str) -> String {
    let lines = log
        .lines()
        .map(|line| line.split_once(' ').map_or("", |(_, rest)| rest));
    lines.collect::<Vec<_>>().join("\n")
}

/// `pid parent command` a line.
fn processes(text: &str) -> Vec<Process> {
    let process = |line: &str| {
        let mut words = line.splitn(3, ' ');
        Some(Process {
            pid: words.next()?.parse().ok()?,
            parent: words.next()?.parse().ok()?,
            command: words.next()?.trim_end().to_owned(),
        })
    };
    text.lines().filter_map(process).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read_and_junk_is_not() {
        let text = "1 0 /usr/bin/python3 -I entrypoint \n37 1 postgres: checkpointer\nx\n9 1";
        let all = processes(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].command, "/usr/bin/python3 -I entrypoint");
        assert_eq!((all[1].pid, all[1].parent), (37, 1));
    }

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
