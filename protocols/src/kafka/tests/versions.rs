//! Each API that is decoded, in the lowest and the highest version that a broker of Kafka 4 speaks.

use super::*;

/// A request and its answer of this version; what is shown of both, and the error.
#[track_caller]
fn assert_shown(key: i16, version: i16, bodies: [&Writer; 2], expected: &str) {
    let has_tags = key != 18 && bodies[1].is_flexible();
    let script = [client(request(key, version, 5, bodies[0])), server(answer(5, has_tags, bodies[1]))];
    let line = shown(&script).pop().unwrap();
    assert_eq!(line, format!("{} {version} {expected}", api_name(key.into())));
    assert!(!line.contains("secret"));
    // A message that ends earlier, or later, is not shown as if it were this one.
    for (index, body) in bodies.iter().enumerate() {
        if key == 18 {
            continue;
        }
        let longer = body.with_byte();
        let bodies = if index == 0 { [&longer, bodies[1]] } else { [bodies[0], &longer] };
        let script = [client(request(key, version, 5, bodies[0])), server(answer(5, has_tags, bodies[1]))];
        let line = lines(exchanges(Name::Kafka, crate::Role::Client, &script, USIZE)).pop().unwrap();
        let (asked, answered) = line.split_once(" -> ").unwrap();
        let shown = if index == 0 { asked.rsplit("| ").next() } else { answered.split(" | ").next() };
        assert_eq!(shown, Some(""), "{line}");
    }
}

#[test]
fn produce_from_3_to_13() {
    let (mut asked, mut answered) = (Writer::new(false), Writer::new(false));
    asked.text("secret-tx").int16(1).int32(9).array(1).text("orders").array(1).int32(4).records("secret");
    answered.array(1).text("orders").array(1).int32(4).int16(3).int64(1).int64(2).int32(0);
    let expected = r#"orders | {"acks":1,"topics":[{"name":"orders","partitions":[{"index":4,"message_set":{"size":6}}]}]} -> {"topics":[{"name":"orders","partitions":[{"error_code":3,"index":4}]}]} | UNKNOWN_TOPIC_OR_PARTITION"#;
    assert_shown(0, 3, [&asked, &answered], expected);

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.no_text().int16(-1).int32(9).array(1).bytes(&ORDERS).array(1).int32(4).records("secret").tags().tags().tags();
    answered.array(1).bytes(&ORDERS).array(1).int32(4).int16(0).int64(1).int64(2).int64(0);
    answered
        .array(1)
        .int32(0)
        .text("secret")
        .tags()
        .text("secret")
        .tagged(0, b"secret")
        .tags()
        .int32(0)
        .tagged(0, b"secret");
    let expected = r#"EjRWeJq83vASNFZ4mrze8A | {"acks":-1,"topics":[{"name":"EjRWeJq83vASNFZ4mrze8A","partitions":[{"index":4,"message_set":{"size":6}}]}]} -> {"topics":[{"name":"EjRWeJq83vASNFZ4mrze8A","partitions":[{"error_code":0,"index":4}]}]} | NONE"#;
    assert_shown(0, 13, [&asked, &answered], expected);
}

#[test]
fn fetch_from_4_to_18() {
    let (mut asked, mut answered) = (Writer::new(false), Writer::new(false));
    asked.int32(-1).int32(500).int32(1).int32(9).int8(1).array(1).text("orders").array(1).int32(4).int64(7).int32(9);
    answered.int32(0).array(1).text("orders").array(1).int32(4).int16(0).int64(8).int64(8);
    answered.array(1).int64(1).int64(2).records("secret");
    let expected = r#"orders | {"topics":[{"name":"orders","partitions":[{"index":4}]}]} -> {"topics":[{"name":"orders","partitions":[{"error_code":0,"index":4,"message_set":{"size":6}}]}]} | NONE"#;
    assert_shown(1, 4, [&asked, &answered], expected);

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.int32(500).int32(1).int32(9).int8(1).int32(77).int32(3).array(1).bytes(&ORDERS).array(1);
    asked.int32(4).int32(2).int64(7).int32(-1).int64(-1).int32(9).tagged(1, b"12345678").tags();
    asked.array(1).bytes(&ORDERS).array(2).int32(1).int32(2).tags().text("secret-rack").tagged(1, b"secret");
    answered.int32(0).int16(70).int32(77).array(0).tagged(0, b"secret-host");
    let expected = r#"EjRWeJq83vASNFZ4mrze8A | {"topics":[{"name":"EjRWeJq83vASNFZ4mrze8A","partitions":[{"index":4}]}]} -> {"error_code":70} | FETCH_SESSION_ID_NOT_FOUND"#;
    assert_shown(1, 18, [&asked, &answered], expected);
}

#[test]
fn metadata_from_0_to_13() {
    let (mut asked, mut answered) = (Writer::new(false), Writer::new(false));
    asked.array(2).text("orders").text("carts");
    answered.array(1).int32(1).text("secret-host").int32(9092).array(1);
    answered.int16(5).text("orders").array(1).int16(0).int32(0).int32(1).array(1).int32(1).array(0);
    let expected = r#"orders, carts | {"topics":[{"name":"orders"},{"name":"carts"}]} -> {"topics":[{"error_code":5,"name":"orders"}]} | LEADER_NOT_AVAILABLE"#;
    assert_shown(3, 0, [&asked, &answered], expected);

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.no_array().int8(1).int8(0).tags();
    answered.int32(0).array(1).int32(1).text("secret-host").int32(9092).text("secret-rack").tags();
    answered.text("secret-cluster").int32(1).array(1).int16(0).text("orders").bytes(&ORDERS).int8(0);
    answered.array(1).int16(0).int32(0).int32(1).int32(2).array(1).int32(1).array(1).int32(1).array(0).tags();
    answered.int32(7).tags().int16(0).tags();
    let expected = r#" | {} -> {"error_code":0,"topics":[{"error_code":0,"name":"orders"}]} | NONE"#;
    assert_shown(3, 13, [&asked, &answered], expected);
}

#[test]
fn offset_commit_from_2_to_10() {
    let (mut asked, mut answered) = (Writer::new(false), Writer::new(false));
    asked.text("billing").int32(3).text("m-1").int64(-1).array(1).text("orders").array(1);
    asked.int32(4).int64(12).text("secret");
    answered.array(1).text("orders").array(1).int32(4).int16(22);
    let expected = r#"orders | {"generation_id":3,"group_id":"billing","member_id":"m-1","topics":[{"name":"orders","partitions":[{"index":4}]}]} -> {"topics":[{"name":"orders","partitions":[{"error_code":22,"index":4}]}]} | ILLEGAL_GENERATION"#;
    assert_shown(8, 2, [&asked, &answered], expected);

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.text("billing").int32(3).text("m-1").no_text().array(1).bytes(&ORDERS).array(1);
    asked.int32(4).int64(12).int32(-1).no_text().tags().tags().tags();
    answered.int32(0).array(1).bytes(&ORDERS).array(1).int32(4).int16(0).tags().tags().tags();
    let expected = r#"EjRWeJq83vASNFZ4mrze8A | {"generation_id":3,"group_id":"billing","member_id":"m-1","topics":[{"name":"EjRWeJq83vASNFZ4mrze8A","partitions":[{"index":4}]}]} -> {"topics":[{"name":"EjRWeJq83vASNFZ4mrze8A","partitions":[{"error_code":0,"index":4}]}]} | NONE"#;
    assert_shown(8, 10, [&asked, &answered], expected);
}

#[test]
fn join_group_from_2_to_9() {
    let (mut asked, mut answered) = (Writer::new(false), Writer::new(false));
    asked.text("billing").int32(1).int32(2).text("").text("consumer").array(1).text("range").records("secret");
    answered.int32(0).int16(79).int32(-1).text("").text("").text("m-1").array(0);
    let expected = r#"billing | {"group_id":"billing","member_id":"","protocol_type":"consumer"} -> {"error_code":79,"generation_id":-1,"member_id":"m-1"} | MEMBER_ID_REQUIRED"#;
    assert_shown(11, 2, [&asked, &answered], expected);

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.text("billing").int32(1).int32(2).text("m-1").no_text().text("consumer");
    asked.array(1).text("range").records("secret").tags().text("secret-reason").tags();
    answered.int32(0).int16(0).int32(1).text("consumer").text("range").text("m-1").int8(0).text("m-1");
    answered.array(1).text("m-1").no_text().records("secret").tags().tags();
    let expected = r#"billing | {"group_id":"billing","member_id":"m-1","protocol_type":"consumer"} -> {"error_code":0,"generation_id":1,"member_id":"m-1","protocol_type":"consumer"} | NONE"#;
    assert_shown(11, 9, [&asked, &answered], expected);
}

#[test]
fn sync_group_from_0_to_5() {
    let (mut asked, mut answered) = (Writer::new(false), Writer::new(false));
    asked.text("billing").int32(1).text("m-1").array(1).text("m-1").records("secret");
    answered.int16(27).records("secret");
    let expected = r#"billing | {"generation_id":1,"group_id":"billing","member_id":"m-1"} -> {"error_code":27} | REBALANCE_IN_PROGRESS"#;
    assert_shown(14, 0, [&asked, &answered], expected);

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.text("billing").int32(1).text("m-1").no_text().text("consumer").text("range").array(0).tags();
    answered.int32(0).int16(0).text("consumer").text("range").records("secret").tags();
    let expected = r#"billing | {"generation_id":1,"group_id":"billing","member_id":"m-1","protocol_type":"consumer"} -> {"error_code":0,"protocol_type":"consumer"} | NONE"#;
    assert_shown(14, 5, [&asked, &answered], expected);
}

#[test]
fn heartbeat_from_0_to_4() {
    let (mut asked, mut answered) = (Writer::new(false), Writer::new(false));
    asked.text("billing").int32(1).text("m-1");
    answered.int16(25);
    let request = r#"billing | {"generation_id":1,"group_id":"billing","member_id":"m-1"}"#;
    assert_shown(12, 0, [&asked, &answered], &format!(r#"{request} -> {{"error_code":25}} | UNKNOWN_MEMBER_ID"#));

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.text("billing").int32(1).text("m-1").text("secret").tags();
    answered.int32(0).int16(0).tags();
    assert_shown(12, 4, [&asked, &answered], &format!(r#"{request} -> {{"error_code":0}} | NONE"#));
}

#[test]
fn api_versions_from_0_to_4() {
    let (asked, mut answered) = (Writer::new(false), Writer::new(false));
    answered.int16(0).array(1).int16(0).int16(0).int16(13);
    assert_shown(18, 0, [&asked, &answered], r#" | {} -> {"error_code":0} | NONE"#);

    let (mut asked, mut answered) = (Writer::new(true), Writer::new(true));
    asked.text("librdkafka").text("2.16").tags();
    answered.int16(0).array(1).int16(0).int16(0).int16(13).tags().int32(0).tagged(1, b"secret");
    assert_shown(18, 4, [&asked, &answered], r#" | {} -> {"error_code":0} | NONE"#);
}
