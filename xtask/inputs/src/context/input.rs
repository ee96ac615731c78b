//! A file, directory or link that a build can read, with the facts that decide
//! what the build makes of it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::pieces;
use crate::fingerprint::encoding::Frame;
use crate::hex;

/// One thing below the root of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Relative to the root, with `/` between parts. Always UTF-8: BuildKit
    /// refuses other names, and so does the walk.
    pub path: Box<str>,
    /// What BuildKit finds there, with its content.
    #[serde(flatten)]
    pub kind: InputKind,
}

/// All inputs of a context, sorted by the bytes of their paths. Clones share
/// the list, and the names of its pieces, until one of them is changed.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    list: Arc<Vec<Input>>,
    pieces: Arc<OnceLock<Vec<(Digest, usize)>>>,
}

impl Inputs {
    /// The list in pieces, each with its name, in their order. They are named
    /// once, however many images are built from them.
    pub fn pieces(&self) -> impl Iterator<Item = (Digest, &[Input])> {
        let mut rest = self.list.as_slice();
        self.names().iter().map(move |(name, length)| {
            let (piece, after) = rest.split_at(*length);
            rest = after;
            (*name, piece)
        })
    }

    /// Over all that counts about all of them, in their order.
    pub fn digest(&self) -> Digest {
        let mut frame = Frame::default();
        frame.list("pieces", self.names().iter().map(|(name, _)| name.0));
        Digest(*blake3::hash(frame.as_bytes()).as_bytes())
    }

    fn names(&self) -> &[(Digest, usize)] {
        self.pieces.get_or_init(|| pieces::name_all(&self.list))
    }
}

impl PartialEq for Inputs {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.list, &other.list) || self.list == other.list
    }
}

impl Eq for Inputs {}

impl Deref for Inputs {
    type Target = Vec<Input>;

    fn deref(&self) -> &Vec<Input> {
        &self.list
    }
}

impl DerefMut for Inputs {
    fn deref_mut(&mut self) -> &mut Vec<Input> {
        self.pieces = Arc::default();
        Arc::make_mut(&mut self.list)
    }
}

impl<'a> IntoIterator for &'a Inputs {
    type Item = &'a Input;
    type IntoIter = std::slice::Iter<'a, Input>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl From<Vec<Input>> for Inputs {
    fn from(inputs: Vec<Input>) -> Self {
        Self {
            list: Arc::new(inputs),
            pieces: Arc::default(),
        }
    }
}

impl FromIterator<Input> for Inputs {
    fn from_iter<I: IntoIterator<Item = Input>>(inputs: I) -> Self {
        inputs.into_iter().collect::<Vec<_>>().into()
    }
}

impl Serialize for Inputs {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

/// What there can be at a path that BuildKit looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum InputKind {
    /// A regular file. Its owner's execute bit is the one bit of the mode that
    /// counts, as in git, so that the umask of a checkout does not.
    File {
        /// Mode 755 instead of 644.
        executable: bool,
        /// The length of the content in bytes.
        size: u64,
        /// The digest of the content.
        digest: Digest,
    },
    /// A directory; its mode is 755.
    Directory,
    /// A symbolic link, never followed.
    Symlink {
        /// As it is written in the link.
        target: Box<str>,
    },
}

impl Input {
    /// The permission bits it has in the image.
    pub fn mode(&self) -> u32 {
        match self.kind {
            InputKind::File {
                executable: false, ..
            } => 0o644,
            InputKind::File { executable: true, .. } | InputKind::Directory => 0o755,
            InputKind::Symlink { .. } => 0o777,
        }
    }

    /// Adds all that counts about it to a frame.
    pub(crate) fn encode(&self, frame: &mut Frame) {
        frame.field("path", self.path.as_bytes());
        match &self.kind {
            InputKind::File {
                executable,
                size,
                digest,
            } => {
                frame.field("file", if *executable { b"755" } else { b"644" });
                frame.field("size", size.to_be_bytes());
                frame.field("digest", digest.0);
            }
            InputKind::Directory => frame.field("directory", b"755"),
            InputKind::Symlink { target } => frame.field("symlink", target.as_bytes()),
        }
    }
}

/// BLAKE3 of a file's content: on two cores it is ten times as fast as SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

hex::text_form!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str, kind: InputKind) -> Input {
        Input {
            path: path.into(),
            kind,
        }
    }

    fn file(executable: bool, size: u64, byte: u8) -> InputKind {
        InputKind::File {
            executable,
            size,
            digest: Digest([byte; 32]),
        }
    }

    #[test]
    fn everything_about_an_input_moves_the_digest_of_all() {
        let link = |target: &str| InputKind::Symlink {
            target: target.into(),
        };
        let lists = [
            vec![],
            vec![input("a", InputKind::Directory)],
            vec![input("b", InputKind::Directory)],
            vec![input("a", link("b"))],
            vec![input("a", link("c"))],
            vec![input("a", file(false, 1, 1))],
            vec![input("a", file(true, 1, 1))],
            vec![input("a", file(false, 2, 1))],
            vec![input("a", file(false, 1, 2))],
            vec![input("a", InputKind::Directory), input("a/b", file(false, 1, 1))],
            vec![input("a/b", file(false, 1, 1)), input("a", InputKind::Directory)],
        ];
        let digests: std::collections::BTreeSet<Digest> = lists
            .iter()
            .map(|list| Inputs::from(list.clone()).digest())
            .collect();
        assert_eq!(digests.len(), lists.len());
    }

    #[test]
    fn long_lists_are_hashed_whole_and_a_change_is_seen() {
        let all: Inputs = (0..5000)
            .map(|n| input(&format!("{n:05}"), file(false, n, 1)))
            .collect();
        let again: Inputs = all.iter().cloned().collect();
        assert_eq!(all.digest(), again.digest());
        for place in [0, 2500, 4999] {
            let mut other = all.clone();
            assert_eq!(other.digest(), all.digest());
            other[place].kind = InputKind::Directory;
            assert_ne!(other.digest(), all.digest(), "{place}");
            assert_ne!(other, all);
        }
    }
}
