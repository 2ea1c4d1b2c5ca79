//! Events on transitions, and on nothing else: what changed between two statuses that is worth a line to a person. Pure.

use kube::runtime::events::{Event, EventType};
use trilobite_crds::{
    Condition, Reason,
    condition::{ConditionStatus, ConditionType, find},
};

use super::{Written, words};

/// Conditions whose change is told, and the value at which it is a warning.
const TOLD: [(ConditionType, Option<ConditionStatus>); 5] = [
    (ConditionType::Ready, None),
    (ConditionType::Accepted, Some(ConditionStatus::False)),
    (ConditionType::Degraded, Some(ConditionStatus::True)),
    (ConditionType::Stalled, Some(ConditionStatus::True)),
    (ConditionType::Completed, None),
];

/// The Events of a change.
pub(super) fn transitions(before: &Written, after: &Written) -> Vec<Event> {
    TOLD.iter().filter_map(|(r#type, warning)| transition(before, after, *r#type, *warning)).collect()
}

fn transition(
    before: &Written,
    after: &Written,
    r#type: ConditionType,
    warning: Option<ConditionStatus>,
) -> Option<Event> {
    let now = find(&after.common.conditions, r#type)?;
    let was = find(&before.common.conditions, r#type);
    let told = match warning {
        Some(status) => now.status == status,
        None => now.status == ConditionStatus::True,
    };
    // Stalled repeats what Accepted says, but for what only it can say.
    let said_already = r#type == ConditionType::Stalled
        && find(&after.common.conditions, ConditionType::Accepted)
            .is_some_and(|accepted| accepted.reason == now.reason);
    if !told || said_already || was.is_some_and(|was| same(was, now)) {
        return None;
    }
    let type_ = if warning.is_some() { EventType::Warning } else { EventType::Normal };
    let action = now.reason.parse().map_or("Reconciling", |reason: Reason| words::event_action(reason));
    Some(Event {
        type_,
        reason: now.reason.clone(),
        note: Some(now.message.clone()),
        action: action.into(),
        secondary: None,
    })
}

fn same(was: &Condition, now: &Condition) -> bool {
    was.status == now.status && was.reason == now.reason
}

#[cfg(test)]
mod tests {
    use trilobite_crds::condition::{Finding, merge};

    use super::*;

    fn with(findings: &[Finding]) -> Written {
        let mut written = Written::default();
        written.common.conditions = merge(&[], findings, 1, jiff::Timestamp::UNIX_EPOCH);
        written
    }

    fn degraded(status: ConditionStatus, reason: Reason, message: &str) -> Finding {
        Finding::new(ConditionType::Degraded, status, reason, message)
    }

    #[test]
    fn a_message_that_changes_is_no_transition() {
        let before = with(&[degraded(ConditionStatus::True, Reason::AgentSilent, "on 1 node")]);
        let after = with(&[degraded(ConditionStatus::True, Reason::AgentSilent, "on 2 nodes")]);
        assert!(transitions(&before, &after).is_empty());
    }

    #[test]
    fn a_new_reason_is_one() {
        let before = with(&[degraded(ConditionStatus::True, Reason::AgentSilent, "")]);
        let after = with(&[degraded(ConditionStatus::True, Reason::KernelTooOld, "needs 6.6")]);
        let told = transitions(&before, &after);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].reason.as_str(), told[0].note.as_deref()), ("KernelTooOld", Some("needs 6.6")));
    }

    #[test]
    fn what_is_as_expected_from_the_start_is_not_told() {
        let after = with(&[degraded(ConditionStatus::False, Reason::AsExpected, "")]);
        assert!(transitions(&Written::default(), &after).is_empty());
    }
}
