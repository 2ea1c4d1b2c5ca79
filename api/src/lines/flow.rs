//! A flow as a line or as cells of a table, in the form of `hubble observe`.

use crate::{
    filter_values::RESERVED,
    flow::{Endpoint, Flow, Layer4, LostEvent, Service, TcpFlags, TraceObservationPoint, Verdict, layer4::Protocol},
    observer::GetFlowsResponse,
    observer::get_flows_response::ResponseTypes,
};
use trilobite_untrusted_text::escape;

pub use super::flow_event::l7_kind;
use super::{
    clock,
    flow_event::{drop_text, is_policy_verdict, policy_verdict_kind, verdict_text},
    paint::Paint,
};

/// How lines look.
#[derive(Clone, Copy)]
pub struct FlowStyle {
    /// Colors.
    pub paint: Paint,
    /// Name the node after the time.
    pub node: bool,
    /// Name the policies after a policy's verdict.
    pub policies: bool,
}

/// Parts of a line, and cells of a row.
#[allow(missing_docs, reason = "the names say it")]
pub struct FlowCells {
    pub time: String,
    pub node: String,
    /// The end that opened the connection.
    pub source: String,
    pub destination: String,
    pub arrow: &'static str,
    pub kind: String,
    pub verdict: String,
    pub summary: String,
}

/// The line without its end; none for a message that is neither a flow nor a loss.
pub fn line(response: &GetFlowsResponse, style: FlowStyle) -> Option<String> {
    match response.response_types.as_ref()? {
        ResponseTypes::Flow(flow) => {
            let FlowStyle { paint, node: with_node, policies } = style;
            let cells = cells(flow, response, policies);
            let FlowCells { time, source, destination, arrow, kind, verdict, summary, node } = cells;
            let node = if with_node { format!(" [{}]", escape(&node)) } else { String::new() };
            let (source, destination) = (paint.cyan(&source), paint.cyan(&destination));
            let verdict = paint_verdict(paint, flow.verdict(), &verdict);
            let summary = if summary.is_empty() { summary } else { format!(" ({summary})") };
            Some(format!("{time}{node}: {source} {arrow} {destination} {kind} {verdict}{summary}"))
        }
        ResponseTypes::LostEvents(lost) => Some(lost_line(lost, response)),
        ResponseTypes::NodeStatus(_) => None,
    }
}

/// A block of names and values, with a line after it; none for a message that is no flow.
pub fn block(response: &GetFlowsResponse, style: FlowStyle) -> Option<String> {
    let Some(ResponseTypes::Flow(flow)) = &response.response_types else { return None };
    let cells = cells(flow, response, style.policies);
    // As sent: a block has no arrow.
    let (source, destination) =
        if cells.arrow == "<-" { (&cells.destination, &cells.source) } else { (&cells.source, &cells.destination) };
    let node = if style.node { format!("       NODE: {}\n", escape(&cells.node)) } else { String::new() };
    Some(format!(
        "  TIMESTAMP: {}\n{node}     SOURCE: {}\nDESTINATION: {}\n       TYPE: {}\n    VERDICT: {}\n    SUMMARY: {}\n------------",
        cells.time,
        style.paint.cyan(source),
        style.paint.cyan(destination),
        cells.kind,
        paint_verdict(style.paint, flow.verdict(), &cells.verdict),
        cells.summary
    ))
}

fn paint_verdict(paint: Paint, verdict: Verdict, text: &str) -> String {
    match verdict {
        Verdict::Forwarded => paint.green(text),
        Verdict::Dropped | Verdict::Error => paint.red(text),
        _ => paint.yellow(text),
    }
}

fn lost_line(lost: &LostEvent, response: &GetFlowsResponse) -> String {
    let time = response.time.as_ref().map_or_else(|| clock::NO_TIME.to_owned(), clock::stamp);
    let cpu = lost.cpu.map(|cpu| format!(" CPU({cpu})")).unwrap_or_default();
    format!("{time} EVENTS LOST: {}{cpu} {}", lost.source().as_str_name(), lost.num_events_lost)
}

/// The cells of one flow; with `policies` the verdict names them.
pub fn cells(flow: &Flow, response: &GetFlowsResponse, policies: bool) -> FlowCells {
    let (from, to) = ports(flow.l4.as_ref());
    let addresses = flow.ip.as_ref();
    let source = endpoint_text(
        flow.source.as_ref(),
        flow.source_service.as_ref(),
        &flow.source_names,
        addresses.map_or("", |ip| &ip.source),
        from,
    );
    let destination = endpoint_text(
        flow.destination.as_ref(),
        flow.destination_service.as_ref(),
        &flow.destination_names,
        addresses.map_or("", |ip| &ip.destination),
        to,
    );
    let reply = flow.is_reply;
    let (source, destination) = if reply == Some(true) { (destination, source) } else { (source, destination) };
    FlowCells {
        time: flow.time.as_ref().or(response.time.as_ref()).map_or_else(|| clock::NO_TIME.to_owned(), clock::stamp),
        node: if flow.node_name.is_empty() { response.node_name.clone() } else { flow.node_name.clone() },
        source,
        destination,
        arrow: match reply {
            Some(false) => "->",
            Some(true) => "<-",
            None => "<>",
        },
        kind: kind(flow),
        verdict: verdict_text(flow, policies),
        #[expect(deprecated, reason = "still what Hubble's servers fill")]
        summary: if flow.summary.is_empty() { summary(flow.l4.as_ref()) } else { escape(&flow.summary) },
    }
}

/// `to-endpoint` or the like, the reason of a drop, what a policy has matched, or what was said.
fn kind(flow: &Flow) -> String {
    if let Some(kind) = l7_kind(flow) {
        return kind;
    }
    if is_policy_verdict(flow) {
        return policy_verdict_kind(flow);
    }
    if flow.verdict() == Verdict::Dropped {
        return drop_text(flow.drop_reason_desc());
    }
    match flow.trace_observation_point() {
        TraceObservationPoint::UnknownPoint => "unknown-point".into(),
        point => point.as_str_name().to_lowercase().replace('_', "-"),
    }
}

fn endpoint_text(
    endpoint: Option<&Endpoint>,
    service: Option<&Service>,
    names: &[String],
    address: &str,
    port: Option<u32>,
) -> String {
    let names = (!names.is_empty()).then(|| names.join(","));
    let host = escape(&host_and_port(endpoint, service, names, address, port));
    match endpoint.map_or(0, |end| end.identity) {
        0 => host,
        number => match RESERVED.get(number as usize) {
            Some(name) => format!("{host} ({name})"),
            None => format!("{host} (ID:{number})"),
        },
    }
}

/// `namespace/pod:port`; the service where there is no pod, else the name in DNS, else the address. Not escaped.
pub fn host_and_port(
    endpoint: Option<&Endpoint>,
    service: Option<&Service>,
    name: Option<String>,
    address: &str,
    port: Option<u32>,
) -> String {
    let pod = endpoint.filter(|end| !end.pod_name.is_empty()).map(|end| format!("{}/{}", end.namespace, end.pod_name));
    let service = || service.filter(|one| !one.name.is_empty()).map(|one| format!("{}/{}", one.namespace, one.name));
    let host = pod
        .or_else(service)
        .or(name)
        .unwrap_or_else(|| if address.is_empty() { "<unknown>".to_owned() } else { address.to_owned() });
    match port {
        // An IPv6 address has colons of its own.
        Some(port) if host.contains(':') => format!("[{host}]:{port}"),
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// Ports of the source and of the destination.
pub fn ports(layer: Option<&Layer4>) -> (Option<u32>, Option<u32>) {
    match layer.and_then(|layer| layer.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => (Some(tcp.source_port), Some(tcp.destination_port)),
        Some(Protocol::Udp(udp)) => (Some(udp.source_port), Some(udp.destination_port)),
        Some(Protocol::Sctp(sctp)) => (Some(sctp.source_port), Some(sctp.destination_port)),
        _ => (None, None),
    }
}

fn summary(layer: Option<&Layer4>) -> String {
    match layer.and_then(|layer| layer.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => format!("TCP Flags: {}", tcp_flags(&tcp.flags.unwrap_or_default())),
        Some(Protocol::Udp(_)) => "UDP".into(),
        Some(Protocol::Sctp(_)) => "SCTP".into(),
        Some(Protocol::IcmPv4(_)) => "ICMPv4".into(),
        Some(Protocol::IcmPv6(_)) => "ICMPv6".into(),
        Some(Protocol::Vrrp(_)) => "VRRP".into(),
        Some(Protocol::Igmp(_)) => "IGMP".into(),
        None => String::new(),
    }
}

/// `SYN, ACK`.
pub fn tcp_flags(flags: &TcpFlags) -> String {
    let named = [
        ("SYN", flags.syn),
        ("ACK", flags.ack),
        ("RST", flags.rst),
        ("FIN", flags.fin),
        ("PSH", flags.psh),
        ("URG", flags.urg),
        ("ECE", flags.ece),
        ("CWR", flags.cwr),
        ("NS", flags.ns),
    ];
    named.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::flow::{
        CiliumEventType, Dns, DropReason, Http, Ip, L7FlowType, Layer7, LostEventSource, Policy, Tcp, TrafficDirection,
        Udp, layer7::Record,
    };

    use super::*;

    const PLAIN: FlowStyle = FlowStyle { paint: Paint(false), node: false, policies: false };

    fn pod(name: &str, identity: u32) -> Option<Endpoint> {
        let (namespace, pod_name) = ("shop".into(), name.into());
        Some(Endpoint { namespace, pod_name, identity, ..Endpoint::default() })
    }

    fn syn() -> Flow {
        let flags = Some(TcpFlags { syn: true, ..TcpFlags::default() });
        Flow {
            time: Some(prost_types::Timestamp { seconds: 1_795_351_583, nanos: 248_000_000 }),
            verdict: Verdict::Forwarded.into(),
            source: pod("till-1", 1001),
            destination: pod("shelf-1", 1002),
            l4: Some(Layer4 {
                protocol: Some(Protocol::Tcp(Tcp { source_port: 40_000, destination_port: 80, flags })),
            }),
            trace_observation_point: TraceObservationPoint::ToEndpoint.into(),
            is_reply: Some(false),
            ..Flow::default()
        }
    }

    fn text_of(flow: Flow) -> String {
        let response =
            GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), ..GetFlowsResponse::default() };
        line(&response, PLAIN).unwrap()
    }

    #[test]
    fn a_flow_and_its_reply_keep_the_ends_in_place() {
        assert_eq!(
            text_of(syn()),
            "Nov 22 12:46:23.248: shop/till-1:40000 (ID:1001) -> shop/shelf-1:80 (ID:1002) to-endpoint FORWARDED (TCP Flags: SYN)"
        );
        let flags = Some(TcpFlags { syn: true, ack: true, ..TcpFlags::default() });
        let reply = Flow {
            source: pod("shelf-1", 1002),
            destination: pod("till-1", 1001),
            l4: Some(Layer4 {
                protocol: Some(Protocol::Tcp(Tcp { source_port: 80, destination_port: 40_000, flags })),
            }),
            trace_observation_point: TraceObservationPoint::ToStack.into(),
            is_reply: Some(true),
            ..syn()
        };
        assert_eq!(
            text_of(reply),
            "Nov 22 12:46:23.248: shop/till-1:40000 (ID:1001) <- shop/shelf-1:80 (ID:1002) to-stack FORWARDED (TCP Flags: SYN, ACK)"
        );
    }

    #[test]
    fn a_drop_says_why_and_an_unknown_direction_says_so() {
        let flow = Flow {
            verdict: Verdict::Dropped.into(),
            drop_reason_desc: DropReason::PolicyDenied.into(),
            is_reply: None,
            ..syn()
        };
        assert!(text_of(flow).contains("(ID:1001) <> shop/shelf-1:80 (ID:1002) Policy denied DROPPED (TCP"));
    }

    #[test]
    fn policy_verdict_says_what_matched_and_on_request_by_which_policy() {
        let policy = |name: &str| Policy { name: name.into(), kind: "NetworkPolicy".into(), ..Policy::default() };
        let flow = Flow {
            verdict: Verdict::Dropped.into(),
            event_type: Some(CiliumEventType { r#type: 5, sub_type: 0 }),
            traffic_direction: TrafficDirection::Ingress.into(),
            policy_match_type: 2,
            ingress_denied_by: vec![policy("deny-8080"), policy("default-deny")],
            ..syn()
        };
        assert!(
            text_of(flow.clone()).contains(" policy-verdict:L3-L4 INGRESS DENIED (TCP"),
            "{}",
            text_of(flow.clone())
        );
        let response =
            GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), ..GetFlowsResponse::default() };
        let named = line(&response, FlowStyle { policies: true, ..PLAIN }).unwrap();
        assert!(
            named.contains("INGRESS DENIED BY deny-8080 (NetworkPolicy), default-deny (NetworkPolicy) (TCP"),
            "{named}"
        );
    }

    #[test]
    #[expect(deprecated, reason = "still what Hubble's servers fill")]
    fn request_has_its_protocol_and_the_servers_summary() {
        let l7 = |record, kind: L7FlowType| Some(Layer7 { r#type: kind.into(), latency_ns: 0, record: Some(record) });
        let http = Flow {
            l7: l7(Record::Http(Http::default()), L7FlowType::Response),
            trace_observation_point: 0,
            summary: "HTTP/1.1 200 4ms (GET /\u{1b}[31m)".into(),
            ..syn()
        };
        assert!(
            text_of(http.clone()).contains(" http-response FORWARDED (HTTP/1.1 200 4ms (GET /"),
            "{}",
            text_of(http.clone())
        );
        assert!(!text_of(http.clone()).contains('\u{1b}'));
        let seen_by = |source: &str| Dns { observation_source: source.into(), ..Dns::default() };
        for (source, kind) in [("", " dns-request FORWARDED"), ("proxy", " dns-request proxy FORWARDED")] {
            let dns = Flow { l7: l7(Record::Dns(seen_by(source)), L7FlowType::Request), ..http.clone() };
            assert!(text_of(dns.clone()).contains(kind), "{}", text_of(dns));
        }
    }

    #[test]
    fn an_end_without_a_pod_is_its_service_or_name_or_address() {
        let flow = Flow {
            source: None,
            ip: Some(Ip { source: "fd00::7".into(), destination: "10.0.0.9".into(), ..Ip::default() }),
            destination: Some(Endpoint { identity: 2, ..Endpoint::default() }),
            destination_names: vec!["fossil.example".into()],
            l4: Some(Layer4 { protocol: Some(Protocol::Udp(Udp { source_port: 5353, destination_port: 53 })) }),
            ..syn()
        };
        assert!(text_of(flow).contains(": [fd00::7]:5353 -> fossil.example:53 (world) to-endpoint FORWARDED (UDP)"));
    }

    #[test]
    fn what_a_flow_does_not_say_is_marked() {
        let text = text_of(Flow { time: None, source: None, ip: None, ..syn() });
        assert!(text.starts_with("N/A: <unknown>:40000 -> shop/shelf-1:80"), "{text}");
    }

    #[test]
    fn name_of_a_flow_cannot_reorder_its_line() {
        let text = text_of(Flow { source: pod("till\u{202e}1\u{200b}", 1001), ..syn() });
        assert!(text.contains("shop/till\\u{202e}1\\u{200b}:40000"), "{text}");
    }

    #[test]
    fn node_and_colors_are_shown_on_request() {
        let response = GetFlowsResponse {
            response_types: Some(ResponseTypes::Flow(syn())),
            node_name: "alder".into(),
            ..GetFlowsResponse::default()
        };
        let style = FlowStyle { paint: Paint(true), node: true, policies: false };
        let text = line(&response, style).unwrap();
        assert!(text.starts_with("Nov 22 12:46:23.248 [alder]: \x1b[36mshop/till-1:40000"), "{text}");
        assert!(text.contains("\x1b[32mFORWARDED\x1b[0m"), "{text}");
    }

    #[test]
    fn a_block_has_the_ends_as_they_were_sent() {
        let response = |flow| GetFlowsResponse {
            response_types: Some(ResponseTypes::Flow(flow)),
            node_name: "alder".into(),
            ..GetFlowsResponse::default()
        };
        let style = FlowStyle { node: true, ..PLAIN };
        let text = block(&response(Flow { is_reply: Some(true), ..syn() }), style).unwrap();
        assert_eq!(
            text,
            "  TIMESTAMP: Nov 22 12:46:23.248\n       NODE: alder\n     SOURCE: shop/till-1:40000 (ID:1001)\n\
             DESTINATION: shop/shelf-1:80 (ID:1002)\n       TYPE: to-endpoint\n    VERDICT: FORWARDED\n    SUMMARY: TCP Flags: SYN\n\
             ------------"
        );
        assert_eq!(block(&GetFlowsResponse::default(), style), None);
    }

    #[test]
    fn a_loss_is_a_line_of_its_own() {
        let lost = LostEvent {
            source: LostEventSource::HubbleRingBuffer.into(),
            num_events_lost: 7,
            cpu: Some(0),
            ..LostEvent::default()
        };
        let response = GetFlowsResponse {
            response_types: Some(ResponseTypes::LostEvents(lost)),
            time: syn().time,
            ..GetFlowsResponse::default()
        };
        assert_eq!(line(&response, PLAIN).unwrap(), "Nov 22 12:46:23.248 EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 7");
    }
}
