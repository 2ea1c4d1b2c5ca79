//! Laws that hold for all policies.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::fixture::{TestPeer, ask, cluster_policy, compile, external, network_policy, node, pod};
use crate::{Decision, Protocol, Verdict};

const PORTS: [u16; 3] = [80, 443, 8080];

fn peers() -> Vec<TestPeer> {
    let pod = |name: &str, ip: &str, app: &str| pod(name, ip, &[("app", app)]).with_port("http", Protocol::Tcp, 8080);
    vec![
        pod("shop/a", "10.0.1.1", "a"),
        pod("shop/b", "fd00:1::2", "b"),
        pod("payments/a", "10.0.2.1", "a"),
        node("n1", "192.0.2.1", &[("os", "linux")]),
        external("203.0.113.7"),
    ]
}

fn all_decisions(objects: &[Value]) -> Vec<Decision> {
    let (set, peers) = (compile(objects), peers());
    let mut decisions = Vec::new();
    for (client, server) in peers.iter().flat_map(|client| peers.iter().map(move |server| (client, server))) {
        for (protocol, port) in PORTS.map(|port| (Protocol::Tcp, port)).into_iter().chain([(Protocol::Udp, 80)]) {
            decisions.push(ask(&set, client, server, protocol, port));
        }
    }
    decisions
}

fn verdicts(objects: &[Value]) -> Vec<[Verdict; 2]> {
    all_decisions(objects).into_iter().map(|decision| [decision.egress.verdict, decision.ingress.verdict]).collect()
}

fn label_selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        select(vec!["a", "b", "c"]).prop_map(|app| json!({"matchLabels": {"app": app}})),
        Just(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]})),
        select(vec!["shop", "payments"]).prop_map(|name| json!({"matchLabels": {"kubernetes.io/metadata.name": name}})),
    ]
}

fn network_policy_rule(peers_key: &'static str) -> impl Strategy<Value = Value> {
    let peer = prop_oneof![
        label_selector().prop_map(|selector| json!({"podSelector": selector})),
        label_selector().prop_map(|selector| json!({"namespaceSelector": selector})),
        select(vec!["10.0.0.0/16", "10.0.2.0/24", "::/0", "203.0.113.0/24"])
            .prop_map(|cidr| json!({"ipBlock": {"cidr": cidr}})),
    ];
    let port = prop_oneof![
        select(PORTS.to_vec()).prop_map(|port| json!({"port": port})),
        Just(json!({"port": "http"})),
        Just(json!({"protocol": "UDP"})),
        Just(json!({"port": 100, "endPort": 9000})),
    ];
    (vec(peer, 0..3), vec(port, 0..3)).prop_map(move |(peers, ports)| json!({peers_key: peers, "ports": ports}))
}

fn random_network_policy() -> impl Strategy<Value = Value> {
    let types = select(vec![json!([]), json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    let rules = (vec(network_policy_rule("from"), 0..3), vec(network_policy_rule("to"), 0..3));
    (select(vec!["shop", "payments"]), 0..1000, label_selector(), types, rules).prop_map(
        |(namespace, id, pods, types, (ingress, egress))| {
            let spec = json!({"podSelector": pods, "policyTypes": types, "ingress": ingress, "egress": egress});
            network_policy(&format!("{namespace}/p{id}"), spec)
        },
    )
}

fn random_cluster_policy(tier: &'static str) -> impl Strategy<Value = Value> {
    let action = || select(vec!["Accept", "Deny", "Pass"]);
    let from = (action(), label_selector())
        .prop_map(|(action, namespaces)| json!({"action": action, "from": [{"namespaces": namespaces}]}));
    let to =
        (action(), select(vec![json!({"namespaces": {}}), json!({"nodes": {}}), json!({"networks": ["10.0.0.0/16"]})]))
            .prop_map(|(action, peer)| json!({"action": action, "to": [peer]}));
    (0..1000, 1i64..1000, vec(from, 0..3), vec(to, 0..3)).prop_map(move |(id, priority, ingress, egress)| {
        cluster_policy(&format!("p{id}"), tier, priority, json!({"ingress": ingress, "egress": egress}))
    })
}

fn lower_tiers() -> impl Strategy<Value = Vec<Value>> {
    (vec(random_network_policy(), 0..4), vec(random_cluster_policy("Baseline"), 0..3))
        .prop_map(|(policies, baseline)| [policies, baseline].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn order_of_policies_does_not_matter(
        (given, shuffled) in (lower_tiers(), vec(random_cluster_policy("Admin"), 0..3))
            .prop_map(|(lower, admin)| [lower, admin].concat())
            .prop_flat_map(|policies| (Just(policies.clone()), Just(policies).prop_shuffle())),
    ) {
        // Of two policies of one name there is one in a cluster.
        let mut names: Vec<String> = given.iter().map(|policy| format!("{}{}", policy["kind"], policy["metadata"])).collect();
        names.sort_unstable();
        names.dedup();
        prop_assume!(names.len() == given.len());
        prop_assert_eq!(all_decisions(&given), all_decisions(&shuffled));
    }

    #[test]
    fn allow_rule_never_denies_more(
        mut policies in vec(random_network_policy(), 1..4), rule in network_policy_rule("from"), at in any::<prop::sample::Index>(),
    ) {
        let before = verdicts(&policies);
        let at = at.index(policies.len());
        policies[at]["spec"]["ingress"].as_array_mut().unwrap().push(rule);
        for ([egress, ingress], [egress_after, ingress_after]) in before.iter().zip(verdicts(&policies)) {
            prop_assert!(*egress == egress_after && (*ingress == Verdict::Denied || ingress_after == Verdict::Allowed));
        }
    }

    #[test]
    fn policies_that_allow_everything_hide_all_others(lower in lower_tiers()) {
        let allow_all = |namespace: &str| {
            let spec = json!({"policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]});
            network_policy(&format!("{namespace}/allow-all"), spec)
        };
        let allowing = [allow_all("shop"), allow_all("payments")];
        prop_assert_eq!(verdicts(&[lower, allowing.to_vec()].concat()), verdicts(&[]));
    }

    #[test]
    fn pass_equals_no_admin_rule_for_the_tiers_below(
        lower in lower_tiers(), admin in vec(random_cluster_policy("Admin"), 0..3),
    ) {
        let everyone = json!([{"namespaces": {}}, {"nodes": {}}, {"networks": ["0.0.0.0/0", "::/0"]}]);
        let rules = json!({
            "ingress": [{"action": "Pass", "from": [{"namespaces": {}}]}], "egress": [{"action": "Pass", "to": everyone}],
        });
        let pass = cluster_policy("pass", "Admin", 0, rules);
        prop_assert_eq!(all_decisions(&[lower.clone(), admin, vec![pass]].concat()), all_decisions(&lower));
    }

    #[test]
    fn each_side_says_why(policies in (lower_tiers(), vec(random_cluster_policy("Admin"), 0..3))) {
        for decision in all_decisions(&[policies.0, policies.1].concat()) {
            for side in [decision.egress, decision.ingress] {
                let (denying, isolating) = (side.denied_by.len(), side.isolated_by.len());
                match side.verdict {
                    Verdict::Allowed => prop_assert_eq!(denying + isolating, 0),
                    Verdict::Denied => prop_assert!(side.allowed_by.is_empty() && (denying == 1) != (isolating > 0)),
                }
                let by_rule = !side.allowed_by.is_empty() || denying > 0;
                prop_assert_eq!(by_rule, side.match_type != crate::MatchType::None);
            }
        }
    }
}
