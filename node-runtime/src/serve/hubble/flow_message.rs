//! Converts flows to Hubble's messages.

use jiff::Timestamp;
use prost::Message;
use trilobite_api::{
    flow::{self as api, LostEvent, LostEventSource, TraceObservationPoint, TraceReason, Verdict, layer4::Protocol},
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};
use trilobite_node_ebpf::FlowReason;

use crate::{
    layers::network::{
        decode::Transport,
        endpoint::{Endpoint, Service},
        flow::{Flow, ObservationPoint, TrafficDirection},
        tcp_flags::TcpFlags,
    },
    serve::timestamps::timestamp,
};

/// The agent sees packets at interfaces, after all verdicts: none of its flows was dropped.
pub(super) const VERDICT: Verdict = Verdict::Forwarded;
/// `event_type.type` of a packet at an interface.
const TRACE: i32 = 4;
const EMITTER: &str = "trilobite-node";

/// The response of GetFlows with this flow.
pub fn response(flow: &Flow, node: &str) -> GetFlowsResponse {
    GetFlowsResponse {
        node_name: node.to_owned(),
        time: Some(timestamp(flow.time)),
        response_types: Some(ResponseTypes::Flow(message(flow, node))),
    }
}

/// Reports `count` flows lost between two moments.
pub(super) fn lost(
    source: LostEventSource,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    node: &str,
) -> GetFlowsResponse {
    let last = timestamp(last);
    let lost = LostEvent {
        source: source.into(),
        num_events_lost: count,
        first: Some(timestamp(first)),
        last: Some(last),
        ..LostEvent::default()
    };
    GetFlowsResponse {
        node_name: node.to_owned(),
        time: Some(last),
        response_types: Some(ResponseTypes::LostEvents(lost)),
    }
}

#[allow(deprecated, reason = "older clients read `reply` and `Summary`")]
fn message(flow: &Flow, node: &str) -> api::Flow {
    api::Flow {
        time: Some(timestamp(flow.time)),
        uuid: uuid(flow.uuid),
        emitter: Some(api::Emitter { name: EMITTER.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }),
        verdict: VERDICT.into(),
        ethernet: ethernet(flow),
        ip: Some(api::Ip {
            source: flow.source.ip().to_string(),
            destination: flow.destination.ip().to_string(),
            ip_version: if flow.source.is_ipv4() { api::IpVersion::IPv4 } else { api::IpVersion::IPv6 }.into(),
            ..api::Ip::default()
        }),
        l4: Some(api::Layer4 { protocol: Some(protocol(flow)) }),
        source: Some(endpoint(&flow.source_endpoint)),
        destination: Some(endpoint(&flow.destination_endpoint)),
        r#type: api::FlowType::L3L4.into(),
        node_name: node.to_owned(),
        reply: flow.is_reply,
        is_reply: Some(flow.is_reply),
        event_type: Some(event_type(flow.observation_point)),
        source_service: flow.source_service.as_deref().map(service),
        destination_service: flow.destination_service.as_deref().map(service),
        traffic_direction: direction(flow.direction).into(),
        trace_observation_point: observation_point(flow.observation_point).into(),
        trace_reason: match (flow.is_reply, flow.is_new) {
            (true, _) => TraceReason::Reply,
            (false, true) => TraceReason::New,
            (false, false) => TraceReason::Established,
        }
        .into(),
        interface: Some(api::NetworkInterface { index: flow.interface.index, name: flow.interface.name.clone() }),
        summary: flow.summary(),
        extensions: Some(extensions(flow)),
        ..api::Flow::default()
    }
}

/// The trace point, which clients print as `to-endpoint` and the like.
pub(super) fn event_type(point: ObservationPoint) -> api::CiliumEventType {
    let sub_type = match point {
        ObservationPoint::ToEndpoint => 0,
        ObservationPoint::ToStack => 3,
        ObservationPoint::FromNetwork => 10,
        ObservationPoint::ToNetwork => 11,
    };
    api::CiliumEventType { r#type: TRACE, sub_type }
}

pub(super) fn direction(direction: TrafficDirection) -> api::TrafficDirection {
    match direction {
        TrafficDirection::Ingress => api::TrafficDirection::Ingress,
        TrafficDirection::Egress => api::TrafficDirection::Egress,
    }
}

pub(super) fn uuid(bits: u128) -> String {
    let bytes = bits.to_be_bytes();
    let mut text = String::with_capacity(36);
    for (at, group) in [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].into_iter().enumerate() {
        if at > 0 {
            text.push('-');
        }
        append_hex(group, &mut text);
    }
    text
}

/// Without std's formatting, which is a tenth of a flow's cost where each has a uuid, two MACs and a connection.
fn append_hex(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)].into());
        out.push(DIGITS[usize::from(byte & 15)].into());
    }
}

fn observation_point(point: ObservationPoint) -> TraceObservationPoint {
    match point {
        ObservationPoint::ToEndpoint => TraceObservationPoint::ToEndpoint,
        ObservationPoint::ToStack => TraceObservationPoint::ToStack,
        ObservationPoint::FromNetwork => TraceObservationPoint::FromNetwork,
        ObservationPoint::ToNetwork => TraceObservationPoint::ToNetwork,
    }
}

fn protocol(flow: &Flow) -> Protocol {
    let (source_port, destination_port) = (flow.source.port().into(), flow.destination.port().into());
    match flow.transport {
        Transport::Udp => Protocol::Udp(api::Udp { source_port, destination_port }),
        Transport::Tcp => {
            let has = |flag| flow.flags.has(flag);
            let flags = Some(api::TcpFlags {
                fin: has(TcpFlags::FIN),
                syn: has(TcpFlags::SYN),
                rst: has(TcpFlags::RST),
                psh: has(TcpFlags::PSH),
                ack: has(TcpFlags::ACK),
                urg: has(TcpFlags::URG),
                ece: has(TcpFlags::ECE),
                cwr: has(TcpFlags::CWR),
                ns: false,
            });
            Protocol::Tcp(api::Tcp { source_port, destination_port, flags })
        }
    }
}

fn ethernet(flow: &Flow) -> Option<api::Ethernet> {
    let there = flow.source_mac != [0; 6] || flow.destination_mac != [0; 6];
    there.then(|| api::Ethernet { source: mac(flow.source_mac), destination: mac(flow.destination_mac) })
}

fn mac(address: [u8; 6]) -> String {
    let mut text = String::with_capacity(17);
    for (at, byte) in address.into_iter().enumerate() {
        if at > 0 {
            text.push(':');
        }
        append_hex(&[byte], &mut text);
    }
    text
}

fn endpoint(end: &Endpoint) -> api::Endpoint {
    api::Endpoint {
        identity: end.identity,
        namespace: end.namespace.clone(),
        labels: end.labels.clone(),
        pod_name: end.pod.clone(),
        workloads: end
            .workload
            .iter()
            .map(|(name, kind)| api::Workload { name: name.clone(), kind: kind.clone() })
            .collect(),
        ..api::Endpoint::default()
    }
}

fn service(of: &Service) -> api::Service {
    api::Service { name: of.name.clone(), namespace: of.namespace.clone() }
}

fn connection(key: u64) -> String {
    let mut text = String::with_capacity(16);
    append_hex(&key.to_be_bytes(), &mut text);
    text
}

/// Counters that Hubble's message has no fields for, in a well-known type, because its clients cannot print others.
fn extensions(flow: &Flow) -> prost_types::Any {
    use prost_types::{Struct, Value, value::Kind};
    // Numbers of JSON are exact up to 2^53: nine petabytes.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let number = |number: u64| Value { kind: Some(Kind::NumberValue(number as f64)) };
    let text = |text: String| Value { kind: Some(Kind::StringValue(text)) };
    let mut fields = vec![
        ("bytes", number(flow.since.bytes)),
        ("bytes_total", number(flow.total.bytes)),
        ("connection", text(connection(flow.connection))),
        ("packets", number(flow.since.packets)),
        ("packets_total", number(flow.total.packets)),
        ("reason", text(format!("{:?}", flow.reason).to_lowercase())),
    ];
    // Such a record is made when the sweep comes by, or another packet.
    if matches!(flow.reason, FlowReason::End | FlowReason::Active | FlowReason::Error) {
        fields.extend([("first", text(flow.first.to_string())), ("last", text(flow.last.to_string()))]);
    }
    if flow.is_direction_a_guess {
        fields.push(("direction", text("guess".to_owned())));
    }
    if let Some(error) = flow.icmp_error {
        fields.push(("error", text(error.text())));
    }
    let of = Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() };
    prost_types::Any { type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(), value: of.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::{flow::tests::syn, icmp_error::IcmpError};

    #[test]
    fn uuid_has_the_usual_form() {
        assert_eq!(uuid(syn().uuid), "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn addresses_and_connections_are_hexadecimal_with_all_digits() {
        assert_eq!(mac([0, 1, 0x0a, 0xff, 0x10, 0]), "00:01:0a:ff:10:00");
        assert_eq!(connection(0x1f), "000000000000001f");
    }

    #[test]
    fn fields_that_clients_need_are_always_set() {
        let Some(ResponseTypes::Flow(flow)) = response(&syn(), "n1").response_types else { panic!("no flow") };
        assert_eq!((flow.is_reply, flow.verdict()), (Some(false), Verdict::Forwarded));
        assert_eq!((flow.source.unwrap().identity, flow.destination.unwrap().identity), (1001, 1002));
        assert_eq!(flow.traffic_direction, 2);
        assert!(flow.l4.is_some() && flow.event_type.is_some());
    }
    fn extension(flow: &crate::layers::network::flow::Flow, name: &str) -> Option<String> {
        use prost_types::{Struct, value::Kind};
        let of = Struct::decode(extensions(flow).value.as_slice()).unwrap();
        match of.fields.get(name)?.kind.as_ref()? {
            Kind::StringValue(text) => Some(text.clone()),
            _ => panic!("{name} is no text"),
        }
    }

    #[test]
    fn end_has_the_times_of_the_first_and_last_packet() {
        let mut flow = syn();
        assert_eq!(extension(&flow, "last"), None);
        flow.reason = FlowReason::End;
        flow.first = "2026-11-22T12:46:20.5Z".parse().unwrap();
        assert_eq!(extension(&flow, "first").as_deref(), Some("2026-11-22T12:46:20.5Z"));
        assert_eq!(extension(&flow, "last").as_deref(), Some("2026-11-22T12:46:23.248000001Z"));
    }

    #[test]
    fn guessed_direction_and_icmp_error_are_marked() {
        let mut flow = syn();
        assert_eq!((extension(&flow, "direction"), extension(&flow, "error")), (None, None));
        flow.is_direction_a_guess = true;
        flow.icmp_error = Some(IcmpError { is_v6: true, kind: 1, code: 4 });
        assert_eq!(extension(&flow, "direction").as_deref(), Some("guess"));
        assert_eq!(extension(&flow, "error").as_deref(), Some("port unreachable"));
    }
}
