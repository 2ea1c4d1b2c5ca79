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
