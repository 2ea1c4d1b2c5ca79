//! Netlink messages as bytes: writes requests, reads answers and attributes. A truncated message ends the reading.

pub(super) struct Request {
    bytes: Vec<u8>,
}

/// One message of an answer.
pub(super) struct Answer {
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

/// A part of a datagram.
pub(super) enum Part {
    Answer(Answer),
    /// The last part, with the kernel's error number if it refused or gave up.
    End(i32),
    /// The list changed while it was written: entries may be missing, or appear twice.
    Changed,
}

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

impl Request {
    pub(super) fn new(kind: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(body);
        Self { bytes }
    }

    pub(super) fn with(mut self, attribute: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&attribute.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(aligned(self.bytes.len()), 0);
        self
    }

    /// Ready to be sent. `all` requests a dump; otherwise the answer is one message and an acknowledgement.
    pub(super) fn finish(&self, all: bool) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        let flags = NLM_F_REQUEST | if all { NLM_F_DUMP } else { NLM_F_ACK };
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }
}

/// The messages of one datagram.
pub(super) fn parts(mut datagram: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    while let Some(Message { kind, flags, body, rest }) = first(datagram) {
        datagram = rest;
        if flags & NLM_F_DUMP_INTR != 0 {
            parts.push(Part::Changed);
        }
        parts.push(match kind {
            // Both begin with zero or a negative error number.
            NLMSG_DONE | NLMSG_ERROR => {
                let number = body.get(..4).and_then(|number| number.try_into().ok()).map_or(0, i32::from_ne_bytes);
                Part::End(number.saturating_neg())
            }
            _ => Part::Answer(Answer { kind, body: body.to_vec() }),
        });
    }
    parts
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
    rest: &'a [u8],
}

fn first(datagram: &[u8]) -> Option<Message<'_>> {
    let length = usize::try_from(u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?)).ok()?;
    Some(Message {
        kind: u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?),
        flags: u16::from_ne_bytes(datagram.get(6..8)?.try_into().ok()?),
        body: datagram.get(HEADER..length)?,
        rest: datagram.get(aligned(length)..).unwrap_or_default(),
    })
}

/// Attributes by number and value.
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Those behind a fixed part of `fixed` bytes.
    pub(super) fn behind(body: &'a [u8], fixed: usize) -> Self {
        Self(body.get(fixed..).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        // The two highest bits are flags.
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_read_as_written() {
        let bytes = Request::new(90, &[0; 4]).with(2, b"abc").with(7, &[9; 4]).finish(false);
        let found: Vec<_> = Attributes::behind(&bytes, HEADER + 4).collect();
        assert_eq!(found, [(2, b"abc".as_slice()), (7, [9; 4].as_slice())]);
    }

    fn message(kind: u16, flags: u16, number: i32) -> Vec<u8> {
        let mut bytes = Request::new(kind, &number.to_ne_bytes()).finish(false);
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes
    }

    #[test]
    fn list_that_ends_in_an_error_is_an_error() {
        for (kind, number, expected) in [(NLMSG_DONE, 0, 0), (NLMSG_DONE, -105, 105), (NLMSG_ERROR, -13, 13)] {
            let found = parts(&message(kind, 0, number));
            assert!(matches!(found[..], [Part::End(end)] if end == expected), "{kind} {number}");
        }
    }

    #[test]
    fn list_that_changed_meanwhile_is_reported() {
        let datagram = [message(16, 0, 7), message(16, NLM_F_DUMP_INTR, 7)].concat();
        assert!(matches!(parts(&datagram)[..], [Part::Answer(_), Part::Changed, Part::Answer(_)]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_loop_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parts(&bytes).len();
            let _ = Attributes::behind(&bytes, 2).take(1000).count();
        }
    }
}
