//! Converts flows to Hubble's messages.

use jiff::Timestamp;
use trilobite_api::{
    flow::{self as api, DropReason, LostEvent, LostEventSource, TraceObservationPoint, TraceReason, layer4::Protocol},
    observer::{GetFlowsResponse, get_flows_response::ResponseTypes},
};

use super::{extensions::extensions, hexadecimal::append_hex, l7_message};
use crate::{
    layers::network::{
        endpoint::{Endpoint, Service},
        flow::{
            Dropped, Event, EventKind, Flow, Forwarded, L4, Names, ObservationPoint, Policies, PolicyName,
            PolicyVerdict, TrafficDirection, is_icmp_error,
        },
        tcp_flags::TcpFlags,
    },
    serve::timestamps::timestamp,
};

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
    let EventKind { kind, sub_type } = flow.event.kind();
    let mut message = api::Flow {
        time: Some(timestamp(flow.time)),
        uuid: uuid(flow.uuid),
        emitter: Some(api::Emitter { name: EMITTER.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }),
        verdict: flow.event.verdict().into(),
        ethernet: ethernet(flow),
        ip: Some(api::Ip {
            source: flow.source.ip().to_string(),
            destination: flow.destination.ip().to_string(),
            ip_version: if flow.source.is_ipv4() { api::IpVersion::IPv4 } else { api::IpVersion::IPv6 }.into(),
            ..api::Ip::default()
        }),
        l4: protocol(flow).map(|protocol| api::Layer4 { protocol: Some(protocol) }),
        source: Some(endpoint(&flow.source_endpoint)),
        destination: Some(endpoint(&flow.destination_endpoint)),
        r#type: if flow.l7().is_some() { api::FlowType::L7 } else { api::FlowType::L3L4 }.into(),
        node_name: node.to_owned(),
        source_names: names(&flow.source_names),
        destination_names: names(&flow.destination_names),
        reply: flow.is_reply.unwrap_or_default(),
        is_reply: flow.is_reply,
        event_type: Some(api::CiliumEventType { r#type: kind, sub_type }),
        source_service: flow.source_service.as_deref().map(service),
        destination_service: flow.destination_service.as_deref().map(service),
        traffic_direction: direction(flow.direction).into(),
        interface: (flow.interface.index != 0)
            .then(|| api::NetworkInterface { index: flow.interface.index, name: flow.interface.name.clone() }),
        summary: flow.summary(),
        extensions: Some(extensions(flow)),
        ..api::Flow::default()
    };
    match &flow.event {
        Event::Forwarded(forwarded) => add_trace(flow, forwarded, &mut message),
        Event::Dropped(dropped) => {
            let Dropped { reason, sub_type, policies, .. } = &**dropped;
            add_drop_reason(*reason, *sub_type, &mut message);
            add_policies(policies, flow.direction, &mut message);
        }
        Event::PolicyVerdict(verdict) => {
            let PolicyVerdict { match_type, policies, reason, .. } = &**verdict;
            add_drop_reason(*reason, (*reason).into(), &mut message);
            add_policies(policies, flow.direction, &mut message);
            message.policy_match_type = *match_type;
        }
        Event::L7(l7) => {
            message.l7 = Some(l7_message::layer7(l7));
            message.trace_context = l7_message::trace_context(l7);
        }
    }
    message
}

fn add_trace(flow: &Flow, forwarded: &Forwarded, message: &mut api::Flow) {
    message.trace_observation_point = observation_point(forwarded.observation_point).into();
    message.trace_reason = match (flow.l4, flow.is_reply, forwarded.is_new) {
        // An error is about a packet of another flow.
        (L4::Icmp { v6, kind, .. }, ..) if is_icmp_error(v6, kind) => TraceReason::Related,
        (_, Some(true), _) => TraceReason::Reply,
        (_, _, true) => TraceReason::New,
        (_, _, false) => TraceReason::Established,
    }
    .into();
}

#[allow(deprecated, reason = "older clients read `drop_reason`")]
fn add_drop_reason(reason: DropReason, number: i32, message: &mut api::Flow) {
    message.drop_reason = number.try_into().unwrap_or_default();
    message.drop_reason_desc = reason.into();
}

/// Names the policies at the side for which the flow has its direction.
fn add_policies(policies: &Policies, direction: TrafficDirection, message: &mut api::Flow) {
    let named = |names: &[PolicyName]| {
        let policy = |PolicyName { name, namespace, kind }: &PolicyName| api::Policy {
            name: name.clone(),
            namespace: namespace.clone(),
            kind: kind.clone(),
            ..api::Policy::default()
        };
        names.iter().map(policy).collect()
    };
    let (allowed_by, denied_by) = match direction {
        TrafficDirection::Egress => (&mut message.egress_allowed_by, &mut message.egress_denied_by),
        TrafficDirection::Ingress => (&mut message.ingress_allowed_by, &mut message.ingress_denied_by),
        TrafficDirection::Unknown => return,
    };
    (*allowed_by, *denied_by) = (named(&policies.allowed_by), named(&policies.denied_by));
}

pub(super) fn direction(direction: TrafficDirection) -> api::TrafficDirection {
    match direction {
        TrafficDirection::Unknown => api::TrafficDirection::Unknown,
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

fn observation_point(point: ObservationPoint) -> TraceObservationPoint {
    match point {
        ObservationPoint::ToEndpoint => TraceObservationPoint::ToEndpoint,
        ObservationPoint::ToStack => TraceObservationPoint::ToStack,
        ObservationPoint::FromNetwork => TraceObservationPoint::FromNetwork,
        ObservationPoint::ToNetwork => TraceObservationPoint::ToNetwork,
    }
}

/// None for a protocol that Hubble's message has no field for.
fn protocol(flow: &Flow) -> Option<Protocol> {
    let (source_port, destination_port) = (flow.source.port().into(), flow.destination.port().into());
    Some(match flow.l4 {
        L4::Udp => Protocol::Udp(api::Udp { source_port, destination_port }),
        L4::Tcp => Protocol::Tcp(api::Tcp { source_port, destination_port, flags: tcp_flags(flow) }),
        L4::Icmp { v6: false, kind, code } => Protocol::IcmPv4(api::IcmPv4 { r#type: kind.into(), code: code.into() }),
        L4::Icmp { v6: true, kind, code } => Protocol::IcmPv6(api::IcmPv6 { r#type: kind.into(), code: code.into() }),
        L4::Other(_) => return None,
    })
}

/// None where the event is no packet.
fn tcp_flags(flow: &Flow) -> Option<api::TcpFlags> {
    if flow.l7().is_some() {
        return None;
    }
    let flags = flow.event.tcp_flags();
    Some(api::TcpFlags {
        fin: flags.has(TcpFlags::FIN),
        syn: flags.has(TcpFlags::SYN),
        rst: flags.has(TcpFlags::RST),
        psh: flags.has(TcpFlags::PSH),
        ack: flags.has(TcpFlags::ACK),
        urg: flags.has(TcpFlags::URG),
        ece: flags.has(TcpFlags::ECE),
        cwr: flags.has(TcpFlags::CWR),
        ns: false,
    })
}

fn names(names: &Names) -> Vec<String> {
    names.as_ref().map(|names| names.to_vec()).unwrap_or_default()
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
        cluster_name: end.cluster_name().to_owned(),
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

#[cfg(test)]
mod tests {
    use trilobite_api::flow::Verdict;

    use super::*;
    use crate::layers::network::flow::PolicyAction;
    use crate::layers::network::flow::samples::{drop_by_policy, drop_for_another_reason, policy_verdict, syn};

    fn message_of(flow: &Flow) -> api::Flow {
        match response(flow, "n1").response_types {
            Some(ResponseTypes::Flow(message)) => message,
            other => panic!("no flow: {other:?}"),
        }
    }

    fn names(policies: &[api::Policy]) -> Vec<&str> {
        policies.iter().map(|policy| policy.name.as_str()).collect()
    }

    #[test]
    fn uuid_has_the_usual_form() {
        assert_eq!(uuid(syn().uuid), "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn addresses_are_hexadecimal_with_all_digits() {
        assert_eq!(mac([0, 1, 0x0a, 0xff, 0x10, 0]), "00:01:0a:ff:10:00");
    }

    #[test]
    fn fields_that_clients_need_are_always_set() {
        let flow = message_of(&syn());
        assert_eq!((flow.is_reply, flow.verdict()), (Some(false), Verdict::Forwarded));
        assert_eq!((flow.source.unwrap().identity, flow.destination.unwrap().identity), (1001, 1002));
        assert_eq!(flow.traffic_direction, 2);
        assert!(flow.l4.is_some() && flow.event_type.is_some());
    }

    #[test]
    #[allow(deprecated, reason = "older clients read `drop_reason`")]
    fn drop_has_the_reason_twice_and_no_trace_point() {
        for (flow, reason, number) in
            [(drop_by_policy(), DropReason::PolicyDenied, 133), (drop_for_another_reason(), DropReason::Unknown, 230)]
        {
            let message = message_of(&flow);
            assert_eq!((message.verdict(), message.drop_reason_desc()), (Verdict::Dropped, reason));
            assert_eq!(message.event_type, Some(api::CiliumEventType { r#type: 1, sub_type: number }));
            assert_eq!((message.drop_reason, message.is_reply), (number.unsigned_abs(), None));
            assert_eq!((message.trace_observation_point, message.trace_reason), (0, 0));
        }
    }

    #[test]
    fn policies_are_named_at_the_side_of_the_direction() {
        let ingress = message_of(&drop_by_policy());
        assert_eq!(names(&ingress.ingress_denied_by), ["default-deny"]);
        assert!(ingress.egress_denied_by.is_empty() && ingress.ingress_allowed_by.is_empty());
        let egress = message_of(&Flow { direction: TrafficDirection::Egress, ..policy_verdict(PolicyAction::Allowed) });
        assert_eq!(names(&egress.egress_allowed_by), ["allow-front", "allow-shop"]);
        assert!(egress.ingress_allowed_by.is_empty() && egress.egress_denied_by.is_empty());
        let unknown = message_of(&Flow { direction: TrafficDirection::Unknown, ..drop_by_policy() });
        assert!(unknown.egress_denied_by.is_empty() && unknown.ingress_denied_by.is_empty());
    }

    #[test]
    fn policy_verdict_has_match_type_and_reason() {
        for (action, verdict, reason, match_type) in [
            (PolicyAction::Allowed, Verdict::Forwarded, DropReason::Unknown, 2),
            (PolicyAction::Denied, Verdict::Dropped, DropReason::PolicyDenied, 0),
            (PolicyAction::Audit, Verdict::Audit, DropReason::PolicyDenied, 0),
        ] {
            let message = message_of(&policy_verdict(action));
            assert_eq!((message.verdict(), message.drop_reason_desc()), (verdict, reason));
            assert_eq!(message.policy_match_type, match_type);
            assert_eq!(message.event_type, Some(api::CiliumEventType { r#type: 5, sub_type: 0 }));
        }
    }

    #[test]
    fn packet_at_no_interface_and_of_another_protocol_has_neither_field() {
        let flow = Flow { interface: Default::default(), l4: L4::Other(47), ..drop_by_policy() };
        let message = message_of(&flow);
        assert!(message.interface.is_none() && message.l4.is_none());
        let ping = message_of(&Flow { l4: L4::Icmp { v6: true, kind: 128, code: 0 }, ..drop_by_policy() });
        assert_eq!(ping.l4.unwrap().protocol, Some(Protocol::IcmPv6(api::IcmPv6 { r#type: 128, code: 0 })));
    }
}
