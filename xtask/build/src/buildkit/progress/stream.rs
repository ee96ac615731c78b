//! The stream of `--progress rawjson`, cut into objects and read.

use serde::Deserialize;

/// One object of the stream; others of its keys are for BuildKit's own display.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Event {
    /// The steps that something has become of since the object before.
    #[serde(default)]
    pub(crate) vertexes: Vec<Vertex>,
    /// What steps have printed since the object before.
    #[serde(default)]
    pub(crate) logs: Vec<Log>,
}

/// A step, or a part of one, as far as it is known now.
#[derive(Debug, Deserialize)]
pub(crate) struct Vertex {
    /// The same for all targets that share it.
    pub(crate) digest: String,
    /// `[target stage n/m] RUN …`
    #[serde(default)]
    pub(crate) name: String,
    /// When it began; `None` until then.
    pub(crate) started: Option<String>,
    /// When it ended; `None` until then.
    pub(crate) completed: Option<String>,
    /// Whether its result was taken from the cache.
    #[serde(default)]
    pub(crate) cached: bool,
    /// Why it failed; `None` where it did not.
    pub(crate) error: Option<String>,
}

/// A piece of what a step printed, not always whole lines.
#[derive(Debug, Deserialize)]
pub(crate) struct Log {
    /// The digest of what printed it.
    pub(crate) vertex: String,
    /// The bytes that were printed, in base64.
    pub(crate) data: String,
}

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// In the middle of an object.
    Pending,
    /// A line outside any object.
    Plain(String),
    /// The text of a whole JSON object, for `Event`.
    Object(String),
}

/// Cuts lines into whole JSON objects.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: String,
    depth: usize,
}

impl Splitter {
    /// Takes the next line, and gives what it completes.
    pub(crate) fn push(&mut self, line: &str) -> Piece {
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
