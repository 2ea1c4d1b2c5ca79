//! What every user kind says of itself: conditions, counted nodes, grouped failures. Counts and examples, never node lists.
//! Names are chosen for the alphabetical order of `kubectl describe`.

mod bounded;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

pub use bounded::{AppProfileStatus, FlowCaptureStatus, ProfileResults};

use crate::condition::Condition;

/// Most groups of failures that a status shows.
pub const MAX_FAILURES: usize = 10;
/// Most characters of a message.
pub const MAX_MESSAGE: usize = 200;

/// Most characters of a summary.
pub const MAX_SUMMARY: usize = 512;

/// The status of the stack and of policies, and the common part of every other.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// In order of importance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What is wrong, grouped by reason and kernel, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<Failure>,
    /// How many nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// The generation of the spec that this status is about; -1 before the operator has looked.
    #[serde(default = "unobserved")]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,
    /// `ready/desired`, for the printed column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub ready_nodes: Option<String>,
    /// One sentence: how many are ready, what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub summary: Option<String>,
}

/// Nodes that fail for the same reason on the same kernel.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// How many nodes.
    #[schemars(range(min = 0))]
    pub count: i32,
    /// One of them.
    #[schemars(length(max = 253))]
    pub example_node: String,
    /// `uname -r` of that node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub kernel: String,
    /// What, where, what next.
    #[schemars(length(max = 200))]
    pub message: String,
    /// One word, stable: see docs/reasons.md.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub reason: String,
}

/// How many nodes there are of each sort.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCounts {
    /// Counted: selected, not being deleted, past their grace period.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub desired: i32,
    /// Selected but not counted.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub excluded: i32,
    /// Counted, with a problem.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failing: i32,
    /// Counted, with what is wanted in force.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready: i32,
    /// Counted, and told of what is wanted.
    #[serde(default)]
    #[schemars(range(min = 0))]
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
            ready_nodes: None,
            summary: None,
        }
    }
}
