//! A `ProfilePart`: what one source object asks of a node for as long as it stands, resolved and immutable.
//! An agent loads, keeps and refuses parts one by one.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scope::{PodScope, Source};

/// One source object, resolved. Its name ends in the digest of this spec.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Which resource asked.
    pub source: Source,
    /// Hex sha256 of the canonical JSON of `source` and `content`.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"), length(max = 64))]
    pub digest: String,
    /// What it asks for.
    pub content: PartContent,
}

/// What a part asks for; one variant per thing a node can keep in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PartContent {
    /// process_exec and process_exit of the pods in scope.
    Processes(ProcessesPart),
    /// process_tracepoint for the hooks of one policy.
    Tracepoints(TracepointsPart),
    /// TCP and UDP flows of the pods in scope.
    Flows(FlowsPart),
}

/// Process execution and exit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessesPart {
    /// Whose events are emitted; identity itself follows every process of the node.
    pub pods: PodScope,
    /// Size of the identity ring in bytes, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

/// The tracepoints of one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointsPart {
    /// Whose events are wanted; decided in the kernel.
    pub pods: PodScope,
    /// The hooks, in the order of the policy.
    #[schemars(length(max = 32))]
    pub hooks: Vec<TracepointHook>,
    /// Size of the ring that policy events share, in bytes, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}

/// One tracepoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointHook {
    /// Where it stands in the user's object, as `spec.tracepoints[0]`.
    #[schemars(length(max = 128))]
    pub field_path: String,
    /// `raw_syscalls`, `sched`, ...
    #[schemars(length(max = 128))]
    pub subsystem: String,
    /// `sys_enter`, `sched_process_fork`, ...
    #[schemars(length(max = 128))]
    pub event: String,
    /// A raw tracepoint: arguments are those of the kernel function, not of the trace record.
    #[serde(default)]
    pub raw: bool,
    /// Shown in the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub message: Option<String>,
    /// Shown in the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 128)))]
    pub tags: Vec<String>,
    /// The arguments to read, at most five.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub args: Vec<TracepointArg>,
}

/// One argument of a tracepoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracepointArg {
    /// Field of the trace record (classic, counted as Tetragon counts: the record's fields in order) or argument (raw).
    pub index: u32,
    /// How to read it.
    pub r#type: ArgType,
    /// Shown beside the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub label: Option<String>,
}

/// How an argument is read and shown. Spelled as in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArgType {
    /// Whatever the trace record's own format says.
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

/// Flows for as long as the stack wants them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowsPart {
    /// Whose interfaces are watched.
    pub pods: PodScope,
    /// Entries of the kernel's flow map.
    pub flow_entries: u32,
    /// Size of the flow ring in bytes, a power of two and a multiple of the page size.
    pub ring_bytes: u32,
}
