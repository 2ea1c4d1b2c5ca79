//! Makes a flow of a record: the endpoints, the direction of the connection, the wall clock time. Pure but for the
//! directories, which answer from memory.

mod ends;
mod message;
pub mod names;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use trilobite_node_ebpf::{FlowDirection, PacketsBytes};

pub use self::ends::{Ends, Packet};
use self::names::{MACHINE, NameTable};

use super::{
    connection::{
        Connections,
        direction::{DirectionEvidence, WatchedEnd},
        sockets::SocketTable,
    },
    decode::{FlowObservation, Transport},
    directory::Directory,
    endpoint::{AddressOwner, ConnectionEnd, Endpoint, Reserved},
    flow::{Event, Flow, Forwarded, Interface, ObservationPoint, TrafficDirection},
    waiting::WaitingRecords,
};
use crate::{identity::Pod, kernel::clock::boot_ns};

/// An interface to be watched.
#[derive(Clone, Debug)]
pub struct WatchTarget {
    pub interface: Interface,
    /// The pod at its other end, if known.
    pub pod: Option<Arc<Pod>>,
    /// The other end is watched, as of a veth; otherwise the machine itself.
    pub behind: bool,
}

/// As `WatchTarget`, with the pod's endpoint.
#[derive(Clone, Debug)]
pub struct WatchedInterface {
    pub interface: Arc<Interface>,
    pub pod: Option<PodEndpoint>,
    pub behind: bool,
    /// When it was first watched: boot clock, nanoseconds.
    since: u64,
    /// The sockets of the watched end at that time; none if they could not be read.
    sockets: Option<Arc<SocketTable>>,
    /// It was tried to read them.
    are_sockets_read: bool,
}

pub type PodEndpoint = (Arc<Pod>, Arc<Endpoint>);

pub struct Enricher {
    /// By index.
    pub watched: HashMap<u32, WatchedInterface>,
    /// Addresses of the machine.
    pub local: HashSet<IpAddr>,
    /// Owners of the other addresses; the first answer counts.
    pub directories: Vec<Arc<dyn Directory>>,
    pub(super) waiting: WaitingRecords,
    connections: Connections,
    names: NameTable,
    host: Arc<Endpoint>,
    world: Arc<Endpoint>,
    unknown: Arc<Endpoint>,
    no_interface: Arc<Interface>,
    random: u64,
}

impl Enricher {
    /// `seed` makes the flows' ids differ from those of another start.
    pub fn new(seed: u64) -> Self {
        Self {
            watched: HashMap::new(),
            local: HashSet::new(),
            directories: Vec::new(),
            waiting: WaitingRecords::default(),
            connections: Connections::default(),
            names: NameTable::default(),
            host: Arc::new(Endpoint::reserved(Reserved::Host)),
            world: Arc::new(Endpoint::reserved(Reserved::World)),
            unknown: Arc::new(Endpoint::reserved(Reserved::Unknown)),
            no_interface: Arc::default(),
            random: seed,
        }
    }

    /// The flow of a record; `booted` is the wall clock at boot, in nanoseconds.
    pub fn flow(&mut self, observation: &FlowObservation, booted: i128) -> Flow {
        let tuple = &observation.tuple;
        if !self.is_complete() {
            self.waiting.early += 1;
        }
        let watched = self.watched.get(&tuple.interface);
        let pod = watched.and_then(|watched| watched.pod.as_ref());
        let behind = watched.is_some_and(|watched| watched.behind);
        // A pod is behind its veth, the machine on this side of its own interfaces.
        let source_is_watched = (tuple.direction == FlowDirection::In) == behind;
        let observation_point = match (behind, tuple.direction) {
            (true, FlowDirection::In) => ObservationPoint::ToStack,
            (true, FlowDirection::Out) => ObservationPoint::ToEndpoint,
            (false, FlowDirection::In) => ObservationPoint::FromNetwork,
            (false, FlowDirection::Out) => ObservationPoint::ToNetwork,
        };
        let (source_pod, destination_pod) = (pod.filter(|_| source_is_watched), pod.filter(|_| !source_is_watched));
        // Port 0 is no Service's.
        let [source, destination] = tuple.ends();
        let transport = tuple.l4.transport().unwrap_or(Transport::Tcp);
        let source_owner = self.owner(transport, source, source_pod);
        let destination_owner = self.owner(transport, destination, destination_pod);
        let near = if source_is_watched { tuple.source.ip() } else { tuple.destination.ip() };
        // What a pod forwards, e.g. as a gateway, does not come from a socket of its own.
        let is_own = pod.map_or_else(|| self.local.contains(&near), |(pod, _)| is_address_of(pod, near));
        let watched_end = WatchedEnd {
            is_source: source_is_watched,
            sockets: watched.and_then(|watched| watched.sockets.as_deref()).filter(|_| is_own),
            since: watched.map_or(0, |watched| watched.since),
            declares: &|transport, address| self.directories.iter().any(|all| all.declares(transport, address)),
        };
        let update = self.connections.observe(observation, source_owner, destination_owner, &watched_end);
        let source_endpoint = self.shown(&update.source, tuple.source.ip(), source_pod);
        let destination_endpoint = self.shown(&update.destination, tuple.destination.ip(), destination_pod);
        // The far end has the names that the watched one has looked up.
        let asked_by = if behind { tuple.interface } else { MACHINE };
        let interface = match watched {
            Some(watched) => watched.interface.clone(),
            None => Arc::new(Interface { index: tuple.interface, name: String::new() }),
        };
        let far = if source_is_watched { destination.ip() } else { source.ip() };
        let far_names = self.names.of(asked_by, far, observation.time);
        let (source_names, destination_names) = if source_is_watched { (None, far_names) } else { (far_names, None) };
        let wall_time =
            |boot: u64| Timestamp::from_nanosecond(booted + i128::from(boot)).unwrap_or(Timestamp::UNIX_EPOCH);
        Flow {
            time: wall_time(observation.time),
            uuid: uuid(&mut self.random),
            l4: tuple.l4,
            source,
            destination,
            source_mac: observation.source_mac,
            destination_mac: observation.destination_mac,
            source_endpoint,
            destination_endpoint,
            source_service: update.source.service.map(|service| service.owner),
            destination_service: update.destination.service.map(|service| service.owner),
            source_names,
            destination_names,
            direction: if source_is_watched == update.is_reply {
                TrafficDirection::Ingress
            } else {
                TrafficDirection::Egress
            },
            is_reply: Some(update.is_reply),
            is_direction_a_guess: update.evidence == DirectionEvidence::Ports,
            interface,
            connection: observation.connection,
            event: Event::Forwarded(Forwarded {
                flags: observation.flags,
                flags_seen: observation.flags_seen,
                icmp_error: observation.icmp_error,
                reason: observation.reason,
                first: wall_time(observation.first),
                last: wall_time(observation.last),
                is_new: update.is_new,
                observation_point,
                since: update.since,
                total: PacketsBytes { packets: observation.packets, bytes: observation.bytes },
            }),
        }
    }

    /// The current owner of an address and port; `pod` is the one behind the interface if this is its end. The machine comes
    /// last: proxies and caches give it the addresses of Services.
    fn owner(&self, transport: Transport, address: SocketAddr, pod: Option<&PodEndpoint>) -> ConnectionEnd {
        let ip = address.ip();
        let is_local = self.local.contains(&ip);
        let own = pod.filter(|(pod, _)| is_address_of(pod, ip));
        let own = own.map(|(_, endpoint)| AddressOwner::always(endpoint.clone()));
        let mut owner = ConnectionEnd { endpoint: own, service: None };
        for directory in &self.directories {
            let found = directory.owner(transport, address, is_local);
            owner.endpoint = owner.endpoint.or(found.endpoint);
            owner.service = owner.service.or(found.service);
        }
        if is_local && owner.endpoint.is_none() && (owner.service.is_none() || !self.is_in_cluster(ip)) {
            owner.endpoint = Some(AddressOwner::always(self.host.clone()));
        }
        owner
    }

    /// The endpoint that is shown. An address without an owner is unknown if it is the cluster's, or if its owner may not be
    /// listed yet, and belongs to the world otherwise. Not so behind a pod's own interface: the pod may have a second network,
    /// or an address that was assigned a moment ago.
    fn shown(&self, end: &ConnectionEnd, address: IpAddr, pod: Option<&PodEndpoint>) -> Arc<Endpoint> {
        let of_service = || end.service.as_ref().map(|service| &service.owner.endpoint);
        let named = end.endpoint.as_ref().map(|endpoint| &endpoint.owner).or_else(of_service);
        let or_pod = named.or_else(|| pod.filter(|_| !is_group_address(address)).map(|(_, endpoint)| endpoint));
        let nameless = || {
            let is_unknown = !is_group_address(address) && (!self.is_complete() || self.is_in_cluster(address));
            if is_unknown { &self.unknown } else { &self.world }
        };
        or_pod.unwrap_or_else(nameless).clone()
    }

    fn is_in_cluster(&self, address: IpAddr) -> bool {
        self.directories.iter().any(|directory| directory.is_in_cluster(address))
    }

    /// All owners of addresses have been listed once.
    fn is_complete(&self) -> bool {
        self.directories.iter().all(|directory| directory.is_complete())
    }

    /// Records have to wait for the owners of their addresses.
    pub(super) fn must_wait(&mut self) -> bool {
        let is_complete = self.is_complete();
        self.waiting.must_wait(is_complete, Instant::now())
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Enriches the records of an interface from now on.
    pub fn watch(&mut self, target: &WatchTarget) {
        let known = self.watched.get(&target.interface.index).filter(|known| *known.interface == target.interface);
        if known.is_some_and(|known| known.pod.as_ref().map(|(pod, _)| pod) == target.pod.as_ref()) {
            return;
        }
        let pod = target.pod.as_ref().map(|pod| (pod.clone(), Arc::new(Endpoint::pod(pod))));
        // The same pod with other labels has the same sockets.
        let uid = |pod: &Option<PodEndpoint>| pod.as_ref().map(|(pod, _)| pod.uid.clone());
        let known = known.filter(|known| uid(&known.pod) == uid(&pod));
        let watched = WatchedInterface {
            interface: Arc::new(target.interface.clone()),
            since: known.map_or_else(boot_ns, |known| known.since),
            sockets: known.and_then(|known| known.sockets.clone()),
            are_sockets_read: known.is_some_and(|known| known.are_sockets_read),
            pod,
            behind: target.behind,
        };
        self.watched.insert(target.interface.index, watched);
    }

    /// The sockets behind an interface have not been read yet.
    pub fn needs_sockets(&self, interface: u32) -> bool {
        self.watched.get(&interface).is_some_and(|watched| !watched.are_sockets_read)
    }

    /// The sockets of the end that an interface watches, read when it was first watched; none if they could not be read.
    pub fn set_sockets(&mut self, interface: u32, sockets: Option<SocketTable>) {
        if let Some(watched) = self.watched.get_mut(&interface) {
            watched.sockets = sockets.map(Arc::new);
            watched.are_sockets_read = true;
        }
    }

    /// An interface is watched no more.
    pub fn forget(&mut self, interface: u32) {
        self.watched.remove(&interface);
        self.connections.forget(interface);
        self.names.forget(interface);
    }

    /// Name of a watched interface; empty if it is watched no more.
    pub fn name(&self, interface: u32) -> &str {
        self.watched.get(&interface).map_or("", |watched| &watched.interface.name)
    }

    /// Frees everything once nothing is watched.
    pub fn reset(&mut self) {
        self.watched = HashMap::new();
        self.local = HashSet::new();
        self.directories = Vec::new();
        self.connections = Connections::default();
        self.names.clear();
    }

    /// Frees memory that a burst of connections has left behind.
    pub fn shrink(&mut self) {
        self.connections.shrink();
    }

    /// Connections with an open direction.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Records whose owners were not listed when they had to be delivered, since the start.
    pub fn early_records(&self) -> u64 {
        self.waiting.early
    }
}

/// A version 4 UUID; unique, not secret (splitmix64).
fn uuid(state: &mut u64) -> u128 {
    let mut next = || {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let bits = u128::from(next()) << 64 | u128::from(next());
    bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
}

/// The pod has the address, or it is one that each interface has for itself. A pod's first packets come before the kubelet
/// has published its addresses; until then every address behind its interface is its own.
fn is_address_of(pod: &Pod, address: IpAddr) -> bool {
    let own = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
    };
    own || pod.ips.is_empty() || pod.ips.contains(&address)
}

/// Multicast and broadcast.
fn is_group_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

#[cfg(test)]
mod tests;
