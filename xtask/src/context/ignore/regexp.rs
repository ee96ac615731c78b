//! The regular expressions that BuildKit's matcher makes of patterns.
//!
//! BuildKit turns a pattern into the text of a Go regular expression and does
//! not escape all of it: `a{2}*`, `x|y*` and `\d*` really are a repetition, an
//! alternative and a digit. Only an engine that reads that text as Go does can
//! answer the same. Rust's crates differ in classes (`[[^/]*]`, `&&`), in what
//! `\w` means and in how invalid UTF-8 matches; they also take longer to
//! compile than all the rest of this tool may.
//!
//! Matching is backtracking with a memory of what was tried, so its time is
//! bounded by pattern length times path length.

use std::cell::RefCell;

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Regexp {
    code: Vec<Step>,
    /// Bytes that every match ends with: most paths are refused by these.
    tail: Vec<u8>,
    anchored: bool,
}

/// Why a text is not an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// BuildKit fails on it as well.
    Syntax,
    /// `\p{…}`: BuildKit knows it; the tables are not worth their size here.
    UnicodeClass,
}

type Ranges = Vec<(u32, u32)>;

#[derive(Debug, Clone)]
enum Node {
    Char(char),
    /// `.`: all but a newline.
    Any,
    Class(Ranges),
    Assert(Assertion),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat {
        node: Box<Node>,
        min: u32,
        max: Option<u32>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assertion {
    Begin,
    End,
    WordBoundary,
    NoWordBoundary,
}

#[derive(Debug, Clone)]
enum Step {
    Char(char),
    Any,
    Class(Ranges),
    Assert(Assertion),
    Split(usize, usize),
    Jump(usize),
    Found,
}

/// Go refuses larger counts.
const MAX_REPEAT: u32 = 1000;

/// Enough for any pattern that is not an attack on the tool.
const MAX_STEPS: usize = 50_000;

impl Regexp {
    /// Compiles the text of a Go regular expression.
    pub(super) fn new(text: &str) -> Result<Self, Fault> {
        let mut parser = Parser { rest: text };
        let node = parser.alternatives()?;
        if !parser.rest.is_empty() {
            return Err(Fault::Syntax); // `)` without `(`
        }
        let mut regexp = Self {
            code: Vec::new(),
            tail: tail(&node),
            anchored: matches!(&node, Node::Sequence(nodes)
                if matches!(nodes.first(), Some(Node::Assert(Assertion::Begin)))),
        };
        regexp.emit(&node)?;
        regexp.code.push(Step::Found);
        Ok(regexp)
    }

    /// Whether it is found anywhere in the text, as Go's `MatchString`.
    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        if !text.ends_with(&self.tail) {
            return false;
        }
        thread_local! {
            static MEMORY: RefCell<Memory> = RefCell::default();
        }
        MEMORY.with_borrow_mut(|memory| {
            memory.forget(self.code.len() * (text.len() + 1));
            let mut start = 0;
            loop {
                if self.matches_at(text, start, memory) {
                    return true;
                }
                if self.anchored || start == text.len() {
                    return false;
                }
                start += decode(&text[start..]).1;
            }
        })
    }

    fn matches_at(&self, text: &[u8], start: usize, memory: &mut Memory) -> bool {
        memory.pending.push((0, start));
        while let Some((mut pc, mut at)) = memory.pending.pop() {
            while memory.is_new(pc * (text.len() + 1) + at) {
                match &self.code[pc] {
                    Step::Found => return true,
                    Step::Jump(to) => pc = *to,
                    Step::Split(one, other) => {
                        memory.pending.push((*other, at));
                        pc = *one;
                    }
                    Step::Assert(assertion) if assertion.holds(text, at) => pc += 1,
                    step if at < text.len() => {
                        let (found, width) = decode(&text[at..]);
                        if !step.takes(found) {
                            break;
                        }
                        pc += 1;
                        at += width;
                    }
                    _ => break,
                }
            }
        }
        false
    }

    fn emit(&mut self, node: &Node) -> Result<(), Fault> {
        if self.code.len() > MAX_STEPS {
            return Err(Fault::Syntax);
        }
        match node {
            Node::Char(c) => self.code.push(Step::Char(*c)),
            Node::Any => self.code.push(Step::Any),
            Node::Class(ranges) => self.code.push(Step::Class(ranges.clone())),
            Node::Assert(assertion) => self.code.push(Step::Assert(*assertion)),
            Node::Sequence(nodes) => {
                for node in nodes {
                    self.emit(node)?;
                }
            }
            Node::Either(nodes) => self.emit_either(nodes)?,
            Node::Repeat { node, min, max } => self.emit_repeat(node, *min, *max)?,
        }
        Ok(())
    }

    fn emit_either(&mut self, nodes: &[Node]) -> Result<(), Fault> {
        let mut jumps = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let split = self.code.len();
            let last = index + 1 == nodes.len();
            if !last {
                self.code.push(Step::Split(split + 1, 0));
            }
            self.emit(node)?;
            if !last {
                jumps.push(self.code.len());
                self.code.push(Step::Jump(0));
                self.code[split] = Step::Split(split + 1, self.code.len());
            }
        }
        for jump in jumps {
            self.code[jump] = Step::Jump(self.code.len());
        }
        Ok(())
    }

    fn emit_repeat(&mut self, node: &Node, min: u32, max: Option<u32>) -> Result<(), Fault> {
        for _ in 0..min {
            self.emit(node)?;
        }
        let Some(max) = max else {
            let split = self.code.len();
            self.code.push(Step::Split(split + 1, 0));
            self.emit(node)?;
            self.code.push(Step::Jump(split));
            self.code[split] = Step::Split(split + 1, self.code.len());
            return Ok(());
        };
        let mut splits = Vec::new();
        for _ in min..max {
            splits.push(self.code.len());
            self.code.push(Step::Jump(0));
            self.emit(node)?;
        }
        for split in splits {
            self.code[split] = Step::Split(split + 1, self.code.len());
        }
        Ok(())
    }
}

impl Step {
    fn takes(&self, found: char) -> bool {
        match self {
            Self::Char(c) => *c == found,
            Self::Any => found != '\n',
            Self::Class(ranges) => ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&(found as u32))),
            Self::Assert(_) | Self::Split(..) | Self::Jump(_) | Self::Found => false,
        }
    }
}

impl Assertion {
    fn holds(self, text: &[u8], at: usize) -> bool {
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let boundary = is_word(before) != is_word(text.get(at));
        match self {
            Self::Begin => at == 0,
            Self::End => at == text.len(),
            Self::WordBoundary => boundary,
            Self::NoWordBoundary => !boundary,
        }
    }
}

/// What was tried; kept between matches to save the allocation.
#[derive(Default)]
struct Memory {
    seen: Vec<u64>,
    pending: Vec<(usize, usize)>,
}

impl Memory {
    fn forget(&mut self, states: usize) {
        self.seen.clear();
        self.seen.resize(states / 64 + 1, 0);
        self.pending.clear();
    }

    fn is_new(&mut self, state: usize) -> bool {
        let (word, bit) = (state / 64, 1_u64 << (state % 64));
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

/// The first character and its width, as Go decodes: each byte that is not
/// UTF-8 is a replacement character of width 1.
pub(super) fn decode(text: &[u8]) -> (char, usize) {
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

/// The characters that every match must end with.
fn tail(node: &Node) -> Vec<u8> {
    let Node::Sequence(nodes) = node else {
        return Vec::new();
    };
    let Some((Node::Assert(Assertion::End), nodes)) = nodes.split_last() else {
        return Vec::new();
    };
    let mut chars: Vec<char> = nodes
        .iter()
        .rev()
        .map_while(|node| match node {
            // A replacement character also stands for any invalid byte.
            Node::Char(c) if *c != char::REPLACEMENT_CHARACTER => Some(*c),
            _ => None,
        })
        .collect();
    chars.reverse();
    chars.into_iter().collect::<String>().into_bytes()
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
