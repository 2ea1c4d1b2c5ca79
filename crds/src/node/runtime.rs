//! A `NodeRuntime`: one per node. The operator writes the spec, the node's agent alone writes the status.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{scope::Source, session::Session};
use crate::condition::Condition;

/// What a node has to run: a pointer to a shared profile, and what is asked of this node alone for a time.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "NodeRuntime",
    plural = "noderuntimes",
    derive = "PartialEq",
    status = "NodeRuntimeStatus",
    doc = "What one node has to run, and what its agent says of it"
)]
#[serde(rename_all = "camelCase")]
pub struct NodeRuntimeSpec {
    /// The profile; unset until one is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_ref: Option<ProfileRef>,
    /// Bounded requests for this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
}

/// A NodeProfile by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileRef {
    /// `metadata.name` of the NodeProfile.
    pub name: String,
    /// Its `spec.digest`.
    pub digest: String,
}

/// What the agent says. Healthy is short: only what is wrong is listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRuntimeStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The profile in force: every part of it is loaded or has an entry in `problems`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_profile: Option<ProfileRef>,
    /// Parts in force.
    #[serde(default)]
    pub parts_in_force: i32,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The kernel's boot id, so that a restart of the machine shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// What kernel and privilege allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelFacts>,
    /// One line for each session of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionStatus>,
    /// What is wrong, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<NodeProblem>,
    /// Records that were lost since the agent's start, by the resource that they were for; written along with other news.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<SourceLoss>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What the agent found at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KernelFacts {
    /// `uname -r`.
    pub release: String,
    /// `v2`, `hybrid` or `v1`.
    pub cgroup: String,
    /// Capabilities of the design that the agent does not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_capabilities: Vec<String>,
    /// Features found, by name: `btf`, `tcx`, `perf_event`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// How one session fares on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// `Session.name`.
    pub name: String,
    /// Where it stands.
    pub state: SessionState,
    /// Samples or flows so far.
    #[serde(default)]
    pub records: i64,
    /// Records lost, counted in the kernel and in the agent.
    #[serde(default)]
    pub lost: i64,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// Loaded and counting.
    Running,
    /// Its end has come; what it made can be fetched.
    Completed,
    /// Not carried out; `problems` says why.
    Refused,
}

/// Something that is not in force, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeProblem {
    /// The resource it is about.
    pub source: Source,
    /// One word, stable: see docs/reasons.md.
    pub reason: String,
    /// The field of the resource, as `spec.tracepoints[0].event`; empty where it is about the whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What, where, what next; at most 200 characters.
    pub message: String,
}

/// Records lost for one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceLoss {
    /// The resource it is about.
    pub source: Source,
    /// Where the loss happened: a ring, a queue or a cap, by its metric's label.
    pub place: String,
    /// How many.
    pub count: i64,
}
