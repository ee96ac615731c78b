//! A context's inputs as pieces that two builds share. Pure.
//!
//! A piece ends where the hash of a path says so, not after a number of
//! entries: a file that comes or goes changes the piece it lies in and leaves
//! all others as they are. So twenty builds of fifty thousand files take little
//! more room than one, and two builds are compared by the pieces that differ.

use crate::context::Input;

/// One path of so many ends a piece.
const MEAN_LENGTH: u32 = 512;

/// Cuts inputs, which are sorted by path, into pieces.
pub fn pieces(inputs: &[Input]) -> impl Iterator<Item = &[Input]> {
    let mut rest = inputs;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .iter()
            .position(|input| ends_piece(&input.path))
            .map_or(rest.len(), |at| at + 1);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

fn ends_piece(path: &str) -> bool {
    let hash = blake3::hash(path.as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_be_bytes([a, b, c, d]).is_multiple_of(MEAN_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Kind;

    fn inputs(count: usize) -> Vec<Input> {
        let path = |n: usize| format!("src/{n:06}.py").into();
        (0..count)
            .map(|n| Input {
                path: path(n),
                kind: Kind::Directory,
            })
            .collect()
    }

    #[test]
    fn pieces_are_the_whole_in_order() {
        let all = inputs(5000);
        let joined: Vec<Input> = pieces(&all).flatten().cloned().collect();
        assert_eq!(joined, all);
        assert!(pieces(&all).count() > 4, "{}", pieces(&all).count());
        assert_eq!(pieces(&[]).count(), 0);
    }

    #[test]
    fn one_file_more_or_less_changes_one_piece() {
        let all = inputs(20_000);
        let before: Vec<&[Input]> = pieces(&all).collect();
        let mut fewer = all.clone();
        fewer.remove(9_999);
        let after: Vec<&[Input]> = pieces(&fewer).collect();
        let new = after.iter().filter(|piece| !before.contains(piece)).count();
        assert_eq!(new, 1);
    }
}
