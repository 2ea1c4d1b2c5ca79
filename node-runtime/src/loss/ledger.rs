//! The ledger of losses: every place that loses a record, or reads a drop counter of the kernel, records it here. `/metrics`, the
//! event streams and the node's status read it.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

/// Where a record can be lost. Its text is a metric label and is never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossPoint {
    /// The ring that carries fork, exec, exit and cgroup records.
    IdentityRing,
    /// The kernel's process map was full.
    ProcessMap,
    /// The kernel's map of cgroups was full.
    CgroupMap,
    /// The ring that policies share.
    PolicyRing,
    /// The kernel's flow map was full; the packets are counted in `other`.
    FlowMap,
    /// The ring of flow records.
    FlowRing,
    /// The kernel's map of dropped packets was full, or its program was already running: these drops are in no flow.
    DropMap,
    /// The ring of packets with DNS.
    DnsRing,
    /// Messages of DNS that the worker could not keep, and records of which one may have died.
    DnsWorker,
    /// Names of addresses that made room for others before their time.
    DnsNames,
    /// The ring of CPU samples.
    SampleRing,
    /// The ring of socket calls, of which requests are decoded.
    RequestRing,
    /// Rows that left early and connections that were given up, because the memory budget of their profile was used up.
    RequestBudget,
    /// Messages of connections that were not understood, and requests without an answer.
    RequestParse,
    /// Samples and rows that a worker held when it crashed, and samples that exceeded its memory budget.
    Worker,
    /// The record's pod did not become known in time.
    Undecided,
    /// Calls that a policy would have answered with a signal, in pods that were not known yet: reported, and not stopped.
    Unenforced,
    /// Decoded HTTP requests of which no flows were made: they came too fast, or their addresses are not known.
    HttpFlows,
    /// A client of a gRPC stream read too slowly.
    StreamReader,
    /// The exporter's queue.
    ExportQueue,
    /// A result was dropped to stay below the node's limit.
    ResultStore,
}

impl LossPoint {
    /// The metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IdentityRing => "identity_ring",
            Self::ProcessMap => "process_map",
            Self::CgroupMap => "cgroup_map",
            Self::PolicyRing => "policy_ring",
            Self::FlowMap => "flow_map",
            Self::FlowRing => "flow_ring",
            Self::DropMap => "drop_map",
            Self::DnsRing => "dns_ring",
            Self::DnsWorker => "dns_worker",
            Self::DnsNames => "dns_names",
            Self::SampleRing => "sample_ring",
            Self::RequestRing => "request_ring",
            Self::RequestBudget => "request_budget",
            Self::RequestParse => "request_parse",
            Self::Worker => "worker",
            Self::Undecided => "undecided",
            Self::Unenforced => "unenforced",
            Self::HttpFlows => "http_flows",
            Self::StreamReader => "stream_reader",
            Self::ExportQueue => "export_queue",
            Self::ResultStore => "result_store",
        }
    }
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub place: LossPoint,
    /// The resource, as `Source` prints itself; empty for the whole node.
    pub of: String,
    /// The kind of record, e.g. `exec`; empty where the place carries only one kind.
    pub kind: &'static str,
    pub count: u64,
}

/// Losses since the agent's start, by loss point, resource and kind of record.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

type Entries = BTreeMap<(LossPoint, String, &'static str), u64>;

impl Ledger {
    /// Adds `count` lost records at a loss point that carries one kind of record.
    pub fn record_loss(&self, place: LossPoint, of: &str, count: u64) {
        self.record_loss_of_kind(place, of, "", count);
    }

    /// Adds `count` lost records of one kind, e.g. `exec`, at a loss point that carries several.
    pub fn record_loss_of_kind(&self, place: LossPoint, of: &str, kind: &'static str, count: u64) {
        if count > 0 {
            *self.entries().entry((place, of.to_owned(), kind)).or_default() += count;
        }
    }

    /// Sets the current value of a drop counter in the kernel; the entry never decreases.
    pub fn set_total(&self, place: LossPoint, of: &str, total: u64) {
        if total > 0 {
            let mut entries = self.entries();
            let entry = entries.entry((place, of.to_owned(), "")).or_default();
            *entry = total.max(*entry);
        }
    }

    /// Losses by loss point and resource, summed over kinds; sorted.
    pub fn losses(&self) -> Vec<(LossPoint, String, u64)> {
        let mut sums: BTreeMap<(LossPoint, String), u64> = BTreeMap::new();
        for ((place, of, _), count) in self.entries().iter() {
            *sums.entry((*place, of.clone())).or_default() += count;
        }
        sums.into_iter().map(|((place, of), count)| (place, of, count)).collect()
    }

    /// All entries, sorted.
    pub fn by_kind(&self) -> Vec<Loss> {
        let entries = self.entries();
        let loss = |((place, of, kind), count): (&(LossPoint, String, &'static str), &u64)| Loss {
            place: *place,
            of: of.clone(),
            kind,
            count: *count,
        };
        entries.iter().map(loss).collect()
    }

    /// The sum of one loss point over all resources and kinds.
    pub fn total_at(&self, place: LossPoint) -> u64 {
        self.entries().iter().filter(|((at, ..), _)| *at == place).map(|(_, count)| count).sum()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_counter_never_decreases() {
        let ledger = Ledger::default();
        ledger.set_total(LossPoint::FlowRing, "", 7);
        ledger.set_total(LossPoint::FlowRing, "", 3);
        assert_eq!(ledger.total_at(LossPoint::FlowRing), 7);
    }

    #[test]
    fn losses_of_two_resources_add_up() {
        let ledger = Ledger::default();
        ledger.record_loss(LossPoint::PolicyRing, "a", 2);
        ledger.record_loss(LossPoint::PolicyRing, "b", 3);
        ledger.record_loss(LossPoint::PolicyRing, "c", 0);
        assert_eq!(ledger.total_at(LossPoint::PolicyRing), 5);
        assert_eq!(ledger.losses().len(), 2);
    }

    #[test]
    fn kinds_are_kept_apart_and_add_up() {
        let ledger = Ledger::default();
        ledger.record_loss_of_kind(LossPoint::IdentityRing, "", "exec", 2);
        ledger.record_loss_of_kind(LossPoint::IdentityRing, "", "exit", 3);
        let kinds: Vec<_> = ledger.by_kind().iter().map(|loss| (loss.kind, loss.count)).collect();
        assert_eq!(kinds, [("exec", 2), ("exit", 3)]);
        assert_eq!(ledger.losses(), [(LossPoint::IdentityRing, String::new(), 5)]);
    }
}
