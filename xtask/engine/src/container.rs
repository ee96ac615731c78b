//! Containers and volumes that go away with their handle.
//!
//! All of it goes through the API, but for options that only the CLI knows.

mod request;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{RequestBody, Response, escaped, frames};
use super::{Engine, KEPT_LABEL, RUN_LABEL};
use host::process::{Interrupt, Output, Runner};

/// How long is waited for the exit code of a command whose output has ended: the engine
/// has it a moment later.
const END_ON_RECORD: Duration = Duration::from_secs(5);

/// How long a command in a container of its own may take.
const CALL: Duration = Duration::from_secs(120);

/// What a container may print before the engine drops the oldest of it: more than
/// is ever read of it, so that a log that lost lines is always one that is too long.
const LOG_OPTIONS: [(&str, &str); 2] = [("max-size", "96m"), ("max-file", "2")];
/// The log driver: the one that an engine has by default may keep no log at all.
const LOG_DRIVER: &str = "json-file";

/// Who makes containers: an engine, a runner and the run they belong to.
#[derive(Clone, Debug)]
pub struct RunResources {
    /// The engine that containers and volumes are made in.
    pub engine: Engine,
    /// What calls the CLI, and stops on Ctrl-C.
    pub runner: Runner,
    /// The run's id, in each label.
    pub run: String,
    /// Leave containers and volumes where they are, for debugging.
    pub keep: bool,
}

impl RunResources {
    /// `docker volume create`; gone with the handle.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        self.volume_with(name, &[])
    }

    /// The same with options of `docker volume create`, such as
    /// `--opt type=tmpfs`.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn volume_with(&self, name: &str, options: &[&str]) -> Result<Volume> {
        if options.is_empty() {
            let (key, run) = self.label();
            let request = json!({ "Name": name, "Labels": { key: run } });
            let made = self.made("/volumes/create", &request)?;
            made.good().with_context(|| format!("create volume {name}"))?;
        } else {
            let label = self.label_flag();
            let mut args = vec!["volume", "create", "--label", &label];
            args.extend(options);
            args.push(name);
            self.docker(&args).run()?;
        }
        Ok(Volume(self.thing(name)))
    }

    /// Has the engine make something. Ctrl-C comes before it or after it: a request that is given
    /// up is carried out all the same, and then nobody has the handle that removes what it made.
    fn made(&self, path: &str, request: &Value) -> Result<Response> {
        self.runner.check_interrupt()?;
        self.engine.api.post(&self.runner.for_cleanup(), path, request)
    }

    /// `docker network create`, with names for the containers on it; gone with the
    /// handle.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn network(&self, name: &str) -> Result<RunNetwork> {
        let (key, run) = self.label();
        let request = json!({ "Name": name, "Labels": { key: run } });
        let made = self.made("/networks/create", &request)?;
        made.good().with_context(|| format!("create network {name}"))?;
        Ok(RunNetwork(self.thing(name)))
    }

    /// `docker run --detach` with the run's label and a fixed name; gone with
    /// the handle. `options` stand before the image, `command` after it.
    ///
    /// # Errors
    /// When the engine cannot create or start it.
    pub fn start(&self, name: &str, image: &str, options: &[&str], command: &[&str]) -> Result<Container> {
        // Made first: a container that was created and cannot start must go, too.
        let container = Container(self.thing(name));
        let started = match request::of(image, self.label(), options, command) {
            Some(request) => self.create(name, request).and_then(|()| container.start()),
            None => self.by_cli(&["run", "--detach"], name, image, options, command),
        };
        started.with_context(|| format!("start a container of {image}"))?;
        Ok(container)
    }

    /// The same of the image's own command in two steps: `between` sees the container
    /// when it is there and was not started yet.
    ///
    /// # Errors
    /// As [`RunResources::start`], and those of `between`.
    pub fn start_after(
        &self,
        name: &str,
        image: &str,
        options: &[&str],
        between: impl FnOnce(&Container) -> Result<()>,
    ) -> Result<Container> {
        let container = Container(self.thing(name));
        // What the container is given may be secrets, and the CLI takes some variables for its own.
        let made = match request::of(image, self.label(), options, &[]) {
            Some(request) => self.create(name, request),
            None => self.by_cli(&["create"], name, image, options, &[]),
        };
        let started = made
            .and_then(|()| between(&container))
            .and_then(|()| container.start());
        started.with_context(|| format!("start a container of {image}"))?;
        Ok(container)
    }

    fn by_cli(
        &self,
        verb: &[&str],
        name: &str,
        image: &str,
        options: &[&str],
        command: &[&str],
    ) -> Result<()> {
        let label = self.label_flag();
        let mut args = verb.to_vec();
        args.extend(["--pull", "never", "--name", name, "--label", &label]);
        let log = LOG_OPTIONS.map(|(key, value)| format!("{key}={value}"));
        args.extend(["--log-driver", LOG_DRIVER]);
        args.extend(log.iter().flat_map(|option| ["--log-opt", option]));
        let (options, variables) = request::apart(options);
        args.extend(options);
        args.push(image);
        args.extend(command);
        let mut docker = self.docker(&args);
        for (name, value) in variables {
            docker = docker.env(name, value);
        }
        docker.run().map(drop)
    }

    /// `docker run --rm` in the foreground with the run's label, whatever its
    /// exit code. `options` stand before the image, `command` after it.
    ///
    /// # Errors
    /// When it cannot be started, or the command passes its deadline.
    pub fn call(&self, name: &str, image: &str, options: &[&str], command: &[&str]) -> Result<Output> {
        if request::of(image, self.label(), options, command).is_some() {
            let began = Instant::now();
            let container = self.start(name, image, options, command)?;
            let code = container.wait(CALL)?;
            let (stdout, stderr) = container.printed("")?;
            return Ok(output(code, stdout, stderr, began.elapsed()));
        }
        let label = self.label_flag();
        let mut args = vec![
            "run", "--rm", "--pull", "never", "--name", name, "--label", &label,
        ];
        args.extend(options);
        args.push(image);
        args.extend(command);
        self.docker(&args).output()
    }

    /// What is to stay has a label of its own: the reaper takes what has a dead
    /// run's.
    fn label(&self) -> (&'static str, &str) {
        (if self.keep { KEPT_LABEL } else { RUN_LABEL }, &self.run)
    }

    fn label_flag(&self) -> String {
        let (key, run) = self.label();
        format!("{key}={run}")
    }

    fn create(&self, name: &str, mut request: Value) -> Result<()> {
        let log: BTreeMap<_, _> = LOG_OPTIONS.into_iter().collect();
        request["HostConfig"]["LogConfig"] = json!({ "Type": LOG_DRIVER, "Config": log });
        let path = format!("/containers/create?name={}", escaped(name));
        self.made(&path, &request)?.good().map(drop)
    }

    fn docker(&self, args: &[&str]) -> host::process::Command<'_> {
        self.engine.cmd(&self.runner, args)
    }

    fn thing(&self, name: &str) -> Thing {
        Thing {
            engine: self.engine.clone(),
            interrupt: self.runner.interrupt(),
            keep: self.keep,
            name: name.to_owned(),
        }
    }
}

/// What a handle knows. Unlike a [`RunResources`], threads can share it.
#[derive(Debug)]
struct Thing {
    engine: Engine,
    interrupt: Interrupt,
    keep: bool,
    name: String,
}

impl Thing {
    fn send(&self, method: &str, path: &str) -> Result<Response> {
        self.engine.api.send(&self.interrupt.runner()?, method, path)
    }

    /// As [`Thing::send`], and goes on after Ctrl-C: for what is removed, and
    /// for what a container printed last.
    fn send_at_the_end(&self, method: &str, path: &str) -> Result<Response> {
        let runner = self.interrupt.runner()?.for_cleanup();
        self.engine.api.send(&runner, method, path)
    }
}

/// What a command did, as the CLI would have told it.
fn output(code: i64, stdout: Vec<u8>, stderr: Vec<u8>, took: Duration) -> Output {
    let code = i32::try_from(code).unwrap_or(-1);
    Output {
        // wait(2): the exit code is in the second byte.
        status: ExitStatus::from_raw((code & 0xff) << 8),
        stdout,
        stderr,
        took,
    }
}

/// A named volume of this run.
#[derive(Debug)]
pub struct Volume(Thing);

impl Volume {
    /// The name of the volume, which `--volume` takes.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !self.0.keep {
            let path = format!("/volumes/{}?force=1", escaped(&self.0.name));
            // What cannot be removed now is reaped by label at the next start.
            self.0.send_at_the_end("DELETE", &path).ok();
        }
    }
}

/// A network of this run, for containers that know each other by name.
#[derive(Debug)]
pub struct RunNetwork(Thing);

impl RunNetwork {
    /// The name of the network, which `--network` takes.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl Drop for RunNetwork {
    fn drop(&mut self) {
        if !self.0.keep {
            let path = format!("/networks/{}", escaped(&self.0.name));
            // As with a volume.
            self.0.send_at_the_end("DELETE", &path).ok();
        }
    }
}

/// A container of this run.
#[derive(Debug)]
pub struct Container(Thing);

impl Container {
    /// One that is there and stays when the handle goes.
    pub fn existing(engine: &Engine, runner: &Runner, name: &str) -> Self {
        Self(Thing {
            engine: engine.clone(),
            interrupt: runner.interrupt(),
            keep: true,
            name: name.to_owned(),
        })
    }

    /// The name of the container, which `docker` takes.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn path(&self, of: &str) -> String {
        format!("/containers/{}{of}", escaped(&self.0.name))
    }

    fn post(&self, of: &str, deadline: Duration) -> Result<Response> {
        let runner = self.0.interrupt.runner()?;
        let api = &self.0.engine.api;
        api.call(&runner, "POST", &self.path(of), RequestBody::Nothing, deadline)
    }

    /// `docker inspect`.
    ///
    /// # Errors
    /// When it is gone or the engine does not answer.
    pub fn inspect(&self) -> Result<Value> {
        let runner = self.0.interrupt.runner()?;
        self.0.engine.api.document(&runner, &self.path("/json"))
    }

    /// Whether it runs, and its exit code where it does not.
    ///
    /// # Errors
    /// As [`Container::inspect`].
    pub fn exit_code(&self) -> Result<Option<i64>> {
        let state = self.inspect()?;
        if state.pointer("/State/Running").and_then(Value::as_bool) == Some(true) {
            return Ok(None);
        }
        Ok(state.pointer("/State/ExitCode").and_then(Value::as_i64))
    }

    /// How often the engine's restart policy has started it again.
    ///
    /// # Errors
    /// As [`Container::inspect`].
    pub fn restarts(&self) -> Result<u64> {
        let count = self.inspect()?;
        Ok(count.get("RestartCount").and_then(Value::as_u64).unwrap_or(0))
    }

    /// The host's port of `127.0.0.1` that this container port is published on.
    ///
    /// # Errors
    /// When it is not published.
    pub fn published_port(&self, port: u16) -> Result<u16> {
        let state = self.inspect()?;
        let published = state.pointer("/NetworkSettings/Ports");
        let first = published.and_then(|ports| ports.get(format!("{port}/tcp"))?.get(0)?.get("HostPort"));
        let Some(number) = first.and_then(Value::as_str) else {
            bail!("port {port} of {} is not published", self.name())
        };
        number
            .parse()
            .with_context(|| format!("read a published port: {number:?}"))
    }

    /// `docker exec`, whatever its exit code: what the engine refuses is said
    /// on stderr. `options` and standard input are the CLI's to understand.
    ///
    /// # Errors
    /// When the engine does not answer or `deadline` passes.
    pub fn exec(
        &self,
        deadline: Duration,
        options: &[&str],
        command: &[&str],
        stdin: Option<&str>,
    ) -> Result<Output> {
        match (options, stdin) {
            ([], None) => return self.exec_by_api(deadline, None, command),
            (["--user", user], None) => return self.exec_by_api(deadline, Some(user), command),
            _ => {}
        }
        let mut args = vec!["exec"];
        if stdin.is_some() {
            args.push("--interactive");
        }
        args.extend(options);
        args.push(self.name());
        args.extend(command);
        let runner = self.0.interrupt.runner()?;
        let mut docker = self.0.engine.cmd(&runner, &args).deadline(deadline);
        if let Some(text) = stdin {
            docker = docker.stdin(text);
        }
        docker.output()
    }

    /// Without a program for each call: a service is away while some of them are made.
    fn exec_by_api(&self, deadline: Duration, user: Option<&str>, command: &[&str]) -> Result<Output> {
        let runner = self.0.interrupt.runner()?;
        let api = &self.0.engine.api;
        let began = Instant::now();
        let refused =
            |answer: &Response| output(1, Vec::new(), answer.refusal().into_bytes(), began.elapsed());
        // The container's own where none is named.
        let user = user.unwrap_or_default();
        let request = json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": command, "User": user });
        let answer = api.post(&runner, &self.path("/exec"), &request)?;
        if (400..500).contains(&answer.status) {
            return Ok(refused(&answer));
        }
        let made: Made =
            serde_json::from_slice(&answer.good()?).context("read the engine's answer to exec")?;
        let (path, how) = (format!("/exec/{}/start", made.id), json!({ "Detach": false }));
        let answer = api.call(&runner, "POST", &path, RequestBody::Document(&how), deadline)?;
        if (400..500).contains(&answer.status) {
            return Ok(refused(&answer));
        }
        let (stdout, stderr) = frames::split(&answer.good()?);
        let path = format!("/exec/{}/json", made.id);
        let ended = Instant::now();
        loop {
            let state: ExecState = api.document(&runner, &path)?;
            match state.exit_code {
                Some(code) if !state.running => {
                    return Ok(output(code, stdout, stderr, began.elapsed()));
                }
                _ if ended.elapsed() > END_ON_RECORD => {
                    bail!("the output of a command in {} broke off", self.name())
                }
                _ => runner.sleep(Duration::from_millis(5))?,
            }
        }
    }

    /// Waits until it has ended; its exit code.
    ///
    /// # Errors
    /// When it is gone, the engine does not answer, or `deadline` passes.
    pub(crate) fn wait(&self, deadline: Duration) -> Result<i64> {
        let body = self.post("/wait", deadline)?.good()?;
        let ended: Ended = serde_json::from_slice(&body).context("read how a container ended")?;
        Ok(ended.status_code)
    }

    /// Everything it printed, stdout and stderr together.
    ///
    /// # Errors
    /// When it is gone.
    pub fn logs(&self) -> Result<String> {
        let (stdout, stderr) = self.printed("&timestamps=1")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok(format!("{}\n{}", text(&stdout), text(&stderr)))
    }

    /// The last lines that it printed, each with its time.
    ///
    /// # Errors
    /// When it is gone.
    pub fn last_lines(&self, count: u32) -> Result<String> {
        let (stdout, stderr) = self.printed(&format!("&timestamps=1&tail={count}"))?;
        let all = [stdout, stderr].concat();
        let mut lines: Vec<String> = String::from_utf8_lossy(&all).lines().map(str::to_owned).collect();
        // Times come first, in one form.
        lines.sort();
        Ok(lines.join("\n"))
    }

    fn printed(&self, more: &str) -> Result<(Vec<u8>, Vec<u8>)> {
        let path = self.path(&format!("/logs?stdout=1&stderr=1{more}"));
        let answer = self.0.send_at_the_end("GET", &path)?;
        Ok(frames::split(&answer.good()?))
    }

    /// `docker cp` of a file or folder inside to a path on this host; works on
    /// stopped containers too.
    ///
    /// # Errors
    /// When there is no such path inside.
    pub fn copy_out(&self, inside: &str, outside: &std::path::Path) -> Result<()> {
        let runner = self.0.interrupt.runner()?.for_cleanup();
        let outside = outside.to_str().context("the target's path is not UTF-8")?;
        let from = format!("{}:{inside}", self.name());
        let copied = self.0.engine.cmd(&runner, &["cp", &from, outside]).run();
        copied.map(drop)
    }

    /// `docker stop`: the stop signal, and SIGKILL after `grace`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop(&self, grace: Duration) -> Result<Duration> {
        let began = Instant::now();
        let answer = self.post(&format!("/stop?t={}", grace.as_secs()), grace * 2)?;
        answer.good().with_context(|| format!("stop {}", self.name()))?;
        Ok(began.elapsed())
    }

    /// `docker start` of a container that has ended.
    ///
    /// # Errors
    /// When it is gone or cannot be started.
    pub fn start(&self) -> Result<()> {
        self.0.send("POST", &self.path("/start"))?.good().map(drop)
    }

    /// `docker rm --force`, before the handle would do it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove(&self) -> Result<()> {
        let answer = self.0.send("DELETE", &self.path("?force=1&v=1"))?;
        answer.good().map(drop)
    }

    /// `docker kill --signal`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, signal: &str) -> Result<()> {
        let path = self.path(&format!("/kill?signal={}", escaped(signal)));
        self.0.send("POST", &path)?.good().map(drop)
    }

    /// `docker kill`, of a container that may have ended by itself meanwhile.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub fn kill_if_running(&self) -> Result<()> {
        match self.0.send("POST", &self.path("/kill"))? {
            // Conflict: the engine says so of one that does not run.
            response if response.status == 409 => Ok(()),
            response => response.good().map(drop),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.0.keep {
            self.0.send_at_the_end("DELETE", &self.path("?force=1&v=1")).ok();
        }
    }
}

/// The answer to a request that makes something.
#[derive(Debug, Deserialize)]
struct Made {
    #[serde(rename = "Id")]
    id: String,
}

/// The answer to a look at an exec.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecState {
    running: bool,
    exit_code: Option<i64>,
}

/// The answer to a wait.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ended {
    status_code: i64,
}
