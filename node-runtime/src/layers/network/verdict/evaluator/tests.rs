use std::collections::HashMap;

use serde_json::{Value, json};
use trilobite_netpol::{Labels, Policy, PolicyKind};
use trilobite_node_ebpf::FlowReason;

use super::*;
use crate::layers::network::{
    endpoint::{Endpoint, Reserved},
    flow::{
        EventKind,
        samples::{drop_by_policy, forwarded, syn},
    },
    verdict::PolicyPod,
};

/// Node n1 with `shop/front-1` and `store/cart-1`, as in the samples of flows.
fn evaluator(policies: &[Value]) -> PolicyEvaluator {
    let mut index = PolicyIndex::default();
    for kind in PolicyKind::ALL {
        index.replace_policies(kind, Vec::new());
    }
    index.replace_namespaces(HashMap::from(["shop", "store"].map(|name| (name.to_owned(), Labels::new()))));
    for (namespace, name, app) in [("shop", "front-1", "front"), ("store", "cart-1", "cart")] {
        index.put_pod(PolicyPod {
            uid: name.into(),
            namespace: namespace.into(),
            name: name.into(),
            labels: Labels::from([("app".into(), app.into())]),
            node: "n1".into(),
            ..PolicyPod::default()
        });
    }
    index.put_node("n1", Labels::new());
    policies.iter().for_each(|policy| index.put_policy(Policy::from_json(policy).unwrap()));
    let mut evaluator = PolicyEvaluator::new("n1");
    evaluator.follow(Arc::new(Mutex::new(index)));
    evaluator
}

fn policy(namespace: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"namespace": namespace, "name": name});
    json!({"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": spec})
}

/// Isolates every pod of the namespace, in one direction.
fn default_deny(namespace: &str, direction: &str) -> Value {
    policy(namespace, "default-deny", json!({"podSelector": {}, "policyTypes": [direction]}))
}

fn allow_from_shop() -> Value {
    let from = json!([{"namespaceSelector": {}}]);
    let ingress = json!([{"from": from, "ports": [{"port": 80}]}]);
    policy("store", "allow-shop", json!({"podSelector": {}, "ingress": ingress}))
}

/// An explicit deny for the whole cluster.
fn deny_all() -> Value {
    let rule = json!({"action": "Deny", "from": [{"namespaces": {}}]});
    let spec = json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "ingress": [rule]});
    let version = "policy.networking.k8s.io/v1beta1";
    json!({"kind": "ClusterNetworkPolicy", "apiVersion": version, "metadata": {"name": "deny-all"}, "spec": spec})
}

/// The packet of `syn`, dropped three times, before the policies are asked.
fn drop_at(kernel_reason: &str, code: i32) -> Flow {
    let mut flow = drop_by_policy();
    let Event::Dropped(dropped) = &mut flow.event else { panic!("no drop") };
    (dropped.reason, dropped.sub_type, dropped.kernel_reason) = (DropReason::Unknown, code, kernel_reason.into());
    dropped.policies = Policies::default();
    flow
}

/// Direction, reason, code and names of a drop once the policies were asked.
fn named(evaluator: &mut PolicyEvaluator, mut flow: Flow) -> (TrafficDirection, DropReason, i32, Vec<String>) {
    assert_eq!(evaluator.evaluate(&mut flow), None);
    let Event::Dropped(dropped) = &flow.event else { panic!("no drop") };
    let names = dropped.policies.denied_by.iter().map(|policy| policy.name.clone()).collect();
    assert!(dropped.policies.allowed_by.is_empty());
    (flow.direction, dropped.reason, dropped.sub_type, names)
}

/// The answer to `syn`, at the server's interface.
fn syn_ack() -> Flow {
    let mut flow = syn();
    std::mem::swap(&mut flow.source, &mut flow.destination);
    std::mem::swap(&mut flow.source_endpoint, &mut flow.destination_endpoint);
    (flow.is_reply, flow.direction) = (Some(true), TrafficDirection::Ingress);
    let answer = forwarded(&mut flow);
    (answer.flags, answer.is_new) = (TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0), false);
    flow
}

fn ingress(flow: Flow) -> Flow {
    Flow { direction: TrafficDirection::Ingress, ..flow }
}

fn verdict(event: Option<&Flow>) -> Option<(&PolicyVerdict, Vec<&str>)> {
    let Event::PolicyVerdict(verdict) = &event?.event else { panic!("no verdict") };
    let Policies { allowed_by, denied_by } = &verdict.policies;
    Some((verdict, allowed_by.iter().chain(denied_by).map(|policy| policy.name.as_str()).collect()))
}

#[test]
fn drop_that_no_policy_denies_keeps_the_kernels_name() {
    let mut evaluator = evaluator(&[default_deny("store", "Ingress"), allow_from_shop()]);
    assert_eq!(
        named(&mut evaluator, drop_at("NETFILTER_DROP", 221)),
        (TrafficDirection::Ingress, DropReason::Unknown, 221, vec![])
    );
    let expected = Disagreements { allowed_packets: 3, ..Disagreements::default() };
    assert_eq!(evaluator.disagreements(), expected);
}

#[test]
fn drop_that_is_denied_names_the_policies_at_the_side_that_denies() {
    let (ingress, egress) = (TrafficDirection::Ingress, TrafficDirection::Egress);
    let netfilter = || drop_at("NETFILTER_DROP", 221);
    let from_client = || Flow { direction: egress, ..netfilter() };
    let denied = |direction, names: &[&str]| {
        (direction, DropReason::PolicyDenied, 133, names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    };
    let by_default = [default_deny("store", "Ingress")];
    assert_eq!(named(&mut evaluator(&by_default), netfilter()), denied(ingress, &["default-deny"]));
    // Both pods are watched, and the server's policies deny.
    assert_eq!(named(&mut evaluator(&by_default), from_client()), denied(ingress, &["default-deny"]));
    let egress_only = [default_deny("shop", "Egress")];
    assert_eq!(named(&mut evaluator(&egress_only), netfilter()), denied(egress, &["default-deny"]));
    assert_eq!(
        named(&mut evaluator(&[deny_all(), allow_from_shop()]), netfilter()),
        (ingress, DropReason::PolicyDeny, 181, vec!["deny-all".into()])
    );
    for (reason, code) in [("TC_INGRESS", 222), ("TC_EGRESS", 223), ("OPENVSWITCH_3", 220), ("", 221)] {
        let named = named(&mut evaluator(&by_default), drop_at(reason, code));
        assert_eq!(named, denied(ingress, &["default-deny"]), "{reason}");
    }
}

#[test]
fn drop_by_another_cause_is_never_a_policys() {
    let mut evaluator = evaluator(&[default_deny("store", "Ingress"), deny_all()]);
    for (reason, code) in [("QDISC_DROP", 230), ("XFRM_POLICY", 228), ("IP_NOPROTO", 226), ("SOCKET_RCVBUFF", 224)] {
        assert_eq!(named(&mut evaluator, drop_at(reason, code)).1, DropReason::Unknown, "{reason}");
    }
    let mut without_backend = drop_at("NETFILTER_DROP", 158);
    let Event::Dropped(dropped) = &mut without_backend.event else { panic!("no drop") };
    dropped.reason = DropReason::ServiceBackendNotFound;
    assert_eq!(named(&mut evaluator, without_backend).1, DropReason::ServiceBackendNotFound);
    assert_eq!(evaluator.disagreements(), Disagreements::default());
}

#[test]
fn drop_whose_ends_or_client_are_not_known_is_not_judged() {
    let mut evaluator = evaluator(&[default_deny("store", "Ingress")]);
    let endpoint = |reserved| Arc::new(Endpoint::reserved(reserved));
    let base = || drop_at("NETFILTER_DROP", 221);
    let service = Arc::new(Endpoint::service("store", "cart", [("app", "cart")].into_iter()));
    let mut established = base();
    let Event::Dropped(dropped) = &mut established.event else { panic!("no drop") };
    dropped.flags = TcpFlags::ACK;
    for (what, flow) in [
        ("unknown", Flow { source_endpoint: endpoint(Reserved::Unknown), ..base() }),
        ("node without a name", Flow { source_endpoint: endpoint(Reserved::RemoteNode), ..base() }),
        ("service", Flow { destination_endpoint: service, ..base() }),
        ("guess", Flow { is_direction_a_guess: true, ..base() }),
        ("established", established.clone()),
        ("group", Flow { destination: "224.0.0.1:80".parse().unwrap(), ..base() }),
    ] {
        assert_eq!(named(&mut evaluator, flow).1, DropReason::Unknown, "{what}");
    }
    assert_eq!(evaluator.disagreements(), Disagreements::default());
    established.is_reply = Some(false);
    assert_eq!(named(&mut evaluator, established).1, DropReason::PolicyDenied);
    // The node of a pod reaches it, whatever policies say; the world does not.
    let from = |reserved| Flow { source_endpoint: endpoint(reserved), ..base() };
    assert_eq!(named(&mut evaluator, from(Reserved::Host)).1, DropReason::Unknown);
    assert_eq!(named(&mut evaluator, from(Reserved::World)).1, DropReason::PolicyDenied);
}

#[test]
fn dropped_reply_is_judged_by_its_connection() {
    // The server may not open connections, and may answer.
    let mut evaluator = evaluator(&[default_deny("store", "Egress")]);
    let mut reply = drop_at("NETFILTER_DROP", 221);
    std::mem::swap(&mut reply.source, &mut reply.destination);
    std::mem::swap(&mut reply.source_endpoint, &mut reply.destination_endpoint);
    reply.is_reply = Some(true);
    assert_eq!(named(&mut evaluator, reply.clone()).1, DropReason::Unknown);
    reply.is_reply = Some(false);
    assert_eq!(named(&mut evaluator, reply).1, DropReason::PolicyDenied);
}

#[test]
fn new_connection_that_policies_allow_has_one_event() {
    let mut evaluator = evaluator(&[allow_from_shop()]);
    let event = evaluator.evaluate(&mut ingress(syn())).unwrap();
    let (verdict, names) = verdict(Some(&event)).unwrap();
    assert_eq!((verdict.action, verdict.match_type, names), (PolicyAction::Allowed, 2, vec!["allow-shop"]));
    assert_eq!((event.event.kind().kind, event.summary()), (EventKind::POLICY_VERDICT, "TCP Flags: SYN".to_owned()));
    assert!(event.uuid != syn().uuid && event.source == syn().source && event.is_reply == Some(false));
    // No policy selects the client.
    assert_eq!(evaluator.evaluate(&mut syn()), None);
    let mut later = ingress(syn());
    forwarded(&mut later).reason = FlowReason::Active;
    for mut flow in [later, syn_ack(), Flow { is_direction_a_guess: true, ..ingress(syn()) }] {
        assert_eq!(evaluator.evaluate(&mut flow), None, "{flow:?}");
    }
    assert_eq!(evaluator.disagreements(), Disagreements::default());
}

#[test]
fn denied_connection_is_audited_once_it_is_answered() {
    let mut evaluator = evaluator(&[default_deny("store", "Ingress")]);
    assert_eq!(evaluator.evaluate(&mut ingress(syn())), None);
    let event = evaluator.evaluate(&mut syn_ack()).unwrap();
    let (verdict, names) = verdict(Some(&event)).unwrap();
    assert_eq!(
        (verdict.action, verdict.reason, names),
        (PolicyAction::Audit, DropReason::PolicyDenied, vec!["default-deny"])
    );
    assert_eq!((event.source, event.destination, event.is_reply), (syn().source, syn().destination, Some(false)));
    assert_eq!((event.source_endpoint.pod.as_str(), event.direction), ("front-1", TrafficDirection::Ingress));
    assert_eq!(verdict.flags, TcpFlags::SYN);
    let expected = Disagreements { audited_connections: 1, ..Disagreements::default() };
    assert_eq!(evaluator.disagreements(), expected);
    let note =
        |evaluator: &PolicyEvaluator, minutes| evaluator.not_enforced(syn().time + SignedDuration::from_mins(minutes));
    let expected = Problem::PolicyNotEnforced { policy: "NetworkPolicy store/default-deny".into(), connections: 1 };
    assert_eq!((note(&evaluator, 10), note(&evaluator, 11)), (Some(expected), None));
    // A rejecting rule answers with RST in the server's name.
    let mut refused = syn_ack();
    forwarded(&mut refused).flags = TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0);
    assert_eq!(evaluator.evaluate(&mut refused), None);
    named(&mut evaluator, drop_at("NETFILTER_DROP", 221));
    assert_eq!(note(&evaluator, 0), None, "something enforces them");
}

#[test]
fn datagrams_are_judged_as_connections_are() {
    let mut allowed = evaluator(&[policy("store", "open", json!({"podSelector": {}, "ingress": [{}]}))]);
    let mut denied = evaluator(&[default_deny("store", "Ingress")]);
    let datagram = |mut flow: Flow| {
        forwarded(&mut flow).flags = TcpFlags::default();
        Flow { l4: L4::Udp, ..flow }
    };
    let event = allowed.evaluate(&mut datagram(ingress(syn()))).unwrap();
    assert_eq!((verdict(Some(&event)).unwrap().0.match_type, event.summary()), (4, "UDP".to_owned()));
    assert_eq!(denied.evaluate(&mut datagram(ingress(syn()))), None);
    let event = denied.evaluate(&mut datagram(syn_ack())).unwrap();
    assert_eq!(verdict(Some(&event)).unwrap().0.action, PolicyAction::Audit);
}

#[test]
fn without_an_index_nothing_is_judged() {
    let mut evaluator = evaluator(&[default_deny("store", "Ingress"), allow_from_shop()]);
    evaluator.stop();
    assert_eq!(named(&mut evaluator, drop_at("NETFILTER_DROP", 221)).1, DropReason::Unknown);
    assert_eq!(evaluator.evaluate(&mut ingress(syn())), None);
}
