//! Texts of others for terminals and logs: control characters as escapes, so
//! that the name of a file moves no cursor and forges no line.

use std::borrow::Cow;

/// A name, on one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

/// A text that may have lines and tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() && !matches!(c, '\n' | '\t'))
}

/// A line of somebody's output, with its colours, for a terminal.
pub fn colored(text: &str) -> Cow<'_, str> {
    let mut parts = text.split("\u{1b}[");
    let first = one_line_with_tabs(parts.next().unwrap_or_default());
    let mut safe = first.clone().into_owned();
    let mut is_colored = false;
    for part in parts {
        is_colored = true;
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':');
        let is_color = end.is_some_and(|end| part[end..].starts_with('m'));
        safe.push_str(if is_color { "\u{1b}[" } else { "\\u{1b}[" });
        safe.push_str(&one_line_with_tabs(part));
    }
    if is_colored { Cow::Owned(safe) } else { first }
}

fn one_line_with_tabs(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.is_control() && c != '\t')
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::new();
    for c in text.chars() {
        if is_bad(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escapes_and_the_rest_stays() {
        assert_eq!(one_line("a\nb\u{1b}[2J\u{9b}\t"), "a\\nb\\u{1b}[2J\\u{9b}\\t");
        assert_eq!(lines("a\nb\r\tc"), "a\nb\\r\tc");
        assert_eq!(
            colored("\u{1b}[1;32mok\u{1b}[0m\t\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}["),
            "\u{1b}[1;32mok\u{1b}[0m\t\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{1b}["
        );
        assert!(matches!(colored("größe\t漢"), Cow::Borrowed("größe\t漢")));
        assert!(matches!(one_line("größe 漢"), Cow::Borrowed("größe 漢")));
    }
}
