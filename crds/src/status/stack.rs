//! The status of the ObservabilityStack: the part that all resources have, and when it was last computed.

use jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{foreign_policy::ForeignPolicyStatus, requests::RequestsStatus, resource::ResourceStatus};

/// Status of the ObservabilityStack.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservabilityStackStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub common: ResourceStatus,
    /// Policies of cilium.io whose CRD has no status, as Tetragon's own; those that are not ready first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub foreign_policies: Vec<ForeignPolicyStatus>,
    /// When the operator last computed the status; renewed every five minutes, so an older time means that no operator runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 40), extend("format" = "date-time"))]
    pub observed_at: Option<Timestamp>,
    /// What is known of the requests of the standing profile; unset without one, and until a node has reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsStatus>,
}
