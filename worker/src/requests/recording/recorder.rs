//! The recording of a profile: bounded, and it says what it lacks.

use rustix::time::{ClockId, clock_gettime};
use trilobite_node_ebpf::{DataRecord, RECORD_LAYOUT};
use trilobite_worker_wire::{
    CallCount, Recorded, RecordingHeader, RecordingSettings, RequestSettings, recording::LEFT_OUT_MAX,
};
use zerocopy::IntoBytes;

use super::{
    format::{FRAME_HEADER, FrameKind, MAGIC, append, append_json},
    waiting_calls::RecordedCall,
};
use crate::clock::boot_ns;

/// Bytes that wait for the agent to read them. Beyond it calls are left out.
const UNREAD_MAX: usize = 4 << 20;
/// Bytes that are left for the end: each reason takes less than 128.
const END_BYTES: u64 = (LEFT_OUT_MAX as u64 + 1) * 128;
/// The last reason, if there are too many.
const OTHERS: &str = "other reasons";
/// Bytes of the longest reason.
const REASON_MAX: usize = 48;

pub(in crate::requests) struct Recorder {
    max_bytes: u64,
    /// Bytes of the recording so far, sent or not.
    written: u64,
    unread: Vec<u8>,
    recorded: Recorded,
}

impl Recorder {
    pub(in crate::requests) fn new(recording: RecordingSettings, settings: &RequestSettings) -> Self {
        let mut recorder = Self {
            max_bytes: recording.max_bytes.saturating_sub(END_BYTES),
            written: 0,
            unread: MAGIC.to_vec(),
            recorded: Recorded::default(),
        };
        let header = RecordingHeader {
            record_layout: RECORD_LAYOUT,
            boot_time_ns: boot_time_ns(),
            recording,
            settings: settings.clone(),
        };
        append_json(FrameKind::Header, &header, &mut recorder.unread);
        recorder.written = recorder.unread.len() as u64;
        recorder
    }

    /// Records calls of a stream, in their order.
    pub(in crate::requests) fn record(&mut self, calls: Vec<RecordedCall>) {
        for call in calls {
            let count = call.count();
            let bytes = (FRAME_HEADER + size_of::<DataRecord>() + call.bytes.len()) as u64;
            if self.written + bytes > self.max_bytes {
                self.leave_out("the recording is full", count);
            } else if self.unread.len() > UNREAD_MAX {
                self.leave_out("the agent reads too slowly", count);
            } else {
                let mut header = call.header;
                header.copied = call.bytes.len() as u32;
                header.record.size = (size_of::<DataRecord>() + call.bytes.len()) as u32;
                append(FrameKind::Call, &[header.as_bytes(), &call.bytes], &mut self.unread);
                self.written += bytes;
                self.recorded.recorded += count;
            }
        }
    }

    pub(in crate::requests) fn leave_out(&mut self, reason: &str, count: CallCount) {
        if count == CallCount::default() {
            return;
        }
        let reason = trilobite_worker_wire::names::sanitize_name(reason);
        let reason: String = reason.chars().take(REASON_MAX).collect();
        let left_out = &mut self.recorded.left_out;
        let is_known = left_out.contains_key(&reason) || left_out.len() < LEFT_OUT_MAX - 1;
        *left_out.entry(if is_known { reason } else { OTHERS.to_owned() }).or_default() += count;
    }

    /// No more calls come.
    pub(in crate::requests) fn finish(&mut self) {
        append_json(FrameKind::End, &self.recorded, &mut self.unread);
    }

    /// The next bytes of the recording, at most so many; none if there are no more now.
    pub(in crate::requests) fn take_chunk(&mut self, bytes: usize) -> Option<Vec<u8>> {
        if self.unread.is_empty() {
            return None;
        }
        let rest = self.unread.split_off(bytes.min(self.unread.len()));
        Some(std::mem::replace(&mut self.unread, rest))
    }

    pub(in crate::requests) fn memory(&self) -> usize {
        self.unread.capacity()
    }
}

/// The wall clock at the machine's boot.
fn boot_time_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    (part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)).saturating_sub(boot_ns())
}
