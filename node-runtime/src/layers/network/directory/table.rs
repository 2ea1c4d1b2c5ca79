//! A directory as a plain table: what the watch fills, and what tests and a machine without a cluster have.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Directory;
use crate::{
    identity::Pod,
    layers::network::{
        end::{End, Service},
        numeric::Reserved,
    },
};

/// Addresses and whose they are.
#[derive(Debug, Default)]
pub struct Table(Mutex<Entries>);

/// A pod, and the addresses of the node it runs on.
#[derive(Clone, Debug, Default)]
pub struct NodePod {
    /// The pod.
    pub pod: Pod,
    /// Addresses of its node.
    pub node_ips: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct Entries {
    pods: HashMap<String, Vec<IpAddr>>,
    ends: HashMap<IpAddr, (String, Arc<End>)>,
    nodes: HashMap<IpAddr, Arc<End>>,
    services: HashMap<IpAddr, Arc<Service>>,
    /// Of addresses outside the cluster's own range.
    outer: HashMap<IpAddr, Arc<Service>>,
    names: HashMap<(String, String), Vec<IpAddr>>,
}

impl Table {
    /// A pod is there, or has changed. `here` is this node's name.
    pub fn put_pod(&self, NodePod { pod, node_ips }: &NodePod, here: &str) {
        let mut entries = self.entries();
        let kind = if pod.node == here { Reserved::Host } else { Reserved::RemoteNode };
        for address in node_ips {
            entries.nodes.entry(*address).or_insert_with(|| Arc::new(End::reserved(kind)));
        }
        entries.remove_pod(&pod.uid);
        // A pod in the host's network has the node's addresses: they are the node's.
        if pod.host_network || pod.ips.is_empty() {
            return;
        }
        let end = Arc::new(End::pod(pod));
        for address in &pod.ips {
            entries.ends.insert(*address, (pod.uid.clone(), end.clone()));
        }
        entries.pods.insert(pod.uid.clone(), pod.ips.clone());
    }

    /// A pod is gone, or has ended: its addresses may be given to another.
    pub fn remove_pod(&self, uid: &str) {
        self.entries().remove_pod(uid);
    }

    /// A Service is there, or has changed; without an address it is gone. `outer` are those that it is reached at from
    /// outside the cluster.
    pub fn put_service(&self, service: Service, addresses: &[IpAddr], outer: &[IpAddr]) {
        let mut entries = self.entries();
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

    /// Has the pods and nodes of `fresh` and no others, as after a watch that began again.
    pub fn take_pods(&self, fresh: Self) {
        let fresh = fresh.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries();
        (entries.pods, entries.ends, entries.nodes) = (fresh.pods, fresh.ends, fresh.nodes);
    }

    /// As `take_pods`.
    pub fn take_services(&self, fresh: Self) {
        let fresh = fresh.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries();
        (entries.services, entries.outer, entries.names) = (fresh.services, fresh.outer, fresh.names);
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn remove_pod(&mut self, uid: &str) {
        for address in self.pods.remove(uid).unwrap_or_default() {
            // The address may have been given to another pod before this one's end was heard of.
            if self.ends.get(&address).is_some_and(|(owner, _)| owner == uid) {
                self.ends.remove(&address);
            }
        }
    }
}

impl Directory for Table {
    fn end(&self, address: IpAddr) -> Option<Arc<End>> {
        let entries = self.entries();
        entries.ends.get(&address).map(|(_, end)| end).or_else(|| entries.nodes.get(&address)).cloned()
    }

    fn service(&self, address: IpAddr) -> Option<Arc<Service>> {
        let entries = self.entries();
        // A Service that is reached at a node's own address is there at some ports alone: all else is the node's.
        let outer = || entries.outer.get(&address).filter(|_| !entries.nodes.contains_key(&address));
        entries.services.get(&address).or_else(outer).cloned()
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
    fn an_address_that_is_given_to_another_pod_stays_with_it_when_the_first_is_gone() {
        let table = Table::default();
        table.put_pod(&pod("first", "10.1.0.7", "n1"), "n1");
        table.put_pod(&pod("second", "10.1.0.7", "n1"), "n1");
        table.remove_pod("first");
        assert_eq!(table.end("10.1.0.7".parse().unwrap()).unwrap().pod, "second");
    }

    #[test]
    fn the_node_of_a_pod_is_host_here_and_remote_elsewhere() {
        for (here, identity) in [("n1", 1), ("n2", 6)] {
            let table = Table::default();
            table.put_pod(&pod("a", "10.1.0.7", "n1"), here);
            assert_eq!(table.end("192.0.2.1".parse().unwrap()).unwrap().identity, identity);
        }
    }

    #[test]
    fn a_service_that_loses_its_address_is_found_no_more() {
        let table = Table::default();
        let cart = || Service { name: "cart".into(), namespace: "shop".into(), end: Arc::default() };
        let address = "10.96.0.5".parse().unwrap();
        table.put_service(cart(), &[address], &[]);
        assert_eq!(table.service(address).unwrap().name, "cart");
        table.put_service(cart(), &[], &[]);
        assert_eq!(table.service(address), None);
    }
}
