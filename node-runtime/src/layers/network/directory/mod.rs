//! The owners of addresses: the pods of all nodes, the Services and the nodes. Filled by a watch on the cluster, and by
//! hand in tests.

mod cluster;
mod nodes;
mod objects;
mod pods;
mod services;
mod shared;
mod table;

use std::net::{IpAddr, SocketAddr};

pub use cluster::ClusterDirectory;
pub use nodes::NodeAddresses;
pub use pods::NodePod;
pub use services::{PublishedService, ServicePort};
pub use shared::SharedDirectory;
pub use table::DirectoryTable;

use super::{
    decode::Transport,
    endpoint::{ConnectionEnd, Endpoint},
};

/// Looked up for both ends of every record: it must not wait.
pub trait Directory: Send + Sync {
    /// The pod or node that has this address, and the Service that is reached at this address and port, inside the cluster or
    /// outside. `is_local`: the address is one of this machine's.
    fn owner(&self, transport: Transport, address: SocketAddr, is_local: bool) -> ConnectionEnd;

    /// The pod with this address declares the port, or a Service sends to it: the pod is probably the server.
    fn declares(&self, transport: Transport, address: SocketAddr) -> bool;

    /// The address belongs to the pods or the Services of the cluster, whether one has it or not.
    fn is_in_cluster(&self, address: IpAddr) -> bool;

    /// Visits the pods that have an address, some of them more than once; a directory of other things has none.
    fn visit_pods(&self, _visit: &mut dyn FnMut(&Endpoint)) {}

    /// False until all pods, Services and nodes were listed once: until then an address without an owner may have one.
    fn is_complete(&self) -> bool;
}
