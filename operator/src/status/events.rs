//! Events for transitions of conditions, and for nothing else. Pure.

use kube::runtime::events::{Event, EventType};
use trilobite_crds::{
    Condition, Reason,
    condition::{ConditionStatus, ConditionType, find},
};

use super::{messages, user_status::UserStatus};

/// Conditions whose transitions are published, and the status that is a warning.
const PUBLISHED: [(ConditionType, Option<ConditionStatus>); 5] = [
    (ConditionType::Ready, None),
    (ConditionType::Accepted, Some(ConditionStatus::False)),
    (ConditionType::Degraded, Some(ConditionStatus::True)),
    (ConditionType::Stalled, Some(ConditionStatus::True)),
    (ConditionType::Completed, None),
];

pub(super) fn transitions(before: &UserStatus, after: &UserStatus) -> Vec<Event> {
    PUBLISHED.iter().filter_map(|(r#type, warning)| transition(before, after, *r#type, *warning)).collect()
}

fn transition(
    before: &UserStatus,
    after: &UserStatus,
    r#type: ConditionType,
    warning: Option<ConditionStatus>,
) -> Option<Event> {
    let now = find(&after.common.conditions, r#type)?;
    let was = find(&before.common.conditions, r#type);
    let published = match warning {
        Some(status) => now.status == status,
        None => now.status == ConditionStatus::True,
    };
    // Stalled with the reason of Accepted would only repeat it.
    let repeats_accepted = r#type == ConditionType::Stalled
        && find(&after.common.conditions, ConditionType::Accepted)
            .is_some_and(|accepted| accepted.reason == now.reason);
    if !published || repeats_accepted || was.is_some_and(|was| is_same_state(was, now)) {
        return None;
    }
    let type_ = if warning.is_some() { EventType::Warning } else { EventType::Normal };
    let action = now.reason.parse().map_or("Reconciling", |reason: Reason| messages::event_action(reason));
    Some(Event {
        type_,
        reason: now.reason.clone(),
        note: Some(now.message.clone()),
        action: action.into(),
        secondary: None,
    })
}

fn is_same_state(was: &Condition, now: &Condition) -> bool {
    was.status == now.status && was.reason == now.reason
}

#[cfg(test)]
mod tests {
    use trilobite_crds::condition::{Finding, merge};

    use super::*;

    fn with(findings: &[Finding]) -> UserStatus {
        let mut written = UserStatus::default();
        written.common.conditions = merge(&[], findings, 1, jiff::Timestamp::UNIX_EPOCH);
        written
    }

    fn degraded(status: ConditionStatus, reason: Reason, message: &str) -> Finding {
        Finding::new(ConditionType::Degraded, status, reason, message)
    }

    #[test]
    fn a_changed_message_is_not_a_transition() {
        let before = with(&[degraded(ConditionStatus::True, Reason::AgentSilent, "on 1 node")]);
        let after = with(&[degraded(ConditionStatus::True, Reason::AgentSilent, "on 2 nodes")]);
        assert!(transitions(&before, &after).is_empty());
    }

    #[test]
    fn a_changed_reason_is_a_transition() {
        let before = with(&[degraded(ConditionStatus::True, Reason::AgentSilent, "")]);
        let after = with(&[degraded(ConditionStatus::True, Reason::KernelTooOld, "needs 6.6")]);
        let events = transitions(&before, &after);
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].reason.as_str(), events[0].note.as_deref()), ("KernelTooOld", Some("needs 6.6")));
    }

    #[test]
    fn a_resource_that_starts_healthy_has_no_event() {
        let after = with(&[degraded(ConditionStatus::False, Reason::AsExpected, "")]);
        assert!(transitions(&UserStatus::default(), &after).is_empty());
    }
}
