//! The status that every user resource has: conditions, numbers of nodes, grouped failures. Never a list of nodes.
//! Fields are named for the alphabetical order of `kubectl describe`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::{
    bounds::REASON,
    condition::{Condition, MESSAGE_LENGTH},
};

/// Most groups of failures that a status shows.
pub const MAX_FAILURES: usize = 10;
/// Most characters of a summary.
pub const MAX_SUMMARY: usize = 512;

// The same limits, in the type of a validated length.
const FAILURE_COUNT: u64 = MAX_FAILURES as u64;
const SUMMARY_LENGTH: u64 = MAX_SUMMARY as u64;

/// The status of the stack and of policies, and the common part of every other.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// Conditions in order of importance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Nodes that fail, grouped by reason and kernel, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = FAILURE_COUNT))]
    pub failures: Vec<Failure>,
    /// Numbers of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// Generation of the spec that the status is about; -1 until the operator has reconciled the resource.
    #[serde(default = "unobserved")]
    #[validate(range(min = -1))]
    pub observed_generation: i64,
    /// Of a policy: how many pods it selects now, on the nodes that have it active. Agents report it every few seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(range(min = 0))]
    pub pods_selected: Option<i32>,
    /// Ready and counted nodes as `ready/desired`, e.g. `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 32))]
    pub ready_nodes: Option<String>,
    /// One sentence: how many nodes are ready and what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = SUMMARY_LENGTH))]
    pub summary: Option<String>,
}

/// Nodes that fail for the same reason on the same kernel.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Number of nodes that fail so.
    #[validate(range(min = 0))]
    pub count: i32,
    /// One of these nodes.
    #[validate(length(max = 253))]
    pub example_node: String,
    /// Kernel release of that node, as `uname -r` prints it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 128))]
    pub kernel: String,
    /// What is wrong, where, and what to do.
    #[validate(length(max = MESSAGE_LENGTH))]
    pub message: String,
    /// Reason: one word that never changes; docs/reasons.md explains each.
    #[validate(length(min = 1, max = 64), regex(path = *REASON, message = "must be one word, e.g. InvalidSpec"))]
    pub reason: String,
}

/// Numbers of nodes by state.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Nodes that count: selected, not being deleted, past their grace period.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub desired: i32,
    /// Nodes that are selected but do not count.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub excluded: i32,
    /// Nodes that count and have a problem.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub failing: i32,
    /// Nodes that count and have the spec active.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub ready: i32,
    /// Nodes that count and were given the spec.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub updated: i32,
}

fn unobserved() -> i64 {
    -1
}

impl Default for ResourceStatus {
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            failures: Vec::new(),
            nodes: None,
            observed_generation: unobserved(),
            pods_selected: None,
            ready_nodes: None,
            summary: None,
        }
    }
}
