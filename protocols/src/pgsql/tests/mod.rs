mod losses;

use super::*;
use crate::scripted::{Scripted, Written, client, exchanges, exchanges_in_any_pieces, server};
use crate::{Exchange, Fields, Verdict};

const USIZE: usize = usize::MAX;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn untyped(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes(), body].concat()
}

fn text(kind: u8, text: &str) -> Vec<u8> {
    message(kind, format!("{text}\0").as_bytes())
}

fn startup() -> Vec<u8> {
    untyped(b"\0\x03\0\0user\0bob\0database\0shop\0\0")
}

fn authenticated() -> Vec<u8> {
    [
        message(b'R', &[0, 0, 0, 0]),
        message(b'S', b"server_version\x0015.18\0"),
        message(b'K', &[0, 0, 0, 7, 1, 2, 3, 4]),
        ready(),
    ]
    .concat()
}

fn login() -> [Written; 2] {
    [client(startup()), server(authenticated())]
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn row() -> Vec<u8> {
    message(b'D', b"\0\x01\0\0\0\x06secret")
}

fn described() -> Vec<u8> {
    message(b'T', b"\0\x01name\0\0\0\x40\0\0\x01\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
}

fn error(code: &str, message_text: &str) -> Vec<u8> {
    let body = format!("SERROR\0VERROR\0C{code}\0M{message_text}\0Fx.c\0L1\0Rx\0\0");
    message(b'E', body.as_bytes())
}

fn parse(name: &str, statement: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{statement}\0\0\0").as_bytes())
}

fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message(b'B', format!("{portal}\0{statement}\0\0\0\0\x01\0\0\0\x06secret\0\0").as_bytes())
}

fn execute(portal: &str) -> Vec<u8> {
    message(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn bound() -> Vec<u8> {
    [message(b'1', b""), message(b'2', b"")].concat()
}

/// `command statement -> response rows` of each exchange.
fn lines(exchanges: Vec<Exchange>) -> Vec<String> {
    let line = |exchange: Exchange| match exchange.fields {
        Fields::Pgsql(fields) => {
            assert_eq!(exchange.is_error, !fields.error_code.is_empty());
            format!("{} {} -> {} {}", fields.command, fields.statement, fields.response, fields.rows)
        }
        other => panic!("{other:?}"),
    };
    exchanges.into_iter().map(line).collect()
}

fn shown(script: &[Written]) -> Vec<String> {
    lines(exchanges_in_any_pieces(Name::Pgsql, script))
}

fn after_login(script: &[Written]) -> Vec<Written> {
    [&login()[..], script].concat()
}

#[test]
fn simple_query_is_one_exchange() {
    let answer = [
        described(),
        row(),
        row(),
        text(b'C', "SELECT 2"),
        message(b'I', b""),
        text(b'C', "INSERT 0 3"),
        message(b'N', b"SNOTICE\0Mhello\0\0"),
        ready(),
    ]
    .concat();
    let script = after_login(&[
        client(text(b'Q', "SELECT * FROM t WHERE a = 'secret'; ; INSERT INTO t VALUES (1)")),
        server(answer),
    ]);
    assert_eq!(
        shown(&script),
        ["Query SELECT * FROM t WHERE a = ?; ; INSERT INTO t VALUES (?) -> SELECT 2; ; INSERT 0 3 5"]
    );
}

#[test]
fn errors_have_their_code_and_no_values() {
    let script = after_login(&[
        client(text(b'Q', "SELECT 'x'::int")),
        server([error("22P02", "invalid input syntax for type integer: \"x\""), ready()].concat()),
        client(text(b'Q', "INSERT INTO t VALUES (1)")),
        server([error("23505", "duplicate key value violates unique constraint \"t_pkey\""), ready()].concat()),
    ]);
    let exchanges = exchanges(Name::Pgsql, Role::Client, &script, USIZE);
    let codes: Vec<String> = exchanges
        .iter()
        .map(|exchange| match &exchange.fields {
            Fields::Pgsql(fields) => fields.error_code.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(codes, ["22P02", "23505"]);
    assert_eq!(
        lines(exchanges),
        [
            "Query SELECT ?::int -> ERROR: invalid input syntax for type integer: \"<redacted>\" 0",
            "Query INSERT INTO t VALUES (?) -> ERROR: duplicate key value violates unique constraint \"t_pkey\" 0",
        ]
    );
}

#[test]
fn extended_query_shows_its_statement() {
    let describe = [message(b'D', b"P\0"), execute(""), sync()].concat();
    let script = after_login(&[
        client([parse("", "SELECT a FROM t WHERE b = $1 AND c = 7"), bind("", ""), describe.clone()].concat()),
        server([bound(), described(), row(), text(b'C', "SELECT 1"), ready()].concat()),
        client([parse("s1", "UPDATE t SET a = $1"), message(b'D', b"Ss1\0"), sync()].concat()),
        server([message(b'1', b""), message(b't', b"\0\x01\0\0\0\x19"), message(b'n', b""), ready()].concat()),
        client([bind("", "s1"), execute(""), sync()].concat()),
        server([message(b'2', b""), text(b'C', "UPDATE 4"), ready()].concat()),
        client([bind("p", "s1"), execute("p"), message(b'C', b"Pp\0"), message(b'C', b"Ss1\0"), sync()].concat()),
        server([message(b'2', b""), message(b's', b""), message(b'3', b""), message(b'3', b""), ready()].concat()),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Execute SELECT a FROM t WHERE b = $1 AND c = ? -> SELECT 1 1",
            "Execute UPDATE t SET a = $1 -> UPDATE 4 4",
            "Execute UPDATE t SET a = $1 -> PORTAL SUSPENDED 0",
        ]
    );
}

#[test]
fn error_in_a_pipeline_skips_up_to_sync() {
    let one = |n: u32| [parse("", &format!("SELECT a{n} FROM t")), bind("", ""), execute("")].concat();
    let script = after_login(&[
        client([one(1), one(2), one(3), sync(), one(4), sync()].concat()),
        server([bound(), text(b'C', "SELECT 1"), error("42703", "column \"a2\" does not exist"), ready()].concat()),
        server([bound(), text(b'C', "SELECT 4"), ready()].concat()),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Execute SELECT a1 FROM t -> SELECT 1 1",
            "Parse SELECT a2 FROM t -> ERROR: column \"a2\" does not exist 0",
            "Execute SELECT a4 FROM t -> SELECT 4 4",
        ]
    );
}

#[test]
fn statement_that_failed_is_not_prepared() {
    let script = after_login(&[
        client([parse("s", "SELECT nothing"), sync()].concat()),
        server([error("42703", "column \"nothing\" does not exist"), ready()].concat()),
        client([bind("", "s"), execute(""), sync()].concat()),
        server([error("26000", "prepared statement \"s\" does not exist"), ready()].concat()),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Parse SELECT nothing -> ERROR: column \"nothing\" does not exist 0",
            "Bind <unknown statement s> -> ERROR: prepared statement \"s\" does not exist 0",
        ]
    );
}

#[test]
fn copy_is_one_exchange() {
    let data = |bytes: &[u8]| message(b'd', bytes);
    let script = after_login(&[
        client(text(b'Q', "COPY t FROM STDIN")),
        server(message(b'G', b"\0\0\x01\0\0")),
        client([data(b"secret\n"), data(b"b\n"), message(b'c', b"")].concat()),
        server([text(b'C', "COPY 2"), ready()].concat()),
        client(text(b'Q', "COPY t TO STDOUT")),
        server(
            [message(b'H', b"\0\0\x01\0\0"), data(b"secret\n"), message(b'c', b""), text(b'C', "COPY 1"), ready()]
                .concat(),
        ),
        // The server ignores the first Sync.
        client([parse("", "COPY t FROM STDIN"), bind("", ""), execute(""), sync()].concat()),
        server([bound(), message(b'G', b"\0\0\x01\0\0")].concat()),
        client([data(b"a\n"), message(b'f', b"no\0"), sync()].concat()),
        server([error("57014", "COPY from stdin failed"), ready()].concat()),
        client(text(b'Q', "BEGIN")),
        server([text(b'C', "BEGIN"), ready()].concat()),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Copy COPY t FROM STDIN -> COPY 2 2",
            "Copy COPY t TO STDOUT -> COPY 1 1",
            "Copy COPY t FROM STDIN -> ERROR: COPY from stdin failed 0",
            "Query BEGIN -> BEGIN 0",
        ]
    );
}

#[test]
fn times_and_bytes_are_those_of_the_statement() {
    let mut scripted = Scripted::new(Name::Pgsql, Role::Server, false, &Settings::default());
    login().iter().for_each(|written| scripted.see(written, USIZE));
    let start = scripted.time;
    scripted.see(&client(parse("", "SELECT pg_sleep(1)")), USIZE);
    scripted.see(&client([bind("", ""), execute("")].concat()), USIZE);
    scripted.see(&client(sync()), USIZE);
    scripted.time += 999_000_000;
    scripted.see(&server([bound(), row(), text(b'C', "SELECT 1")].concat()), USIZE);
    scripted.see(&server(ready()), USIZE);
    let [exchange] = scripted.take_exchanges().try_into().unwrap();
    assert_eq!(exchange.started - start, 1_000_000);
    assert_eq!(exchange.asked - start, 2_000_000);
    assert_eq!(exchange.ended - start, 1_003_000_000);
    let request = [parse("", "SELECT pg_sleep(1)"), bind("", ""), execute("")].concat();
    assert_eq!(exchange.request_bytes, request.len() as u64);
    assert_eq!(exchange.response_bytes, [bound(), row(), text(b'C', "SELECT 1")].concat().len() as u64);
}

#[test]
fn failed_login_is_an_exchange_and_a_login_is_not() {
    let fatal =
        message(b'E', b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"bob\"\0Rauth_failed\0\0");
    let script =
        [client(startup()), server(message(b'R', b"\0\0\0\x05salt")), client(text(b'p', "md5secret")), server(fatal)];
    assert_eq!(shown(&script), ["Startup  -> FATAL: password authentication failed for user \"<redacted>\" 0"]);
    assert!(shown(&login()).is_empty());
}

#[test]
fn cancel_request_shows_no_key() {
    let script = [client(untyped(b"\x04\xd2\x16\x2e\0\0\0\x07\x01\x02\x03\x04"))];
    assert_eq!(shown(&script), ["Cancel  ->  0"]);
}

#[test]
fn encryption_ends_the_text_unless_it_is_refused() {
    let ssl_request = || client(untyped(b"\x04\xd2\x16\x2f"));
    let mut scripted = Scripted::new(Name::Pgsql, Role::Client, false, &Settings::default());
    scripted.see(&ssl_request(), USIZE);
    scripted.see(&server(*b"S"), USIZE);
    scripted.see(&client(*b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcdefghijklmnop"), USIZE);
    assert_eq!(scripted.connection.verdict(), Verdict::Ignore(Some("tls")));

    let gss_request = client(untyped(b"\x04\xd2\x16\x30"));
    let refused = [gss_request, server(*b"N"), ssl_request(), server(*b"N")];
    let script = [
        &refused[..],
        &after_login(&[client(text(b'Q', "SELECT 1")), server([text(b'C', "SELECT 1"), ready()].concat())]),
    ]
    .concat();
    assert_eq!(shown(&script), ["Query SELECT ? -> SELECT 1 1"]);
}

#[test]
fn replication_is_followed_by_length() {
    let mut scripted = Scripted::new(Name::Pgsql, Role::Server, false, &Settings::default());
    let script = after_login(&[client(text(b'Q', "START_REPLICATION 0/0")), server(message(b'W', b"\0\0\0"))]);
    script.iter().for_each(|written| scripted.see(written, USIZE));
    assert_eq!(scripted.connection.verdict(), Verdict::Lengths);
}

#[test]
fn what_the_server_says_by_itself_answers_nothing() {
    let said = [
        message(b'A', b"\0\0\0\x01news\0secret\0"),
        message(b'S', b"TimeZone\0UTC\0"),
        message(b'N', b"SNOTICE\0Msecret\0\0"),
    ]
    .concat();
    let script = after_login(&[
        server(said.clone()),
        client(text(b'Q', "SELECT a FROM t")),
        server([said.clone(), described(), said.clone(), text(b'C', "SELECT 0"), said, ready()].concat()),
        server(message(
            b'E',
            b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0RProcessInterrupts\0\0",
        )),
    ]);
    assert_eq!(shown(&script), ["Query SELECT a FROM t -> SELECT 0 0"]);
    let [exchange] = exchanges(Name::Pgsql, Role::Client, &script, USIZE).try_into().unwrap();
    assert_eq!(exchange.response_bytes, (described().len() + text(b'C', "SELECT 0").len()) as u64);
}

#[test]
fn statement_that_was_skipped_is_not_prepared() {
    let script = after_login(&[
        client([parse("", "SELECT nothing"), parse("s", "SELECT 1"), sync()].concat()),
        server([error("42703", "column \"nothing\" does not exist"), ready()].concat()),
        client([bind("", "s"), execute(""), sync()].concat()),
        server([error("26000", "prepared statement \"s\" does not exist"), ready()].concat()),
    ]);
    assert!(shown(&script)[1].starts_with("Bind <unknown statement s> -> "), "{:?}", shown(&script));
}

#[test]
fn unnamed_statement_is_unknown_after_a_loss() {
    let mut scripted = Scripted::new(Name::Pgsql, Role::Client, false, &Settings::default());
    let executed = [bind("", ""), execute(""), sync()].concat();
    let answered = || server([message(b'2', b""), text(b'C', "SELECT 1"), ready()].concat());
    login().iter().for_each(|written| scripted.see(written, USIZE));
    for statement in ["SELECT a FROM t", "SELECT b FROM t"] {
        let prepared = client([parse("", statement), sync()].concat());
        if statement.contains('b') {
            scripted.miss(&prepared)
        } else {
            scripted.see(&prepared, USIZE)
        }
        scripted.see(&server([message(b'1', b""), ready()].concat()), USIZE);
    }
    for _ in 0..3 {
        scripted.see(&client(executed.clone()), USIZE);
        scripted.see(&answered(), USIZE);
    }
    let shown = lines(scripted.take_exchanges());
    assert!(!shown.is_empty() && shown.iter().all(|line| line.contains("<unknown statement>")), "{shown:?}");
}

#[test]
fn tag_of_another_statement_is_no_answer() {
    let mut scripted = Scripted::new(Name::Pgsql, Role::Client, true, &Settings::default());
    // The answer of an INSERT that was sent before the connection was followed.
    for written in [
        client(text(b'Q', "SELECT a FROM t")),
        server([text(b'C', "INSERT 0 1"), ready()].concat()),
        server([text(b'C', "SELECT 7"), ready()].concat()),
    ] {
        scripted.see(&written, USIZE);
    }
    assert_eq!(lines(scripted.take_exchanges()), [""; 0]);
}

#[test]
fn connection_that_was_joined_is_recognised_from_either_side() {
    let asked = [bind("", "s1"), execute(""), sync()].concat();
    let answered = [message(b'2', b""), text(b'C', "SELECT 3"), ready()].concat();
    for first in [vec![client(asked.clone())], vec![server(answered.clone()), client(asked.clone())]] {
        for role in [Role::Client, Role::Server] {
            let mut scripted = Scripted::new(Name::Pgsql, role, true, &Settings::default());
            first.iter().for_each(|written| scripted.see(written, USIZE));
            scripted.see(&server(answered.clone()), USIZE);
            scripted.see(&client(text(b'Q', "SELECT a FROM t")), USIZE);
            scripted.see(&server([text(b'C', "SELECT 9"), ready()].concat()), USIZE);
            let exchanges = scripted.take_exchanges();
            assert!(exchanges.iter().all(|exchange| exchange.mid_stream));
            assert_eq!(
                lines(exchanges),
                ["Execute <unknown statement s1> -> SELECT 3 3", "Query SELECT a FROM t -> SELECT 9 9"]
            );
        }
    }
}

#[test]
fn large_row_costs_no_memory_and_may_have_gaps() {
    let mut scripted = Scripted::new(Name::Pgsql, Role::Client, false, &Settings::default());
    login().iter().for_each(|written| scripted.see(written, USIZE));
    scripted.see(&client(text(b'Q', "SELECT a FROM t")), USIZE);
    let large = message(b'D', &vec![b'x'; 100 << 20]);
    let mut most = 0;
    for piece in large.chunks(64 << 10) {
        scripted.see_beginning(&server(piece), 4096);
        most = most.max(scripted.connection.memory());
    }
    scripted.see(&server([text(b'C', "SELECT 1"), ready()].concat()), USIZE);
    assert!(most < 16 << 10, "{most}");
    assert_eq!(lines(scripted.take_exchanges()), ["Query SELECT a FROM t -> SELECT 1 1"]);
}

#[test]
fn long_statement_is_cut_and_keeps_no_literal() {
    let statement = format!("SELECT a FROM t WHERE b IN ({}'secret')", "'secret',".repeat(2000));
    let mut scripted = Scripted::new(Name::Pgsql, Role::Client, false, &Settings::default());
    login().iter().for_each(|written| scripted.see(written, USIZE));
    scripted.see_beginning(&client(text(b'Q', &statement)), 4096);
    scripted.see(&server([text(b'C', "SELECT 1"), ready()].concat()), USIZE);
    let [line] = lines(scripted.take_exchanges()).try_into().unwrap();
    assert!(
        line.contains("IN (?,?,?") && line.contains("... [TRUNCATED] -> SELECT 1") && !line.contains("sec"),
        "{line}"
    );
}

#[test]
fn literals_are_kept_where_they_are_asked_for() {
    let settings = Settings { keep_literals: true, ..Settings::default() };
    let mut scripted = Scripted::new(Name::Pgsql, Role::Client, false, &settings);
    let script = after_login(&[client(text(b'Q', "SELECT 'x'")), server([text(b'C', "SELECT 1"), ready()].concat())]);
    script.iter().for_each(|written| scripted.see(written, USIZE));
    assert_eq!(lines(scripted.take_exchanges()), ["Query SELECT 'x' -> SELECT 1 1"]);
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"POST /x HTTP/1.1\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"PING\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
        // Kafka: Metadata, version 0.
        b"\0\0\0\x15\0\x03\0\0\0\0\0\x01\0\x07kafka-1",
        b"Dear all\0\0\0\0\0\0",
    ] {
        for side in [Side::Sent, Side::Received] {
            assert_eq!(Pgsql.infer(bytes, side), Guess::No, "{bytes:?}");
        }
    }
}

#[test]
fn many_messages_without_sync_are_bounded() {
    let mut scripted = Scripted::new(Name::Pgsql, Role::Client, false, &Settings::default());
    login().iter().for_each(|written| scripted.see(written, USIZE));
    let mut most = 0;
    for n in 0..20_000 {
        scripted.see(
            &client([parse("", &format!("SELECT {} a{n}", "x".repeat(100))), bind("", ""), execute("")].concat()),
            USIZE,
        );
        scripted.see(&server(bound()), USIZE);
        most = most.max(scripted.connection.memory());
    }
    assert!(most < 2 << 20, "{most}");
}
