//! What is stored about a CPU profile beside its stacks and its picture. The field names are those of the files on disk.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use trilobite_worker_wire::SampleCounts;

/// How long a result is kept.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileMeta {
    /// `namespace/name` of the AppProfile.
    pub name: String,
    pub node: String,
    /// Samples a second on each processor.
    pub frequency_hz: u32,
    pub started: Timestamp,
    /// When the sampling ended.
    pub ended: Timestamp,
    #[serde(flatten)]
    pub counts: ProfileCounts,
    /// Pods that were selected, as `namespace/name`.
    pub pods: Vec<String>,
    /// CPU limit of the pod in thousandths of a processor, if it was one pod with a limit.
    #[serde(default)]
    pub cpu_limit_millis: Option<u64>,
    /// What went wrong; empty if nothing did.
    pub problem: String,
    /// Size of the folded stacks.
    pub folded_bytes: u64,
    /// Size of the picture.
    pub svg_bytes: u64,
}

impl ProfileMeta {
    /// How long samples were taken.
    pub fn sampled_ms(&self) -> u64 {
        u64::try_from(self.ended.duration_since(self.started).as_millis()).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileCounts {
    /// Samples in the result.
    pub samples: u64,
    /// Samples in the result whose stack is incomplete.
    pub truncated: u64,
    /// Samples in the result without function names, because the process had ended.
    pub unmapped: u64,
    /// Samples lost: the ring was full, the budget was used up, the record was malformed, or a worker or an agent died.
    pub lost: u64,
    /// Samples dropped because their cgroup turned out not to be selected.
    pub others: u64,
    /// Samples dropped because the pod of their cgroup did not become known.
    pub undecided: u64,
    pub worker_deaths: u64,
    /// Sampled files without function names: there were too many, or they could not be opened.
    #[serde(default)]
    pub files_dropped: u64,
    /// Samples in the result without the caller of their innermost function, which had no frame of its own.
    #[serde(default)]
    pub caller_missing: u64,
    /// Samples in the result whose code was mapped anew while they were taken.
    #[serde(default)]
    pub remapped: u64,
    /// Executable mappings that were not read, because a process had too many.
    #[serde(default)]
    pub mappings_dropped: u64,
}

impl ProfileCounts {
    /// The worker's counts, and those that the agent knows.
    pub fn new(counts: &SampleCounts, lost: u64, worker_deaths: u64) -> Self {
        Self {
            samples: counts.samples,
            truncated: counts.truncated,
            unmapped: counts.unmapped,
            lost,
            others: counts.others,
            undecided: counts.undecided,
            worker_deaths,
            files_dropped: counts.files_dropped,
            caller_missing: counts.caller_missing,
            remapped: counts.remapped,
            mappings_dropped: counts.mappings_dropped,
        }
    }
}
