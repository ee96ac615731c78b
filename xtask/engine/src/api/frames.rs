//! What containers print, as the API carries it: pieces of both streams, each
//! after eight bytes that say which stream and how long.

/// Both streams of an answer, apart. What was cut off in the middle of a piece
/// counts as far as it came.
pub fn split(mut body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some((header, rest)) = body.split_first_chunk::<8>() {
        let [stream, _, _, _, length @ ..] = *header;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        let to = if stream == 2 { &mut stderr } else { &mut stdout };
        to.extend_from_slice(piece);
        body = after;
    }
    (stdout, stderr)
}

/// The same of an answer that is read while it comes.
#[derive(Debug, Default)]
pub struct FrameReader {
    rest: Vec<u8>,
}

impl FrameReader {
    /// Takes the next bytes; gives what is whole by now: whether it was printed on
    /// stderr, and what.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<(bool, Vec<u8>)> {
        self.rest.extend_from_slice(bytes);
        let (mut whole, mut done) = (Vec::new(), 0);
        while let Some((header, after)) = self.rest[done..].split_first_chunk::<8>() {
            let [stream, _, _, _, length @ ..] = *header;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            let Some(piece) = after.get(..length) else { break };
            whole.push((stream == 2, piece.to_vec()));
            done += header.len() + length;
        }
        self.rest.drain(..done);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let mut frame = vec![stream, 0, 0, 0];
        frame.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        frame.extend(text.as_bytes());
        frame
    }

    #[test]
    fn streams_are_taken_apart_in_order() {
        let body = [frame(1, "one "), frame(2, "wrong"), frame(1, ""), frame(1, "two")].concat();
        assert_eq!(split(&body), (b"one two".to_vec(), b"wrong".to_vec()));
        assert_eq!(split(b""), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_was_cut_off_is_kept_as_far_as_it_came() {
        let body = [frame(1, "whole"), frame(2, "half")].concat();
        assert_eq!(
            split(&body[..body.len() - 2]),
            (b"whole".to_vec(), b"ha".to_vec())
        );
        assert_eq!(split(&body[..15]).0, b"whole");
    }

    #[test]
    fn what_comes_in_pieces_is_told_when_it_is_whole() {
        let body = [frame(1, "one"), frame(2, ""), frame(2, "two")].concat();
        let whole = vec![
            (false, b"one".to_vec()),
            (true, Vec::new()),
            (true, b"two".to_vec()),
        ];
        for size in 1..=body.len() {
            let mut reader = FrameReader::default();
            let told: Vec<_> = body.chunks(size).flat_map(|piece| reader.push(piece)).collect();
            assert_eq!(told, whole, "{size} at a time");
        }
        assert!(FrameReader::default().push(&body[..10]).is_empty());
    }
}
