use super::*;
use crate::scripted::{Scripted, Written, client, exchanges, exchanges_in_any_pieces, server};
use crate::{Exchange, HttpFields, Verdict};

mod encoder;
mod losses;
mod masks;
mod tables;

use self::encoder::{Encoder, data, greeting, message, settings};
use super::frames::frame;

const REQUEST: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "shop"), (":path", "/a")];

/// Both ends' encoders, and what they have written.
struct Talk {
    asks: Encoder,
    answers: Encoder,
    script: Vec<Written>,
}

impl Talk {
    /// Both ends have greeted each other.
    fn new(huffman: bool) -> Self {
        let encoder = Encoder::new(huffman);
        let script = vec![client(greeting()), server(settings())];
        Self { asks: encoder.clone(), answers: encoder, script }
    }

    fn ask(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> &mut Self {
        self.script.push(client(self.asks.headers(stream, fields, ends)));
        self
    }

    fn get(&mut self, stream: u32, path: &str) -> &mut Self {
        self.ask(stream, &[(":method", "GET"), (":scheme", "http"), (":authority", "shop"), (":path", path)], true)
    }

    fn answer(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> &mut Self {
        self.script.push(server(self.answers.headers(stream, fields, ends)));
        self
    }

    fn send(&mut self, bytes: Vec<u8>) -> &mut Self {
        self.script.push(client(bytes));
        self
    }

    fn receive(&mut self, bytes: Vec<u8>) -> &mut Self {
        self.script.push(server(bytes));
        self
    }

    fn call(&mut self, stream: u32, more: &[(&str, &str)]) -> &mut Self {
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/shop.Cart/Add"), ("te", "trailers")];
        let fields = [&fields[..], &[("content-type", "application/grpc")], more].concat();
        self.ask(stream, &fields, false)
    }

    fn exchanges(&self) -> Vec<Exchange> {
        exchanges_in_any_pieces(Name::Http2, &self.script)
    }
}

fn http(exchange: Exchange) -> HttpFields {
    match exchange.fields {
        crate::Fields::Http(fields) => fields,
        other => panic!("{other:?}"),
    }
}

/// `GET /a 200 OK`
fn line(exchange: Exchange) -> String {
    let fields = http(exchange);
    let status = fields.status.map_or("?".to_owned(), |status| status.to_string());
    format!("{} {} {status} {}", fields.method, fields.path, fields.reason).trim_end().to_owned()
}

fn lines(talk: &Talk) -> Vec<String> {
    talk.exchanges().into_iter().map(line).collect()
}

fn header(fields: &[(String, String)], name: &str) -> Option<String> {
    fields.iter().find(|field| field.0 == name).map(|field| field.1.clone())
}

#[test]
fn exchange_has_all_columns() {
    let mut talk = Talk::new(true);
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":path", "/cart?item=7"), ("content-type", "application/json")];
    talk.ask(1, &fields, false).send(data(1, b"{\"item\": 7}", true));
    talk.answer(1, &[(":status", "503"), ("content-type", "application/json")], false);
    talk.receive(data(1, b"nu", false)).receive(data(1, b"ll", true));
    let exchange = talk.exchanges().pop().unwrap();
    assert_eq!((exchange.started, exchange.asked, exchange.ended), (3_000_000, 4_000_000, 7_000_000));
    let bytes = |from: usize, to: usize| talk.script[from..to].iter().map(|it| it.bytes.len() as u64).sum::<u64>();
    assert_eq!((exchange.request_bytes, exchange.response_bytes), (bytes(2, 4), bytes(4, 7)));
    assert!(exchange.is_error && !exchange.mid_stream);
    let fields = http(exchange);
    assert_eq!((fields.major, fields.minor, fields.content_type), (2, 0, 1));
    assert_eq!((fields.method.as_str(), fields.path.as_str()), ("POST", "/cart?item=<redacted>"));
    assert_eq!((fields.status, fields.reason.as_str()), (Some(503), ""));
    assert_eq!((fields.request_body_bytes, fields.response_body_bytes), (Some(11), Some(4)));
    assert_eq!((fields.grpc_status, fields.request_messages), (None, None));
    assert_eq!(header(&fields.request_headers, ":path").unwrap(), "/cart?item=<redacted>");
    assert_eq!(header(&fields.response_headers, "content-type").unwrap(), "application/json");
}

#[test]
fn streams_are_answered_in_any_order() {
    for huffman in [false, true] {
        let mut talk = Talk::new(huffman);
        talk.get(1, "/a").get(3, "/b").get(5, "/c");
        talk.answer(5, &[(":status", "404")], true).answer(1, &[(":status", "200")], false);
        talk.answer(3, &[(":status", "204")], true).receive(data(1, b"ok", true));
        talk.get(7, "/a").answer(7, &[(":status", "103"), ("link", "</a>")], false).answer(
            7,
            &[(":status", "200")],
            true,
        );
        assert_eq!(lines(&talk), ["GET /c 404", "GET /b 204", "GET /a 200 OK", "GET /a 200 OK"]);
    }
}

#[test]
fn padding_priorities_and_other_frames_are_no_content() {
    let mut talk = Talk::new(false);
    let block = talk.asks.block(&REQUEST);
    let (first, rest) = block.split_at(3);
    let padded = [&[3][..], &[0; 5], first, &[0; 3]].concat();
    talk.send([frame(1, 0x28, 1, &padded), frame(9, 0, 1, b""), frame(9, 4, 1, rest)].concat());
    talk.send([frame(2, 0, 1, &[0; 5]), frame(6, 0, 0, &[9; 8]), frame(8, 0, 1, &[0, 0, 1, 0])].concat());
    talk.send(frame(0, 9, 1, b"\x02ab\0\0"));
    talk.receive([frame(0x10, 0, 0, b"extension"), frame(6, 1, 0, &[9; 8])].concat());
    talk.answer(1, &[(":status", "200")], false).receive(frame(0, 9, 1, b"\x00abc"));
    let exchange = talk.exchanges().pop().unwrap();
    assert_eq!(
        exchange.response_bytes,
        talk.script[talk.script.len() - 2..].iter().map(|it| it.bytes.len() as u64).sum::<u64>()
    );
    let fields = http(exchange);
    assert_eq!((fields.request_body_bytes, fields.response_body_bytes), (Some(2), Some(3)));
}

#[test]
fn grpc_call_has_its_status_and_its_messages() {
    let mut talk = Talk::new(true);
    talk.call(1, &[("x-user", "ann"), ("grpc-timeout", "1S")]);
    talk.send(data(1, &[message(b"abc"), message(b"")].concat(), false)).send(data(1, &message(b"d"), true));
    talk.answer(1, &[(":status", "200"), ("content-type", "application/grpc+proto")], false);
    talk.receive(data(1, &message(&[0; 300]), false));
    talk.answer(1, &[("grpc-status", "5"), ("grpc-message", "no item 7"), ("x-trace", "7")], true);
    let exchange = talk.exchanges().pop().unwrap();
    assert!(exchange.is_error);
    let fields = http(exchange);
    assert_eq!((fields.path.as_str(), fields.status, fields.content_type), ("/shop.Cart/Add", Some(200), 2));
    assert_eq!((fields.grpc_status.as_deref(), fields.reason.as_str()), (Some("NOT_FOUND"), "NOT_FOUND"));
    assert_eq!((fields.request_messages, fields.response_messages), (Some(3), Some(1)));
    assert_eq!((fields.request_body_bytes, fields.response_body_bytes), (Some(19), Some(305)));
    let shown = |name: &str| header(&fields.response_headers, name).unwrap();
    assert_eq!(
        (shown("grpc-status"), shown("grpc-message"), shown("x-trace")),
        ("5".into(), "<redacted>".into(), "<redacted>".into())
    );
    assert_eq!(header(&fields.request_headers, "x-user").unwrap(), "<redacted>");
    assert_eq!(header(&fields.request_headers, "grpc-timeout").unwrap(), "1S");
}

#[test]
fn answer_of_trailers_alone_and_without_status() {
    let mut talk = Talk::new(false);
    let trailers = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "12")];
    talk.call(1, &[]).send(data(1, &message(b"a"), true)).answer(1, &trailers, true);
    talk.call(3, &[]).send(data(3, &message(b"a"), true)).answer(3, &[(":status", "502")], true);
    let calls: Vec<HttpFields> = talk.exchanges().into_iter().map(http).collect();
    let status = |call: &HttpFields| (call.grpc_status.clone().unwrap(), call.response_messages, call.status);
    assert_eq!(status(&calls[0]), ("UNIMPLEMENTED".into(), Some(0), Some(200)));
    assert_eq!(status(&calls[1]), ("?".into(), Some(0), Some(502)));
}

#[test]
fn streams_that_are_reset_or_refused_say_so() {
    let mut talk = Talk::new(false);
    talk.get(1, "/a").get(3, "/b").get(5, "/c").get(7, "/d");
    talk.answer(1, &[(":status", "200")], false).send(frame(3, 0, 1, &[0, 0, 0, 8]));
    talk.receive(frame(3, 0, 3, &[0, 0, 0, 7]));
    talk.receive(frame(7, 0, 0, &[&[0, 0, 0, 5, 0, 0, 0, 11][..], b"too many pings"].concat()));
    talk.answer(5, &[(":status", "200")], true);
    let expected = [
        "GET /a 200 RST_STREAM CANCEL",
        "GET /b ? RST_STREAM REFUSED_STREAM",
        "GET /d ? GOAWAY ENHANCE_YOUR_CALM",
        "GET /c 200 OK",
    ];
    assert_eq!(lines(&talk), expected);
    assert_eq!(talk.exchanges().iter().map(|it| it.is_error).collect::<Vec<_>>(), [true, true, true, false]);
}

#[test]
fn pushed_answers_have_rows_of_their_own() {
    let mut talk = Talk::new(true);
    talk.get(1, "/a");
    let promised = talk.answers.block(&[(":method", "GET"), (":path", "/style.css")]);
    talk.receive(frame(5, 4, 1, &[&[0, 0, 0, 2][..], &promised].concat()));
    talk.answer(1, &[(":status", "200")], true).answer(2, &[(":status", "200")], false).receive(data(2, b"css", true));
    assert_eq!(lines(&talk), ["GET /a 200 OK", "GET /style.css 200 OK"]);
}

#[test]
fn request_of_an_upgrade_is_answered_on_stream_1() {
    let mut encoder = Encoder::default();
    let upgrade = "GET /a?b=c HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let mut script =
        vec![client("GET /first HTTP/1.1\r\n\r\n"), server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")];
    script.push(client(upgrade));
    script.push(server("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"));
    script.push(server([settings(), encoder.headers(1, &[(":status", "200")], false), data(1, b"ok", true)].concat()));
    script.push(client(greeting()));
    script.push(client(Encoder::default().headers(3, &REQUEST, true)));
    script.push(server(encoder.headers(3, &[(":status", "204")], true)));
    let rows = exchanges_in_any_pieces(Name::Http, &script);
    let versions: Vec<u8> = rows.iter().map(|row| http(row.clone()).major).collect();
    assert_eq!(versions, [1, 2, 2]);
    let rows: Vec<String> = rows.into_iter().map(line).collect();
    assert_eq!(rows, ["GET /first 404 Not Found", "GET /a?b=<redacted> 200 OK", "GET /a 204"]);
}

#[test]
fn http_asks_for_http2_and_grpc_for_its_calls_alone() {
    let mut talk = Talk::new(false);
    talk.get(1, "/a").answer(1, &[(":status", "200")], true).call(3, &[]).send(data(3, &message(b"a"), true));
    talk.answer(3, &[(":status", "200"), ("grpc-status", "0")], true);
    let paths = |asked: &[Name]| {
        let mut connection = crate::Connection::new(None, Transport::Stream, false, asked, &Settings::default());
        let mut positions = [0, 0];
        for written in &talk.script {
            let (side, position) = match written.by_client {
                true => (Side::Sent, &mut positions[0]),
                false => (Side::Received, &mut positions[1]),
            };
            connection.push(side, *position, &written.bytes, written.bytes.len() as u64, 1);
            *position += written.bytes.len() as u64;
        }
        let rows: Vec<String> = std::iter::from_fn(|| connection.take_exchange()).map(|row| http(row).path).collect();
        (rows, connection.verdict(), connection.role())
    };
    let both = vec!["/a".to_owned(), "/shop.Cart/Add".to_owned()];
    assert_eq!(paths(&Name::ALL), (both.clone(), Verdict::Parse(Name::Http2), Some(Role::Client)));
    assert_eq!(paths(&[Name::Http]), (both.clone(), Verdict::Parse(Name::Http2), Some(Role::Client)));
    assert_eq!(paths(&[Name::Http2, Name::Grpc]).0, both);
    assert_eq!(paths(&[Name::Grpc]), (both[1..].to_vec(), Verdict::Parse(Name::Grpc), Some(Role::Client)));
    assert_eq!(paths(&[Name::Pgsql]), (vec![], Verdict::Ignore(Some("http2")), None));
}

#[test]
fn bodies_are_kept_only_when_asked_for() {
    let mut talk = Talk::new(true);
    talk.get(1, "/a").answer(1, &[(":status", "200"), ("content-type", "text/plain")], false);
    talk.receive(data(1, b"0123", false)).receive(data(1, b"456789", true));
    let body = |payload_bytes| {
        let mut scripted =
            Scripted::new(Name::Http2, Role::Client, false, &Settings { payload_bytes, ..Settings::default() });
        talk.script.iter().for_each(|written| scripted.see(written, usize::MAX));
        http(scripted.take_exchanges().pop().unwrap()).response_body
    };
    assert_eq!([0, 8, 10].map(body), ["", "01234567... [TRUNCATED]", "0123456789"]);
}

#[test]
fn ten_thousand_streams_leave_no_memory() {
    let mut talk = Talk::new(true);
    let mut scripted = Scripted::new(Name::Http2, Role::Server, false, &Settings::default());
    // One lasts: the ids of the others do not wait behind it.
    talk.get(1, "/watch").answer(1, &[(":status", "200")], false);
    let mut rows = 0;
    for number in 1..10_000 {
        let stream = 2 * number + 1;
        talk.get(stream, &format!("/item/{}", number % 50)).answer(stream, &[(":status", "200")], true);
        talk.script.drain(..).for_each(|written| scripted.see(&written, usize::MAX));
        rows += scripted.take_exchanges().len();
    }
    assert_eq!((rows, scripted.connection.lost()), (9_999, 0));
    assert!(scripted.connection.memory() < 48 << 10, "{}", scripted.connection.memory());
    scripted.see(&server(data(1, b"end", true)), usize::MAX);
    assert_eq!(scripted.take_exchanges().len(), 1);
}

#[test]
fn answers_that_are_recorded_first_wait_for_their_request() {
    let mut talk = Talk::new(false);
    talk.get(1, "/a").answer(1, &[(":status", "200")], true).get(3, "/b").answer(3, &[(":status", "404")], true);
    let last = talk.script.len() - 1;
    talk.script.swap(last - 1, last);
    let rows: Vec<String> =
        exchanges(Name::Http2, Role::Client, &talk.script, usize::MAX).into_iter().map(line).collect();
    assert_eq!(rows, ["GET /a 200 OK", "GET /b 404"]);
}
