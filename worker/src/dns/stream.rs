//! One direction of a TCP connection: cuts its segments into messages, each with its length before it. What is missing costs the
//! messages that it is part of; afterwards a segment has to begin with a message. Pure.

/// Bytes before each message.
const PREFIX: usize = 2;
/// Bytes of the shortest message.
const MESSAGE_MIN: usize = 12;
/// Bytes that are kept of a message: it is read as far as they go.
const KEPT_MAX: usize = 4096;

/// Whether a message is one: else the place in the stream is lost.
pub(super) type IsMessage = bool;

#[derive(Debug, Default)]
pub(super) struct TcpStream {
    /// Sequence number of the next byte; none until the first segment.
    next: Option<u32>,
    /// Of the present message, its prefix included.
    buffer: Vec<u8>,
    /// Bytes of the present message that are still to come and are not kept.
    skip: usize,
}

impl TcpStream {
    /// Takes a segment of `length` bytes, of which `bytes` were copied, and passes the messages that it completes. Returns the
    /// number of messages that cannot be read.
    pub(super) fn push(
        &mut self,
        sequence: u32,
        length: u32,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> IsMessage,
    ) -> u64 {
        let next = self.next.unwrap_or(sequence);
        let ahead = sequence.wrapping_sub(next).cast_signed();
        let mut length = length as usize;
        let mut lost = 0;
        if ahead > 0 {
            lost += self.lose_place();
        } else if ahead < 0 {
            // Sent again, some of it or all.
            let known = ahead.unsigned_abs() as usize;
            if known >= length {
                return 0;
            }
            length -= known;
            bytes = bytes.get(known..).unwrap_or_default();
        }
        let begin = if ahead > 0 { sequence } else { next };
        self.next = Some(begin.wrapping_add(length as u32));
        let missing = length.saturating_sub(bytes.len());
        match self.read(bytes, &mut each) {
            Ok(()) if missing > 0 => lost + self.pass_over(missing, &mut each),
            Ok(()) => lost,
            Err(NoMessage) => lost + self.lose_place().max(1),
        }
    }

    fn read(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8]) -> IsMessage) -> Result<(), NoMessage> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let kept = self.message_length().map_or(PREFIX, |length| (PREFIX + length).min(KEPT_MAX));
            let (taken, rest) = bytes.split_at(bytes.len().min(kept - self.buffer.len()));
            self.buffer.extend_from_slice(taken);
            bytes = rest;
            let Some(length) = self.message_length() else { continue };
            if length < MESSAGE_MIN {
                return Err(NoMessage);
            }
            if self.buffer.len() == (PREFIX + length).min(KEPT_MAX) {
                self.skip = PREFIX + length - self.buffer.len();
                self.pass(each)?;
            }
        }
        Ok(())
    }

    /// Bytes that were not copied: the message that they belong to is read as far as it was, if they end with it or before it.
    fn pass_over(&mut self, missing: usize, each: &mut impl FnMut(&[u8]) -> IsMessage) -> u64 {
        if self.skip >= missing {
            self.skip -= missing;
            return 0;
        }
        let left = self.message_length().map(|length| PREFIX + length - self.buffer.len());
        if left.is_none_or(|left| left < missing) || self.buffer.len() < PREFIX + MESSAGE_MIN {
            return self.lose_place().max(1);
        }
        self.skip = left.unwrap_or_default() - missing;
        match self.pass(each) {
            Ok(()) => 0,
            Err(NoMessage) => self.lose_place().max(1),
        }
    }

    fn pass(&mut self, each: &mut impl FnMut(&[u8]) -> IsMessage) -> Result<(), NoMessage> {
        let is_message = each(self.buffer.get(PREFIX..).unwrap_or_default());
        self.buffer.clear();
        if is_message { Ok(()) } else { Err(NoMessage) }
    }

    /// None until the prefix is there.
    fn message_length(&self) -> Option<usize> {
        self.buffer.first_chunk::<PREFIX>().map(|length| usize::from(u16::from_be_bytes(*length)))
    }

    /// Returns whether a message was begun, as a number.
    fn lose_place(&mut self) -> u64 {
        let was_begun = !self.buffer.is_empty();
        self.buffer = Vec::new();
        self.skip = 0;
        was_begun.into()
    }
}

/// What was read is no message.
struct NoMessage;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(fill: u8, length: usize) -> Vec<u8> {
        [(length as u16).to_be_bytes().to_vec(), vec![fill; length]].concat()
    }

    /// Pushes segments of which all bytes were copied. Returns the messages and how many were lost.
    fn push_all(stream: &mut TcpStream, segments: &[(u32, &[u8])]) -> (Vec<Vec<u8>>, u64) {
        let (mut messages, mut lost) = (Vec::new(), 0);
        for (sequence, bytes) in segments {
            lost += stream.push(*sequence, bytes.len() as u32, bytes, |message| {
                messages.push(message.to_vec());
                true
            });
        }
        (messages, lost)
    }

    #[test]
    fn segment_that_is_sent_again_is_read_once() {
        let bytes = [message(1, 20), message(2, 30)].concat();
        let segments = [(u32::MAX - 3, &bytes[..10]), (u32::MAX - 3, &bytes[..30]), (6, &bytes[10..])];
        let (messages, lost) = push_all(&mut TcpStream::default(), &segments);
        assert_eq!((messages, lost), (vec![vec![1; 20], vec![2; 30]], 0));
    }

    #[test]
    fn lost_segment_costs_its_message() {
        let (first, second) = (message(1, 40), message(2, 30));
        let segments = [(0, &first[..20]), (42, &second[..])];
        assert_eq!(push_all(&mut TcpStream::default(), &segments), (vec![vec![2; 30]], 1));
    }

    #[test]
    fn message_longer_than_what_is_copied_is_read_as_far_as_it_goes() {
        let (long, next) = (message(1, 9000), message(2, 30));
        let mut messages = Vec::new();
        let mut keep = |message: &[u8]| {
            messages.push((message.len(), message[0]));
            true
        };
        let mut stream = TcpStream::default();
        // Two segments of which so many bytes were copied, and the next message behind the second.
        assert_eq!(stream.push(0, 5000, &long[..1536], &mut keep), 0);
        assert_eq!(stream.push(5000, 4002, &long[5000..6536], &mut keep), 0);
        assert_eq!(stream.push(9002, 32, &next, &mut keep), 0);
        assert_eq!(messages, [(1534, 1), (30, 2)]);
    }

    #[test]
    fn end_of_a_message_among_bytes_that_are_missing_is_a_loss() {
        let (first, next) = (message(1, 2000), message(2, 30));
        let mut stream = TcpStream::default();
        assert_eq!(stream.push(0, 2100, &first[..1536], |_| true), 1);
        let (messages, lost) = push_all(&mut stream, &[(2100, &next[..])]);
        assert_eq!((messages, lost), (vec![vec![2; 30]], 0));
    }

    #[test]
    fn what_is_no_message_is_given_up_until_a_segment_begins_with_one() {
        let mut stream = TcpStream::default();
        assert_eq!(stream.push(0, 4, &[0, 3, 1, 1], |_| true), 1);
        assert_eq!(stream.push(4, 22, &message(1, 20), |_| false), 1);
        assert_eq!(push_all(&mut stream, &[(26, &message(2, 20))]), (vec![vec![2; 20]], 0));
    }

    proptest! {
        #[test]
        fn cuts_anywhere_give_the_same_messages(lengths in prop::collection::vec(12usize..300, 1..6), cut in 1usize..40) {
            let bytes: Vec<u8> = lengths.iter().enumerate().flat_map(|(fill, length)| message(fill as u8, *length)).collect();
            let mut segments = Vec::new();
            let mut at = 7;
            for piece in bytes.chunks(cut) {
                segments.push((at, piece));
                at += piece.len() as u32;
            }
            let (messages, lost) = push_all(&mut TcpStream::default(), &segments);
            let expected: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(fill, length)| vec![fill as u8; *length]).collect();
            prop_assert_eq!((messages, lost), (expected, 0));
        }

        #[test]
        fn hostile_segments_are_bounded(
            segments in prop::collection::vec((any::<u32>(), 0u32..5000, prop::collection::vec(any::<u8>(), 0..200)), 0..30)
        ) {
            let mut stream = TcpStream::default();
            for (sequence, more, bytes) in segments {
                stream.push(sequence, bytes.len() as u32 + more, &bytes, |message| message[0] % 2 == 0);
                prop_assert!(stream.buffer.len() <= KEPT_MAX);
            }
        }
    }
}
