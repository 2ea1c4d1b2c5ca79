//! What was said inside a connection: one request, or the response to it.

use std::{
    fmt::{self, Write},
    net::IpAddr,
    time::Duration,
};

use super::rcode::rcode_text;

#[derive(Clone, Debug, PartialEq)]
pub struct L7 {
    pub flow_type: L7FlowType,
    /// From the request to its response; 0 in a request, and where it is unknown.
    pub latency_ns: u64,
    pub record: L7Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L7FlowType {
    Request,
    Response,
}

#[derive(Clone, Debug, PartialEq)]
pub enum L7Record {
    Dns(Dns),
    Http(Http),
}

/// A request has only the question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dns {
    pub query: String,
    /// Addresses of the answer.
    pub ips: Vec<IpAddr>,
    /// Seconds.
    pub ttl: u32,
    pub cnames: Vec<String>,
    /// Hubble's `proxy`, or empty for what passed by.
    pub observation_source: &'static str,
    pub rcode: u32,
    /// E.g. `A`.
    pub qtypes: Vec<String>,
    /// As `qtypes`, of the answer.
    pub rrtypes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// Status; 0 in a request.
    pub code: u32,
    pub method: String,
    /// Redacted before it came here.
    pub url: String,
    /// E.g. `HTTP/1.1`.
    pub protocol: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The trace that the request belongs to, by its header `traceparent`: 32 hexadecimal digits.
    pub trace_id: Option<Box<str>>,
}

impl L7 {
    pub fn http(&self) -> Option<&Http> {
        match &self.record {
            L7Record::Http(http) => Some(http),
            L7Record::Dns(_) => None,
        }
    }

    pub fn dns(&self) -> Option<&Dns> {
        match &self.record {
            L7Record::Dns(dns) => Some(dns),
            L7Record::Http(_) => None,
        }
    }

    pub fn is_response(&self) -> bool {
        self.flow_type == L7FlowType::Response
    }

    /// Memory of the event.
    pub(super) fn bytes(&self) -> usize {
        let texts = |all: &[String]| all.iter().map(|text| size_of::<String>() + text.len()).sum::<usize>();
        let of_record = match &self.record {
            L7Record::Dns(dns) => {
                let Dns { query, ips, cnames, qtypes, rrtypes, .. } = dns;
                query.len() + size_of_val(ips.as_slice()) + texts(cnames) + texts(qtypes) + texts(rrtypes)
            }
            L7Record::Http(http) => {
                let Http { method, url, protocol, headers, trace_id, .. } = http;
                let header =
                    |(name, value): &(String, String)| size_of::<(String, String)>() + name.len() + value.len();
                let texts = method.len() + url.len() + protocol.len() + trace_id.as_ref().map_or(0, |id| id.len());
                texts + headers.iter().map(header).sum::<usize>()
            }
        };
        size_of::<Self>() + of_record
    }

    /// Hubble's line.
    pub(super) fn write_summary(&self, out: &mut impl Write) -> fmt::Result {
        match (&self.record, self.flow_type) {
            (L7Record::Dns(dns), L7FlowType::Request) => {
                write!(out, "DNS Query {} {}", dns.query, dns.qtypes.join(","))
            }
            (L7Record::Dns(dns), L7FlowType::Response) => dns.write_answer(out),
            (L7Record::Http(Http { method, url, protocol, .. }), L7FlowType::Request) => {
                write!(out, "{protocol} {method} {url}")
            }
            (L7Record::Http(Http { code, method, url, protocol, .. }), L7FlowType::Response) => {
                let milliseconds = Duration::from_nanos(self.latency_ns).as_millis();
                write!(out, "{protocol} {code} {milliseconds}ms ({method} {url})")
            }
        }
    }
}

impl Dns {
    /// `DNS Answer "10.0.0.1,10.0.0.2" TTL: 30 (Query shop.example. A)`, or `DNS Answer RCode: Non-Existent Domain TTL: 0 (...)`.
    fn write_answer(&self, out: &mut impl Write) -> fmt::Result {
        let Self { query, ips, ttl, cnames, observation_source, rcode, qtypes, .. } = self;
        out.write_str("DNS Answer ")?;
        if *rcode != 0 {
            write!(out, "RCode: {}", rcode_text(*rcode))?;
        }
        let mut parts = Vec::new();
        if *rcode == 0 && !ips.is_empty() {
            let ips: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
            parts.push(format!("\"{}\"", ips.join(",")));
        }
        if *rcode == 0 && !cnames.is_empty() {
            parts.push(format!("CNAMEs: {:?}", cnames.join(",")));
        }
        let seen_by = if *observation_source == "proxy" { "Proxy" } else { "Query" };
        write!(out, "{} TTL: {ttl} ({seen_by} {query} {})", parts.join(" "), qtypes.join(","))
    }
}
