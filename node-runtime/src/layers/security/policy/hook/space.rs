//! Which elements of an array map are in use. Pure.

use std::{collections::BTreeMap, ops::Range};

/// Free elements, in runs.
#[derive(Clone, Debug)]
pub(super) struct Space {
    free: BTreeMap<u32, u32>,
}

impl Space {
    /// All elements of `range` are free.
    pub(super) fn new(range: Range<u32>) -> Self {
        Self { free: BTreeMap::from([(range.start, range.end.saturating_sub(range.start))]) }
    }

    /// The first run of this length; none if there is no such.
    pub(super) fn allocate(&mut self, length: u32) -> Option<Range<u32>> {
        let (&start, &run) = self.free.iter().find(|(_, run)| **run >= length)?;
        self.free.remove(&start);
        if run > length {
            self.free.insert(start + length, run - length);
        }
        Some(start..start + length)
    }

    /// Frees elements that were allocated.
    pub(super) fn free(&mut self, range: &Range<u32>) {
        let (mut start, mut length) = (range.start, range.end - range.start);
        if let Some((&before, &run)) = self.free.range(..start).next_back()
            && before + run == start
        {
            self.free.remove(&before);
            (start, length) = (before, run + length);
        }
        if let Some(run) = self.free.remove(&range.end) {
            length += run;
        }
        self.free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_neighbours_become_one_run() {
        let mut space = Space::new(1..10);
        let parts: Vec<_> = (0..3).map(|_| space.allocate(3).unwrap()).collect();
        assert_eq!(space.allocate(1), None);
        space.free(&parts[0]);
        space.free(&parts[2]);
        assert_eq!(space.allocate(4), None);
        space.free(&parts[1]);
        assert_eq!(space.allocate(9), Some(1..10));
    }
}
