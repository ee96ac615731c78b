//! One pattern of an ignore file, as BuildKit reads it.

use std::borrow::Cow;

use regex_lite::Regex;

use super::regexp::{self, Fault};

/// A cleaned pattern and how it matches a whole path.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// `!pattern`: takes back what earlier patterns excluded.
    pub(super) exception: bool,
    /// The pattern without its `!`, cleaned.
    pub(super) text: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Exact,
    /// `text**`: all that begins with the text.
    Prefix,
    /// `**text`: all that ends with the text.
    Suffix,
    Regexp {
        regexp: Regex,
        /// What every match begins and ends with: most paths are refused by it.
        head: String,
        tail: String,
    },
    /// Passes BuildKit's check and fails when it is first used.
    Broken(Fault),
}

/// A pattern that BuildKit finds wrong only when it matches with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) Fault);

impl Pattern {
    /// From cleaned text that passed [`is_well_formed`].
    pub(super) fn new(text: Vec<u8>, exception: bool) -> Self {
        // The patterns travel to BuildKit's client as JSON, which has no
        // invalid UTF-8.
        let text = replace_invalid(&text).into_owned();
        Self {
            kind: kind(&text),
            exception,
            text: text.into_bytes(),
        }
    }

    /// Whether it matches this path itself; its parents are the caller's.
    pub(super) fn is_match(&self, path: &[u8]) -> Result<bool, Broken> {
        Ok(match &self.kind {
            Kind::Exact => path == self.text,
            Kind::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            Kind::Suffix => {
                let suffix = &self.text[2..];
                // Most paths end otherwise, which their last byte tells.
                let may = suffix.last().is_none_or(|last| path.last() == Some(last));
                may && (path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path))
            }
            Kind::Regexp { regexp, head, tail } => {
                path.starts_with(head.as_bytes())
                    && path.ends_with(tail.as_bytes())
                    && regexp.is_match(&replace_invalid(path))
            }
            Kind::Broken(fault) => return Err(Broken(*fault)),
        })
    }

    /// The text up to a trailing `/*` or `/**`.
    fn stem(&self) -> &[u8] {
        let text = self.text.strip_suffix(b"/**").unwrap_or(&self.text);
        text.strip_suffix(b"/*").unwrap_or(text)
    }

    /// Whether a look at the stem tells where it can match.
    pub(super) fn has_plain_stem(&self) -> bool {
        !self.stem().iter().any(|byte| b"*[]?^\\".contains(byte))
    }

    /// Whether it may match below `directory`, by its stem.
    pub(super) fn may_lie_below(&self, directory: &[u8]) -> bool {
        let stem = self.stem();
        stem.strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }
}

/// Which of the matchers BuildKit picks for a pattern.
fn kind(pattern: &str) -> Kind {
    /// Like `Kind`, while it may still change.
    #[derive(PartialEq)]
    enum Shape {
        Exact,
        Prefix,
        Suffix,
        Regexp,
    }
    let mut text = String::from("^");
    let mut shape = Shape::Exact;
    // The scanner BuildKit reads patterns with drops a leading BOM.
    let pattern = pattern.strip_prefix('\u{feff}').unwrap_or(pattern);
    let mut chars = pattern.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                let last = chars.peek().is_none();
                text.push_str(if last { ".*" } else { "(.*/)?" });
                shape = match shape {
                    _ if first => Shape::Suffix,
                    Shape::Exact if last => Shape::Prefix,
                    _ => Shape::Regexp,
                };
            }
            '*' | '?' => {
                text.push_str(if c == '*' { "[^/]*" } else { "[^/]" });
                shape = Shape::Regexp;
            }
            // BuildKit means to escape `|{}` too, but its table is too small
            // for them.
            '.' | '+' | '(' | ')' | '$' => {
                text.push('\\');
                text.push(c);
            }
            '\\' => {
                text.push('\\');
                text.extend(chars.next());
                shape = Shape::Regexp;
            }
            '[' | ']' => {
                text.push(c);
                shape = Shape::Regexp;
            }
            _ => text.push(c),
        }
        first = false;
    }
    match shape {
        Shape::Exact => Kind::Exact,
        Shape::Prefix => Kind::Prefix,
        Shape::Suffix => Kind::Suffix,
        Shape::Regexp => {
            text.push('$');
            let (head, tail) = literal_ends(pattern);
            let compiled = regexp::compile(&text);
            compiled.map_or_else(Kind::Broken, |regexp| Kind::Regexp { regexp, head, tail })
        }
    }
}

/// The characters that every path begins and ends with that the pattern matches,
/// as far as they stand in it for themselves.
fn literal_ends(pattern: &str) -> (String, String) {
    // A replacement character also stands for any byte that is not UTF-8.
    let is_wild = |c: char| "*?[]{}^\\\u{fffd}".contains(c);
    if pattern.contains(['|', '\\']) {
        return (String::new(), String::new());
    }
    let head = pattern.split(is_wild).next().unwrap_or_default();
    // A count may let the last character be missing.
    let counted = pattern[head.len()..].starts_with('{');
    let head = if counted { "" } else { head };
    let tail = pattern.rsplit(is_wild).next().unwrap_or_default();
    // The slash behind two stars is part of what may be missing.
    let tail = tail.strip_prefix('/').unwrap_or(tail);
    (head.to_owned(), tail.to_owned())
}

/// Go's `filepath.Clean` for slashes: `.` for nothing, no `//`, `.` and `..`
/// where they can be taken out.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Go's `strings.TrimSpace`: all Unicode space at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    loop {
        let (c, width) = decode(text);
        if !c.is_whitespace() {
            break;
        }
        text = &text[width..];
    }
    'end: loop {
        for width in 1..=text.len().min(3) {
            let (rest, end) = text.split_at(text.len() - width);
            let (c, decoded) = decode(end);
            if decoded == width && c.is_whitespace() {
                text = rest;
                continue 'end;
            }
        }
        return text;
    }
}

/// What Go's `filepath.Match` finds well formed when it is asked to match `.`:
/// that is how BuildKit checks a pattern. The call stops at the first star that
/// cannot match, so what is wrong after it stays unseen.
pub(super) fn is_well_formed(mut pattern: &[u8]) -> bool {
    let mut name: &[u8] = b".";
    while !pattern.is_empty() {
        let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
        pattern = &pattern[stars..];
        let (chunk, rest) = pattern.split_at(chunk_length(pattern));
        let Ok(left) = match_chunk(chunk, name) else {
            return false;
        };
        // A star may also swallow the dot.
        let left = left.filter(|left| left.is_empty() || !rest.is_empty());
        let swallowed = || match_chunk(chunk, b"").ok().flatten().filter(|_| stars > 0);
        match left.or_else(swallowed) {
            Some(left) => name = left,
            None => return true,
        }
        pattern = rest;
    }
    true
}

/// The bytes up to the next star that is outside of a class.
fn chunk_length(pattern: &[u8]) -> usize {
    let mut in_class = false;
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            b'\\' if at + 1 < pattern.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    at
}

/// What is left of `name` behind a match of the chunk, `None` where it does not
/// match, an error where the chunk is malformed.
fn match_chunk<'a>(mut chunk: &[u8], name: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let mut left = Some(name);
    while let Some((byte, rest)) = chunk.split_first() {
        let (c, width) = left.map_or(('\0', 0), decode);
        let here = left.filter(|left| !left.is_empty());
        chunk = rest;
        let matches = match byte {
            b'[' => {
                let (matches, rest) = match_class(rest, c)?;
                chunk = rest;
                matches
            }
            b'?' => c != '/',
            b'\\' => {
                let (escaped, rest) = rest.split_first().ok_or(Malformed)?;
                chunk = rest;
                here.is_some_and(|here| here[0] == *escaped)
            }
            byte => here.is_some_and(|here| here[0] == *byte),
        };
        let step = if *byte == b'[' || *byte == b'?' { width } else { 1 };
        left = here.filter(|_| matches).and_then(|here| here.get(step..));
    }
    Ok(left)
}

/// A pattern that Go's `filepath.Match` refuses.
#[derive(Debug)]
struct Malformed;

/// Whether the class has the character, and what follows the class.
fn match_class(class: &[u8], c: char) -> Result<(bool, &[u8]), Malformed> {
    let negated = class.starts_with(b"^");
    let mut rest = &class[usize::from(negated)..];
    let (mut empty, mut found) = (true, false);
    loop {
        if !empty && rest.starts_with(b"]") {
            return Ok((found != negated, &rest[1..]));
        }
        empty = false;
        let (low, after) = class_member(rest)?;
        let (high, after) = match after.strip_prefix(b"-") {
            Some(after) => class_member(after)?,
            None => (low, after),
        };
        found |= (low..=high).contains(&c);
        rest = after;
    }
}

/// One character of a class and what follows it; something must.
fn class_member(class: &[u8]) -> Result<(char, &[u8]), Malformed> {
    let class = match class.first() {
        None | Some(b'-' | b']') => return Err(Malformed),
        Some(b'\\') => &class[1..],
        Some(_) => class,
    };
    let (c, width) = decode(class);
    let invalid = c == char::REPLACEMENT_CHARACTER && width == 1;
    match class.get(width..) {
        Some(rest) if !invalid && !rest.is_empty() => Ok((c, rest)),
        _ => Err(Malformed),
    }
}

/// As Go reads text and writes JSON: one replacement character for each byte
/// that is not UTF-8.
fn replace_invalid(text: &[u8]) -> Cow<'_, str> {
    if let Ok(valid) = std::str::from_utf8(text) {
        return Cow::Borrowed(valid);
    }
    let mut valid = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        valid.push_str(chunk.valid());
        valid.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(valid)
}

/// The first character and its width, as Go decodes: each byte that is not
/// UTF-8 is a replacement character of width 1.
fn decode(text: &[u8]) -> (char, usize) {
    let width = match text.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 1,
    };
    text.get(..width)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.chars().next())
        .map_or((char::REPLACEMENT_CHARACTER, 1), |found| (found, width))
}
