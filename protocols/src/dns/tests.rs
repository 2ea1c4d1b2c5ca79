use super::*;
use crate::Verdict;
use crate::scripted::Scripted;

/// `dig +noedns shop.example A` and an answer with an alias, whose names are compressed.
const QUERY: &[u8] = b"\xdb\x42\x01\x20\0\x01\0\0\0\0\0\0\x04shop\x07example\0\0\x01\0\x01";
const ANSWER: &[u8] = b"\xdb\x42\x81\x80\0\x01\0\x02\0\0\0\0\x04shop\x07example\0\0\x01\0\x01\
    \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03web\xc0\x11\xc0\x2a\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x07";

fn name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn query(id: u16, of: &str, kind: u16) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend(b"\x01\0\0\x01\0\0\0\0\0\0");
    query.extend(name(of));
    query.extend([kind.to_be_bytes(), [0, 1]].concat());
    query
}

/// The answer to `query(id, of, kind)` with one record of this data.
fn answer(id: u16, of: &str, kind: u16, rcode: u8, data: &[u8]) -> Vec<u8> {
    let mut answer = query(id, of, kind);
    answer[2] = 0x81;
    answer[3] = 0x80 | rcode;
    if !data.is_empty() {
        answer[7] = 1;
        answer.extend(
            [&[0xc0, 12][..], &kind.to_be_bytes()[..], &[0, 1, 0, 0, 0, 60, 0, data.len() as u8], data].concat(),
        );
    }
    answer
}

fn resolver(transport: Transport) -> Scripted {
    Scripted::on(transport, Name::Dns, Role::Client, false, &Settings::default())
}

fn fields(resolver: &mut Scripted) -> Vec<DnsFields> {
    let fields = |exchange: Exchange| match exchange.fields {
        Fields::Dns(fields) => fields,
        other => panic!("{other:?}"),
    };
    resolver.take_exchanges().into_iter().map(fields).collect()
}

fn on_tcp(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

#[test]
fn exchange_has_pixies_columns() {
    let mut resolver = resolver(Transport::Datagram);
    resolver.push(Side::Sent, QUERY);
    resolver.push(Side::Received, ANSWER);
    let fields = DnsFields {
        id: 0xdb42,
        name: "shop.example".to_owned(),
        kind: "A".to_owned(),
        rcode: "NOERROR".to_owned(),
        answers: vec!["web.example".to_owned(), "10.0.0.7".to_owned()],
        request_header:
            "{\"txid\":56130,\"qr\":0,\"opcode\":0,\"aa\":0,\"tc\":0,\"rd\":1,\"ra\":0,\"ad\":1,\"cd\":0,\"rcode\":0,\
                         \"num_queries\":1,\"num_answers\":0,\"num_auth\":0,\"num_addl\":0}"
                .to_owned(),
        request_body: "{\"queries\":[{\"name\":\"shop.example\",\"type\":\"A\"}]}".to_owned(),
        response_header:
            "{\"txid\":56130,\"qr\":1,\"opcode\":0,\"aa\":0,\"tc\":0,\"rd\":1,\"ra\":1,\"ad\":0,\"cd\":0,\"rcode\":0,\
                          \"num_queries\":1,\"num_answers\":2,\"num_auth\":0,\"num_addl\":0}"
                .to_owned(),
        response_body: "{\"answers\":[{\"name\":\"shop.example\",\"type\":\"CNAME\",\"cname\":\"web.example\"},\
                        {\"name\":\"web.example\",\"type\":\"A\",\"addr\":\"10.0.0.7\"}]}"
            .to_owned(),
    };
    let expected = Exchange {
        started: 1_000_000,
        asked: 1_000_000,
        ended: 2_000_000,
        request_bytes: QUERY.len() as u64,
        response_bytes: ANSWER.len() as u64,
        is_error: false,
        mid_stream: false,
        fields: Fields::Dns(fields),
    };
    assert_eq!(resolver.take_exchanges(), vec![expected]);
    assert_eq!(resolver.connection.verdict(), Verdict::Parse(Name::Dns));
}

#[test]
fn data_of_each_type_is_printed() {
    let target = name("a.example");
    let soa = [target.clone(), target.clone(), [1u32, 2, 3, 4, 5].map(u32::to_be_bytes).concat()].concat();
    for (kind, data, word, printed) in [
        (1, vec![192, 0, 2, 1], "A", "192.0.2.1"),
        (28, vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "AAAA", "2001:db8::1"),
        (5, target.clone(), "CNAME", "a.example"),
        (2, vec![0xc0, 12], "NS", "shop.example"),
        (12, target.clone(), "PTR", "a.example"),
        (15, [vec![0, 10], target.clone()].concat(), "MX", "10 a.example"),
        (33, [vec![0, 1, 0, 2, 0x1f, 0x90], target.clone()].concat(), "SRV", "1 2 8080 a.example"),
        (16, b"\x02v=\x03a\"b".to_vec(), "TXT", "\"v=\" \"a\\\"b\""),
        (6, soa, "SOA", "a.example a.example 1 2 3 4 5"),
        (4711, vec![1, 0xab], "TYPE4711", "\\# 2 01ab"),
    ] {
        let mut resolver = resolver(Transport::Datagram);
        resolver.push(Side::Sent, query(7, "shop.example", kind));
        resolver.push(Side::Received, answer(7, "shop.example", kind, 0, &data));
        let fields = fields(&mut resolver).pop().unwrap();
        assert_eq!((fields.kind.as_str(), fields.answers), (word, vec![printed.to_owned()]));
    }
}

#[test]
fn failures_are_errors_by_name() {
    for (rcode, word) in [(0, "NOERROR"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (5, "REFUSED"), (13, "RCODE13")] {
        let mut resolver = resolver(Transport::Datagram);
        resolver.push(Side::Sent, query(7, "gone.example", 1));
        resolver.push(Side::Received, answer(7, "gone.example", 1, rcode, b""));
        let exchange = resolver.take_exchanges().pop().unwrap();
        let Fields::Dns(fields) = exchange.fields else { panic!() };
        assert_eq!((exchange.is_error, fields.rcode.as_str()), (rcode != 0, word));
    }
}

#[test]
fn edns_adds_bits_to_the_response_code() {
    let mut resolver = resolver(Transport::Datagram);
    let with_option = |mut message: Vec<u8>, high: u8| {
        message[11] = 1;
        message.extend([0, 0, 41, 0x10, 0, high, 0, 0, 0, 0, 0]);
        message
    };
    resolver.push(Side::Sent, with_option(query(7, "shop.example", 1), 0));
    resolver.push(Side::Received, with_option(answer(7, "shop.example", 1, 0, b""), 1));
    assert_eq!(fields(&mut resolver).pop().unwrap().rcode, "BADVERS");
}

#[test]
fn answers_in_any_order_and_case_find_their_query() {
    let mut resolver = resolver(Transport::Datagram);
    for (id, of, kind) in [(1, "Shop.Example", 1), (1, "shop.example", 28), (2, "b.example", 1)] {
        resolver.push(Side::Sent, query(id, of, kind));
    }
    resolver.push(Side::Received, answer(2, "b.example", 1, 0, &[1; 4]));
    resolver.push(Side::Received, answer(1, "shop.EXAMPLE", 28, 0, &[1; 16]));
    resolver.push(Side::Received, answer(1, "shop.example", 1, 0, &[1; 4]));
    let found: Vec<_> = resolver.take_exchanges().iter().map(Exchange::latency).collect();
    assert_eq!((found, resolver.connection.lost()), (vec![1_000_000, 3_000_000, 5_000_000], 0));
}

#[test]
fn repeated_query_is_one_exchange_from_its_first() {
    let mut resolver = resolver(Transport::Datagram);
    resolver.push(Side::Sent, query(1, "a.example", 1));
    resolver.push(Side::Sent, query(1, "a.example", 1));
    resolver.push(Side::Received, answer(1, "a.example", 1, 0, &[1; 4]));
    let exchanges = resolver.take_exchanges();
    assert_eq!((exchanges.len(), exchanges[0].latency()), (1, 2_000_000));
}

#[test]
fn unanswered_query_is_given_up_after_ten_seconds() {
    let mut resolver = resolver(Transport::Datagram);
    resolver.push(Side::Sent, query(1, "a.example", 1));
    resolver.push(Side::Sent, query(2, "b.example", 1));
    resolver.push(Side::Received, answer(2, "b.example", 1, 0, &[1; 4]));
    resolver.time += 11_000_000_000;
    resolver.push(Side::Sent, query(3, "c.example", 1));
    assert_eq!((resolver.take_exchanges().len(), resolver.connection.lost()), (1, 1));
    resolver.connection.finish(0);
    assert_eq!(resolver.connection.lost(), 2);
}

#[test]
fn refusal_without_question_is_paired_by_id() {
    let mut resolver = resolver(Transport::Datagram);
    resolver.push(Side::Sent, query(9, "a.example", 15));
    resolver.push(Side::Received, b"\0\x09\x81\x05\0\0\0\0\0\0\0\0");
    let fields = fields(&mut resolver).pop().unwrap();
    assert_eq!((fields.name.as_str(), fields.kind.as_str(), fields.rcode.as_str()), ("a.example", "MX", "REFUSED"));
}

#[test]
fn answer_cut_by_the_capture_shows_what_there_is() {
    let mut resolver = resolver(Transport::Datagram);
    resolver.push(Side::Sent, QUERY);
    resolver.push_cut(Side::Received, &ANSWER[..ANSWER.len() - 3], ANSWER.len() as u64);
    assert_eq!(fields(&mut resolver).pop().unwrap().answers, ["web.example"]);
}

#[test]
fn tcp_messages_have_a_length_before_them() {
    let mut resolver = resolver(Transport::Stream);
    let queries = [on_tcp(QUERY), on_tcp(&query(2, "b.example", 1))].concat();
    let answers = [on_tcp(&answer(2, "b.example", 1, 0, &[1; 4])), on_tcp(ANSWER)].concat();
    for byte in queries {
        resolver.push(Side::Sent, [byte]);
    }
    for byte in answers {
        resolver.push(Side::Received, [byte]);
    }
    let names: Vec<String> = fields(&mut resolver).into_iter().map(|fields| fields.name).collect();
    assert_eq!(names, ["b.example", "shop.example"]);
}

#[test]
fn gap_within_a_tcp_message_costs_that_message() {
    let mut resolver = resolver(Transport::Stream);
    for id in 1..=3 {
        resolver.push(Side::Sent, on_tcp(&query(id, "a.example", 1)));
    }
    resolver.push(Side::Received, on_tcp(&answer(1, "a.example", 1, 0, &[1; 4])));
    let second = on_tcp(&answer(2, "a.example", 1, 0, &[1; 4]));
    resolver.push_cut(Side::Received, &second[..20], second.len() as u64 - 5);
    resolver.push(Side::Received, &second[second.len() - 5..]);
    resolver.push(Side::Received, on_tcp(&answer(3, "a.example", 1, 0, &[1; 4])));
    let ids: Vec<u16> = fields(&mut resolver).iter().map(|fields| fields.id).collect();
    resolver.connection.finish(0);
    assert_eq!((ids, resolver.connection.lost()), (vec![1, 3], 1));
}

#[test]
fn hostile_names_are_refused() {
    let header = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0";
    let read = |name: &[u8]| Message::read(&[&header[..], name, &[0, 1, 0, 1]].concat());
    assert!(read(b"\x01a\0").is_some());
    let too_long = [[63u8; 64].repeat(4), vec![0]].concat();
    for name in [&b"\xc0\x0c"[..], b"\x01a\xc0\x0c", b"\xc0\x40", b"\x80\0", b"\x40\0", &too_long] {
        assert_eq!(read(name), None, "{}", name.escape_ascii());
    }
    let shown = read(b"\x04a.\x07\\\0").unwrap().questions[0].name.clone();
    assert_eq!(shown, "a\\.\\007\\\\");
}

#[test]
fn noise_is_not_dns() {
    for noise in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        &[0; 40],
        &[0xff; 40],
        b"M-SEARCH * HTTP/1.1\r\n",
    ] {
        assert_eq!(Dns.infer(noise, Side::Sent), Guess::No, "{}", noise.escape_ascii());
    }
}
