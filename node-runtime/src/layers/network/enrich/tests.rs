//! Names and directions of flows, with a directory that is filled by hand.

use trilobite_node_ebpf::FlowReason;

use super::*;
use crate::layers::network::{
    directory::{DirectoryTable, NodeAddresses, NodePod, PublishedService, ServicePort},
    endpoint::Service,
    flow::L4,
    sources::FlowSink,
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

fn node(name: &str, address: &str, pods: &str) -> NodeAddresses {
    NodeAddresses {
        name: name.into(),
        addresses: vec![address.parse().unwrap()],
        pod_ranges: vec![pods.parse().unwrap()],
        ..NodeAddresses::default()
    }
}

/// `cart` on n2, behind a Service at port 80 of 10.96.0.5 and 203.0.113.7, and at 30080 of every node.
fn directory() -> DirectoryTable {
    let table = DirectoryTable::new("n1");
    table.put_pod(&NodePod { pod: pod("cart", "10.2.0.9", "n2"), ..NodePod::default() });
    let endpoint = Arc::new(Endpoint::service("shop", "cart", [("app", "cart")].into_iter()));
    table.put_service(PublishedService {
        service: Service { name: "cart".into(), namespace: "shop".into(), endpoint },
        cluster_ips: vec!["10.96.0.5".parse().unwrap()],
        external_ips: vec!["203.0.113.7".parse().unwrap()],
        ports: [80, 50051]
            .map(|port| ServicePort {
                transport: Transport::Tcp,
                port,
                node_port: (port == 80).then_some(30080),
                target: Some(80),
            })
            .to_vec(),
    });
    table.replace_nodes(vec![node("n1", "192.0.2.1", "10.1.0.0/24"), node("n2", "192.0.2.2", "10.2.0.0/24")]);
    table.set_service_ranges("kubernetes", vec!["10.96.0.0/16".parse().unwrap()]);
    table
}

/// `front` on this node behind interface 12, with the directory.
fn pod_that_talks_to_another_node() -> Enricher {
    let mut enricher = Enricher::new(1);
    enricher.directories.push(Arc::new(directory()));
    enricher.local.extend(["10.1.0.1", "192.0.2.1"].map(|address| address.parse::<IpAddr>().unwrap()));
    watch(&mut enricher, pod("front", "10.1.0.7", "n1"));
    enricher
}

fn watch(enricher: &mut Enricher, pod: Pod) {
    let interface = Interface { index: 12, name: "veth0".into() };
    enricher.watch(&WatchTarget { interface, pod: Some(Arc::new(pod)), behind: true });
}

fn to(address: &str) -> FlowObservation {
    FlowObservation::first("10.1.0.7:40000", address, FlowDirection::In, 2)
}

#[test]
fn both_ends_are_named_and_the_direction_is_the_pods_own() {
    let mut enricher = pod_that_talks_to_another_node();
    let there =
        enricher.flow(&FlowObservation::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 1_000_000_000);
    assert_eq!((there.source_endpoint.pod.as_str(), there.destination_endpoint.pod.as_str()), ("front", "cart"));
    assert_eq!(
        (there.direction, there.is_reply, there.forwarded().unwrap().observation_point),
        (TrafficDirection::Egress, Some(false), ObservationPoint::ToStack)
    );
    assert_eq!(there.time.as_nanosecond(), 1_000_000_005);
    let back = enricher.flow(&FlowObservation::first("10.2.0.9:80", "10.1.0.7:40000", FlowDirection::Out, 0x12), 0);
    assert_eq!((back.source_endpoint.pod.as_str(), back.destination_endpoint.pod.as_str()), ("cart", "front"));
    assert_eq!(
        (back.direction, back.is_reply, back.forwarded().unwrap().observation_point),
        (TrafficDirection::Egress, Some(true), ObservationPoint::ToEndpoint)
    );
    assert_ne!(there.uuid, back.uuid);
}

#[test]
fn first_packets_of_a_pod_are_named_before_its_address_is_known() {
    let mut enricher = pod_that_talks_to_another_node();
    watch(&mut enricher, Pod { ips: Vec::new(), ..pod("front", "10.1.0.7", "n1") });
    let there = enricher.flow(&FlowObservation::first("10.1.0.7:40000", "10.2.0.9:80", FlowDirection::In, 2), 0);
    assert_eq!((there.source_endpoint.pod.as_str(), there.destination_endpoint.pod.as_str()), ("front", "cart"));
    let back = enricher.flow(&FlowObservation::first("198.51.100.1:80", "10.1.0.7:40000", FlowDirection::Out, 0x12), 0);
    assert_eq!((back.source_endpoint.identity, back.destination_endpoint.pod.as_str()), (2, "front"));
}

#[test]
fn service_is_the_server_of_a_running_connection() {
    for port in [80, 50051] {
        let mut enricher = pod_that_talks_to_another_node();
        let there = format!("10.96.0.5:{port}");
        let back = enricher.flow(&FlowObservation::first(&there, "10.1.0.7:40000", FlowDirection::Out, 0x10), 0);
        assert_eq!((back.is_reply, back.direction), (Some(true), TrafficDirection::Egress), "{port}");
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
    let back = enricher.flow(&FlowObservation::first("10.1.0.7:8080", "10.2.0.9:40000", FlowDirection::In, 0x12), 0);
    assert_eq!((there.direction, back.direction), (TrafficDirection::Ingress, TrafficDirection::Ingress));
    assert_eq!((there.is_reply, back.is_reply), (Some(false), Some(true)));
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
fn address_without_an_owner_is_unknown_in_the_cluster_and_world_outside() {
    let mut enricher = pod_that_talks_to_another_node();
    for (address, identity) in [
        ("198.51.100.1:443", 2),
        ("10.1.0.1:10250", 1),
        ("192.0.2.2:6443", 6),
        // The overlay's device and the gateway of another node's pods.
        ("10.2.0.0:40000", 6),
        ("10.2.0.1:40000", 6),
        ("10.2.0.77:80", 0),
        ("10.96.7.7:80", 0),
        ("224.0.0.251:5353", 2),
    ] {
        let flow = enricher.flow(&to(address), 0);
        assert_eq!(flow.destination_endpoint.identity, identity, "{address}");
    }
}

#[test]
fn service_is_named_by_address_and_port() {
    let mut enricher = pod_that_talks_to_another_node();
    let cart = Endpoint::pod(&pod("cart", "10.2.0.9", "n2")).identity;
    for (address, has_service, identity) in [
        ("10.96.0.5:80", true, cart),
        ("10.96.0.5:8443", false, 0),
        ("203.0.113.7:80", true, cart),
        ("203.0.113.7:22", false, 2),
        ("192.0.2.1:30080", true, 1),
        ("192.0.2.2:30080", true, 6),
        ("10.1.0.1:30080", true, 1),
        ("192.0.2.2:30081", false, 6),
        ("198.51.100.1:30080", false, 2),
    ] {
        let flow = enricher.flow(&to(address), 0);
        assert_eq!(flow.destination_service.is_some(), has_service, "{address}");
        assert_eq!(flow.destination_endpoint.identity, identity, "{address}");
    }
    let mut datagram = to("10.96.0.5:80");
    datagram.tuple.l4 = L4::Udp;
    assert_eq!(enricher.flow(&datagram, 0).destination_service, None);
}

/// A directory whose lists are not complete until it is told so.
#[derive(Default)]
struct LateDirectory {
    table: Option<DirectoryTable>,
    is_complete: std::sync::atomic::AtomicBool,
}

impl Directory for LateDirectory {
    fn owner(&self, transport: Transport, address: SocketAddr, is_local: bool) -> ConnectionEnd {
        let listed = self.table.as_ref().filter(|_| self.is_complete());
        listed.map(|table| table.owner(transport, address, is_local)).unwrap_or_default()
    }

    fn declares(&self, _: Transport, _: SocketAddr) -> bool {
        false
    }

    fn is_in_cluster(&self, _: IpAddr) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        self.is_complete.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn records_wait_for_names_in_their_order() {
    let late = Arc::new(LateDirectory { table: Some(directory()), ..LateDirectory::default() });
    let mut enricher = Enricher::new(1);
    enricher.directories.push(late.clone());
    let mut flows: Vec<Flow> = Vec::new();
    let emit = &mut |flow| flows.push(flow);
    let mut sink = FlowSink { enricher: &mut enricher, emit };
    for port in [80, 81] {
        sink.emit(&to(&format!("10.2.0.9:{port}")), 0);
    }
    sink.release_named();
    late.is_complete.store(true, std::sync::atomic::Ordering::Relaxed);
    sink.emit(&to("10.2.0.9:82"), 0);
    sink.release_named();
    let seen: Vec<_> =
        flows.iter().map(|flow| (flow.destination.port(), flow.destination_endpoint.pod.as_str())).collect();
    assert_eq!(seen, [(80, "cart"), (81, "cart"), (82, "cart")]);
    assert_eq!(enricher.early_records(), 0);
}

#[test]
fn address_is_unknown_while_its_owner_may_not_be_listed() {
    let mut enricher = Enricher::new(1);
    enricher.directories.push(Arc::new(LateDirectory::default()));
    // The records have waited for so long that they are delivered.
    let flow = enricher.flow(&to("198.51.100.1:443"), 0);
    assert_eq!((flow.destination_endpoint.identity, enricher.early_records()), (0, 1));
}

#[test]
fn deleted_peer_is_named_until_its_connection_ends() {
    let peer = |uid: &str| NodePod { pod: pod(uid, "10.2.0.30", "n2"), ..NodePod::default() };
    let table = Arc::new(DirectoryTable::new("n1"));
    table.put_pod(&peer("job"));
    let mut enricher = pod_that_talks_to_another_node();
    enricher.directories.push(table.clone());
    let call = FlowObservation::first("10.2.0.30:40000", "10.1.0.7:8080", FlowDirection::Out, 2);
    let ended = |call: &FlowObservation| FlowObservation { reason: FlowReason::End, flags: TcpFlags(0), ..*call };
    assert_eq!(enricher.flow(&call, 0).source_endpoint.pod, "job");
    let other = FlowObservation::first("10.2.0.30:40001", "10.1.0.7:8080", FlowDirection::Out, 2);
    enricher.flow(&other, 0);

    table.remove_pod("job");
    assert_eq!(enricher.flow(&ended(&call), 0).source_endpoint.pod, "job");
    table.put_pod(&peer("later"));
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
    let to = enricher.flow(&FlowObservation::first("198.51.100.1:5353", "224.0.0.251:5353", FlowDirection::Out, 0), 0);
    assert_eq!((to.source_endpoint.identity, to.destination_endpoint.identity), (2, 2));
}

#[test]
fn uuid_has_version_4() {
    let flow = pod_that_talks_to_another_node()
        .flow(&FlowObservation::first("10.1.0.7:1", "10.2.0.9:2", FlowDirection::In, 2), 0);
    assert_eq!((flow.uuid >> 76) & 0xf, 4);
    assert_eq!((flow.uuid >> 62) & 0x3, 2);
}

#[test]
fn udp_flow_names_the_pod_that_has_the_address_now() {
    let peer = |uid: &str| NodePod { pod: pod(uid, "10.2.0.30", "n2"), ..NodePod::default() };
    let table = Arc::new(DirectoryTable::new("n1"));
    table.put_pod(&peer("job"));
    let mut enricher = pod_that_talks_to_another_node();
    enricher.directories.push(table.clone());
    let at = |last, reason| {
        let mut datagram = to("10.2.0.30:9000");
        datagram.tuple.l4 = L4::Udp;
        FlowObservation { last, reason, flags: TcpFlags(0), ..datagram }
    };
    let named = |enricher: &mut Enricher, datagram| enricher.flow(&datagram, 0).destination_endpoint.pod.clone();
    let before = boot_ns();
    assert_eq!(named(&mut enricher, at(before, FlowReason::New)), "job");
    // Deletion and reuse of the address are reported in either order.
    table.put_pod(&peer("later"));
    table.remove_pod("job");
    assert_eq!(named(&mut enricher, at(before, FlowReason::Active)), "job");
    assert_eq!(named(&mut enricher, at(boot_ns(), FlowReason::Active)), "later");
}

#[test]
fn pod_in_its_own_namespace_says_which_end_is_the_server() {
    let mut enricher = pod_that_talks_to_another_node();
    assert!(enricher.needs_sockets(12));
    enricher.set_sockets(12, Some(SocketTable::default()));
    assert!(!enricher.needs_sockets(12));
    let mut answer = FlowObservation::first("10.2.0.9:40000", "10.1.0.7:50051", FlowDirection::Out, 0x10);
    let flow = enricher.flow(&answer, 0);
    assert_eq!((flow.is_reply, flow.is_direction_a_guess), (Some(true), false), "nothing listens in the pod");
    // What the pod forwards has no socket there.
    answer.tuple.destination = "198.51.100.1:50051".parse().unwrap();
    assert!(enricher.flow(&answer, 0).is_direction_a_guess);
}

/// A packet that was dropped on its way.
fn dropped(source: &str, destination: &str, interface: u32) -> Packet {
    Packet {
        time: 7,
        l4: L4::Tcp,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        interface,
        connection: 1,
    }
}

#[test]
fn ends_of_a_dropped_packet_are_named_at_any_interface_or_none() {
    let enricher = pod_that_talks_to_another_node();
    for interface in [12, 0, 77] {
        let ends = enricher.ends(&dropped("10.1.0.7:40000", "10.2.0.9:8080", interface));
        // The pod of this node is in no directory of this test.
        let source = if interface == 12 { "front" } else { "" };
        assert_eq!((ends.source_endpoint.pod.as_str(), ends.destination_endpoint.pod.as_str()), (source, "cart"));
    }
    let service = enricher.ends(&dropped("10.1.0.7:40000", "10.96.0.5:80", 12));
    assert_eq!(service.destination_service.unwrap().name, "cart");
    let ping = Packet { l4: L4::Icmp { v6: false, kind: 8, code: 0 }, ..dropped("10.1.0.7:0", "10.96.0.5:0", 12) };
    assert_eq!(enricher.ends(&ping).destination_service, None);
}

#[test]
fn dropped_packet_is_a_reply_only_if_its_connection_says_so() {
    let mut enricher = pod_that_talks_to_another_node();
    let there = dropped("10.1.0.7:40000", "10.2.0.9:80", 12);
    let back = dropped("10.2.0.9:80", "10.1.0.7:40000", 12);
    let known = |enricher: &Enricher, packet| {
        let ends = enricher.ends(packet);
        (ends.direction, ends.is_reply)
    };
    assert_eq!(known(&enricher, &there), (TrafficDirection::Egress, None));
    assert_eq!(known(&enricher, &back), (TrafficDirection::Ingress, None));
    enricher.flow(&to("10.2.0.9:80"), 0);
    assert_eq!(known(&enricher, &there), (TrafficDirection::Egress, Some(false)));
    assert_eq!(known(&enricher, &back), (TrafficDirection::Egress, Some(true)));
    let other_port = dropped("10.1.0.7:40001", "10.2.0.9:80", 12);
    assert_eq!(known(&enricher, &other_port).1, None);
}

#[test]
fn connection_of_a_packet_at_no_interface_is_found_by_its_pod() {
    let mut enricher = pod_that_talks_to_another_node();
    let local = DirectoryTable::new("n1");
    local.put_pod(&NodePod { pod: pod("front", "10.1.0.7", "n1"), ..NodePod::default() });
    enricher.directories.push(Arc::new(local));
    enricher.flow(&to("10.2.0.9:80"), 0);
    let back = enricher.ends(&dropped("10.2.0.9:80", "10.1.0.7:40000", 0));
    assert_eq!((back.direction, back.is_reply), (TrafficDirection::Egress, Some(true)));
    // Neither end is a pod of this node.
    let strange = enricher.ends(&dropped("10.2.0.9:80", "198.51.100.1:443", 0));
    assert_eq!((strange.direction, strange.is_reply), (TrafficDirection::Unknown, None));
}

#[test]
fn flow_of_an_event_has_the_packet_and_its_ends() {
    use crate::layers::network::flow::samples::drop_by_policy;
    let mut enricher = pod_that_talks_to_another_node();
    let packet = dropped("10.1.0.7:40000", "10.2.0.9:8080", 12);
    let ends = enricher.ends(&packet);
    let event = drop_by_policy().event;
    let flow = enricher.event_flow(&packet, ends.clone(), event.clone(), 1_000_000_000);
    assert_eq!((flow.time.as_nanosecond(), flow.interface.name.as_str()), (1_000_000_007, "veth0"));
    assert_eq!((&flow.source_endpoint, flow.is_reply), (&ends.source_endpoint, None));
    assert_eq!((flow.event, flow.connection), (event.clone(), 1));
    let nowhere = Packet { interface: 0, ..packet };
    let ends = enricher.ends(&nowhere);
    let flow = enricher.event_flow(&nowhere, ends, event, 0);
    assert_eq!(*flow.interface, Interface::default());
}
