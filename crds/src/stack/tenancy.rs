//! What the namespaces of a cluster may use, so that none of them uses up what the others need.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

/// Largest budget in bytes.
const MAX_BYTES: i64 = 1 << 40;

/// Limits for namespaces.
#[derive(KubeSchema, Validate, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenancySpec {
    /// What the AppProfiles and FlowCaptures of one namespace may use at a time. The oldest keep theirs; newer ones are refused
    /// with `NamespaceBudgetExceeded` and start when enough of the others have ended.
    #[serde(default)]
    #[validate(nested)]
    pub per_namespace: NamespaceBudget,
}

/// The budget of each namespace.
#[derive(KubeSchema, Validate, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceBudget {
    /// AppProfiles that may run at a time, e.g. 4. A node runs 128 AppProfiles and FlowCaptures at most.
    #[serde(default = "sixteen")]
    #[validate(range(min = 0, max = 10_000))]
    pub profiles: i32,
    /// FlowCaptures that may run at a time, e.g. 4.
    #[serde(default = "sixteen")]
    #[validate(range(min = 0, max = 10_000))]
    pub captures: i32,
    /// Memory on each node that they may hold together, in bytes, e.g. 268435456 for 256 MiB: `memoryBudgetBytes` of each
    /// AppProfile, and the flow map and ring of each FlowCapture.
    #[serde(default = "one_gib")]
    #[validate(range(min = 0, max = MAX_BYTES))]
    pub bytes: i64,
}

impl Default for NamespaceBudget {
    fn default() -> Self {
        Self { profiles: sixteen(), captures: sixteen(), bytes: one_gib() }
    }
}

fn sixteen() -> i32 {
    16
}

fn one_gib() -> i64 {
    1 << 30
}
