//! Requests and responses for comparisons with the real client.

use crate::{
    layers::network::flow::{Dns, Http, L7, L7FlowType, L7Record},
    random::Random,
};

pub(super) fn random_l7(random: &mut Random, is_http: bool) -> L7 {
    let flow_type = *random.pick(&[L7FlowType::Request, L7FlowType::Response]);
    let is_response = flow_type == L7FlowType::Response;
    let record = if is_http {
        L7Record::Http(random_http(random, is_response))
    } else {
        L7Record::Dns(random_dns(random, is_response))
    };
    L7 { flow_type, latency_ns: if is_response { random.next() % 5_000_000_000 } else { 0 }, record }
}

fn random_http(random: &mut Random, is_response: bool) -> Http {
    const URLS: [&str; 10] = [
        "http://cart.store/items?id=7",
        "https://cart.store:8443/cart",
        "/items",
        "/cart/a%20b?id=<redacted>",
        "/bad%zz",
        "http://cart",
        "*",
        "cart:443",
        "items",
        "",
    ];
    const HEADERS: [(&str, &str); 4] = [("Host", "cart.store"), ("Accept", ""), ("X-Request-Id", "a7"), ("...", "ä\"")];
    let headers = if random.one_in(4) { Vec::new() } else { random.some(&HEADERS, 3) };
    Http {
        code: if is_response { *random.pick(&[0, 101, 200, 204, 301, 404, 500, 503, 599, 7]) } else { 0 },
        method: (*random.pick(&["GET", "POST", "get", "DELETE", ""])).to_owned(),
        url: (*random.pick(&URLS)).to_owned(),
        protocol: (*random.pick(&["HTTP/1", "HTTP/1.1", "HTTP/2"])).to_owned(),
        trace_id: random.one_in(3).then(|| "4bf92f3577b34da6a3ce929d0e0e4736".into()),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

fn random_dns(random: &mut Random, is_response: bool) -> Dns {
    let texts = |random: &mut Random, all: &[&str]| -> Vec<String> {
        if random.one_in(3) { Vec::new() } else { random.some(all, 2).into_iter().map(str::to_owned).collect() }
    };
    let question = Dns {
        query: (*random.pick(&["shop.example.com.", "example.com.", "cart.store.svc.cluster.local.", ""])).to_owned(),
        qtypes: texts(random, &["A", "AAAA", "SRV"]),
        observation_source: if random.one_in(2) { "proxy" } else { "" },
        ..Dns::default()
    };
    if !is_response {
        return question;
    }
    let ips = if random.one_in(3) { Vec::new() } else { random.some(&["192.0.2.7", "fd00::7", "192.0.2.8"], 3) };
    Dns {
        ips: ips.into_iter().map(|ip| ip.parse().unwrap()).collect(),
        ttl: *random.pick(&[0, 30, 86_400]),
        cnames: texts(random, &["front.example.net.", "edge.example.org."]),
        rcode: *random.pick(&[0, 0, 2, 3, 5, 16]),
        rrtypes: texts(random, &["A", "CNAME"]),
        ..question
    }
}
