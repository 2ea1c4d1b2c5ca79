use serde_json::{Value, json};

use super::fixture::{TestPeer, admin_policy, cluster_policy, fields, is_allowed, network_policy, pod, read};
use crate::Policy;

fn cart() -> TestPeer {
    pod("shop/cart-0", "10.0.1.1", &[("app", "cart")])
}

fn web() -> TestPeer {
    pod("shop/web-0", "10.0.1.2", &[("app", "web")])
}

/// The refused fields, and whether web reaches cart.
fn outcome(object: Value) -> (Vec<String>, bool) {
    let (set, refused) = read(&[object]);
    let refused = fields(&refused).into_iter().map(ToOwned::to_owned).collect();
    (refused, is_allowed(&set, &web(), &cart(), 80))
}

#[test]
fn unreadable_part_of_a_network_policy_allows_nothing() {
    let app = |name: &str| json!({"podSelector": {"matchLabels": {"app": name}}});
    for (rule, field) in [
        (json!({"ports": [{"port": 80, "icmp": {}}]}), "spec.ingress[0].ports[0].icmp"),
        (json!({"ports": [{"port": 0}]}), "spec.ingress[0].ports[0].port"),
        (json!({"ports": [{"port": 80.5}]}), "spec.ingress[0].ports[0].port"),
        (json!({"ports": [{"port": 70000}]}), "spec.ingress[0].ports[0].port"),
        (json!({"ports": [{"protocol": "tcp"}]}), "spec.ingress[0].ports[0].protocol"),
        (json!({"ports": [{"port": 81, "endPort": 80}]}), "spec.ingress[0].ports[0].endPort"),
        (json!({"ports": [{"port": "http", "endPort": 80}]}), "spec.ingress[0].ports[0].endPort"),
        (json!({"ports": [{"endPort": 80}]}), "spec.ingress[0].ports[0].endPort"),
        (json!({"ports": {}}), "spec.ingress[0].ports"),
        (json!({"from": "all"}), "spec.ingress[0].from"),
        (json!({"from": [{}]}), "spec.ingress[0].from[0]"),
        (json!({"from": [{"services": {}}]}), "spec.ingress[0].from[0].services"),
        (json!({"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]}), "spec.ingress[0].from[0].ipBlock.cidr"),
        (json!({"from": [{"ipBlock": {}}]}), "spec.ingress[0].from[0].ipBlock.cidr"),
        (
            json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["x"]}}]}),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}), "spec.ingress[0].from[0]"),
        (
            json!({"from": [{"podSelector": {"matchLabels": {"app": 1}}}]}),
            "spec.ingress[0].from[0].podSelector.matchLabels.app",
        ),
        (
            json!({"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}}]}),
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].operator",
        ),
        (
            json!({"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "In"}]}}]}),
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].values",
        ),
        (json!({"to": []}), "spec.ingress[0].to"),
        (json!("all"), "spec.ingress[0]"),
    ] {
        let policy = network_policy("shop/cart", json!({"ingress": [rule]}));
        assert_eq!(outcome(policy), (vec![field.to_owned()], false), "{rule}");
        // What is beside it stays active.
        let beside = network_policy("shop/cart", json!({"ingress": [rule, {"from": [app("web")]}]}));
        assert_eq!(outcome(beside), (vec![field.to_owned()], true), "{rule}");
    }
    let peers = json!({"from": [{"services": {}}, app("web")], "ports": [{"port": -1}, {"port": 80}]});
    let (refused, is_allowed) = outcome(network_policy("shop/cart", json!({"ingress": [peers]})));
    assert_eq!((refused.len(), is_allowed), (2, true));
}

#[test]
fn unreadable_spec_of_a_network_policy_isolates() {
    let other = json!({"matchLabels": {"app": "other"}});
    for (spec, field) in [
        (json!({"ingress": [{}], "mode": "audit"}), "spec.mode"),
        (json!({"podSelector": {"matchNames": ["cart"]}, "ingress": [{}]}), "spec.podSelector.matchNames"),
        (json!({"podSelector": {"matchLabels": ["cart"]}, "ingress": [{}]}), "spec.podSelector.matchLabels"),
        (json!({"policyTypes": ["Both"]}), "spec.policyTypes[0]"),
        (json!({"policyTypes": [1]}), "spec.policyTypes[0]"),
        (json!({"ingress": {}}), "spec.ingress"),
        (json!([]), "spec"),
    ] {
        assert_eq!(outcome(network_policy("shop/cart", spec.clone())), (vec![field.to_owned()], false), "{spec}");
    }
    // Its pods could be read: others are not isolated.
    let policy = network_policy("shop/cart", json!({"podSelector": other, "ingress": [{}], "mode": "audit"}));
    assert_eq!(outcome(policy), (vec!["spec.mode".to_owned()], true));
}

#[test]
fn unreadable_rule_fails_closed_by_its_action() {
    let no_pods = json!([{"namespaces": {"matchLabels": {"no": "such"}}}]);
    for (fields, field) in [
        (json!({"from": [{}]}), "from[0]"),
        (json!({"from": [{"services": {}}]}), "from[0].services"),
        (json!({"from": [{"networks": ["10.0.0.0/8"]}]}), "from[0].networks"),
        (json!({"from": [{"namespaces": {}, "pods": {"podSelector": {}}}]}), "from[0]"),
        (json!({"from": [{"pods": {"namespaceSelector": {}}}]}), "from[0].pods.podSelector"),
        (json!({"from": []}), "from"),
        (json!({}), "from"),
        (json!({"from": no_pods, "protocols": []}), "protocols"),
        (json!({"from": no_pods, "protocols": [{}]}), "protocols[0]"),
        (json!({"from": no_pods, "protocols": [{"icmp": {}}]}), "protocols[0].icmp"),
        (json!({"from": no_pods, "protocols": [{"tcp": {"sourcePort": {}}}]}), "protocols[0].tcp.sourcePort"),
        (json!({"from": no_pods, "protocols": [{"tcp": {"destinationPort": {}}}]}), "protocols[0].tcp.destinationPort"),
        (
            json!({"from": no_pods, "protocols": [{"udp": {"destinationPort": {"range": {"start": 2, "end": 1}}}}]}),
            "protocols[0].udp.destinationPort.range.end",
        ),
        (json!({"from": no_pods, "protocols": [{"destinationNamedPort": ""}]}), "protocols[0].destinationNamedPort"),
        (json!({"from": no_pods, "ports": []}), "ports"),
    ] {
        for (action, is_allowed) in [("Accept", true), ("Deny", false), ("Pass", false)] {
            let mut rule = fields.clone();
            rule["action"] = json!(action);
            let policy = cluster_policy("p", "Admin", 1, json!({"ingress": [rule]}));
            assert_eq!(outcome(policy), (vec![format!("spec.ingress[0].{field}")], is_allowed), "{rule}");
        }
    }
}

#[test]
fn accept_rule_that_cannot_be_read_accepts_nothing() {
    let rules = json!({"ingress": [
        {"action": "Accept", "from": [{"services": {}}, {"namespaces": {}}]}, {"action": "Deny", "from": [{"namespaces": {}}]}
    ]});
    let (refused, is_allowed) = outcome(cluster_policy("p", "Admin", 1, rules));
    assert_eq!((refused, is_allowed), (vec!["spec.ingress[0].from[0].services".to_owned()], false));
}

#[test]
fn unknown_action_and_section_deny_everything() {
    let from = json!([{"namespaces": {"matchLabels": {"no": "such"}}}]);
    for (rules, field) in [
        (json!({"ingress": [{"action": "Allow", "from": from}]}), "spec.ingress[0].action"),
        (json!({"ingress": [{"from": from}]}), "spec.ingress[0].action"),
        (json!({"ingress": ["all"]}), "spec.ingress[0]"),
        (json!({"ingress": {}}), "spec.ingress"),
        (json!({"ingress": [{"action": "Deny", "from": from}], "mode": "audit"}), "spec.mode"),
    ] {
        assert_eq!(outcome(cluster_policy("p", "Admin", 1, rules)), (vec![field.to_owned()], false), "{field}");
    }
    let accept = admin_policy("p", 1, json!({"ingress": [{"action": "Accept", "from": from}]}));
    assert_eq!(outcome(accept), (vec!["spec.ingress[0].action".to_owned()], false));
}

#[test]
fn policy_of_unknown_order_or_pods_selects_no_pod() {
    let deny = json!([{"action": "Deny", "from": [{"namespaces": {}}]}]);
    for (rules, field) in [
        (json!({"ingress": deny, "tier": "Other"}), "spec.tier"),
        (json!({"ingress": deny, "tier": null}), "spec.tier"),
        (json!({"ingress": deny, "priority": 1001}), "spec.priority"),
        (json!({"ingress": deny, "priority": "1"}), "spec.priority"),
        (json!({"ingress": deny, "subject": {}}), "spec.subject"),
        (json!({"ingress": deny, "subject": null}), "spec.subject"),
        (json!({"ingress": deny, "subject": {"nodes": {}}}), "spec.subject.nodes"),
    ] {
        assert_eq!(outcome(cluster_policy("p", "Admin", 1, rules)), (vec![field.to_owned()], true), "{field}");
    }
}

#[test]
fn domain_names_are_for_rules_that_accept() {
    let rules = json!({"egress": [{"action": "Deny", "to": [{"domainNames": ["example.com"]}]}]});
    let expected = (vec!["spec.egress[0].to[0].domainNames".to_owned()], false);
    assert_eq!(outcome(cluster_policy("p", "Admin", 1, rules)), expected);
}

#[test]
fn object_of_another_kind_is_no_policy() {
    let refused = |object: Value| Policy::from_json(&object).unwrap_err().field;
    let policy = |kind: &str, version: &str, name: &str| json!({"kind": kind, "apiVersion": version, "metadata": {"name": name}});
    assert_eq!(refused(policy("Pod", "v1", "a")), "kind");
    assert_eq!(refused(policy("NetworkPolicy", "extensions/v1beta1", "a")), "apiVersion");
    assert_eq!(refused(policy("ClusterNetworkPolicy", "policy.networking.k8s.io/v1", "a")), "apiVersion");
    assert_eq!(refused(policy("NetworkPolicy", "networking.k8s.io/v1", "")), "metadata.name");
    assert_eq!(refused(json!(7)), "kind");
}

#[test]
fn refusals_are_bounded_in_number_and_length() {
    let key = "k\u{1b}".repeat(1000);
    let unknown: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("{n}{key}"), json!(1))).collect();
    let policy = network_policy("shop/cart", json!({"ingress": [unknown]}));
    let policy = Policy::from_json(&policy).unwrap();
    assert_eq!(policy.refused().len(), 32);
    let field = &policy.refused()[0].field;
    assert!(field.starts_with("spec.ingress[0].0k") && field.len() < 600 && !field.contains('\u{1b}'), "{field}");
}
