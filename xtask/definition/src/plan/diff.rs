//! The lines that differ between two texts, as a short unified diff.

/// Unchanged lines around a change.
const CONTEXT: usize = 1;

/// As many lines as a diff has.
const LINES: usize = 40;

/// Larger differences are shown as all old lines, then all new ones: the table
/// would take more memory than the answer is worth.
const CELLS: usize = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Keep,
    Remove,
    Add,
}

/// The first line (counted from 1) where they differ; `None` for equal texts.
pub(crate) fn first_line(old: &str, new: &str) -> Option<usize> {
    let same = common(old.lines(), new.lines());
    (old != new).then_some(same + 1)
}

/// Hunks with a line of context, cut after 40 lines; empty for equal
/// texts.
pub(crate) fn unified(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut lines = Vec::new();
    for (from, to) in hunks(&edits(&old, &new)) {
        lines.extend(hunk(&old, &new, &from, to));
    }
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("… {more} more lines"));
    }
    lines
}

/// A place in the edits, with the old and new lines before it.
#[derive(Clone, Debug)]
struct Place<'a> {
    edits: &'a [Edit],
    at: usize,
    old: usize,
    new: usize,
}

/// Start and end of each group of changes, context included.
fn hunks(edits: &[Edit]) -> Vec<(Place<'_>, usize)> {
    let mut groups: Vec<(usize, usize)> = Vec::new();
    for (n, edit) in edits.iter().enumerate() {
        if *edit == Edit::Keep {
            continue;
        }
        let (start, end) = (n.saturating_sub(CONTEXT), (n + 1 + CONTEXT).min(edits.len()));
        match groups.last_mut() {
            Some(last) if start <= last.1 => last.1 = end,
            _ => groups.push((start, end)),
        }
    }
    let place = |at: usize| Place {
        edits,
        at,
        old: edits[..at].iter().filter(|edit| **edit != Edit::Add).count(),
        new: edits[..at].iter().filter(|edit| **edit != Edit::Remove).count(),
    };
    groups
        .into_iter()
        .map(|(start, end)| (place(start), end))
        .collect()
}

fn hunk(old: &[&str], new: &[&str], from: &Place<'_>, to: usize) -> Vec<String> {
    let (mut a, mut b) = (from.old, from.new);
    let mut lines = Vec::new();
    for edit in &from.edits[from.at..to] {
        match edit {
            Edit::Keep => {
                lines.push(format!(" {}", old[a]));
                (a, b) = (a + 1, b + 1);
            }
            Edit::Remove => {
                lines.push(format!("-{}", old[a]));
                a += 1;
            }
            Edit::Add => {
                lines.push(format!("+{}", new[b]));
                b += 1;
            }
        }
    }
    // As diff does it: an empty side names the line before it.
    let side = |start: usize, end: usize| format!("{},{}", start + usize::from(end > start), end - start);
    lines.insert(0, format!("@@ -{} +{} @@", side(from.old, a), side(from.new, b)));
    lines
}

fn edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let head = common(old.iter(), new.iter());
    let tail = common(old[head..].iter().rev(), new[head..].iter().rev());
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let mut edits = vec![Edit::Keep; head];
    if a.len().saturating_mul(b.len()) > CELLS {
        edits.extend(std::iter::repeat_n(Edit::Remove, a.len()));
        edits.extend(std::iter::repeat_n(Edit::Add, b.len()));
    } else {
        edits.extend(shortest(a, b));
    }
    edits.extend(std::iter::repeat_n(Edit::Keep, tail));
    edits
}

/// By the longest common subsequence.
fn shortest(a: &[&str], b: &[&str]) -> Vec<Edit> {
    let width = b.len() + 1;
    let mut kept = vec![0_u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            kept[i * width + j] = if a[i] == b[j] {
                kept[(i + 1) * width + j + 1] + 1
            } else {
                kept[(i + 1) * width + j].max(kept[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut edits = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            edits.push(Edit::Keep);
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && kept[(i + 1) * width + j] >= kept[i * width + j + 1]) {
            edits.push(Edit::Remove);
            i += 1;
        } else {
            edits.push(Edit::Add);
            j += 1;
        }
    }
    edits
}

fn common<T: PartialEq>(a: impl Iterator<Item = T>, b: impl Iterator<Item = T>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
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
