//! The agent's flow as Hubble's message.

use jiff::Timestamp;
use prost::Message;

use crate::{
    layers::network::{
        end::{End, Service},
        flow::{Began, Flow, Point},
        record::Transport,
        tcp_flags::TcpFlags,
    },
    serve::proto::{
        flow::{
            self as api, LostEvent, LostEventSource, TraceObservationPoint, TraceReason, TrafficDirection, Verdict,
            layer4::Protocol,
        },
        observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
    },
};

/// What was seen went on its way; drops are seen elsewhere.
pub(super) const VERDICT: Verdict = Verdict::Forwarded;
/// `event_type.type` of what is seen at an interface.
const TRACE: i32 = 4;
/// Who makes these flows.
const EMITTER: &str = "trilobite-node";

/// A flow as GetFlows sends it and as a line of JSON holds it.
pub fn response(flow: &Flow, node: &str) -> GetFlowsResponse {
    GetFlowsResponse {
        node_name: node.to_owned(),
        time: Some(timestamp(flow.time)),
        response_types: Some(ResponseTypes::Flow(message(flow, node))),
    }
}

/// What a reader is told of `count` flows that it does not get, lost between two moments.
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

#[allow(deprecated, reason = "`reply` and `Summary` are what older clients read")]
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
        source: Some(endpoint(&flow.source_end)),
        destination: Some(endpoint(&flow.destination_end)),
        r#type: api::FlowType::L3L4.into(),
        node_name: node.to_owned(),
        reply: flow.is_reply,
        is_reply: Some(flow.is_reply),
        event_type: Some(event_type(flow.point)),
        source_service: flow.source_service.as_deref().map(service),
        destination_service: flow.destination_service.as_deref().map(service),
        traffic_direction: direction(flow.began).into(),
        trace_observation_point: observation_point(flow.point).into(),
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

/// The trace point as clients print it, `to-endpoint` and the like.
pub(super) fn event_type(point: Point) -> api::CiliumEventType {
    let sub_type = match point {
        Point::ToEndpoint => 0,
        Point::ToStack => 3,
        Point::FromNetwork => 10,
        Point::ToNetwork => 11,
    };
    api::CiliumEventType { r#type: TRACE, sub_type }
}

pub(super) fn direction(began: Began) -> TrafficDirection {
    match began {
        Began::Ingress => TrafficDirection::Ingress,
        Began::Egress => TrafficDirection::Egress,
    }
}

pub(super) fn uuid(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (mut seconds, mut nanos) = (time.as_second(), time.subsec_nanosecond());
    // jiff counts nanoseconds before 1970 backwards, protobuf forwards.
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    prost_types::Timestamp { seconds, nanos }
}

fn observation_point(point: Point) -> TraceObservationPoint {
    match point {
        Point::ToEndpoint => TraceObservationPoint::ToEndpoint,
        Point::ToStack => TraceObservationPoint::ToStack,
        Point::FromNetwork => TraceObservationPoint::FromNetwork,
        Point::ToNetwork => TraceObservationPoint::ToNetwork,
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
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let there = flow.source_mac != [0; 6] || flow.destination_mac != [0; 6];
    there.then(|| api::Ethernet { source: text(flow.source_mac), destination: text(flow.destination_mac) })
}

fn endpoint(end: &End) -> api::Endpoint {
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

/// What Hubble's message has no field for: a well-known type, or its clients cannot print the flow.
fn extensions(flow: &Flow) -> prost_types::Any {
    use prost_types::{Struct, Value, value::Kind};
    // Numbers of JSON are exact up to 2^53: nine petabytes.
    #[allow(clippy::cast_precision_loss, reason = "see above")]
    let number = |number: u64| Value { kind: Some(Kind::NumberValue(number as f64)) };
    let text = |text: String| Value { kind: Some(Kind::StringValue(text)) };
    let fields = [
        ("bytes", number(flow.since.bytes)),
        ("bytes_total", number(flow.total.bytes)),
        ("connection", text(format!("{:016x}", flow.connection))),
        ("packets", number(flow.since.packets)),
        ("packets_total", number(flow.total.packets)),
        ("reason", text(format!("{:?}", flow.reason).to_lowercase())),
    ];
    let of = Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() };
    prost_types::Any { type_url: "type.googleapis.com/google.protobuf.Struct".to_owned(), value: of.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::network::flow::tests::syn;

    #[test]
    fn a_uuid_reads_as_one() {
        assert_eq!(uuid(syn().uuid), "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn the_fields_that_clients_need_are_always_there() {
        let Some(ResponseTypes::Flow(flow)) = response(&syn(), "n1").response_types else { panic!("no flow") };
        assert_eq!((flow.is_reply, flow.verdict()), (Some(false), Verdict::Forwarded));
        assert_eq!((flow.source.unwrap().identity, flow.destination.unwrap().identity), (1001, 1002));
        assert_eq!(flow.traffic_direction, 2);
        assert!(flow.l4.is_some() && flow.event_type.is_some());
    }
}
