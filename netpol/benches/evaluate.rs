//! Evaluations of connections: among 1,000 policies, by a policy with 10,000 peers, and the compilation of both.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use trilobite_netpol::{Connection, Labels, Peer, Pod, Policy, PolicySet, Protocol};

/// Connections of one iteration.
const CONNECTIONS: u16 = 10_000;

fn policy(namespace: &str, name: &str, spec: Value) -> Policy {
    let metadata = json!({"namespace": namespace, "name": name});
    let object =
        json!({"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": metadata, "spec": spec});
    Policy::from_json(&object).expect("a policy")
}

/// Ten in each of 100 namespaces: one that isolates, and nine that let apps reach each other.
fn thousand_policies() -> Vec<Policy> {
    let mut policies = Vec::new();
    for namespace in 0..100 {
        let namespace = format!("ns-{namespace}");
        policies.push(policy(&namespace, "default-deny", json!({"policyTypes": ["Ingress", "Egress"]})));
        for app in 0..9 {
            let peer =
                json!([{"podSelector": {"matchLabels": {"app": format!("app-{}", app + 1)}}, "namespaceSelector": {}}]);
            let spec = json!({
                "podSelector": {"matchLabels": {"app": format!("app-{app}")}}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": peer, "ports": [{"port": 8080}]}], "egress": [{"to": peer}],
            });
            policies.push(policy(&namespace, &format!("app-{app}"), spec));
        }
    }
    policies
}

/// All in one namespace, and all select its pods.
fn thousand_policies_of_a_pod() -> Vec<Policy> {
    let rule = |n: i32| json!({"from": [{"podSelector": {"matchLabels": {"app": format!("app-{n}")}}}]});
    (0..1000).map(|n| policy("ns-1", &format!("p{n}"), json!({"ingress": [rule(n % 50)]}))).collect()
}

fn ten_thousand_peers() -> Vec<Policy> {
    let pods = (0..5000).map(|n| json!({"podSelector": {"matchLabels": {"app": format!("app-{n}")}}}));
    let blocks = (0..5000).map(|n| json!({"ipBlock": {"cidr": format!("100.{}.{}.0/25", n / 256, n % 256)}}));
    let peers: Vec<Value> = pods.chain(blocks).collect();
    vec![policy("ns-1", "wide", json!({"ingress": [{"from": peers}]}))]
}

fn labels(app: u16) -> Labels {
    let pairs =
        [("app", format!("app-{app}")), ("team", "t".into()), ("version", "v1".into()), ("tier", "back".into())];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn evaluate_all(set: &PolicySet, namespaces: &[String], apps: &[Labels], namespace_labels: &Labels) -> usize {
    let mut allowed = 0;
    for n in 0..CONNECTIONS {
        let pod = |n: u16| Pod {
            namespace: &namespaces[usize::from(n) % namespaces.len()],
            name: "p",
            labels: &apps[usize::from(n) % apps.len()],
            namespace_labels,
            named_ports: &[],
            node: "n1",
        };
        let connection = Connection {
            client: Peer::Pod(pod(n)),
            client_ip: [10, 0, 0, 1].into(),
            server: Peer::Pod(pod(n / 7)),
            server_ip: [10, 0, 0, 2].into(),
            protocol: Protocol::Tcp,
            port: 8080,
        };
        allowed += usize::from(set.evaluate(black_box(&connection)).is_allowed());
    }
    allowed
}

fn measure(criterion: &mut Criterion) {
    let namespaces: Vec<String> = (0..100).map(|n| format!("ns-{n}")).collect();
    let apps: Vec<Labels> = (0..10).map(labels).collect();
    let namespace_labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), "ns".to_owned())]);
    let mut group = criterion.benchmark_group("evaluate");
    group.sample_size(10).throughput(Throughput::Elements(CONNECTIONS.into()));
    for (name, policies, namespaces) in [
        ("no policies", Vec::new(), &namespaces[..]),
        ("1,000 policies in 100 namespaces", thousand_policies(), &namespaces[..]),
        ("1,000 policies of the pod", thousand_policies_of_a_pod(), &namespaces[1..2]),
        ("a policy with 10,000 peers", ten_thousand_peers(), &namespaces[1..2]),
    ] {
        let (set, _) = PolicySet::compile(&policies);
        group.bench_function(name, |bencher| bencher.iter(|| evaluate_all(&set, namespaces, &apps, &namespace_labels)));
    }
    group.finish();
    let policies = thousand_policies();
    criterion
        .bench_function("compile/1,000 policies", |bencher| bencher.iter(|| PolicySet::compile(black_box(&policies))));
}

criterion_group!(evaluate, measure);
criterion_main!(evaluate);
