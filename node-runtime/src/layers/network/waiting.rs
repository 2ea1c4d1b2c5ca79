//! Records that wait until the owners of addresses are listed, so that their ends are not shown as unknown or as the world.
//! Bounded in number and in time. Pure: time is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::decode::FlowObservation;

/// Records that may wait; some 150 bytes each.
const CAPACITY: usize = 4096;

/// After this long without the lists, records are delivered with what is known: the API server may be away for hours.
const PATIENT_FOR: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct WaitingRecords {
    /// With the wall clock at boot, in nanoseconds.
    records: VecDeque<(FlowObservation, i128)>,
    since: Option<Instant>,
    /// Records that were delivered before the lists were complete.
    pub(super) early: u64,
}

impl WaitingRecords {
    /// Whether records have to wait; `is_complete`: everything is listed.
    pub(super) fn must_wait(&mut self, is_complete: bool, now: Instant) -> bool {
        if is_complete {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.duration_since(since) < PATIENT_FOR
    }

    /// Adds a record. Returns the oldest if there are too many: it can wait no longer.
    pub(super) fn push(&mut self, observation: FlowObservation, booted: i128) -> Option<(FlowObservation, i128)> {
        self.records.push_back((observation, booted));
        (self.records.len() > CAPACITY).then(|| self.records.pop_front()).flatten()
    }

    pub(super) fn pop(&mut self) -> Option<(FlowObservation, i128)> {
        let oldest = self.records.pop_front();
        if oldest.is_none() && self.records.capacity() > 0 {
            self.records = VecDeque::new();
        }
        oldest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::FlowDirection;

    use super::*;

    #[test]
    fn records_wait_for_the_lists_but_not_for_ever() {
        let mut waiting = WaitingRecords::default();
        let start = Instant::now();
        assert!(waiting.must_wait(false, start));
        assert!(waiting.must_wait(false, start + PATIENT_FOR / 2));
        assert!(!waiting.must_wait(false, start + PATIENT_FOR));
        assert!(!waiting.must_wait(true, start + PATIENT_FOR));
        // The network layer was off in between, and everything is listed anew.
        assert!(waiting.must_wait(false, start + PATIENT_FOR * 9));
    }

    #[test]
    fn oldest_record_beyond_the_bound_waits_no_longer() {
        let mut waiting = WaitingRecords::default();
        let record = FlowObservation::first("10.1.0.7:1", "10.2.0.9:2", FlowDirection::In, 2);
        for time in 0..CAPACITY as u64 {
            assert!(waiting.push(FlowObservation { time, ..record }, 0).is_none());
        }
        assert_eq!(waiting.push(record, 0).map(|(oldest, _)| oldest.time), Some(0));
        assert_eq!(waiting.pop().map(|(oldest, _)| oldest.time), Some(1));
        while waiting.pop().is_some() {}
        assert_eq!((waiting.is_empty(), waiting.records.capacity()), (true, 0));
    }
}
