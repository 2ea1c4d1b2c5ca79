use trilobite_node_ebpf::{DataRecord, data_flag};
use trilobite_worker_wire::{CallCount, Recorded, RecordingSettings, RequestSettings};

use super::{
    super::{
        budget::Budget,
        capture::Capture,
        record::DataCall,
        record_fixtures::{header, record},
    },
    format::{FRAME_HEADER, FrameKind, MAGIC, append},
    reader::{Next, RecordingReader},
};

const ASKED: &[u8] = b"GET /cart?token=s3cr3t HTTP/1.1\r\nHost: shop\r\nCookie: s3cr3t\r\n\r\n";
const ANSWERED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ns3cr3t";

fn capture(max_bytes: u64) -> Capture {
    let settings = RequestSettings { server: true, retain_ns: u64::MAX, ..RequestSettings::default() };
    let recording = RecordingSettings { max_bytes, ..RecordingSettings::default() };
    Capture::new(&settings, Some(recording), Budget::measure(64 << 20))
}

/// The n-th call of a server on a connection, which receives or sends these bytes.
fn call(connection: u64, position: u64, bytes: &[u8], flags: u32) -> Vec<u8> {
    record(&DataRecord { flags: (flags | data_flag::SERVER) as u8, ..header(connection, position, bytes) }, bytes)
}

fn exchange(capture: &mut Capture, connection: u64, number: u64) {
    capture.record(&call(connection, number * ASKED.len() as u64, ASKED, 0));
    capture.record(&call(connection, number * ANSWERED.len() as u64, ANSWERED, data_flag::SENT));
}

/// The whole recording.
fn finish(mut capture: Capture) -> Vec<u8> {
    capture.stop();
    std::iter::from_fn(|| capture.take_recorded(1000)).flatten().collect()
}

/// The calls of a recording, and its end.
fn read(recording: &[u8]) -> (Vec<Vec<u8>>, Recorded) {
    let (mut reader, _) = RecordingReader::open(recording).unwrap();
    let mut calls = Vec::new();
    loop {
        match reader.next().unwrap() {
            Next::Call(call) => calls.push(call.to_vec()),
            Next::End(recorded) => return (calls, recorded),
        }
    }
}

fn has_secret(bytes: &[u8]) -> bool {
    bytes.windows(6).any(|window| window == b"s3cr3t")
}

#[test]
fn calls_are_recorded_once_their_protocol_is_known() {
    let mut capture = capture(1 << 20);
    exchange(&mut capture, 9, 0);
    capture.record(&call(9, ASKED.len() as u64, &ASKED[..20], data_flag::UNDECIDED));
    capture.apply_membership(77, Some(true));
    let (calls, recorded) = read(&finish(capture));
    assert_eq!(recorded.recorded, CallCount { calls: 3, bytes: (ASKED.len() + ANSWERED.len() + 20) as u64 });
    assert!(recorded.left_out.is_empty());
    let bytes: Vec<Vec<u8>> = calls.iter().map(|call| DataCall::parse(call).unwrap().bytes.to_vec()).collect();
    assert_eq!(bytes[0], b"GET /cart?token=xxxxxx HTTP/1.1\r\nHost: shop\r\nCookie: xxxxxx\r\n\r\n");
    assert_eq!(bytes[1], b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nxxxxxx");
    assert_eq!(bytes[2], [b'x'; 20], "the rest of the line had not come");
    assert!(calls.iter().all(|call| !DataCall::parse(call).unwrap().undecided));
}

#[test]
fn what_is_not_recorded_is_named() {
    let mut capture = capture(1 << 20);
    capture.record(&call(1, 0, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03s3cr3t", 0));
    capture.record(&call(2, 0, ASKED, 0));
    let client = DataRecord { flags: data_flag::CLIENT as u8, ..header(3, 0, ANSWERED) };
    let sent = DataRecord { flags: (data_flag::CLIENT | data_flag::SENT) as u8, ..header(3, 0, ASKED) };
    capture.record(&record(&sent, ASKED));
    capture.record(&record(&client, ANSWERED));
    let recording = finish(capture);
    let (calls, recorded) = read(&recording);
    assert!(calls.is_empty() && !has_secret(&recording));
    let reasons: Vec<&str> = recorded.left_out.keys().map(String::as_str).collect();
    assert_eq!(reasons, ["no protocol was recognised", "the role is not wanted", "tls"]);
    assert_eq!(recorded.left_out["tls"].calls, 1);
}

#[test]
fn full_recording_says_how_much_did_not_fit() {
    let max_bytes = 12 << 10;
    let mut capture = capture(max_bytes);
    (0..100).for_each(|number| exchange(&mut capture, 9, number));
    let recording = finish(capture);
    assert!(recording.len() as u64 <= max_bytes, "{}", recording.len());
    let (calls, recorded) = read(&recording);
    let left_out = recorded.left_out["the recording is full"];
    assert_eq!(calls.len() as u64, recorded.recorded.calls);
    assert!(left_out.calls > 0 && recorded.recorded.calls > 20, "{recorded:?}");
    assert_eq!(recorded.recorded.calls + left_out.calls, 200);
    assert!(!has_secret(&recording));
}

#[test]
fn error_names_the_byte_at_which_a_recording_is_broken() {
    let mut capture = capture(1 << 20);
    exchange(&mut capture, 9, 0);
    let recording = finish(capture);
    let error = |bytes: &[u8]| {
        let mut reader = match RecordingReader::open(bytes) {
            Ok((reader, _)) => reader,
            Err(broken) => return broken.to_string(),
        };
        loop {
            match reader.next() {
                Ok(Next::Call(_)) => {}
                Ok(Next::End(_)) => return "none".to_owned(),
                Err(broken) => return broken.to_string(),
            }
        }
    };
    assert_eq!(error(&recording), "none");
    assert_eq!(
        error(b"#!/bin/sh\nexit 0\n# as long as the first line"),
        "at byte 0: this is no recording of requests of version 1"
    );
    let cut = &recording[..recording.len() - 1];
    assert!(error(cut).ends_with("the recording ends here, without its end"), "{}", error(cut));
    let mut other = MAGIC.to_vec();
    append(FrameKind::Header, &[b"{}"], &mut other);
    assert!(
        error(&other).starts_with(&format!("at byte {}: missing field", MAGIC.len() + FRAME_HEADER)),
        "{}",
        error(&other)
    );
    let header_end =
        MAGIC.len() + FRAME_HEADER + u32::from_le_bytes(recording[MAGIC.len() + 1..][..4].try_into().unwrap()) as usize;
    let mut unknown = recording.clone();
    unknown[header_end] = b'?';
    assert_eq!(error(&unknown), format!("at byte {header_end}: no frame has the kind 0x3f"));
    let mut long = recording.clone();
    long[header_end + 4] = 1;
    assert!(error(&long).starts_with(&format!("at byte {header_end}: a frame of ")), "{}", error(&long));
}

/// TRILOBITE_RECORDINGS: how many recordings are changed at random.
#[test]
fn changed_recordings_cost_nothing_but_an_error() {
    let runs = std::env::var("TRILOBITE_RECORDINGS").ok().map_or(1_000_000, |runs| runs.parse().unwrap());
    let mut capture = capture(1 << 20);
    (0..3).for_each(|number| exchange(&mut capture, 9, number));
    let recording = finish(capture);
    let mut player = self::capture(0);
    let mut random = fastrand::Rng::with_seed(7);
    let mut read = 0_u64;
    for _ in 0..runs {
        let mut bytes = recording.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = if random.bool() { random.u8(..) } else { bytes[at] ^ (1 << random.u8(..8)) };
        }
        if random.u8(..8) == 0 {
            bytes.truncate(random.usize(..bytes.len()));
        }
        let Ok((mut reader, _)) = RecordingReader::open(bytes.as_slice()) else { continue };
        while let Ok(Next::Call(record)) = reader.next() {
            if DataCall::parse(record).is_none() {
                break;
            }
            player.record(record);
            read += 1;
        }
        player.take_messages();
        while player.take_recorded(usize::MAX).is_some() {}
    }
    assert!(read > runs / 10, "{read} calls of {runs} recordings");
}
