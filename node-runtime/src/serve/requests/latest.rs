//! The latest rows of several sessions: bounded by number and bytes, so that a long past costs a fixed amount of memory.

use std::collections::BTreeMap;

use prost::Message;
use trilobite_api::requests::GetRequestsResponse;

/// Bytes of the rows of one answer.
const BYTES_MAX: usize = 4 << 20;

pub(super) struct LatestRequests {
    limit: usize,
    /// By the end of the response and order of arrival.
    rows: BTreeMap<(u64, u64), GetRequestsResponse>,
    bytes: usize,
    arrivals: u64,
}

impl LatestRequests {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, rows: BTreeMap::new(), bytes: 0, arrivals: 0 }
    }

    /// Adds a row whose response ended at that time; the oldest gives way.
    pub(super) fn add(&mut self, ended: u64, row: GetRequestsResponse) {
        self.bytes += row.encoded_len();
        self.arrivals += 1;
        self.rows.insert((ended, self.arrivals), row);
        while self.rows.len() > self.limit || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.rows.pop_first() else { return };
            self.bytes -= oldest.encoded_len();
        }
    }

    /// The oldest first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = GetRequestsResponse> {
        self.rows.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: usize, bytes: usize) -> GetRequestsResponse {
        GetRequestsResponse { node_name: format!("{id}{}", " ".repeat(bytes)), ..GetRequestsResponse::default() }
    }

    fn kept(latest: LatestRequests) -> Vec<String> {
        latest.into_sorted().map(|row| row.node_name.trim().to_owned()).collect()
    }

    #[test]
    fn latest_rows_are_kept_by_the_end_of_their_responses() {
        let mut latest = LatestRequests::new(3);
        for (id, ended) in [5, 1, 9, 5, 7].into_iter().enumerate() {
            latest.add(ended, row(id, 0));
        }
        assert_eq!(kept(latest), ["3", "4", "2"]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut latest = LatestRequests::new(1_000);
        (0..9).for_each(|id| latest.add(1, row(id, 1 << 20)));
        assert_eq!(kept(latest), ["6", "7", "8"]);
    }
}
