//! Connections in any pieces, with losses, and of malformed bytes.

use proptest::prelude::*;

use super::*;
use crate::scripted::{
    assert_memory_is_bounded, exchanges_in_part, exchanges_of_joined, hostile_writes, roles, visibilities,
};

/// A command and its answer. The number of its statement is that of the rows, or of the error.
fn turn(number: u8, kind: usize) -> Vec<Written> {
    let statement = format!("SELECT c{number} FROM t");
    let updated = packet(1, status(number, AUTOCOMMIT));
    match kind {
        0 => vec![client(query(&statement)), server(rows(number.into(), false))],
        1 => vec![client(query(&statement)), server(rows(number.into(), true))],
        2 => vec![client(query(&format!("UPDATE c{number}"))), server(updated)],
        3 => {
            let definitions = packets([prepared(number.into(), 0, 1), column(), eof(0)]);
            vec![client(prepare(&statement)), server(definitions), client(execute(number.into())), server(updated)]
        }
        _ => {
            let text = format!("Unknown column 'c{number}' in 'field list'");
            vec![client(query(&statement)), server(packet(1, error(1054, "42S22", &text)))]
        }
    }
}

/// The server says how descriptions end once, for the whole connection.
fn turns() -> impl Strategy<Value = Vec<Written>> {
    (proptest::collection::vec(0_usize..5, 1..10), any::<bool>()).prop_map(|(kinds, deprecates_eof)| {
        let kinds = kinds.into_iter().map(|kind| if kind == usize::from(!deprecates_eof) { 2 } else { kind });
        (10..).zip(kinds).flat_map(|(number, kind)| turn(number, kind)).collect()
    })
}

/// The number of a statement is that of its answer, as far as it is shown.
fn assert_fits(exchange: &Exchange) {
    let Fields::Mysql(fields) = &exchange.fields else { panic!("{exchange:?}") };
    let number = |text: &str, mark: &str| -> Option<u64> {
        let behind = text.split_once(mark).map(|(_, behind)| behind)?;
        behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    if fields.text.contains("[TRUNCATED]") || fields.command == 0x16 {
        return;
    }
    let mark = if fields.text.starts_with("<unknown statement ") { "<unknown statement " } else { "c" };
    let asked = number(&fields.text, mark);
    let answered = if exchange.is_error { number(&fields.response, "'c") } else { Some(fields.rows) };
    if answered.is_some() {
        assert_eq!(asked, answered, "{exchange:?}");
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(script in turns(), piece in 1_usize..40) {
        let script = after_login(&script);
        let whole = exchanges(Name::Mysql, Role::Client, &script, USIZE);
        prop_assert_eq!(&exchanges(Name::Mysql, Role::Server, &script, piece), &whole);
        whole.iter().for_each(assert_fits);
        prop_assert_eq!(whole.len() + 1, script.len() / 2);
    }

    #[test]
    fn what_is_missed_never_makes_a_wrong_pair(script in turns(), visibilities in visibilities(1), role in roles()) {
        exchanges_in_part(Name::Mysql, role, &connected(), &script, &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn connection_that_is_joined_never_makes_a_wrong_pair(
        script in turns(),
        joined_at in any::<prop::sample::Index>(),
        visibilities in visibilities(0),
        role in roles(),
    ) {
        exchanges_of_joined(Name::Mysql, role, &script, joined_at, &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn any_bytes_cost_bounded_memory(writes in hostile_writes(hostile()), joined in any::<bool>()) {
        assert_memory_is_bounded(Name::Mysql, &connected(), joined, &writes);
    }
}

/// Packets with wrong lengths, numbers and orders.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let wild = (any::<u8>(), 0_u8..4, proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(length, sequence, body)| [&[length, 0, 0, sequence], &body[..]].concat());
    let known = prop_oneof![
        Just(query("SELECT 1")),
        Just(prepare("SELECT ?")),
        Just(execute(1)),
        Just(command(0x19, [1, 0, 0, 0])),
        Just(command(0x18, [1, 0, 0, 0, 0, 0, 7])),
        Just(packets([prepared(1, 1, 1), column(), eof(0)])),
        Just(rows(2, false)),
        Just(rows(2, true)),
        Just(ok(1)),
        Just(packet(1, error(1064, "42000", "no"))),
        Just(packet(1, b"\xfbfile")),
        Just(vec![0xff, 0xff, 0xff, 0, 3]),
    ];
    prop_oneof![wild, known.clone(), proptest::collection::vec(known, 1..6).prop_map(|parts| parts.concat())]
}
