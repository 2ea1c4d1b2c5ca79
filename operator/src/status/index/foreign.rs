//! Policies of another project's kinds that have no status of their own, for the status of the stack.

use jiff::Timestamp;
use trilobite_crds::{
    Condition, Reason,
    condition::{ConditionStatus, ConditionType, find},
    status::{ForeignPolicyStatus, MAX_FOREIGN_POLICIES},
};

use super::Index;
use crate::{resource_key::ResourceKey, status::user_status::UserStatus};

impl Index {
    /// Those that are not ready first; at most as many as a status lists.
    pub(super) fn foreign_policies(&self, now: Timestamp) -> Vec<ForeignPolicyStatus> {
        // A CRD with a status gives it to each object when that is created, and it is observed soon after.
        let without_status = self
            .entries
            .iter()
            .filter(|(key, entry)| key.kind.is_foreign() && entry.input.current_status.common.observed_generation < 0);
        let mut policies: Vec<_> = without_status.filter_map(|(key, _)| self.foreign_policy(key, now)).collect();
        policies.sort_by_key(|policy| policy.ready == ConditionStatus::True);
        policies.truncate(MAX_FOREIGN_POLICIES);
        policies
    }

    fn foreign_policy(&self, key: &ResourceKey, now: Timestamp) -> Option<ForeignPolicyStatus> {
        let conditions = self.compute(key, &UserStatus::default(), now)?.status.common.conditions;
        let ready = find(&conditions, ConditionType::Ready)?;
        // Of a refused policy, the condition Accepted has the field.
        let is_refused = ready.reason == Reason::NotAccepted.as_str();
        let why = find(&conditions, ConditionType::Accepted).filter(|_| is_refused).unwrap_or(ready);
        let Condition { reason, message, .. } = why.clone();
        let ResourceKey { kind, namespace, name } = key.clone();
        Some(ForeignPolicyStatus { kind, message, name, namespace, ready: ready.status, reason })
    }
}
