//! Stacks as they are counted while a profile runs: each frame is stored once, each stack as a row of frame numbers.

use std::collections::HashMap;

/// A frame before it has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Frame {
    /// The cgroup, at the root of the stack; it gets the name of its pod and container.
    Cgroup(u64),
    /// A process's or a thread's name.
    Comm([u8; 16]),
    /// Code of a file.
    File {
        /// Id of the file.
        file: u32,
        /// Offset in the file.
        offset: u64,
    },
    /// An address of the kernel.
    Kernel(u64),
    /// An address outside all known mappings.
    Unknown,
    /// Frames that were not read, because the stack is too deep.
    Truncated,
}

/// Rough cost in bytes of an entry in a hash table, allocator included.
const ENTRY_COST: usize = 64;

/// Stacks and how often each was sampled, within a memory limit.
pub(super) struct Stacks {
    numbers: HashMap<Frame, u32>,
    frames: Vec<Frame>,
    counts: HashMap<Box<[u32]>, u64>,
    bytes: usize,
    limit: usize,
}

impl Stacks {
    /// `limit` is about the number of bytes that the stacks may take.
    pub(super) fn new(limit: usize) -> Self {
        Self { numbers: HashMap::new(), frames: Vec::new(), counts: HashMap::new(), bytes: 0, limit }
    }

    /// Counts a stack, outermost frame first; false if it is new and the limit is reached.
    pub(super) fn add(&mut self, stack: &[Frame]) -> bool {
        let row: Option<Vec<u32>> = stack.iter().map(|frame| self.number(*frame)).collect();
        let Some(row) = row else { return false };
        if let Some(count) = self.counts.get_mut(row.as_slice()) {
            *count += 1;
            return true;
        }
        let cost = row.len() * 4 + ENTRY_COST;
        if self.bytes + cost > self.limit {
            return false;
        }
        self.bytes += cost;
        self.counts.insert(row.into_boxed_slice(), 1);
        true
    }

    /// Every frame; its index is its number.
    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Every stack with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&[u32], u64)> {
        self.counts.iter().map(|(row, count)| (&**row, *count))
    }

    fn number(&mut self, frame: Frame) -> Option<u32> {
        if let Some(number) = self.numbers.get(&frame) {
            return Some(*number);
        }
        let cost = 2 * size_of::<Frame>() + ENTRY_COST;
        if self.bytes + cost > self.limit {
            return None;
        }
        self.bytes += cost;
        let number = self.frames.len() as u32;
        self.frames.push(frame);
        self.numbers.insert(frame, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_stored_once() {
        let mut stacks = Stacks::new(1 << 20);
        let stack =
            [Frame::Comm(*b"one\0\0\0\0\0\0\0\0\0\0\0\0\0"), Frame::File { file: 1, offset: 16 }, Frame::Kernel(7)];
        assert!(stacks.add(&stack) && stacks.add(&stack));
        assert_eq!(stacks.counts().map(|(row, count)| (row.to_vec(), count)).collect::<Vec<_>>(), [(vec![0, 1, 2], 2)]);
    }

    #[test]
    fn limit_refuses_new_stacks_and_still_counts_known_ones() {
        let mut stacks = Stacks::new(1000);
        let stack = |offset| [Frame::File { file: 1, offset }];
        let stored = (0..100).filter(|offset| stacks.add(&stack(*offset))).count();
        assert!(stored > 0 && stored < 100);
        assert!(stacks.add(&stack(0)));
    }
}
