//! A block of fields: a HEADERS or PUSH_PROMISE frame and the CONTINUATION frames behind it (RFC 9113, 6.10).

use std::ops::Range;

use super::frames::{Frame, HEADER_BYTES, Kind};

/// Bytes of the longest block that is waited for, with what frames it.
const BLOCK_MAX: usize = 128 << 10;

/// What a search for the end of a block has found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BlockEnd {
    /// Bytes of the frames.
    Whole(usize),
    /// So many bytes, at least, are the block's. `ends`: they are all.
    NeedMore { bytes: usize, ends: bool },
    /// Too long, or other frames among its own.
    Broken,
}

/// Finds the end of a block that comes in pieces, without reading a frame's header twice.
#[derive(Default)]
pub(super) struct BlockSearch {
    /// Where the first frame begins that is not whole.
    scanned: usize,
}

impl BlockSearch {
    /// `bytes` begin with the block's first frame.
    pub(super) fn find(&mut self, bytes: &[u8]) -> BlockEnd {
        let mut at = std::mem::take(&mut self.scanned);
        let Some(first) = Frame::read(bytes) else { return BlockEnd::NeedMore { bytes: HEADER_BYTES, ends: false } };
        loop {
            let frame = Frame::read(bytes.get(at..).unwrap_or_default());
            let end = at + frame.map_or(HEADER_BYTES, Frame::total);
            if end > BLOCK_MAX {
                return BlockEnd::Broken;
            }
            let Some(frame) = frame.filter(|_| end <= bytes.len()) else {
                self.scanned = at;
                return BlockEnd::NeedMore { bytes: end, ends: frame.is_some_and(Frame::ends_headers) };
            };
            if at > 0 && (frame.kind != Kind::Continuation || frame.stream != first.stream) {
                return BlockEnd::Broken;
            }
            if frame.ends_headers() {
                return BlockEnd::Whole(end);
            }
            at = end;
        }
    }
}

/// Where the parts of a whole block are in its frames; none: paddings or priorities that are longer than their frame.
pub(super) fn fragments(frames: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut fragments = Vec::new();
    let mut at = 0;
    while let Some(frame) = Frame::read(frames.get(at..)?) {
        let payload = at + HEADER_BYTES;
        let padded = usize::from(frame.is_padded());
        let padding = if frame.is_padded() { usize::from(*frames.get(payload)?) } else { 0 };
        let start = payload + padded + frame.before_block();
        let end = (payload + frame.length).checked_sub(padding).filter(|end| *end >= start)?;
        fragments.push(start..end);
        at += frame.total();
    }
    Some(fragments)
}

/// The parts of a block, one behind the other.
pub(super) fn joined(frames: &[u8], fragments: &[Range<usize>]) -> Vec<u8> {
    fragments.iter().filter_map(|fragment| frames.get(fragment.clone())).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::frames::frame;

    #[test]
    fn block_in_three_frames_is_joined_without_what_frames_it() {
        let padded_with_priority = [&[2], &[0; 5][..], b"abc", b"\0\0"].concat();
        let frames = [frame(1, 0x28, 7, &padded_with_priority), frame(9, 0, 7, b"de"), frame(9, 4, 7, b"f")].concat();
        let mut search = BlockSearch::default();
        for end in 0..frames.len() {
            assert!(matches!(search.find(&frames[..end]), BlockEnd::NeedMore { .. }), "{end}");
        }
        assert_eq!(search.find(&[&frames[..], b"behind"].concat()), BlockEnd::Whole(frames.len()));
        assert_eq!(joined(&frames, &fragments(&frames).unwrap()), b"abcdef");
    }

    #[test]
    fn foreign_frames_and_long_padding_break_a_block() {
        let find = |frames: &[Vec<u8>]| BlockSearch::default().find(&frames.concat());
        assert_eq!(find(&[frame(1, 0, 7, b"a"), frame(0, 0, 7, b"a")]), BlockEnd::Broken);
        assert_eq!(find(&[frame(1, 0, 7, b"a"), frame(9, 4, 9, b"a")]), BlockEnd::Broken);
        assert_eq!(find(&[frame(1, 4, 7, &[0; BLOCK_MAX])]), BlockEnd::Broken);
        assert_eq!(fragments(&frame(1, 0x0c, 7, b"\x02a")), None);
    }
}
