//! The desired state of one node, whatever its origin: the node's NodeRuntime, files, or the last known good state on disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{part::ProfilePartSpec, runtime::ProfileRef, session::Session};

/// Everything that a node has to keep active.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// The NodeProfile that this state comes from; none without a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileRef>,
    /// Nothing may be active.
    #[serde(default)]
    pub suspended: bool,
    /// The parts, sorted by digest; each is loaded or refused by itself.
    #[serde(default)]
    pub parts: Vec<ProfilePartSpec>,
    /// The requested sessions; the agent drops those that have expired.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// Where events are written.
    #[serde(default)]
    pub export: ExportPlan,
}

/// Where an agent writes events in addition to its socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportPlan {
    /// JSON lines on standard output.
    #[serde(default)]
    pub stdout: bool,
    /// JSON lines in a rotated file below the node's state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileExport>,
}

/// A rotated file of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileExport {
    /// Size in MiB at which the file is closed and a new one begins.
    pub max_size_mb: u32,
    /// Number of closed files that are kept.
    pub max_backups: u32,
}
