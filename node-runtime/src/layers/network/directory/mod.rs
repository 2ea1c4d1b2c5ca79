//! Who has an address: the pods of all nodes, the Services and the nodes. A watch on the cluster now, a feed from the
//! operator at scale, a fixed table in tests and without a cluster.

mod cluster;
mod table;

use std::{net::IpAddr, sync::Arc};

pub use cluster::Cluster;
pub use table::{NodePod, Table};

use super::end::{End, Service};

/// Answers who has an address. Asked for every record: it must not wait.
pub trait Directory: Send + Sync {
    /// The pod or node with this address.
    fn end(&self, address: IpAddr) -> Option<Arc<End>>;
    /// The Service with this address, in the cluster or outside.
    fn service(&self, address: IpAddr) -> Option<Arc<Service>>;
}
