//! What was found, where it stands, and how far to rely on it.

use std::fmt;

use serde::{Serialize, Serializer};

/// A line of a file of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Relative to the project's folder, with `/`.
    pub file: String,
    /// The number of the line, counted from 1.
    pub line: usize,
}

impl Place {
    pub(crate) fn new(file: &str, line: usize) -> Self {
        Self {
            file: file.to_owned(),
            line,
        }
    }

    /// The first line of a text that has this in it; the first line of all
    /// where none has.
    pub(crate) fn of(file: &str, text: &str, needle: &str) -> Self {
        let line = text.lines().position(|line| line.contains(needle));
        Self::new(file, line.map_or(1, |line| line + 1))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How far a finding can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// It stands there in so many words.
    Sure,
    /// It follows from what stands there by a convention.
    Likely,
    /// It is a guess: what would decide it does not stand there.
    Unclear,
}

/// Something that was found in a project, and how sure that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detected<T> {
    /// What it is, without where it comes from.
    pub value: T,
    /// The line that says so.
    pub place: Place,
    /// How far to rely on it.
    pub certainty: Certainty,
}

impl<T> Detected<T> {
    pub(crate) fn sure(value: T, place: Place) -> Self {
        Self {
            value,
            place,
            certainty: Certainty::Sure,
        }
    }

    pub(crate) fn likely(value: T, place: Place) -> Self {
        Self {
            value,
            place,
            certainty: Certainty::Likely,
        }
    }
}

/// One of several that could be meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice<T> {
    /// The one that is taken, where a rule takes one.
    pub chosen: Option<Detected<T>>,
    /// Why it is taken, or why none is.
    pub rule: String,
    /// Those that were not taken, for the user to choose from.
    pub others: Vec<Detected<T>>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Self {
            chosen: None,
            rule: String::new(),
            others: Vec::new(),
        }
    }
}

impl<T> Choice<T> {
    /// The value that is taken.
    pub fn value(&self) -> Option<&T> {
        self.chosen.as_ref().map(|chosen| &chosen.value)
    }
}
