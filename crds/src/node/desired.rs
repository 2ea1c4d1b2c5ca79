//! The one value that every way in gives an agent: from its NodeRuntime, from files, or from the last good state on disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{part::ProfilePartSpec, runtime::ProfileRef, session::Session};

/// All that a node has to keep in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// Which NodeProfile this is; none where there is no cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileRef>,
    /// Nothing may be in force.
    #[serde(default)]
    pub suspended: bool,
    /// The parts, sorted by digest; each is a unit of its own.
    #[serde(default)]
    pub parts: Vec<ProfilePartSpec>,
    /// The sessions that were asked for; the agent drops those whose end has come.
    #[serde(default)]
    pub sessions: Vec<Session>,
    /// Where events are written.
    #[serde(default)]
    pub export: ExportPlan,
}

/// Where an agent writes events besides its socket.
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
    /// A file is closed and a new one begun at this size, in MiB.
    pub max_size_mb: u32,
    /// How many closed files are kept.
    pub max_backups: u32,
}
