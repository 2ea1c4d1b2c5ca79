//! Indexes and sets of ranges decide as a walk over all would.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::fixture::{
    cluster_policy, compile, connection, external, ingress_from_pods, is_allowed, names, network_policy, pod,
};
use crate::matching::{LabelTest, NamespaceSelection, PodIndex, PodSelector, Requirement, Selector};
use crate::{Labels, Peer, Pod, Protocol};

fn selector() -> impl Strategy<Value = Selector> {
    let values = || vec(select(vec!["a", "b", "c"]), 1..30);
    let sorted = |values: Vec<&str>| {
        let mut values: Vec<Box<str>> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        values.dedup();
        values.into_boxed_slice()
    };
    let test = prop_oneof![
        3 => values().prop_map(move |values| LabelTest::In(sorted(values))),
        1 => values().prop_map(move |values| LabelTest::NotIn(sorted(values))),
        1 => Just(LabelTest::Exists),
        1 => Just(LabelTest::DoesNotExist),
    ];
    let requirement = (select(vec!["x", "y", "z"]), test).prop_map(|(key, test)| Requirement { key: key.into(), test });
    vec(requirement, 0..3).prop_map(Selector::new)
}

fn pod_selector() -> impl Strategy<Value = PodSelector> {
    let namespaces = prop_oneof![
        select(vec!["shop", "payments"]).prop_map(|name| NamespaceSelection::Named(name.into())),
        selector().prop_map(NamespaceSelection::Labelled),
    ];
    (namespaces, selector()).prop_map(|(namespaces, pods)| PodSelector { namespaces, pods })
}

fn random_labels() -> impl Strategy<Value = Labels> {
    vec((select(vec!["x", "y", "z"]), select(vec!["a", "b", "c", "d"])), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

proptest! {
    #[test]
    fn index_visits_each_selecting_selector_once(
        selectors in vec(pod_selector(), 0..60), labels in random_labels(), namespace_labels in random_labels(),
        namespace in select(vec!["shop", "payments", "other"]),
    ) {
        let (named_ports, name, node) = (&[][..], "p", "");
        let pod = Pod { namespace, name, labels: &labels, namespace_labels: &namespace_labels, named_ports, node };
        let walked: Vec<usize> = (0..selectors.len()).filter(|position| selectors[*position].selects(&pod)).collect();
        let index = PodIndex::new(selectors);
        let mut visited = Vec::new();
        let is_stopped = index.visit(&pod, &mut |position| {
            visited.push(position);
            false
        });
        prop_assert!(!is_stopped);
        visited.sort_unstable();
        prop_assert_eq!(&visited, &walked);
        prop_assert_eq!(index.selects(&pod), !walked.is_empty());
    }
}

#[test]
fn policy_with_ten_thousand_peers_of_each_sort() {
    let pods: Vec<Value> =
        (0..10_000).map(|n| json!({"podSelector": {"matchLabels": {"id": n.to_string()}}})).collect();
    let blocks: Vec<Value> =
        (0..10_000).map(|n| json!({"ipBlock": {"cidr": format!("100.{}.{}.0/25", n / 256, n % 256)}})).collect();
    let ports: Vec<Value> = (0..10_000).map(|n| json!({"port": 1 + 2 * n})).collect();
    let peers = [pods, blocks].concat();
    let set = compile(&[network_policy("shop/wide", json!({"ingress": [{"from": peers, "ports": ports}]}))]);
    let server = pod("shop/cart", "10.0.0.1", &[]);
    let client = |id: &str| pod("shop/web", "10.0.0.2", &[("id", id)]);
    assert!(is_allowed(&set, &client("9999"), &server, 19_999));
    assert!(!is_allowed(&set, &client("10000"), &server, 1) && !is_allowed(&set, &client("1"), &server, 20_000));
    assert!(is_allowed(&set, &external("100.39.15.127"), &server, 1));
    assert!(!is_allowed(&set, &external("100.39.15.128"), &server, 1));
    assert!(!is_allowed(&set, &external("100.39.16.1"), &server, 1));
}

#[test]
fn thousand_policies_are_asked_in_order() {
    let policies: Vec<Value> = (0..1000)
        .map(|n| {
            let id = (n % 100).to_string();
            let spec =
                json!({"podSelector": {"matchExpressions": [{"key": "id", "operator": "In", "values": [id, id]}]}});
            network_policy(&format!("shop/p{n:03}"), spec)
        })
        .collect();
    let (server, client) = (pod("shop/cart", "10.0.0.1", &[("id", "42")]), external("203.0.113.7"));
    let isolated_by = compile(&policies).evaluate(&connection(&client, &server, Protocol::Tcp, 80)).ingress.isolated_by;
    let expected: Vec<String> = (0..10).map(|n| format!("p{n}42")).collect();
    assert_eq!(names(&isolated_by), expected);
    assert!(matches!(client.peer(), Peer::External));
}

#[test]
fn indexed_policies_are_asked_by_priority() {
    let (server, client) = (pod("shop/cart", "10.0.0.1", &[("id", "42")]), pod("shop/web", "10.0.0.2", &[]));
    let by_label = json!({"pods": {"podSelector": {"matchLabels": {"id": "42"}}}});
    for (deny_subject, accept_subject) in
        [(json!({"namespaces": {}}), by_label.clone()), (by_label, json!({"namespaces": {}}))]
    {
        let mut policies: Vec<Value> = (0..20)
            .map(|n| {
                let action = if n == 3 { "Deny" } else { "Accept" };
                cluster_policy(&format!("p{n}"), "Admin", n + 10, ingress_from_pods(action))
            })
            .collect();
        for (n, policy) in policies.iter_mut().enumerate() {
            policy["spec"]["subject"] = match n {
                3 => deny_subject.clone(),
                0..3 => json!({"pods": {"podSelector": {"matchLabels": {"id": "other"}}}}),
                _ => accept_subject.clone(),
            };
        }
        let side = compile(&policies).evaluate(&connection(&client, &server, Protocol::Tcp, 80)).ingress;
        assert_eq!(names(&side.denied_by), ["p3"]);
    }
}
