//! Flows for tests: one of each event.

use trilobite_api::flow::DropReason;
use trilobite_node_ebpf::{FlowReason, PacketsBytes};

use super::*;
use crate::layers::network::tcp_flags::TcpFlags;

/// The first packet of a connection from `shop/front-1` to `store/cart-1`.
pub(crate) fn syn() -> Flow {
    let endpoint = |identity, namespace: &str, pod: &str, labels: &[&str]| {
        Arc::new(Endpoint {
            identity,
            namespace: namespace.into(),
            pod: pod.into(),
            uid: pod.into(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            workload: Some((pod.trim_end_matches("-1").into(), "Deployment".into())),
        })
    };
    Flow {
        time: "2026-11-22T12:46:23.248000001Z".parse().unwrap(),
        uuid: 0x0123_4567_89ab_4def_8123_4567_89ab_cdef,
        l4: L4::Tcp,
        source: "10.1.0.7:40000".parse().unwrap(),
        destination: "10.2.0.9:80".parse().unwrap(),
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [2, 0, 0, 0, 0, 2],
        source_endpoint: endpoint(1001, "shop", "front-1", &["k8s:app=front", "k8s:io.kubernetes.pod.namespace=shop"]),
        destination_endpoint: endpoint(
            1002,
            "store",
            "cart-1",
            &["k8s:app=cart", "k8s:io.kubernetes.pod.namespace=store"],
        ),
        source_service: None,
        destination_service: Some(Arc::new(Service {
            name: "cart".into(),
            namespace: "store".into(),
            endpoint: Arc::default(),
        })),
        source_names: None,
        destination_names: None,
        direction: TrafficDirection::Egress,
        is_reply: Some(false),
        is_direction_a_guess: false,
        interface: Arc::new(Interface { index: 12, name: "veth0".into() }),
        connection: 99,
        event: Event::Forwarded(Forwarded {
            flags: TcpFlags::SYN,
            flags_seen: TcpFlags::SYN,
            icmp_error: None,
            reason: FlowReason::New,
            first: "2026-11-22T12:46:23.248000001Z".parse().unwrap(),
            last: "2026-11-22T12:46:23.248000001Z".parse().unwrap(),
            is_new: true,
            observation_point: ObservationPoint::ToStack,
            since: PacketsBytes { packets: 1, bytes: 74 },
            total: PacketsBytes { packets: 1, bytes: 74 },
        }),
    }
}

/// The counts of a flow that was forwarded.
pub(crate) fn forwarded(flow: &mut Flow) -> &mut Forwarded {
    match &mut flow.event {
        Event::Forwarded(forwarded) => forwarded,
        other => panic!("not forwarded: {other:?}"),
    }
}

/// The packet of `syn`, dropped by a policy three times.
pub(crate) fn drop_by_policy() -> Flow {
    let policy = PolicyName { name: "default-deny".into(), namespace: "store".into(), kind: "NetworkPolicy".into() };
    Flow {
        direction: TrafficDirection::Ingress,
        is_reply: None,
        event: Event::Dropped(Box::new(Dropped {
            reason: DropReason::PolicyDenied,
            sub_type: DropReason::PolicyDenied.into(),
            kernel_reason: "NETFILTER_DROP".into(),
            place: "nft_do_chain".into(),
            packets: 3,
            bytes: 180,
            flags: TcpFlags::SYN,
            policies: Policies { denied_by: vec![policy], ..Policies::default() },
        })),
        ..syn()
    }
}

/// The packet of `syn`, dropped for a reason that Hubble has no name for.
pub(crate) fn drop_for_another_reason() -> Flow {
    let mut flow = Flow { direction: TrafficDirection::Egress, ..drop_by_policy() };
    if let Event::Dropped(dropped) = &mut flow.event {
        (dropped.reason, dropped.sub_type, dropped.packets) = (DropReason::Unknown, 230, 1);
        (dropped.kernel_reason, dropped.place) = ("QDISC_DROP".into(), "dev_hard_start_xmit".into());
        dropped.policies = Policies::default();
    }
    flow
}

/// What the policies say of the connection of `syn`.
pub(crate) fn policy_verdict(action: PolicyAction) -> Flow {
    let policy = |name: &str| PolicyName { name: name.into(), namespace: "store".into(), kind: "NetworkPolicy".into() };
    let (reason, match_type, policies) = match action {
        PolicyAction::Allowed => {
            let allowed_by = vec![policy("allow-front"), policy("allow-shop")];
            (DropReason::Unknown, 2, Policies { allowed_by, ..Policies::default() })
        }
        PolicyAction::Denied | PolicyAction::Audit => {
            let denied_by = vec![policy("default-deny")];
            (DropReason::PolicyDenied, 0, Policies { denied_by, ..Policies::default() })
        }
    };
    Flow {
        direction: TrafficDirection::Ingress,
        event: Event::PolicyVerdict(Box::new(PolicyVerdict {
            action,
            match_type,
            policies,
            reason,
            flags: TcpFlags::SYN,
        })),
        ..syn()
    }
}

/// `GET /cart` in the connection of `syn`, or its response with this status.
pub(crate) fn http(flow_type: L7FlowType, code: u32) -> Flow {
    let is_response = flow_type == L7FlowType::Response;
    said(L7 {
        flow_type,
        latency_ns: if is_response { 12_345_678 } else { 0 },
        record: L7Record::Http(Http {
            code: if is_response { code } else { 0 },
            method: "GET".into(),
            url: "http://cart.store/items?id=7".into(),
            protocol: "HTTP/1.1".into(),
            headers: vec![("Host".into(), "cart.store".into()), ("X-Request-Id".into(), "aa-7".into())],
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        }),
    })
}

/// A question for `shop.example.com.` at port 53, or its answer with this code.
pub(crate) fn dns(flow_type: L7FlowType, rcode: u32) -> Flow {
    let question = Dns { query: "shop.example.com.".into(), qtypes: vec!["A".into()], ..Dns::default() };
    let is_answer = flow_type == L7FlowType::Response;
    let has_answer = is_answer && rcode == 0;
    let answer = Dns {
        ips: if has_answer { vec!["192.0.2.7".parse().unwrap(), "192.0.2.8".parse().unwrap()] } else { Vec::new() },
        ttl: if has_answer { 30 } else { 0 },
        cnames: if has_answer { vec!["front.example.net.".into()] } else { Vec::new() },
        rcode,
        rrtypes: if has_answer { ["CNAME", "A", "A"].map(str::to_owned).into() } else { Vec::new() },
        ..question.clone()
    };
    let mut flow = said(L7 {
        flow_type,
        latency_ns: if is_answer { 2_000_000 } else { 0 },
        record: L7Record::Dns(if is_answer { answer } else { question }),
    });
    flow.l4 = L4::Udp;
    let server = if is_answer { &mut flow.source } else { &mut flow.destination };
    server.set_port(53);
    flow
}

/// In the connection of `syn`; a response goes the other way.
fn said(l7: L7) -> Flow {
    let mut flow = Flow { source_mac: [0; 6], destination_mac: [0; 6], ..syn() };
    if l7.is_response() {
        std::mem::swap(&mut flow.source, &mut flow.destination);
        std::mem::swap(&mut flow.source_endpoint, &mut flow.destination_endpoint);
        std::mem::swap(&mut flow.source_service, &mut flow.destination_service);
        flow.is_reply = Some(true);
    }
    flow.event = Event::L7(Box::new(l7));
    flow
}
