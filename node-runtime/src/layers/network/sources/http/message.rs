//! Method, URL, protocol and headers of a row of `http_events`, in the form in which Hubble has them. The worker has redacted
//! them; it is not trusted, so that everything is bounded here as well.

use std::collections::BTreeMap;

use trilobite_worker_wire::RequestRow;

use super::trace_parent::trace_id;
use crate::layers::network::flow::Http;

/// Bytes of a URL that are kept.
const URL_MAX: usize = 2048;
/// Bytes of the headers of one message that are kept.
const HEADERS_MAX: usize = 1024;
/// Bytes of a method that are kept.
const METHOD_MAX: usize = 64;
/// Behind what was cut, and in place of headers that were left out: the worker writes the same.
const TRUNCATED: &str = "[TRUNCATED]";

pub(super) struct Messages {
    pub(super) request: Http,
    pub(super) response: Http,
}

pub(super) fn messages(row: &RequestRow) -> Messages {
    let column = |name: &str| row.columns.iter().find(|(column, _)| column == name).map_or("", |(_, value)| value);
    // A call of gRPC has a status of its own, beside that of HTTP.
    let status = if row.protocol == "grpc" { column("resp_status") } else { &row.status };
    let asked = headers(column("req_headers"));
    // HTTP/2 has the host in a field of its own.
    let host = asked.get("Host").or_else(|| asked.get(":authority")).map_or("", String::as_str);
    let request = Http {
        code: 0,
        method: cut(&row.operation, METHOD_MAX),
        url: cut(&url(host, &row.target, row.encrypted), URL_MAX),
        protocol: protocol(column("major_version"), column("minor_version")).to_owned(),
        headers: Vec::new(),
        trace_id: asked.get("Traceparent").and_then(|header| trace_id(header)).map(Into::into),
    };
    let response = Http {
        // What is no status has Hubble's code of a response without one.
        code: status.parse().ok().filter(|code| (100..1000).contains(code)).unwrap_or_default(),
        headers: kept(headers(column("resp_headers"))),
        ..request.clone()
    };
    Messages { request: Http { headers: kept(asked), ..request }, response }
}

fn protocol(major: &str, minor: &str) -> &'static str {
    match (major, minor) {
        ("1", "0") => "HTTP/1",
        ("1", _) => "HTTP/1.1",
        ("2", _) => "HTTP/2",
        _ => "HTTP",
    }
}

/// The target where it names the server itself, or stands for the whole server; else host and target, if there is a host.
fn url(host: &str, target: &str, is_encrypted: bool) -> String {
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    if !is_name || !target.starts_with('/') {
        return target.to_owned();
    }
    format!("{}://{host}{target}", if is_encrypted { "https" } else { "http" })
}

/// From the JSON object of a row, by names as Go writes them; none if it is no such object.
fn headers(json: &str) -> BTreeMap<String, String> {
    let read: BTreeMap<String, String> = serde_json::from_str(json).unwrap_or_default();
    read.into_iter().map(|(name, value)| (canonical_name(&name), value)).collect()
}

/// `x-request-ID` -> `X-Request-Id`. A name with other characters than those of a token stays as it is.
fn canonical_name(name: &str) -> String {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.bytes().all(is_token) {
        return name.to_owned();
    }
    let mut is_first = true;
    let letter = |letter: char| {
        let written = if is_first { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
        is_first = letter == '-';
        written
    };
    name.chars().map(letter).collect()
}

/// Those that fit, sorted by name.
fn kept(headers: BTreeMap<String, String>) -> Vec<(String, String)> {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    // Fields of HTTP/2 that are no headers.
    for (name, value) in headers.into_iter().filter(|(name, _)| !name.starts_with(':')) {
        bytes += name.len() + value.len();
        if bytes > HEADERS_MAX {
            kept.push(("...".to_owned(), TRUNCATED.to_owned()));
            break;
        }
        kept.push((name, value));
    }
    kept
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most - TRUNCATED.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{TRUNCATED}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layers::application::requests::rows::tests::row, random::Random};

    fn row_with(columns: &[(&str, &str)]) -> RequestRow {
        let columns = columns.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RequestRow { columns, ..row(1, 7) }
    }

    #[test]
    fn url_has_scheme_and_host_where_they_are_known() {
        for (host, target, is_encrypted, expected) in [
            ("cart.store:8080", "/items?id=<redacted>", false, "http://cart.store:8080/items?id=<redacted>"),
            ("[fd00::1]:80", "/", true, "https://[fd00::1]:80/"),
            ("", "/items", false, "/items"),
            ("a b", "/items", false, "/items"),
            ("x\r\ny", "/items", false, "/items"),
            ("cart", "http://other/items", false, "http://other/items"),
            ("cart", "*", false, "*"),
            ("cart", "cart:443", false, "cart:443"),
        ] {
            assert_eq!(url(host, target, is_encrypted), expected);
        }
    }

    #[test]
    fn call_of_grpc_has_the_status_of_http() {
        let grpc = RequestRow {
            protocol: "grpc".into(),
            status: "NOT_FOUND".into(),
            ..row_with(&[("resp_status", "200"), ("major_version", "2")])
        };
        let Messages { response, .. } = messages(&grpc);
        assert_eq!((response.code, response.protocol.as_str()), (200, "HTTP/2"));
        let unknown = row_with(&[("resp_status", "?"), ("major_version", "2")]);
        assert_eq!(messages(&RequestRow { protocol: "grpc".into(), ..unknown }).response.code, 0);
    }

    #[test]
    fn messages_have_their_own_headers_by_gos_names() {
        let row = row_with(&[
            ("major_version", "1"),
            ("minor_version", "1"),
            ("req_headers", r#"{"HOST":"cart.store","x-request-ID":"a7","Authorization":"<redacted>"}"#),
            ("resp_headers", r#"{"content-length":"12"}"#),
        ]);
        let Messages { request, response } = messages(&row);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            request.headers,
            [pair("Authorization", "<redacted>"), pair("Host", "cart.store"), pair("X-Request-Id", "a7")]
        );
        assert_eq!(response.headers, [pair("Content-Length", "12")]);
        assert_eq!((request.code, response.code), (0, 200));
        for message in [&request, &response] {
            let Http { method, url, protocol, .. } = message;
            assert_eq!(
                (method.as_str(), url.as_str(), protocol.as_str()),
                ("GET", "http://cart.store/cart", "HTTP/1.1")
            );
        }
    }

    #[test]
    fn request_of_http2_has_its_authority_for_a_host() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = format!(r#"{{":authority":"cart.store",":path":"/cart","traceparent":"{trace}"}}"#);
        let row = row_with(&[("major_version", "2"), ("minor_version", "0"), ("req_headers", &headers)]);
        let Messages { request, response } = messages(&row);
        assert_eq!((request.url.as_str(), request.protocol.as_str()), ("http://cart.store/cart", "HTTP/2"));
        assert_eq!(request.headers, [("Traceparent".to_owned(), trace.to_owned())]);
        assert_eq!(response.trace_id.as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }

    #[test]
    fn row_without_columns_keeps_path_method_and_status() {
        let Messages { request, response } = messages(&row_with(&[("req_headers", "no json")]));
        assert_eq!((request.url.as_str(), request.protocol.as_str(), request.headers), ("/cart", "HTTP", Vec::new()));
        assert_eq!((response.method.as_str(), response.code), ("GET", 200));
        for status in ["-1", "", "99", "1000", "OK"] {
            assert_eq!(messages(&RequestRow { status: status.into(), ..row(1, 7) }).response.code, 0, "{status}");
        }
    }

    #[test]
    fn whatever_a_worker_sends_stays_bounded() {
        let mut random = Random::new(7);
        let pieces = ["{\"", "\":\"", "\",\"", "\"}", "ä", "host", "\u{0}", "...", "\\u00e4", "x-", "\n"];
        for _ in 0..2_000 {
            let text = |random: &mut Random| {
                let count = random.below(40);
                let long = if random.one_in(9) { "é".repeat(random.below(3000)) } else { String::new() };
                (0..count).map(|_| *random.pick(&pieces)).collect::<String>() + &long
            };
            let columns = [("req_headers", text(&mut random)), ("resp_headers", text(&mut random))];
            let columns = columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let (operation, target, status) = (text(&mut random), text(&mut random), text(&mut random));
            let row = RequestRow { columns, operation, target, status, ..row(1, 7) };
            let Messages { request, response } = messages(&row);
            for message in [request, response] {
                assert!(message.url.len() <= URL_MAX && message.method.len() <= METHOD_MAX);
                let bytes: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                assert!(bytes <= HEADERS_MAX + "...".len() + TRUNCATED.len(), "{bytes}");
            }
        }
    }

    #[test]
    fn headers_that_do_not_fit_are_marked() {
        let json = format!(r#"{{"a":"{}","b":"{}"}}"#, "x".repeat(HEADERS_MAX - 1), "y");
        let Messages { request, .. } = messages(&row_with(&[("req_headers", &json)]));
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["A", "..."]);
        let long = RequestRow { target: format!("/{}", "é".repeat(URL_MAX)), ..row(1, 7) };
        let url = messages(&long).request.url;
        assert!(url.ends_with("é[TRUNCATED]") && url.len() <= URL_MAX, "{}", url.len());
    }
}
