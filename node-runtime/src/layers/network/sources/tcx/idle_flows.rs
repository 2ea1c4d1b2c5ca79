//! Ends flows that have been silent for too long. The agent says how long each kind of flow may be silent; the kernel's program
//! decides which ones that are (`idle_flows.h`), writes their last records, and removes them later. It is handed the keys of flows
//! that may be due, so that it needs no walk of the map, which old kernels do not have.

use trilobite_node_ebpf::{FLOW_END_KEYS, FLOW_END_MORE, FLOW_REPORT_NS, FlowEndOrder, FlowKey, FlowValue};
use zerocopy::IntoBytes;

use super::{idle_timeouts::IdleTimeouts, programs::LoadedPrograms};
use crate::{kernel::clock::boot_ns, problem::Problem};

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
        if self.walk.left.is_empty() || self.walk.order != Some((interface, timeouts)) {
            self.walk.left = self.keys_due(interface, timeouts)?;
            self.walk.order = Some((interface, timeouts));
        }
        let order = FlowEndOrder {
            keys: 0,
            remove: 0,
            idle_closed: timeouts.closed,
            idle_syn: timeouts.syn,
            idle_tcp: timeouts.tcp,
            idle_udp: timeouts.udp,
            idle_answered: timeouts.answered,
        };
        let mut ended = EndedFlows::default();
        while !self.walk.left.is_empty() && !ended.more {
            let first = self.walk.left.len().saturating_sub(FLOW_END_KEYS as usize);
            let keys: Vec<FlowKey> = self.walk.left[first..].iter().rev().copied().collect();
            let answer = self.send_order(order, &keys)?;
            let done: Vec<FlowKey> = done(answer, &keys).collect();
            ended.flows += done.len() as u32;
            ended.more = answer & FLOW_END_MORE != 0;
            // Those of an interrupted run are handed over again: what is done is done once.
            if !ended.more {
                self.walk.left.truncate(first);
            }
            self.walk.ended.extend(done);
        }
        Ok(ended)
    }

    /// The next order sees every flow that there is.
    pub(super) fn begin_end_walk(&mut self) {
        self.walk.left.clear();
    }

    /// Removes ended flows from the map. Call it so long after `end_flows` that no packet is still being counted, or after
    /// `detach`.
    pub(super) fn remove_ended(&mut self, interface: Option<u32>) -> Result<(), Problem> {
        let all = std::mem::take(&mut self.walk.ended);
        let (keys, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|key| interface.is_none_or(|interface| key.interface == interface));
        self.walk.ended = others;
        for keys in keys.chunks(FLOW_END_KEYS as usize) {
            self.send_order(FlowEndOrder { remove: 1, ..FlowEndOrder::default() }, keys)?;
        }
        Ok(())
    }

    /// Keys of flows that may have to end or to be reported; the kernel's program decides.
    fn keys_due(&self, interface: Option<u32>, timeouts: IdleTimeouts) -> Result<Vec<FlowKey>, Problem> {
        let now = boot_ns();
        let entries = self.entries()?;
        let is_due = |(key, value): &(FlowKey, FlowValue)| {
            interface.is_none_or(|interface| key.interface == interface) && may_be_due(value, now, timeouts.closed)
        };
        Ok(entries.into_iter().filter(is_due).map(|(key, _)| key).collect())
    }

    fn send_order(&self, order: FlowEndOrder, keys: &[FlowKey]) -> Result<i32, Problem> {
        let order = FlowEndOrder { keys: keys.len() as u32, ..order };
        self.run_end_flows(&[order.as_bytes(), keys.as_bytes()].concat())
    }
}

/// `shortest` is the shortest of the timeouts.
fn may_be_due(value: &FlowValue, now: u64, shortest: u64) -> bool {
    let is_idle = now.saturating_sub(value.last) >= shortest;
    let is_report_due = value.last > value.reported && now.saturating_sub(value.reported) >= FLOW_REPORT_NS;
    value.ended == 0 && (is_idle || is_report_due)
}

/// The keys whose bit is set in the program's answer.
fn done(answer: i32, keys: &[FlowKey]) -> impl Iterator<Item = FlowKey> {
    keys.iter().enumerate().filter(move |(at, _)| answer >> at & 1 == 1).map(|(_, key)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn flow_is_handed_over_when_it_is_silent_or_unreported_for_long() {
        let value = |last, reported, ended| FlowValue { last, reported, ended, ..FlowValue::default() };
        let now = 100 * SECOND;
        for (value, expected) in [
            (value(now - SECOND, now - SECOND, 0), false),
            (value(now - 2 * SECOND, now - 2 * SECOND, 0), true),
            (value(now - 2 * SECOND, now - 2 * SECOND, 1), false),
            (value(now - SECOND, now - 4 * SECOND, 0), false),
            (value(now - SECOND, now - 5 * SECOND, 0), true),
            // A packet after `now` was read.
            (value(now + SECOND, now, 0), false),
        ] {
            assert_eq!(may_be_due(&value, now, 2 * SECOND), expected, "{value:?}");
        }
    }

    #[test]
    fn answer_has_a_bit_for_each_key() {
        let keys: Vec<FlowKey> =
            (0..FLOW_END_KEYS).map(|interface| FlowKey { interface, ..FlowKey::default() }).collect();
        let interfaces = |answer| done(answer, &keys).map(|key| key.interface).collect::<Vec<_>>();
        assert_eq!(interfaces(0b101), [0, 2]);
        assert_eq!(interfaces(FLOW_END_MORE | 1 << (FLOW_END_KEYS - 1)), [FLOW_END_KEYS - 1]);
        assert!(interfaces(FLOW_END_MORE).is_empty());
    }
}
