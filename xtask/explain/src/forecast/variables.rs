//! Variables of a Dockerfile: `$NAME` in words, and what is in scope. Pure.

use std::collections::BTreeMap;

/// A variable's name → its value.
pub(crate) type Values = BTreeMap<String, String>;

/// A word as the Dockerfile's own expansion leaves it: variables filled in,
/// quotes and backslashes gone. `None` for a form that is not known here, such
/// as `${X%.*}`.
pub(crate) fn expand(word: &str, values: &Values) -> Option<String> {
    let (mut out, mut quote) = (String::new(), None);
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote == Some(c) => quote = None,
            '\\' if quote != Some('\'') => out.push(rest.next().unwrap_or('\\')),
            '$' if quote != Some('\'') => {
                let (value, after) = variable(rest.as_str(), values)?;
                out.push_str(&value);
                rest = after.chars();
            }
            _ => out.push(c),
        }
    }
    Some(out)
}

/// The value of what follows a `$`, and the rest.
fn variable<'t>(text: &'t str, values: &Values) -> Option<(String, &'t str)> {
    let value = |name: &str| values.get(name).cloned();
    let Some(inner) = text.strip_prefix('{') else {
        let end = name_end(text);
        if end == 0 {
            return Some(("$".to_owned(), text));
        }
        return Some((value(&text[..end]).unwrap_or_default(), &text[end..]));
    };
    let end = name_end(inner);
    let (name, rest) = inner.split_at(end);
    if let Some(after) = rest.strip_prefix('}') {
        return Some((value(name).unwrap_or_default(), after));
    }
    let (colon, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let operator = rest.chars().next()?;
    let (alternative, after) = rest[operator.len_utf8()..].split_once('}')?;
    if alternative.contains('{') {
        return None;
    }
    let set = value(name).filter(|value| !colon || !value.is_empty());
    let value = match operator {
        '-' => match set {
            Some(value) => value,
            None => expand(alternative, values)?,
        },
        '+' => match set {
            Some(_) => expand(alternative, values)?,
            None => String::new(),
        },
        _ => return None,
    };
    Some((value, after))
}

fn name_end(text: &str) -> usize {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 1;
    }
    text.find(|c| !part(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_dockerfile_reference() {
        let values = Values::from([
            ("A".to_owned(), "x y".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        for (word, expanded) in [
            ("/opt/$A/b", "/opt/x y/b"),
            ("${A}b", "x yb"),
            ("$Ab", ""),
            ("${NO:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:+set}", "set"),
            ("${EMPTY:+set}${EMPTY+is}", "is"),
            ("${NO:-$A}", "x y"),
            ("'$A' \"$A\" \\$A", "$A x y $A"),
            ("5$", "5$"),
        ] {
            assert_eq!(expand(word, &values).as_deref(), Some(expanded), "{word}");
        }
        for word in ["${A%%x}", "${A", "${A/x/y}", "${NO:-${A}}"] {
            assert_eq!(expand(word, &values), None, "{word}");
        }
    }
}
