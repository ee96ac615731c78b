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
    /// The moment that its times count from.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// An empty one with the same beginning, for what happens at the same time.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            began: self.began,
            lines: Vec::new(),
        }
    }

    /// Takes over the lines of one with the same beginning, by their times.
    pub fn join(&mut self, other: Self) {
        self.lines.extend(other.lines);
        // Times come first, in one form.
        self.lines.sort();
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

    /// All events as lines with their times, oldest first.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_at_the_same_time_is_told_in_order() {
        let mut one = Timeline::default();
        let mut other = one.beside();
        for (timeline, text) in [(true, "z"), (false, "y"), (true, "x")] {
            std::thread::sleep(std::time::Duration::from_millis(2));
            if timeline { &mut one } else { &mut other }.note(text);
        }
        one.join(other);
        let said: Vec<&str> = one
            .lines()
            .iter()
            .filter_map(|line| line.get(line.len() - 1..))
            .collect();
        assert_eq!(said, ["z", "y", "x"]);
    }
}
