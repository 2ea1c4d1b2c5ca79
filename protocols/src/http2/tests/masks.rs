//! Masked bytes have no secret in them, and give the same exchanges as the bytes that they were made of.

use proptest::prelude::*;

use super::*;
use crate::Masked;

/// Is in nothing that a row shows.
const SECRET: &str = "anglerfish";

/// Exchanges of a script, and what is masked of each side.
fn play(script: &[Written], piece: usize, settings: &Settings) -> (Vec<Exchange>, Vec<Masked>) {
    let mut scripted = Scripted::new(Name::Http2, Role::Client, false, settings);
    let (mut exchanges, mut masked) = (Vec::new(), Vec::new());
    for written in script {
        scripted.see(written, piece);
        exchanges.extend(scripted.take_exchanges());
        masked.extend(scripted.connection.take_masked());
    }
    (exchanges, masked)
}

/// The script with what is masked in its place.
fn masked_script(script: &[Written], masked: &[Masked]) -> Vec<Written> {
    let side = |by_client: bool| if by_client { Side::Sent } else { Side::Received };
    let mut streams = [true, false].map(|by_client| {
        let of_side = script.iter().filter(|written| written.by_client == by_client);
        let mut stream = vec![b'x'; of_side.map(|written| written.bytes.len()).sum()];
        for part in masked.iter().filter(|part| part.side == side(by_client)) {
            let start = part.position as usize;
            stream[start..start + part.bytes.len()].copy_from_slice(&part.bytes);
        }
        stream.into_iter()
    });
    let cut = |written: &Written| Written {
        by_client: written.by_client,
        bytes: streams[usize::from(!written.by_client)].by_ref().take(written.bytes.len()).collect(),
    };
    script.iter().map(cut).collect()
}

/// With the secret in every place that no row shows.
fn script(huffman: bool) -> Vec<Written> {
    let mut talk = Talk::new(huffman);
    let path = format!("/cart?token={SECRET}&b=1");
    let bearer = format!("Bearer {SECRET}");
    let get = [(":method", "GET"), (":scheme", "http"), (":path", path.as_str()), ("authorization", &bearer)];
    talk.ask(1, &[&get[..], &[("cookie", SECRET), ("x-reef", SECRET), ("x-shown", "reef")]].concat(), false);
    talk.send(data(1, SECRET.as_bytes(), true));
    talk.answer(1, &[(":status", "200"), ("set-cookie", SECRET), ("location", &format!("/c?a={SECRET}"))], false);
    talk.receive(frame(0, 9, 1, format!("\x0a{SECRET}{SECRET}").as_bytes()));
    talk.send(frame(7, 0, 0, format!("\0\0\0\0\0\0\0\0{SECRET}").as_bytes()));
    talk.ask(3, &[&get[..], &[("x-shown", "reef")]].concat(), true).answer(3, &[(":status", "404")], true);
    talk.call(5, &[("x-user", SECRET), ("user-agent", "grpc-go/1.70")]);
    talk.send(data(5, &[message(SECRET.as_bytes()), message(SECRET.as_bytes())].concat(), true));
    talk.answer(5, &[(":status", "200"), ("content-type", "application/grpc"), ("x-user", SECRET)], false);
    talk.receive(data(5, &message(SECRET.as_bytes()), false));
    talk.answer(5, &[("grpc-status", "5"), ("grpc-message", SECRET), ("grpc-status-details-bin", SECRET)], true);
    talk.script
}

fn masks() -> Settings {
    Settings { masks: true, redact_headers: ["x-reef".to_owned()].into(), ..Settings::default() }
}

fn shows(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn secrets_are_masked_and_exchanges_stay() {
    for huffman in [false, true] {
        let script = script(huffman);
        let (expected, masked) = play(&script, usize::MAX, &masks());
        assert_eq!(expected.len(), 3);
        assert!(!format!("{expected:?}").contains(SECRET), "{expected:?}");
        let masked = masked_script(&script, &masked);
        let secret = huffman::encoded(SECRET.as_bytes());
        for written in &masked {
            assert!(!shows(&written.bytes, SECRET.as_bytes()) && !shows(&written.bytes, &secret[..5]), "{written:?}");
        }
        let (again, _) = play(&masked, usize::MAX, &Settings { masks: false, ..masks() });
        assert_eq!(again, expected);
    }
}

#[test]
fn bodies_stay_where_they_are_wanted() {
    let mut talk = Talk::new(true);
    talk.get(1, "/a").answer(1, &[(":status", "200"), ("content-type", "text/plain")], false);
    talk.receive(data(1, SECRET.as_bytes(), true));
    let settings = Settings { payload_bytes: 4, ..masks() };
    let (expected, masked) = play(&talk.script, usize::MAX, &settings);
    let masked = masked_script(&talk.script, &masked);
    assert!(masked.last().unwrap().bytes.ends_with(b"anglxxxxxx"));
    assert_eq!(play(&masked, usize::MAX, &settings).0, expected);
}

proptest! {
    #[test]
    fn masks_of_any_pieces_give_the_same(piece in 1usize..200, huffman in any::<bool>()) {
        let script = script(huffman);
        let (expected, masked) = play(&script, piece, &masks());
        let masked = masked_script(&script, &masked);
        prop_assert!(masked.iter().all(|written| !shows(&written.bytes, SECRET.as_bytes())));
        prop_assert_eq!(play(&masked, usize::MAX, &Settings { masks: false, ..masks() }).0, expected);
    }
}
