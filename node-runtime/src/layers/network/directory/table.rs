//! A directory as a plain table, filled by the watch, or by hand in tests and without a cluster.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use super::Directory;
use crate::{
    identity::Pod,
    layers::network::endpoint::{ConnectionEnd, Endpoint, Reserved, Service},
};

#[derive(Debug, Default)]
pub struct DirectoryTable(Mutex<Entries>);

/// A pod, and the addresses of the node it runs on.
#[derive(Clone, Debug, Default)]
pub struct NodePod {
    pub pod: Pod,
    pub node_ips: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct Entries {
    pods: HashMap<String, Vec<IpAddr>>,
    endpoints: HashMap<IpAddr, (String, Arc<Endpoint>)>,
    nodes: HashMap<IpAddr, Arc<Endpoint>>,
    services: HashMap<IpAddr, Arc<Service>>,
    /// Addresses outside the cluster's own range.
    outer: HashMap<IpAddr, Arc<Service>>,
    names: HashMap<(String, String), Vec<IpAddr>>,
}

impl DirectoryTable {
    /// Adds or updates a pod. `here` is this node's name.
    pub fn put_pod(&self, NodePod { pod, node_ips }: &NodePod, here: &str) {
        let mut entries = self.0.lock();
        let kind = if pod.node == here { Reserved::Host } else { Reserved::RemoteNode };
        for address in node_ips {
            entries.nodes.entry(*address).or_insert_with(|| Arc::new(Endpoint::reserved(kind)));
        }
        entries.remove_pod(&pod.uid);
        // A pod in the host's network shares the addresses of the node, which are shown as the node's.
        if pod.host_network || pod.ips.is_empty() {
            return;
        }
        let endpoint = Arc::new(Endpoint::pod(pod));
        for address in &pod.ips {
            entries.endpoints.insert(*address, (pod.uid.clone(), endpoint.clone()));
        }
        entries.pods.insert(pod.uid.clone(), pod.ips.clone());
    }

    /// Removes a pod that was deleted or has ended: its addresses may be given to another.
    pub fn remove_pod(&self, uid: &str) {
        self.0.lock().remove_pod(uid);
    }

    /// Adds or updates a Service; without an address it is removed. At `outer` it is reached from outside the cluster.
    pub fn put_service(&self, service: Service, addresses: &[IpAddr], outer: &[IpAddr]) {
        let mut entries = self.0.lock();
        let name = (service.namespace.clone(), service.name.clone());
        for address in entries.names.remove(&name).unwrap_or_default() {
            entries.services.remove(&address);
            entries.outer.remove(&address);
        }
        if addresses.is_empty() && outer.is_empty() {
            return;
        }
        let service = Arc::new(service);
        for address in addresses {
            entries.services.insert(*address, service.clone());
        }
        for address in outer {
            entries.outer.insert(*address, service.clone());
        }
        entries.names.insert(name, [addresses, outer].concat());
    }

    /// Replaces all pods and nodes, after a watch began again.
    pub fn replace_pods(&self, fresh: Self) {
        let fresh = fresh.0.into_inner();
        let mut entries = self.0.lock();
        (entries.pods, entries.endpoints, entries.nodes) = (fresh.pods, fresh.endpoints, fresh.nodes);
    }

    /// As `replace_pods`, for Services.
    pub fn replace_services(&self, fresh: Self) {
        let fresh = fresh.0.into_inner();
        let mut entries = self.0.lock();
        (entries.services, entries.outer, entries.names) = (fresh.services, fresh.outer, fresh.names);
    }
}

impl Entries {
    fn remove_pod(&mut self, uid: &str) {
        for address in self.pods.remove(uid).unwrap_or_default() {
            // The address may have been given to another pod before this one's deletion was reported.
            if self.endpoints.get(&address).is_some_and(|(owner, _)| owner == uid) {
                self.endpoints.remove(&address);
            }
        }
    }
}

impl Directory for DirectoryTable {
    fn owner(&self, address: IpAddr) -> ConnectionEnd {
        let entries = self.0.lock();
        let node = entries.nodes.get(&address);
        let endpoint = entries.endpoints.get(&address).map(|(_, endpoint)| endpoint).or(node).cloned();
        // A Service at a node's own address has some of its ports only; the rest is the node's.
        let outer = || entries.outer.get(&address).filter(|_| node.is_none());
        ConnectionEnd { endpoint, service: entries.services.get(&address).or_else(outer).cloned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, ip: &str, node: &str) -> NodePod {
        let pod = Pod {
            uid: uid.into(),
            name: uid.into(),
            namespace: "shop".into(),
            ips: vec![ip.parse().unwrap()],
            node: node.into(),
            ..Pod::default()
        };
        NodePod { pod, node_ips: vec!["192.0.2.1".parse().unwrap()] }
    }

    #[test]
    fn reused_address_stays_with_the_newer_pod() {
        let table = DirectoryTable::default();
        table.put_pod(&pod("first", "10.1.0.7", "n1"), "n1");
        table.put_pod(&pod("second", "10.1.0.7", "n1"), "n1");
        table.remove_pod("first");
        assert_eq!(table.owner("10.1.0.7".parse().unwrap()).endpoint.unwrap().pod, "second");
    }

    #[test]
    fn node_of_a_pod_is_host_here_and_remote_elsewhere() {
        for (here, identity) in [("n1", 1), ("n2", 6)] {
            let table = DirectoryTable::default();
            table.put_pod(&pod("a", "10.1.0.7", "n1"), here);
            assert_eq!(table.owner("192.0.2.1".parse().unwrap()).endpoint.unwrap().identity, identity);
        }
    }

    #[test]
    fn service_without_address_is_removed() {
        let table = DirectoryTable::default();
        let cart = || Service { name: "cart".into(), namespace: "shop".into(), endpoint: Arc::default() };
        let address = "10.96.0.5".parse().unwrap();
        table.put_service(cart(), &[address], &[]);
        assert_eq!(table.owner(address).service.unwrap().name, "cart");
        table.put_service(cart(), &[], &[]);
        assert_eq!(table.owner(address).service, None);
    }
}
