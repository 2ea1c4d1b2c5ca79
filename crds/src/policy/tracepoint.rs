//! One tracepoint of a policy, with every field that Tetragon allows in it.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::{Validate, ValidationError};

use crate::bounds::{self, TRACEPOINT_NAME};

const MIN_TAG: usize = 2;
const MAX_TAG: usize = 128;

/// A tracepoint and what is read there.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracepoint {
    /// The tracepoint's group, a directory of `/sys/kernel/tracing/events`, e.g. `raw_syscalls` or `sched`.
    #[validate(
        length(min = 1, max = 128),
        regex(path = *TRACEPOINT_NAME, message = "must consist of letters, digits and _")
    )]
    pub subsystem: String,
    /// The tracepoint's name, a directory below its group, e.g. `sys_enter` or `sched_process_fork`.
    #[validate(
        length(min = 1, max = 128),
        regex(path = *TRACEPOINT_NAME, message = "must consist of letters, digits and _")
    )]
    pub event: String,
    /// Uses the raw tracepoint: arguments are then those of the kernel function, not the fields of the trace record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw: bool,
    /// A text that each event shows, e.g. `a process was forked`; events show its first 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 1_048_576))]
    pub message: Option<String>,
    /// The arguments that each event shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 5), nested)]
    pub args: Vec<TracepointArgSpec>,
    /// Filters. Only the action `Post`, which emits the event, is supported yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 5), nested)]
    pub selectors: Vec<TracepointSelector>,
    /// Tags that each event shows, e.g. `[observability.process]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = MIN_TAG, max = MAX_TAG)))]
    #[validate(length(max = 16), custom(function = check_tags))]
    pub tags: Vec<String>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// An argument that events show.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracepointArgSpec {
    /// Number of the field in the trace record, or of the kernel function's argument where `raw` is set, from 0, e.g. 5.
    #[validate(range(min = 0, max = 127))]
    pub index: i32,
    /// How the value is read, spelled as in Tetragon, e.g. `string`. Integer types, `string`, `syscall64` and `auto` are supported.
    #[serde(default = "auto")]
    #[validate(length(min = 1, max = 32))]
    pub r#type: String,
    /// A name that the event shows beside the value, e.g. `pid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 128))]
    pub label: Option<String>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One alternative of a hook's filters.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracepointSelector {
    /// What happens on a match. Unset means `Post`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 3), nested)]
    pub match_actions: Vec<TracepointAction>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// What happens on a match.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracepointAction {
    /// The action, spelled as in Tetragon. `Post` is supported.
    #[validate(length(min = 1, max = 64))]
    pub action: String,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn check_tags(tags: &[String]) -> Result<(), ValidationError> {
    bounds::check_items(tags, |tag| bounds::length_problem(tag, MIN_TAG, MAX_TAG))
}

fn auto() -> String {
    "auto".into()
}
