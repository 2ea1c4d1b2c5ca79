//! The worker's job `requests` as a process: a ring in, rows and counts out.

#![allow(clippy::unwrap_used)]

mod agent;
mod memory_ring;
#[path = "../../src/requests/record_fixtures.rs"]
mod record_fixtures;
#[path = "../worker_process/mod.rs"]
mod worker_process;

use std::time::{Duration, Instant};

use trilobite_node_ebpf::data_flag;
use trilobite_worker_wire::{Message, RequestSettings, RowQuery, VerdictKind};

use agent::{Agent, call, settings};

const RING: u32 = 1 << 20;
const MEMORY: u64 = 64 << 20;

/// The n-th exchange of a connection: it asks for `/CONNECTION/NUMBER`, and answers with the same length each time.
fn exchange(connection: u64, number: u64, flags: u32) -> [Vec<u8>; 2] {
    exchange_at(1_000 + number * 10_000_000, connection, number, flags)
}

fn exchange_at(time: u64, connection: u64, number: u64, flags: u32) -> [Vec<u8>; 2] {
    let asked =
        format!("GET /{connection:06}/{number:06} HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer s3cr3t\r\n\r\n");
    let answered = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let position = |bytes: &str| number * bytes.len() as u64;
    [
        call(connection, position(&asked), asked.as_bytes(), flags, time),
        call(connection, position(answered), answered.as_bytes(), flags | data_flag::SENT, time + 3_000_000),
    ]
}

fn write(agent: &mut Agent, connection: u64, number: u64, flags: u32) {
    exchange(connection, number, flags).iter().for_each(|record| agent.write(record));
}

fn targets(rows: &[trilobite_worker_wire::RequestRow]) -> Vec<&str> {
    rows.iter().map(|row| row.target.as_str()).collect()
}

#[test]
fn two_connections_become_rows_that_are_read_back() {
    let mut agent = Agent::start(RING, MEMORY, settings());
    for number in 0..3 {
        write(&mut agent, 1, number, 0);
        write(&mut agent, 2, number, 0);
    }
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&6));
    let (rows, evicted) = agent.ask(5, RowQuery::default());
    let expected =
        ["/000001/000000", "/000002/000000", "/000001/000001", "/000002/000001", "/000001/000002", "/000002/000002"];
    assert_eq!((targets(&rows), evicted), (expected.to_vec(), 0));
    let row = &rows[2];
    assert_eq!((row.sequence, row.connection, row.cgroup, row.exec.pid, row.exec.ktime), (3, 1, 77, 4321, 55));
    assert_eq!((row.operation.as_str(), row.status.as_str(), row.protocol.as_str()), ("GET", "200", "http"));
    assert_eq!((row.latency_ns, row.time_ns, row.client, row.is_error), (3_000_000, 10_001_000, false, false));
    assert_eq!(row.remote, "10.0.0.9:41000".parse().ok());
    assert!(row.columns.iter().any(|(name, value)| name == "req_headers" && value.contains("<redacted>")));
    assert!(!format!("{rows:?}").contains("s3cr3t"));
    let verdicts = agent.received.iter().filter_map(|message| match message {
        Message::Verdicts(verdicts) => Some(verdicts),
        _ => None,
    });
    let mut verdicts: Vec<_> = verdicts.flatten().map(|verdict| (verdict.stream, verdict.kind)).collect();
    verdicts.sort_by_key(|(stream, _)| *stream);
    let heads = VerdictKind::Parse { sent: 4 << 10, received: 16 << 10 };
    assert_eq!(verdicts, [(1, heads), (2, heads)]);
}

#[test]
fn queries_select_and_limit_rows() {
    let mut agent = Agent::start(RING, MEMORY, settings());
    (0..20).for_each(|number| write(&mut agent, 1, number, 0));
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&20));
    let (newest, _) = agent.ask(1, RowQuery { limit: 2, ..RowQuery::default() });
    assert_eq!(targets(&newest), ["/000001/000018", "/000001/000019"]);
    let (none, _) = agent.ask(2, RowQuery { slower_than_ns: 3_000_001, ..RowQuery::default() });
    let (others, _) = agent.ask(3, RowQuery { cgroups: Some(vec![78]), ..RowQuery::default() });
    let (dns, _) = agent.ask(4, RowQuery { protocol: Some("dns".into()), ..RowQuery::default() });
    assert_eq!((none.len(), others.len(), dns.len()), (0, 0, 0));
    let (late, _) = agent.ask(5, RowQuery { since_ns: 180_000_000, after_sequence: 19, ..RowQuery::default() });
    assert_eq!(targets(&late), ["/000001/000019"]);
}

#[test]
fn follower_gets_rows_as_they_are_made_until_it_leaves() {
    let mut agent = Agent::start(RING, MEMORY, settings());
    write(&mut agent, 1, 0, 0);
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&1));
    agent.ask(5, RowQuery { follow: true, ..RowQuery::default() });
    let started = Instant::now();
    (1..50).for_each(|number| write(&mut agent, 1, number, 0));
    agent.wait_for(|agent| agent.rows(5).len() == 50);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(agent.rows(5).iter().map(|row| row.sequence).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    agent.send(&Message::RowsCancelled { id: 5 });
    let (before, _) = agent.ask(6, RowQuery::default());
    write(&mut agent, 1, 50, 0);
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&51));
    assert_eq!((agent.rows(5).len(), before.len()), (50, 50));
}

#[test]
fn hostile_records_cost_nothing_but_themselves() {
    let mut agent = Agent::start(RING, MEMORY, settings());
    write(&mut agent, 1, 0, 0);
    agent.write(b"no record at all");
    agent.write(&exchange(1, 1, 0)[0][..100]);
    let noise: Vec<u8> = (0..4096u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    (0..50).for_each(|at| agent.write(&call(1_000 + at, u64::MAX - at, &noise, data_flag::MID_STREAM, at)));
    (0..50).for_each(|at| agent.write(&call(2_000, at * 7, &noise[at as usize..], at as u32 & 1, u64::MAX)));
    write(&mut agent, 1, 1, 0);
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&2));
    assert_eq!(agent.counts.malformed, 2);
    let (rows, _) = agent.ask(1, RowQuery::default());
    assert_eq!(targets(&rows), ["/000001/000000", "/000001/000001"]);
}

#[test]
fn undecided_records_wait_for_the_agents_answer() {
    let mut agent = Agent::start(RING, MEMORY, settings());
    write(&mut agent, 1, 0, data_flag::UNDECIDED);
    agent.wait_for(|agent| agent.received.contains(&Message::MembershipWanted { cgroup: 77 }));
    agent.send(&Message::CgroupMembership { cgroup: 77, selected: Some(true) });
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&1));
}

#[test]
fn rows_stay_when_the_capture_has_stopped() {
    let mut agent = Agent::start(RING, MEMORY, settings());
    (0..100).for_each(|number| write(&mut agent, 1, number, 0));
    agent.send(&Message::StopCapture);
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&100));
    assert!(agent.ring.is_empty());
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", agent.worker.id())).unwrap();
    assert!(!maps.contains("memfd:ring"), "the ring is not mapped any more");
    let (rows, _) = agent.ask(1, RowQuery::default());
    assert_eq!(rows.len(), 100);
}

#[test]
fn rows_leave_when_they_are_older_than_they_are_kept() {
    // The times of the records are long past.
    let mut agent = Agent::start(RING, MEMORY, RequestSettings { retain_ns: 1, ..settings() });
    write(&mut agent, 1, 0, 0);
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&1));
    std::thread::sleep(Duration::from_millis(1_100));
    let (rows, evicted) = agent.ask(1, RowQuery::default());
    assert_eq!((rows.len(), evicted), (0, 0));
    agent.wait_for(|agent| agent.counts.oldest_row_ns == 0);
}

#[test]
fn many_connections_and_rows_never_exceed_the_memory_limit() {
    const SMALL: u64 = 8 << 20;
    let mut agent = Agent::start(RING, SMALL, settings());
    let body = vec![b'x'; 1024];
    let mut most = 0;
    for connection in 1..=10_000 {
        // Each has an exchange, and then a body that has not ended.
        let time = connection * 10_000_000;
        let [asked, answered] = exchange_at(time, connection, 0, 0);
        agent.write(&asked);
        agent.write(&answered);
        let length = (asked.len() - call(0, 0, b"", 0, 0).len()) as u64;
        let post = [&b"POST /big HTTP/1.1\r\nHost: shop\r\nContent-Length: 999999\r\n\r\n"[..], &body].concat();
        agent.write(&call(connection, length, &post, 0, time + 5_000_000));
        if connection % 100 == 0 {
            most = most.max(agent.worker_memory());
        }
    }
    agent.wait_for(|agent| agent.counts.rows.get("http") == Some(&10_000));
    most = most.max(agent.worker_memory());
    assert!(most <= SMALL, "{most}");
    let (rows, evicted) = agent.ask(1, RowQuery::default());
    assert!(evicted > 0 && agent.counts.lost_budget > 0, "{:?}", agent.counts);
    assert_eq!(rows.len() as u64 + evicted, 10_000);
    assert!(rows.len() > 1_000, "{} rows", rows.len());
    assert_eq!(agent.counts.connections, 10_000);
    assert!(agent.counts.memory_bytes <= SMALL && agent.counts.memory_bytes > 1 << 20);
}

#[test]
fn worker_ends_with_its_agent() {
    let mut agent = Agent::start(RING, MEMORY, settings());
    write(&mut agent, 1, 0, 0);
    agent.close();
    assert!(agent.worker.wait().unwrap().success());
}
