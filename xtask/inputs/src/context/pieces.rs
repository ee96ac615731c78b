//! A context's inputs as pieces that two builds share, each with a name.
//!
//! A piece ends where the hash of a path says so, not after a number of
//! entries: a file that comes or goes changes the piece it lies in and leaves
//! all others as they are. So twenty builds of fifty thousand files take little
//! more room than one, and two builds are compared by the pieces that differ.

use rayon::prelude::*;

use super::input::{Digest, Input};
use crate::fingerprint::encoding::Frame;

/// How many inputs a piece has on average.
const MEAN_LENGTH: u64 = 512;

/// Cuts inputs, which are sorted by path, into pieces and names them.
pub(super) fn name_all(inputs: &[Input]) -> Vec<(Digest, usize)> {
    let ends: Vec<bool> = inputs
        .par_iter()
        .with_min_len(1024)
        .map(|input| ends_piece(&input.path))
        .collect();
    let mut starts = 0;
    let mut pieces: Vec<&[Input]> = Vec::new();
    for (at, end) in ends.iter().enumerate() {
        if *end || at + 1 == inputs.len() {
            pieces.push(&inputs[starts..=at]);
            starts = at + 1;
        }
    }
    // A frame for each piece would cost more in fresh pages than the hashing.
    pieces
        .into_par_iter()
        .map_init(Frame::default, |frame, piece| {
            (name_in(frame, piece), piece.len())
        })
        .collect()
}

/// The name of a piece: over all that counts about each of its inputs.
pub(crate) fn name(piece: &[Input]) -> Digest {
    name_in(&mut Frame::default(), piece)
}

fn name_in(frame: &mut Frame, piece: &[Input]) -> Digest {
    frame.clear();
    frame.frames("inputs", piece.iter(), |frame, input| input.encode(frame));
    Digest(*blake3::hash(frame.as_bytes()).as_bytes())
}

/// A piece as JSON.
///
/// # Errors
/// Never: all that a piece has can be written as JSON.
pub fn to_json(piece: &[Input]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(piece)
}

/// The piece that JSON holds, if it is the one that is called so.
pub fn from_json(json: &[u8], name: &Digest) -> Option<Vec<Input>> {
    let piece: Vec<Input> = serde_json::from_slice(json).ok()?;
    (self::name(&piece) == *name).then_some(piece)
}

/// By FNV-1a, and a step that mixes: alone, its last byte reaches few bits, and
/// numbered files would all end pieces or none. Nothing but the cuts rests on
/// it.
fn ends_piece(path: &str) -> bool {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32).is_multiple_of(MEAN_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{InputKind, Inputs};

    fn inputs(count: usize) -> Inputs {
        let path = |n: usize| format!("src/{n:06}.py").into();
        (0..count)
            .map(|n| Input {
                path: path(n),
                kind: InputKind::Directory,
            })
            .collect()
    }

    #[test]
    fn pieces_are_the_whole_in_order() {
        let all = inputs(5000);
        let joined: Inputs = all.pieces().flat_map(|(_, piece)| piece).cloned().collect();
        assert_eq!(joined, all);
        assert!(all.pieces().count() > 4, "{}", all.pieces().count());
        assert_eq!(inputs(0).pieces().count(), 0);
    }

    #[test]
    fn one_file_more_or_less_changes_one_piece() {
        let all = inputs(20_000);
        let before: Vec<Digest> = all.pieces().map(|(name, _)| name).collect();
        let mut fewer = all.clone();
        fewer.remove(9_999);
        let new = fewer.pieces().filter(|(name, _)| !before.contains(name)).count();
        assert_eq!(new, 1);
    }

    #[test]
    fn a_piece_is_believed_by_its_name_only() {
        let all = inputs(3);
        let json = to_json(&all).unwrap();
        assert_eq!(from_json(&json, &name(&all)).as_ref(), Some(&*all));
        let edited = String::from_utf8(json).unwrap().replace("000001", "000009");
        assert_eq!(from_json(edited.as_bytes(), &name(&all)), None);
        assert_eq!(from_json(b"[", &name(&all)), None);
    }
}
