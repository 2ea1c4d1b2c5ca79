//! Rows of the ring that a filter wants, in the order of their numbers, a few at a time.

use std::ops::Range;

use trilobite_worker_wire::RequestRow;

use crate::{
    batch::{self, FilterColumns},
    filter::{Facts, RowFilter},
    ring::{RowRing, Segment},
};

/// Bytes of rows that one scan returns, about.
const SCAN_BYTES: usize = 64 << 10;

/// What a scan found.
pub struct Scan {
    /// The rows, in the order of their numbers.
    pub rows: Vec<RequestRow>,
    /// Where the next scan goes on. Above the newest row's number nothing is left.
    pub next: u64,
}

/// A row of a segment: its number, its batch, and where it stands there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    sequence: u64,
    batch: usize,
    index: usize,
}

impl RowRing {
    /// Number of the first of the newest rows that the filter wants, as many as its limit says.
    pub fn first_wanted(&self, filter: &RowFilter) -> u64 {
        let first = filter.after + 1;
        if filter.limit == 0 {
            return first;
        }
        let mut missing = filter.limit;
        for row in self.open.iter().rev().filter(|row| row.sequence >= first && filter.matches_row(row)) {
            missing -= 1;
            if missing == 0 {
                return row.sequence;
            }
        }
        for segment in self.segments.iter().rev().take_while(|segment| segment.last_sequence >= first) {
            let matches = find(segment, filter, first..u64::MAX);
            if let Some(at) = matches.len().checked_sub(missing) {
                return matches[at].sequence;
            }
            missing -= matches.len();
        }
        first
    }

    /// Rows that the filter wants with a number in this range. At most one segment's: `Scan::next` says where to go on.
    pub fn scan(&self, filter: &RowFilter, range: Range<u64>) -> Scan {
        let from = self.segments.partition_point(|segment| segment.last_sequence < range.start);
        for segment in self.segments.range(from..) {
            let matches = find(segment, filter, range.clone());
            if !matches.is_empty() {
                return read(segment, &matches);
            }
        }
        let mut scan = Scan { rows: Vec::new(), next: self.newest_sequence() + 1 };
        let mut bytes = 0;
        for row in self.open.iter().filter(|row| range.contains(&row.sequence) && filter.matches_row(row)) {
            if bytes >= SCAN_BYTES {
                scan.next = row.sequence;
                break;
            }
            bytes += row.memory();
            scan.rows.push(row.clone().into_request_row());
        }
        scan
    }
}

/// The wanted rows of a segment, by their numbers.
fn find(segment: &Segment, filter: &RowFilter, range: Range<u64>) -> Vec<Match> {
    let mut matches = Vec::new();
    for (number, (table, rows)) in segment.batches.iter().enumerate() {
        if !filter.wants_table(*table) {
            continue;
        }
        let Some(columns) = FilterColumns::get(*table, rows) else { continue };
        for index in 0..rows.num_rows() {
            let sequence = columns.sequence[index].cast_unsigned();
            let facts = Facts {
                started: columns.started[index].cast_unsigned(),
                latency: columns.latency[index].cast_unsigned(),
                cgroup: columns.cgroup[index].cast_unsigned(),
                is_error: columns.is_error.value(index),
                protocol: columns.protocol(*table, index),
            };
            if range.contains(&sequence) && filter.matches(&facts) {
                matches.push(Match { sequence, batch: number, index });
            }
        }
    }
    matches.sort_unstable();
    matches
}

fn read(segment: &Segment, matches: &[Match]) -> Scan {
    let mut scan = Scan { rows: Vec::new(), next: segment.last_sequence + 1 };
    let mut bytes = 0;
    for found in matches {
        if bytes >= SCAN_BYTES {
            scan.next = found.sequence;
            break;
        }
        let (table, rows) = &segment.batches[found.batch];
        if let Some(row) = batch::read(*table, rows, found.index) {
            bytes += row.memory();
            scan.rows.push(row.into_request_row());
        }
    }
    scan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use trilobite_worker_wire::RowQuery;

    use super::*;
    use crate::ring::tests::{ring_of, row};

    /// Every row that a reader of this query gets.
    fn read_all(ring: &RowRing, query: &RowQuery) -> Vec<RequestRow> {
        let filter = RowFilter::new(query);
        let (mut next, mut rows) = (ring.first_wanted(&filter), Vec::new());
        while next <= ring.newest_sequence() {
            let scan = ring.scan(&filter, next..u64::MAX);
            assert!(scan.next > next, "a scan goes on");
            next = scan.next;
            rows.extend(scan.rows);
        }
        rows
    }

    fn sequences(ring: &RowRing, query: &RowQuery) -> Vec<u64> {
        read_all(ring, query).iter().map(|row| row.sequence).collect()
    }

    proptest! {
        #[test]
        fn reader_gets_what_a_plain_loop_over_all_rows_finds(
            rows in 0u64..2_000, since in 0u64..2_000, until in 0u64..2_000, after in 0u64..2_000, limit in 0u32..50,
            protocol in prop::option::of("http|redis|mysql"), cgroups in prop::option::of(prop::collection::vec(70u64..73, 0..3)),
            slower in 0u64..7, errors: bool
        ) {
            let ring = ring_of(rows);
            let query = RowQuery {
                since_ns: since, until_ns: until, cgroups: cgroups.clone(), protocol: protocol.clone(), slower_than_ns: slower,
                errors, limit, follow: false, after_sequence: after,
            };
            let wanted = |time: &u64| {
                let word = if time.is_multiple_of(2) { "http" } else { "redis" };
                *time >= since && (until == 0 || *time < until) && *time > after && time % 7 >= slower
                    && (!errors || time.is_multiple_of(5)) && protocol.as_ref().is_none_or(|wanted| wanted == word)
                    && cgroups.as_ref().is_none_or(|all| all.contains(&(70 + time % 3)))
            };
            let all: Vec<u64> = (1..=rows).filter(wanted).collect();
            let newest = if limit == 0 { 0 } else { all.len().saturating_sub(limit as usize) };
            prop_assert_eq!(&sequences(&ring, &query), &all[newest..]);
        }
    }

    #[test]
    fn row_is_the_same_before_and_after_it_is_sealed() {
        let mut ring = ring_of(1);
        let open = read_all(&ring, &RowQuery::default());
        (2..2_000).for_each(|time| ring.push(row(time)));
        assert!(!ring.segments.is_empty());
        assert_eq!(read_all(&ring, &RowQuery::default())[0], open[0]);
        assert_eq!((open[0].operation.as_str(), open[0].target.as_str()), ("GET", "cart:1"));
        assert_eq!(open[0].columns, [("resp".to_owned(), "bulk".to_owned())]);
    }

    #[test]
    fn reader_that_goes_on_behind_a_number_gets_the_newer_rows_once() {
        let mut ring = ring_of(1_000);
        ring.evict_to(ring.memory() / 2);
        let newest = ring.newest_sequence();
        (2_000..2_010).for_each(|time| ring.push(row(time)));
        let newer = sequences(&ring, &RowQuery { after_sequence: newest, ..RowQuery::default() });
        assert_eq!(newer, (1_001..=1_010).collect::<Vec<_>>());
    }
}
