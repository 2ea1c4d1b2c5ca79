//! What went through each interface, in flows and outside them. The two together are what the interface itself counts.

use std::collections::BTreeMap;

use trilobite_node_ebpf::flow::{
    FlowDirection, InterfaceCounts, OTHER_MAP_FULL, OTHER_REASONS, OTHER_SHARE, PacketsBytes,
};

/// One interface in one direction since it is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// In flows, ended or not.
    pub flows: PacketsBytes,
    /// In no flow, by reason, in the order of `OTHER_REASONS`.
    pub other: [PacketsBytes; OTHER_REASONS.len()],
    /// Records that did not fit the ring; what they would have said is in `flows` all the same.
    pub records_lost: u64,
}

/// All interfaces by index and direction.
pub type Sums = BTreeMap<(u32, FlowDirection), Sum>;

impl Sum {
    /// All packets and bytes.
    pub fn all(&self) -> PacketsBytes {
        self.other.iter().fold(self.flows, added)
    }

    /// Adds what the kernel counts outside flows.
    pub fn add_counts(&mut self, counts: &InterfaceCounts) {
        for (sum, other) in self.other.iter_mut().zip(&counts.other) {
            *sum = added(*sum, other);
        }
        self.records_lost += counts.records_lost;
    }

    /// Adds another sum.
    pub fn add(&mut self, more: &Self) {
        self.flows = added(self.flows, &more.flows);
        for (sum, other) in self.other.iter_mut().zip(&more.other) {
            *sum = added(*sum, other);
        }
        self.records_lost += more.records_lost;
    }

    /// Adds what a flow counts.
    pub fn add_flow(&mut self, counted: &PacketsBytes) {
        self.flows = added(self.flows, counted);
    }

    /// Packets that found no room in the flow map, or none that was theirs.
    pub fn unplaced(&self) -> u64 {
        self.other[OTHER_MAP_FULL].packets + self.other[OTHER_SHARE].packets
    }
}

fn added(sum: PacketsBytes, more: &PacketsBytes) -> PacketsBytes {
    PacketsBytes { packets: sum.packets + more.packets, bytes: sum.bytes + more.bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_flows_and_every_reason() {
        let mut sum = Sum::default();
        sum.add_flow(&PacketsBytes { packets: 2, bytes: 200 });
        let mut counts = InterfaceCounts { records_lost: 3, ..InterfaceCounts::default() };
        counts.other[0] = PacketsBytes { packets: 1, bytes: 60 };
        counts.other[OTHER_MAP_FULL] = PacketsBytes { packets: 4, bytes: 400 };
        counts.other[OTHER_SHARE] = PacketsBytes { packets: 2, bytes: 40 };
        sum.add_counts(&counts);
        assert_eq!(sum.all(), PacketsBytes { packets: 9, bytes: 700 });
        assert_eq!((sum.unplaced(), sum.records_lost), (6, 3));
    }
}
