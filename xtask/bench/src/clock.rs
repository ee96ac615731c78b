//! Times whole processes side by side with hyperfine.
//!
//! The commands take turns, one run each, so that a machine whose speed drifts
//! is as slow for one as for the other. A first round is not counted.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Bench;
use super::tools::HYPERFINE;
use engine::Engine;
use host::process::{self, Runner, quote};

/// One run of one command, with what prepares it.
const DEADLINE: Duration = Duration::from_secs(1200);

/// A command to be timed.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    /// How the table calls it.
    pub(crate) label: String,
    words: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    prepare: Vec<OsString>,
}

/// What hyperfine says of all counted runs of a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timing {
    /// Seconds from start to end.
    pub(crate) seconds: Vec<f64>,
    /// Most bytes resident in the process or one of its children.
    pub(crate) memory: Vec<f64>,
}

impl Timed {
    /// The command that is only a program so far, without arguments.
    pub(crate) fn new(label: impl Into<String>, program: impl AsRef<OsStr>) -> Self {
        Self {
            label: label.into(),
            words: vec![program.as_ref().to_owned()],
            env: Vec::new(),
            prepare: Vec::new(),
        }
    }

    #[must_use]
    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.words
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable, for the command and for what prepares it.
    #[must_use]
    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets what a docker of a command's own finds the engine by.
    #[must_use]
    pub(crate) fn on(self, engine: &Engine) -> Self {
        let variables = engine.env.iter();
        variables.fold(self, |timed, (key, value)| timed.env(key, value))
    }

    /// Runs another command after it, timed with it, if it ends well. A shell
    /// does so; the label stays.
    #[must_use]
    pub(crate) fn then<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, words: I) -> Self {
        let first = self.words.len();
        let second = words.into_iter().map(|word| word.as_ref().to_owned());
        self.words.extend(second);
        // The words are the script's arguments: nothing has to be quoted twice.
        let numbers = |from: usize, to: usize| {
            let all: Vec<String> = (from..=to).map(|n| format!("\"${{{n}}}\"")).collect();
            all.join(" ")
        };
        let script = format!(
            "{} && exec {}",
            numbers(1, first),
            numbers(first + 1, self.words.len())
        );
        let shell = ["sh".into(), "-c".into(), script.into(), "sh".into()];
        self.words.splice(0..0, shell);
        self
    }

    /// Takes another command's words behind its own, and its variables.
    #[must_use]
    pub(crate) fn following(mut self, other: Self) -> Self {
        self.words.extend(other.words);
        self.env.extend(other.env);
        self
    }

    /// Runs it once, untimed and without what prepares it.
    ///
    /// # Errors
    /// When it ends with another exit code than 0, with what it said.
    pub(crate) fn run(&self, runner: &Runner) -> Result<()> {
        self.call(runner, &self.words)
    }

    /// Runs what prepares it, where anything does.
    ///
    /// # Errors
    /// As [`Timed::run`].
    pub(crate) fn make_ready(&self, runner: &Runner) -> Result<()> {
        match self.prepare.is_empty() {
            true => Ok(()),
            false => self.call(runner, &self.prepare),
        }
    }

    fn call(&self, runner: &Runner, words: &[OsString]) -> Result<()> {
        let (program, args) = words.split_first().context("a command has no words")?;
        let mut call = runner.cmd(program).args(args);
        for (key, value) in &self.env {
            call = call.env(key, value);
        }
        call.deadline(DEADLINE)
            .run()
            .map(drop)
            .with_context(|| format!("run {}", self.label))
    }

    /// As a shell reads it, without its variables.
    pub(crate) fn quoted(&self) -> Result<String> {
        let words = self.words.iter().map(|word| word.to_str().map(quote));
        let words: Option<Vec<String>> = words.collect();
        Ok(words.context("a word is not UTF-8")?.join(" "))
    }

    #[must_use]
    pub(crate) fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// A shell script that runs before each run, untimed.
    #[must_use]
    pub(crate) fn prepare(mut self, script: impl AsRef<OsStr>) -> Self {
        self.prepare = vec!["sh".into(), "-ec".into(), script.as_ref().to_owned()];
        self
    }
}

impl Timing {
    /// How long each run took, in milliseconds.
    pub(crate) fn milliseconds(&self) -> Vec<f64> {
        self.seconds.iter().map(|seconds| seconds * 1000.0).collect()
    }

    /// Megabytes (decimal) of each run.
    pub(crate) fn megabytes(&self) -> Vec<f64> {
        self.memory.iter().map(|bytes| bytes / 1e6).collect()
    }
}

#[derive(Deserialize)]
struct Export {
    results: Vec<Benchmark>,
}

#[derive(Deserialize)]
struct Benchmark {
    times: Vec<f64>,
    memory_usage_byte: Vec<f64>,
}

/// Times the commands in turns, as often as [`Bench::runs`] says and once more.
///
/// # Errors
/// When a command ends with another exit code than 0, with what it said.
pub(crate) fn side_by_side(bench: &Bench<'_>, commands: &[Timed]) -> Result<Vec<Timing>> {
    let hyperfine = HYPERFINE.path(bench.host)?;
    let mut timings = vec![Timing::default(); commands.len()];
    for round in 0..=bench.runs {
        for (command, timing) in commands.iter().zip(&mut timings) {
            let one = once(bench, &hyperfine, command)?;
            // The first warms the caches.
            if round > 0 {
                timing.seconds.extend(one.times);
                timing.memory.extend(one.memory_usage_byte);
            }
        }
    }
    Ok(timings)
}

/// Ours beside a peer.
///
/// # Errors
/// As [`side_by_side`].
pub(crate) fn pair(bench: &Bench<'_>, ours: Timed, peer: Timed) -> Result<[Timing; 2]> {
    let timings = side_by_side(bench, &[ours, peer])?;
    <[Timing; 2]>::try_from(timings)
        .map_err(|timings| anyhow::anyhow!("two commands have {} timings", timings.len()))
}

fn once(bench: &Bench<'_>, hyperfine: &std::path::Path, command: &Timed) -> Result<Benchmark> {
    let export = tempfile::NamedTempFile::new().context("make a file for hyperfine's figures")?;
    let mut call = bench
        .host
        .runner
        .cmd(hyperfine)
        // The command's last words are the error's where it fails.
        .args(["--shell=none", "--runs=1", "--style=none", "--output=inherit"])
        .arg("--export-json")
        .arg(export.path());
    if !command.prepare.is_empty() {
        call = call.arg("--prepare").arg(quoted(&command.prepare)?);
    }
    for (key, value) in &command.env {
        call = call.env(key, value);
    }
    call.arg(quoted(&command.words)?)
        .deadline(DEADLINE)
        .run()
        .with_context(|| format!("time {}", command.label))?;
    let said: Export = serde_json::from_slice(&fs_err::read(export.path())?)
        .with_context(|| format!("read hyperfine's figures of {}", command.label))?;
    said.results
        .into_iter()
        .next()
        .with_context(|| format!("hyperfine has no figures of {}", command.label))
}

/// A line that splits into these words again, as a shell does it.
fn quoted(words: &[OsString]) -> Result<String> {
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            let text = word.to_str().with_context(|| format!("{word:?} is not UTF-8"))?;
            Ok(process::quote(text))
        })
        .collect::<Result<_>>()?;
    Ok(quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other() {
        let both = Timed::new("x", "echo").args(["a b"]).then(["echo", "$c"]);
        let script = r#""${1}" "${2}" && exec "${3}" "${4}""#;
        let words = ["sh", "-c", script, "sh", "echo", "a b", "echo", "$c"];
        assert_eq!(both.words, words.map(OsString::from));
    }

    #[test]
    fn words_survive_quoting() {
        let words = ["sh", "-c", "echo 'a  b' \"$x\""].map(OsString::from);
        assert_eq!(quoted(&words).unwrap(), r#"'sh' '-c' 'echo '\''a  b'\'' "$x"'"#);
    }
}
