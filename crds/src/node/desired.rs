//! The desired state of one node, whatever its origin: the node's NodeRuntime, files, or the last known good state on disk.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::{
    part::ProfilePartSpec,
    runtime::ProfileRef,
    session::{AppProfileSession, Session},
};
use crate::{
    hubble_metrics::FlowMetrics,
    read_api::Listen,
    stack::{DnsMode, EventSelection},
};

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
    /// Settings of the application layer.
    #[serde(default, skip_serializing_if = "ApplicationSettings::is_default")]
    pub application: ApplicationSettings,
    /// Settings of the network layer.
    #[serde(default, skip_serializing_if = "NetworkSettings::is_default")]
    pub network: NetworkSettings,
    /// Labels of the node that policies select nodes by; empty without a cluster.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_labels: BTreeMap<String, String>,
    /// The port for the relay; none without a cluster, and while no relay is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Listen>,
}

/// What the stack says about the application layer of every node.
#[derive(Validate, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationSettings {
    /// Memory of all profiles of a node together, in bytes; unset means `DEFAULT_NODE_BUDGET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_memory_budget_bytes: Option<u64>,
    /// The profile that runs without an end because the layer is Enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub standing: Option<AppProfileSession>,
}

impl ApplicationSettings {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What the stack says about the network layer of every node.
#[derive(Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSettings {
    /// Metrics of flows; none while they are disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(nested)]
    pub metrics: Option<FlowMetrics>,
    /// Whether DNS is read while flows are captured.
    #[serde(default, skip_serializing_if = "DnsMode::is_auto")]
    pub dns: DnsMode,
}

impl NetworkSettings {
    /// Whether nothing is set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where an agent writes events in addition to its socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportPlan {
    /// JSON lines on standard output.
    #[serde(default)]
    pub stdout: bool,
    /// Which events standard output gets, and what of each.
    #[serde(default, skip_serializing_if = "EventSelection::is_everything")]
    pub stdout_events: EventSelection,
    /// Which events the file gets, and what of each.
    #[serde(default, skip_serializing_if = "EventSelection::is_everything")]
    pub file_events: EventSelection,
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
