//! Masked bytes have no secret in them, and give the same exchanges as the bytes that they were made of.

#![allow(clippy::unwrap_used)]

mod playback;

use playback::{Turn, connections, received, recordings, sent};
use proptest::prelude::*;
use trilobite_protocols::{Connection, Exchange, Name, Settings, Side, Transport};

/// Is in nothing that a row shows.
const SECRET: &str = "anglerfish";

/// Plays a connection. Returns its exchanges, and the bytes of each piece with what is masked in them.
fn play(pieces: &[Turn], transport: Transport, settings: &Settings) -> (Vec<Exchange>, Vec<Turn>) {
    let mut connection = Connection::new(None, transport, false, &Name::ALL, settings);
    let (mut exchanges, mut masked) = (Vec::new(), Vec::new());
    let mut positions = [0u64; 2];
    let index = |side: Side| usize::from(side == Side::Received);
    for (time, piece) in (1..).zip(pieces) {
        let position = &mut positions[index(piece.side)];
        let length = piece.bytes.len() as u64;
        connection.push(piece.side, *position, &piece.bytes, length, time * 1_000_000);
        *position += length;
        masked.extend(connection.take_masked());
        exchanges.extend(std::iter::from_fn(|| connection.take_exchange()));
    }
    connection.finish(1_000_000_000);
    masked.extend(connection.take_masked());
    exchanges.extend(std::iter::from_fn(|| connection.take_exchange()));
    let mut streams = positions.map(|length| vec![b'x'; length as usize]);
    for part in masked {
        let start = part.position as usize;
        streams[index(part.side)][start..start + part.bytes.len()].copy_from_slice(&part.bytes);
    }
    let mut starts = [0; 2];
    let masked = pieces.iter().map(|piece| {
        let start = &mut starts[index(piece.side)];
        let end = *start + piece.bytes.len();
        let bytes = streams[index(piece.side)][std::mem::replace(start, end)..end].to_vec();
        Turn { side: piece.side, bytes }
    });
    (exchanges, masked.collect())
}

fn masks() -> Settings {
    Settings { masks: true, redact_headers: ["x-reef".to_owned()].into(), ..Settings::default() }
}

fn stream_of(pieces: &[Turn], side: Side) -> String {
    let bytes: Vec<u8> =
        pieces.iter().filter(|piece| piece.side == side).flat_map(|piece| piece.bytes.clone()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn assert_same_exchanges_without(secret: &str, pieces: &[Turn], transport: Transport, settings: &Settings) {
    let (expected, masked) = play(pieces, transport, settings);
    assert!(!expected.is_empty(), "{}", stream_of(pieces, Side::Sent));
    for side in [Side::Sent, Side::Received] {
        let stream = stream_of(&masked, side);
        assert!(!stream.contains(secret), "{stream:?}");
    }
    let (exchanges, _) = play(&masked, transport, &Settings { masks: false, ..settings.clone() });
    assert_eq!(exchanges, expected, "{:?}", stream_of(&masked, Side::Sent));
}

/// What the client and the server of each protocol say, with the secret in every place that no row shows.
fn conversations() -> Vec<Vec<Turn>> {
    let http = vec![
        sent(format!(
            "POST /cart;id={SECRET}/item?token={SECRET}&{SECRET}#{SECRET} HTTP/1.1\r\nHost: shop\r\n\
             Authorization: Bearer {SECRET}\r\nCookie: a={SECRET}\r\nX-Reef: {SECRET}\r\nX-Api-Key:{SECRET} \r\n\
             Referer: http://me:{SECRET}@shop/?q={SECRET}\r\nContent-Length: 15\r\n\r\n{SECRET}.body"
        )),
        received(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a={SECRET}\r\nTransfer-Encoding: chunked\r\n\r\n\
             a;x={SECRET}\r\n{SECRET}\r\n0\r\nTrailer: {SECRET}\r\n\r\n"
        )),
        sent("GET /empty HTTP/1.1\r\nHost: shop\r\n\r\n"),
        received("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    ];
    let message = |kind: &str, body: &[u8]| [kind.as_bytes(), &(body.len() as u32 + 4).to_be_bytes(), body].concat();
    let text = |kind: &str, text: String| message(kind, format!("{text}\0").as_bytes());
    let row = [&1u16.to_be_bytes()[..], &10u32.to_be_bytes(), SECRET.as_bytes()].concat();
    let columns = [&1u16.to_be_bytes()[..], SECRET.as_bytes(), &[0; 19]].concat();
    let startup = format!("\0\x03\0\0user\0{SECRET}\0\0");
    let startup = [&(startup.len() as u32 + 4).to_be_bytes()[..], startup.as_bytes()].concat();
    let bind = format!("\0s1\0\0\0\0\x01\0\0\0\x0a{SECRET}\0\0");
    let error = format!("SERROR\0C22P02\0Minvalid input: \"{SECRET}\"\0DKey ({SECRET})\0Rpg_strtoint32\0\0");
    let ready = || message("Z", b"I");
    let pgsql = vec![
        sent(startup),
        received(message("R", b"\0\0\0\x03")),
        sent(text("p", SECRET.into())),
        received([message("R", b"\0\0\0\0"), text("S", format!("application_name\0{SECRET}")), ready()].concat()),
        sent(text("Q", format!("SELECT '{SECRET}', $$ {SECRET} $$ FROM t /* {SECRET} */ WHERE a = 7"))),
        received([message("T", &columns), message("D", &row), text("C", "SELECT 1".into()), ready()].concat()),
        sent(
            [
                message("P", format!("s1\0UPDATE t SET a = '{SECRET}' WHERE b = $1\0\0\0").as_bytes()),
                message("B", bind.as_bytes()),
                message("E", b"\0\0\0\0\0"),
                message("S", b""),
            ]
            .concat(),
        ),
        received(
            [
                message("1", b""),
                message("2", b""),
                text("C", "UPDATE 3".into()),
                text("N", format!("SNOTICE\0M{SECRET}\0")),
            ]
            .into_iter()
            .chain([ready()])
            .collect::<Vec<_>>()
            .concat(),
        ),
        sent(text("Q", format!("SELECT '{SECRET}'::int"))),
        received([message("E", error.as_bytes()), ready()].concat()),
    ];
    let bulk = |words: &[&str]| {
        let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        words
    };
    let command = |words: &[&str]| format!("*{}\r\n{}", words.len(), bulk(words));
    let redis = vec![
        sent(command(&["AUTH", SECRET])),
        received("+OK\r\n"),
        sent(command(&["SET", "cart:7", SECRET]) + &command(&["GET", "cart:7"])),
        received(format!("+OK\r\n{}", bulk(&[SECRET]))),
        sent(command(&["EVAL", SECRET, "1", "key", SECRET])),
        received(format!("-ERR {SECRET}\r\n")),
        sent(command(&["NOSUCH", SECRET])),
        received(format!("-ERR unknown command 'NOSUCH', with args beginning with: '{SECRET}'\r\n")),
        sent(command(&["SUBSCRIBE", "news"])),
        received(format!("*3\r\n{}:1\r\n*3\r\n{}", bulk(&["subscribe", "news"]), bulk(&["message", "news", SECRET]))),
        sent(command(&["HGETALL", "h"])),
        received(format!("*2\r\n{}", bulk(&[SECRET, SECRET]))),
    ];
    vec![http, pgsql, redis, mysql(), kafka()]
}

/// Fields of a Kafka message behind its key and version, or its correlation id; then its length before all.
fn kafka_message(fields: &[&[u8]]) -> Vec<u8> {
    let body = fields.concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn kafka() -> Vec<Turn> {
    let secret = SECRET.as_bytes();
    // Short lengths are one more than they are.
    let text = [&[SECRET.len() as u8 + 1], secret].concat();
    let produce: [&[u8]; 9] = [
        b"\0\0\0\x09\0\0\0\x01\0\x06reef-1\0",
        &text,
        b"\0\x01\0\0\0\x09\x02\x07orders\x02\0\0\0\x07",
        &text,
        b"\x01\0",
        b"\x0a",
        secret,
        b"\0",
        b"\0",
    ];
    let produced: [&[u8]; 5] = [
        b"\0\0\0\x01\0\x02\x07orders\x02\0\0\0\x07\0\x57\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x02\0\0\0\x01",
        &text,
        b"\0",
        &text,
        b"\0\0\0\0\0\0\0",
    ];
    let sasl: [&[u8]; 3] = [b"\0\x24\0\x02\0\0\0\x02\0\x06reef-1\0", &text, b"\0"];
    vec![
        sent(kafka_message(&produce)),
        received(kafka_message(&produced)),
        sent(kafka_message(&sasl)),
        received(kafka_message(&[b"\0\0\0\x02\0", secret])),
    ]
}

fn packet(sequence: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&(payload.len() as u32).to_le_bytes()[..3], &[sequence], payload].concat()
}

fn mysql() -> Vec<Turn> {
    let greeting = format!(
        "\n10.11.6-MariaDB\0\x07\0\0\0{}\0\u{1}\u{2}\x2d\x02\0\x01\0\x15\0\0\0\0\0\0\0\0\0\0{SECRET}..\0native\0",
        &SECRET[..8]
    );
    let login =
        [&[0, 0xa2, 0, 0, 0, 0, 0, 1, 0x2d][..], &[0; 23], SECRET.as_bytes(), b"\0\x0a", SECRET.as_bytes()].concat();
    let row = [&[SECRET.len() as u8], SECRET.as_bytes()].concat();
    let column = format!("\x03def\x0a{SECRET}\x01t\x01t\x0a{SECRET}\x0a{SECRET}\x0c\x2d\0\x40\0\0\0\x7e\0\0\0\0\0");
    let status = |text: &str| [&[0, 1, 0, 2, 0, 0, 0][..], text.as_bytes()].concat();
    let end = b"\xfe\0\0\x02\0";
    let error = |code: u16, state: &str, text: String| {
        packet(1, [&[0xff][..], &code.to_le_bytes(), format!("#{state}{text}").as_bytes()].concat())
    };
    let long_data = [&[0x18, 1, 0, 0, 0, 0, 0][..], SECRET.as_bytes()].concat();
    let execute = [&[0x17, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0xfd, 0, 10][..], SECRET.as_bytes()].concat();
    let attributes = [&b"\x03\x01\x01\0\x01\xfd\0\x03key\x0a"[..], SECRET.as_bytes(), b"SELECT a FROM t"].concat();
    vec![
        received(packet(0, greeting)),
        sent(packet(1, login)),
        received(packet(2, format!("\u{1}{SECRET}"))),
        sent(packet(3, SECRET)),
        received(packet(4, status(SECRET))),
        sent(packet(0, format!("\x03SELECT '{SECRET}', \"{SECRET}\" FROM t /* {SECRET} */ WHERE a = 7 -- {SECRET}"))),
        received([packet(1, [1]), packet(2, &column), packet(3, end), packet(4, &row), packet(5, end)].concat()),
        sent(packet(0, format!("\x16UPDATE t SET a = '{SECRET}' WHERE b = ?"))),
        received([packet(1, [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), packet(2, &column), packet(3, end)].concat()),
        sent([packet(0, long_data), packet(0, execute)].concat()),
        received(packet(1, status(&format!("Rows matched: {SECRET}")))),
        sent(packet(0, attributes)),
        received(error(1062, "23000", format!("Duplicate entry '{SECRET}' for key 'a'"))),
        sent(packet(0, "\x03CALL p()")),
        received(error(1644, "45000", SECRET.to_owned())),
        sent(packet(0, format!("\x03LOAD DATA LOCAL INFILE '{SECRET}' INTO TABLE t"))),
        received(packet(1, [b"\xfb", SECRET.as_bytes()].concat())),
        sent([packet(2, SECRET), packet(3, "")].concat()),
        received(packet(4, status(SECRET))),
        sent(packet(0, b"\x09")),
        received(packet(1, format!("Uptime: {SECRET}"))),
        sent(packet(0, [b"\x11bob\0\x0a", SECRET.as_bytes(), b"shop\0"].concat())),
        received(packet(1, [b"\xfe", SECRET.as_bytes(), b"\0"].concat())),
        sent(packet(2, SECRET)),
        received(packet(3, status(""))),
        sent(packet(0, b"\x02shop")),
        received(packet(1, status(SECRET))),
    ]
}

/// Commands without lengths, whose words are told apart only where a whole line has come.
fn inline_commands() -> Vec<Turn> {
    vec![
        sent(format!("SET inline {SECRET}\r\n")),
        received(format!("+{SECRET}\r\n")),
        sent(format!("EVAL {SECRET} 1 key {SECRET}\r\n")),
        received(":12\r\n"),
    ]
}

#[test]
fn secrets_are_masked_and_exchanges_stay() {
    for conversation in conversations().into_iter().chain([inline_commands()]) {
        assert_same_exchanges_without(SECRET, &conversation, Transport::Stream, &masks());
    }
}

#[test]
fn bodies_and_literals_stay_where_they_are_wanted() {
    let wanted = Settings { payload_bytes: 6, keep_literals: true, ..masks() };
    for conversation in conversations() {
        // No row shows the end of a body.
        assert_same_exchanges_without("Bearer anglerfish", &conversation, Transport::Stream, &wanted);
    }
    let json = [
        sent("POST / HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nanglerfish"),
        received("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n\"anglerfish\""),
    ];
    let (_, masked) = play(&json, Transport::Stream, &wanted);
    assert!(stream_of(&masked, Side::Sent).ends_with("\r\n\r\nanglerxxxx"));
    assert!(stream_of(&masked, Side::Received).ends_with("\r\n\r\n\"anglexxxxxx"));
    assert_same_exchanges_without(SECRET, &json, Transport::Stream, &wanted);
}

#[test]
fn recordings_of_real_clients_give_the_same_exchanges() {
    for vectors in [
        include_str!("vectors/psycopg.txt"),
        include_str!("vectors/pgbench-pipeline.txt"),
        include_str!("vectors/redis-py.txt"),
    ] {
        for connection in connections(vectors) {
            assert_same_exchanges_without("secret", &connection, Transport::Stream, &masks());
        }
    }
    for recorded in
        [include_str!("recorded/http.txt"), include_str!("recorded/http2.txt"), include_str!("recorded/dns.txt")]
    {
        for (name, recording) in recordings(recorded) {
            let transport =
                if name.starts_with('u') && !name.starts_with("up") { Transport::Datagram } else { Transport::Stream };
            let turns: Vec<Turn> = recording
                .calls
                .into_iter()
                .map(|(by_client, bytes)| if by_client { sent(bytes) } else { received(bytes) })
                .collect();
            assert_same_exchanges_without("sekret", &turns, transport, &masks());
        }
    }
}

proptest! {
    #[test]
    fn cuts_show_no_secret(seed: u64) {
        for conversation in conversations() {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut pieces = Vec::new();
            for turn in &conversation {
                let mut rest = turn.bytes.as_slice();
                while !rest.is_empty() {
                    let (piece, behind) = rest.split_at(random.usize(1..=rest.len()));
                    pieces.push(Turn { side: turn.side, bytes: piece.to_vec() });
                    rest = behind;
                }
            }
            let (exchanges, masked) = play(&pieces, Transport::Stream, &masks());
            prop_assert!(!exchanges.is_empty());
            for side in [Side::Sent, Side::Received] {
                let stream = stream_of(&masked, side);
                prop_assert!(!stream.contains(SECRET), "{:?}", stream);
            }
            let (again, _) = play(&masked, Transport::Stream, &Settings::default());
            prop_assert_eq!(again.len(), exchanges.len());
        }
    }
}
