//! `.dockerignore`, matched exactly as BuildKit matches it.
//!
//! The rules are those of moby/patternmatcher 0.6 and tonistiigi/fsutil's
//! filter, oddities included: what they let through is what a build sees.
//! Paths are bytes without a leading slash.

mod pattern;
mod regexp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use pattern::{Broken, Pattern};
use regexp::Fault;

/// The name of the ignore file in the root of a context.
pub(crate) const FILE_NAME: &str = ".dockerignore";

/// Longer lines stop BuildKit's reader.
const MAX_LINE: usize = 64 * 1024;

/// The patterns of one ignore file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
    /// Whether all exceptions tell by their stem where they can match, so that
    /// other excluded directories need not be entered.
    plain_exceptions: bool,
}

/// What is wrong with a line of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternProblem {
    /// Counted from 1; 0 where a pattern has no line.
    pub(crate) line: usize,
    /// The pattern as BuildKit cleans it.
    pub(crate) pattern: String,
    /// What BuildKit has against it.
    pub(crate) what: What,
}

/// The ways in which a pattern is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A `!` and nothing after it: an exception from nothing.
    IllegalExclusion,
    /// A class without end, a range that runs backwards and their like.
    Syntax,
    /// BuildKit sends patterns in headers that cannot hold such a character.
    ControlCharacter,
    /// A line of more than 64 KiB.
    LongLine,
    /// `\p{…}`: BuildKit knows these, this tool does not.
    UnicodeClass,
    /// BuildKit would send this file with its content gone, because a later
    /// pattern excludes a directory that an exception lies in.
    Emptied,
}

impl fmt::Display for PatternProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        let pattern = &self.pattern;
        match self.what {
            What::IllegalExclusion => write!(f, "illegal exclusion pattern: {pattern:?}"),
            What::Syntax => write!(f, "syntax error in pattern: {pattern:?}"),
            What::ControlCharacter => write!(f, "control character in pattern: {pattern:?}"),
            What::LongLine => write!(f, "line longer than 64 KiB"),
            What::UnicodeClass => {
                write!(f, "unsupported Unicode class in pattern: {pattern:?}")
            }
            What::Emptied => write!(
                f,
                "pattern {pattern:?} comes after the exception that keeps this file, \
                 and BuildKit would send it empty"
            ),
        }
    }
}

/// What became of a directory, for its entries to build on.
#[derive(Debug, Clone, Default)]
pub(crate) struct IgnoreVerdict {
    /// Whether the directory itself is excluded.
    pub(crate) excluded: bool,
    /// Which patterns match it or a parent, up to the last that does: most
    /// paths need no memory for it.
    matched: Vec<bool>,
}

impl Ignore {
    /// Reads the text of an ignore file.
    ///
    /// # Errors
    /// All lines that BuildKit refuses.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<PatternProblem>> {
        let mut problems = Vec::new();
        let mut lines = Vec::new();
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.len() >= MAX_LINE {
                problems.push(problem(index + 1, b"", What::LongLine));
            } else if let Some(pattern) = clean_line(line) {
                lines.push((index + 1, pattern));
            }
        }
        // One pattern beyond ASCII and all of them are sent encoded.
        let encoded = lines.iter().any(|(_, pattern)| !pattern.is_ascii());
        let mut patterns = Vec::new();
        for (line, text) in lines {
            let control = text.iter().any(u8::is_ascii_control);
            match pattern(&text) {
                Err(what) => problems.push(problem(line, &text, what)),
                Ok(_) if control && !encoded => {
                    problems.push(problem(line, &text, What::ControlCharacter));
                }
                Ok(pattern) => patterns.extend(pattern),
            }
        }
        if problems.is_empty() {
            Ok(Self::from_patterns(patterns))
        } else {
            Err(problems)
        }
    }

    fn from_patterns(patterns: Vec<Pattern>) -> Self {
        let mut exceptions = patterns.iter().filter(|pattern| pattern.exception);
        Self {
            plain_exceptions: exceptions.all(Pattern::has_plain_stem),
            patterns,
        }
    }

    /// Only the exceptions for which `keep` holds, each given without its
    /// `!`, in front of them a pattern that excludes everything.
    #[must_use]
    pub(super) fn everything_but_exceptions(&self, keep: impl Fn(&[u8]) -> bool) -> Self {
        let mut patterns = vec![Pattern::new(b"**".to_vec(), false)];
        let exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
        patterns.extend(exceptions.filter(|pattern| keep(&pattern.text)).cloned());
        Self::from_patterns(patterns)
    }

    /// The exceptions without their `!`.
    pub(super) fn exceptions(&self) -> impl Iterator<Item = &[u8]> {
        let exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
        exceptions.map(|pattern| pattern.text.as_slice())
    }

    /// Whether BuildKit's walk excludes `path`, which lies in the directory
    /// `parent` stands for.
    ///
    /// # Errors
    /// A pattern that turns out broken when it is used, as with BuildKit.
    pub(crate) fn judge(&self, path: &[u8], parent: &IgnoreVerdict) -> Result<IgnoreVerdict, PatternProblem> {
        let mut verdict = IgnoreVerdict::default();
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut matches = parent.matched.get(index).copied().unwrap_or(false);
            // A pattern that cannot change the outcome is not asked, and so
            // not remembered for what lies below: BuildKit's own shortcut.
            if !matches && pattern.exception == verdict.excluded {
                matches = pattern.is_match(path).map_err(|broken| broken.by(pattern))?;
            }
            if matches {
                verdict.matched.resize(index, false);
                verdict.matched.push(true);
                verdict.excluded = !pattern.exception;
            }
        }
        Ok(verdict)
    }

    /// Whether an entry of this excluded directory may be kept after all.
    pub(crate) fn may_keep_below(&self, directory: &[u8]) -> bool {
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
        !self.plain_exceptions || exceptions.any(|pattern| pattern.may_lie_below(directory))
    }

    /// The problem of a kept file that BuildKit would send empty: its walk
    /// remembers what matched the parents, its reader asks anew, and the two
    /// disagree where a directory is excluded again after an exception.
    ///
    /// # Errors
    /// A pattern that turns out broken when it is used.
    pub(crate) fn emptied(&self, path: &[u8]) -> Result<Option<PatternProblem>, PatternProblem> {
        let mut by = None;
        for pattern in &self.patterns {
            if pattern.exception != by.is_some() {
                continue;
            }
            let mut matches = pattern.is_match(path).map_err(|broken| broken.by(pattern))?;
            for parent in parents(path) {
                // BuildKit ignores errors here; the path above had none.
                matches = matches || pattern.is_match(parent).unwrap_or(false);
            }
            if matches {
                by = (!pattern.exception).then_some(pattern);
            }
        }
        Ok(by.map(|pattern| problem(0, &pattern.text, What::Emptied)))
    }

    /// Whether any pattern is an exception; without one nothing is emptied.
    pub fn has_exceptions(&self) -> bool {
        self.exceptions().next().is_some()
    }
}

impl Broken {
    fn by(self, pattern: &Pattern) -> PatternProblem {
        let what = match self.0 {
            Fault::Syntax => What::Syntax,
            Fault::UnicodeClass => What::UnicodeClass,
        };
        problem(0, &pattern.text, what)
    }
}

/// The ignore file that BuildKit applies to a context: for the main one that
/// which bears the Dockerfile's name, else the context's own, never both. A
/// named context has no Dockerfile of its own. `None` where there is none; what is
/// no file is not passed over.
pub fn file_for(context: &Path, dockerfile: Option<&Path>) -> Option<PathBuf> {
    let beside = dockerfile.map(|dockerfile| {
        let mut name = dockerfile.as_os_str().to_owned();
        name.push(FILE_NAME);
        PathBuf::from(name)
    });
    let own = context.join(FILE_NAME);
    beside.into_iter().chain([own]).find(|path| path.exists())
}

/// Whether a part of an exception, with a letter or digit in it, matches a name:
/// `src/*.pyc` names `a.pyc`, `src/*` does not.
pub(super) fn names(exception: &[u8], name: &[u8]) -> bool {
    exception.split(|byte| *byte == b'/').any(|part| {
        part.iter().any(u8::is_ascii_alphanumeric)
            && Pattern::new(part.to_vec(), true).is_match(name).unwrap_or(false)
    })
}

/// The directories above a path, outermost first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at])
}

fn problem(line: usize, pattern: &[u8], what: What) -> PatternProblem {
    PatternProblem {
        line,
        pattern: String::from_utf8_lossy(pattern).into_owned(),
        what,
    }
}

/// What BuildKit's reader makes of a line; `None` for comments and blanks.
fn clean_line(line: &[u8]) -> Option<Vec<u8>> {
    let trimmed = pattern::trim(line);
    // Only a `#` in the first column is a comment.
    if line.starts_with(b"#") || trimmed.is_empty() {
        return None;
    }
    let (mark, pattern): (&[u8], _) = match trimmed.strip_prefix(b"!") {
        Some(rest) => (b"!", pattern::trim(rest)),
        None => (b"", trimmed),
    };
    if pattern.is_empty() {
        return Some(mark.to_vec());
    }
    let cleaned = pattern::clean(pattern);
    let relative = match cleaned.strip_prefix(b"/") {
        Some(rest) if !rest.is_empty() => rest,
        _ => &cleaned,
    };
    Some([mark, relative].concat())
}

/// What BuildKit's matcher makes of a cleaned line. It cleans again, with the
/// `!` on, which is why `!/` is an exception from nothing.
fn pattern(line: &[u8]) -> Result<Option<Pattern>, What> {
    let trimmed = pattern::trim(line);
    if trimmed.is_empty() {
        return Ok(None);
    }
    let cleaned = pattern::clean(trimmed);
    let exception = cleaned.starts_with(b"!");
    let text = &cleaned[usize::from(exception)..];
    if text.is_empty() {
        return Err(What::IllegalExclusion);
    }
    if !pattern::is_well_formed(text) {
        return Err(What::Syntax);
    }
    Ok(Some(Pattern::new(text.to_vec(), exception)))
}
