//! Connections in any pieces, with losses, and of malformed bytes.

use proptest::prelude::*;

use super::*;
use crate::scripted::{
    assert_memory_is_bounded, exchanges_in_part, exchanges_of_joined, hostile_writes, roles, visibilities,
};

/// A commit of a group whose generation is the number, and whose partition is, too.
fn commit(number: i32) -> Vec<u8> {
    let mut body = Writer::new(true);
    body.text("billing").int32(number).text("m").no_text().array(1).text("orders").array(1);
    body.int32(number).int64(1).int32(0).text("secret").tags().tags().tags();
    request(8, 8, number, &body)
}

fn committed(number: i32) -> Vec<u8> {
    let mut body = Writer::new(true);
    body.int32(0).array(1).text("orders").array(1).int32(number).int16(0).tags().tags().tags();
    answer(number, true, &body)
}

/// Turns of requests that are all sent before the first answer.
fn turns() -> impl Strategy<Value = Vec<Written>> {
    proptest::collection::vec(1_i32..4, 1..8).prop_map(|turns| {
        let mut next = 1000;
        let mut script = Vec::new();
        for count in turns {
            script.extend((next..next + count).map(|number| client(commit(number))));
            script.extend((next..next + count).map(|number| server(committed(number))));
            next += count;
        }
        script
    })
}

/// The partitions of a request are those of its answer, as far as they are shown.
fn assert_fits(exchange: &Exchange) {
    let Fields::Kafka(fields) = &exchange.fields else { panic!("{exchange:?}") };
    let index = |text: &str| -> Option<u64> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        value.pointer("/topics/0/partitions/0/index")?.as_u64()
    };
    if let (Some(asked), Some(answered)) = (index(&fields.request), index(&fields.response)) {
        assert_eq!(asked, answered, "{exchange:?}");
    }
    assert!(!format!("{exchange:?}").contains("secret"));
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(script in turns(), piece in 1_usize..40) {
        let whole = exchanges(Name::Kafka, crate::Role::Client, &script, USIZE);
        prop_assert_eq!(&exchanges(Name::Kafka, crate::Role::Server, &script, piece), &whole);
        whole.iter().for_each(assert_fits);
        prop_assert_eq!(whole.len(), script.len() / 2);
    }

    #[test]
    fn what_is_missed_never_makes_a_wrong_pair(script in turns(), visibilities in visibilities(1), role in roles()) {
        let beginning = [client(commit(1)), server(committed(1))];
        exchanges_in_part(Name::Kafka, role, &beginning, &script, &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn connection_that_is_joined_never_makes_a_wrong_pair(
        script in turns(),
        joined_at in any::<prop::sample::Index>(),
        visibilities in visibilities(0),
        role in roles(),
    ) {
        exchanges_of_joined(Name::Kafka, role, &script, joined_at, &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn any_bytes_cost_bounded_memory(writes in hostile_writes(hostile()), joined in any::<bool>()) {
        assert_memory_is_bounded(Name::Kafka, &[client(commit(1)), server(committed(1))], joined, &writes);
    }
}

/// Messages with wrong lengths, counts and ids.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let wild =
        (0_i16..20, 0_i16..14, proptest::collection::vec(any::<u8>(), 0..60)).prop_map(|(key, version, body)| {
            let mut message = Writer::new(true);
            message.bytes(&body);
            request(key, version, 7, &message)
        });
    let answered =
        proptest::collection::vec(any::<u8>(), 4..60).prop_map(|body| framed(&[&[0, 0, 0, 7], &body[..]].concat()));
    let known = prop_oneof![
        Just(commit(7)),
        Just(committed(7)),
        Just(produce(7, 1)),
        Just(produced(7, 0)),
        Just(fetch(7)),
        Just(fetched(7, "secret")),
        Just(vec![0, 0, 0, 4]),
        Just(vec![0x7f, 0xff, 0xff, 0xff]),
    ];
    prop_oneof![wild, answered, known.clone(), proptest::collection::vec(known, 1..6).prop_map(|parts| parts.concat())]
}
