//! Answers of several results, files, cursors, and commands that are not statements.

use super::*;

#[test]
fn results_of_one_command_are_one_exchange() {
    let results = packets([
        status(1, AUTOCOMMIT | MORE_RESULTS),
        vec![1],
        column(),
        eof(AUTOCOMMIT | MORE_RESULTS),
        row(),
        row(),
        eof(AUTOCOMMIT | MORE_RESULTS),
        status(0, AUTOCOMMIT),
    ]);
    let failed = packets([status(1, AUTOCOMMIT | MORE_RESULTS), error(1146, "42S02", "Table 'shop.x' doesn't exist")]);
    let script = after_login(&[
        client(query("INSERT INTO t VALUES (1); SELECT 2; CALL p(3)")),
        server(results),
        client(query("DELETE FROM t; SELECT a FROM x")),
        server(failed),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Query INSERT INTO t VALUES (?); SELECT ?; CALL p(?) -> OK, Resultset rows = 2, OK 3",
            "Query DELETE FROM t; SELECT a FROM x -> 1146 42S02 Table 'shop.x' doesn't exist 1",
        ]
    );
}

#[test]
fn file_of_the_client_is_a_part_of_its_request() {
    let mut scripted = seen(false, Role::Client, &connected());
    let asked = query("LOAD DATA LOCAL INFILE '/secret' INTO TABLE t");
    scripted.see(&client(asked.clone()), USIZE);
    scripted.see(&server(packet(1, b"\xfb/secret")), USIZE);
    let data = [packet(2, b"secret\nsecret\n"), packet(3, b"")].concat();
    scripted.see(&client(data.clone()), USIZE);
    let sent = scripted.time;
    scripted.see(&server(packet(4, [&status(2, AUTOCOMMIT)[..], b"Records: 2"].concat())), USIZE);
    let [exchange] = scripted.take_exchanges().try_into().unwrap();
    assert_eq!((exchange.asked, exchange.request_bytes), (sent, (asked.len() + data.len()) as u64));
    assert_eq!(lines(vec![exchange]), ["Query LOAD DATA LOCAL INFILE ? INTO TABLE t -> LOCAL INFILE 2"]);
}

#[test]
fn rows_of_a_cursor_are_fetched() {
    let opened = packets([vec![1], column(), eof(AUTOCOMMIT | 0x40)]);
    let script = after_login(&[
        client(prepare("SELECT a FROM t")),
        server(packets([prepared(3, 1, 0), column(), eof(0)])),
        client(execute(3)),
        server(opened),
        client(command(0x1c, [3_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat())),
        server(packets([b"\0\0\x01a".to_vec(), b"\0\0\x01b".to_vec(), eof(AUTOCOMMIT | 0x80)])),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Prepare SELECT a FROM t ->  0",
            "Execute SELECT a FROM t ->  0",
            "Fetch SELECT a FROM t -> Resultset rows = 2 2"
        ]
    );
}

#[test]
fn every_other_command_has_a_name() {
    let script = after_login(&[
        client(command(2, "shop")),
        server(ok(1)),
        client(command(0x0e, b"")),
        server(ok(1)),
        client(command(9, b"")),
        server(packet(1, b"Uptime: 12  Threads: 1  Questions: secret")),
        client(command(4, b"t\0")),
        server(packets([column(), column(), eof(AUTOCOMMIT)])),
        client(command(0x1b, [0, 0])),
        server(packet(1, eof(AUTOCOMMIT))),
        client(command(0x0a, b"")),
        server(rows(2, true)),
        client(command(0x1f, b"")),
        server(ok(1)),
        client(command(0x0c, 7_u32.to_le_bytes())),
        server(packet(1, error(1094, "HY000", "Unknown thread id: 7"))),
    ]);
    assert_eq!(
        shown(&script),
        [
            "Init DB shop ->  0",
            "Ping  ->  0",
            "Statistics  ->  0",
            "Field List t ->  0",
            "Set option  ->  0",
            "Processlist  -> Resultset rows = 2 2",
            "Reset connection  ->  0",
            "Kill  -> 1094 HY000 Unknown thread id: ? 0",
        ]
    );
}

#[test]
fn last_prepared_statement_is_executed_in_a_pipeline() {
    let script = after_login(&[
        client(prepare("SELECT a FROM t")),
        server(packets([prepared(1, 1, 0), column(), eof(0)])),
        client([prepare("INSERT INTO t VALUES (?)"), execute(u32::MAX)].concat()),
        server([packets([prepared(2, 0, 1), column(), eof(0)]), packet(1, status(1, AUTOCOMMIT))].concat()),
    ]);
    assert_eq!(shown(&script)[2], "Execute INSERT INTO t VALUES (?) ->  1");
}

#[test]
fn end_of_a_preparation_is_known_in_both_forms() {
    for deprecates_eof in [false, true] {
        let mut definitions = vec![prepared(1, 0, 2), column(), column()];
        if !deprecates_eof {
            definitions.push(eof(0));
        }
        let answer: Vec<u8> =
            definitions.iter().zip(1..).flat_map(|(payload, sequence)| packet(sequence, payload)).collect();
        let script = [
            client(query("SELECT 1")),
            server(packet(1, error(1146, "42S02", "no"))),
            client(prepare("DELETE FROM t WHERE a = ? AND b = ?")),
            server(answer),
            client(execute(1)),
            server(packet(1, status(5, AUTOCOMMIT))),
        ];
        // Nothing is known of what client and server agreed about.
        let mut joined = seen(true, Role::Client, &script);
        assert_eq!(lines(joined.take_exchanges())[2], "Execute DELETE FROM t WHERE a = ? AND b = ? ->  5");
        assert_eq!(joined.connection.lost(), 0);
    }
}

#[test]
fn descriptions_may_be_left_out_and_progress_is_no_error() {
    let progress = b"\xff\xff\xff\x01\x02\x03\x10\x27\x00\x07sorting".to_vec();
    let script = after_login(&[
        client(prepare("SELECT a FROM t")),
        server(packets([[prepared(1, 1, 0), vec![1]].concat(), column(), eof(0)])),
        client(execute(1)),
        server(packets([progress, vec![1, 0], eof(2), b"\0\0\x01a".to_vec(), eof(2)])),
    ]);
    assert_eq!(shown(&script)[1], "Execute SELECT a FROM t -> Resultset rows = 1 1");
}

#[test]
fn parameters_that_are_sent_before_belong_to_the_execution() {
    let data = command(0x18, [&1_u32.to_le_bytes()[..], &[0, 0], b"secretsecret"].concat());
    let script = after_login(&[
        client(prepare("INSERT INTO t VALUES (?)")),
        server(packets([prepared(1, 0, 1), column(), eof(0)])),
        client(data.clone()),
        client(execute(1)),
        server(packet(1, status(1, AUTOCOMMIT))),
    ]);
    assert_eq!(shown(&script)[1], "Execute INSERT INTO t VALUES (?) ->  1");
    let exchange = exchanges(Name::Mysql, Role::Client, &script, USIZE).remove(1);
    assert_eq!(exchange.request_bytes, (data.len() + execute(1).len()) as u64);
}

#[test]
fn farewell_of_the_server_answers_nothing() {
    let script = after_login(&[
        client(query("SELECT a")),
        server(rows(1, true)),
        server(packet(0, error(4031, "HY000", "The client was disconnected by the server because of inactivity."))),
    ]);
    assert_eq!(shown(&script), ["Query SELECT a -> Resultset rows = 1 1"]);
    assert_eq!(seen(false, Role::Client, &script).connection.lost(), 0);
}

#[test]
fn attributes_of_a_query_are_not_shown() {
    let attributes = b"\x01\x01\0\x01\xfd\0\x03key\x06secretSELECT a";
    let script = after_login(&[
        client(command(3, attributes)),
        server(rows(1, true)),
        client(command(3, b"\0\x01SELECT b")),
        server(rows(1, true)),
    ]);
    assert_eq!(shown(&script), ["Query SELECT a -> Resultset rows = 1 1", "Query SELECT b -> Resultset rows = 1 1"]);
}
