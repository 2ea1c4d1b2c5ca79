//! Makes a flow of a record: the endpoints, the direction of the connection, the wall clock time. Pure but for the
//! directories, which answer from memory.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use trilobite_node_ebpf::{FlowDirection, PacketsBytes};

use super::{
    connection::Connections,
    decode::FlowObservation,
    directory::Directory,
    endpoint::{ConnectionEnd, Endpoint, Reserved},
    flow::{Flow, Interface, ObservationPoint, TrafficDirection},
};
use crate::identity::Pod;

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
}

pub type PodEndpoint = (Arc<Pod>, Arc<Endpoint>);

pub struct Enricher {
    /// By index.
    pub watched: HashMap<u32, WatchedInterface>,
    /// Addresses of the machine.
    pub local: HashSet<IpAddr>,
    /// Owners of the other addresses; the first answer counts.
    pub directories: Vec<Arc<dyn Directory>>,
    connections: Connections,
    host: Arc<Endpoint>,
    world: Arc<Endpoint>,
    random: u64,
}

impl Enricher {
    /// `seed` makes the flows' ids differ from those of another start.
    pub fn new(seed: u64) -> Self {
        Self {
            watched: HashMap::new(),
            local: HashSet::new(),
            directories: Vec::new(),
            connections: Connections::default(),
            host: Arc::new(Endpoint::reserved(Reserved::Host)),
            world: Arc::new(Endpoint::reserved(Reserved::World)),
            random: seed,
        }
    }

    /// The flow of a record; `booted` is the wall clock at boot, in nanoseconds.
    pub fn flow(&mut self, observation: &FlowObservation, booted: i128) -> Flow {
        let tuple = &observation.tuple;
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
        let (source, destination) = (tuple.source.ip(), tuple.destination.ip());
        let (source_owner, destination_owner) =
            (self.owner(source, source_pod), self.owner(destination, destination_pod));
        let update = self.connections.observe(observation, source_owner, destination_owner);
        let source_endpoint = self.shown(&update.source, source, source_pod);
        let destination_endpoint = self.shown(&update.destination, destination, destination_pod);
        let interface = match watched {
            Some(watched) => watched.interface.clone(),
            None => Arc::new(Interface { index: tuple.interface, name: String::new() }),
        };
        Flow {
            time: Timestamp::from_nanosecond(booted + i128::from(observation.time)).unwrap_or(Timestamp::UNIX_EPOCH),
            uuid: self.uuid(),
            transport: tuple.transport,
            source: tuple.source,
            destination: tuple.destination,
            source_mac: observation.source_mac,
            destination_mac: observation.destination_mac,
            flags: observation.flags,
            flags_seen: observation.flags_seen,
            reason: observation.reason,
            source_endpoint,
            destination_endpoint,
            source_service: update.source.service,
            destination_service: update.destination.service,
            is_reply: update.is_reply,
            is_new: update.is_new,
            direction: if source_is_watched == update.is_reply {
                TrafficDirection::Ingress
            } else {
                TrafficDirection::Egress
            },
            observation_point,
            interface,
            connection: observation.connection,
            since: update.since,
            total: PacketsBytes { packets: observation.packets, bytes: observation.bytes },
        }
    }

    /// The current owner of an address; `pod` is the one behind the interface if this is its end. The machine comes last:
    /// proxies and caches give it the addresses of Services.
    fn owner(&self, address: IpAddr, pod: Option<&PodEndpoint>) -> ConnectionEnd {
        let own = pod.filter(|(pod, _)| is_address_of(pod, address)).map(|(_, endpoint)| endpoint.clone());
        let mut owner = ConnectionEnd { endpoint: own, service: None };
        for directory in &self.directories {
            let found = directory.owner(address);
            owner.endpoint = owner.endpoint.or(found.endpoint);
            owner.service = owner.service.or(found.service);
        }
        if owner.endpoint.is_none() && owner.service.is_none() && self.local.contains(&address) {
            owner.endpoint = Some(self.host.clone());
        }
        owner
    }

    /// The endpoint that is shown. An unknown address belongs to the world, except behind a pod's own interface: the pod may
    /// have a second network, or an address that was assigned a moment ago.
    fn shown(&self, end: &ConnectionEnd, address: IpAddr, pod: Option<&PodEndpoint>) -> Arc<Endpoint> {
        let named = end.endpoint.as_ref().or_else(|| end.service.as_ref().map(|service| &service.endpoint));
        let or_pod = named.or_else(|| pod.filter(|_| !is_group_address(address)).map(|(_, endpoint)| endpoint));
        or_pod.unwrap_or(&self.world).clone()
    }

    /// Enriches the records of an interface from now on.
    pub fn watch(&mut self, target: &WatchTarget) {
        let known = self.watched.get(&target.interface.index);
        if known.is_some_and(|known| {
            *known.interface == target.interface && known.pod.as_ref().map(|(pod, _)| pod) == target.pod.as_ref()
        }) {
            return;
        }
        let pod = target.pod.as_ref().map(|pod| (pod.clone(), Arc::new(Endpoint::pod(pod))));
        let watched = WatchedInterface { interface: Arc::new(target.interface.clone()), pod, behind: target.behind };
        self.watched.insert(target.interface.index, watched);
    }

    /// An interface is watched no more.
    pub fn forget(&mut self, interface: u32) {
        self.watched.remove(&interface);
        self.connections.forget(interface);
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
    }

    /// Frees memory that a burst of connections has left behind.
    pub fn shrink(&mut self) {
        self.connections.shrink();
    }

    /// Connections with an open direction.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// A version 4 UUID; unique, not secret (splitmix64).
    fn uuid(&mut self) -> u128 {
        let mut next = || {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let bits = u128::from(next()) << 64 | u128::from(next());
        bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62
    }
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
mod tests {
    use trilobite_node_ebpf::FlowReason;

    use super::*;
    use crate::layers::network::{
        directory::{DirectoryTable, NodePod},
        endpoint::Service,
        tcp_flags::TcpFlags,
    };

    fn pod(name: &str, ip: &str, node: &str) -> Pod {
        Pod {
            uid: name.into(),
            name: name.into(),
            namespace: "shop".into(),
            labels: [("app".to_owned(), name.to_owned())].into(),
            ips: vec![ip.parse().unwrap()],
            node: node.into(),
            ..Pod::default()
        }
    }

    /// `front` on this node behind interface 12; `cart` on another, behind the Service 10.96.0.5.
    fn pod_that_talks_to_another_node() -> Enricher {
        let table = DirectoryTable::default();
        let node_ips = vec!["192.0.2.2".parse().unwrap()];
        table.put_pod(&NodePod { pod: pod("cart", "10.2.0.9", "n2"), node_ips }, "n1");
        let endpoint = Arc::new(Endpoint::service("shop", "cart", [("app", "cart")].into_iter()));
        let service = Service { name: "cart".into(), namespace: "shop".into(), endpoint };
        table.put_service(service, &["10.96.0.5".parse().unwrap()], &[]);
        let mut enricher = Enricher::new(1);
        enricher.directories.push(Arc::new(table));
        enricher.local.insert("10.1.0.1".parse().unwrap());
        let front = Arc::new(pod("front", "10.1.0.7", "n1"));
        let endpoint = Arc::new(Endpoint::pod(&front));
        let interface = Arc::new(Interface { index: 12, name: "veth0".into() });
        enricher.watched.insert(12, WatchedInterface { interface, pod: Some((front, endpoint)), behind: true });
        enricher
    }

    #[test]
    fn both_ends_are_named_and_the_direction_is_the_pods_own() {
        let mut enricher = pod_that_talks_to_another_node();
        let there = enricher
            .flow(&FlowObservation::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 1_000_000_000);
        assert_eq!((there.source_endpoint.pod.as_str(), there.destination_endpoint.pod.as_str()), ("front", "cart"));
        assert_eq!(
            (there.direction, there.is_reply, there.observation_point),
            (TrafficDirection::Egress, false, ObservationPoint::ToStack)
        );
        assert_eq!(there.time.as_nanosecond(), 1_000_000_005);
        let back = enricher.flow(&FlowObservation::first("10.2.0.9:80", "10.1.0.7:40000", FlowDirection::Out, 0x12), 0);
        assert_eq!((back.source_endpoint.pod.as_str(), back.destination_endpoint.pod.as_str()), ("cart", "front"));
        assert_eq!(
            (back.direction, back.is_reply, back.observation_point),
            (TrafficDirection::Egress, true, ObservationPoint::ToEndpoint)
        );
        assert_ne!(there.uuid, back.uuid);
    }

    #[test]
    fn first_packets_of_a_pod_are_named_before_its_address_is_known() {
        let mut enricher = pod_that_talks_to_another_node();
        let young = Arc::new(Pod { ips: Vec::new(), ..pod("front", "10.1.0.7", "n1") });
        let endpoint = Arc::new(Endpoint::pod(&young));
        enricher.watched.get_mut(&12).unwrap().pod = Some((young, endpoint));
        let there = enricher.flow(&FlowObservation::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 0);
        assert_eq!((there.source_endpoint.pod.as_str(), there.destination_endpoint.pod.as_str()), ("front", "cart"));
        let back =
            enricher.flow(&FlowObservation::first("198.51.100.1:80", "10.1.0.7:40000", FlowDirection::Out, 0x12), 0);
        assert_eq!((back.source_endpoint.identity, back.destination_endpoint.pod.as_str()), (2, "front"));
    }

    #[test]
    fn service_is_the_server_of_a_running_connection() {
        for port in [80, 50051] {
            let mut enricher = pod_that_talks_to_another_node();
            let there = format!("10.96.0.5:{port}");
            let back = enricher.flow(&FlowObservation::first(&there, "10.1.0.7:40000", FlowDirection::Out, 0x10), 0);
            assert_eq!((back.is_reply, back.direction), (true, TrafficDirection::Egress), "{port}");
        }
    }

    #[test]
    fn reset_forgets_all_connections() {
        let mut enricher = pod_that_talks_to_another_node();
        enricher.flow(&FlowObservation::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 0);
        assert_eq!(enricher.connections(), 1);
        enricher.reset();
        assert_eq!(enricher.connections(), 0);
    }

    #[test]
    fn accepted_connection_is_ingress_in_both_directions() {
        let mut enricher = pod_that_talks_to_another_node();
        let there = enricher.flow(&FlowObservation::first("10.2.0.9:40000", "10.1.0.7:8080", FlowDirection::Out, 2), 0);
        let back =
            enricher.flow(&FlowObservation::first("10.1.0.7:8080", "10.2.0.9:40000", FlowDirection::In, 0x12), 0);
        assert_eq!((there.direction, back.direction), (TrafficDirection::Ingress, TrafficDirection::Ingress));
        assert_eq!((there.is_reply, back.is_reply), (false, true));
    }

    #[test]
    fn cluster_ip_shows_its_service_with_the_identity_of_its_pods() {
        let mut enricher = pod_that_talks_to_another_node();
        let flow = enricher.flow(&FlowObservation::first("10.1.0.7:40000", "10.96.0.5:80", FlowDirection::In, 2), 0);
        assert_eq!(flow.destination_service.unwrap().name, "cart");
        assert_eq!(flow.destination_endpoint.identity, Endpoint::pod(&pod("cart", "10.2.0.9", "n2")).identity);
        assert_eq!(flow.destination_endpoint.pod, "");
    }

    #[test]
    fn unknown_address_is_world_and_local_address_is_host() {
        let mut enricher = pod_that_talks_to_another_node();
        for (address, identity) in [("198.51.100.1:443", 2), ("10.1.0.1:10250", 1), ("192.0.2.2:6443", 6)] {
            let flow = enricher.flow(&FlowObservation::first("10.1.0.7:40000", address, FlowDirection::In, 2), 0);
            assert_eq!(flow.destination_endpoint.identity, identity, "{address}");
        }
    }

    #[test]
    fn deleted_peer_is_named_until_its_connection_ends() {
        let peer = |uid: &str| NodePod { pod: pod(uid, "10.2.0.30", "n2"), node_ips: Vec::new() };
        let table = Arc::new(DirectoryTable::default());
        table.put_pod(&peer("job"), "n1");
        let mut enricher = pod_that_talks_to_another_node();
        enricher.directories.push(table.clone());
        let call = FlowObservation::first("10.2.0.30:40000", "10.1.0.7:8080", FlowDirection::Out, 2);
        let ended = |call: &FlowObservation| FlowObservation { reason: FlowReason::End, flags: TcpFlags(0), ..*call };
        assert_eq!(enricher.flow(&call, 0).source_endpoint.pod, "job");
        let other = FlowObservation::first("10.2.0.30:40001", "10.1.0.7:8080", FlowDirection::Out, 2);
        enricher.flow(&other, 0);

        table.remove_pod("job");
        assert_eq!(enricher.flow(&ended(&call), 0).source_endpoint.pod, "job");
        table.put_pod(&peer("later"), "n1");
        assert_eq!(enricher.flow(&ended(&other), 0).source_endpoint.pod, "job");
        // A new connection on the same ports belongs to the current owner of the address.
        assert_eq!(enricher.flow(&call, 0).source_endpoint.pod, "later");
    }

    #[test]
    fn service_address_that_a_proxy_put_on_the_machine_is_the_services() {
        let mut enricher = pod_that_talks_to_another_node();
        enricher.local.insert("10.96.0.5".parse().unwrap());
        let flow = enricher.flow(&FlowObservation::first("10.1.0.7:40000", "10.96.0.5:80", FlowDirection::In, 2), 0);
        assert_eq!(flow.destination_endpoint.identity, Endpoint::pod(&pod("cart", "10.2.0.9", "n2")).identity);
    }

    #[test]
    fn unknown_unicast_address_of_a_pod_is_named_and_multicast_is_not() {
        let mut enricher = pod_that_talks_to_another_node();
        let from = enricher.flow(&FlowObservation::first("172.20.0.5:40000", "10.2.0.9:80", FlowDirection::In, 2), 0);
        assert_eq!(from.source_endpoint.pod, "front");
        let to =
            enricher.flow(&FlowObservation::first("198.51.100.1:5353", "224.0.0.251:5353", FlowDirection::Out, 0), 0);
        assert_eq!((to.source_endpoint.identity, to.destination_endpoint.identity), (2, 2));
    }

    #[test]
    fn uuid_has_version_4() {
        let flow = pod_that_talks_to_another_node()
            .flow(&FlowObservation::first("10.1.0.7:1", "10.2.0.9:2", FlowDirection::In, 2), 0);
        assert_eq!((flow.uuid >> 76) & 0xf, 4);
        assert_eq!((flow.uuid >> 62) & 0x3, 2);
    }
}
