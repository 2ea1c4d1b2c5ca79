use serde_json::{Value, json};

use super::fixture::{
    TestPeer, admin_policy, ask, baseline_admin_policy, cluster_policy, compile, ingress_from_pods, is_allowed, names,
    network_policy, node, pod,
};
use crate::{MatchType, Protocol, Side, Verdict};

fn client() -> TestPeer {
    pod("shop/web-0", "10.0.1.2", &[("app", "web")])
}

fn server() -> TestPeer {
    pod("shop/cart-0", "10.0.1.1", &[("app", "cart")])
}

fn side(policies: &[Value]) -> Side {
    ask(&compile(policies), &client(), &server(), Protocol::Tcp, 80).ingress
}

fn allow_all() -> Value {
    network_policy("shop/allow-all", json!({"ingress": [{}]}))
}

fn isolate_all() -> Value {
    network_policy("shop/default-deny", json!({}))
}

#[test]
fn admin_tier_decides_before_network_policies() {
    let denied = side(&[allow_all(), cluster_policy("no-pods", "Admin", 10, ingress_from_pods("Deny"))]);
    assert_eq!((denied.verdict, names(&denied.denied_by)), (Verdict::Denied, vec!["no-pods".into()]));
    assert_eq!((denied.match_type, denied.isolated_by.len()), (MatchType::L3Only, 0));
    let allowed = side(&[isolate_all(), cluster_policy("pods", "Admin", 10, ingress_from_pods("Accept"))]);
    assert_eq!((allowed.verdict, names(&allowed.allowed_by)), (Verdict::Allowed, vec!["pods".into()]));
}

#[test]
fn lower_number_goes_first_and_then_the_order_of_rules() {
    let late = cluster_policy("late", "Admin", 11, ingress_from_pods("Deny"));
    let early = cluster_policy(
        "early",
        "Admin",
        2,
        json!({"ingress": [
            {"action": "Deny", "from": [{"namespaces": {}}], "protocols": [{"tcp": {"destinationPort": {"number": 443}}}]},
            {"action": "Accept", "from": [{"namespaces": {}}]},
            {"action": "Deny", "from": [{"namespaces": {}}]},
        ]}),
    );
    let set = compile(&[late, early]);
    assert!(is_allowed(&set, &client(), &server(), 80) && !is_allowed(&set, &client(), &server(), 443));
    let denied = ask(&set, &client(), &server(), Protocol::Tcp, 443).ingress;
    assert_eq!((names(&denied.denied_by), denied.match_type), (vec!["early".into()], MatchType::L3L4));
}

#[test]
fn pass_leaves_the_decision_to_the_tiers_below() {
    let pass = cluster_policy("pass", "Admin", 1, ingress_from_pods("Pass"));
    let deny = cluster_policy("deny", "Admin", 2, ingress_from_pods("Deny"));
    let below = cluster_policy("below", "Baseline", 1, ingress_from_pods("Deny"));
    assert_eq!(names(&side(&[pass.clone(), deny.clone(), isolate_all()]).isolated_by), ["default-deny"]);
    assert_eq!(names(&side(&[pass.clone(), deny.clone(), below.clone(), allow_all()]).allowed_by), ["allow-all"]);
    assert_eq!(names(&side(&[pass.clone(), deny.clone(), below]).denied_by), ["below"]);
    let pass_below = cluster_policy("pass-below", "Baseline", 0, ingress_from_pods("Pass"));
    let deny_below = cluster_policy("deny-below", "Baseline", 1, ingress_from_pods("Deny"));
    assert_eq!(side(&[pass, deny, pass_below, deny_below]), Side::default());
}

#[test]
fn baseline_is_asked_where_no_network_policy_selects_the_pod() {
    let deny = cluster_policy("deny", "Baseline", 5, ingress_from_pods("Deny"));
    let accept = cluster_policy("accept", "Baseline", 6, ingress_from_pods("Accept"));
    assert_eq!(names(&side(&[deny.clone(), accept.clone()]).denied_by), ["deny"]);
    assert_eq!(names(&side(&[deny.clone(), accept, allow_all()]).allowed_by), ["allow-all"]);
    let egress_only = network_policy("shop/egress", json!({"policyTypes": ["Egress"], "egress": [{}]}));
    assert_eq!(names(&side(&[deny, egress_only]).denied_by), ["deny"]);
}

#[test]
fn older_kinds_share_the_tiers_with_the_newer() {
    let admin = admin_policy("old", 3, ingress_from_pods("Deny"));
    assert_eq!(names(&side(&[allow_all(), admin.clone()]).denied_by), ["old"]);
    let newer = cluster_policy("new", "Admin", 2, ingress_from_pods("Accept"));
    assert_eq!(names(&side(&[admin, newer]).allowed_by), ["new"]);
    let baseline = baseline_admin_policy(ingress_from_pods("Deny"));
    assert_eq!(names(&side(std::slice::from_ref(&baseline)).denied_by), ["default"]);
    let newer = cluster_policy("new", "Baseline", 1000, ingress_from_pods("Accept"));
    assert_eq!(names(&side(&[baseline, newer]).allowed_by), ["new"]);
}

#[test]
fn policies_of_one_priority_are_all_asked() {
    let deny_port = |name, port| {
        let protocols = json!([{"tcp": {"destinationPort": {"number": port}}}]);
        let rule = json!({"action": "Deny", "from": [{"namespaces": {}}], "protocols": protocols});
        cluster_policy(name, "Admin", 15, json!({"ingress": [rule]}))
    };
    let set = compile(&[deny_port("a", 80), deny_port("b", 443)]);
    assert_eq!([80, 443, 22].map(|port| is_allowed(&set, &client(), &server(), port)), [false, false, true]);
}

#[test]
fn node_is_no_pod_of_any_ingress_peer() {
    let deny = cluster_policy("deny", "Admin", 1, ingress_from_pods("Deny"));
    let below = cluster_policy("below", "Baseline", 1, ingress_from_pods("Deny"));
    let set = compile(&[deny, below, isolate_all()]);
    assert!(is_allowed(&set, &node("n1", "192.0.2.1", &[]), &server(), 80));
    assert!(!is_allowed(&set, &node("n2", "192.0.2.2", &[]), &server(), 80));
}

#[test]
fn policy_without_rules_of_a_direction_does_not_affect_it() {
    let rules = json!({"egress": [{"action": "Deny", "to": [{"networks": ["203.0.113.0/24"]}]}]});
    assert_eq!(side(&[cluster_policy("egress", "Admin", 1, rules)]), Side::default());
}
