//! Which inputs of a context an instruction reads. Pure.

use super::input::{Input, InputKind, Inputs};
use crate::fingerprint::encoding;

/// A name for what an instruction reads at `source`, an absolute or relative
/// path in the context whose parts may be patterns: what lies there, and
/// everything below it.
///
/// Where a link or `..` leads elsewhere, the whole context: whatever is read is
/// in it.
pub fn digest(inputs: &Inputs, source: &str) -> String {
    match read(inputs, source) {
        Some(read) => encoding::fingerprint("read", 1, |frame| {
            frame.frames("inputs", read.iter(), |frame, input| input.encode(frame));
        })
        .to_string(),
        None => inputs.digest().to_string(),
    }
}

/// The inputs at `source`; `None` where all of them count.
fn read<'a>(inputs: &'a Inputs, source: &str) -> Option<Vec<&'a Input>> {
    let parts: Vec<&str> = source
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.is_empty() || parts.contains(&"..") {
        return None;
    }
    let (literal, patterns) = parts.split_at(parts.iter().take_while(|part| is_literal(part)).count());
    let mut found = Vec::new();
    // A link on the way leads elsewhere.
    for depth in 1..=literal.len() {
        match at(inputs, &literal[..depth].join("/")) {
            Some(input) if is_link(input) => return None,
            Some(input) if depth == parts.len() => found.push(input),
            _ => {}
        }
    }
    let folder = literal.join("/");
    let below = below(inputs, &folder);
    if patterns.is_empty() {
        found.extend(below);
        return Some(found);
    }
    let mut rest = below;
    while let Some(input) = rest.first() {
        let name = names(&folder, input).next().unwrap_or_default();
        // What lies below one folder lies together, and is passed over at once
        // where the pattern does not name it.
        let family = match names(&folder, input).nth(1) {
            Some(_) => {
                let start = input.path.len() - path_below(&folder, input).len();
                let prefix = &input.path[..=start + name.len()];
                rest.partition_point(|input| input.path.starts_with(prefix))
            }
            None => 1,
        };
        let (family, after) = rest.split_at(family);
        rest = after;
        if !matches(patterns[0], name) {
            continue;
        }
        for input in family {
            let mut below = names(&folder, input).skip(1);
            let matched = 1 + patterns[1..]
                .iter()
                .take_while(|pattern| below.next().is_some_and(|name| matches(pattern, name)))
                .count();
            if matched == names(&folder, input).count() && is_link(input) {
                return None;
            }
            if matched == patterns.len() {
                found.push(input);
            }
        }
    }
    Some(found)
}

/// An input's path below a folder.
fn path_below<'a>(folder: &str, input: &'a Input) -> &'a str {
    let path = &input.path[folder.len()..];
    path.strip_prefix('/').unwrap_or(path)
}

/// The parts of that path.
fn names<'a>(folder: &str, input: &'a Input) -> impl Iterator<Item = &'a str> {
    path_below(folder, input).split('/')
}

fn is_literal(part: &str) -> bool {
    !part.contains(['*', '?', '[', '\\'])
}

fn is_link(input: &Input) -> bool {
    matches!(input.kind, InputKind::Symlink { .. })
}

fn at<'a>(inputs: &'a Inputs, path: &str) -> Option<&'a Input> {
    let found = inputs.binary_search_by(|input| (*input.path).cmp(path));
    found.ok().map(|at| &inputs[at])
}

/// Everything below a folder; below the root, whose path is empty, everything.
fn below<'a>(inputs: &'a Inputs, folder: &str) -> &'a [Input] {
    if folder.is_empty() {
        return inputs;
    }
    let prefix = format!("{folder}/");
    let start = inputs.partition_point(|input| *input.path < *prefix);
    let rest = &inputs[start..];
    let length = rest.partition_point(|input| input.path.starts_with(&prefix));
    &rest[..length]
}

/// Go's `path.Match` of one path part: `*`, `?`, `[a-z]`, `[^a]`, `\x`. A
/// pattern that Go refuses matches nothing here; the build tells its place.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    matches_at(&pattern, &name)
}

fn matches_at(pattern: &[char], name: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty();
    };
    match (first, name.split_first()) {
        ('*', _) => (0..=name.len()).any(|skipped| matches_at(rest, &name[skipped..])),
        ('?', Some((_, after))) => matches_at(rest, after),
        ('[', Some((c, after))) => match class(rest, *c) {
            Some((true, rest)) => matches_at(rest, after),
            _ => false,
        },
        ('\\', Some((c, after))) => rest.first() == Some(c) && matches_at(&rest[1..], after),
        (literal, Some((c, after))) => literal == c && matches_at(rest, after),
        (_, None) => false,
    }
}

/// Whether a class that starts here has `c`, and what follows the class.
fn class(pattern: &[char], c: char) -> Option<(bool, &[char])> {
    let (negated, mut rest) = match pattern.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    let mut first = true;
    loop {
        match rest {
            [']', after @ ..] if !first => return Some((found != negated, after)),
            ['\\', low, '-', high, after @ ..] | [low, '-', high, after @ ..] if *high != ']' => {
                found |= (*low..=*high).contains(&c);
                rest = after;
            }
            ['\\', one, after @ ..] | [one, after @ ..] => {
                found |= *one == c;
                rest = after;
            }
            [] => return None,
        }
        first = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(paths: &[&str]) -> Inputs {
        let input = |path: &&str| {
            let (path, kind) = match path.split_once(" -> ") {
                Some((path, target)) => (
                    path,
                    InputKind::Symlink {
                        target: target.into(),
                    },
                ),
                None => (*path, InputKind::Directory),
            };
            Input {
                path: path.into(),
                kind,
            }
        };
        paths.iter().map(input).collect()
    }

    fn paths(source: &str) -> Vec<String> {
        let all = inputs(&[
            "api",
            "api/a.py",
            "api/sub/b.py",
            "apix",
            "pyproject.toml",
            "uv.lock",
        ]);
        let read = read(&all, source).unwrap();
        read.iter().map(|input| input.path.to_string()).collect()
    }

    #[test]
    fn a_source_is_what_it_names_and_all_below() {
        assert_eq!(paths("./api/"), ["api", "api/a.py", "api/sub/b.py"]);
        assert_eq!(paths("/api/sub"), ["api/sub/b.py"]);
        assert_eq!(paths("[p]yproject.tom[l]"), ["pyproject.toml"]);
        assert_eq!(paths("a*"), ["api", "api/a.py", "api/sub/b.py", "apix"]);
        assert_eq!(paths("*.lock"), ["uv.lock"]);
        assert_eq!(paths("none"), [""; 0]);
        assert_eq!(paths("?????????????.toml"), [""; 0]);
        assert_eq!(paths("api/*.py"), ["api/a.py"]);
        assert_eq!(paths("*/*/b.*"), ["api/sub/b.py"]);
        assert_eq!(paths("[^a]*.toml"), ["pyproject.toml"]);
        assert_eq!(paths("[n-q]yproject\\.toml"), ["pyproject.toml"]);
        assert_eq!(paths("[n-"), [""; 0]);
    }

    #[test]
    fn names_that_sort_between_a_folder_and_what_is_in_it() {
        let all = inputs(&["a", "a!", "a.b", "a/x", "a/y/z", "a0", "a0/x"]);
        let paths = |source: &str| -> Vec<String> {
            let read = read(&all, source).unwrap();
            read.iter().map(|input| input.path.to_string()).collect()
        };
        assert_eq!(paths("[a]"), ["a", "a/x", "a/y/z"]);
        assert_eq!(paths("a?"), ["a!", "a0", "a0/x"]);
        assert_eq!(paths("*/x"), ["a/x", "a0/x"]);
        assert_eq!(paths("a/*/[z]"), ["a/y/z"]);
    }

    #[test]
    fn the_root_and_what_links_lead_to_is_the_whole_context() {
        let all = inputs(&["a -> b", "b", "c"]);
        for source in [".", "/", "a", "a/x", "[a]", "../x"] {
            assert!(read(&all, source).is_none(), "{source}");
        }
        assert!(read(&all, "b").is_some());
        // A link below a copied folder is copied as a link.
        let below = inputs(&["d", "d/l -> x"]);
        assert!(read(&below, "d").is_some());
        assert!(read(&below, "d/*").is_none());
    }

    #[test]
    fn digests_tell_contents_apart() {
        let all = inputs(&["a", "b"]);
        assert_eq!(digest(&all, "."), digest(&all, "/"));
        assert_ne!(digest(&all, "a"), digest(&all, "b"));
        assert_ne!(digest(&all, "a"), digest(&all, "none"));
    }
}
