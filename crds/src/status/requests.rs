//! What is known of the requests of an AppProfile: the sums of all nodes, with a list of kinds and never one of nodes.
//! Fields are named for the alphabetical order of `kubectl describe`.

use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::node::requests_state::{OTHER_PROTOCOLS, PROTOCOLS, TLS_NOT_VISIBLE};

/// Requests of an AppProfile on all nodes together, since it started.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestsStatus {
    /// Bytes that the pods sent and received on followed connections.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub bytes: i64,
    /// Connections that were followed.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub connections: i64,
    /// Connections that speak TLS and are not decrypted.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub encrypted: i64,
    /// Bytes that were not copied, e.g. those of sendfile.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub gap_bytes: i64,
    /// Places in streams whose bytes were not copied.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub gaps: i64,
    /// Rows and connections that the memory budget had no room for.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub lost_budget: i64,
    /// Messages that were not understood, and requests without an answer.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub lost_parse: i64,
    /// Records that the rings had no room for.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub lost_ring: i64,
    /// Memory in use on all nodes, in bytes.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub memory_bytes: i64,
    /// Those of the connections that were open before they were followed.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub mid_stream: i64,
    /// Nodes that have reported.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub nodes: i32,
    /// Time of the oldest row that a node keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub oldest_row: Option<Timestamp>,
    /// Protocols that were seen and are not decoded: not asked for, or not supported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(max = 32)))]
    #[validate(length(max = OTHER_PROTOCOLS))]
    pub other_protocols: Vec<String>,
    /// Connections that were left alone because the pods have a role in them that is not asked for.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub other_role: i64,
    /// Pods that are selected now.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub pods: i64,
    /// Rows by protocol, the most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = PROTOCOLS), nested)]
    pub rows: Vec<ProtocolRowCount>,
    /// Processes whose TLS is not visible, the most frequent kind first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[validate(length(max = TLS_NOT_VISIBLE), nested)]
    pub tls_not_visible: Vec<InvisibleTls>,
    /// Files of TLS libraries in which probes are placed, on all nodes.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub tls_targets: i64,
    /// Rows of all protocols.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub total_rows: i64,
}

/// Rows of one protocol.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolRowCount {
    /// The protocol, e.g. `http`.
    #[validate(length(max = 32))]
    pub protocol: String,
    /// Number of rows, those that have left again among them.
    #[validate(range(min = 0))]
    pub rows: i64,
}

/// Processes whose TLS is not visible, for one reason.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvisibleTls {
    /// The program, e.g. `java`.
    #[validate(length(max = 128))]
    pub binary: String,
    /// Number of processes.
    #[validate(range(min = 0))]
    pub processes: i64,
    /// Why: what encrypts, e.g. `go`, `rustls` or `jsse`, or `UprobeRefused`.
    #[validate(length(max = 32))]
    pub reason: String,
}
