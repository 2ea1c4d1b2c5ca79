//! The bytes of messages: numbers, texts, lengths.

/// Longest message before authentication.
const STARTUP_LENGTH_MAX: u32 = 10_000;

/// Which end sends the messages of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// Type and length of the message that begins here.
pub(super) fn header_of(bytes: &[u8]) -> Option<(u8, u32)> {
    Some((*bytes.first()?, be32(bytes, 1)?))
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// The text up to the next NUL, and what stands behind it.
pub(super) fn text_of(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default()),
        None => (bytes, &[]),
    }
}

pub(super) fn is_startup_length(length: u32) -> bool {
    (8..=STARTUP_LENGTH_MAX).contains(&length)
}
