//! Traffic of each interface, counted in flows and outside of flows. The two add up to the interface's own counters.

use std::collections::BTreeMap;

use trilobite_node_ebpf::{FlowDirection, InterfaceCounts, OTHER_REASONS, OtherReason, PacketsBytes};

/// Traffic of one interface in one direction since it is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficSum {
    /// In flows, open or ended.
    pub flows: PacketsBytes,
    /// Outside flows, by reason, in the order of `OTHER_REASONS`.
    pub other: [PacketsBytes; OTHER_REASONS.len()],
}

/// By index of the interface and direction.
pub type TrafficSums = BTreeMap<(u32, FlowDirection), TrafficSum>;

impl TrafficSum {
    /// All packets and bytes.
    pub fn all(&self) -> PacketsBytes {
        self.other.iter().fold(self.flows, added)
    }

    /// Adds the kernel's counts outside flows.
    pub fn add_counts(&mut self, counts: &InterfaceCounts) {
        for (sum, other) in self.other.iter_mut().zip(&counts.other) {
            *sum = added(*sum, other);
        }
    }

    pub fn add(&mut self, more: &Self) {
        self.flows = added(self.flows, &more.flows);
        for (sum, other) in self.other.iter_mut().zip(&more.other) {
            *sum = added(*sum, other);
        }
    }

    /// Adds the counts of a flow.
    pub fn add_flow(&mut self, counted: &PacketsBytes) {
        self.flows = added(self.flows, counted);
    }

    /// Packets for which the flow map was full, or their interface's share of it used up.
    pub fn unplaced(&self) -> u64 {
        self.other[OtherReason::MapFull as usize].packets + self.other[OtherReason::Share as usize].packets
    }
}

fn added(sum: PacketsBytes, more: &PacketsBytes) -> PacketsBytes {
    PacketsBytes { packets: sum.packets + more.packets, bytes: sum.bytes + more.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_adds_flows_and_every_reason() {
        let mut sum = TrafficSum::default();
        sum.add_flow(&PacketsBytes { packets: 2, bytes: 200 });
        let mut counts = InterfaceCounts::default();
        counts.other[0] = PacketsBytes { packets: 1, bytes: 60 };
        counts.other[OtherReason::MapFull as usize] = PacketsBytes { packets: 4, bytes: 400 };
        counts.other[OtherReason::Share as usize] = PacketsBytes { packets: 2, bytes: 40 };
        sum.add_counts(&counts);
        assert_eq!(sum.all(), PacketsBytes { packets: 9, bytes: 700 });
        assert_eq!(sum.unplaced(), 6);
    }
}
