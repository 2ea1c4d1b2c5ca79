//! Pods of two namespaces, and policies as people write them.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{Connection, Decision, Labels, NamedPort, Node, Peer, Pod, Policy, PolicySet, Protocol, Refused};

/// A pod, a node or an address.
pub(super) struct TestPeer {
    kind: Kind,
    pub(super) ip: IpAddr,
}

enum Kind {
    Pod {
        namespace: String,
        name: String,
        labels: Labels,
        namespace_labels: Labels,
        ports: Vec<NamedPort>,
        node: String,
    },
    Node {
        name: String,
        labels: Labels,
    },
    External,
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// `full_name`: namespace/name. The namespace has its name as the label `kubernetes.io/metadata.name`.
pub(super) fn pod(full_name: &str, ip: &str, pod_labels: &[(&str, &str)]) -> TestPeer {
    let (namespace, name) = full_name.split_once('/').unwrap();
    let kind = Kind::Pod {
        namespace: namespace.into(),
        name: name.into(),
        labels: labels(pod_labels),
        namespace_labels: labels(&[("kubernetes.io/metadata.name", namespace)]),
        ports: Vec::new(),
        node: "n1".into(),
    };
    TestPeer { kind, ip: ip.parse().unwrap() }
}

pub(super) fn node(name: &str, ip: &str, node_labels: &[(&str, &str)]) -> TestPeer {
    TestPeer { kind: Kind::Node { name: name.into(), labels: labels(node_labels) }, ip: ip.parse().unwrap() }
}

pub(super) fn external(ip: &str) -> TestPeer {
    TestPeer { kind: Kind::External, ip: ip.parse().unwrap() }
}

impl TestPeer {
    pub(super) fn with_port(mut self, port_name: &str, protocol: Protocol, port: u16) -> Self {
        if let Kind::Pod { ports, .. } = &mut self.kind {
            ports.push(NamedPort { name: port_name.into(), protocol, port });
        }
        self
    }

    pub(super) fn peer(&self) -> Peer<'_> {
        match &self.kind {
            Kind::Pod { namespace, name, labels, namespace_labels, ports, node } => {
                Peer::Pod(Pod { namespace, name, labels, namespace_labels, named_ports: ports, node })
            }
            Kind::Node { name, labels } => Peer::Node(Node { name, labels }),
            Kind::External => Peer::External,
        }
    }
}

pub(super) fn connection<'a>(
    client: &'a TestPeer,
    server: &'a TestPeer,
    protocol: Protocol,
    port: u16,
) -> Connection<'a> {
    Connection {
        client: client.peer(),
        client_ip: client.ip,
        server: server.peer(),
        server_ip: server.ip,
        protocol,
        port,
    }
}

pub(super) fn read(objects: &[Value]) -> (PolicySet, Vec<Refused>) {
    let policies: Vec<Policy> = objects.iter().map(|object| Policy::from_json(object).unwrap()).collect();
    PolicySet::compile(&policies)
}

/// Nothing of the policies may be refused.
pub(super) fn compile(objects: &[Value]) -> PolicySet {
    let (set, refused) = read(objects);
    assert!(refused.is_empty(), "{refused:?}");
    set
}

pub(super) fn ask(set: &PolicySet, client: &TestPeer, server: &TestPeer, protocol: Protocol, port: u16) -> Decision {
    set.evaluate(&connection(client, server, protocol, port))
}

pub(super) fn is_allowed(set: &PolicySet, client: &TestPeer, server: &TestPeer, port: u16) -> bool {
    ask(set, client, server, Protocol::Tcp, port).is_allowed()
}

pub(super) fn network_policy(full_name: &str, spec: Value) -> Value {
    let (namespace, name) = full_name.split_once('/').unwrap();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

/// For all pods; `rules`: ingress and egress.
pub(super) fn cluster_policy(name: &str, tier: &str, priority: i64, rules: Value) -> Value {
    let mut spec = json!({"tier": tier, "priority": priority, "subject": {"namespaces": {}}});
    merge(&mut spec, rules);
    json!({
        "apiVersion": "policy.networking.k8s.io/v1beta1", "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name}, "spec": spec,
    })
}

pub(super) fn admin_policy(name: &str, priority: i64, rules: Value) -> Value {
    let mut spec = json!({"priority": priority, "subject": {"namespaces": {}}});
    merge(&mut spec, rules);
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "AdminNetworkPolicy",
        "metadata": {"name": name}, "spec": spec,
    })
}

pub(super) fn baseline_admin_policy(rules: Value) -> Value {
    let mut spec = json!({"subject": {"namespaces": {}}});
    merge(&mut spec, rules);
    json!({
        "apiVersion": "policy.networking.k8s.io/v1alpha1", "kind": "BaselineAdminNetworkPolicy",
        "metadata": {"name": "default"}, "spec": spec,
    })
}

fn merge(spec: &mut Value, fields: Value) {
    let (Value::Object(spec), Value::Object(fields)) = (spec, fields) else { panic!("objects") };
    spec.extend(fields);
}

/// An ingress section of one rule that is about all pods of all namespaces.
pub(super) fn ingress_from_pods(action: &str) -> Value {
    json!({"ingress": [{"action": action, "from": [{"namespaces": {}}]}]})
}

pub(super) fn names(policies: &[crate::PolicyName]) -> Vec<String> {
    policies.iter().map(|policy| policy.name.to_string()).collect()
}

pub(super) fn fields(refused: &[Refused]) -> Vec<&str> {
    refused.iter().map(|refused| refused.field.as_str()).collect()
}
