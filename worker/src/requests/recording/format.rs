//! The format of a recording: a line that names it and its version, then frames of a kind, a length and a body. The first frame is
//! the header, the last one the end; between them are calls, each a record of the ring with its bytes.

use serde::Serialize;

/// The file begins so. The number is the version of the format.
pub(super) const MAGIC: &[u8] = b"trilobite requests 1\n";
/// Bytes before a frame's body: a kind, and a length, least significant byte first.
pub(super) const FRAME_HEADER: usize = 5;
/// Longest body of a frame.
pub(super) const BODY_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// `RecordingHeader` as JSON.
    Header,
    /// A record of the ring.
    Call,
    /// `Recorded` as JSON.
    End,
}

impl FrameKind {
    const ALL: [(Self, u8); 3] = [(Self::Header, b'H'), (Self::Call, b'C'), (Self::End, b'E')];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, own)| *own == byte).map(|(kind, _)| kind)
    }

    fn byte(self) -> u8 {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or(0, |(_, byte)| byte)
    }
}

/// Appends a frame whose body is these parts.
pub(super) fn append(kind: FrameKind, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind.byte());
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends a frame whose body is JSON.
pub(super) fn append_json(kind: FrameKind, body: &impl Serialize, out: &mut Vec<u8>) {
    append(kind, &[&serde_json::to_vec(body).unwrap_or_default()], out);
}
