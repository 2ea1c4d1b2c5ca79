//! The calls of one stream that wait until it is decided what of their bytes may be recorded. Their own bytes are not kept: what the
//! parser has understood comes back with all overwritten that no row shows.

use std::collections::VecDeque;

use trilobite_node_ebpf::{DataRecord, data_flag};
use trilobite_protocols::{Masked, Side};
use trilobite_worker_wire::CallCount;
use zerocopy::FromBytes;

use super::super::record::DataCall;

/// Bytes of the calls of a stream that may wait. Beyond it the oldest are left out.
const WAITING_MAX: usize = 2 << 20;
/// Stands where a byte is overwritten.
const FILL: u8 = b'x';

/// A call that may be recorded.
pub(in crate::requests) struct RecordedCall {
    pub(super) header: DataRecord,
    side: Side,
    pub(super) bytes: Vec<u8>,
}

#[derive(Default)]
pub(in crate::requests) struct WaitingCalls {
    calls: VecDeque<RecordedCall>,
    memory: usize,
    dropped: CallCount,
}

impl RecordedCall {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    pub(super) fn count(&self) -> CallCount {
        CallCount { calls: 1, bytes: self.header.length.into() }
    }

    /// Position behind the bytes.
    fn end_position(&self) -> u64 {
        self.header.position.saturating_add(self.bytes.len() as u64)
    }

    /// Puts in place what has been understood of these bytes.
    fn show(&mut self, part: &Masked) {
        if part.side != self.side {
            return;
        }
        let (start, end) = (part.position, part.position.saturating_add(part.bytes.len() as u64));
        let (from, to) = (start.max(self.header.position), end.min(self.end_position()));
        let within = |position: u64, start: u64| usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX);
        let source = part.bytes.get(within(from, start)..within(to, start));
        let own = self.header.position;
        let target = self.bytes.get_mut(within(from, own)..within(to, own));
        if let (Some(source), Some(target)) = (source, target)
            && source.len() == target.len()
        {
            target.copy_from_slice(source);
        }
    }
}

impl WaitingCalls {
    /// Adds a call, or the end of the connection.
    pub(in crate::requests) fn add(&mut self, call: &DataCall<'_>) {
        let Ok((mut header, _)) = DataRecord::read_from_prefix(call.record) else { return };
        // The agent has decided about the cgroup.
        header.flags &= !(data_flag::UNDECIDED as u8);
        let call = RecordedCall { header, side: call.side, bytes: vec![FILL; call.bytes.len()] };
        self.memory += call.memory();
        self.calls.push_back(call);
        while self.memory > WAITING_MAX {
            let Some(oldest) = self.calls.pop_front() else { return };
            self.memory -= oldest.memory();
            self.dropped += oldest.count();
        }
    }

    /// What has been understood of the stream.
    pub(in crate::requests) fn show(&mut self, parts: &[Masked]) {
        for part in parts {
            self.calls.iter_mut().for_each(|call| call.show(part));
        }
    }

    /// The calls up to the first one that is not decided yet. `sent`, `received`: positions up to which each direction is.
    pub(in crate::requests) fn take_decided(&mut self, sent: u64, received: u64) -> Vec<RecordedCall> {
        let is_decided = |call: &RecordedCall| match call.side {
            Side::Sent => call.end_position() <= sent,
            Side::Received => call.end_position() <= received,
        };
        let decided = self.calls.iter().take_while(|call| is_decided(call)).count();
        let decided: Vec<RecordedCall> = self.calls.drain(..decided).collect();
        self.memory -= decided.iter().map(RecordedCall::memory).sum::<usize>();
        decided
    }

    /// Calls that are not taken, and those that were dropped for their number.
    pub(in crate::requests) fn count_untaken(&self) -> CallCount {
        let mut count = self.dropped;
        self.calls.iter().for_each(|call| count += call.count());
        count
    }

    pub(in crate::requests) fn memory(&self) -> usize {
        self.memory
    }
}
