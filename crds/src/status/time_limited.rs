//! The status of resources that end by themselves: the part that all resources have, and when they started and end.

use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::{requests::RequestsStatus, resource::ResourceStatus};

/// Status of a FlowCapture.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowCaptureStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub common: ResourceStatus,
    /// When the work ends at the latest; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// When the operator accepted the resource; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
}

/// Status of an AppProfile.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppProfileStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub common: ResourceStatus,
    /// When the work ends at the latest; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
    /// What is known of the requests of the pods; unset where none are asked for, and until a node has reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsStatus>,
    /// The results of the CPU profile that nodes have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<ProfileResults>,
    /// When the operator accepted the resource; set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub started_at: Option<Timestamp>,
}

/// The results that nodes have for an AppProfile.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileResults {
    /// Number of lost samples on all nodes together.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub lost: i64,
    /// Number of nodes with a result.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub nodes: i32,
    /// Number of samples on all nodes together.
    #[serde(default)]
    #[validate(range(min = 0))]
    pub samples: i64,
}
