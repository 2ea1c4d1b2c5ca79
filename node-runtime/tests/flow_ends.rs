//! When flows end, and that they leave room in the map and in the ring, and the index of their interface, to others.
//! Needs root and a kernel from 6.6 on: `cargo test -p trilobite-node --test flow_ends -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod node_and_pod;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use node_and_pod::{HOST_END, NODE, NodeAndPod, POD, Watcher, counts};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt::set_socket_reuseaddr};
use trilobite_node::layers::network::{
    decode::Transport,
    flow::{Flow, L4},
    sources::tcx::{IdleTimeouts, MapSizes, REMOVE_ENDED_AFTER},
    tcp_flags::TcpFlags,
};
use trilobite_node_ebpf::{FlowReason, OtherReason};

const MILLISECOND: u64 = 1_000_000;
/// Longer than any test.
const NEVER: u64 = 3_600_000 * MILLISECOND;

/// One sweep, as the layer makes it.
fn sweep(watcher: &mut Watcher, timeouts: IdleTimeouts) -> Vec<Flow> {
    let mut flows = Vec::new();
    while watcher.end_idle(timeouts, &mut |flow| flows.push(flow)).unwrap().more {}
    thread::sleep(REMOVE_ENDED_AFTER);
    watcher.remove_ended().unwrap();
    flows
}

#[test]
#[ignore = "needs root"]
fn flows_that_end_together_leave_room_for_new_records() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 4096 });
    link.scatter(0, 2000);
    watcher.drain(&mut |_| {});
    let to = |port: u16, watcher: &Watcher| {
        watcher.live().iter().filter(|(tuple, _)| tuple.destination.port() == port).count()
    };
    let scattered = to(9, &watcher);
    assert!(scattered > 1500, "{scattered}");
    thread::sleep(Duration::from_millis(300));

    // Whenever one order has filled the ring with final records, two flows begin.
    let begin = || {
        for _ in 0..2 {
            UdpSocket::bind((NODE[0], 0)).unwrap().send_to(b"new", (POD[0], 10)).unwrap();
        }
    };
    let (lost_before, _) = watcher.losses();
    let timeouts =
        IdleTimeouts { closed: 250 * MILLISECOND, syn: NEVER, tcp: NEVER, udp: 250 * MILLISECOND, answered: NEVER };
    let mut flows: Vec<Flow> = Vec::new();
    let mut more = true;
    while more {
        let mut is_first = true;
        let each = &mut |flow| {
            if std::mem::take(&mut is_first) {
                begin();
            }
            flows.push(flow);
        };
        more = watcher.end_idle(timeouts, each).unwrap().more;
    }
    thread::sleep(REMOVE_ENDED_AFTER);
    watcher.remove_ended().unwrap();
    let (lost, _) = watcher.losses();
    let ended = flows.iter().filter(|flow| counts(flow).reason == FlowReason::End).count();
    assert_eq!((to(9, &watcher), lost - lost_before), (0, 0));
    assert!(
        ended >= scattered && flows.iter().any(|flow| counts(flow).reason == FlowReason::New),
        "{ended} of {scattered}"
    );
}

#[test]
#[ignore = "needs root"]
fn refused_and_unanswered_connects_end_sooner_than_connections() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let silent = link.silent_neighbour();
    let timeouts =
        IdleTimeouts { closed: 100 * MILLISECOND, syn: 500 * MILLISECOND, tcp: NEVER, udp: NEVER, answered: NEVER };
    let tcp = |watcher: &Watcher| watcher.live().iter().filter(|(tuple, _)| tuple.l4 == L4::Tcp).count();
    assert!(TcpStream::connect((POD[0], 9)).is_err());
    assert_eq!(tcp(&watcher), 2);
    thread::sleep(Duration::from_millis(150));
    sweep(&mut watcher, timeouts);
    assert_eq!(tcp(&watcher), 0, "refused");

    // The SYN is sent again after a second: it is silent for half of it.
    assert!(TcpStream::connect_timeout(&SocketAddr::new(silent, 9), Duration::from_millis(200)).is_err());
    sweep(&mut watcher, timeouts);
    assert_eq!(tcp(&watcher), 1, "not yet");
    thread::sleep(Duration::from_millis(600));
    sweep(&mut watcher, timeouts);
    assert_eq!(tcp(&watcher), 0, "unanswered");
}

#[test]
#[ignore = "needs root"]
fn answered_udp_request_ends_sooner_than_a_udp_stream() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let timeouts =
        IdleTimeouts { closed: 50 * MILLISECOND, syn: NEVER, tcp: NEVER, udp: NEVER, answered: 300 * MILLISECOND };
    let udp = |watcher: &Watcher| watcher.live().iter().filter(|(tuple, _)| tuple.l4 == L4::Udp).count();
    link.udp(0, &[40, 41]);
    link.udp(1, &[40, 41, 42]);
    link.scatter(0, 1);
    assert_eq!(udp(&watcher), 5);
    thread::sleep(Duration::from_millis(100));
    sweep(&mut watcher, timeouts);
    assert_eq!(udp(&watcher), 5, "not yet");
    thread::sleep(Duration::from_millis(300));
    let mut ended = sweep(&mut watcher, timeouts);
    ended.retain(|flow| flow.l4 == L4::Udp);
    assert!(
        ended.iter().all(|flow| counts(flow).reason == FlowReason::End && counts(flow).total.packets == 2),
        "{ended:?}"
    );
    assert_eq!((ended.len(), udp(&watcher)), (2, 3));
}

#[test]
#[ignore = "needs root"]
fn unreported_traffic_of_a_silent_flow_is_reported_once() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let socket = UdpSocket::bind((NODE[0], 0)).unwrap();
    let silent = link.silent_neighbour();
    let never = IdleTimeouts { closed: NEVER, syn: NEVER, tcp: NEVER, udp: NEVER, answered: NEVER };
    for _ in 0..3 {
        socket.send_to(b"then nothing", (silent, 9)).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    let reported = |watcher: &mut Watcher| {
        let flows = sweep(watcher, never).into_iter().filter(|flow| flow.destination.ip() == silent);
        flows
            .map(|flow| (counts(&flow).reason, counts(&flow).since.packets, counts(&flow).total.packets))
            .collect::<Vec<_>>()
    };
    assert_eq!(reported(&mut watcher), [(FlowReason::New, 1, 1)]);
    thread::sleep(Duration::from_millis(5100));
    assert_eq!(reported(&mut watcher), [(FlowReason::Active, 2, 3)]);
    thread::sleep(Duration::from_millis(5100));
    assert_eq!(reported(&mut watcher), []);
    assert_eq!(watcher.losses(), (0, 0));
}

#[test]
#[ignore = "needs root"]
fn ports_that_differ_like_addresses_are_two_connections() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let other = "10.253.7.1";
    let added = Command::new("ip").args(["addr", "add", &format!("{other}/32"), "dev", HOST_END]).status().unwrap();
    assert!(added.success());
    // 253 and 254 differ in the same bits as 40000 and 40003 do.
    for from in [(NODE[0], 40000), (other, 40003)] {
        UdpSocket::bind(from).unwrap().send_to(b"who", (POD[0], 9)).unwrap();
    }
    let mut connections = Vec::new();
    watcher.drain(&mut |flow| {
        let is_first = counts(&flow).reason == FlowReason::New && flow.destination.port() == 9;
        connections.extend(is_first.then_some(flow.connection));
    });
    assert_eq!(connections.len(), 2);
    assert_ne!(connections[0], connections[1]);
}

#[test]
#[ignore = "needs root"]
fn reused_ports_begin_a_connection_with_its_syn() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let listener = link.in_pod(|| TcpListener::bind((POD[0], 0)).unwrap());
    let there = listener.local_addr().unwrap();
    // The server closes first, so that the client's port is free again at once.
    thread::spawn(move || listener.incoming().for_each(drop));
    for connection in ["the first", "the second"] {
        let mut stream = from_port_40123(there);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        drop(stream);
        thread::sleep(Duration::from_millis(50));
        let mut begun = Vec::new();
        watcher.drain(&mut |flow| {
            if counts(&flow).flags.has(TcpFlags::SYN) {
                begun.push((flow.is_reply.unwrap(), counts(&flow).is_new));
            }
        });
        assert_eq!(begun, [(false, true), (true, false)], "{connection}");
    }
}

#[test]
#[ignore = "needs root"]
fn three_connections_from_one_port_are_three_flows() {
    const ANSWER: usize = 10_000;
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let listener = link.in_pod(|| TcpListener::bind((POD[0], 0)).unwrap());
    let there = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(&[1; ANSWER]).unwrap();
        }
    });
    for _ in 0..3 {
        let mut stream = from_port_40123(there);
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), ANSWER);
        drop(stream);
        thread::sleep(Duration::from_millis(50));
    }
    let mut flows = Vec::new();
    watcher.drain(&mut |flow| flows.push(flow));
    flows.extend(sweep(&mut watcher, IdleTimeouts::ZERO));
    let both = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
    let accepted = flows.iter().filter(|flow| counts(flow).flags.has(both)).count();
    let ends = |from_server: bool| {
        let of = |flow: &&Flow| counts(flow).reason == FlowReason::End && (flow.source == there) == from_server;
        flows.iter().filter(of).filter(|flow| flow.l4 == Transport::Tcp.into()).collect::<Vec<_>>()
    };
    assert_eq!((accepted, ends(true).len(), ends(false).len()), (3, 3, 3));
    let range = ANSWER as u64..2 * ANSWER as u64;
    assert!(ends(true).iter().all(|end| range.contains(&counts(end).total.bytes)), "{:?}", ends(true));
    assert!(
        ends(false).iter().all(|end| end.is_reply == Some(false) && counts(end).flags_seen.has(TcpFlags::SYN)),
        "{:?}",
        ends(false)
    );
    assert!(
        ends(true).iter().all(|end| end.is_reply == Some(true)
            && counts(end).first < counts(end).last
            && counts(end).last <= end.time)
    );
}

#[test]
#[ignore = "needs root"]
fn refused_connects_from_one_port_are_flows_of_their_own() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let closed = SocketAddr::new(POD[0].parse().unwrap(), 9);
    for _ in 0..3 {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        set_socket_reuseaddr(&socket, true).unwrap();
        bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 40123))).unwrap();
        assert!(connect(&socket, &closed).is_err());
    }
    let mut flows = Vec::new();
    watcher.drain(&mut |flow| flows.push(flow));
    flows.extend(sweep(&mut watcher, IdleTimeouts::ZERO));
    let ends: Vec<_> =
        flows.iter().filter(|flow| counts(flow).reason == FlowReason::End && flow.has_port(&[9])).collect();
    assert!(ends.len() == 6 && ends.iter().all(|end| counts(end).total.packets == 1), "{ends:?}");
}

#[test]
#[ignore = "needs root"]
fn syn_that_is_sent_again_stays_in_its_connection() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let silent = SocketAddr::new(link.silent_neighbour(), 9);
    assert!(TcpStream::connect_timeout(&silent, Duration::from_millis(1500)).is_err());
    let mut flows = Vec::new();
    watcher.drain(&mut |flow| flows.push(flow));
    flows.extend(sweep(&mut watcher, IdleTimeouts::ZERO));
    let of_silent = flows.iter().filter(|flow| flow.destination == silent);
    let told: Vec<_> =
        of_silent.map(|flow| (counts(flow).reason, counts(flow).is_new, counts(flow).total.packets)).collect();
    assert_eq!(told, [(FlowReason::New, true, 1), (FlowReason::End, false, 2)]);
}

#[test]
#[ignore = "needs root"]
fn half_closed_connection_ends_as_a_whole() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 4096, ring_bytes: 65536 });
    let timeouts = IdleTimeouts { closed: 100 * MILLISECOND, syn: NEVER, tcp: NEVER, udp: NEVER, answered: NEVER };
    let listener = link.in_pod(|| TcpListener::bind((POD[0], 0)).unwrap());
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut server = listener.accept().unwrap().0;
    client.write_all(b"and now I only listen").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let tcp = |watcher: &Watcher| watcher.live().iter().filter(|(tuple, _)| tuple.l4 == L4::Tcp).count();
    thread::sleep(Duration::from_millis(200));
    sweep(&mut watcher, timeouts);
    assert_eq!(tcp(&watcher), 2, "the server may answer for long");
    // What is not read would be answered by RST.
    server.read_to_end(&mut Vec::new()).unwrap();
    server.write_all(b"the answer").unwrap();
    drop(server);
    client.read_to_end(&mut Vec::new()).unwrap();
    drop(client);
    thread::sleep(Duration::from_millis(200));
    let ends = sweep(&mut watcher, timeouts).into_iter().filter(|flow| counts(flow).reason == FlowReason::End);
    assert_eq!((ends.filter(|flow| flow.l4 == Transport::Tcp.into()).count(), tcp(&watcher)), (2, 0));
}

fn from_port_40123(there: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, 40123))).unwrap();
    connect(&socket, &there).unwrap();
    TcpStream::from(socket)
}

#[test]
#[ignore = "needs root"]
fn flood_in_one_direction_leaves_room_for_the_other() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 256, ring_bytes: 65536 });
    link.scatter(0, 600);
    let there = SocketAddr::new(NODE[0].parse().unwrap(), 10);
    link.in_pod(move || UdpSocket::bind((POD[0], 0)).unwrap().send_to(b"let me in", there).unwrap());
    let live = watcher.live();
    let from_pod = live.iter().filter(|(tuple, _)| tuple.destination == there).count();
    println!("{} flows, {from_pod} of them the other's", live.len());
    assert_eq!(from_pod, 1);
    let share: u64 = watcher.sums().values().map(|sum| sum.other[OtherReason::Share as usize].packets).sum();
    assert!(share > 300, "{share}");

    watcher.drain(&mut |_| {});
    assert!(watcher.is_crowded());

    // Removed flows make room for new ones.
    sweep(&mut watcher, IdleTimeouts::ZERO);
    assert!(!watcher.is_crowded());
    link.scatter(0, 100);
    let again: u64 = watcher.sums().values().map(|sum| sum.other[OtherReason::Share as usize].packets).sum();
    assert_eq!(again, share);
}

#[test]
#[ignore = "needs root"]
fn interface_that_reuses_a_watched_index_is_watched() {
    let link = NodeAndPod::new();
    let sizes = MapSizes { flow_entries: 4096, ring_bytes: 65536 };
    let mut watcher = link.watched(sizes);
    let index = link.target().interface.index;
    link.scatter(0, 3);
    link.link_anew();
    assert_eq!(
        (link.target().interface.index, watcher.watched(), watcher.deleted()),
        (index, vec![index], vec![index])
    );
    let mut ended = 0;
    let mut count = |flow: Flow| ended += usize::from(counts(&flow).reason == FlowReason::End);
    let problems = watcher.watch(sizes, &[link.target()], &mut count).unwrap();
    assert!(problems.is_empty() && ended >= 3, "{problems:?}, {ended}");
    assert!(watcher.deleted().is_empty());
    link.up();
    link.scatter(0, 5);
    let seen = watcher.live().iter().filter(|(tuple, _)| tuple.destination.port() == 9).count();
    assert_eq!(seen, 5);
}
