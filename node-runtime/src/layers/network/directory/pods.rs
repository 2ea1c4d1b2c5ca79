//! Pods by address, and when an address came to its pod. Pure: time is an argument, in nanoseconds of the boot clock.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use trilobite_netpol::NamedPort;

use crate::{
    identity::Pod,
    layers::network::{
        decode::Transport,
        endpoint::{AddressOwner, Endpoint},
    },
};

/// A pod, the addresses of the node it runs on, and the ports that its containers declare.
#[derive(Clone, Debug, Default)]
pub struct NodePod {
    pub pod: Pod,
    pub node_ips: Vec<IpAddr>,
    pub ports: Vec<(Transport, u16)>,
    /// Those of `ports` that have names, and of SCTP.
    pub named_ports: Vec<NamedPort>,
}

#[derive(Debug, Default)]
pub(super) struct Pods {
    by_uid: HashMap<String, Vec<IpAddr>>,
    by_address: HashMap<IpAddr, PodAddress>,
    /// Addresses of the nodes of pods, by the node's name: known even where Nodes may not be watched.
    pub(super) node_addresses: HashMap<IpAddr, String>,
}

#[derive(Debug)]
struct PodAddress {
    owner: AddressOwner<Endpoint>,
    ports: Arc<HashSet<(Transport, u16)>>,
}

impl Pods {
    /// Adds or updates a pod.
    pub(super) fn put(&mut self, NodePod { pod, node_ips, ports, .. }: &NodePod, now: u64) {
        for address in node_ips {
            self.node_addresses.insert(*address, pod.node.clone());
        }
        // A pod in the host's network shares the addresses of the node, which are shown as the node's.
        let addresses = if pod.host_network { Vec::new() } else { pod.ips.clone() };
        for former in self.by_uid.remove(&pod.uid).unwrap_or_default() {
            if !addresses.contains(&former) {
                self.release(former, &pod.uid);
            }
        }
        if addresses.is_empty() {
            return;
        }
        let (endpoint, ports) = (Arc::new(Endpoint::pod(pod)), Arc::new(ports.iter().copied().collect()));
        for address in &addresses {
            let known = self.by_address.get(address).filter(|known| known.owner.owner.uid == pod.uid);
            let since = known.map_or(now, |known| known.owner.since);
            let owner = AddressOwner { owner: endpoint.clone(), since };
            self.by_address.insert(*address, PodAddress { owner, ports: Arc::clone(&ports) });
        }
        self.by_uid.insert(pod.uid.clone(), addresses);
    }

    /// Removes a pod that was deleted or has ended: its addresses may be given to another.
    pub(super) fn remove(&mut self, uid: &str) {
        for address in self.by_uid.remove(uid).unwrap_or_default() {
            self.release(address, uid);
        }
    }

    /// Takes over when each address came to its pod, from what was known before a new list.
    pub(super) fn keep_times(&mut self, former: &Self, is_first_list: bool) {
        for (address, entry) in &mut self.by_address {
            entry.owner.since = match former.by_address.get(address) {
                Some(known) if known.owner.owner.uid == entry.owner.owner.uid => known.owner.since,
                None if is_first_list => 0,
                _ => entry.owner.since,
            };
        }
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<AddressOwner<Endpoint>> {
        self.by_address.get(&address).map(|entry| entry.owner.clone())
    }

    /// The pod with this address, and whether a container of it declares the port.
    pub(super) fn with_port(&self, address: IpAddr, port: (Transport, u16)) -> Option<(&Endpoint, bool)> {
        self.by_address.get(&address).map(|entry| (&*entry.owner.owner, entry.ports.contains(&port)))
    }

    /// Pods that have an address, once for each.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_address.values().map(|entry| &*entry.owner.owner)
    }

    /// The address may have been given to another pod before this one's deletion was reported.
    fn release(&mut self, address: IpAddr, uid: &str) {
        if self.by_address.get(&address).is_some_and(|entry| entry.owner.owner.uid == uid) {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, ip: &str) -> NodePod {
        let pod = Pod {
            uid: uid.into(),
            name: uid.into(),
            namespace: "shop".into(),
            ips: vec![ip.parse().unwrap()],
            ..Pod::default()
        };
        NodePod { pod, ..NodePod::default() }
    }

    fn owner(pods: &Pods, ip: &str) -> Option<(String, u64)> {
        pods.owner(ip.parse().unwrap()).map(|owner| (owner.owner.uid.clone(), owner.since))
    }

    #[test]
    fn reused_address_belongs_to_the_newer_pod_since_it_was_seen() {
        let mut pods = Pods::default();
        pods.put(&pod("first", "10.1.0.7"), 3);
        pods.put(&pod("first", "10.1.0.7"), 4);
        assert_eq!(owner(&pods, "10.1.0.7"), Some(("first".into(), 3)));
        pods.put(&pod("second", "10.1.0.7"), 9);
        pods.remove("first");
        assert_eq!(owner(&pods, "10.1.0.7"), Some(("second".into(), 9)));
    }

    #[test]
    fn address_that_a_pod_gave_up_has_no_owner() {
        let mut pods = Pods::default();
        pods.put(&pod("cart", "10.1.0.7"), 3);
        pods.put(&pod("cart", "10.1.0.8"), 4);
        assert_eq!((owner(&pods, "10.1.0.7"), owner(&pods, "10.1.0.8")), (None, Some(("cart".into(), 4))));
    }

    #[test]
    fn new_list_keeps_times_and_dates_what_changed_meanwhile() {
        let mut before = Pods::default();
        before.put(&pod("stays", "10.1.0.7"), 3);
        before.put(&pod("goes", "10.1.0.8"), 3);
        let list = |at| {
            let mut list = Pods::default();
            for (uid, ip) in [("stays", "10.1.0.7"), ("comes", "10.1.0.8"), ("new", "10.1.0.9")] {
                list.put(&pod(uid, ip), at);
            }
            list
        };
        let since =
            |pods: &Pods| ["10.1.0.7", "10.1.0.8", "10.1.0.9"].map(|ip| pods.owner(ip.parse().unwrap()).unwrap().since);
        let mut later = list(20);
        later.keep_times(&before, false);
        assert_eq!(since(&later), [3, 20, 20]);
        let mut first = list(20);
        first.keep_times(&Pods::default(), true);
        assert_eq!(since(&first), [0, 0, 0]);
    }
}
