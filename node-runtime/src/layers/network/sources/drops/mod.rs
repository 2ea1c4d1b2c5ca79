//! Packets that the kernel dropped, of the pods that are watched: loads the program, reads first drops and counts, and makes flows of
//! them.

mod counts;
mod decode;
mod names;
mod programs;
mod reason;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use names::{FoundPlaces, PlaceLookup};
pub use programs::Interest;
pub(in crate::layers::network) use reason::private_code;
use trilobite_node_ebpf::{PacketDropKey, PacketDropValue};

use self::{
    counts::DropCounts,
    decode::DropObservation,
    names::{DropSite, PlaceNames, ReasonNames},
    programs::LoadedPrograms,
    reason::{DroppedPacket, named_reason},
};
use super::FlowSink;
use crate::{
    kernel::{Ring, clock, grace, net_namespace},
    layers::network::{
        enrich::Packet,
        flow::{Dropped, Event, Interface, Policies},
        tcp_flags::TcpFlags,
    },
    problem::Problem,
};

/// How often the packets are reported that followed the first one of a connection, reason and place.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time between the change to the other map and the reading of the first; a packet takes microseconds to its counter.
pub const READ_OUT_AFTER: Duration = Duration::from_millis(50);

/// Costs nothing while no packet is of interest.
#[derive(Default)]
pub struct DropSource {
    loaded: Option<Loaded>,
    /// Losses of programs that were unloaded.
    past_losses: u64,
}

struct Loaded {
    programs: LoadedPrograms,
    counts: DropCounts,
    reasons: ReasonNames,
    places: PlaceNames,
    /// Drops whose places have no names yet.
    unnamed: Vec<UnreportedDrop>,
    namespace: u32,
    /// The interface of this node that leads to a network namespace.
    interfaces: HashMap<u32, u32>,
}

struct UnreportedDrop {
    key: PacketDropKey,
    value: PacketDropValue,
    /// When a count was read; a first drop has the time of its packet. Boot clock, nanoseconds.
    time: u64,
}

impl DropSource {
    /// Counts drops of these pods from now on. `interfaces` lead to their network namespaces, whose inodes are the keys.
    pub fn watch(
        &mut self,
        is_machine: bool,
        interest: &Interest,
        interfaces: HashMap<u32, u32>,
    ) -> Result<(), Problem> {
        let loaded = match &mut self.loaded {
            Some(loaded) => loaded,
            None => self.loaded.insert(Loaded {
                programs: LoadedPrograms::load(is_machine)?,
                counts: DropCounts::default(),
                reasons: ReasonNames::read(),
                places: PlaceNames::default(),
                unnamed: Vec::new(),
                namespace: net_namespace::own(),
                interfaces: HashMap::new(),
            }),
        };
        loaded.interfaces = interfaces;
        loaded.programs.set_interest(interest)
    }

    /// Counts nothing any more. What was counted is reported; program and maps are unloaded when it returns.
    pub fn stop(&mut self, sink: &mut FlowSink<'_>) {
        let Some(mut loaded) = self.loaded.take() else { return };
        loaded.programs.detach();
        if let Err(error) = grace::wait_for_programs() {
            tracing::debug!(%error, "a detached program cannot be waited for; it gets a moment instead");
            std::thread::sleep(READ_OUT_AFTER);
        }
        // The other map may wait to be read.
        let active = loaded.counts.active_parity();
        for parity in [active ^ 1, active] {
            loaded.read_out(parity, sink);
        }
        // The agent may be about to end: what is left is reported without the names that are still missing.
        let unnamed = std::mem::take(&mut loaded.unnamed);
        loaded.report_all(unnamed, sink);
        self.past_losses += loaded.programs.losses();
    }

    /// The ring of first drops.
    pub fn ring(&self) -> Option<Arc<Ring>> {
        self.loaded.as_ref().map(|loaded| loaded.programs.ring())
    }

    /// Reports first drops.
    pub fn drain(&mut self, sink: &mut FlowSink<'_>) {
        // Until all owners of addresses are listed, drops are counted in the kernel.
        if let Some(loaded) = &mut self.loaded
            && !sink.enricher.must_wait()
        {
            loaded.drain(Ring::drain, sink);
        }
    }

    /// Packets are counted that have not been reported yet, or were a moment ago.
    pub fn is_counting(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.counts.is_counting())
    }

    /// Lets the kernel count elsewhere; call `read_out` `READ_OUT_AFTER` later.
    pub fn change_over(&mut self) {
        let Some(loaded) = &mut self.loaded else { return };
        let generation = loaded.counts.change_over();
        if let Err(problem) = loaded.programs.change_over(generation) {
            // The kernel goes on in the map that is read next: packets that come while it is emptied may be missing.
            tracing::warn!(problem = problem.message(), "the map of dropped packets could not be changed");
        }
    }

    /// Reports what was counted before `change_over`.
    pub fn read_out(&mut self, sink: &mut FlowSink<'_>) {
        if let Some(loaded) = &mut self.loaded {
            let parity = loaded.counts.active_parity() ^ 1;
            loaded.read_out(parity, sink);
        }
    }

    /// The places of drops that wait for their names: to be read on another thread, and given to `learn`.
    pub fn unknown_places(&self) -> Option<PlaceLookup> {
        let loaded = self.loaded.as_ref()?;
        loaded.places.unknown(loaded.unnamed.iter().map(|drop| drop.key.place))
    }

    /// Reports the drops that waited for these names.
    pub fn learn(&mut self, found: FoundPlaces, sink: &mut FlowSink<'_>) {
        if let Some(loaded) = &mut self.loaded {
            loaded.learn(found, sink);
        }
    }

    /// The kernel says no reasons: places alone tell why a packet was dropped.
    pub fn has_no_reasons(&self) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.reasons.is_empty())
    }

    /// Dropped packets that are in no flow.
    pub fn losses(&self) -> u64 {
        self.past_losses + self.loaded.as_ref().map_or(0, |loaded| loaded.programs.losses())
    }
}

/// How much of a ring is read.
type DrainRing = fn(&Ring, &mut (dyn FnMut(&[u8]) + '_));

impl Loaded {
    fn drain(&mut self, drain: DrainRing, sink: &mut FlowSink<'_>) {
        let mut first_drops = Vec::new();
        let counts = &mut self.counts;
        drain(&self.programs.ring(), &mut |bytes| match decode::decode(bytes) {
            Some(first) => first_drops.extend(counts.add_first(&first).map(|value| {
                let time = value.last;
                UnreportedDrop { key: first.key, value, time }
            })),
            None => tracing::warn!(bytes = bytes.len(), "a record of a dropped packet of another layout was skipped"),
        });
        self.report(first_drops, sink);
    }

    fn read_out(&mut self, parity: usize, sink: &mut FlowSink<'_>) {
        // First drops of this map are reported before the rest of their counts.
        self.drain(Ring::drain_all, sink);
        let time = clock::boot_ns();
        let rest = self.counts.read_out(parity, self.programs.read_out(parity));
        self.report(rest.into_iter().map(|(key, value)| UnreportedDrop { key, value, time }).collect(), sink);
    }

    fn learn(&mut self, found: FoundPlaces, sink: &mut FlowSink<'_>) {
        self.places.learn(found);
        let waiting = std::mem::take(&mut self.unnamed);
        self.report(waiting, sink);
    }

    /// Drops at places without a name wait for it.
    fn report(&mut self, drops: Vec<UnreportedDrop>, sink: &mut FlowSink<'_>) {
        let is_named = |drop: &UnreportedDrop| self.places.is_known(drop.key.place);
        let (named, unnamed): (Vec<_>, Vec<_>) = drops.into_iter().partition(is_named);
        self.unnamed.extend(unnamed);
        self.report_all(named, sink);
    }

    fn report_all(&mut self, drops: Vec<UnreportedDrop>, sink: &mut FlowSink<'_>) {
        let booted = clock::wall_time(0).as_nanosecond();
        for drop in drops {
            if let Some(observation) = decode::observation(&drop.key, &drop.value) {
                self.report_one(&observation, drop.time, booted, sink);
            }
        }
    }

    fn report_one(&mut self, observation: &DropObservation, time: u64, booted: i128, sink: &mut FlowSink<'_>) {
        let kernel_reason = self.reasons.name(observation.reason);
        let DropSite { function, is_permanent } = self.places.place(observation.place);
        if is_permanent && reason::is_ignored(&kernel_reason, &function) {
            return self.programs.ignore(observation.reason, observation.place);
        }
        let packet = Packet {
            time,
            l4: observation.l4,
            source: observation.source,
            destination: observation.destination,
            interface: self.interface(observation),
            connection: observation.connection,
        };
        let ends = sink.enricher.ends(&packet);
        let facts = DroppedPacket {
            opens_connection: observation.flags.has(TcpFlags::SYN) && !observation.flags.has(TcpFlags::ACK),
            is_to_service: ends.destination_service.is_some() && ends.destination_endpoint.pod.is_empty(),
        };
        let Some(named) = named_reason(&kernel_reason, &function, facts) else { return };
        let event = Event::Dropped(Box::new(Dropped {
            reason: named.reason,
            sub_type: named.sub_type,
            kernel_reason,
            place: function,
            packets: observation.packets,
            bytes: observation.bytes,
            flags: observation.flags,
            policies: Policies::default(),
        }));
        let mut flow = sink.enricher.event_flow(&packet, ends, event, booted);
        if flow.interface.name.is_empty() && observation.namespace == self.namespace {
            let Interface { index, .. } = *flow.interface;
            flow.interface = Arc::new(Interface { index, name: observation.interface_name.clone() });
        }
        sink.emit_event(flow);
    }

    /// The interface of this node at which it was, or that leads to the pod in which it was.
    fn interface(&self, observation: &DropObservation) -> u32 {
        if observation.namespace == self.namespace {
            return observation.interface;
        }
        self.interfaces.get(&observation.namespace).copied().unwrap_or_default()
    }
}
