//! Converts requests and responses to the part of Hubble's message that has them.

use std::net::IpAddr;

use trilobite_api::flow::{self as api, layer7::Record};

use crate::layers::network::flow::{Dns, Http, L7, L7FlowType, L7Record};

pub(super) fn layer7(l7: &L7) -> api::Layer7 {
    let L7 { flow_type, latency_ns, record } = l7;
    let flow_type = match flow_type {
        L7FlowType::Request => api::L7FlowType::Request,
        L7FlowType::Response => api::L7FlowType::Response,
    };
    let record = match record {
        L7Record::Dns(dns) => Record::Dns(dns_message(dns)),
        L7Record::Http(http) => Record::Http(http_message(http)),
    };
    api::Layer7 { r#type: flow_type.into(), latency_ns: *latency_ns, record: Some(record) }
}

/// The trace of a request.
pub(super) fn trace_context(l7: &L7) -> Option<api::TraceContext> {
    let trace_id = l7.http()?.trace_id.as_ref()?.to_string();
    Some(api::TraceContext { parent: Some(api::TraceParent { trace_id }) })
}

fn dns_message(dns: &Dns) -> api::Dns {
    let Dns { query, ips, ttl, cnames, observation_source, rcode, qtypes, rrtypes } = dns;
    api::Dns {
        query: query.clone(),
        ips: ips.iter().map(IpAddr::to_string).collect(),
        ttl: *ttl,
        cnames: cnames.clone(),
        observation_source: (*observation_source).to_owned(),
        rcode: *rcode,
        qtypes: qtypes.clone(),
        rrtypes: rrtypes.clone(),
    }
}

fn http_message(http: &Http) -> api::Http {
    let Http { code, method, url, protocol, headers, trace_id: _ } = http;
    let header = |(key, value): &(String, String)| api::HttpHeader { key: key.clone(), value: value.clone() };
    api::Http {
        code: *code,
        method: method.clone(),
        url: url.clone(),
        protocol: protocol.clone(),
        headers: headers.iter().map(header).collect(),
    }
}
