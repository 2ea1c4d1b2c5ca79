//! Nodes by address, and the ranges of the cluster's pods and Services. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use trilobite_netpol::Labels;

use crate::layers::network::endpoint::{AddressOwner, Endpoint, Reserved};

/// Addresses and labels of a node, and the ranges of its pods.
#[derive(Clone, Debug, Default)]
pub struct NodeAddresses {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    pub pod_ranges: Vec<IpNet>,
    /// What policies select it by.
    pub labels: Labels,
}

impl NodeAddresses {
    /// The node's own addresses: those of its status, and the first two of its pods' ranges.
    pub(super) fn own(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied().chain(self.pod_ranges.iter().flat_map(gateways))
    }
}

#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_name: BTreeMap<String, NodeAddresses>,
    by_address: HashMap<IpAddr, AddressOwner<Endpoint>>,
    /// Ranges of Services, by the name of their ServiceCIDR.
    service_ranges: BTreeMap<String, Vec<IpNet>>,
    /// All ranges; neighbours are joined.
    ranges: Vec<IpNet>,
}

impl Nodes {
    /// Adds or updates a node. `here` is this node's name.
    pub(super) fn put(&mut self, node: NodeAddresses, here: &str) {
        self.by_name.insert(node.name.clone(), node);
        self.rebuild(here);
    }

    pub(super) fn remove(&mut self, name: &str, here: &str) {
        self.by_name.remove(name);
        self.rebuild(here);
    }

    pub(super) fn replace(&mut self, nodes: Vec<NodeAddresses>, here: &str) {
        self.by_name = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        self.rebuild(here);
    }

    /// Sets the ranges of a ServiceCIDR; empty if it was deleted.
    pub(super) fn set_service_ranges(&mut self, name: &str, ranges: Vec<IpNet>) {
        self.service_ranges.insert(name.to_owned(), ranges);
        self.join_ranges();
    }

    pub(super) fn replace_service_ranges(&mut self, ranges: BTreeMap<String, Vec<IpNet>>) {
        self.service_ranges = ranges;
        self.join_ranges();
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<AddressOwner<Endpoint>> {
        self.by_address.get(&address).cloned()
    }

    pub(super) fn has_range_of(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    fn rebuild(&mut self, here: &str) {
        self.by_address.clear();
        for node in self.by_name.values() {
            let endpoint = node_endpoint(&node.name, here);
            // The first two addresses of a node's pods are the node's: its overlay device and its bridge, or the gateway. A CNI
            // that gives them to pods all the same has pods that are known by these addresses; they are not replaced.
            for gateway in node.pod_ranges.iter().flat_map(gateways) {
                let owner = AddressOwner { owner: endpoint.clone(), since: u64::MAX };
                self.by_address.entry(gateway).or_insert(owner);
            }
        }
        for node in self.by_name.values() {
            let owner = AddressOwner::always(node_endpoint(&node.name, here));
            self.by_address.extend(node.addresses.iter().map(|address| (*address, owner.clone())));
        }
        self.join_ranges();
    }

    fn join_ranges(&mut self) {
        let pods = self.by_name.values().flat_map(|node| &node.pod_ranges);
        let all: Vec<IpNet> = pods.chain(self.service_ranges.values().flatten()).copied().collect();
        self.ranges = IpNet::aggregate(&all);
    }
}

/// This node is shown as the host, any other as a remote node.
pub(super) fn node_endpoint(name: &str, here: &str) -> Arc<Endpoint> {
    Arc::new(Endpoint::reserved(if name == here { Reserved::Host } else { Reserved::RemoteNode }))
}

/// The network's own address and the one behind it.
fn gateways(range: &IpNet) -> [IpAddr; 2] {
    let next = match range.network() {
        IpAddr::V4(address) => IpAddr::V4(u32::from(address).saturating_add(1).into()),
        IpAddr::V6(address) => IpAddr::V6(u128::from(address).saturating_add(1).into()),
    };
    [range.network(), next]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_nodes() -> Nodes {
        let node = |name: &str, address: &str, ranges: &[&str]| NodeAddresses {
            name: name.into(),
            addresses: vec![address.parse().unwrap()],
            pod_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
            ..NodeAddresses::default()
        };
        let mut nodes = Nodes::default();
        nodes.put(node("n1", "192.0.2.1", &["10.1.0.0/24", "fd00:1::/64"]), "n1");
        nodes.put(node("n2", "192.0.2.2", &["10.1.1.0/24"]), "n1");
        nodes
    }

    fn identity(nodes: &Nodes, address: &str) -> Option<u32> {
        nodes.owner(address.parse().unwrap()).map(|owner| owner.owner.identity)
    }

    #[test]
    fn gateways_of_pod_ranges_are_their_nodes() {
        let nodes = two_nodes();
        for (address, expected) in [
            ("192.0.2.1", Some(1)),
            ("192.0.2.2", Some(6)),
            ("10.1.0.1", Some(1)),
            ("fd00:1::1", Some(1)),
            ("10.1.1.0", Some(6)),
            ("10.1.1.1", Some(6)),
            ("10.1.1.2", None),
        ] {
            assert_eq!(identity(&nodes, address), expected, "{address}");
        }
    }

    #[test]
    fn deleted_node_gives_up_its_addresses_and_its_range() {
        let mut nodes = two_nodes();
        nodes.set_service_ranges("kubernetes", vec!["10.96.0.0/16".parse().unwrap()]);
        let is_inside = |nodes: &Nodes| {
            ["10.1.1.200", "10.96.3.4", "198.51.100.1"].map(|address| nodes.has_range_of(address.parse().unwrap()))
        };
        assert_eq!(is_inside(&nodes), [true, true, false]);
        nodes.remove("n2", "n1");
        assert_eq!((identity(&nodes, "192.0.2.2"), identity(&nodes, "10.1.1.1")), (None, None));
        assert_eq!(is_inside(&nodes), [false, true, false]);
        nodes.set_service_ranges("kubernetes", Vec::new());
        assert_eq!(is_inside(&nodes), [false; 3]);
    }
}
