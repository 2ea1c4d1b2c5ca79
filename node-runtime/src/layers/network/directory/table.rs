//! A directory as tables behind one lock, filled by the watch, or by hand in tests and without a cluster.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
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
        endpoint::{AddressOwner, ConnectionEnd},
    },
};

#[derive(Debug, Default)]
pub struct DirectoryTable(Mutex<Tables>);

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
        Self(Mutex::new(Tables { here: here.to_owned(), ..Tables::default() }))
    }

    /// Adds or updates a pod.
    pub fn put_pod(&self, pod: &NodePod) {
        self.0.lock().pods.put(pod, boot_ns());
    }

    /// Removes a pod that was deleted or has ended: its addresses may be given to another.
    pub fn remove_pod(&self, uid: &str) {
        self.0.lock().pods.remove(uid);
    }

    /// Replaces all pods.
    pub fn replace_pods(&self, pods: &[NodePod], is_first_list: bool) {
        let mut fresh = Pods::default();
        let now = boot_ns();
        pods.iter().for_each(|pod| fresh.put(pod, now));
        let mut tables = self.0.lock();
        fresh.keep_times(&tables.pods, is_first_list);
        tables.pods = fresh;
    }

    /// Adds or updates a Service.
    pub fn put_service(&self, service: PublishedService) {
        self.0.lock().services.put(service, boot_ns());
    }

    pub fn remove_service(&self, namespace: &str, name: &str) {
        self.0.lock().services.remove(namespace, name);
    }

    /// Replaces all Services.
    pub fn replace_services(&self, services: Vec<PublishedService>, is_first_list: bool) {
        let mut fresh = Services::default();
        let now = boot_ns();
        services.into_iter().for_each(|service| fresh.put(service, now));
        let mut tables = self.0.lock();
        fresh.keep_times(&tables.services, is_first_list);
        tables.services = fresh;
    }

    /// Adds or updates a node.
    pub fn put_node(&self, node: NodeAddresses) {
        let Tables { nodes, here, .. } = &mut *self.0.lock();
        nodes.put(node, here);
    }

    pub fn remove_node(&self, name: &str) {
        let Tables { nodes, here, .. } = &mut *self.0.lock();
        nodes.remove(name, here);
    }

    /// Replaces all nodes.
    pub fn replace_nodes(&self, list: Vec<NodeAddresses>) {
        let Tables { nodes, here, .. } = &mut *self.0.lock();
        nodes.replace(list, here);
    }

    /// Sets the ranges of a ServiceCIDR; empty if it was deleted.
    pub fn set_service_ranges(&self, name: &str, ranges: Vec<IpNet>) {
        self.0.lock().nodes.set_service_ranges(name, ranges);
    }

    /// Replaces the ranges of all ServiceCIDRs.
    pub fn replace_service_ranges(&self, ranges: BTreeMap<String, Vec<IpNet>>) {
        self.0.lock().nodes.replace_service_ranges(ranges);
    }
}

impl Directory for DirectoryTable {
    fn owner(&self, transport: Transport, address: SocketAddr, is_local: bool) -> ConnectionEnd {
        let Tables { here, pods, services, nodes } = &*self.0.lock();
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
        let tables = self.0.lock();
        let port = (transport, address.port());
        let pod = tables.pods.with_port(address.ip(), port);
        pod.is_some_and(|(pod, is_declared)| is_declared || tables.services.target(pod, port))
    }

    fn is_in_cluster(&self, address: IpAddr) -> bool {
        let tables = self.0.lock();
        tables.services.has_cluster_ip(address) || tables.nodes.has_range_of(address)
    }

    fn is_complete(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Pod;

    fn pod(node: &str) -> NodePod {
        let pod = Pod {
            uid: "a".into(),
            name: "a".into(),
            namespace: "shop".into(),
            ips: vec!["10.1.0.7".parse().unwrap()],
            node: node.into(),
            ..Pod::default()
        };
        NodePod { pod, node_ips: vec!["192.0.2.1".parse().unwrap()], ports: vec![(Transport::Tcp, 50051)] }
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
