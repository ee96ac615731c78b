//! The regular expressions that BuildKit's matcher makes of patterns.
//!
//! BuildKit turns a pattern into the text of a Go regular expression and does
//! not escape all of it: `a{2}*`, `x|y*` and `\d*` really are a repetition, an
//! alternative and a digit. `regex-lite` means the same by most of it; its `\d`
//! and `\w` are ASCII, too. The rest is put into its own words here.

use regex_lite::Regex;

/// The largest count of a repetition (`a{1000}`): Go refuses larger ones.
const MAX_REPEAT: u32 = 1000;

/// Go's `\s` and `\S` as members of a class: they know no vertical tab.
const SPACE: &str = r"\t\n\f\r ";
const NO_SPACE: &str = r"\x00-\x08\x0B\x0E-\x1F!-\x{10FFFF}";

/// Why a text is not an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// BuildKit fails on it as well.
    Syntax,
    /// `\p{…}`: BuildKit knows it, `regex-lite` has no tables for it.
    UnicodeClass,
}

/// Compiles the text of a Go regular expression.
///
/// # Errors
/// What Go refuses, too, and Unicode classes.
pub(super) fn compile(go: &str) -> Result<Regex, Fault> {
    let mut translation = Translation {
        rest: go,
        text: String::new(),
        repeated: false,
    };
    while !translation.rest.is_empty() {
        translation.step()?;
    }
    Regex::new(&translation.text).map_err(|_| Fault::Syntax)
}

struct Translation<'a> {
    /// What is left of Go's text.
    rest: &'a str,
    /// What was read of it, for `regex-lite`.
    text: String,
    /// Whether a repetition was the last thing: Go refuses `a{2}{3}`.
    repeated: bool,
}

impl<'a> Translation<'a> {
    fn step(&mut self) -> Result<(), Fault> {
        let repetition = match self.rest.as_bytes()[0] {
            b'*' | b'?' => Some(&self.rest[..1]),
            b'{' => self.count()?,
            _ => None,
        };
        if let Some(repetition) = repetition {
            if self.repeated {
                return Err(Fault::Syntax);
            }
            self.text.push_str(repetition);
            self.rest = &self.rest[repetition.len()..];
        } else {
            self.atom()?;
        }
        self.repeated = repetition.is_some();
        Ok(())
    }

    fn atom(&mut self) -> Result<(), Fault> {
        match self.take()? {
            '\\' if self.eat("Q") => {
                let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                literal.chars().for_each(|c| self.literal(c));
            }
            '\\' => match self.rest.chars().next() {
                Some(c @ ('A' | 'z' | 'b' | 'B')) => {
                    self.rest = &self.rest[1..];
                    self.text.extend(['\\', c]);
                }
                Some('s' | 'S' | 'd' | 'D' | 'w' | 'W') => {
                    self.text.push('[');
                    self.escape()?;
                    self.text.push(']');
                }
                _ => self.escape()?,
            },
            '[' => self.class()?,
            c @ ('{' | '}' | ']') => self.literal(c),
            c => self.text.push(c),
        }
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}` at this place; a brace that is none of these
    /// is a literal.
    fn count(&self) -> Result<Option<&'a str>, Fault> {
        let Some(end) = self.rest.find('}') else {
            return Ok(None);
        };
        let inside = &self.rest[1..end];
        let (low, high) = inside.split_once(',').unwrap_or((inside, inside));
        if !is_count(low) || !(is_count(high) || high.is_empty()) {
            return Ok(None);
        }
        let is_large = |count: &str| !count.is_empty() && !count.parse().is_ok_and(|n: u32| n <= MAX_REPEAT);
        if is_large(low) || is_large(high) {
            return Err(Fault::Syntax);
        }
        Ok(Some(&self.rest[..=end]))
    }

    /// A class behind its bracket.
    fn class(&mut self) -> Result<(), Fault> {
        self.text.push('[');
        if self.eat("^") {
            self.text.push('^');
        }
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(end) = self.rest.strip_prefix("[:").and_then(|rest| rest.find(":]")) {
                let (named, rest) = self.rest.split_at("[:".len() + end + ":]".len());
                self.text.push_str(named);
                self.rest = rest;
                continue;
            }
            let is_many = matches!(
                self.rest.as_bytes(),
                [b'\\', b's' | b'S' | b'd' | b'D' | b'w' | b'W', ..]
            );
            self.member()?;
            if !is_many && self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]")
            {
                self.rest = &self.rest[1..];
                self.text.push('-');
                self.member()?;
            }
        }
        self.rest = &self.rest[1..];
        self.text.push(']');
        Ok(())
    }

    fn member(&mut self) -> Result<(), Fault> {
        match self.take()? {
            '\\' => self.escape()?,
            c => self.literal(c),
        }
        Ok(())
    }

    /// What stands behind a backslash and means the same in a class and outside.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.take()? {
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => self.literal(c),
            's' => self.text.push_str(SPACE),
            'S' => self.text.push_str(NO_SPACE),
            c @ ('a' | 'f' | 'n' | 'r' | 't' | 'v' | 'd' | 'D' | 'w' | 'W') => self.text.extend(['\\', c]),
            'x' => {
                let braced = self.rest.starts_with('{').then(|| self.rest.find('}')).flatten();
                let digits = self.rest.get(..braced.map_or(2, |end| end + 1));
                let digits = digits.ok_or(Fault::Syntax)?;
                self.text.push_str("\\x");
                self.text.push_str(digits);
                self.rest = &self.rest[digits.len()..];
            }
            c @ '0'..='7' => self.octal(c)?,
            'p' | 'P' => return Err(Fault::UnicodeClass),
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    /// A character by up to three octal digits, of which `first` is one.
    fn octal(&mut self, first: char) -> Result<(), Fault> {
        let more = self
            .rest
            .bytes()
            .take(2)
            .take_while(|b| matches!(b, b'0'..=b'7'))
            .count();
        // A lone digit would be a reference back, which Go has not.
        if first != '0' && more == 0 {
            return Err(Fault::Syntax);
        }
        let (digits, rest) = self.rest.split_at(more);
        let value = u32::from_str_radix(&format!("{first}{digits}"), 8).map_err(|_| Fault::Syntax)?;
        self.text.push_str(&format!("\\x{{{value:x}}}"));
        self.rest = rest;
        Ok(())
    }

    /// A character that stands for itself.
    fn literal(&mut self, c: char) {
        // These two are borders of words with a backslash, and nothing without.
        if c.is_ascii_punctuation() && c != '<' && c != '>' {
            self.text.push('\\');
        }
        self.text.push(c);
    }

    fn take(&mut self) -> Result<char, Fault> {
        let mut chars = self.rest.chars();
        let taken = chars.next().ok_or(Fault::Syntax)?;
        self.rest = chars.as_str();
        Ok(taken)
    }

    fn eat(&mut self, text: &str) -> bool {
        let eaten = self.rest.strip_prefix(text);
        self.rest = eaten.unwrap_or(self.rest);
        eaten.is_some()
    }
}

/// Go's digits: no leading zero.
fn is_count(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'))
}
