//! A `NodeRuntime`: one for each node. The operator writes the spec, the node's agent the status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::{requests_state::RequestsState, scope::Source, session::Session};
use crate::{
    bounds::REASON,
    condition::{Condition, MAX_MESSAGE, MESSAGE_LENGTH, cut},
    read_api::Listen,
    reason::Reason,
};

/// Most labels of a node that policies may select by: the keys of all their selectors.
const MAX_SELECTED_LABELS: u64 = 256;
/// Most sessions of a node.
pub const MAX_SESSIONS: usize = 128;
/// The same limit, in the type of a validated length.
const SESSIONS_LENGTH: u64 = MAX_SESSIONS as u64;
const MAX_FIELD: usize = 256;
const FIELD_LENGTH: u64 = MAX_FIELD as u64;

/// What a node has to run: a pointer to a shared profile, and sessions of this node alone.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "NodeRuntime",
    plural = "noderuntimes",
    derive = "PartialEq",
    shortname = "tbnr",
    category = "trilobite-internal",
    status = "NodeRuntimeStatus",
    derive = "Default",
    doc = "What one node has to run, and what its agent reports"
)]
#[serde(rename_all = "camelCase")]
pub struct NodeRuntimeSpec {
    /// The profile that the node has to run; unset until one is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub profile_ref: Option<ProfileRef>,
    /// Requests to this node that have an end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = SESSIONS_LENGTH), nested)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sessions: Vec<Session>,
    /// Labels of the node that policies select nodes by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_SELECTED_LABELS))]
    #[validate(length(max = MAX_SELECTED_LABELS))]
    pub node_labels: BTreeMap<String, String>,
    /// The agent's port for the relay; closed while unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub listen: Option<Listen>,
}

/// A NodeProfile by name and content.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileRef {
    /// Name of the NodeProfile.
    #[validate(length(max = 253))]
    pub name: String,
    /// `spec.digest` of the NodeProfile.
    #[validate(length(max = 64))]
    pub digest: String,
}

/// What the agent reports. Only what is wrong is listed.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRuntimeStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The active profile: every part of it is loaded or has an entry in `problems`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_profile: Option<ProfileRef>,
    /// Number of active parts.
    #[serde(default)]
    pub parts_in_force: i32,
    /// Version of the agent, e.g. `0.1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 64))]
    pub agent_version: Option<String>,
    /// Boot id of the kernel, which changes with each start of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 64))]
    pub boot_id: Option<String>,
    /// What the kernel and the agent's privileges allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelFacts>,
    /// State of each session of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = SESSIONS_LENGTH), nested)]
    pub sessions: Vec<SessionStatus>,
    /// Parts that are not active, by the first 16 characters of their digests; `problems` lists some of the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 16)))]
    #[validate(length(max = 2048))]
    pub refused: Vec<String>,
    /// Parts that are not for this node, since the `nodeSelector` of their policy leaves it out, by the first 16 characters of
    /// their digests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 16)))]
    #[validate(length(max = 2048))]
    pub skipped: Vec<String>,
    /// How many pods of the node each active policy selects now; a policy that selects none is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 2048), nested)]
    pub pods_selected: Vec<PodsSelected>,
    /// What is wrong; at most 20 problems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 20))]
    pub problems: Vec<NodeProblem>,
    /// Records lost since the agent's start, by resource; updated with every other change of the status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 64))]
    pub losses: Vec<SourceLoss>,
    /// The condition `Ready`; the operator sets it to `Unknown` while the agent is silent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<crate::condition::Condition>")]
    #[validate(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// How many pods of a node a policy selects.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodsSelected {
    /// The first 16 characters of the digest of the policy's part.
    #[validate(length(max = 16))]
    pub part: String,
    /// Number of pods that have not ended.
    pub pods: i32,
}

/// What the agent detected at its start.
#[derive(Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KernelFacts {
    /// Release of the kernel, as `uname -r` prints it.
    #[validate(length(max = 128))]
    pub release: String,
    /// Version of the cgroup hierarchy: `v2`, `hybrid` or `v1`.
    #[validate(length(max = 16))]
    pub cgroup: String,
    /// Capabilities that the agent lacks, e.g. `CAP_PERFMON`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 32)))]
    #[validate(length(max = 16))]
    pub missing_capabilities: Vec<String>,
    /// Detected features, e.g. `btf`, `tcx` or `perf_event`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 64)))]
    #[validate(length(max = 64))]
    pub features: Vec<String>,
}

/// The state of one session on this node.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// Name of the session.
    #[validate(length(max = 330))]
    pub name: String,
    /// End of the session, which tells it from an older one of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// State of the session.
    pub state: SessionState,
    /// Number of samples or flows so far.
    #[serde(default)]
    pub records: i64,
    /// Number of records lost, in the kernel and in the agent.
    #[serde(default)]
    pub lost: i64,
    /// What the session knows of requests; unset where none are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub requests: Option<RequestsState>,
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionState {
    /// Loaded and counting.
    Running,
    /// Ended; its result can be fetched.
    Completed,
    /// Ended before this agent could start it.
    Expired,
    /// Not started; `problems` says why.
    Refused,
}

/// Something that is not active, or only partly.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeProblem {
    /// The resource that is affected.
    pub source: Source,
    /// Reason: one word that never changes; docs/reasons.md explains each.
    #[validate(length(min = 1, max = 64), regex(path = *REASON, message = "must be one word, e.g. InvalidSpec"))]
    pub reason: String,
    /// Field of the resource, e.g. `spec.tracepoints[0].event`; empty where the whole resource is meant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = FIELD_LENGTH))]
    pub field: String,
    /// What is wrong, where, and what to do; at most 256 characters.
    #[validate(length(max = MESSAGE_LENGTH))]
    pub message: String,
}

impl NodeProblem {
    /// Makes a problem. Long texts are cut, so that the API server never refuses the whole status.
    pub fn new(source: Source, reason: Reason, field: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            source,
            reason: reason.as_str().into(),
            field: cut(field.as_ref(), MAX_FIELD),
            message: cut(message.as_ref(), MAX_MESSAGE),
        }
    }
}

/// Records lost for one resource.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceLoss {
    /// The resource that is affected.
    pub source: Source,
    /// Where the loss happened: a ring buffer, a queue or a limit, by the label of its metric.
    #[validate(length(max = 64))]
    pub place: String,
    /// Kind of record where the place carries several, e.g. `exec` or `exit`; empty where it carries one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[validate(length(max = 32))]
    pub kind: String,
    /// Number of lost records.
    pub count: i64,
}

#[cfg(test)]
mod tests {
    use super::super::scope::SourceKind;
    use super::*;
    use crate::bounds;

    #[test]
    fn problem_fits_its_bounds_however_long_its_texts_are() {
        let source =
            Source { kind: SourceKind::AppProfile, namespace: Some("shop".into()), name: "till".into(), generation: 1 };
        let problem = NodeProblem::new(source, Reason::LoadFailed, "f".repeat(1000), "é".repeat(1000));
        assert_eq!(bounds::violations(&problem, "problem"), []);
        let unknown = NodeProblem { reason: "load failed".into(), ..problem };
        let found = bounds::violations(&unknown, "problem");
        assert_eq!(found[0].to_string(), "problem.reason: \"load failed\" must be one word, e.g. InvalidSpec");
    }
}
