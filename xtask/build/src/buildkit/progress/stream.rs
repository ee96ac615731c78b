//! The stream of `--progress rawjson`, cut into objects and read.

use serde::Deserialize;

/// One object of the stream; others of its keys are for BuildKit's own display.
#[derive(Debug, Default, Deserialize)]
pub struct Event {
    /// What became of steps.
    #[serde(default)]
    pub vertexes: Vec<Vertex>,
    /// What steps printed.
    #[serde(default)]
    pub logs: Vec<Log>,
}

/// A step, or a part of one, as far as it is known now.
#[derive(Debug, Deserialize)]
pub struct Vertex {
    /// The same for all targets that share it.
    pub digest: String,
    /// `[target stage n/m] RUN …`
    #[serde(default)]
    pub name: String,
    /// Absent until it is.
    pub started: Option<String>,
    /// Absent until it is.
    pub completed: Option<String>,
    /// Taken from the cache.
    #[serde(default)]
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
}

/// What a step printed.
#[derive(Debug, Deserialize)]
pub struct Log {
    /// The digest of what printed it.
    pub vertex: String,
    /// In base64.
    pub data: String,
}

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// In the middle of an object.
    Pending,
    /// A line outside any object.
    Plain(String),
    /// A whole JSON object.
    Object(String),
}

/// Cuts lines into whole JSON objects.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: String,
    depth: usize,
}

impl Splitter {
    /// Takes the next line.
    pub fn push(&mut self, line: &str) -> Piece {
        if self.depth == 0 && !line.starts_with('{') {
            return Piece::Plain(line.to_owned());
        }
        // A JSON string has no raw newline, so each line starts outside one.
        let (mut in_string, mut escaped) = (false, false);
        for c in line.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                '{' if !in_string => self.depth += 1,
                '}' if !in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.buffer.push_str(line);
        self.buffer.push('\n');
        if self.depth == 0 {
            Piece::Object(std::mem::take(&mut self.buffer))
        } else {
            Piece::Pending
        }
    }
}
