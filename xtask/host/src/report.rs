//! The only place that prints: stdout is data, stderr is talk. Control
//! characters in what is said come from names and programs of others, and are
//! shown as escapes.

use std::io::{IsTerminal as _, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use inputs::shown::lines;

/// How much and how to talk on stderr. Shared by threads.
#[derive(Clone, Debug)]
pub struct Report {
    no_color: bool,
    color: bool,
    verbose: bool,
    /// Whether a line can be written over: stderr is a terminal.
    is_live: bool,
    /// One line at a time, also from several threads; whether the last one is written
    /// over by the next.
    gate: Arc<Mutex<bool>>,
}

impl Report {
    /// `color` only where stderr is a terminal and `NO_COLOR` is unset;
    /// `verbose` adds each command that is run.
    pub fn new(no_color: bool, verbose: bool) -> Self {
        Self {
            no_color,
            color: !no_color && std::io::stderr().is_terminal(),
            verbose,
            is_live: std::io::stderr().is_terminal(),
            gate: Arc::new(Mutex::new(false)),
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
        self.write(line, false);
    }

    fn write(&self, line: &str, is_over: bool) {
        let mut was_over = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if *was_over { "\r\u{1b}[K" } else { "" };
        let end = if is_over { "" } else { "\n" };
        // A closed stderr must not turn a good run into a failure.
        let _ignored = write!(std::io::stderr(), "{clear}{line}{end}").ok();
        *was_over = is_over;
    }

    /// Tells how far a copy of so many bytes has come, where that is known.
    pub fn progress(&self, total: Option<u64>) -> CopyProgress {
        let began = Instant::now();
        CopyProgress {
            report: self.clone(),
            total,
            done: 0,
            began,
            next: began + self.pause(),
        }
    }

    /// Between two lines of a progress.
    fn pause(&self) -> Duration {
        if self.is_live { LIVE } else { PLAIN }
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

/// Often enough for the eye, and for a log.
const LIVE: Duration = Duration::from_millis(200);
const PLAIN: Duration = Duration::from_secs(30);

/// How far a copy has come: on a terminal a line that is written over, elsewhere one now
/// and then. Nothing of a copy that is quick.
#[derive(Debug)]
pub struct CopyProgress {
    report: Report,
    total: Option<u64>,
    done: u64,
    began: Instant,
    next: Instant,
}

impl CopyProgress {
    /// Says that `bytes` of the copy are there by now. A smaller number than before
    /// changes nothing.
    pub fn reach(&mut self, bytes: u64) {
        let more = usize::try_from(bytes.saturating_sub(self.done));
        self.add(more.unwrap_or(usize::MAX));
    }

    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let now = Instant::now();
        if bytes == 0 || now < self.next {
            return;
        }
        self.next = now + self.report.pause();
        let line = far(self.done, self.total, now - self.began);
        if self.report.is_live {
            self.report.write(&format!("{:>9} {line}", ""), true);
        } else {
            self.report.detail(line);
        }
    }
}

impl Drop for CopyProgress {
    fn drop(&mut self) {
        if self.report.is_live && self.began + LIVE < self.next {
            self.report.write("", true);
        }
    }
}

/// `412 MB of 1200 MB, 98 MB/s, 8.0 s left`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shown with one decimal"
)]
fn far(done: u64, total: Option<u64>, took: Duration) -> String {
    let rate = done as f64 / took.as_secs_f64().max(1e-3);
    let per_second = megabytes(rate as u64);
    match total {
        Some(total) => {
            let left = total.saturating_sub(done) as f64 / rate.max(1.0);
            let left = seconds(Duration::from_secs_f64(left));
            let (done, total) = (megabytes(done), megabytes(total));
            format!("{done} of {total}, {per_second}/s, {left} left")
        }
        None => format!("{}, {per_second}/s", megabytes(done)),
    }
}

/// Tells of what is read or written through it.
#[derive(Debug)]
pub struct Counted<T> {
    /// Where it comes from, or goes to.
    pub inner: T,
    /// Who tells of it.
    pub progress: CopyProgress,
}

impl<T: Read> Read for Counted<T> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(bytes)?;
        self.progress.add(length);
        Ok(length)
    }
}

impl<T: Write> Write for Counted<T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.progress.add(length);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// `a, b, c and 4 more`: at most so many by name.
pub fn some_of(names: &[String], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
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
    fn progress_is_bytes_rate_and_time_left() {
        let took = Duration::from_secs(4);
        let told = far(400_000_000, Some(1_200_000_000), took);
        assert_eq!(told, "400 MB of 1200 MB, 100 MB/s, 8.0 s left");
        assert_eq!(far(400_000_000, None, took), "400 MB, 100 MB/s");
        // Neither the first moment nor one that is past the end says nonsense.
        assert!(far(1000, Some(2000), Duration::ZERO).ends_with(", 0.0 s left"));
        assert!(far(2_000_000, Some(1_000_000), took).ends_with(", 0.0 s left"));
    }

    #[test]
    fn what_is_counted_passes_through() {
        let report = Report::new(true, false);
        let (inner, progress) = (&b"abc"[..], report.progress(Some(3)));
        let mut counted = Counted { inner, progress };
        let mut all = String::new();
        counted.read_to_string(&mut all).unwrap();
        assert_eq!((all.as_str(), counted.progress.done), ("abc", 3));
        for (seen, done) in [(10, 10), (4, 10), (11, 11)] {
            counted.progress.reach(seen);
            assert_eq!(counted.progress.done, done, "what goes again is not counted back");
        }
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.4 s");
        assert_eq!(seconds(Duration::from_secs(42)), "42 s");
        assert_eq!(seconds(Duration::from_secs(200)), "3 min 20 s");
    }
}
