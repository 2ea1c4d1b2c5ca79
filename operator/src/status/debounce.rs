//! When a status is written: a change of a condition at once, a change of counts at most once in a while. Pure.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use trilobite_crds::Condition;

use super::{Key, Written};

/// Changes that come together are written together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Even conditions of one resource are not written more often than this.
const SHORTEST: Duration = Duration::from_millis(500);

/// Knows when each key was last written.
#[derive(Debug)]
pub(crate) struct Debounce {
    interval: Duration,
    last: BTreeMap<Key, Instant>,
}

impl Debounce {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, last: BTreeMap::new() }
    }

    /// When a change from `standing` to `wanted` that came in at `now` is to be written.
    pub(crate) fn due(&self, key: &Key, standing: &Written, wanted: &Written, now: Instant) -> Instant {
        let Some(last) = self.last.get(key) else { return now + TOGETHER };
        let interval = if is_news(standing, wanted) { SHORTEST.min(self.interval) } else { self.interval };
        (*last + interval).max(now + TOGETHER)
    }

    pub(crate) fn wrote(&mut self, key: &Key, now: Instant) {
        self.last.insert(key.clone(), now);
    }

    pub(crate) fn forget(&mut self, key: &Key) {
        self.last.remove(key);
    }
}

/// Whether a condition came, left or changed: what a person waits for.
fn is_news(standing: &Written, wanted: &Written) -> bool {
    let essence = |condition: &Condition| (condition.r#type, condition.status, condition.reason.clone());
    let of = |written: &Written| written.common.conditions.iter().map(essence).collect::<Vec<_>>();
    of(standing) != of(wanted) || standing.common.observed_generation != wanted.common.observed_generation
}

#[cfg(test)]
mod tests {
    use trilobite_crds::{
        Reason,
        condition::{ConditionStatus, ConditionType, Finding, merge},
        node::SourceKind,
    };

    use super::*;

    fn key() -> Key {
        Key { kind: SourceKind::TracingPolicy, namespace: None, name: "watch-ink".into() }
    }

    fn saying(reason: Reason, message: &str) -> Written {
        let ready = Finding::new(ConditionType::Ready, ConditionStatus::False, reason, message);
        let mut written = Written::default();
        written.common.conditions = merge(&[], &[ready], 1, jiff::Timestamp::UNIX_EPOCH);
        written
    }

    #[test]
    fn the_first_status_and_a_changed_condition_are_written_at_once_and_counts_wait() {
        let mut debounce = Debounce::new(Duration::from_secs(5));
        let (now, before, after) =
            (Instant::now(), saying(Reason::Progressing, "1 of 2"), saying(Reason::Progressing, "2 of 2"));
        assert_eq!(debounce.due(&key(), &before, &after, now), now + TOGETHER);
        debounce.wrote(&key(), now);
        assert_eq!(debounce.due(&key(), &before, &after, now), now + Duration::from_secs(5));
        let news = saying(Reason::TooManyNodesFailing, "");
        assert!(debounce.due(&key(), &before, &news, now) <= now + Duration::from_secs(1));
    }

    #[test]
    fn a_change_after_a_quiet_time_is_written_at_once() {
        let mut debounce = Debounce::new(Duration::from_secs(5));
        let now = Instant::now();
        debounce.wrote(&key(), now);
        let later = now + Duration::from_secs(60);
        let due = debounce.due(&key(), &saying(Reason::Progressing, "a"), &saying(Reason::Progressing, "b"), later);
        assert_eq!(due, later + TOGETHER);
    }
}
