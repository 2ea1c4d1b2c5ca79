//! Flows of a set of interfaces, counted by programs at their hooks: attaches and detaches them, reads their records, ends
//! silent flows, and keeps the sums.

mod end_walk;
mod idle_flows;
mod idle_timeouts;
mod programs;
pub mod sums;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use trilobite_node_ebpf::{FlowDirection, FlowReason, PacketsBytes};

pub use idle_flows::EndedFlows;
pub use idle_timeouts::IdleTimeouts;
pub use programs::MapSizes;

use self::{
    programs::LoadedPrograms,
    sums::{TrafficSum, TrafficSums},
};
use super::{FlowSink, packet_hooks::PacketHooks};
use crate::{
    kernel::{Ring, clock, grace},
    layers::network::{
        decode::{self, FlowObservation, FlowTuple},
        enrich::{Enricher, WatchTarget},
    },
    problem::Problem,
};

/// Time between ending a flow and removing it from the map; a packet takes microseconds to its counter.
pub const REMOVE_ENDED_AFTER: Duration = Duration::from_millis(50);

/// Consecutive orders to end flows that may end none because unfinished records fill the ring.
const MAX_IDLE_ROUNDS: u32 = 200;

/// Costs nothing while no interface is watched.
pub struct TcxPrograms {
    hooks: PacketHooks,
    loaded: Option<LoadedPrograms>,
    /// Sums of ended flows, and counters of programs that were replaced.
    past: TrafficSums,
    /// Records that replaced or unloaded programs have dropped.
    past_drops: u64,
}

/// Result of `watch_some`.
#[derive(Debug, Default)]
pub struct AttachProgress {
    /// Why an interface cannot be watched, by index.
    pub problems: BTreeMap<u32, Problem>,
    /// There is more to attach or to detach: call it again.
    pub more: bool,
}

/// How much of a ring is read.
type DrainRing = fn(&Ring, &mut (dyn FnMut(&[u8]) + '_));

impl TcxPrograms {
    pub fn new(hooks: PacketHooks) -> Self {
        Self { hooks, loaded: None, past: TrafficSums::default(), past_drops: 0 }
    }

    /// Watches these interfaces and no others, with maps of these sizes. Returns why an interface cannot be watched, by
    /// index. Interfaces that stay are watched without a gap, whatever fails.
    pub fn watch(
        &mut self,
        sizes: MapSizes,
        targets: &[WatchTarget],
        sink: &mut FlowSink<'_>,
    ) -> Result<BTreeMap<u32, Problem>, Problem> {
        self.watch_some(sizes, targets, usize::MAX, sink).map(|progress| progress.problems)
    }

    /// As `watch`, but attaches to and detaches from at most `most` interfaces: for each the kernel waits until no processor
    /// runs the previous programs, which takes tens of milliseconds and blocks the agent's thread.
    pub fn watch_some(
        &mut self,
        sizes: MapSizes,
        targets: &[WatchTarget],
        most: usize,
        sink: &mut FlowSink<'_>,
    ) -> Result<AttachProgress, Problem> {
        self.load(sizes, sink)?;
        let mut progress = AttachProgress::default();
        let mut left = most;
        let wanted: HashSet<u32> = targets.iter().map(|target| target.interface.index).collect();
        let deleted = self.deleted();
        let unwanted = |interface: &u32| !wanted.contains(interface) || deleted.contains(interface);
        for interface in self.watched().into_iter().filter(unwanted) {
            if left == 0 {
                progress.more = true;
                return Ok(progress);
            }
            left -= 1;
            self.unwatch(interface, sink);
        }
        let watched: HashSet<u32> = self.watched().into_iter().collect();
        for target in targets {
            let index = target.interface.index;
            let is_new = !watched.contains(&index);
            if is_new && left == 0 {
                progress.more = true;
                continue;
            }
            sink.enricher.watch(target);
            let Some(loaded) = &mut self.loaded else { continue };
            match loaded.attach(&self.hooks, index) {
                // A failed attempt costs little; if it were counted, it would be repeated for ever.
                Err(problem) => {
                    sink.enricher.forget(index);
                    progress.problems.insert(index, problem);
                }
                Ok(()) if is_new => left -= 1,
                Ok(()) => {}
            }
        }
        Ok(progress)
    }

    /// Watched interfaces that were deleted; a new one may have the same index.
    pub fn deleted(&self) -> Vec<u32> {
        self.loaded.as_ref().map(LoadedPrograms::deleted).unwrap_or_default()
    }

    /// Detaches from at most `most` interfaces, ahead of `stop`. Returns whether some are left.
    pub fn detach_some(&mut self, most: usize, sink: &mut FlowSink<'_>) -> bool {
        for interface in self.watched().into_iter().take(most) {
            self.unwatch(interface, sink);
        }
        !self.watched().is_empty()
    }

    /// Watches nothing: programs and maps are unloaded when it returns.
    pub fn stop(&mut self, sink: &mut FlowSink<'_>) {
        if let Some(loaded) = &mut self.loaded {
            loaded.detach_all();
        }
        self.end_all(None, sink);
        sink.release();
        self.keep_counters(sink.enricher);
        self.loaded = None;
        sink.enricher.reset();
        for ((_, direction), sum) in std::mem::take(&mut self.past) {
            self.past.entry((0, direction)).or_default().add(&sum);
        }
    }

    /// The ring of records; another one after the sizes have changed.
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.loaded.as_ref().map(LoadedPrograms::ring)
    }

    pub fn watched(&self) -> Vec<u32> {
        self.loaded.as_ref().map(LoadedPrograms::attached).unwrap_or_default()
    }

    /// Reads records, at most as many as let other tasks have their turn.
    pub fn drain(&mut self, sink: &mut FlowSink<'_>) {
        self.read(Ring::drain, sink);
    }

    fn read(&mut self, drain: DrainRing, sink: &mut FlowSink<'_>) {
        let Some(ring) = self.ring() else { return };
        let booted = clock::wall_time(0).as_nanosecond();
        drain(&ring, &mut |bytes| {
            let Some(observation) = decode::decode(bytes) else {
                tracing::warn!(bytes = bytes.len(), "a flow record of another layout was skipped");
                return;
            };
            self.account(&observation);
            sink.emit(&observation, booted);
        });
    }

    /// Open flows, read while packets come.
    pub fn live(&self) -> Vec<(FlowTuple, PacketsBytes)> {
        self.loaded.as_ref().map(LoadedPrograms::live).unwrap_or_default()
    }

    /// Traffic of each interface while it was watched. Interfaces that are watched no more are under index 0.
    pub fn sums(&self) -> TrafficSums {
        let mut sums = self.outside_flows();
        for (tuple, counted) in self.live() {
            sums.entry((tuple.interface, tuple.direction)).or_default().add_flow(&counted);
        }
        sums
    }

    /// As `sums`, without open flows: its cost does not depend on their number.
    pub fn outside_flows(&self) -> TrafficSums {
        let mut sums = self.past.clone();
        let Some(loaded) = &self.loaded else { return sums };
        for interface in loaded.attached() {
            for direction in [FlowDirection::In, FlowDirection::Out] {
                sums.entry((interface, direction)).or_default().add_counts(&loaded.counts(interface, direction));
            }
        }
        sums
    }

    /// Records that did not fit the ring, and packets that did not fit the flow map.
    pub fn losses(&self) -> (u64, u64) {
        let mut all = TrafficSum::default();
        self.outside_flows().values().for_each(|sum| all.add(sum));
        let drops = self.loaded.as_ref().map_or(0, LoadedPrograms::dropped_records);
        (self.past_drops + drops, all.unplaced())
    }

    fn load(&mut self, sizes: MapSizes, sink: &mut FlowSink<'_>) -> Result<(), Problem> {
        if self.loaded.as_ref().is_some_and(|loaded| loaded.sizes == sizes) {
            return Ok(());
        }
        let mut new = LoadedPrograms::load(sizes)?;
        if let Some(old) = &mut self.loaded {
            new.replace(old)?;
            // The new programs are attached everywhere, but an old one may still be counting a packet.
            if let Err(error) = grace::wait_for_programs() {
                tracing::debug!(%error, "replaced programs cannot be waited for; they get a moment instead");
                std::thread::sleep(REMOVE_ENDED_AFTER);
            }
            // The counts of the old programs are final.
            self.end_all(None, sink);
            self.keep_counters(sink.enricher);
        }
        self.loaded = Some(new);
        Ok(())
    }

    fn unwatch(&mut self, interface: u32, sink: &mut FlowSink<'_>) {
        let Some(loaded) = &mut self.loaded else { return };
        loaded.detach(interface);
        self.end_all(Some(interface), sink);
        let Some(loaded) = &mut self.loaded else { return };
        for direction in [FlowDirection::In, FlowDirection::Out] {
            let mut sum = self.past.remove(&(interface, direction)).unwrap_or_default();
            sum.add_counts(&loaded.counts(interface, direction));
            self.past.entry((0, direction)).or_default().add(&sum);
        }
        loaded.remove_counters(interface);
        if let Err(problem) = loaded.remove_ended(Some(interface)) {
            tracing::warn!(
                interface,
                problem = problem.message(),
                "flows of an interface that is watched no more stay in the map"
            );
        }
        sink.release();
        sink.enricher.forget(interface);
    }

    /// Ends all flows and reads all their records, draining the ring as often as needed: the ring may be freed next, and the
    /// interface forgotten. While other programs still write, a record can be stuck behind one that is being written just
    /// now; it is counted when it is read, without its pod.
    fn end_all(&mut self, interface: Option<u32>, sink: &mut FlowSink<'_>) {
        let mut idle_rounds = 0;
        if let Some(loaded) = &mut self.loaded {
            loaded.begin_end_walk();
        }
        loop {
            self.read(Ring::drain_all, sink);
            let Some(loaded) = &mut self.loaded else { return };
            match loaded.end_flows(interface, IdleTimeouts::ZERO) {
                Ok(EndedFlows { more: false, .. }) => return self.read(Ring::drain_all, sink),
                Ok(EndedFlows { flows: 0, .. }) if idle_rounds == MAX_IDLE_ROUNDS => {
                    tracing::warn!("flows could not be ended, as the ring does not empty; their last counts are lost");
                    return;
                }
                Ok(EndedFlows { flows, .. }) => idle_rounds = if flows == 0 { idle_rounds + 1 } else { 0 },
                Err(problem) => {
                    tracing::warn!(problem = problem.message(), "flows could not be ended; their last counts are lost");
                    return;
                }
            }
        }
    }

    /// Keeps the counters of programs that are about to be unloaded.
    fn keep_counters(&mut self, enricher: &Enricher) {
        let Some(loaded) = &self.loaded else { return };
        self.past_drops += loaded.dropped_records();
        for interface in enricher.watched.keys() {
            for direction in [FlowDirection::In, FlowDirection::Out] {
                let sum = self.past.entry((*interface, direction)).or_default();
                sum.add_counts(&loaded.counts(*interface, direction));
            }
        }
    }

    fn account(&mut self, observation: &FlowObservation) {
        if observation.reason == FlowReason::End {
            let tuple = &observation.tuple;
            let sum = self.past.entry((tuple.interface, tuple.direction)).or_default();
            sum.add_flow(&PacketsBytes { packets: observation.packets, bytes: observation.bytes });
        }
    }

    /// Ends silent flows and reports unreported traffic of others, as far as half of the ring has room for it: repeat it
    /// while there is more. If flows were ended, call `remove_ended` `REMOVE_ENDED_AFTER` later.
    pub fn end_idle(&mut self, timeouts: IdleTimeouts, sink: &mut FlowSink<'_>) -> Result<EndedFlows, Problem> {
        let Some(loaded) = &mut self.loaded else { return Ok(EndedFlows::default()) };
        let ended = loaded.end_flows(None, timeouts)?;
        self.drain(sink);
        if !ended.more {
            sink.enricher.shrink();
        }
        Ok(ended)
    }

    /// Removes ended flows from the kernel's map.
    pub fn remove_ended(&mut self) -> Result<(), Problem> {
        match &mut self.loaded {
            Some(loaded) => loaded.remove_ended(None),
            None => Ok(()),
        }
    }

    /// More than half of the flow map is in use, as far as the records tell: each connection has two flows.
    pub fn is_crowded(&self, enricher: &Enricher) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| enricher.connections() * 4 > loaded.sizes.flow_entries as usize)
    }
}
