//! A worker that records, and another one that plays the recording: the same rows, and no secret in between.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "tests of rows use the rest")]
#[path = "requests/agent.rs"]
mod agent;
#[allow(dead_code, reason = "tests of rows use the rest")]
#[path = "requests/memory_ring.rs"]
mod memory_ring;
#[path = "../src/requests/record_fixtures.rs"]
mod record_fixtures;
#[path = "worker_process/mod.rs"]
mod worker_process;

use std::{fs::File, io::Write, os::fd::AsFd};

use rustix::fs::{MemfdFlags, memfd_create};
use trilobite_node_ebpf::data_flag;
use trilobite_worker_wire::{
    Message, RecordingSettings, Replayed, RequestRow, RequestSettings, RowQuery,
    channel::{receive, send},
};

use agent::{Agent, call, settings};
use worker_process::start_worker;

const RING: u32 = 1 << 20;
const MEMORY: u64 = 64 << 20;
/// Is in nothing that a row shows.
const SECRET: &str = "anglerfish";

/// What the server receives and sends on each connection, with the secret in a header, a cookie, a body, a literal, a Redis value
/// and the query of a URL.
fn conversations() -> Vec<Vec<(bool, Vec<u8>)>> {
    let message =
        |kind: u8, text: &str| [&[kind][..], &(text.len() as u32 + 4).to_be_bytes(), text.as_bytes()].concat();
    let http = vec![
        (
            true,
            format!(
                "POST /cart?token={SECRET} HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {SECRET}\r\nCookie: {SECRET}\r\n\
                 Content-Length: 10\r\n\r\n{SECRET}"
            )
            .into_bytes(),
        ),
        (false, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".to_vec()),
    ];
    let pgsql = vec![
        (true, message(b'Q', &format!("SELECT * FROM cart WHERE owner = '{SECRET}'\0"))),
        (false, [message(b'C', "SELECT 0\0"), message(b'Z', "I")].concat()),
    ];
    let redis = vec![
        (true, format!("*3\r\n$3\r\nSET\r\n$6\r\ncart:7\r\n$10\r\n{SECRET}\r\n").into_bytes()),
        (false, b"+OK\r\n".to_vec()),
        (true, b"*2\r\n$3\r\nGET\r\n$6\r\ncart:7\r\n".to_vec()),
        (false, format!("$10\r\n{SECRET}\r\n").into_bytes()),
    ];
    vec![http, pgsql, redis]
}

fn write_conversations(agent: &mut Agent) {
    let mut time = 1_000;
    for (connection, conversation) in (1..).zip(conversations()) {
        // Several times, so that a joined connection of PostgreSQL is recognised.
        let mut positions = [0, 0];
        for _ in 0..5 {
            for (is_received, bytes) in &conversation {
                time += 1_000_000;
                let position = &mut positions[usize::from(*is_received)];
                let flags = if *is_received { 0 } else { data_flag::SENT };
                agent.write(&call(connection, *position, bytes, flags, time));
                *position += bytes.len() as u64;
            }
        }
    }
}

/// What the agent has received of the recording.
fn recorded_bytes(agent: &Agent) -> Vec<u8> {
    let chunks = agent.received.iter().filter_map(|message| match message {
        Message::RecordedChunk(chunk) => Some(chunk.as_slice()),
        _ => None,
    });
    chunks.collect::<Vec<_>>().concat()
}

/// Starts a worker that records. Returns its rows and its recording, after the capture has stopped.
fn record(settings: RequestSettings, max_bytes: u64) -> (Vec<RequestRow>, Vec<u8>) {
    let recording = RecordingSettings { profile: "shop/slow".into(), node: "node1".into(), max_bytes };
    let mut agent = Agent::start_recorded(RING, MEMORY, settings, Some(recording));
    write_conversations(&mut agent);
    agent.send(&Message::StopCapture);
    agent.wait_for(|agent| agent.received.contains(&Message::RecordedChunk(Vec::new())));
    let recording = recorded_bytes(&agent);
    let (rows, _) = agent.ask(1, RowQuery::default());
    (rows, recording)
}

/// Plays a recording, or anything. Returns the rows, and the last message.
fn replay(recording: &[u8]) -> (Vec<RequestRow>, Message) {
    let mut file: File = memfd_create("recording", MemfdFlags::CLOEXEC).unwrap().into();
    file.write_all(recording).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let (mut worker, socket) = start_worker();
    let job = Message::Replay { memory_bytes: MEMORY };
    send(&socket, &job.encode().unwrap(), &[file.as_fd()], true).unwrap();
    let (mut rows, mut last, mut buffer) = (Vec::new(), Message::Ready, Vec::new());
    loop {
        let packet = receive(&socket, &mut buffer, true).unwrap();
        if packet.bytes.is_empty() {
            worker.wait().unwrap();
            return (rows, last);
        }
        last = Message::decode(&packet.bytes).unwrap();
        if let Message::RowsChunk { rows: more, .. } = &last {
            rows.extend(more.iter().cloned());
        }
    }
}

fn replayed(message: Message) -> Replayed {
    match message {
        Message::Replayed(replayed) => *replayed,
        other => panic!("{other:?}"),
    }
}

/// Rows in an order that does not depend on when they were made.
fn sorted(mut rows: Vec<RequestRow>) -> Vec<RequestRow> {
    rows.sort_by_key(|row| (row.connection, row.time_ns));
    rows.iter_mut().for_each(|row| row.sequence = 0);
    rows
}

#[test]
fn recording_has_no_secret_and_gives_the_same_rows() {
    let (rows, recording) = record(settings(), 1 << 20);
    assert_eq!(rows.len(), 20, "{rows:?}");
    assert!(!recording.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    let (again, end) = replay(&recording);
    let end = replayed(end);
    assert_eq!((end.problem, end.counts.lost_parse), (None, 0));
    assert_eq!(end.recorded.unwrap().recorded.calls, 40);
    assert_eq!(sorted(again), sorted(rows));
}

#[test]
fn recording_has_payloads_and_literals_where_they_are_allowed() {
    let settings = RequestSettings { payload_bytes: 64, keep_literals: true, ..settings() };
    let (rows, recording) = record(settings, 1 << 20);
    let text = String::from_utf8_lossy(&recording).into_owned();
    assert!(text.contains("owner = 'anglerfish'") && text.contains("$10\r\nanglerfish"));
    assert!(!text.contains("Bearer anglerfish") && !text.contains("token=anglerfish"));
    let (again, _) = replay(&recording);
    assert_eq!(sorted(again), sorted(rows));
}

#[test]
fn many_rows_of_a_recording_all_arrive() {
    let recording = RecordingSettings { max_bytes: 64 << 20, ..RecordingSettings::default() };
    let mut agent = Agent::start_recorded(RING, MEMORY, settings(), Some(recording));
    let asked = b"GET /item HTTP/1.1\r\nHost: shop\r\n\r\n";
    let answered = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let mut written = 0;
    // The agent reads what was recorded of a round during the next one: a worker leaves out what its agent does not read.
    for round in 0..20 {
        let written_before = written;
        for number in round * 1_000..(round + 1) * 1_000 {
            let time = number * 1_000_000;
            let request = call(1, number * asked.len() as u64, asked, 0, time);
            let response = call(1, number * answered.len() as u64, answered, data_flag::SENT, time + 1);
            agent.write(&request);
            agent.write(&response);
            written += request.len() + response.len();
        }
        agent.wait_for(|agent| recorded_bytes(agent).len() >= written_before);
    }
    agent.send(&Message::StopCapture);
    agent.wait_for(|agent| agent.received.contains(&Message::RecordedChunk(Vec::new())));
    let chunks = recorded_bytes(&agent);
    let (rows, end) = replay(&chunks);
    let recorded = replayed(end).recorded.unwrap();
    assert_eq!((recorded.recorded.calls, recorded.left_out.len()), (40_000, 0));
    assert_eq!(rows.len(), 20_000);
    assert!(rows.is_sorted_by_key(|row| row.time_ns));
}

#[test]
fn what_is_no_recording_is_refused_with_the_place() {
    let (rows, end) = replay(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert!(rows.is_empty());
    assert_eq!(end, Message::Failed("at byte 0: this is no recording of requests of version 1".into()));
    let (_, recording) = record(settings(), 1 << 20);
    let (rows, end) = replay(&recording[..recording.len() - 10]);
    let end = replayed(end);
    assert_eq!(rows.len(), 20, "rows of before are shown");
    assert!(end.problem.unwrap().contains("without its end"));
}
