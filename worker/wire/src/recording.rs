//! Recordings of requests: what a worker is asked to record, and what it says of a recording that it plays again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    names::sanitize_name,
    requests::{RequestCounts, RequestSettings},
};

/// Reasons in `Recorded::left_out`.
pub const LEFT_OUT_MAX: usize = 32;

/// What the worker is to record beside its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingSettings {
    /// `namespace/name` of the AppProfile.
    pub profile: String,
    /// Name of the node.
    pub node: String,
    /// Bytes of the recording at most.
    pub max_bytes: u64,
}

/// What a recording begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordingHeader {
    /// Layout of the records in it.
    pub record_layout: u16,
    /// The wall clock at the machine's boot, nanoseconds since 1970.
    pub boot_time_ns: u64,
    /// What was recorded.
    pub recording: RecordingSettings,
    /// What the rows were made by.
    pub settings: RequestSettings,
}

/// Calls, and bytes of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallCount {
    /// Calls on sockets, or pieces of them.
    pub calls: u64,
    /// Their bytes, copied or not.
    pub bytes: u64,
}

/// What a recording ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What the recording has.
    pub recorded: CallCount,
    /// What it lacks, by the reason.
    pub left_out: BTreeMap<String, CallCount>,
}

/// What a worker says at the end of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replayed {
    /// The end of the recording; none if it is broken.
    pub recorded: Option<Recorded>,
    /// What the parsers made of it.
    pub counts: RequestCounts,
    /// Where the recording is broken, and why.
    pub problem: Option<String>,
}

impl std::ops::AddAssign for CallCount {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.bytes += other.bytes;
    }
}

impl RecordingHeader {
    pub(crate) fn bounded(mut self) -> Self {
        for name in [&mut self.recording.profile, &mut self.recording.node] {
            *name = sanitize_name(name);
        }
        self
    }
}

impl Replayed {
    pub(crate) fn bounded(mut self) -> Self {
        self.problem = self.problem.map(|problem| sanitize_name(&problem));
        self.counts = self.counts.bounded();
        if let Some(recorded) = &mut self.recorded {
            let left_out = std::mem::take(&mut recorded.left_out).into_iter().take(LEFT_OUT_MAX);
            recorded.left_out = left_out.map(|(reason, count)| (sanitize_name(&reason), count)).collect();
        }
        self
    }
}
