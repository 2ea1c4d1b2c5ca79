use super::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaa";

fn connection(role: Option<Role>, mid_stream: bool, asked: &[Name]) -> Connection {
    Connection::new(role, Transport::Stream, mid_stream, asked, &Settings::default())
}

#[test]
fn role_follows_the_side_that_asks() {
    for (asks, role) in [(Side::Sent, Role::Client), (Side::Received, Role::Server)] {
        for known in [None, Some(role)] {
            let mut connection = connection(known, false, &Name::ALL);
            connection.push(asks, 0, GET, GET.len() as u64, 1);
            connection.push(asks.other(), 0, OK, OK.len() as u64, 2);
            assert_eq!((connection.verdict(), connection.role()), (Verdict::Parse(Name::Http), Some(role)));
            assert_eq!(connection.take_exchange().map(|exchange| exchange.latency()), Some(1));
        }
    }
}

#[test]
fn first_bytes_in_single_bytes_decide_the_same() {
    let mut connection = connection(None, false, &Name::ALL);
    for (position, byte) in GET.iter().enumerate() {
        connection.push(Side::Received, position as u64, &[*byte], 1, 1 + position as u64);
    }
    connection.push(Side::Sent, 0, OK, OK.len() as u64, 100);
    let exchange = connection.take_exchange().unwrap();
    assert_eq!((exchange.started, exchange.asked, exchange.ended), (1, GET.len() as u64, 100));
}

#[test]
fn foreign_protocols_are_named() {
    let named = |side, first: &[u8], asked: &[Name]| {
        let mut connection = connection(None, false, asked);
        connection.push(side, 0, first, first.len() as u64, 1);
        assert!(connection.memory() < 1024, "{}", connection.memory());
        connection.verdict()
    };
    assert_eq!(named(Side::Sent, CLIENT_HELLO, &Name::ALL), Verdict::Ignore(Some("tls")));
    let greeting = b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0abcdefgh";
    assert_eq!(named(Side::Received, greeting, &[Name::Http]), Verdict::Ignore(Some("mysql")));
    assert_eq!(named(Side::Sent, GET, &[Name::Dns]), Verdict::Ignore(Some("http")));
    assert_eq!(named(Side::Sent, &[0xee; 64], &[Name::Http]), Verdict::Ignore(None));
}

#[test]
fn joined_connection_is_searched_for_a_message() {
    let mut connection = connection(Some(Role::Server), true, &Name::ALL);
    connection.push(Side::Sent, 0, &[0xfe; 4000], 100_000, 1);
    connection.push(Side::Sent, 100_000, b"", 1 << 30, 2);
    connection.push(Side::Received, 0, GET, GET.len() as u64, 3);
    connection.push(Side::Sent, 100_000 + (1 << 30), OK, OK.len() as u64, 4);
    let exchange = connection.take_exchange().unwrap();
    assert_eq!((exchange.latency(), exchange.mid_stream, connection.lost()), (1, true, 0));
}

#[test]
fn connection_joined_again_begins_at_any_position() {
    let mut connection = connection(Some(Role::Client), true, &Name::ALL);
    connection.push(Side::Sent, 7_000, GET, GET.len() as u64, 1);
    connection.push(Side::Received, 90_000, OK, OK.len() as u64, 2);
    assert!(connection.take_exchange().is_some());
    assert_eq!((connection.gaps(), connection.lost()), (Gaps::default(), 0));
}

#[test]
fn joined_connection_of_tls_is_named() {
    let mut connection = connection(Some(Role::Server), true, &Name::ALL);
    connection.push(Side::Sent, 0, b"\x17\x03\x03\x01\x00abcdefgh", 261, 1);
    assert_eq!(connection.verdict(), Verdict::Ignore(Some("tls")));
}

#[test]
fn repeated_bytes_of_a_peek_are_read_once() {
    let mut connection = connection(Some(Role::Server), false, &Name::ALL);
    connection.push(Side::Received, 0, &GET[..20], 20, 1);
    connection.push(Side::Received, 0, GET, GET.len() as u64, 2);
    connection.push(Side::Received, 0, &GET[..20], 20, 2);
    connection.push(Side::Sent, 0, OK, OK.len() as u64, 3);
    let exchange = connection.take_exchange().unwrap();
    assert_eq!((exchange.request_bytes, connection.take_exchange()), (GET.len() as u64, None));
    assert_eq!(connection.gaps(), Gaps::default());
}

#[test]
fn lost_beginning_is_a_counted_gap() {
    let mut connection = connection(Some(Role::Client), false, &Name::ALL);
    connection.push(Side::Received, 500, OK, OK.len() as u64, 1);
    for number in 0..3 {
        connection.push(Side::Sent, 70 + number * GET.len() as u64, GET, GET.len() as u64, 2);
        let position = 500 + (number + 1) * OK.len() as u64;
        connection.push(Side::Received, position, OK, OK.len() as u64, 3);
    }
    let exchanges = std::iter::from_fn(|| connection.take_exchange()).count();
    assert_eq!(exchanges, 3);
    assert_eq!(connection.gaps().bytes, 570);
}

#[test]
fn idle_connection_holds_little() {
    let mut connection = connection(Some(Role::Server), false, &Name::ALL);
    for number in 0..100 {
        connection.push(Side::Received, number * GET.len() as u64, GET, GET.len() as u64, 1);
        connection.push(Side::Sent, number * OK.len() as u64, OK, OK.len() as u64, 1);
        assert!(connection.take_exchange().is_some());
    }
    assert!(connection.memory() < 2048, "{}", connection.memory());
}

#[test]
fn http_has_one_message_in_a_call_until_it_is_pipelined() {
    let mut connection = connection(Some(Role::Server), false, &Name::ALL);
    let (mut asked, mut answered) = (0, 0);
    let mut exchange = |connection: &mut Connection, requests: usize, time: u64| {
        let (many, answers) = (GET.repeat(requests), OK.repeat(requests));
        connection.push(Side::Received, asked, &many, many.len() as u64, time);
        connection.push(Side::Sent, answered, &answers, answers.len() as u64, time + 1);
        (asked, answered) = (asked + many.len() as u64, answered + answers.len() as u64);
    };
    exchange(&mut connection, 1, 1);
    exchange(&mut connection, 1, 3);
    assert_eq!((connection.verdict(), connection.has_many_in_a_call()), (Verdict::Parse(Name::Http), false));
    exchange(&mut connection, 2, 5);
    assert!(connection.has_many_in_a_call());
    exchange(&mut connection, 1, 7);
    assert!(connection.has_many_in_a_call(), "the client may do it again");
}

#[test]
fn other_protocols_have_many_messages_in_a_call() {
    let mut connection = connection(Some(Role::Client), false, &Name::ALL);
    let (get, value) = (b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"$2\r\nok\r\n");
    connection.push(Side::Sent, 0, get, get.len() as u64, 1);
    connection.push(Side::Received, 0, value, value.len() as u64, 2);
    assert_eq!((connection.verdict(), connection.has_many_in_a_call()), (Verdict::Parse(Name::Redis), true));
}
