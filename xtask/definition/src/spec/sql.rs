//! What of a spec's SQL cannot work where it runs: in psql, as the app's role,
//! in one transaction that is not its own.
//!
//! Reads words, quotes and comments as psql does, and no grammar.

use std::iter::Peekable;
use std::str::Chars;

/// First words of statements that begin or end a transaction.
const TRANSACTION: [&str; 7] = ["abort", "begin", "commit", "end", "rollback", "start", "prepare"];

/// Checks statements.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn check(sql: &str) -> Result<(), String> {
    let mut statement = Statement::default();
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' => quoted(&mut rest, c, false)?,
            '-' if rest.peek() == Some(&'-') => drop(rest.find(|c| *c == '\n')),
            '/' if rest.peek() == Some(&'*') => comment(&mut rest)?,
            '$' => dollar_quoted(&mut rest)?,
            '\\' => {
                return Err(format!(
                    "has `\\{}`, a command of psql: write SQL alone",
                    rest.peek().unwrap_or(&' ')
                ));
            }
            ';' if statement.is_whole() => statement.take()?,
            c if is_word(c) => {
                let mut word = c.to_lowercase().to_string();
                while let Some(c) = rest.next_if(|c| is_word(*c) || *c == '$') {
                    word.extend(c.to_lowercase());
                }
                if word == "e" && rest.next_if_eq(&'\'').is_some() {
                    quoted(&mut rest, '\'', true)?;
                } else {
                    statement.add(word);
                }
            }
            _ => {}
        }
    }
    statement.take()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of a statement outside of quotes.
#[derive(Default)]
struct Statement {
    words: Vec<String>,
    /// How many ends the body of a function has still to come to: `BEGIN ATOMIC`
    /// and each `CASE` in it have one.
    open: usize,
}

impl Statement {
    fn last(&self) -> Option<&str> {
        self.words.last().map(String::as_str)
    }

    fn add(&mut self, word: String) {
        match (self.last(), word.as_str()) {
            (Some("begin"), "atomic") => self.open += 1,
            (_, "case") if self.open > 0 => self.open += 1,
            (_, "end") => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        self.words.push(word);
    }

    /// Whether a semicolon ends it.
    fn is_whole(&self) -> bool {
        self.open == 0
    }

    fn take(&mut self) -> Result<(), String> {
        let words = std::mem::take(self).words;
        let Some(first) = words.first() else {
            return Ok(());
        };
        let has = |word: &str| words.iter().any(|other| other == word);
        // Back to a savepoint of its own is fine, and so is a prepared query.
        let own = (first == "rollback" && has("to")) || (first == "prepare" && !has("transaction"));
        if TRANSACTION.contains(&first.as_str()) && !own {
            return Err(format!(
                "has {}: all statements run in one transaction, which ends after the last one",
                first.to_uppercase()
            ));
        }
        if first == "copy" && (has("stdin") || has("stdout")) {
            return Err(
                "has COPY with the client's input or output, which is psql's own: use INSERT".to_owned(),
            );
        }
        Ok(())
    }
}

/// Up to the closing quote; doubled it is part of the text.
fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char, escapes: bool) -> Result<(), String> {
    while let Some(c) = rest.next() {
        if c == '\\' && escapes {
            rest.next();
        } else if c == quote && rest.next_if_eq(&quote).is_none() {
            return Ok(());
        }
    }
    Err(format!("has a {quote} without its partner"))
}

/// Reads to the end of a comment; in PostgreSQL it may hold others.
fn comment(rest: &mut Peekable<Chars<'_>>) -> Result<(), String> {
    let mut depth = 0_usize;
    // The star of the opening is still to come, and closes nothing.
    let mut before = '/';
    for c in rest.by_ref() {
        match (before, c) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                before = c;
                continue;
            }
        }
        if depth == 0 {
            return Ok(());
        }
        before = ' ';
    }
    Err("has a comment without its end".to_owned())
}

/// `$tag$ … $tag$`, or a parameter such as `$1`, which is no quote.
fn dollar_quoted(rest: &mut Peekable<Chars<'_>>) -> Result<(), String> {
    let mut tag = String::from("$");
    loop {
        match rest.peek() {
            Some('$') => break,
            Some(c) if is_word(*c) && !(tag.len() == 1 && c.is_ascii_digit()) => tag.push(*c),
            _ => return Ok(()),
        }
        rest.next();
    }
    tag.push('$');
    rest.next();
    let text: String = rest.clone().collect();
    let Some(end) = text.find(&tag) else {
        return Err(format!("has a {tag} without its partner"));
    };
    let passed = text[..end + tag.len()].chars().count();
    rest.nth(passed - 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_can_run_in_one_transaction() {
        for sql in [
            "CREATE TABLE t (id int, \"commit\" text DEFAULT 'COMMIT; \\! id')",
            "SELECT 1; -- COMMIT;\nSELECT 2; /* a /* ROLLBACK; */ \\! */",
            "DO $$ BEGIN PERFORM 1; COMMIT; END $$",
            "DO $a$ BEGIN PERFORM $b$;$b$; END; $a$; SELECT $$'$$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT f()",
            "SAVEPOINT a; ROLLBACK TO SAVEPOINT a; RELEASE a",
            "PREPARE q AS SELECT $1::int; EXECUTE q(1)",
            "SELECT E'it\\'s; COMMIT', 'a''b;', U&'x\\0041'",
            "INSERT INTO t VALUES ('C:\\')",
            "SELECT * FROM t e WHERE e = 'C:\\'",
            "COPY t FROM '/tmp/x'",
            "SELECT 1 AS end",
            "",
            ";;",
        ] {
            assert_eq!(check(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn statements_that_cannot() {
        for (sql, said) in [
            ("COMMIT", "has COMMIT"),
            ("SELECT 1; rollback ; SELECT 2", "has ROLLBACK"),
            ("/* x */ End", "has END"),
            ("ABORT", "has ABORT"),
            ("BEGIN", "has BEGIN"),
            ("START TRANSACTION", "has START"),
            ("PREPARE TRANSACTION 'x'", "has PREPARE"),
            (
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END; COMMIT",
                "has COMMIT",
            ),
            ("\\! id", "has `\\!`"),
            ("SELECT 1 \\gexec", "has `\\g`"),
            ("COPY t FROM STDIN", "has COPY"),
            ("SELECT 'x", "has a ' without its partner"),
            ("SELECT \"x", "has a \" without its partner"),
            ("DO $x$ BEGIN END $y$", "has a $x$ without its partner"),
            ("SELECT 1 /* /* */", "has a comment without its end"),
            ("SELECT E'\\", "has a ' without its partner"),
        ] {
            let error = check(sql).unwrap_err();
            assert!(error.starts_with(said), "{sql}: {error}");
        }
    }
}
