//! Why an entry of a context cannot be used.

use std::fmt;

use rustix::io::Errno;

use crate::shown::one_line;

/// An entry and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputProblem {
    /// Relative to the root, as [`printable`] writes it.
    pub path: String,
    /// What is wrong with what is there.
    pub what: What,
}

/// All entries of a context that cannot be used, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<InputProblem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("; "))
    }
}

impl std::error::Error for Problems {}

/// The ways in which an entry is of no use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It was written to, replaced or removed while it was read.
    Changed,
    /// BuildKit refuses such names and link targets.
    NotUtf8,
    /// A link whose target lies outside of the context.
    LinkLeaves(String),
    /// Neither file, directory nor link.
    Special(&'static str),
    /// The system's answer, such as "permission denied".
    Io(String),
    /// A pattern of the ignore file fails on it.
    Pattern(String),
    /// The root of the context is no directory, or cannot be opened; with the system's
    /// answer.
    NoDirectory(String),
    /// The caller wanted no more; this is the only problem then.
    Stopped,
}

impl InputProblem {
    pub(super) fn new(path: &[u8], what: What) -> Self {
        Self {
            path: printable(path),
            what,
        }
    }

    pub(super) fn stopped() -> Self {
        Self::new(b"", What::Stopped)
    }

    pub(super) fn errno(path: &[u8], errno: Errno) -> Self {
        Self::io(path, &errno.into())
    }

    pub(super) fn io(path: &[u8], error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let what = match error.kind() {
            // It was there, and a file, when its directory was read.
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput => What::Changed,
            ErrorKind::PermissionDenied => What::Io("permission denied".to_owned()),
            _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => What::Changed,
            _ => What::Io(error.to_string()),
        };
        Self::new(path, what)
    }
}

impl fmt::Display for InputProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "." } else { &self.path };
        write!(f, "{path}: {}", self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => write!(f, "changed while it was read"),
            Self::NotUtf8 => write!(f, "its name or target is not UTF-8"),
            Self::LinkLeaves(target) => {
                write!(f, "the link points out of the context, to {target:?}")
            }
            Self::Special(kind) => write!(f, "a {kind} cannot be built"),
            Self::Io(message) | Self::Pattern(message) | Self::NoDirectory(message) => f.write_str(message),
            Self::Stopped => f.write_str("interrupted"),
        }
    }
}

/// A path for people: bytes that are not UTF-8 as `\xff`, a newline as `\n`.
pub(crate) fn printable(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        text.push_str(&one_line(chunk.valid()));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
