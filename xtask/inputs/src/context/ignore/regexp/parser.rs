//! The text of a Go regular expression, as a tree.

use super::{Assertion, Fault, Node, Ranges};

/// Go refuses larger counts.
const MAX_REPEAT: u32 = 1000;

/// Reads the whole text.
///
/// # Errors
/// What Go refuses, too, and classes by name.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let mut parser = Parser { rest: text };
    let node = parser.alternatives()?;
    if parser.rest.is_empty() {
        Ok(node)
    } else {
        Err(Fault::Syntax) // `)` without `(`
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let taken = chars.next();
        self.rest = chars.as_str();
        taken
    }

    fn eat(&mut self, text: &str) -> bool {
        let eaten = self.rest.strip_prefix(text);
        self.rest = eaten.unwrap_or(self.rest);
        eaten.is_some()
    }

    fn alternatives(&mut self) -> Result<Node, Fault> {
        let mut nodes = vec![self.sequence()?];
        while self.eat("|") {
            nodes.push(self.sequence()?);
        }
        Ok(match <[Node; 1]>::try_from(nodes) {
            Ok([node]) => node,
            Err(nodes) => Node::Either(nodes),
        })
    }

    fn sequence(&mut self) -> Result<Node, Fault> {
        let mut nodes = Vec::new();
        // Go refuses `a{2}{3}`; only a `\Q\E` in between lets it pass.
        let mut repeated = false;
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            if let Some((min, max)) = self.repetition()? {
                let node = nodes.pop().filter(|_| !repeated).ok_or(Fault::Syntax)?;
                nodes.push(Node::Repeat {
                    node: Box::new(node),
                    min,
                    max,
                });
                repeated = true;
            } else {
                self.atom(&mut nodes)?;
                repeated = false;
            }
        }
        Ok(Node::Sequence(nodes))
    }

    /// `*`, `?`, `{n}`, `{n,}` or `{n,m}`; a brace that is none of these is a
    /// literal.
    fn repetition(&mut self) -> Result<Option<(u32, Option<u32>)>, Fault> {
        if self.eat("*") {
            return Ok(Some((0, None)));
        }
        if self.eat("?") {
            return Ok(Some((0, Some(1))));
        }
        let Some((inside, after)) = self.rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return Ok(None);
        };
        let (low, high) = inside.split_once(',').unwrap_or((inside, inside));
        if !is_count(low) || !(is_count(high) || high.is_empty() && inside.contains(',')) {
            return Ok(None);
        }
        self.rest = after;
        let min = bounded(low)?;
        let max = if high.is_empty() {
            None
        } else {
            Some(bounded(high)?)
        };
        if max.is_some_and(|max| max < min) {
            return Err(Fault::Syntax);
        }
        Ok(Some((min, max)))
    }

    fn atom(&mut self, nodes: &mut Vec<Node>) -> Result<(), Fault> {
        match self.rest.chars().next() {
            Some('\\') => return self.escape_sequence(nodes),
            Some('[') => nodes.push(Node::Class(self.class()?)),
            Some('(') => {
                self.take();
                nodes.push(self.alternatives()?);
                if !self.eat(")") {
                    return Err(Fault::Syntax);
                }
            }
            Some('.') => {
                self.take();
                nodes.push(Node::Any);
            }
            Some('^') => {
                self.take();
                nodes.push(Node::Assert(Assertion::Begin));
            }
            Some('$') => {
                self.take();
                nodes.push(Node::Assert(Assertion::End));
            }
            _ => nodes.extend(self.take().map(Node::Char)),
        }
        Ok(())
    }

    fn escape_sequence(&mut self, nodes: &mut Vec<Node>) -> Result<(), Fault> {
        if self.eat("\\Q") {
            let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            nodes.extend(literal.chars().map(Node::Char));
            self.rest = rest;
            return Ok(());
        }
        let assertion = match self.rest.as_bytes().get(1) {
            Some(b'A') => Some(Assertion::Begin),
            Some(b'z') => Some(Assertion::End),
            Some(b'b') => Some(Assertion::WordBoundary),
            Some(b'B') => Some(Assertion::NoWordBoundary),
            _ => None,
        };
        if let Some(assertion) = assertion {
            self.rest = &self.rest[2..];
            nodes.push(Node::Assert(assertion));
        } else if let Some(ranges) = self.perl_class()? {
            nodes.push(Node::Class(ranges));
        } else {
            nodes.push(Node::Char(self.escape()?));
        }
        Ok(())
    }

    /// `\d`, `\S` and their like.
    fn perl_class(&mut self) -> Result<Option<Ranges>, Fault> {
        let Some(name) = self.rest.strip_prefix('\\').and_then(|rest| rest.chars().next()) else {
            return Ok(None);
        };
        let ranges = match name.to_ascii_lowercase() {
            'd' => ranges_of("09"),
            's' => ranges_of("\t\n\x0c\r  "),
            'w' => ranges_of("09AZ__az"),
            'p' => return Err(Fault::UnicodeClass),
            _ => return Ok(None),
        };
        self.rest = &self.rest[2..];
        Ok(Some(if name.is_ascii_uppercase() {
            negate(ranges)
        } else {
            ranges
        }))
    }

    /// One escaped character, in a class or outside.
    fn escape(&mut self) -> Result<char, Fault> {
        self.take(); // the backslash
        let escaped = self.take().ok_or(Fault::Syntax)?;
        let octal = |c: Option<char>| c.and_then(|c| c.to_digit(8));
        match escaped {
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            'x' => self.hexadecimal(),
            '0'..='7' => {
                let mut value = octal(Some(escaped)).ok_or(Fault::Syntax)?;
                // A lone digit would be a reference back, which Go has not.
                if escaped != '0' && octal(self.rest.chars().next()).is_none() {
                    return Err(Fault::Syntax);
                }
                for _ in 0..2 {
                    let Some(digit) = octal(self.rest.chars().next()) else {
                        break;
                    };
                    value = value * 8 + digit;
                    self.take();
                }
                char::from_u32(value).ok_or(Fault::Syntax)
            }
            _ => Err(Fault::Syntax),
        }
    }

    fn hexadecimal(&mut self) -> Result<char, Fault> {
        let digits: &'a str = if let Some(rest) = self.rest.strip_prefix('{') {
            let (digits, rest) = rest.split_once('}').ok_or(Fault::Syntax)?;
            self.rest = rest;
            digits
        } else {
            let digits = self.rest.get(..2).ok_or(Fault::Syntax)?;
            self.rest = &self.rest[2..];
            digits
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fault::Syntax);
        }
        // Go takes surrogates here; no file name that passes can hold one.
        u32::from_str_radix(digits.trim_start_matches('0'), 16)
            .or_else(|error| match error.kind() {
                std::num::IntErrorKind::Empty => Ok(0),
                _ => Err(Fault::Syntax),
            })
            .and_then(|value| match value {
                0xD800..=0xDFFF => Ok(char::MAX),
                value => char::from_u32(value).ok_or(Fault::Syntax),
            })
    }

    fn class(&mut self) -> Result<Ranges, Fault> {
        self.take(); // the bracket
        let negated = self.eat("^");
        let mut ranges = Ranges::new();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if let Some(named) = self.named_class()? {
                ranges.extend(named);
            } else if let Some(perl) = self.perl_class()? {
                ranges.extend(perl);
            } else {
                let low = self.class_char()?;
                let mut high = low;
                let is_range =
                    self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]");
                if is_range {
                    self.take();
                    high = self.class_char()?;
                }
                if high < low {
                    return Err(Fault::Syntax);
                }
                ranges.push((low as u32, high as u32));
            }
        }
        self.take();
        Ok(if negated { negate(ranges) } else { ranges })
    }

    fn class_char(&mut self) -> Result<char, Fault> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        self.take().ok_or(Fault::Syntax)
    }

    /// `[:alpha:]` inside a class.
    fn named_class(&mut self) -> Result<Option<Ranges>, Fault> {
        let Some((name, rest)) = self
            .rest
            .strip_prefix("[:")
            .and_then(|rest| rest.split_once(":]"))
        else {
            return Ok(None);
        };
        let positive = name.strip_prefix('^').unwrap_or(name);
        let ranges = ranges_of(match positive {
            "alnum" => "09AZaz",
            "alpha" => "AZaz",
            "ascii" => "\0\x7f",
            "blank" => "\t\t  ",
            "cntrl" => "\0\x1f\x7f\x7f",
            "digit" => "09",
            "graph" => "!~",
            "lower" => "az",
            "print" => " ~",
            "punct" => "!/:@[`{~",
            "space" => "\t\r  ",
            "upper" => "AZ",
            "word" => "09AZaz__",
            "xdigit" => "09AFaf",
            _ => return Err(Fault::Syntax),
        });
        self.rest = rest;
        Ok(Some(if positive == name { ranges } else { negate(ranges) }))
    }
}

/// Go's digits: no leading zero.
fn is_count(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'))
}

fn bounded(count: &str) -> Result<u32, Fault> {
    count
        .parse()
        .ok()
        .filter(|count| *count <= MAX_REPEAT)
        .ok_or(Fault::Syntax)
}

/// Pairs of first and last characters.
fn ranges_of(pairs: &str) -> Ranges {
    let bytes = pairs.as_bytes();
    bytes
        .chunks_exact(2)
        .map(|pair| (u32::from(pair[0]), u32::from(pair[1])))
        .collect()
}

fn negate(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut negated = Ranges::new();
    let mut next = 0;
    for (low, high) in ranges {
        if low > next {
            negated.push((next, low - 1));
        }
        next = next.max(high + 1);
    }
    if next <= char::MAX as u32 {
        negated.push((next, char::MAX as u32));
    }
    negated
}
