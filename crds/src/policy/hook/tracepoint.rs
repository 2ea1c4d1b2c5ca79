//! Tracepoints of the kernel.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use validator::Validate;

use super::{MAX_ARGUMENTS, MAX_MESSAGE, MAX_SELECTORS, MAX_TAG, MAX_TAGS, MIN_TAG, check_tags};
use crate::{
    bounds::TRACEPOINT_NAME,
    policy::{argument::Argument, selector::Selector},
};

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
    /// The arguments to read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_ARGUMENTS), nested)]
    pub args: Vec<Argument>,
    /// A text that each event shows, e.g. `a process was forked`; events show its first 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = MAX_MESSAGE))]
    pub message: String,
    /// Tags that each event shows, e.g. `[observability.process]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = MIN_TAG, max = MAX_TAG)))]
    #[validate(length(max = MAX_TAGS), custom(function = check_tags))]
    pub tags: Vec<String>,
    /// Alternatives of filters, each with its actions; without any, each call emits an event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = MAX_SELECTORS), nested)]
    pub selectors: Vec<Selector>,
    /// Every other field, kept so that it can be refused by its path.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}
