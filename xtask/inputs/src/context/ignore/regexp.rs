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

mod parser;

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

/// Enough for any pattern that is not an attack on the tool.
const MAX_STEPS: usize = 50_000;

impl Regexp {
    /// Compiles the text of a Go regular expression.
    pub(super) fn new(text: &str) -> Result<Self, Fault> {
        let node = parser::parse(text)?;
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
