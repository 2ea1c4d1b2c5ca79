//! HTTP and DNS: bytes cut in any way give the same exchanges, and no loss pairs a request with another one's answer.

#![allow(clippy::unwrap_used)]

mod playback;

use playback::{Loss, Playback, Turn, exchanges, received, sent};
use proptest::prelude::*;
use trilobite_protocols::{Exchange, Fields, Name, Role, Side, Transport};

/// How the body of a message is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    Length,
    Chunks,
}

/// One request and its answer; both carry the number of the exchange.
#[derive(Clone, Debug)]
struct Talk {
    method: &'static str,
    request: Framing,
    answer: Framing,
    interim: bool,
    body: usize,
}

fn talk() -> impl Strategy<Value = Talk> {
    let framing = || prop_oneof![Just(Framing::None), Just(Framing::Length), Just(Framing::Chunks)];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("DELETE"), Just("M-SEARCH")];
    (method, framing(), framing(), any::<bool>(), 0usize..300)
        .prop_map(|(method, request, answer, interim, body)| Talk { method, request, answer, interim, body })
}

/// Batches of a client that waits for all answers before it asks again.
fn batches() -> impl Strategy<Value = Vec<Vec<Talk>>> {
    prop::collection::vec(prop::collection::vec(talk(), 1..4), 1..8)
}

/// A body of repetitions of a text.
fn body(framing: Framing, text: &str, length: usize) -> (String, String) {
    let content: String = text.chars().cycle().take(length).collect();
    match framing {
        Framing::None => ("Content-Length: 0\r\n".to_owned(), String::new()),
        Framing::Length => (format!("Content-Length: {length}\r\n"), content),
        Framing::Chunks => {
            let chunks: String = content
                .as_bytes()
                .chunks(77)
                .map(|chunk| format!("{:x};a=b\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
                .collect();
            ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{chunks}0\r\nX-Trailer: 1\r\n\r\n"))
        }
    }
}

fn request(talk: &Talk, number: usize) -> String {
    let (header, body) = body(talk.request, "HTTP/1.1 200 x\r\n\r\n", talk.body);
    format!("{} /{number} HTTP/1.1\r\nHost: shop\r\n{header}\r\n{body}", talk.method)
}

fn answer(talk: &Talk, number: usize) -> String {
    let (header, body) = body(talk.answer, "GET /0 HTTP/1.0\r\n\r\nHTTP/1.1 200 x\r\n\r\n", talk.body);
    let interim = if talk.interim { "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" } else { "" };
    let body = if talk.method == "HEAD" { String::new() } else { body };
    format!("{interim}HTTP/1.1 200 OK\r\nX-Number: {number}\r\n{header}\r\n{body}")
}

fn http_turns(batches: &[Vec<Talk>]) -> Vec<Turn> {
    let mut number = 0;
    let mut turns = Vec::new();
    for batch in batches {
        let numbered: Vec<(&Talk, usize)> = batch.iter().zip(number..).collect();
        turns.push(sent(numbered.iter().map(|(talk, number)| request(talk, *number)).collect::<String>()));
        turns.extend(numbered.iter().map(|(talk, number)| received(answer(talk, *number))));
        number += batch.len();
    }
    turns
}

/// The number in the request, which must be that in the answer.
fn number(exchange: &Exchange) -> usize {
    let Fields::Http(fields) = &exchange.fields else { panic!("{exchange:?}") };
    let asked = fields.path.trim_start_matches('/').parse().unwrap();
    let header = fields.response_headers.iter().find(|(name, _)| name == "X-Number");
    let answered: usize = header.and_then(|(_, value)| value.parse().ok()).unwrap_or_else(|| panic!("{fields:?}"));
    assert_eq!(asked, answered, "a wrong pair: {fields:?}");
    asked
}

fn dns_query(id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(b"\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01");
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

fn dns_answer(id: u16) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(b"\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
    message.extend([10, 0, id.to_be_bytes()[0], id.to_be_bytes()[1]]);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

/// Each query is answered after `delay` further queries.
fn dns_turns(count: u16, delay: u16) -> Vec<Turn> {
    let mut turns = Vec::new();
    for step in 0..count + delay {
        if step < count {
            turns.push(sent(dns_query(step)));
        }
        if step >= delay {
            turns.push(received(dns_answer(step - delay)));
        }
    }
    turns
}

fn dns_is_well_paired(exchange: &Exchange) {
    let Fields::Dns(fields) = &exchange.fields else { panic!("{exchange:?}") };
    assert_eq!(fields.answers, [format!("10.0.{}.{}", fields.id >> 8, fields.id & 255)]);
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..4, 1usize..40, 1usize..2000], 1..50)
}

/// Sizes of pieces, over and over.
fn cycled(sizes: Vec<usize>) -> impl FnMut() -> usize {
    let mut sizes = sizes.into_iter().cycle();
    move || sizes.next().unwrap_or(1)
}

/// Which turn loses bytes, and which; both as parts of 1.
fn losses() -> impl Strategy<Value = Vec<(f64, f64, f64, Loss)>> {
    let loss = prop_oneof![Just(Loss::Record), Just(Loss::Bytes)];
    prop::collection::vec((0.0..1.0, 0.0..1.0, 0.0..=1.0, loss), 1..4)
}

fn play_with_losses(playback: &mut Playback, turns: &[Turn], losses: &[(f64, f64, f64, Loss)]) {
    for (index, turn) in turns.iter().enumerate() {
        let here = losses.iter().find(|loss| (loss.0 * turns.len() as f64) as usize == index);
        match here {
            Some((_, from, part, loss)) => {
                let start = (from * turn.bytes.len() as f64) as usize;
                let end = start + ((turn.bytes.len() - start) as f64 * part).ceil() as usize;
                playback.play_with_loss(turn, start..end.min(turn.bytes.len()), *loss);
            }
            None => playback.play_whole(turn),
        }
    }
}

#[test]
fn http_cut_at_every_byte_is_the_same() {
    let talks = [
        Talk { method: "POST", request: Framing::Chunks, answer: Framing::Length, interim: true, body: 90 },
        Talk { method: "HEAD", request: Framing::None, answer: Framing::Length, interim: false, body: 90 },
        Talk { method: "GET", request: Framing::Length, answer: Framing::Chunks, interim: false, body: 90 },
    ];
    let turns = http_turns(&[talks[..2].to_vec(), talks[2..].to_vec()]);
    let whole = exchanges(Playback::client(Name::Http), &turns, &mut || usize::MAX);
    assert_eq!(whole.iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
    for cut in 1..turns.iter().map(|turn| turn.bytes.len()).max().unwrap() {
        let mut sizes = cycled(vec![cut, usize::MAX]);
        assert_eq!(exchanges(Playback::client(Name::Http), &turns, &mut sizes), whole, "cut at {cut}");
    }
    assert_eq!(exchanges(Playback::client(Name::Http), &turns, &mut || 1), whole);
}

#[test]
fn dns_cut_at_every_byte_is_the_same() {
    let turns = dns_turns(5, 2);
    let whole = exchanges(Playback::client(Name::Dns), &turns, &mut || usize::MAX);
    assert_eq!(whole.len(), 5);
    for cut in 1..turns.iter().map(|turn| turn.bytes.len()).max().unwrap() {
        assert_eq!(exchanges(Playback::client(Name::Dns), &turns, &mut || cut), whole, "pieces of {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn http_in_random_pieces_is_the_same(batches in batches(), sizes in cuts(), role_known in any::<bool>()) {
        let turns = http_turns(&batches);
        let role = role_known.then_some(Role::Client);
        let playback = || Playback::new(role, Transport::Stream, false, &Name::ALL);
        let whole = exchanges(playback(), &turns, &mut || usize::MAX);
        let count: usize = batches.iter().map(Vec::len).sum();
        prop_assert_eq!(whole.iter().map(number).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        prop_assert_eq!(exchanges(playback(), &turns, &mut cycled(sizes)), whole);
    }

    #[test]
    fn http_with_losses_is_never_paired_wrongly(batches in batches(), losses in losses()) {
        let turns = http_turns(&batches);
        let mut playback = Playback::client(Name::Http);
        play_with_losses(&mut playback, &turns, &losses);
        let before_end = playback.exchanges();
        playback.finish();
        let found: Vec<usize> = before_end.iter().chain(&playback.exchanges()).map(number).collect();
        prop_assert!(found.is_sorted_by(|one, other| one < other), "{:?}", found);
    }

    #[test]
    fn http_is_in_step_again_after_a_loss(batches in batches(), losses in losses()) {
        let calm = vec![Talk { method: "GET", request: Framing::None, answer: Framing::Length, interim: false, body: 9 }];
        let lossy = batches.len();
        let all: Vec<Vec<Talk>> = batches.into_iter().chain(std::iter::repeat_n(calm, 6)).collect();
        let turns = http_turns(&all);
        let (before, behind) = turns.split_at(http_turns(&all[..lossy]).len());
        let mut playback = Playback::client(Name::Http);
        // The first turn is whole: it says which protocol it is.
        play_with_losses(&mut playback, before, &losses.into_iter().filter(|loss| loss.0 > 0.5).collect::<Vec<_>>());
        behind.iter().for_each(|turn| playback.play_whole(turn));
        let found: Vec<usize> = playback.exchanges().iter().map(number).collect();
        let count: usize = all.iter().map(Vec::len).sum();
        prop_assert!(found.contains(&(count - 2)), "{:?} of {}", found, count);
    }

    #[test]
    fn dns_with_losses_is_never_paired_wrongly(count in 1u16..20, delay in 0u16..5, losses in losses()) {
        let turns = dns_turns(count, delay);
        let mut playback = Playback::client(Name::Dns);
        play_with_losses(&mut playback, &turns, &losses);
        playback.exchanges().iter().for_each(dns_is_well_paired);
    }

    #[test]
    fn dns_in_random_pieces_is_the_same(count in 1u16..20, delay in 0u16..5, sizes in cuts()) {
        let turns = dns_turns(count, delay);
        let found = exchanges(Playback::client(Name::Dns), &turns, &mut cycled(sizes));
        prop_assert_eq!(found.len(), usize::from(count));
        found.iter().for_each(dns_is_well_paired);
    }

    #[test]
    fn joined_http_is_never_paired_wrongly(batches in batches(), skipped in 0usize..12) {
        // Whole batches only: a client that is joined between two requests of its batch is the loss test's case.
        let turns = http_turns(&batches);
        let start = turns.iter().enumerate().skip(skipped).find(|(_, turn)| turn.side == Side::Sent);
        let start = start.map_or(turns.len(), |(index, _)| index);
        let mut playback = Playback::new(Some(Role::Client), Transport::Stream, true, &[Name::Http]);
        turns[start..].iter().for_each(|turn| playback.play_whole(turn));
        playback.exchanges().iter().map(number).for_each(drop);
    }
}
