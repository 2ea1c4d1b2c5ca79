mod bytes;
mod losses;
mod versions;

use bytes::{Writer, answer, framed, request};

use super::*;
use crate::scripted::{Scripted, Written, client, exchanges, exchanges_in_any_pieces, server};
use crate::{Exchange, Fields};

const USIZE: usize = usize::MAX;
const ORDERS: [u8; 16] =
    [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];

/// A Produce request of version 9: one topic with two partitions.
fn produce(correlation: i32, acks: i16) -> Vec<u8> {
    let mut body = Writer::new(true);
    body.no_text().int16(acks).int32(30_000).array(1);
    body.text("orders").array(2);
    body.int32(0).records("secret").tags().int32(7).records("secretsecret").tags();
    body.tags().tags();
    request(0, 9, correlation, &body)
}

fn produced(correlation: i32, error: i16) -> Vec<u8> {
    let mut body = Writer::new(true);
    body.array(1).text("orders").array(2);
    for (index, error) in [(0, 0), (7, error)] {
        body.int32(index).int16(error).int64(12).int64(-1).int64(0).array(0).no_text().tags();
    }
    body.tags().int32(0).tags();
    answer(correlation, true, &body)
}

/// Metadata of version 12, which names a topic by its id.
fn metadata(correlation: i32) -> [Written; 2] {
    let mut body = Writer::new(true);
    body.array(1).bytes(&[0; 16]).text("orders").tags().int8(0).int8(0).tags();
    let mut answered = Writer::new(true);
    answered.int32(0).array(1).int32(1).text("secret-host").int32(9092).no_text().tags();
    answered.text("cluster").int32(1).array(1);
    answered.int16(0).text("orders").bytes(&ORDERS).int8(0).array(1);
    answered.int16(0).int32(0).int32(1).int32(3).array(1).int32(1).array(1).int32(1).array(0).tags();
    answered.int32(-1).tags().tags();
    [client(request(3, 12, correlation, &body)), server(answer(correlation, true, &answered))]
}

/// Fetch of version 13, which has the topic's id alone.
fn fetch(correlation: i32) -> Vec<u8> {
    let mut body = Writer::new(true);
    body.int32(-1).int32(500).int32(1).int32(1 << 20).int8(0).int32(0).int32(-1).array(1);
    body.bytes(&ORDERS).array(1).int32(3).int32(-1).int64(12).int32(-1).int64(-1).int32(1 << 20).tags().tags();
    body.array(0).text("").tags();
    request(1, 13, correlation, &body)
}

fn fetched(correlation: i32, records: &str) -> Vec<u8> {
    let mut body = Writer::new(true);
    body.int32(0).int16(0).int32(77).array(1).bytes(&ORDERS).array(1);
    body.int32(3).int16(0).int64(13).int64(13).int64(0).no_array().int32(-1).records(records).tags();
    body.tags().tags();
    answer(correlation, true, &body)
}

/// `api target | request -> response | error` of each exchange.
fn lines(exchanges: Vec<Exchange>) -> Vec<String> {
    let line = |exchange: Exchange| match exchange.fields {
        Fields::Kafka(fields) => {
            assert_eq!(fields.client_id, "reef-1");
            let error = match (fields.is_answered, fields.error) {
                (false, _) => "-".to_owned(),
                (true, None) => "?".to_owned(),
                (true, Some(code)) => error_name(code),
            };
            let api = api_name(fields.api_key.into());
            format!(
                "{api} {} {} | {} -> {} | {error}",
                fields.api_version, fields.target, fields.request, fields.response
            )
        }
        other => panic!("{other:?}"),
    };
    exchanges.into_iter().map(line).collect()
}

fn shown(script: &[Written]) -> Vec<String> {
    lines(exchanges_in_any_pieces(Name::Kafka, script))
}

#[test]
fn records_are_counted_and_not_shown() {
    let script = [client(produce(1, -1)), server(produced(1, 0)), client(produce(2, 1)), server(produced(2, 6))];
    let asked = |acks: i16| {
        format!(
            r#"{{"acks":{acks},"topics":[{{"name":"orders","partitions":[{{"index":0,"message_set":{{"size":6}}}},{{"index":7,"message_set":{{"size":12}}}}]}}]}}"#
        )
    };
    let answered = |error: i16| {
        format!(
            r#"{{"topics":[{{"name":"orders","partitions":[{{"error_code":0,"index":0}},{{"error_code":{error},"index":7}}]}}]}}"#
        )
    };
    let sorted = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string();
    assert_eq!(
        shown(&script),
        [
            format!("Produce 9 orders | {} -> {} | NONE", sorted(asked(-1)), sorted(answered(0))),
            format!("Produce 9 orders | {} -> {} | NOT_LEADER_OR_FOLLOWER", sorted(asked(1)), sorted(answered(6))),
        ]
    );
}

#[test]
fn request_that_wants_no_answer_is_an_exchange() {
    let script = [client(produce(1, -1)), server(produced(1, 0)), client(produce(2, 0)), client(produce(3, 0))];
    let shown = shown(&script);
    assert_eq!(shown.len(), 3);
    assert!(shown[1].starts_with("Produce 9 orders | ") && shown[1].ends_with(" ->  | -"), "{shown:?}");
}

#[test]
fn topic_is_shown_by_its_id_unless_metadata_named_it() {
    let [asked, answered] = metadata(2);
    let script =
        [client(fetch(1)), server(fetched(1, "secret")), asked, answered, client(fetch(3)), server(fetched(3, ""))];
    let shown = shown(&script);
    let begins = |line: &str, start: &str| assert!(line.starts_with(start), "{line}");
    begins(&shown[0], "Fetch 13 EjRWeJq83vASNFZ4mrze8A | ");
    begins(&shown[1], "Metadata 12 orders | ");
    begins(&shown[2], "Fetch 13 orders | ");
    assert!(!shown.concat().contains("secret"));
}

#[test]
fn answers_are_found_by_their_ids() {
    let script = [
        client([produce(1, 1), fetch(2), produce(3, 1)].concat()),
        server(fetched(2, "secret")),
        server([produced(3, 0), produced(1, 0)].concat()),
    ];
    let names: Vec<String> = shown(&script).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(names, ["Fetch", "Produce", "Produce"]);
}

#[test]
fn other_apis_have_their_name_and_latency() {
    let mut body = Writer::new(true);
    body.text("secret").tags();
    let script = [client(request(36, 2, 9, &body)), server(answer(9, true, &body))];
    assert_eq!(shown(&script), ["SaslAuthenticate 2  |  ->  | ?"]);
    // A version that is not known yet.
    let script = [client(request(12, 6, 9, &body)), server(answer(9, true, &body))];
    assert_eq!(shown(&script), ["Heartbeat 6  |  ->  | ?"]);
}

#[test]
fn unknown_version_is_answered_in_the_first_form() {
    let mut asked = Writer::new(true);
    asked.text("librdkafka").text("2.16").tags();
    let mut refused = Writer::new(false);
    refused.int16(35).array(1).int16(18).int16(0).int16(4);
    let script = [client(request(18, 5, 1, &asked)), server(answer(1, false, &refused))];
    assert_eq!(shown(&script), [r#"ApiVersions 5  | {} -> {"error_code":35} | UNSUPPORTED_VERSION"#]);
}

#[test]
fn length_comes_in_a_call_of_its_own() {
    let (asked, answered) = (produce(1, 1), produced(1, 0));
    for (mid_stream, role) in [(false, crate::Role::Server), (true, crate::Role::Server), (true, crate::Role::Client)] {
        let mut scripted = Scripted::new(Name::Kafka, role, mid_stream, &Settings::default());
        for written in [client(&asked[..4]), client(&asked[4..]), server(&answered[..4]), server(&answered[4..])] {
            scripted.see(&written, USIZE);
        }
        let [exchange] = scripted.take_exchanges().try_into().unwrap();
        assert_eq!((exchange.started, exchange.asked, exchange.ended), (1_000_000, 2_000_000, 4_000_000));
        assert_eq!((exchange.request_bytes, exchange.response_bytes), (asked.len() as u64, answered.len() as u64));
    }
}

#[test]
fn records_that_are_not_copied_leave_the_answer_in_step() {
    let records = "x".repeat(1 << 20);
    let answered = fetched(1, &records);
    let mut scripted = Scripted::new(Name::Kafka, crate::Role::Server, false, &Settings::default());
    scripted.see(&client(fetch(1)), USIZE);
    // The broker sends them by sendfile.
    let end = answered.len() - 6;
    scripted.see(&server(&answered[..200]), USIZE);
    scripted.lose(crate::Side::Sent, &answered[200..end]);
    scripted.see(&server(&answered[end..]), USIZE);
    scripted.see(&client(produce(2, 1)), USIZE);
    scripted.see(&server(produced(2, 0)), USIZE);
    let shown = lines(scripted.take_exchanges());
    assert!(shown[0].contains(r#""message_set":{"size":1048576}"#) && shown[0].ends_with("NONE"), "{}", shown[0]);
    assert!(!shown[0].contains("truncated"), "{}", shown[0]);
    assert_eq!((shown.len(), scripted.connection.lost()), (2, 0));
    assert!(scripted.connection.memory() < 16 << 10, "{}", scripted.connection.memory());
}

#[test]
fn many_partitions_are_bounded() {
    let mut body = Writer::new(true);
    body.no_text().int16(1).int32(30_000).array(100);
    for topic in 0..100 {
        body.text(&format!("topic-{topic}")).array(100);
        for partition in 0..100 {
            body.int32(partition).records("secret").tags();
        }
        body.tags();
    }
    body.tags();
    let script = [client(request(0, 9, 1, &body)), server(produced(1, 0))];
    let [exchange] = exchanges(Name::Kafka, crate::Role::Client, &script, USIZE).try_into().unwrap();
    let [line] = lines(vec![exchange]).try_into().unwrap();
    assert!(line.contains(r#""truncated":true"#) && line.len() < 8192, "{line}");
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
        b"\0\0\0\x54\0\x03\0\0user\0postgres\0database\0shop\0\0",
        b"Q\0\0\0\x0dSELECT 1\0",
        b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0",
        b"",
    ] {
        for side in [Side::Sent, Side::Received] {
            assert_eq!(Kafka.infer(bytes, side), Guess::No, "{}", bytes.escape_ascii());
        }
    }
    // A frame of HTTP/2 may be a request without a name.
    let settings = b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    assert_eq!(Kafka.infer(settings, Side::Sent), Guess::Maybe(Role::Client));
}
