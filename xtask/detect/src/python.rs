//! Python sources as logical lines of tokens, without a Python.
//!
//! It knows what tells one statement from the next: strings of every kind,
//! comments, brackets, continued lines, indentation. What it does not know it
//! passes over: a wrong text gives odd tokens, never an error.

pub(crate) mod library;
pub(crate) mod statement;

/// The kinds of tokens that the rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A name or a keyword; the rules tell them apart by their text.
    Name,
    /// A string; the text is what stands between its quotes, escapes as written.
    Text,
    /// An f-string, in the same way.
    Formatted,
    Number,
    /// An operator or a bracket.
    Sign,
}

/// One token, and the line that it begins on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub(crate) kind: TokenKind,
    pub(crate) text: &'t str,
    pub(crate) line: usize,
}

impl Token<'_> {
    pub(crate) fn is(&self, sign: &str) -> bool {
        self.kind == TokenKind::Sign && self.text == sign
    }

    pub(crate) fn is_name(&self, name: &str) -> bool {
        self.kind == TokenKind::Name && self.text == name
    }
}

/// A logical line: one simple statement, or the head of a compound one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'t> {
    pub(crate) indent: usize,
    pub(crate) tokens: Vec<Token<'t>>,
}

/// The logical lines of a source.
pub(crate) fn lines(text: &str) -> Vec<Line<'_>> {
    scan(text).0
}

/// The same, and whether the text was understood to its end: what is left open
/// may have swallowed the lines after it.
pub(crate) fn scan(text: &str) -> (Vec<Line<'_>>, bool) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut scanner = Scanner {
        text,
        at: 0,
        line: 1,
        // Lines that end in CR alone are one long line here.
        is_whole: !text.replace("\r\n", "").contains('\r'),
    };
    let mut lines = Vec::new();
    while let Some(Line { indent, mut tokens }) = scanner.line() {
        let ends: Vec<usize> = statement::top_level(&tokens, ";").collect();
        let mut statements = Vec::new();
        for end in ends.into_iter().rev() {
            statements.push(tokens.split_off(end + 1));
            tokens.pop();
        }
        statements.push(tokens);
        for tokens in statements.into_iter().rev() {
            add(Line { indent, tokens }, &mut lines);
        }
    }
    (lines, scanner.is_whole)
}

/// Adds a line, or two: a compound statement may have its body beside it.
fn add<'t>(line: Line<'t>, lines: &mut Vec<Line<'t>>) {
    const COMPOUND: [&str; 14] = [
        "if", "elif", "else", "for", "while", "try", "except", "finally", "with", "def", "class", "async",
        "match", "case",
    ];
    let Line { indent, mut tokens } = line;
    let Some(first) = tokens.first() else { return };
    let compound = COMPOUND.iter().any(|word| first.is_name(word));
    let colon = compound.then(|| statement::first(&tokens, ":")).flatten();
    let body = colon.map(|colon| tokens.split_off(colon + 1)).unwrap_or_default();
    lines.push(Line { indent, tokens });
    if !body.is_empty() {
        lines.push(Line {
            indent: indent + 1,
            tokens: body,
        });
    }
}

/// Operators of several characters, the longest first: the first that fits is
/// taken.
const SIGNS: [&str; 24] = [
    "**=", "//=", ">>=", "<<=", "...", "->", ":=", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "|=",
    "&=", "%=", "@=", "^=", "**", "//", ">>", "<<",
];

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    /// Every string and bracket so far has its end.
    is_whole: bool,
}

impl<'t> Scanner<'t> {
    /// The next logical line that has tokens.
    fn line(&mut self) -> Option<Line<'t>> {
        let mut tokens: Vec<Token<'t>> = Vec::new();
        let mut indent = self.indent();
        let mut depth = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                '\n' => {
                    self.step();
                    if depth == 0 {
                        if !tokens.is_empty() {
                            return Some(Line { indent, tokens });
                        }
                        indent = self.indent();
                    }
                }
                '#' => drop(self.take_while(|c| c != '\n')),
                '\\' => {
                    self.step();
                    self.take_while(|c| c == '\r');
                    if self.peek() == Some('\n') {
                        self.step();
                    }
                }
                c if c.is_whitespace() => self.step(),
                c => {
                    let token = self.token(c);
                    if token.kind == TokenKind::Sign {
                        match token.text {
                            "(" | "[" | "{" => depth += 1,
                            ")" | "]" | "}" => depth = depth.saturating_sub(1),
                            _ => {}
                        }
                    }
                    tokens.push(token);
                }
            }
        }
        self.is_whole &= depth == 0;
        (!tokens.is_empty()).then_some(Line { indent, tokens })
    }

    /// Of the line that begins here; a tab leads to the next multiple of eight.
    fn indent(&mut self) -> usize {
        let mut indent = 0;
        while let Some(c @ (' ' | '\t' | '\u{c}')) = self.peek() {
            indent = match c {
                ' ' => indent + 1,
                '\t' => (indent / 8 + 1) * 8,
                _ => 0,
            };
            self.step();
        }
        indent
    }

    fn token(&mut self, first: char) -> Token<'t> {
        let line = self.line;
        let token = |kind, text| Token { kind, text, line };
        if first == '"' || first == '\'' {
            return token(TokenKind::Text, self.string(false));
        }
        if first.is_ascii_digit() {
            let digits = self.take_while(|c| c.is_alphanumeric() || c == '_' || c == '.');
            return token(TokenKind::Number, digits);
        }
        if first.is_alphabetic() || first == '_' {
            let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
            let prefix = name.len() <= 3 && name.chars().all(|c| "rbufRBUFtT".contains(c));
            if prefix && matches!(self.peek(), Some('"' | '\'')) {
                return match name.contains(['f', 'F', 't', 'T']) {
                    true => token(TokenKind::Formatted, self.string(true)),
                    false => token(TokenKind::Text, self.string(false)),
                };
            }
            return token(TokenKind::Name, name);
        }
        let rest = self.rest();
        let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
        let length = sign.map_or(first.len_utf8(), |sign| sign.len());
        self.at += length;
        token(TokenKind::Sign, &rest[..length])
    }

    /// The inside of the string whose first quote is here.
    fn string(&mut self, formatted: bool) -> &'t str {
        let rest = self.rest();
        let quote = &rest[..1];
        let triple = rest.starts_with(&quote.repeat(3));
        let end = if triple { &rest[..3] } else { quote };
        self.at += end.len();
        let start = self.at;
        while let Some(c) = self.peek() {
            if self.rest().starts_with(end) {
                let inside = &self.text[start..self.at];
                self.at += end.len();
                return inside;
            }
            match c {
                '\\' => {
                    self.step();
                    self.take_while(|c| c == '\r');
                    self.step();
                }
                // Its closing quote is missing.
                '\n' if !triple => break,
                '{' if formatted && !self.rest().starts_with("{{") => self.expression(),
                '{' if formatted => {
                    self.step();
                    self.step();
                }
                _ => self.step(),
            }
        }
        self.is_whole = false;
        &self.text[start..self.at]
    }

    /// Passes over what stands in braces in an f-string, the strings in it included.
    fn expression(&mut self) {
        let mut depth = 0_usize;
        while let Some(c) = self.peek() {
            match c {
                '\n' if depth == 0 => return,
                '"' | '\'' => drop(self.string(false)),
                '{' | '[' | '(' => {
                    depth += 1;
                    self.step();
                }
                '}' | ']' | ')' => {
                    depth = depth.saturating_sub(1);
                    self.step();
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.step(),
            }
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn step(&mut self) {
        if let Some(c) = self.peek() {
            self.at += c.len_utf8();
            self.line += usize::from(c == '\n');
        }
    }

    fn take_while(&mut self, good: impl Fn(char) -> bool) -> &'t str {
        let start = self.at;
        while self.peek().is_some_and(&good) {
            self.step();
        }
        &self.text[start..self.at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Indent and texts of each line.
    fn shown(text: &str) -> Vec<String> {
        let lines = lines(text);
        let show = |line: &Line<'_>| {
            let texts: Vec<&str> = line.tokens.iter().map(|token| token.text).collect();
            format!("{}:{} {}", line.tokens[0].line, line.indent, texts.join(" "))
        };
        lines.iter().map(show).collect()
    }

    #[test]
    fn lines_end_where_statements_do() {
        let text = "a = [1, # one\n  2]\n\nif b: c; d\nelse:\n\te = \\\n 5\n";
        assert_eq!(
            shown(text),
            [
                "1:0 a = [ 1 , 2 ]",
                "4:0 if b :",
                "4:1 c",
                "4:0 d",
                "5:0 else :",
                "6:8 e = 5"
            ]
        );
    }

    #[test]
    fn what_stands_in_a_string_is_no_code() {
        for (text, inside) in [
            ("'a # b'", "a # b"),
            ("\"\"\"a\n'b' \"c\" \"\"\"", "a\n'b' \"c\" "),
            (r"r'\d'", r"\d"),
            (r"'it\'s'", r"it\'s"),
            ("''", ""),
            ("\"\"\"\"\"\"", ""),
            ("b'x'", "x"),
        ] {
            let line = lines(text);
            assert_eq!(line[0].tokens.len(), 1, "{text}: {line:?}");
            assert_eq!(
                (line[0].tokens[0].kind, line[0].tokens[0].text),
                (TokenKind::Text, inside)
            );
        }
        let formatted = lines("f\"{a[\"k\"]} {{x}} {b:{c}}\" + 'y'");
        assert_eq!(formatted[0].tokens[0].kind, TokenKind::Formatted);
        assert_eq!(formatted[0].tokens[0].text, "{a[\"k\"]} {{x}} {b:{c}}");
        assert_eq!(formatted[0].tokens[2].text, "y");
    }

    #[test]
    fn a_text_that_is_no_python_is_passed_over() {
        for text in [
            "'",
            "\"\"\"",
            "f'{",
            ")]}",
            "a = (",
            "\\",
            "ü = 'ä",
            "'€'",
            "f'{€",
            "f'{a!r:>{w",
            "\u{feff}x",
            "b'",
            "0x",
            "\r\n\r",
        ] {
            lines(text);
        }
        assert_eq!(shown("x = 'open\ny = 1\n"), ["1:0 x = open", "2:0 y = 1"]);
        for (text, whole) in [
            ("x = ('a \\\r\n ( b')\r\ny = f'{z!r:>{w}}'\r\n", true),
            ("x = (", false),
            ("x = 'open\ny = 1\n", false),
            ("x = \"\"\"open\n", false),
            // A quote fills up: seldom, and odd enough to end a string too early.
            ("x = f\"{y:'<9}\"\ny = 1\n", false),
            ("# one\ry = 1\r", false),
        ] {
            assert_eq!(scan(text).1, whole, "{text:?}");
        }
    }
}
