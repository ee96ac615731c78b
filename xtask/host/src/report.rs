//! The only place that prints: stdout is data, stderr is talk. Control
//! characters in what is said come from names and programs of others, and are
//! shown as escapes.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inputs::shown::lines;

/// How much and how to talk on stderr. Shared by threads.
#[derive(Clone, Debug)]
pub struct Report {
    no_color: bool,
    color: bool,
    verbose: bool,
    /// One line at a time, also from several threads.
    gate: Arc<Mutex<()>>,
}

impl Report {
    /// `color` only where stderr is a terminal and `NO_COLOR` is unset;
    /// `verbose` adds each command that is run.
    pub fn new(no_color: bool, verbose: bool) -> Self {
        Self {
            no_color,
            color: !no_color && std::io::stderr().is_terminal(),
            verbose,
            gate: Arc::new(Mutex::new(())),
        }
    }

    /// Whether the user asked for more with `--verbose`.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// What is being done now: `  build  genie, agent`.
    pub fn step(&self, verb: &str, text: impl AsRef<str>) {
        self.talk(&format!(
            "{} {}",
            self.paint("1;32", &format!("{verb:>9}")),
            lines(text.as_ref())
        ));
    }

    /// A detail below the last step.
    pub fn detail(&self, text: impl AsRef<str>) {
        self.talk(&format!("{:>9} {}", "", lines(text.as_ref())));
    }

    /// Something the user should know and that does not stop the run.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.talk(&format!(
            "{} {}",
            self.paint("1;33", "warning:"),
            lines(text.as_ref())
        ));
    }

    /// Prints a line for those who asked for more with `--verbose`.
    pub fn debug(&self, text: impl AsRef<str>) {
        if self.verbose {
            self.talk(&self.paint("2", &lines(text.as_ref())));
        }
    }

    /// A rendered error, see [`failure::render`].
    pub fn error(&self, rendered: &str) {
        let rendered = &*lines(rendered);
        match rendered.strip_prefix("error: ") {
            Some(rest) => self.talk(&format!("{} {rest}", self.paint("1;31", "error:"))),
            None => self.talk(rendered),
        }
    }

    /// A whole line of talk as it is.
    pub fn talk(&self, line: &str) {
        let _guard = self.gate.lock();
        // A closed stderr must not turn a good run into a failure.
        let _ignored = writeln!(std::io::stderr(), "{line}").ok();
    }

    /// Data: goes to stdout, a newline is added.
    ///
    /// # Errors
    /// When stdout cannot be written; a closed pipe (`| head`) is no error.
    pub fn data(&self, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// Data of others: goes to stdout as it is. Whether anybody still reads.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn pass(&self, bytes: &[u8]) -> anyhow::Result<bool> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    /// Whether data are for people's eyes: stdout is a terminal.
    pub fn is_data_shown(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Whether data may have colours, too.
    pub fn paints_data(&self) -> bool {
        !self.no_color && self.is_data_shown()
    }

    /// Whether somebody types and reads: stdin and stdout are terminals.
    pub fn is_terminal(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
    }

    /// Asks on the terminal and waits for a line; `None` where there is no terminal
    /// to ask on.
    ///
    /// # Errors
    /// When the answer cannot be read.
    pub fn ask(&self, question: &str) -> anyhow::Result<Option<String>> {
        let (input, mut talk) = (std::io::stdin(), std::io::stderr());
        if !input.is_terminal() || !talk.is_terminal() {
            return Ok(None);
        }
        write!(talk, "{}", lines(question)).and_then(|()| talk.flush())?;
        let mut answer = String::new();
        input.read_line(&mut answer)?;
        Ok(Some(answer.trim().to_owned()))
    }

    /// `text` in an SGR style where colours are on.
    pub(crate) fn paint(&self, sgr: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{sgr}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// `0.4 s`, `12 s`, `3 min 20 s`.
pub fn seconds(duration: Duration) -> String {
    let s = duration.as_secs_f64();
    if s < 10.0 {
        format!("{s:.1} s")
    } else if s < 120.0 {
        format!("{s:.0} s")
    } else {
        format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// `297 MB` (decimal, as the engine counts).
pub fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mb = bytes as f64 / 1e6;
    if mb < 10.0 {
        format!("{mb:.1} MB")
    } else {
        format!("{mb:.0} MB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(42)), "42 s");
        assert_eq!(seconds(Duration::from_secs(200)), "3 min 20 s");
    }
}
