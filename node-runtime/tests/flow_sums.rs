//! Traffic in flows and outside them adds up to the interface's own counters, whatever is lost.
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

use node_and_pod::{NodeAndPod, Watcher, counts};
use trilobite_node::layers::network::{
    flow::Flow,
    sources::tcx::{IdleTimeouts, MapSizes, REMOVE_ENDED_AFTER},
};
use trilobite_node_ebpf::{FlowDirection, FlowReason, OtherReason, PacketsBytes};

const ROOMY: MapSizes = MapSizes { flow_entries: 16384, ring_bytes: 1 << 20 };
const TINY: MapSizes = MapSizes { flow_entries: 256, ring_bytes: 4096 };

fn pair(counted: PacketsBytes) -> (u64, u64) {
    (counted.packets, counted.bytes)
}

/// The link is down, so that both sides stand still.
fn assert_sums_hold(link: &NodeAndPod, watcher: &mut Watcher) {
    watcher.drain(&mut |_| {});
    let index = link.target().interface.index;
    let sums = watcher.sums();
    let counted = link.counted();
    println!("{counted:?}\n{sums:#?}");
    let of = |direction| sums.get(&(index, direction)).map(|sum| pair(sum.all())).unwrap_or_default();
    assert_eq!((of(FlowDirection::In), of(FlowDirection::Out)), (counted.rx, counted.tx));
}

/// Stops the watcher; returns the final totals of its flows, and the traffic outside flows.
fn stop(watcher: &mut Watcher) -> (PacketsBytes, PacketsBytes) {
    let (mut ended, mut other) = (PacketsBytes::default(), PacketsBytes::default());
    watcher.stop(&mut |flow| {
        if counts(&flow).reason == FlowReason::End {
            ended.packets += counts(&flow).total.packets;
            ended.bytes += counts(&flow).total.bytes;
        }
    });
    for none in watcher.sums().values().flat_map(|sum| sum.other) {
        other.packets += none.packets;
        other.bytes += none.bytes;
    }
    (ended, other)
}

fn everything(link: &NodeAndPod) {
    for family in [0, 1] {
        link.tcp(family, true, 64 << 20);
        link.tcp(family, false, 64 << 20);
        link.udp(family, &[0, 1, 512, 1400, 9000, 60000]);
        link.scatter(family, 20);
        let pod = node_and_pod::POD[family].parse().unwrap();
        [0, 56, 4000].into_iter().for_each(|bytes| node_and_pod::send_echo(pod, 7, bytes));
    }
}

#[test]
#[ignore = "needs root"]
fn sums_equal_the_interface_counters_with_offloads() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(ROOMY);
    everything(&link);
    link.down();
    let counted = link.counted();
    assert!(counted.tx.1 / counted.tx.0 > 1600, "no segmentation offload was at work: {counted:?}");
    let mut flows = Vec::new();
    watcher.drain(&mut |flow| flows.push(flow));
    assert!(flows.iter().any(|flow: &Flow| flow.source.is_ipv6()));
    assert_sums_hold(&link, &mut watcher);
    assert_eq!(watcher.losses(), (0, 0));
    watcher.stop(&mut |flow| flows.push(flow));
    let ended: u64 =
        flows.iter().filter(|flow| counts(flow).reason == FlowReason::End).map(|flow| counts(flow).total.bytes).sum();
    let told: u64 = flows.iter().map(|flow| counts(flow).since.bytes).sum();
    assert_eq!(ended, told, "the reported parts add up to the totals at the end");
}

#[test]
#[ignore = "needs root"]
fn fragments_are_in_the_flow_of_their_first() {
    const SIZE: u64 = 60_000;
    let link = NodeAndPod::new();
    let mut watcher = link.watched(ROOMY);
    for family in [0, 1] {
        link.udp(family, &[SIZE as usize]);
    }
    link.down();
    let fragments: u64 = watcher.sums().values().map(|sum| sum.other[OtherReason::Fragment as usize].packets).sum();
    assert_eq!(fragments, 0);
    let mut ends = Vec::new();
    watcher.stop(&mut |flow| ends.extend((counts(&flow).reason == FlowReason::End).then_some(flow)));
    let of_datagrams: Vec<_> = ends.iter().filter(|end| counts(end).total.bytes > SIZE).collect();
    assert_eq!(of_datagrams.len(), 4, "there and back in both families: {ends:?}");
    assert!(of_datagrams.iter().all(|end| counts(end).total.packets > 40), "{of_datagrams:?}");
}

#[test]
#[ignore = "needs root"]
fn sums_hold_with_a_full_map_and_an_unread_ring() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(TINY);
    everything(&link);
    link.scatter(0, 600);
    link.scatter(1, 600);
    everything(&link);
    link.down();
    let (records, packets) = watcher.losses();
    assert!(records > 0 && packets > 0, "nothing was lost: {records} records, {packets} packets");
    assert_sums_hold(&link, &mut watcher);
    let before = link.counted();
    let (ended, other) = stop(&mut watcher);
    assert_eq!(ended.bytes + other.bytes, before.rx.1 + before.tx.1);
}

#[test]
#[ignore = "needs root"]
fn every_final_record_is_read_when_all_flows_end_at_once() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(MapSizes { flow_entries: 32768, ring_bytes: 4 << 20 });
    link.scatter(0, 5000);
    link.down();
    let counted = link.counted();
    let (ended, other) = stop(&mut watcher);
    assert!(ended.packets >= 5000, "{ended:?}");
    let counted = (counted.rx.0 + counted.tx.0, counted.rx.1 + counted.tx.1);
    assert_eq!((ended.packets + other.packets, ended.bytes + other.bytes), counted);
}

#[test]
#[ignore = "needs root"]
fn no_byte_is_lost_while_flows_end_under_traffic() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(ROOMY);
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
                    // A closed port answers with an error now and then.
                    sent += u64::from(socket.send_to(b"again and again", there).is_ok());
                }
            }
            sent
        })
    };
    let mut ended = 0;
    let give_up = Instant::now() + Duration::from_secs(20);
    while ended < 1000 && Instant::now() < give_up {
        if watcher
            .end_idle(IdleTimeouts::ZERO, &mut |flow| ended += u64::from(counts(&flow).reason == FlowReason::End))
            .unwrap()
            .flows
            > 0
        {
            thread::sleep(REMOVE_ENDED_AFTER);
            watcher.remove_ended().unwrap();
        }
    }
    done.store(true, Ordering::Relaxed);
    let sent = traffic.join().unwrap();
    link.down();
    assert!(sent > 10_000 && ended >= 1000, "too little happened: {sent} sent, {ended} ended");
    assert_sums_hold(&link, &mut watcher);
}

#[test]
#[ignore = "needs root"]
fn no_byte_is_lost_when_maps_are_resized_under_traffic() {
    let link = NodeAndPod::new();
    let mut watcher = link.watched(TINY);
    let target = link.target();
    let address = node_and_pod::NODE[0];
    let receiver = std::net::TcpListener::bind((address, 0)).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let sender = link.begin_in_pod(move || {
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
        watcher.watch(sizes, std::slice::from_ref(&target), &mut |_| {}).unwrap();
    }
    sender.join().unwrap();
    assert_eq!(reader.join().unwrap(), 256 << 20);
    link.down();
    assert_sums_hold(&link, &mut watcher);
}
