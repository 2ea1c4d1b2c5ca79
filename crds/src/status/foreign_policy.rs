//! Policies of another project's kinds, whose CRDs may have no status: the stack's status says how they are.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use crate::{
    bounds::REASON,
    condition::{ConditionStatus, MESSAGE_LENGTH},
    node::SourceKind,
};

/// Most policies that the stack's status lists; those that are not ready come first.
pub const MAX_FOREIGN_POLICIES: usize = 32;

/// How one policy is.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignPolicyStatus {
    /// Kind of the policy, e.g. `CiliumTracingPolicy` for a TracingPolicy of cilium.io.
    pub kind: SourceKind,
    /// What is wrong, where, and what to do; or how many nodes are ready.
    #[validate(length(max = MESSAGE_LENGTH))]
    pub message: String,
    /// Name of the policy.
    #[validate(length(max = 253))]
    pub name: String,
    /// Its namespace; unset for a cluster-wide policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[validate(length(max = 63))]
    pub namespace: Option<String>,
    /// Whether it is active, as in the condition `Ready`.
    pub ready: ConditionStatus,
    /// Reason: one word that never changes; docs/reasons.md explains each.
    #[validate(length(min = 1, max = 64), regex(path = *REASON, message = "must be one word, e.g. InvalidSpec"))]
    pub reason: String,
}
