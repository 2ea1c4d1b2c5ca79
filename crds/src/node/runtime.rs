//! A `NodeRuntime`: one per node. The operator writes the spec, the node's agent alone writes the status.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{scope::Source, session::Session};
use crate::condition::Condition;
use crate::{condition::cut, reason::Reason, status::MAX_MESSAGE};

/// What a node has to run: a pointer to a shared profile, and what is asked of this node alone for a time.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    doc = "What one node has to run, and what its agent says of it"
)]
#[serde(rename_all = "camelCase")]
pub struct NodeRuntimeSpec {
    /// The profile; unset until one is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_ref: Option<ProfileRef>,
    /// Bounded requests for this node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sessions: Vec<Session>,
}

/// A NodeProfile by name and content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProfileRef {
    /// `metadata.name` of the NodeProfile.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its `spec.digest`.
    #[schemars(length(max = 64))]
    pub digest: String,
}

/// What the agent says. Healthy is short: only what is wrong is listed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    #[schemars(length(max = 64))]
    pub agent_version: Option<String>,
    /// The kernel's boot id, so that a restart of the machine shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_id: Option<String>,
    /// What kernel and privilege allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<KernelFacts>,
    /// One line for each session of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub sessions: Vec<SessionStatus>,
    /// Parts that are not in force, each by the first 16 characters of its digest; `problems` has room for some of the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), inner(length(max = 16)))]
    pub refused: Vec<String>,
    /// What is wrong, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub problems: Vec<NodeProblem>,
    /// Records that were lost since the agent's start, by the resource that they were for; written along with other news.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub losses: Vec<SourceLoss>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<crate::condition::Condition>", length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What the agent found at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KernelFacts {
    /// `uname -r`.
    #[schemars(length(max = 128))]
    pub release: String,
    /// `v2`, `hybrid` or `v1`.
    #[schemars(length(max = 16))]
    pub cgroup: String,
    /// Capabilities of the design that the agent does not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 32)))]
    pub missing_capabilities: Vec<String>,
    /// Features found, by name: `btf`, `tcx`, `perf_event`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub features: Vec<String>,
}

/// How one session fares on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// `Session.name`.
    #[schemars(length(max = 330))]
    pub name: String,
    /// `Session.expiresAt`: a line about an older session of the same name says nothing about the newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
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
    /// Its end had come before this agent could start it.
    Expired,
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
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub reason: String,
    /// The field of the resource, as `spec.tracepoints[0].event`; empty where it is about the whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub field: String,
    /// What, where, what next; at most 200 characters.
    #[schemars(length(max = 200))]
    pub message: String,
}

impl NodeProblem {
    /// A problem; what is too long for the object is cut, so that the API server never refuses the whole status for it.
    pub fn new(source: Source, reason: Reason, field: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            source,
            reason: reason.as_str().into(),
            field: cut(field.as_ref(), 256),
            message: cut(message.as_ref(), MAX_MESSAGE),
        }
    }
}

/// Records lost for one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceLoss {
    /// The resource it is about.
    pub source: Source,
    /// Where the loss happened: a ring, a queue or a cap, by its metric's label.
    #[schemars(length(max = 64))]
    pub place: String,
    /// What kind of record, where the place carries several: `exec`, `exit`, ...; empty where it carries one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub kind: String,
    /// How many.
    pub count: i64,
}
