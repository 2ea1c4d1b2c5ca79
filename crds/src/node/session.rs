//! A session: a request to a node about some pods for a limited time. It carries an absolute end and is never resumed
//! after it.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationErrors};

use super::scope::{PodScope, Source};

/// How long a node may take after the end of a session to write its result.
pub const RESULT_WITHIN: Duration = Duration::from_secs(60);

/// One request with an end.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Name, unique on the node: `appprofile.NAMESPACE.NAME` or `flowcapture.NAMESPACE.NAME`.
    #[validate(length(max = 330))]
    pub name: String,
    /// The resource that asked.
    #[validate(nested)]
    pub source: Source,
    /// When the session ends at the latest, as RFC 3339 in UTC, e.g. `2026-01-31T12:00:00Z`.
    #[schemars(with = "String", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Timestamp,
    /// What the session asks for.
    #[validate(nested)]
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

impl Validate for SessionContent {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let (field, result) = match self {
            Self::CpuProfile(session) => ("cpuProfile", session.validate()),
            Self::Flows(session) => ("flows", session.validate()),
        };
        ValidationErrors::merge(Ok(()), field, result)
    }
}

/// A CPU profile.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuProfileSession {
    /// Pods whose stacks are sampled.
    #[validate(nested)]
    pub pods: PodScope,
    /// Samples per second on each CPU.
    pub frequency_hz: u32,
    /// Memory for ring buffers, worker and result together, in bytes.
    pub memory_budget_bytes: u64,
}

/// A flow capture.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowsSession {
    /// Pods whose flows are captured.
    #[validate(nested)]
    pub pods: PodScope,
    /// Captures only flows with one of these ports on either end; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32))]
    pub ports: Vec<u16>,
    /// Captures only these protocols, `TCP` or `UDP`; empty means both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 8)))]
    #[validate(length(max = 2))]
    pub protocols: Vec<String>,
    /// Where flows are written in addition to the agent's socket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 2))]
    pub output: Vec<FlowOutput>,
    /// Number of entries of the kernel's flow map.
    pub flow_entries: u32,
    /// Size of the ring buffer for flows, in bytes.
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
