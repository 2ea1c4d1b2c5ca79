//! One tracepoint of a policy, with what Tetragon allows in it.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tracepoint and what is read there.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracepoint {
    /// As the directory below `/sys/kernel/tracing/events`: `raw_syscalls`, `sched`, ...
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_]+$"))]
    pub subsystem: String,
    /// As the directory below that: `sys_enter`, `sched_process_fork`, ...
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_]+$"))]
    pub event: String,
    /// A raw tracepoint: arguments are those of the kernel function, not of the trace record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// Shown in the event, its first 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1_048_576))]
    pub message: Option<String>,
    /// The arguments to show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub args: Vec<TracepointArgSpec>,
    /// Filters, of which only an action `Post` is carried out yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub selectors: Vec<TracepointSelector>,
    /// Shown in the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 2, max = 128)))]
    pub tags: Vec<String>,
    /// Whatever else was written, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// An argument to show.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracepointArgSpec {
    /// Field of the trace record in its order, or argument of the kernel function where `raw` is set.
    #[schemars(range(min = 0, max = 127))]
    pub index: i32,
    /// How it is read, spelled as in Tetragon; integers and strings are carried out.
    #[serde(default = "auto")]
    #[schemars(length(min = 1, max = 32))]
    pub r#type: String,
    /// Shown beside the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub label: Option<String>,
    /// Whatever else was written, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One alternative of a hook's filters.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracepointSelector {
    /// What is done on a match; unset means `Post`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub match_actions: Vec<TracepointAction>,
    /// Whatever else was written, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What is done on a match.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracepointAction {
    /// Spelled as in Tetragon; `Post` is carried out.
    #[schemars(length(min = 1, max = 64))]
    pub action: String,
    /// Whatever else was written, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn auto() -> String {
    "auto".into()
}
