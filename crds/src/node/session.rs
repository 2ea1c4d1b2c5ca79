//! A session: a request to a node about some pods for a limited time. It carries an absolute end and is never resumed
//! after it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::{Validate, ValidationErrors};

use super::scope::{PodScope, Source};
use crate::app_profile::{RequestProtocol, RequestRole, TlsCapture};

/// How long a node may take after the end of a session to write its result.
pub const RESULT_WITHIN: Duration = Duration::from_secs(60);

/// Name of the standing profile among the sessions that an agent reports; it has no end.
pub const STANDING_PROFILE: &str = "observabilitystack.default";

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

impl Session {
    /// Until when nodes have the session: rows of requests outlive its end.
    pub fn retained_until(&self) -> Timestamp {
        match &self.content {
            SessionContent::AppProfile(AppProfileSession { requests: Some(requests), .. }) => {
                requests.retained_until(self.expires_at)
            }
            _ => self.expires_at,
        }
    }

    /// Whether both are the same request, whatever version planned them.
    pub fn is_same(&self, other: &Self) -> bool {
        let Self { name, source, expires_at, content } = self;
        (name, source, expires_at) == (&other.name, &other.source, &other.expires_at) && content.is_same(&other.content)
    }
}

/// What a session asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionContent {
    /// Everything that one AppProfile asks for.
    AppProfile(AppProfileSession),
    /// Sampled stacks of the pods in scope; from an operator of an earlier version.
    CpuProfile(CpuProfileSession),
    /// Flows of the pods in scope.
    Flows(FlowsSession),
}

impl SessionContent {
    /// The pods that the session is about.
    pub fn pods(&self) -> &PodScope {
        match self {
            Self::AppProfile(session) => &session.pods,
            Self::CpuProfile(session) => &session.pods,
            Self::Flows(session) => &session.pods,
        }
    }

    /// What an AppProfile asks for, also one that was planned by an earlier version; none for a FlowCapture.
    pub fn app_profile(&self) -> Option<AppProfileSession> {
        match self {
            Self::AppProfile(session) => Some(session.clone()),
            Self::CpuProfile(session) => Some(session.clone().into()),
            Self::Flows(_) => None,
        }
    }

    /// Whether both ask for the same, whatever version planned them.
    pub fn is_same(&self, other: &Self) -> bool {
        self == other || self.app_profile().is_some_and(|profile| other.app_profile() == Some(profile))
    }
}

impl Validate for SessionContent {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let (field, result) = match self {
            Self::AppProfile(session) => ("appProfile", session.validate()),
            Self::CpuProfile(session) => ("cpuProfile", session.validate()),
            Self::Flows(session) => ("flows", session.validate()),
        };
        ValidationErrors::merge(Ok(()), field, result)
    }
}

/// Everything that one AppProfile, or the stack's standing profile, asks for.
#[derive(Validate, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppProfileSession {
    /// Pods that are profiled.
    #[validate(nested)]
    pub pods: PodScope,
    /// Memory for rings, workers and results together, in bytes.
    pub memory_budget_bytes: u64,
    /// Samples stacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuSampling>,
    /// Captures requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub requests: Option<RequestsSession>,
}

/// How stacks are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuSampling {
    /// Samples per second on each CPU.
    pub frequency_hz: u32,
}

/// Which requests are captured, and what is kept of them.
#[derive(Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestsSession {
    /// Protocols to decode, sorted; all of them are supported.
    #[validate(length(max = 16))]
    pub protocols: Vec<RequestProtocol>,
    /// Only connections with one of these ports on either end; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 32))]
    pub ports: Vec<u16>,
    /// Only connections in which the pods have one of these roles; empty means both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = 2))]
    pub roles: Vec<RequestRole>,
    /// Whether requests inside TLS are read.
    #[serde(default)]
    pub tls: TlsCapture,
    /// Keeps only requests whose answer took longer, in milliseconds; 0 keeps all.
    #[serde(default)]
    pub slower_than_ms: u64,
    /// Keeps only requests that were answered with an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_errors: bool,
    /// Most bytes that are kept of each body.
    #[serde(default)]
    pub payload_bytes: u32,
    /// Keeps literals, values and query parameters as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_literals: bool,
    /// Names of further headers whose values are redacted, in lower case and sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 128)))]
    #[validate(length(max = 32))]
    pub redact_headers: Vec<String>,
    /// How old rows get while the profile is active, in minutes.
    pub retain_minutes: u32,
    /// How long rows are kept after the end, in minutes.
    #[serde(default)]
    pub retain_after_end_minutes: u32,
}

impl RequestsSession {
    /// Until when rows can be read, of a session that ends at `end`.
    pub fn retained_until(&self, end: Timestamp) -> Timestamp {
        end.checked_add(SignedDuration::from_mins(self.retain_after_end_minutes.into())).unwrap_or(end)
    }
}

/// A CPU profile, as an operator of an earlier version asks for it.
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

impl From<CpuProfileSession> for AppProfileSession {
    fn from(session: CpuProfileSession) -> Self {
        let CpuProfileSession { pods, frequency_hz, memory_budget_bytes } = session;
        Self { pods, memory_budget_bytes, cpu: Some(CpuSampling { frequency_hz }), requests: None }
    }
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
    /// Captures only these protocols, `TCP`, `UDP` or `ICMP`; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 8)))]
    #[validate(length(max = 3))]
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
