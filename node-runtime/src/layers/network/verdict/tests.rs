use std::{collections::HashMap, net::IpAddr, sync::Arc};

use serde_json::{Value, json};
use trilobite_netpol::{Decision, Labels, Policy, PolicyKind, Protocol, Verdict};

use super::{AskedConnection, ConnectionEndId, PolicyIndex, PolicyPod, decision_cache::DECISIONS_MAX};

fn labels(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_owned(), value.to_owned())])
}

fn pod(uid: &str, app: &str) -> PolicyPod {
    let (namespace, name) = ("shop".to_owned(), uid.to_owned());
    PolicyPod {
        uid: uid.into(),
        namespace,
        name,
        labels: labels("app", app),
        named_ports: Vec::new(),
        node: "n1".into(),
    }
}

fn policy(name: &str, spec: Value) -> Policy {
    let metadata = json!({"namespace": "shop", "name": name});
    let object =
        json!({"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": spec});
    Policy::from_json(&object).unwrap()
}

/// Two replicas of web, and cart; all lists are complete.
fn index() -> PolicyIndex {
    let mut index = PolicyIndex::default();
    for kind in PolicyKind::ALL {
        index.replace_policies(kind, Vec::new());
    }
    index.put_namespace("shop", labels("team", "shop"));
    index.put_node("n1", Labels::new());
    for pod in [pod("web-0", "web"), pod("web-1", "web"), pod("cart-0", "cart")] {
        index.put_pod(pod);
    }
    index
}

fn ask_from(
    index: &mut PolicyIndex,
    client: ConnectionEndId<'_>,
    ip: u8,
    server: &str,
    port: u16,
) -> Option<Arc<Decision>> {
    let (client_ip, server_ip): (IpAddr, IpAddr) = ([10, 0, 0, ip].into(), [10, 0, 1, 1].into());
    let server = ConnectionEndId::Pod(server);
    index.decide(&AskedConnection { client, client_ip, server, server_ip, protocol: Protocol::Tcp, port })
}

fn ask(index: &mut PolicyIndex, client: &str, server: &str) -> Option<Arc<Decision>> {
    ask_from(index, ConnectionEndId::Pod(client), 1, server, 80)
}

fn is_allowed(index: &mut PolicyIndex, client: &str, server: &str) -> bool {
    ask(index, client, server).unwrap().is_allowed()
}

#[test]
fn replicas_share_their_decisions() {
    let mut index = index();
    index.put_policy(policy("isolate", json!({})));
    let first = ask(&mut index, "web-0", "cart-0").unwrap();
    let second = ask(&mut index, "web-1", "cart-0").unwrap();
    assert!(Arc::ptr_eq(&first, &second) && first.ingress.verdict == Verdict::Denied);
    assert_eq!(index.kept(), (2, 1));
}

#[test]
fn change_of_a_policy_or_of_labels_decides_anew() {
    let mut index = index();
    assert!(is_allowed(&mut index, "web-0", "cart-0"));
    let from_team = json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "shop"}}, "podSelector": {"matchLabels": {"app": "web"}}}]}]);
    index.put_policy(policy("cart", json!({"podSelector": {"matchLabels": {"app": "cart"}}, "ingress": from_team})));
    assert!(is_allowed(&mut index, "web-0", "cart-0") && !is_allowed(&mut index, "cart-0", "cart-0"));
    index.put_pod(pod("web-0", "other"));
    assert!(!is_allowed(&mut index, "web-0", "cart-0") && is_allowed(&mut index, "web-1", "cart-0"));
    index.put_namespace("shop", labels("team", "other"));
    assert!(!is_allowed(&mut index, "web-1", "cart-0"));
    index.replace_namespaces(HashMap::from([("shop".to_owned(), labels("team", "shop"))]));
    assert!(is_allowed(&mut index, "web-1", "cart-0"));
    index.replace_policies(PolicyKind::NetworkPolicy, vec![policy("isolate", json!({}))]);
    assert!(!is_allowed(&mut index, "web-1", "cart-0"));
    let isolate = policy("isolate", json!({})).name().clone();
    index.remove_policy(&isolate);
    assert!(is_allowed(&mut index, "cart-0", "cart-0"));
}

#[test]
fn addresses_count_only_where_a_policy_has_them() {
    let mut index = index();
    let from = |index: &mut PolicyIndex, ip| {
        ask_from(index, ConnectionEndId::External, ip, "cart-0", 80).unwrap().is_allowed()
    };
    assert!(from(&mut index, 1) && from(&mut index, 2));
    assert_eq!(index.kept().1, 1);
    index.put_policy(policy("cart", json!({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}]})));
    assert!(from(&mut index, 1) && !from(&mut index, 2));
    assert_eq!(index.kept().1, 2);
}

#[test]
fn what_is_not_known_is_not_decided() {
    let mut index = index();
    assert!(ask(&mut index, "new", "cart-0").is_none() && ask(&mut index, "web-0", "new").is_none());
    assert!(ask_from(&mut index, ConnectionEndId::Node("n2"), 1, "cart-0", 80).is_none());
    index.remove_namespace("shop");
    assert!(ask(&mut index, "web-0", "cart-0").is_none());
    let mut unlisted = PolicyIndex::default();
    unlisted.put_namespace("shop", Labels::new());
    unlisted.put_pod(pod("cart-0", "cart"));
    for kind in PolicyKind::ALL {
        assert!(ask(&mut unlisted, "cart-0", "cart-0").is_none());
        unlisted.replace_policies(kind, Vec::new());
    }
    assert!(ask(&mut unlisted, "cart-0", "cart-0").is_some());
}

#[test]
fn own_node_is_told_from_others() {
    let mut index = index();
    index.put_node("n2", Labels::new());
    index.put_policy(policy("isolate", json!({})));
    let from = |index: &mut PolicyIndex, node| {
        ask_from(index, ConnectionEndId::Node(node), 1, "cart-0", 80).unwrap().is_allowed()
    };
    assert!(from(&mut index, "n1") && !from(&mut index, "n2"));
}

#[test]
fn change_of_a_nodes_labels_decides_anew() {
    let mut index = index();
    let rule = json!({"action": "Deny", "to": [{"nodes": {"matchLabels": {"zone": "a"}}}]});
    let spec = json!({"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}, "egress": [rule]});
    let version = "policy.networking.k8s.io/v1beta1";
    let object =
        json!({"kind": "ClusterNetworkPolicy", "apiVersion": version, "metadata": {"name": "zone"}, "spec": spec});
    index.put_policy(Policy::from_json(&object).unwrap());
    let (client_ip, server_ip) = ([10, 0, 1, 1].into(), [192, 0, 2, 1].into());
    let (client, server) = (ConnectionEndId::Pod("web-0"), ConnectionEndId::Node("n1"));
    let asked = AskedConnection { client, client_ip, server, server_ip, protocol: Protocol::Tcp, port: 80 };
    assert!(index.decide(&asked).unwrap().is_allowed());
    index.put_node("n1", labels("zone", "a"));
    assert!(!index.decide(&asked).unwrap().is_allowed());
}

#[test]
fn pods_and_decisions_that_are_gone_take_no_memory() {
    let mut index = index();
    for round in 0..100 {
        for n in 0..100 {
            index.put_pod(pod(&format!("job-{n}"), &format!("job-{round}-{n}")));
        }
    }
    assert_eq!(index.kept().0, 102);
    (0..100).for_each(|n| index.remove_pod(&format!("job-{n}")));
    assert_eq!(index.kept().0, 2);
    for port in 1..=3 * DECISIONS_MAX {
        let decision = ask_from(&mut index, ConnectionEndId::External, 1, "cart-0", u16::try_from(port).unwrap());
        assert!(decision.is_some() && index.kept().1 <= DECISIONS_MAX);
    }
}

#[test]
fn number_of_a_class_that_is_gone_is_not_given_again() {
    let mut index = index();
    let isolate = json!({"podSelector": {"matchLabels": {"app": "cart"}}});
    index.put_policy(policy("cart", isolate));
    assert!(!is_allowed(&mut index, "web-0", "cart-0"));
    index.remove_pod("cart-0");
    index.put_pod(pod("free-0", "free"));
    assert!(is_allowed(&mut index, "web-0", "free-0"));
}

#[test]
fn decision_is_explained_with_the_names_of_its_pods() {
    let mut index = index();
    index.put_policy(policy("isolate", json!({})));
    let (client, server) = (ConnectionEndId::Pod("web-1"), ConnectionEndId::Pod("cart-0"));
    let (client_ip, server_ip) = ([10, 0, 0, 1].into(), [10, 0, 1, 1].into());
    let asked = AskedConnection { client, client_ip, server, server_ip, protocol: Protocol::Tcp, port: 80 };
    let decision = index.decide(&asked).unwrap();
    assert_eq!(
        index.explain(&asked, &decision).unwrap(),
        "denied: NetworkPolicy shop/isolate isolates shop/cart-0, and no policy allows TCP 80 from shop/web-1"
    );
}

#[test]
fn new_list_of_pods_and_nodes_replaces_the_old() {
    let mut index = index();
    index.put_policy(policy("isolate", json!({"podSelector": {"matchLabels": {"app": "cart"}}})));
    assert!(!is_allowed(&mut index, "web-0", "cart-0"));
    index.replace_pods(vec![pod("web-0", "web"), pod("cart-1", "cart")]);
    assert!(ask(&mut index, "web-0", "cart-0").is_none() && !is_allowed(&mut index, "web-0", "cart-1"));
    assert_eq!(index.kept(), (2, 1));
    index.replace_nodes(HashMap::from([("n2".to_owned(), Labels::new())]));
    assert!(ask_from(&mut index, ConnectionEndId::Node("n1"), 1, "cart-1", 80).is_none());
    assert!(ask_from(&mut index, ConnectionEndId::Node("n2"), 1, "cart-1", 80).is_some());
}
