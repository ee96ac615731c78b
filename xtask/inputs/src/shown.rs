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
        assert!(matches!(one_line("größe 漢"), Cow::Borrowed("größe 漢")));
    }
}
