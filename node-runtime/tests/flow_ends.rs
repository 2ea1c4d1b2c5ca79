//! When flows end and what they leave to others: room in the map, room in the ring, the index of their interface.
//! Needs root and a kernel from 6.6 on: `cargo test -p trilobite-node --test flow_ends -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod node_and_pod;

use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use node_and_pod::{HOST_END, NODE, POD, World};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt::set_socket_reuseaddr};
use trilobite_node::layers::network::{
    engine::{ENDED_FOR, Engine},
    flow::Flow,
    record::Transport,
    tap::{Patience, Sizes},
    tcp_flags::TcpFlags,
};
use trilobite_node_ebpf::flow::{FlowReason, OTHER_SHARE};

const MILLISECOND: u64 = 1_000_000;
/// Nothing waits but what is said to.
const NEVER: u64 = 3_600_000 * MILLISECOND;

/// One sweep, as the layer makes it.
fn sweep(engine: &mut Engine, patience: Patience) -> Vec<Flow> {
    let mut flows = Vec::new();
    while engine.end_idle(patience, &mut |flow| flows.push(flow)).unwrap().more {}
    thread::sleep(ENDED_FOR);
    engine.remove_ended().unwrap();
    flows
}

#[test]
#[ignore = "needs root"]
fn many_flows_that_end_together_leave_in_one_sweep_and_room_for_the_records_of_new_ones() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 4096, ring_bytes: 4096 });
    world.scatter(0, 2000);
    engine.drain(&mut |_| {});
    let to =
        |port: u16, engine: &Engine| engine.live().iter().filter(|(tuple, _)| tuple.destination.port() == port).count();
    let scattered = to(9, &engine);
    assert!(scattered > 1500, "{scattered}");
    thread::sleep(Duration::from_millis(300));

    // Each time that ends stand in the ring, as many as one order makes, two flows begin.
    let begin = || {
        for _ in 0..2 {
            UdpSocket::bind((NODE[0], 0)).unwrap().send_to(b"new", (POD[0], 10)).unwrap();
        }
    };
    let (lost_before, _) = engine.losses();
    let patience =
        Patience { closed: 250 * MILLISECOND, syn: NEVER, tcp: NEVER, udp: 250 * MILLISECOND, answered: NEVER };
    let mut told: Vec<Flow> = Vec::new();
    let mut more = true;
    while more {
        let mut is_first = true;
        let each = &mut |flow| {
            if std::mem::take(&mut is_first) {
                begin();
            }
            told.push(flow);
        };
        more = engine.end_idle(patience, each).unwrap().more;
    }
    thread::sleep(ENDED_FOR);
    engine.remove_ended().unwrap();
    let (lost, _) = engine.losses();
    let ended = told.iter().filter(|flow| flow.reason == FlowReason::End).count();
    assert_eq!((to(9, &engine), lost - lost_before), (0, 0));
    assert!(ended >= scattered && told.iter().any(|flow| flow.reason == FlowReason::New), "{ended} of {scattered}");
}

#[test]
#[ignore = "needs root"]
fn a_refused_connect_and_a_syn_that_nobody_answers_do_not_wait_as_long_as_a_connection() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 4096, ring_bytes: 65536 });
    let silent = world.silent_neighbour();
    let patience =
        Patience { closed: 100 * MILLISECOND, syn: 500 * MILLISECOND, tcp: NEVER, udp: NEVER, answered: NEVER };
    let tcp = |engine: &Engine| engine.live().iter().filter(|(tuple, _)| tuple.transport == Transport::Tcp).count();
    assert!(TcpStream::connect((POD[0], 9)).is_err());
    assert_eq!(tcp(&engine), 2);
    thread::sleep(Duration::from_millis(150));
    sweep(&mut engine, patience);
    assert_eq!(tcp(&engine), 0, "refused");

    // The SYN is sent again after a second: it is silent for half of it.
    assert!(TcpStream::connect_timeout(&SocketAddr::new(silent, 9), Duration::from_millis(200)).is_err());
    sweep(&mut engine, patience);
    assert_eq!(tcp(&engine), 1, "not yet");
    thread::sleep(Duration::from_millis(600));
    sweep(&mut engine, patience);
    assert_eq!(tcp(&engine), 0, "unanswered");
}

#[test]
#[ignore = "needs root"]
fn a_question_that_has_its_answer_does_not_wait_as_long_as_datagrams_that_go_on() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 4096, ring_bytes: 65536 });
    let patience =
        Patience { closed: 50 * MILLISECOND, syn: NEVER, tcp: NEVER, udp: NEVER, answered: 300 * MILLISECOND };
    let udp = |engine: &Engine| engine.live().iter().filter(|(tuple, _)| tuple.transport == Transport::Udp).count();
    world.udp(0, &[40, 41]);
    world.udp(1, &[40, 41, 42]);
    world.scatter(0, 1);
    assert_eq!(udp(&engine), 5);
    thread::sleep(Duration::from_millis(100));
    sweep(&mut engine, patience);
    assert_eq!(udp(&engine), 5, "not yet");
    thread::sleep(Duration::from_millis(300));
    let ended = sweep(&mut engine, patience);
    assert!(ended.iter().all(|flow| flow.reason == FlowReason::End && flow.total.packets == 2), "{ended:?}");
    assert_eq!((ended.len(), udp(&engine)), (2, 3));
}

#[test]
#[ignore = "needs root"]
fn what_a_flow_carried_before_it_fell_silent_is_told_once_and_does_not_wait_for_its_end() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 4096, ring_bytes: 65536 });
    let socket = UdpSocket::bind((NODE[0], 0)).unwrap();
    let silent = world.silent_neighbour();
    let never = Patience { closed: NEVER, syn: NEVER, tcp: NEVER, udp: NEVER, answered: NEVER };
    for _ in 0..3 {
        socket.send_to(b"then nothing", (silent, 9)).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    let told = |engine: &mut Engine| {
        let flows = sweep(engine, never).into_iter().filter(|flow| flow.destination.ip() == silent);
        flows.map(|flow| (flow.reason, flow.since.packets, flow.total.packets)).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut engine), [(FlowReason::New, 1, 1)]);
    thread::sleep(Duration::from_millis(5100));
    assert_eq!(told(&mut engine), [(FlowReason::Active, 2, 3)]);
    thread::sleep(Duration::from_millis(5100));
    assert_eq!(told(&mut engine), []);
    assert_eq!(engine.losses(), (0, 0));
}

#[test]
#[ignore = "needs root"]
fn neighbours_whose_ports_differ_as_their_addresses_do_are_two_connections() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 4096, ring_bytes: 65536 });
    let other = "10.253.7.1";
    let added = Command::new("ip").args(["addr", "add", &format!("{other}/32"), "dev", HOST_END]).status().unwrap();
    assert!(added.success());
    // 253 and 254 differ in the same bits as 40000 and 40003 do.
    for from in [(NODE[0], 40000), (other, 40003)] {
        UdpSocket::bind(from).unwrap().send_to(b"who", (POD[0], 9)).unwrap();
    }
    let mut connections = Vec::new();
    engine.drain(&mut |flow| connections.extend((flow.destination.port() == 9).then_some(flow.connection)));
    assert_eq!(connections.len(), 2);
    assert_ne!(connections[0], connections[1]);
}

#[test]
#[ignore = "needs root"]
fn a_connection_on_the_ports_of_one_that_was_closed_is_told_from_its_syn_on() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 4096, ring_bytes: 65536 });
    let listener = world.in_pod(|| TcpListener::bind((POD[0], 0)).unwrap());
    let there = listener.local_addr().unwrap();
    // It ends each first, so that the client's port is free again at once.
    thread::spawn(move || listener.incoming().for_each(drop));
    for connection in ["the first", "the second"] {
        let mut stream = from_port_40123(there);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        drop(stream);
        thread::sleep(Duration::from_millis(50));
        let mut begun = Vec::new();
        engine.drain(&mut |flow| {
            if flow.flags.has(TcpFlags::SYN) {
                begun.push((flow.is_reply, flow.is_new));
            }
        });
        assert_eq!(begun, [(false, true), (true, false)], "{connection}");
    }
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
fn a_flood_in_one_direction_leaves_room_for_the_other() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 256, ring_bytes: 65536 });
    world.scatter(0, 600);
    let there = SocketAddr::new(NODE[0].parse().unwrap(), 10);
    world.in_pod(move || UdpSocket::bind((POD[0], 0)).unwrap().send_to(b"let me in", there).unwrap());
    let live = engine.live();
    let from_pod = live.iter().filter(|(tuple, _)| tuple.destination == there).count();
    println!("{} flows, {from_pod} of them the other's", live.len());
    assert_eq!(from_pod, 1);
    let share: u64 = engine.sums().values().map(|sum| sum.other[OTHER_SHARE].packets).sum();
    assert!(share > 300, "{share}");

    engine.drain(&mut |_| {});
    assert!(engine.is_crowded());

    // What has been removed is free for the next ones, and is counted so.
    sweep(&mut engine, Patience { closed: 0, syn: 0, tcp: 0, udp: 0, answered: 0 });
    assert!(!engine.is_crowded());
    world.scatter(0, 100);
    let again: u64 = engine.sums().values().map(|sum| sum.other[OTHER_SHARE].packets).sum();
    assert_eq!(again, share);
}

#[test]
#[ignore = "needs root"]
fn an_interface_that_got_the_index_of_a_watched_one_is_watched_itself() {
    let world = World::new();
    let sizes = Sizes { flow_entries: 4096, ring_bytes: 65536 };
    let mut engine = world.watched(sizes);
    let index = world.target().interface.index;
    world.scatter(0, 3);
    world.link_anew();
    assert_eq!((world.target().interface.index, engine.watched(), engine.dead()), (index, vec![index], vec![index]));
    let mut ended = 0;
    let mut count = |flow: Flow| ended += usize::from(flow.reason == FlowReason::End);
    let problems = engine.set(sizes, &[world.target()], &mut count).unwrap();
    assert!(problems.is_empty() && ended >= 3, "{problems:?}, {ended}");
    assert!(engine.dead().is_empty());
    world.up();
    world.scatter(0, 5);
    let seen = engine.live().iter().filter(|(tuple, _)| tuple.destination.port() == 9).count();
    assert_eq!(seen, 5);
}
