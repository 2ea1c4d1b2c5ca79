//! Watches a set of interfaces: brings the kernel side in line with it, makes flows of its records, ends what is silent,
//! and keeps the sums. It knows nothing of who asked.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use trilobite_node_ebpf::flow::{FlowDirection, FlowReason, PacketsBytes};

use super::{
    directory::Directory,
    end::End,
    enrich::{Enricher, Watched},
    flow::{Flow, Interface},
    record::{self, Observed, Tuple},
    sums::{Sum, Sums},
    tap::{Ended, Patience, Sizes, Tap},
};
use crate::{
    identity::Pod,
    kernel::{Ring, clock, grace},
    report::Problem,
};

/// How long a flow may be silent, unless the test of it is in a hurry.
pub const PATIENCE: Patience =
    Patience { closed: SECOND * 2, syn: SECOND * 10, tcp: SECOND * 300, udp: SECOND * 30, answered: SECOND * 3 };

/// The same while more than half of the map is in use: many short connections are to make room for each other.
pub const CROWDED_PATIENCE: Patience = Patience { closed: SECOND / 4, answered: SECOND, ..PATIENCE };

const SECOND: u64 = 1_000_000_000;

/// Between ending a flow and taking it out of the map; a packet is on its way to its counter for microseconds.
pub const ENDED_FOR: Duration = Duration::from_millis(50);

/// Orders to end flows in a row that may end none, because records that others have begun stand in the ring.
const IDLE_ROUNDS: u32 = 200;

/// An interface that is to be watched.
#[derive(Clone, Debug)]
pub struct Target {
    /// The interface.
    pub interface: Interface,
    /// The pod at its other end, where it is known.
    pub pod: Option<Arc<Pod>>,
    /// It is the other end that is watched, as of a veth; else it is the machine itself.
    pub behind: bool,
}

/// Watches interfaces.
pub struct Engine {
    tap: Option<(Tap, Sizes)>,
    enricher: Enricher,
    /// Flows that have ended, and the counters of programs that were replaced.
    past: Sums,
}

/// How far `set_some` has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// What could not be watched, by index.
    pub problems: BTreeMap<u32, Problem>,
    /// It is to be called again: there is more to attach or to detach.
    pub more: bool,
}

/// Who gets the flows.
pub type Emit<'a> = &'a mut dyn FnMut(Flow);

/// How much of a ring is read.
type Drain = fn(&Ring, &mut (dyn FnMut(&[u8]) + '_));

impl Engine {
    /// Watches nothing, and costs nothing.
    pub fn new(seed: u64) -> Self {
        Self { tap: None, enricher: Enricher::new(seed), past: Sums::new() }
    }

    /// Who has the addresses that are no pod's of this node, and which are the machine's own.
    pub fn know(&mut self, directories: Vec<Arc<dyn Directory>>, local: HashSet<IpAddr>) {
        self.enricher.directories = directories;
        self.enricher.local = local;
    }

    /// Watches these interfaces and no others, in maps of these sizes. Gives what could not be watched, by index; what
    /// is watched already goes on without a gap, whatever fails.
    pub fn set(&mut self, sizes: Sizes, targets: &[Target], emit: Emit<'_>) -> Result<BTreeMap<u32, Problem>, Problem> {
        self.set_some(sizes, targets, usize::MAX, emit).map(|progress| progress.problems)
    }

    /// As `set`, but attaches to and detaches from `most` interfaces at most: the kernel lets each wait until no processor
    /// runs what was there before, tens of milliseconds in which the agent does nothing else.
    pub fn set_some(
        &mut self,
        sizes: Sizes,
        targets: &[Target],
        most: usize,
        emit: Emit<'_>,
    ) -> Result<Progress, Problem> {
        self.load(sizes, emit)?;
        let mut progress = Progress::default();
        let mut left = most;
        let wanted: HashSet<u32> = targets.iter().map(|target| target.interface.index).collect();
        let dead = self.dead();
        for gone in
            self.watched().into_iter().filter(|interface| !wanted.contains(interface) || dead.contains(interface))
        {
            if left == 0 {
                progress.more = true;
                return Ok(progress);
            }
            left -= 1;
            self.unwatch(gone, emit);
        }
        let watched: HashSet<u32> = self.watched().into_iter().collect();
        for target in targets {
            let index = target.interface.index;
            let is_new = !watched.contains(&index);
            if is_new && left == 0 {
                progress.more = true;
                continue;
            }
            self.introduce(target);
            let Some((tap, _)) = &mut self.tap else { continue };
            match tap.watch(index) {
                // What fails costs little, and would be tried again for ever if it counted.
                Err(problem) => {
                    self.enricher.forget(index);
                    progress.problems.insert(index, problem);
                }
                Ok(()) if is_new => left -= 1,
                Ok(()) => {}
            }
        }
        Ok(progress)
    }

    /// Interfaces that were watched and are gone, though another may have their index by now.
    pub fn dead(&self) -> Vec<u32> {
        self.tap.as_ref().map(|(tap, _)| tap.dead()).unwrap_or_default()
    }

    /// Detaches from `most` interfaces at most, before `stop`. Gives whether some are left.
    pub fn detach_some(&mut self, most: usize, emit: Emit<'_>) -> bool {
        for interface in self.watched().into_iter().take(most) {
            self.unwatch(interface, emit);
        }
        !self.watched().is_empty()
    }

    /// Watches nothing: the programs and maps are gone when it returns.
    pub fn stop(&mut self, emit: Emit<'_>) {
        if let Some((tap, _)) = &mut self.tap {
            tap.unwatch_all();
        }
        self.end_all(None, emit);
        self.fold();
        self.tap = None;
        self.enricher.reset();
        for ((_, direction), sum) in std::mem::take(&mut self.past) {
            self.past.entry((0, direction)).or_default().add(&sum);
        }
    }

    /// The ring to wait for; another one after the sizes have changed.
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.tap.as_ref().map(|(tap, _)| tap.ring())
    }

    /// Interfaces that are watched.
    pub fn watched(&self) -> Vec<u32> {
        self.tap.as_ref().map(|(tap, _)| tap.watched()).unwrap_or_default()
    }

    /// Makes flows of the records that have come, as many as let others have their turn.
    pub fn drain(&mut self, emit: Emit<'_>) {
        self.read(Ring::drain, emit);
    }

    /// Makes flows of all records that have come: they are not read later.
    fn drain_all(&mut self, emit: Emit<'_>) {
        self.read(Ring::drain_all, emit);
    }

    fn read(&mut self, drain: Drain, emit: Emit<'_>) {
        let Some(ring) = self.ring() else { return };
        let booted = clock::wall(0).as_nanosecond();
        drain(&ring, &mut |bytes| {
            let Some(observed) = record::decode(bytes) else {
                tracing::warn!(bytes = bytes.len(), "a flow record of another layout was left out");
                return;
            };
            self.account(&observed);
            emit(self.enricher.flow(&observed, booted));
        });
    }

    /// Ends what is silent, and tells what fell silent since it was told, as much of it as half of the ring has room for:
    /// while there is more it is to be called again. Where flows were ended, `remove_ended` has something to do
    /// `ENDED_FOR` after the last of them.
    pub fn end_idle(&mut self, patience: Patience, emit: Emit<'_>) -> Result<Ended, Problem> {
        let Some((tap, _)) = &mut self.tap else { return Ok(Ended::default()) };
        let ended = tap.end_flows(None, patience)?;
        self.drain(emit);
        if !ended.more {
            self.enricher.shrink();
        }
        Ok(ended)
    }

    /// Takes what has ended out of the kernel's map.
    pub fn remove_ended(&mut self) -> Result<(), Problem> {
        match &mut self.tap {
            Some((tap, _)) => tap.remove_ended(None).map(drop),
            None => Ok(()),
        }
    }

    /// More than half of the map is in use, as far as the records that were read tell: each connection has two flows.
    pub fn is_crowded(&self) -> bool {
        self.tap.as_ref().is_some_and(|(_, sizes)| self.enricher.connections() * 4 > sizes.flow_entries as usize)
    }

    /// The flows that have not ended, as they are found while packets come.
    pub fn live(&self) -> Vec<(Tuple, PacketsBytes)> {
        self.tap.as_ref().map(|(tap, _)| tap.live()).unwrap_or_default()
    }

    /// What each interface has carried while it was watched. Interfaces that are watched no more are under index 0.
    pub fn sums(&self) -> Sums {
        let mut sums = self.outside_flows();
        let Some((tap, _)) = &self.tap else { return sums };
        for (tuple, counted) in tap.live() {
            sums.entry((tuple.interface, tuple.direction)).or_default().add_flow(&counted);
        }
        sums
    }

    /// As `sums`, without the flows that have not ended: cheap, however many there are.
    pub fn outside_flows(&self) -> Sums {
        let mut sums = self.past.clone();
        let Some((tap, _)) = &self.tap else { return sums };
        for interface in tap.watched() {
            for direction in [FlowDirection::In, FlowDirection::Out] {
                sums.entry((interface, direction)).or_default().add_counts(&tap.counts(interface, direction));
            }
        }
        sums
    }

    /// Records that did not fit the ring, and packets that found no room in the flow map.
    pub fn losses(&self) -> (u64, u64) {
        let mut all = Sum::default();
        self.outside_flows().values().for_each(|sum| all.add(sum));
        (all.records_lost, all.unplaced())
    }

    /// Name of an interface that is watched; empty for one that is watched no more.
    pub fn name(&self, interface: u32) -> &str {
        self.enricher.watched.get(&interface).map_or("", |watched| &watched.interface.name)
    }

    fn load(&mut self, sizes: Sizes, emit: Emit<'_>) -> Result<(), Problem> {
        if self.tap.as_ref().is_some_and(|(_, now)| *now == sizes) {
            return Ok(());
        }
        let mut new = Tap::load(sizes)?;
        if let Some((old, _)) = &mut self.tap {
            new.take_over(old)?;
            // The new program is in force everywhere, but the old one may still be counting a packet.
            if let Err(error) = grace::wait_for_programs() {
                tracing::debug!(%error, "replaced programs cannot be waited for; they get a moment instead");
                std::thread::sleep(ENDED_FOR);
            }
            // What the old one has counted is final.
            self.end_all(None, emit);
            self.fold();
        }
        self.tap = Some((new, sizes));
        Ok(())
    }

    fn unwatch(&mut self, interface: u32, emit: Emit<'_>) {
        let Some((tap, _)) = &mut self.tap else { return };
        tap.unwatch(interface);
        self.end_all(Some(interface), emit);
        let Some((tap, _)) = &mut self.tap else { return };
        for direction in [FlowDirection::In, FlowDirection::Out] {
            let mut sum = self.past.remove(&(interface, direction)).unwrap_or_default();
            sum.add_counts(&tap.counts(interface, direction));
            let gone = self.past.entry((0, direction)).or_default();
            gone.add(&sum);
        }
        tap.forget(interface);
        if let Err(problem) = tap.remove_ended(Some(interface)) {
            tracing::warn!(
                interface,
                problem = problem.message(),
                "flows of an interface that is gone stay in the map"
            );
        }
        self.enricher.forget(interface);
    }

    /// Ends all flows, as often as the ring needs to be drained for it. All of its records are read: the ring may go with the
    /// programs, and its interface is forgotten next. Only where others still write may one stand behind a record that is
    /// being written just now; it is counted when it is read, without its pod.
    fn end_all(&mut self, interface: Option<u32>, emit: Emit<'_>) {
        let now = Patience { closed: 0, syn: 0, tcp: 0, udp: 0, answered: 0 };
        let mut idle_rounds = 0;
        loop {
            self.drain_all(emit);
            let Some((tap, _)) = &mut self.tap else { return };
            match tap.end_flows(interface, now) {
                Ok(Ended { more: false, .. }) => return self.drain_all(emit),
                Ok(Ended { flows: 0, .. }) if idle_rounds == IDLE_ROUNDS => {
                    tracing::warn!("flows could not be ended, as the ring does not empty; their last counts are lost");
                    return;
                }
                Ok(Ended { flows, .. }) => idle_rounds = if flows == 0 { idle_rounds + 1 } else { 0 },
                Err(problem) => {
                    tracing::warn!(problem = problem.message(), "flows could not be ended; their last counts are lost");
                    return;
                }
            }
        }
    }

    /// Keeps the counters of programs that are about to go.
    fn fold(&mut self) {
        let Some((tap, _)) = &self.tap else { return };
        for interface in self.enricher.watched.keys() {
            for direction in [FlowDirection::In, FlowDirection::Out] {
                let sum = self.past.entry((*interface, direction)).or_default();
                sum.add_counts(&tap.counts(*interface, direction));
            }
        }
    }

    fn account(&mut self, observed: &Observed) {
        if observed.reason == FlowReason::End {
            let tuple = &observed.tuple;
            let sum = self.past.entry((tuple.interface, tuple.direction)).or_default();
            sum.add_flow(&PacketsBytes { packets: observed.packets, bytes: observed.bytes });
        }
    }

    fn introduce(&mut self, target: &Target) {
        let known = self.enricher.watched.get(&target.interface.index);
        if known.is_some_and(|known| {
            *known.interface == target.interface && known.pod.as_ref().map(|(pod, _)| pod) == target.pod.as_ref()
        }) {
            return;
        }
        let pod = target.pod.as_ref().map(|pod| (pod.clone(), Arc::new(End::pod(pod))));
        let watched = Watched { interface: Arc::new(target.interface.clone()), pod, behind: target.behind };
        self.enricher.watched.insert(target.interface.index, watched);
    }
}
