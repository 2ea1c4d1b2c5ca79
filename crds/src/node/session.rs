//! What is asked of a node for a time, for some pods. A session carries an absolute end and is never resumed after it.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scope::{PodScope, Source};

/// How long a node may take after the end of a session to make the result of it.
pub const RESULT_WITHIN: Duration = Duration::from_secs(60);

/// One bounded request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Unique on the node: `appprofile.NAMESPACE.NAME` or `flowcapture.NAMESPACE.NAME`.
    #[schemars(length(max = 330))]
    pub name: String,
    /// Which resource asked.
    pub source: Source,
    /// When it ends, whatever happens; RFC 3339 in UTC.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Timestamp,
    /// What it asks for.
    pub content: SessionContent,
}

/// What a session asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionContent {
    /// Sampled stacks of the pods in scope.
    CpuProfile(CpuProfileSession),
    /// Flows of the pods in scope.
    Flows(FlowsSession),
}

/// A CPU profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuProfileSession {
    /// Whose stacks.
    pub pods: PodScope,
    /// Samples a second and CPU.
    pub frequency_hz: u32,
    /// What the rings, the worker and the result may hold together, in bytes.
    pub memory_budget_bytes: u64,
}

/// A flow capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowsSession {
    /// Whose flows.
    pub pods: PodScope,
    /// Only flows with one of these ports on either end; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub ports: Vec<u16>,
    /// `TCP` or `UDP`; empty means both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 8)))]
    pub protocols: Vec<String>,
    /// Where the flows go besides the node's own ring; empty means nowhere else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub output: Vec<FlowOutput>,
    /// Entries of the kernel's flow map.
    pub flow_entries: u32,
    /// Size of the flow ring in bytes.
    pub ring_bytes: u32,
}

/// Where captured flows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FlowOutput {
    /// JSON lines on the agent's standard output.
    Stdout,
    /// A rotated file of JSON lines below the node's state directory.
    File,
}
