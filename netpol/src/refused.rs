//! What a policy or an object was refused for, by the path of its field.

use crate::policy_name::PolicyName;

/// A field of a policy that cannot be read, or not be evaluated. The rest of the policy is active; the crate's page says how
/// the field fails closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{policy}: {field}: {why}")]
pub struct Refused {
    /// The policy.
    pub policy: PolicyName,
    /// Path of the field, e.g. `spec.ingress[0].ports[1].port`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

/// An object that is no policy of a known kind and version, or that has no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct NotAPolicy {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}
