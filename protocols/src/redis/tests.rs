use proptest::prelude::*;

use super::*;
use crate::scripted::{
    Scripted, Written, assert_memory_is_bounded, client, exchanges, exchanges_in_any_pieces, exchanges_in_part,
    exchanges_of_joined, hostile_writes, roles, server, visibilities,
};
use crate::{Exchange, Fields, Verdict};

const USIZE: usize = usize::MAX;

fn command(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| bytes += &format!("${}\r\n{word}\r\n", word.len()));
    bytes.into_bytes()
}

fn ask(line: &str) -> Written {
    client(command(line))
}

/// A turn that confirms the protocol.
fn ping() -> [Written; 2] {
    [ask("PING"), server("+PONG\r\n")]
}

/// `command arguments -> response` of each exchange; `!` marks an error.
fn lines(exchanges: Vec<Exchange>) -> Vec<String> {
    let line = |exchange: Exchange| match exchange.fields {
        Fields::Redis(fields) => {
            let mark = if exchange.is_error { "!" } else { "" };
            format!("{} {} -> {mark}{}", fields.command, fields.arguments, fields.response)
        }
        other => panic!("{other:?}"),
    };
    exchanges.into_iter().map(line).collect()
}

fn shown(script: &[Written]) -> Vec<String> {
    lines(exchanges_in_any_pieces(Name::Redis, script))
}

#[test]
fn commands_and_replies_are_paired() {
    let script = [
        ask("SET user:1 secret"),
        server("+OK\r\n"),
        ask("GET user:1"),
        server("$6\r\nsecret\r\n"),
        ask("GET user:2"),
        server("$-1\r\n"),
        ask("INCR n"),
        server(":5\r\n"),
        ask("LPUSH user:1 x"),
        server("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ask("MGET a b"),
        server("*2\r\n$6\r\nsecret\r\n$-1\r\n"),
        ask("GET far"),
        server("-MOVED 3999 127.0.0.1:6381\r\n"),
        client("PING\r\n"),
        server("+PONG\r\n"),
    ];
    assert_eq!(
        shown(&script),
        [
            "SET user:1 -> OK",
            "GET user:1 -> string (6 bytes)",
            "GET user:2 -> <NULL>",
            "INCR n -> integer",
            "LPUSH user:1 -> !WRONGTYPE Operation against a key holding the wrong kind of value",
            "MGET a b -> array (2)",
            "GET far -> !MOVED 3999 127.0.0.1:6381",
            "PING  -> PONG",
        ]
    );
}

#[test]
fn resp3_replies_are_shown_by_type() {
    let script = [
        ask("HELLO 3 AUTH bob secret"),
        server("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        ask("HGETALL h"),
        server("%1\r\n+f\r\n+secret\r\n"),
        ask("SMEMBERS s"),
        server("~2\r\n+a\r\n+b\r\n"),
        ask("ZSCORE z a"),
        server(",1.5\r\n"),
        ask("GET a"),
        server("|1\r\n+key-popularity\r\n%1\r\n$1\r\na\r\n,0.1923\r\n_\r\n"),
        ask("EXISTS a"),
        server("#f\r\n"),
        ask("GET a"),
        server(">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$6\r\nsecret\r\n$?\r\n;4\r\nsecr\r\n;2\r\net\r\n;0\r\n"),
        ask("GET a"),
        server("!10\r\nERR 'a' no\r\n"),
    ];
    assert_eq!(
        shown(&script),
        [
            "HELLO  -> map (1)",
            "HGETALL h -> map (1)",
            "SMEMBERS s -> set (2)",
            "ZSCORE z -> double",
            "GET a -> <NULL>",
            "EXISTS a -> boolean",
            "PUSH PUB news -> push (3)",
            "GET a -> string (6 bytes)",
            "GET a -> !ERR '<redacted>' no",
        ]
    );
}

#[test]
fn pipeline_and_transaction_keep_their_order() {
    let script = [
        client([command("MULTI"), command("SET a 1"), command("INCR b"), command("EXEC")].concat()),
        server("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n-ERR value is not an integer\r\n"),
        client([command("GET a"), command("GET b")].concat()),
        server("$1\r\n1\r\n"),
        server("$2\r\n12\r\n"),
    ];
    assert_eq!(
        shown(&script),
        [
            "MULTI  -> OK",
            "SET a -> QUEUED",
            "INCR b -> QUEUED",
            "EXEC  -> !array (2)",
            "GET a -> string (1 bytes)",
            "GET b -> string (2 bytes)",
        ]
    );
}

#[test]
fn published_messages_are_exchanges_of_their_own() {
    let confirmed = |word: &str, channel: &str, n: u32| {
        format!("*3\r\n${}\r\n{word}\r\n${}\r\n{channel}\r\n:{n}\r\n", word.len(), channel.len())
    };
    let message = "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$6\r\nsecret\r\n";
    let script = [
        ask("SUBSCRIBE a b"),
        server(confirmed("subscribe", "a", 1) + message + &confirmed("subscribe", "b", 2)),
        ask("PSUBSCRIBE c*"),
        server(confirmed("psubscribe", "c*", 3)),
        server("*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\ncd\r\n$6\r\nsecret\r\n"),
        ask("PING"),
        server(format!("{message}*2\r\n$4\r\npong\r\n$0\r\n\r\n")),
        ask("PUNSUBSCRIBE c*"),
        server(confirmed("punsubscribe", "c*", 2)),
        client([command("UNSUBSCRIBE"), command("GET a")].concat()),
        server(confirmed("unsubscribe", "a", 1) + &confirmed("unsubscribe", "b", 0) + "$1\r\nx\r\n"),
        ask("LRANGE l 0 -1"),
        server(message),
    ];
    assert_eq!(
        shown(&script),
        [
            "PUSH PUB a -> array (3)",
            "SUBSCRIBE a b -> array (3)",
            "PSUBSCRIBE c* -> array (3)",
            "PUSH PUB cd -> array (4)",
            "PUSH PUB a -> array (3)",
            "PING  -> array (2)",
            "PUNSUBSCRIBE c* -> array (3)",
            "UNSUBSCRIBE  -> array (3)",
            "GET a -> string (1 bytes)",
            "LRANGE l -> array (3)",
        ]
    );
}

#[test]
fn replies_that_are_switched_off_shift_nothing() {
    let script = [
        ask("CLIENT REPLY SKIP"),
        ask("SET a 1"),
        ask("GET b"),
        server("$-1\r\n"),
        client(
            [command("CLIENT REPLY OFF"), command("SET a 1"), command("SET b 1"), command("CLIENT REPLY ON")].concat(),
        ),
        server("+OK\r\n"),
        ask("GET c"),
        server("$1\r\nx\r\n"),
    ];
    assert_eq!(shown(&script), ["GET b -> <NULL>", "CLIENT REPLY  -> OK", "GET c -> string (1 bytes)"]);
}

#[test]
fn lines_of_monitor_answer_nothing() {
    let script = [
        ask("MONITOR"),
        server("+OK\r\n"),
        server("+1339518083.107412 [0 127.0.0.1:60866] \"set\" \"a\" \"secret\"\r\n"),
        ask("PING"),
        server("+1339518084.107412 [0 127.0.0.1:60866] \"get\" \"a\"\r\n+PONG\r\n"),
    ];
    assert_eq!(shown(&script), ["MONITOR  -> OK", "PING  -> PONG"]);
}

#[test]
fn replication_is_followed_by_length() {
    let mut scripted = Scripted::new(Name::Redis, Role::Server, false, &Settings::default());
    for written in [ask("PING"), server("+PONG\r\n"), ask("PSYNC ? -1")] {
        scripted.see(&written, USIZE);
    }
    assert_eq!(scripted.connection.verdict(), Verdict::Lengths);
}

#[test]
fn blocking_command_takes_as_long_as_it_waits() {
    let mut scripted = Scripted::new(Name::Redis, Role::Client, false, &Settings::default());
    scripted.see(&ask("BLPOP jobs 5"), USIZE);
    scripted.time += 1_999_000_000;
    scripted.see(&server("*2\r\n$4\r\njobs\r\n$1\r\nx\r\n"), USIZE);
    let [exchange] = scripted.take_exchanges().try_into().unwrap();
    assert_eq!(exchange.latency(), 2_000_000_000);
    assert_eq!(lines(vec![exchange]), ["BLPOP jobs -> array (2)"]);
}

#[test]
fn gap_in_a_value_stays_in_step() {
    let mut scripted = Scripted::new(Name::Redis, Role::Client, false, &Settings::default());
    let large = "x".repeat(100_000);
    scripted.see_beginning(&ask(&format!("SET a {large}")), 4096);
    scripted.see(&server("+OK\r\n"), USIZE);
    scripted.see(&ask("GET a"), USIZE);
    scripted.see_beginning(&server(format!("$100000\r\n{large}\r\n")), 4096);
    scripted.see(&ask("GET b"), USIZE);
    scripted.see(&server("$1\r\nx\r\n"), USIZE);
    assert_eq!(
        lines(scripted.take_exchanges()),
        ["SET a -> OK", "GET a -> string (100000 bytes)", "GET b -> string (1 bytes)"]
    );
}

#[test]
fn connection_that_was_joined_is_recognised_from_either_side() {
    // The last is the end of an array, or so it seems.
    for first in [vec![], vec![server("$3\r\nabc\r\n")], vec![server("*3\r\n$3\r\nabc\r\n")]] {
        for role in [Role::Client, Role::Server] {
            let mut scripted = Scripted::new(Name::Redis, role, true, &Settings::default());
            first.iter().for_each(|written| scripted.see(written, USIZE));
            for written in [ask("GET a"), server("$1\r\nx\r\n"), ask("SET b y"), server("+OK\r\n"), ask("GET c")] {
                scripted.see(&written, USIZE);
            }
            assert_eq!(
                lines(scripted.take_exchanges()),
                ["GET a -> string (1 bytes)", "SET b -> OK"],
                "{role:?} {first:?}"
            );
        }
    }
}

#[test]
fn values_are_shown_where_payloads_are_kept() {
    let settings = Settings { payload_bytes: 64, keep_literals: true, ..Settings::default() };
    let mut scripted = Scripted::new(Name::Redis, Role::Client, false, &settings);
    for written in [
        ask("SET a value"),
        server("+OK\r\n"),
        ask("MGET a b"),
        server("*2\r\n$5\r\nvalue\r\n$-1\r\n"),
        ask("AUTH secret"),
        server("+OK\r\n"),
    ] {
        scripted.see(&written, USIZE);
    }
    assert_eq!(
        lines(scripted.take_exchanges()),
        ["SET a value -> OK", "MGET a b -> [\"value\",\"<NULL>\"]", "AUTH  -> OK"]
    );
}

#[test]
fn role_follows_from_who_sends_commands() {
    let ping = command("PING");
    assert_eq!(Redis.infer(&ping, Side::Sent), Guess::Sure(Role::Client));
    assert_eq!(Redis.infer(&ping, Side::Received), Guess::Sure(Role::Server));
    assert_eq!(Redis.infer(b"$5\r\nhello\r\n", Side::Sent), Guess::Maybe(Role::Server));
    for bytes in [
        "GET / HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "SSH-2.0-x\r\n",
        "Q\0\0\0\x0dSELECT 1\0",
        "+OK \0",
        "*x\r\n",
        "$12a\r\n",
    ] {
        assert_eq!(Redis.infer(bytes.as_bytes(), Side::Sent), Guess::No, "{bytes:?}");
    }
}

/// A turn: commands that are sent before the first reply is awaited. The number of a key is the length of its value.
fn turn(first: usize, count: usize, whole: bool) -> Vec<Written> {
    let commands: Vec<Vec<u8>> = (first..first + count).map(|n| command(&format!("GET k{n}"))).collect();
    let replies: Vec<Vec<u8>> = (first..first + count)
        .map(|n| format!("${n}\r\n{}\r\n", "$1\r\n".repeat(n).get(..n).unwrap()).into_bytes())
        .collect();
    let written = |parts: Vec<Vec<u8>>, by_client| {
        let parts = if whole { vec![parts.concat()] } else { parts };
        parts.into_iter().map(move |bytes| Written { by_client, bytes })
    };
    written(commands, true).chain(written(replies, false)).collect()
}

fn turns(commands: usize) -> impl Strategy<Value = Vec<Written>> {
    proptest::collection::vec((1..=commands, any::<bool>()), 1..10).prop_map(|turns| {
        let mut next = 5;
        let mut script = Vec::new();
        for (count, whole) in turns {
            script.extend(turn(next, count, whole));
            next += count;
        }
        script
    })
}

fn assert_fits(exchange: &Exchange) {
    let Fields::Redis(fields) = &exchange.fields else { panic!("{exchange:?}") };
    // A key that was cut ends in dots.
    if let Some(n) = fields.arguments.strip_prefix('k').filter(|n| !n.ends_with("...")) {
        assert_eq!(fields.response, format!("string ({n} bytes)"), "{exchange:?}");
    }
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(script in turns(4), piece in 1_usize..40) {
        let whole = exchanges(Name::Redis, Role::Client, &script, USIZE);
        prop_assert_eq!(&exchanges(Name::Redis, Role::Server, &script, piece), &whole);
        whole.iter().for_each(assert_fits);
        let commands = |written: &Written| written.bytes.windows(3).filter(|window| *window == b"GET").count();
        prop_assert_eq!(whole.len(), script.iter().map(commands).sum::<usize>());
    }

    #[test]
    fn what_is_missed_never_makes_a_wrong_pair(script in turns(4), visibilities in visibilities(1), role in roles()) {
        exchanges_in_part(Name::Redis, role, &ping(), &script, &visibilities).iter().for_each(assert_fits);
    }

    /// What a joined connection lost before its first bytes is not known, nor whether its client waits for answers.
    #[test]
    fn connection_that_is_joined_never_makes_a_wrong_pair(
        script in turns(1),
        joined_at in any::<prop::sample::Index>(),
        visibilities in visibilities(0),
        role in roles(),
    ) {
        exchanges_of_joined(Name::Redis, role, &script, joined_at, &visibilities).iter().for_each(assert_fits);
    }

    #[test]
    fn any_bytes_cost_bounded_memory(writes in hostile_writes(hostile()), joined in any::<bool>()) {
        assert_memory_is_bounded(Name::Redis, &ping(), joined, &writes);
    }
}

/// Lines with wrong types, lengths and orders.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let known = prop_oneof![
        Just(command("GET a")),
        Just(command("SUBSCRIBE a")),
        Just(command("UNSUBSCRIBE")),
        Just(command("CLIENT REPLY OFF")),
        Just(command("MONITOR")),
        Just(b"+OK\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        Just(b"*2\r\n".to_vec()),
        Just(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n".to_vec()),
        Just(b"$5\r\n".to_vec()),
        Just(b"|1\r\n".to_vec()),
        Just(b"*?\r\n".to_vec()),
        Just(b"$?\r\n".to_vec()),
        Just(b".\r\n".to_vec()),
        Just(b";3\r\nabc\r\n".to_vec()),
    ];
    prop_oneof![
        "[-+:$*_#,(!=%~>|;.]{1,2}[-0-9?x]{0,5}\r?\n?".prop_map(String::into_bytes),
        known.clone(),
        proptest::collection::vec(known, 1..6).prop_map(|parts| parts.concat()),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

#[test]
fn answered_pipeline_leaves_no_memory() {
    let mut scripted = Scripted::new(Name::Redis, Role::Client, false, &Settings::default());
    scripted.see(&client(command("GET a").repeat(2000)), USIZE);
    scripted.see(&server("$-1\r\n".repeat(2000)), USIZE);
    assert_eq!(scripted.take_exchanges().len(), 2000);
    assert!(scripted.connection.memory() < 4096, "{}", scripted.connection.memory());
}

#[test]
fn long_pipeline_is_bounded() {
    let mut scripted = Scripted::new(Name::Redis, Role::Client, false, &Settings::default());
    let mut most = 0;
    for n in 0..50_000 {
        scripted.see(&ask(&format!("GET {n}{}", "k".repeat(100))), USIZE);
        most = most.max(scripted.connection.memory());
    }
    assert!(most < 4 << 20, "{most}");
}
