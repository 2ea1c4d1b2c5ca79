//! Messages of ICMP and ICMPv6 are flows, and frames with VLAN tags are read.
//! Needs root: `cargo test -p trilobite-node --test flow_icmp -- --ignored`.

#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "a packet socket has an address of its own kind")]

mod node_and_pod;

use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use node_and_pod::{HOST_END, NODE, NodeAndPod, POD, Watcher, counts, send_echo};
use rustix::net::{AddressFamily, SocketType, socket};
use trilobite_node::layers::network::{
    flow::{Flow, L4, TrafficDirection},
    sources::tcx::MapSizes,
};
use trilobite_node_ebpf::{FlowReason, OtherReason};

const SIZES: MapSizes = MapSizes { flow_entries: 4096, ring_bytes: 1 << 20 };
const ID: u16 = 77;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn icmp(v6: bool, kind: u8) -> L4 {
    L4::Icmp { v6, kind, code: 0 }
}

/// Waits until the open flows are as wanted.
fn wait_until(watcher: &Watcher, wanted: impl Fn(&[(L4, IpAddr, u64)]) -> bool) {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let live: Vec<_> = watcher.live();
        let live: Vec<_> =
            live.iter().map(|(tuple, counted)| (tuple.l4, tuple.destination.ip(), counted.packets)).collect();
        if wanted(&live) {
            return;
        }
        assert!(Instant::now() < give_up, "{live:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn all_flows(watcher: &mut Watcher) -> Vec<Flow> {
    let mut flows = Vec::new();
    watcher.drain(&mut |flow| flows.push(flow));
    watcher.stop(&mut |flow| flows.push(flow));
    flows
}

fn ends_of(flows: &[Flow], l4: L4) -> Vec<&Flow> {
    flows.iter().filter(|flow| flow.l4 == l4 && counts(flow).reason == FlowReason::End).collect()
}

#[test]
#[ignore = "needs root"]
fn echo_and_its_reply_are_one_connection() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(SIZES);
    let families = [(0, false, [8, 0]), (1, true, [128, 129])];
    for (family, ..) in families {
        (0..3).for_each(|_| send_echo(address(POD[family]), ID, 56));
    }
    wait_until(&watcher, |live| {
        families.iter().all(|(_, v6, kinds)| {
            kinds.iter().all(|kind| live.iter().any(|flow| (flow.0, flow.2) == (icmp(*v6, *kind), 3)))
        })
    });
    let flows = all_flows(&mut watcher);
    for (family, v6, kinds) in families {
        let [request, reply] = kinds.map(|kind| match ends_of(&flows, icmp(v6, kind))[..] {
            [end] => end,
            ref ends => panic!("{ends:?}"),
        });
        assert_eq!((request.destination.ip(), reply.source.ip()), (address(POD[family]), address(POD[family])));
        assert_eq!((request.is_reply, reply.is_reply), (Some(false), Some(true)));
        assert_eq!((request.direction, reply.direction), (TrafficDirection::Ingress, TrafficDirection::Ingress));
        assert_eq!(request.connection, reply.connection);
        assert!(!request.is_direction_a_guess && request.source_port().is_none() && request.source.port() == 0);
        assert_eq!(counts(request).total.bytes, 3 * (14 + if v6 { 40 } else { 20 } + 8 + 56));
    }
    let others: u64 = watcher.sums().values().map(|sum| sum.other[OtherReason::Protocol as usize].packets).sum();
    assert_eq!(others, 0);
}

#[test]
#[ignore = "needs root"]
fn ends_that_ping_each_other_with_one_id_have_two_connections() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(SIZES);
    send_echo(address(POD[0]), ID, 8);
    link.in_pod(|| send_echo(address(NODE[0]), ID, 8));
    let is_echo = |l4| l4 == icmp(false, 8) || l4 == icmp(false, 0);
    wait_until(&watcher, |live| live.iter().filter(|flow| is_echo(flow.0)).count() == 4);
    let flows = all_flows(&mut watcher);
    let from = |end: &str| {
        let new = |flow: &&Flow| is_echo(flow.l4) && counts(flow).reason == FlowReason::New;
        let client = |flow: &Flow| if flow.is_reply == Some(true) { flow.destination.ip() } else { flow.source.ip() };
        flows
            .iter()
            .filter(new)
            .filter(|flow| client(flow) == address(end))
            .map(|flow| flow.connection)
            .collect::<Vec<_>>()
    };
    let (node, pod) = (from(NODE[0]), from(POD[0]));
    assert_eq!((node.len(), pod.len()), (2, 2));
    assert!(node[0] == node[1] && pod[0] == pod[1] && node[0] != pod[0]);
}

#[test]
#[ignore = "needs root"]
fn fragments_of_an_echo_are_in_its_flow() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(SIZES);
    for family in [0, 1] {
        send_echo(address(POD[family]), ID, 4000);
    }
    let kinds = [(false, 8), (false, 0), (true, 128), (true, 129)];
    wait_until(&watcher, |live| {
        kinds.iter().all(|(v6, kind)| live.iter().any(|flow| flow.0 == icmp(*v6, *kind) && flow.2 >= 3))
    });
    let fragments: u64 = watcher.sums().values().map(|sum| sum.other[OtherReason::Fragment as usize].packets).sum();
    assert_eq!(fragments, 0);
    let flows = all_flows(&mut watcher);
    for (v6, kind) in kinds {
        assert!(counts(ends_of(&flows, icmp(v6, kind))[0]).total.bytes > 4000);
    }
}

#[test]
#[ignore = "needs root"]
fn error_is_a_flow_and_is_told_on_the_echo_that_it_answers() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(SIZES);
    let ip = |line: &str| assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "{line}");
    link.in_pod(move || {
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        ip("route add unreachable 10.254.8.0/24");
    });
    ip(&format!("route add 10.254.8.0/24 via {} dev {HOST_END}", POD[0]));
    send_echo(address("10.254.8.9"), ID, 8);
    let unreachable = L4::Icmp { v6: false, kind: 3, code: 1 };
    wait_until(&watcher, |live| live.iter().any(|flow| flow.0 == unreachable));
    let flows = all_flows(&mut watcher);
    let told = flows.iter().find(|flow| counts(flow).reason == FlowReason::Error).unwrap();
    assert_eq!((told.l4, told.destination.ip()), (icmp(false, 8), address("10.254.8.9")));
    assert_eq!(told.summary(), "ICMPv4 EchoRequest failed: host unreachable");
    let error = ends_of(&flows, unreachable)[0];
    assert_eq!((error.source.ip(), error.is_reply, counts(error).total.packets), (address(POD[0]), Some(false), 1));
    assert!(error.summary().starts_with("ICMPv4 DestinationUnreachable(Host) ended: 1 packets"), "{}", error.summary());
}

#[test]
#[ignore = "needs root"]
fn refused_datagram_has_the_flow_of_its_error() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(SIZES);
    let socket = UdpSocket::bind((NODE[1], 0)).unwrap();
    socket.send_to(b"nobody", SocketAddr::new(address(POD[1]), 9)).unwrap();
    let unreachable = L4::Icmp { v6: true, kind: 1, code: 4 };
    wait_until(&watcher, |live| live.iter().any(|flow| flow.0 == unreachable));
    let flows = all_flows(&mut watcher);
    assert!(flows.iter().any(|flow| flow.l4 == L4::Udp && counts(flow).reason == FlowReason::Error));
}

/// A datagram to port 9 of the node behind these VLAN tags, sent by the pod as a frame.
fn send_tagged(tags: &[(u16, u16)]) {
    let [source, destination] = [POD[0], NODE[0]].map(|text| text.parse::<std::net::Ipv4Addr>().unwrap().octets());
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 7]);
    for (protocol, id) in tags {
        frame.extend(protocol.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend([8, 0, 0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0]);
    frame.extend([source, destination].concat());
    frame.extend([0x9c, 0x40, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
    let socket = socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap();
    let to = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_ifindex: interface_index("trbeth0").cast_signed(),
        sll_halen: 6,
        sll_addr: [0xff; 8],
        sll_protocol: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
    };
    // SAFETY: frame and address live through the call, which is told their sizes.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as libc::socklen_t,
        )
    };
    assert_eq!(sent, frame.len() as isize, "{}", std::io::Error::last_os_error());
}

fn interface_index(name: &str) -> u32 {
    trilobite_node::layers::network::netlink::links().unwrap().iter().find(|link| link.name == name).unwrap().index
}

#[test]
#[ignore = "needs root"]
fn packet_behind_vlan_tags_is_a_flow() {
    const C_TAG: u16 = 0x8100;
    const S_TAG: u16 = 0x88a8;
    for tags in [vec![(C_TAG, 5)], vec![(S_TAG, 7), (C_TAG, 5)], vec![(C_TAG, 7), (C_TAG, 5)]] {
        let link = NodeAndPod::new();
        let mut watcher = link.watched(SIZES);
        let sent = tags.clone();
        link.in_pod(move || send_tagged(&sent));
        wait_until(&watcher, |live| live.iter().any(|flow| flow.0 == L4::Udp));
        let flows = all_flows(&mut watcher);
        let end = ends_of(&flows, L4::Udp)[0];
        assert_eq!(
            (end.source.to_string(), end.destination.to_string()),
            (format!("{}:40000", POD[0]), format!("{}:9", NODE[0])),
            "{tags:?}"
        );
    }
}
