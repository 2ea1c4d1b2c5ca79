//! Rows of several nodes merged by time, of which the latest are kept.

use std::collections::BTreeMap;

use super::object::Row;

/// Keeps at most `limit` rows of at most `max_bytes` together.
pub struct LatestRows {
    limit: usize,
    max_bytes: usize,
    /// By time and arrival: rows of the same time stay in the order in which they came.
    rows: BTreeMap<(u64, u64), Row>,
    bytes: usize,
    /// Rows that are left out because others are later.
    pub omitted: u64,
}

impl LatestRows {
    pub fn new(limit: usize, max_bytes: usize) -> Self {
        Self { limit, max_bytes, rows: BTreeMap::new(), bytes: 0, omitted: 0 }
    }

    pub fn push(&mut self, row: Row) {
        self.bytes += row.size();
        let arrival = self.omitted + self.rows.len() as u64;
        self.rows.insert((row.metadata.time, arrival), row);
        while self.rows.len() > self.limit || self.bytes > self.max_bytes {
            let Some((_, oldest)) = self.rows.pop_first() else { return };
            self.bytes -= oldest.size();
            self.omitted += 1;
        }
    }

    /// The oldest first.
    pub fn into_sorted(self) -> Vec<Row> {
        self.rows.into_values().collect()
    }
}

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
        let mut latest = LatestRows::new(3, 4 << 20);
        [5, 1, 9, 3, 7].into_iter().for_each(|time| latest.push(row(time, 10)));
        assert_eq!(latest.omitted, 2);
        assert_eq!(times(latest), [5, 7, 9]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut latest = LatestRows::new(1_000, 4 << 20);
        (0..100).for_each(|time| latest.push(row(time, 1 << 20)));
        assert_eq!(times(latest), (97..100).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn result_is_the_end_of_the_sorted_rows(times in prop::collection::vec(0u64..50, 0..40), limit in 1usize..20) {
            let mut latest = LatestRows::new(limit, 4 << 20);
            times.iter().for_each(|time| latest.push(row(*time, 1)));
            let mut sorted = times.clone();
            sorted.sort_unstable();
            prop_assert_eq!(super::tests::times(latest), sorted.split_off(sorted.len().saturating_sub(limit)));
        }
    }
}
