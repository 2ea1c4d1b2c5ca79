//! `Stream`: the bytes of one side that no message has taken yet, with the times at which they were seen.

use std::collections::VecDeque;

use crate::Times;

/// Where the bytes of a push stand in their side.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Bytes that are missing before them.
    pub(crate) gap: u64,
    /// Bytes at their beginning that were seen before, e.g. by MSG_PEEK.
    pub(crate) repeated: u64,
}

impl Placement {
    /// Places `length` bytes at `position`; `next`, where the side goes on, becomes what follows them.
    pub(crate) fn advance(next: &mut Option<u64>, position: u64, length: u64) -> Self {
        let expected = next.unwrap_or(position);
        *next = Some(expected.max(position.saturating_add(length)));
        Self { gap: position.saturating_sub(expected), repeated: expected.saturating_sub(position).min(length) }
    }
}

/// Unread bytes of a side. It owns no memory while all is read.
#[derive(Default)]
pub(crate) struct Stream {
    buffer: Vec<u8>,
    /// First unread byte of the buffer.
    start: usize,
    /// End in the buffer and time of each push that is not read wholly, oldest first.
    pushes: VecDeque<(usize, u64)>,
    /// Position of the next byte; none: any is taken as it comes.
    next: Option<u64>,
}

/// Read bytes that may stay at the beginning of the buffer before it is moved.
const READ_MAX: usize = 16 << 10;

impl Stream {
    /// A side that goes on at a position.
    pub(crate) fn from_position(next: Option<u64>) -> Self {
        Self { next, ..Self::default() }
    }

    /// Places `length` bytes at `position`, and expects what follows them.
    pub(crate) fn place(&mut self, position: u64, length: u64) -> Placement {
        Placement::advance(&mut self.next, position, length)
    }

    /// Position of the first unread byte.
    pub(crate) fn parsed_until(&self) -> u64 {
        self.next.unwrap_or_default().saturating_sub(self.unread().len() as u64)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    pub(crate) fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Times of the first and the last unread byte.
    pub(crate) fn times(&self) -> Times {
        let time = |push: Option<&(usize, u64)>| push.map_or(0, |(_, time)| *time);
        Times { first: time(self.pushes.front()), last: time(self.pushes.back()) }
    }

    pub(crate) fn append(&mut self, bytes: &[u8], time: u64) {
        if bytes.is_empty() {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        let end = self.buffer.len();
        match self.pushes.back_mut() {
            Some(last) if last.1 == time => last.0 = end,
            _ => self.pushes.push_back((end, time)),
        }
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = self.buffer.len().min(self.start.saturating_add(bytes));
        if self.is_empty() {
            self.clear();
            return;
        }
        while self.pushes.front().is_some_and(|(end, _)| *end <= self.start) {
            self.pushes.pop_front();
        }
        if self.start >= READ_MAX && self.start >= self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            for push in &mut self.pushes {
                push.0 -= self.start;
            }
            self.start = 0;
        }
    }

    /// Drops what is unread; says how many bytes.
    pub(crate) fn clear(&mut self) -> usize {
        let unread = self.buffer.len() - self.start;
        self.buffer = Vec::new();
        self.pushes = VecDeque::new();
        self.start = 0;
        unread
    }

    pub(crate) fn memory(&self) -> usize {
        self.buffer.capacity() + self.pushes.capacity() * size_of::<(usize, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_and_missing_bytes_are_told_apart() {
        let mut stream = Stream::from_position(Some(0));
        assert_eq!(stream.place(0, 10), Placement { gap: 0, repeated: 0 });
        assert_eq!(stream.place(4, 10), Placement { gap: 0, repeated: 6 });
        assert_eq!(stream.place(0, 4), Placement { gap: 0, repeated: 4 });
        assert_eq!(stream.place(20, 5), Placement { gap: 6, repeated: 0 });
        assert_eq!(stream.place(25, 1), Placement { gap: 0, repeated: 0 });
    }

    #[test]
    fn joined_side_begins_at_its_first_position() {
        let mut stream = Stream::default();
        assert_eq!(stream.place(700, 10), Placement { gap: 0, repeated: 0 });
        assert_eq!(stream.place(715, 10), Placement { gap: 5, repeated: 0 });
    }

    #[test]
    fn times_follow_the_bytes() {
        let mut stream = Stream::default();
        stream.append(b"abc", 1);
        stream.append(b"de", 2);
        stream.append(b"f", 3);
        assert_eq!(stream.times(), Times { first: 1, last: 3 });
        stream.consume(3);
        assert_eq!((stream.unread(), stream.times()), (&b"def"[..], Times { first: 2, last: 3 }));
        stream.consume(2);
        assert_eq!((stream.unread(), stream.times()), (&b"f"[..], Times { first: 3, last: 3 }));
    }

    #[test]
    fn read_bytes_leave_memory() {
        let mut stream = Stream::default();
        for time in 0..1000 {
            stream.append(&[7; 1000], time);
            stream.consume(990);
            assert_eq!(stream.unread().len(), 10 * (time as usize + 1));
            assert!(stream.unread().iter().all(|byte| *byte == 7));
            assert!(stream.memory() < 128 << 10, "{}", stream.memory());
        }
        assert_eq!(stream.clear(), 10_000);
        assert_eq!(stream.memory(), 0);
    }
}
