use super::head::METHODS;
use super::*;
use crate::scripted::Scripted;
use crate::{Exchange, Fields, HttpFields, Verdict};

const REQUEST: Side = Side::Sent;
const ANSWER: Side = Side::Received;

fn new_client() -> Scripted {
    client_with(false, &Settings::default())
}

fn client_with(mid_stream: bool, settings: &Settings) -> Scripted {
    Scripted::new(Name::Http, Role::Client, mid_stream, settings)
}

fn fields(client: &mut Scripted) -> Vec<HttpFields> {
    let fields = |exchange: Exchange| match exchange.fields {
        Fields::Http(fields) => fields,
        other => panic!("{other:?}"),
    };
    client.take_exchanges().into_iter().map(fields).collect()
}

/// `GET /a 200` for each exchange.
fn lines(client: &mut Scripted) -> Vec<String> {
    let line = |fields: HttpFields| format!("{} {} {}", fields.method, fields.path, fields.status.unwrap_or(0));
    fields(client).into_iter().map(line).collect()
}

/// Each path is requested, and answered before the next one.
fn request_each(client: &mut Scripted, paths: &[&str]) {
    for path in paths {
        client.push(REQUEST, get(path));
        client.push(ANSWER, OK);
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n")
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn exchange_has_all_columns() {
    let mut client = new_client();
    client.push(REQUEST, "POST /cart?item=7&coupon=WINTER HTTP/1.1\r\nHost: shop\r\nContent-Length: 11\r\n\r\n");
    client.push(REQUEST, "{\"item\": 7}");
    client.push(
        ANSWER,
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n",
    );
    client.push(ANSWER, "null");
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fields = HttpFields {
        major: 1,
        minor: 1,
        method: "POST".to_owned(),
        path: "/cart?item=<redacted>&coupon=<redacted>".to_owned(),
        request_headers: vec![header("Host", "shop"), header("Content-Length", "11")],
        request_body: String::new(),
        request_body_bytes: Some(11),
        status: Some(503),
        reason: "Service Unavailable".to_owned(),
        response_headers: vec![header("Content-Type", "application/json"), header("Content-Length", "4")],
        response_body: String::new(),
        response_body_bytes: Some(4),
        content_type: 1,
        grpc_status: None,
        request_messages: None,
        response_messages: None,
    };
    let expected = Exchange {
        started: 1_000_000,
        asked: 2_000_000,
        ended: 4_000_000,
        request_bytes: 87,
        response_bytes: 91,
        is_error: true,
        mid_stream: false,
        fields: Fields::Http(fields),
    };
    assert_eq!(client.take_exchanges(), vec![expected]);
    assert_eq!(client.connection.verdict(), Verdict::Parse(Name::Http));
}

#[test]
fn every_method_is_a_request() {
    let mut client = new_client();
    for method in METHODS.into_iter().filter(|method| *method != "CONNECT").chain(["M-SEARCH", "BREW", "mixedCase"]) {
        client.push(REQUEST, format!("{method} /a HTTP/1.1\r\nHost: shop\r\n\r\n"));
        let body = if method == "HEAD" { "" } else { "ok" };
        client.push(ANSWER, format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}"));
        assert_eq!(lines(&mut client), vec![format!("{method} /a 200")]);
    }
    assert_eq!(client.connection.lost(), 0);
}

#[test]
fn answers_without_body_end_with_their_head() {
    let mut client = new_client();
    client.push(REQUEST, get("/a") + &get("/b") + &get("/c"));
    client.push(ANSWER, "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n");
    client.push(ANSWER, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    client.push(ANSWER, format!("HTTP/1.1 204 No Content\r\n\r\n{OK}"));
    assert_eq!(lines(&mut client), ["GET /a 304", "GET /b 204", "GET /c 200"]);
}

#[test]
fn chunked_answer_counts_its_content() {
    let mut client = new_client();
    client.push(REQUEST, get("/a"));
    client.push(ANSWER, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nWiki\r\n");
    client.push(ANSWER, "5;x=y\r\npedia\r\n0\r\nX-Checksum: 1\r\n\r\n");
    client.push(REQUEST, get("/b"));
    client.push(ANSWER, OK);
    let fields = fields(&mut client);
    assert_eq!(fields.iter().map(|fields| fields.response_body_bytes).collect::<Vec<_>>(), [Some(9), Some(2)]);
}

#[test]
fn body_without_length_ends_with_the_connection() {
    let mut client = new_client();
    client.push(REQUEST, "GET /old HTTP/1.0\r\n\r\n");
    client.push(ANSWER, "HTTP/1.0 200 OK\r\n\r\nsome");
    client.push_cut(ANSWER, b" text", 1000);
    assert_eq!(client.connection.verdict(), Verdict::Parse(Name::Http), "the answer's head fits");
    assert_eq!(client.take_exchanges(), []);
    client.connection.finish(9_000_000);
    let exchange = client.take_exchanges().pop().unwrap();
    assert_eq!((exchange.ended, exchange.response_bytes), (9_000_000, 19 + 4 + 1000));
}

#[test]
fn upgrade_and_tunnel_leave_only_lengths() {
    let mut client = new_client();
    client.push(REQUEST, "GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    client.push(ANSWER, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\u{1}\u{5}hello");
    assert_eq!(lines(&mut client), ["GET /chat 101"]);
    assert_eq!(client.connection.verdict(), Verdict::Lengths);

    let mut client = new_client();
    client.push(REQUEST, "CONNECT db:5432 HTTP/1.1\r\n\r\n");
    client.push(ANSWER, "HTTP/1.1 200 Connection Established\r\n\r\n");
    client.push(REQUEST, get("/inside"));
    assert_eq!(
        (lines(&mut client), client.connection.verdict()),
        (vec!["CONNECT db:5432 200".to_owned()], Verdict::Lengths)
    );

    let mut client = new_client();
    client.push(REQUEST, "CONNECT db:5432 HTTP/1.1\r\n\r\n");
    client.push(ANSWER, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.connection.verdict(), Verdict::Parse(Name::Http));
}

#[test]
fn secrets_do_not_reach_an_exchange() {
    let settings = Settings { redact_headers: ["X-Tenant".to_owned()].into(), ..Settings::default() };
    let mut client = client_with(false, &settings);
    client.push(
        REQUEST,
        "POST http://u:hunter2@shop/a?password=hunter2#hunter2 HTTP/1.1\r\nauthorization: Basic hunter2\r\n\
         Proxy-Authorization: hunter2\r\nCookie: session=hunter2;\r\n more=hunter2\r\nX-TENANT: hunter2\r\n\
         Referer: https://shop/b?token=hunter2\r\n folded=hunter2\r\nContent-Length: 7\r\n\r\nhunter2",
    );
    client.push(
        ANSWER,
        "HTTP/1.1 302 Found\r\nSet-Cookie: id=hunter2; Path=/\r\nLocation: /c?code=hunter2&x=hunter2\r\n\
         Content-Length: 7\r\n\r\nhunter2",
    );
    let exchanges = client.take_exchanges();
    assert_eq!(exchanges.len(), 1);
    assert!(!format!("{exchanges:?}").contains("hunter2"), "{exchanges:?}");
    assert!(format!("{exchanges:?}").contains("/c?code=<redacted>&x=<redacted>"), "{exchanges:?}");
}

#[test]
fn odd_headers_neither_break_nor_show() {
    let mut client = new_client();
    client.push(REQUEST, "\r\nGET /a HTTP/1.1\nHost : shop\nno colon\n: no name\nX-Long: a\n\tb\n\n");
    client.push(ANSWER, OK);
    let fields = fields(&mut client).pop().unwrap();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(fields.request_headers, [header("Host", "shop"), header("", "no name"), header("X-Long", "a b")]);
}

#[test]
fn long_headers_are_counted_and_not_kept() {
    let mut client = new_client();
    let long = format!("GET /a HTTP/1.1\r\nX-Long: {}\r\nContent-Length: 1\r\n\r\nx", "a".repeat(100_000));
    for piece in long.as_bytes().chunks(1000) {
        client.push(REQUEST, piece);
        assert!(client.connection.memory() < 40_000, "{}", client.connection.memory());
    }
    client.push(ANSWER, OK);
    let exchange = client.take_exchanges().pop().unwrap();
    assert_eq!(exchange.request_bytes, long.len() as u64);
}

#[test]
fn sendfile_download_stays_in_step() {
    let mut client = new_client();
    let size = 100 << 20;
    for number in 0..3 {
        client.push(REQUEST, get(&format!("/{number}")));
        client.push(ANSWER, format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"));
        for _ in 0..100 {
            client.push_cut(ANSWER, b"", size / 100);
        }
    }
    let ended: Vec<u64> = client.take_exchanges().iter().map(|exchange| exchange.ended).collect();
    assert_eq!(ended, [102_000_000, 204_000_000, 306_000_000]);
    assert_eq!((client.connection.gaps().bytes, client.connection.lost()), (3 * size, 0));
}

#[test]
fn chunks_that_were_not_copied_stay_in_step() {
    let mut client = new_client();
    client.push(REQUEST, get("/a"));
    client.push(ANSWER, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n");
    client.push_cut(ANSWER, b"", 0x8000);
    client.push(ANSWER, "\r\n0\r\n\r\n");
    assert_eq!(lines(&mut client), ["GET /a 200"]);
}

#[test]
fn requests_after_a_gap_find_their_answers() {
    let mut client = new_client();
    for number in 0..10 {
        let request = get(&format!("/{number}"));
        if number == 4 {
            client.lose(REQUEST, request);
        } else {
            client.push(REQUEST, request);
        }
        let answer = format!("HTTP/1.1 20{number} OK\r\nContent-Length: 0\r\n\r\n");
        if number == 7 {
            client.lose(ANSWER, answer);
        } else {
            client.push(ANSWER, answer);
        }
    }
    let expected: Vec<String> =
        [0, 1, 2, 3, 5, 6].into_iter().map(|number| format!("GET /{number} 20{number}")).collect();
    let lines = lines(&mut client);
    assert!(lines.starts_with(&expected[..4]), "{lines:?}");
    assert!(lines.iter().all(|line| line.as_bytes()[5] == line.as_bytes()[9]), "{lines:?}");
    assert_eq!(lines.len() as u64 + client.connection.lost(), 9, "the last one is not proven yet: {lines:?}");
}

#[test]
fn message_is_found_where_a_call_begins() {
    let mut client = new_client();
    request_each(&mut client, &["/a"]);
    client.lose(ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n");
    client.push(REQUEST, get("/b"));
    client.push(ANSWER, "binary\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    client.push(ANSWER, "HTTP/1.1 404 Not Found\r\n\r\n a page about HTTP, without an end");
    request_each(&mut client, &["/c", "/d", "/e"]);
    assert_eq!(lines(&mut client), ["GET /a 200", "GET /d 200", "GET /e 200"]);
}

#[test]
fn answer_before_the_end_of_its_request_is_its_answer() {
    let mut client = new_client();
    client.push(REQUEST, "PUT /upload HTTP/1.1\r\nContent-Length: 3000\r\n\r\n");
    client.push(REQUEST, [b'x'; 1000]);
    client.push(ANSWER, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    client.time += 1_000_000_000;
    client.push(REQUEST, [b'x'; 2000]);
    client.push(REQUEST, get("/next"));
    client.push(ANSWER, OK);
    assert_eq!(
        (lines(&mut client), client.connection.lost()),
        (vec!["PUT /upload 413".into(), "GET /next 200".into()], 0)
    );
}

#[test]
fn bodies_are_kept_only_when_asked_for() {
    let settings = Settings { payload_bytes: 8, ..Settings::default() };
    let mut client = client_with(false, &settings);
    let body_of = |client: &mut Scripted, kind: &str, body: &str| {
        client.push(REQUEST, get("/a"));
        client.push(ANSWER, format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len()));
        fields(client).pop().unwrap().response_body
    };
    assert_eq!(body_of(&mut client, "Content-Type: text/plain\r\n", "short"), "short");
    assert_eq!(body_of(&mut client, "Content-Type: text/plain\r\n", "0123456789"), "01234567... [TRUNCATED]");
    assert_eq!(body_of(&mut client, "Content-Type: image/png\r\n", "PNG"), "<removed: non-text content-type>");
    assert_eq!(body_of(&mut client, "", "text"), "<removed: unknown content-type>");
    let gzip = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    assert_eq!(body_of(&mut client, gzip, "xxx"), "<removed: content-encoding gzip>");
    client.push(REQUEST, get("/a"));
    client.push_cut(ANSWER, b"HTTP/1.1 200 OK\r\nContent-Type: text/a\r\nContent-Length: 6\r\n\r\nab", 65);
    client.push(ANSWER, "f");
    assert_eq!(fields(&mut client).pop().unwrap().response_body, "ab... [TRUNCATED]");
}

#[test]
fn joined_connection_shows_its_next_request() {
    let mut client = client_with(true, &Settings::default());
    client.push(ANSWER, "rest of a body\r\nand more");
    client.push(ANSWER, [0x47; 4000]);
    request_each(&mut client, &["/a"]);
    let exchanges = client.take_exchanges();
    assert_eq!(exchanges.len(), 1);
    assert!(exchanges[0].mid_stream);
}

#[test]
fn answer_to_an_unseen_head_request_has_no_body() {
    let mut client = client_with(true, &Settings::default());
    client.push(ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
    request_each(&mut client, &["/a"]);
    assert_eq!(lines(&mut client), ["GET /a 200"]);
}

#[test]
fn one_side_that_looks_like_http_is_no_verdict() {
    let mut client = new_client();
    client.push(REQUEST, get("/a"));
    client.push(REQUEST, get("/b"));
    assert_eq!(client.connection.verdict(), Verdict::Undecided);
    client.push(ANSWER, "+OK this is something else\r\n");
    assert_eq!(client.connection.verdict(), Verdict::Ignore(None));
}

#[test]
fn contradicting_lengths_are_not_guessed() {
    let mut client = new_client();
    request_each(&mut client, &["/a"]);
    client.push(REQUEST, "POST /b HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 40\r\n\r\nabc");
    client.push(ANSWER, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    request_each(&mut client, &["/c", "/d"]);
    assert_eq!(lines(&mut client), ["GET /a 200", "POST /b 400", "GET /c 200", "GET /d 200"]);
}
