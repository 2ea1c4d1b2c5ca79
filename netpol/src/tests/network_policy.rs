use serde_json::{Value, json};

use super::fixture::{TestPeer, ask, compile, external, is_allowed, names, network_policy, node, pod};
use crate::{MatchType, Protocol, Side, Verdict};

fn cart() -> TestPeer {
    pod("shop/cart-0", "10.0.1.1", &[("app", "cart")])
}

fn web() -> TestPeer {
    pod("shop/web-0", "10.0.1.2", &[("app", "web"), ("tier", "front")])
}

fn ledger() -> TestPeer {
    pod("payments/ledger-0", "10.0.2.1", &[("app", "ledger")])
}

/// Lets peers and ports reach cart.
fn ingress(rule: Value) -> Value {
    network_policy("shop/cart", json!({"podSelector": {"matchLabels": {"app": "cart"}}, "ingress": [rule]}))
}

#[test]
fn without_policies_everything_is_allowed_and_nothing_matched() {
    let decision = ask(&compile(&[]), &web(), &cart(), Protocol::Tcp, 80);
    assert_eq!((decision.egress, decision.ingress), (Side::default(), Side::default()));
}

#[test]
fn isolated_pod_is_denied_and_every_isolating_policy_is_named() {
    let set = compile(&[
        network_policy("shop/default-deny", json!({"podSelector": null})),
        network_policy(
            "shop/cart",
            json!({"podSelector": {"matchLabels": {"app": "cart"}}, "policyTypes": ["Ingress"]}),
        ),
        network_policy("shop/egress-only", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})),
        network_policy("payments/other", json!({"podSelector": {}})),
    ]);
    let decision = ask(&set, &ledger(), &cart(), Protocol::Tcp, 80);
    assert_eq!((decision.egress.verdict, decision.ingress.verdict), (Verdict::Allowed, Verdict::Denied));
    assert_eq!(names(&decision.ingress.isolated_by), ["cart", "default-deny"]);
    assert_eq!((decision.ingress.match_type, decision.ingress.denied_by.len()), (MatchType::None, 0));
    // Answers are part of what the pod opened.
    let decision = ask(&set, &cart(), &ledger(), Protocol::Tcp, 80);
    assert_eq!(names(&decision.egress.allowed_by), ["egress-only"]);
    assert_eq!(names(&decision.ingress.isolated_by), ["other"]);
}

#[test]
fn policy_types_default_to_ingress_and_to_egress_with_rules() {
    for (spec, egress, ingress) in [
        (json!({}), true, false),
        (json!({"egress": []}), true, false),
        (json!({"egress": [{"to": [{"podSelector": {"matchLabels": {"app": "none"}}}]}]}), false, false),
        (json!({"policyTypes": ["Egress"]}), false, true),
        (json!({"policyTypes": ["Egress", "Ingress"], "ingress": [{}]}), false, true),
        (json!({"policyTypes": [], "ingress": [{}]}), true, true),
    ] {
        let set = compile(&[network_policy("shop/all", spec.clone())]);
        assert_eq!(is_allowed(&set, &cart(), &ledger(), 80), egress, "egress of {spec}");
        assert_eq!(is_allowed(&set, &ledger(), &cart(), 80), ingress, "ingress of {spec}");
    }
}

#[test]
fn peer_of_pod_labels_is_of_the_policys_own_namespace() {
    let impostor = pod("payments/web-1", "10.0.2.9", &[("app", "web")]);
    let own = compile(&[ingress(json!({"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}))]);
    assert!(is_allowed(&own, &web(), &cart(), 80) && !is_allowed(&own, &impostor, &cart(), 80));
    let payments = json!({"matchLabels": {"kubernetes.io/metadata.name": "payments"}});
    let both = json!({"from": [{"podSelector": {"matchLabels": {"app": "web"}}, "namespaceSelector": payments}]});
    let both = compile(&[ingress(both)]);
    assert!(is_allowed(&both, &impostor, &cart(), 80));
    assert!(!is_allowed(&both, &web(), &cart(), 80) && !is_allowed(&both, &ledger(), &cart(), 80));
    let either = json!({"from": [{"podSelector": {"matchLabels": {"app": "web"}}}, {"namespaceSelector": payments}]});
    let either = compile(&[ingress(either)]);
    assert!([web(), impostor, ledger()].iter().all(|client| is_allowed(&either, client, &cart(), 80)));
    assert!(!is_allowed(&either, &external("203.0.113.7"), &cart(), 80));
}

#[test]
fn expressions_select_as_kubernetes_does() {
    for (expression, from_web, from_cart) in [
        (json!({"key": "tier", "operator": "Exists"}), true, false),
        (json!({"key": "tier", "operator": "DoesNotExist"}), false, true),
        (json!({"key": "app", "operator": "In", "values": ["web", "web", "x"]}), true, false),
        (json!({"key": "app", "operator": "NotIn", "values": ["web"]}), false, true),
        // What has no such label is not in the values.
        (json!({"key": "tier", "operator": "NotIn", "values": ["front"]}), false, true),
        (json!({"key": "tier", "operator": "NotIn", "values": ["back"]}), true, true),
    ] {
        let set = compile(&[ingress(json!({"from": [{"podSelector": {"matchExpressions": [expression]}}]}))]);
        let from = [is_allowed(&set, &web(), &cart(), 80), is_allowed(&set, &cart(), &cart(), 80)];
        assert_eq!(from, [from_web, from_cart], "{expression}");
    }
}

#[test]
fn ports_are_of_their_protocol_and_ranges_inclusive() {
    let set = compile(&[ingress(json!({"ports": [
        {"port": 80}, {"protocol": "UDP", "port": 53}, {"protocol": "SCTP"}, {"port": 9000, "endPort": 9002}
    ]}))]);
    let allowed = |protocol| {
        let is_allowed = |port: &u16| ask(&set, &web(), &cart(), protocol, *port).is_allowed();
        [53, 80, 8999, 9000, 9002, 9003].iter().filter(|port| is_allowed(port)).copied().collect::<Vec<u16>>()
    };
    assert_eq!(allowed(Protocol::Tcp), [80, 9000, 9002]);
    assert_eq!(allowed(Protocol::Udp), [53]);
    assert_eq!(allowed(Protocol::Sctp), [53, 80, 8999, 9000, 9002, 9003]);
}

#[test]
fn named_port_is_what_the_server_calls_so() {
    let egress = network_policy(
        "shop/web",
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]}),
    );
    let set = compile(&[egress]);
    let old = pod("payments/old", "10.0.2.2", &[]).with_port("http", Protocol::Tcp, 80);
    let new = pod("payments/new", "10.0.2.3", &[]).with_port("http", Protocol::Tcp, 8080).with_port(
        "http",
        Protocol::Udp,
        81,
    );
    assert!(is_allowed(&set, &web(), &old, 80) && is_allowed(&set, &web(), &new, 8080));
    assert!(!is_allowed(&set, &web(), &old, 8080) && !is_allowed(&set, &web(), &new, 80));
    assert!(!ask(&set, &web(), &new, Protocol::Udp, 81).is_allowed());
    assert!(!is_allowed(&set, &web(), &external("203.0.113.7"), 80));
}

#[test]
fn ip_blocks_are_about_addresses_of_either_family() {
    let set = compile(&[ingress(json!({"from": [
        {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.2.0/24"]}}, {"ipBlock": {"cidr": "fd00:1::/32"}}
    ]}))]);
    let second_address = |ip: &str| {
        let mut pod = ledger();
        pod.ip = ip.parse().unwrap();
        pod
    };
    assert!(is_allowed(&set, &web(), &cart(), 80) && !is_allowed(&set, &ledger(), &cart(), 80));
    assert!(is_allowed(&set, &second_address("fd00:1::7"), &cart(), 80));
    assert!(!is_allowed(&set, &second_address("fd00:2::7"), &cart(), 80));
    assert!(is_allowed(&set, &external("10.0.3.3"), &cart(), 80));
    assert!(!is_allowed(&set, &external("203.0.113.7"), &cart(), 80));
}

#[test]
fn node_reaches_its_own_pods_and_no_others() {
    let set = compile(&[network_policy("shop/default-deny", json!({}))]);
    let decision = ask(&set, &node("n1", "192.0.2.1", &[]), &cart(), Protocol::Tcp, 80);
    assert_eq!(decision.ingress, Side::default());
    assert!(!is_allowed(&set, &node("n2", "192.0.2.2", &[]), &cart(), 80));
    let by_address = compile(&[ingress(json!({"from": [{"ipBlock": {"cidr": "192.0.2.2/32"}}]}))]);
    assert!(is_allowed(&by_address, &node("n2", "192.0.2.2", &[]), &cart(), 80));
    let all_pods = compile(&[ingress(json!({"from": [{"namespaceSelector": {}}]}))]);
    assert!(!is_allowed(&all_pods, &node("n2", "192.0.2.2", &[]), &cart(), 80));
}

#[test]
fn match_type_is_of_the_rule_that_asks_for_most() {
    let from = json!([{"podSelector": {}}]);
    let ports = json!([{"port": 80}]);
    let rules = [
        (json!({}), MatchType::All),
        (json!({"from": from}), MatchType::L3Only),
        (json!({"ports": ports}), MatchType::L4Only),
        (json!({"from": from, "ports": ports}), MatchType::L3L4),
    ];
    for (index, (rule, match_type)) in rules.iter().enumerate() {
        let single = ask(&compile(&[ingress(rule.clone())]), &web(), &cart(), Protocol::Tcp, 80).ingress;
        assert_eq!(single.match_type, *match_type);
        let weaker: Vec<Value> = rules[..=index].iter().map(|(rule, _)| rule.clone()).collect();
        let spec = json!({"podSelector": {}, "ingress": weaker});
        let all = ask(&compile(&[network_policy("shop/all", spec)]), &web(), &cart(), Protocol::Tcp, 80).ingress;
        assert_eq!(all.match_type, *match_type);
    }
    assert_eq!([MatchType::None, MatchType::L3Only, MatchType::All].map(|one| one as i32), [0, 1, 4]);
}

#[test]
fn every_policy_that_allows_is_named() {
    let set = compile(&[
        ingress(json!({"ports": [{"port": 443}]})),
        network_policy("shop/b", json!({"ingress": [{}]})),
        network_policy("shop/a", json!({"ingress": [{"ports": [{"port": 80}]}]})),
    ]);
    let side = ask(&set, &web(), &cart(), Protocol::Tcp, 80).ingress;
    assert_eq!((names(&side.allowed_by), side.isolated_by.len()), (vec!["a".to_owned(), "b".to_owned()], 0));
    assert_eq!(side.match_type, MatchType::L4Only);
}
