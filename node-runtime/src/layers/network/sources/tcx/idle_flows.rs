//! Ends flows that have been silent for too long. The agent says how long each kind of flow may be silent; the kernel's program
//! decides which ones that are (`idle_flows.h`), writes their last records, and removes them later.

use trilobite_node_ebpf::{FLOW_END_MORE, FlowEndOrder};

use super::programs::LoadedPrograms;
use crate::problem::Problem;

/// How long a flow may be silent before it ends; the decision is `idle_timeout` in `idle_flows.h`. In nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimeouts {
    /// After FIN of both ends, or RST; the shortest of the five. Both directions of a connection end together.
    pub closed: u64,
    /// After a SYN that nothing followed.
    pub syn: u64,
    /// Open TCP connections.
    pub tcp: u64,
    pub udp: u64,
    /// UDP with one or two requests and as many answers.
    pub answered: u64,
}

const SECOND: u64 = 1_000_000_000;

impl IdleTimeouts {
    /// Ends every flow.
    pub const ZERO: Self = Self { closed: 0, syn: 0, tcp: 0, udp: 0, answered: 0 };

    pub const NORMAL: Self =
        Self { closed: SECOND * 2, syn: SECOND * 10, tcp: SECOND * 300, udp: SECOND * 30, answered: SECOND * 3 };

    /// While more than half of the flow map is in use: many short connections make room for each other.
    pub const CROWDED: Self = Self { closed: SECOND / 4, answered: SECOND, ..Self::NORMAL };
}

/// Result of one order to end flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedFlows {
    pub flows: u32,
    /// Others are waiting for room in the ring: drain it and repeat the order.
    pub more: bool,
}

impl LoadedPrograms {
    /// Ends silent flows, of one interface or of all; each writes a record with its final counters. Flows that are not silent
    /// for that long, but have traffic that no record has reported, write one as well. At most half of the ring is filled,
    /// so that new flows find room.
    pub(super) fn end_flows(&mut self, interface: Option<u32>, timeouts: IdleTimeouts) -> Result<EndedFlows, Problem> {
        let answer = self.send_order(FlowEndOrder {
            interface: interface.unwrap_or(0),
            remove: 0,
            idle_closed: timeouts.closed,
            idle_syn: timeouts.syn,
            idle_tcp: timeouts.tcp,
            idle_udp: timeouts.udp,
            idle_answered: timeouts.answered,
        })?;
        Ok(EndedFlows { flows: (answer & !FLOW_END_MORE).unsigned_abs(), more: answer & FLOW_END_MORE != 0 })
    }

    /// Removes ended flows from the map. Call it so long after `end_flows` that no packet is still being counted, or after
    /// `detach`.
    pub(super) fn remove_ended(&mut self, interface: Option<u32>) -> Result<i32, Problem> {
        self.send_order(FlowEndOrder { interface: interface.unwrap_or(0), remove: 1, ..FlowEndOrder::default() })
    }
}
