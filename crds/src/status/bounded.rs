//! The status of what ends by itself: the common part, and when it began and ends.

use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::ResourceStatus;

/// Status of a FlowCapture.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowCaptureStatus {
    /// What every kind has.
    #[serde(flatten)]
    pub common: ResourceStatus,
    /// When it ends, whatever happens; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// When the operator accepted it; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
}

/// Status of an AppProfile.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppProfileStatus {
    /// What every kind has.
    #[serde(flatten)]
    pub common: ResourceStatus,
    /// When it ends, whatever happens; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// What can be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<ProfileResults>,
    /// When the operator accepted it; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
}

/// What the nodes hold for an AppProfile.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileResults {
    /// Samples that were lost, on all nodes together.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub lost: i64,
    /// Nodes with a result.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub nodes: i32,
    /// Samples, on all nodes together.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub samples: i64,
}
