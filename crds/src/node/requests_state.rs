//! What a node knows of the requests of one session: what was followed, what was decoded, what was lost and where, and what it
//! cannot see.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// Most protocols with a count of rows.
pub const MAX_PROTOCOLS: usize = 16;
/// Most names of protocols that were seen and are not decoded.
pub const MAX_OTHER_PROTOCOLS: usize = 8;
/// Most kinds of processes whose TLS is not visible.
pub const MAX_TLS_NOT_VISIBLE: usize = 8;

// The same limits, in the type of a validated length.
pub(crate) const PROTOCOLS: u64 = MAX_PROTOCOLS as u64;
pub(crate) const OTHER_PROTOCOLS: u64 = MAX_OTHER_PROTOCOLS as u64;
pub(crate) const TLS_NOT_VISIBLE: u64 = MAX_TLS_NOT_VISIBLE as u64;

/// Requests of one session on one node, since the session started there.
#[derive(Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestsState {
    /// Pods of the node that the session selects now.
    #[serde(default)]
    pub pods: u32,
    /// Connections that were followed.
    #[serde(default)]
    pub connections: u64,
    /// Those of them that were open before they were followed.
    #[serde(default)]
    pub mid_stream: u64,
    /// Connections that were left alone because the pod has a role in them that is not asked for.
    #[serde(default)]
    pub other_role: u64,
    /// Rows by protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = PROTOCOLS), nested)]
    pub rows: Vec<ProtocolRows>,
    /// Bytes that the pods sent and received on followed connections.
    #[serde(default)]
    pub bytes: u64,
    /// Places in streams whose bytes were not copied, e.g. of sendfile.
    #[serde(default)]
    pub gaps: u64,
    /// Bytes in these places.
    #[serde(default)]
    pub gap_bytes: u64,
    /// Records that the ring had no room for.
    #[serde(default)]
    pub lost_ring: u64,
    /// Rows and connections that the memory budget had no room for.
    #[serde(default)]
    pub lost_budget: u64,
    /// Messages that were not understood, and requests without an answer.
    #[serde(default)]
    pub lost_parse: u64,
    /// Memory in use, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Time of the oldest row that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub oldest_row: Option<Timestamp>,
    /// Protocols that were seen and are not decoded: not asked for, or not supported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 32)))]
    #[validate(length(max = OTHER_PROTOCOLS))]
    pub other_protocols: Vec<String>,
    /// Connections that speak TLS and are not decrypted.
    #[serde(default)]
    pub encrypted: u64,
    /// Files of TLS libraries in which probes are placed.
    #[serde(default)]
    pub tls_targets: u32,
    /// Processes whose TLS is not visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = TLS_NOT_VISIBLE), nested)]
    pub tls_not_visible: Vec<TlsNotVisible>,
}

/// Rows of one protocol.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolRows {
    /// The protocol, e.g. `http`.
    #[validate(length(max = 32))]
    pub protocol: String,
    /// Number of rows, those that have left again among them.
    pub rows: u64,
}

/// Processes whose TLS is not visible, for one reason.
#[derive(Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsNotVisible {
    /// Why: what encrypts, e.g. `go`, `rustls` or `jsse`, or `UprobeRefused`.
    #[validate(length(max = 32))]
    pub reason: String,
    /// The program, e.g. `java`.
    #[validate(length(max = 128))]
    pub binary: String,
    /// Number of processes.
    pub processes: u32,
}
