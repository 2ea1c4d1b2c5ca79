//! How far a walk has come that ends silent flows: their keys are handed to the kernel's program a few at a time.

use trilobite_node_ebpf::FlowKey;

use super::idle_timeouts::IdleTimeouts;

/// A walk over the flow map that is interrupted where the ring has no room, and goes on with the next order of the same kind.
#[derive(Debug, Default)]
pub(super) struct EndWalk {
    pub(super) order: Option<(Option<u32>, IdleTimeouts)>,
    /// Keys that are still to be handed over, the next one last.
    pub(super) left: Vec<FlowKey>,
    /// Flows that have ended and are still in the map.
    pub(super) ended: Vec<FlowKey>,
}
