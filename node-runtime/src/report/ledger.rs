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
    /// A cgroup whose selection did not fit into the kernel's map of cgroups.
    CgroupMap,
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
            Self::CgroupMap => "cgroup_map",
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

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where.
    pub place: Place,
    /// What for: a resource as `Source` prints itself, or empty for the whole node.
    pub of: String,
    /// What kind of record, as `exec`; empty where the place carries one kind only.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
}

/// Losses since the agent's start, by place, by what they were for, and by the kind of record.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

type Entries = BTreeMap<(Place, String, &'static str), u64>;

impl Ledger {
    /// Adds `count` lost records at a place that carries one kind of record.
    pub fn lost(&self, place: Place, of: &str, count: u64) {
        self.lost_kind(place, of, "", count);
    }

    /// Adds `count` lost records of one kind, as `exec`: for a place that carries several.
    pub fn lost_kind(&self, place: Place, of: &str, kind: &'static str, count: u64) {
        if count > 0 {
            *self.entries().entry((place, of.to_owned(), kind)).or_default() += count;
        }
    }

    /// Sets what a counter of the kernel's says now; it only grows.
    pub fn lost_so_far(&self, place: Place, of: &str, total: u64) {
        if total > 0 {
            let mut entries = self.entries();
            let entry = entries.entry((place, of.to_owned(), "")).or_default();
            *entry = total.max(*entry);
        }
    }

    /// What was lost at each place for each resource, whatever the kind of record; sorted.
    pub fn losses(&self) -> Vec<(Place, String, u64)> {
        let mut sums: BTreeMap<(Place, String), u64> = BTreeMap::new();
        for ((place, of, _), count) in self.entries().iter() {
            *sums.entry((*place, of.clone())).or_default() += count;
        }
        sums.into_iter().map(|((place, of), count)| (place, of, count)).collect()
    }

    /// All entries, sorted.
    pub fn by_kind(&self) -> Vec<Loss> {
        let entries = self.entries();
        let loss = |((place, of, kind), count): (&(Place, String, &'static str), &u64)| Loss {
            place: *place,
            of: of.clone(),
            kind,
            count: *count,
        };
        entries.iter().map(loss).collect()
    }

    /// What was lost at one place, for whatever.
    pub fn total(&self, place: Place) -> u64 {
        self.entries().iter().filter(|((at, ..), _)| *at == place).map(|(_, count)| count).sum()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
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

    #[test]
    fn kinds_at_one_place_are_told_apart_and_add_up() {
        let ledger = Ledger::default();
        ledger.lost_kind(Place::IdentityRing, "", "exec", 2);
        ledger.lost_kind(Place::IdentityRing, "", "exit", 3);
        let kinds: Vec<_> = ledger.by_kind().iter().map(|loss| (loss.kind, loss.count)).collect();
        assert_eq!(kinds, [("exec", 2), ("exit", 3)]);
        assert_eq!(ledger.losses(), [(Place::IdentityRing, String::new(), 5)]);
    }
}
