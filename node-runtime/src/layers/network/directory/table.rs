//! A directory as tables behind one lock, filled by the watch, or by hand in tests and without a cluster.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use parking_lot::Mutex;

use super::{
    Directory,
    nodes::{NodeAddresses, Nodes, node_endpoint},
    pods::{NodePod, Pods},
    services::{PublishedService, Services},
};
use crate::{
    kernel::clock::boot_ns,
    layers::network::{
        decode::Transport,
        endpoint::{AddressOwner, ConnectionEnd, Endpoint},
        verdict::{PolicyIndex, PolicyPod},
    },
};

#[derive(Debug, Default)]
pub struct DirectoryTable {
    tables: Mutex<Tables>,
    /// Is given the pods and nodes, too.
    policies: Option<Arc<Mutex<PolicyIndex>>>,
}

#[derive(Debug, Default)]
struct Tables {
    /// This node's name.
    here: String,
    pods: Pods,
    services: Services,
    nodes: Nodes,
}

impl DirectoryTable {
    /// A table of the node with this name.
    pub fn new(here: &str) -> Self {
        Self { tables: Mutex::new(Tables { here: here.to_owned(), ..Tables::default() }), policies: None }
    }

    /// As `new`; policies select by the pods and nodes of this table.
    pub fn with_policies(here: &str, policies: &Arc<Mutex<PolicyIndex>>) -> Self {
        Self { policies: Some(Arc::clone(policies)), ..Self::new(here) }
    }

    /// Adds or updates a pod.
    pub fn put_pod(&self, pod: &NodePod) {
        self.tables.lock().pods.put(pod, boot_ns());
        if let (Some(policies), Some(pod)) = (&self.policies, policy_pod(pod)) {
            policies.lock().put_pod(pod);
        }
    }

    /// Removes a pod that was deleted or has ended: its addresses may be given to another.
    pub fn remove_pod(&self, uid: &str) {
        self.tables.lock().pods.remove(uid);
        if let Some(policies) = &self.policies {
            policies.lock().remove_pod(uid);
        }
    }

    /// Replaces all pods.
    pub fn replace_pods(&self, pods: &[NodePod], is_first_list: bool) {
        let mut fresh = Pods::default();
        let now = boot_ns();
        pods.iter().for_each(|pod| fresh.put(pod, now));
        let mut tables = self.tables.lock();
        fresh.keep_times(&tables.pods, is_first_list);
        tables.pods = fresh;
        drop(tables);
        if let Some(policies) = &self.policies {
            policies.lock().replace_pods(pods.iter().filter_map(policy_pod).collect());
        }
    }

    /// Adds or updates a Service.
    pub fn put_service(&self, service: PublishedService) {
        self.tables.lock().services.put(service, boot_ns());
    }

    pub fn remove_service(&self, namespace: &str, name: &str) {
        self.tables.lock().services.remove(namespace, name);
    }

    /// Replaces all Services.
    pub fn replace_services(&self, services: Vec<PublishedService>, is_first_list: bool) {
        let mut fresh = Services::default();
        let now = boot_ns();
        services.into_iter().for_each(|service| fresh.put(service, now));
        let mut tables = self.tables.lock();
        fresh.keep_times(&tables.services, is_first_list);
        tables.services = fresh;
    }

    /// Adds or updates a node.
    pub fn put_node(&self, node: NodeAddresses) {
        if let Some(policies) = &self.policies {
            put_policy_node(&mut policies.lock(), &node);
        }
        let Tables { nodes, here, .. } = &mut *self.tables.lock();
        nodes.put(node, here);
    }

    pub fn remove_node(&self, name: &str) {
        if let Some(policies) = &self.policies {
            policies.lock().remove_node(name);
        }
        let Tables { nodes, here, .. } = &mut *self.tables.lock();
        nodes.remove(name, here);
    }

    /// Replaces all nodes.
    pub fn replace_nodes(&self, list: Vec<NodeAddresses>) {
        if let Some(policies) = &self.policies {
            let mut policies = policies.lock();
            policies.replace_nodes(list.iter().map(|node| (node.name.clone(), node.labels.clone())).collect());
            list.iter().for_each(|node| put_policy_node(&mut policies, node));
        }
        let Tables { nodes, here, .. } = &mut *self.tables.lock();
        nodes.replace(list, here);
    }

    /// Sets the ranges of a ServiceCIDR; empty if it was deleted.
    pub fn set_service_ranges(&self, name: &str, ranges: Vec<IpNet>) {
        self.tables.lock().nodes.set_service_ranges(name, ranges);
    }

    /// Replaces the ranges of all ServiceCIDRs.
    pub fn replace_service_ranges(&self, ranges: BTreeMap<String, Vec<IpNet>>) {
        self.tables.lock().nodes.replace_service_ranges(ranges);
    }
}

/// None for a pod in its node's network, which policies do not select.
fn policy_pod(NodePod { pod, named_ports, .. }: &NodePod) -> Option<PolicyPod> {
    (!pod.host_network).then(|| PolicyPod {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: pod.labels.clone(),
        named_ports: named_ports.clone(),
        node: pod.node.clone(),
    })
}

fn put_policy_node(policies: &mut PolicyIndex, node: &NodeAddresses) {
    policies.put_node(&node.name, node.labels.clone());
    policies.set_node_addresses(&node.name, node.own().collect());
}

impl Directory for DirectoryTable {
    fn owner(&self, transport: Transport, address: SocketAddr, is_local: bool) -> ConnectionEnd {
        let Tables { here, pods, services, nodes } = &*self.tables.lock();
        let ip = address.ip();
        let node = || {
            let of_pods = || pods.node_addresses.get(&ip).map(|node| AddressOwner::always(node_endpoint(node, here)));
            nodes.owner(ip).or_else(of_pods)
        };
        let pod = pods.owner(ip);
        let node = if pod.is_none() { node() } else { None };
        let service = services.owner(transport, address, is_local || node.is_some());
        ConnectionEnd { endpoint: pod.or(node), service }
    }

    fn declares(&self, transport: Transport, address: SocketAddr) -> bool {
        let tables = self.tables.lock();
        let port = (transport, address.port());
        let pod = tables.pods.with_port(address.ip(), port);
        pod.is_some_and(|(pod, is_declared)| is_declared || tables.services.target(pod, port))
    }

    fn is_in_cluster(&self, address: IpAddr) -> bool {
        let tables = self.tables.lock();
        tables.services.has_cluster_ip(address) || tables.nodes.has_range_of(address)
    }

    fn visit_pods(&self, visit: &mut dyn FnMut(&Endpoint)) {
        self.tables.lock().pods.endpoints().for_each(visit);
    }

    fn is_complete(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use trilobite_netpol::{Labels, PolicyKind, Protocol};

    use super::*;
    use crate::{
        identity::Pod,
        layers::network::verdict::{AskedConnection, ConnectionEndId},
    };

    fn pod(node: &str) -> NodePod {
        let pod = Pod {
            uid: "a".into(),
            name: "a".into(),
            namespace: "shop".into(),
            ips: vec!["10.1.0.7".parse().unwrap()],
            node: node.into(),
            ..Pod::default()
        };
        let (node_ips, ports) = (vec!["192.0.2.1".parse().unwrap()], vec![(Transport::Tcp, 50051)]);
        NodePod { pod, node_ips, ports, ..NodePod::default() }
    }

    #[test]
    fn node_of_a_pod_is_host_here_and_remote_elsewhere() {
        for (here, identity) in [("n1", 1), ("n2", 6)] {
            let table = DirectoryTable::new(here);
            table.put_pod(&pod("n1"));
            let owner = table.owner(Transport::Tcp, "192.0.2.1:22".parse().unwrap(), false);
            assert_eq!(owner.endpoint.unwrap().owner.identity, identity);
        }
    }

    #[test]
    fn policies_select_by_the_pods_and_nodes_of_the_table() {
        let index = Arc::new(Mutex::new(PolicyIndex::default()));
        for kind in PolicyKind::ALL {
            index.lock().replace_policies(kind, Vec::new());
        }
        index.lock().put_namespace("shop", Labels::new());
        let table = DirectoryTable::with_policies("n1", &index);
        let is_known = |client: ConnectionEndId<'_>| {
            let (server, server_ip) = (ConnectionEndId::External, [203, 0, 113, 7].into());
            let client_ip = [10, 1, 0, 7].into();
            let asked = AskedConnection { client, client_ip, server, server_ip, protocol: Protocol::Tcp, port: 80 };
            index.lock().decide(&asked).is_some()
        };
        let (by_uid, by_name) = (|| is_known(ConnectionEndId::Pod("a")), || is_known(ConnectionEndId::Node("n2")));
        assert!(!by_uid() && !by_name());
        table.put_pod(&pod("n1"));
        assert!(by_uid());
        table.remove_pod("a");
        assert!(!by_uid());
        table.replace_pods(&[pod("n1")], true);
        assert!(by_uid());
        let mut host = pod("n1");
        host.pod.host_network = true;
        table.replace_pods(&[host], false);
        assert!(!by_uid());
        let node = || NodeAddresses {
            name: "n2".into(),
            addresses: vec!["192.0.2.2".parse().unwrap()],
            pod_ranges: vec!["10.1.1.0/24".parse().unwrap()],
            ..NodeAddresses::default()
        };
        let node_at = |address: &str| index.lock().node_at(address.parse().unwrap()).map(|name| name.to_string());
        let all = || ["192.0.2.2", "10.1.1.0", "10.1.1.1", "10.1.1.2"].map(node_at);
        let n2 = || Some("n2".to_owned());
        table.put_node(node());
        assert!(by_name() && all() == [n2(), n2(), n2(), None]);
        table.put_node(NodeAddresses { addresses: vec!["192.0.2.3".parse().unwrap()], ..node() });
        assert_eq!(["192.0.2.2", "192.0.2.3"].map(node_at), [None, n2()]);
        table.remove_node("n2");
        assert!(!by_name() && all() == [None, None, None, None]);
        table.replace_nodes(vec![node()]);
        assert!(by_name() && all() == [n2(), n2(), n2(), None]);
        table.replace_nodes(Vec::new());
        assert!(!by_name() && all() == [None, None, None, None]);
    }

    #[test]
    fn declared_port_of_a_container_is_a_servers() {
        let table = DirectoryTable::new("n1");
        table.put_pod(&pod("n1"));
        for (transport, address, expected) in [
            (Transport::Tcp, "10.1.0.7:50051", true),
            (Transport::Udp, "10.1.0.7:50051", false),
            (Transport::Tcp, "10.1.0.7:50052", false),
            (Transport::Tcp, "10.1.0.8:50051", false),
        ] {
            assert_eq!(table.declares(transport, address.parse().unwrap()), expected, "{transport:?} {address}");
        }
    }
}
