//! Where the body of a message ends (RFC 9112, 6 and 7), and the part of it that is kept.

use super::head::{Framing, LineSearch, trimmed};
use super::mask::Taken;

/// Longest line of a chunk's size, with its extensions.
const CHUNK_LINE_MAX: usize = 4 << 10;

/// Longest line of a trailer.
const TRAILER_LINE_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// So many bytes are left of the body.
    Length(u64),
    ChunkSize,
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    Trailers,
    UntilEnd,
    Complete,
}

/// What was read of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes belong to the body.
    Bytes(usize),
    NeedMore,
    /// Not a body as its head promised.
    Broken,
}

/// A body that is being read.
pub(super) struct Body {
    part: Part,
    /// Bytes of content, without what frames chunks.
    pub(super) bytes: u64,
    pub(super) kept: Vec<u8>,
    keep_max: usize,
    /// Bytes in the middle of what is kept are missing: nothing more is kept.
    broken_off: bool,
    line_search: LineSearch,
}

impl Body {
    pub(super) fn new(framing: Framing, keep_max: usize) -> Self {
        let part = match framing {
            Framing::None | Framing::Length(0) | Framing::Contradicting => Part::Complete,
            Framing::Length(length) => Part::Length(length),
            Framing::Chunked => Part::ChunkSize,
            Framing::UntilEnd => Part::UntilEnd,
        };
        Self { part, bytes: 0, kept: Vec::new(), keep_max, broken_off: false, line_search: LineSearch::default() }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.part == Part::Complete
    }

    pub(super) fn lasts_until_end(&self) -> bool {
        self.part == Part::UntilEnd
    }

    pub(super) fn is_cut(&self) -> bool {
        self.broken_off || self.bytes > self.kept.len() as u64
    }

    pub(super) fn memory(&self) -> usize {
        self.kept.capacity()
    }

    /// What `read` takes next.
    pub(super) fn next_part(&self, shows_text: bool) -> Taken {
        match self.part {
            Part::Length(_) | Part::Chunk(_) | Part::UntilEnd if shows_text && !self.broken_off => {
                Taken::Content { kept: self.keep_max.saturating_sub(self.kept.len()) }
            }
            Part::Length(_) | Part::Chunk(_) | Part::UntilEnd => Taken::Nothing,
            Part::ChunkSize => Taken::ChunkSize,
            Part::Trailers => Taken::HiddenLine,
            Part::ChunkEnd | Part::Complete => Taken::LineEnd,
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> Read {
        match self.part {
            Part::Length(left) => {
                let taken = self.keep(bytes, left);
                let left = left - taken as u64;
                self.part = if left == 0 { Part::Complete } else { Part::Length(left) };
                Read::Bytes(taken)
            }
            Part::Chunk(left) => {
                let taken = self.keep(bytes, left);
                let left = left - taken as u64;
                self.part = if left == 0 { Part::ChunkEnd } else { Part::Chunk(left) };
                Read::Bytes(taken)
            }
            Part::UntilEnd => Read::Bytes(self.keep(bytes, u64::MAX)),
            Part::ChunkSize => self.read_chunk_size(bytes),
            Part::ChunkEnd => self.read_chunk_end(bytes),
            Part::Trailers => self.read_trailer(bytes),
            Part::Complete => Read::Bytes(0),
        }
    }

    /// Bytes are missing. How many of them belong to this body; `None`: it is not known where the body ends.
    pub(super) fn skip(&mut self, bytes: u64) -> Option<u64> {
        let (left, next) = match self.part {
            Part::Length(left) => (left, Part::Complete),
            Part::Chunk(left) if bytes <= left => (left, Part::ChunkEnd),
            Part::UntilEnd => (u64::MAX, Part::Complete),
            Part::Complete => return Some(0),
            Part::Chunk(_) | Part::ChunkSize | Part::ChunkEnd | Part::Trailers => return None,
        };
        let skipped = bytes.min(left);
        self.broken_off |= skipped > 0;
        self.bytes += skipped;
        self.part = match self.part {
            Part::UntilEnd => Part::UntilEnd,
            _ if skipped == left => next,
            Part::Length(_) => Part::Length(left - skipped),
            _ => Part::Chunk(left - skipped),
        };
        Some(skipped)
    }

    fn keep(&mut self, bytes: &[u8], left: u64) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        self.bytes += taken as u64;
        if !self.broken_off {
            let room = self.keep_max.saturating_sub(self.kept.len());
            self.kept.extend_from_slice(bytes.get(..taken.min(room)).unwrap_or_default());
        }
        taken
    }

    fn read_chunk_size(&mut self, bytes: &[u8]) -> Read {
        let Some(line) = self.line_search.find(bytes) else {
            return if bytes.len() > CHUNK_LINE_MAX { Read::Broken } else { Read::NeedMore };
        };
        let digits = trimmed(line).split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = digits.iter().try_fold(0u64, |size, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            size.checked_mul(16)?.checked_add(u64::from(digit))
        });
        self.part = match size {
            Some(_) if digits.is_empty() => return Read::Broken,
            Some(0) => Part::Trailers,
            Some(size) => Part::Chunk(size),
            None => return Read::Broken,
        };
        Read::Bytes(line.len())
    }

    fn read_chunk_end(&mut self, bytes: &[u8]) -> Read {
        let end = match bytes {
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => 1,
            [b'\r'] | [] => return Read::NeedMore,
            _ => return Read::Broken,
        };
        self.part = Part::ChunkSize;
        Read::Bytes(end)
    }

    fn read_trailer(&mut self, bytes: &[u8]) -> Read {
        let Some(line) = self.line_search.find(bytes) else {
            return if bytes.len() > TRAILER_LINE_MAX { Read::Broken } else { Read::NeedMore };
        };
        if trimmed(line).is_empty() {
            self.part = Part::Complete;
        }
        Read::Bytes(line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the body in `wire`, and its content; byte by byte and at once.
    fn read(framing: Framing, wire: &[u8]) -> Option<(usize, String)> {
        let mut results = Vec::new();
        for piece in [1, wire.len()] {
            let mut body = Body::new(framing, 100);
            let (mut taken, mut end) = (0, piece);
            while !body.is_complete() {
                match body.read(&wire[taken..end]) {
                    Read::Bytes(bytes) => taken += bytes,
                    Read::NeedMore => {}
                    Read::Broken => return None,
                }
                if taken == end || end < wire.len() {
                    end = wire.len().min(end + piece);
                }
            }
            results.push((taken, String::from_utf8(body.kept).unwrap()));
        }
        assert_eq!(results[0], results[1]);
        results.pop()
    }

    #[test]
    fn chunks_with_extensions_and_trailers_end_where_they_say() {
        let wire = b"4;a=b\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nExpires: never\r\n\r\nGET";
        let content = "Wikipedia in \r\n\r\nchunks.";
        assert_eq!(read(Framing::Chunked, wire), Some((wire.len() - 3, content.to_owned())));
    }

    #[test]
    fn sizes_that_are_no_numbers_break_the_body() {
        for wire in [&b"x\r\n"[..], b"\r\n", b"-1\r\n", b"11112222333344445\r\n", b"1\r\nab"] {
            assert_eq!(read(Framing::Chunked, wire), None, "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn gap_in_a_chunk_ends_with_the_chunk() {
        let mut body = Body::new(Framing::Chunked, 100);
        assert_eq!(body.read(b"64\r\n"), Read::Bytes(4));
        assert_eq!(body.skip(60), Some(60));
        assert_eq!(body.skip(40), Some(40));
        assert_eq!(body.read(b"\r\n"), Read::Bytes(2));
        assert_eq!(body.read(b"5\r\n"), Read::Bytes(3));
        assert_eq!(body.skip(6), None);
        assert!(body.is_cut());
    }
}
