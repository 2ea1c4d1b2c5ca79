//! Counts of one session: what the kernel counted of its slot and what its workers counted, as a state for the status, and its
//! losses for the ledger. A worker is not trusted: no count of it makes a sum overflow.

use std::collections::BTreeMap;

use jiff::Timestamp;
use trilobite_crds::node::{MAX_OTHER_PROTOCOLS, MAX_PROTOCOLS, ProtocolRows, RequestsState};
use trilobite_worker_wire::RequestCounts;

use super::programs::SlotCounts;
use crate::loss::{Ledger, LossPoint, LossTotals};

pub(super) struct RequestTotals {
    recorded: LossTotals,
    ring_bytes: u32,
    /// Counts of workers that have died.
    before: RequestCounts,
    /// Rows that they held.
    lost_with_workers: u64,
    current: RequestCounts,
    kernel: SlotCounts,
}

/// Losses by loss point.
struct Losses {
    ring: u64,
    budget: u64,
    parse: u64,
    worker: u64,
    undecided: u64,
}

impl RequestTotals {
    /// Losses are recorded for `source`.
    pub(super) fn new(ledger: Ledger, source: String, ring_bytes: u32) -> Self {
        Self {
            recorded: LossTotals::new(ledger, source),
            ring_bytes,
            before: RequestCounts::default(),
            lost_with_workers: 0,
            current: RequestCounts::default(),
            kernel: SlotCounts::default(),
        }
    }

    /// The counts of the running worker.
    pub(super) fn set_worker(&mut self, counts: RequestCounts) {
        self.current = counts;
    }

    /// The counts of the slot, which stay as they were at its end.
    pub(super) fn set_kernel(&mut self, counts: SlotCounts) {
        self.kernel = counts;
    }

    /// The slot is gone, and its ring with it.
    pub(super) fn end_capture(&mut self) {
        self.ring_bytes = 0;
    }

    /// A worker has died, and the rows that it held are lost. Returns how many.
    pub(super) fn add_dead_worker(&mut self) -> u64 {
        let counts = std::mem::take(&mut self.current);
        let held = sum(&counts).saturating_sub(counts.evicted);
        self.lost_with_workers = self.lost_with_workers.saturating_add(held);
        self.before = add(std::mem::take(&mut self.before), counts);
        held
    }

    /// Time of the oldest row that is kept, boot clock; 0 without rows.
    pub(super) fn oldest_row_ns(&self) -> u64 {
        self.current.oldest_row_ns
    }

    /// Rows so far, also those that have left.
    pub(super) fn rows(&self) -> u64 {
        sum(&self.before).saturating_add(sum(&self.current))
    }

    /// Records the losses so far, and returns their sum.
    pub(super) fn record_losses(&mut self) -> u64 {
        let losses = self.losses();
        self.recorded.record(LossPoint::RequestRing, losses.ring);
        self.recorded.record(LossPoint::RequestBudget, losses.budget);
        self.recorded.record(LossPoint::RequestParse, losses.parse);
        self.recorded.record(LossPoint::Worker, losses.worker);
        self.recorded.record(LossPoint::Undecided, losses.undecided);
        [losses.ring, losses.budget, losses.parse, losses.worker].into_iter().fold(0, u64::saturating_add)
    }

    fn losses(&self) -> Losses {
        let counts = add(self.before.clone(), self.current.clone());
        Losses {
            ring: self.kernel.lost_records,
            budget: counts.lost_budget.saturating_add(counts.evicted),
            parse: counts.lost_parse.saturating_add(counts.malformed),
            worker: self.lost_with_workers,
            undecided: counts.undecided,
        }
    }

    /// The state for the node's status. `wall_time` converts the boot clock.
    pub(super) fn state(&self, pods: usize, wall_time: impl Fn(u64) -> Timestamp) -> RequestsState {
        let counts = add(self.before.clone(), self.current.clone());
        let losses = self.losses();
        let mut rows: Vec<ProtocolRows> =
            counts.rows.into_iter().map(|(protocol, rows)| ProtocolRows { protocol, rows }).collect();
        rows.truncate(MAX_PROTOCOLS);
        let oldest = Some(self.oldest_row_ns()).filter(|oldest| *oldest > 0);
        RequestsState {
            pods: u32::try_from(pods).unwrap_or(u32::MAX),
            connections: counts.connections,
            mid_stream: counts.mid_stream,
            other_role: counts.other_role,
            rows,
            bytes: self.kernel.bytes,
            gaps: self.kernel.gaps,
            gap_bytes: self.kernel.gap_bytes,
            lost_ring: losses.ring,
            lost_budget: losses.budget,
            lost_parse: losses.parse,
            memory_bytes: self.current.memory_bytes.saturating_add(self.ring_bytes.into()),
            oldest_row: oldest.map(wall_time),
            other_protocols: counts.other_protocols.into_keys().take(MAX_OTHER_PROTOCOLS).collect(),
            encrypted: counts.encrypted,
            ..RequestsState::default()
        }
    }
}

fn sum(counts: &RequestCounts) -> u64 {
    counts.rows.values().copied().fold(0, u64::saturating_add)
}

/// The sum of two workers' counts. Memory and oldest row, which are no sums, are the second's.
fn add(first: RequestCounts, second: RequestCounts) -> RequestCounts {
    let sum = |count: fn(&RequestCounts) -> u64| count(&first).saturating_add(count(&second));
    RequestCounts {
        connections: sum(|counts| counts.connections),
        mid_stream: sum(|counts| counts.mid_stream),
        bytes: sum(|counts| counts.bytes),
        gaps: sum(|counts| counts.gaps),
        gap_bytes: sum(|counts| counts.gap_bytes),
        lost_budget: sum(|counts| counts.lost_budget),
        lost_parse: sum(|counts| counts.lost_parse),
        others: sum(|counts| counts.others),
        undecided: sum(|counts| counts.undecided),
        malformed: sum(|counts| counts.malformed),
        other_role: sum(|counts| counts.other_role),
        evicted: sum(|counts| counts.evicted),
        encrypted: sum(|counts| counts.encrypted),
        memory_bytes: second.memory_bytes,
        oldest_row_ns: second.oldest_row_ns,
        rows: add_by_name(first.rows, second.rows),
        other_protocols: add_by_name(first.other_protocols, second.other_protocols),
    }
}

fn add_by_name(mut first: BTreeMap<String, u64>, second: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for (name, count) in second {
        let sum = first.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(http: u64, evicted: u64) -> RequestCounts {
        RequestCounts {
            connections: 2,
            rows: [("http".into(), http)].into(),
            evicted,
            lost_parse: 1,
            memory_bytes: 1 << 20,
            oldest_row_ns: 5_000_000_000,
            ..RequestCounts::default()
        }
    }

    fn totals() -> (RequestTotals, Ledger) {
        let ledger = Ledger::default();
        (RequestTotals::new(ledger.clone(), "AppProfile/shop/cart".into(), 64 << 10), ledger)
    }

    fn state(totals: &RequestTotals) -> RequestsState {
        totals.state(3, |boot| Timestamp::from_nanosecond(boot.into()).unwrap())
    }

    #[test]
    fn state_has_what_kernel_and_worker_counted() {
        let (mut totals, _) = totals();
        totals.set_worker(counts(7, 2));
        totals.set_kernel(SlotCounts { bytes: 900, gaps: 1, gap_bytes: 100, lost_records: 4, ..SlotCounts::default() });
        let state = state(&totals);
        assert_eq!((state.pods, state.connections, state.bytes, state.gap_bytes), (3, 2, 900, 100));
        assert_eq!((state.lost_ring, state.lost_budget, state.lost_parse), (4, 2, 1));
        assert_eq!(state.rows, [ProtocolRows { protocol: "http".into(), rows: 7 }]);
        assert_eq!(state.memory_bytes, (1 << 20) + (64 << 10));
        assert_eq!(state.oldest_row, Some(Timestamp::from_second(5).unwrap()));
    }

    #[test]
    fn rows_of_a_dead_worker_are_lost_and_stay_counted() {
        let (mut totals, ledger) = totals();
        totals.set_worker(counts(7, 2));
        assert_eq!(totals.add_dead_worker(), 5);
        totals.set_worker(counts(3, 0));
        assert_eq!((totals.rows(), state(&totals).connections), (10, 4));
        assert_eq!(totals.record_losses(), 5 + 2 + 2);
        assert_eq!(ledger.total_at(LossPoint::Worker), 5);
        assert_eq!(totals.add_dead_worker(), 3);
        assert_eq!(state(&totals).oldest_row, None);
    }

    #[test]
    fn counts_of_a_hostile_worker_do_not_overflow() {
        let (mut totals, _) = totals();
        let hostile = RequestCounts {
            lost_budget: u64::MAX,
            lost_parse: u64::MAX,
            memory_bytes: u64::MAX,
            rows: [("http".into(), u64::MAX), ("dns".into(), 1)].into(),
            ..counts(0, u64::MAX)
        };
        for _ in 0..3 {
            totals.set_worker(hostile.clone());
            totals.record_losses();
            assert_eq!(state(&totals).memory_bytes, u64::MAX);
            totals.add_dead_worker();
        }
        assert_eq!(totals.rows(), u64::MAX);
    }

    #[test]
    fn losses_are_recorded_once() {
        let (mut totals, ledger) = totals();
        totals.set_worker(counts(7, 2));
        totals.set_kernel(SlotCounts { lost_records: 4, ..SlotCounts::default() });
        assert_eq!((totals.record_losses(), totals.record_losses()), (7, 7));
        let total = |point| ledger.total_at(point);
        assert_eq!(
            (total(LossPoint::RequestRing), total(LossPoint::RequestBudget), total(LossPoint::RequestParse)),
            (4, 2, 1)
        );
        totals.set_kernel(SlotCounts::default());
        totals.record_losses();
        assert_eq!(total(LossPoint::RequestRing), 4);
    }
}
