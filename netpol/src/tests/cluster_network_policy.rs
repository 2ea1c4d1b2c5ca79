use serde_json::{Value, json};

use super::fixture::{
    TestPeer, admin_policy, ask, baseline_admin_policy, cluster_policy, compile, external, fields, ingress_from_pods,
    is_allowed, names, node, pod, read,
};
use crate::{Protocol, Verdict};

fn cart() -> TestPeer {
    pod("shop/cart-0", "10.0.1.1", &[("app", "cart")])
}

fn ledger() -> TestPeer {
    pod("payments/ledger-0", "10.0.2.1", &[("app", "ledger")]).with_port("http", Protocol::Tcp, 8080).with_port(
        "http",
        Protocol::Udp,
        8081,
    )
}

fn deny_to(peer: Value) -> Value {
    cluster_policy("deny", "Admin", 1, json!({"egress": [{"action": "Deny", "to": [peer]}]}))
}

#[test]
fn subject_selects_by_namespace_or_by_both() {
    let subject = |subject: Value| {
        let mut policy = cluster_policy("deny", "Admin", 1, ingress_from_pods("Deny"));
        policy["spec"]["subject"] = subject;
        compile(&[policy])
    };
    let payments = json!({"matchLabels": {"kubernetes.io/metadata.name": "payments"}});
    let of_namespace = subject(json!({"namespaces": payments}));
    assert!(!is_allowed(&of_namespace, &cart(), &ledger(), 80) && is_allowed(&of_namespace, &ledger(), &cart(), 80));
    let web = json!({"matchLabels": {"app": "web"}});
    let of_both = subject(json!({"pods": {"namespaceSelector": payments, "podSelector": web}}));
    assert!(is_allowed(&of_both, &cart(), &ledger(), 80));
    assert!(!is_allowed(&of_both, &cart(), &pod("payments/web", "10.0.2.2", &[("app", "web")]), 80));
}

#[test]
fn egress_peers_are_pods_nodes_and_networks() {
    let linux = node("n2", "192.0.2.2", &[("os", "linux")]);
    let outside = external("203.0.113.7");
    for (peer, to_pod, to_node, to_outside) in [
        (json!({"namespaces": {}}), false, true, true),
        (
            json!({"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "ledger"}}}}),
            false,
            true,
            true,
        ),
        (json!({"nodes": {"matchLabels": {"os": "linux"}}}), true, false, true),
        (json!({"nodes": {"matchLabels": {"os": "other"}}}), true, true, true),
        (json!({"networks": ["10.0.0.0/8", "192.0.2.0/24"]}), false, false, true),
        (json!({"networks": ["0.0.0.0/0", "::/0"]}), false, false, false),
    ] {
        let set = compile(&[deny_to(peer.clone())]);
        let reached = [&ledger(), &linux, &outside].map(|server| is_allowed(&set, &cart(), server, 80));
        assert_eq!(reached, [to_pod, to_node, to_outside], "{peer}");
    }
}

#[test]
fn protocols_have_numbers_ranges_and_names() {
    let set = compile(&[cluster_policy(
        "deny",
        "Admin",
        1,
        json!({"egress": [{"action": "Deny", "to": [{"namespaces": {}}], "protocols": [
            {"tcp": {"destinationPort": {"number": 80}}}, {"tcp": {"destinationPort": {"range": {"start": 90, "end": 92}}}},
            {"udp": {}}, {"destinationNamedPort": "http"},
        ]}]}),
    )]);
    let denied = |protocol| {
        let is_denied = |port: &u16| ask(&set, &cart(), &ledger(), protocol, *port).egress.verdict == Verdict::Denied;
        [80, 89, 90, 92, 93, 8080, 8081].iter().filter(|port| is_denied(port)).copied().collect::<Vec<u16>>()
    };
    assert_eq!(denied(Protocol::Tcp), [80, 90, 92, 8080]);
    assert_eq!(denied(Protocol::Udp), [80, 89, 90, 92, 93, 8080, 8081]);
    assert!(denied(Protocol::Sctp).is_empty());
}

#[test]
fn older_ports_have_a_protocol_of_their_own() {
    let ports = json!([
        {"portNumber": {"port": 80}}, {"portRange": {"protocol": "UDP", "start": 90, "end": 92}}, {"namedPort": "http"}
    ]);
    let rules = json!({"ingress": [{"action": "Deny", "from": [{"namespaces": {}}], "ports": ports}]});
    for policy in [admin_policy("deny", 1, rules.clone()), baseline_admin_policy(rules)] {
        let set = compile(&[policy]);
        let denied = |protocol| {
            [80, 91, 8080, 8081]
                .map(|port| ask(&set, &cart(), &ledger(), protocol, port).ingress.verdict == Verdict::Denied)
        };
        assert_eq!(denied(Protocol::Tcp), [true, false, true, false]);
        assert_eq!(denied(Protocol::Udp), [false, true, false, true]);
    }
}

#[test]
fn both_versions_of_the_newer_kind_are_read() {
    for version in ["v1beta1", "v1alpha2"] {
        let mut policy = cluster_policy("deny", "Admin", 1, ingress_from_pods("Deny"));
        policy["apiVersion"] = json!(format!("policy.networking.k8s.io/{version}"));
        assert!(!is_allowed(&compile(&[policy]), &cart(), &ledger(), 80));
    }
}

#[test]
fn domain_names_leave_a_denial_undecided() {
    let accept = json!({"action": "Accept", "to": [{"domainNames": ["*.example.com"]}],
                        "protocols": [{"tcp": {"destinationPort": {"number": 443}}}]});
    let deny = json!({"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]});
    let names_first = cluster_policy("egress", "Admin", 1, json!({"egress": [accept, deny]}));
    let (set, refused) = read(&[names_first]);
    assert_eq!(fields(&refused), ["spec.egress[0].to[0].domainNames"]);
    let outside = external("203.0.113.7");
    let side = ask(&set, &cart(), &outside, Protocol::Tcp, 443).egress;
    assert_eq!((side.verdict, names(&side.undecided_by)), (Verdict::Denied, vec!["egress".into()]));
    assert_eq!(names(&ask(&set, &cart(), &outside, Protocol::Tcp, 80).egress.undecided_by), [""; 0]);
    // What is denied by isolation may have been accepted before, too.
    let isolate = super::fixture::network_policy("shop/isolate", json!({"policyTypes": ["Egress"]}));
    let (set, _) = read(&[isolate, cluster_policy("names", "Admin", 1, json!({"egress": [accept]}))]);
    let side = ask(&set, &cart(), &outside, Protocol::Tcp, 443).egress;
    assert_eq!((names(&side.isolated_by), names(&side.undecided_by)), (vec!["isolate".into()], vec!["names".into()]));
}
