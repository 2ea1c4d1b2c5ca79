//! Flows for comparisons with the real client.

use std::sync::Arc;

use trilobite_api::flow::DropReason;
use trilobite_node_ebpf::FlowReason;

use super::requests::random_l7;
use crate::layers::network::{
    endpoint::{Endpoint, Reserved, Service},
    flow::{
        Dropped, Event, Flow, Interface, L4, L7FlowType, ObservationPoint, Policies, PolicyAction, PolicyName,
        PolicyVerdict, TrafficDirection,
        samples::{dns, drop_by_policy, forwarded, http, policy_verdict, syn},
    },
    tcp_flags::TcpFlags,
};
use crate::random::Random;

/// Forwarded flows that differ in everything that a filter can match.
pub(super) fn many_flows() -> Vec<Flow> {
    let mut flows = Vec::new();
    let world = Arc::new(Endpoint::reserved(Reserved::World));
    let host = Arc::new(Endpoint::reserved(Reserved::Host));
    let service = syn().destination_service;
    for number in 0..64u16 {
        let bit = |at: u16| number >> at & 1 == 1;
        let mut flow = syn();
        flow.uuid = u128::from(number) << 64 | 0x4 << 76 | 0x2 << 62;
        flow.time = flow.time.checked_add(jiff::SignedDuration::from_millis(number.into())).unwrap();
        flow.source.set_port(40000 + number);
        let counts = forwarded(&mut flow);
        counts.flags = TcpFlags(number & 0x1f);
        counts.flags_seen = counts.flags;
        counts.is_new = number % 7 == 0;
        flow.interface = Arc::new(Interface { index: u32::from(number % 5) + 1, name: format!("veth{}", number % 3) });
        if bit(0) {
            std::mem::swap(&mut flow.source, &mut flow.destination);
            std::mem::swap(&mut flow.source_endpoint, &mut flow.destination_endpoint);
            flow.is_reply = Some(true);
            flow.source_service = flow.destination_service.take();
            forwarded(&mut flow).observation_point = ObservationPoint::ToEndpoint;
        }
        if bit(1) {
            flow.l4 = L4::Udp;
            flow.source.set_ip("fd00:1::7".parse().unwrap());
            flow.destination.set_ip("fd00:2::9".parse().unwrap());
        }
        if bit(2) {
            flow.direction = TrafficDirection::Ingress;
            flow.source_endpoint = world.clone();
        }
        if bit(3) {
            flow.destination_endpoint = host.clone();
            flow.destination_service = service.clone();
        }
        if bit(4) {
            forwarded(&mut flow).observation_point =
                if bit(0) { ObservationPoint::FromNetwork } else { ObservationPoint::ToNetwork };
        }
        flow.is_direction_a_guess = bit(3) && bit(1);
        if bit(5) {
            flow.source_service =
                Some(Arc::new(Service { name: "other".into(), namespace: "default".into(), endpoint: Arc::default() }));
            forwarded(&mut flow).reason = FlowReason::End;
            flow.source_mac = [0; 6];
            flow.destination_mac = [0; 6];
        }
        flows.push(flow);
    }
    flows
}

/// A flow of any event, number `number` of its file.
pub(in crate::serve::hubble) fn random_flow(random: &mut Random, number: u64) -> Flow {
    let mut flow = match random.below(6) {
        0 => syn(),
        1 | 2 => drop_by_policy(),
        3 => policy_verdict(PolicyAction::Allowed),
        4 => http(L7FlowType::Request, 0),
        _ => dns(L7FlowType::Request, 0),
    };
    flow.uuid = u128::from(number) << 64 | 0x4 << 76 | 0x2 << 62;
    flow.time = flow.time.checked_add(jiff::SignedDuration::from_millis(number.cast_signed())).unwrap();
    flow.l4 = *random.pick(&[
        L4::Tcp,
        L4::Tcp,
        L4::Udp,
        L4::Icmp { v6: false, kind: 8, code: 0 },
        L4::Icmp { v6: false, kind: 3, code: 1 },
        L4::Icmp { v6: true, kind: 1, code: 4 },
        L4::Other(47),
    ]);
    let addresses = if random.one_in(3) { ["fd00:1::7", "fd00:2::9"] } else { ["10.1.0.7", "10.2.0.9"] };
    for (end, address) in [&mut flow.source, &mut flow.destination].into_iter().zip(addresses) {
        end.set_ip(address.parse().unwrap());
        end.set_port(if flow.l4.transport().is_some() { *random.pick(&[80, 443, 53, 40000, 40001]) } else { 0 });
    }
    for endpoint in [&mut flow.source_endpoint, &mut flow.destination_endpoint] {
        *endpoint = Arc::new(random_endpoint(random));
    }
    for service in [&mut flow.source_service, &mut flow.destination_service] {
        *service = random.one_in(3).then(|| {
            let (name, namespace) = *random.pick(&[("cart", "store"), ("other", "default"), ("front", "shop")]);
            Arc::new(Service { name: name.into(), namespace: namespace.into(), endpoint: Arc::default() })
        });
    }
    flow.direction = *random.pick(&[TrafficDirection::Unknown, TrafficDirection::Ingress, TrafficDirection::Egress]);
    for names in [&mut flow.source_names, &mut flow.destination_names] {
        *names = random.one_in(4).then(|| {
            let names = random.some(&["shop.example.com", "example.com", "cart.store.svc.cluster.local"], 2);
            Arc::new(names.into_iter().map(str::to_owned).collect())
        });
    }
    flow.is_direction_a_guess = random.one_in(2);
    let (index, name) = *random.pick(&[(0, ""), (1, "veth0"), (2, "veth1"), (3, "eth0")]);
    flow.interface = Arc::new(Interface { index, name: name.into() });
    flow.is_reply = Some(random.one_in(2));
    let flags = TcpFlags(random.below(256) as u16);
    match &mut flow.event {
        Event::Forwarded(counts) => {
            (counts.flags, counts.is_new) = (flags, random.one_in(2));
            counts.observation_point = *random.pick(&ObservationPoint::ALL);
            counts.reason = *random.pick(&[FlowReason::New, FlowReason::Flag, FlowReason::Active, FlowReason::End]);
        }
        Event::Dropped(dropped) => {
            **dropped = random_drop(random, flags);
            flow.is_reply = flow.is_reply.filter(|_| random.one_in(2));
        }
        Event::PolicyVerdict(verdict) => **verdict = random_verdict(random, flags),
        Event::L7(l7) => **l7 = random_l7(random, l7.http().is_some()),
    }
    flow
}

fn random_endpoint(random: &mut Random) -> Endpoint {
    let pod = |flow: Flow, is_source: bool| {
        Arc::unwrap_or_clone(if is_source { flow.source_endpoint } else { flow.destination_endpoint })
    };
    match random.below(6) {
        0 | 1 => pod(syn(), true),
        2 => pod(syn(), false),
        3 => Endpoint { workload: None, pod: "front-2".into(), ..pod(syn(), true) },
        4 => Endpoint::service("store", "cart", [("app", "cart")].into_iter()),
        _ => Endpoint::reserved(*random.pick(&[
            Reserved::Host,
            Reserved::World,
            Reserved::Unknown,
            Reserved::RemoteNode,
            Reserved::KubeApiserver,
        ])),
    }
}

fn random_drop(random: &mut Random, flags: TcpFlags) -> Dropped {
    let (reason, sub_type, kernel_reason, place) = *random.pick(&[
        (DropReason::PolicyDenied, 133, "NETFILTER_DROP", "nft_do_chain"),
        (DropReason::PolicyDeny, 181, "TC_INGRESS", "__netif_receive_skb_core"),
        (DropReason::FibLookupFailed, 169, "IP_INNOROUTES", "ip_error"),
        (DropReason::TtlExceeded, 196, "IP_INHDR", "ip_forward"),
        (DropReason::Unknown, 230, "QDISC_DROP", "dev_hard_start_xmit"),
        (DropReason::Unknown, 220, "", "nft_do_chain"),
    ]);
    Dropped {
        reason,
        sub_type,
        kernel_reason: kernel_reason.into(),
        place: place.into(),
        packets: random.below(1000) as u64 + 1,
        bytes: random.below(1_000_000) as u64,
        flags,
        policies: random_policies(random),
    }
}

fn random_verdict(random: &mut Random, flags: TcpFlags) -> PolicyVerdict {
    let action = *random.pick(&[PolicyAction::Allowed, PolicyAction::Denied, PolicyAction::Audit]);
    PolicyVerdict {
        action,
        match_type: u32::try_from(random.below(5)).unwrap(),
        policies: random_policies(random),
        reason: if action == PolicyAction::Allowed { DropReason::Unknown } else { DropReason::PolicyDenied },
        flags,
    }
}

fn random_policies(random: &mut Random) -> Policies {
    let policy = |name: &str| PolicyName { name: name.into(), namespace: "store".into(), kind: "NetworkPolicy".into() };
    let mut some = |names: [&str; 2]| names.into_iter().filter(|_| random.one_in(2)).map(policy).collect();
    Policies { allowed_by: some(["allow-a", "allow-b"]), denied_by: some(["deny-a", "deny-b"]) }
}
