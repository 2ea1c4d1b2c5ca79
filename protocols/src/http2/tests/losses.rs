//! Connections of which a part was not seen: what is not known is `?`, and no request has another one's answer.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::scripted::{
    Visibility, assert_memory_is_bounded, exchanges_in_part, exchanges_of_joined, hostile_writes, roles, visibilities,
};

/// Requests whose path, and answers whose field, have the number of their stream.
fn script(streams: &[(u8, bool)], huffman: bool) -> Vec<Written> {
    let mut talk = Talk::new(huffman);
    let mut open: Vec<u32> = Vec::new();
    for (number, (order, has_body)) in (0u32..).zip(streams) {
        let stream = 2 * number + 1;
        talk.get(stream, &format!("/{}", stream / 6 * 6));
        open.push(stream);
        if *order > 2 {
            continue;
        }
        while !open.is_empty() {
            let stream = open.remove(usize::from(*order) % open.len());
            let number = (stream / 6 * 6).to_string();
            let common = [(":status", "200"), ("x-number", number.as_str()), ("x-stream", "same")];
            talk.answer(stream, &common, !has_body);
            if *has_body {
                talk.receive(data(stream, &[0; 300], false)).receive(data(stream, b"PRI * HTTP/2.0", true));
            }
        }
    }
    talk.script
}

fn streams() -> impl Strategy<Value = Vec<Written>> {
    (prop::collection::vec((0u8..5, any::<bool>()), 1..12), any::<bool>())
        .prop_map(|(streams, huffman)| script(&streams, huffman))
}

/// What is shown is right; what is not known is `?`.
fn assert_fits(exchange: &Exchange) {
    let fields = http(exchange.clone());
    assert!(matches!(fields.method.as_str(), "GET" | "?"), "{fields:?}");
    let number = header(&fields.response_headers, "x-number");
    if let (Some(asked), Some(answered)) = (fields.path.strip_prefix('/'), number) {
        assert_eq!(asked, answered, "{fields:?}");
    }
    if let Some(bytes) = fields.response_body_bytes {
        assert!(matches!(bytes, 0 | 314), "{fields:?}");
    }
    assert!(matches!(fields.status, Some(200) | None), "{fields:?}");
}

fn greetings() -> Vec<Written> {
    let mut talk = Talk::new(false);
    talk.get(1, "/0").answer(1, &[(":status", "200")], true);
    talk.script
}

#[test]
fn joined_connection_shows_what_it_knows() {
    let mut talk = Talk::new(true);
    let more = [("x-number", "7"), ("server", "reef")];
    talk.get(1, "/old").answer(1, &[&[(":status", "202")], &more[..]].concat(), true);
    talk.script.clear();
    talk.get(3, "/old").answer(3, &[&[(":status", "202")], &more[..]].concat(), true);
    talk.get(5, "/new").answer(5, &[&[(":status", "200")], &more[..], &[("age", "1")]].concat(), true);
    talk.get(7, "/new").answer(7, &[(":status", "404"), ("age", "1")], true);
    let mut scripted = Scripted::new(Name::Http2, Role::Client, true, &Settings::default());
    talk.script.iter().for_each(|written| scripted.see(written, usize::MAX));
    let rows = scripted.take_exchanges();
    assert!(rows.iter().all(|row| row.mid_stream));
    let known: Vec<HttpFields> = rows.iter().cloned().map(http).collect();
    assert_eq!(header(&known[2].response_headers, "age").unwrap(), "1");
    assert_eq!(known[1].response_headers[1], ("?".to_owned(), "?".to_owned()));
    let lines: Vec<String> = rows.into_iter().map(line).collect();
    // 202 is no entry of the static table.
    assert_eq!(lines, ["GET ? ?", "GET /new 200 OK", "GET /new 404"]);
    assert_eq!(scripted.connection.lost(), 0);
}

#[test]
fn connection_is_joined_where_a_call_begins_with_frames() {
    let mut talk = Talk::new(false);
    talk.get(1, "/a").get(3, "/b").answer(1, &[(":status", "200")], false);
    let late = data(1, &[7; 5000], true);
    let mut scripted = Scripted::new(Name::Http2, Role::Client, true, &Settings::default());
    scripted.push(Side::Received, &late[100..]);
    assert_eq!(scripted.connection.verdict(), Verdict::Undecided);
    talk.script.clear();
    talk.answer(3, &[(":status", "200")], true).get(5, "/c").answer(5, &[(":status", "404")], true);
    talk.script.iter().for_each(|written| scripted.see(written, usize::MAX));
    let lines: Vec<String> = scripted.take_exchanges().into_iter().map(line).collect();
    assert_eq!(lines, ["GET /c 404"]);
    assert_eq!(scripted.connection.lost(), 1, "the answer to /b");
}

#[test]
fn content_that_was_not_copied_stays_in_step() {
    let mut talk = Talk::new(true);
    talk.get(1, "/a").answer(1, &[(":status", "200")], false);
    talk.receive(data(1, &[0; 16_000], false)).receive(data(1, &[0; 9_000], true));
    talk.get(3, "/b").answer(3, &[(":status", "200")], true);
    let mut scripted = Scripted::new(Name::Http2, Role::Client, false, &Settings::default());
    talk.script.iter().for_each(|written| scripted.see_beginning(written, 4096));
    let rows: Vec<HttpFields> = scripted.take_exchanges().into_iter().map(http).collect();
    let bytes: Vec<Option<u64>> = rows.iter().map(|row| row.response_body_bytes).collect();
    assert_eq!((bytes, scripted.connection.lost()), (vec![Some(25_000), Some(0)], 0));
}

#[test]
fn lost_head_leaves_the_others_in_step() {
    let mut talk = Talk::new(false);
    talk.get(1, "/a").answer(1, &[(":status", "200"), ("server", "reef")], true);
    talk.get(3, "/b").answer(3, &[(":status", "200"), ("server", "reef"), ("x-long", &"v".repeat(900))], true);
    talk.get(5, "/c").answer(5, &[(":status", "200"), ("server", "reef")], true);
    let mut scripted = Scripted::new(Name::Http2, Role::Client, false, &Settings::default());
    talk.script.iter().for_each(|written| scripted.see_beginning(written, 500));
    let rows: Vec<HttpFields> = scripted.take_exchanges().into_iter().map(http).collect();
    let paths: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    assert_eq!(paths, ["/a", "/c"]);
    assert_eq!(rows[1].response_headers[1], ("?".to_owned(), "?".to_owned()));
    scripted.connection.finish(scripted.time);
    assert_eq!(scripted.connection.lost(), 1);
}

#[test]
fn stream_that_may_have_ended_unseen_is_given_up() {
    let mut talk = Talk::new(false);
    talk.get(1, "/a").answer(1, &[(":status", "200")], true).get(3, "/b").answer(3, &[(":status", "200")], true);
    let mut scripted = Scripted::new(Name::Http2, Role::Client, false, &Settings::default());
    talk.script[..5].iter().for_each(|written| scripted.see(written, usize::MAX));
    scripted.miss(&talk.script[5]);
    talk.script.clear();
    for stream in [5, 7] {
        talk.get(stream, "/c").answer(stream, &[(":status", "200")], true);
    }
    talk.script[..2].iter().for_each(|written| scripted.see(written, usize::MAX));
    assert_eq!(scripted.connection.lost(), 0);
    scripted.time += 11_000_000_000;
    talk.script[2..].iter().for_each(|written| scripted.see(written, usize::MAX));
    assert_eq!((scripted.take_exchanges().len(), scripted.connection.lost()), (3, 1));
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(script in streams(), piece in 1usize..40) {
        let whole = exchanges(Name::Http2, Role::Client, &script, usize::MAX);
        prop_assert_eq!(&exchanges(Name::Http2, Role::Server, &script, piece), &whole);
        whole.iter().for_each(assert_fits);
        whole.iter().for_each(|row| assert!(row.latency() > 0 && http(row.clone()).status == Some(200)));
    }

    #[test]
    fn what_is_missed_never_makes_a_wrong_row(
        script in streams(),
        visibilities in visibilities(1),
        role in roles(),
    ) {
        // The script greets again: a client that does is followed from there.
        exchanges_in_part(Name::Http2, role, &greetings(), &script[2..], &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn connection_that_is_joined_never_makes_a_wrong_row(
        script in streams(),
        joined_at in any::<Index>(),
        visibilities in visibilities(1),
        role in roles(),
    ) {
        exchanges_of_joined(Name::Http2, role, &script, joined_at, &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn joined_connection_has_a_row_for_each_new_request(script in streams(), role in roles()) {
        let first = script.iter().skip(3).position(|written| written.by_client).map(|at| at + 3);
        let Some(first) = first else { return Ok(()) };
        let mut scripted = Scripted::new(Name::Http2, role, true, &Settings::default());
        script[first..].iter().for_each(|written| scripted.see(written, usize::MAX));
        scripted.connection.finish(scripted.time);
        let rows = scripted.take_exchanges();
        rows.iter().for_each(assert_fits);
        let asked = script[first..].iter().filter(|written| written.by_client).count() as u64;
        prop_assert!(rows.len() as u64 + scripted.connection.lost() >= asked, "{} of {}", rows.len(), asked);
    }

    #[test]
    fn any_bytes_cost_bounded_memory(writes in hostile_writes(hostile()), joined in any::<bool>()) {
        assert_memory_is_bounded(Name::Http2, &greetings(), joined, &writes);
    }
}

/// Frames of any kind, with wrong lengths and blocks.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(vec![0x82, 0x86, 0x84, 0x41, 0x01, b'a']),
        Just(vec![0x88, 0xbe, 0xbf]),
        Just(vec![0; 5]),
        Just(vec![0; 8]),
    ];
    let frames = (0u8..12, any::<u8>(), 0u32..8, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags & 0x2d, stream, &payload));
    prop_oneof![
        4 => prop::collection::vec(frames, 1..5).prop_map(|frames| frames.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => Just(greeting()),
    ]
}

/// The visibilities that a loss of the first kind has, so that shrinking names them.
#[test]
fn loss_of_a_whole_answer_is_counted() {
    let script = script(&[(0, false), (0, false), (0, false)], false);
    let seen = [Visibility::Seen, Visibility::Seen, Visibility::Seen, Visibility::Missed, Visibility::Seen];
    let rows = exchanges_in_part(Name::Http2, Role::Client, &[], &script, &seen);
    assert!(rows.len() <= 2, "{rows:?}");
    rows.iter().for_each(assert_fits);
}
