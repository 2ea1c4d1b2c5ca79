//! More calls on sockets than the ring of a profile can carry, in this machine's kernel: what is not delivered is counted, and nothing
//! else loses anything. TRILOBITE_OVERLOAD_SECONDS: how long, 3 by default. Needs root:
//! `cargo build -p trilobite-worker && cargo test -p trilobite-node --test request_overload -- --ignored`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod captured_port;
#[allow(dead_code, reason = "other tests use more of it")]
mod request_node;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use captured_port::{Call, Reader, add, alone, connected, exchange, listener};
use request_node::{PAUSE, PORT, REQUESTS, RequestNode, exchange_in_this_process, free_port, requests_on};
use trilobite_node::{
    layers::application::requests::programs::{Capture, SlotSpec},
    loss::LossPoint,
};
use trilobite_node_ebpf::DataRecord;

/// The smallest ring that a profile has.
const SMALL_RING: u32 = 64 << 10;
/// Pause between two drains, as the worker has it.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);
const CLIENTS: usize = 4;
const QUESTION: [u8; 100] = [b'q'; 100];
const ANSWER: [u8; 300] = [b'a'; 300];
/// Bytes of the ring before each record.
const RING_HEADER: u64 = 8;

fn duration() -> Duration {
    let seconds = std::env::var("TRILOBITE_OVERLOAD_SECONDS").ok().map_or(3, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

/// Where each direction of each stream stands, and bytes that were missing in front of records.
#[derive(Default)]
struct Delivered {
    next: BTreeMap<(u64, bool), u64>,
    records: u64,
    bytes: u64,
    missing: u64,
    /// Of the ring.
    space: u64,
}

impl Delivered {
    fn add(&mut self, call: &Call) {
        let expected = if call.sent() == call.has(trilobite_node_ebpf::data_flag::CLIENT) { b'q' } else { b'a' };
        assert!(call.bytes.iter().all(|byte| *byte == expected), "{call:?}");
        let next = self.next.entry((call.stream(), call.sent())).or_default();
        assert!(call.header.position >= *next, "{call:?} comes again");
        self.missing += call.header.position - *next;
        *next = call.header.position + u64::from(call.header.length);
        self.records += 1;
        self.bytes += u64::from(call.header.length);
        self.space += RING_HEADER + (size_of::<DataRecord>() + call.bytes.len()) as u64;
    }
}

#[test]
#[ignore = "needs root"]
fn small_ring_counts_what_it_cannot_carry() {
    let (busy, busy_port) = listener();
    let (calm, calm_port) = listener();
    let _alone = alone();
    let mut capture = Capture::load(None, (0, 0)).unwrap();
    let spec = SlotSpec { ring_bytes: SMALL_RING, ports: &[busy_port], ..SlotSpec::default() };
    let slot = capture.add(&spec).unwrap();
    let mut reader = Reader::new(capture.ring(slot).unwrap(), SMALL_RING);
    let (other, mut calm_reader) = add(&mut capture, &[calm_port]);

    let connections: Vec<_> = (0..CLIENTS).map(|_| connected(&busy)).collect();
    let end = Instant::now() + duration();
    let clients: Vec<_> = connections
        .into_iter()
        .map(|(mut client, mut server)| {
            thread::spawn(move || {
                let mut exchanges = 0_u64;
                while Instant::now() < end {
                    exchange(&mut client, &mut server, &QUESTION, &ANSWER);
                    exchanges += 1;
                }
                // Open until all is counted: an end is a record too.
                (exchanges, client, server)
            })
        })
        .collect();
    let (mut client, mut server) = connected(&calm);
    let (mut delivered, mut calm_exchanges, mut calm_records) = (Delivered::default(), 0, 0);
    while Instant::now() < end {
        reader.calls().iter().for_each(|call| delivered.add(call));
        exchange(&mut client, &mut server, b"question", b"answer");
        calm_exchanges += 1;
        calm_records += calm_reader.calls().len();
        thread::sleep(DRAIN_INTERVAL);
    }
    let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    reader.calls().iter().for_each(|call| delivered.add(call));
    let sent: u64 = clients.iter().map(|(exchanges, ..)| exchanges).sum();

    let counts = capture.counts(slot);
    let carried = delivered.space as f64 / duration().as_secs_f64() / 1e6;
    println!("{sent} exchanges; delivered {} of {} records, {carried:.1} MB/s", delivered.records, 4 * sent);
    assert_eq!(counts.records, delivered.records);
    assert_eq!(counts.records + counts.lost_records, 4 * sent);
    assert_eq!(counts.bytes + counts.lost_bytes, 2 * sent * (QUESTION.len() + ANSWER.len()) as u64);
    assert!(4 * sent >= 3 * delivered.records, "this was no overload");
    // What is missing in front of the records that came, or behind the last ones, is what was counted as lost.
    assert_eq!(delivered.bytes, counts.bytes);
    assert!(delivered.missing > 0 && delivered.missing <= counts.lost_bytes, "{} {counts:?}", delivered.missing);
    assert_eq!((calm_records, capture.counts(other).lost_records), (4 * calm_exchanges, 0));
}

#[tokio::test]
#[ignore = "needs root"]
async fn overloaded_profile_takes_nothing_from_others() {
    let mut node = RequestNode::new("overload");
    let (busy, calm) = ([free_port(), free_port(), free_port()], free_port());
    let mut wanted = requests_on(busy[0]);
    wanted.ports = busy.to_vec();
    let key = node.request_with("busy", wanted, 4 << 20);
    let other = node.request("calm", calm);
    node.apply().await;
    let mut load: Vec<_> = busy.iter().map(|port| node.start_exchange(*port, 10_000_000, Duration::ZERO)).collect();
    let end = Instant::now() + duration();
    let mut exchanges = 0;
    while exchanges == 0 || Instant::now() < end {
        // Each is two processes more: their forks, execs and exits are records too.
        node.exchange(calm, 20).await;
        exchanges += 1;
    }
    for child in &mut load {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let rows = node.rows("shop/calm", 40 * exchanges).await;
    assert_eq!(rows.len(), 40 * exchanges);
    node.wait_until("the counts have come", |node| {
        node.state(&other).rows.iter().any(|it| it.rows == rows.len() as u64)
    })
    .await;
    let (state, busy_state) = (node.state(&other), node.state(&key));
    println!("busy: {busy_state:?}");
    assert_eq!((state.lost_ring, state.lost_budget, state.lost_parse, state.gaps), (0, 0, 0, 0), "{state:?}");
    assert_eq!(node.ledger.total_at(LossPoint::IdentityRing), 0);
    node.withdraw().await;
}

#[test]
#[ignore = "the program that other tests start"]
fn both_ends_of_a_connection() {
    let Ok(port) = std::env::var(PORT) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse().unwrap();
    exchange_in_this_process(port.parse().unwrap(), number(REQUESTS), Duration::from_micros(number(PAUSE) as u64));
}
