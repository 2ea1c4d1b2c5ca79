//! PostgreSQL and Redis as real clients and servers spoke them, recorded between the two.

#![allow(clippy::unwrap_used)]

mod playback;

use playback::{Playback, connections, exchanges};
use trilobite_protocols::{Exchange, Fields, Name, Transport};

/// The exchanges of a recording as a client's; the same in pieces of any size, and with the protocol and role not given.
fn lines(name: Name, recording: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for turns in connections(recording) {
        let whole = exchanges(Playback::client(name), &turns, &mut || usize::MAX);
        for piece in 1..40 {
            assert_eq!(exchanges(Playback::client(name), &turns, &mut || piece), whole, "pieces of {piece}");
        }
        let unknown = Playback::new(None, Transport::Stream, false, &Name::ALL);
        assert_eq!(exchanges(unknown, &turns, &mut || usize::MAX), whole, "nothing is known");
        lines.extend(whole.iter().map(line));
    }
    lines
}

fn line(exchange: &Exchange) -> String {
    match &exchange.fields {
        Fields::Pgsql(fields) => {
            format!(
                "{} {} -> {} {} {}",
                fields.command, fields.statement, fields.response, fields.error_code, fields.rows
            )
        }
        Fields::Redis(fields) => format!("{} {} -> {}", fields.command, fields.arguments, fields.response),
        other => panic!("{other:?}"),
    }
}

/// The same as the server's log with `log_statement = all`.
#[test]
fn statements_of_psycopg_are_those_of_the_servers_log() {
    assert_eq!(
        lines(Name::Pgsql, include_str!("vectors/psycopg.txt")),
        [
            "Query CREATE TABLE IF NOT EXISTS shop (id int primary key, name text) -> CREATE TABLE  0",
            "Query DELETE FROM shop -> DELETE 0  0",
            "Query INSERT INTO shop VALUES (?, ?) -> INSERT 0 1  1",
            "Execute INSERT INTO shop VALUES ($1, $2) -> INSERT 0 1  1",
            "Execute SELECT name FROM shop WHERE id = $1 -> SELECT 0  0",
            "Execute SELECT name FROM shop WHERE id = $1 -> SELECT 1  1",
            "Execute SELECT name FROM shop WHERE id = $1 -> SELECT 1  1",
            "Execute INSERT INTO shop VALUES ($1, $2) -> ERROR: duplicate key value violates unique constraint \"shop_pkey\" 23505 0",
            "Query SELECT nothing FROM nowhere -> ERROR: relation \"nowhere\" does not exist 42P01 0",
            "Execute UPDATE shop SET name = $1 WHERE id = $2 -> UPDATE 1  1",
            "Execute UPDATE shop SET name = $1 WHERE id = $2 -> UPDATE 1  1",
            "Execute UPDATE shop SET name = $1 WHERE id = $2 -> UPDATE 0  0",
            "Copy COPY shop FROM STDIN -> COPY 2  2",
            "Copy COPY (SELECT * FROM shop) TO STDOUT -> COPY 4  4",
            "Query BEGIN -> BEGIN  0",
            "Query SELECT count(*) FROM shop -> SELECT 1  1",
            "Query COMMIT -> COMMIT  0",
        ]
    );
}

#[test]
fn pipeline_of_pgbench_ends_at_its_error() {
    assert_eq!(
        lines(Name::Pgsql, include_str!("vectors/pgbench-pipeline.txt")),
        [
            "Execute select ?; -> SELECT 1  1",
            "Execute select abalance from pgbench_accounts where aid = ?; -> SELECT 1  1",
            "Bind select ?/?; -> ERROR: division by zero 22012 0",
        ]
    );
}

#[test]
fn commands_of_redis_py_are_paired_in_both_versions() {
    let common = |array: &str, map: &str, set: &str, double: &str| {
        vec![
            "SET user:1 -> OK".to_owned(),
            "GET user:1 -> string (6 bytes)".to_owned(),
            "GET user:2 -> <NULL>".to_owned(),
            "HSET h -> integer".to_owned(),
            format!("HGETALL h -> {map}"),
            "SADD s -> integer".to_owned(),
            format!("SMEMBERS s -> {set}"),
            "ZADD z -> integer".to_owned(),
            format!("ZSCORE z -> {double}"),
            "LPUSH user:1 -> WRONGTYPE Operation against a key holding the wrong kind of value".to_owned(),
            "MULTI  -> OK".to_owned(),
            "INCRBY n -> QUEUED".to_owned(),
            "EXPIRE n -> QUEUED".to_owned(),
            "EXEC  -> array (2)".to_owned(),
            "GET user:1 -> string (6 bytes)".to_owned(),
            "MGET a user:1 -> array (2)".to_owned(),
            "EVAL user:1 -> string (6 bytes)".to_owned(),
            "BLPOP jobs -> <NULL>".to_owned(),
            format!("SUBSCRIBE news -> {array}"),
            format!("PUSH PUB news -> {array}"),
            format!("UNSUBSCRIBE news -> {array}"),
        ]
    };
    let mut expected = common("array (3)", "array (4)", "array (2)", "string (3 bytes)");
    expected.push("PUBLISH news -> integer".to_owned());
    expected.push("HELLO  -> map (7)".to_owned());
    expected.extend(common("push (3)", "map (2)", "set (2)", "double"));
    expected.push("HELLO  -> map (7)".to_owned());
    expected.push("PUBLISH news -> integer".to_owned());
    // What the client says about itself, which this server does not know.
    let lines = lines(Name::Redis, include_str!("vectors/redis-py.txt"));
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.starts_with("CLIENT ")).collect();
    assert_eq!(lines, expected);
    assert!(lines.iter().all(|line| !line.contains("secret")));
}
