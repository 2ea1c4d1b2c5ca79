//! Flows and what is in no flow are together what the interface counts, whatever the traffic and whatever is lost.
//! Needs root and a kernel from 6.6 on: `cargo test -p trilobite-node --test flow_sums -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod node_and_pod;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use node_and_pod::World;
use trilobite_node::layers::network::{
    engine::{ENDED_FOR, Engine},
    flow::Flow,
    tap::{Patience, Sizes},
};
use trilobite_node_ebpf::flow::{FlowDirection, FlowReason, PacketsBytes};

const ROOMY: Sizes = Sizes { flow_entries: 16384, ring_bytes: 1 << 20 };
const TINY: Sizes = Sizes { flow_entries: 256, ring_bytes: 4096 };

fn pair(counted: PacketsBytes) -> (u64, u64) {
    (counted.packets, counted.bytes)
}

/// The link is down, so that both sides stand still.
fn assert_sums_hold(world: &World, engine: &mut Engine) {
    engine.drain(&mut |_| {});
    let index = world.target().interface.index;
    let sums = engine.sums();
    let counted = world.counted();
    println!("{counted:?}\n{sums:#?}");
    let of = |direction| sums.get(&(index, direction)).map(|sum| pair(sum.all())).unwrap_or_default();
    assert_eq!((of(FlowDirection::In), of(FlowDirection::Out)), (counted.rx, counted.tx));
}

/// Stops the engine; gives what its flows had in all at their ends, and what was in none.
fn stop(engine: &mut Engine) -> (PacketsBytes, PacketsBytes) {
    let (mut ended, mut other) = (PacketsBytes::default(), PacketsBytes::default());
    engine.stop(&mut |flow| {
        if flow.reason == FlowReason::End {
            ended.packets += flow.total.packets;
            ended.bytes += flow.total.bytes;
        }
    });
    for none in engine.sums().values().flat_map(|sum| sum.other) {
        other.packets += none.packets;
        other.bytes += none.bytes;
    }
    (ended, other)
}

fn everything(world: &World) {
    for family in [0, 1] {
        world.tcp(family, true, 64 << 20);
        world.tcp(family, false, 64 << 20);
        world.udp(family, &[0, 1, 512, 1400, 9000, 60000]);
        world.scatter(family, 20);
    }
}

#[test]
#[ignore = "needs root"]
fn sums_are_what_the_interface_counts_for_offloaded_tcp_and_udp_in_both_families() {
    let world = World::new();
    let mut engine = world.watched(ROOMY);
    everything(&world);
    world.down();
    let counted = world.counted();
    assert!(counted.tx.1 / counted.tx.0 > 1600, "no segmentation offload was at work: {counted:?}");
    let mut flows = Vec::new();
    engine.drain(&mut |flow| flows.push(flow));
    assert!(flows.iter().any(|flow: &Flow| flow.source.is_ipv6()));
    assert_sums_hold(&world, &mut engine);
    assert_eq!(engine.losses(), (0, 0));
    engine.stop(&mut |flow| flows.push(flow));
    let ended: u64 = flows.iter().filter(|flow| flow.reason == FlowReason::End).map(|flow| flow.total.bytes).sum();
    let told: u64 = flows.iter().map(|flow| flow.since.bytes).sum();
    assert_eq!(ended, told, "what was told bit by bit is what was told at the end");
}

#[test]
#[ignore = "needs root"]
fn sums_hold_when_the_map_is_full_and_nobody_reads_the_ring() {
    let world = World::new();
    let mut engine = world.watched(TINY);
    everything(&world);
    world.scatter(0, 600);
    world.scatter(1, 600);
    everything(&world);
    world.down();
    let (records, packets) = engine.losses();
    assert!(records > 0 && packets > 0, "nothing was lost: {records} records, {packets} packets");
    assert_sums_hold(&world, &mut engine);
    let before = world.counted();
    let (ended, other) = stop(&mut engine);
    assert_eq!(ended.bytes + other.bytes, before.rx.1 + before.tx.1);
}

#[test]
#[ignore = "needs root"]
fn every_end_is_told_when_all_flows_end_at_once_in_a_roomy_ring() {
    let world = World::new();
    let mut engine = world.watched(Sizes { flow_entries: 32768, ring_bytes: 4 << 20 });
    world.scatter(0, 5000);
    world.down();
    let counted = world.counted();
    let (ended, other) = stop(&mut engine);
    assert!(ended.packets >= 5000, "{ended:?}");
    let counted = (counted.rx.0 + counted.tx.0, counted.rx.1 + counted.tx.1);
    assert_eq!((ended.packets + other.packets, ended.bytes + other.bytes), counted);
}

#[test]
#[ignore = "needs root"]
fn no_byte_is_lost_while_flows_are_ended_and_removed_under_traffic() {
    let world = World::new();
    let mut engine = world.watched(ROOMY);
    let done = Arc::new(AtomicBool::new(false));
    let traffic = {
        let done = done.clone();
        let netns = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        thread::spawn(move || {
            nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let there = (node_and_pod::POD[0], 9);
            let sockets: Vec<_> =
                (0..64).map(|_| std::net::UdpSocket::bind((node_and_pod::NODE[0], 0)).unwrap()).collect();
            let mut sent = 0u64;
            while !done.load(Ordering::Relaxed) {
                for socket in &sockets {
                    // A port that nobody listens at answers with an error now and then.
                    sent += u64::from(socket.send_to(b"again and again", there).is_ok());
                }
            }
            sent
        })
    };
    let hasty = Patience { closed: 0, syn: 0, tcp: 0, udp: 0, answered: 0 };
    let mut ended = 0;
    let give_up = Instant::now() + Duration::from_secs(20);
    while ended < 1000 && Instant::now() < give_up {
        if engine.end_idle(hasty, &mut |flow| ended += u64::from(flow.reason == FlowReason::End)).unwrap().flows > 0 {
            thread::sleep(ENDED_FOR);
            engine.remove_ended().unwrap();
        }
    }
    done.store(true, Ordering::Relaxed);
    let sent = traffic.join().unwrap();
    world.down();
    assert!(sent > 10_000 && ended >= 1000, "too little happened: {sent} sent, {ended} ended");
    assert_sums_hold(&world, &mut engine);
}

#[test]
#[ignore = "needs root"]
fn no_byte_is_lost_or_counted_twice_when_the_maps_change_their_size_under_traffic() {
    let world = World::new();
    let mut engine = world.watched(TINY);
    let target = world.target();
    let address = node_and_pod::NODE[0];
    let receiver = std::net::TcpListener::bind((address, 0)).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let sender = world.begin_in_pod(move || {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect((address, port)).unwrap();
        let block = vec![1; 1 << 20];
        for _ in 0..256 {
            stream.write_all(&block).unwrap();
        }
    });
    let reader = thread::spawn(move || std::io::copy(&mut receiver.accept().unwrap().0, &mut std::io::sink()).unwrap());
    for round in 0..6 {
        thread::sleep(Duration::from_millis(30));
        let sizes = if round % 2 == 0 { ROOMY } else { TINY };
        engine.set(sizes, std::slice::from_ref(&target), &mut |_| {}).unwrap();
    }
    sender.join().unwrap();
    assert_eq!(reader.join().unwrap(), 256 << 20);
    world.down();
    assert_sums_hold(&world, &mut engine);
}
