//! The lines that differ between two texts, as a short unified diff.

use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

/// Unchanged lines around a change.
const CONTEXT: usize = 1;

/// The most lines that a diff has.
const LINES: usize = 40;

/// The first line (counted from 1) where they differ; `None` for equal texts.
pub(crate) fn first_line(old: &str, new: &str) -> Option<usize> {
    let same = old.lines().zip(new.lines()).take_while(|(old, new)| old == new);
    (old != new).then(|| same.count() + 1)
}

/// Hunks with a line of context, cut after 40 lines; empty for equal
/// texts.
pub(crate) fn unified(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut lines = Vec::new();
    let edits = capture_diff_slices(Algorithm::Myers, &old, &new);
    for hunk in group_diff_ops(edits, CONTEXT) {
        lines.extend(head(&hunk));
        let changes = hunk.iter().flat_map(|edit| edit.iter_changes(&old, &new));
        lines.extend(changes.map(|change| format!("{}{}", change.tag(), change.value())));
    }
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("… {more} more lines"));
    }
    lines
}

/// Where a hunk stands: first line and count, of the old text and the new one.
fn head(hunk: &[DiffOp]) -> Option<String> {
    // As diff does it: an empty side names the line before it.
    let side = |start: usize, end: usize| format!("{},{}", start + usize::from(end > start), end - start);
    let (first, last) = (hunk.first()?, hunk.last()?);
    let old = side(first.old_range().start, last.old_range().end);
    let new = side(first.new_range().start, last.new_range().end);
    Some(format!("@@ -{old} +{new} @@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_has_its_neighbours() {
        let old = "1\n2\n3\n4\n5\n";
        assert_eq!(
            unified(old, "1\n2\nx\n4\n5\n"),
            ["@@ -2,3 +2,3 @@", " 2", "-3", "+x", " 4"]
        );
        assert_eq!(first_line(old, "1\n2\nx\n4\n5\n"), Some(3));
        assert!(unified(old, old).is_empty());
        assert_eq!(first_line(old, old), None);
    }

    #[test]
    fn far_changes_are_hunks_of_their_own() {
        assert_eq!(
            unified("a\n1\n2\n3\n4\nb\n", "1\n2\n3\n4\nb\nc\n"),
            ["@@ -1,2 +1,1 @@", "-a", " 1", "@@ -6,1 +5,2 @@", " b", "+c"]
        );
        assert_eq!(unified("", "a\n"), ["@@ -0,0 +1,1 @@", "+a"]);
    }

    #[test]
    fn long_ones_are_cut() {
        let new: String = (0..100).map(|n| format!("{n}\n")).collect();
        let lines = unified("", &new);
        assert_eq!(lines.len(), LINES + 1);
        assert_eq!(lines.last().unwrap(), "… 61 more lines");
    }
}
