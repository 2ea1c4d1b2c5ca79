//! Cells of flows in a table, as `hubble observe` words them.

use trilobite_api::{
    flow::{Flow, Layer4, TraceObservationPoint, Verdict, layer4::Protocol, layer7::Record},
    lines::flow::{host_and_port, l7_kind, ports, tcp_flags},
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

use super::{event_cells::cell, object::milliseconds};

pub(super) fn cells(response: &GetFlowsResponse, time: u64) -> Vec<String> {
    let mut cells = vec![milliseconds(time), cell(&response.node_name)];
    match &response.response_types {
        Some(ResponseTypes::Flow(flow)) => cells.extend(flow_cells(flow)),
        Some(ResponseTypes::LostEvents(lost)) => {
            let text = format!("{} flows lost: {}", lost.num_events_lost, lost.source().as_str_name());
            cells.extend([String::new(), String::new(), "lost".into(), String::new(), text]);
        }
        Some(ResponseTypes::NodeStatus(_)) | None => cells.extend(std::iter::repeat_n(String::new(), 5)),
    }
    cells
}

fn flow_cells(flow: &Flow) -> [String; 5] {
    let (from, to) = ports(flow.l4.as_ref());
    let addresses = flow.ip.as_ref();
    let source = host_and_port(
        flow.source.as_ref(),
        flow.source_service.as_ref(),
        flow.source_names.first().cloned(),
        addresses.map_or("", |ip| &ip.source),
        from,
    );
    let destination = host_and_port(
        flow.destination.as_ref(),
        flow.destination_service.as_ref(),
        flow.destination_names.first().cloned(),
        addresses.map_or("", |ip| &ip.destination),
        to,
    );
    // The end that opened the connection first, also for an answer.
    let (source, destination) =
        if flow.is_reply == Some(true) { (destination, format!("{source} (reply)")) } else { (source, destination) };
    #[expect(deprecated, reason = "still what Hubble's servers fill")]
    let summary = if flow.summary.is_empty() { summary(flow.l4.as_ref()) } else { flow.summary.clone() };
    [cell(&source), cell(&destination), point(flow), flow.verdict().as_str_name().to_owned(), cell(&summary)]
}

/// `to-endpoint` or the like, the reason of a drop, or `http-request` and the like.
fn point(flow: &Flow) -> String {
    if let Some(kind) = l7_kind(flow) {
        return kind;
    }
    if flow.verdict() == Verdict::Dropped {
        return flow.drop_reason_desc().as_str_name().replace('_', " ").to_lowercase();
    }
    match flow.trace_observation_point() {
        TraceObservationPoint::UnknownPoint => String::new(),
        point => point.as_str_name().to_lowercase().replace('_', "-"),
    }
}

fn summary(layer: Option<&Layer4>) -> String {
    match layer.and_then(|layer| layer.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => format!("TCP Flags: {}", tcp_flags(&tcp.flags.unwrap_or_default())),
        Some(protocol) => protocol_name(protocol).to_uppercase(),
        None => String::new(),
    }
}

fn protocol_name(protocol: &Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp(_) => "tcp",
        Protocol::Udp(_) => "udp",
        Protocol::IcmPv4(_) => "icmpv4",
        Protocol::IcmPv6(_) => "icmpv6",
        Protocol::Sctp(_) => "sctp",
        Protocol::Vrrp(_) => "vrrp",
        Protocol::Igmp(_) => "igmp",
    }
}

/// Whether a flow is of a protocol, under the names that Hubble's filters take.
pub(super) fn is_protocol(flow: &Flow, name: &str) -> bool {
    let layer4 = flow.l4.as_ref().and_then(|layer| layer.protocol.as_ref()).map(protocol_name);
    let record = flow.l7.as_ref().and_then(|layer| layer.record.as_ref());
    match name {
        "dns" => matches!(record, Some(Record::Dns(_))),
        "http" => matches!(record, Some(Record::Http(_))),
        "icmp" => matches!(layer4, Some("icmpv4" | "icmpv6")),
        name => layer4 == Some(name),
    }
}

#[cfg(test)]
mod tests {
    use trilobite_api::flow::{Endpoint, Http, Ip, L7FlowType, Layer7, LostEvent, LostEventSource, Tcp, TcpFlags};

    use super::*;

    fn flow() -> Flow {
        let flags = Some(TcpFlags { syn: true, ack: true, ..TcpFlags::default() });
        let end = |namespace: &str, pod: &str| Endpoint {
            namespace: namespace.into(),
            pod_name: pod.into(),
            ..Endpoint::default()
        };
        Flow {
            source: Some(end("shop", "cart-7")),
            destination: Some(end("", "")),
            ip: Some(Ip { source: "10.0.0.1".into(), destination: "fd00::7".into(), ..Ip::default() }),
            l4: Some(Layer4 { protocol: Some(Protocol::Tcp(Tcp { source_port: 4000, destination_port: 443, flags })) }),
            verdict: Verdict::Forwarded.into(),
            trace_observation_point: TraceObservationPoint::ToStack.into(),
            is_reply: Some(false),
            ..Flow::default()
        }
    }

    #[test]
    #[expect(deprecated, reason = "still what Hubble's servers fill")]
    fn request_is_shown_by_what_was_said() {
        let l7 =
            Layer7 { r#type: L7FlowType::Request.into(), latency_ns: 0, record: Some(Record::Http(Http::default())) };
        let summary = "HTTP/1.1 GET http://cart/".to_owned();
        let cells = flow_cells(&Flow { l7: Some(l7), summary: summary.clone(), trace_observation_point: 0, ..flow() });
        assert_eq!(cells[2..], ["http-request".to_owned(), "FORWARDED".to_owned(), summary]);
    }

    #[test]
    fn ends_are_named_by_pod_or_address() {
        let cells = flow_cells(&flow());
        assert_eq!(cells, ["shop/cart-7:4000", "[fd00::7]:443", "to-stack", "FORWARDED", "TCP Flags: SYN, ACK"]);
        let mut answer = flow();
        answer.is_reply = Some(true);
        assert_eq!(flow_cells(&answer)[..2], ["[fd00::7]:443".to_owned(), "shop/cart-7:4000 (reply)".to_owned()]);
    }

    #[test]
    fn losses_have_a_row() {
        let lost =
            LostEvent { num_events_lost: 9, source: LostEventSource::HubbleRingBuffer.into(), ..LostEvent::default() };
        let response =
            GetFlowsResponse { response_types: Some(ResponseTypes::LostEvents(lost)), ..GetFlowsResponse::default() };
        assert_eq!(cells(&response, 0)[6], "9 flows lost: HUBBLE_RING_BUFFER");
        assert_eq!(cells(&response, 0).len(), 7);
    }

    #[test]
    fn protocols_have_the_names_of_hubble() {
        assert!(is_protocol(&flow(), "tcp"));
        assert!(!is_protocol(&flow(), "udp") && !is_protocol(&flow(), "http"));
    }
}
