//! Recorded bytes of real clients and servers give the rows that the server's own log has, seen from either end.

#![allow(clippy::unwrap_used)]

mod playback;

use playback::{Playback, Turn, recordings};
use trilobite_protocols::{Exchange, Fields, Name, Role, Side, Transport, Verdict};

fn line(exchange: &Exchange) -> String {
    match &exchange.fields {
        Fields::Http(http) => {
            let (status, bytes) = (http.status.unwrap_or_default(), http.response_body_bytes.unwrap_or_default());
            format!("{} {} {status} {bytes}", http.method, http.path)
        }
        Fields::Dns(dns) => format!("{} {} {} {}", dns.kind, dns.name, dns.rcode, dns.answers.join(",")),
        other => panic!("{other:?}"),
    }
}

/// Plays each recording as its client and as its server, whole and byte by byte.
fn assert_rows_are_the_log(text: &str, name: Name, transport: impl Fn(&str) -> Transport) {
    let recordings = recordings(text);
    assert!(recordings.len() > 5);
    for (connection, recording) in recordings {
        let transport = transport(&connection);
        for role in [Role::Client, Role::Server] {
            for piece in [usize::MAX, 1] {
                if transport == Transport::Datagram && piece == 1 {
                    continue;
                }
                let mut playback = Playback::new(None, transport, false, &Name::ALL);
                for (from_client, bytes) in &recording.calls {
                    let side = if *from_client == (role == Role::Client) { Side::Sent } else { Side::Received };
                    playback.play(&Turn { side, bytes: bytes.clone() }, &mut || piece);
                }
                playback.finish();
                let found = playback.exchanges();
                let lines: Vec<String> = found.iter().map(line).collect();
                assert_eq!(lines, recording.log, "connection {connection} as {role:?}");
                assert_eq!(playback.connection.role(), Some(role));
                let name = if connection.starts_with("up") { Name::Http } else { name };
                assert_eq!(playback.connection.verdict(), Verdict::Parse(name));
                assert_eq!(playback.connection.lost(), 0);
                assert!(!format!("{found:?}").contains("sekret"), "a secret in {found:?}");
            }
        }
    }
}

#[test]
fn http_rows_are_the_log_of_nginx() {
    assert_rows_are_the_log(include_str!("recorded/http.txt"), Name::Http, |_| Transport::Stream);
}

/// Those of a connection that is upgraded (`up`) begin with HTTP/1.
#[test]
fn http2_rows_are_what_the_clients_asked_for() {
    assert_rows_are_the_log(include_str!("recorded/http2.txt"), Name::Http2, |_| Transport::Stream);
}

#[test]
fn dns_rows_are_what_dig_printed() {
    let transport = |connection: &str| {
        if connection.starts_with('u') { Transport::Datagram } else { Transport::Stream }
    };
    assert_rows_are_the_log(include_str!("recorded/dns.txt"), Name::Dns, transport);
}
