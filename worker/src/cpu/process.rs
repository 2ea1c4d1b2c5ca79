//! The executable mappings of one sampled process, and when they are asked for again.

use std::collections::{BTreeMap, HashSet};

use trilobite_worker_wire::Mapping;

use super::sample::Sample;

/// The mappings of a process with new code are requested again at most this often; after each answer without new code, half as
/// often.
pub(super) const REQUEST_INTERVAL_NS: u64 = 1_000_000_000;
/// Upper limit of the growing interval.
const REQUEST_INTERVAL_MAX_NS: u64 = 64 * REQUEST_INTERVAL_NS;
/// The mappings of a sampled process are read again after this long; after each answer without a change, half as often.
pub(super) const REFRESH_INTERVAL_NS: u64 = 2_000_000_000;
/// Upper limit of that interval.
const REFRESH_INTERVAL_MAX_NS: u64 = 4 * REFRESH_INTERVAL_NS;

#[derive(Default)]
pub(super) struct Process {
    /// Sorted by address, without overlaps.
    mappings: Vec<Mapping>,
    /// Parts of the answer that is being received.
    received: Vec<Mapping>,
    /// Zero before the first request.
    requested_ns: u64,
    request_interval_ns: u64,
    refresh_interval_ns: u64,
    requested: bool,
    /// Mappings that the agent did not send.
    dropped: u32,
    /// Samples since the last answer that used a mapping, by its first address.
    used: BTreeMap<u64, u64>,
    /// Samples since the last answer.
    samples: u64,
    pub(super) waiting: Vec<Sample>,
}

impl Process {
    pub(super) fn is_requested(&self) -> bool {
        self.requested
    }

    pub(super) fn is_mapped(&self) -> bool {
        !self.mappings.is_empty()
    }

    /// A sample has an address outside all mappings: true if they are to be requested now.
    pub(super) fn request_for_new_code(&mut self, now_ns: u64) -> bool {
        let interval = if self.requested_ns == 0 { 0 } else { self.request_interval_ns };
        self.request_after(interval, now_ns)
    }

    /// All addresses of a sample are mapped: true if the mappings are so old that they are to be requested again.
    pub(super) fn request_if_due(&mut self, now_ns: u64) -> bool {
        self.is_mapped() && self.request_after(self.refresh_interval_ns.max(REFRESH_INTERVAL_NS), now_ns)
    }

    fn request_after(&mut self, interval_ns: u64, now_ns: u64) -> bool {
        if self.requested || now_ns.saturating_sub(self.requested_ns) < interval_ns {
            return false;
        }
        (self.requested, self.requested_ns) = (true, now_ns.max(1));
        true
    }

    /// A part of an answer.
    pub(super) fn receive(&mut self, mappings: &[Mapping]) {
        self.received.extend_from_slice(mappings);
    }

    /// The answer is complete: its mappings replace the older ones. An empty answer says that the process could not be inspected,
    /// e.g. because it has ended, and changes nothing. Returns the number of samples since the last answer that used a mapping
    /// which has changed, and of dropped mappings that were not counted yet.
    pub(super) fn apply_received(&mut self, dropped: u32) -> (u64, u64) {
        self.requested = false;
        let mut received = std::mem::take(&mut self.received);
        received.sort_unstable_by_key(|mapping| mapping.start);
        // The kernel shows none twice; a process that remaps while it is read may make it look so.
        received.dedup_by(|next, before| next.start < before.end);
        let known: HashSet<&Mapping> = self.mappings.iter().collect();
        let has_new = received.iter().any(|mapping| !known.contains(mapping));
        let growing = |interval: u64, first, last| (2 * interval).clamp(first, last);
        self.request_interval_ns = if has_new {
            REQUEST_INTERVAL_NS
        } else {
            growing(self.request_interval_ns, REQUEST_INTERVAL_NS, REQUEST_INTERVAL_MAX_NS)
        };
        if received.is_empty() {
            return (0, 0);
        }
        let is_covered = |old: &Mapping| at(&received, old.start).is_some_and(|new| covers(new, old));
        let changed: Vec<u64> = self.mappings.iter().filter(|old| !is_covered(old)).map(|old| old.start).collect();
        // A sample that used several of them is one sample.
        let remapped = changed.iter().filter_map(|start| self.used.get(start)).sum::<u64>().min(self.samples);
        self.refresh_interval_ns = if changed.is_empty() {
            growing(self.refresh_interval_ns, REFRESH_INTERVAL_NS, REFRESH_INTERVAL_MAX_NS)
        } else {
            REFRESH_INTERVAL_NS
        };
        (self.used, self.samples) = (BTreeMap::new(), 0);
        self.mappings = received;
        let more_dropped = dropped.saturating_sub(self.dropped);
        self.dropped = self.dropped.max(dropped);
        (remapped, more_dropped.into())
    }

    pub(super) fn mapping_at(&self, address: u64) -> Option<&Mapping> {
        at(&self.mappings, address)
    }

    /// Counts a sample for the mappings with these first addresses.
    pub(super) fn count_use(&mut self, mut starts: Vec<u64>) {
        self.samples += 1;
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            *self.used.entry(start).or_default() += 1;
        }
    }
}

fn at(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let behind = mappings.partition_point(|mapping| mapping.start <= address);
    mappings.get(behind.checked_sub(1)?).filter(|mapping| address < mapping.end)
}

/// All addresses of the old mapping are still what they were. Mappings grow: code is compiled, a neighbour is joined.
fn covers(new: &Mapping, old: &Mapping) -> bool {
    let shift = |mapping: &Mapping| mapping.start.wrapping_sub(mapping.offset);
    new.start <= old.start && old.end <= new.end && new.file == old.file && shift(new) == shift(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples that count as remapped when `old`, used by three samples, is replaced by `new`.
    fn remapped(old: Mapping, new: Mapping) -> u64 {
        let mut process = Process::default();
        process.receive(&[old]);
        process.apply_received(0);
        (0..3).for_each(|_| process.count_use(vec![old.start, old.start]));
        process.receive(&[new]);
        process.apply_received(0).0
    }

    #[test]
    fn mapping_that_has_grown_is_no_other() {
        let old = Mapping { start: 0x2000, end: 0x3000, offset: 0x2000, file: 1 };
        assert_eq!(remapped(old, old), 0);
        assert_eq!(remapped(old, Mapping { start: 0x1000, end: 0x9000, offset: 0x1000, ..old }), 0);
        assert_eq!(remapped(old, Mapping { start: 0x1000, end: 0x9000, ..old }), 3);
        assert_eq!(remapped(old, Mapping { file: 2, ..old }), 3);
        assert_eq!(remapped(old, Mapping { end: 0x2800, ..old }), 3);
    }

    #[test]
    fn overlapping_mappings_of_an_answer_are_one_at_each_address() {
        let mut process = Process::default();
        let first = Mapping { start: 0x1000, end: 0x3000, offset: 0, file: 1 };
        process.receive(&[Mapping { start: 0x2000, file: 2, ..first }, first]);
        process.apply_received(0);
        assert_eq!(process.mapping_at(0x2800), Some(&first));
    }
}
