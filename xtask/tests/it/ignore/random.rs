//! Makes trees and ignore files: the same from the same seed.

use super::*;

/// Xorshift: the same cases from the same seed, everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn name(&mut self) -> &'static [u8] {
        const PLAIN: [&[u8]; 12] = [
            b"a", b"b", b"foo", b"bar", b"ab", b"a.txt", b"b.py", b".env", b"sub", b"aa", b"c1", b"foo.d",
        ];
        const ODD: [&[u8]; 28] = [
            b"a b",
            "é".as_bytes(),
            b"[a]",
            b"a*b",
            b"!x",
            b"#h",
            b"a\\b",
            b"a{2}",
            b"-",
            b"^",
            b"x\ny",
            b"A",
            b"a+",
            b"a|b",
            b"(a)",
            b"$",
            b"1",
            b"_",
            b" a",
            b"b ",
            b"**",
            b"?",
            b"\xff",
            b"a\xffb",
            "\u{fffd}".as_bytes(),
            b"x]",
            b"\t",
            "e\u{301}".as_bytes(),
        ];
        if self.one_in(4) {
            self.of(&ODD)
        } else {
            self.of(&PLAIN)
        }
    }

    fn path(&mut self) -> Vec<u8> {
        let depth = 1 + self.below(4);
        let parts: Vec<&[u8]> = (0..depth).map(|_| self.name()).collect();
        parts.join(&b'/')
    }

    fn tree(&mut self) -> BTreeMap<Vec<u8>, Node> {
        let mut tree = BTreeMap::new();
        let mut directories = BTreeSet::new();
        // Most trees hold no name that BuildKit refuses wherever it is kept.
        let text_only = !self.one_in(5);
        for _ in 0..4 + self.below(30) {
            let path = self.path();
            if text_only && std::str::from_utf8(&path).is_err() {
                continue;
            }
            let parents: Vec<Vec<u8>> = path
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'/')
                .map(|(at, _)| path[..at].to_vec())
                .collect();
            let blocked = parents
                .iter()
                .any(|parent| matches!(tree.get(parent), Some(Node::File(_) | Node::Link(_))));
            if blocked || directories.contains(&path) {
                continue;
            }
            directories.extend(parents);
            let node = match self.below(10) {
                0 => Node::Directory,
                1 => Node::Link(self.of(&["a", "foo", "nowhere", "."]).to_owned()),
                2 => Node::File(String::new()),
                _ => Node::File(self.of(&["content\n", "other\n", "third"]).to_owned()),
            };
            tree.insert(path, node);
        }
        tree
    }

    pub(crate) fn case(&mut self) -> Case {
        let tree = self.tree();
        let paths: Vec<&[u8]> = tree.keys().map(Vec::as_slice).collect();
        let mut ignore = Vec::new();
        if self.one_in(12) {
            ignore.extend_from_slice(b"\xEF\xBB\xBF");
        }
        for _ in 0..1 + self.below(6) {
            let line = self.line(&paths);
            ignore.extend_from_slice(&line);
            ignore.extend_from_slice(if self.one_in(10) { b"\r\n" } else { b"\n" });
        }
        if self.one_in(6) {
            ignore.pop();
        }
        Case { ignore, tree }
    }

    fn line(&mut self, paths: &[&[u8]]) -> Vec<u8> {
        let mut line: Vec<u8> = match self.below(12) {
            0 => self
                .of(&[
                    "", "# c", " # c", "*", "**", "!", "/", ".", "..", "***", "!**", "*/*",
                ])
                .into(),
            1 => (0..1 + self.below(7))
                .flat_map(|_| self.piece().to_vec())
                .collect(),
            2..6 => self.path(),
            _ if paths.is_empty() => self.path(),
            _ => self.of(paths).to_vec(),
        };
        for _ in 0..self.below(3) {
            self.change(&mut line);
        }
        if self.one_in(3) {
            line.insert(0, b'!');
        }
        if self.one_in(10) {
            line.insert(0, self.of(b" \t!/"));
        }
        line
    }

    fn piece(&mut self) -> &'static [u8] {
        const PIECES: [&[u8]; 40] = [
            b"*",
            b"**",
            b"?",
            b"[",
            b"]",
            b"[a-c]",
            b"[^a]",
            b"\\",
            b"\\*",
            b"!",
            b"{",
            b"}",
            b"|",
            b"-",
            b"#",
            b".",
            b"/",
            b"a",
            b"b",
            b"foo",
            b"^",
            b"$",
            b"(",
            b")",
            b"+",
            b"[]",
            b"[*]",
            b"\\d",
            b"\\w",
            b"{2}",
            b"{1,2}",
            b"a|b",
            b"\\Q",
            b"[[:alpha:]]",
            b"[\\]a]",
            b" ",
            "é".as_bytes(),
            b"\xff",
            b"\\.",
            b"[?]",
        ];
        self.of(&PIECES)
    }

    /// Makes something like a pattern of something like a path.
    fn change(&mut self, line: &mut Vec<u8>) {
        let at = self.below(line.len() + 1);
        let replace = |line: &mut Vec<u8>, from: usize, to: usize, with: &[u8]| {
            line.splice(from..to, with.iter().copied());
        };
        match self.below(9) {
            0 => line.splice(..0, b"**/".iter().copied()).for_each(drop),
            1 => line.extend_from_slice(b"/**"),
            2 => line.extend_from_slice(self.of(&["/", "/*", "**", "/.", "/..", " ", "*"]).as_bytes()),
            3 => {
                // A whole part becomes wild.
                let start = line[..at]
                    .iter()
                    .rposition(|byte| *byte == b'/')
                    .map_or(0, |slash| slash + 1);
                let end = line[at..]
                    .iter()
                    .position(|byte| *byte == b'/')
                    .map_or(line.len(), |slash| at + slash);
                let wild = self.of(&["*", "**", "?", "*.*", "*.txt", "[a-f]*"]);
                replace(line, start, end, wild.as_bytes());
            }
            4 if !line.is_empty() => {
                let at = at.min(line.len() - 1);
                let wild = self.of(&["*", "?", "[a-z]", "**"]);
                replace(line, at, at + 1, wild.as_bytes());
            }
            5 => line.truncate(at),
            6 => line
                .splice(..0, self.of(&["/", "./", "../", "*/", "**"]).bytes())
                .for_each(drop),
            7 => {
                let piece = self.piece();
                replace(line, at, at, piece);
            }
            _ => replace(line, at, at, b"*"),
        }
    }
}
