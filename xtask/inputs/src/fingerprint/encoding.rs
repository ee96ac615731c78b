//! A framed encoding of what a fingerprint stands for.
//!
//! Each field is its name and its value, both behind their lengths, so that no
//! two different definitions share their bytes: `("ab", "c")` is not
//! `("a", "bc")`, an empty list is not a missing one, and a list of lists keeps
//! its brackets. Lengths and counts are 64 bits, the high byte first.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::Fingerprint;

/// Collects named fields. The order of the calls counts, except in a map.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    bytes: Vec<u8>,
}

/// What a field holds; the number is the byte that the field starts with.
#[derive(Clone, Copy)]
enum FrameShape {
    Bytes = b'b' as isize,
    List = b'l' as isize,
    Map = b'm' as isize,
    Frames = b'a' as isize,
}

impl Frame {
    /// Adds a plain value under this name.
    pub fn field(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.start(FrameShape::Bytes, name);
        self.chunk(value.as_ref());
    }

    /// Adds values whose order counts under this name.
    pub fn list<V: AsRef<[u8]>>(&mut self, name: &str, values: impl IntoIterator<Item = V>) {
        let values: Vec<V> = values.into_iter().collect();
        self.start(FrameShape::List, name);
        self.number(values.len());
        for value in &values {
            self.chunk(value.as_ref());
        }
    }

    /// Pairs whose order does not count; of equal keys the last one stands.
    pub fn map<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        name: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) {
        let sorted: BTreeMap<Vec<u8>, V> = pairs
            .into_iter()
            .map(|(key, value)| (key.as_ref().to_vec(), value))
            .collect();
        self.start(FrameShape::Map, name);
        self.number(sorted.len());
        for (key, value) in &sorted {
            self.chunk(key);
            self.chunk(value.as_ref());
        }
    }

    /// A frame for each value, in this order.
    pub fn frames<V>(
        &mut self,
        name: &str,
        values: impl ExactSizeIterator<Item = V>,
        mut fill: impl FnMut(&mut Self, V),
    ) {
        self.start(FrameShape::Frames, name);
        self.number(values.len());
        for value in values {
            self.nested(|frame| fill(frame, value));
        }
    }

    /// Forgets the bytes and keeps their room.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The bytes so far: for a second hash, or to see what changed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn start(&mut self, shape: FrameShape, name: &str) {
        self.bytes.push(shape as u8);
        self.chunk(name.as_bytes());
    }

    fn chunk(&mut self, value: &[u8]) {
        self.number(value.len());
        self.bytes.extend_from_slice(value);
    }

    fn number(&mut self, number: usize) {
        self.bytes.extend_from_slice(&(number as u64).to_be_bytes());
    }

    fn nested(&mut self, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.number(0);
        fill(self);
        let length = (self.bytes.len() - start - 8) as u64;
        self.bytes[start..start + 8].copy_from_slice(&length.to_be_bytes());
    }
}

/// The fingerprint of what `fill` puts into a frame, under the name and number
/// of a schema. A change of meaning takes a new number.
pub fn fingerprint(schema: &str, number: u32, fill: impl FnOnce(&mut Frame)) -> Fingerprint {
    let mut frame = Frame::default();
    frame.field("schema", schema);
    frame.field("number", number.to_be_bytes());
    fill(&mut frame);
    Fingerprint(Sha256::digest(frame.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(fill: impl FnOnce(&mut Frame)) -> Vec<u8> {
        let mut frame = Frame::default();
        fill(&mut frame);
        frame.bytes
    }

    #[test]
    fn no_two_ways_to_the_same_bytes() {
        let none: [&str; 0] = [];
        let all = [
            bytes(|f| f.field("ab", "c")),
            bytes(|f| f.field("a", "bc")),
            bytes(|f| f.field("", "abc")),
            bytes(|f| f.field("abc", "")),
            bytes(|f| f.list("abc", none)),
            bytes(|f| f.list("abc", [""])),
            bytes(|f| f.list("a", ["b", "c"])),
            bytes(|f| f.list("a", ["bc"])),
            bytes(|f| f.list("a", ["bc", ""])),
            bytes(|f| f.list("a", ["", "bc"])),
            bytes(|f| {
                f.list("a", ["b"]);
                f.list("a", ["c"]);
            }),
            bytes(|f| f.map("a", [("b", "c")])),
            bytes(|f| f.map("a", [("bc", "")])),
            bytes(|f| f.map("a", [("", "b"), ("c", "")])),
            bytes(|f| f.frames("a", [()].iter(), |f, ()| f.field("b", "c"))),
            bytes(|f| {
                f.frames("a", [()].iter(), |_, ()| {});
                f.field("b", "c");
            }),
            bytes(|f| f.frames("a", ["b", "c"].iter(), |f, v| f.field("n", v))),
            bytes(|f| f.frames("a", ["bc"].iter(), |f, v| f.field("n", v))),
            bytes(|f| {
                f.field("a", "b");
                f.field("c", "d");
            }),
            bytes(|f| {
                f.field("c", "d");
                f.field("a", "b");
            }),
        ];
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                assert_ne!(one, other);
            }
        }
    }

    #[test]
    fn a_value_cannot_play_a_field() {
        let whole = bytes(|f| {
            f.field("a", "b");
            f.field("c", "d");
        });
        let inner = bytes(|f| f.field("c", "d"));
        let forged = bytes(|f| f.field("a", [b"b", inner.as_slice()].concat()));
        assert_ne!(whole, forged);
    }

    #[test]
    fn order_counts_in_lists_and_not_in_maps() {
        assert_ne!(
            bytes(|f| f.list("a", ["b", "c"])),
            bytes(|f| f.list("a", ["c", "b"]))
        );
        assert_eq!(
            bytes(|f| f.map("a", [("k", "v"), ("b", "c")])),
            bytes(|f| f.map("a", [("b", "c"), ("k", "v")]))
        );
    }

    #[test]
    fn schema_is_part_of_the_fingerprint() {
        let fill = |f: &mut Frame| f.field("a", "b");
        let one = fingerprint("image", 1, fill);
        assert_ne!(one, fingerprint("image", 2, fill));
        assert_ne!(one, fingerprint("suite", 1, fill));
    }

    /// A change of these digits is a change of the encoding: every image that
    /// was ever built is built again. Raise the schema's number with it.
    #[test]
    fn golden() {
        let fingerprint = fingerprint("golden", 1, |f| {
            f.field("text", "FROM scratch\n");
            f.field("target", "production");
            f.list("tags", ["one", "two"]);
            f.map("args", [("B", "2"), ("A", "1")]);
            f.frames("inputs", [1_u8, 2].iter(), |f, n| f.field("n", [*n]));
        });
        assert_eq!(
            fingerprint.to_string(),
            "58549ed0e9fc5d7a5a4df6edba0629ef1d7dabbe13f40f6d1aa0af10d9a558e4"
        );
    }
}
