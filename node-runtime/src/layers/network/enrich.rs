//! Makes a flow of a record: who the two ends are, who began, when it was by the wall clock. Pure but for the directory,
//! which answers from memory.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use trilobite_node_ebpf::flow::{FlowDirection, PacketsBytes};

use super::{
    connection::Connections,
    directory::Directory,
    end::End,
    flow::{Began, Flow, Interface, Point},
    numeric::Reserved,
    party::Party,
    record::Observed,
};
use crate::identity::Pod;

/// What an interface is watched for.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The interface.
    pub interface: Arc<Interface>,
    /// The pod at its other end, where it is known.
    pub pod: Option<PodAndEnd>,
    /// It is the other end that is watched; else it is the machine itself.
    pub behind: bool,
}

/// A pod of this node, and how it is shown.
pub type PodAndEnd = (Arc<Pod>, Arc<End>);

/// Knows what is needed to make flows of records.
pub struct Enricher {
    /// What is watched, by index.
    pub watched: HashMap<u32, Watched>,
    /// Addresses of the machine.
    pub local: HashSet<IpAddr>,
    /// Who has the other addresses, nearest first.
    pub directories: Vec<Arc<dyn Directory>>,
    connections: Connections,
    host: Arc<End>,
    world: Arc<End>,
    random: u64,
}

impl Enricher {
    /// Knows nobody; `seed` makes the flows' ids differ from those of another start.
    pub fn new(seed: u64) -> Self {
        Self {
            watched: HashMap::new(),
            local: HashSet::new(),
            directories: Vec::new(),
            connections: Connections::default(),
            host: Arc::new(End::reserved(Reserved::Host)),
            world: Arc::new(End::reserved(Reserved::World)),
            random: seed,
        }
    }

    /// The flow that a record tells of; `booted` is the wall clock's time when the boot clock was zero, in nanoseconds.
    pub fn flow(&mut self, observed: &Observed, booted: i128) -> Flow {
        let tuple = &observed.tuple;
        let watched = self.watched.get(&tuple.interface);
        let pod = watched.and_then(|watched| watched.pod.as_ref());
        let behind = watched.is_some_and(|watched| watched.behind);
        // A pod is behind its veth, the machine is on this side of its own interfaces.
        let source_is_watched = (tuple.direction == FlowDirection::In) == behind;
        let point = match (behind, tuple.direction) {
            (true, FlowDirection::In) => Point::ToStack,
            (true, FlowDirection::Out) => Point::ToEndpoint,
            (false, FlowDirection::In) => Point::FromNetwork,
            (false, FlowDirection::Out) => Point::ToNetwork,
        };
        let owns = (pod.filter(|_| source_is_watched), pod.filter(|_| !source_is_watched));
        let (source, destination) = (tuple.source.ip(), tuple.destination.ip());
        let parties = (self.party(source, owns.0), self.party(destination, owns.1));
        let told = self.connections.observe(observed, parties.0, parties.1);
        let source_end = self.shown(&told.source, source, owns.0);
        let destination_end = self.shown(&told.destination, destination, owns.1);
        let interface = match watched {
            Some(watched) => watched.interface.clone(),
            None => Arc::new(Interface { index: tuple.interface, name: String::new() }),
        };
        Flow {
            time: Timestamp::from_nanosecond(booted + i128::from(observed.time)).unwrap_or(Timestamp::UNIX_EPOCH),
            uuid: self.uuid(),
            transport: tuple.transport,
            source: tuple.source,
            destination: tuple.destination,
            source_mac: observed.source_mac,
            destination_mac: observed.destination_mac,
            flags: observed.flags,
            flags_seen: observed.flags_seen,
            reason: observed.reason,
            source_end,
            destination_end,
            source_service: told.source.service,
            destination_service: told.destination.service,
            is_reply: told.is_reply,
            is_new: told.is_new,
            began: if source_is_watched != told.is_reply { Began::Egress } else { Began::Ingress },
            point,
            interface,
            connection: observed.connection,
            since: told.since,
            total: PacketsBytes { packets: observed.packets, bytes: observed.bytes },
        }
    }

    /// Who has an address now; `own` is the pod behind the interface, where it is its end. The machine comes last: proxies and
    /// caches give it the addresses of Services.
    fn party(&self, address: IpAddr, own: Option<&PodAndEnd>) -> Party {
        let service = self.directories.iter().find_map(|directory| directory.service(address));
        let end = own
            .filter(|(pod, _)| is_address_of(pod, address))
            .map(|(_, end)| end.clone())
            .or_else(|| self.directories.iter().find_map(|directory| directory.end(address)))
            .or_else(|| (service.is_none() && self.local.contains(&address)).then(|| self.host.clone()));
        Party { end, service }
    }

    /// What stands for an end. Nobody's address is the world's, but behind its own interface a pod may have one that no one
    /// has told of: a second network's, or one that came a moment ago.
    fn shown(&self, party: &Party, address: IpAddr, own: Option<&PodAndEnd>) -> Arc<End> {
        let named = party.end.as_ref().or_else(|| party.service.as_ref().map(|service| &service.end));
        let or_own = named.or_else(|| own.filter(|_| !is_of_many(address)).map(|(_, end)| end));
        or_own.unwrap_or(&self.world).clone()
    }

    /// Nothing is watched any more: gives back what was known of it.
    pub fn reset(&mut self) {
        self.watched = HashMap::new();
        self.local = HashSet::new();
        self.directories = Vec::new();
        self.connections = Connections::default();
    }

    /// Gives back memory that a burst of connections has left behind.
    pub fn shrink(&mut self) {
        self.connections.shrink();
    }

    /// An interface is watched no more.
    pub fn forget(&mut self, interface: u32) {
        self.watched.remove(&interface);
        self.connections.forget(interface);
    }

    /// Connections of which a direction is open.
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

/// The pod has it, or it is one of those that every interface has for itself. A pod's first packets come before the
/// kubelet has told its addresses: then the interface alone says whose they are.
fn is_address_of(pod: &Pod, address: IpAddr) -> bool {
    let own = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
    };
    own || pod.ips.is_empty() || pod.ips.contains(&address)
}

/// Sent to whoever listens.
fn is_of_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use trilobite_node_ebpf::flow::FlowReason;

    use super::*;
    use crate::layers::network::{
        directory::{NodePod, Table},
        end::Service,
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
    fn a_pod_that_talks_to_another_node() -> Enricher {
        let table = Table::default();
        let node_ips = vec!["192.0.2.2".parse().unwrap()];
        table.put_pod(&NodePod { pod: pod("cart", "10.2.0.9", "n2"), node_ips }, "n1");
        let end = Arc::new(End::service("shop", "cart", [("app", "cart")].into_iter()));
        let service = Service { name: "cart".into(), namespace: "shop".into(), end };
        table.put_service(service, &["10.96.0.5".parse().unwrap()], &[]);
        let mut enricher = Enricher::new(1);
        enricher.directories.push(Arc::new(table));
        enricher.local.insert("10.1.0.1".parse().unwrap());
        let front = Arc::new(pod("front", "10.1.0.7", "n1"));
        let end = Arc::new(End::pod(&front));
        let interface = Arc::new(Interface { index: 12, name: "veth0".into() });
        enricher.watched.insert(12, Watched { interface, pod: Some((front, end)), behind: true });
        enricher
    }

    #[test]
    fn both_ends_are_named_and_the_direction_is_the_pods() {
        let mut enricher = a_pod_that_talks_to_another_node();
        let there =
            enricher.flow(&Observed::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 1_000_000_000);
        assert_eq!((there.source_end.pod.as_str(), there.destination_end.pod.as_str()), ("front", "cart"));
        assert_eq!((there.began, there.is_reply, there.point), (Began::Egress, false, Point::ToStack));
        assert_eq!(there.time.as_nanosecond(), 1_000_000_005);
        let back = enricher.flow(&Observed::first("10.2.0.9:80", "10.1.0.7:40000", FlowDirection::Out, 0x12), 0);
        assert_eq!((back.source_end.pod.as_str(), back.destination_end.pod.as_str()), ("cart", "front"));
        assert_eq!((back.began, back.is_reply, back.point), (Began::Egress, true, Point::ToEndpoint));
        assert_ne!(there.uuid, back.uuid);
    }

    #[test]
    fn the_first_packets_of_a_pod_are_its_own_before_its_addresses_are_known() {
        let mut enricher = a_pod_that_talks_to_another_node();
        let young = Arc::new(Pod { ips: Vec::new(), ..pod("front", "10.1.0.7", "n1") });
        let end = Arc::new(End::pod(&young));
        enricher.watched.get_mut(&12).unwrap().pod = Some((young, end));
        let there = enricher.flow(&Observed::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 0);
        assert_eq!((there.source_end.pod.as_str(), there.destination_end.pod.as_str()), ("front", "cart"));
        let back = enricher.flow(&Observed::first("198.51.100.1:80", "10.1.0.7:40000", FlowDirection::Out, 0x12), 0);
        assert_eq!((back.source_end.identity, back.destination_end.pod.as_str()), (2, "front"));
    }

    #[test]
    fn of_a_connection_met_in_its_middle_the_service_is_the_server() {
        for port in [80, 50051] {
            let mut enricher = a_pod_that_talks_to_another_node();
            let there = format!("10.96.0.5:{port}");
            let back = enricher.flow(&Observed::first(&there, "10.1.0.7:40000", FlowDirection::Out, 0x10), 0);
            assert_eq!((back.is_reply, back.began), (true, Began::Egress), "{port}");
        }
    }

    #[test]
    fn nothing_is_known_of_connections_once_nothing_is_watched() {
        let mut enricher = a_pod_that_talks_to_another_node();
        enricher.flow(&Observed::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 0);
        assert_eq!(enricher.connections(), 1);
        enricher.reset();
        assert_eq!(enricher.connections(), 0);
    }

    #[test]
    fn a_connection_that_another_began_is_ingress_in_both_directions() {
        let mut enricher = a_pod_that_talks_to_another_node();
        let there = enricher.flow(&Observed::first("10.2.0.9:40000", "10.1.0.7:8080", FlowDirection::Out, 2), 0);
        let back = enricher.flow(&Observed::first("10.1.0.7:8080", "10.2.0.9:40000", FlowDirection::In, 0x12), 0);
        assert_eq!((there.began, back.began), (Began::Ingress, Began::Ingress));
        assert_eq!((there.is_reply, back.is_reply), (false, true));
    }

    #[test]
    fn a_cluster_address_is_its_service_with_the_identity_of_its_pods() {
        let mut enricher = a_pod_that_talks_to_another_node();
        let flow = enricher.flow(&Observed::first("10.1.0.7:40000", "10.96.0.5:80", FlowDirection::In, 2), 0);
        assert_eq!(flow.destination_service.unwrap().name, "cart");
        assert_eq!(flow.destination_end.identity, End::pod(&pod("cart", "10.2.0.9", "n2")).identity);
        assert_eq!(flow.destination_end.pod, "");
    }

    #[test]
    fn an_address_that_nobody_has_is_the_world_and_the_machines_own_is_the_host() {
        let mut enricher = a_pod_that_talks_to_another_node();
        for (address, identity) in [("198.51.100.1:443", 2), ("10.1.0.1:10250", 1), ("192.0.2.2:6443", 6)] {
            let flow = enricher.flow(&Observed::first("10.1.0.7:40000", address, FlowDirection::In, 2), 0);
            assert_eq!(flow.destination_end.identity, identity, "{address}");
        }
    }

    #[test]
    fn a_peer_that_is_gone_is_still_named_at_the_end_and_whoever_has_its_address_by_then_is_not() {
        let peer = |uid: &str| NodePod { pod: pod(uid, "10.2.0.30", "n2"), node_ips: Vec::new() };
        let table = Arc::new(Table::default());
        table.put_pod(&peer("job"), "n1");
        let mut enricher = a_pod_that_talks_to_another_node();
        enricher.directories.push(table.clone());
        let call = Observed::first("10.2.0.30:40000", "10.1.0.7:8080", FlowDirection::Out, 2);
        let ended = |call: &Observed| Observed { reason: FlowReason::End, flags: TcpFlags(0), ..*call };
        assert_eq!(enricher.flow(&call, 0).source_end.pod, "job");
        let other = Observed::first("10.2.0.30:40001", "10.1.0.7:8080", FlowDirection::Out, 2);
        enricher.flow(&other, 0);

        table.remove_pod("job");
        assert_eq!(enricher.flow(&ended(&call), 0).source_end.pod, "job");
        table.put_pod(&peer("later"), "n1");
        assert_eq!(enricher.flow(&ended(&other), 0).source_end.pod, "job");
        // Ports that begin anew are of whoever has the address now.
        assert_eq!(enricher.flow(&call, 0).source_end.pod, "later");
    }

    #[test]
    fn an_address_of_a_service_is_the_services_though_a_proxy_gave_it_to_the_machine() {
        let mut enricher = a_pod_that_talks_to_another_node();
        enricher.local.insert("10.96.0.5".parse().unwrap());
        let flow = enricher.flow(&Observed::first("10.1.0.7:40000", "10.96.0.5:80", FlowDirection::In, 2), 0);
        assert_eq!(flow.destination_end.identity, End::pod(&pod("cart", "10.2.0.9", "n2")).identity);
    }

    #[test]
    fn behind_its_interface_a_pod_is_named_by_an_address_that_nobody_told_of_but_not_by_one_of_many() {
        let mut enricher = a_pod_that_talks_to_another_node();
        let from = enricher.flow(&Observed::first("172.20.0.5:40000", "10.2.0.9:80", FlowDirection::In, 2), 0);
        assert_eq!(from.source_end.pod, "front");
        let to = enricher.flow(&Observed::first("198.51.100.1:5353", "224.0.0.251:5353", FlowDirection::Out, 0), 0);
        assert_eq!((to.source_end.identity, to.destination_end.identity), (2, 2));
    }

    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        let flow = a_pod_that_talks_to_another_node()
            .flow(&Observed::first("10.1.0.7:1", "10.2.0.9:2", FlowDirection::In, 2), 0);
        assert_eq!((flow.uuid >> 76) & 0xf, 4);
        assert_eq!((flow.uuid >> 62) & 0x3, 2);
    }
}
