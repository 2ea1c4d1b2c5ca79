//! Rows of several nodes merged by time, of which the latest are kept.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use super::object::Row;

/// Bytes of the rows of one list.
const MAX_BYTES: usize = 4 << 20;

/// Keeps at most `limit` rows, and not more than 4 MiB.
pub struct LatestRows {
    limit: usize,
    rows: BinaryHeap<Reverse<Timed>>,
    bytes: usize,
    /// Rows that are left out because others are later.
    pub omitted: u64,
    arrived: u64,
}

struct Timed {
    row: Row,
    /// Rows of the same time stay in the order in which they came.
    arrival: u64,
}

impl LatestRows {
    pub fn new(limit: usize) -> Self {
        Self { limit, rows: BinaryHeap::new(), bytes: 0, omitted: 0, arrived: 0 }
    }

    pub fn push(&mut self, row: Row) {
        self.bytes += size(&row);
        self.rows.push(Reverse(Timed { row, arrival: self.arrived }));
        self.arrived += 1;
        while self.rows.len() > self.limit || self.bytes > MAX_BYTES {
            let Some(Reverse(oldest)) = self.rows.pop() else { return };
            self.bytes -= size(&oldest.row);
            self.omitted += 1;
        }
    }

    /// The oldest first.
    pub fn into_sorted(self) -> Vec<Row> {
        // Sorted by `Reverse`: the latest first.
        self.rows.into_sorted_vec().into_iter().rev().map(|Reverse(timed)| timed.row).collect()
    }
}

fn size(row: &Row) -> usize {
    let labels: usize = row.metadata.labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    row.object.len() + row.cells.iter().map(String::len).sum::<usize>() + labels + size_of::<Row>()
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.row.metadata.time, self.arrival).cmp(&(other.row.metadata.time, other.arrival))
    }
}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::object::Metadata, *};

    fn row(time: u64, bytes: usize) -> Row {
        let metadata = Metadata { time, ..Metadata::default() };
        Row { metadata, object: vec![b' '; bytes], cells: Vec::new() }
    }

    fn times(rows: LatestRows) -> Vec<u64> {
        rows.into_sorted().iter().map(|row| row.metadata.time).collect()
    }

    #[test]
    fn latest_rows_are_kept_in_the_order_of_time() {
        let mut latest = LatestRows::new(3);
        [5, 1, 9, 3, 7].into_iter().for_each(|time| latest.push(row(time, 10)));
        assert_eq!(latest.omitted, 2);
        assert_eq!(times(latest), [5, 7, 9]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut latest = LatestRows::new(1_000);
        (0..100).for_each(|time| latest.push(row(time, 1 << 20)));
        assert_eq!(times(latest), (97..100).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn result_is_the_end_of_the_sorted_rows(times in prop::collection::vec(0u64..50, 0..40), limit in 1usize..20) {
            let mut latest = LatestRows::new(limit);
            times.iter().for_each(|time| latest.push(row(*time, 1)));
            let mut sorted = times.clone();
            sorted.sort_unstable();
            prop_assert_eq!(super::tests::times(latest), sorted.split_off(sorted.len().saturating_sub(limit)));
        }
    }
}
