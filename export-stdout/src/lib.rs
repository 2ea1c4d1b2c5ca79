//! What agent and container agree on: whole lines through a FIFO, and a byte that cancels a line which was not finished.

#![warn(missing_docs)]

use std::io::{self, Read, Write};

/// Byte by which a writer cancels the line before it: an earlier agent may have been killed inside of one. No JSON holds it.
pub const CANCEL: u8 = 0x18;

/// Bytes that are read at once, as many as a FIFO holds.
const READ: usize = 64 << 10;
/// A longer line is passed on in pieces, so that memory is bounded.
const LINE_MAX: usize = 512 << 10;

/// Copies lines from a FIFO, each once it is complete.
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes of the incomplete line at the start of `bytes`.
    used: usize,
}

impl Default for LineBuffer {
    fn default() -> Self {
        Self { bytes: vec![0; READ], used: 0 }
    }
}

impl LineBuffer {
    /// Reads once and writes the lines that are complete. Returns the number of bytes read; 0 is the end.
    pub fn copy_lines(&mut self, from: &mut impl Read, to: &mut impl Write) -> io::Result<usize> {
        if self.used == self.bytes.len() {
            self.bytes.resize(2 * self.bytes.len(), 0);
        }
        let count = from.read(&mut self.bytes[self.used..])?;
        let read = &self.bytes[..self.used + count];
        let whole = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if read[..whole].contains(&CANCEL) {
            let lines = read[..whole].split_inclusive(|byte| *byte == b'\n');
            lines.filter(|line| !line.contains(&CANCEL)).try_for_each(|line| to.write_all(line))?;
        } else {
            to.write_all(&read[..whole])?;
        }
        self.bytes.copy_within(whole..self.used + count, 0);
        self.used = self.used + count - whole;
        if self.used >= LINE_MAX {
            to.write_all(&self.bytes[..self.used])?;
            self.used = 0;
        }
        if self.used < READ && self.bytes.len() > READ {
            // Gives the memory of a long line back.
            self.bytes.truncate(READ);
            self.bytes.shrink_to_fit();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn copied(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut buffer, mut out) = (LineBuffer::default(), Vec::new());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                buffer.copy_lines(&mut rest, &mut out).unwrap();
            }
        }
        out
    }

    #[test]
    fn line_of_a_killed_agent_is_not_printed() {
        assert_eq!(
            copied(&[b"{\"a\":1}\n{\"b\"", b":2}\n{\"torn", b"\x18\n{\"c\":3}\n"]),
            b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n"
        );
        assert_eq!(copied(&[b"\x18\n{\"a\":1}\n{\"not yet"]), b"{\"a\":1}\n");
    }

    #[test]
    fn line_longer_than_the_buffer_is_printed_whole_up_to_a_limit() {
        let long = [vec![b'x'; 3 * READ], b"\nshort\n".to_vec()].concat();
        assert_eq!(copied(&[&long]), long);
        let endless = vec![b'x'; 3 * LINE_MAX];
        let (mut buffer, mut out, mut rest) = (LineBuffer::default(), Vec::new(), endless.as_slice());
        while !rest.is_empty() {
            buffer.copy_lines(&mut rest, &mut out).unwrap();
            assert!(buffer.bytes.len() <= LINE_MAX);
        }
        assert_eq!(out.len() + buffer.used, endless.len());
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_lines_as_the_whole(text in "[ab\n]{0,60}", cut in 0_usize..60) {
            let text = text.as_bytes();
            let (one, two) = text.split_at(cut.min(text.len()));
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            prop_assert_eq!(copied(&[one, two]), &text[..whole]);
        }
    }
}
