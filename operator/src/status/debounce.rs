//! `Debounce`: when a status is written. A changed condition at once, changed counts at most once per interval. Pure.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use trilobite_crds::Condition;

use super::user_status::UserStatus;
use crate::resource_key::ResourceKey;

/// Changes within this time become one write.
const COALESCE: Duration = Duration::from_millis(50);
/// Least time between two writes of one resource.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// Remembers when each status was last written.
#[derive(Debug)]
pub(crate) struct Debounce {
    interval: Duration,
    last: BTreeMap<ResourceKey, Instant>,
}

impl Debounce {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, last: BTreeMap::new() }
    }

    /// When to write a change from `current` to `desired` that arrives at `now`.
    pub(crate) fn due(&self, key: &ResourceKey, current: &UserStatus, desired: &UserStatus, now: Instant) -> Instant {
        let Some(last) = self.last.get(key) else { return now + COALESCE };
        let interval = if is_transition(current, desired) { MIN_INTERVAL.min(self.interval) } else { self.interval };
        (*last + interval).max(now + COALESCE)
    }

    pub(crate) fn record_write(&mut self, key: &ResourceKey, now: Instant) {
        self.last.insert(key.clone(), now);
    }

    pub(crate) fn forget(&mut self, key: &ResourceKey) {
        self.last.remove(key);
    }
}

/// Whether a condition was added, removed or changed.
fn is_transition(current: &UserStatus, desired: &UserStatus) -> bool {
    let state = |condition: &Condition| (condition.r#type, condition.status, condition.reason.clone());
    let states = |status: &UserStatus| status.common.conditions.iter().map(state).collect::<Vec<_>>();
    states(current) != states(desired) || current.common.observed_generation != desired.common.observed_generation
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{
        Reason,
        condition::{ConditionStatus, ConditionType, Finding, merge},
        node::SourceKind,
    };

    use super::*;

    fn key() -> ResourceKey {
        ResourceKey { kind: SourceKind::TracingPolicy, namespace: None, name: "watch-ink".into() }
    }

    fn status_with(reason: Reason, message: &str) -> UserStatus {
        let ready = Finding::new(ConditionType::Ready, ConditionStatus::False, reason, message);
        let mut status = UserStatus::default();
        status.common.conditions = merge(&[], &[ready], 1, jiff::Timestamp::UNIX_EPOCH);
        status
    }

    #[test]
    fn a_changed_condition_is_written_at_once_and_counts_wait() {
        let mut debounce = Debounce::new(Duration::from_secs(5));
        let (now, before, after) =
            (Instant::now(), status_with(Reason::Progressing, "1 of 2"), status_with(Reason::Progressing, "2 of 2"));
        assert_eq!(debounce.due(&key(), &before, &after, now), now + COALESCE);
        debounce.record_write(&key(), now);
        assert_eq!(debounce.due(&key(), &before, &after, now), now + Duration::from_secs(5));
        let changed = status_with(Reason::TooManyNodesFailing, "");
        assert!(debounce.due(&key(), &before, &changed, now) <= now + Duration::from_secs(1));
    }

    #[test]
    fn a_change_after_a_quiet_interval_is_written_at_once() {
        let mut debounce = Debounce::new(Duration::from_secs(5));
        let now = Instant::now();
        debounce.record_write(&key(), now);
        let later = now + Duration::from_secs(60);
        let due =
            debounce.due(&key(), &status_with(Reason::Progressing, "a"), &status_with(Reason::Progressing, "b"), later);
        assert_eq!(due, later + COALESCE);
    }
}
