//! gRPC over HTTP/2: messages counted in the content of both directions, and the codes of its statuses.

use std::ops::Range;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Whether a content type is that of gRPC, e.g. `application/grpc+proto`.
pub(super) fn is_content_type(content_type: &str) -> bool {
    content_type.starts_with("application/grpc")
}

/// The name of a status, e.g. of `5`; a number that has none stays.
pub(super) fn status_name(status: &str) -> String {
    let name = status.parse().ok().and_then(|code: usize| CODES.get(code).copied());
    name.unwrap_or(status).chars().take(16).collect()
}

/// Counts the messages in the content of a direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessageCounter {
    /// Whole ones.
    count: u64,
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that have come.
    prefix_bytes: usize,
    /// Bytes that are left of a message.
    left: usize,
}

impl MessageCounter {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The next bytes of the content. `prefixes` gets where prefixes are in them.
    pub(super) fn read(&mut self, content: &[u8], mut prefixes: Option<&mut Vec<Range<usize>>>) {
        let mut at = 0;
        while at < content.len() {
            if self.left > 0 {
                let taken = self.left.min(content.len() - at);
                at += taken;
                self.left -= taken;
                self.count += u64::from(self.left == 0);
                continue;
            }
            let start = at;
            while let (Some(place), Some(byte)) = (self.prefix.get_mut(self.prefix_bytes), content.get(at)) {
                *place = *byte;
                self.prefix_bytes += 1;
                at += 1;
            }
            if let Some(prefixes) = &mut prefixes {
                prefixes.push(start..at);
            }
            if self.prefix_bytes == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.prefix_bytes = 0;
                self.count += u64::from(self.left == 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_in_any_pieces() {
        let content = b"\0\0\0\0\x03abc\0\0\0\0\0\x01\0\0\0\x06abcdef\0\0\0\0\x05ab";
        for piece in 1..=content.len() {
            let mut counter = MessageCounter::default();
            content.chunks(piece).for_each(|piece| counter.read(piece, None));
            assert_eq!(counter.count(), 3, "pieces of {piece}: the last one is not whole");
        }
        let mut prefixes = Vec::new();
        MessageCounter::default().read(content, Some(&mut prefixes));
        assert_eq!(prefixes, [0..5, 8..13, 13..18, 24..29]);
    }

    #[test]
    fn statuses_have_names() {
        assert_eq!(["0", "5", "16"].map(status_name), ["OK", "NOT_FOUND", "UNAUTHENTICATED"]);
        assert_eq!(["17", "", "-1"].map(status_name), ["17", "", "-1"]);
    }
}
