//! Facts about the node and its agent, for several services.

use std::time::Instant;

#[derive(Clone)]
pub struct NodeInfo {
    pub node: String,
    pub version: String,
    /// For a relay, as it finds the agent on the node, e.g. `unix:///run/trilobite/n1/agent.sock`.
    pub address: String,
    pub started: Instant,
}
