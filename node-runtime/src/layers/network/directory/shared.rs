//! The directory of the cluster as services outside of the network layer ask it, while that layer follows it.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::RwLock;

use super::Directory;
use crate::layers::network::{decode::Transport, endpoint::ConnectionEnd};

/// Knows nothing while no flow is wanted: the directory is followed for flows. Clones know the same.
#[derive(Clone, Default)]
pub struct SharedDirectory(Arc<RwLock<Option<Arc<dyn Directory>>>>);

impl SharedDirectory {
    pub fn set(&self, directory: Option<Arc<dyn Directory>>) {
        *self.0.write() = directory;
    }

    /// The pod or node that has this address, and the Service that is reached there.
    pub fn owner(&self, transport: Transport, address: SocketAddr) -> ConnectionEnd {
        let directory = self.0.read().clone();
        directory.map_or_else(ConnectionEnd::default, |directory| directory.owner(transport, address, false))
    }
}
