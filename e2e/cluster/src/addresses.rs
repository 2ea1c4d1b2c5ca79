//! The cluster's address plan: pure, no interface is touched here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where the cluster's name server is found by every pod.
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";
pub(crate) const SERVICES_V4: &str = "10.96.0.0/16";
pub(crate) const SERVICES_V6: &str = "fd00:96::/112";
pub(crate) const PODS_V4: &str = "10.244.0.0/16";
pub(crate) const PODS_V6: &str = "fd00:244::/32";
pub(crate) const NODES_V4: &str = "10.99.0.0/24";
pub(crate) const NODES_V6: &str = "fd00:99::/64";
/// The first address of each Service range, which the API server takes for itself.
pub(crate) const API_SERVICE: [&str; 2] = ["10.96.0.1", "fd00:96::1"];

/// A node by its number, from 1. The first shares the machine's network namespace, each other has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeNumber(pub u8);

impl NodeNumber {
    pub(crate) fn name(self) -> String {
        format!("node{}", self.0)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let number = name.strip_prefix("node")?.parse().ok()?;
        (number > 0).then_some(Self(number))
    }

    pub(crate) fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, self.0)
    }

    pub(crate) fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, u16::from(self.0))
    }

    pub(crate) fn addresses(self) -> [IpAddr; 2] {
        [self.v4().into(), self.v6().into()]
    }

    pub(crate) fn pods_v4(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }

    pub(crate) fn pods_v6(self) -> String {
        format!("fd00:244:{:x}::/64", self.0)
    }

    /// The network namespace of the node, if it has one of its own; its veth on the bridge has the same
    /// name, or the tap of a guest, which needs no namespace.
    pub(crate) fn namespace(self) -> Option<String> {
        (self.0 > 1).then(|| format!("trilo-{}", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_its_name() {
        assert_eq!(NodeNumber::from_name("node2"), Some(NodeNumber(2)));
        for other in ["node0", "node", "apiserver", "node256"] {
            assert_eq!(NodeNumber::from_name(other), None, "{other}");
        }
    }

    #[test]
    fn each_node_has_pods_in_both_families_inside_the_ranges_of_all_pods() {
        let node = NodeNumber(17);
        assert_eq!((node.pods_v4().as_str(), node.pods_v6().as_str()), ("10.244.17.0/24", "fd00:244:11::/64"));
        assert_eq!(node.v6().to_string(), "fd00:99::11");
    }

    #[test]
    fn names_of_interfaces_fit_the_kernel() {
        assert!(NodeNumber(255).namespace().unwrap().len() < 16);
        assert_eq!(NodeNumber(1).namespace(), None);
    }
}
