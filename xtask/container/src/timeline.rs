//! What happened when, for reports and failure bundles.

use std::time::{Instant, SystemTime};

use inputs::clock;

/// Lines with the time of the day and the seconds since the beginning.
#[derive(Debug)]
pub struct Timeline {
    began: Instant,
    lines: Vec<String>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            lines: Vec::new(),
        }
    }
}

impl Timeline {
    /// When it was made.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Notes that something happens now.
    pub fn note(&mut self, text: impl AsRef<str>) {
        self.lines.push(format!(
            "{} {:>7.3}  {}",
            clock::stamp(SystemTime::now()),
            self.began.elapsed().as_secs_f64(),
            text.as_ref()
        ));
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
