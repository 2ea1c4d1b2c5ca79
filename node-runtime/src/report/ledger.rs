//! One ledger of losses: whoever loses a record, or reads a counter of the kernel's, enters it here.
//! From here it goes to `/metrics`, to the streams and to the node's status.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Where a record can be lost. The text is a metric's label and is never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The ring that carries fork, exec, exit and cgroup records.
    IdentityRing,
    /// A process that did not fit into the kernel's process map.
    ProcessMap,
    /// The ring that policies share.
    PolicyRing,
    /// A flow that did not fit into the kernel's flow map; its packets are in `other`.
    FlowMap,
    /// The ring of flow records.
    FlowRing,
    /// The ring of CPU samples.
    SampleRing,
    /// Samples that a worker held when it died, or that its budget had no room for.
    Worker,
    /// A record of a cgroup whose pod did not become known in time.
    Undecided,
    /// A reader of the gRPC stream that was too slow.
    StreamReader,
    /// The exporter's queue.
    ExportQueue,
    /// A result that was dropped to stay inside the node's limit.
    ResultStore,
}

impl Place {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdentityRing => "identity_ring",
            Self::ProcessMap => "process_map",
            Self::PolicyRing => "policy_ring",
            Self::FlowMap => "flow_map",
            Self::FlowRing => "flow_ring",
            Self::SampleRing => "sample_ring",
            Self::Worker => "worker",
            Self::Undecided => "undecided",
            Self::StreamReader => "stream_reader",
            Self::ExportQueue => "export_queue",
            Self::ResultStore => "result_store",
        }
    }
}

/// Losses since the agent's start, by place and by what they were for (a unit's key, or empty for the whole node).
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<(Place, String), u64>>>);

impl Ledger {
    /// Adds `count` lost records.
    pub fn lost(&self, place: Place, of: &str, count: u64) {
        if count > 0 {
            *self.entries().entry((place, of.to_owned())).or_default() += count;
        }
    }

    /// Sets what a counter of the kernel's says now; it only grows.
    pub fn lost_so_far(&self, place: Place, of: &str, total: u64) {
        if total > 0 {
            let mut entries = self.entries();
            let entry = entries.entry((place, of.to_owned())).or_default();
            *entry = total.max(*entry);
        }
    }

    /// All entries, sorted.
    pub fn losses(&self) -> Vec<(Place, String, u64)> {
        self.entries().iter().map(|((place, of), count)| (*place, of.clone(), *count)).collect()
    }

    /// What was lost at one place, for whatever.
    pub fn total(&self, place: Place) -> u64 {
        self.entries().iter().filter(|((at, _), _)| *at == place).map(|(_, count)| count).sum()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<(Place, String), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_of_the_kernel_never_goes_back() {
        let ledger = Ledger::default();
        ledger.lost_so_far(Place::FlowRing, "", 7);
        ledger.lost_so_far(Place::FlowRing, "", 3);
        assert_eq!(ledger.total(Place::FlowRing), 7);
    }

    #[test]
    fn losses_of_two_units_add_up_at_their_place() {
        let ledger = Ledger::default();
        ledger.lost(Place::PolicyRing, "a", 2);
        ledger.lost(Place::PolicyRing, "b", 3);
        ledger.lost(Place::PolicyRing, "c", 0);
        assert_eq!(ledger.total(Place::PolicyRing), 5);
        assert_eq!(ledger.losses().len(), 2);
    }
}
