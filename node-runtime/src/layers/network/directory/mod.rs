//! The owners of addresses: the pods of all nodes, the Services and the nodes. Filled by a watch on the cluster, and by
//! hand in tests.

mod cluster;
mod table;

use std::net::IpAddr;

pub use cluster::ClusterDirectory;
pub use table::{DirectoryTable, NodePod};

use super::endpoint::ConnectionEnd;

/// Looked up for both addresses of every record: it must not wait.
pub trait Directory: Send + Sync {
    /// The pod or node that has this address, and the Service that has it, inside the cluster or outside.
    fn owner(&self, address: IpAddr) -> ConnectionEnd;
}
