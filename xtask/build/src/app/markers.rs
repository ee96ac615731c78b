//! What a marker (PEP 508) says of one Python on this machine. Pure.

use std::cmp::Ordering;

use pep440_rs::{Version, VersionSpecifier};

/// Stands for `extra` where none is chosen.
const NO_EXTRA: &str = "";

/// Where a marker is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'a> {
    /// Of Python 3.12 the `12`.
    pub minor: u32,
    /// The processor as Python calls it, such as `x86_64`.
    pub processor: &'a str,
}

impl Machine<'_> {
    /// Whether a marker may hold here. One of an extra, or of another form, may.
    pub(super) fn may(self, marker: &str) -> bool {
        self.may_of(tokens(marker))
    }

    /// The same in a list that no extra is chosen of: what is for one is not installed.
    pub(super) fn may_in_list(self, marker: &str) -> bool {
        let tokens = tokens(marker).into_iter().map(|token| match token {
            Token::Word("extra") => Token::Word(NO_EXTRA),
            other => other,
        });
        self.may_of(tokens.collect())
    }

    fn may_of(self, mut tokens: Vec<Token<'_>>) -> bool {
        tokens.reverse();
        if tokens.is_empty() || is_too_deep(&tokens) {
            return true;
        }
        self.any(&mut tokens).unwrap_or(true)
    }

    /// Parts with `or` between them. `None` where it is not known.
    fn any(self, rest: &mut Vec<Token<'_>>) -> Option<bool> {
        joined(rest, "or", true, |rest| self.all(rest))
    }

    /// Parts with `and` between them.
    fn all(self, rest: &mut Vec<Token<'_>>) -> Option<bool> {
        joined(rest, "and", false, |rest| self.one(rest))
    }

    fn one(self, rest: &mut Vec<Token<'_>>) -> Option<bool> {
        if take(rest, "(") {
            let found = self.any(rest);
            take(rest, ")");
            return found;
        }
        let (left, mut sign) = (rest.pop()?, rest.pop()?.text());
        if sign == "not" && take(rest, "in") {
            sign = "not in";
        }
        match (left, rest.pop()?) {
            (Token::Word(name), Token::Text(value)) => self.compare(name, sign, value),
            (Token::Text(value), Token::Word(name)) => self.compare(name, turned(sign)?, value),
            _ => None,
        }
    }

    fn compare(self, name: &str, sign: &str, value: &str) -> Option<bool> {
        let own = match name {
            "python_version" => return versions(&format!("3.{}", self.minor), sign, value),
            // The newest of its kind: what is asked of a patch is that it has come.
            "python_full_version" | "implementation_version" => {
                return versions(&format!("3.{}.99", self.minor), sign, value);
            }
            "os_name" => "posix",
            "sys_platform" => "linux",
            "platform_system" => "Linux",
            "platform_machine" => self.processor,
            "platform_python_implementation" => "CPython",
            "implementation_name" => "cpython",
            NO_EXTRA => "",
            _ => return None,
        };
        match sign {
            "==" => Some(own == value),
            "!=" => Some(own != value),
            "in" => Some(value.contains(own)),
            "not in" => Some(!value.contains(own)),
            _ => None,
        }
    }
}

/// Whether a version of Python is what a marker wants.
fn versions(own: &str, sign: &str, value: &str) -> Option<bool> {
    let own: Version = own.parse().ok()?;
    if sign.ends_with("in") {
        let mut all = value
            .split([' ', ',', '|'])
            .filter_map(|one| one.parse::<Version>().ok());
        let is_one = all.any(|one| own.cmp(&one) == Ordering::Equal);
        return Some(is_one == (sign == "in"));
    }
    let specifier: VersionSpecifier = format!("{sign}{value}").parse().ok()?;
    Some(specifier.contains(&own))
}

/// The sign for its two sides the other way round.
fn turned(sign: &str) -> Option<&str> {
    Some(match sign {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        "==" | "!=" => sign,
        _ => return None,
    })
}

#[derive(Clone, Copy, Debug)]
enum Token<'t> {
    /// A name, a sign or a bracket.
    Word(&'t str),
    /// What stands in quotes.
    Text(&'t str),
}

impl<'t> Token<'t> {
    fn text(self) -> &'t str {
        match self {
            Self::Word(text) | Self::Text(text) => text,
        }
    }
}

/// Whether more brackets stand within each other than anybody writes: each is a call within a
/// call here, and a file of others must not end the program.
fn is_too_deep(tokens: &[Token<'_>]) -> bool {
    const MOST: usize = 100;
    let opened = tokens.iter().filter(|token| matches!(token, Token::Word("(")));
    opened.count() > MOST
}

/// Parts with a word between them, of which one that is `decisive` says it for all.
fn joined<'t>(
    rest: &mut Vec<Token<'t>>,
    word: &str,
    decisive: bool,
    part: impl Fn(&mut Vec<Token<'t>>) -> Option<bool>,
) -> Option<bool> {
    let mut parts = vec![part(rest)];
    while take(rest, word) {
        parts.push(part(rest));
    }
    match parts.contains(&Some(decisive)) {
        true => Some(decisive),
        false => parts.into_iter().all(|one| one.is_some()).then_some(!decisive),
    }
}

/// Takes the next token if it is this word.
fn take(rest: &mut Vec<Token<'_>>, word: &str) -> bool {
    let is_it = matches!(rest.last(), Some(Token::Word(text)) if *text == word);
    if is_it {
        rest.pop();
    }
    is_it
}

fn tokens(marker: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = marker.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let end = match first {
            '"' | '\'' => {
                let inside = &rest[1..];
                let end = inside.find(first).unwrap_or(inside.len());
                found.push(Token::Text(&inside[..end]));
                rest = inside[end..].strip_prefix(first).unwrap_or_default().trim_start();
                continue;
            }
            '<' | '>' | '=' | '!' | '~' => rest.find(|c| !"<>=!~".contains(c)),
            c if is_word(c) => rest.find(|c| !is_word(c)),
            c => Some(c.len_utf8()),
        };
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        found.push(Token::Word(word));
        rest = after.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_an_extra_is_in_no_list() {
        let machine = Machine {
            minor: 13,
            processor: "x86_64",
        };
        for (marker, expected) in [
            ("extra == 'server'", false),
            ("'server' == extra and python_version > '3.8'", false),
            ("extra == 'server' or python_version > '3.8'", true),
            ("extra != 'server'", true),
            ("python_version >=", true),
        ] {
            assert_eq!(machine.may_in_list(marker), expected, "{marker}");
        }
    }

    #[test]
    fn brackets_without_end_are_no_marker() {
        let machine = Machine {
            minor: 13,
            processor: "x86_64",
        };
        let within = |n: usize| format!("{}python_version < '3.12'{}", "(".repeat(n), ")".repeat(n));
        assert!(!machine.may(&within(100)));
        assert!(machine.may(&within(30_000)));
        assert!(machine.may(&"(".repeat(30_000)));
    }

    #[test]
    fn a_marker_tells_the_pythons_that_it_is_for() {
        for (marker, expected) in [
            ("", "11 12 13 14"),
            ("python_version >= \"3.13\"", "13 14"),
            ("python_full_version < '3.12'", "11"),
            (
                "python_full_version >= '3.12' and python_full_version < '3.14'",
                "12 13",
            ),
            ("'3.12' > python_version or python_version == '3.14.*'", "11 14"),
            ("python_version ~= '3.12'", "12 13 14"),
            ("python_version in '3.11, 3.12'", "11 12"),
            ("python_version not in \"3.11 3.12\"", "13 14"),
            ("sys_platform == 'win32'", ""),
            (
                "(sys_platform == 'win32' or os_name == \"posix\") and python_version < '3.12'",
                "11",
            ),
            (
                "platform_machine == 'x86_64' and platform_python_implementation != 'PyPy'",
                "11 12 13 14",
            ),
            ("'aarch' in platform_machine", "11 12 13 14"),
            // What the spec chooses, and what is no marker, is left open.
            ("extra == 'server' and python_version < '3.12'", "11"),
            ("extra == 'server' or python_version < '3.12'", "11 12 13 14"),
            ("python_version >=", "11 12 13 14"),
            ("é (", "11 12 13 14"),
        ] {
            let machines = [11, 12, 13, 14].map(|minor| Machine {
                minor,
                processor: "x86_64",
            });
            let held = machines.into_iter().filter(|machine| machine.may(marker));
            let held: Vec<String> = held.map(|machine| machine.minor.to_string()).collect();
            assert_eq!(held.join(" "), expected, "{marker}");
        }
    }
}
