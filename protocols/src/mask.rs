//! Bytes as they may be kept on a disk: what frames messages and what exchanges show stays, all else is overwritten. Parsed again
//! they give the same exchanges.

use crate::Side;

/// Stands where a byte is overwritten.
pub(crate) const FILL: u8 = b'x';

/// Bytes of a side, in which everything is overwritten that no exchange shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The side.
    pub side: Side,
    /// Position of the first byte in the bytes of its side.
    pub position: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

pub(crate) fn fill(bytes: &mut [u8]) {
    bytes.fill(FILL);
}

/// Overwrites texts that are ended by NULs, which stay.
pub(crate) fn fill_texts(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != 0).for_each(|byte| *byte = FILL);
}

/// Overwrites a line, whose end stays.
pub(crate) fn fill_line(line: &mut [u8]) {
    let end = line_end(line);
    let kept = line.len() - end;
    fill(line.get_mut(..kept).unwrap_or_default());
}

/// Bytes of the line's end: 0 to 2.
pub(crate) fn line_end(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// What one candidate has understood of a connection, until it is taken.
#[derive(Default)]
pub(crate) struct MaskedParts {
    parts: Vec<Masked>,
    bytes: usize,
}

/// Masked bytes that wait until a protocol is confirmed; the oldest give way.
const WAITING_MAX: usize = 1 << 20;

impl MaskedParts {
    pub(crate) fn push(&mut self, part: Masked) {
        self.bytes += part.bytes.len();
        self.parts.push(part);
        if self.bytes > WAITING_MAX {
            // Not one by one: each removal moves the rest.
            let half = self.parts.len().div_ceil(2);
            self.bytes -= self.parts.drain(..half).map(|part| part.bytes.len()).sum::<usize>();
        }
    }

    pub(crate) fn drain(&mut self) -> Vec<Masked> {
        self.bytes = 0;
        std::mem::take(&mut self.parts)
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes + self.parts.capacity() * size_of::<Masked>()
    }
}
