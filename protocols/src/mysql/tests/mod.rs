mod answers;
mod losses;
mod packets;

use super::*;
use crate::scripted::{Scripted, Written, client, exchanges, exchanges_in_any_pieces, server};
use crate::{Exchange, Fields, MysqlStatus, Verdict};

const USIZE: usize = usize::MAX;
const AUTOCOMMIT: u16 = 2;
const MORE_RESULTS: u16 = 8;
const COMPRESS: u32 = 1 << 5;
const DEPRECATE_EOF: u32 = 1 << 24;

pub(super) fn packet(sequence: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

/// Packets with numbers from 1 on.
fn packets<const N: usize>(payloads: [Vec<u8>; N]) -> Vec<u8> {
    payloads.iter().zip(1..).flat_map(|(payload, sequence)| packet(sequence, payload)).collect()
}

fn greeting(capabilities: u32) -> Vec<u8> {
    let [low, high] = [capabilities as u16, (capabilities >> 16) as u16];
    let body = [
        &b"\x0a5.5.5-10.11.6-MariaDB\0\x07\0\0\0saltsalt\0"[..],
        &low.to_le_bytes(),
        b"\x2d",
        &AUTOCOMMIT.to_le_bytes(),
        &high.to_le_bytes(),
        b"\x15\0\0\0\0\0\0\0\0\0\0saltsaltsalt\0mysql_native_password\0",
    ];
    packet(0, body.concat())
}

fn login(sequence: u8, capabilities: u32) -> Vec<u8> {
    let flags = (capabilities | 0x0200 | 0x8000).to_le_bytes();
    let body = [&flags[..], &[0, 0, 0, 1, 0x2d], &[0; 23], b"bob\0\x14secretsecretsecret..mysql_native_password\0"];
    packet(sequence, body.concat())
}

fn status(rows: u8, flags: u16) -> Vec<u8> {
    [&[0, rows, 0][..], &flags.to_le_bytes(), &[0, 0]].concat()
}

fn ok(sequence: u8) -> Vec<u8> {
    packet(sequence, status(0, AUTOCOMMIT))
}

fn eof(flags: u16) -> Vec<u8> {
    [&[0xfe, 0, 0][..], &flags.to_le_bytes()].concat()
}

/// OK in the place of EOF.
fn ok_as_eof(flags: u16) -> Vec<u8> {
    [&[0xfe, 0, 0][..], &flags.to_le_bytes(), &[0, 0]].concat()
}

fn error(code: u16, state: &str, text: &str) -> Vec<u8> {
    [&[0xff][..], &code.to_le_bytes(), format!("#{state}{text}").as_bytes()].concat()
}

fn column() -> Vec<u8> {
    b"\x03def\x04shop\x01t\x01t\x04name\x04name\x0c\x2d\0\x40\0\0\0\xfd\0\0\0\0\0".to_vec()
}

fn row() -> Vec<u8> {
    b"\x06secret".to_vec()
}

fn connected() -> Vec<Written> {
    vec![server(greeting(u32::MAX)), client(login(1, 0)), server(ok(2))]
}

fn after_login(script: &[Written]) -> Vec<Written> {
    [&connected()[..], script].concat()
}

fn command(byte: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    packet(0, [&[byte], body.as_ref()].concat())
}

fn query(text: &str) -> Vec<u8> {
    command(3, text)
}

fn prepare(text: &str) -> Vec<u8> {
    command(0x16, text)
}

fn execute(id: u32) -> Vec<u8> {
    command(0x17, [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0], b"\0\x01\xfd\0\x06secret"].concat())
}

fn prepared(id: u32, columns: u16, parameters: u16) -> Vec<u8> {
    [&[0][..], &id.to_le_bytes(), &columns.to_le_bytes(), &parameters.to_le_bytes(), &[0, 0, 0]].concat()
}

/// One column and so many rows.
fn rows(count: usize, deprecates_eof: bool) -> Vec<u8> {
    let mut payloads = vec![vec![1], column()];
    if !deprecates_eof {
        payloads.push(eof(AUTOCOMMIT));
    }
    payloads.extend(std::iter::repeat_n(row(), count));
    payloads.push(if deprecates_eof { ok_as_eof(AUTOCOMMIT) } else { eof(AUTOCOMMIT) });
    payloads.iter().zip(1..).flat_map(|(payload, sequence)| packet(sequence, payload)).collect()
}

/// `command text -> response rows` of each exchange.
fn lines(exchanges: Vec<Exchange>) -> Vec<String> {
    let line = |exchange: Exchange| match exchange.fields {
        Fields::Mysql(fields) => {
            assert_eq!(exchange.is_error, fields.status == MysqlStatus::Error);
            let code =
                if exchange.is_error { format!("{} {} ", fields.error_code, fields.sql_state) } else { String::new() };
            format!("{} {} -> {code}{} {}", command_name(fields.command), fields.text, fields.response, fields.rows)
        }
        other => panic!("{other:?}"),
    };
    exchanges.into_iter().map(line).collect()
}

fn shown(script: &[Written]) -> Vec<String> {
    lines(exchanges_in_any_pieces(Name::Mysql, script))
}

fn seen(mid_stream: bool, role: Role, script: &[Written]) -> Scripted {
    let mut scripted = Scripted::new(Name::Mysql, role, mid_stream, &Settings::default());
    script.iter().for_each(|written| scripted.see(written, USIZE));
    scripted
}

#[test]
fn statements_and_their_results_are_exchanges() {
    for deprecates_eof in [false, true] {
        let script = after_login(&[
            client(query("SELECT name FROM t WHERE a = 'secret' AND b = \"secret\"")),
            server(rows(3, deprecates_eof)),
            client(query("UPDATE t SET a = 7")),
            server(packet(1, status(4, AUTOCOMMIT))),
            client(query("SELECT 1 FROM nowhere")),
            server(packet(1, error(1146, "42S02", "Table 'shop.nowhere' doesn't exist"))),
            client(query("SELECT name FROM t")),
            server(rows(0, deprecates_eof)),
        ]);
        assert_eq!(
            shown(&script),
            [
                "Query SELECT name FROM t WHERE a = ? AND b = ? -> Resultset rows = 3 3",
                "Query UPDATE t SET a = ? ->  4",
                "Query SELECT ? FROM nowhere -> 1146 42S02 Table 'shop.nowhere' doesn't exist 0",
                "Query SELECT name FROM t -> Resultset rows = 0 0",
            ]
        );
    }
}

#[test]
fn prepared_statement_is_shown_with_its_text() {
    let definitions = [prepared(1, 1, 1), column(), eof(0), column(), eof(0)];
    let binary_row = b"\0\0\x06secret".to_vec();
    let script = after_login(&[
        client(prepare("SELECT name FROM t WHERE a = ? AND b = 7")),
        server(packets(definitions)),
        client(execute(1)),
        server(packets([vec![1], column(), eof(2), binary_row, eof(2)])),
        client(command(0x1a, 1_u32.to_le_bytes())),
        server(ok(1)),
        client([command(0x19, 1_u32.to_le_bytes()), prepare("nonsense")].concat()),
        server(packet(1, error(1064, "42000", "You have an error near 'nonsense' at line 1"))),
        client(execute(1)),
        server(packet(1, error(1243, "HY000", "Unknown prepared statement handler (1) given to EXECUTE"))),
        client(command(1, b"")),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Prepare SELECT name FROM t WHERE a = ? AND b = ? ->  0",
            "Execute SELECT name FROM t WHERE a = ? AND b = ? -> Resultset rows = 1 1",
            "Reset stmt SELECT name FROM t WHERE a = ? AND b = ? ->  0",
            "Close stmt SELECT name FROM t WHERE a = ? AND b = ? ->  0",
            "Prepare nonsense -> 1064 42000 You have an error near '<redacted>' at line ? 0",
            "Execute <unknown statement 1> -> 1243 HY000 Unknown prepared statement handler (?) given to EXECUTE 0",
            "Quit  ->  0",
        ]
    );
}

#[test]
fn statement_of_before_is_shown_with_its_id() {
    for role in [Role::Client, Role::Server] {
        let mut scripted = seen(
            true,
            role,
            &[client(execute(7)), server(rows(1, true)), client(query("SELECT a FROM t")), server(rows(2, true))],
        );
        let exchanges = scripted.take_exchanges();
        assert!(exchanges.iter().all(|exchange| exchange.mid_stream));
        assert_eq!(
            lines(exchanges),
            ["Execute <unknown statement 7> -> Resultset rows = 1 1", "Query SELECT a FROM t -> Resultset rows = 2 2"]
        );
    }
}

#[test]
fn header_in_a_call_of_its_own_is_recognised() {
    let asked = query("SELECT a FROM t");
    let answered = server(rows(1, true));
    for role in [Role::Client, Role::Server] {
        let script = [
            client(&asked[..4]),
            client(&asked[4..]),
            answered.clone(),
            client(&asked[..4]),
            client(&asked[4..]),
            answered.clone(),
        ];
        let mut scripted = Scripted::new(Name::Mysql, role, true, &Settings::default());
        script.iter().for_each(|written| scripted.see(written, USIZE));
        assert_eq!(lines(scripted.take_exchanges()), ["Query SELECT a FROM t -> Resultset rows = 1 1"; 2]);
    }
}

#[test]
fn times_and_bytes_are_those_of_the_command() {
    let mut scripted = seen(false, Role::Server, &connected());
    let start = scripted.time;
    let asked = query("SELECT sleep(1)");
    scripted.see(&client(&asked[..4]), USIZE);
    scripted.see(&client(&asked[4..]), USIZE);
    scripted.time += 998_000_000;
    scripted.see(&server(rows(1, true)), USIZE);
    let [exchange] = scripted.take_exchanges().try_into().unwrap();
    assert_eq!((exchange.started - start, exchange.asked - start), (1_000_000, 2_000_000));
    assert_eq!(exchange.latency(), 999_000_000);
    assert_eq!(exchange.request_bytes, asked.len() as u64);
    assert_eq!(exchange.response_bytes, rows(1, true).len() as u64);
}

#[test]
fn failed_login_is_an_exchange_and_a_login_is_not() {
    let refused = packet(2, error(1045, "28000", "Access denied for user 'bob'@'h' (using password: YES)"));
    let script = [server(greeting(u32::MAX)), client(login(1, 0)), server(refused)];
    assert_eq!(shown(&script), ["Connect  -> 1045 28000 Access denied for user '<redacted>' (using password: YES) 0"]);
    assert!(shown(&connected()).is_empty());
    assert_eq!(seen(false, Role::Client, &connected()).connection.verdict(), Verdict::Parse(Name::Mysql));
    let full = server(packet(0, [&[0xff, 0x10, 4][..], b"Too many connections"].concat()));
    assert_eq!(shown(&[full]), ["Connect  -> 1040  Too many connections 0"]);
}

#[test]
fn login_may_have_steps_and_change() {
    let steps = [
        server(greeting(u32::MAX)),
        client(login(1, 0)),
        server(packet(2, b"\xfecaching_sha2_password\0saltsalt\0")),
        client(packet(3, b"secretsecretsecret")),
        server(packet(4, b"\x01\x04")),
        client(packet(5, b"secret\0")),
        server(ok(6)),
        client(command(0x11, b"alice\0\x14secretsecretsecret..shop\0")),
        server(packet(1, b"\xfemysql_native_password\0saltsalt\0")),
        client(packet(2, b"secret")),
        server(ok(3)),
        client(query("SELECT a FROM t")),
        server(rows(1, false)),
    ];
    assert_eq!(shown(&steps), ["Change user  ->  0", "Query SELECT a FROM t -> Resultset rows = 1 1"]);
}

#[test]
fn change_of_user_forgets_statements() {
    let script = after_login(&[
        client(prepare("SELECT 1")),
        server(packets([prepared(1, 0, 0)])),
        client(command(0x11, b"alice\0\0shop\0")),
        server(ok(1)),
        client(execute(1)),
        server(packet(1, error(1243, "HY000", "Unknown prepared statement"))),
    ]);
    assert_eq!(shown(&script)[2], "Execute <unknown statement 1> -> 1243 HY000 Unknown prepared statement 0");
}

#[test]
fn encryption_and_compression_are_named() {
    let tls = packet(1, [&0x0a00_u32.to_le_bytes()[..], &[0; 28]].concat());
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcdefghijklmnop";
    let script = [server(greeting(u32::MAX)), client(tls), client(*hello)];
    assert_eq!(seen(false, Role::Client, &script).connection.verdict(), Verdict::Ignore(Some("tls")));

    let compressed = b"\x0f\0\0\0\0\0\0\x0b\0\0\0\x03SELECT 1 a";
    let script = [server(greeting(u32::MAX)), client(login(1, COMPRESS)), server(ok(2)), client(*compressed)];
    for role in [Role::Client, Role::Server] {
        assert_eq!(seen(false, role, &script).connection.verdict(), Verdict::Ignore(Some("compressed mysql")));
    }
    // The server does not agree.
    let script = [
        server(greeting(DEPRECATE_EOF)),
        client(login(1, COMPRESS)),
        server(ok(2)),
        client(query("SELECT a")),
        server(rows(1, true)),
    ];
    assert_eq!(shown(&script), ["Query SELECT a -> Resultset rows = 1 1"]);
}

#[test]
fn plain_text_of_tls_begins_with_the_login() {
    let script = [client(login(2, 0)), server(ok(3)), client(query("SELECT a")), server(rows(1, false))];
    assert_eq!(shown(&script), ["Query SELECT a -> Resultset rows = 1 1"]);
}

#[test]
fn replication_is_followed_by_length() {
    let script =
        after_login(&[client(command(0x12, b"\x04\0\0\0\0\0\x01\0\0\0binlog.1")), server(packet(1, b"\0event"))]);
    let mut scripted = seen(false, Role::Server, &script);
    assert_eq!(scripted.connection.verdict(), Verdict::Lengths);
    assert_eq!(lines(scripted.take_exchanges()), ["Binlog Dump  ->  0"]);
}

#[test]
fn mode_of_the_session_says_where_strings_end() {
    let no_escapes = packet(1, status(0, AUTOCOMMIT | 0x0200));
    let asked = "SELECT 'a\\', 'secret', b";
    let script = after_login(&[
        client(query("SELECT 'it\\'s', b")),
        server(rows(1, true)),
        client(query("SET sql_mode = x")),
        server(no_escapes),
        client(query(asked)),
        server(rows(1, true)),
    ]);
    let shown = shown(&script);
    assert!(shown[0].starts_with("Query SELECT ?, b ->") && shown[2].starts_with("Query SELECT ? ->"), "{shown:?}");
    // Nothing is known of it before the first status of a joined connection.
    let mut joined = seen(true, Role::Client, &[client(query(asked)), server(rows(1, true))]);
    assert_eq!(lines(joined.take_exchanges()), ["Query SELECT ? -> Resultset rows = 1 1"]);
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"+OK\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64",
        b"\0\0\0\x54\0\x03\0\0user\0postgres\0database\0shop\0\0",
        b"Q\0\0\0\x0dSELECT 1\0",
        b"\0\0\0\x15\0\x03\0\0\0\0\0\x01\0\x07kafka-1",
        b"Dear all\0\0\0\0\0\0",
        b"",
    ] {
        for side in [Side::Sent, Side::Received] {
            assert_eq!(Mysql.infer(bytes, side), Guess::No, "{}", bytes.escape_ascii());
        }
    }
}
