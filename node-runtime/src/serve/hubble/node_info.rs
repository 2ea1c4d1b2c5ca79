//! Facts about the node and its agent, for several services.

use std::time::Instant;

#[derive(Clone)]
pub struct NodeInfo {
    pub node: String,
    pub version: String,
    /// For a relay, e.g. `unix:///run/trilobite/agent.sock`.
    pub address: String,
    pub started: Instant,
}
