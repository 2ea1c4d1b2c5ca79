//! Which counts have been reported: a drop is reported at once, those that follow once a second with their number. Pure.
//!
//! The kernel counts in one of two maps. The agent lets it change over to the other, and reads the first when it is at rest.

use std::collections::{HashMap, HashSet};

use trilobite_node_ebpf::{PacketDropKey, PacketDropValue};

use super::decode::FirstDrop;

#[derive(Debug, Default)]
pub(super) struct DropCounts {
    /// The map in which the kernel counts now.
    active: u32,
    /// Packets and bytes that have been reported of keys of the active map, and of the one that is read next.
    reported: [HashMap<Bytes, (u64, u64)>; 2],
    /// Keys of the map that was read last: packets go on, and are reported by their sum.
    going_on: HashSet<Bytes>,
    /// A key has been added to the active map.
    is_dirty: bool,
    /// The map that was active before has been read.
    is_previous_read: bool,
}

/// A key as the kernel compares it.
type Bytes = [u8; size_of::<PacketDropKey>()];

impl DropCounts {
    /// What is to be reported of a record at once; none if the count will say it.
    pub(super) fn add_first(&mut self, first: &FirstDrop) -> Option<PacketDropValue> {
        let is_active = first.generation == self.active;
        let is_previous = !self.is_previous_read && first.generation.wrapping_add(1) == self.active;
        // All others have been counted already.
        if !is_active && !is_previous {
            return None;
        }
        self.is_dirty |= is_active;
        let key: Bytes = zerocopy::transmute!(first.key);
        if self.going_on.contains(&key) {
            return None;
        }
        let PacketDropValue { packets, bytes, .. } = first.value;
        self.reported[(first.generation & 1) as usize].insert(key, (packets, bytes));
        Some(first.value)
    }

    /// Something is counted, or was a second ago.
    pub(super) fn is_counting(&self) -> bool {
        self.is_dirty || !self.going_on.is_empty()
    }

    /// The number of the map that the kernel counts in from now on.
    pub(super) fn change_over(&mut self) -> u32 {
        self.active = self.active.wrapping_add(1);
        (self.is_dirty, self.is_previous_read) = (false, false);
        self.active
    }

    /// What has not been reported of the map that was active before and is at rest, by its entries. `parity` is the lowest bit of
    /// its number.
    pub(super) fn read_out(
        &mut self,
        parity: usize,
        entries: impl IntoIterator<Item = (PacketDropKey, PacketDropValue)>,
    ) -> Vec<(PacketDropKey, PacketDropValue)> {
        let mut reported = std::mem::take(&mut self.reported[parity & 1]);
        let mut going_on = HashSet::new();
        let mut rest = Vec::new();
        for (key, value) in entries {
            let bytes: Bytes = zerocopy::transmute!(key);
            let before = reported.remove(&bytes).unwrap_or_default();
            going_on.insert(bytes);
            let packets = value.packets.saturating_sub(before.0);
            if packets > 0 {
                rest.push((key, PacketDropValue { packets, bytes: value.bytes.saturating_sub(before.1), ..value }));
            }
        }
        (self.going_on, self.is_previous_read) = (going_on, true);
        rest
    }

    /// The parity of the map that the kernel counts in.
    pub(super) fn active_parity(&self) -> usize {
        (self.active & 1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{super::decode::tests::dropped_syn, *};

    /// The kernel's side: two maps, and records of first drops.
    #[derive(Default)]
    struct Kernel {
        maps: [HashMap<Bytes, (PacketDropKey, PacketDropValue)>; 2],
        active: u32,
        ring: Vec<FirstDrop>,
    }

    impl Kernel {
        fn drop_packet(&mut self, port: u16) {
            let (key, value) = dropped_syn();
            let key = PacketDropKey { source_port: port, ..key };
            let fresh = PacketDropValue { packets: 1, bytes: 60, ..value };
            let bytes: Bytes = zerocopy::transmute!(key);
            let entry = self.maps[(self.active & 1) as usize].entry(bytes);
            let mut is_first = false;
            let (_, counted) = entry.or_insert_with(|| {
                is_first = true;
                (key, PacketDropValue { packets: 0, bytes: 0, ..fresh })
            });
            counted.packets += 1;
            counted.bytes += 60;
            if is_first {
                self.ring.push(FirstDrop { generation: self.active, key, value: fresh });
            }
        }
    }

    /// Packets reported of each port, and how many reports there were.
    fn reports(list: &[(u16, u64)]) -> (HashMap<u16, u64>, usize) {
        let mut sums = HashMap::new();
        list.iter().for_each(|(port, packets)| *sums.entry(*port).or_default() += packets);
        (sums, list.len())
    }

    fn drain(kernel: &mut Kernel, counts: &mut DropCounts, seen: &mut Vec<(u16, u64)>) {
        for first in kernel.ring.drain(..) {
            seen.extend(counts.add_first(&first).map(|value| (first.key.source_port, value.packets)));
        }
    }

    /// One second's end: the change, what comes before the map is read, and its reading.
    fn second(kernel: &mut Kernel, counts: &mut DropCounts, seen: &mut Vec<(u16, u64)>, late: impl Fn(&mut Kernel)) {
        let parity = counts.active_parity();
        kernel.active = counts.change_over();
        late(kernel);
        drain(kernel, counts, seen);
        let entries: Vec<_> = kernel.maps[parity].drain().map(|(_, entry)| entry).collect();
        seen.extend(counts.read_out(parity, entries).iter().map(|(key, value)| (key.source_port, value.packets)));
    }

    #[test]
    fn single_drop_is_reported_once_and_at_once() {
        let (mut kernel, mut counts, mut seen) = (Kernel::default(), DropCounts::default(), Vec::new());
        kernel.drop_packet(7);
        drain(&mut kernel, &mut counts, &mut seen);
        assert_eq!(seen, [(7, 1)]);
        second(&mut kernel, &mut counts, &mut seen, |_| {});
        assert_eq!(seen, [(7, 1)]);
        assert!(counts.is_counting());
        second(&mut kernel, &mut counts, &mut seen, |_| {});
        assert!(!counts.is_counting(), "nothing goes on: the next drop is reported at once");
        kernel.drop_packet(7);
        drain(&mut kernel, &mut counts, &mut seen);
        assert_eq!(seen, [(7, 1), (7, 1)]);
    }

    #[test]
    fn storm_is_one_report_a_second_and_no_packet_is_missing() {
        let (mut kernel, mut counts, mut seen) = (Kernel::default(), DropCounts::default(), Vec::new());
        for _ in 0..5 {
            for _ in 0..1000 {
                kernel.drop_packet(7);
                drain(&mut kernel, &mut counts, &mut seen);
            }
            kernel.drop_packet(8);
            // Packets that come while the map waits to be read are in the next.
            second(&mut kernel, &mut counts, &mut seen, |kernel| kernel.drop_packet(7));
        }
        second(&mut kernel, &mut counts, &mut seen, |_| {});
        let (sums, number) = reports(&seen);
        assert_eq!((sums[&7], sums[&8]), (5005, 5));
        assert!(number <= 2 * 5 + 4, "{seen:?}");
    }

    #[test]
    fn drop_without_room_in_the_ring_is_in_the_count() {
        let (mut kernel, mut counts, mut seen) = (Kernel::default(), DropCounts::default(), Vec::new());
        (0..9).for_each(|_| kernel.drop_packet(7));
        kernel.ring.clear();
        second(&mut kernel, &mut counts, &mut seen, |_| {});
        assert_eq!(seen, [(7, 9)]);
    }

    #[test]
    fn record_of_a_map_that_was_read_is_not_reported_again() {
        let (mut kernel, mut counts, mut seen) = (Kernel::default(), DropCounts::default(), Vec::new());
        kernel.drop_packet(7);
        let late = std::mem::take(&mut kernel.ring);
        for _ in 0..2 {
            second(&mut kernel, &mut counts, &mut seen, |_| {});
            kernel.ring.clone_from(&late);
            drain(&mut kernel, &mut counts, &mut seen);
        }
        assert_eq!(seen, [(7, 1)]);
    }
}
