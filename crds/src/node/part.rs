//! A `ProfilePart`: what one source object asks of a node for as long as the object exists, resolved and immutable.
//! An agent loads, keeps and refuses each part by itself.

use std::sync::Arc;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use validator::{Validate, ValidationErrors};

use super::scope::{PodScope, Source};
use crate::{bounds::DIGEST, policy::TracingPolicySpec};

/// One source object, resolved. Its name ends in the digest of this spec.
#[derive(CustomResource, KubeSchema, Validate, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "trilobite.dev",
    version = "v1alpha1",
    kind = "ProfilePart",
    plural = "profileparts",
    shortname = "tbpp",
    category = "trilobite-internal",
    derive = "PartialEq",
    doc = "What one resource asks of a node, resolved and immutable"
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a ProfilePart cannot change; its name is its content"))]
#[serde(rename_all = "camelCase")]
pub struct ProfilePartSpec {
    /// The resource that asked.
    #[validate(nested)]
    pub source: Source,
    /// Hex sha256 of the canonical JSON of `source` and `content`.
    #[validate(regex(path = *DIGEST, message = "must be a hex sha256"), length(max = 64))]
    pub digest: String,
    /// What the part asks for.
    #[validate(nested)]
    pub content: PartContent,
}

/// What a part asks for; one variant for each thing that a node can keep active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PartContent {
    /// process_exec and process_exit of the pods in scope.
    Processes(ProcessesPart),
    /// process_tracepoint for the hooks of one policy; from an operator of an earlier version.
    Tracepoints(TracepointsPart),
    /// The hooks, filters and actions of one policy.
    Policy(PolicyPart),
    /// TCP, UDP and ICMP flows of the pods in scope.
    Flows(FlowsPart),
}

impl PartContent {
    /// Whether the part is checked and not loaded.
    pub fn is_dry_run(&self) -> bool {
        matches!(self, Self::Policy(part) if part.dry_run)
    }

    /// The pods that the part is about.
    pub fn pods(&self) -> &PodScope {
        match self {
            Self::Processes(part) => &part.pods,
            Self::Tracepoints(part) => &part.pods,
            Self::Policy(part) => &part.pods,
            Self::Flows(part) => &part.pods,
        }
    }
}

impl Validate for PartContent {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let (field, result) = match self {
            Self::Processes(part) => ("processes", part.validate()),
            Self::Tracepoints(part) => ("tracepoints", part.validate()),
            Self::Policy(part) => ("policy", part.validate()),
            Self::Flows(part) => ("flows", part.validate()),
        };
        ValidationErrors::merge(Ok(()), field, result)
    }
}

/// Execution and exit of processes.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessesPart {
    /// Pods whose events are emitted; identity itself follows every process of the node.
    #[validate(nested)]
    pub pods: Arc<PodScope>,
    /// Size of the ring buffer for process events, in bytes: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

/// One policy, checked: every word is known, macros are expanded, spellings are canonical. Lists are not expanded, as the
/// generated ones are the node's.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPart {
    /// Pods whose calls are followed; the kernel program decides.
    #[validate(nested)]
    pub pods: Arc<PodScope>,
    /// The policy's spec. The agent checks it again.
    #[schemars(schema_with = "any_object")]
    #[serde(deserialize_with = "without_spare_room")]
    pub spec: Arc<TracingPolicySpec>,
    /// Size of the ring buffer that policy events share, in bytes: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// The agent says whether it could have the policy active, and loads nothing of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Lists that are read have room for four elements where they have one; those of a clone have none to spare, which halves a
/// policy's memory.
fn without_spare_room<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<TracingPolicySpec>, D::Error> {
    TracingPolicySpec::deserialize(deserializer).map(|spec| Arc::new(spec.clone()))
}

/// An object of which an API server checks nothing.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The tracepoints of one policy.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointsPart {
    /// Pods whose events are emitted; the kernel program decides.
    #[validate(nested)]
    pub pods: Arc<PodScope>,
    /// The hooks, in the order of the policy.
    #[validate(length(max = 32), nested)]
    pub hooks: Vec<TracepointHook>,
    /// Size of the ring buffer that policy events share, in bytes: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

/// One tracepoint.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointHook {
    /// Path of the hook in the user's object, e.g. `spec.tracepoints[0]`.
    #[validate(length(max = 128))]
    pub field_path: String,
    /// Group of the tracepoint, e.g. `raw_syscalls` or `sched`.
    #[validate(length(max = 128))]
    pub subsystem: String,
    /// Name of the tracepoint, e.g. `sys_enter` or `sched_process_fork`.
    #[validate(length(max = 128))]
    pub event: String,
    /// Uses the raw tracepoint: arguments are those of the kernel function, not the fields of the trace record.
    #[serde(default)]
    pub raw: bool,
    /// A text that each event shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 256))]
    pub message: Option<String>,
    /// Tags that each event shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 128)))]
    #[validate(length(max = 16))]
    pub tags: Vec<String>,
    /// The arguments to read, at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 5), nested)]
    pub args: Vec<TracepointArg>,
}

/// One argument of a tracepoint.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointArg {
    /// Number of the trace record's field, in the order of its format as in Tetragon; of the argument where `raw` is set.
    pub index: u32,
    /// How the value is read.
    pub r#type: ArgType,
    /// A name that the event shows beside the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 128))]
    pub label: Option<String>,
}

/// How an argument is read and shown, spelled as in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArgType {
    /// The type that the trace record's format names.
    Auto,
    /// int_arg, 32 bits.
    Int,
    /// int_arg, 32 bits.
    Sint32,
    /// int_arg, 32 bits.
    Int32,
    /// uint_arg, 32 bits.
    Uint32,
    /// long_arg, 64 bits.
    Long,
    /// long_arg, 64 bits.
    Sint64,
    /// long_arg, 64 bits.
    Int64,
    /// size_arg, 64 bits.
    Ulong,
    /// size_arg, 64 bits.
    Uint64,
    /// size_arg, 64 bits.
    SizeT,
    /// int_arg, 16 bits.
    Sint16,
    /// int_arg, 16 bits.
    Int16,
    /// uint_arg, 16 bits.
    Uint16,
    /// int_arg, 8 bits.
    Sint8,
    /// int_arg, 8 bits.
    Int8,
    /// uint_arg, 8 bits.
    Uint8,
    /// string_arg: a kernel or user pointer to a string, or a string inside the trace record.
    String,
    /// syscall_id with its ABI.
    Syscall64,
}

/// Flows for as long as the stack has the network layer Enabled.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowsPart {
    /// Pods whose interfaces are watched.
    #[validate(nested)]
    pub pods: Arc<PodScope>,
    /// Number of entries of the kernel's flow map.
    pub flow_entries: u32,
    /// Size of the ring buffer for flows, in bytes: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}
