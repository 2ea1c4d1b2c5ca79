//! Which dropped packets are called a policy's: those that a rule drops and the policies deny, and no others.
//! Needs root and a kernel from 5.17 on: `cargo test -p trilobite-node --test policy_drops -- --ignored`.

#![allow(clippy::unwrap_used)]

mod two_pods;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use trilobite_netpol::{Labels, Policy, PolicyKind};
use trilobite_node::layers::network::{
    flow::{Flow, TrafficDirection},
    verdict::{Disagreements, PolicyIndex, PolicyPod},
};
use two_pods::{CART, DropWatcher, PodOf, TwoPods, chain, dropped, ip, nft, sum};

const PACKETS: usize = 5;

fn cart(family: usize, port: u16) -> SocketAddr {
    SocketAddr::new(CART[family].parse().unwrap(), port)
}

fn policy(name: &str, spec: Value) -> Policy {
    let metadata = json!({"namespace": "shop", "name": name});
    let object =
        json!({"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": spec});
    Policy::from_json(&object).unwrap()
}

fn follow_policies(watcher: &mut DropWatcher, policies: impl IntoIterator<Item = Policy>) {
    let mut index = PolicyIndex::default();
    for kind in PolicyKind::ALL {
        index.replace_policies(kind, Vec::new());
    }
    policies.into_iter().for_each(|policy| index.put_policy(policy));
    index.replace_namespaces(HashMap::from([("shop".to_owned(), Labels::new())]));
    for name in ["front", "cart"] {
        let labels = Labels::from([("app".to_owned(), name.to_owned())]);
        let (uid, namespace, name) = (name.into(), "shop".into(), name.into());
        index.put_pod(PolicyPod { uid, namespace, name, labels, node: "node1".into(), ..PolicyPod::default() });
    }
    watcher.policies.follow(Arc::new(Mutex::new(index)));
}

/// Each sort of drop: direction, number, policies.
fn verdicts(flows: &[Flow]) -> Vec<String> {
    let mut sorts: Vec<String> = flows
        .iter()
        .map(|flow| {
            let dropped = dropped(flow);
            let names: Vec<&str> = dropped.policies.denied_by.iter().map(|policy| policy.name.as_str()).collect();
            format!("{:?} {} {names:?}", flow.direction, dropped.sub_type)
        })
        .collect();
    sorts.sort();
    sorts.dedup();
    sorts
}

#[test]
#[ignore = "needs root"]
fn rule_that_enforces_a_policy_names_it_and_a_strangers_does_not() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    let select = json!({"matchLabels": {"app": "cart"}});
    let allowed = json!([{"ports": [{"port": 9001, "protocol": "UDP"}]}]);
    let policies = [
        policy("default-deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]})),
        policy("open-9001", json!({"podSelector": select, "ingress": allowed})),
    ];
    follow_policies(&mut watcher, policies);
    for rule in ["drop", "reject with icmpx type port-unreachable"] {
        nft(&chain("forward", &format!("udp dport {{9000, 9001}} {rule};")));
        for family in [0, 1] {
            watcher.all_drops();
            let before = watcher.policies.disagreements();
            pods.send_udp(family, cart(family, 9000), PACKETS);
            let denied = watcher.all_drops();
            // Both policies isolate the pod, and neither allows the port.
            assert_eq!(verdicts(&denied), [r#"Ingress 133 ["default-deny", "open-9001"]"#], "{rule}");
            assert_eq!(sum(&denied).0, PACKETS as u64);
            pods.send_udp(family, cart(family, 9001), PACKETS);
            let strangers = watcher.all_drops();
            assert_eq!(verdicts(&strangers), ["Egress 221 []"], "{rule}");
            let Disagreements { denied_packets, allowed_packets, audited_connections } =
                watcher.policies.disagreements();
            let packets = PACKETS as u64;
            let counted = (denied_packets - before.denied_packets, allowed_packets - before.allowed_packets);
            assert_eq!((counted, audited_connections), ((packets, packets), 0), "{rule}");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn other_causes_of_a_denied_connection_keep_their_names() {
    let pods = TwoPods::new();
    let mut watcher = pods.watched();
    follow_policies(&mut watcher, [policy("default-deny", json!({"podSelector": {}}))]);
    // Nothing listens, in both protocols.
    pods.send_udp(0, cart(0, 9000), PACKETS);
    pods.inside(PodOf::Front, || TcpStream::connect(cart(0, 9000)).unwrap_err());
    assert_eq!(verdicts(&watcher.all_drops()), ["Ingress 178 []"]);
    // The SYN of a denied connection, at the client's side.
    let isolate = json!({"podSelector": {"matchLabels": {"app": "front"}}, "policyTypes": ["Egress"]});
    follow_policies(&mut watcher, [policy("stay-inside", isolate)]);
    nft(&chain("forward", "tcp dport 9000 drop;"));
    pods.inside(PodOf::Front, || TcpStream::connect_timeout(&cart(0, 9000), Duration::from_millis(300)).unwrap_err());
    let flows = watcher.all_drops();
    assert_eq!(verdicts(&flows), [r#"Egress 133 ["stay-inside"]"#]);
    assert!(flows.iter().all(|flow| flow.direction == TrafficDirection::Egress));
    nft("flush ruleset");
    for route in ["blackhole", "unreachable", "prohibit"] {
        ip(&format!("route replace {route} {}/32", CART[0]));
        pods.send_udp(0, cart(0, 9000), PACKETS);
        assert_eq!(verdicts(&watcher.all_drops()), ["Egress 169 []"], "{route}");
    }
    assert_eq!(watcher.policies.disagreements().allowed_packets, 0);
}
