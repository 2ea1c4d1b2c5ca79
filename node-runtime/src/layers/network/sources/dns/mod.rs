//! Queries and answers of DNS on the watched interfaces. Programs of their own copy the packets into a ring, a worker reads them there,
//! and this makes flows of what the worker says. No byte of a packet is parsed here.

mod message;
mod programs;

use std::{collections::HashSet, sync::Arc};

pub use message::{DnsFlow, Outcome, dns_flow};
pub use programs::DnsRing;
use trilobite_worker_wire::DnsCounts;

use self::programs::LoadedPrograms;
use super::packet_hooks::PacketHooks;
use crate::problem::Problem;

/// Costs nothing while no interface is watched.
pub struct DnsSource {
    hooks: PacketHooks,
    loaded: Option<LoadedPrograms>,
    /// Records that unloaded programs have dropped.
    past_drops: u64,
    /// Of the present worker, and of those before it.
    counts: DnsCounts,
    past_counts: DnsCounts,
    /// Workers that ended on their own.
    worker_ends: u64,
}

/// What the worker has counted, with those before it, and what was lost around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DnsTotals {
    pub worker: DnsCounts,
    /// Packets that found no room in the ring.
    pub dropped: u64,
    /// Workers that ended on their own. With each a record is lost, that it may have died of.
    pub worker_ends: u64,
}

impl DnsSource {
    pub fn new(hooks: PacketHooks) -> Self {
        Self {
            hooks,
            loaded: None,
            past_drops: 0,
            counts: DnsCounts::default(),
            past_counts: DnsCounts::default(),
            worker_ends: 0,
        }
    }

    /// Copies packets on these interfaces and on no others. Attaches and detaches at most `most` of them: see
    /// `TcxPrograms::watch_some`. Returns whether there is more to do.
    pub fn watch_some(&mut self, interfaces: &[u32], most: usize) -> Result<bool, Problem> {
        if interfaces.is_empty() {
            self.stop();
            return Ok(false);
        }
        let loaded = match &mut self.loaded {
            Some(loaded) => loaded,
            None => self.loaded.insert(LoadedPrograms::load()?),
        };
        let wanted: HashSet<u32> = interfaces.iter().copied().collect();
        let mut left = most;
        let mut turn = || left.checked_sub(1).map(|less| left = less).is_some();
        for interface in loaded.attached() {
            if !wanted.contains(&interface) || loaded.is_deleted(interface) {
                if !turn() {
                    return Ok(true);
                }
                loaded.detach(interface);
            }
        }
        let attached: HashSet<u32> = loaded.attached().into_iter().collect();
        for interface in wanted.difference(&attached) {
            if !turn() {
                return Ok(true);
            }
            loaded.attach(&self.hooks, *interface)?;
        }
        Ok(false)
    }

    /// Copies nothing any more; programs and links are unloaded when it returns, the ring with its worker.
    pub fn stop(&mut self) {
        if let Some(loaded) = self.loaded.take() {
            self.past_drops += loaded.dropped_records();
            self.end_worker(false);
        }
    }

    /// The ring, for the worker.
    pub fn ring(&self) -> Option<Arc<DnsRing>> {
        self.loaded.as_ref().map(LoadedPrograms::ring)
    }

    /// The worker's counts since its start.
    pub fn set_counts(&mut self, counts: DnsCounts) {
        self.counts = counts;
    }

    /// Another worker begins at zero. `on_its_own`: the one before was not ended by the agent.
    pub fn end_worker(&mut self, on_its_own: bool) {
        self.past_counts = sum(self.past_counts, std::mem::take(&mut self.counts));
        self.worker_ends += u64::from(on_its_own);
    }

    pub fn totals(&self) -> DnsTotals {
        let dropped = self.loaded.as_ref().map_or(0, LoadedPrograms::dropped_records);
        DnsTotals {
            worker: sum(self.past_counts, self.counts),
            dropped: self.past_drops + dropped,
            worker_ends: self.worker_ends,
        }
    }
}

impl DnsTotals {
    /// Messages that no flow tells of, beside those that found no room in the ring.
    pub fn lost_by_worker(&self) -> u64 {
        self.worker.untold + self.worker.forgotten + self.worker_ends
    }
}

fn sum(one: DnsCounts, other: DnsCounts) -> DnsCounts {
    DnsCounts {
        messages: one.messages + other.messages,
        malformed: one.malformed + other.malformed,
        unanswered: one.unanswered + other.unanswered,
        untold: one.untold + other.untold,
        forgotten: one.forgotten + other.forgotten,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_ended_workers_stay() {
        let mut source = DnsSource::new(PacketHooks::Tcx);
        let counts = |messages, untold| DnsCounts { messages, untold, ..DnsCounts::default() };
        source.set_counts(counts(5, 1));
        source.set_counts(counts(9, 2));
        source.end_worker(true);
        source.set_counts(counts(1, 0));
        let totals = source.totals();
        assert_eq!((totals.worker, totals.lost_by_worker()), (counts(10, 2), 3));
        source.end_worker(false);
        assert_eq!(source.totals(), totals);
    }
}
