//! Which folders are members of a uv workspace, as the pyproject.toml at its top says.

use std::path::Path;

use toml::{Table, Value};

use crate::dependencies::at;

/// Whether a folder, as from the top, is one of the members that `top` names.
pub fn has_member(top: &Table, folder: &Path) -> bool {
    let is_named = |key: &str| {
        let patterns = at(top, &["tool", "uv", "workspace", key]).and_then(Value::as_array);
        let mut patterns = patterns.into_iter().flatten().filter_map(Value::as_str);
        patterns.any(|pattern| matches(pattern, folder))
    };
    is_named("members") && !is_named("exclude")
}

/// Whether a pattern such as `apps/*` means a path: part by part, with `*` and
/// `?` in each, and `**` for any number of parts.
fn matches(pattern: &str, path: &Path) -> bool {
    let pattern: Vec<&str> = pattern
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    let path: Vec<String> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    parts_match(&pattern, &path)
}

fn parts_match(pattern: &[&str], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            parts_match(rest, path)
                || path
                    .split_first()
                    .is_some_and(|(_, after)| parts_match(pattern, after))
        }
        (Some((part, rest)), Some((name, after))) => {
            let part: Vec<char> = part.chars().collect();
            let name: Vec<char> = name.chars().collect();
            name_matches(&part, &name) && parts_match(rest, after)
        }
        _ => false,
    }
}

fn name_matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => {
            name_matches(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, after)| name_matches(pattern, after))
        }
        (Some((one, rest)), Some((other, after))) => {
            (*one == '?' || one == other) && name_matches(rest, after)
        }
        _ => false,
    }
}
