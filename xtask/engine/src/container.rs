//! Containers and volumes that go away with their handle.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Engine, KEPT_LABEL, RUN_LABEL};
use host::process::{Output, Runner};

/// Who makes containers: an engine, a runner and the run they belong to.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Where they live.
    pub engine: Engine,
    /// Who calls the CLI.
    pub runner: Runner,
    /// The run's id, in each label.
    pub run: String,
    /// Leave containers and volumes where they are, for debugging.
    pub keep: bool,
}

impl Lab {
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
        let label = self.label();
        let mut args = vec!["volume", "create", "--label", &label];
        args.extend(options);
        args.push(name);
        self.docker(&args).run()?;
        Ok(Volume {
            lab: self.clone(),
            name: name.to_owned(),
        })
    }

    /// `docker run --detach` with the run's label and a fixed name; gone with
    /// the handle. `options` stand before the image, `command` after it.
    ///
    /// # Errors
    /// When the engine cannot create or start it.
    pub fn start(&self, name: &str, image: &str, options: &[&str], command: &[&str]) -> Result<Container> {
        let label = self.label();
        let mut args = vec![
            "run", "--detach", "--pull", "never", "--name", name, "--label", &label,
        ];
        args.extend(options);
        args.push(image);
        args.extend(command);
        // Made first: a container that was created and cannot start must go, too.
        let container = Container {
            lab: self.clone(),
            name: name.to_owned(),
        };
        self.docker(&args)
            .run()
            .with_context(|| format!("start a container of {image}"))?;
        Ok(container)
    }

    /// `docker run --rm` in the foreground with the run's label, whatever its
    /// exit code. `options` stand before the image, `command` after it.
    ///
    /// # Errors
    /// When the CLI cannot be started, or the command passes its deadline.
    pub fn call(&self, name: &str, image: &str, options: &[&str], command: &[&str]) -> Result<Output> {
        let label = self.label();
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
    fn label(&self) -> String {
        let key = if self.keep { KEPT_LABEL } else { RUN_LABEL };
        format!("{key}={}", self.run)
    }

    fn docker(&self, args: &[&str]) -> host::process::Command<'_> {
        self.engine.cmd(&self.runner, args)
    }
}

/// A named volume of this run.
#[derive(Debug)]
pub struct Volume {
    lab: Lab,
    name: String,
}

impl Volume {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !self.lab.keep {
            let runner = self.lab.runner.for_cleanup();
            // What cannot be removed now is reaped by label at the next start.
            self.lab
                .engine
                .cmd(&runner, &["volume", "rm", "--force", &self.name])
                .output()
                .ok();
        }
    }
}

/// A container of this run.
#[derive(Debug)]
pub struct Container {
    lab: Lab,
    name: String,
}

impl Container {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `docker inspect`.
    ///
    /// # Errors
    /// When it is gone or the engine does not answer.
    pub fn inspect(&self) -> Result<Value> {
        let text = self
            .lab
            .docker(&["container", "inspect", "--format", "{{json .}}", &self.name])
            .read()?;
        serde_json::from_str(&text).context("read `docker container inspect`")
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
        let text = self
            .lab
            .docker(&["port", &self.name, &format!("{port}/tcp")])
            .read()?;
        let first = text.lines().next().unwrap_or_default();
        let Some((_, number)) = first.rsplit_once(':') else {
            bail!("port {port} of {} is not published", self.name)
        };
        number
            .parse()
            .with_context(|| format!("read `docker port`: {first:?}"))
    }

    /// `docker exec`, whatever its exit code.
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
        let mut args = vec!["exec"];
        if stdin.is_some() {
            args.push("--interactive");
        }
        args.extend(options);
        args.push(&self.name);
        args.extend(command);
        let mut docker = self.lab.docker(&args).deadline(deadline);
        if let Some(text) = stdin {
            docker = docker.stdin(text);
        }
        docker.output()
    }

    /// Everything it printed, stdout and stderr together.
    ///
    /// # Errors
    /// When it is gone.
    pub fn logs(&self) -> Result<String> {
        let runner = self.lab.runner.for_cleanup();
        let output = self
            .lab
            .engine
            .cmd(&runner, &["logs", "--timestamps", &self.name])
            .output()?;
        Ok(format!("{}\n{}", output.stdout_text(), output.stderr_text()))
    }

    /// `docker cp` of a file or folder inside to a path on this host; works on
    /// stopped containers too.
    ///
    /// # Errors
    /// When there is no such path inside.
    pub fn copy_out(&self, inside: &str, outside: &std::path::Path) -> Result<()> {
        let runner = self.lab.runner.for_cleanup();
        let outside = outside.to_str().context("the target's path is not UTF-8")?;
        self.lab
            .engine
            .cmd(&runner, &["cp", &format!("{}:{inside}", self.name), outside])
            .run()
            .map(drop)
    }

    /// `docker stop`: the stop signal, and SIGKILL after `grace`.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop(&self, grace: Duration) -> Result<Duration> {
        let seconds = grace.as_secs().to_string();
        let output = self
            .lab
            .docker(&["stop", "--time", &seconds, &self.name])
            .deadline(grace * 2)
            .run()?;
        Ok(output.took)
    }

    /// `docker start` of a container that has ended.
    ///
    /// # Errors
    /// When it is gone or cannot be started.
    pub fn start(&self) -> Result<()> {
        self.lab.docker(&["start", &self.name]).run().map(drop)
    }

    /// `docker rm --force`, before the handle would do it.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn remove(&self) -> Result<()> {
        self.lab
            .docker(&["rm", "--force", "--volumes", &self.name])
            .run()
            .map(drop)
    }

    /// `docker kill --signal`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, signal: &str) -> Result<()> {
        self.lab
            .docker(&["kill", "--signal", signal, &self.name])
            .run()
            .map(drop)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.lab.keep {
            let runner = self.lab.runner.for_cleanup();
            self.lab
                .engine
                .cmd(&runner, &["rm", "--force", "--volumes", &self.name])
                .output()
                .ok();
        }
    }
}
