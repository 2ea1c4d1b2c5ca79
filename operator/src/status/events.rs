//! Events for transitions of conditions, and for a warning that says something else than before. What is published is
//! decided without a clock or client; time is an argument.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::Instant;
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

/// Least time between two Events about one condition whose message differs in words, e.g. in the cause.
const NEW_WORDS: Duration = Duration::from_secs(10);
/// The same, if only numbers differ, e.g. of nodes.
const NEW_NUMBERS: Duration = Duration::from_secs(60);

/// Notes for which a recorder is kept.
const MAX_RECORDERS: usize = 256;

/// What was last published about one resource.
#[derive(Debug, Default)]
pub(super) struct EventHistory {
    last: BTreeMap<ConditionType, (String, Instant)>,
    /// When a message that differs from the last Event's may be published.
    pub(super) next_at: Option<Instant>,
}

impl EventHistory {
    /// The Events of a change that was written at `now`. Called again at `next_at`, with `before` equal to `after`.
    pub(super) fn events(&mut self, before: &UserStatus, after: &UserStatus, now: Instant) -> Vec<Event> {
        self.next_at = None;
        PUBLISHED.iter().filter_map(|(r#type, warning)| self.event(before, after, *r#type, *warning, now)).collect()
    }

    fn event(
        &mut self,
        before: &UserStatus,
        after: &UserStatus,
        r#type: ConditionType,
        warning: Option<ConditionStatus>,
        now: Instant,
    ) -> Option<Event> {
        let condition = find(&after.common.conditions, r#type)?;
        let published = condition.status == warning.unwrap_or(ConditionStatus::True);
        if !published || repeats_other_warning(after, condition) {
            self.last.remove(&r#type);
            return None;
        }
        let was = find(&before.common.conditions, r#type).filter(|was| is_same_state(was, condition));
        if let Some(was) = was {
            // An operator that has just started knows the last Event only as the message of the condition.
            let last = self.last.get(&r#type);
            let last_note = last.map_or(was.message.as_str(), |(note, _)| note.as_str());
            if warning.is_none() || last_note == condition.message {
                return None;
            }
            let delay = if differ_in_numbers(last_note, &condition.message) { NEW_NUMBERS } else { NEW_WORDS };
            if let Some(due) = last.map(|(_, at)| *at + delay).filter(|due| now < *due) {
                self.next_at = Some(self.next_at.map_or(due, |next| next.min(due)));
                return None;
            }
        }
        self.last.insert(r#type, (condition.message.clone(), now));
        let action = condition.reason.parse().map_or("Reconciling", |reason: Reason| messages::event_action(reason));
        Some(Event {
            type_: if warning.is_some() { EventType::Warning } else { EventType::Normal },
            reason: condition.reason.clone(),
            note: Some(condition.message.clone()),
            action: action.into(),
            secondary: None,
        })
    }
}

pub(crate) fn event_reporter() -> Reporter {
    Reporter { controller: "trilobite-operator".into(), instance: std::env::var("HOSTNAME").ok() }
}

/// A recorder for each note: a recorder counts Events by reason, and goes on with the note of the first of them.
pub(super) struct Recorders {
    client: Client,
    by_note: BTreeMap<String, Recorder>,
}

impl Recorders {
    pub(super) fn new(client: Client) -> Self {
        Self { client, by_note: BTreeMap::new() }
    }

    pub(super) async fn publish(&mut self, event: &Event, about: &ObjectReference) -> Result<(), kube::Error> {
        // Without its recorder, a note that comes again makes an Event of its own, and no longer a series.
        if self.by_note.len() >= MAX_RECORDERS {
            self.by_note.clear();
        }
        let new = || Recorder::new(self.client.clone(), event_reporter());
        let recorder = self.by_note.entry(event.note.clone().unwrap_or_default()).or_insert_with(new);
        recorder.publish(event, about).await
    }
}

/// Whether it is Stalled for the reason of a condition that has an Event of its own.
fn repeats_other_warning(status: &UserStatus, condition: &Condition) -> bool {
    let others = [(ConditionType::Accepted, ConditionStatus::False), (ConditionType::Degraded, ConditionStatus::True)];
    condition.r#type == ConditionType::Stalled
        && others.iter().any(|(r#type, warning)| {
            find(&status.common.conditions, *r#type)
                .is_some_and(|other| other.status == *warning && other.reason == condition.reason)
        })
}

fn is_same_state(was: &Condition, now: &Condition) -> bool {
    was.status == now.status && was.reason == now.reason
}

/// Whether two different texts are equal but for their digits, and the plural of nodes.
fn differ_in_numbers(one: &str, other: &str) -> bool {
    let words = |text: &str| text.replace("nodes", "node").replace(|letter: char| letter.is_ascii_digit(), "");
    words(one) == words(other)
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

    fn silent(message: &str) -> UserStatus {
        with(&[degraded(ConditionStatus::True, Reason::AgentSilent, message)])
    }

    fn notes(events: &[Event]) -> Vec<&str> {
        events.iter().filter_map(|event| event.note.as_deref()).collect()
    }

    #[test]
    fn a_new_cause_with_the_same_reason_is_a_new_event() {
        let (mut history, start) = (EventHistory::default(), Instant::now());
        let (pull, crash) = (silent("on 1 node: ImagePullBackOff"), silent("on 1 node: CrashLoopBackOff"));
        assert_eq!(history.events(&UserStatus::default(), &pull, start).len(), 1);
        let events = history.events(&pull, &crash, start + NEW_WORDS);
        assert_eq!(notes(&events), ["on 1 node: CrashLoopBackOff"]);
    }

    #[test]
    fn a_new_number_of_nodes_is_published_later() {
        let (mut history, start) = (EventHistory::default(), Instant::now());
        let (one, two, three) = (silent("on 1 node"), silent("on 2 nodes"), silent("on 3 nodes"));
        history.events(&UserStatus::default(), &one, start);
        history.events(&one, &two, start + NEW_NUMBERS);
        assert!(history.events(&two, &three, start + NEW_NUMBERS).is_empty());
        let due = history.next_at.expect("it is checked again");
        assert_eq!(due, start + NEW_NUMBERS * 2);
        assert_eq!(notes(&history.events(&three, &three, due)), ["on 3 nodes"]);
        assert_eq!(history.next_at, None);
    }

    #[test]
    fn changing_numbers_cause_one_event_in_a_minute() {
        let (mut history, start) = (EventHistory::default(), Instant::now());
        let statuses: Vec<_> = (0..120).map(|nodes| silent(&format!("on {nodes} nodes"))).collect();
        let mut events = history.events(&UserStatus::default(), &statuses[0], start).len();
        for (second, pair) in (1..).zip(statuses.windows(2)) {
            events += history.events(&pair[0], &pair[1], start + Duration::from_secs(second)).len();
        }
        assert_eq!(events, 2, "at 0 s and at 60 s");
    }

    #[test]
    fn a_cause_that_ends_before_its_event_is_due_has_none() {
        let (mut history, start) = (EventHistory::default(), Instant::now());
        let (pull, crash) = (silent("ImagePullBackOff"), silent("CrashLoopBackOff"));
        history.events(&UserStatus::default(), &pull, start);
        assert!(history.events(&pull, &crash, start).is_empty());
        let well = with(&[degraded(ConditionStatus::False, Reason::AsExpected, "")]);
        assert!(history.events(&crash, &well, start + NEW_WORDS).is_empty());
        assert_eq!(history.next_at, None);
    }

    #[test]
    fn an_unchanged_warning_after_a_restart_has_no_event() {
        let (before, mut history) = (silent("on 1 node"), EventHistory::default());
        assert!(history.events(&before, &before, Instant::now()).is_empty());
        assert_eq!(notes(&history.events(&before, &silent("on 2 nodes"), Instant::now())), ["on 2 nodes"]);
    }

    #[test]
    fn a_changed_reason_is_a_transition() {
        let before = silent("");
        let after = with(&[degraded(ConditionStatus::True, Reason::KernelTooOld, "needs 6.6")]);
        let events = EventHistory::default().events(&before, &after, Instant::now());
        assert_eq!((events.len(), events[0].reason.as_str()), (1, "KernelTooOld"));
        assert_eq!(notes(&events), ["needs 6.6"]);
    }

    #[test]
    fn a_resource_stalled_by_failing_nodes_has_one_event() {
        let stalled = Finding::new(ConditionType::Stalled, ConditionStatus::True, Reason::KernelTooOld, "on 2 of 2");
        let after = with(&[degraded(ConditionStatus::True, Reason::KernelTooOld, "on 2"), stalled]);
        let events = EventHistory::default().events(&UserStatus::default(), &after, Instant::now());
        assert_eq!(notes(&events), ["on 2"]);
    }

    #[test]
    fn a_resource_that_starts_healthy_has_no_event() {
        let after = with(&[degraded(ConditionStatus::False, Reason::AsExpected, "")]);
        assert!(EventHistory::default().events(&UserStatus::default(), &after, Instant::now()).is_empty());
    }

    #[test]
    fn a_new_count_in_a_normal_event_is_not_published() {
        let ready =
            |message: &str| with(&[Finding::new(ConditionType::Ready, ConditionStatus::True, Reason::Ready, message)]);
        let mut history = EventHistory::default();
        history.events(&UserStatus::default(), &ready("2 of 2"), Instant::now());
        assert!(history.events(&ready("2 of 2"), &ready("3 of 3"), Instant::now() + NEW_NUMBERS).is_empty());
    }
}
