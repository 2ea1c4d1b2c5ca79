//! Random objects in place of policies: no panic, every refusal names its field, and what is compiled can be asked.
//! `TRILOBITE_POLICY_OBJECTS`: how many objects.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use serde_json::{Map, Value, json};
use trilobite_netpol::{Connection, Labels, Peer, Pod, Policy, PolicySet, Protocol};

/// Objects where the environment says nothing.
const RUNS: u64 = 1_000_000;

/// Every field of every kind, and some of none.
const KEYS: [&str; 46] = [
    "podSelector",
    "namespaceSelector",
    "ipBlock",
    "cidr",
    "except",
    "ports",
    "port",
    "endPort",
    "protocol",
    "policyTypes",
    "ingress",
    "egress",
    "from",
    "to",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
    "tier",
    "priority",
    "subject",
    "namespaces",
    "pods",
    "nodes",
    "networks",
    "domainNames",
    "action",
    "name",
    "protocols",
    "tcp",
    "udp",
    "sctp",
    "destinationNamedPort",
    "destinationPort",
    "number",
    "range",
    "start",
    "end",
    "portNumber",
    "portRange",
    "namedPort",
    "services",
    "",
    "spec",
    "a\u{0}b",
];

/// Words that some field knows, and some that none does.
const WORDS: [&str; 24] = [
    "Admin",
    "Baseline",
    "Accept",
    "Allow",
    "Deny",
    "Pass",
    "Ingress",
    "Egress",
    "TCP",
    "UDP",
    "SCTP",
    "In",
    "NotIn",
    "Exists",
    "DoesNotExist",
    "app",
    "web",
    "10.0.0.0/8",
    "::/0",
    "0.0.0.0/33",
    "*.example.com",
    "",
    "\u{1f980}",
    "http",
];

const NUMBERS: [i64; 8] = [0, 1, 80, 1000, 1001, 65_535, 65_536, -1];

fn kinds() -> [Value; 4] {
    let object = |kind: &str, version: &str, spec: Value| json!({"kind": kind, "apiVersion": version, "metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
    let peers = json!([{"namespaces": {"matchLabels": {"app": "web"}}}, {"pods": {"namespaceSelector": {}, "podSelector": {}}}]);
    let to = json!([{"networks": ["10.0.0.0/8", "::/0"]}, {"nodes": {}}, {"namespaces": {}}]);
    let ports = json!([{"portNumber": {"port": 80}}, {"portRange": {"start": 1, "end": 9, "protocol": "UDP"}}, {"namedPort": "http"}]);
    let protocols = json!([{"tcp": {"destinationPort": {"number": 80}}}, {"udp": {"destinationPort": {"range": {"start": 1, "end": 9}}}}]);
    let old = json!({
        "priority": 7, "subject": {"namespaces": {}},
        "ingress": [{"action": "Deny", "from": peers, "ports": ports}], "egress": [{"action": "Pass", "to": to}],
    });
    let mut baseline = old.clone();
    baseline["egress"][0]["action"] = json!("Allow");
    baseline.as_object_mut().unwrap().remove("priority");
    let new = json!({
        "tier": "Admin", "priority": 7, "subject": {"pods": {"namespaceSelector": {}, "podSelector": {}}},
        "ingress": [{"action": "Deny", "from": peers, "protocols": protocols}], "egress": [{"action": "Accept", "to": to}],
    });
    let network_policy = json!({
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "cart"]}]},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                     "ports": [{"port": 80, "endPort": 90}, {"port": "http"}]}],
        "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"app": "web"}}}]}],
    });
    [
        object("NetworkPolicy", "networking.k8s.io/v1", network_policy),
        object("ClusterNetworkPolicy", "policy.networking.k8s.io/v1beta1", new),
        object("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1", old),
        object("BaselineAdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1", baseline),
    ]
}

fn random_value(random: &mut fastrand::Rng, depth: u8) -> Value {
    match random.u8(..if depth == 0 { 5 } else { 9 }) {
        0 => Value::Null,
        1 => Value::Bool(random.bool()),
        2 => json!(NUMBERS[random.usize(..NUMBERS.len())]),
        3 | 4 => json!(WORDS[random.usize(..WORDS.len())]),
        5 | 6 => (0..random.usize(..4)).map(|_| random_value(random, depth - 1)).collect(),
        _ => {
            let count = random.usize(..4);
            let field = |_| (KEYS[random.usize(..KEYS.len())].to_owned(), random_value(random, depth - 1));
            Value::Object((0..count).map(field).collect::<Map<_, _>>())
        }
    }
}

/// Changes a value somewhere below.
fn change(value: &mut Value, random: &mut fastrand::Rng) {
    if random.u8(..4) > 0 {
        match value {
            Value::Array(list) if !list.is_empty() => {
                let at = random.usize(..list.len());
                return change(&mut list[at], random);
            }
            Value::Object(map) if !map.is_empty() => {
                let at = random.usize(..map.len());
                return map.values_mut().skip(at).take(1).for_each(|value| change(value, random));
            }
            _ => {}
        }
    }
    match value {
        Value::Object(map) if random.bool() => {
            map.insert(KEYS[random.usize(..KEYS.len())].into(), random_value(random, 2));
        }
        _ => *value = random_value(random, 2),
    }
}

fn check(kinds: &[Value; 4], random: &mut fastrand::Rng) {
    let mut object = kinds[random.usize(..kinds.len())].clone();
    if random.u8(..4) == 0 {
        object["spec"] = random_value(random, 5);
    } else {
        (0..random.u8(1..4)).for_each(|_| change(&mut object["spec"], random));
    }
    let policy = Policy::from_json(&object).expect("kind, version and name are left alone");
    let (set, refused) = PolicySet::compile(&[policy]);
    for refused in &refused {
        assert!(refused.field.starts_with("spec") && !refused.why.is_empty(), "{refused:?}");
    }
    let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
    let pod =
        Pod { namespace: "shop", name: "web", labels: &labels, namespace_labels: &labels, named_ports: &[], node: "n" };
    let (client_ip, server_ip) = ([10, 0, 0, 1].into(), [10, 1, 0, 1].into());
    let (client, server) = (Peer::Pod(pod), if random.bool() { Peer::Pod(pod) } else { Peer::External });
    let connection = Connection { client, client_ip, server, server_ip, protocol: Protocol::Tcp, port: 80 };
    let decision = set.evaluate(&connection);
    // A text takes longer than a decision.
    if random.u8(..8) == 0 {
        assert!(!decision.explain(&connection).is_empty());
    }
}

/// The seed is printed when a run panics: the same seed makes the same object.
#[test]
fn random_objects_never_panic() {
    let runs = std::env::var("TRILOBITE_POLICY_OBJECTS").ok().map_or(RUNS, |runs| runs.parse().expect("a number"));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let kinds = kinds();
                for run in (thread..runs).step_by(threads as usize) {
                    let check = || check(&kinds, &mut fastrand::Rng::with_seed(run));
                    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)) {
                        eprintln!("seed {run}");
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
    eprintln!("{runs} objects, {:.0} a second", runs as f64 / began.elapsed().as_secs_f64());
}

#[test]
fn unchanged_objects_are_read_whole() {
    for object in kinds() {
        assert!(Policy::from_json(&object).unwrap().refused().is_empty(), "{object}");
    }
}
