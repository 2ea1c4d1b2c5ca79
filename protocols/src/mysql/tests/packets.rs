//! Large packets, and those that continue each other.

use super::*;

fn full(sequence: u8, body: &[u8]) -> Vec<u8> {
    let mut payload = body.to_vec();
    payload.resize(0xff_ffff, b'x');
    packet(sequence, payload)
}

#[test]
fn packet_of_16_mib_is_continued_by_the_next() {
    let mut scripted = seen(false, Role::Client, &connected());
    let asked = [full(0, b"\x03INSERT INTO t VALUES ('"), packet(1, b"')")].concat();
    scripted.see(&client(asked.clone()), 1 << 20);
    scripted.see(&server(packet(2, status(1, AUTOCOMMIT))), USIZE);
    scripted.see(&client(query("SELECT a FROM t")), USIZE);
    let large_row = [packet(1, [1]), packet(2, column()), full(3, b"\xfe"), packet(4, b"")].concat();
    scripted.see(&server(large_row), 1 << 20);
    scripted.see(&server(packet(5, ok_as_eof(AUTOCOMMIT))), USIZE);
    let exchanges = scripted.take_exchanges();
    assert_eq!(exchanges[0].request_bytes, asked.len() as u64);
    assert_eq!(
        lines(exchanges),
        ["Query INSERT INTO t VALUES (?... [TRUNCATED] ->  1", "Query SELECT a FROM t -> Resultset rows = 1 1",]
    );
    assert!(scripted.connection.memory() < 16 << 10, "{}", scripted.connection.memory());
}

#[test]
fn large_row_costs_no_memory_and_may_have_gaps() {
    let mut scripted = seen(false, Role::Client, &connected());
    scripted.see(&client(query("SELECT a FROM t")), USIZE);
    scripted.see(&server([packet(1, [1]), packet(2, column())].concat()), USIZE);
    let mut most = 0;
    for piece in packet(3, vec![b'x'; 10 << 20]).chunks(64 << 10) {
        scripted.see_beginning(&server(piece), 4096);
        most = most.max(scripted.connection.memory());
    }
    scripted.see(&server(packet(4, ok_as_eof(AUTOCOMMIT))), USIZE);
    assert!(most < 16 << 10, "{most}");
    assert_eq!(lines(scripted.take_exchanges()), ["Query SELECT a FROM t -> Resultset rows = 1 1"]);
}

#[test]
fn long_statement_is_cut_and_keeps_no_literal() {
    let statement = format!("SELECT a FROM t WHERE b IN ({}'secret')", "'secret',".repeat(2000));
    let mut scripted = seen(false, Role::Client, &connected());
    scripted.see_beginning(&client(query(&statement)), 4096);
    scripted.see(&server(rows(1, true)), USIZE);
    let [line] = lines(scripted.take_exchanges()).try_into().unwrap();
    assert!(
        line.contains("IN (?,?,?") && line.contains("... [TRUNCATED] -> Resultset") && !line.contains("sec"),
        "{line}"
    );
}

#[test]
fn literals_are_kept_where_they_are_asked_for() {
    let settings = Settings { keep_literals: true, ..Settings::default() };
    let mut scripted = Scripted::new(Name::Mysql, Role::Client, false, &settings);
    let failed = packet(1, error(1062, "23000", "Duplicate entry 'x' for key 'PRIMARY'"));
    let script = after_login(&[client(query("SELECT 'x' -- y")), server(failed)]);
    script.iter().for_each(|written| scripted.see(written, USIZE));
    assert_eq!(
        lines(scripted.take_exchanges()),
        ["Query SELECT 'x' -- y -> 1062 23000 Duplicate entry 'x' for key 'PRIMARY' 0"]
    );
}

#[test]
fn answer_that_is_out_of_step_is_not_believed() {
    // The second packet of another answer.
    let script = after_login(&[client(query("SELECT a")), server(packet(2, status(9, AUTOCOMMIT)))]);
    assert!(shown(&script).is_empty());
    // A packet between the rows is missing.
    let holed = [packet(1, [1]), packet(2, column()), packet(4, row()), packet(5, ok_as_eof(AUTOCOMMIT))].concat();
    let script = after_login(&[
        client(query("SELECT a")),
        server(holed),
        client(query("SELECT b")),
        server(rows(1, true)),
        client(query("SELECT c")),
        server(rows(2, true)),
    ]);
    let mut scripted = seen(false, Role::Client, &script);
    assert_eq!(
        lines(scripted.take_exchanges()),
        ["Query SELECT b -> Resultset rows = 1 1", "Query SELECT c -> Resultset rows = 2 2"]
    );
    assert_eq!(scripted.connection.lost(), 1);
}
