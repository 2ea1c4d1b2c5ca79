//! Policies, and the pods, namespaces and nodes that they select by: events in, decisions out. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use trilobite_netpol::{
    Connection, Decision, Labels, NamedPort, Node, Peer, Pod, Policy, PolicyKind, PolicyName, PolicySet, Protocol,
    Refused,
};

use super::{
    decision_cache::{DecisionCache, DecisionKey, EndKey},
    pod_classes::{PodClass, PodClasses},
};

/// A pod with a network of its own, as policies see it.
#[derive(Clone, Debug, Default)]
pub struct PolicyPod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub labels: Labels,
    pub named_ports: Vec<NamedPort>,
    /// The name of its node.
    pub node: String,
}

/// A connection to decide about.
#[derive(Clone, Copy, Debug)]
pub struct AskedConnection<'a> {
    pub client: ConnectionEndId<'a>,
    pub client_ip: IpAddr,
    pub server: ConnectionEndId<'a>,
    pub server_ip: IpAddr,
    pub protocol: Protocol,
    /// The server's.
    pub port: u16,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug)]
pub enum ConnectionEndId<'a> {
    /// By uid.
    Pod(&'a str),
    /// By name: a node, or a pod in its network.
    Node(&'a str),
    External,
}

#[derive(Debug, Default)]
pub struct PolicyIndex {
    policies: BTreeMap<PolicyName, Policy>,
    /// The kinds of which all policies are known.
    listed: BTreeSet<PolicyKind>,
    /// Made of the policies when a connection is asked about, so that a burst of changes costs one compilation.
    compiled: Option<PolicySet>,
    pods: HashMap<String, IndexedPod>,
    namespaces: HashMap<String, Labels>,
    nodes: HashMap<String, IndexedNode>,
    node_addresses: HashMap<IpAddr, Arc<str>>,
    next_node: u32,
    classes: PodClasses,
    cache: DecisionCache,
}

#[derive(Debug)]
struct IndexedPod {
    name: String,
    class: Arc<PodClass>,
    number: u32,
}

#[derive(Debug)]
struct IndexedNode {
    labels: Labels,
    number: u32,
    addresses: Vec<IpAddr>,
}

impl PolicyIndex {
    /// Adds or replaces a policy.
    pub fn put_policy(&mut self, policy: Policy) {
        self.policies.insert(policy.name().clone(), policy);
        self.forget_decisions();
    }

    pub fn remove_policy(&mut self, name: &PolicyName) {
        if self.policies.remove(name).is_some() {
            self.forget_decisions();
        }
    }

    /// Replaces all policies of a kind; none where the cluster does not have the kind.
    pub fn replace_policies(&mut self, kind: PolicyKind, policies: Vec<Policy>) {
        self.listed.insert(kind);
        self.policies.retain(|name, _| name.kind != kind);
        self.policies.extend(policies.into_iter().map(|policy| (policy.name().clone(), policy)));
        self.forget_decisions();
    }

    /// Adds or replaces a pod with a network of its own.
    pub fn put_pod(&mut self, pod: PolicyPod) {
        let PolicyPod { uid, namespace, name, labels, named_ports, node } = pod;
        // Before the former class is released: an unchanged pod keeps its number.
        let (class, number) = self.classes.acquire(PodClass { namespace, labels, named_ports, node });
        if let Some(former) = self.pods.insert(uid, IndexedPod { name, class, number }) {
            self.classes.release(&former.class);
        }
    }

    pub fn remove_pod(&mut self, uid: &str) {
        if let Some(former) = self.pods.remove(uid) {
            self.classes.release(&former.class);
        }
    }

    /// Replaces all pods.
    pub fn replace_pods(&mut self, pods: Vec<PolicyPod>) {
        let listed: HashSet<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
        pods.into_iter().for_each(|pod| self.put_pod(pod));
        let gone: Vec<String> = self.pods.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.remove_pod(uid));
    }

    /// Sets the labels of a namespace.
    pub fn put_namespace(&mut self, name: &str, labels: Labels) {
        if self.namespaces.get(name) != Some(&labels) {
            self.namespaces.insert(name.to_owned(), labels);
            self.cache.clear();
        }
    }

    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Replaces all namespaces.
    pub fn replace_namespaces(&mut self, namespaces: HashMap<String, Labels>) {
        self.namespaces = namespaces;
        self.cache.clear();
    }

    /// Sets the labels of a node.
    pub fn put_node(&mut self, name: &str, labels: Labels) {
        match self.nodes.get_mut(name) {
            Some(known) if known.labels == labels => {}
            Some(known) => {
                known.labels = labels;
                self.cache.clear();
            }
            None => {
                self.next_node = self.next_node.wrapping_add(1);
                self.nodes
                    .insert(name.to_owned(), IndexedNode { labels, number: self.next_node, addresses: Vec::new() });
            }
        }
    }

    /// Replaces all nodes.
    pub fn replace_nodes(&mut self, nodes: HashMap<String, Labels>) {
        self.nodes.retain(|name, _| nodes.contains_key(name));
        self.node_addresses.retain(|_, name| nodes.contains_key(&**name));
        nodes.into_iter().for_each(|(name, labels)| self.put_node(&name, labels));
    }

    pub fn remove_node(&mut self, name: &str) {
        self.set_node_addresses(name, Vec::new());
        self.nodes.remove(name);
    }

    /// Sets the addresses by which a known node is known.
    pub fn set_node_addresses(&mut self, name: &str, addresses: Vec<IpAddr>) {
        let Self { nodes, node_addresses, .. } = self;
        let Some(node) = nodes.get_mut(name) else { return };
        for former in &node.addresses {
            if node_addresses.get(former).is_some_and(|owner| **owner == *name) {
                node_addresses.remove(former);
            }
        }
        let name: Arc<str> = name.into();
        node_addresses.extend(addresses.iter().map(|address| (*address, Arc::clone(&name))));
        node.addresses = addresses;
    }

    /// The name of the node with this address.
    pub fn node_at(&self, address: IpAddr) -> Option<Arc<str>> {
        self.node_addresses.get(&address).cloned()
    }

    /// What of the policies cannot be read or evaluated.
    pub fn refused(&self) -> impl Iterator<Item = &Refused> {
        self.policies.values().flat_map(Policy::refused)
    }

    /// What the policies say. None while the policies of a kind, a pod, its namespace or a node are not known.
    pub fn decide(&mut self, asked: &AskedConnection<'_>) -> Option<Arc<Decision>> {
        if self.listed.len() < PolicyKind::ALL.len() {
            return None;
        }
        let Self { policies, compiled, pods, namespaces, nodes, cache, .. } = self;
        let compiled = compiled.get_or_insert_with(|| {
            let policies: Vec<Policy> = policies.values().cloned().collect();
            PolicySet::compile(&policies).0
        });
        let known = KnownObjects { pods, namespaces, nodes };
        let ((client, client_key), (server, server_key)) = (known.peer(asked.client)?, known.peer(asked.server)?);
        let AskedConnection { client_ip, server_ip, protocol, port, .. } = *asked;
        let addresses = compiled.uses_addresses().then_some((client_ip, server_ip));
        let key = DecisionKey { client: client_key, server: server_key, addresses, protocol, port };
        let connection = Connection { client, client_ip, server, server_ip, protocol, port };
        Some(cache.get_or_decide(key, || compiled.evaluate(&connection)))
    }

    /// A decision as one line for people.
    pub fn explain(&self, asked: &AskedConnection<'_>, decision: &Decision) -> Option<String> {
        let known = KnownObjects { pods: &self.pods, namespaces: &self.namespaces, nodes: &self.nodes };
        let ((client, _), (server, _)) = (known.peer(asked.client)?, known.peer(asked.server)?);
        let AskedConnection { client_ip, server_ip, protocol, port, .. } = *asked;
        Some(decision.explain(&Connection { client, client_ip, server, server_ip, protocol, port }))
    }

    fn forget_decisions(&mut self) {
        self.compiled = None;
        self.cache.clear();
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.classes.len(), self.cache.len())
    }
}

struct KnownObjects<'a> {
    pods: &'a HashMap<String, IndexedPod>,
    namespaces: &'a HashMap<String, Labels>,
    nodes: &'a HashMap<String, IndexedNode>,
}

impl<'a> KnownObjects<'a> {
    fn peer(&self, end: ConnectionEndId<'a>) -> Option<(Peer<'a>, EndKey)> {
        Some(match end {
            ConnectionEndId::Pod(uid) => {
                let IndexedPod { name, class, number } = self.pods.get(uid)?;
                let PodClass { namespace, labels, named_ports, node } = &**class;
                let namespace_labels = self.namespaces.get(namespace)?;
                (Peer::Pod(Pod { namespace, name, labels, namespace_labels, named_ports, node }), EndKey::Pod(*number))
            }
            ConnectionEndId::Node(name) => {
                let IndexedNode { labels, number, .. } = self.nodes.get(name)?;
                (Peer::Node(Node { name, labels }), EndKey::Node(*number))
            }
            ConnectionEndId::External => (Peer::External, EndKey::External),
        })
    }
}
