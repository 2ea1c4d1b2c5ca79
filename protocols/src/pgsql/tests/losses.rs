//! Connections in any pieces, with losses, and of malformed bytes.

use proptest::prelude::*;

use super::*;
use crate::scripted::{
    assert_memory_is_bounded, exchanges_in_part, exchanges_of_joined, hostile_writes, roles, visibilities,
};

/// A turn: groups that are sent before the answers of the first are awaited. Numbers of statements and of their rows agree.
fn turn(first: u64, kinds: &[usize], whole: bool) -> Vec<Written> {
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for (n, kind) in (first..).zip(kinds) {
        let tag = text(b'C', &format!("SELECT {n}"));
        let statement = format!("SELECT c{n} FROM t");
        match kind {
            0 => {
                asked.push(vec![text(b'Q', &statement)]);
                answered.push(vec![described(), row(), tag, ready()]);
            }
            1 => {
                asked.push(vec![parse("", &statement), bind("", ""), execute(""), sync()]);
                answered.push(vec![bound(), row(), row(), tag, ready()]);
            }
            2 => {
                let name = format!("s{n}");
                asked.push(vec![parse(&name, &statement), bind("", &name), execute(""), sync()]);
                answered.push(vec![bound(), tag, ready()]);
            }
            _ => {
                asked.push(vec![text(b'Q', &statement)]);
                answered.push(vec![error("42703", &format!("column \"c{n}\" does not exist")), ready()]);
            }
        }
    }
    let written = |groups: Vec<Vec<Vec<u8>>>, by_client| {
        let pieces: Vec<Vec<u8>> =
            if whole { groups.into_iter().map(|group| group.concat()).collect() } else { groups.concat() };
        pieces.into_iter().map(move |bytes| Written { by_client, bytes })
    };
    written(asked, true).chain(written(answered, false)).collect()
}

fn turns(groups: usize) -> impl Strategy<Value = Vec<Written>> {
    let kinds = proptest::collection::vec(0_usize..4, 1..=groups);
    proptest::collection::vec((kinds, any::<bool>()), 1..8).prop_map(|turns| {
        let mut next = 10;
        let mut script = Vec::new();
        for (kinds, whole) in turns {
            script.extend(turn(next, &kinds, whole));
            next += kinds.len() as u64;
        }
        script
    })
}

/// The number of a statement is that of its answer, as far as it is shown.
fn assert_fits(exchange: &Exchange) {
    let Fields::Pgsql(fields) = &exchange.fields else { panic!("{exchange:?}") };
    let number = |text: &str, mark: char| -> Option<u64> {
        let behind = text.split_once(mark).map(|(_, behind)| behind)?;
        behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    if fields.statement.contains("[TRUNCATED]") || fields.statement == "<unknown statement>" {
        return;
    }
    let asked = if fields.statement.starts_with("<unknown statement s") {
        number(fields.statement.trim_start_matches("<unknown statement "), 's')
    } else {
        number(&fields.statement, 'c')
    };
    let answered = match exchange.is_error {
        true => number(&fields.response.replace("column \"", "#"), 'c'),
        false => fields.response.strip_prefix("SELECT ").and_then(|rows| rows.parse().ok()),
    };
    if answered.is_some() {
        assert_eq!(asked, answered, "{exchange:?}");
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(script in turns(3), piece in 1_usize..40) {
        let script = after_login(&script);
        let whole = exchanges(Name::Pgsql, Role::Client, &script, USIZE);
        prop_assert_eq!(&exchanges(Name::Pgsql, Role::Server, &script, piece), &whole);
        whole.iter().for_each(assert_fits);
        let asked = script.iter().filter(|written| !written.by_client).map(|written| {
            written.bytes.windows(6).filter(|window| *window == ready()).count()
        });
        prop_assert_eq!(whole.len() + 1, asked.sum::<usize>());
    }

    #[test]
    fn what_is_missed_never_makes_a_wrong_pair(script in turns(3), visibilities in visibilities(1), role in roles()) {
        exchanges_in_part(Name::Pgsql, role, &login(), &script, &visibilities).iter().for_each(assert_fits);
    }

    /// What a joined connection lost before its first bytes is not known, nor whether its client waits for answers.
    #[test]
    fn connection_that_is_joined_never_makes_a_wrong_pair(
        script in turns(1),
        joined_at in any::<prop::sample::Index>(),
        visibilities in visibilities(0),
        role in roles(),
    ) {
        exchanges_of_joined(Name::Pgsql, role, &script, joined_at, &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn any_bytes_cost_bounded_memory(writes in hostile_writes(hostile()), joined in any::<bool>()) {
        assert_memory_is_bounded(Name::Pgsql, &login(), joined, &writes);
    }
}

/// Messages with wrong lengths, texts and orders.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let typed = (any::<prop::sample::Index>(), 0_u32..40, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(kind, length, body)| {
            let kinds = b"QPBEDSHCFdcfpXRSKZTDCEN123nstIAVGHWdcv";
            [&[kinds[kind.index(kinds.len())]][..], &length.to_be_bytes(), &body].concat()
        },
    );
    let known = prop_oneof![
        Just(sync()),
        Just(ready()),
        Just(row()),
        Just(described()),
        Just(bound()),
        Just(execute("")),
        Just(bind("", "")),
        Just(parse("", "SELECT 1")),
        Just(text(b'Q', "SELECT 1")),
        Just(text(b'C', "SELECT 1")),
        Just(message(b'c', b"")),
    ];
    prop_oneof![typed, known.clone(), proptest::collection::vec(known, 1..6).prop_map(|parts| parts.concat())]
}
